"""Handing a run on: subprocesses and libraries of this process join it by the environment, the official SDK too."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from ._run import Run


def export(run: Run, environ: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Set ``WANDB_RUN_ID`` and what belongs to it until the run ends; what was set.

    From then on others write to the run's replica too, so the server is asked before each post, and rows of this
    process go behind theirs.
    """
    values = {"WANDB_RUN_ID": run.id, "WANDB_RESUME": "allow", "WANDB_PROJECT": run.project}
    if run.link is not None:
        values |= {"WANDB_ENTITY": run.entity, "WANDB_BASE_URL": run.link.syncing.remote.base_url}
        run.link.syncing.shared = True
    before = {name: environ.get(name) for name in values}
    environ.update(values)

    def withdraw() -> None:
        for name, value in before.items():
            if environ.get(name) != values[name]:
                continue  # somebody has set it anew
            if value is None:
                del environ[name]
            else:
                environ[name] = value

    run.at_close.append(withdraw)
    return values
