"""Beginning a run, or continuing one: `init` asks for settings, finds the run, and applies the resume rules."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import _active, _exit, cell, notices, origin, settings
from ._alone import Alone, reach, refuse_other_sdk
from ._run import Companion, Run
from .console import Console
from .errors import RunDiverged, RunExists, RunInUse, RunMissing
from .identity import DEFAULT_ENTITY, RunPath, generate_id
from .machine import Machine
from .origin import NotebookRef, Origin
from .policy import Asked, Decision, Policy, decide, looks_for_unfinished, read_choice, read_policy
from .remote.answers import host_of
from .settings import Settings
from .store import notebooks
from .store.home import Store
from .store.record import ResumePoint, Tail
from .store.writer import Writer
from .values import to_config

_TRIES = 100  # another process may be faster; it is then the one that is refused, or continued


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
    base_url: str | None = None,
    takeover: bool = False,
    if_diverged: str | None = None,
    raise_stopped: bool = False,
) -> Run:
    """Begin a run, or continue one.

    ``resume``: None, False or ``"never"`` begins a new run; ``"allow"`` continues the run ``id`` if it exists;
    ``"must"`` refuses if it does not; True or ``"auto"`` continues what this notebook or program did not finish
    (in a notebook ``allow`` and ``must`` without an id do so too); any other string is a run id, with ``allow``.
    What is not given is asked of the environment (``WANDB_PROJECT``, ``WANDB_RUN_ID``, ``WANDB_RESUME``, ...).
    ``config``: new values win, old keys stay. ``dir``: where the run's files go. ``takeover``: write the run even
    if another process does, which then is told.

    ``mode``: ``"local"`` keeps the run in this machine's store (the default without an API key); ``"online"`` also
    keeps a replica in step at ``base_url`` (the default with one; see `login`); ``"offline"`` is for a run that is
    brought there later; ``"disabled"`` keeps nothing of it once it ends. A server that cannot be reached does not
    keep a run from going on, unless it has to decide.
    ``if_diverged``: ``"adopt"``, ``"append"`` or ``"fork"`` where the run has gone on here and there (see RunDiverged).
    ``raise_stopped``: `Run.log` raises RunStopped once somebody asks on the server that the run be stopped.

    Raises RunExists, RunMissing, RunInUse, RunDiverged, RemoteError, or InvalidInput. Source: the document on resuming.

    >>> import jupyter_resume as wandb
    >>> run = wandb.init(project="docs", resume="allow", id="a1b2c3d4")
    >>> run.finish()
    """
    arguments = {key: value for key, value in locals().items() if key not in _OTHERS}
    run, fresh = start(
        settings.resolve(arguments),
        config=config,
        takeover=takeover,
        if_diverged=if_diverged,
        raise_stopped=raise_stopped,
    )
    if fresh:
        how = f"resumed at step {run.step}: {run.reason}" if run.resumed else "new"
        notices.tell(f"run {run.path} ({how}){_whereto(run)}.")
    return run


def _whereto(run: Run) -> str:
    """Where the run can be looked at, or how it gets there."""
    if run.url:
        return f": {run.url}"
    return "; offline: 'jupyter resume sync' sends it" if run.writer.point.mode == "offline" else ""


_OTHERS = ("config", "takeover", "if_diverged", "raise_stopped")


def start(
    asked_for: Settings,
    *,
    config: object = None,
    takeover: bool = False,
    whence: Origin | None = None,
    if_diverged: str | None = None,
    raise_stopped: bool = False,
) -> tuple[Run, bool]:
    """As `init`, from settings. False beside the run if it was open here already, and goes on in place."""
    changes = to_config(config)
    asked = read_policy(asked_for.resume, asked_for.run_id)
    if asked_for.run_id is not None and asked.run_id != asked_for.run_id:
        notices.tell(
            f"the run id {asked_for.run_id!r} is used as {asked.run_id!r}: ids have letters, digits, - and _ only."
        )
    elif asked_for.run_id is None and asked.run_id is not None:
        notices.tell(f"resume={asked_for.resume!r} is no policy, so it is taken as a run id.")
    whence = whence or origin.find()
    read_choice(if_diverged)
    if run := _open_here(asked, asked_for, whence, if_diverged):
        _active.remember(run)
        _describe(run, asked_for, changes)
        _tell_of_mode(run, asked_for.mode)
        return run, False
    if asked_for.hint:
        notices.tell(asked_for.hint)
    store = Store()
    if asked_for.mode == "disabled":
        store, asked = _throwaway(), Asked(Policy.ALLOW, asked.run_id)
    whence = notebooks.known(store.catalog, whence)
    there = reach(store, asked_for, if_diverged)
    given = asked_for.resume if asked_for.run_id is None else asked_for.run_id  # where an id was asked for, it is this
    for _ in range(_TRIES):
        found = _find(store, asked, asked_for, there, whence)
        path = found.point.path if found else RunPath(there.entity, asked_for.project, asked.run_id or generate_id())
        there.ask(path, bool(found or asked.run_id), str(given) if asked.run_id else None)
        there.refuse_if_unsure(asked)
        exists = found.point.path if found else there.path if there.exists else None
        decision = _decide(asked, exists, whence)
        if not takeover:
            refuse_other_sdk(path.run_id)
        point = _point(path, found, asked_for, whence)
        rewound_to = there.reconcile(found, point, whence.label)
        if there.forked not in (None, path):
            continue  # it goes on as another run, which is found now
        writer = Writer.open(store.record(path), point, found, whence.label, takeover, rewound_to=rewound_to)
        if writer is not None:
            break
    else:
        raise RunInUse(f"Run {path} is begun by other processes again and again: pass another id.")
    if found is None and writer.token > 1:
        notices.tell(
            f"nothing could be read of the record that run {path} had: it begins anew, and the old one is kept."
        )
    if found and found.damaged:
        notices.tell(f"{found.damaged} lines of the record of run {path} are damaged: what was in them is left out.")
    elif found and writer.attached:
        store.blobs(path).keep({entry.digest for entry in found.point.files.values()})
    run = Run(
        store,
        writer,
        resumed=exists is not None,
        reason=_reason(decision, found, there),
        origin=whence,
        dir=_files_folder(store, path, asked_for, tell=writer.attached),
        on_close=partial(_forget_all, store) if asked_for.mode == "disabled" else _active.forget,
    )
    run.link = there.link(run)
    _active.remember(run)
    _exit.watch(run, in_notebook=isinstance(whence, NotebookRef))
    _describe(run, asked_for, changes)
    run.catalogue()
    run.companions += _companions(writer, asked_for, whence)
    if run.link is not None:
        run.raise_stopped = raise_stopped
        run.link.start()
    return run, True


def _open_here(asked: Asked, asked_for: Settings, whence: Origin, choice: str | None) -> Run | None:
    """The run that this process has open and that is meant: the cell that began it was run again.

    One that has diverged is closed, to begin anew as was chosen.
    """
    for run in reversed(_active.open_runs()):
        if run.closed or run.forked or run.fenced or run.project != asked_for.project:
            continue
        unsaid = asked_for.entity == DEFAULT_ENTITY and run.link is not None  # the server knew which one is meant
        if not unsaid and asked_for.entity not in (run.entity, run.run_path.entity):
            continue
        if asked.run_id is not None:
            meant = run.id == asked.run_id
        else:
            meant = looks_for_unfinished(asked, isinstance(whence, NotebookRef))
        if meant:
            _decide(asked, run.run_path, whence)
            if choice is None or run.link is None or not isinstance(run.link.trouble, RunDiverged):
                return run
            run.close("interrupted")
    return None


def _tell_of_mode(run: Run, asked: str) -> None:
    """Say so if a run that goes on in place is to be where it is not: it stays as it was begun."""
    begun = run.writer.point.mode
    if asked != begun:
        notices.tell(
            f"run {run.path} was begun {begun} and goes on so, not {asked}: to change that, finish it (%wb_finish) and "
            f"continue it by init(id={run.id!r}, resume='allow') or %wb_init --id {run.id} --resume allow."
        )


def _find(store: Store, asked: Asked, asked_for: Settings, there: Alone, whence: Origin) -> Tail | None:
    """The run that exists here under the asked id, or that this notebook or program did not finish."""
    if there.forked is not None:
        return store.record(there.forked).tail()
    for entity in there.entities:
        if asked.run_id is not None:
            tail = store.record(RunPath(entity, asked_for.project, asked.run_id)).tail()
            if tail is not None:
                return tail
        elif looks_for_unfinished(asked, isinstance(whence, NotebookRef)):
            for path in store.catalog.unfinished(entity, asked_for.project, whence):
                tail = store.record(path).tail()
                if tail is not None and tail.point.state != "finished":
                    return tail
    return None


def _throwaway() -> Store:
    """A store of which nothing stays."""
    import tempfile

    notices.tell("mode is 'disabled': nothing of this run is kept once it ends.")
    return Store(Path(tempfile.mkdtemp(prefix="jupyter-resume-disabled-")))


def _forget_all(store: Store, run: Run) -> None:
    """A run that was to leave nothing behind ends."""
    import shutil

    _active.forget(run)
    shutil.rmtree(store.home, ignore_errors=True)


def _companions(
    writer: Writer, asked_for: Settings, whence: Origin, environ: Mapping[str, str] = os.environ
) -> list[Companion]:
    """What a run that is meant for a server is given to draw; W&B's variables switch it off."""
    found: list[Companion] = []
    if asked_for.mode in ("local", "disabled"):
        return found
    if environ.get("WANDB_X_DISABLE_STATS", "").lower() not in ("1", "true", "yes"):
        found.append(Machine(writer))
    if not isinstance(whence, NotebookRef) and environ.get("WANDB_CONSOLE", "").lower() != "off":
        found.append(Console(writer))
    return found


