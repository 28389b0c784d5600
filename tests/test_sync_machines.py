"""One run, several machines, one server: whoever goes on, the history is one, and nothing of it is lost or twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import cli, view
from jupyter_resume.errors import RemoteUnreachable, RunDiverged, RunExists, RunMissing
from jupyter_resume.identity import RunPath
from jupyter_resume.origin import ProgramRef
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record
from jupyter_resume.sync.background import Background
from jupyter_resume.sync.bringing import Brought, bring, waiting_runs
from jupyter_resume.sync.syncing import Syncing

from .remotes import URL, Kept, Tracker, unreachable

PATH = RunPath("alice", "demo", "r1")
On = Callable[[str], None]


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A server, with a key for it; what is to be sent is sent by `flush` and `finish` only."""
    tracker = Tracker()
    tracker.install(monkeypatch)
    monkeypatch.setattr(Background, "start", lambda link: None)
    return tracker


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> On:
    """Sit down at a machine: each has a store of its own."""

    def sit_down(name: str) -> None:
        monkeypatch.setenv("JUPYTER_RESUME_HOME", str(tmp_path / name))

    return sit_down


def begin(**asked: Any) -> wandb.Run:
    return wandb.init(project="demo", **{"id": "r1", "resume": "allow", **asked})


def log(run: wandb.Run, *values: Any) -> None:
    for value in values:
        run.log({"v": value})


def flush(run: wandb.Run) -> None:
    assert run.link is not None
    error = run.link.flush()
    assert error is None, error


def lose(run: wandb.Run) -> None:
    """As when the process is killed: nothing more is sent, and its locks are gone."""
    if run.link is not None:
        run.link._closed = True
        run.link.syncing.close()
    run.writer.release()
    wandb._active.forget(run)


def sync(**how: Any) -> Brought:
    store = Store()
    path = next(entry.path for entry in store.catalog.runs() if entry.path.run_id == "r1")
    return bring(store, path, Tracker.current.remote(), "alice", **how)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def current(tracker: Tracker) -> None:
    Tracker.current = tracker  # type: ignore[attr-defined]


def superseded(record: Record) -> list[Any]:
    """The values that are set aside, all of them for this reason."""
    assert {why for why, _ in record.set_aside()} == {"superseded"}
    return [row["v"] for _, row in record.set_aside()]


def whole(run: Kept, values: list[Any]) -> None:
    """The run has exactly these values of ``v``, at steps that rise."""
    assert run.values("v") == values
    assert run.steps == sorted(set(run.steps))
    assert Tracker.current.overwritten == []  # type: ignore[attr-defined]


# A run and its replica


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
    run = begin()
    log(run, float("nan"), float("inf"), 2**70)
    run.finish()
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
    run = begin(config={"a": 1})
    log(run, 0, 1)
    flush(run)
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
    run = begin()
    log(run, *range(500))
    run.finish()
    whole(tracker.one(), list(range(500)))
    sizes = [sum(map(len, c.what.rows.texts)) for c in tracker.calls if c.name == "append" and c.what.rows]
    assert len(sizes) > 5
    assert max(sizes) <= 1 << 12


# Resuming on another machine, and back


def test_a_run_goes_on_from_machine_to_machine(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin(config={"lr": 0.1, "bs": 8}, notes="by A")
    log(run, 0, 1, 2)
    run.summary["best"] = "A"
    run.finish()
    on("B")
    run = begin(config={"lr": 0.2}, resume="must")
    assert (run.resumed, run.step, run.starting_step) == (True, 3, 3)
    assert run.config.as_dict() == {"lr": 0.2, "bs": 8}
    assert (run.summary["best"], run.summary["v"], run.notes) == ("A", 2, "by A")
    log(run, 3, 4)
    run.notes = "by B"
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3, 4])
    on("A")
    run = begin(resume="must")
    assert (run.step, run.config.as_dict(), run.notes) == (5, {"lr": 0.2, "bs": 8}, "by B")
    assert run.summary["v"] == 4
    log(run, 5)
    run.finish()
    on("B")
    run = begin(resume="must")
    assert run.step == 6
    log(run, 6)
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3, 4, 5, 6])
    assert tracker.one().steps == list(range(7))


