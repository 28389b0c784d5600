"""When the server gives trouble: training goes on, one line says what is the matter, and nothing is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import keys
from jupyter_resume.errors import (
    FileDamaged,
    FileMissing,
    KeyRejected,
    RemoteError,
    RemoteGone,
    RemoteMalformed,
    RemoteRefused,
    RemoteUnreachable,
    RunDiverged,
    RunInUse,
    RunStopped,
)
from jupyter_resume.identity import RunPath
from jupyter_resume.store import edits
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record
from jupyter_resume.sync import background
from jupyter_resume.sync.background import Background
from jupyter_resume.sync.bringing import Brought, bring, waiting_runs

from .processes import PATIENCE, at_home, hear, pipe, started
from .remotes import KEY, URL, Kept, Tracker, unreachable
from .serving import served

TROUBLES = {
    "unreachable": unreachable(),
    "overloaded": RemoteUnreachable("tracker.example answers HTTP 503.", status=503),
    "html": RemoteMalformed("tracker.example answered HTML: a proxy's login page?"),
    "key": KeyRejected("tracker.example does not take the API key.", status=401),
    "not found": RemoteGone("tracker.example has nothing at this address.", status=404),
}


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A server, with a key for it; what is to be sent is sent by `flush`, by a turn, and by `finish` only."""
    tracker = Tracker()
    tracker.install(monkeypatch)
    monkeypatch.setattr(Background, "start", lambda link: None)
    return tracker


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sit down at a machine: each has a store of its own."""
    return lambda name: monkeypatch.setenv("JUPYTER_RESUME_HOME", str(tmp_path / name))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines that the user was told since this was asked last."""
    return lambda: capsys.readouterr().err.splitlines()


def begin(**asked: Any) -> wandb.Run:
    return wandb.init(project="demo", **{"id": "r1", "resume": "allow", **asked})


def link_of(run: wandb.Run) -> Background:
    assert run.link is not None
    return run.link


def log(run: wandb.Run, *values: Any) -> None:
    for value in values:
        run.log({"v": value})


def sync(tracker: Tracker, run_id: str = "r1", **how: Any) -> Brought:
    store = Store()
    path = next(entry.path for entry in store.catalog.runs() if entry.path.run_id == run_id)
    return bring(store, path, tracker.remote(), "alice", **how)


def whole(run: Kept, values: list[Any]) -> None:
    assert run.values("v") == values
    assert run.steps == sorted(set(run.steps))


def later(run: wandb.Run, seconds: float) -> None:
    """So much time goes by since the server was asked last."""
    link_of(run).syncing._checked -= seconds


# At init


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("resume", ["allow", "auto"])
def test_a_run_goes_on_where_the_server_gives_trouble_and_reconnects_by_itself(
    tracker: Tracker, told: Callable[[], list[str]], trouble: str, resume: str
) -> None:
    run = begin(config={"lr": 1})
    log(run, 0)
    run.close("interrupted")
    tracker.down = TROUBLES[trouble]
    told()
    run = begin(resume=resume)
    assert run.step == 1
    said = told()
    assert sum("goes on from this machine's record" in line for line in said) == 1
    assert len(said) == 2, said
    log(run, 1, 2)
    link = link_of(run)
    for _ in range(3):
        link._turn()
    assert told() == []
    assert trouble == "not found" or link.trouble is not None
    tracker.down = None
    link._trouble = None if isinstance(link.trouble, RemoteGone) else link.trouble
    link._turn()
    log(run, 3)
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3])
    assert tracker.one().config == {"lr": 1}


@pytest.mark.parametrize("trouble", ["unreachable", "html", "key"])
@pytest.mark.parametrize("asked", [{"resume": "must"}, {"resume": "never"}, {"resume": None}])
def test_what_the_server_has_to_decide_is_refused_with_the_way_out(
    tracker: Tracker, trouble: str, asked: dict[str, Any]
) -> None:
    tracker.down = TROUBLES[trouble]
    with pytest.raises(type(TROUBLES[trouble])) as refused:
        begin(**asked)
    assert "--mode offline" in str(refused.value)
    assert Store().catalog.runs() == []
    run = begin(mode="offline", resume="never")
    run.finish()


