"""A run and its replica: what is logged and said here is there, once; what was changed there comes here."""

from __future__ import annotations

import pytest

from jupyter_resume.store import edits
from jupyter_resume.store.home import Store
from jupyter_resume.sync.bringing import waiting_runs

from .machines import PATH, On, Told, begin, flush, log, running, session, sync, whole
from .remotes import URL, Tracker

pytest_plugins = ("tests.machines_fixtures",)


def test_a_run_is_at_the_server_when_it_has_ended(tracker: Tracker) -> None:
    run = begin(config={"lr": 0.1}, notes="first", tags=["a"], name="a name")
    log(run, 0, 1, 2)
    run.summary["best"] = 2
    run.finish()
    kept = tracker.runs[PATH]
    whole(kept, [0, 1, 2])
    assert (kept.state, kept.exit_code) == ("finished", 0)
    assert (kept.name, kept.notes, kept.tags, kept.config) == ("a name", "first", ("a",), {"lr": 0.1})
    assert (kept.summary["best"], kept.summary["v"], kept.summary["_step"]) == (2, 2, 2)
    assert kept.internal["t"]


def test_values_that_json_has_no_words_for_arrive(tracker: Tracker) -> None:
    session(float("nan"), float("inf"), 2**70)
    nan, infinity, large = tracker.one().values("v")
    assert nan != nan
    assert infinity == float("inf")
    assert large == 2**70


@pytest.mark.parametrize("how", ["failed", "interrupted"])
def test_how_a_run_ended_is_told(tracker: Tracker, how: str) -> None:
    run = begin()
    log(run, 1)
    run.finish(3) if how == "failed" else run.close("interrupted")
    assert tracker.one().exit_code == {"failed": 3, "interrupted": 130}[how]


def test_several_logs_of_one_step_are_sent_when_the_step_is_over(tracker: Tracker) -> None:
    run = begin()
    log(run, 0)
    run.log({"v": 1}, commit=False)
    flush(run)
    whole(tracker.one(), [0])
    assert tracker.one().summary["_step"] == 0
    run.log({"w": 1})
    flush(run)
    whole(tracker.one(), [0, 1])
    assert tracker.one().rows[1] is not None
    assert tracker.one().rows[1]["w"] == 1


def test_what_is_in_step_is_not_sent_again(tracker: Tracker) -> None:
    run = running(0, 1, config={"a": 1})
    before = len(tracker.changes())
    flush(run)
    flush(run)
    assert len(tracker.changes()) == before


def test_changes_alone_are_sent(tracker: Tracker) -> None:
    run = begin()
    flush(run)
    run.config["lr"] = 1
    run.notes, run.tags, run.name = "n", ("t",), "called"
    run.summary["best"] = 9
    flush(run)
    kept = tracker.one()
    assert (kept.config, kept.notes, kept.tags, kept.name) == ({"lr": 1}, "n", ("t",), "called")
    assert kept.summary["best"] == 9
    del run.config["lr"]
    run.notes, run.tags = None, ()
    del run.summary["best"]
    flush(run)
    assert (kept.config, kept.notes, kept.tags) == ({}, None, ())
    assert "best" not in kept.summary


