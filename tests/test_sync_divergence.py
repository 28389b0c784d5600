"""Both sides have gone on: nothing is overwritten, both are named, and a person chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_resume import cli
from jupyter_resume.errors import RunDiverged
from jupyter_resume.store.home import Store
from jupyter_resume.sync.bringing import waiting_runs
from jupyter_resume.sync.syncing import Syncing

from .machines import (
    PATH,
    On,
    apart,
    begin,
    flush,
    goes_on,
    link_of,
    log,
    lose,
    running,
    server_of,
    session,
    superseded,
    sync,
    unheard,
    whole,
)
from .remotes import URL, Tracker, unreachable

pytest_plugins = ("tests.machines_fixtures",)


def test_rows_whose_answer_was_lost_are_no_reason_to_ask_when_another_machine_went_on(tracker: Tracker, on: On) -> None:
    on("A")
    run = unheard(tracker)
    lose(run)
    on("B")
    run = begin()
    assert run.step == 4
    log(run, 4, 5)
    run.finish()
    on("A")
    goes_on(6)
    whole(tracker.one(), [0, 1, 2, 3, 4, 5, 6])


def test_of_rows_whose_answer_was_lost_only_those_that_are_not_there_are_appended(tracker: Tracker, on: On) -> None:
    on("A")
    run = unheard(tracker)
    log(run, "A4", "A5")
    lose(run)
    on("B")
    session("B4")
    on("A")
    with pytest.raises(RunDiverged) as refused:
        begin()
    assert refused.value.data["waiting"] == 2
    session(8, if_diverged="append")
    whole(tracker.one(), [0, 1, 2, 3, "B4", "A4", "A5", 8])


def test_a_run_that_has_gone_on_here_and_there_is_refused_with_both_sides_named(tracker: Tracker, on: On) -> None:
    with pytest.raises(RunDiverged) as refused:
        apart(tracker, on)
    text = str(refused.value)
    assert "to step 3" in text
    assert "3 rows up to step 4" in text
    for choice in ("adopt", "append", "fork"):
        assert f"'{choice}'" in text
    assert (refused.value.data["here"], refused.value.data["there"], refused.value.data["waiting"]) == (4, 3, 3)
    before = len(tracker.changes())
    with pytest.raises(RunDiverged):
        begin()
    assert len(tracker.changes()) == before
    whole(tracker.one(), [0, 1, "B2", "B3"])
    assert [row["v"] for row in Store().record(PATH).history()] == [0, 1, "A2", "A3", "A4"]


@pytest.mark.parametrize("decided", ["adopt", "append", "fork", "sync"])
@pytest.mark.parametrize("found_by", ["init", "sync"])
def test_the_status_of_a_diverged_run_names_both_sides_and_the_choice_until_it_is_decided(
    tracker: Tracker, on: On, found_by: str, decided: str
) -> None:
    apart(tracker, on, mode="offline").close("interrupted")
    assert server_of() == "3 rows to send to tracker.example"
    with pytest.raises(RunDiverged) as refused:
        sync() if found_by == "sync" else begin()
    said = server_of()
    assert said.startswith("the run has gone on at tracker.example to step 3, and 3 rows up to step 4 wait here: ")
    for choice in ("--if-diverged", "'adopt'", "'append'", "'fork'"):
        assert choice in said
    assert said.removeprefix("the run ") in str(refused.value)
    if decided == "sync":
        assert sync(if_diverged="append").rows == 3
    else:
        run = begin(if_diverged=decided)
        assert "gone on" not in f"{link_of(run).standing} {server_of()}"
        run.finish()
        assert server_of(run.run_path) == "in step with tracker.example"
    assert server_of() == "in step with tracker.example"


def test_the_command_line_says_of_a_diverged_run_what_its_error_said(
    tracker: Tracker, on: On, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunDiverged) as refused:
        apart(tracker, on)
    capsys.readouterr()
    assert cli.main(["status", str(PATH)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "gone on" in line]
    assert line.strip().removeprefix("server").strip().removeprefix("the run ") in str(refused.value)


def test_a_diverged_run_whose_other_side_the_server_lost_is_not_asked_about_any_more(tracker: Tracker, on: On) -> None:
    with pytest.raises(RunDiverged):
        apart(tracker, on)
    tracker.runs.clear()
    assert sync().rows == 5
    assert server_of() == "in step with tracker.example"


def test_adopting_goes_on_from_the_server_and_keeps_the_rows_here_aside(tracker: Tracker, on: On) -> None:
    run = apart(tracker, on, if_diverged="adopt")
    assert (run.step, run.config["lr"], run.summary["v"], run.summary["worst"]) == (4, 2, "B3", "B")
    log(run, 4)
    run.finish()
    whole(tracker.one(), [0, 1, "B2", "B3", 4])
    record = run.writer.record
    assert superseded(record) == ["A2", "A3", "A4"]
    assert [row["v"] for row in record.history()] == [0, 1, 4]
    goes_on(5)
    whole(tracker.one(), [0, 1, "B2", "B3", 4, 5])


def test_adopting_keeps_the_rows_of_every_session_aside(tracker: Tracker, on: On) -> None:
    on("A")
    session(0)
    for n in (1, 2, 3):
        session(f"A{n}", mode="offline")
    on("B")
    session("B1")
    on("A")
    run = goes_on(2, if_diverged="adopt")
    assert superseded(run.writer.record) == ["A1", "A2", "A3"]
    whole(tracker.one(), [0, "B1", 2])


def test_appending_puts_the_rows_here_behind_the_server_s(tracker: Tracker, on: On) -> None:
    run = apart(tracker, on, if_diverged="append")
    assert run.step == 7
    log(run, "new")
    assert run.summary["worst"] == "B"
    run.finish()
    kept = tracker.one()
    whole(kept, [0, 1, "B2", "B3", "A2", "A3", "A4", "new"])
    assert kept.steps == list(range(8))
    assert (kept.summary["best"], kept.summary["worst"], kept.summary["_step"]) == ("A", "B", 7)
    assert list(run.writer.record.set_aside()) == []
    for n in (8, 9):
        goes_on(n)
    whole(kept, [0, 1, "B2", "B3", "A2", "A3", "A4", "new", 8, 9])


def test_appending_can_be_said_to_sync(tracker: Tracker, on: On) -> None:
    with pytest.raises(RunDiverged):
        apart(tracker, on)
    with pytest.raises(RunDiverged):
        sync()
    assert sync(if_diverged="append").rows == 3
    assert sync().rows == 0
    whole(tracker.one(), [0, 1, "B2", "B3", "A2", "A3", "A4"])
    goes_on(7)
    whole(tracker.one(), [0, 1, "B2", "B3", "A2", "A3", "A4", 7])
    assert tracker.one().steps == list(range(8))


def test_appending_twice_over(tracker: Tracker, on: On) -> None:
    apart(tracker, on, if_diverged="append").finish()
    on("A")
    session("A7", mode="offline")
    on("B")
    session("B7", "B8")
    on("A")
    with pytest.raises(RunDiverged):
        begin()
    session("last", if_diverged="append")
    whole(tracker.one(), [0, 1, "B2", "B3", "A2", "A3", "A4", "B7", "B8", "A7", "last"])


def test_forking_makes_a_new_run_of_the_rows_here_and_the_old_one_stands_as_the_server_s(
    tracker: Tracker, on: On
) -> None:
    run = apart(tracker, on, if_diverged="fork")
    assert run.id != "r1"
    assert (run.step, run.config["lr"], run.summary["best"], run.resumed) == (5, 1, "A", True)
    log(run, "new")
    run.finish()
    whole(tracker.one(run.id), [0, 1, "A2", "A3", "A4", "new"])
    old = tracker.one()
    whole(old, [0, 1, "B2", "B3"])
    assert (old.state, old.config) == ("finished", {"lr": 2})
    changes = len(tracker.changes())
    assert sync().rows == 0
    assert len(tracker.changes()) == changes, "the old run stands as the server's"
    run = begin()
    assert (run.id, run.step) == ("r1", 4)
    log(run, 4)
    run.finish()
    whole(old, [0, 1, "B2", "B3", 4])
    assert superseded(run.writer.record) == ["A2", "A3", "A4"]


def test_forking_fetches_what_other_machines_have_logged_in_between(tracker: Tracker, on: On) -> None:
    for machine, value in (("A", 0), ("B", 1), ("A", 2), ("B", 3), ("A", 4)):
        on(machine)
        session(value)
    on("A")
    session("A5", mode="offline")
    on("B")
    session("B5")
    on("A")
    run = session(6, if_diverged="fork")
    whole(tracker.one(run.id), [0, 1, 2, 3, 4, "A5", 6])
    whole(tracker.one(), [0, 1, 2, 3, 4, "B5"])


def test_forking_takes_the_files_along(tracker: Tracker, on: On) -> None:
    on("A")
    Path("model.h5").write_bytes(b"A's")
    run = begin()
    log(run, 0)
    run.save("model.h5", policy="now")
    run.finish()
    session("A1", mode="offline")
    on("B")
    session("B1")
    on("A")
    run = begin(if_diverged="fork")
    run.finish()
    assert tracker.one(run.id).files == {"model.h5": b"A's"}


def test_a_server_that_goes_on_while_a_run_waits_here_is_found_out_in_the_background(
    tracker: Tracker, on: On, capsys: pytest.CaptureFixture[str]
) -> None:
    on("A")
    run = running(0)
    tracker.down = unreachable()
    log(run, "A1")
    link_of(run).flush()
    tracker.down = None
    tracker.one().log(v="B1")
    capsys.readouterr()
    assert isinstance(link_of(run).flush(), RunDiverged)
    assert isinstance(link_of(run).flush(), RunDiverged)
    assert capsys.readouterr().err.count("has gone on") == 1, "it is told once"
    log(run, "A2")
    assert "to step 1, and 2 rows up to step 2 wait here" in str(link_of(run).standing)
    assert server_of() == str(link_of(run).standing), "in this process as in another"
    whole(tracker.one(), [0, "B1"])
    assert link_of(run).flush("append") is None
    assert str(link_of(run).standing) == "in step with tracker.example"
    log(run, "A3")
    run.finish()
    whole(tracker.one(), [0, "B1", "A1", "A2", "A3"])
    run = begin()
    assert run.step == 5
    run.finish()


def test_a_run_that_has_nothing_waiting_follows_what_another_has_put_there(tracker: Tracker) -> None:
    run = running(0)
    tracker.one().log(v="B1")
    link_of(run).syncing.verified = False
    flush(run)
    log(run, "A1")
    run.finish()
    whole(tracker.one(), [0, "B1", "A1"])
    run = begin()
    assert run.step == 3, "the step goes on from the server's"
    log(run, 3)
    run.finish()
    assert tracker.one().steps == [0, 1, 2, 3]


def test_a_record_of_this_machine_and_a_run_of_that_name_at_the_server_are_not_mixed(tracker: Tracker) -> None:
    session("mine", mode="offline")
    kept = tracker.begun()
    kept.log(v="theirs")
    with pytest.raises(RunDiverged):
        begin()
    with pytest.raises(RunDiverged):
        sync()
    whole(kept, ["theirs"])
    session("more", if_diverged="append")
    whole(kept, ["theirs", "mine", "more"])


def test_a_local_run_that_was_refused_beside_another_of_its_name_is_not_sent_by_itself(tracker: Tracker) -> None:
    run = session("mine", mode="local")
    tracker.begun().log(v="theirs")
    with pytest.raises(RunDiverged):
        begin()
    assert "gone on" in server_of(run.run_path)
    assert waiting_runs(Store(), URL) == []


def test_the_server_is_asked_again_before_what_others_may_have_written_over(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_resume.sync.syncing.FRESH", 0.0)
    run = running(0)
    tracker.one().log(v="theirs")
    log(run, 1)
    assert isinstance(link_of(run).flush(), RunDiverged)
    whole(tracker.one(), [0, "theirs"])
    assert isinstance(link_of(run).syncing, Syncing)


def test_a_run_begun_unreachably_does_not_mix_with_one_that_the_server_has(tracker: Tracker) -> None:
    kept = tracker.begun(config={"theirs": 1})
    kept.log(v="theirs")
    tracker.down = unreachable()
    run = begin(config={"mine": 1})
    log(run, "mine")
    tracker.down = None
    assert isinstance(link_of(run).flush(), RunDiverged)
    whole(kept, ["theirs"])
    assert link_of(run).flush("append") is None
    run.finish()
    whole(kept, ["theirs", "mine"])
    assert kept.config == {"theirs": 1, "mine": 1}


def test_the_cell_run_again_decides_about_a_run_that_has_diverged(tracker: Tracker) -> None:
    run = running(0)
    tracker.one().log(v="theirs")
    log(run, "mine")
    link_of(run).syncing.verified = False
    assert isinstance(link_of(run).flush(), RunDiverged)
    assert begin() is run
    again = begin(if_diverged="adopt")
    assert again is not run
    assert run.closed
    log(again, 2)
    again.finish()
    whole(tracker.one(), [0, "theirs", 2])


@pytest.mark.parametrize("seconds", [2.0, 20.0])
def test_lines_of_another_machine_that_writes_at_the_same_time_are_not_written_over(
    tracker: Tracker, seconds: float
) -> None:
    run = running(0)
    tracker.one().log(v="theirs")
    log(run, "mine")
    link_of(run).syncing._checked -= seconds  # so much time goes by since the server was asked last
    assert isinstance(link_of(run).flush(), RunDiverged)
    assert link_of(run).flush("append") is None
    run.finish()
    assert tracker.overwritten == []
    whole(tracker.one(), [0, "theirs", "mine"])
