"""What goes out next: the lines of a record that the server lacks, in posts of a bounded size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..remote.base import Lines
from ..store import lines
from ..store.follow import Cursor, Row, follow
from ..store.record import Record
from ..store.replica import Replica, Shift
from .relation import moved

MOST_BYTES = 4 << 20  # of lines in one post
MOST_LINE = 9 << 20  # a longer row is not taken by any server
_OURS = ("_step", "_timestamp", "_runtime")


@dataclass
class Batch:
    """Lines for one post, and how far the record has been sent when the server has taken it.

    ``shifts`` close the gaps that damaged lines have left in the record's numbers.
    """

    rows: list[str] = field(default_factory=list)
    first: int = 0
    streams: dict[str, Lines] = field(default_factory=dict)
    number: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    last: dict[str, Any] = field(default_factory=dict)
    too_long: list[int] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    full: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.streams)


def gather(
    record: Record, replica: Replica, reached: int | None, most: int = MOST_BYTES, longest: int = MOST_LINE
) -> Batch:
    """The next batch: rows from ``replica.rows`` on, with the events and output that lie between them.

    ``reached``: see `follow`. At least one line is taken if there is one; of one longer than ``longest`` only what
    every row has.
    """
    batch = Batch(number=replica.rows, cursor=replica.cursor, last=replica.last)
    batch.first = replica.there(replica.rows)
    size = 0
    texts: dict[str, list[str]] = {}
    known = {"events": replica.events, "output": replica.output}
    starts: dict[str, int] = {}
    for item in follow(record, replica.cursor, reached):
        if isinstance(item, Row):
            if item.number >= replica.rows:
                shift = replica.shift(item.number)
                row = moved(item.row, shift.steps)
                text = lines.dump_exact(row).decode()
                too_long = len(text) > longest
                if too_long:
                    text = lines.dump_exact({key: row[key] for key in _OURS if key in row}).decode()
                if batch.rows and size + len(text) > most:
                    batch.full = True
                    break
                if too_long:
                    batch.too_long.append(row["_step"])
                rows = batch.first + len(batch.rows) - item.number
                if rows != max([shift, *batch.shifts], key=lambda known: known.since).rows:
                    batch.shifts.append(Shift(item.number, rows, shift.steps))
                batch.rows.append(text)
                batch.number, batch.last = item.number + 1, row
                size += len(text)
        else:
            fresh = item.texts[max(0, known[item.stream] - item.at) :]
            at = max(item.at, known[item.stream])
            if fresh:
                start = starts.setdefault(item.stream, at)
                if at != start + len(texts.get(item.stream, ())) or (size > most and batch):
                    batch.full = True
                    break
                texts.setdefault(item.stream, []).extend(fresh)
                known[item.stream] = at + len(fresh)
                size += sum(map(len, fresh))
        batch.cursor = item.end
    batch.streams = {stream: Lines(starts[stream], found) for stream, found in texts.items()}
    return batch
