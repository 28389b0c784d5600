"""The relay between a client and a server, and what it counts; see `inside.relay`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .child import Child
from .place import Place
from .tools import OURS

_PATIENCE = 120.0  # seconds until something that should happen has not


@dataclass(frozen=True)
class Counts:
    """What went through: requests, bytes of their bodies, bytes sent and received, by kind of request."""

    kinds: dict[str, dict[str, int]]
    rows_at: list[float]

    def since(self, earlier: Counts) -> dict[str, dict[str, int]]:
        """What was counted after ``earlier``, without the kinds that did not occur."""
        found = {
            kind: {what: number - earlier.kinds.get(kind, {}).get(what, 0) for what, number in seen.items()}
            for kind, seen in self.kinds.items()
        }
        return {kind: seen for kind, seen in found.items() if any(seen.values())}

    def uploaded(self, name: str) -> int:
        """Bytes of a file's content that were sent so far."""
        return self.kinds.get(f"PUT {name}", {}).get("body", 0)


@dataclass(frozen=True)
class Relay:
    """A relay that runs. ``url`` is the server, as its clients know it."""

    url: str
    _child: Child

    def counts(self) -> Counts:
        self._child.go()
        return Counts(**self._child.reply())

    def until_rows(self, after: float) -> float:
        """When the first rows were accepted ``after`` a moment."""
        for counts in self._polled("No rows came to the server."):
            if found := [at for at in counts.rows_at if at > after]:
                return found[0]
        raise AssertionError

    def until_uploaded(self, name: str, size: int) -> None:
        """Wait until so many bytes of a file have come through."""
        next(counts for counts in self._polled(f"{name} did not come.") if counts.uploaded(name) >= size)

    def _polled(self, otherwise: str) -> Iterator[Counts]:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            yield self.counts()
            time.sleep(0.05)
        raise RuntimeError(f"{otherwise} Seen: {self.counts().kinds}")


@contextmanager
def relay(home: Path, place: Place, latency: float = 0.0) -> Iterator[Relay]:
    """A relay to a server, in a process of its own; ``latency`` in seconds a round trip."""
    with Child(OURS, "relay", home, port=place.port, latency=latency) as child:
        yield Relay(f"http://127.0.0.1:{child.reply()['port']}", child)
