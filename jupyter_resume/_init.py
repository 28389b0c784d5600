"""Beginning and ending runs: `init` applies the resume rules, and knows which runs this process has open."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from . import _exit, files, notices, origin, settings
from ._run import Run
from .errors import NoRun, RunExists, RunMissing
from .files import Restored
from .identity import RunPath, generate_id
from .origin import NotebookRef, Origin
from .policy import Asked, Decision, Policy, decide, looks_for_unfinished, read_policy
from .recorded import Recorded
from .settings import Settings
from .store.home import Store
from .store.record import ResumePoint, Tail
from .store.writer import Writer
from .values import to_config

_open_runs: list[Run] = []


def init(
    project: str | None = None,
    *,
    entity: str | None = None,
    id: str | None = None,
    name: str | None = None,
    resume: str | bool | None = None,
    config: object = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    group: str | None = None,
    job_type: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    mode: str | None = None,
    takeover: bool = False,
) -> Run:
    """Begin a run, or continue one.

    ``resume``: None, False or ``"never"`` begins a new run; ``"allow"`` continues the run ``id`` if it exists;
    ``"must"`` refuses if it does not; True or ``"auto"`` continues what this notebook or program did not finish
    (in a notebook ``allow`` and ``must`` without an id do so too); any other string is a run id, with ``allow``.
    What is not given is asked of the environment (``WANDB_PROJECT``, ``WANDB_RUN_ID``, ``WANDB_RESUME``, ...).
    ``config``: new values win, old keys stay. ``dir``: where the run's files go. ``takeover``: write the run even
    if another process does, which then is told.

    Raises RunExists, RunMissing, RunInUse, or InvalidInput. Source: the document on resuming.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs", resume="allow", id="a1b2c3d4")
    >>> run.finish()
    """
    arguments = {key: value for key, value in locals().items() if key not in ("config", "takeover")}
    run, fresh = start(settings.resolve(arguments), config=config, takeover=takeover)
    if fresh:
        how = f"resumed at step {run.step}: {run.reason}" if run.resumed else "new"
        notices.tell(f"run {run.path} ({how}).")
    return run


def start(
    asked_for: Settings, *, config: object = None, takeover: bool = False, whence: Origin | None = None
) -> tuple[Run, bool]:
    """As `init`, from settings. False beside the run if it was open here already, and goes on in place."""
    changes = to_config(config)
    asked = read_policy(asked_for.resume, asked_for.run_id)
    if asked_for.run_id is not None and asked.run_id != asked_for.run_id:
        notices.tell(
            f"the run id {asked_for.run_id!r} is used as {asked.run_id!r}: ids have letters, digits, - and _ only."
        )
    whence = whence or origin.find()
    if run := _open_here(asked, asked_for, whence):
        _describe(run, asked_for, changes)
        return run, False
    store = Store()
    while True:
        found = _find(store, asked, asked_for, whence)
        decision = _decide(asked, found, whence)
        path = (
            found.point.path
            if found
            else RunPath(asked_for.entity, asked_for.project, decision.run_id or generate_id())
        )
        point = _point(path, found, asked_for, whence)
        writer = Writer.open(store.record(path), point, found, whence.label, takeover)
        if writer is not None:
            break
    if found and found.damaged:
        notices.tell(f"{found.damaged} lines of the record of run {path} are damaged: what was in them is left out.")
    elif found and writer.attached:
        store.blobs(path).keep({entry.digest for entry in found.point.files.values()})
    run = Run(
        store,
        writer,
        resumed=found is not None,
        reason=decision.reason,
        origin=whence,
        dir=_files_folder(store, path, asked_for, tell=writer.attached),
        on_close=_closed,
    )
    _open_runs.append(run)
    _describe(run, asked_for, changes)
    run.catalogue()
    _exit.watch(run, in_notebook=isinstance(whence, NotebookRef))
    return run, True


def _open_here(asked: Asked, asked_for: Settings, whence: Origin) -> Run | None:
    """The run that this process has open and that is meant: the cell that began it was run again."""
    for run in reversed(_open_runs):
        if run.forked or run.fenced or (run.entity, run.project) != (asked_for.entity, asked_for.project):
            continue
        if asked.run_id is not None:
            meant = run.id == asked.run_id
        else:
            meant = looks_for_unfinished(asked, isinstance(whence, NotebookRef))
        if meant:
            _decide(asked, run.run_path, whence)
            return run
    return None


def _find(store: Store, asked: Asked, asked_for: Settings, whence: Origin) -> Tail | None:
    """The run that exists under the asked id, or that this notebook or program did not finish."""
    if asked.run_id is not None:
        return store.record(RunPath(asked_for.entity, asked_for.project, asked.run_id)).tail()
    if not looks_for_unfinished(asked, isinstance(whence, NotebookRef)):
        return None
    for path in store.catalog.unfinished(asked_for.entity, asked_for.project, whence):
        tail = store.record(path).tail()
        if tail is not None and tail.point.state != "finished":
            return tail
    return None


def _decide(asked: Asked, found: Tail | RunPath | None, whence: Origin) -> Decision:
    """What happens; raises the refusal."""
    in_notebook = isinstance(whence, NotebookRef)
    known = bool(whence.path) or (isinstance(whence, NotebookRef) and whence.kernel_id is not None)
    whose = ("this notebook" if in_notebook else "this program") if known else None
    path = found.point.path if isinstance(found, Tail) else found
    decision = decide(asked, path, whose)
    if decision.action == "refuse":
        error = RunExists if path is not None else RunMissing
        raise error(decision.reason, run_id=decision.run_id)
    if decision.action == "new" and asked.run_id is None and asked.policy is not Policy.NEVER and not whence.path:
        notices.tell(
            "nothing says which notebook this is, so this run cannot be found again by itself: pass an id "
            "(%wb_init --id ID), or set WANDB_NOTEBOOK_NAME to the notebook's path."
            if in_notebook
            else "an interactive Python has no program to find its run by: pass an id to resume it later."
        )
    return decision


def _point(path: RunPath, found: Tail | None, asked_for: Settings, whence: Origin) -> ResumePoint:
    now = time.time()
    point = copy.deepcopy(found.point) if found else ResumePoint(path.entity, path.project, path.run_id, created=now)
    point.updated = now
    point.origin = origin.dump(whence)
    point.mode = asked_for.mode
    point.sessions += 1
    point.state, point.exit_code = "running", None
    return point


def _describe(run: Run, asked_for: Settings, changes: dict[str, Any]) -> None:
    """Record what was given at init: it wins over what the run had; what was not given stays."""
    given = {
        "name": asked_for.name,
        "notes": asked_for.notes,
        "tags": None if asked_for.tags is None else list(asked_for.tags),
        "group": asked_for.group,
        "job_type": asked_for.job_type,
    }
    if meta := {key: value for key, value in given.items() if value is not None}:
        run.describe(**meta)
    if changes:
        run.config.update(changes)


def _files_folder(store: Store, path: RunPath, asked_for: Settings, tell: bool) -> Path:
    """Where the run's files go; elsewhere for now if that cannot be made, which is told unless it was already."""
    folder = asked_for.dir / path.run_id if asked_for.dir else store.files(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        import tempfile

        elsewhere = Path(tempfile.mkdtemp(prefix="jupyter-resume-"))
        if tell or asked_for.dir:
            notices.tell(f"{folder} cannot be made ({error.strerror}): the run's files go to {elsewhere} for now.")
        return elsewhere
    return folder


def _closed(run: Run) -> None:
    if run in _open_runs:
        _open_runs.remove(run)
    if not run.fenced:
        run.catalogue()


def active() -> Run | None:
    """The run begun last that is still open; None if there is none."""
    return _open_runs[-1] if _open_runs else None


def open_runs() -> list[Run]:
    """Every run that this process has open, oldest first."""
    return list(_open_runs)


def _need(what: str) -> Run:
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
    _need("log()").log(data, step, commit)


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
    return _need("save()").save(pattern, base_path, policy)


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
    source = RunPath.parse(run_path, defaults.entity, defaults.project)
    return files.restore_from(Store(), source, name, Path.cwd() if root is None else Path(root), replace)


def config() -> Recorded:
    """The active run's config.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs", config={"lr": 0.1})
    >>> wandb.config.lr
    0.1
    """
    return _need("config").config


def summary() -> Recorded:
    """The active run's summary: the last value of each metric, and what was set by hand.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs")
    >>> wandb.summary["best"] = 0.25
    >>> wandb.summary.best
    0.25
    """
    return _need("summary").summary
