"""Beginning and continuing: what is asked of whom, and what a resumed run keeps."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import jupyter_resume as wandb
from jupyter_resume import origin, settings
from jupyter_resume.errors import (
    InvalidInput,
    InvalidRunId,
    InvalidValue,
    NoRun,
    RecordDamaged,
    RunExists,
    RunMissing,
    StoreError,
    UnsafeName,
)
from jupyter_resume.identity import RunPath
from jupyter_resume.store.catalog import Catalog
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import FileEntry

ENVIRONMENT = {
    "WANDB_PROJECT": "from-environment",
    "WANDB_ENTITY": "team",
    "WANDB_RUN_ID": "env-id",
    "WANDB_RESUME": "allow",
    "WANDB_NAME": "env name",
    "WANDB_NOTES": "env notes",
    "WANDB_TAGS": "a, b,a",
    "WANDB_RUN_GROUP": "env group",
    "WANDB_JOB_TYPE": "train",
}


def test_every_variable_of_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "runs"))
    run = wandb.init()
    assert run.path == "team/from-environment/env-id"
    assert (run.name, run.notes, run.tags) == ("env name", "env notes", ("a", "b"))
    assert (run.group, run.job_type) == ("env group", "train")
    assert run.dir == str(tmp_path / "runs" / "env-id")
    run.finish()
    assert wandb.init().resumed


def test_an_argument_beats_the_environment_which_beats_what_is_configured() -> None:
    configured = {"project": "configured", "entity": "configured", "resume": "must"}
    found = settings.resolve({"project": "argument"}, {"WANDB_PROJECT": "e", "WANDB_ENTITY": "e"}, configured)
    assert (found.project, found.entity, found.resume) == ("argument", "e", "must")
    assert settings.resolve({}, {"WANDB_RESUME": ""}, {}).resume is None
    assert settings.resolve({"resume": False}, {"WANDB_RESUME": "allow"}).resume is False


@pytest.mark.parametrize("mode", ["disable", "shared", "Local"])
def test_a_mode_that_is_not_there_is_refused_with_the_ones_that_are(mode: str) -> None:
    with pytest.raises(InvalidInput, match=r"'local'.*'offline'"):
        wandb.init(mode=mode)


def test_config_is_merged_new_values_winning_and_old_keys_staying() -> None:
    wandb.init(project="p", id="one", config={"lr": 0.1, "bs": 32, "net": {"depth": 2}}).finish()
    run = wandb.init(project="p", id="one", resume="allow", config={"lr": 0.2})
    assert run.config.as_dict() == {"lr": 0.2, "bs": 32, "net": {"depth": 2}}
    run.config.epochs = 3
    del run.config["bs"]
    run.finish()
    again = wandb.init(project="p", id="one", resume="allow")
    assert dict(again.config) == {"lr": 0.2, "net": {"depth": 2}, "epochs": 3}


def test_notes_and_tags_given_at_init_replace_the_old_ones_else_they_stay() -> None:
    wandb.init(project="p", id="one", notes="first", tags=["a"]).finish()
    run = wandb.init(project="p", id="one", resume="allow")
    assert (run.notes, run.tags) == ("first", ("a",))
    run.finish()
    run = wandb.init(project="p", id="one", resume="allow", notes="second", tags=["b", "c"])
    assert (run.notes, run.tags) == ("second", ("b", "c"))


def test_the_summary_is_carried_over() -> None:
    run = wandb.init(project="p", id="one")
    run.log({"loss": 0.5})
    run.summary["best"] = {"loss": 0.5, "at": [1, 2]}
    run.finish()
    again = wandb.init(project="p", id="one", resume="must")
    assert again.summary["loss"] == 0.5
    assert again.summary.best == {"loss": 0.5, "at": [1, 2]}


def test_runtime_goes_on_from_where_it_was() -> None:
    run = wandb.init(project="p", id="one")
    run.log({"loss": 1})
    before = run.summary["_runtime"]
    run.finish()
    again = wandb.init(project="p", id="one", resume="must")
    again.log({"loss": 1})
    assert again.summary["_runtime"] > before


def test_init_again_with_the_id_of_an_open_run_goes_on_in_place() -> None:
    run = wandb.init(project="p", id="one")
    run.log({"loss": 1})
    same = wandb.init(project="p", id="one", resume="allow", config={"lr": 1}, notes="again")
    assert same is run
    assert (same.config.lr, same.notes, same.step) == (1, "again", 1)
    with pytest.raises(RunExists):
        wandb.init(project="p", id="one")


def test_init_again_in_another_mode_says_that_the_open_run_stays_in_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = wandb.init(project="p", id="one")
    wandb.init(project="p", id="one", resume="allow")
    assert "was begun" not in capsys.readouterr().err
    for asked, environment in (("offline", {}), (None, {"WANDB_API_KEY": "0" * 40})):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert wandb.init(project="p", id="one", resume="allow", mode=asked) is run
        said = f"run local/p/one was begun local and goes on so, not {asked or 'online'}: to change that, finish it"
        assert said in capsys.readouterr().err


def test_two_runs_at_once_are_written_through_their_own_handles() -> None:
    first = wandb.init(project="p", id="first")
    second = wandb.init(project="p", id="second")
    first.log({"loss": 1})
    second.log({"loss": 2})
    assert wandb.run is second
    second.finish()
    assert wandb.run is first
    first.log({"loss": 3})
    assert (first.step, second.step, first.summary["loss"]) == (2, 1, 3)


def test_a_run_that_was_taken_over_is_not_gone_on_with_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    run = wandb.init(project="p", id="one")
    monkeypatch.setattr(type(run), "fenced", property(lambda self: True))
    assert wandb.init(project="p", id="one", resume="allow", takeover=True) is not run


def test_an_id_is_cleaned_with_a_notice_and_refused_when_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    run = wandb.init(project="p", id="my run/é")
    assert run.id == "my-run--"
    assert "'my run/é' is used as 'my-run--'" in capsys.readouterr().err
    for wrong in ("", "  ", "x" * 65):
        with pytest.raises(InvalidRunId):
            wandb.init(project="p", id=wrong)
    assert wandb.init(project="p", id="x" * 64).id == "x" * 64


@pytest.mark.parametrize("project", ["", " ", "a/b", "a" * 129, "tab\t", "100%"])
def test_a_project_that_cannot_be_is_refused(project: str) -> None:
    if project == "":
        assert wandb.init(project=project).project == "uncategorized"
        return
    with pytest.raises(InvalidInput):
        wandb.init(project=project)


@pytest.mark.parametrize("project", ["..", ".", "con", "ünï", "a b", "x" * 128, "A~b"])
def test_any_other_project_name_has_a_folder_of_its_own_in_the_store(project: str, home: Path) -> None:
    run = wandb.init(project=project)
    assert Path(run.dir).resolve().is_relative_to(home.resolve() / "runs" / "local")
    assert len(Path(run.dir).relative_to(home).parts) == 5


def test_config_takes_what_people_pass_and_names_what_it_cannot_take() -> None:
    @dataclass
    class Options:
        lr: float = 0.1
        sizes: tuple[int, ...] = (1, 2)

    assert dict(wandb.init(config=Options()).config) == {"lr": 0.1, "sizes": [1, 2]}
    assert dict(wandb.init(config=argparse.Namespace(lr=1, path=Path("x"))).config) == {"lr": 1, "path": "x"}
    with pytest.raises(InvalidValue, match=r"config\.model"):
        wandb.init(config={"model": object()})
    with pytest.raises(InvalidValue, match="pass a dict"):
        wandb.init(config=[1, 2])


def test_nothing_is_begun_when_an_argument_is_wrong(home: Path) -> None:
    for wrong in ({"config": {"model": object()}}, {"resume": "alow"}, {"tags": [1]}, {"id": ""}, {"name": 3}):
        with pytest.raises(InvalidInput):
            wandb.init(project="p", **wrong)  # type: ignore[arg-type]
    assert not (home / "runs").exists()


def test_must_on_what_does_not_exist_begins_nothing(home: Path) -> None:
    with pytest.raises(RunMissing, match="'nope' does not exist"):
        wandb.init(project="p", id="nope", resume="must")
    assert not (home / "runs").exists()


def test_without_a_run_each_call_says_what_it_needs() -> None:
    for call in (lambda: wandb.log({}), lambda: wandb.save("x"), lambda: wandb.config, lambda: wandb.summary):
        with pytest.raises(NoRun, match="init"):
            call()
    with pytest.raises(NoRun, match="run to resume"):
        wandb.restore("model.h5")


def test_a_run_gone_on_with_in_place_is_the_active_one() -> None:
    first = wandb.init(project="p", id="first")
    wandb.init(project="p", id="second")
    assert wandb.init(project="p", id="first", resume="allow") is first
    assert wandb.run is first
    wandb.log({"loss": 1})
    assert first.step == 1


def test_a_copied_record_is_refused_and_is_no_second_entry_of_its_run(home: Path, store: Store) -> None:
    wandb.init(project="p", id="one").finish()
    shutil.copytree(home / "runs/local/p/one", home / "runs/local/p/copy")
    with pytest.raises(RecordDamaged, match="copy of that of run local/p/one"):
        wandb.init(project="p", id="copy", resume="allow")
    run = wandb.init(project="p", id="one", resume="allow")
    run.log({"loss": 1})
    run.finish()
    assert store.catalog.rebuild() == 1
    assert store.catalog.runs()[0].last_step == 0


def test_must_in_a_script_says_what_continues_what_it_did_not_finish() -> None:
    with pytest.raises(RunMissing, match="resume=True continues what this program did not finish"):
        wandb.init(project="p", resume="must")


def test_a_word_that_is_no_policy_is_taken_as_an_id_and_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert wandb.init(project="p", resume="banana").id == "banana"
    assert "'banana' is no policy, so it is taken as a run id" in capsys.readouterr().err


def test_a_record_of_which_nothing_is_left_is_told_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wandb.init(project="p", id="one").finish()
    (home / "runs/local/p/one/record/000001.jsonl").write_bytes(b"")
    assert not wandb.init(project="p", id="one", resume="allow").resumed
    assert "nothing could be read of the record" in capsys.readouterr().err


def test_a_file_name_that_matches_nothing_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    run = wandb.init(project="p")
    assert run.save("modle.pt") == []
    assert "nothing matches 'modle.pt'" in capsys.readouterr().err
    with pytest.raises(UnsafeName, match="base_path"):
        run.save("../modle.pt")


def test_config_update_takes_what_wandb_takes() -> None:
    run = wandb.init(project="p", config={"lr": 1})
    run.config.update({"lr": 2}, True)
    run.config.update(argparse.Namespace(bs=3), allow_val_change=True)
    run.config.update([("epochs", 4)], seed=5)
    assert run.config.as_dict() == {"lr": 2, "bs": 3, "epochs": 4, "seed": 5}


def test_names_notes_and_tags_are_checked_when_they_are_set() -> None:
    run = wandb.init(project="p")
    run.tags = "a, b"  # type: ignore[assignment]
    assert run.tags == ("a", "b")
    for attribute, value in (("notes", object()), ("name", 3), ("tags", [1])):
        with pytest.raises(InvalidInput):
            setattr(run, attribute, value)


def test_a_run_that_the_catalog_could_not_take_is_entered_later(
    monkeypatch: pytest.MonkeyPatch, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.init(project="p", id="before")
    with monkeypatch.context() as patched:
        patched.setattr(Catalog, "put", refuse)
        run = wandb.init(project="p", id="one")
        run._tend()
    assert capsys.readouterr().err.count("take no entry") == 1
    assert run.run_path not in [entry.path for entry in store.catalog.runs()]
    run._tend()
    assert run.run_path in [entry.path for entry in store.catalog.runs()]


def refuse(*_: object) -> None:
    raise StoreError("The catalog can take no entry.")


def test_what_a_later_version_adds_to_a_record_is_passed_over(store: Store) -> None:
    ref = origin.dump(origin.ProgramRef("/x.py", "/")) | {"new": 1}
    assert origin.load(ref) == origin.ProgramRef("/x.py", "/")
    assert origin.load({"kind": "program"}) is None
    assert origin.load({"kind": "rocket", "path": "/"}) is None
    entry = FileEntry("a", 1, "d", 0.0, 0)
    assert FileEntry.load(vars(entry) | {"new": 1}) == entry


def test_where_a_run_can_be_looked_at_or_how_it_gets_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.init(project="p", id="here").finish()
    assert capsys.readouterr().err == "jupyter_resume: run local/p/here (new).\n"
    wandb.init(project="p", id="later", mode="offline").finish()
    assert "run local/p/later (new); offline: 'jupyter resume sync' sends it." in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "0.1")
    wandb.init(project="p", entity="me", id="there", resume="allow", base_url="http://127.0.0.1:9").finish()
    assert "run me/p/there (new): http://127.0.0.1:9/me/p/runs/there." in capsys.readouterr().err
    wandb.init(project="p", id="whose", resume="allow", base_url="http://127.0.0.1:9").finish()
    assert "run local/p/whose (new)." in capsys.readouterr().err, "the server has not said which entity is meant"


@pytest.mark.parametrize("resume", ["must", "allow", None])
def test_of_a_disabled_run_nothing_is_kept_and_nothing_is_refused(
    resume: str | None, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    wandb.init(project="p", id="one", mode="local").finish()
    run = wandb.init(project="p", id="one", resume=resume)
    assert (run.resumed, run.step) == (False, 0)
    run.log({"loss": 1.0})
    (tmp_path / "model.h5").write_bytes(b"weights")
    run.save("model.h5", policy="now")
    assert run.restore("model.h5", root="elsewhere").read() == b"weights"
    run.finish()
    assert list((tmp_path / "temporary").iterdir()) == []
    tail = Store(home).record(RunPath("local", "p", "one")).tail()
    assert tail is not None
    assert tail.point.rows == 0
    assert capsys.readouterr().err.count("nothing of this run is kept") == 1
