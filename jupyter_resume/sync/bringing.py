"""Bringing a run of the store to its server at once: what ``jupyter resume sync`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import FileError, InvalidInput, ResumeError, RunInUse, RunMissing
from ..identity import DEFAULT_ENTITY, RunPath
from ..notices import Tell, tell
from ..policy import read_choice
from ..remote.base import Remote
from ..store.home import Store
from ..store.record import Record, ResumePoint
from ..store.replica import Replica
from .merge import describe, differ
from .source import in_store
from .syncing import Syncing
from .uploading import files_unsent


@dataclass(frozen=True)
class Brought:
    """What was sent of a run. ``rows`` counts rows; ``files`` are names; ``path`` is the run's at the server."""

    run: RunPath
    path: RunPath
    rows: int
    files: tuple[str, ...]
    url: str

    def __str__(self) -> str:
        if not self.rows and not self.files:
            return f"{self.run}: everything is there already, {self.url}"
        what = [f"{count} {noun if count == 1 else noun + 's'}" for count, noun in ((self.rows, "row"),
                (len(self.files), "file")) if count]  # fmt: skip
        return f"{self.run}: {' and '.join(what)} sent, {self.url}"


def bring(
    store: Store,
    run: RunPath,
    remote: Remote,
    entity: str,
    if_diverged: str | None = None,
    tell: Tell = tell,
    sending: Callable[[str, int], None] = lambda name, size: None,
) -> Brought:
    """Send what the server lacks of a run. ``entity`` is the one that is meant there if the run names none.

    ``sending`` is called with the name and size in bytes of each file before it is sent.

    Raises RunInUse if another process is doing it, RunDiverged, RemoteError.
    """
    if read_choice(if_diverged) not in (None, "append"):
        raise InvalidInput(
            f"if_diverged={if_diverged!r} decides how a run goes on, so it belongs to init() or %wb_init; a run that "
            "is only sent can be appended."
        )
    record = store.record(run)
    if record.tail() is None:
        raise RunMissing(f"There is no run {run} in the store {store.home}: list them with 'jupyter resume runs'.")
    file = store.replica(run, remote.base_url)
    if not file.lock():
        raise RunInUse(f"Run {run} is being sent to {remote.base_url} by another process: wait for it.")
    try:
        replica = file.load() or Replica(remote.base_url, path_there(run, entity))
        syncing = Syncing(remote, in_store(record), store.blobs(run), replica, file, tell=tell)
        rows, sent = send_all(syncing, record, if_diverged, sending)
        return Brought(run, replica.path, rows, sent, remote.url_of(replica.path))
    finally:
        file.unlock()


def send_all(
    syncing: Syncing, record: Record, if_diverged: str | None, sending: Callable[[str, int], None]
) -> tuple[int, tuple[str, ...]]:
    """Send rows, then files, then how the run ended; how many rows, and which files, were sent."""
    syncing.verify(if_diverged)
    if not syncing.anything():
        return 0, ()
    syncing.begin()
    syncing.send()
    sizes = {name: entry.size for name, entry in syncing.files().items()}
    sent = []
    for name in syncing.files_waiting():
        sending(name, sizes[name])
        try:
            if syncing.upload(name):
                sent.append(name)
        except FileError as error:
            syncing.tell(f"{name} of run {syncing.replica.path} is not sent: {error}")
    syncing.end()
    return syncing.rows_sent, tuple(sent)


def path_there(run: RunPath, entity: str) -> RunPath:
    """What a run is called at a server: there an entity is a person or a team."""
    return RunPath(entity if run.entity == DEFAULT_ENTITY else run.entity, run.project, run.run_id)


def waiting_runs(store: Store, base_url: str) -> list[RunPath]:
    """The runs that are meant for a server and may have something that it lacks, the oldest first."""
    found = []
    for entry in store.catalog.runs():
        replica = store.replica(entry.path, base_url).load()
        try:
            tail = store.record(entry.path).tail()
        except ResumeError:  # who sends the run says why; one that was never meant for a server is left alone
            found += [entry.path] if replica is not None else []
            continue
        meant = tail is not None and (tail.point.mode != "local" or (replica is not None and replica.in_step_at > 0))
        if tail is not None and meant and _waits(tail.point, replica):
            found.append(entry.path)
    return found[::-1]


def _waits(point: ResumePoint, replica: Replica | None) -> bool:
    """Whether a server may lack something of a run, as far as is known here."""
    return (
        replica is None
        or point.state == "running"
        or replica.ended != point.sessions
        or bool(files_unsent(point.files, replica))
        or differ(describe(point), replica.said)
    )
