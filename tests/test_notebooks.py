"""Which notebook lies at a path, by the id in its metadata: moved, copied, replaced, not saved yet."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_resume import origin
from jupyter_resume.errors import StoreError
from jupyter_resume.origin import NotebookRef, ProgramRef
from jupyter_resume.store.catalog import Catalog
from jupyter_resume.store.home import Store
from jupyter_resume.store.notebooks import Recognised, known, recognise, seen
from jupyter_resume.store.record import ResumePoint


def write(path: Path, notebook_id: str | None = None, *cells: str) -> NotebookRef:
    """A notebook, as a kernel or the sidebar knows it."""
    metadata = {"jupyter_resume": {"notebook_id": notebook_id}} if notebook_id else {}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [{"id": cell} for cell in cells]}
    path.write_text(json.dumps(content))
    return read(path)


def read(path: Path) -> NotebookRef:
    notebook_id, cells = origin.read_notebook(path)
    return NotebookRef(str(path), "test", notebook_id, None, cells)


def ran(store: Store, notebook: NotebookRef, run_id: str = "one", updated: float = 1.0, created: float = 0.0) -> None:
    """The catalog has an unfinished run of this notebook."""
    whence = origin.dump(notebook)
    store.catalog.put(ResumePoint("local", "p", run_id, created, updated, origin=whence, state="crashed"))


def unfinished(store: Store, notebook: NotebookRef) -> list[str]:
    return [path.run_id for path in store.catalog.unfinished("local", "p", notebook)]


@pytest.fixture
def catalog(store: Store) -> Catalog:
    return store.catalog


def test_a_new_notebook_gets_an_id_once(catalog: Catalog, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ipynb", None, "x")
    first = recognise(catalog, one)
    assert recognise(catalog, one) == first
    assert known(catalog, one) == NotebookRef(one.path, "test", first.notebook_id, None, ("x",))


def test_a_kernel_gives_no_id_to_a_notebook_that_the_sidebar_has_not_seen(catalog: Catalog, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ipynb", None, "x")
    assert known(catalog, one) == one
    assert catalog.notebook_at(one.path) is None


def test_another_notebook_put_at_the_path_gets_another_id(store: Store, tmp_path: Path) -> None:
    before = write(tmp_path / "a.ipynb", None, "x")
    first = recognise(store.catalog, before).notebook_id
    ran(store, NotebookRef(before.path, "test", first, None, ("x",)))
    other = write(tmp_path / "a.ipynb", None, "y")
    assert known(store.catalog, other).notebook_id is None  # type: ignore[union-attr]
    assert recognise(store.catalog, other).notebook_id != first


def test_another_notebook_put_at_the_path_gets_another_id_though_no_run_knows_the_first(
    store: Store, tmp_path: Path
) -> None:
    """The sidebar gives the id once the first run has begun: that run has none, and the newcomer's has none either."""
    before = write(tmp_path / "a.ipynb", None, "x")
    ran(store, before)
    first = recognise(store.catalog, before).notebook_id
    assert recognise(store.catalog, before).notebook_id == first
    now = write(tmp_path / "a.ipynb", None, "y")
    assert known(store.catalog, now) == now
    assert known(store.catalog, replace(now, cells=())).notebook_id is None  # type: ignore[union-attr]
    ran(store, now, "two", updated=2.0, created=time.time())
    second = recognise(store.catalog, now).notebook_id
    assert recognise(store.catalog, now).notebook_id == second != first
    assert unfinished(store, now) == ["two"]


def test_a_copy_of_a_copy_is_told_apart_from_both(catalog: Catalog, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ipynb", "first", "x")
    assert recognise(catalog, one) == Recognised("first")
    two = recognise(catalog, write(tmp_path / "b.ipynb", "first", "x"))
    three = recognise(catalog, write(tmp_path / "c.ipynb", "first", "x"))
    assert two.copy_of == three.copy_of == one.path
    assert len({"first", two.notebook_id, three.notebook_id}) == 3
    four = recognise(catalog, write(tmp_path / "d.ipynb", two.notebook_id, "x"))
    assert four.copy_of is None  # the copy is saved with its original's id still: nobody else has this one on the disk


def test_one_file_under_two_names_is_no_copy(catalog: Catalog, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ipynb", "first", "x")
    recognise(catalog, one)
    os.link(one.path, tmp_path / "b.ipynb")
    assert recognise(catalog, read(tmp_path / "b.ipynb")) == Recognised("first")


def test_a_moved_notebook_is_followed_by_its_id_alone(store: Store, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ipynb", "first", "x")
    ran(store, one)
    Path(one.path).unlink()
    moved = write(tmp_path / "b.ipynb", "first", "all", "new")
    assert unfinished(store, moved) == ["one"]
    assert unfinished(store, write(tmp_path / "c.ipynb", "other", "x")) == []


def test_a_moved_notebook_is_no_copy_of_another_without_an_id_at_its_old_path(store: Store, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ipynb", "first", "x")
    recognise(store.catalog, one)
    ran(store, one)
    Path(one.path).rename(tmp_path / "b.ipynb")
    moved = read(tmp_path / "b.ipynb")
    for cells in ((), ("y",)):
        write(tmp_path / "a.ipynb", None, *cells)
        assert seen(store.catalog, moved) == moved
    write(tmp_path / "a.ipynb", None, "x", "y")  # the one that was there, not saved with its id
    assert recognise(store.catalog, moved).copy_of == one.path
    write(tmp_path / "a.ipynb", None, "y")
    assert recognise(store.catalog, moved) == Recognised("first")
    assert unfinished(store, moved) == ["one"]


def test_another_id_at_the_same_path_is_another_notebook(store: Store, tmp_path: Path) -> None:
    ran(store, write(tmp_path / "a.ipynb", "first", "x"))
    assert unfinished(store, write(tmp_path / "a.ipynb", "second", "x")) == []
    assert unfinished(store, write(tmp_path / "a.ipynb", None, "x")) == ["one"]
    assert unfinished(store, write(tmp_path / "a.ipynb", "first", "new", "cells")) == ["one"]


def test_a_notebooks_run_at_its_path_comes_before_one_that_it_began_elsewhere(store: Store, tmp_path: Path) -> None:
    elsewhere = NotebookRef(str(tmp_path / "gone.ipynb"), "test", "first", None, ("x",))
    here = write(tmp_path / "a.ipynb", "first", "x")
    ran(store, here, "here", updated=1.0)
    ran(store, elsewhere, "elsewhere", updated=2.0)
    assert unfinished(store, here) == ["here", "elsewhere"]


def test_a_program_is_no_notebook(catalog: Catalog) -> None:
    program = ProgramRef("/x/train.py", "/x")
    assert known(catalog, program) == program


def test_a_catalog_that_cannot_be_used_keeps_no_run_from_beginning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = Catalog(tmp_path / "file" / "catalog.sqlite", ())
    one = write(tmp_path / "a.ipynb", "first", "x")
    assert known(broken, one) == one
    with pytest.raises(StoreError):
        recognise(broken, one)


def test_a_catalog_of_an_earlier_version_is_brought_up_to_date(store: Store, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ipynb", "first", "x")
    ran(store, one)
    with sqlite3.connect(store.catalog.file) as db:
        db.execute("DROP TABLE notebooks")
        db.execute("DROP INDEX by_notebook")
        db.execute("ALTER TABLE runs DROP COLUMN notebook_id")
    assert unfinished(store, one) == ["one"]
    assert recognise(store.catalog, one) == Recognised("first")
    ran(store, one)
    assert store.catalog.place_of("first") == one.path
