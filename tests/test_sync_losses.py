"""What was lost on either side - an answer, a memory, rows, a whole run - is made good by the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyter_resume.errors import RunDiverged
from jupyter_resume.store.home import Store

from .machines import On, apart, begin, flush, goes_on, log, lose, running, session, sync, unheard, whole
from .remotes import URL, Tracker

pytest_plugins = ("tests.machines_fixtures",)


def test_a_run_that_died_before_it_heard_that_its_rows_were_taken_sends_them_once(tracker: Tracker) -> None:
    run = unheard(tracker)
    lose(run)
    goes_on(4)
    whole(tracker.one(), [0, 1, 2, 3, 4])


def test_a_run_killed_right_after_it_went_on_elsewhere_has_not_diverged(tracker: Tracker, on: On) -> None:
    on("A")
    session(0, 1)
    on("B")
    session(2, 3, 4)
    on("A")
    run = begin()
    log(run, 5, 6)
    lose(run)  # before anything was sent
    goes_on(7)
    whole(tracker.one(), list(range(8)))


@pytest.mark.parametrize("state", [b"", b"\0\0\0", b"[]", b"{}", b'{"rows": "x"}'])
def test_a_lost_or_corrupt_memory_of_the_replica_costs_a_question_only(
    tracker: Tracker, store: Store, state: bytes
) -> None:
    run = session(0, 1, config={"lr": 1})
    file = store.replica(run.run_path, URL).path
    whole_state = json.loads(file.read_bytes())
    file.write_bytes(json.dumps({**whole_state, "rows": "x"}).encode() if b"rows" in state else state)
    goes_on(2)
    whole(tracker.one(), [0, 1, 2])
    file.unlink()
    assert sync().rows == 0
    whole(tracker.one(), [0, 1, 2])


def test_a_lost_memory_of_a_replica_that_was_appended_to_costs_a_question_only(
    tracker: Tracker, on: On, store: Store
) -> None:
    run = apart(tracker, on, if_diverged="append")
    run.finish()
    for file in (Store().folder(run.run_path) / "replicas").glob("*.json"):
        file.unlink()
    session("last")
    whole(tracker.one(), [0, 1, "B2", "B3", "A2", "A3", "A4", "last"])


@pytest.mark.parametrize("waiting", [1, 10, 25])
def test_what_is_fetched_to_find_a_lost_memory_again_grows_with_what_waits_and_not_with_the_history(
    tracker: Tracker, on: On, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    monkeypatch.setattr("jupyter_resume.sync.relation._PAGE", 10)
    on("A")
    run = session(*range(200))
    session(*["A"] * waiting, mode="offline")
    on("B")
    session("B")
    on("A")
    Store().replica(run.run_path, URL).path.unlink()
    with pytest.raises(RunDiverged) as refused:
        begin()
    assert refused.value.data["waiting"] == waiting
    assert tracker.scanned <= waiting + 20
    session("last", if_diverged="append")
    whole(tracker.one(), [*range(200), "B", *["A"] * waiting, "last"])


def test_a_server_that_was_set_back_gets_again_what_it_lost(tracker: Tracker) -> None:
    session(0, 1, 2, 3)
    kept = tracker.one()
    del kept.rows[2:]
    kept.summary.update(_step=1, v=1)
    run = begin()
    assert run.step == 4
    run.finish()
    whole(kept, [0, 1, 2, 3])


def test_a_server_that_was_set_back_to_no_rows_gets_them_all_again(tracker: Tracker) -> None:
    session(0, 1, 2)
    kept = tracker.one()
    kept.rows.clear()
    kept.summary.clear()
    goes_on(3)
    whole(kept, [0, 1, 2, 3])


def test_a_server_that_was_set_back_gets_what_this_machine_has_of_two(tracker: Tracker, on: On) -> None:
    on("A")
    session(0, 1)
    on("B")
    session(2, 3)
    on("A")
    session(4, 5)
    kept = tracker.one()
    del kept.rows[1:]
    kept.summary = {"_step": 0, "v": 0}
    goes_on(6)
    whole(kept, [0, 1, 4, 5, 6])


def test_a_run_that_the_server_lost_is_sent_whole(tracker: Tracker) -> None:
    run = begin(config={"lr": 1}, notes="n")
    log(run, 0, 1)
    (Path("f.txt")).write_text("data")
    run.save("f.txt", policy="now")
    run.finish()
    tracker.runs.clear()
    session(2, resume="must")
    kept = tracker.one()
    whole(kept, [0, 1, 2])
    assert (kept.config, kept.notes, kept.files) == ({"lr": 1}, "n", {"f.txt": b"data"})
    assert kept.state == "finished"


def test_a_record_that_lost_its_last_rows_goes_on_behind_the_server_s(tracker: Tracker, store: Store) -> None:
    """As after a power cut: the server had them already."""
    run = running(0, 1)
    segment = run.writer.record.segment(1)
    size = segment.stat().st_size
    log(run, 2, 3)
    flush(run)
    lose(run)
    with segment.open("r+b") as file:
        file.truncate(size)
    goes_on(4)
    whole(tracker.one(), [0, 1, 2, 3, 4])


def test_a_damaged_line_of_the_record_leaves_no_gap_at_the_server(tracker: Tracker) -> None:
    for values in (range(4), [4], [5]):
        run = session(*values, mode="offline")
    for token, value in ((1, 1), (2, 4)):
        segment = run.writer.record.segment(token)
        data = segment.read_bytes()
        at = data.index(b'"v":%d' % value)
        segment.write_bytes(data[:at] + b"#" + data[at + 1 :])
    sync()
    kept = tracker.one()
    assert kept.values("v") == [0, 2, 3, 5]
    assert sync().rows == 0
    for value in (6, 7):
        run = goes_on(value)
    whole(kept, [0, 2, 3, 5, 6, 7])
    Store().replica(run.run_path, URL).path.unlink()
    session(8)
    whole(kept, [0, 2, 3, 5, 6, 7, 8])


def test_a_record_that_is_lost_goes_on_from_the_server_and_its_end_is_told(tracker: Tracker, store: Store) -> None:
    run = session(0, 1, config={"lr": 1}, notes="n", tags=["t"])
    for segment in (store.folder(run.run_path) / "record").iterdir():
        segment.unlink()
    run = begin(resume="must")
    assert (run.step, run.config.as_dict(), run.notes, run.tags) == (2, {"lr": 1}, "n", ("t",))
    log(run, 2)
    flush(run)
    assert tracker.one().state == "running"
    run.finish()
    whole(tracker.one(), [0, 1, 2])
    assert tracker.one().state == "finished"
    assert tracker.one().config == {"lr": 1}
