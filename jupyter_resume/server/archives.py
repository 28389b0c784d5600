"""The archives that SDK 0.8 packs small files into: unpacked whole, or not at all.

Only plain files with names below the run's root are taken. A link, a device, a name that leaves the root, or more
than was agreed on is a refusal, and nothing of the archive is kept.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from ..files import safe_name
from ..store.blobs import Blobs
from .refusals import Refusal, bad

MOST_FILES = 10_000
MOST_BYTES = 16 << 30
_NAME = re.compile(r"___batch_archive_\d+\.tgz")


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive to unpack."""
    return bool(_NAME.fullmatch(name))


@dataclass(frozen=True)
class Taken:
    """A content that became a blob: the name it is for, its size in bytes, its digests."""

    name: str
    size: int
    digest: str
    md5: bytes


def unpack(archive: BinaryIO, blobs: Blobs, taken: list[Taken], most: int = MOST_BYTES) -> None:
    """Take in the files of an archive, adding them to ``taken``, also those before a Refusal."""
    try:
        with gzip.GzipFile(fileobj=archive) as plain, tarfile.open(fileobj=plain, mode="r|") as opened:
            for member in opened:
                most -= member.size
                if len(taken) >= MOST_FILES or most < 0:
                    raise Refusal(413, f"The archive holds more than {MOST_FILES:,} files or {MOST_BYTES >> 30} GiB.")
                if not member.isdir():
                    taken.append(_take(opened, member, blobs))
            while plain.read(1 << 20):  # to the end, where its checksum is
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise bad("The archive is damaged: nothing of it was taken.") from None


def _take(opened: tarfile.TarFile, member: tarfile.TarInfo, blobs: Blobs) -> Taken:
    content = opened.extractfile(member) if member.isreg() else None
    if content is None:
        raise bad(f"The archive holds {member.name!r:.80}, which is no plain file: nothing of it was taken.")
    name = safe_name(member.name)
    with content, blobs.incoming() as incoming:
        while data := content.read(1 << 20):
            incoming.write(data)
        if incoming.size != member.size:
            raise bad("The archive is cut off: nothing of it was taken.")
        return Taken(name, incoming.size, *incoming.keep())
