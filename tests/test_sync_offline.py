"""Offline is the same product: every policy means the same, and what waits becomes one history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyter_resume.errors import RunExists, RunMissing
from jupyter_resume.store.home import Store
from jupyter_resume.sync.bringing import waiting_runs

from .machines import PATH, On, begin, flush, log, lose, session, sync, whole
from .remotes import URL, Tracker, unreachable

pytest_plugins = ("tests.machines_fixtures",)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_every_policy_means_the_same_offline(tracker: Tracker, mode: str) -> None:
    with pytest.raises(RunMissing):
        begin(mode=mode, resume="must")
    run = begin(mode=mode, resume="never", config={"lr": 1})
    log(run, 0)
    run.close("interrupted")
    with pytest.raises(RunExists):
        begin(mode=mode, resume="never")
    with pytest.raises(RunExists):
        begin(mode=mode, resume=None)
    for policy in ("allow", "must", "auto", True, "r1"):
        run = begin(mode=mode, resume=policy, id=None if policy == "r1" else "r1")
        assert (run.id, run.resumed, run.config["lr"]) == ("r1", True, 1)
        run.close("interrupted")
    assert begin(mode=mode, id=None, resume="never").id != "r1"


def test_offline_sends_nothing(tracker: Tracker) -> None:
    run = session(0, mode="offline")
    assert tracker.calls == []
    assert run.link is None


def test_offline_sessions_one_of_them_killed_become_one_history(tracker: Tracker) -> None:
    Path("f.txt").write_text("1")
    for n in range(4):
        run = begin(mode="offline", config={f"s{n}": n})
        assert run.step == 2 * n
        log(run, 2 * n)
        run.log({"v": 2 * n + 1}, commit=False)
        run.save("f.txt", policy="now")
        lose(run) if n == 1 else run.finish()
    done = sync()
    assert (done.rows, done.files) == (8, ("f.txt",))
    kept = tracker.one()
    whole(kept, list(range(8)))
    assert kept.steps == list(range(8))
    assert kept.config == {f"s{n}": n for n in range(4)}
    assert kept.files == {"f.txt": b"1"}
    assert (kept.state, kept.summary["_step"]) == ("finished", 7)


def test_twice_is_the_same_as_once(tracker: Tracker) -> None:
    run = begin(mode="offline", config={"lr": float("nan")}, tags=["t"])
    log(run, 0, float("nan"))
    Path("f.txt").write_text("1")
    run.save("f.txt", policy="now")
    run.finish()
    sync()
    before, kept = len(tracker.changes()), json.dumps(tracker.one().rows)
    again = sync()
    assert (again.rows, again.files) == (0, ())
    assert "everything is there already" in str(again)
    assert len(tracker.changes()) == before
    assert json.dumps(tracker.one().rows) == kept
    assert waiting_runs(Store(), URL) == []


def test_a_crashed_run_is_sent_once(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(mode="offline")
    log(run, 0, 1)
    lose(run)
    monkeypatch.setattr("jupyter_resume.store.record.Record.live_owner", lambda record, tail=None: None)
    assert sync().rows == 2
    before = len(tracker.changes())
    assert sync().rows == 0
    assert len(tracker.changes()) == before


def test_an_offline_run_goes_on_online(tracker: Tracker) -> None:
    session(0, 1, mode="offline", config={"lr": 1})
    run = begin(resume="must")
    assert (run.step, run.path) == (2, "alice/demo/r1")
    log(run, 2)
    run.finish()
    whole(tracker.one(), [0, 1, 2])
    assert tracker.one().config == {"lr": 1}


def test_a_local_run_goes_on_online(tracker: Tracker) -> None:
    run = begin(mode="local")
    assert run.path == "local/demo/r1"
    log(run, 0, 1)
    run.finish()
    run = begin(resume="must")
    assert (run.step, run.path) == (2, "alice/demo/r1")
    log(run, 2)
    run.finish()
    whole(tracker.one(), [0, 1, 2])
    assert list(tracker.runs) == [PATH]
    run = begin(mode="offline", resume="must")
    assert run.step == 3


def test_an_online_run_goes_on_offline_and_online_again(tracker: Tracker) -> None:
    session(0)
    session(1, mode="offline", resume="must")
    session(2, resume="must")
    whole(tracker.one(), [0, 1, 2])


def test_only_what_is_meant_for_the_server_is_sent_by_itself(tracker: Tracker) -> None:
    session(0, mode="local", id="private")
    assert waiting_runs(Store(), URL) == []
    session(0, mode="offline")
    assert [path.run_id for path in waiting_runs(Store(), URL)] == ["r1"]


def test_a_run_that_ended_here_is_not_ended_there_once_another_machine_goes_on(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin()
    log(run, 0)
    tracker.then("append", *[lambda: None], unreachable())  # its rows pass, its end does not
    run.finish()
    on("B")
    other = begin()
    log(other, 1)
    flush(other)
    on("A")
    before = len(tracker.changes())
    sync()
    assert len(tracker.changes()) == before
    assert tracker.one().state == "running"
