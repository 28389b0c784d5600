"""Where a run is started from: a notebook or a program, and whether that is the one an earlier run came from."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

_LARGEST_NOTEBOOK = 64 << 20
_NOTEBOOK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class NotebookRef:
    """A notebook, as the kernel knows it.

    ``path`` is absolute ("" if nothing tells it), ``source`` says which finder told it. ``kernel_id`` stays the
    same over restarts of the kernel; ``cells`` are the ids of the notebook's cells, which a rename keeps, and None
    where they are not known or do not last; ``notebook_id`` is the id in the notebook's own metadata, if it has one.
    ``cell`` is the id of the cell that is being executed.
    """

    path: str
    source: str
    notebook_id: str | None = None
    kernel_id: str | None = None
    cells: tuple[str, ...] | None = None
    cell: str | None = field(default=None, compare=False)

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
    values = {"kind": kind, **asdict(origin)}
    if isinstance(origin, NotebookRef):
        values["cells"] = origin.cells or ()
    return values


def load(values: dict[str, Any]) -> Origin | None:
    """From plain values, passing over what a later version may add; None if they are of no known kind."""
    kinds: dict[Any, type[NotebookRef] | type[ProgramRef]] = {"notebook": NotebookRef, "program": ProgramRef}
    kind = kinds.get(values.get("kind"))
    if kind is None or any(field.name not in values for field in fields(kind) if field.default is MISSING):
        return None
    known = {field.name: values[field.name] for field in fields(kind) if field.name in values}
    if "cells" in known:
        known["cells"] = tuple(known["cells"]) or None  # a run that was begun before any cell was saved
    return kind(**known)


def read_notebook(path: Path) -> tuple[str | None, tuple[str, ...] | None]:
    """A notebook's own id, and the ids of its cells; None for a file that cannot have any that last."""
    try:
        if path.stat().st_size > _LARGEST_NOTEBOOK:
            return None, None
        notebook = orjson.loads(path.read_bytes())
        own = notebook.get("metadata", {}).get("jupyter_resume", {}).get("notebook_id")
        cells = [cell["id"] for cell in notebook["cells"] if isinstance(cell.get("id"), str)]
        lasting = (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
        known = bool(cells) or not notebook["cells"]  # some programs write cells of this format without ids
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None, None
    return as_notebook_id(own), tuple(cells[:1000]) if lasting and known else None


def as_notebook_id(value: object) -> str | None:
    """A notebook's id from its metadata; None for what is none of ours."""
    return value if isinstance(value, str) and _NOTEBOOK_ID.fullmatch(value) else None


def still_there(notebook: NotebookRef) -> bool:
    """Whether a notebook lies where it did: there is a file, and neither its id nor all its cells are another's."""
    if not os.path.exists(notebook.path):
        return False
    notebook_id, cells = read_notebook(Path(notebook.path))
    if notebook_id and notebook.notebook_id:
        return notebook_id == notebook.notebook_id
    return alike(cells, notebook.cells)


def with_cells(saved: tuple[str, ...] | None, told: Iterable[str]) -> tuple[str, ...] | None:
    """A notebook's cells: those in its file, and those that are told by who has it open, saved or not.

    None where ids in the file do not last: the told ones do not either.
    """
    return None if saved is None else tuple(dict.fromkeys((*saved, *told)))


def alike(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Whether these may be cells of one notebook; where either are unknown, they may."""
    return some is None or others is None or not set(some).isdisjoint(others)


def same(now: Origin, then: Origin, there: Callable[[NotebookRef], bool] = still_there) -> bool:
    """Whether a run that came from ``then`` belongs to what runs ``now``.

    A program is its path and working directory. A notebook is its path, unless its id or its cells say that another
    notebook lies there now; it is followed through a rename by the kernel that stayed the same, or by its id or its
    cells if it is not at its old path any more. While it still is, the same id or cells elsewhere are a copy.
    """
    if isinstance(now, ProgramRef) or isinstance(then, ProgramRef):
        return now == then and bool(now.path)
    if now.kernel_id is not None and now.kernel_id == then.kernel_id:
        return True
    if not (now.path and then.path):
        return False
    if now.notebook_id and then.notebook_id:
        return now.notebook_id == then.notebook_id and (now.path == then.path or not there(then))
    if now.path == then.path:
        return alike(now.cells, then.cells)
    return not set(now.cells or ()).isdisjoint(then.cells or ()) and not there(then)


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
