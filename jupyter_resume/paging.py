"""A sequence that comes by pages, each fetched when something of it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


@dataclass(frozen=True)
class Piece(Generic[T]):
    """Some items, where the next ones begin (None: nowhere), and how many there are in all, if that is known."""

    items: Sequence[T]
    next: str | None
    total: int | None = None


class Paged(Sequence[T]):
    """All items, of which only the pages that were needed are there; ``fetch`` gives the one from a cursor on.

    ``len()`` fetches no more than a page where the total is known, else all of them. If a fetch fails, the
    next use tries again.
    """

    def __init__(self, fetch: Callable[[str | None], Piece[T]]) -> None:
        self._fetch = fetch
        self._items: list[T] = []
        self._cursor: str | None = None
        self._more = True
        self._total: int | None = None

    @property
    def fetched(self) -> int:
        """How many items are there by now."""
        return len(self._items)

    def _reach(self, count: int | None) -> None:
        """Have at least ``count`` items, or all; None: all."""
        while self._more and (count is None or len(self._items) < count):
            piece = self._fetch(self._cursor)
            self._more = piece.next is not None and piece.next != self._cursor
            self._cursor, self._total = piece.next, piece.total
            self._items += piece.items

    def __len__(self) -> int:
        self._reach(1)
        if self._more and self._total is not None:
            return max(self._total, len(self._items))
        self._reach(None)
        return len(self._items)

    def __bool__(self) -> bool:
        self._reach(1)
        return bool(self._items)

    def __iter__(self) -> Iterator[T]:
        at = 0
        while True:
            self._reach(at + 1)
            if at >= len(self._items):
                return
            yield self._items[at]
            at += 1

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            ends = (index.start, index.stop)
            from_the_front = index.stop is not None and all(end is None or end >= 0 for end in ends)
            self._reach(max(filter(None, ends), default=0) if from_the_front and (index.step or 1) > 0 else None)
        else:
            self._reach(index + 1 if index >= 0 else None)
        return self._items[index]
