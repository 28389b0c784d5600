"""Files on their way out: whole or a range, with the digest that the run recorded.

A whole file is checked while it is sent: its last piece goes out only if the content is what was recorded, so a
damaged blob shows as a broken transfer and never as a file.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from email.utils import formatdate
from typing import BinaryIO
from urllib.parse import quote

from blake3 import blake3
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..files import safe_name
from ..identity import RunPath
from ..store.record import FileEntry
from .digests import md5_of
from .hosting import Hosting
from .refusals import Refusal, missing

_PIECE = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def send(hosting: Hosting, run: RunPath, name: str, request: Request) -> Response:
    """The answer to a GET or HEAD of one file. Raises Refusal."""
    seen = hosting.see(run)
    if seen is None:
        raise missing(run)
    entry = seen.point.files.get(safe_name(name))
    if entry is None:
        raise Refusal(404, f"Run {run} has no file {name!r:.80}.")
    blobs = hosting.store.blobs(run)
    tag = f'"{entry.digest}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-MD5": md5_of(blobs, entry),
        "Last-Modified": formatdate(entry.saved_at, usegmt=True),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(entry.name.rpartition('/')[2], safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }
    if tag in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    try:
        blob = blobs.open(entry.digest)
    except FileNotFoundError:
        raise Refusal(500, f"The content of {name!r:.80} is missing from the store: save it again.") from None
    if blob.seek(0, 2) != entry.size:
        blob.close()
        raise Refusal(500, f"The stored content of {name!r:.80} is damaged: save it again.")
    first, last = _asked(request, entry, tag)
    partial = (first, last) != (0, entry.size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{last}/{entry.size}"
    kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
    status = 206 if partial else 200
    if request.method == "HEAD":
        blob.close()
        return Response(status_code=status, headers=headers, media_type=kind)
    pieces = _pieces(blob, first, last, None if partial else entry.digest)
    return StreamingResponse(pieces, status, headers, kind)


def _asked(request: Request, entry: FileEntry, tag: str) -> tuple[int, int]:
    """First and last byte that are asked for. Raises Refusal 416."""
    whole = 0, entry.size - 1
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if not found or not (found[1] or found[2]) or request.headers.get("if-range", tag) != tag:
        return whole
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or entry.size), entry.size - 1)
    else:
        first, last = max(0, entry.size - int(found[2])), entry.size - 1
    if first > last:
        raise Refusal(416, f"{entry.name!r:.80} has {entry.size} bytes: the range is outside.")
    return first, last


def _pieces(blob: BinaryIO, first: int, last: int, digest: str | None) -> Iterator[bytes]:
    with blob:
        blob.seek(first)
        left, held, check = last - first + 1, b"", blake3()
        while left and (piece := blob.read(min(left, _PIECE))):
            left -= len(piece)
            if digest is not None:
                check.update(piece)
            if held:
                yield held
            held = piece
        if left or (digest is not None and check.hexdigest() != digest):
            raise OSError("the stored content is not what was recorded")
        if held:
            yield held
