"""Where each numbered line of a run lies in its record: history by line and by step, events, console.

Made by reading the record once (about a second for a million rows), when something asks for lines by number;
afterwards only what was appended since is read. Nothing here is worth keeping: it can be made again.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from ..store import lines
from ..store.record import Record

_OFFSET_BITS = 40  # of a place: the rest is the segment
_OFFSET = (1 << _OFFSET_BITS) - 1
_NUMBERED = frozenset(b"rnglvxo")  # kinds of lines that matter here
MISSING = -1


class Positions:
    """The positions in one record. Call `refresh` first; every method may be called from any thread."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._read: list[list[int]] = []  # [token, bytes read] of the chain, oldest first
        self._places = array("q")  # of each history line
        self._steps = array("q")
        self._more: dict[int, list[int]] = {}  # further places of lines that several log() calls made
        self._late: set[int] = set()
        self._ordered = True  # whether steps grow with line numbers throughout
        self._last_step = -1
        self._events = array("q")
        self._events_sub = array("q")
        self._console = array("q")
        self._console_sub = array("q")
        self._conflicts: list[int] = []
        self._known_conflicts: set[tuple[str, int, str]] = set()
        self._out_of_order: list[int] = []

    def refresh(self) -> None:
        """Take in what was appended since; begin anew if the chain of segments is another one now."""
        with self._lock:
            chain = self.record.chain()
            for n, (token, read) in enumerate(self._read):
                if n >= len(chain) or chain[n][0] != token or ((limit := chain[n][1]) is not None and read > limit):
                    self._forget()
                    break
            for n, (token, limit) in enumerate(chain):
                if n == len(self._read):
                    self._read.append([token, 0])
                self._read[n][1] = self._take_in(token, self._read[n][1], limit)

    def _take_in(self, token: int, at: int, limit: int | None) -> int:
        with self.record.segment(token).open("rb") as file:
            file.seek(at)
            for line in file:
                if not line.endswith(b"\n") or (limit is not None and at + len(line) > limit):
                    break
                if line[9] in _NUMBERED and (read := lines.unseal(line[:-1])):
                    self._add(token << _OFFSET_BITS | at, *read)
                at += len(line)
        return at

    def _add(self, place: int, kind: str, value: Any) -> None:
        if kind == lines.ROW:
            self._add_row(place, value["_step"])
        elif kind == lines.NUMBERED:
            at = value["at"]
            _reach(self._places, at + 1)
            _reach(self._steps, at + 1)
            self._places[at], self._steps[at] = place, value["row"]["_step"]
            self._ordered = False
            if value["late"]:
                self._late.add(at)
                self._out_of_order.append(place)
        elif kind == lines.GAP:
            _reach(self._places, value["rows"])
            _reach(self._steps, value["rows"])
            self._ordered = False
        elif kind == lines.EVENTS:
            _put(self._events, self._events_sub, place, value)
        elif kind == lines.CONSOLE:
            _put(self._console, self._console_sub, place, value)
        elif kind == lines.CONFLICT:
            self._conflicts.append(place)
            self._known_conflicts.add((value["stream"], value["at"], value["line"]))
        elif kind == lines.LATE_STEP:
            self._out_of_order.append(place)

    def _add_row(self, place: int, step: int) -> None:
        if step > self._last_step:
            self._places.append(place)
            self._steps.append(step)
            self._last_step = step
        elif self._places:
            self._more.setdefault(len(self._places) - 1, []).append(place)

    # Asking

    @property
    def count(self) -> int:
        """How many lines the history has, missing ones included."""
        return len(self._places)

    @property
    def missing(self) -> int:
        """How many lines of the history never came."""
        return sum(1 for place in self._places if place == MISSING) if not self._ordered else 0

    def row(self, number: int) -> dict[str, Any] | None:
        """One line of the history; None if it never came."""
        return next(iter(self.rows([number])), None) if 0 <= number < len(self._places) else None

    def rows(self, numbers: Iterable[int]) -> Iterator[dict[str, Any] | None]:
        """Lines of the history by their numbers; None for what never came."""
        with _Reader(self.record) as reader:
            for number in numbers:
                place = self._places[number]
                if place == MISSING or (read := reader.line(place)) is None:
                    yield None
                    continue
                kind, value = read
                row: dict[str, Any] = value["row"] if kind == lines.NUMBERED else value
                for further in self._more.get(number, ()):
                    if more := reader.line(further):
                        row.update(more[1])
                yield row

    def between(self, min_step: int | None, max_step: int | None) -> list[int] | range:
        """The numbers of the lines with ``min_step <= _step < max_step``, what came out of order left out."""
        with self._lock:
            if self._ordered:
                first = 0 if min_step is None else bisect_left(self._steps, min_step)
                return range(first, len(self._steps) if max_step is None else bisect_left(self._steps, max_step))
            found = [
                number
                for number, (step, place) in enumerate(zip(self._steps, self._places, strict=True))
                if place != MISSING
                and number not in self._late
                and (min_step is None or step >= min_step)
                and (max_step is None or step < max_step)
            ]
            return sorted(found, key=self._steps.__getitem__)

    def lines_up_to(self, step: int) -> int:
        """How many lines of the history, from the first, have no step above ``step``."""
        with self._lock:
            if self._ordered:
                return bisect_right(self._steps, step)
            above = (n for n, s in enumerate(self._steps) if self._places[n] != MISSING and s > step)
            return next(above, len(self._steps))

    def end_of(self, count: int) -> tuple[int, int]:
        """Segment and byte behind the first ``count`` lines of the history; (0, 0) for none."""
        if count == 0:
            return 0, 0
        further = (place for number, places in self._more.items() if number < count for place in places)
        place = max(max(self._places[:count]), *further, MISSING)
        token, at = place >> _OFFSET_BITS, place & _OFFSET
        with self.record.segment(token).open("rb") as file:
            file.seek(at)
            return token, at + len(file.readline())

    def events(self, numbers: Iterable[int]) -> Iterator[str | None]:
        """Events by their line numbers."""
        return self._texts(self._events, self._events_sub, numbers)

    def console(self, numbers: Iterable[int]) -> Iterator[str | None]:
        """Lines of output by their numbers, each as it was written last."""
        return self._texts(self._console, self._console_sub, numbers)

    @property
    def event_count(self) -> int:
        """How many events there are."""
        return len(self._events)

    @property
    def console_count(self) -> int:
        """How many lines of output there are."""
        return len(self._console)

    def _texts(self, places: array[int], subs: array[int], numbers: Iterable[int]) -> Iterator[str | None]:
        with _Reader(self.record) as reader:
            for number in numbers:
                place = places[number] if number < len(places) else MISSING
                read = reader.line(place) if place != MISSING else None
                yield read[1]["lines"][subs[number]] if read else None

    def known_conflict(self, stream: str, at: int, line: str) -> bool:
        """Whether exactly this was kept aside already."""
        return (stream, at, line) in self._known_conflicts

    def conflicts(self, most: int = 100) -> list[dict[str, Any]]:
        """The last lines that were kept aside, each with ``stream``, ``at``, ``line``, ``by`` and ``time``."""
        return self._values(self._conflicts[-most:])

    def out_of_order(self, most: int = 100) -> list[dict[str, Any]]:
        """The last rows that came with a step below the one reached."""
        return [value.get("row", value) for value in self._values(self._out_of_order[-most:])]

    def _values(self, places: list[int]) -> list[dict[str, Any]]:
        with _Reader(self.record) as reader:
            return [read[1] for place in places if (read := reader.line(place))]


class _Reader:
    """Reads lines by place, a segment's file opened once; the line read last is at hand."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._files: dict[int, BinaryIO] = {}
        self._last: tuple[int, tuple[str, Any] | None] = (MISSING, None)

    def line(self, place: int) -> tuple[str, Any] | None:
        """Kind and value of the line at a place; None if it is damaged."""
        if place != self._last[0]:
            token = place >> _OFFSET_BITS
            if token not in self._files:
                self._files[token] = self._record.segment(token).open("rb")
            file = self._files[token]
            file.seek(place & _OFFSET)
            self._last = place, lines.unseal(file.readline()[:-1])
        return self._last[1]

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()


def _reach(numbers: array[int], count: int) -> None:
    """Make it at least ``count`` long."""
    if count > len(numbers):
        numbers.extend(array("q", [MISSING]) * (count - len(numbers)))


def _put(places: array[int], subs: array[int], place: int, value: dict[str, Any]) -> None:
    at, count = value["at"], len(value["lines"])
    _reach(places, at + count)
    _reach(subs, at + count)
    for sub in range(count):
        places[at + sub], subs[at + sub] = place, sub
