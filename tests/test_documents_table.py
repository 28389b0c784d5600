"""The table of the document on resuming, method x policy: every cell, by each of its ways.

The document's columns are "never" (the default), "must", "allow" with a run id, and "from the same folder"; its
rows are the command line, the environment, and ``init``. The magic is a row of our own, and where the document
says "not available" and we have it, the cell says so here.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import jupyter_resume as wandb
from jupyter_resume import _init
from jupyter_resume.errors import InvalidPolicy, Refused, ResumeError, RunExists, RunMissing
from jupyter_resume.store.home import Store

PROGRAM = """
import json
import jupyter_resume as wandb
run = wandb.init(project="preemptable")
print(json.dumps([run.id, run.resumed, run.step]))
run.log({"loss": 0.1})
"""


@dataclass(frozen=True)
class Began:
    """A run that was begun or continued."""

    id: str
    resumed: bool
    step: int


Way = Callable[..., Began]


def by_argument(resume: str | bool | None, run_id: str | None = None) -> Began:
    return began(wandb.init(project="preemptable", resume=resume, id=run_id))


def began(run: wandb.Run) -> Began:
    run.close("interrupted")
    return Began(run.id, run.resumed, run.starting_step)


@pytest.fixture
def by_environment(monkeypatch: pytest.MonkeyPatch) -> Way:
    def way(resume: str | None, run_id: str | None = None) -> Began:
        for name, value in (("WANDB_RESUME", resume), ("WANDB_RUN_ID", run_id)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return began(wandb.init(project="preemptable"))

    return way


@pytest.fixture
def by_magic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "jupyter_resume")

    def way(resume: str | None, run_id: str | None = None) -> Began:
        words = ["--project preemptable"]
        words += [f"--resume {resume}"] if resume else []
        words += [f"--id {run_id}"] if run_id else []
        shell.run_line_magic("wb_init", " ".join(words))
        run = wandb.run
        assert run is not None
        return began(run)

    yield way
    shell.run_line_magic("unload_ext", "jupyter_resume")
    InteractiveShell.clear_instance()


@pytest.fixture
def by_command_line(tmp_path: Path) -> Way:
    (tmp_path / "train.py").write_text(PROGRAM)

    def way(resume: str | None, run_id: str | None = None) -> Began:
        words = [sys.executable, "-m", "jupyter_resume", "run"]
        words += [f"--resume={resume}"] if resume else []
        words += ["--id", run_id] if run_id else []
        words += ["--", sys.executable, "train.py"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1]
            for error in (RunExists, RunMissing):
                if error.__name__ in last:
                    raise error(last)
            assert "Traceback" not in done.stderr
            raise InvalidPolicy(last)
        return Began(*json.loads(done.stdout))

    return way


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    """The way that a test is run by."""
    found: Way = by_argument if request.param == "argument" else request.getfixturevalue(f"by_{request.param}")
    return found


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process counts as one program, whoever runs the tests."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "train.py"), raising=False)


@pytest.fixture
def interrupted() -> str:
    """The id of a run of three rows that this program did not finish."""
    run = wandb.init(project="preemptable")
    for loss in (0.3, 0.2, 0.1):
        run.log({"loss": loss})
    run.close("interrupted")
    return run.id


by_every_way = pytest.mark.parametrize(
    "way", ["argument", "environment", "magic", "command_line"], indirect=True, scope="function"
)
by_every_way_but_the_command_line = pytest.mark.parametrize(
    "way", ["argument", "environment", "magic"], indirect=True, scope="function"
)
by_a_program = pytest.mark.parametrize("way", ["argument", "environment"], indirect=True, scope="function")


def runs(store: Store) -> int:
    return len(store.catalog.runs())


# "Jamais reprendre (défaut)": never


@by_every_way
@pytest.mark.parametrize("resume", ["never", None])
def test_never_which_is_the_default_begins_a_new_run(
    way: Way, resume: str | None, interrupted: str, store: Store
) -> None:
    run = way(resume)
    assert run.id != interrupted
    assert (run.resumed, run.step) == (False, 0)
    assert runs(store) == 2


@by_every_way
@pytest.mark.parametrize("resume", ["never", None])
def test_never_begins_a_new_run_of_the_id_asked_for(way: Way, resume: str | None) -> None:
    assert way(resume, "my-run") == Began("my-run", False, 0)


@by_every_way
@pytest.mark.parametrize("resume", ["never", None])
def test_never_refuses_the_id_of_a_run_that_exists_and_leaves_it_as_it_was(
    way: Way, resume: str | None, interrupted: str, store: Store
) -> None:
    with pytest.raises(RunExists, match="resume='allow'"):
        way(resume, interrupted)
    assert runs(store) == 1
    assert by_argument("must", interrupted) == Began(interrupted, True, 3)


# "Toujours reprendre": must


@by_every_way
def test_must_continues_a_run_that_exists(way: Way, interrupted: str) -> None:
    assert way("must", interrupted) == Began(interrupted, True, 3)


@by_every_way
def test_must_refuses_a_run_that_does_not_exist_and_makes_none(way: Way, store: Store) -> None:
    with pytest.raises(RunMissing, match="does not exist and resume is 'must'"):
        way("must", "my-run")
    assert runs(store) == 0


@by_every_way
def test_must_without_an_id_is_refused_and_says_what_it_needs(way: Way, interrupted: str, store: Store) -> None:
    with pytest.raises(ResumeError, match="id") as refused:
        way("must")
    assert isinstance(refused.value, (Refused, InvalidPolicy))
    assert runs(store) == 1


# "Reprendre en spécifiant un ID d'essai": allow


@by_every_way
def test_allow_with_an_id_continues_the_run_that_exists(way: Way, interrupted: str) -> None:
    assert way("allow", interrupted) == Began(interrupted, True, 3)


@by_every_way
def test_allow_with_an_id_begins_the_run_that_does_not_exist(way: Way, store: Store) -> None:
    assert way("allow", "my-run") == Began("my-run", False, 0)
    assert way("allow", "my-run").resumed
    assert runs(store) == 1


def test_allow_on_the_command_line_takes_the_id_from_the_environment(
    by_command_line: Way, interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", interrupted)
    assert by_command_line("allow") == Began(interrupted, True, 3)


def test_allow_on_the_command_line_without_any_id_is_refused(by_command_line: Way, store: Store) -> None:
    with pytest.raises(InvalidPolicy, match=r"--id ID or set WANDB_RUN_ID"):
        by_command_line("allow")
    assert runs(store) == 0


@by_every_way_but_the_command_line
def test_a_run_id_in_place_of_a_policy_continues_that_run(way: Way, interrupted: str) -> None:
    assert way(interrupted) == Began(interrupted, True, 3)


@by_every_way_but_the_command_line
def test_a_run_id_in_place_of_a_policy_begins_a_run_that_does_not_exist(way: Way) -> None:
    assert way("my-run") == Began("my-run", False, 0)


@by_every_way_but_the_command_line
def test_a_run_id_in_place_of_a_policy_that_contradicts_the_id_is_refused(
    way: Way, interrupted: str, store: Store
) -> None:
    with pytest.raises(InvalidPolicy, match="names another run"):
        way("other-run", interrupted)
    assert runs(store) == 1


def test_a_run_id_in_place_of_a_policy_that_contradicts_the_environment_is_refused(
    interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", interrupted)
    with pytest.raises(InvalidPolicy, match="WANDB_RUN_ID"):
        wandb.init(project="preemptable", resume="other-run")


def test_a_run_id_in_place_of_a_policy_is_not_available_on_the_command_line(by_command_line: Way) -> None:
    with pytest.raises(InvalidPolicy, match="never, allow or must"):
        by_command_line("my-run")


# "Reprendre depuis le même dossier": resume=True


@by_a_program
@pytest.mark.parametrize("resume", ["auto", "true"])
def test_auto_continues_what_this_program_did_not_finish(way: Way, resume: str, interrupted: str) -> None:
    assert way(resume) == Began(interrupted, True, 3)


def test_true_continues_what_this_program_did_not_finish(interrupted: str) -> None:
    assert by_argument(True) == Began(interrupted, True, 3)


@by_a_program
def test_auto_begins_a_new_run_where_everything_was_finished(way: Way, interrupted: str, store: Store) -> None:
    wandb.init(project="preemptable", id=interrupted, resume="must").finish()
    assert not way("auto").resumed
    assert runs(store) == 2


@by_a_program
def test_auto_does_not_continue_another_programs_run(
    way: Way, interrupted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "other.py"))
    assert not way("auto").resumed


@by_a_program
def test_auto_does_not_continue_a_run_begun_in_another_folder(
    way: Way, interrupted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert not way("auto").resumed


@pytest.mark.parametrize("resume", ["auto", "true", "allow", "must"])
def test_in_a_notebook_every_policy_but_never_continues_what_the_notebook_did_not_finish(
    by_magic: Way, resume: str
) -> None:
    begun = by_magic("never --notebook train.ipynb")
    assert by_magic(f"{resume} --notebook other.ipynb" if resume != "must" else "never").id != begun.id
    assert by_magic(f"{resume} --notebook train.ipynb") == Began(begun.id, True, 0)
    assert by_magic("never --notebook train.ipynb").id != begun.id


def test_in_a_notebook_must_without_an_unfinished_run_is_refused(by_magic: Way, interrupted: str) -> None:
    with pytest.raises(RunMissing, match="this notebook has no unfinished run"):
        by_magic("must --notebook train.ipynb")


@pytest.mark.parametrize("resume", ["auto", "true"])
def test_auto_is_not_available_on_the_command_line_and_says_where_it_is(by_command_line: Way, resume: str) -> None:
    with pytest.raises(InvalidPolicy, match=r"not available on the command line.*init\(resume=True\)"):
        by_command_line(resume)


# Between the ways


def test_an_argument_beats_the_environment(interrupted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RESUME", "must")
    monkeypatch.setenv("WANDB_RUN_ID", "no-such-run")
    assert by_argument("allow", interrupted) == Began(interrupted, True, 3)
    with pytest.raises(RunExists):
        by_argument(False, interrupted)


def test_a_magics_option_beats_the_environment(
    by_magic: Way, interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RESUME", "never")
    monkeypatch.setenv("WANDB_RUN_ID", "no-such-run")
    assert by_magic("must", interrupted) == Began(interrupted, True, 3)


def test_the_command_lines_option_beats_the_environment(
    by_command_line: Way, interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RESUME", "never")
    monkeypatch.setenv("WANDB_RUN_ID", "no-such-run")
    assert by_command_line("must", interrupted) == Began(interrupted, True, 3)


@by_every_way
def test_a_near_miss_of_a_policy_is_refused_by_every_way(way: Way, store: Store) -> None:
    with pytest.raises(InvalidPolicy, match="allow"):
        way("alow", "my-run")
    assert runs(store) == 0


def test_the_documents_program_continues_after_it_was_killed(tmp_path: Path, home: Path) -> None:
    (tmp_path / "train.py").write_text(
        """
import sys
import jupyter_resume as wandb
wandb.init(project="preemptable", resume=True)
print(wandb.run.id, wandb.run.resumed, wandb.run.step, flush=True)
for epoch in range(wandb.run.step, 6):
    wandb.log({"epoch": epoch})
    if epoch == 2:
        print("half way", flush=True)
        sys.stdin.readline()
"""
    )

    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "train.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=tmp_path,
        )  # fmt: skip

    with begin() as killed:
        assert killed.stdout is not None
        run_id = killed.stdout.readline().split()[0]
        assert killed.stdout.readline() == "half way\n"
        killed.send_signal(signal.SIGKILL)
    with begin() as again:
        said, _ = again.communicate()
    assert said.splitlines() == [f"{run_id} True 3"]
    record = Store(home).record(wandb_path(run_id))
    assert [row["epoch"] for row in record.history()] == list(range(6))
    assert record.state() == "finished"


def wandb_path(run_id: str) -> _init.RunPath:
    return _init.RunPath("local", "preemptable", run_id)
