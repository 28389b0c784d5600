"""Where a run is started from: a notebook or a program, and whether that is the one an earlier run came from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class NotebookRef:
    """A notebook, as the kernel knows it.

    ``path`` is absolute ("" if nothing tells it), ``source`` says which finder told it. ``kernel_id`` stays the
    same over restarts of the kernel; ``cells`` are the ids of the notebook's cells, which a rename keeps;
    ``notebook_id`` is the id in the notebook's own metadata, if it has one.
    """

    path: str
    source: str
    notebook_id: str | None = None
    kernel_id: str | None = None
    cells: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For a person to read."""
        return f"notebook {Path(self.path).name}" if self.path else "a notebook whose path is unknown"


@dataclass(frozen=True)
class ProgramRef:
    """A program: the path of its script and the folder it was started in, both absolute ("" if interactive)."""

    path: str
    cwd: str

    @property
    def label(self) -> str:
        """For a person to read."""
        return f"program {Path(self.path).name}" if self.path else "an interactive Python"


Origin = NotebookRef | ProgramRef


def dump(origin: Origin) -> dict[str, Any]:
    """As plain values, for the record."""
    kind = "notebook" if isinstance(origin, NotebookRef) else "program"
    return {"kind": kind, **asdict(origin)}


def load(values: dict[str, Any]) -> Origin | None:
    """From plain values; None if they are of no known kind."""
    rest = {key: value for key, value in values.items() if key != "kind"}
    if values.get("kind") == "notebook":
        return NotebookRef(**{**rest, "cells": tuple(rest.get("cells", ()))})
    return ProgramRef(**rest) if values.get("kind") == "program" else None


def same(now: Origin, then: Origin, exists: Callable[[str], bool] = os.path.exists) -> bool:
    """Whether a run that came from ``then`` belongs to what runs ``now``.

    A program is its path and working directory. A notebook is its path, unless its cells say that another
    notebook lies there now; it is followed through a rename by the kernel that stayed the same, or by its cells
    if nothing is left at the old path. While the old path is still there, the same cells elsewhere are a copy.
    """
    if isinstance(now, ProgramRef) or isinstance(then, ProgramRef):
        return now == then and bool(now.path)
    if now.kernel_id is not None and now.kernel_id == then.kernel_id:
        return True
    shared = bool(set(now.cells) & set(then.cells))
    if now.path and now.path == then.path:
        return shared or not (now.cells and then.cells)
    same_id = now.notebook_id is not None and now.notebook_id == then.notebook_id
    return bool(now.path and then.path) and (shared or same_id) and not exists(then.path)


def this_program() -> ProgramRef:
    """The running script and its working directory."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    try:
        cwd = str(Path.cwd())
    except OSError:
        cwd = ""
    return ProgramRef(os.path.realpath(path) if path else "", cwd)


finders: list[Callable[[], Origin | None]] = []
"""Asked in order before `this_program`; `jupyter_resume.notebook.session` puts the notebook's one here."""


def find() -> Origin:
    """Where this process starts runs from."""
    return next((found for finder in finders if (found := finder())), None) or this_program()
