"""Every test has a store of its own and a clean environment; runs that it left open are closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_resume
from jupyter_resume import _active
from jupyter_resume.store.home import Store

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A job in the background of a shell ignores Ctrl-C, and so would all scripts that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's store."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "JUPYTER_RESUME_", "JPY_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "store"
    monkeypatch.setenv("JUPYTER_RESUME_HOME", str(folder))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)
    yield folder
    for run in _active.open_runs():
        run.close("interrupted")


@pytest.fixture
def store(home: Path) -> Store:
    """This test's store, for looking at it from outside."""
    return Store(home)


@pytest.fixture
def wandb() -> object:
    """The package under the name that the documents give it."""
    return jupyter_resume
