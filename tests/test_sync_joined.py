"""A run that was handed on: while a client that has joined it writes, nothing is sent from here, nothing is lost."""

from __future__ import annotations

import os

import pytest

import jupyter_resume as wandb
from jupyter_resume import exported
from jupyter_resume.errors import RemoteUnreachable
from jupyter_resume.sync.background import Background

from .remotes import Kept, Tracker


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A server, with a key for it; what is to be sent is sent by `sent` and `finish` only."""
    tracker = Tracker()
    tracker.install(monkeypatch)
    monkeypatch.setattr(Background, "start", lambda link: None)
    return tracker


def begun() -> wandb.Run:
    """A run of two rows that others may join."""
    run = wandb.init(project="demo", id="r1", resume="allow")
    run.log({"v": 0})
    exported.export(run)
    run.log({"v": 1})
    assert sent(run) is None
    return run


def sent(run: wandb.Run) -> Exception | None:
    assert run.link is not None
    return run.link.flush()


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
        error = sent(run)
        assert isinstance(error, RemoteUnreachable)
        assert "being written by another client" in str(error)
        assert len(tracker.changes()) == before
        kept.log(v="theirs")
        kept.state = end
        assert sent(run) is None
    run.finish()
    assert kept.values("v") == [0, 1, "theirs", "theirs", 2, "theirs", "theirs", 3]
    assert kept.steps == list(range(8))
    assert (kept.state, kept.config, tracker.overwritten) == ("finished", {"late": 4}, [])


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
    assert sent(run) is None
    assert kept.values("v") == [0, 1, 2]
    run.finish()


def test_a_run_is_handed_on_where_the_server_cannot_be_reached(tracker: Tracker) -> None:
    run = wandb.init(project="demo", id="r1", resume="allow")
    tracker.down = RemoteUnreachable("tracker.example cannot be reached (the connection was refused).")
    assert exported.export(run)["WANDB_RUN_ID"] == "r1"
    run.log({"v": 0})
    tracker.down = None
    assert sent(run) is None
    assert tracker.one().internal["cli_version"].startswith("0.0.0+jupyter-resume.")
    run.finish()
