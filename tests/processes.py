"""Processes of a test's own, forked from a clean server: they report over pipes and shared memory, and can be killed.

with started(log_for_ever, home, counters) as child:
    counters.wait(0, 100)
    child.kill()
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume import _active, _init, keeper
from jupyter_resume.store import lease

PATIENCE = 60.0
"""Seconds after which a test gives up on an event; no test relies on how long anything takes."""

_context = multiprocessing.get_context("forkserver")
_PRELOADED = [
    "pytest", "jupyter_resume._there", "jupyter_resume.remote.wandb", "requests", "netrc", "difflib", "tempfile",
    "platformdirs",
]  # fmt: skip
"""What the package imports only when it is needed: a process that became nobody may not read Python's own folder."""
_context.set_forkserver_preload([__name__, *_PRELOADED])


@functools.cache
def _start_server() -> None:
    """Start it with everything imported, so that a process takes milliseconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()


@contextlib.contextmanager
def started(target: Callable[..., None], *args: Any) -> Iterator[BaseProcess]:
    """A process that runs ``target``; killed at the end if it still lives."""
    _start_server()
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
            self._shared = memoryview(mmap.mmap(opened.fileno(), 64)).cast("q")  # struct would write a zero first

    def __getitem__(self, slot: int) -> int:
        return self._shared[slot]

    def __setitem__(self, slot: int, value: int) -> None:
        self._shared[slot] = value

    def wait(self, slot: int, least: int) -> None:
        """Return when the slot has reached ``least``."""
        end = time.monotonic() + PATIENCE
        while self[slot] < least:
            if time.monotonic() > end:
                raise TimeoutError(f"counter {slot} stays at {self[slot]}")
            time.sleep(0.0005)  # shared memory tells nobody

    def __reduce__(self) -> tuple[type[Counters], tuple[Path]]:
        return Counters, (self.file,)


class Other:
    """Another process with runs of its own, told what to do one call at a time.

    Errors of ours that it meets are raised here, by their names, as `Refused`.
    """

    class Refused(Exception):
        """What the other process met; ``kind`` is the error's name."""

        def __init__(self, kind: str, text: str) -> None:
            super().__init__(text)
            self.kind = kind

    def __init__(self, process: BaseProcess, end: Any) -> None:
        self.process = process
        self._end = end
        self.pid: int = process.pid or 0

    def send(self, what: str, *args: Any, **kwargs: Any) -> None:
        """Tell it to do something and go on; `answer` waits."""
        self._end.send((what, args, kwargs))

    def answer(self) -> Any:
        """What came of what was sent."""
        kind, value = hear(self._end)
        if kind != "ok":
            raise self.Refused(kind, value)
        return value

    def __getattr__(self, what: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.send(what, *args, **kwargs)
            return self.answer()

        return call

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def other(home: Path, *patches: Callable[[], None], **environment: str) -> Iterator[Other]:
    """Another process on the same store; ``patches`` are called in it first."""
    here, there = pipe()
    with started(_obey, there, home, patches, environment) as process:
        yield Other(process, here)


def _obey(end: Any, home: Path, patches: tuple[Callable[[], None], ...], environment: dict[str, str]) -> None:
    at_home(home, **environment)
    sys.modules["__main__"].__file__ = str(home.parent / "train.py")
    keeper.PERIOD = 1e6  # it is tended when it is told to
    for patch in patches:
        patch()
    can = Able(end)
    while True:
        what, args, kwargs = end.recv()
        try:
            end.send(("ok", getattr(can, what)(*args, **kwargs)))
        except Exception as error:
            end.send((type(error).__name__, str(error)))


class Able:
    """What another process can be told to do."""

    def __init__(self, end: Any) -> None:
        self.end = end

    def init(self, **kwargs: Any) -> tuple[bool, int, int]:
        """Begin a run: whether it was resumed, its step, and its fencing token."""
        run = _init.init(**kwargs)
        return run.resumed, run.step, run._writer.token

    def log(self, *rows: dict[str, Any]) -> None:
        for row in rows:
            _active.log(row)

    def save(self, name: str, content: str) -> None:
        Path(name).write_text(content)
        _active.save(name, policy="now")

    def finish(self) -> None:
        _active.finish()

    def state(self) -> str:
        return self._run().state

    def runs(self, count: int) -> list[str]:
        """Begin and finish so many runs; their ids."""
        ids = []
        for n in range(count):
            run = _init.init(project=f"project {n % 3}")
            ids.append(run.id)
            run.finish()
        return ids

    def in_memory(self) -> int:
        return int(self._run().in_memory)

    def limit(self, size: int) -> None:
        """Let no file of this process grow beyond a size in bytes (-1: any)."""
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def tend(self) -> None:
        """What a second thread does once a second."""
        self._run()._tend()

    def zombie(self, **kwargs: Any) -> int:
        """Have a child that begins a run, logs, and is killed without being waited for; its pid."""
        begun, say = os.pipe()
        pid = os.fork()
        if not pid:
            _init.init(**kwargs).log({"n": 0})
            os.write(say, b".")
            os.kill(os.getpid(), signal.SIGKILL)
        os.read(begun, 1)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    def _run(self) -> Any:
        run = _active.active()
        assert run is not None
        return run


def lie_about_locks() -> None:
    """A file system that grants every lock."""
    lease.try_lock = lambda fd, shared=False: True


def have_no_locks() -> None:
    """A file system without locks."""
    lease.try_lock = lambda fd, shared=False: None


def have_no_links() -> None:
    """A file system without hard links."""

    def link(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    os.link = link


def be_another_machine() -> None:
    """A process that counts as one of another machine's."""
    lease._machine = lambda: "another machine"  # type: ignore[assignment]


def become_nobody() -> None:
    """Another user, whom file permissions bind."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
