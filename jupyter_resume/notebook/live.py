"""Runs that are watched: a thread looks whether a run moved on, and has the places that show it brought up to date.

`log` pays nothing for being watched. Every update is the whole view, so that a lost one does no harm, and all the
places that show one run send at most five messages a second together.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any, Protocol

from .. import notices, render, view
from .._run import Run

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PERIOD = 0.2  # seconds from one message to the next

_watches: dict[Run, Watch] = {}
_cell_runs = False


class Face(Protocol):
    """A place where a run is shown. Only one thread at a time calls it."""

    def show(self, shown: view.RunView) -> int:
        """Show the run as it stands; how many messages that took."""
        ...

    def end(self, shown: view.RunView) -> int:
        """Show the run as it stands, for good: it is over, or is no longer watched."""
        ...

    def stale(self) -> bool:
        """Whether there is something to bring up to date although the run stands still."""
        ...


class Watch:
    """One run and the faces that show it. It ends with the run."""

    def __init__(self, run: Run, course: view.Course) -> None:
        self.run = run
        self.course = course
        self.faces: list[Face] = []
        self._stamp: tuple[Any, ...] = ()
        self._pause = PERIOD
        self._lock = threading.RLock()  # held while showing: who flushes waits for an update under way
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, face: Face, follow: bool = True) -> None:
        """Show the run in another place, and ``follow`` it there from now on."""
        with self._lock:
            face.show(self._look())
            self.faces.append(face)
            if follow and self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="jupyter-resume-view", daemon=True)
                self._thread.start()

    def drop(self, face: Face) -> None:
        """Leave a face as it is from now on."""
        if self.run.forked:
            return
        with self._lock:
            if face in self.faces:
                self.faces.remove(face)

    def flush(self) -> None:
        """Show the last state now, where it is not shown yet. A face that fails is given up, and told."""
        if self.run.forked:  # in a child, where nobody will release a lock that was held at the fork
            return
        closed = self.run.over  # read first: what is shown after that is the end
        with self._lock:
            if self._ended.is_set():
                return
            moved = closed or bool(self.run.recent) or self._stamp != self._now()
            if moved or any(face.stale() for face in self.faces):
                self._show(moved, closed)
            if closed:
                self._ended.set()

    def end(self) -> None:
        """Stop watching; every face shows the run as it stands, for good."""
        with self._lock:
            if not self._ended.is_set():
                self._show(moved=True, closed=True)
                self._ended.set()

    def _follow(self) -> None:
        while not self._ended.wait(self._pause):
            self.flush()

    def _show(self, moved: bool, closed: bool) -> None:
        sent = 0
        for face in list(self.faces):
            try:
                if moved or face.stale():
                    shown = self._look()
                    sent += face.end(shown) if closed else face.show(shown)
            except Exception as error:
                self.drop(face)
                notices.tell(f"the live view of run {self.run.path} stopped: {type(error).__name__}: {error}")
        self._pause = PERIOD * max(1, sent)

    def _look(self) -> view.RunView:
        self._stamp = self._now()  # taken first: what moves from here on is shown the next time
        while self.run.recent:
            self.course.add(self.run.recent.popleft())
        return view.of_run(self.run, self.course)

    def _now(self) -> tuple[Any, ...]:
        """What a look at the run costs nothing to tell, and moves whenever the view does."""
        run = self.run
        files = tuple(entry.digest for entry in run.files.values())
        said = (run.name, run.notes, run.total)
        there = run.link and run.link.standing
        return run.step, run.state, files, len(run.restored), tuple(run.not_restored), run.in_memory, said, there


class Output:
    """The plain display of a run in one cell: a bundle, updated in place."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shown_in = shell.execution_count
        self._shell = shell
        self._display_id = ""

    def show(self, shown: view.RunView) -> int:
        """Display it, or bring the display up to date."""
        update = bool(self._display_id)
        self._display_id = self._display_id or secrets.token_hex(8)
        publish(self._shell, render.bundle(shown), self._display_id, update)
        return 1

    def end(self, shown: view.RunView) -> int:
        """As `show`: what is displayed stays."""
        return self.show(shown)

    def stale(self) -> bool:
        """Never: it shows nothing but the run."""
        return False


def publish(shell: InteractiveShell, data: dict[str, Any], display_id: str, update: bool) -> None:
    """Display a bundle in the cell that is executed now, or update the one of that id; a terminal updates nothing."""
    if not update or in_kernel(shell):
        shell.display_pub.publish(data, transient={"display_id": display_id}, update=update)


def in_kernel(shell: InteractiveShell) -> bool:
    """Whether there is a page that follows what the shell displays."""
    return getattr(shell, "kernel", None) is not None


def watch(run: Run) -> Watch:
    """The watch over a run, begun now if there is none."""
    if run not in _watches:
        run.recent.clear()  # the record has these rows, and the ones before
        _watches[run] = Watch(run, view.Course(run.history_tail()))
    return _watches[run]


def drop(run: Run, face: Face) -> None:
    """Leave a face as it is from now on, if its run is watched."""
    if run in _watches:
        _watches[run].drop(face)


def show(shell: InteractiveShell, run: Run) -> None:
    """Show a run in the cell that is executed now, once; the cell that showed it before stays as it is."""
    over = watch(run)
    before = next((face for face in over.faces if isinstance(face, Output)), None)
    if before is not None:
        if before.shown_in == shell.execution_count:
            return
        over.drop(before)
    over.add(Output(shell), follow=in_kernel(shell))


def flush_all() -> None:
    """After a cell, and when a run ends: every run as it stands, wherever it is shown."""
    for over in list(_watches.values()):
        over.flush()
        if over.run.over:
            _watches.pop(over.run, None)


def end_all() -> None:
    """When the extension is unloaded; nothing tells of cells any more."""
    global _cell_runs
    _cell_runs = False
    for over in list(_watches.values()):
        over.end()
    _watches.clear()


def cell_runs() -> bool:
    """Whether a cell is being executed, as far as the shell's events tell."""
    return _cell_runs


def before_cell(info: Any = None) -> None:
    """IPython's ``pre_run_cell``."""
    global _cell_runs
    _cell_runs = True


def after_cell(result: Any = None) -> None:
    """IPython's ``post_run_cell``."""
    global _cell_runs
    _cell_runs = False
    flush_all()
