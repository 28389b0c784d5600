"""Going on with the rows that wait here as a new run, where the server has gone on with the old one."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

from ..errors import RunInUse
from ..identity import RunPath, generate_id
from ..remote.base import Remote, RemotePoint
from ..store import lines
from ..store.follow import Cursor, Row, follow
from ..store.home import Store
from ..store.record import Record, ResumePoint, Tail
from ..store.replica import Replica
from ..store.writer import Writer
from .merge import describe, take_description, told
from .reconcile import adopt
from .relation import Diverged, moved


def fork(
    store: Store, found: Tail, replica: Replica, relation: Diverged, there: RemotePoint, remote: Remote, label: str
) -> RunPath:
    """Make a new run of all that was logged here, and of what others had logged before that; the new path.

    The old run then stands as the server has it; the rows that it loses are kept in it, set aside.
    """
    old = found.point.path
    new = RunPath(old.entity, old.project, generate_id())
    point = ResumePoint(new.entity, new.project, new.run_id, created=time.time(), origin=found.point.origin)
    point.meta = {**found.point.meta, "forked_from": str(old)}
    point.mode, point.config, point.sessions = found.point.mode, copy.deepcopy(found.point.config), 1
    history = list(_history(store.record(old), replica, remote))  # all of it, before anything is written
    writer = _opened(Writer.open(store.record(new), point, None, label), new)
    for row in history:
        writer.row(row, finite=False)
    summary = {key: value for key, value in found.point.summary.items() if key not in writer.point.summary}
    if summary:
        writer.put(lines.SUMMARY, {"set": summary})
    blobs, kept = store.blobs(old), store.blobs(new)
    for entry in found.point.files.values():
        if blobs.path(entry.digest).exists():
            kept.put(blobs.path(entry.digest))
            writer.file(entry)
    writer.close("interrupted", None)
    store.catalog.put(writer.point)

    left = copy.deepcopy(found.point)
    left.config = dict(replica.said.get("config", {}))
    left.meta = {**left.meta, **{key: replica.said.get(key) for key in ("name", "notes", "tags")}}
    cut = adopt(left, replica, relation.cut, there)
    take_description(left, there, replica)
    closing = _opened(Writer.open(store.record(old), left, found, label, rewound_to=cut), old)
    closing.close("interrupted", None)
    store.catalog.put(left)
    replica.said, replica.ended = describe(left), left.sessions
    replica.diverged, replica.rewound = None, there.rewound_to
    replica.summary = told(left.summary, left.runtime, left.rows, replica.last)
    store.replica(old, remote.base_url).save(replica)
    return new


def _history(record: Record, replica: Replica, remote: Remote) -> Iterator[dict[str, Any]]:
    """The rows of the record as they would be at the server, with those that other machines have sent in between."""
    place, step = 0, -1
    for item in follow(record, Cursor()):
        if isinstance(item, Row):
            shift = replica.shift(item.number)
            row = moved(item.row, shift.steps)
            if item.number + shift.rows > place:
                yield from remote.scan(replica.path, step + 1, row["_step"])
            yield row
            place, step = item.number + shift.rows + 1, row["_step"]


def _opened(writer: Writer | None, path: RunPath) -> Writer:
    if writer is None:
        raise RunInUse(f"Run {path} is begun by another process at this moment: try again.")
    return writer
