"""When the server gives trouble: training goes on, one line says what is the matter, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume.errors import RemoteGone, RemoteRefused
from jupyter_resume.store.home import Store
from jupyter_resume.sync import background

from .machines import Told, begin, link_of, log, whole
from .remotes import Tracker, unreachable
from .troubles import TROUBLES

pytest_plugins = ("tests.machines_fixtures",)


def later(run: wandb.Run, seconds: float) -> None:
    """So much time goes by since the server was asked last."""
    link_of(run).syncing._checked -= seconds


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("resume", ["allow", "auto"])
def test_a_run_goes_on_where_the_server_gives_trouble_and_reconnects_by_itself(
    tracker: Tracker, told: Told, trouble: str, resume: str
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


def test_the_cell_run_again_goes_on_with_the_open_run(tracker: Tracker) -> None:
    run = begin()
    assert begin() is run
    assert begin(entity="alice") is run


def test_trouble_is_told_when_it_begins_and_when_it_is_over_and_not_in_between(tracker: Tracker, told: Told) -> None:
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


def test_a_run_that_was_deleted_is_told_once_and_left_alone(tracker: Tracker, told: Told) -> None:
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
def test_a_refused_post_is_told_and_tried_seldom_and_is_not_lost(tracker: Tracker, told: Told, status: int) -> None:
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


def test_what_nobody_foresaw_is_told_and_does_not_end_the_sync(tracker: Tracker, told: Told) -> None:
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
