"""trackio without a Space: a SQLite file per project, drained from a thread."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from ..latency import Row
from . import PROJECT

trackio: Any = import_module("trackio")


class Tracker:
    def start(self, run: str, *, resume: bool) -> str:
        self._run = trackio.init(project=PROJECT, name=run, resume="must" if resume else "never")
        return run  # trackio resumes by name

    def next_step(self) -> int:
        return int(self._run._next_step)  # it has no public one

    def log(self, row: Row, step: int) -> None:
        self._run.log(row)

    def finish(self) -> None:
        self._run.finish()

    def rows(self, run: str) -> int:
        file = Path(os.environ["TRACKIO_DIR"]) / f"{PROJECT}.db"
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'metrics'").fetchone():
                return 0  # killed before the first rows were drained
            found = database.execute("SELECT count(*) FROM metrics WHERE run_name = ?", [run]).fetchone()
            return int(found[0])
