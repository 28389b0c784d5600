"""MD5, which W&B's listings name: taken while a file arrives, else when it is asked for."""

from __future__ import annotations

import functools
from pathlib import Path

from .. import digests
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
    return digests.md5_of(path)
