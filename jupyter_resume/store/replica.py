"""What this machine knows of a run's replica on a server: what it has acknowledged, and where the record goes on.

It lies beside the record and is only a memory: the server itself is asked before anything is sent, and lines are sent
by number, so that a state that is old, or lost, costs a question and nothing more. Which files the server has lies in a
file of its own (see `uploaded`), so that what is written for an upload, or for a post, does not grow with them.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..identity import RunPath
from . import lease, lines
from .blobs import beside
from .follow import Cursor
from .uploaded import Files, Uploaded


@dataclass(frozen=True)
class Shift:
    """From line ``since`` of the record on, rows go to lines and steps that lie so much higher.

    This is how rows that were logged here are appended to a run that has gone on elsewhere meanwhile.
    """

    since: int = 0
    rows: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Divergence:
    """The server has gone on to step ``there``, lines from ``first`` of the record on wait: a person is to choose."""

    first: int
    there: int


@dataclass
class Replica:
    """The replica of a run at ``base_url``.

    ``rows``, ``events`` and ``output`` are the first line numbers of the record that the server does not have yet,
    ``cursor`` is where the first such row lies; ``last`` is the last row that it has. ``said`` is the description
    and ``summary`` the summary that it was last told from here, ``files`` maps names to ``[digest, md5 in base64]``.
    ``ended`` counts the sessions whose end it knows, ``in_step_at`` is when it was last in step (0: never), ``rewound``
    the step of the last rewind there that was followed here.
    """

    base_url: str
    path: RunPath
    storage_id: str | None = None
    rows: int = 0
    events: int = 0
    output: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    last: dict[str, Any] = field(default_factory=dict)
    shifts: list[Shift] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    internal: dict[str, Any] = field(default_factory=dict)
    files: Files = field(default_factory=dict)
    ended: int = 0
    in_step_at: float = 0.0
    diverged: Divergence | None = None
    rewound: int | None = None

    def shift(self, number: int) -> Shift:
        """Where a line of the record goes."""
        return next((shift for shift in reversed(self.shifts) if shift.since <= number), Shift())

    def there(self, number: int) -> int:
        """The server's number of a line of the record."""
        return number + self.shift(number).rows

    def move(self, shift: Shift) -> None:
        """Let lines go elsewhere, from ``shift.since`` up to where another shift begins."""
        others = [known for known in self.shifts if known.since != shift.since]
        self.shifts = sorted([*others, shift], key=lambda known: known.since)

    def dump(self) -> bytes:
        """As JSON, but for the files."""
        values = asdict(replace(self, files={}))
        del values["files"]
        return lines.dump_any(values)

    @classmethod
    def load(cls, data: bytes) -> Replica:
        """From `dump`, also of an earlier version, which had the files; keys of a later one are passed over.

        Raises ValueError.
        """
        try:
            values = {key: value for key, value in lines.load(data).items() if key in cls.__dataclass_fields__}
            values["path"] = RunPath(**values["path"])
            values["cursor"] = Cursor(**values["cursor"])
            values["shifts"] = [Shift(**shift) for shift in values["shifts"]]
            values["diverged"] = Divergence(**diverged) if (diverged := values.get("diverged")) else None
            replica = cls(**values)
            if not all(type(count) is int for count in (replica.rows, replica.events, replica.output, replica.ended)):
                raise ValueError("a count is no number")
            if not isinstance(replica.files, dict):
                raise ValueError("the files are none")
            return replica
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(str(error)) from error


class ReplicaFile:
    """Where a run's replica at one server is remembered; one process at a time may bring it up to date."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uploaded = Uploaded(path.with_suffix(".files.jsonl"))
        self._fd: int | None = None
        _files.add(self)

    @classmethod
    def of(cls, folder: Path, base_url: str) -> ReplicaFile:
        """The one for a server."""
        name = "".join(c if c.isalnum() or c in ".-" else "_" for c in base_url.partition("://")[2])
        return cls(folder / f"{name}.json")

    def load(self) -> Replica | None:
        """What is known; None if nothing is, or if it is not readable."""
        try:
            replica = Replica.load(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        files = self._uploaded.load()
        replica.files = {**replica.files, **files} if replica.files else files
        return replica

    def save_upload(self, replica: Replica, name: str) -> None:
        """Remember that a file was sent, and nothing else."""
        with contextlib.suppress(OSError):
            self._uploaded.save(replica.files, name)

    def save(self, replica: Replica) -> None:
        """Remember. A disk that takes nothing is no error: see the module."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._uploaded.save(replica.files)  # first: that a server has lost a run's files is never forgotten
            fresh = beside(self.path)
            try:
                fresh.write_bytes(replica.dump())
                fresh.replace(self.path)
            finally:
                fresh.unlink(missing_ok=True)

    def note(self, replica: Replica) -> None:
        """As `save`, unless another process brings it up to date, or has done so since."""
        if self.lock():
            known = self.load()
            if known is None or known.in_step_at <= replica.in_step_at:
                self.save(replica)
            self.unlock()

    def lock(self) -> bool:
        """Become the one that brings this replica up to date; False if another process does."""
        if self._fd is not None:
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return True  # nothing can be remembered here either; the server is asked before anything is sent
        if lease.try_lock(fd) is False:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def unlock(self) -> None:
        """Let another process bring it up to date."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                lease.let_go(self._fd)
            self._fd = None

    def _abandon(self) -> None:
        """In a forked child: its copy of the lock is closed, or it would outlive the parent's."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None


_files: weakref.WeakSet[ReplicaFile] = weakref.WeakSet()


def _after_fork() -> None:
    for file in list(_files):
        file._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
