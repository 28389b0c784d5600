"""Who is measured: each tool's name, its distribution, the Python that has it, and its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
_QUIET = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Tool:
    """A tracker. ``folders`` names the variables that must point into the home which a trial gives it."""

    name: str  # also its module
    distribution: str
    python: Path
    folders: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def set(self, **settings: str) -> Tool:
        """The same tool with more variables in its environment."""
        return replace(self, settings=self.settings | settings)

    def online(self, url: str) -> Tool:
        """The same tool, keeping its runs on a server that speaks W&B's protocol and takes any key."""
        return self.set(WANDB_MODE="online", WANDB_BASE_URL=url, WANDB_API_KEY="0" * 40)

    def environment(self, home: Path) -> dict[str, str]:
        """A clean environment: nothing of the user's, no network, all state below ``home``."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        folders = dict.fromkeys((*self.folders, "HOME"), str(home))
        return kept | _QUIET | {"PYTHONPATH": str(REPOSITORY)} | self.settings | folders

    def version(self) -> str:
        code = f"from importlib.metadata import version; print(version({self.distribution!r}))"
        done = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True)
        return done.stdout.strip() or "not installed"


OURS = Tool("jupyter_resume", "jupyter-resume", Path(sys.executable), ("JUPYTER_RESUME_HOME",))
FLOOR = Tool("os_write", "", Path(sys.executable))


def peers(python: Path) -> list[Tool]:
    """The other trackers, none of them with a network: wandb offline, trackio local, mlflow on SQLite."""
    quiet_wandb = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    quiet_mlflow = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return [
        Tool("wandb", "wandb", python, ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"), quiet_wandb),
        Tool("trackio", "trackio", python, ("TRACKIO_DIR",)),
        Tool("mlflow", "mlflow-skinny", python, (), quiet_mlflow),
    ]
