"""A run that is asked for by name: in this machine's store, else on the server that is configured."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from . import listing, view
from .api import Api
from .errors import RemoteError, RunMissing
from .identity import DEFAULT_ENTITY, RunPath, as_given
from .seen import ApiRun
from .settings import Settings
from .source import RemoteSource
from .store.home import Store
from .store.record import Tail
from .sync.connecting import connect
from .tables import Table
from .view import RunView

_POINTS = 64
_FILES = 1000


def status(text: str, said: Settings, remote: bool = False) -> RunView:
    """How a run stands. ``said`` tells what the text leaves out, and which server is configured."""
    found = _find(text, said, remote)
    if isinstance(found, Tail):
        return view.of_record(Store(), found)
    files = islice(found.source.files(found.seen.path), _FILES)
    return view.of_outside(found.seen, found.history(samples=_POINTS), files, found.url, found.source.place)


def files(text: str, said: Settings, remote: bool = False) -> Table:
    """The files that a run has saved."""
    found = _find(text, said, remote)
    if isinstance(found, Tail):
        return listing.files(found.point.files)
    known = list(islice(found.source.files(found.seen.path), _FILES + 1))
    table = listing.remote_files(known[:_FILES])
    return replace(table, note="and more") if len(known) > _FILES else table


def runs_there(said: Settings, most: int) -> Table:
    """The newest runs of a project on the server, each with whether this machine has it too."""
    source = RemoteSource(connect(said.base_url))
    entity = source.entity_there(said.entity)
    found = Api.of(source).runs(f"{entity}/{said.project}", order="-created_at", per_page=min(most, 100))
    shown = [run.seen for run in found[:most]]
    here = [entry.path for entry in Store().catalog.runs(None, said.project)]
    meant = {RunPath(entity, path.project, path.run_id) for path in here if path.entity == DEFAULT_ENTITY}
    empty = f"no runs of project {entity}/{said.project} at {source.place}; name another with --project"
    table = listing.seen(shown, empty, {*here, *meant})
    more = len(found) - len(shown)
    return replace(table, note=f"and {more} more: see them with --most") if more > 0 else table


def _find(text: str, said: Settings, remote: bool) -> Tail | ApiRun:
    """A run of the store, or one of the server if ``remote``, or if it is not in the store and a server is configured.

    Raises InvalidRunPath, RunMissing, KeyRejected, RemoteError.
    """
    path = RunPath.parse(text, said.entity, said.project)
    store = Store()
    if not remote:
        tail = store.record(path).tail()
        if tail is not None:
            return tail
        if said.mode != "online":
            return listing.find(store, path)
    try:
        source = RemoteSource(connect(said.base_url))
        replica = store.replica(path, said.base_url).load()
        given = RunPath.parse(text, said.entity, said.project, clean=as_given)
        there = replica.path if replica else replace(given, entity=source.entity_there(path.entity))
        return ApiRun(source, source.run(there))
    except (RunMissing, RemoteError) as error:
        if remote:
            raise
        raise type(error)(f"Run {path} is not in the store {store.home}. {error}", **error.data) from None
