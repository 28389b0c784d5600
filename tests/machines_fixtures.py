"""The fixtures of the tests of sync; a plugin, so that no test module has to import their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_resume.sync.background import Background

from .machines import On, Told
from .remotes import Tracker


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracker]:
    """A server, with a key for it; what is to be sent is sent by a flush, by a turn, and by `finish` only."""
    tracker = Tracker()
    tracker.install(monkeypatch)
    monkeypatch.setattr(Background, "start", lambda link: None)
    yield tracker
    assert tracker.overwritten == []


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> On:
    """Sit down at a machine: each has a store of its own."""
    return lambda name: monkeypatch.setenv("JUPYTER_RESUME_HOME", str(tmp_path / name))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """The lines that the user was told since this was asked last."""
    return lambda: capsys.readouterr().err.splitlines()
