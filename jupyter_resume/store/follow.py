"""Reading on in a record where one has left off: its rows with their line numbers, events and output.

Several rows of one step are one line of the history, which is complete once a later step was reached or its writer
has left. Only complete lines are given out, so that what was sent for a number never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import lines
from .record import Record, read_lines


@dataclass(frozen=True)
class Cursor:
    """A place in a record: a segment, a byte of it, and the number and step that the rows have reached there."""

    token: int = 0
    offset: int = 0
    rows: int = 0
    step: int = -1


@dataclass(frozen=True)
class Row:
    """Line ``number`` of the history; in the record it lies from ``start`` to ``end``."""

    number: int
    row: dict[str, Any]
    start: Cursor
    end: Cursor


@dataclass(frozen=True)
class Texts:
    """Lines of ``"events"`` or ``"output"``, the first of them number ``at``."""

    stream: str
    at: int
    texts: list[str]
    end: Cursor


def follow(record: Record, cursor: Cursor, reached: int | None = None) -> Iterator[Row | Texts]:
    """What the record has from the cursor on; from its beginning if the cursor is no place of it (any more).

    ``reached``: the step that the run's living writer logs next, the row of which may still grow; None if it has none.
    """
    chain = record.chain()
    if not _in(record, chain, cursor):
        cursor = Cursor()
    step, number = cursor.step, cursor.rows
    open_row: dict[str, Any] | None = None
    opened, at = cursor, 0
    for token, limit in chain:
        if token < cursor.token:
            continue
        at = cursor.offset if token == cursor.token else 0
        for kind, value, end in read_lines(record.segment(token), at, limit):
            place = Cursor(token, at, number, step)
            at = end
            if kind == lines.ROW and value["_step"] == step and open_row is not None:
                open_row.update(value)
                continue
            if open_row is not None and kind in (lines.ROW, lines.HEAD, lines.GAP, lines.NUMBERED):
                yield Row(opened.rows, open_row, opened, place)
                open_row = None
            if kind == lines.ROW and value["_step"] > step:
                opened, open_row = place, value
                number, step = number + 1, value["_step"]
            elif kind == lines.HEAD:
                number = max(number, value["snapshot"].get("rows", 0))
                step = max(step, value["snapshot"].get("last_step", -1))
            elif kind == lines.GAP:
                number = max(number, value["rows"])
            elif kind == lines.NUMBERED:
                number = max(number, value["at"] + 1)
                yield Row(value["at"], value["row"], place, Cursor(token, at, number, step))
            elif kind in (lines.EVENTS, lines.CONSOLE):
                stream = "events" if kind == lines.EVENTS else "output"
                behind = opened if open_row is not None else Cursor(token, at, number, step)
                yield Texts(stream, value["at"], value["lines"], behind)
    if open_row is not None and (reached is None or step < reached):
        yield Row(opened.rows, open_row, opened, Cursor(chain[-1][0], at, number, step))


def holds(record: Record, cursor: Cursor) -> bool:
    """Whether a cursor is a place of the record (still), or its beginning."""
    return not cursor.token or _in(record, record.chain(), cursor)


def _in(record: Record, chain: list[tuple[int, int | None]], cursor: Cursor) -> bool:
    for token, limit in chain:
        if token == cursor.token:
            return cursor.offset <= (record.segment(token).stat().st_size if limit is None else limit)
    return False
