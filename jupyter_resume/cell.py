"""The cell of its notebook in which a run is trained, up to which resuming runs the cells again.

It stands in the run's record, under one key of what is said of the run: each line is the whole of it, so it is known
however a kernel ends, and to readers who never saw the notebook.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from .origin import NotebookRef, Origin

KEY = "cell"
_LONGEST = 400  # characters: VS Code's ids are addresses


@dataclass(frozen=True)
class Cell:
    """The cell that runs while its kernel has the run open, or else the one in which the run moved last.

    ``at`` is when that was found, in Unix seconds by the kernel's clock.
    """

    id: str
    running: bool
    at: float


def of(meta: dict[str, Any]) -> Cell | None:
    """The cell by what is said of a run; None where it is not known."""
    value = meta.get(KEY)
    if not isinstance(value, dict):
        return None
    cell_id, running, at = (value.get(name) for name in ("id", "running", "at"))
    if not (is_id(cell_id) and isinstance(running, bool) and isinstance(at, (int, float))):
        return None
    return Cell(cell_id, running, float(at))


def said(cell: Cell | None) -> dict[str, Any]:
    """What is said of a run that is in this cell."""
    return {KEY: cell and asdict(cell)}


def begun(whence: Origin) -> Cell | None:
    """The cell in which a run is begun just now, or gone on with."""
    told = whence.cell if isinstance(whence, NotebookRef) else None
    return Cell(told, True, time.time()) if is_id(told) else None


def is_id(value: object) -> TypeGuard[str]:
    """Whether this may be the id of a cell."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST
