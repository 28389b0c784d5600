"""file_stream: lines by number, posts that come twice, two clients of one run, states and heartbeats.

Most of it runs inside this process, with a clock of the test's own.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume.identity import RunPath
from jupyter_resume.server import posts, streams
from jupyter_resume.server.hosting import SILENCE, Hosting
from jupyter_resume.server.refusals import Refusal
from jupyter_resume.server.streams import Sender
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import ResumePoint

RUN = RunPath("local", "demo", "r")


class World:
    """A store that is served, at a time that the test says."""

    def __init__(self, home: Path) -> None:
        self.now = 1_000_000.0
        self.told: list[str] = []
        self.hosting = Hosting(Store(home), clock=lambda: self.now, tell=self.told.append)

    def restart(self) -> None:
        """As after SIGKILL, but for the lease: the same process goes on."""
        self.hosting.close()
        self.hosting = Hosting(self.hosting.store, clock=lambda: self.now, tell=self.told.append)

    def post(self, body: dict[str, Any], sender: Sender | None = None) -> dict[str, Any]:
        post = posts.read(json.dumps(body).encode())
        said: dict[str, Any] = self.hosting.change(
            RUN, lambda hosted: streams.take(hosted, post, sender or Sender("key", None, "a:1"), self.now), make=True
        )
        return said

    def rows(self, offset: int, rows: list[Any], peer: str = "a:1", **who: Any) -> None:
        content = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        self.post(
            {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}}, Sender("key", peer=peer, **who)
        )

    @property
    def point(self) -> ResumePoint:
        seen = self.hosting.see(RUN)
        assert seen
        return seen.point

    @property
    def state(self) -> str:
        seen = self.hosting.see(RUN)
        assert seen
        return seen.state

    @property
    def steps(self) -> list[int]:
        positions = self.hosting.positions(RUN)
        return [row["_step"] for row in positions.rows(positions.between(None, None)) if row]

    def conflicts(self) -> list[tuple[int, Any]]:
        found = self.hosting.positions(RUN).conflicts()
        return [(each["at"], json.loads(each["line"]).get("x")) for each in found]

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.hosting.store.record(RUN).folder.iterdir())


@pytest.fixture
def world(home: Path) -> Iterator[World]:
    world = World(home)
    yield world
    world.hosting.close()


def row(step: int, began: float = 0.0, **values: Any) -> dict[str, Any]:
    """A row of a client that began its run at ``began``."""
    return {"_step": step, "_runtime": step * 0.5, "_timestamp": 500.0 + began + step * 0.5, **values}


def test_rows_take_their_line_numbers(world: World) -> None:
    world.rows(0, [row(0, x=1), row(1, x=2)])
    world.rows(2, [row(2, x=3)])
    assert world.steps == [0, 1, 2]
    assert (world.point.rows, world.point.last_step, world.point.tail["x"]) == (3, 2, 3)


def test_a_post_that_comes_twice_changes_nothing(world: World) -> None:
    world.rows(0, [row(0, x=1), row(1, x=float("nan"))])
    size = world.size()
    world.rows(0, [row(0, x=1), row(1, x=float("nan"))])
    world.restart()
    world.rows(0, [row(0, x=1), row(1, x=float("nan"))])
    assert world.steps == [0, 1]
    assert world.point.conflicts == 0
    assert world.size() < size + 3000  # a new segment's head, and no row


def test_a_post_that_overlaps_adds_only_what_is_new(world: World) -> None:
    world.rows(0, [row(n) for n in range(3)])
    world.rows(1, [row(n) for n in range(1, 6)])
    assert world.steps == [0, 1, 2, 3, 4, 5]
    assert world.point.conflicts == 0


def test_the_order_of_keys_and_the_way_numbers_are_written_make_no_other_row(world: World) -> None:
    world.rows(0, ['{"_step":0,"a":1e0,"b":{"c":1,"d":[1.50]}}\n'])
    world.rows(0, ['{"b":{"d":[1.5],"c":1},"a":1.0,"_step":0}'])
    assert world.point.conflicts == 0


def test_another_row_for_a_line_that_is_taken_is_kept_aside(world: World) -> None:
    world.rows(0, [row(0, x="first")])
    world.rows(0, [row(0, 40, x="second")], peer="b:1")
    assert [each["x"] for each in world.hosting.positions(RUN).rows([0]) if each] == ["first"]
    assert world.conflicts() == [(0, "second")]


def test_a_conflict_that_is_posted_again_is_kept_once(world: World) -> None:
    world.rows(0, [row(0, x="first")])
    for _ in range(3):
        world.rows(0, [row(0, 40, x="second")], peer="b:1")
        world.restart()
    assert world.conflicts() == [(0, "second")]


@pytest.mark.parametrize("apart", [0.02, 40.0])
@pytest.mark.parametrize("reconnecting", [False, True])
def test_the_rows_of_two_clients_are_never_mixed(world: World, apart: float, reconnecting: bool) -> None:
    world.rows(0, [row(n, x="a") for n in range(3)], peer="a:1")
    world.rows(0, [row(n, apart, x="b") for n in range(5)], peer="b:1")  # lands behind the end of the first one's
    for n in range(5):
        first, second = (f"a:{n}", f"b:{n}") if reconnecting else ("a:1", "b:1")
        world.rows(5 + n, [row(5 + n, apart, x="b")], peer=second)
        world.rows(3 + 2 * n, [row(3 + 2 * n, x="a"), row(4 + 2 * n, x="a")], peer=first)
    positions = world.hosting.positions(RUN)
    assert [each and each["x"] for each in positions.rows(range(positions.count))] == ["a"] * 13
    assert sorted(world.conflicts()) == [(n, "b") for n in range(10)]


def test_a_restarted_server_still_tells_two_clients_apart(world: World) -> None:
    world.rows(0, [row(n, x="a") for n in range(3)], peer="a:1")
    world.rows(2, [row(2, 40, x="b")], peer="b:1")
    world.restart()
    world.rows(3, [row(3, 40, x="b")], peer="b:2")
    world.rows(3, [row(3, x="a")], peer="a:2")
    assert world.steps == [0, 1, 2, 3]
    assert sorted(world.conflicts()) == [(2, "b"), (3, "b")]


def test_a_client_that_resumes_the_run_after_a_conflict_is_taken_in(world: World) -> None:
    world.rows(0, [row(n, x="a") for n in range(3)], peer="a:1")
    world.rows(2, [row(2, 40, x="b")], peer="b:1")
    world.rows(3, [row(3, 900, x="c")], peer="b:1")
    assert world.steps == [0, 1, 2, 3]


def test_a_client_that_names_itself_is_known_by_that(world: World) -> None:
    world.rows(0, [row(0, x="a")], name="one", peer="proxy:1")
    world.rows(0, [row(0, x="b")], name="two", peer="proxy:1")
    world.rows(1, [row(1, x="b")], name="two", peer="proxy:1")
    world.rows(1, [row(1, x="a")], name="one", peer="proxy:1")
    assert world.conflicts() == [(0, "b"), (1, "b")]


def test_a_client_of_ours_with_an_older_fencing_token_is_refused(world: World) -> None:
    world.rows(0, [row(0)], token=0)
    world.hosting.change(RUN, lambda hosted: hosted.commit([(lines.SESSION, {"at": world.now, "fence": True})]))
    with pytest.raises(Refusal) as refused:
        world.rows(1, [row(1)], token=0)
    assert refused.value.status == 409
    world.rows(1, [row(1)], token=1)
    assert world.steps == [0, 1]


def test_a_row_below_the_step_reached_takes_its_line_and_is_marked_out_of_order(world: World) -> None:
    world.rows(0, [row(0), row(5), row(2, x="late"), row(6)])
    assert world.steps == [0, 5, 6]
    assert (world.point.rows, world.point.out_of_order) == (4, 1)
    assert [each["x"] for each in world.hosting.positions(RUN).out_of_order()] == ["late"]
    assert [kind for kind, _ in world.hosting.store.record(RUN).set_aside()] == ["out of order"]


def test_a_gap_is_left_open_and_can_be_filled(world: World) -> None:
    world.rows(0, [row(0)])
    world.rows(3, [row(3), row(4)])
    assert (world.point.rows, world.steps) == (5, [0, 3, 4])
    assert world.hosting.positions(RUN).missing == 2
    world.rows(1, [row(1), row(2)])
    assert (world.point.rows, world.steps) == (5, [0, 1, 2, 3, 4])
    assert world.hosting.positions(RUN).missing == 0
    assert [each["_step"] for each in world.hosting.store.record(RUN).history()] == [0, 1, 2, 3, 4]


def test_rows_without_a_step_have_the_number_of_their_line(world: World) -> None:
    world.rows(0, ['{"x": 1}', '{"_step": 1.0}', '{"_step": 2.5}', '{"_step": -4}', '{"_step": "5"}'])
    assert world.steps == [0, 1, 2, 3, 4]


def test_a_time_that_is_no_number_harms_nobody(world: World) -> None:
    world.rows(0, ['{"_step":0,"_timestamp":"soon","_runtime":NaN}', '{"_step":1,"_timestamp":null}'])
    assert world.steps == [0, 1]


def test_output_may_be_written_again_and_the_last_writing_counts(world: World) -> None:
    def output(offset: int, *texts: str) -> None:
        world.post({"files": {"output.log": {"offset": offset, "content": list(texts)}}})

    output(0, "a\n", "10%", "b")
    output(1, "20%", "b", "c")
    size = world.size()
    output(1, "20%", "b", "c")
    assert world.size() == size
    assert list(world.hosting.positions(RUN).console(range(4))) == ["a", "20%", "b", "c"]
    assert world.point.streams["output"]["count"] == 4


def test_events_have_lines_of_their_own(world: World) -> None:
    for _ in range(2):
        world.post({"files": {"wandb-events.jsonl": {"offset": 0, "content": ['{"cpu":1}', '{"cpu":2}\n']}}})
    assert world.point.streams["events"] == {"count": 2, "tail": '{"cpu":2}'}
    assert list(world.hosting.positions(RUN).events(range(2))) == ['{"cpu":1}', '{"cpu":2}']


def test_the_last_summary_is_the_whole_summary(world: World) -> None:
    def summary(**values: Any) -> None:
        world.post({"files": {"wandb-summary.json": {"offset": 0, "content": [json.dumps(values)]}}})

    summary(a=1, b={"min": 2})
    summary(b={"min": 1}, _step=4)
    assert world.point.summary == {"b": {"min": 1}, "_step": 4}
    assert world.point.next_step == 5


def test_a_summary_posted_with_rows_wins_over_what_the_rows_say(world: World) -> None:
    history = {"offset": 0, "content": [json.dumps({"_step": 0, "loss": 9})]}
    summary = {"offset": 0, "content": ['{"loss": 1, "_step": 0}']}
    world.post({"files": {"wandb-history.jsonl": history, "wandb-summary.json": summary}})
    assert world.point.summary == {"loss": 1, "_step": 0}
    world.restart()
    assert world.point.summary == {"loss": 1, "_step": 0}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"complete": True, "exitcode": 0}, "finished"),
        ({"complete": True}, "finished"),
        ({"complete": True, "exitcode": 1}, "failed"),
        ({"complete": True, "exitcode": -9}, "failed"),
        ({"complete": True, "exitcode": 255}, "killed"),
        ({"complete": False, "failed": True}, "failed"),
        ({"preempting": True}, "preempting"),
        ({"complete": False, "failed": False, "dropped": 0}, "running"),
        ({}, "running"),
    ],
)
def test_a_post_says_how_the_run_is(world: World, said: dict[str, Any], state: str) -> None:
    world.post({})
    world.post(said)
    assert world.state == state
    world.restart()
    assert world.state == state


def test_any_later_post_sets_a_run_running_again(world: World) -> None:
    world.post({"complete": True, "exitcode": 1})
    world.post({})
    assert world.state == "running"


def test_a_repeated_complete_changes_nothing(world: World) -> None:
    world.post({"complete": True, "exitcode": 0})
    size = world.size()
    world.post({"complete": True, "exitcode": 0})
    assert (world.state, world.size()) == ("finished", size)


def test_a_run_crashes_after_150_seconds_of_silence_and_not_before(world: World) -> None:
    world.rows(0, [row(0)])
    world.now += SILENCE - 1
    world.hosting.sweep()
    assert world.state == "running"
    world.post({})
    world.now += SILENCE - 1
    world.hosting.sweep()
    assert world.state == "running"
    world.now += 2
    world.hosting.sweep()
    assert world.state == "crashed"
    assert world.hosting.store.catalog.runs()[0].state == "crashed"
    world.post({})
    assert world.state == "running"


def test_a_preempting_run_that_falls_silent_was_preempted(world: World) -> None:
    world.post({"preempting": True})
    world.now += SILENCE + 1
    world.hosting.sweep()
    assert world.state == "preempted"


def test_a_run_that_ended_is_let_go_and_taken_up_again(world: World) -> None:
    world.rows(0, [row(0)])
    world.post({"complete": True, "exitcode": 0})
    world.now += 60
    world.hosting.sweep()
    assert world.hosting._open == {}
    assert world.state == "finished"
    world.rows(1, [row(1)])
    assert world.steps == [0, 1]


def test_a_run_that_nobody_writes_is_read_once_for_many_lists(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.rows(0, [row(0)])
    world.post({"complete": True, "exitcode": 0})
    world.now += 60
    world.hosting.sweep()
    assert [seen.state for seen in world.hosting.list()] == ["finished"]
    monkeypatch.setattr(world.hosting, "see", lambda _: pytest.fail("it was read again"))
    assert [seen.state for seen in world.hosting.list()] == ["finished"]
    monkeypatch.undo()
    world.rows(1, [row(1)])
    assert [(seen.state, seen.point.rows) for seen in world.hosting.list()] == [("running", 2)]


def test_rewinding_keeps_earlier_rows_and_sets_later_ones_aside(world: World) -> None:
    world.rows(0, [row(n, x="old") for n in range(6)])
    seen = world.hosting.rewind(RUN, 2)
    assert (seen.point.rows, seen.point.last_step, seen.point.tail["_step"]) == (3, 2, 2)
    world.rows(3, [row(3, 60, x="new")], peer="b:1")
    world.restart()
    rows = list(world.hosting.positions(RUN).rows(range(4)))
    assert [(each["_step"], each["x"]) for each in rows if each] == [(0, "old"), (1, "old"), (2, "old"), (3, "new")]
    record = world.hosting.store.record(RUN)
    assert [each["_step"] for each in record.history()] == [0, 1, 2, 3]
    assert world.hosting.rewind(RUN, 0).point.rows == 1
    assert [each["_step"] for each in record.history()] == [0]


def test_the_resume_point_is_read_without_the_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.rows(0, [row(n) for n in range(20_000)])
    world.restart()
    monkeypatch.setattr(type(world.hosting.store.record(RUN)), "scan", lambda _: pytest.fail("it read the history"))
    assert (world.point.rows, world.point.tail["_step"]) == (20_000, 19_999)


def test_a_disk_that_is_full_takes_nothing_and_harms_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.rows(0, [row(0)])
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) > 40:
            return real(fd, bytes(data)[:40])  # a part still fits
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Refusal) as refused:
        world.rows(1, [row(1), row(2)])
    assert (refused.value.status, refused.value.retry_after) == (507, 30)
    monkeypatch.undo()
    assert world.steps == [0]
    world.rows(1, [row(1), row(2)])
    world.restart()
    assert world.steps == [0, 1, 2]
    assert world.hosting.store.record(RUN).tail().damaged == 0  # type: ignore[union-attr]
