"""Somebody rewinds the run at its server: it is followed here, and what was taken back there is not sent again."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_resume.errors import RunDiverged

from .machines import (
    PATH,
    On,
    Told,
    begin,
    flush,
    goes_on,
    link_of,
    log,
    running,
    server_of,
    session,
    superseded,
    sync,
    whole,
)
from .remotes import Tracker, unreachable

pytest_plugins = ("tests.machines_fixtures",)


def test_a_run_that_was_rewound_and_not_written_since_goes_on_behind_the_rewind(tracker: Tracker, told: Told) -> None:
    session(0, 1, 2, 3)
    tracker.one().rewind(1)
    told()
    run = goes_on(2)
    assert sum("was rewound at tracker.example to step 1" in line for line in told()) == 1
    whole(tracker.one(), [0, 1, 2])
    assert [row["v"] for row in run.writer.record.history()] == [0, 1, 2]
    assert superseded(run.writer.record) == [2, 3]
    goes_on(3)
    assert not any("rewound" in line for line in told())
    whole(tracker.one(), [0, 1, 2, 3])
    assert tracker.one().steps == [0, 1, 2, 3]


def test_a_run_that_was_rewound_and_written_since_goes_on_behind_what_was_written(tracker: Tracker) -> None:
    session(0, 1, 2, 3)
    tracker.one().rewind(1)
    tracker.one().log(v="theirs")
    run = goes_on(3)
    whole(tracker.one(), [0, 1, "theirs", 3])
    assert superseded(run.writer.record) == [2, 3]


def test_one_rewind_after_another_is_followed(tracker: Tracker) -> None:
    session(*range(6))
    for step in (4, 2, 0):
        tracker.one().rewind(step)
        goes_on(step + 1)
        goes_on(step + 2)
        whole(tracker.one(), list(range(step + 3)))


def test_a_rewind_that_was_followed_does_not_count_when_the_server_is_set_back_later(tracker: Tracker) -> None:
    session(0, 1, 2, 3)
    tracker.one().rewind(1)
    session(2, 3, 4)
    kept = tracker.one()
    del kept.rows[3:]
    kept.summary = dict(kept.rows[-1] or {})
    goes_on(5)
    whole(kept, [0, 1, 2, 3, 4, 5])


def test_a_rewind_before_this_machine_knew_the_run_is_history(tracker: Tracker, on: On) -> None:
    on("A")
    session(0, 1, 2, 3)
    tracker.one().rewind(1)
    on("B")
    goes_on(2)
    run = goes_on(3)
    assert list(run.writer.record.set_aside()) == []
    on("A")
    run = goes_on(4)
    assert superseded(run.writer.record) == [2, 3]
    whole(tracker.one(), [0, 1, 2, 3, 4])


def test_sync_sends_nothing_of_what_was_taken_back_and_the_next_session_follows(tracker: Tracker) -> None:
    session(0, 1, 2, 3)
    tracker.one().rewind(1)
    for _ in range(2):
        assert sync().rows == 0
        whole(tracker.one(), [0, 1])
    goes_on(2)
    whole(tracker.one(), [0, 1, 2])


def test_a_run_under_way_that_is_rewound_goes_on_at_its_own_steps(tracker: Tracker) -> None:
    run = running(0, 1, 2, 3)
    tracker.one().rewind(1)
    link_of(run).syncing.verified = False
    flush(run)
    log(run, 4)
    flush(run)
    log(run, 5)
    run.finish()
    whole(tracker.one(), [0, 1, 4, 5])
    assert tracker.one().steps == [0, 1, 4, 5]
    goes_on(6)
    whole(tracker.one(), [0, 1, 4, 5, 6])


@pytest.mark.parametrize(
    ("choice", "then"), [("adopt", [0, 1, "new"]), ("append", [0, 1, "A4", "new"]), ("fork", [0, 1])]
)
def test_rows_that_wait_while_the_run_is_rewound_are_asked_about(
    tracker: Tracker, choice: str, then: list[object]
) -> None:
    session(0, 1, 2, 3)
    session("A4", mode="offline")
    tracker.one().rewind(1)
    with pytest.raises(RunDiverged) as refused:
        begin()
    assert (refused.value.data["there"], refused.value.data["waiting"]) == (1, 1)
    assert "to step 1, and 1 row up to step 4 waits here" in server_of()
    run = begin(if_diverged=choice)
    log(run, "new")
    run.finish()
    whole(tracker.one(), then)
    if choice == "adopt":
        assert superseded(run.writer.record) == [2, 3, "A4"]
    if choice == "fork":
        whole(tracker.one(run.id), [0, 1, 2, 3, "A4", "new"])
        goes_on(2)
        whole(tracker.one(), [0, 1, 2])


@pytest.mark.parametrize(
    "mark",
    [None, "r1", {}, {"run_id": "another", "step": 1}, {"run_id": "r1"}, {"run_id": "r1", "step": "1"},
     {"run_id": "r1", "step": -1}, {"run_id": "r1", "step": float("nan")}, {"run_id": ["r1"], "step": 1}],
)  # fmt: skip
def test_a_server_that_says_nothing_of_a_rewind_was_set_back(tracker: Tracker, mark: object) -> None:
    session(0, 1, 2, 3)
    tracker.one().rewind(1)
    tracker.one().internal["branch_point"] = mark
    goes_on(4)
    whole(tracker.one(), [0, 1, 2, 3, 4])


def test_a_mark_of_a_rewind_beside_rows_that_are_still_there_changes_nothing(tracker: Tracker) -> None:
    session(0, 1, 2, 3)
    tracker.one().internal["branch_point"] = {"run_id": PATH.run_id, "step": 1}
    tracker.one().log(v="theirs")
    run = goes_on(5)
    whole(tracker.one(), [0, 1, 2, 3, "theirs", 5])
    assert list(run.writer.record.set_aside()) == []


def test_a_rewind_is_followed_after_a_server_that_could_not_be_reached(tracker: Tracker) -> None:
    session(0, 1, 2, 3)
    tracker.one().rewind(1)
    tracker.down = unreachable()
    run = begin()
    assert run.step == 4
    tracker.down = None
    flush(run)
    log(run, 4)
    run.finish()
    whole(tracker.one(), [0, 1, 4])


def test_files_of_a_run_that_was_rewound_stay(tracker: Tracker) -> None:
    session(0, 1, files={"m.bin": b"1"})
    tracker.one().rewind(0)
    run = goes_on(1)
    assert list(run.files) == ["m.bin"]
    assert tracker.put_bytes == 1
    assert Path("m.bin").read_bytes() == b"1"
