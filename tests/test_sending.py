"""What a person sees while ``jupyter resume sync`` and ``%wb_sync`` send."""

from __future__ import annotations

import pytest

import jupyter_resume as wandb
from jupyter_resume import sending
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store

from .remotes import Tracker


def test_that_many_rows_are_sent_is_told_before_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker()
    monkeypatch.setattr(sending, "connect", lambda base_url: tracker.remote())
    monkeypatch.setattr(sending, "_MANY", 3)
    path = RunPath("local", "demo", "r1")
    for rows in (3, 2):
        with wandb.init(project="demo", id="r1", resume="allow", mode="offline") as run:
            for n in range(rows):
                run.log({"v": n})
        capsys.readouterr()
        (line,) = sending.send(Store(), [path], tracker.remote().base_url)
        assert f"{rows} rows sent" in line
        assert ("sending 3 rows of run local/demo/r1" in capsys.readouterr().err) == (rows == 3)
