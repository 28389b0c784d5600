"""What the benchmarks need of any tracker, one module each; importing such a module imports the tracker.

These run in the trial's process, under the Python that has the tool.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from ..latency import Row

PROJECT = "benchmark"

_MODULES = {
    "jupyter_resume": "jupyter_resume_run",
    "wandb": "wandb_run",
    "trackio": "trackio_local",
    "mlflow": "mlflow_sqlite",
    "os_write": "os_write",
}


class Tracker(Protocol):
    """A tracker whose state lives below the working directory or the variables of its environment."""

    def start(self, run: str, *, resume: bool) -> str:
        """Begin the run, or go on with it, and return the id by which it can be resumed."""

    def next_step(self) -> int | None:
        """The step that the tool would log next; None where it does not know."""

    def log(self, row: Row, step: int) -> None: ...

    def finish(self) -> None: ...

    def rows(self, run: str) -> int:
        """The rows of the run on disk, read without the process that wrote them."""


class OnlineTracker(Tracker, Protocol):
    """A tracker that also keeps files, on the server that its environment names."""

    def save(self, name: str) -> None:
        """Keep a file of the working directory as it is now."""


def load(tool: str) -> OnlineTracker:
    """Import a tool and return its tracker; not every one of them can save files."""
    return cast(OnlineTracker, import_module(f"{__name__}.{_MODULES[tool]}").Tracker())
