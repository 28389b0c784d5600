"""Which notebook or program this is, and whether it is the one that an earlier run came from."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from jupyter_resume import origin
from jupyter_resume.notebook import session
from jupyter_resume.origin import NotebookRef, Origin, ProgramRef, same

KERNEL = "2f6b6a4e-8d2c-4b6f-9d59-0a4f4e2b7c11"


def notebook(
    path: str = "/w/train.ipynb", cells: str | None = "abc", kernel: str | None = None, own: str | None = None
) -> Any:
    return NotebookRef(path, "test", own, kernel, None if cells is None else tuple(cells))


def write(path: Path, cells: Sequence[str] = "abc", minor: int = 5, own: str | None = None) -> Path:
    """A notebook file with cells of these ids."""
    metadata = {} if own is None else {"jupyter_resume": {"notebook_id": own}}
    blank = {"cell_type": "code", "source": "", "metadata": {}, "outputs": [], "execution_count": None}
    code = [blank | {"id": cell} for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": minor, "metadata": metadata, "cells": code}))
    return path


STAYED, GONE = True, False
TABLE: list[tuple[str, Origin, Origin, bool, bool]] = [
    ("the same path and cells", notebook(), notebook(), STAYED, True),
    ("the same path, some cells left", notebook(cells="cxy"), notebook(), STAYED, True),
    ("the same path, another notebook's cells", notebook(cells="xyz"), notebook(), STAYED, False),
    ("the same path, cells unknown now", notebook(cells=None), notebook(), STAYED, True),
    ("the same path, cells unknown then", notebook(), notebook(cells=None), STAYED, True),
    ("the same path, no cells now", notebook(cells=""), notebook(), STAYED, False),
    ("the same kernel, renamed", notebook("/w/new.ipynb", kernel="k"), notebook(kernel="k"), STAYED, True),
    ("the same kernel, every cell new", notebook(cells="xyz", kernel="k"), notebook(kernel="k"), STAYED, True),
    ("the same kernel, no path", notebook("", "", "k"), notebook("", "", "k"), STAYED, True),
    ("another kernel, the same notebook", notebook(kernel="k2"), notebook(kernel="k1"), STAYED, True),
    ("the same cells elsewhere, the old path gone", notebook("/w/new.ipynb"), notebook(), GONE, True),
    ("the same cells elsewhere, the old path there", notebook("/w/copy.ipynb"), notebook(), STAYED, False),
    ("other cells elsewhere, the old path gone", notebook("/w/new.ipynb", "xyz"), notebook(), GONE, False),
    ("no cells known, the old path gone", notebook("/w/new.ipynb", None), notebook(cells=None), GONE, False),
    ("the same own id, moved", notebook("/w/new.ipynb", "x", own="n"), notebook(own="n"), GONE, True),
    ("the same own id, copied", notebook("/w/new.ipynb", "x", own="n"), notebook(own="n"), STAYED, False),
    ("neither has a path", notebook("", ""), notebook("", ""), GONE, False),
    ("only one has a path", notebook("", "abc"), notebook(), GONE, False),
    ("a program, its path and folder", ProgramRef("/w/t.py", "/w"), ProgramRef("/w/t.py", "/w"), STAYED, True),
    ("a program, started elsewhere", ProgramRef("/w/t.py", "/w"), ProgramRef("/w/t.py", "/x"), STAYED, False),
    ("an interactive Python", ProgramRef("", "/w"), ProgramRef("", "/w"), STAYED, False),
    ("a program and a notebook", ProgramRef("/w/train.ipynb", "/w"), notebook(), STAYED, False),
]


@pytest.mark.parametrize(("now", "then", "stayed", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_a_run_belongs_to_what_runs_now(now: Origin, then: Origin, stayed: bool, expected: bool) -> None:
    assert same(now, then, lambda _: stayed) is expected


def test_an_origin_comes_back_from_the_record_as_it_was() -> None:
    for one in (notebook(kernel="k", own="n"), notebook(cells=None), ProgramRef("/w/t.py", "/w")):
        assert origin.load(json.loads(json.dumps(origin.dump(one)))) == one
    assert origin.load({"kind": "of a later version"}) is None


def test_another_notebook_at_the_old_path_does_not_hide_a_rename(tmp_path: Path) -> None:
    then = NotebookRef(str(tmp_path / "train.ipynb"), "test", cells=("a", "b"))
    moved = NotebookRef(str(write(tmp_path / "moved.ipynb", "ab")), "test", cells=("a", "b"))
    write(tmp_path / "train.ipynb", "xy")
    assert same(moved, then)
    write(tmp_path / "train.ipynb", "ab")
    assert not same(moved, then), "now one of the two is a copy"


# The finders


class Shell(SimpleNamespace):
    """As much of a kernel's shell as the finders look at."""

    def __init__(self, cell: str | None = None, **names: object) -> None:
        super().__init__(kernel=object(), user_ns=names)
        self.cell = cell

    def get_parent(self) -> dict[str, Any]:
        return {"metadata": {} if self.cell is None else {"cellId": self.cell}}


