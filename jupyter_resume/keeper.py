"""One quiet thread a process, which tends every open run once a second: what waits, what changed, who took over."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from .notices import tell

PERIOD = 1.0  # seconds


class Keeper:
    """Calls each added function about once a period; starts its thread with the first, ends it with the last."""

    def __init__(self) -> None:
        self._tasks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def add(self, task: Callable[[], None]) -> None:
        """Call ``task`` from now on; what goes wrong in it is told once, and it is called again all the same."""
        with self._lock:
            self._tasks.append(task)
            if len(self._tasks) == 1:
                self._wake = threading.Event()
                threading.Thread(
                    target=self._work, args=(self._wake,), name="jupyter-resume-keeper", daemon=True
                ).start()

    def remove(self, task: Callable[[], None]) -> None:
        """Call ``task`` no more."""
        with self._lock:
            if task in self._tasks:
                self._tasks.remove(task)
            if not self._tasks:
                self._wake.set()

    def _work(self, ended: threading.Event) -> None:
        told: set[str] = set()
        while not ended.wait(PERIOD):
            for task in list(self._tasks):
                try:
                    task()
                except Exception as error:
                    trouble = f"background work: {type(error).__name__}: {error}"
                    if trouble not in told:
                        told.add(trouble)
                        tell(trouble)


keeper = Keeper()


def _after_fork() -> None:
    """A forked child has no such thread, and no run to tend."""
    keeper.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
