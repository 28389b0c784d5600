"""Keeping a run's files: what was asked to be saved, now, whenever it changes, or when the run ends."""

from __future__ import annotations

import errno
import glob
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import notices
from .errors import FileError, FileMissing, InvalidInput, ResumeError, StoreError, UnsafeName
from .files import safe_name
from .store.blobs import Blobs
from .store.record import FileEntry
from .store.writer import Writer

POLICIES = ("live", "now", "end")
_GRACE = 2.0  # seconds that a superseded content stays, for who has just read that a file has it
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_PAUSE = 10.0  # seconds until a file that could not be saved is tried again

_Mark = tuple[int, int, int]


@dataclass(frozen=True)
class Pattern:
    """What a `save` asked for: a glob, the folder that names are relative to, and when to save."""

    text: str
    glob: str
    base: Path
    policy: str

    @classmethod
    def of(cls, pattern: str | os.PathLike[str], base_path: str | os.PathLike[str] | None, policy: str) -> Pattern:
        """Read the arguments of ``save``. Without a base path an absolute pattern's own folder is the base."""
        text = os.fspath(pattern)
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            raise UnsafeName(f"{text!r} is no file name or pattern: give a path like 'model.h5' or 'checkpoints/*.h5'.")
        if policy not in POLICIES:
            raise InvalidInput(f"policy={policy!r} is no save policy: use 'live', 'now' or 'end'.")
        if os.path.isdir(text):
            raise UnsafeName(f"{text} is a folder: save its files with '{text}/*'.")
        literal = os.path.isfile(text)  # whatever characters its name has
        if base_path is not None:
            base = Path(base_path).absolute()
        elif Path(text).is_absolute():
            base = Path(text).parent if literal else Path(_fixed_part(text))
        else:
            base = Path.cwd()
        base = Path(os.path.normpath(base))
        if not Path(
            os.path.normpath(Path.cwd() / (Path(text).parent if literal else _fixed_part(text)))
        ).is_relative_to(base):
            raise UnsafeName(f"{text} is not inside {base}: pass base_path= of a folder that holds it.")
        below = glob.escape(text) if literal else text
        return cls(text, os.path.join(glob.escape(str(Path.cwd())), below), base, policy)

    def matches(self) -> dict[str, Path]:
        """The files there are now, by the names they have in the run. Raises UnsafeName outside the base."""
        found: dict[str, Path] = {}
        for text in sorted(glob.glob(self.glob, recursive=True)):
            path = Path(os.path.normpath(text))
            if path.is_file():
                if not path.is_relative_to(self.base):
                    raise UnsafeName(f"{text} is not inside {self.base}: pass base_path= of a folder that holds it.")
                found[safe_name(path.relative_to(self.base).as_posix())] = path
        return found


def _fixed_part(pattern: str) -> str:
    """The folder before the first wildcard."""
    parts = Path(pattern).parts
    fixed = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return str(Path(*parts[:fixed]))


class Saving:
    """The files of the run that ``writer`` writes; their content goes to ``blobs``."""

    def __init__(self, writer: Writer, blobs: Blobs) -> None:
        self._writer = writer
        self._blobs = blobs
        self._watched: list[Pattern] = []
        self._seen: dict[str, _Mark] = {}
        self._saved: dict[str, _Mark] = {}
        self._try_again: dict[str, float] = {}
        self._superseded: list[tuple[float, str]] = []
        self._lock = threading.RLock()

    def save(self, asked: Pattern, metadata: dict[str, Any] | None) -> list[str]:
        """Save what matches, unless it is to be saved at the end, and watch for the rest; the names that match."""
        found = asked.matches()
        if not found and asked.policy == "now":
            raise FileMissing(f"Nothing matches {asked.text!r} in {Path.cwd()}: check the path.")
        if not found:
            when = "when the run ends" if asked.policy == "end" else "when there is one"
            notices.tell(f"nothing matches {asked.text!r} in {Path.cwd()} yet: a file that does is saved {when}.")
        if asked.policy != "now" and asked not in self._watched:
            self._watched.append(asked)
        failed: ResumeError | None = None
        for name, path in found.items() if asked.policy != "end" else ():
            try:
                self._save(name, path, metadata)
            except ResumeError as error:  # the other files are saved all the same
                failed = failed or error
        if failed:
            raise failed
        return list(found)

    def tend(self) -> None:
        """Save ``live`` files that changed and have come to rest."""
        self._save_watched(settled=True)
        self._drop_superseded(_GRACE)

    def finish(self) -> None:
        """Save every watched file that changed."""
        self._save_watched(settled=False)
        self._drop_superseded(0)

    def _save(self, name: str, path: Path, metadata: dict[str, Any] | None = None) -> None:
        with self._lock:
            mark = _mark(path)
            try:
                digest, size = self._blobs.put(path)
            except FileError:
                raise
            except OSError as error:
                remedy = "free some space there" if error.errno in _FULL else "see to that folder"
                raise StoreError(
                    f"{path} could not be saved in {self._blobs.folder} ({error.strerror}): {remedy}, or set "
                    "JUPYTER_RESUME_HOME to another one; what was saved before is as it was."
                ) from error
            entry = FileEntry(name, size, digest, time.time(), self._writer.point.last_step, metadata or {})
            if (superseded := self._writer.file(entry)) is not None:
                self._superseded.append((time.monotonic(), superseded))
            self._saved[name] = mark

    def _drop_superseded(self, grace: float) -> None:
        """Delete contents that no file has any more."""
        with self._lock:
            due = [digest for since, digest in self._superseded if time.monotonic() - since >= grace]
            self._superseded = [one for one in self._superseded if one[1] not in due]
            for digest in set(due).difference(entry.digest for entry in self._writer.files().values()):
                self._blobs.drop(digest)

    def _save_watched(self, settled: bool) -> None:
        """Save watched files that changed; ``settled``: only ``live`` ones that have come to rest."""
        for asked in list(self._watched):
            if settled and asked.policy != "live":
                continue
            try:
                found = asked.matches()
            except (ResumeError, OSError) as error:
                self._watched.remove(asked)
                notices.tell(f"{asked.text} is not saved: {error}")
                continue
            for name, path in found.items():
                try:
                    self._save_if_changed(name, path, settled)
                except FileNotFoundError:
                    continue
                except (ResumeError, OSError) as error:
                    if name not in self._try_again or not settled:
                        notices.tell(f"a watched file is not saved: {error}")
                    self._try_again[name] = time.monotonic() + _PAUSE

    def _save_if_changed(self, name: str, path: Path, settled: bool) -> None:
        mark = _mark(path)
        at_rest, self._seen[name] = mark == self._seen.get(name), mark
        wait = settled and not (at_rest and time.monotonic() > self._try_again.get(name, 0.0))
        if mark != self._saved.get(name) and not wait:
            self._save(name, path)
            self._try_again.pop(name, None)


def _mark(path: Path) -> _Mark:
    """What changes when a file's content does."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