@pytest.fixture
def server_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Make this process look like a Jupyter Server's kernel for the notebook of that path."""

    def of(path: str) -> None:
        monkeypatch.setattr("ipykernel.connect.get_connection_file", lambda: f"/run/kernel-{KERNEL}.json")
        monkeypatch.setenv("JPY_SESSION_NAME", path)
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))

    return of


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Google Colab's module, whose page names the notebook ``in_colab.ipynb``."""
    package, module = ModuleType("google.colab"), ModuleType("google.colab._message")
    answer = {"ipynb": {"metadata": {"colab": {"name": "in_colab.ipynb"}}}}
    module.blocking_request = lambda question, timeout_sec: answer  # type: ignore[attr-defined]
    package._message = module  # type: ignore[attr-defined]
    google = ModuleType("google")
    google.colab = package  # type: ignore[attr-defined]
    for name, one in (("google", google), ("google.colab", package), ("google.colab._message", module)):
        monkeypatch.setitem(sys.modules, name, one)
    return module


def called(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> None:
    """Make this process's parent look as if it had been started by these words in that folder."""
    parent = SimpleNamespace(cmdline=lambda: list(words), cwd=lambda: str(folder))
    monkeypatch.setattr(psutil, "Process", lambda pid: parent)
    monkeypatch.setenv("PWD", str(folder))


def test_the_finders_are_asked_in_order(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server_kernel: Callable[[str], None],
    colab: ModuleType,
) -> None:
    named, by_env, by_code, by_server, by_nbval, by_tool = (
        str(write(tmp_path / f"{name}.ipynb", [name])) for name in ("named", "env", "code", "server", "nbval", "tool")
    )
    shell: Any = Shell(__vsc_ipynb_file__=by_code)
    monkeypatch.setenv("WANDB_NOTEBOOK_NAME", by_env)
    server_kernel(by_server)
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "nbval.ipynb::Cell 0 (call)")
    called(monkeypatch, tmp_path, "python", "/venv/bin/jupyter-execute", "tool.ipynb")

    def found(given: str | None = None) -> tuple[str, str]:
        ref = session.find_in(shell, given)
        assert ref is not None
        return ref.path, ref.source

    assert found(named) == (named, "argument")
    assert found() == (by_env, "WANDB_NOTEBOOK_NAME")
    monkeypatch.delenv("WANDB_NOTEBOOK_NAME")
    assert found() == (by_code, "VS Code")
    del shell.user_ns["__vsc_ipynb_file__"]
    assert found() == ("/content/in_colab.ipynb", "Colab")
    monkeypatch.delitem(sys.modules, "google.colab")
    assert found() == (by_server, "Jupyter Server")
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert found() == (by_nbval, "nbval")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert found() == (by_tool, "command line")
    called(monkeypatch, tmp_path, "python", "-m", "ipykernel_launcher")
    assert found() == ("", "none")


def test_colab_without_a_page_to_ask_is_passed_over(colab: ModuleType) -> None:
    colab.blocking_request = lambda question, timeout_sec: None  # type: ignore[attr-defined]
    assert session.FINDERS["Colab"](Shell()) is None  # type: ignore[arg-type]


