"""MD5, which W&B's listings name: taken while a file arrives, else when it is asked for."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path

from ..store.blobs import Blobs
from ..store.record import FileEntry


def md5_of(blobs: Blobs, entry: FileEntry) -> str:
    """Base64, as in W&B's listings; "0" if the content is lost."""
    if known := entry.metadata.get("md5"):
        return str(known)
    try:
        return _of_blob(blobs.path(entry.digest))
    except OSError:
        return "0"


@functools.lru_cache(maxsize=4096)
def _of_blob(path: Path) -> str:
    """Of a blob, whose name says its content: it never changes."""
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while data := file.read(1 << 20):
            digest.update(data)
    return encoded(digest.digest())


def encoded(md5: bytes) -> str:
    """As W&B writes it."""
    return base64.b64encode(md5).decode()
