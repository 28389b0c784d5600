"""The store's runs and a run's files, as tables; what the magics and the command line both show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from .errors import RunMissing
from .identity import RunPath
from .origin import NotebookRef
from .remote.base import RemoteFile, RemoteRun
from .store.catalog import CatalogEntry
from .store.home import Store
from .store.record import FileEntry, Tail
from .tables import Table
from .times import unix
from .view import last_step
from .wording import age, clock, size_of


def find(store: Store, path: RunPath) -> Tail:
    """A run's record as it stands. RunMissing if there is none."""
    tail = store.record(path).tail()
    if tail is None:
        raise RunMissing(f"There is no run {path} in the store {store.home}: list them with 'jupyter resume runs'.")
    return tail


def current(store: Store, entry: CatalogEntry) -> CatalogEntry:
    """An entry as its run stands now: what says ``running`` is looked up in the record."""
    if entry.state != "running":
        return entry
    record = store.record(entry.path)
    tail = record.tail()
    if tail is None:
        return replace(entry, state="lost")
    now = CatalogEntry.of(tail.point)
    return replace(now, state=record.state(tail))


def runs(store: Store, entity: str | None = None, project: str | None = None) -> Table:
    """The runs of the store, newest first."""
    rows = []
    for entry in store.catalog.runs(entity, project):
        now = current(store, entry)
        kind = "notebook" if isinstance(now.origin, NotebookRef) else "program"
        where = f"{kind} {now.origin.path}" if now.origin and now.origin.path else ""
        rows.append((str(now.path), now.name, now.state, _step(now.last_step), age(now.updated), where))
    asked = "".join(f" of {kind} {name}" for kind, name in (("entity", entity), ("project", project)) if name)
    return Table(
        ("run", "name", "state", "last step", "last seen", "from"), tuple(rows), f"no runs{asked} in {store.home}"
    )


def files(known: Mapping[str, FileEntry], there: Iterable[RemoteFile] = ()) -> Table:
    """The files of a run; ``there`` are those that only its server has."""
    rows = tuple(
        (entry.name, size_of(entry.size), _step(entry.step), clock(entry.saved_at), entry.digest[:16])
        for entry in known.values()
    )
    rows += tuple((name, size, "-", at, "on the server") for name, size, at, _ in remote_files(there).rows)
    return Table(("file", "size", "saved after step", "saved at", "blake3"), rows, "no saved files")


def seen(runs: Sequence[RemoteRun], empty: str, here: Collection[RunPath] | None = None) -> Table:
    """Runs seen from outside; with ``here``, those that this machine has too, also where each of them is."""
    rows = []
    for run in runs:
        heard = unix(run.heartbeat_at)
        row = (str(run.path), run.name or "", run.state, _step(last_step(run)), "" if heard is None else age(heard))
        where = () if here is None else ("here and there" if run.path in here else "there",)
        rows.append((*row, *where))
    columns = ("run", "name", "state", "last step", "last seen", *(() if here is None else ("where",)))
    return Table(columns, tuple(rows), empty)


def remote_files(known: Iterable[RemoteFile]) -> Table:
    """The files of a run seen from outside."""
    rows = []
    for file in known:
        saved = unix(file.updated_at)
        rows.append((file.name, size_of(file.size), "" if saved is None else clock(saved), file.md5 or ""))
    columns = ("file", "size", "saved at", "md5")
    width = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    return Table(columns[:width], tuple(row[:width] for row in rows), "no saved files")


def _step(last: int) -> str:
    return "-" if last < 0 else str(last)
