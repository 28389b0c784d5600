"""Watching a record that others write: what each look costs grows with what is new, not with how long the run is.

Both readers count what they read, since that is what they promise. Neither may be used from two threads at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import edits, lease, lines
from .record import Record, Tail

_FAR = 1 << 20  # bytes behind: reading back from the end is cheaper than reading on
_HEAD = 9  # bytes: the checksum of a segment's first line
_KINDS = frozenset(value.encode() for name, value in vars(lines).items() if name.isupper() and len(str(value)) == 1)


class Present:
    """Where a record stands, kept up to date: state, step, summary, config and files, not its history.

    ``version`` grows whenever anything moved but rows.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.version = 0
        self.bytes_read = 0
        self._tail: Tail | None = None
        self._head = b""  # of the segment, which tells it from another of its name
        self._damaged = 0

    def look(self) -> Tail | None:
        """The record's tail as it is now; None if there is no record (any more). Raises as `Record.tail`."""
        tail = self._tail
        if tail is None:
            return self._look_anew()
        segment = self.record.segment(tail.token)
        try:
            stat = os.stat(segment)
        except OSError:
            return self._look_anew()
        moved = stat.st_size - tail.end
        same = _head(segment) == self._head and not os.path.exists(self.record.segment(tail.token + 1))
        if not same or not 0 <= moved < _FAR or edits.names(self.record.folder) != tail.edits:
            return self._look_anew()
        if moved:
            self._read_on(tail, stat.st_size)
        return self._tail

    def state(self) -> tuple[str, lease.Owner | None]:
        """How the run that was looked at is now, and the living process that writes it."""
        assert self._tail is not None
        owner = self.record.live_owner(self._tail)
        said = self._tail.point.state
        return ("crashed" if said == "running" and owner is None else said), owner

    @property
    def damaged(self) -> int:
        """Unreadable lines among those read."""
        return self._damaged

    def _look_anew(self) -> Tail | None:
        self.version += 1
        self._tail = tail = self.record.tail()
        if tail is not None:
            self._head = _head(self.record.segment(tail.token))
            self._damaged = tail.damaged
        return tail

    def _read_on(self, tail: Tail, size: int) -> None:
        with self.record.segment(tail.token).open("rb") as file:
            file.seek(tail.end)
            data = file.read(size - tail.end)
        data = data[: data.rfind(b"\n") + 1]
        self.bytes_read += len(data)
        point = tail.point
        for line in data.split(b"\n")[:-1]:
            read = lines.unseal(line)
            if read is None:
                self._damaged += 1
            elif read[0] not in (lines.SNAPSHOT, lines.HEAD):  # a snapshot says what the point is already
                point.apply(*read)
                self.version += read[0] != lines.ROW
        self._tail = Tail(
            tail.token, tail.end + len(data), point, tail.owner, self._damaged, tail.starting_step, tail.edits
        )


class Forward:
    """The lines of some kinds that count, oldest first, each once, in portions.

    ``generation`` changes when what was given out before is no part of the run any more: it all comes again then.
    """

    def __init__(self, record: Record, kinds: str) -> None:
        self.record = record
        self.generation = 0
        self.bytes_read = self.lines_read = 0
        self.damaged = 0
        self._kinds = frozenset(kind.encode() for kind in kinds)
        self._begin([])

    def _begin(self, chain: list[tuple[int, int | None]]) -> None:
        self.generation += 1
        self.damaged = 0
        self._chain = chain
        self._head = b""  # of the segment that is being read
        self._n, self._at = 0, 0  # the segment of the chain, and the byte of it, where reading goes on

    @property
    def loaded(self) -> float:
        """How much of the record was read, from 0 to 1."""
        sizes = [self._size(token) if limit is None else limit for token, limit in self._chain]
        read = sum(sizes[: self._n]) + self._at
        return 1.0 if read >= sum(sizes) else read / sum(sizes)

    def read(self, most: int) -> list[tuple[str, Any]]:
        """The next lines, from about ``most`` bytes of the record at most; none if there are no more for now."""
        self._follow()
        found: list[tuple[str, Any]] = []
        while most > 0 and self._n < len(self._chain):
            token, limit = self._chain[self._n]
            end = self._size(token) if limit is None else limit
            data = self._complete_lines(token, end, most)
            most -= len(data)
            self._at += len(data)
            self.bytes_read += len(data)
            found += self._unsealed(data)
            if data and self._at < end:
                continue
            if self._n + 1 == len(self._chain):
                break
            self._n, self._at, self._head = self._n + 1, 0, b""
        return found

    def _follow(self) -> None:
        """See whether other segments make up the run now."""
        if self._chain:
            token, last = self._chain[self._n][0], self._chain[-1][0]
            unchanged = not self._at or self._head == _head(self.record.segment(token))
            if unchanged and self._size(last) >= 0 and not os.path.exists(self.record.segment(last + 1)):
                return
            chain = self.record.chain()
            behind = chain[self._n][1] if self._n < len(chain) else 0
            read = self._chain[: self._n]
            goes_on = unchanged and chain[: self._n] == read and [t for t, _ in chain[self._n : self._n + 1]] == [token]
            if goes_on and (behind is None or self._at <= behind):
                self._chain = chain
            else:
                self._begin(chain)
        else:
            self._begin(self.record.chain())

    def _complete_lines(self, token: int, end: int, most: int) -> bytes:
        if self._at >= end:
            return b""
        with self.record.segment(token).open("rb") as file:
            self._head = file.read(_HEAD)
            file.seek(self._at)
            data = file.read(min(most, end - self._at))
            while b"\n" not in data and (more := file.read(min(len(data) or most, end - self._at - len(data)))):
                data += more  # one line is longer than a portion
        return data[: data.rfind(b"\n") + 1]

    def _unsealed(self, data: bytes) -> list[tuple[str, Any]]:
        every = data.split(b"\n")[:-1]
        wanted = [line for line in every if line[9:10] in self._kinds]
        read = lines.unseal_all(wanted)
        found = [one for one in read if one is not None]
        self.lines_read += len(wanted)
        self.damaged += len(wanted) - len(found)
        self.damaged += sum(1 for line in every if line[9:10] not in _KINDS)
        return found

    def _size(self, token: int) -> int:
        try:
            return os.stat(self.record.segment(token)).st_size
        except OSError:
            return -1


def _head(path: Path) -> bytes:
    """What tells a segment from another that has its name now; nothing if it is gone."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(_HEAD)
    except OSError:
        return b""
