"""What is brought to a remote: a run as it stands now, whether this process writes it or it lies in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..store.record import FileEntry, Record, ResumePoint
from ..store.watch import Present
from ..store.writer import Writer
from .merge import describe

ENDED = {"finished": 0, "failed": 1, "interrupted": 130}  # states that a server is told, with their exit codes


@dataclass(frozen=True)
class Look:
    """A run as it stands: ``reached`` is the step that its living writer logs next, None if it has none."""

    said: dict[str, Any]
    summary: dict[str, Any]
    files: dict[str, FileEntry]
    reached: int | None
    sessions: int
    rows: int
    last_step: int
    runtime: float
    exit_code: int | None

    @classmethod
    def of(cls, point: ResumePoint, reached: int | None, ended: bool = True) -> Look:
        """From a resume point, which may be written on afterwards."""
        code = ENDED.get(point.state) if ended else None
        return cls(
            said=describe(point),
            summary=dict(point.summary),
            files=dict(point.files),
            reached=reached,
            sessions=point.sessions,
            rows=point.rows,
            last_step=point.last_step,
            runtime=point.runtime,
            exit_code=code if code is None or point.state == "interrupted" else point.exit_code or code,
        )


@dataclass(frozen=True)
class Source:
    """A run to be brought to a remote: where its record is, how it stands when that is asked, how many rows it has.

    ``lost`` says whether another process has taken it over.
    """

    record: Record
    look: Callable[[], Look]
    rows: Callable[[], int]
    lost: Callable[[], bool] = lambda: False


def written_here(writer: Writer, step: Callable[[], int]) -> Source:
    """A run that this process writes; ``step`` is the one that it logs next."""

    def look() -> Look:
        with writer.lock:
            # While the disk takes nothing, the record lacks what the run has: its last row may not be whole.
            reached = None if writer.closed else -1 if writer.in_memory else step()
            return Look.of(writer.point, reached, ended=writer.closed)

    return Source(writer.record, look, lambda: writer.point.rows, lambda: writer.overtaken or writer.forked)


def in_store(record: Record) -> Source:
    """A run that lies in the store; a row that another process may still add to is left for later.

    What is asked again costs what is new in the record, so that sending many files does not read all their names for
    each. To be used from one thread.
    """
    present = Present(record)

    def look() -> Look:
        tail = present.look()
        if tail is None:
            raise AssertionError("a run that is synced has a record")
        living = record.live_owner(tail) is not None
        return Look.of(tail.point, tail.point.last_step if living else None, ended=not living)

    return Source(record, look, lambda: look().rows)
