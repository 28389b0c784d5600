"""The live view of a run in a cell: one display, kept up to date at most five times a second.

A thread looks whether the run moved on, so that `log` pays nothing for being watched; every update is the whole
view, so that a lost one does no harm.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

from .. import notices, render, view
from .._run import Run

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PERIOD = 0.2  # seconds

_views: dict[Run, LiveView] = {}


class LiveView:
    """One run shown in one cell. It ends with the run, or when the run is shown in another cell."""

    def __init__(self, shell: InteractiveShell, run: Run, course: view.Course) -> None:
        self.run = run
        self.course = course
        self.shown_in = shell.execution_count
        self._shell = shell
        self._display_id = secrets.token_hex(8)
        self._stamp: tuple[Any, ...] = ()
        self._lock = threading.Lock()  # held while publishing: who flushes waits for an update under way
        self._ended = threading.Event()

    def show(self) -> None:
        """Display it, and keep it up to date from now on - in a kernel; a terminal has no display to update."""
        with self._lock:
            self._publish(update=False)
        if getattr(self._shell, "kernel", None) is None:
            self.end()
        else:
            threading.Thread(target=self._follow, name="jupyter-resume-view", daemon=True).start()

    def flush(self) -> None:
        """Show the last state now, if it is not shown yet. A view that cannot be shown is given up, and told."""
        if self.run.forked:  # in a child, where nobody will release a lock that was held at the fork
            return
        with self._lock:
            try:
                if not self._ended.is_set() and (self.run.recent or self._stamp != self._now()):
                    self._publish(update=True)
            except Exception as error:
                self._ended.set()
                notices.tell(f"the live view of run {self.run.path} stopped: {type(error).__name__}: {error}")

    def end(self) -> None:
        """Stop following the run; what is displayed stays."""
        with self._lock:
            self._ended.set()

    def _follow(self) -> None:
        while not self._ended.wait(PERIOD):
            closed = self.run.closed
            self.flush()
            if closed:
                self.end()

    def _now(self) -> tuple[Any, ...]:
        """What a look at the run costs nothing to tell, and moves whenever the view does."""
        run = self.run
        files = tuple(entry.digest for entry in run.files.values())
        said = (run.name, run.notes)
        return run.step, run.state, files, len(run.restored), tuple(run.not_restored), run.in_memory, said

    def _publish(self, update: bool) -> None:
        self._stamp = self._now()  # taken first: what moves from here on is shown the next time
        while self.run.recent:
            self.course.add(self.run.recent.popleft())
        data = render.bundle(view.of_run(self.run, self.course))
        self._shell.display_pub.publish(data, transient={"display_id": self._display_id}, update=update)


def show(shell: InteractiveShell, run: Run) -> None:
    """Show a run in the cell that is executed now, once."""
    before = _views.get(run)
    if before is not None:
        if before.shown_in == shell.execution_count:
            return
        before.end()
        course = before.course
    else:
        run.recent.clear()  # the record has these rows, and the ones before
        course = view.Course(run.history_tail())
    _views[run] = fresh = LiveView(shell, run, course)
    fresh.show()


def flush_all() -> None:
    """After a cell, and when a run ends: every live view as it stands."""
    for live in list(_views.values()):
        live.flush()
        if live.run.closed:
            _views.pop(live.run, None)


def end_all() -> None:
    """When the extension is unloaded."""
    for live in list(_views.values()):
        live.end()
    _views.clear()
