"""The content of a run's files, one blob a digest: put in whole or not at all, verified when it comes out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from .. import transfer
from ..errors import FileDamaged, FileUnstable

_TRIES = 5
_TICK = 20_000_000  # nanoseconds: file systems date changes by a clock that may stand still for half as long


class Blobs:
    """Blobs in ``folder``, named by their digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the blob of this digest lies, if it is there."""
        return self.folder / digest

    def put(self, source: Path) -> tuple[str, int]:
        """Take in a file's content, on the disk when this returns; its digest and its size in bytes.

        A file that changes meanwhile is copied again; FileUnstable if it does not come to rest.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(_TRIES):
            fresh = beside(self.folder / "incoming")
            try:
                with source.open("rb", buffering=0) as file:
                    _let_the_clock_tick(os.fstat(file.fileno()))
                    before = _mark(os.fstat(file.fileno()))
                    digest = transfer.copy(file, fresh, sync=True)
                    still = before == _mark(os.fstat(file.fileno())) and before == _mark(source.stat())
                size = fresh.stat().st_size
                # Memory-mapped writes need not touch a time: what is there now must still be what was copied.
                if still and size == before[0] and transfer.digest_of(source) == digest:
                    fresh.replace(self.path(digest))
                    return digest, size
            finally:
                fresh.unlink(missing_ok=True)
            time.sleep(0.02 * 2**attempt)  # nothing tells when another process stops writing
        raise FileUnstable(
            f"{source} kept changing while it was being saved: save it when it is complete, or write it under "
            "another name and rename it when it is.",
            path=source,
        )

    def incoming(self) -> Incoming:
        """A new blob, to be written piece by piece."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Incoming(self.folder)

    def open(self, digest: str) -> BinaryIO:
        """The content of a blob. Raises FileNotFoundError."""
        return self.path(digest).open("rb", buffering=0)

    def copy_out(self, digest: str, target: Path) -> None:
        """Put a verified copy at ``target``, which is replaced in one move; on failure it is untouched."""
        fresh = beside(target)
        try:
            with self.path(digest).open("rb", buffering=0) as blob:
                found = transfer.copy(blob, fresh, sync=target.exists())  # what is replaced is not lost to a power cut
            if found != digest:
                raise FileDamaged(
                    f"The stored content of {target.name} is damaged (digest {found[:12]}..., recorded "
                    f"{digest[:12]}...): nothing was restored and {target} is as it was; save the file again or "
                    "restore another one.",
                    digest=digest,
                    found=found,
                )
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)

    def keep(self, digests: Collection[str]) -> None:
        """Delete every blob but these, and what a killed writer was taking in."""
        with contextlib.suppress(OSError):
            for blob in list(self.folder.iterdir()):
                if blob.name not in digests:
                    blob.unlink()

    def drop(self, digest: str) -> None:
        """Delete one blob; who has it open reads on."""
        with contextlib.suppress(OSError):
            self.path(digest).unlink()


class Incoming:
    """A blob on its way in: nothing of it is there before `keep`. Use it in a with statement."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = beside(folder / "incoming")
        self._file = self._fresh.open("xb", buffering=0)
        self._blake3 = blake3()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._blake3.update(data)
        self._md5.update(data)
        self.size += len(data)

    def keep(self) -> tuple[str, bytes]:
        """Make it a blob, on the disk when this returns; its digest, and its MD5 as 16 bytes."""
        os.fsync(self._file.fileno())
        digest = self._blake3.hexdigest()
        self._fresh.replace(self._folder / digest)
        return digest, self._md5.digest()

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._fresh.unlink(missing_ok=True)


def beside(target: Path) -> Path:
    """A new temporary name in the folder of ``target``."""
    return target.with_name(f".{target.name[:64]}-{os.getpid()}-{os.urandom(4).hex()}")


def _let_the_clock_tick(stat: os.stat_result) -> None:
    """Wait until a change of a file from now on will be dated later than its last one."""
    age = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns)
    if -_TICK < age < _TICK:
        time.sleep(min(_TICK - age, _TICK) / 1e9)


def _mark(stat: os.stat_result) -> tuple[int, int, int, int]:
    """What changes when a file's content does."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
