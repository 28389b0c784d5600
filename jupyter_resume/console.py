"""What a program prints, kept in its run: the lines of ``output.log``, as W&B's clients send them.

Only for scripts, in runs that are meant for a server: a notebook keeps its outputs itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from .store import lines
from .store.writer import Writer

_MOST_LINES = 10_000  # that wait for the next time the run is tended; older ones are left out
_MOST_TEXT = 4096  # characters of a line
_MOST_AT_ONCE = 1 << 18  # characters of one line of the record, which goes to a server whole


class Console:
    """Keeps what is written to stdout and stderr from now on, until `close`; what is written goes there as before."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._streams = [_Tee(sys.stdout, "", self._lines.append), _Tee(sys.stderr, "ERROR ", self._lines.append)]

    def tend(self, runtime: float) -> None:
        """Put what is complete into the record."""
        with self._lock:
            found = [self._lines.popleft() for _ in range(len(self._lines))]
            for piece in _pieces(found):
                with self._writer.lock:
                    at = self._writer.point.streams.get("output", {}).get("count", 0)
                    self._writer.put(lines.CONSOLE, {"at": at, "lines": piece})

    def close(self) -> None:
        """Keep the rest, and no more."""
        for stream in self._streams:
            stream.close()
        self.tend(0.0)


class _Tee:
    """Sees what is written to one stream; a line that a carriage return goes back in is what stands there at last."""

    def __init__(self, stream: Any, kind: str, keep: Any) -> None:
        self._stream, self._kind, self._keep = stream, kind, keep
        self._rest = ""
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal's handler may print at any moment
        self._write = getattr(stream, "write", None)
        with contextlib.suppress(AttributeError, TypeError):  # a stream that cannot be listened to is left alone
            stream.write = self._hear
        self._mine = getattr(stream, "write", None)

    def _hear(self, text: Any) -> Any:
        assert self._write is not None
        result = self._write(text)
        if self._pid != os.getpid():  # a fork: no part of the run, and nobody there may ever let go of the lock
            return result
        with contextlib.suppress(Exception), self._lock:  # printing never fails for this
            *whole, self._rest = (self._rest + str(text)).split("\n")
            for line in whole:
                self._take(line)
            self._rest = _standing(self._rest) + "\r" * self._rest.endswith("\r")
        return result

    def _take(self, line: str) -> None:
        at = datetime.now(timezone.utc).replace(tzinfo=None).isoformat()
        self._keep(f"{self._kind}{at} {_standing(line)}")

    def close(self) -> None:
        """Take what stands in the last line, and hear no more."""
        if self._rest:
            self._take(self._rest)
            self._rest = ""
        if getattr(self._stream, "write", None) == self._mine and self._write is not None:
            with contextlib.suppress(AttributeError, TypeError):
                self._stream.write = self._write  # unless somebody has wrapped it since, who then goes on


def _pieces(texts: list[str]) -> Iterator[list[str]]:
    """The lines in lists of at most `_MOST_AT_ONCE` characters, and a line."""
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size > _MOST_AT_ONCE or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


def _standing(line: str) -> str:
    """What stands in a line after all that went back to its beginning."""
    return line.rstrip("\r").rpartition("\r")[2][:_MOST_TEXT]
