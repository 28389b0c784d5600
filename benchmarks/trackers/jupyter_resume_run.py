"""jupyter_resume through its public API, in the mode that ``WANDB_MODE`` names; on the embedded store without it."""

from __future__ import annotations

import os
from pathlib import Path

import jupyter_resume as wandb

from ..latency import Row
from . import PROJECT


class Tracker:
    def start(self, run: str, *, resume: bool) -> str:
        mode = os.environ.get("WANDB_MODE", "local")
        self._run = wandb.init(project=PROJECT, id=run, resume="must" if resume else "never", mode=mode)
        return self._run.id

    def next_step(self) -> int:
        return self._run.step

    def log(self, row: Row, step: int) -> None:
        self._run.log(dict(row))

    def save(self, name: str) -> None:
        self._run.save(name, policy="now")

    def finish(self) -> None:
        self._run.finish()

    def rows(self, run: str) -> int:
        return count_rows(Path(os.environ["JUPYTER_RESUME_HOME"]), PROJECT, run)


def count_rows(home: Path, project: str, run: str) -> int:
    """The rows of a run, read from its record alone."""
    from jupyter_resume.identity import DEFAULT_ENTITY, RunPath
    from jupyter_resume.store.home import Store

    return sum(1 for _ in Store(home).record(RunPath(DEFAULT_ENTITY, project, run)).history())
