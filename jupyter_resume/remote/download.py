"""A run's file brought here: beside its place first, checked, then moved into it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import FileDamaged, FileError, RemoteMalformed, RemoteRefused, RemoteUnreachable
from ..wording import size_of
from . import answers
from .base import RemoteFile
from .http import Download, Http


def fetch(http: Http, file: RemoteFile, into: Path, progress: bool = False) -> bool:
    """Download ``file`` to ``into``; whether there was a digest to check.

    A connection that is cut is gone on with where it ended. Raises RemoteError, FileDamaged if it is not what the
    server lists, FileError if it cannot be written; in each case ``into`` is as it was.
    """
    wanted = digest_of(file.md5)
    part = into.with_name(f"{into.name[:60]}.{secrets.token_hex(6)}.part")
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as sink:
            transfer = _Transfer(http, file, sink, progress)
            got = transfer.run()
            if wanted is not None and got != wanted and transfer.pieced:  # the file may have changed in between
                got = transfer.again()
            if wanted is not None and got != wanted:
                raise FileDamaged(
                    f"{file.name!r} arrived with another digest than {answers.host_of(http.base_url)} lists, and was "
                    "thrown away: it may have changed meanwhile, so try again.",
                    name=file.name,
                )
            sink.flush()
            if into.exists():  # what is replaced is not lost to a power cut
                os.fsync(sink.fileno())
        os.replace(part, into)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f"{file.name!r} could not be put at {into} ({error.strerror}); what was there is as it was: make room or "
            "choose another folder.",
            path=into,
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return wanted is not None


def digest_of(md5: str | None) -> bytes | None:
    """An MD5 digest from base64 or hex; None if it is none."""
    if not md5:
        return None
    if re.fullmatch(r"[0-9A-Fa-f]{32}", md5):
        return bytes.fromhex(md5)
    try:
        digest = base64.b64decode(md5, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == 16 else None


class _Transfer:
    """One file on its way."""

    def __init__(self, http: Http, file: RemoteFile, sink: BinaryIO, progress: bool) -> None:
        self._http, self._file, self._sink, self._progress = http, file, sink, progress
        self._url = http.absolute(file.url)
        self._patience = http.patience()
        self._farthest = 0
        self._ranged = True
        self.pieced = False
        self._from_the_start()

    def _from_the_start(self) -> None:
        self._sink.seek(0)
        self._sink.truncate()
        self._got = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def run(self) -> bytes:
        """The digest of what is in the sink, whose size is right by then."""
        with _bar(self._file, self._progress) as moved:
            while True:
                start = self._got if self._ranged else 0
                try:
                    with self._http.get(self._url, self._patience, start) as download:
                        if download.start == 0:
                            self._from_the_start()
                        elif download.start != start:
                            self._ranged = False
                            continue
                        self.pieced = bool(download.start)
                        self._take(download, moved)
                    return self._md5.digest()
                except RemoteUnreachable as error:
                    if error.final or not self._patience.pause(error.retry_after):
                        raise
                except RemoteRefused as error:
                    if not start or error.status not in (412, 416):
                        raise
                    self._ranged = False

    def again(self) -> bytes:
        """The digest of a transfer in one piece."""
        self._ranged, self._got = False, 0
        return self.run()

    def _take(self, download: Download, moved: Callable[[int], object]) -> None:
        size = self._file.size
        for piece in download:
            self._got += len(piece)
            if self._got > size:
                break
            self._sink.write(piece)
            self._md5.update(piece)
            if self._got > self._farthest:
                moved(self._got - self._farthest)
                self._farthest = self._got
                self._patience.renew()
        if self._got == size:
            return
        host = answers.host_of(self._http.base_url)
        if download.is_page and not re.search(r"\.html?$", self._file.name, re.IGNORECASE):
            raise RemoteMalformed(
                f"{host} answered with a web page instead of {self._file.name!r}: a proxy or login page? Check "
                "WANDB_BASE_URL."
            )
        if self._got < size and not {"Content-Length", "Transfer-Encoding"} & {*map(str.title, download.headers)}:
            raise RemoteUnreachable(
                f"{host} cannot be reached (the connection was cut): try again later.", retry_after=None
            )
        raise FileDamaged(
            f"{self._file.name!r} arrived with {'more' if self._got > size else 'less'} than the {size_of(size)} that "
            f"{host} lists, and was thrown away: it may have changed meanwhile, so try again.",
            name=self._file.name,
        )


@contextlib.contextmanager
def _bar(file: RemoteFile, progress: bool) -> Iterator[Callable[[int], Any]]:
    """A bar that grows, for what takes longer than a second."""
    if not progress:
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=file.size, desc=file.name, unit="B", unit_scale=True, delay=1.0, leave=False) as bar:
        yield bar.update
