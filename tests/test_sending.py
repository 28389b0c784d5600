"""What a person sees while ``jupyter resume sync`` and ``%wb_sync`` send."""

from __future__ import annotations

import pytest

import jupyter_resume as wandb
from jupyter_resume import sending
from jupyter_resume.errors import RemoteError
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store

from .remotes import Tracker

pytest_plugins = ("tests.machines_fixtures",)


def test_that_many_rows_are_sent_is_told_before_they_are(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sending, "_MANY", 3)
    path = RunPath("local", "demo", "r1")
    for rows in (3, 2):
        with wandb.init(project="demo", id="r1", resume="allow", mode="offline") as run:
            for n in range(rows):
                run.log({"v": n})
        capsys.readouterr()
        (line,) = sending.send(Store(), [path], tracker.remote().base_url)
        assert f"{rows} rows sent" in line
        assert ("sending 3 rows of run local/demo/r1" in capsys.readouterr().err) == (rows == 3)


def test_why_a_row_is_not_sent_yet_is_said(tracker: Tracker) -> None:
    run = wandb.init(project="demo", id="r1", resume="allow")
    run.log({"v": 0})
    assert sending.flush(run) == "run alice/demo/r1: in step with tracker.example"
    run.log({"v": 1}, step=10)
    said = "run alice/demo/r1: 1 row to send to tracker.example; a row goes out when its step is over"
    assert sending.flush(run) == said
    run.finish()
    assert tracker.one().steps == [0, 10]


@pytest.mark.parametrize("named", [True, False])
def test_of_several_runs_one_that_cannot_be_read_or_found_keeps_no_other_back(
    tracker: Tracker, capsys: pytest.CaptureFixture[str], named: bool
) -> None:
    for run_id in ("broken", "r1"):
        with wandb.init(project="demo", id=run_id, resume="allow") as run:
            run.log({"v": 0})
    with wandb.init(project="demo", id="r1", resume="allow", mode="offline") as run:
        run.log({"v": 1})
    folder = Store().record(RunPath("alice", "demo", "broken")).folder
    for segment in folder.glob("*.jsonl"):
        segment.write_bytes(b"no record\n")
    paths = [RunPath("alice", "demo", run_id) for run_id in ("gone", "broken", "r1")] if named else []
    capsys.readouterr()
    with pytest.raises(RemoteError, match=r"runs were not sent"):
        list(sending.send(Store(), paths))
    assert tracker.one("r1").values("v") == [0, 1]
    told = capsys.readouterr().err
    assert "alice/demo/broken is not sent: No line of the record" in told
    assert ("There is no run alice/demo/gone" in told) == named
