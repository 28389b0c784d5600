"""A remote's file, into a folder: it is there whole and verified, or what was there before is as it was."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .digests import md5_of
from .errors import FileError, LocalFileDiffers
from .files import safe_name, target_in

if TYPE_CHECKING:
    from .remote.base import RemoteFile


def bring(
    file: RemoteFile, fetch: Callable[[RemoteFile, Path], None], root: Path, replace: bool = False
) -> tuple[Path, bool]:
    """Bring a file to ``root/name`` by ``fetch``; the path, and whether anything was fetched.

    ``fetch`` is `Remote.fetch`: it verifies, moves into place at the end, and leaves what was there if it fails.

    What is there with the same content stays. Raises UnsafeName for a name that leaves the root, whoever gave
    it, LocalFileDiffers, FileDamaged, FileError and what ``fetch`` raises.
    """
    name = safe_name(file.name)
    target = target_in(root, name)
    if os.path.lexists(target):
        if target.is_dir() and not target.is_symlink():
            raise LocalFileDiffers(f"{target} is a folder: pass root= of another place for the file.", path=target)
        if is_same(target, file):
            return target, False
        if not replace:
            raise LocalFileDiffers(
                f"{target} is there already and is not the run's file: pass replace=True to replace it, or root= of "
                "another folder.",
                path=target,
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(file, target)
    except (FileExistsError, NotADirectoryError) as error:
        raise LocalFileDiffers(f"{error.filename} is a file where a folder is needed: pass another root=.") from None
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"{name!r} could not be put at {target} ({error.strerror}); what was there is as it was: make room or pass "
            "root= of another folder.",
            path=target,
        ) from error
    return target, True


def is_same(path: Path, file: RemoteFile) -> bool:
    """Whether a local file has exactly the content that the remote names; not if the remote gives no digest.

    Some servers write the MD5 in hex.
    """
    try:
        if file.md5 is None or not path.is_file() or path.stat().st_size != file.size:
            return False
        md5 = md5_of(path)
        return md5 == file.md5 or base64.b64decode(md5).hex() == file.md5.lower()
    except OSError:
        return False
