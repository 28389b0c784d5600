"""The one writer of a run: appends to its own segment, keeps what cannot be written yet, knows when it is fenced."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ..errors import RunInUse, StoreError, StoreUnwritable
from ..notices import Tell, tell
from . import edits, lease, lines
from .record import FORMAT, FileEntry, Record, ResumePoint, Tail

BACKLOG_BOUND = 64 << 20  # bytes of lines kept in memory while the disk takes none
_SNAPSHOT_EVERY = 1 << 16  # bytes of lines between two snapshots, at least


class Writer:
    """Appends to a run's record. Every method may be called from any thread.

    ``point`` is the resume point as it stands after the last append. When an append returns, its line is
    with the operating system - or, while the disk takes none, in memory, of which the user was told.
    """

    def __init__(
        self,
        record: Record,
        point: ResumePoint,
        base: Tail | None,
        owner: lease.Owner,
        tell: Tell = tell,
        rewound_to: tuple[int, int] | None = None,
    ):
        self.record = record
        self.point = point
        self.token = 0
        self.fenced_by: lease.Owner | None = None
        self.forked = False
        self.closed = False
        self.lock = threading.RLock()
        self._born = lines.dump_any(point.dump())
        self._finite = lines.all_finite(self._born)
        self._base = base
        self._continues = _continued(base, rewound_to)
        self._owner = owner
        self._tell = tell
        self._fd: int | None = None
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._dropped = 0
        self._since_snapshot = 0
        self._snapshot_at = _SNAPSHOT_EVERY
        self._touched = 0.0
        self._in_trouble = False

    @classmethod
    def open(
        cls,
        record: Record,
        point: ResumePoint,
        base: Tail | None,
        label: str,
        takeover: bool = False,
        tell: Tell = tell,
        rewound_to: tuple[int, int] | None = None,
    ) -> Writer | None:
        """Become the writer of a run that stands at ``base`` (None: a new run) and goes on from ``point``.

        ``rewound_to`` is a segment and a byte of it: what was recorded behind is no part of the run from now on
        ((0, 0): nothing of the history is).

        None if another process was faster, so that the caller looks again. Raises RunInUse if a living
        process writes the run and ``takeover`` is False. On a disk that takes nothing the writer keeps its
        lines in memory and tries again (see `tend`).
        """
        owner = None if base is None or _let_go_here(record, base) else record.live_owner(base)
        if base is not None and owner is not None and not takeover:
            raise in_use(base, owner)
        writer = cls(record, point, base, lease.this_process(label), tell, rewound_to)
        _open_writers.add(writer)
        try:
            if not writer._attach(settled=owner is None):
                return None
        except OSError as error:
            _check_foreign(record, error)
            writer._trouble(error)
        return writer

    def _attach(self, settled: bool = False) -> bool:
        """Claim the next segment; False if the run moved on. ``settled``: no writer lives, so its end must stand."""
        self.record.folder.mkdir(parents=True, exist_ok=True)
        token = max(self.record.tokens(), default=0) + 1
        newest = self.record.tail()
        if (newest and newest.token) != (self._base and self._base.token):
            return False
        if settled and newest and self._base and newest.end != self._base.end:
            return False  # its last lines came after we looked, and before it died
        head = {
            "format": FORMAT,
            "owner": asdict(self._owner),
            "base": self._continues,
        }
        if (found := _continued(self._base, None)) != self._continues:
            head["found"] = found
        body = b'%b,"snapshot":%b}' % (lines.dump(head)[:-1], self._born)
        fd = lease.claim(self.record.segment(token), lines.seal(lines.HEAD, body))
        if fd is None:
            return False
        self._fd, self.token = fd, token
        if self._base is not None:  # the snapshot in the head has them
            edits.settle(self.record.folder, self._base.edits)
        return True

    def row(self, row: dict[str, Any], finite: bool) -> None:
        """Append what one log() call recorded; ``finite`` says that no float in it is NaN or infinite."""
        body = lines.dump(row) if finite else lines.dump_any(row)
        self._finite &= finite
        self.point.add_row(row)
        self._append(lines.seal(lines.ROW, body))

    def late_row(self, row: dict[str, Any]) -> None:
        """Append a row below the step that the run has reached: kept, out of order."""
        self.put(lines.LATE_STEP, row)

    def put(self, kind: str, value: dict[str, Any]) -> None:
        """Append any other line."""
        with self.lock:
            body = lines.dump_any(value)
            self._finite &= lines.all_finite(body)
            self.point.apply(kind, value)
            self._append(lines.seal(kind, body))

    def files(self) -> dict[str, FileEntry]:
        """The files that the run has saved, by name."""
        with self.lock:
            return dict(self.point.files)

    def commit(self, changes: Sequence[tuple[str, Any]]) -> None:
        """Append several lines in one write, all or none: when this returns they survive ``kill -9``.

        Raises RunInUse if another process has taken the run over, StoreUnwritable if the disk takes nothing; the
        record and ``point`` are then as they were.
        """
        with self.lock:
            self._check_fence()
            if self.closed or self.forked or self._backlog:
                raise StoreUnwritable(f"{self.record.folder} takes nothing at the moment: try again later.")
            sealed = b"".join(lines.seal(kind, lines.dump_exact(value)) for kind, value in changes)
            self._write_whole(sealed)
            self._check_fence()  # else what was just written may lie behind the end that the other one found
            self._finite &= lines.all_finite(sealed)
            for kind, value in changes:
                self.point.apply(kind, value)
            self._since_snapshot += len(sealed)
            if self._since_snapshot >= self._snapshot_at:
                with contextlib.suppress(StoreUnwritable):  # a snapshot is only for speed
                    self._write_whole(self._snapshot())

    def _check_fence(self) -> None:
        if self.overtaken:
            self._see_fence()
            found = Tail(self.token, 0, self.point, self.fenced_by, 0)
            raise in_use(found, self.fenced_by or self._owner)

    def _write_whole(self, data: bytes) -> None:
        """Append ``data`` or leave the segment as it was."""
        if self._fd is None:
            raise StoreUnwritable(f"{self.record.folder} takes nothing at the moment: free some space there.")
        stat = os.fstat(self._fd)
        before = stat.st_size
        if not stat.st_nlink:
            raise StoreUnwritable(f"{self.record.folder} was removed while run {self.point.path} was being written.")
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)
            raise StoreUnwritable(
                f"{self.record.folder} takes nothing at the moment ({error.strerror}): free some space there."
            ) from error

    def file(self, entry: FileEntry) -> str | None:
        """Append that a file was saved; the digest whose content no file of the run has any more, if there is one."""
        with self.lock:
            before = self.point.files.get(entry.name)
            self.put(lines.FILE, asdict(entry))
            if self.fenced_by or self.forked or self._fd is None or self._backlog:
                return None
            if self.overtaken:
                return None
            unused = before is not None and all(other.digest != before.digest for other in self.point.files.values())
            return before.digest if before is not None and unused else None

    def close(self, state: str, exit_code: int | None) -> None:
        """Say how the run ends here, and let it go. A fenced writer only lets go."""
        with self.lock:
            if self.forked or self.closed:
                return
            if self.fenced_by is None:
                self._take_edits()
                self.put(lines.END, {"state": state, "exit_code": exit_code, "at": time.time()})
            self._flush()
            if lost := len(self._backlog) + self._dropped:
                self._tell(
                    f"{lost} lines of run {self.point.path} could not be written to "
                    f"{self.record.folder} and are lost with this process; the disk took nothing until the end."
                )
            if self._fd is not None:
                lease.let_go(self._fd)
                self._fd = None
            self.closed = True

    def release(self) -> None:
        """Let the run go without a word about how it ends; what it said last stays."""
        with self.lock:
            if self._fd is not None:
                lease.let_go(self._fd)
                self._fd = None
            self.closed = True

    @property
    def overtaken(self) -> bool:
        """Whether another process has taken the run over, as the folder says now."""
        return self.fenced_by is not None or (self.token > 0 and os.path.exists(self.record.segment(self.token + 1)))

    @property
    def attached(self) -> bool:
        """Whether it has a segment of its own; not while the disk takes none."""
        return self.token > 0

    @property
    def in_memory(self) -> int:
        """How many lines wait in memory for a disk that takes none."""
        return len(self._backlog)

    def tend(self) -> None:
        """What must happen now and then: write what waits, see a fence, take in edits, show a sign of life."""
        with self.lock:
            if self.forked or self.closed:
                return
            self._flush()
            if self._fd is None or self.fenced_by is not None:
                return
            if self.overtaken:
                self._see_fence()
                return
            self._take_edits()
            if time.monotonic() - self._touched > lease.BEAT:
                self._touched = time.monotonic()
                with contextlib.suppress(OSError):
                    os.utime(self.record.segment(self.token))

    def _take_edits(self) -> None:
        waiting = edits.names(self.record.folder)
        if not waiting or self._fd is None or self._backlog:
            return
        for name in waiting:
            if meta := edits.read(self.record.folder, name):
                self.put(lines.META, meta)
        if not self._backlog:
            edits.settle(self.record.folder, waiting)

    def _see_fence(self) -> None:
        try:
            tail = self.record.tail()
        except (OSError, StoreError):  # it is looked at again
            return
        if self.fenced_by is not None or tail is None or tail.owner is None or tail.token <= self.token:
            return
        self.fenced_by = tail.owner
        self._tell(
            f"run {self.point.path} was taken over by {self.fenced_by}: what is logged here from now on "
            "is kept aside and is no part of the run; call finish() here, or init() to start another run."
        )

    def _append(self, line: bytes) -> None:
        if self.forked or self.closed:
            return
        if self._backlog or self._fd is None:
            self._hold(line)
        else:
            try:
                written = os.write(self._fd, line)
            except OSError as error:
                self._trouble(error)
                self._hold(line)
                return
            if written != len(line):
                self._hold(line[written:])
        self._since_snapshot += len(line)
        if self._since_snapshot >= self._snapshot_at:
            self._append(self._snapshot())

    def _snapshot(self) -> bytes:
        dump = lines.dump if self._finite else lines.dump_any
        snapshot = lines.seal(lines.SNAPSHOT, dump(self.point.dump()))
        self._snapshot_at = max(_SNAPSHOT_EVERY, 8 * len(snapshot))
        self._since_snapshot = -len(snapshot)
        return snapshot

    def _hold(self, line: bytes) -> None:
        if self._backlog_bytes + len(line) > BACKLOG_BOUND:
            if not self._dropped:
                self._tell(
                    f"{BACKLOG_BOUND >> 20} MiB of run {self.point.path} wait in memory and {self.record.folder} still "
                    "takes nothing: newer rows are dropped from here on; free some space there."
                )
            self._dropped += 1
            return
        self._backlog.append(line)
        self._backlog_bytes += len(line)

    def _trouble(self, error: OSError) -> None:
        if self._in_trouble:
            return
        self._in_trouble = True
        self._tell(
            f"cannot write to {self.record.folder} ({error.strerror}): training goes on and rows are kept in memory, "
            f"up to {BACKLOG_BOUND >> 20} MiB, until there is room; free some space or set JUPYTER_RESUME_HOME to "
            "another folder for the next run."
        )

    def _flush(self) -> None:
        if self.forked or (self._fd is not None and not self._backlog):
            return
        try:
            if self._fd is None and (self.fenced_by or not self._attach()):
                self._see_fence()
                return
            assert self._fd is not None
            count = len(self._backlog)
            while self._backlog:
                line = self._backlog[0]
                written = os.write(self._fd, line)
                self._backlog_bytes -= written
                if written == len(line):
                    self._backlog.popleft()
                else:
                    self._backlog[0] = line[written:]
            lost = f"{self._dropped} dropped meanwhile" if self._dropped else "none lost"
            self._in_trouble = False
            self._tell(f"{self.record.folder} takes data again: {count} lines written, {lost}.")
        except OSError as error:
            self._trouble(error)

    def _abandon(self) -> None:
        """In a forked child: the run stays the parent's. Closing a copy of the descriptor does not unlock it."""
        self.forked = True
        self.lock = threading.RLock()
        self._backlog.clear()
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None


