"""One writer per run: who holds a run, whether that writer still lives, and how the next one takes its place.

A writer owns one *segment* of the record, ``000007.jsonl``; the number is its fencing token. Creating the
next number is exclusive on every file system, so two writers can never share a token, even where ``flock``
lies; and a writer that was overtaken goes on writing into a segment that nobody continues, so its late rows
cannot be mixed in. ``flock`` on the segment and the owner's process tell whether the writer lives.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BEAT = 5.0  # seconds between two signs of life of a writer
PATIENCE = 30.0  # seconds of silence after which a writer on another machine counts as dead


@dataclass(frozen=True)
class Owner:
    """The process that writes a segment; ``label`` is its notebook or program, for a person to read."""

    host: str
    machine: str
    pid: int
    started: float
    label: str

    def __str__(self) -> str:
        return f"{self.label} (pid {self.pid} on {self.host})"


def this_process(label: str) -> Owner:
    """The owner that the calling process is."""
    pid = os.getpid()
    return Owner(socket.gethostname(), _machine(), pid, _started(pid) or 0.0, label)


def holds(owner: Owner, locked: bool | None, silent_for: float) -> bool:
    """Whether the writer of a segment that was not released still lives.

    On this machine its process tells, whatever ``flock`` says: a forked child may keep a dead owner's lock,
    and some file systems grant a lock twice. In another container on it the lock tells. For another machine a held
    lock tells, and without one the seconds since the segment was last touched.
    """
    if owner.machine == _machine() and owner.started:
        return _started(owner.pid) == owner.started
    if locked is not None and _boot(owner.machine) == _boot(_machine()):
        return locked
    return bool(locked) or silent_for < PATIENCE


def here(owner: Owner) -> bool:
    """Whether the owner is a process of this machine, as this process sees it."""
    return owner.machine == _machine()


def _boot(machine: str) -> str:
    return machine.partition(" ")[0]


def locked(path: Path) -> bool | None:
    """Whether some process holds the lock of a segment; None where the file system has no locks."""
    try:
        fd = os.open(path, os.O_RDONLY | _CLOEXEC)
    except OSError:
        return None
    try:
        got = try_lock(fd, shared=True)  # two that look do not take each other for the owner
        return None if got is None else not got
    finally:
        os.close(fd)


def claim(path: Path, head: bytes) -> int | None:
    """Create the segment ``path`` with its first line, locked; its descriptor, or None if someone was first.

    The file appears under its name complete and locked, by a hard link; where the file system has no links,
    it is created exclusively and filled.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | _CLOEXEC
    fresh = path.with_name(f".{path.stem}-{os.getpid()}-{os.urandom(4).hex()}")
    fd = os.open(fresh, flags, 0o644)
    try:
        _write_all(fd, head)
        try_lock(fd)
        try:
            os.link(fresh, path)
        except FileExistsError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            fd = -1
            try:
                fd = os.open(path, flags, 0o644)
            except FileExistsError:
                return None
            try:
                _write_all(fd, head)
            except OSError:
                path.unlink()
                raise
            try_lock(fd)
        return fd
    except BaseException:
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
        raise
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


def silence(path: Path) -> float:
    """Seconds since a segment was written or touched, by the clock of the file system that holds it."""
    probe = path.with_name(f".clock-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        now = time.time()
    return max(0.0, now - path.stat().st_mtime)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@functools.cache
def _machine() -> str:
    """This boot of this machine, and the space that its process numbers are counted in."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        import uuid

        return f"{socket.gethostname()} {uuid.getnode():x}"


def _started(pid: int) -> float | None:
    """When a process started, in a unit of its machine's own; None if there is no such living process."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else float(fields[19])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time(), 1)
    except psutil.Error:
        return None


_CLOEXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
if sys.platform == "win32":
    import msvcrt

    def try_lock(fd: int, shared: bool = False) -> bool | None:
        """Lock an open file for this descriptor, without waiting; None where the file system has no locks."""
        # A byte far behind the end: Windows locks are mandatory, and readers must not meet this one.
        at = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, 1 << 40, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        except OSError:
            return None
        finally:
            os.lseek(fd, at, os.SEEK_SET)
        return True

    let_go = os.close

else:
    import fcntl

    def try_lock(fd: int, shared: bool = False) -> bool | None:
        """Lock an open file for this descriptor, without waiting; None where the file system has no locks."""
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks on this file system
            return None
        return True

    def let_go(fd: int) -> None:
        """Close a locked file, and unlock it: a child that was forked just now has a copy of it for a moment."""
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
