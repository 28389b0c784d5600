"""A run chosen in the sidebar: the next one begun in the kernel continues it, and only that one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from jupyter_resume import _active
from jupyter_resume.notebook import chosen, once

TWO = """import jupyter_resume
for name in ("one", "two"):
    with jupyter_resume.init(project="p", id=name) as run:
        run.log({"loss": 1.0})"""


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_the_next_run_is_the_chosen_one_and_the_environment_is_as_before(shell: InteractiveShell) -> None:
    shell.run_cell(TWO).raise_error()
    chosen.choose("local/p/one")
    shell.run_cell("1 + 1").raise_error()
    shell.run_cell("run = jupyter_resume.init(project='p')").raise_error()
    run = shell.user_ns["run"]
    assert (run.id, run.step) == ("one", 1)
    assert "WANDB_RUN_ID" not in os.environ
    assert "WANDB_RESUME" not in os.environ
    run.finish()
    shell.run_cell("other = jupyter_resume.init(project='p')").raise_error()
    assert shell.user_ns["other"].id != "one"


def test_a_chosen_run_that_cannot_be_begun_is_not_chosen_any_more(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    chosen.choose("local/p/gone")
    assert not shell.run_cell("import jupyter_resume\njupyter_resume.init()").success
    assert os.environ["WANDB_PROJECT"] == "mine"
    assert "WANDB_RUN_ID" not in os.environ
    assert not _active.open_runs()


def test_of_several_pages_the_first_that_asks_a_kernel_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "_asked", False)
    assert [once.first() for _ in range(3)] == [True, False, False]
