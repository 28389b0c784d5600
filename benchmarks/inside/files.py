"""One file through jupyter_resume and through ``cp``, one after the other, in a fresh process.

The source is warm in the page cache; what was written before is flushed first, so that neither pays for
the other.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import jupyter_resume as wandb

from ..trackers import PROJECT
from . import arguments, reply

NAME = "model.bin"


def save() -> None:
    run = wandb.init(project=PROJECT, id="files", resume="allow", mode="local")
    times["ours"] = seconds(lambda: run.save(NAME, policy="now"))
    run.finish()


def restore() -> None:
    times["ours"] = warm_seconds(
        lambda: wandb.restore(NAME, run_path=f"{PROJECT}/files", root="restored").close(), Path("restored", NAME)
    )


def copy() -> None:
    target = Path("copied", NAME)
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    times["cp"] = warm_seconds(lambda: subprocess.run(["cp", NAME, target], check=True), target)


def warm_seconds(action: Callable[[], object], target: Path) -> float:
    """Seconds to make ``target``, once the same was done and undone: both find memory that was used just before."""
    if not target.exists():
        action()
        target.unlink()
    return seconds(action)


def seconds(action: Callable[[], object]) -> float:
    os.sync()
    before = perf_counter()
    action()
    return perf_counter() - before


asked = arguments()
times: dict[str, float] = {}
ours = {"save": save, "restore": restore}[asked["action"]]
for action in (copy, ours) if asked["cp_first"] else (ours, copy):
    action()
same = asked["action"] == "save" or filecmp.cmp(NAME, Path("restored") / NAME, shallow=False)
reply(**times, same=same)
