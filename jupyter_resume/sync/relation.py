"""How a run here and its replica stand to each other: who has rows that the other lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..remote.base import RemotePoint, step_of
from ..store.follow import Cursor, Row, follow, holds
from ..store.record import Record
from ..store.replica import Replica, Shift

Scan = Callable[[int, int], Iterable[Mapping[str, Any]]]
_CLOSE = 0.01  # seconds that a timestamp may lose on its way
_PAGE = 1000  # rows that are compared at once


@dataclass(frozen=True)
class InStep:
    """All that the server has is here too; ``rows`` is the first line that it lacks, which lies at ``cursor``.

    ``last`` is the row before, as the server has it; ``shift`` is where the lines go from there on, if that was not
    known.
    """

    rows: int
    cursor: Cursor
    last: dict[str, Any]
    shift: Shift | None = None


@dataclass(frozen=True)
class GoneOn:
    """The server has rows that are not here, and nothing waits here but the row that may still grow.

    ``cut``: somebody has rewound the run there, and what lies behind this place of the record is no part of it now.
    """

    open_row: Row | None = None
    cut: Cursor | None = None


@dataclass(frozen=True)
class Diverged:
    """The server has rows that are not here, and rows wait here: from ``first`` on, ``waiting`` of them.

    ``cut`` is where the record ends if the server's are adopted.
    """

    first: Row
    waiting: int
    last_step: int
    cut: Cursor


Relation = InStep | GoneOn | Diverged


def relate(
    record: Record, replica: Replica, there: RemotePoint | None, scan: Scan, reached: int | None = None
) -> Relation:
    """Compare a record with what the server says of the run; None: it has no such run.

    ``scan`` gives the server's rows from a step on and below another; it is asked only where the server has rows that
    are not known here. ``reached``: see `follow`.
    """
    if there is None or (not there.rows and (not there.started or there.last_step < 0 or replica.rows)):
        return InStep(0, Cursor(), {})
    rows = _rows(record)
    known = holds(record, replica.cursor) and replica.rows <= rows
    if known and there.rows == replica.there(replica.rows) and _plausible(replica, there):
        return InStep(replica.rows, replica.cursor, dict(there.tail) or replica.last)
    start = replica.cursor if known else Cursor()
    rewound = _rewound(record, replica, there, scan) if known else None
    # A server that has more than it is known to have can have only later rows of this record.
    behind = there.rows <= replica.there(replica.rows)
    if there.rows and rewound is None and (found := _find_tail(record, replica, there, Cursor() if behind else start)):
        return found
    lacking = _lacking(record, start, replica.rows if known else 0, replica, scan)
    if lacking is not None and (reached is None or lacking.first.row["_step"] < reached):
        return lacking if rewound is None else replace(lacking, cut=rewound)
    return GoneOn(None if lacking is None else lacking.first, rewound)


def _rewound(record: Record, replica: Replica, there: RemotePoint, scan: Scan) -> Cursor | None:
    """Where the record is cut to follow a server on which somebody has rewound the run since it was last in step.

    A rewind says so there; a server that was set back, and is to be sent again what it lost, does not. One that leaves
    no word of rewinds, or of a second one to the same step, counts as set back.
    """
    step, last = there.rewound_to, step_of(replica.last)
    if step is None or last is None or step >= last or step == replica.rewound:
        return None
    if any(same(replica.last, row) for row in scan(last, last + 1)):
        return None
    cut = Cursor()
    for row in _rows_from(record, Cursor(), 0):
        if row.number >= replica.rows or row.row["_step"] + replica.shift(row.number).steps > step:
            break
        cut = row.end
    return cut


def _rows(record: Record) -> int:
    tail = record.tail()
    return 0 if tail is None else tail.point.rows


def _find_tail(record: Record, replica: Replica, there: RemotePoint, start: Cursor) -> InStep | None:
    """Where the server's last row is in the record, from a place on: at its number, or wherever the same was logged."""
    shift = next((s for s in reversed(replica.shifts) if s.since + s.rows < there.rows), Shift())
    found: InStep | None = None
    for item in follow(record, start):
        if not isinstance(item, Row):
            continue
        number = item.number + 1
        if number == there.rows - shift.rows and same(moved(item.row, shift.steps), there.tail):
            return InStep(number, item.end, dict(there.tail))
        if "_timestamp" in there.tail and (steps := _moved_by(item.row, there.tail)) is not None:
            found = InStep(number, item.end, dict(there.tail), Shift(number, there.rows - number, steps))
    return found