def test_runtime_goes_on_from_the_longer_side(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin()
    log(run, 0)
    run.finish()
    tracker.one().log(v=1, _runtime=5000.0)
    tracker.one().summary["_wandb"] = {"runtime": 5000}
    run = begin()
    log(run, 2)
    run.finish()
    assert tracker.one().rows[-1] is not None
    assert tracker.one().rows[-1]["_runtime"] >= 5000


def test_a_program_finds_its_run_again_after_another_machine_has_gone_on_with_it(
    tracker: Tracker, on: On, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_resume.origin.finders", [lambda: ProgramRef("/there/train.py", "/there")])
    on("A")
    run = begin(id=None, resume="auto")
    log(run, 0)
    run.close("interrupted")
    on("B")
    other = begin(id=run.id, resume="must")
    log(other, 1)
    other.finish()
    on("A")
    again = begin(id=None, resume="auto")
    assert (again.id, again.step) == (run.id, 2)
    log(again, 2)
    again.finish()
    whole(tracker.one(run.id), [0, 1, 2])


def test_a_run_that_died_before_it_heard_that_its_rows_were_taken_sends_them_once(tracker: Tracker) -> None:
    run = begin()
    log(run, 0, 1)
    flush(run)
    log(run, 2, 3)
    tracker.after("append", unreachable())
    assert run.link is not None
    assert isinstance(run.link.flush(), RemoteUnreachable)
    lose(run)
    run = begin()
    assert run.step == 4
    log(run, 4)
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3, 4])


def test_rows_whose_answer_was_lost_are_no_reason_to_ask_when_another_machine_went_on(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin()
    log(run, 0, 1)
    flush(run)
    log(run, 2, 3)
    tracker.after("append", unreachable())
    assert run.link is not None
    run.link.flush()
    lose(run)
    on("B")
    run = begin()
    assert run.step == 4
    log(run, 4, 5)
    run.finish()
    on("A")
    run = begin()
    assert run.step == 6
    log(run, 6)
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3, 4, 5, 6])


def test_of_rows_whose_answer_was_lost_only_those_that_are_not_there_are_appended(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin()
    log(run, 0, 1)
    flush(run)
    log(run, 2, 3)
    tracker.after("append", unreachable())
    assert run.link is not None
    run.link.flush()
    log(run, "A4", "A5")
    lose(run)
    on("B")
    run = begin()
    log(run, "B4")
    run.finish()
    on("A")
    with pytest.raises(RunDiverged) as refused:
        begin()
    assert refused.value.data["waiting"] == 2
    run = begin(if_diverged="append")
    log(run, 8)
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3, "B4", "A4", "A5", 8])


