"""The runs that this process has open, and the functions that speak of the one begun last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from . import restoring, settings
from ._run import Run
from .errors import NoRun
from .files import Restored
from .identity import RunPath, as_given
from .recorded import Recorded
from .store.home import Store

_open_runs: list[Run] = []


def active() -> Run | None:
    """The run begun last that is still open; None if there is none."""
    for run in reversed(_open_runs):
        if not run.closed:
            return run
    return None


def open_runs() -> list[Run]:
    """Every run that this process has open, oldest first."""
    return list(_open_runs)


def remember(run: Run) -> None:
    """A run was begun here, or gone on with: it is the active one."""
    if run in _open_runs:
        _open_runs.remove(run)
    _open_runs.append(run)


def forget(run: Run) -> None:
    """A run was closed here."""
    if run in _open_runs:
        _open_runs.remove(run)
    if not run.fenced:
        run.catalogue()


def need(what: str) -> Run:
    """The active run; NoRun, naming ``what`` needs it, if there is none."""
    run = active()
    if run is None:
        raise NoRun(f"{what} needs an active run: call init() or %wb_init first.")
    return run


def log(data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """Record metrics in the active run; see `Run.log`.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs")
    >>> wandb.log({"loss": 0.5, "accuracy": {"train": 0.9}})
    >>> run.step, wandb.summary["accuracy.train"]
    (1, 0.9)
    """
    need("log()").log(data, step, commit)


def save(
    pattern: str | os.PathLike[str], base_path: str | os.PathLike[str] | None = None, policy: str = "live"
) -> list[str]:
    """Keep files in the active run; see `Run.save`.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs")
    >>> from pathlib import Path
    >>> _ = Path("weights.txt").write_text("0.1 0.2")
    >>> wandb.save("weights.txt", policy="now")
    ['weights.txt']
    """
    return need("save()").save(pattern, base_path, policy)


def finish(exit_code: int | None = None) -> None:
    """End the active run, if there is one; see `Run.finish`.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs")
    >>> wandb.finish()
    >>> run.state
    'finished'
    """
    if run := active():
        run.finish(exit_code)


def restore(
    name: str,
    run_path: str | None = None,
    replace: bool = False,
    root: str | os.PathLike[str] | None = None,
    *,
    mode: str = "rb",
) -> IO[Any]:
    """Bring back a file that a run saved; returns it opened for reading, its ``.name`` being the path.

    ``run_path``: ``entity/project/run_id``, ``project/run_id`` or ``run_id``; default: the active run. ``root``: the
    folder to put it in; default: the active run's `Run.dir`, else the working directory. What is returned has
    the digest that the run recorded. A different file of that name is an error, unless ``replace``.
    ``mode``: ``"rb"`` (for ``torch.load`` and the like) or ``"r"`` for text.

    Raises FileMissing (with the nearest names), LocalFileDiffers, FileDamaged, UnsafeName, RunMissing, NoRun.
    Source: the document on restoring.

    >>> import jupyter_resume as wandb
    >>> from pathlib import Path
    >>> with wandb.init(project="docs", id="first") as run:
    ...     _ = Path("weights.txt").write_text("0.1 0.2")
    ...     _ = run.save("weights.txt", policy="now")
    >>> with wandb.restore("weights.txt", run_path="docs/first", root="elsewhere", mode="r") as weights:
    ...     weights.read()
    '0.1 0.2'
    """
    return bring_back(name, run_path, replace, root).open(mode)


def bring_back(
    name: str, run_path: str | None = None, replace: bool = False, root: str | os.PathLike[str] | None = None
) -> Restored:
    """As `restore`, but returns what was restored instead of an open file."""
    if run := active():
        return run.bring_back(name, run_path, replace, root)
    if run_path is None:
        raise NoRun(
            "restore() without run_path needs a run to resume: call init(resume=...) first, or pass "
            "run_path='entity/project/run_id'."
        )
    defaults = settings.resolve({})
    source = RunPath.parse(run_path, defaults.entity, defaults.project, clean=as_given)
    return restoring.restore_from(Store(), source, name, Path.cwd() if root is None else Path(root), replace)


def config() -> Recorded:
    """The active run's config.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs", config={"lr": 0.1})
    >>> wandb.config.lr
    0.1
    """
    return need("config").config


def summary() -> Recorded:
    """The active run's summary: the last value of each metric, and what was set by hand.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs")
    >>> wandb.summary["best"] = 0.25
    >>> wandb.summary.best
    0.25
    """
    return need("summary").summary
