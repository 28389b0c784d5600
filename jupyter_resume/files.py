"""A run's files: what they may be called, and how one comes back.

Source: the document on ``restore``. A name is a path below some root, written with ``/`` on every system.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from . import transfer
from .errors import FileDamaged, FileError, FileMissing, InvalidInput, LocalFileDiffers, RunMissing, UnsafeName
from .identity import RunPath
from .store.home import Store
from .store.record import FileEntry
from .wording import size_of


def safe_name(name: object) -> str:
    """A file's name in a run, normalised; UnsafeName for one that is absolute or leaves its root."""
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    if not isinstance(name, str) or not name or len(name) > 4096 or re.search(r"[\x00-\x1f]", name):
        raise UnsafeName(f"{str(name)[:80]!r} is no file name: give the name of a file of the run, like 'model.h5'.")
    parts = (PureWindowsPath(name) if os.name == "nt" else PurePosixPath(name)).parts
    clean = "/".join(part for part in parts if part != ".")
    for text in (name, clean):  # './C:x' is harmless as it stands, and 'C:x' is what becomes of it
        windows = PureWindowsPath(text)
        if PurePosixPath(text).is_absolute() or windows.drive or windows.root or ".." in (*parts, *windows.parts):
            raise UnsafeName(f"{name!r} leaves its folder: give a name below it, without '..' and not absolute.")
    if not clean:
        raise UnsafeName(f"{name!r} is no file name: give the name of a file of the run, like 'model.h5'.")
    return clean


@dataclass(frozen=True, repr=False)
class Restored:
    """A file that is in place and is exactly what the run recorded.

    ``file`` is its name in the run, ``size`` in bytes; ``copied`` is False if it was in place already.
    """

    run: RunPath
    file: str
    path: Path
    size: int
    digest: str
    copied: bool

    @property
    def name(self) -> str:
        """The path as a string, as of an open file."""
        return str(self.path)

    def open(self, mode: str = "rb") -> IO[Any]:
        """The file, opened for reading; its ``.name`` is the path."""
        if mode not in ("r", "rt", "rb"):
            raise InvalidInput(f"mode={mode!r} is not for reading: use 'rb' (checkpoints) or 'r' (text).")
        return open(self.path, mode)

    def dump(self) -> dict[str, Any]:
        """As plain values, for the record."""
        return {"name": self.file, "size": self.size, "run": str(self.run), "copied": self.copied}

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        how = "restored and verified" if self.copied else "in place already, verified"
        return f"{self.file} ({size_of(self.size)}) of run {self.run}: {how}, {self.path}"


def restore(store: Store, run: RunPath, known: dict[str, FileEntry], name: str, root: Path, replace: bool) -> Restored:
    """Bring the run's file ``name`` to ``root/name``, verified; see ``jupyter_resume.restore``."""
    name = safe_name(name)
    entry = known.get(name)
    if entry is None:
        raise missing(run, name, known)
    target = target_in(root, name)
    if os.path.lexists(target):
        if target.is_dir() and not target.is_symlink():
            raise LocalFileDiffers(f"{target} is a folder: pass root= of another place for the file.", path=target)
        if _is(target, entry):
            return Restored(run, name, target, entry.size, entry.digest, copied=False)
        if not replace:
            raise LocalFileDiffers(
                f"{target} is there already and is not the file of run {run}: pass replace=True to replace it, or "
                "root= of another folder.",
                path=target,
            )
    blobs = store.blobs(run)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        blobs.copy_out(entry.digest, target)
    except (FileExistsError, NotADirectoryError) as error:
        raise LocalFileDiffers(f"{error.filename} is a file where a folder is needed: pass another root=.") from None
    except OSError as error:
        if not blobs.path(entry.digest).exists():
            raise FileDamaged(
                f"The content of {name!r} is missing from the store ({blobs.folder}): save it again.", name=name
            ) from error
        raise FileError(
            f"{name!r} could not be put at {target} ({error.strerror}); what was there is as it was: make room or pass "
            "root= of another folder.",
            path=target,
        ) from error
    return Restored(run, name, target, entry.size, entry.digest, copied=True)


def missing(run: RunPath, name: str, known: Collection[str]) -> FileMissing:
    """The error for a file that a run does not have, with the nearest of those that it has."""
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    named = ", ".join(map(repr, near or sorted(known)[:5]))
    more = f" and {len(known) - 5:,} more" if len(known) > 5 else ""
    hint = f"did you mean {named}?" if near else f"it has {named}{more}." if named else "the run has no saved files."
    return FileMissing(f"Run {run} has no file {name!r}: {hint}", name=name, near=near or sorted(known)[:5])


def restore_from(store: Store, run: RunPath, name: str, root: Path, replace: bool) -> Restored:
    """As `restore`, for a run that some other process may be writing. RunMissing if there is no such run."""
    for attempt in (1, 2):
        tail = store.record(run).tail()
        if tail is None:
            raise RunMissing(f"There is no run {run} in the store {store.home}: list them with 'jupyter resume runs'.")
        try:
            return restore(store, run, tail.point.files, name, root, replace)
        except FileDamaged:  # its writer may have saved a newer content while this one was being copied
            if attempt == 2:
                raise
    raise AssertionError


def _is(path: Path, entry: FileEntry) -> bool:
    """Whether a file has exactly the content recorded; one that cannot be read has not."""
    try:
        return path.is_file() and path.stat().st_size == entry.size and transfer.digest_of(path) == entry.digest
    except OSError:
        return False


def target_in(root: Path, name: str) -> Path:
    """``root/name``, refused if a link on the way leads out of the root."""
    inside = Path(os.path.realpath(root))
    target = inside / name
    if not Path(os.path.realpath(target.parent)).is_relative_to(inside) or (
        target.is_symlink() and not Path(os.path.realpath(target)).is_relative_to(inside)
    ):
        raise UnsafeName(f"{name!r} leads out of {root} by a link: remove the link or pass another root=.")
    return Path(os.path.realpath(target.parent)) / target.name