def test_a_run_killed_right_after_it_went_on_elsewhere_has_not_diverged(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin()
    log(run, 0, 1)
    run.finish()
    on("B")
    run = begin()
    log(run, 2, 3, 4)
    run.finish()
    on("A")
    run = begin()
    log(run, 5, 6)
    lose(run)  # before anything was sent
    run = begin()
    assert run.step == 7
    log(run, 7)
    run.finish()
    whole(tracker.one(), list(range(8)))


@pytest.mark.parametrize("state", [b"", b"\0\0\0", b"[]", b"{}", b'{"rows": "x"}'])
def test_a_lost_or_corrupt_memory_of_the_replica_costs_a_question_only(
    tracker: Tracker, store: Store, state: bytes
) -> None:
    run = begin(config={"lr": 1})
    log(run, 0, 1)
    run.finish()
    file = store.replica(run.run_path, URL).path
    whole_state = json.loads(file.read_bytes())
    file.write_bytes(json.dumps({**whole_state, "rows": "x"}).encode() if b"rows" in state else state)
    run = begin()
    assert run.step == 2
    log(run, 2)
    run.finish()
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
    run = begin()
    log(run, "last")
    run.finish()
    whole(tracker.one(), [0, 1, "B2", "B3", "A2", "A3", "A4", "last"])


# A server that has less


def test_a_server_that_was_set_back_gets_again_what_it_lost(tracker: Tracker) -> None:
    run = begin()
    log(run, 0, 1, 2, 3)
    run.finish()
    kept = tracker.one()
    del kept.rows[2:]
    kept.summary.update(_step=1, v=1)
    run = begin()
    assert run.step == 4
    run.finish()
    whole(kept, [0, 1, 2, 3])


def test_a_server_that_was_set_back_to_no_rows_gets_them_all_again(tracker: Tracker) -> None:
    run = begin()
    log(run, 0, 1, 2)
    run.finish()
    kept = tracker.one()
    kept.rows.clear()
    kept.summary.clear()
    run = begin()
    assert run.step == 3
    log(run, 3)
    run.finish()
    whole(kept, [0, 1, 2, 3])


def test_a_server_that_was_set_back_gets_what_this_machine_has_of_two(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin()
    log(run, 0, 1)
    run.finish()
    on("B")
    run = begin()
    log(run, 2, 3)
    run.finish()
    on("A")
    run = begin()
    log(run, 4, 5)
    run.finish()
    kept = tracker.one()
    del kept.rows[1:]
    kept.summary = {"_step": 0, "v": 0}
    run = begin()
    assert run.step == 6
    log(run, 6)
    run.finish()
    whole(kept, [0, 1, 4, 5, 6])


def test_a_run_that_the_server_lost_is_sent_whole(tracker: Tracker) -> None:
    run = begin(config={"lr": 1}, notes="n")
    log(run, 0, 1)
    (Path("f.txt")).write_text("data")
    run.save("f.txt", policy="now")
    run.finish()
    tracker.runs.clear()
    run = begin(resume="must")
    log(run, 2)
    run.finish()
    kept = tracker.one()
    whole(kept, [0, 1, 2])
    assert (kept.config, kept.notes, kept.files) == ({"lr": 1}, "n", {"f.txt": b"data"})
    assert kept.state == "finished"


def test_a_record_that_lost_its_last_rows_goes_on_behind_the_server_s(tracker: Tracker, store: Store) -> None:
    """As after a power cut: the server had them already."""
    run = begin()
    log(run, 0, 1)
    flush(run)
    segment = run.writer.record.segment(1)
    size = segment.stat().st_size
    log(run, 2, 3)
    flush(run)
    lose(run)
    with segment.open("r+b") as file:
        file.truncate(size)
    run = begin()
    assert run.step == 4
    log(run, 4)
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3, 4])


def test_a_damaged_line_of_the_record_leaves_no_gap_at_the_server(tracker: Tracker) -> None:
    for session in (range(4), [4], [5]):
        run = begin(mode="offline")
        log(run, *session)
        run.finish()
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
        run = begin()
        assert run.step == value
        log(run, value)
        run.finish()
    whole(kept, [0, 2, 3, 5, 6, 7])
    Store().replica(run.run_path, URL).path.unlink()
    run = begin()
    log(run, 8)
    run.finish()
    whole(kept, [0, 2, 3, 5, 6, 7, 8])


def test_a_record_that_is_lost_goes_on_from_the_server_and_its_end_is_told(tracker: Tracker, store: Store) -> None:
    run = begin(config={"lr": 1}, notes="n", tags=["t"])
    log(run, 0, 1)
    run.finish()
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


# The rule for the next step


@pytest.mark.parametrize(
    ("rows", "tail_step", "summary", "next_step"),
    [
        (3, 2, {"_step": 2}, 3),
        (10, 2, {"_step": 2}, 10),
        (0, None, {"_step": 7}, 8),
        (2, 3, {"_step": 9}, 10),
        (2, 500, {}, 501),
    ],
)
def test_the_next_step_is_behind_everything_that_the_server_has(
    tracker: Tracker, rows: int, tail_step: int | None, summary: dict[str, Any], next_step: int
) -> None:
    kept = tracker.begun(summary=dict(summary))
    for n in range(rows):
        kept.rows.append({"_step": tail_step if n == rows - 1 else min(n, tail_step or 0), "_timestamp": 1.0, "v": n})
    run = begin(resume="must")
    assert run.step == next_step
    flush(run)
    lose(run)
    assert begin(resume="must").step == next_step
    log(wandb.run, "mine")  # type: ignore[arg-type]
    wandb.finish()
    assert kept.rows[-1] is not None
    assert (len(kept.rows), kept.rows[-1]["_step"], kept.rows[-1]["v"]) == (rows + 1, next_step, "mine")
    assert tracker.overwritten == []


