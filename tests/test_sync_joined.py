"""A run that others write too: what they write stays, what is written here goes behind it, and nothing is lost."""

from __future__ import annotations

import os

import pytest

import jupyter_resume as wandb
from jupyter_resume import exported
from jupyter_resume.errors import RemoteUnreachable

from .machines import begin, flush, link_of, log, running, whole
from .remotes import Kept, Tracker

pytest_plugins = ("tests.machines_fixtures",)


def begun() -> wandb.Run:
    """A run of two rows that others may join."""
    run = begin()
    run.log({"v": 0})
    exported.export(run)
    run.log({"v": 1})
    flush(run)
    return run


def joined(kept: Kept) -> None:
    """What W&B's SDK does first, and its first row."""
    kept.internal = {**kept.internal, "cli_version": "0.31.0"}
    kept.state = "running"
    kept.log(v="theirs")


@pytest.mark.parametrize("end", ["finished", "failed", "crashed"])
def test_rows_wait_while_another_client_writes_and_go_behind_its_own(tracker: Tracker, end: str) -> None:
    run, kept = begun(), tracker.one()
    for _ in range(2):
        joined(kept)
        run.log({"v": run.step})
        run.config["late"] = run.step
        before = len(tracker.changes())
        error = link_of(run).flush()
        assert isinstance(error, RemoteUnreachable)
        assert "being written by another client" in str(error)
        assert len(tracker.changes()) == before
        kept.log(v="theirs")
        kept.state = end
        flush(run)
    run.finish()
    assert kept.values("v") == [0, 1, "theirs", "theirs", 2, "theirs", "theirs", 3]
    assert kept.steps == list(range(8))
    assert (kept.state, kept.config) == ("finished", {"late": 4})


def test_a_run_that_ends_here_first_leaves_the_other_client_alone(
    tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    run, kept = begun(), tracker.one()
    joined(kept)
    run.log({"v": 2})
    before = len(tracker.changes())
    run.finish()
    assert len(tracker.changes()) == before
    assert (kept.state, kept.values("v")) == ("running", [0, 1, "theirs"])
    assert "has ended here with 1 row to be sent" in capsys.readouterr().err
    assert "WANDB_RUN_ID" not in os.environ


def test_a_server_that_keeps_no_such_marks_is_sent_everything(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_resume.sync.syncing.MARK", "t")  # which the server writes itself
    run, kept = begun(), tracker.one()
    run.log({"v": 2})
    flush(run)
    assert kept.values("v") == [0, 1, 2]
    run.finish()


def test_a_run_is_handed_on_where_the_server_cannot_be_reached(tracker: Tracker) -> None:
    run = begin()
    tracker.down = RemoteUnreachable("tracker.example cannot be reached (the connection was refused).")
    assert exported.export(run)["WANDB_RUN_ID"] == "r1"
    run.log({"v": 0})
    tracker.down = None
    flush(run)
    assert tracker.one().internal["cli_version"].startswith("0.0.0+jupyter-resume.")
    run.finish()


def test_whose_a_run_is_is_not_handed_on_before_the_server_has_said_it(tracker: Tracker) -> None:
    tracker.down = RemoteUnreachable("tracker.example cannot be reached (the connection was refused).")
    run = begin()
    assert "WANDB_ENTITY" not in exported.export(run)
    tracker.down = None
    flush(run)
    assert exported.export(run)["WANDB_ENTITY"] == "alice"
    run.finish()


def test_rows_of_an_exported_run_go_behind_what_a_subprocess_has_logged(tracker: Tracker) -> None:
    run = running(0, config={"ours": 1})
    link_of(run).syncing.shared = True
    kept = tracker.one()
    kept.log(v="sdk1", theirs=1)
    kept.config["sdk"] = 1
    log(run, "a")
    flush(run)
    kept.log(v="sdk2")
    kept.log(v="sdk3")
    log(run, "b", "c")
    flush(run)
    log(run, "d")
    run.config["ours"] = 2
    run.finish()
    whole(kept, [0, "sdk1", "a", "sdk2", "sdk3", "b", "c", "d"])
    assert kept.config == {"ours": 2, "sdk": 1}
    assert (kept.summary["theirs"], kept.summary["v"]) == (1, "d")
    run = begin()
    assert run.step == kept.steps[-1] + 1
    assert run.config.as_dict() == {"ours": 2, "sdk": 1}
    log(run, "e")
    run.finish()
    assert kept.steps == sorted(set(kept.steps))
    assert kept.values("v")[-1] == "e"


def test_an_open_row_of_an_exported_run_stays_open(tracker: Tracker) -> None:
    run = running(0)
    link_of(run).syncing.shared = True
    run.log({"v": "a"}, commit=False)
    tracker.one().log(v="sdk")
    flush(run)
    run.log({"w": 1})
    run.finish()
    whole(tracker.one(), [0, "sdk", "a"])
    assert tracker.one().rows[-1] is not None
    assert tracker.one().rows[-1]["w"] == 1
