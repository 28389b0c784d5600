"""How a process ends its open runs. Politeness only: what was logged is safe without it.

A script's clean end finishes its run, an uncaught exception or ``sys.exit`` of a failure fails it, Ctrl-C
interrupts it. A notebook's kernel that is shut down or restarted leaves its run interrupted, to be resumed.
A killed process says nothing; its run is ``crashed``. Nor does Python tell anybody of a ``SystemExit`` that was raised
by hand, or that a ``sys.exit`` was caught: such a script counts as what ``sys.exit`` was given last.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ._run import Run

_watched: list[tuple[Run, bool]] = []
_pid = 0
_state, _exit_code = "finished", 0


def watch(run: Run, in_notebook: bool) -> None:
    """See to it that ``run`` is ended with this process."""
    global _pid
    if _pid != os.getpid():
        _pid = os.getpid()
        _watched.clear()
        atexit.register(_end)
        if not in_notebook:
            _listen()
    _watched[:] = [(other, kind) for other, kind in _watched if not other.closed]
    _watched.append((run, in_notebook))


def exit_code_of(status: object) -> int:
    """The exit code that Python makes of what ``sys.exit`` is given."""
    return status if isinstance(status, int) else 0 if status is None else 1


def _end() -> None:
    if _pid != os.getpid():
        return
    for run, in_notebook in _watched:
        if in_notebook:
            run.close("interrupted")
        else:
            run.close(_state, None if _state == "interrupted" else _exit_code)


def _listen() -> None:
    """Learn how the program ends: its uncaught exception, or the argument of ``sys.exit``."""
    hook, leave = sys.excepthook, sys.exit

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _state, _exit_code
        interrupted = issubclass(kind, KeyboardInterrupt)
        _state, _exit_code = ("interrupted", 0) if interrupted else ("failed", 1)
        hook(kind, error, trace)

    def exit(status: Any = None, /) -> NoReturn:
        global _state, _exit_code
        if threading.current_thread() is threading.main_thread():  # elsewhere it ends a thread, not the program
            _exit_code = exit_code_of(status)
            _state = "failed" if _exit_code else "finished"
        leave(status)

    sys.excepthook, sys.exit = excepthook, exit