def test_a_summary_that_is_ahead_of_the_rows_moves_the_next_step(tracker: Tracker) -> None:
    run = begin()
    log(run, 0, 1)
    run.finish()
    tracker.one().summary["_step"] = 20
    run = begin()
    assert run.step == 21
    log(run, 2)
    run.finish()
    assert tracker.one().steps == [0, 1, 21]


def test_a_run_that_was_made_and_never_written_does_not_exist_yet(tracker: Tracker) -> None:
    kept = tracker.begun(started=False)
    with pytest.raises(RunMissing):
        begin(resume="must")
    run = begin(resume="never")
    assert (run.resumed, run.step) == (False, 0)
    log(run, 0)
    run.finish()
    whole(kept, [0])


def test_a_run_that_waits_here_goes_into_one_that_was_made_and_never_written(tracker: Tracker) -> None:
    run = begin(mode="offline")
    log(run, 0, 1)
    run.finish()
    kept = tracker.begun(started=False)
    run = begin()
    assert run.step == 2
    log(run, 2)
    run.finish()
    whole(kept, [0, 1, 2])


# What both sides changed


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
    run = begin(config={"mine": 1, "theirs": 1}, notes="old")
    log(run, 0)
    run.finish()
    run = begin(mode="offline", config={"mine": 2})
    log(run, 1)
    run.finish()
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
    run = begin(notes="n", tags=["a", "b"])
    log(run, 0)
    run.finish()
    run = begin(mode="offline")
    run.notes, run.tags = None, ()
    run.finish()
    run = begin()
    assert (run.notes, run.tags) == (None, ())
    run.finish()
    assert (tracker.one().notes, tracker.one().tags) == (None, ())


def test_notes_and_tags_that_were_taken_away_there_go_away_here(tracker: Tracker) -> None:
    run = begin(notes="n", tags=["a", "b"], config={"a": 1, "b": 1})
    log(run, 0)
    run.finish()
    kept = tracker.one()
    kept.notes, kept.tags = None, ()
    del kept.config["a"]
    run = begin()
    assert (run.notes, run.tags, run.config.as_dict()) == (None, (), {"b": 1})
    run.finish()
    assert (kept.notes, kept.tags, kept.config) == (None, (), {"b": 1})


