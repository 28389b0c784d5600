"""What requests carry: JSON, and a file with the headers that its storage asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson

from ..errors import FileUnstable
from ..store import lines

# Headers of a request that no server names
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"})


def json_body(value: object) -> bytes:
    """A request's body. Strings with half a character, which no strict server reads, lose it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return lines.dump_any(_whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, (list, tuple)) else value


class Upload:
    """A file's first ``size`` bytes, as requests sends them."""

    def __init__(self, source: BinaryIO, size: int, moved: Callable[[int], None]) -> None:
        self._source, self._size, self._moved = source, size, moved
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def read(self, most: int = -1) -> bytes:
        """Some bytes. FileUnstable if the file became shorter."""
        left = self._size - self._at
        try:
            data = self._source.read(left if most < 0 else min(most, left))
        except OSError as error:
            raise FileUnstable(f"The file could not be read to its end ({error.strerror}): save it again.") from None
        if left and not data:
            raise FileUnstable("The file became shorter while it was uploaded: save it again when it is complete.")
        self._at += len(data)
        self._moved(self._at)
        return data


def upload_headers(said: object) -> dict[str, str]:
    """The headers of an upload, from a server's list of ``Name: value``; what is malformed is left out."""
    found: dict[str, str] = {}
    for text in said if isinstance(said, list) else ():
        name, colon, value = text.partition(":") if isinstance(text, str) else ("", "", "")
        name, value = name.strip(), value.strip()
        sound = colon and re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) and not re.search(r"[^\t -~]", value)
        if sound and name.lower() not in _OURS:
            found[name] = value
    return found
