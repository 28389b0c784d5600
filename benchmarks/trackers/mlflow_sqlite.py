"""mlflow on a SQLite file in the working directory, logging synchronously as it does by default."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import import_module
from typing import Any

from ..latency import Row
from . import PROJECT

mlflow: Any = import_module("mlflow")

_FILE = "mlflow.db"


class Tracker:
    def start(self, run: str, *, resume: bool) -> str:
        mlflow.set_tracking_uri(f"sqlite:///{_FILE}")
        mlflow.set_experiment(PROJECT)
        started = mlflow.start_run(run_id=run) if resume else mlflow.start_run(run_name=run)
        return str(started.info.run_id)

    def next_step(self) -> None:
        """mlflow leaves the step to its caller."""

    def log(self, row: Row, step: int) -> None:
        mlflow.log_metrics(row, step=step)

    def finish(self) -> None:
        mlflow.end_run()

    def rows(self, run: str) -> int:
        with closing(sqlite3.connect(_FILE)) as database:
            query = "SELECT count(DISTINCT step) FROM metrics WHERE run_uuid = ? AND key = 'lr'"
            return int(database.execute(query, [run]).fetchone()[0])
