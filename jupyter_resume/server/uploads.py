"""Files on their way in: a body becomes a blob, whole or not at all, and then an entry of the run's record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from anyio import to_thread
from starlette.requests import ClientDisconnect

from ..digests import encoded
from ..files import safe_name
from ..identity import RunPath
from ..store import lines
from ..store.blobs import Blobs, Incoming
from ..store.record import FileEntry
from . import archives
from .archives import Taken
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
    """Make a blob an entry of the run, an archive one for each of its files; what then belongs to nothing goes."""
    taken = [Taken(name, incoming.size, *incoming.keep())]
    before = set()
    try:
        files = taken
        if archives.is_archive(name):
            files = []
            with blobs.open(taken[0].digest) as archive:
                try:
                    archives.unpack(archive, blobs, files)
                finally:
                    taken += files
        before = hosting.change(run, lambda hosted: _enter(hosted, files, ticket))
    finally:
        if seen := hosting.see(run):
            used = {entry.digest for entry in seen.point.files.values()}
            for digest in {each.digest for each in taken} | before:
                if digest not in used:
                    blobs.drop(digest)


def _enter(hosted: Hosted, files: list[Taken], ticket: int) -> set[str]:
    """Record the files; the digests that they replace. An address that was used may only bring the same again."""
    point, now = hosted.point, hosted.touched
    changes: list[tuple[str, Any]] = []
    replaced = set()
    for each in files:
        known = point.files.get(each.name)
        before = int(known.metadata.get("ticket", 0)) if known else 0
        if known and before >= ticket:
            if known.digest == each.digest:
                continue
            why = "was used already" if before == ticket else "is older than what is there now"
            raise Refusal(409, f"The address for {each.name!r:.80} {why}: ask for a new one; nothing was taken.")
        if known:
            replaced.add(known.digest)
        about = {"md5": encoded(each.md5), "ticket": ticket}
        entry = FileEntry(each.name, each.size, each.digest, now, point.last_step, about)
        changes.append((lines.FILE, asdict(entry)))
    hosted.commit(changes)
    return replaced
