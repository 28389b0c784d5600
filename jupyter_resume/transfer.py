"""Bytes across, with their digest: copies inside this machine, hashed on a second thread while they are written.

Digests are BLAKE3, as 64 hex digits (what ``b3sum`` prints): as strong as sha256, and fast enough that a
verified copy takes about as long as a plain one.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

_CHUNK = 2 << 20


def copy(source: BinaryIO, target: Path, sync: bool = False) -> str:
    """Copy an open file into the new file ``target``; the digest of what is in ``target`` afterwards.

    The system copies (sharing the blocks where the file system can) while a thread reads back and hashes;
    ``sync`` also waits until the disk has it. Raises FileExistsError if ``target`` exists, OSError as it comes.
    """
    copied: queue.SimpleQueue[int] = queue.SimpleQueue()
    outcome: list[str | BaseException] = []

    def follow() -> None:
        try:
            digest, buffer = blake3(), memoryview(bytearray(_CHUNK))
            with target.open("rb", buffering=0) as written:
                while count := copied.get():
                    while count:
                        got = written.readinto(buffer[: min(count, _CHUNK)])
                        if not got:
                            raise OSError(f"{target} is shorter than what was written to it")
                        digest.update(buffer[:got])
                        count -= got
            outcome.append(digest.hexdigest())
        except BaseException as error:  # handed to the caller below
            outcome.append(error)

    with target.open("xb", buffering=0) as sink:
        hasher = threading.Thread(target=follow, name="jupyter-resume-hash", daemon=True)
        hasher.start()
        try:
            for count in _copy_by_chunks(source.fileno(), sink.fileno()):
                copied.put(count)
            if sync:
                os.fsync(sink.fileno())
        finally:
            copied.put(0)
            hasher.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def digest_of(path: Path) -> str:
    """The digest of a file's content."""
    digest, buffer = blake3(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _copy_by_chunks(source: int, sink: int) -> Iterator[int]:
    """Copy from where both stand to the end of ``source``; yields how many bytes each step brought."""
    if hasattr(os, "copy_file_range"):
        try:
            while count := os.copy_file_range(source, sink, _CHUNK):
                yield count
        except OSError:  # two file systems, or one that cannot: by hand from here on
            pass
    while data := os.read(source, _CHUNK):
        count = len(data)
        while data:
            data = data[os.write(sink, data) :]
        yield count