def test_a_shell_that_is_no_kernels_runs_no_notebook_unless_one_is_given(tmp_path: Path) -> None:
    terminal: Any = SimpleNamespace(user_ns={})
    assert session.find_in(terminal) is None
    given = session.find_in(terminal, str(write(tmp_path / "a.ipynb")))
    assert given is not None
    assert given.path == str(tmp_path / "a.ipynb")


def test_a_link_to_a_notebook_is_the_notebook(tmp_path: Path) -> None:
    real = write(tmp_path / "real.ipynb")
    (tmp_path / "link.ipynb").symlink_to(real)
    linked = session.find_in(Shell(), str(tmp_path / "link.ipynb"))  # type: ignore[arg-type]
    assert linked is not None
    assert linked.path == str(real)


def test_a_server_kernel_gives_path_kernel_and_cells(tmp_path: Path, server_kernel: Callable[[str], None]) -> None:
    server_kernel(str(write(tmp_path / "a.ipynb", "ab", own="the-notebook")))
    assert session.find_in(Shell("b")) == NotebookRef(  # type: ignore[arg-type]
        str(tmp_path / "a.ipynb"), "Jupyter Server", "the-notebook", KERNEL, ("a", "b")
    )


def test_a_cell_that_is_not_saved_yet_counts_as_the_notebooks(
    tmp_path: Path, server_kernel: Callable[[str], None]
) -> None:
    server_kernel(str(write(tmp_path / "a.ipynb", "ab")))
    ref = session.find_in(Shell("new"))  # type: ignore[arg-type]
    assert ref is not None
    assert ref.cells == ("a", "b", "new")


@pytest.mark.parametrize("name", ["/w/", "/w/Console 1", ""])
def test_a_session_that_names_no_notebook_says_nothing(name: str, server_kernel: Callable[[str], None]) -> None:
    server_kernel(name)
    assert session.FINDERS["Jupyter Server"](Shell()) is None  # type: ignore[arg-type]


def test_a_kernel_that_a_tool_started_inside_another_has_no_part_in_its_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_kernel: Callable[[str], None]
) -> None:
    server_kernel(str(write(tmp_path / "outer.ipynb")))
    monkeypatch.setattr("ipykernel.connect.get_connection_file", lambda: "/tmp/tmp0q3z.json")
    called(monkeypatch, tmp_path, "python", "-m", "ipykernel_launcher")
    assert session.find_in(Shell()) == NotebookRef("", "none")  # type: ignore[arg-type]


