"""A run that the sidebar's user chose: the next one begun in this kernel continues it, once.

It is said by the environment, which an argument in the notebook's own cells beats, and which is put back as it was
after the cell that began the run, or that failed.
"""

from __future__ import annotations

import os
from typing import Any

from .. import _active
from ..identity import RunPath

_NAMES = ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_RESUME")


def choose(run_path: str) -> None:
    """Let the next run be the one of this path (``entity/project/run_id``)."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    path = RunPath(*run_path.split("/"))
    before = {name: os.environ.get(name) for name in _NAMES}
    chosen = dict(zip(_NAMES, (path.entity, path.project, path.run_id, "must"), strict=True))
    os.environ.update(chosen)

    def put_back(result: Any) -> None:
        if result.success and not any(run.run_path == path for run in _active.open_runs()):
            return
        shell.events.unregister("post_run_cell", put_back)
        for name, value in before.items():
            if os.environ.get(name) != chosen[name]:
                continue  # set anew meanwhile
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

    shell.events.register("post_run_cell", put_back)
