"""What others than its writer change in a run's description, such as its notes: kept beside the record at once.

Nobody but a run's writer appends to its record. So who edits a run - the sidebar's server, say, while a kernel trains -
leaves a small file here. Readers see it as if it stood in the record already; a living writer takes it in within a
second, the next one when it begins.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from ..errors import StoreUnwritable
from . import lines

_FOLDER = "edits"
_EDITABLE = {"notes"}


def ask(record: Path, meta: dict[str, Any]) -> None:
    """Change ``meta`` in the run whose record is in that folder, durably. Raises StoreUnwritable."""
    folder = record / _FOLDER
    name = f"{time.time_ns():020}-{os.urandom(4).hex()}.json"
    fresh = folder / f".{name}"
    try:
        folder.mkdir(exist_ok=True)
        with fresh.open("xb") as file:
            file.write(lines.dump_any(meta))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / name)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise StoreUnwritable(
            f"What was changed could not be kept in {folder} ({error.strerror}): make room there, or make it writable.",
            folder=folder,
        ) from error


def names(record: Path) -> tuple[str, ...]:
    """The edits that wait, oldest first."""
    try:
        found = os.listdir(record / _FOLDER)
    except OSError:
        return ()
    return tuple(sorted(name for name in found if name.endswith(".json") and not name.startswith(".")))


def read(record: Path, name: str) -> dict[str, Any]:
    """What one of them changes; nothing if it was taken in meanwhile, or is none of ours."""
    try:
        meta = lines.load((record / _FOLDER / name).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(meta, dict):
        return {}
    return {key: value for key, value in meta.items() if key in _EDITABLE and isinstance(value, str | None)}


def settle(record: Path, taken: tuple[str, ...]) -> None:
    """These stand in the record now."""
    for name in taken:
        with contextlib.suppress(OSError):
            (record / _FOLDER / name).unlink()
