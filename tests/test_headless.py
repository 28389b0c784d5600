"""Notebooks executed without a page: nbclient, jupyter execute, nbconvert, papermill and nbval."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from jupyter_resume import listing
from jupyter_resume.origin import NotebookRef
from jupyter_resume.store.catalog import CatalogEntry
from jupyter_resume.store.home import Store

BEGIN = "%load_ext jupyter_resume\nrun = %wb_init --project headless --resume {policy}"
LOG = "run.log({'n': run.step})"
SENTENCE = (
    "jupyter_resume: nothing says which notebook this is, so this run cannot be found again by itself: "
    "pass an id (%wb_init --id ID), or set WANDB_NOTEBOOK_NAME to the notebook's path.\n"
)


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a kernel would inherit of these tests' own pytest, and of a Jupyter around it, is kept from it."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("PWD", str(tmp_path))


def notebook(policy: str = "allow", *more: str) -> nbformat.NotebookNode:
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    cells = [nbformat.v4.new_code_cell(code) for code in (BEGIN.format(policy=policy), LOG, *more)]
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A notebook that logs one row to its unfinished run, or to a new one."""
    path = tmp_path / "train.ipynb"
    nbformat.write(notebook(), path)
    return path


def tool(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PWD": str(cwd or Path.cwd())}
    module, *rest = [str(word) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", module, *rest], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def only(store: Store) -> CatalogEntry:
    """The one run there is, by its record: nbval kills its kernel."""
    (entry,) = store.catalog.runs()
    return listing.current(store, entry)


def came_from(entry: CatalogEntry) -> tuple[str, str]:
    assert isinstance(entry.origin, NotebookRef)
    return entry.origin.path, entry.origin.source


def test_nbclient_with_wandb_notebook_name(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_NOTEBOOK_NAME", "train.ipynb")
    for rows in (1, 2):
        nbclient.execute(nbformat.read(path, 4), cwd=str(path.parent))
        assert (only(store).rows, only(store).state) == (rows, "interrupted")
    assert came_from(only(store)) == (str(path), "WANDB_NOTEBOOK_NAME")


def test_nbclient_with_the_path_given_to_the_magic(path: Path, store: Store) -> None:
    nb = nbformat.read(path, 4)
    nb.cells[0].source += " --notebook train.ipynb"
    for _ in range(2):
        nbclient.execute(nb, cwd=str(path.parent))
    assert only(store).rows == 2
    assert came_from(only(store)) == (str(path), "argument")


def test_jupyter_execute(path: Path, store: Store) -> None:
    tool("jupyter", "execute", "train.ipynb", cwd=path.parent)
    assert came_from(only(store)) == (str(path), "command line")


def test_papermill_is_known_by_the_notebook_that_it_writes(path: Path, store: Store) -> None:
    """One source with different parameters makes different runs; the same output again continues its run."""
    for output in ("small.ipynb", "large.ipynb", "small.ipynb"):
        tool("papermill", "-p", "size", output, "train.ipynb", output, "--no-progress-bar", cwd=path.parent)
    small, large = sorted(store.catalog.runs(), key=lambda entry: -entry.rows)
    assert (small.rows, large.rows) == (2, 1)
    assert came_from(small) == (str(path.parent / "small.ipynb"), "command line")
    assert came_from(large) == (str(path.parent / "large.ipynb"), "command line")


def test_papermill_with_another_working_folder(path: Path, store: Store) -> None:
    folder = path.parent / "elsewhere"
    folder.mkdir()
    tool("papermill", "train.ipynb", "out.ipynb", "--cwd", folder, "--no-progress-bar", cwd=path.parent)
    assert came_from(only(store)) == (str(path.parent / "out.ipynb"), "command line")


def test_nbval_which_kills_its_kernel(path: Path, store: Store) -> None:
    for _ in range(2):
        tool("pytest", "--nbval-lax", "-p", "no:cacheprovider", "-q", "train.ipynb", cwd=path.parent)
    assert only(store).rows == 2
    assert came_from(only(store)) == (str(path), "nbval")


def test_without_a_path_a_new_run_is_begun_and_one_sentence_says_so(path: Path, store: Store) -> None:
    for _ in range(2):
        nb = nbclient.execute(nbformat.read(path, 4), cwd=str(path.parent))
        told = [output.text for cell in nb.cells for output in cell.outputs if output.output_type == "stream"]
        assert told == [SENTENCE]
    assert [entry.rows for entry in store.catalog.runs()] == [1, 1]


def test_without_a_path_an_id_is_enough(path: Path, store: Store) -> None:
    nb = nbformat.read(path, 4)
    nb.cells[0].source += " --id night"
    for _ in range(2):
        done = nbclient.execute(nb, cwd=str(path.parent))
        assert not any(output.output_type == "stream" for cell in done.cells for output in cell.outputs)
    assert only(store).rows == 2


def test_without_a_path_must_is_refused_in_one_line(path: Path, store: Store) -> None:
    nb = notebook("must")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="RunMissing"):
        nbclient.execute(nb, cwd=str(path.parent))
    (output,) = nb.cells[0].outputs
    assert output.output_type == "error"
    assert output.traceback == [
        "RunMissing: resume is 'must' and nothing says which run: pass id= or set WANDB_RUN_ID."
    ]
    assert store.catalog.runs() == []


def test_a_tool_run_inside_a_notebook_does_not_continue_that_notebooks_run(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It inherits JPY_SESSION_NAME, which names the outer notebook."""
    outer = path.with_name("outer.ipynb")
    nbformat.write(notebook(), outer)
    monkeypatch.setenv("JPY_SESSION_NAME", str(outer))
    tool("jupyter", "execute", "train.ipynb", cwd=path.parent)
    assert came_from(only(store)) == (str(path), "command line")
