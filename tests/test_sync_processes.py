"""Several processes and one replica: one at a time brings it up to date."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume.errors import RemoteUnreachable, RunInUse
from jupyter_resume.store.home import Store

from .machines import Told, begin, link_of, log, running, session, sync, whole
from .processes import at_home, hear, pipe, started
from .remotes import URL, Tracker

pytest_plugins = ("tests.machines_fixtures",)


def test_a_one_shot_sync_leaves_a_run_alone_that_its_own_process_sends(tracker: Tracker) -> None:
    run = running(0)
    before = len(tracker.calls)
    with pytest.raises(RunInUse):
        sync()
    assert len(tracker.calls) == before
    run.finish()
    assert sync().rows == 0


def test_a_run_waits_quietly_for_a_sync_that_is_under_way_and_goes_on_from_it(tracker: Tracker, told: Told) -> None:
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
    assert sync().rows == 2
    link._turn()
    assert link.trouble is None
    run.finish()
    whole(tracker.one(), [0, 1, 2])
    assert told() == []


def test_a_forked_child_sends_nothing_and_holds_no_lock(tracker: Tracker) -> None:
    run = running(0)
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
    assert sync().rows == 0, "the lock was let go"
    session(2)
    os.close(tells)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    whole(tracker.one(), [0, 1, 2])


def test_a_run_is_let_go_though_a_child_forked_just_now_still_has_copies_of_its_locks(tracker: Tracker) -> None:
    run = running(0)
    copies = [os.dup(fd) for fd in (run.writer._fd, link_of(run).syncing._file._fd) if fd is not None]
    assert len(copies) == 2
    run.finish()
    assert sync().rows == 0
    session(1)
    for copy in copies:
        os.close(copy)
    whole(tracker.one(), [0, 1])


def take_over(home: Path, end: Any) -> None:
    """In another process: take the run over, log, and leave."""
    at_home(home)
    run = wandb.init(project="demo", id="r1", resume="allow", entity="alice", mode="local", takeover=True)
    end.send(run.step)
    run.log({"v": "taken over"})
    run.close("interrupted")
    end.send("done")


def test_a_run_that_was_taken_over_stops_sending_what_is_set_aside(tracker: Tracker, home: Path) -> None:
    run = running(0, 1)
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
    assert sync().rows == 1
    whole(tracker.one(), [0, 1, "taken over"])
    assert [(why, row["v"]) for why, row in run.writer.record.set_aside()] == [("fenced", "aside")]
