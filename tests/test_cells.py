"""In which cell of its notebook a run is trained, by its record: as cells begin, end, and are killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume
from jupyter_resume import cell
from jupyter_resume.identity import RunPath
from jupyter_resume.notebook import cells, session
from jupyter_resume.origin import NotebookRef, dump, load
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record

from .kernel import Kernel
from .shell import Shell


class Page(Shell):
    """A page that says the id of each cell that it has run."""

    def run(self, cell_id: str | None, code: str) -> None:
        self.request = {"metadata": {} if cell_id is None else {"cellId": cell_id}}
        self.run_cell(code, store_history=True, cell_id=cell_id).raise_error()

    def get_parent(self) -> Any:
        return self.request


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    (tmp_path / "ipython").mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("WANDB_NOTEBOOK_NAME", "train.ipynb")
    page = Page()
    monkeypatch.setattr("IPython.get_ipython", lambda: page)
    session.install()
    assert cells.before_cell in page.events.callbacks["pre_run_cell"]
    page.run("imports", "import jupyter_resume as wandb")
    yield page
    while run := jupyter_resume.run:
        run.finish()


def record(store: Store, run_id: str = "one") -> Record:
    return store.record(RunPath("local", "uncategorized", run_id))


def where(store: Store, run_id: str = "one") -> tuple[str, bool] | None:
    """The cell that the run's record names, and whether it runs."""
    tail = record(store, run_id).tail()
    assert tail is not None
    found = cell.of(tail.point.meta)
    return found and (found.id, found.running)


BEGIN = "run = wandb.init(id='one', resume='allow')"


def test_a_run_is_in_the_cell_that_began_it_until_another_logs(page: Page, store: Store) -> None:
    page.run("begin", f"{BEGIN}\nimport os")
    assert where(store) == ("begin", False)
    page.run("look", "run.step")
    assert where(store) == ("begin", False)
    page.run("train", "run.log({'a': 1})")
    assert where(store) == ("train", False)
    page.run("look", "run.save")
    assert where(store) == ("train", False)
    page.run("again", "run.log({'a': 1}, step=run.step, commit=False)")
    assert where(store) == ("again", False)


def test_the_cell_that_runs_is_in_the_record_before_its_first_line(page: Page, store: Store) -> None:
    seen: list[Any] = []
    page.user_ns["look"] = lambda: seen.append(where(store))
    page.run("begin", f"{BEGIN}\nlook()")
    page.run("plot", "look()")
    page.run("train", "look()\nrun.log({'a': 1})")
    assert seen == [("begin", True), ("plot", True), ("train", True)]


def test_a_cell_that_fails_or_is_interrupted_has_ended(page: Page, store: Store) -> None:
    page.run("begin", BEGIN)
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            page.run("train", f"run.log({{'a': 1}})\nraise {error.__name__}")
        assert where(store) == ("train", False)
    with pytest.raises(SyntaxError):
        page.run("typo", "run.log({'a': 1)")
    assert where(store) == ("train", False)


def test_code_that_a_magic_runs_within_the_cell_is_no_cell(page: Page, store: Store) -> None:
    seen: list[Any] = []
    page.user_ns["look"] = lambda: seen.append(where(store))
    page.run("begin", BEGIN)
    page.run("train", "%%capture\nget_ipython().run_cell('run.log({\"a\": 1})')\nlook()")
    assert seen == [("train", True)]
    assert where(store) == ("train", False)


@pytest.mark.parametrize("odd", [None, "", "x" * 401])
def test_code_from_a_console_leaves_the_run_in_its_cell(page: Page, store: Store, odd: str | None) -> None:
    page.run("begin", BEGIN)
    page.run(odd, "run.log({'a': 1})")
    assert where(store) == ("begin", False)


def test_a_run_gone_on_with_by_another_notebook_is_in_its_cell(page: Page, store: Store) -> None:
    page.run("begin", BEGIN)
    page.run("train", "run.log({'a': 1}); run.close('interrupted')")
    page.run("anew", BEGIN)
    assert where(store) == ("anew", False)
    page.run(None, "run.close('interrupted')")
    page.run(None, BEGIN)
    assert where(store) is None, "nobody knows where it is gone on with"
    page.run("look", "run.step")
    assert where(store) is None


def test_two_runs_at_once_are_each_in_the_cell_that_logs_to_it(page: Page, store: Store) -> None:
    page.run("begin", f"{BEGIN}\ntwo = wandb.init(id='two')")
    page.run("first", "run.log({'a': 1})")
    page.run("second", "two.log({'a': 1})")
    assert (where(store), where(store, "two")) == (("first", False), ("second", False))


def test_log_writes_nothing_of_it(page: Page, store: Store) -> None:
    page.run("begin", BEGIN)

    def lines_of(kind: str) -> int:
        return sum(one == kind for one, _ in record(store).scan())

    before = lines_of("m")
    page.run("train", "for n in range(500): run.log({'a': n})")
    assert (lines_of("r"), lines_of("m") - before) == (500, 2)


def test_the_origin_names_the_cell_that_began_the_run_and_is_the_same_notebook(store: Store) -> None:
    ref = NotebookRef("/w/a.ipynb", "test", None, None, ("a",), "a")
    assert load(dump(ref)) == ref == NotebookRef("/w/a.ipynb", "test", None, None, ("a",))
    assert getattr(load(dump(ref)), "cell", None) == "a"


GOOD = {"id": "a", "running": True, "at": 1.0}


@pytest.mark.parametrize("value", [None, 7, "a", {}, *({**GOOD, key: odd} for key in GOOD for odd in (None, "", []))])
def test_what_is_no_cell_in_a_record_is_not_known(value: Any) -> None:
    assert cell.of({"cell": value}) is None
    assert cell.of({"cell": {**GOOD, "later": 1}}) == cell.Cell("a", True, 1.0)


@pytest.mark.parametrize("ended", [False, True])
def test_a_kernel_killed_in_a_cell_or_between_two_says_which(ended: bool, tmp_path: Path, home: Path) -> None:
    """Without the extension loaded, as with code that is made for W&B."""
    begin = f"import os; os.environ.update(JUPYTER_RESUME_HOME={str(home)!r}, WANDB_NOTEBOOK_NAME='train.ipynb')"
    with Kernel() as kernel:
        kernel.check(f"{begin}\nimport jupyter_resume as wandb\n{BEGIN}", cell_id="begin")
        assert where(Store(home)) == ("begin", False)
        if ended:
            kernel.check("run.log({'a': 1})", cell_id="train")
        else:
            kernel.send("run.log({'a': 1})\nimport time; time.sleep(600)", cell_id="train")
            deadline = time.monotonic() + 60
            while not list(record(Store(home)).history()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        kernel.kill()
        assert where(Store(home)) == ("train", not ended)
        assert record(Store(home)).state() == "crashed"