def _lacking(record: Record, start: Cursor, number: int, replica: Replica, scan: Scan) -> Diverged | None:
    """The rows from line ``number`` on, behind a place, that the server does not have: looked for from the end.

    The server is asked a page at a time until there is one that it has, and of this record one page is held: also where
    what was known of the replica is lost, what is fetched grows with the rows that wait and not with the history. The
    record is read once, to find its pages: lines have no numbers in them, so that it can only be read forwards.
    """
    pages = [row.start for n, row in enumerate(_rows_from(record, start, number)) if n % _PAGE == 0]
    found: Diverged | None = None
    for page in reversed(pages):
        rows = list(islice(_rows_from(record, page, number), _PAGE))
        lacking = _not_there(rows, replica, scan)
        if lacking:
            waiting, last_step = (0, lacking[-1].row["_step"]) if found is None else (found.waiting, found.last_step)
            found = Diverged(lacking[0], waiting + len(lacking), last_step, lacking[0].start)
        if len(lacking) < len(rows):
            break
    return found


def _rows_from(record: Record, start: Cursor, number: int) -> Iterator[Row]:
    """The rows of a record behind a place, from a line on."""
    return (item for item in follow(record, start) if isinstance(item, Row) and item.number >= number)


def _moved_by(here: Mapping[str, Any], there: Mapping[str, Any]) -> int | None:
    """By how many steps a row was moved on its way to the server; None if it is another one."""
    step = step_of(there)
    steps = 0 if step is None else step - here["_step"]
    if step is None or steps < 0 or here.keys() != there.keys() or not same(moved(here, steps), there):
        return None
    return steps


def _not_there(rows: list[Row], replica: Replica, scan: Scan) -> list[Row]:
    """The rows from the first on that the server does not have: the answer to a post may have been lost."""
    steps = [row.row["_step"] + replica.shift(row.number).steps for row in rows]
    theirs = {step_of(row): row for row in scan(steps[0], steps[-1] + 1)}
    for count, (row, step) in enumerate(zip(rows, steps, strict=True)):
        if step not in theirs or not same({**row.row, "_step": step}, theirs[step]):
            return rows[count:]
    return []


def _plausible(replica: Replica, there: RemotePoint) -> bool:
    """Whether a server with as many rows as it is known to have has those rows."""
    if there.rows and there.tail and replica.last:
        return same(replica.last, there.tail)
    return replica.storage_id is not None or there.last_step < 0


def same(here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Whether two rows are one: the same step, logged at the same time, and no value that says otherwise."""
    if step_of(here) != step_of(there):
        return False
    at, also = here.get("_timestamp"), there.get("_timestamp")
    if isinstance(at, (int, float)) and isinstance(also, (int, float)) and abs(at - also) > _CLOSE:
        return False
    return not any(_contradict(value, there.get(key)) for key, value in here.items() if not key.startswith("_"))


def _contradict(here: Any, there: Any) -> bool:
    """Whether two values cannot be one; a server may write what JSON has no word for in another way."""
    if there is None or not isinstance(here, (int, float, str)) or here != here or here in (math.inf, -math.inf):
        return False
    if isinstance(here, str) or not isinstance(there, (int, float)):
        return bool(here != there)
    return not math.isclose(here, there, rel_tol=1e-9)


def moved(row: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """A row at a step that is so much higher."""
    return {**row, "_step": row["_step"] + steps} if steps else dict(row)
