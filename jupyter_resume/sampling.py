"""Few rows for many: evenly taken, the first and the last among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .store.record import Record


def thinned(numbers: Sequence[int], most: int) -> Sequence[int]:
    """At most ``most`` of them, evenly, the first and the last among them."""
    if len(numbers) <= most:
        return numbers
    if most <= 1:
        return numbers[-1:] if most == 1 else []
    last = len(numbers) - 1
    return [numbers[n * last // (most - 1)] for n in range(most)]


def with_keys(rows: Iterable[dict[str, Any]], keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows that have all of ``keys``, with these keys only."""
    return ({key: row[key] for key in keys} for row in rows if all(key in row for key in keys))


def sample(record: Record, keys: Sequence[str] | None = None, samples: int = 500) -> list[dict[str, Any]]:
    """At most ``samples`` rows of a history; with ``keys`` those that have all of them, as ``_step`` and these."""
    if keys:
        found = list(with_keys(record.history(), list(dict.fromkeys(("_step", *keys)))))
        return [found[n] for n in thinned(range(len(found)), samples)]
    tail = record.tail()
    count = tail.point.rows if tail else 0  # more than there are, if some never came
    rows, seen = _some(record, count, samples)
    return rows if seen == count else _some(record, seen, samples)[0]


def _some(record: Record, count: int, samples: int) -> tuple[list[dict[str, Any]], int]:
    """The evenly taken rows of the first ``count``, and how many of these there are."""
    wanted = set(thinned(range(count), samples))
    rows, seen = [], 0
    for row in record.history():
        if seen == count:
            break
        if seen in wanted:
            rows.append(row)
        seen += 1
    return rows, seen
