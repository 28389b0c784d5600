"""Files on their way in: a body becomes a blob, whole or not at all, and then an entry of the run's record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from anyio import to_thread
from starlette.requests import ClientDisconnect

from ..files import safe_name
from ..identity import RunPath
from ..store import lines
from ..store.blobs import Blobs, Incoming
from ..store.record import FileEntry
from . import archives
from .digests import encoded
from .hosting import Hosted, Hosting
from .refusals import Refusal, bad, missing, translated

_PIECE = 1 << 20


async def receive(
    hosting: Hosting, run: RunPath, name: str, ticket: int, body: AsyncIterator[bytes], length: int | None, most: int
) -> None:
    """Take in the content of one file. Raises Refusal; what the run had is then as it was."""
    name = safe_name(name)
    if length is not None and length > most:
        raise Refusal(413, f"The file has {length:,} bytes and at most {most:,} are taken.")
    if hosting.see(run) is None:
        raise missing(run)
    blobs = hosting.store.blobs(run)
    try:
        with await to_thread.run_sync(blobs.incoming) as incoming:
            await _fill(incoming, body, most)
            if length is not None and incoming.size != length:
                raise bad(f"The body ended after {incoming.size:,} of {length:,} bytes: nothing of it was taken.")
            await to_thread.run_sync(lambda: _keep(hosting, run, name, ticket, incoming, blobs))
    except ClientDisconnect:
        raise bad("The body was cut off: nothing of it was taken.") from None
    except OSError as error:
        raise translated(error) from error


async def _fill(incoming: Incoming, body: AsyncIterator[bytes], most: int) -> None:
    pieces, size = [], 0
    async for piece in body:
        pieces.append(piece)
        size += len(piece)
        if incoming.size + size > most:
            raise Refusal(413, f"The file is larger than {most:,} bytes.")
        if size >= _PIECE:
            await to_thread.run_sync(incoming.write, b"".join(pieces))
            pieces, size = [], 0
    if pieces:
        await to_thread.run_sync(incoming.write, b"".join(pieces))


def _keep(hosting: Hosting, run: RunPath, name: str, ticket: int, incoming: Incoming, blobs: Blobs) -> None:
    """Make a blob an entry of the run. An address that was used already may only bring the same again."""
    digest, md5 = incoming.keep()
    files = [(name, incoming.size, digest, md5)]
    unpacked = archives.is_archive(name)
    try:
        if unpacked:
            with blobs.open(digest) as archive:
                files = archives.unpack(archive, blobs)
        hosting.change(run, lambda hosted: _enter(hosted, files, ticket))
    finally:
        see = hosting.see(run)
        used = {entry.digest for entry in see.point.files.values()} if see else set()
        for _, _, each, _ in [(name, 0, digest, b""), *files]:
            if see and each not in used:
                blobs.drop(each)


def _enter(hosted: Hosted, files: list[tuple[str, int, str, bytes]], ticket: int) -> None:
    point, now = hosted.point, hosted.touched
    changes: list[tuple[str, Any]] = []
    for name, size, digest, md5 in files:
        known = point.files.get(name)
        before = int(known.metadata.get("ticket", 0)) if known else 0
        if known and before >= ticket:
            if known.digest == digest:
                continue
            why = "was used already" if before == ticket else "is older than what is there now"
            raise Refusal(409, f"The address for {name!r:.80} {why}: ask for a new one; nothing was taken.")
        about = {"md5": encoded(md5), "ticket": ticket}
        changes.append((lines.FILE, asdict(FileEntry(name, size, digest, now, point.last_step, about))))
    hosted.commit(changes)
