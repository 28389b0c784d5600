"""A run's file from wherever it is: this machine's store, or the server that keeps the run's replica.

What the server has is asked first where there is one, since another machine may have saved a newer content there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import fetched, files, notices, settings
from .errors import RemoteError, RemoteGone, RunMissing
from .files import Restored, safe_name
from .identity import DEFAULT_ENTITY, MAX_ID, RunPath, clean_id, ids_there
from .store.home import Store
from .store.record import FileEntry
from .store.replica import Replica
from .sync.connecting import connect

if TYPE_CHECKING:
    from .remote.base import Remote, RemoteFile


@dataclass(frozen=True)
class Known:
    """What this machine knows of a run: its saved files, and what of them its server has."""

    run: RunPath
    files: Mapping[str, FileEntry]
    replica: Replica | None = None


def restore(store: Store, known: Known, remote: Remote | None, name: str, root: Path, replace: bool) -> Restored:
    """Bring a run's file to ``root/name``, verified; see ``jupyter_resume.restore``.

    From the server where it has another content than was saved here, and nothing that was saved here waits to be
    sent; from here otherwise, and where the server cannot be reached.
    """
    name = safe_name(name)
    entry, replica = known.files.get(name), known.replica
    sent = replica.files.get(name) if replica else None
    waits = entry is not None and (sent is None or sent[0] != entry.digest)
    if remote is not None and replica is not None and not waits:
        try:
            there = next(iter(remote.files(replica.path, [name])), None)
            if there is not None and (sent is None or sent[1] != there.md5):
                return _fetch(known.run, remote, there, root, replace)
            if there is None and entry is None:
                names = [file.name for file in remote.files(replica.path)]
                raise files.missing(known.run, name, [*known.files, *names])
        except RemoteGone:
            if entry is None:
                raise files.missing(known.run, name, known.files) from None
        except RemoteError as error:
            if entry is None:
                raise
            notices.tell(f"{str(error).rstrip('.')}: {name} is restored as it was saved on this machine.")
    return files.restore(store, known.run, dict(known.files), name, root, replace)


def restore_from(store: Store, run: RunPath, name: str, root: Path, replace: bool) -> Restored:
    """As `restore`, for a run that this process does not write: in the store, or on the configured server.

    Its id is as it was given: here a run has it cleaned, and a server may know either.
    """
    asked = settings.resolve({})
    online = asked.mode == "online"
    entities = (run.entity, store.hosts.entity(asked.base_url)) if run.entity == DEFAULT_ENTITY else (run.entity,)
    used = RunPath(run.entity, run.project, ids_there(run.run_id)[-1] if online else clean_id(run.run_id))
    for entity in filter(None, entities if len(used.run_id) <= MAX_ID else ()):
        here = RunPath(entity, used.project, used.run_id)
        tail = store.record(here).tail()
        if tail is None:
            continue
        replica = store.replica(here, asked.base_url).load()
        if not online or replica is None:
            return files.restore_from(store, here, name, root, replace)
        return restore(store, Known(here, tail.point.files, replica), _connect(asked.base_url), name, root, replace)
    if not online:
        return files.restore_from(store, used, name, root, replace)
    remote = connect(asked.base_url)
    entity = remote.account().entity if run.entity == DEFAULT_ENTITY else run.entity
    for run_id in ids_there(run.run_id):
        path = RunPath(entity, run.project, run_id)
        if remote.resume_point(path) is not None:
            return restore(store, Known(path, {}, Replica(asked.base_url, path)), remote, name, root, replace)
    raise RunMissing(
        f"There is no run {path} at {asked.base_url}, nor {used} in the store {store.home}: check the path with "
        "'jupyter resume runs'."
    )


def _connect(base_url: str) -> Remote | None:
    try:
        return connect(base_url)
    except RemoteError as error:
        notices.tell(str(error))
        return None


def _fetch(run: RunPath, remote: Remote, file: RemoteFile, root: Path, replace: bool) -> Restored:
    path, copied = fetched.bring(file, lambda file, into: remote.fetch(file, into, progress=True), root, replace)
    return Restored(run, safe_name(file.name), path, file.size, f"md5:{file.md5}", copied)
