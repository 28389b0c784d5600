"""How a run here and its replica stand to each other: who has rows that the other lacks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..remote.base import RemotePoint, step_of
from ..store.follow import Cursor, Row, follow, row_at
from ..store.record import Record
from ..store.replica import Replica

_CLOSE = 0.01  # seconds that a timestamp may lose on its way


@dataclass(frozen=True)
class InStep:
    """All that the server has is here too; ``rows`` is the first line that it lacks, which lies at ``cursor``.

    ``last`` is the row before, as the server has it.
    """

    rows: int
    cursor: Cursor
    last: dict[str, Any]


@dataclass(frozen=True)
class GoneOn:
    """The server has rows that are not here, and nothing waits here."""


@dataclass(frozen=True)
class Diverged:
    """The server has rows that are not here, and rows wait here: from ``first`` on, ``waiting`` of them."""

    first: Row
    waiting: int
    last_step: int


Relation = InStep | GoneOn | Diverged


def relate(record: Record, replica: Replica, there: RemotePoint | None) -> Relation:
    """Compare a record with what the server says of the run; None: it has no such run."""
    if there is None or (not there.started and not there.rows):
        return InStep(0, Cursor(), {})
    if there.rows == replica.there(replica.rows) and _plausible(replica, there):
        return InStep(replica.rows, replica.cursor, dict(there.tail) or replica.last)
    if there.rows:
        shift = next((s for s in reversed(replica.shifts) if s.since + s.rows < there.rows), None)
        number = there.rows - 1 - (shift.rows if shift else 0)
        row = row_at(record, replica.cursor, number)
        if row and same(moved(row.row, shift.steps if shift else 0), there.tail):
            return InStep(number + 1, row.end, dict(there.tail))
    waiting = [row for row in follow(record, replica.cursor) if isinstance(row, Row) and row.number >= replica.rows]
    if not waiting:
        return GoneOn()
    return Diverged(waiting[0], len(waiting), waiting[-1].row["_step"])


def _plausible(replica: Replica, there: RemotePoint) -> bool:
    """Whether a server with as many rows as it is known to have has those rows."""
    if there.rows and there.tail and replica.last:
        return same(replica.last, there.tail)
    return replica.storage_id is not None or there.last_step < 0


def same(here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Whether two rows are one: the same step, logged at the same time."""
    if step_of(here) != step_of(there):
        return False
    at, also = here.get("_timestamp"), there.get("_timestamp")
    if isinstance(at, (int, float)) and isinstance(also, (int, float)):
        return abs(at - also) <= _CLOSE
    return all(
        math.isclose(value, there[key], rel_tol=1e-9)
        for key, value in here.items()
        if not key.startswith("_") and isinstance(value, (int, float)) and isinstance(there.get(key), (int, float))
    )


def moved(row: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """A row at a step that is so much higher."""
    return {**row, "_step": row["_step"] + steps} if steps else dict(row)
