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
    times["ours"] = seconds(lambda: wandb.restore(NAME, run_path=f"{PROJECT}/files", root="restored").close())


def copy() -> None:
    target = Path("copied") / NAME
    target.unlink(missing_ok=True)
    target.parent.mkdir(exist_ok=True)
    times["cp"] = seconds(lambda: subprocess.run(["cp", NAME, target], check=True))


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
