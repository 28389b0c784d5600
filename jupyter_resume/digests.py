"""MD5 in base64: what W&B's servers say of a file's content, and compare it by."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


def md5_of(path: Path) -> str:
    """The MD5 of a file's content. Raises OSError."""
    digest, buffer = hashlib.md5(usedforsecurity=False), memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return encoded(digest.digest())


def encoded(md5: bytes) -> str:
    """The 16 bytes in base64."""
    return base64.b64encode(md5).decode()