def _continued(base: Tail | None, rewound_to: tuple[int, int] | None) -> list[int] | None:
    """The segment, and the bytes of it, that a new one continues."""
    if rewound_to is not None:
        return list(rewound_to) if rewound_to[0] else None
    return None if base is None else [base.token, base.end]


def in_use(tail: Tail, owner: lease.Owner) -> RunInUse:
    """The refusal of a second writer: who holds the run, where it stands, and the ways on."""
    return RunInUse(
        f"Run {tail.point.path} is being written by {owner}, last step {tail.point.last_step}: finish it there, "
        "pass another id, or take it over with takeover=True (%wb_init --takeover).",
        owner=owner,
        last_step=tail.point.last_step,
    )


def _let_go_here(record: Record, tail: Tail) -> bool:
    """Whether this process wrote that segment and has closed it, without a word in it as the disk took none."""
    if tail.owner is None or tail.owner != lease.this_process(tail.owner.label):
        return False
    ours = [writer for writer in list(_open_writers) if not writer.closed and not writer.forked]
    return all((writer.record.folder, writer.token) != (record.folder, tail.token) for writer in ours)


def _check_foreign(record: Record, error: OSError) -> None:
    """A record of another user's is refused; a disk that takes nothing is not."""
    getuid: Callable[[], int] | None = getattr(os, "geteuid", None)
    if not isinstance(error, PermissionError) or getuid is None or not record.folder.exists():
        return
    if (uid := record.folder.stat().st_uid) != getuid():
        raise StoreUnwritable(
            f"The record in {record.folder} belongs to another user (uid {uid}): start a run of your own with another "
            "id, or set JUPYTER_RESUME_HOME to a folder of yours."
        ) from error


_open_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_open_writers):
        writer._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