class TestAStalePath:
    """JPY_SESSION_NAME dates from the kernel's start; the server knows better."""

    @pytest.fixture
    def renamed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_kernel: Callable[[str], None]) -> Path:
        server_kernel(str(tmp_path / "old.ipynb"))
        monkeypatch.setattr(session, "_from_server", lambda: str(tmp_path / "new.ipynb"))
        return write(tmp_path / "new.ipynb", "ab")

    def test_is_replaced_by_what_the_server_says_if_nothing_is_left_there(self, renamed: Path) -> None:
        assert session.find_in(Shell("a")).path == str(renamed)  # type: ignore[arg-type, union-attr]

    def test_is_replaced_if_the_cell_that_runs_is_not_in_the_file_there(self, renamed: Path) -> None:
        write(renamed.with_name("old.ipynb"), "xy")
        ref = session.find_in(Shell("a"))  # type: ignore[arg-type]
        assert ref is not None
        assert (ref.path, ref.cells) == (str(renamed), ("a", "b"))

    def test_stays_if_the_server_does_not_answer(self, renamed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "_from_server", lambda: None)
        assert session.find_in(Shell("a")).path == str(renamed.with_name("old.ipynb"))  # type: ignore[arg-type, union-attr]

    def test_of_a_server_that_is_gone_is_found_out_quietly(
        self, tmp_path: Path, server_kernel: Callable[[str], None]
    ) -> None:
        server_kernel(str(tmp_path / "old.ipynb"))
        runtime = tmp_path / "runtime"
        runtime.mkdir()
        gone = {"url": "http://127.0.0.1:9/", "token": "t", "root_dir": str(tmp_path)}
        (runtime / "jpserver-1.json").write_text(json.dumps(gone))
        (runtime / "jpserver-2.json").write_text("half a file")
        assert session.find_in(Shell("a")).path == str(tmp_path / "old.ipynb")  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("jupyter-execute", "a.ipynb"), "a.ipynb"),
        (("jupyter-execute", "a"), "a.ipynb"),
        (("jupyter-execute", "--kernel_name", "python3", "a.ipynb"), "a.ipynb"),
        (("jupyter-execute", "a.ipynb", "b.ipynb"), None),
        (("jupyter-execute", "--output", "b.ipynb", "a.ipynb"), "a.ipynb"),
        (("jupyter-nbconvert", "--execute", "--to", "html", "a.ipynb"), "a.ipynb"),
        (("-m", "jupyter", "nbconvert", "--execute", "a.ipynb"), "a.ipynb"),
        (("-m", "papermill", "a.ipynb", "out.ipynb"), "out.ipynb"),
        (("papermill", "-p", "lr", "0.1", "a.ipynb", "b.ipynb"), "b.ipynb"),
        (("papermill", "a.ipynb", "b.ipynb", "-p", "data", "a.ipynb"), "b.ipynb"),
        (("papermill", "a.ipynb"), "a.ipynb"),
        (("jupyter-execute", "missing.ipynb"), None),
        (("-m", "jupyterlab", "a.ipynb"), None),
    ],
)
def test_the_tools_command_line_names_the_notebook(
    words: tuple[str, ...], expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.ipynb")
    write(tmp_path / "b.ipynb")
    called(monkeypatch, tmp_path, "/venv/bin/python", *words)
    found = session.FINDERS["command line"](Shell())  # type: ignore[arg-type]
    assert found == (None if expected is None else str(tmp_path / expected))


# The fingerprint


def test_a_notebook_of_an_older_format_is_known_by_its_path_alone(
    tmp_path: Path, server_kernel: Callable[[str], None]
) -> None:
    """Before nbformat 4.5 cells have no lasting ids: the page makes some up each time it is opened."""
    server_kernel(str(write(tmp_path / "a.ipynb", "ab", minor=4)))
    then = session.find_in(Shell("made-up"))  # type: ignore[arg-type]
    write(tmp_path / "a.ipynb", "xy", minor=4)
    now = session.find_in(Shell("made-up-anew"))  # type: ignore[arg-type]
    assert then is not None
    assert now is not None
    assert (then.cells, now.cells) == (None, None)
    assert same(now, then)


def test_an_untitled_notebook_at_the_path_of_a_deleted_one_is_another(
    tmp_path: Path, server_kernel: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    server_kernel(str(write(tmp_path / "Untitled.ipynb", "ab")))
    then = session.find_in(Shell("a"))  # type: ignore[arg-type]
    os.remove(tmp_path / "Untitled.ipynb")
    write(tmp_path / "Untitled.ipynb", "x")
    monkeypatch.setattr("ipykernel.connect.get_connection_file", lambda: "/run/kernel-another.json")
    now = session.find_in(Shell("x"))  # type: ignore[arg-type]
    assert now is not None
    assert then is not None
    assert now.path == then.path
    assert not same(now, then)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"nbformat": 4}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}',
        '{"nbformat": "4", "nbformat_minor": 5, "metadata": {}, "cells": []}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {"jupyter_resume": 1}, "cells": []}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": [], "cells": [1]}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "source": ""}]}',
    ],
)
def test_a_file_that_is_no_notebook_tells_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(content)
    assert origin.read_notebook(tmp_path / "a.ipynb") == (None, None)
    assert origin.read_notebook(tmp_path) == (None, None)


@pytest.mark.parametrize("own", ["", "../up", "a b", "x" * 65])
def test_an_own_id_that_is_not_one_is_passed_over(own: str, tmp_path: Path) -> None:
    assert origin.read_notebook(write(tmp_path / "a.ipynb", own=own)) == (None, ("a", "b", "c"))
