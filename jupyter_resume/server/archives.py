"""The archives that SDK 0.8 packs small files into: unpacked whole, or not at all.

Only plain files with names below the run's root are taken. A link, a device, a name that leaves the root, or more
than was agreed on is a refusal, and nothing of the archive is kept.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from typing import BinaryIO

from ..errors import UnsafeName
from ..files import safe_name
from ..store.blobs import Blobs
from .refusals import Refusal, bad

MOST_FILES = 10_000
MOST_BYTES = 16 << 30
_NAME = re.compile(r"___batch_archive_\d+\.tgz")


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive to unpack."""
    return bool(_NAME.fullmatch(name))


def unpack(archive: BinaryIO, blobs: Blobs, most: int = MOST_BYTES) -> list[tuple[str, int, str, bytes]]:
    """Take in the files of an archive: of each the name, size, digest and MD5. Raises Refusal."""
    taken: dict[str, tuple[str, int, str, bytes]] = {}
    total = 0
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as opened:
            for member in opened:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise bad(
                        f"The archive holds {member.name!r:.80}, which is no plain file: nothing of it was taken."
                    )
                name = safe_name(member.name)
                total += member.size
                if len(taken) >= MOST_FILES or total > most:
                    raise Refusal(413, f"The archive holds more than {MOST_FILES:,} files or {most >> 20:,} MiB.")
                content = opened.extractfile(member)
                assert content is not None
                with content, blobs.incoming() as incoming:
                    while data := content.read(1 << 20):
                        incoming.write(data)
                    if incoming.size != member.size:
                        raise bad("The archive is cut off: nothing of it was taken.")
                    digest, md5 = incoming.keep()
                    taken[name] = (name, incoming.size, digest, md5)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise bad("The archive is damaged: nothing of it was taken.") from None
    except UnsafeName as error:
        raise bad(str(error)) from None
    return list(taken.values())
