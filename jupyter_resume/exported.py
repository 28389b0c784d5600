"""Handing a run on: subprocesses and libraries of this process join it by the environment, the official SDK too."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from ._run import Run
from .identity import DEFAULT_ENTITY


class Exported:
    """What stands in the environment for others to join a run; taken back when the run ends."""

    def __init__(self, values: dict[str, str], environ: MutableMapping[str, str]) -> None:
        self.values = values
        self._environ = environ
        self._before = {name: environ.get(name) for name in values}
        environ.update(values)

    def tend(self, runtime: float) -> None:
        """Nothing changes."""

    def close(self) -> None:
        """Take back what nobody has set anew."""
        for name, before in self._before.items():
            if self._environ.get(name) != self.values[name]:
                continue
            if before is None:
                del self._environ[name]
            else:
                self._environ[name] = before


def export(run: Run, environ: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Set ``WANDB_RUN_ID`` and what belongs to it until the run ends; what was set.

    From then on others write to the run's replica too. While one does, rows of this process wait, and they go behind
    its own; so that this can be seen, the server is told before anybody is let in.
    """
    if run.link is not None:
        run.link.syncing.share()
        run.link.flush()  # a server that cannot be reached now is told later
    path = run.path_there  # where another client made the run, its id need not be the one that is used here
    values = {"WANDB_RUN_ID": path.run_id, "WANDB_RESUME": "allow", "WANDB_PROJECT": path.project}
    if run.link is not None:
        values["WANDB_BASE_URL"] = run.link.syncing.remote.base_url
        if path.entity != DEFAULT_ENTITY:  # else it is the key's own, or the server has not said yet which is meant
            values["WANDB_ENTITY"] = path.entity
    if not any(isinstance(companion, Exported) for companion in run.companions):  # else its cell was run again
        run.companions.append(Exported(values, environ))
    return values
