"""Which notebook lies at a path: the id in its metadata, told apart from the one in a copy.

A notebook keeps its id wherever it is moved or sent. A copy has the same id at first; while the notebook that had it
before is still where it was, the copy is given another. The sidebar writes it into the copy; until that is saved, the
catalog knows it.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import StoreError
from ..origin import NotebookRef, Origin, alike, read_notebook
from .catalog import Catalog

_TO_BE_GIVEN = "?"  # stands for the id of a copy that has none yet: no notebook's


@dataclass(frozen=True)
class Recognised:
    """The id that a notebook has from now on; ``copy_of`` is the path of the notebook that it is a copy of."""

    notebook_id: str
    copy_of: str | None = None


def recognise(catalog: Catalog, notebook: NotebookRef) -> Recognised:
    """Which notebook this is; its ``notebook_id`` is what its metadata say. Noted in the catalog. Raises StoreError."""
    here = catalog.notebook_at(notebook.path)
    own, copy_of = _identify(catalog, notebook, here)
    own = own or secrets.token_hex(8)
    return Recognised(catalog.name_notebook(notebook.path, own, replace=here not in (None, own)), copy_of)


def known(catalog: Catalog, whence: Origin) -> Origin:
    """Where a run is started from, with the id that its notebook has by the catalog, if it has any."""
    if not isinstance(whence, NotebookRef) or not whence.path:
        return whence
    try:
        if whence.notebook_id is not None:
            return replace(whence, notebook_id=recognise(catalog, whence).notebook_id)
        return seen(catalog, whence)
    except StoreError:  # the catalog cannot be used: the notebook is found by its path and its cells
        return whence


def seen(catalog: Catalog, notebook: NotebookRef) -> NotebookRef:
    """A notebook as `known` would have it, for one who only looks: nothing is noted."""
    try:
        own, copy_of = _identify(catalog, notebook, catalog.notebook_at(notebook.path))
    except StoreError:
        return notebook
    return replace(notebook, notebook_id=own or (_TO_BE_GIVEN if copy_of else None))


def _identify(catalog: Catalog, notebook: NotebookRef, here: str | None) -> tuple[str | None, str | None]:
    """The id that a notebook has, if any, and the path of its original; ``here``: what its path is noted with."""
    told = notebook.notebook_id
    if told is None:
        return (here, None) if here and _fits(catalog, here, notebook) else (None, None)
    before = catalog.place_of(told)
    if before in (None, notebook.path) or not _lives(catalog, before, told) or _one_file(before, notebook.path):
        return told, None
    return (here if here != told else None), before


def _fits(catalog: Catalog, notebook_id: str, notebook: NotebookRef) -> bool:
    """Whether a notebook whose metadata say nothing may be the one that had this id at its path."""
    last = catalog.last_of(notebook_id, notebook.path)
    then = last.origin if last else None
    return not isinstance(then, NotebookRef) or alike(notebook.cells, then.cells)


def _lives(catalog: Catalog, path: str, notebook_id: str) -> bool:
    """Whether the notebook of an id is still at a path; it may not be saved with it yet."""
    if not os.path.exists(path):
        return False
    own, cells = read_notebook(Path(path))
    return own == notebook_id if own else _fits(catalog, notebook_id, NotebookRef(path, "", cells=cells))


def _one_file(some: str, other: str) -> bool:
    """Whether two paths lead to one file, as over a second mount."""
    try:
        return os.path.samefile(some, other)
    except OSError:
        return False