def test_what_is_given_at_init_wins(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin(config={"lr": 1}, notes="A", tags=["A"])
    log(run, 0)
    run.finish()
    on("B")
    run = begin(config={"lr": 2}, notes="B", tags=["B"])
    run.finish()
    kept = tracker.one()
    assert (kept.config, kept.notes, kept.tags) == ({"lr": 2}, "B", ("B",))


# Both sides have gone on


def apart(tracker: Tracker, on: On, **asked: Any) -> wandb.Run:
    """Machine A has rows 2 to 4 that wait, machine B has brought 2 and 3; A goes on."""
    on("A")
    run = begin(config={"lr": 1}, notes="A")
    log(run, 0, 1)
    flush(run)
    tracker.down = unreachable()
    log(run, "A2", "A3", "A4")
    run.summary["best"] = "A"
    run.finish()
    tracker.down = None
    on("B")
    run = begin(config={"lr": 2})
    log(run, "B2", "B3")
    run.summary["worst"] = "B"
    run.finish()
    on("A")
    return begin(**asked)


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


def server_of(path: RunPath = PATH) -> str:
    """How the run stands with its server, asked of the store as from another process."""
    tail = Store().record(path).tail()
    assert tail is not None
    return view.of_record(Store(), tail).server or ""


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
        assert "gone on" not in f"{run.link and run.link.standing} {server_of()}"
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
    run = begin()
    assert run.step == 5
    log(run, 5)
    run.finish()
    whole(tracker.one(), [0, 1, "B2", "B3", 4, 5])


def test_adopting_keeps_the_rows_of_every_session_aside(tracker: Tracker, on: On) -> None:
    on("A")
    run = begin()
    log(run, 0)
    run.finish()
    for n in (1, 2, 3):
        run = begin(mode="offline")
        log(run, f"A{n}")
        run.finish()
    on("B")
    run = begin()
    log(run, "B1")
    run.finish()
    on("A")
    run = begin(if_diverged="adopt")
    assert run.step == 2
    log(run, 2)
    run.finish()
    assert [(why, row["v"]) for why, row in run.writer.record.set_aside()] == [
        ("superseded", v) for v in ["A1", "A2", "A3"]
    ]
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
        run = begin()
        assert run.step == n
        log(run, n)
        run.finish()
    whole(kept, [0, 1, "B2", "B3", "A2", "A3", "A4", "new", 8, 9])


def test_appending_can_be_said_to_sync(tracker: Tracker, on: On) -> None:
    with pytest.raises(RunDiverged):
        apart(tracker, on)
    with pytest.raises(RunDiverged):
        sync()
    assert sync(if_diverged="append").rows == 3
    assert sync().rows == 0
    whole(tracker.one(), [0, 1, "B2", "B3", "A2", "A3", "A4"])
    run = begin()
    assert run.step == 7
    log(run, 7)
    run.finish()
    whole(tracker.one(), [0, 1, "B2", "B3", "A2", "A3", "A4", 7])
    assert tracker.one().steps == list(range(8))


def test_appending_twice_over(tracker: Tracker, on: On) -> None:
    apart(tracker, on, if_diverged="append").finish()
    on("A")
    run = begin(mode="offline")
    log(run, "A7")
    run.finish()
    on("B")
    run = begin()
    log(run, "B7", "B8")
    run.finish()
    on("A")
    with pytest.raises(RunDiverged):
        begin()
    run = begin(if_diverged="append")
    log(run, "last")
    run.finish()
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
    assert [(why, row["v"]) for why, row in run.writer.record.set_aside()] == [
        ("superseded", v) for v in ["A2", "A3", "A4"]
    ]


def test_forking_fetches_what_other_machines_have_logged_in_between(tracker: Tracker, on: On) -> None:
    for machine, value in (("A", 0), ("B", 1), ("A", 2), ("B", 3), ("A", 4)):
        on(machine)
        run = begin()
        log(run, value)
        run.finish()
    on("A")
    run = begin(mode="offline")
    log(run, "A5")
    run.finish()
    on("B")
    run = begin()
    log(run, "B5")
    run.finish()
    on("A")
    run = begin(if_diverged="fork")
    log(run, 6)
    run.finish()
    whole(tracker.one(run.id), [0, 1, 2, 3, 4, "A5", 6])
    whole(tracker.one(), [0, 1, 2, 3, 4, "B5"])


def test_forking_takes_the_files_along(tracker: Tracker, on: On) -> None:
    on("A")
    Path("model.h5").write_bytes(b"A's")
    run = begin()
    log(run, 0)
    run.save("model.h5", policy="now")
    run.finish()
    run = begin(mode="offline")
    log(run, "A1")
    run.finish()
    on("B")
    run = begin()
    log(run, "B1")
    run.finish()
    on("A")
    run = begin(if_diverged="fork")
    run.finish()
    assert tracker.one(run.id).files == {"model.h5": b"A's"}


def test_a_server_that_goes_on_while_a_run_waits_here_is_found_out_in_the_background(
    tracker: Tracker, on: On, capsys: pytest.CaptureFixture[str]
) -> None:
    on("A")
    run = begin()
    log(run, 0)
    flush(run)
    tracker.down = unreachable()
    log(run, "A1")
    assert run.link is not None
    run.link.flush()
    tracker.down = None
    tracker.one().log(v="B1")
    capsys.readouterr()
    assert isinstance(run.link.flush(), RunDiverged)
    assert isinstance(run.link.flush(), RunDiverged)
    assert capsys.readouterr().err.count("has gone on") == 1, "it is told once"
    log(run, "A2")
    assert "to step 1, and 2 rows up to step 2 wait here" in str(run.link.standing)
    assert server_of() == str(run.link.standing), "in this process as in another"
    whole(tracker.one(), [0, "B1"])
    assert run.link.flush("append") is None
    assert str(run.link.standing) == "in step with tracker.example"
    log(run, "A3")
    run.finish()
    whole(tracker.one(), [0, "B1", "A1", "A2", "A3"])
    run = begin()
    assert run.step == 5
    run.finish()


def test_a_run_that_has_nothing_waiting_follows_what_another_has_put_there(tracker: Tracker) -> None:
    run = begin()
    log(run, 0)
    flush(run)
    tracker.one().log(v="B1")
    assert run.link is not None
    run.link.syncing.verified = False
    flush(run)
    log(run, "A1")
    run.finish()
    whole(tracker.one(), [0, "B1", "A1"])
    run = begin()
    assert run.step == 3, "the step goes on from the server's"
    log(run, 3)
    run.finish()
    assert tracker.one().steps == [0, 1, 2, 3]


# Offline is the same product


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
    run = begin(mode="offline")
    log(run, 0)
    run.finish()
    assert tracker.calls == []
    assert run.link is None


def test_offline_sessions_one_of_them_killed_become_one_history(tracker: Tracker) -> None:
    Path("f.txt").write_text("1")
    for session in range(4):
        run = begin(mode="offline", config={f"s{session}": session})
        assert run.step == 2 * session
        log(run, 2 * session)
        run.log({"v": 2 * session + 1}, commit=False)
        run.save("f.txt", policy="now")
        lose(run) if session == 1 else run.finish()
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
    run = begin(mode="offline", config={"lr": 1})
    log(run, 0, 1)
    run.finish()
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
    run = begin()
    log(run, 0)
    run.finish()
    run = begin(mode="offline", resume="must")
    log(run, 1)
    run.finish()
    run = begin(resume="must")
    log(run, 2)
    run.finish()
    whole(tracker.one(), [0, 1, 2])


def test_a_record_of_this_machine_and_a_run_of_that_name_at_the_server_are_not_mixed(tracker: Tracker) -> None:
    run = begin(mode="offline")
    log(run, "mine")
    run.finish()
    kept = tracker.begun()
    kept.log(v="theirs")
    with pytest.raises(RunDiverged):
        begin()
    with pytest.raises(RunDiverged):
        sync()
    whole(kept, ["theirs"])
    run = begin(if_diverged="append")
    log(run, "more")
    run.finish()
    whole(kept, ["theirs", "mine", "more"])


def test_only_what_is_meant_for_the_server_is_sent_by_itself(tracker: Tracker) -> None:
    run = begin(mode="local", id="private")
    log(run, 0)
    run.finish()
    assert waiting_runs(Store(), URL) == []
    run = begin(mode="offline")
    log(run, 0)
    run.finish()
    assert [path.run_id for path in waiting_runs(Store(), URL)] == ["r1"]


def test_a_local_run_that_was_refused_beside_another_of_its_name_is_not_sent_by_itself(tracker: Tracker) -> None:
    run = begin(mode="local")
    log(run, "mine")
    run.finish()
    tracker.begun().log(v="theirs")
    with pytest.raises(RunDiverged):
        begin()
    assert "gone on" in server_of(run.run_path)
    assert waiting_runs(Store(), URL) == []


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


# Runs that others write too


def test_rows_of_an_exported_run_go_behind_what_a_subprocess_has_logged(tracker: Tracker) -> None:
    run = begin(config={"ours": 1})
    log(run, 0)
    flush(run)
    assert run.link is not None
    run.link.syncing.shared = True
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
    run = begin()
    log(run, 0)
    flush(run)
    assert run.link is not None
    run.link.syncing.shared = True
    run.log({"v": "a"}, commit=False)
    tracker.one().log(v="sdk")
    flush(run)
    run.log({"w": 1})
    run.finish()
    whole(tracker.one(), [0, "sdk", "a"])
    assert tracker.one().rows[-1] is not None
    assert tracker.one().rows[-1]["w"] == 1


def test_the_server_is_asked_again_before_what_others_may_have_written_over(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_resume.sync.syncing.FRESH", 0.0)
    run = begin()
    log(run, 0)
    flush(run)
    tracker.one().log(v="theirs")
    log(run, 1)
    assert run.link is not None
    assert isinstance(run.link.flush(), RunDiverged)
    whole(tracker.one(), [0, "theirs"])
    assert isinstance(run.link.syncing, Syncing)
