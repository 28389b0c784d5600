"""Keys while a run is in step: one that is taken away, one that is new, and that none of them is anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_resume import keys
from jupyter_resume.errors import KeyRejected

from .machines import Told, begin, link_of, log, save, sync, whole
from .remotes import KEY, URL, Tracker

pytest_plugins = ("tests.machines_fixtures",)


def test_a_key_that_is_taken_away_while_a_run_begins_costs_its_link_and_not_the_run(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Told
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
    assert sync().rows == 1
    whole(tracker.one(), [0])


def test_a_new_key_in_the_netrc_file_is_found_without_a_word(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, told: Told
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


def test_the_key_is_nowhere(tracker: Tracker, home: Path, told: Told) -> None:
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
