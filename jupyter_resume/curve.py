"""A metric's whole course in a few hundred points, kept as it grows: the lowest and highest value of spans of steps.

What a curve holds depends only on what was added, not on when somebody looked; so who draws it can be sent the
spans that changed since, and has the same picture as one who asks for the first time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

MOST = 256
"""Spans of a curve, at most; when there are more, each two neighbours become one."""


@dataclass(frozen=True)
class Change:
    """What changed in a curve: from step ``since`` on (None: all of it) it is these points now.

    A value is None where the metric was no finite number.
    """

    since: int | None
    steps: list[int]
    values: list[float | None]


class _Span:
    """The steps whose number, divided by the length of a span, is ``index``; a step of -1 says that there is none."""

    __slots__ = ("gap_at", "high", "high_at", "index", "low", "low_at", "stamp")

    def __init__(self, index: int, step: int, value: float | None, stamp: int) -> None:
        self.index = index
        self.stamp = stamp
        self.low = self.high = 0.0 if value is None else value
        self.low_at = self.high_at = -1 if value is None else step
        self.gap_at = step if value is None else -1

    def take(self, step: int, value: float | None, stamp: int) -> None:
        """Add the value at a step."""
        self.stamp = stamp
        if value is None:
            if self.gap_at < 0 or step < self.gap_at:
                self.gap_at = step
        elif self.low_at < 0:
            self.low = self.high = value
            self.low_at = self.high_at = step
        else:
            if value < self.low or (value == self.low and step < self.low_at):
                self.low, self.low_at = value, step
            if value > self.high or (value == self.high and step < self.high_at):
                self.high, self.high_at = value, step

    def join(self, later: _Span) -> None:
        """Take in the next span, of twice the length they are one."""
        for step, value in later.points().items():
            self.take(step, value, max(self.stamp, later.stamp))

    def points(self) -> dict[int, float | None]:
        """The steps that stand for the span, with their values."""
        known: dict[int, float | None] = {}
        if self.gap_at >= 0:
            known[self.gap_at] = None
        if self.low_at >= 0:
            known[self.low_at] = self.low
            known[self.high_at] = self.high
        return known


class Curve:
    """The course of one metric: at most ``most`` spans, each with its lowest and highest value and its gap.

    ``stamp`` is that of the last change; stamps are numbers that grow with what is added.
    """

    def __init__(self, most: int = MOST) -> None:
        self.stamp = -1
        self._most = most
        self._shift = 0  # a span is 2**shift steps long
        self._spans: list[_Span] = []
        self._step = -1
        self._value: float | None = None  # of the last step, which may be logged again
        self._anew = -1  # the stamp of the last change that was not at the end

    def add(self, step: int, value: float | None, stamp: int) -> None:
        """The value at a step (None: no finite number); where the last step comes again, the new value replaces it."""
        self.stamp = stamp
        if step > self._step:
            if self._spans and self._spans[-1].index == self._step >> self._shift:
                self._spans[-1].take(self._step, self._value, stamp)
            elif self._step >= 0:
                self._put(self._step, self._value, stamp)
            self._step, self._value = step, value
        elif step == self._step:
            self._value = value
        else:  # it fills a gap
            self._put(step, value, stamp)
            self._anew = stamp

    def extend(self, steps: list[int], values: list[float], stamp: int) -> None:
        """As `add` for each, several times as fast: for steps that grow, after the last, and values that are finite."""
        last = len(steps) - 1
        self.add(steps[0], values[0], stamp)
        if not last:
            return
        self._step = -1  # the first of them is settled with the others
        at = 0
        while at < last:
            index = steps[at] >> self._shift
            end = bisect_left(steps, index + 1 << self._shift, at, last)
            some = values[at:end]
            for value in (min(some), max(some)):
                self._put(steps[at + some.index(value)], value, stamp)
            at = end
        self._step, self._value, self.stamp = steps[last], values[last], stamp

    def _put(self, step: int, value: float | None, stamp: int) -> None:
        index, spans = step >> self._shift, self._spans
        if spans and spans[-1].index == index:
            spans[-1].take(step, value, stamp)
            return
        at = len(spans)
        if spans and index < spans[-1].index:
            at = bisect_left(spans, index, key=lambda span: span.index)
            if spans[at].index == index:
                spans[at].take(step, value, stamp)
                return
        spans.insert(at, _Span(index, step, value, stamp))
        while len(self._spans) > self._most:
            self._halve(stamp)

    def _halve(self, stamp: int) -> None:
        self._shift += 1
        self._anew = stamp
        joined: list[_Span] = []
        for span in self._spans:
            span.index >>= 1
            if joined and joined[-1].index == span.index:
                joined[-1].join(span)
            else:
                joined.append(span)
        self._spans = joined

    def extremes(self) -> tuple[float, float] | None:
        """The lowest and the highest finite value there ever was; None if there was none."""
        known = [span for span in self._spans if span.low_at >= 0]
        lows, highs = [span.low for span in known], [span.high for span in known]
        if self._value is not None:
            lows.append(self._value)
            highs.append(self._value)
        return (min(lows), max(highs)) if lows else None

    def change(self, since: int = -1) -> Change:
        """What changed after the stamp ``since``; whole spans come again."""
        first = 0
        if since >= self._anew and since >= 0:
            first = len(self._spans)
            while first and self._spans[first - 1].stamp > since:
                first -= 1
        if self._step >= 0 and first == len(self._spans) and first:
            first -= self._spans[-1].index == self._step >> self._shift  # the last step is in that span
        points = dict(self._points(first))
        steps = sorted(points)
        begins = None
        if first:
            index = self._spans[first].index if first < len(self._spans) else self._step >> self._shift
            begins = index << self._shift
        return Change(begins, steps, [points[step] for step in steps])

    def _points(self, first: int) -> Iterator[tuple[int, float | None]]:
        last_index = self._step >> self._shift
        for span in self._spans[first:]:
            if span.index == last_index and self._step >= 0:
                whole = _Span(span.index, self._step, self._value, span.stamp)
                whole.join(span)
                yield from whole.points().items()
            else:
                yield from span.points().items()
        if self._step >= 0:
            yield self._step, self._value  # where the curve ends
