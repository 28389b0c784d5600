"""One run, several machines, one server: whoever goes on, the history is one, at steps that rise."""

from __future__ import annotations

from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume.errors import RunMissing
from jupyter_resume.origin import ProgramRef

from .machines import On, begin, flush, goes_on, log, lose, session, whole
from .remotes import Tracker

pytest_plugins = ("tests.machines_fixtures",)


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
    goes_on(6, resume="must")
    whole(tracker.one(), [0, 1, 2, 3, 4, 5, 6])
    assert tracker.one().steps == list(range(7))


def test_runtime_goes_on_from_the_longer_side(tracker: Tracker, on: On) -> None:
    on("A")
    session(0)
    tracker.one().log(v=1, _runtime=5000.0)
    tracker.one().summary["_wandb"] = {"runtime": 5000}
    session(2)
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
    session(0, 1)
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
    session(0, 1, mode="offline")
    kept = tracker.begun(started=False)
    goes_on(2)
    whole(kept, [0, 1, 2])
