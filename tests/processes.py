"""Processes of a test's own, forked from a clean server: they report over pipes and shared memory, and can be killed.

with started(log_for_ever, home, counters) as child:
    counters.wait(0, 100)
    child.kill()
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import struct
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jupyter_resume import _init, settings  # noqa: F401 - imported once, in the server
from jupyter_resume.notebook import session  # noqa: F401

PATIENCE = 60.0
"""Seconds after which a test gives up on an event; no test relies on how long anything takes."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


@contextlib.contextmanager
def started(target: Callable[..., None], *args: Any) -> Iterator[BaseProcess]:
    """A process that runs ``target``; killed at the end if it still lives."""
    process = _context.Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def pipe() -> tuple[Any, Any]:
    """Two ends of a pipe, either of which can be an argument of ``started``."""
    return _context.Pipe()


def hear(end: Any) -> Any:
    """The next thing that the process at the other end says."""
    if not end.poll(PATIENCE):
        raise TimeoutError("the process says nothing")
    return end.recv()


def at_home(home: Path, **environment: str) -> None:
    """In a child: use this store, work in the folder that holds it, and keep notices out of the way."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "JUPYTER_RESUME_"))]:
        del os.environ[name]
    os.environ["JUPYTER_RESUME_HOME"] = str(home)
    os.environ.update(environment)
    os.chdir(home.parent)
    notices = os.open(home.parent / "notices", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(notices, 2)
    os.close(notices)


class Counters:
    """Eight integers in a file, shared by every process that opens it; what was stored survives a kill."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists():
            file.write_bytes(bytes(64))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 64)

    def __getitem__(self, slot: int) -> int:
        return int(struct.unpack_from("q", self._shared, 8 * slot)[0])

    def __setitem__(self, slot: int, value: int) -> None:
        struct.pack_into("q", self._shared, 8 * slot, value)

    def wait(self, slot: int, least: int) -> None:
        """Return when the slot has reached ``least``."""
        end = time.monotonic() + PATIENCE
        while self[slot] < least:
            if time.monotonic() > end:
                raise TimeoutError(f"counter {slot} stays at {self[slot]}")
            time.sleep(0.0005)  # shared memory tells nobody

    def __reduce__(self) -> tuple[type[Counters], tuple[Path]]:
        return Counters, (self.file,)
