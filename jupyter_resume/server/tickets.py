"""Signed addresses: whoever has one may put (or get) that one file until it expires, without a key.

A ticket is ``n``, when it was issued in nanoseconds (so of two tickets for one name the later is known), ``e``,
when it expires in Unix seconds, and ``s``, an HMAC over both, the method and the path.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from ..identity import RunPath
from .refusals import Refusal

LIFETIME = 24 * 3600  # seconds: an upload may wait long behind others


class Tickets:
    """Issues and checks tickets with a secret of the store's."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._secret = _secret(file)
        self._clock = clock
        self._last = 0

    def address(self, method: str, run: RunPath, name: str) -> str:
        """Path and query of the address for one file."""
        self._last = number = max(self._last + 1, int(self._clock() * 1e9))
        path, expires = storage_path(run, name), int(self._clock()) + LIFETIME
        return f"{path}?n={number}&e={expires}&s={self._sign(method, path, str(number), str(expires))}"

    def check(self, method: str, run: RunPath, name: str, query: Mapping[str, str]) -> int:
        """The number of the ticket. Raises Refusal 403 for one that is forged, for something else, or expired."""
        number, expires = query.get("n", ""), query.get("e", "")
        right = self._sign(method, storage_path(run, name), number, expires)
        given = query.get("s", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(right.encode(), given) or not (number.isdigit() and expires.isdigit()):
            raise Refusal(403, "The address is not signed by this server for this file: ask for a new one.")
        if int(expires) < self._clock():
            raise Refusal(403, "The address has expired: ask for a new one.")
        return int(number)

    def _sign(self, method: str, path: str, number: str, expires: str) -> str:
        text = "\n".join((method, path, number, expires))
        return hmac.new(self._secret, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def storage_path(run: RunPath, name: str) -> str:
    """The path below which content is exchanged by ticket."""
    parts = [quote(part, safe="") for part in (run.entity, run.project, run.run_id)]
    return "/".join(("/storage", *parts, quote(name)))


def _secret(file: Path) -> bytes:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(file.read_text())
    with os.fdopen(fd, "w") as new:
        new.write(secret := secrets.token_hex(32))
    return bytes.fromhex(secret)