def test_large_histories_go_in_posts_of_a_bounded_size(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_resume.sync.outbox.MOST_BYTES", 1 << 12)
    session(*range(500))
    whole(tracker.one(), list(range(500)))
    sizes = [sum(map(len, c.what.rows.texts)) for c in tracker.calls if c.name == "append" and c.what.rows]
    assert len(sizes) > 5
    assert max(sizes) <= 1 << 12


def test_what_was_changed_on_the_server_comes_here_and_what_was_changed_here_goes_there(tracker: Tracker) -> None:
    run = begin(config={"mine": 1, "both": 1, "theirs": 1, "dropped": 1}, notes="old", tags=["old"], name="old")
    log(run, 0)
    run.summary.update({"mine": 1, "theirs": 1})
    run.finish()
    run = begin(mode="offline", config={"mine": 2, "both": 2})
    del run.config["dropped"]
    run.tags = ("mine",)
    run.summary["mine"] = 2
    run.finish()
    kept = tracker.one()
    kept.config.update(both=3, theirs=3, new=3)
    kept.notes, kept.name = "theirs", "theirs"
    kept.summary.update(theirs=3, new=3)
    run = begin()
    assert run.config.as_dict() == {"mine": 2, "both": 2, "theirs": 3, "new": 3}
    assert (run.notes, run.tags, run.name) == ("theirs", ("mine",), "theirs")
    assert {key: run.summary[key] for key in ("mine", "theirs", "new")} == {"mine": 2, "theirs": 3, "new": 3}
    run.finish()
    assert kept.config == {"mine": 2, "both": 2, "theirs": 3, "new": 3}
    assert (kept.notes, kept.tags, kept.name) == ("theirs", ("mine",), "theirs")
    assert {key: kept.summary[key] for key in ("mine", "theirs", "new")} == {"mine": 2, "theirs": 3, "new": 3}


def test_sync_keeps_what_was_changed_on_the_server(tracker: Tracker) -> None:
    session(0, config={"mine": 1, "theirs": 1}, notes="old")
    session(1, mode="offline", config={"mine": 2})
    kept = tracker.one()
    kept.config.update(theirs=3, new=3)
    kept.notes = "theirs"
    kept.summary["new"] = 3
    sync()
    assert kept.config == {"mine": 2, "theirs": 3, "new": 3}
    assert kept.notes == "theirs"
    assert (kept.summary["new"], kept.summary["v"]) == (3, 1)
    whole(kept, [0, 1])


def test_notes_and_tags_that_were_taken_away_here_go_away_there(tracker: Tracker) -> None:
    session(0, notes="n", tags=["a", "b"])
    run = begin(mode="offline")
    run.notes, run.tags = None, ()
    run.finish()
    run = begin()
    assert (run.notes, run.tags) == (None, ())
    run.finish()
    assert (tracker.one().notes, tracker.one().tags) == (None, ())


def test_notes_and_tags_that_were_taken_away_there_go_away_here(tracker: Tracker) -> None:
    session(0, notes="n", tags=["a", "b"], config={"a": 1, "b": 1})
    kept = tracker.one()
    kept.notes, kept.tags = "", ()
    del kept.config["a"]
    run = begin()
    assert (run.notes, run.tags, run.config.as_dict()) == (None, (), {"b": 1})
    run.finish()
    assert (kept.notes, kept.tags, kept.config) == (None, (), {"b": 1})


def test_what_is_given_at_init_wins(tracker: Tracker, on: On) -> None:
    on("A")
    session(0, config={"lr": 1}, notes="A", tags=["A"])
    on("B")
    run = begin(config={"lr": 2}, notes="B", tags=["B"])
    run.finish()
    kept = tracker.one()
    assert (kept.config, kept.notes, kept.tags) == ({"lr": 2}, "B", ("B",))


def test_posts_that_are_too_large_are_made_smaller(tracker: Tracker) -> None:
    run = begin()
    log(run, *range(300))
    tracker.most = 5000
    run.finish()
    whole(tracker.one(), list(range(300)))


def test_a_row_that_is_too_large_by_itself_leaves_its_step_and_the_rest_goes_on(tracker: Tracker, told: Told) -> None:
    run = begin()
    log(run, 0)
    run.log({f"metric{n}": n for n in range(2000)})
    log(run, 2)
    tracker.most = 9000
    told()
    run.finish()
    kept = tracker.one()
    assert kept.steps == [0, 1, 2]
    assert kept.values("v") == [0, None, 2]
    assert kept.state == "finished"
    assert any("row of step 1 is too long" in line and "whole in this machine's record" in line for line in told())


def test_what_is_said_of_a_run_after_its_end_waits_to_be_sent(tracker: Tracker) -> None:
    run = session(0)
    assert waiting_runs(Store(), URL) == []
    edits.ask(Store().record(run.run_path).folder, {"notes": "by the sidebar"})
    assert waiting_runs(Store(), URL) == [run.run_path]
    sync()
    assert tracker.one().notes == "by the sidebar"
    assert waiting_runs(Store(), URL) == []
