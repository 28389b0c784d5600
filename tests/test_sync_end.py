"""How a run ends with its server: what waits is told and sent later, and a stop that was asked for there is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_resume.errors import RemoteError, RunStopped
from jupyter_resume.store.home import Store
from jupyter_resume.sync import background
from jupyter_resume.sync.bringing import waiting_runs

from .machines import Told, begin, link_of, log, running, save, session, sync, whole
from .remotes import URL, Tracker, unreachable

pytest_plugins = ("tests.machines_fixtures",)


def test_finish_while_the_server_cannot_be_reached_tells_what_waits_and_sync_sends_exactly_that(
    tracker: Tracker, told: Told
) -> None:
    run = running(0)
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
    done = sync()
    assert (done.rows, done.files) == (2, ("f.txt",))
    assert sum(len(c.what.rows.texts) for c in tracker.calls[before:] if c.name == "append" and c.what.rows) == 2
    whole(tracker.one(), [0, 1, 2])
    assert tracker.one().state == "finished"


def test_what_does_not_wait_is_not_counted(tracker: Tracker, told: Told) -> None:
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
    sync()
    assert tracker.one().state == "finished"


def test_an_end_that_takes_long_says_so_and_what_an_interrupt_left(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Told
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
    assert sync().files == ("large.bin",)


def test_what_nobody_foresaw_does_not_reach_the_program_at_its_end(tracker: Tracker, told: Told) -> None:
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
    sync()
    whole(tracker.one(), [0])


def test_a_record_that_cannot_be_read_does_not_keep_a_run_from_finishing(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    run = begin()
    log(run, 0)

    def broken(*args: Any) -> Any:
        raise OSError("disk gone")

    monkeypatch.setattr("jupyter_resume.sync.outbox.follow", broken)
    run.finish()
    assert run.state == "finished"
    assert any("disk gone" in line for line in told())


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_that_is_stopped_on_the_server_says_so_and_raises_if_asked(
    tracker: Tracker, told: Told, asked: bool
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
    session(0, raise_stopped=True)
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
