"""Sending to a server what it lacks, when a person asks for it: ``%wb_sync`` and ``jupyter resume sync``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import notices, settings
from ._run import Run
from .errors import RemoteError, RemoteUnreachable, ResumeError, RunMissing
from .identity import RunPath
from .store.home import Store
from .store.record import Tail
from .sync.bringing import bring, waiting_runs
from .sync.connecting import connect, default_entity
from .wording import size_of

_LARGE = 64 << 20  # bytes of a file that is announced
_MANY = 50_000  # rows of a run that are


def flush(run: Run, if_diverged: str | None = None) -> str:
    """Send all of a run that this process writes; what was done, in a line. Raises RemoteError."""
    assert run.link is not None
    if (error := run.link.flush(if_diverged)) is not None:
        raise error
    standing = run.link.standing
    return f"run {run.path}: {standing}" + ("; a row goes out when its step is over" if standing.waiting else "")


def send(
    store: Store, runs: Sequence[RunPath], base_url: str | None = None, if_diverged: str | None = None
) -> Iterator[str]:
    """Send these runs, or all that wait; a line for each. Of several, one that fails is told and the rest are sent.

    Raises RemoteError, RunMissing, RunInUse.
    """
    asked = settings.resolve({"base_url": base_url, "mode": "offline"})
    remote = connect(asked.base_url)
    entity = default_entity(store, remote)
    failed = 0
    meant = runs or waiting_runs(store, asked.base_url)
    for run in meant:
        try:
            tail = _tail(store, run, entity)
            here = tail.point.path
            known = store.replica(here, asked.base_url).load()
            if (rows := tail.point.rows - (known.rows if known else 0)) >= _MANY:
                notices.tell(f"sending {rows:,} rows of run {here} ...")
            yield str(bring(store, here, remote, entity, if_diverged, sending=_announce))
        except RemoteUnreachable:
            raise
        except ResumeError as error:
            if len(meant) == 1:
                raise
            failed += 1
            notices.tell(f"{run} is not sent: {error}")
    if failed:
        raise RemoteError(
            f"{failed} of {len(meant)} runs were not sent, for the reasons above; nothing of them is lost."
        )


def _tail(store: Store, run: RunPath, entity: str) -> Tail:
    """Where a run stands in the store, which may have it under either entity. Raises RunMissing."""
    for path in (run, RunPath(entity, run.project, run.run_id)):
        if (tail := store.record(path).tail()) is not None:
            return tail
    raise RunMissing(f"There is no run {run} in the store {store.home}: list them with 'jupyter resume runs'.")


def _announce(name: str, size: int) -> None:
    if size > _LARGE:
        notices.tell(f"sending {name} ({size_of(size)}) ...")