def _reason(decision: Decision, found: Tail | None, there: Alone) -> str:
    """Why the run begins or goes on, in words."""
    if there.forked is not None and found is not None:
        return f"forked from {found.point.meta.get('forked_from')}"
    return f"{decision.reason}, on {host_of(there.base_url)}" if found is None and there.exists else decision.reason


def _decide(asked: Asked, found: Tail | RunPath | None, whence: Origin) -> Decision:
    """What happens; raises the refusal."""
    in_notebook = isinstance(whence, NotebookRef)
    known = bool(whence.path) or (isinstance(whence, NotebookRef) and whence.kernel_id is not None)
    looked = known and looks_for_unfinished(asked, in_notebook)
    whose = ("this notebook" if in_notebook else "this program") if looked else None
    path = found.point.path if isinstance(found, Tail) else found
    decision = decide(asked, path, whose)
    if decision.action == "refuse":
        error = RunExists if path is not None else RunMissing
        hint = "" if in_notebook or asked.run_id else " (resume=True continues what this program did not finish)"
        raise error(decision.reason + hint, run_id=decision.run_id)
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
    point.meta.pop(cell.KEY, None)
    if (in_cell := cell.begun(whence)) is not None:
        point.meta |= cell.said(in_cell)
    point.mode = asked_for.mode
    point.sessions += 1
    point.state, point.exit_code, point.restored = "running", None, {}
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
