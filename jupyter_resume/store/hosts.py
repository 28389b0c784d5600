"""What is known of servers when they cannot be asked: which entity is meant where none is given."""

from __future__ import annotations

import contextlib
from pathlib import Path

import orjson

from .blobs import beside


class Hosts:
    """A small file in the store. It holds no keys, and losing it costs a question to the server."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entity(self, base_url: str) -> str | None:
        """The default entity at a server, as it was last heard; None if it never was."""
        found = self._all().get(base_url)
        return found if isinstance(found, str) else None

    def remember(self, base_url: str, entity: str) -> None:
        """Take note of it; a disk that takes nothing is no error."""
        known = self._all()
        if known.get(base_url) == entity:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = beside(self.path)
            try:
                fresh.write_bytes(orjson.dumps({**known, base_url: entity}))
                fresh.replace(self.path)
            finally:
                fresh.unlink(missing_ok=True)

    def _all(self) -> dict[str, object]:
        try:
            known = orjson.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