def test_a_new_run_without_an_id_needs_no_answer(tracker: Tracker) -> None:
    tracker.down = unreachable()
    run = begin(id=None, resume="never")
    log(run, 0, 1)
    tracker.down = None
    run.finish()
    assert run.path == f"alice/demo/{run.id}"
    whole(tracker.one(run.id), [0, 1])


def test_a_key_that_is_taken_away_while_a_run_begins_costs_its_link_and_not_the_run(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    def refused(*args: Any) -> Any:
        raise KeyRejected("There is no API key.")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("jupyter_resume.sync.connecting.connect", refused)
        meanwhile.setattr("jupyter_resume._there.connect", refused)
        run = begin()
    assert run.link is None
    assert any("There is no API key: run local/demo/r1 goes on from this machine's record" in line for line in told())
    log(run, 0)
    run.finish()
    assert sync(tracker).rows == 1
    whole(tracker.one(), [0])


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
    run = begin()
    log(run, 0)
    link_of(run).flush()
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


def test_the_cell_run_again_goes_on_with_the_open_run(tracker: Tracker) -> None:
    run = begin()
    assert begin() is run
    assert begin(entity="alice") is run


# While it runs


def test_trouble_is_told_when_it_begins_and_when_it_is_over_and_not_in_between(
    tracker: Tracker, told: Callable[[], list[str]]
) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    told()
    for round_ in range(3):
        tracker.down = unreachable()
        for n in range(5):
            log(run, n)
            link._turn()
        (line,) = told()
        assert "cannot be reached" in line
        assert "training goes on" in line
        assert "5 rows here, to be sent" in str(link.standing)
        tracker.down = None
        link._turn()
        (line,) = told()
        assert "takes data again" in line
        assert str(link.standing) == "in step with tracker.example", round_
    run.finish()
    assert told() == []
    assert tracker.one().values("v") == [0, 1, 2, 3, 4] * 3


def test_pauses_grow_and_what_the_server_asks_for_is_kept(tracker: Tracker) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    log(run, 0)
    tracker.down = unreachable()
    pauses = [link._turn() for _ in range(8)]
    assert pauses[0] < 3
    assert pauses[2] < pauses[4]
    assert background.LONGEST * 0.7 < pauses[-1] <= background.LONGEST * 1.25
    tracker.down = RemoteUnreachable("tracker.example is busy (HTTP 429).", status=429, retry_after=500.0)
    assert link._turn() == 500.0


def test_log_never_waits_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns while a request hangs, by an event and not by a clock."""
    monkeypatch.setenv("JUPYTER_RESUME_SYNC_INTERVAL", "0.1")
    tracker = Tracker()
    tracker.install(monkeypatch)
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        go_on.wait(PATIENCE)

    for name in ("append", "files"):
        tracker.then(name, hang)
    run = begin()
    log(run, 0)
    assert hangs.wait(PATIENCE)
    for n in range(1, 100):
        log(run, n)
    run.config["lr"] = 1
    run.summary["best"] = 1
    run.notes = "n"
    Path("f.txt").write_text("1")
    run.save("f.txt", policy="now")
    assert run.step == 100
    assert str(link_of(run).standing)
    assert (run.path, run.url) == ("alice/demo/r1", f"{URL}/alice/demo/runs/r1")
    assert tracker.one().rows == []
    go_on.set()
    run.finish()
    whole(tracker.one(), list(range(100)))
    assert tracker.one().files == {"f.txt": b"1"}


def test_finish_while_the_server_cannot_be_reached_tells_what_waits_and_sync_sends_exactly_that(
    tracker: Tracker, told: Callable[[], list[str]]
) -> None:
    run = begin()
    log(run, 0)
    link_of(run).flush()
    tracker.down = unreachable()
    log(run, 1, 2)
    Path("f.txt").write_text("1")
    run.save("f.txt", policy="now")
    told()
    run.finish()
    (line,) = [line for line in told() if "has ended here" in line]
    assert "2 rows and 1 file to be sent" in line
    assert "jupyter resume sync" in line
    assert tracker.one().state == "running"
    tracker.down = None
    before = len(tracker.calls)
    done = sync(tracker)
    assert (done.rows, done.files) == (2, ("f.txt",))
    assert sum(len(c.what.rows.texts) for c in tracker.calls[before:] if c.name == "append" and c.what.rows) == 2
    whole(tracker.one(), [0, 1, 2])
    assert tracker.one().state == "finished"


def test_what_does_not_wait_is_not_counted(tracker: Tracker, told: Callable[[], list[str]]) -> None:
    run = begin()
    log(run, 0)
    link = link_of(run)
    link.flush()
    tracker.down = unreachable()
    log(run, 1)
    link.flush()
    assert str(link.standing).endswith("; 1 row here, to be sent")
    tracker.down = None
    link.flush()
    assert str(link.standing) == "in step with tracker.example"
    tracker.down = unreachable()
    told()
    run.finish()
    assert str(link.standing) == "tracker.example cannot be reached (the connection was refused)"
    assert any("has ended here with only its end to be sent" in line for line in told())
    tracker.down = None
    sync(tracker)
    assert tracker.one().state == "finished"


def test_finish_does_not_wait_for_a_thread_that_hangs(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "HASTE", 0.01)
    run = begin()
    link = link_of(run)
    tracker.down = unreachable()
    link._turn()
    log(run, 0)
    link._rows_busy.acquire()  # as by a thread whose request hangs
    run.finish()
    link._rows_busy.release()
    tracker.down = None
    sync(tracker)
    whole(tracker.one(), [0])


def test_a_thread_whose_answer_comes_after_the_end_does_not_hold_the_run_from_then_on(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "HASTE", 0.01)
    run = begin()
    link = link_of(run)
    tracker.down = unreachable()
    link._turn()
    log(run, 0)
    tracker.down = None
    tracker.then("resume_point", run.finish)  # while the thread waits for the answer
    with link._rows_busy:
        link._turn()
    assert sync(tracker).rows == 1
    begin().finish()
    whole(tracker.one(), [0])


@pytest.mark.parametrize("seconds", [2.0, 20.0])
def test_lines_of_another_machine_that_writes_at_the_same_time_are_not_written_over(
    tracker: Tracker, seconds: float
) -> None:
    run = begin()
    log(run, 0)
    link_of(run).flush()
    tracker.one().log(v="theirs")
    log(run, "mine")
    later(run, seconds)
    assert isinstance(link_of(run).flush(), RunDiverged)
    assert link_of(run).flush("append") is None
    run.finish()
    assert tracker.overwritten == []
    whole(tracker.one(), [0, "theirs", "mine"])


def test_what_a_flush_brought_in_order_goes_on_at_once(tracker: Tracker) -> None:
    """Else the thread would sleep on for as long as the trouble had let it."""
    run = begin()
    link = link_of(run)
    link.flush()
    tracker.one().log(v="theirs")
    log(run, "mine")
    link.syncing.verified = False
    assert link._turn() == background.SELDOM
    link._rows_due.clear()
    assert isinstance(link.flush(), RunDiverged)
    assert not link._rows_due.is_set()
    assert link.flush("append") is None
    assert link._rows_due.is_set()
    run.finish()
    whole(tracker.one(), ["theirs", "mine"])


@pytest.mark.parametrize("last", [True, False])
def test_signs_of_life_are_sent_while_a_long_upload_goes_on(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    monkeypatch.setattr(background, "BEAT", 0.0)
    run = begin()
    link = link_of(run)
    link.flush()
    save(run, "large.bin", b"1")
    beats: list[int] = []

    def meanwhile() -> None:
        thread = threading.Thread(target=rows_thread)
        thread.start()
        thread.join(PATIENCE)
        beats.append(tracker.one().beats)

    def rows_thread() -> None:
        if link._rows_busy.acquire(timeout=1.0):
            try:
                link._turn()
            finally:
                link._rows_busy.release()

    tracker.then("put_file", meanwhile)
    run.finish() if last else link.flush()
    assert beats == [1]
    run.finish()
    assert (tracker.one().files, tracker.one().state) == ({"large.bin": b"1"}, "finished")


def test_an_end_that_takes_long_says_so_and_what_an_interrupt_left(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(background, "LARGE", 10)
    run = begin()
    link_of(run).flush()
    log(run, 0)
    save(run, "large.bin", b"1" * 11)

    def interrupt() -> None:
        raise KeyboardInterrupt

    tracker.then("put_file", interrupt)
    told()
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    first, last = told()
    assert "sending 1 row and 1 file of run alice/demo/r1 to tracker.example" in first
    assert "has ended here with 1 file to be sent" in last
    assert waiting_runs(Store(), URL) == [run.run_path]
    assert sync(tracker).files == ("large.bin",)


def test_what_nobody_foresaw_does_not_reach_the_program_at_its_end(
    tracker: Tracker, told: Callable[[], list[str]]
) -> None:
    run = begin()
    link_of(run).flush()
    log(run, 0)

    def burst() -> None:
        raise ZeroDivisionError("no such thing")

    tracker.then("append", burst, burst)
    assert isinstance(link_of(run).flush(), RemoteError)
    run.finish()
    assert run.state == "finished"
    assert any("ZeroDivisionError" in line for line in told())
    sync(tracker)
    whole(tracker.one(), [0])


def test_a_new_key_in_the_netrc_file_is_found_without_a_word(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    keys.store(URL, KEY)
    run = begin()
    link = link_of(run)
    link._turn()
    tracker.keys = {"f" * 40}
    log(run, 0)
    link._turn()
    link._turn()
    assert isinstance(link.trouble, KeyRejected)
    keys.store(URL, "f" * 40)
    told()
    link._turn()
    assert link.trouble is None
    assert len(told()) == 1
    run.finish()
    whole(tracker.one(), [0])


def test_a_run_that_was_deleted_is_told_once_and_left_alone(tracker: Tracker, told: Callable[[], list[str]]) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    log(run, 0)
    tracker.runs.clear()
    told()
    link._turn()
    assert isinstance(link.trouble, RemoteGone)
    before = len(tracker.calls)
    for n in range(5):
        log(run, n)
        assert link._turn() == background.SELDOM
    assert len(tracker.calls) == before
    assert len(told()) == 1
    assert len(list(run.writer.record.history())) == 6


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_refused_post_is_told_and_tried_seldom_and_is_not_lost(
    tracker: Tracker, told: Callable[[], list[str]], status: int
) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    told()
    log(run, 0)
    refusal = RemoteRefused(f"tracker.example does not take this (HTTP {status}: 'words').", status=status)
    tracker.then("append", refusal, refusal)
    assert link._turn() == background.SELDOM
    assert link._turn() == background.SELDOM
    (line,) = told()
    assert "'words'" in line
    run.finish()
    whole(tracker.one(), [0])


def test_posts_that_are_too_large_are_made_smaller(tracker: Tracker) -> None:
    run = begin()
    log(run, *range(300))
    tracker.most = 5000
    run.finish()
    whole(tracker.one(), list(range(300)))


def test_a_row_that_is_too_large_by_itself_leaves_its_step_and_the_rest_goes_on(
    tracker: Tracker, told: Callable[[], list[str]]
) -> None:
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


def test_what_nobody_foresaw_is_told_and_does_not_end_the_sync(tracker: Tracker, told: Callable[[], list[str]]) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    told()
    log(run, 0)

    def burst() -> None:
        raise ZeroDivisionError("no such thing")

    tracker.then("append", burst)
    assert link._turn() == background.SELDOM
    (line,) = told()
    assert "ZeroDivisionError" in line
    link._turn()
    assert tracker.one().values("v") == [0]
    run.finish()


def test_a_record_that_cannot_be_read_does_not_keep_a_run_from_finishing(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    run = begin()
    log(run, 0)

    def broken(*args: Any) -> Any:
        raise OSError("disk gone")

    monkeypatch.setattr("jupyter_resume.sync.outbox.follow", broken)
    run.finish()
    assert run.state == "finished"
    assert any("disk gone" in line for line in told())


def test_a_sign_of_life_is_sent_when_nothing_else_is(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    before = tracker.one().beats
    link._turn()
    assert tracker.one().beats == before
    monkeypatch.setattr(background, "BEAT", 0.0)
    link._turn()
    assert tracker.one().beats == before + 1
    run.finish()


def test_a_turn_ends_also_while_rows_keep_coming(tracker: Tracker) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    tracker.then("append", *[lambda: log(run, "meanwhile")] * 50)
    log(run, 0)
    before = tracker.asked("append")
    link._turn()
    assert tracker.asked("append") <= before + 2
    tracker._then.clear()
    run.finish()


# Stopped


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_that_is_stopped_on_the_server_says_so_and_raises_if_asked(
    tracker: Tracker, told: Callable[[], list[str]], asked: bool
) -> None:
    run = begin(raise_stopped=asked)
    link_of(run).flush()
    assert run.stopped is False
    tracker.one().stopped = True
    log(run, 0)
    told()
    link_of(run).flush()
    assert run.stopped is True
    assert len(told()) == 1
    if asked:
        with pytest.raises(RunStopped):
            run.log({"v": 1})
    else:
        log(run, 1)
    log(run, 2)
    link_of(run).flush()
    assert told() == []
    log(run, 3)
    run.finish()
    whole(tracker.one(), [0, 1, 2, 3])


def test_a_stop_of_an_earlier_session_does_not_stop_the_resumed_run(tracker: Tracker) -> None:
    run = begin(raise_stopped=True)
    log(run, 0)
    run.finish()
    tracker.one().stopped = True
    run = begin(raise_stopped=True)
    link_of(run).syncing.beat()
    assert run.stopped is True
    log(run, 1, 2)
    tracker.one().stopped = False
    link_of(run).flush()
    assert run.stopped is False
    tracker.one().stopped = True
    log(run, 3)
    link_of(run).flush()
    with pytest.raises(RunStopped):
        run.log({"v": 4})
    run.finish()


# Files


def save(run: wandb.Run, name: str, content: bytes, **how: Any) -> None:
    Path(name).write_bytes(content)
    run.save(name, **{"policy": "now", **how})


def test_files_are_sent_by_their_policies(tracker: Tracker) -> None:
    run = begin()
    save(run, "now.txt", b"now")
    save(run, "live.txt", b"live", policy="live")
    save(run, "end.txt", b"end", policy="end")
    link_of(run).flush()
    assert tracker.one().files == {"now.txt": b"now", "live.txt": b"live"}
    for name in ("now.txt", "live.txt", "end.txt"):
        Path(name).write_bytes(b"changed")
    run.finish()
    assert tracker.one().files == {"now.txt": b"now", "live.txt": b"changed", "end.txt": b"changed"}


def test_unchanged_content_is_not_sent_again_not_from_another_session_nor_machine(
    tracker: Tracker, on: Callable[[str], None]
) -> None:
    data = os.urandom(1000)
    on("A")
    run = begin()
    save(run, "a.bin", data)
    link_of(run).flush()
    save(run, "a.bin", data)
    run.finish()
    assert tracker.put_bytes == 1000
    run = begin()
    save(run, "a.bin", data)
    run.finish()
    on("B")
    run = begin()
    save(run, "other.bin", b"1")
    link_of(run).flush()
    save(run, "a.bin", data)
    run.finish()
    assert tracker.put_bytes == 1001
    assert sync(tracker).files == ()


def test_sending_many_files_does_not_read_the_record_once_for_each(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = Record.tail
    monkeypatch.setattr(Record, "tail", lambda record: read.append(1) or real(record))
    costs = []
    for count in (2, 20):
        run = begin(id=f"with-{count}", mode="offline")
        for n in range(count):
            save(run, f"{n}.bin", b"%d" % n)
        run.finish()
        read.clear()
        assert len(sync(tracker, run.id).files) == count
        costs.append(len(read))
    assert costs[0] == costs[1]


def test_a_run_that_was_deleted_and_is_sent_anew_has_its_files_again(tracker: Tracker) -> None:
    run = begin()
    log(run, 0)
    save(run, "f.bin", b"1")
    link_of(run).flush()
    tracker.runs.clear()
    link_of(run).syncing.verified = False
    link_of(run).syncing.share()  # as its cell does that is run again with --export: it is begun anew
    log(run, 1)
    run.finish()
    whole(tracker.one(), [0, 1])
    assert tracker.one().files == {"f.bin": b"1"}


def test_a_run_that_was_deleted_and_begun_anew_by_another_machine_has_the_files_of_this_one_again(
    tracker: Tracker, on: Callable[[str], None]
) -> None:
    on("A")
    run = begin()
    save(run, "f.bin", b"1")
    run.finish()
    tracker.runs.clear()
    on("B")
    begin().finish()
    assert tracker.one().files == {}
    on("A")
    begin().finish()
    assert tracker.one().files == {"f.bin": b"1"}


def test_a_content_that_is_superseded_while_it_is_sent_is_followed_by_the_newer(tracker: Tracker) -> None:
    run = begin()
    save(run, "f.bin", b"1")

    def newer() -> None:
        save(run, "f.bin", b"22")

    tracker.then("put_file", newer)
    link_of(run).flush()
    link_of(run).flush()
    assert tracker.one().files == {"f.bin": b"22"}
    run.finish()


def test_a_content_that_was_superseded_before_it_was_sent_is_no_error(
    tracker: Tracker, told: Callable[[], list[str]]
) -> None:
    run = begin()
    save(run, "f.bin", b"1")
    waiting = link_of(run).syncing.files_waiting()
    save(run, "f.bin", b"22")
    assert waiting == ["f.bin"]
    told()
    link_of(run).flush()
    assert told() == []
    assert tracker.one().files == {"f.bin": b"22"}
    run.finish()


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_stored_content_that_is_not_what_was_saved_is_not_sent_and_the_rest_is(
    tracker: Tracker, told: Callable[[], list[str]], how: str
) -> None:
    run = begin()
    save(run, "bad.bin", b"bad")
    save(run, "good.bin", b"good")
    blob = run.blobs.path(run.files["bad.bin"].digest)
    blob.write_bytes(b"BAD") if how == "damaged" else blob.unlink()
    told()
    for _ in range(3):
        link_of(run).flush()
    log(run, 0)
    run.finish()
    said = told()
    assert sum("bad.bin" in line for line in said) == 1, said
    kept = tracker.one()
    assert kept.files == {"good.bin": b"good"}
    assert (kept.values("v"), kept.state) == ([0], "finished")


def test_a_file_that_the_server_does_not_take_keeps_nothing_else_back_and_is_told_once(
    tracker: Tracker, told: Callable[[], list[str]]
) -> None:
    run = begin()
    link = link_of(run)
    save(run, "refused.bin", b"1")
    save(run, "taken.bin", b"2")
    refusal = RemoteRefused("storage.example does not take the upload (HTTP 400).", status=400)

    def refuse() -> None:
        if tracker.calls[-1].what == "refused.bin":
            raise refusal

    tracker.then("put_file", *[refuse] * 20)
    told()
    for _ in range(4):
        link._turn()
        link._upload()
    assert len(told()) == 1
    log(run, 0)
    run.finish()
    kept = tracker.one()
    assert (kept.files, kept.state, kept.values("v")) == ({"taken.bin": b"2"}, "finished", [0])
    assert any("1 file to be sent" in line for line in told())
    tracker._then.clear()
    assert waiting_runs(Store(), URL) == [run.run_path]
    assert sync(tracker).files == ("refused.bin",)
    assert waiting_runs(Store(), URL) == []


def test_what_is_said_of_a_run_after_its_end_waits_to_be_sent(tracker: Tracker) -> None:
    run = begin()
    log(run, 0)
    run.finish()
    assert waiting_runs(Store(), URL) == []
    edits.ask(Store().record(run.run_path).folder, {"notes": "by the sidebar"})
    assert waiting_runs(Store(), URL) == [run.run_path]
    sync(tracker)
    assert tracker.one().notes == "by the sidebar"
    assert waiting_runs(Store(), URL) == []


def test_restore_prefers_the_newer_file_that_another_machine_has_saved(
    tracker: Tracker, on: Callable[[str], None]
) -> None:
    on("A")
    run = begin()
    save(run, "m.bin", b"by A")
    run.finish()
    on("B")
    run = begin()
    assert run.restore("m.bin").read() == b"by A"
    save(run, "m.bin", b"by B")
    run.finish()
    on("A")
    run = begin()
    assert run.restore("m.bin").read() == b"by B"
    save(run, "m.bin", b"waits on A")
    assert run.restore("m.bin", root="elsewhere").read() == b"waits on A"
    run.finish()


@pytest.mark.parametrize("trouble", ["unreachable", "overloaded", "html", "key"])
def test_restore_takes_what_is_here_where_the_server_gives_trouble(
    tracker: Tracker, told: Callable[[], list[str]], trouble: str
) -> None:
    run = begin()
    save(run, "m.bin", b"here")
    link_of(run).flush()
    tracker.down = TROUBLES[trouble]
    told()
    assert run.restore("m.bin").read() == b"here"
    assert len(told()) == 1
    with pytest.raises(RemoteError):
        run.restore("other.bin")
    tracker.down = None


def test_a_download_that_comes_damaged_leaves_what_was_there(
    tracker: Tracker, on: Callable[[str], None], tmp_path: Path
) -> None:
    on("A")
    run = begin()
    save(run, "m.bin", b"whole")
    run.finish()
    on("B")
    run = begin()
    target = tmp_path / "out" / "m.bin"
    target.parent.mkdir()
    target.write_bytes(b"mine")

    def damage() -> None:
        tracker.one().files["m.bin"] = b"WHOLE"

    tracker.then("fetch", damage)
    with pytest.raises(FileDamaged):
        run.restore("m.bin", root=target.parent, replace=True)
    assert target.read_bytes() == b"mine"
    assert [path.name for path in target.parent.iterdir()] == ["m.bin"]


def test_a_file_that_is_nowhere_is_missing_with_near_names_of_both_sides(
    tracker: Tracker, on: Callable[[str], None]
) -> None:
    run = begin()
    with pytest.raises(FileMissing):
        run.restore("model.h5")  # the server does not know the run yet
    run.finish()
    on("A")
    run = begin()
    save(run, "model-best.h5", b"1")
    run.finish()
    on("B")
    run = begin()
    with pytest.raises(FileMissing, match=r"model-best\.h5"):
        run.restore("model-bset.h5")
    run.finish()


# Two processes


def test_a_one_shot_sync_leaves_a_run_alone_that_its_own_process_sends(tracker: Tracker) -> None:
    run = begin()
    log(run, 0)
    link_of(run).flush()
    before = len(tracker.calls)
    with pytest.raises(RunInUse):
        sync(tracker)
    assert len(tracker.calls) == before
    run.finish()
    assert sync(tracker).rows == 0


def test_a_run_waits_quietly_for_a_sync_that_is_under_way_and_goes_on_from_it(
    tracker: Tracker, told: Callable[[], list[str]]
) -> None:
    run = begin(mode="offline")
    log(run, 0, 1)
    run.close("interrupted")
    path = run.run_path
    other = Store().replica(path, URL)
    assert other.lock()
    run = begin()
    link = link_of(run)
    log(run, 2)
    told()
    link._turn()
    assert isinstance(link.trouble, RemoteUnreachable)
    assert told() == []
    other.unlock()
    assert sync(tracker).rows == 2
    link._turn()
    assert link.trouble is None
    run.finish()
    whole(tracker.one(), [0, 1, 2])
    assert told() == []


def test_a_forked_child_sends_nothing_and_holds_no_lock(tracker: Tracker) -> None:
    run = begin()
    log(run, 0)
    link_of(run).flush()
    asks, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tells)
        before = len(tracker.calls)
        run.log({"v": "child"})
        link_of(run).flush()
        run.finish()
        os.read(asks, 1)  # it lives on, as a worker of a data loader does
        os._exit(0 if len(tracker.calls) == before else 1)
    os.close(asks)
    log(run, 1)
    run.finish()
    assert sync(tracker).rows == 0, "the lock was let go"
    run = begin()
    log(run, 2)
    run.finish()
    os.close(tells)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    whole(tracker.one(), [0, 1, 2])


def take_over(home: Path, end: Any) -> None:
    """In another process: take the run over, log, and leave."""
    at_home(home)
    run = wandb.init(project="demo", id="r1", resume="allow", entity="alice", mode="local", takeover=True)
    end.send(run.step)
    run.log({"v": "taken over"})
    run.close("interrupted")
    end.send("done")


def test_a_run_that_was_taken_over_stops_sending_what_is_set_aside(tracker: Tracker, home: Path) -> None:
    run = begin()
    log(run, 0, 1)
    link_of(run).flush()
    here, there = pipe()
    with started(take_over, home, there):
        assert hear(here) == 2
        assert hear(here) == "done"
        log(run, "aside")
        before = len(tracker.calls)
        link_of(run)._turn()
        link_of(run).flush()
        run.finish()
        assert len(tracker.calls) == before
    assert sync(tracker).rows == 1
    whole(tracker.one(), [0, 1, "taken over"])
    assert [(why, row["v"]) for why, row in run.writer.record.set_aside()] == [("fenced", "aside")]


# Keys


def test_the_key_is_nowhere(tracker: Tracker, home: Path, told: Callable[[], list[str]]) -> None:
    run = begin(config={"a": 1})
    link = link_of(run)
    link._turn()
    log(run, 0)
    save(run, "f.txt", b"1")
    tracker.keys = set()
    link._turn()
    link.flush()
    run.finish()
    said = [*told(), repr(run), repr(link), repr(link.syncing), repr(link.syncing.replica), str(link.standing)]
    with pytest.raises(KeyRejected) as refused:
        begin(resume="must")
    said += [str(refused.value), repr(refused.value), repr(refused.value.data)]
    assert not any(KEY in text for text in said)
    files = [file for file in home.rglob("*") if file.is_file()]
    assert any(file.name == "hosts.json" for file in files)
    assert any(file.parent.name == "replicas" for file in files)
    assert not any(KEY.encode() in file.read_bytes() for file in files)


# With a server of ours


def test_the_threads_bring_everything_to_a_server_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from .serving import KEY as THEIRS

    monkeypatch.setenv("JUPYTER_RESUME_SYNC_INTERVAL", "0.1")
    with served(tmp_path / "server") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", THEIRS)
        client = server.client()
        run = begin(config={"lr": 1})
        log(run, 0, 1)
        save(run, "f.txt", b"1")
        _until(lambda: (client.resume("r1") or {}).get("historyLineCount") == 2 and len(client.files("r1")) == 1)
        server.stop()
        log(run, 2, 3)
        _until(lambda: link_of(run).trouble is not None)
        port = server.url.rpartition(":")[2]
        server.options = (*server.options, "--port", port)
        server.start()
        _until(lambda: (client.resume("r1") or {}).get("historyLineCount") == 4)
        run.finish()
        assert [row["v"] for row in client.history("r1")] == [0, 1, 2, 3]
        assert client.run("r1", "state conflictCount") == {"state": "finished", "conflictCount": 0}
        assert RunPath("local", "demo", "r1") == run.path_there


def _until(true: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
