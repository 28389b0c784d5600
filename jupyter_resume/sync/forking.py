"""Going on with the rows that wait here as a new run, where the server has gone on with the old one."""

from __future__ import annotations

import copy
import time

from ..errors import RunInUse
from ..identity import RunPath, generate_id
from ..remote.base import Remote, RemotePoint
from ..store import lines
from ..store.follow import Cursor, Row, follow
from ..store.home import Store
from ..store.record import ResumePoint, Tail
from ..store.replica import Replica
from ..store.writer import Writer
from .merge import take_description, take_history
from .relation import Diverged


def fork(
    store: Store, found: Tail, replica: Replica, relation: Diverged, there: RemotePoint, remote: Remote, label: str
) -> RunPath:
    """Make a new run of all that was logged here, its beginning fetched from the server where it is not here.

    The old run then stands as the server has it; the rows that it loses are kept in it, set aside. The new path.
    """
    old = found.point.path
    new = RunPath(old.entity, old.project, generate_id())
    point = ResumePoint(new.entity, new.project, new.run_id, created=time.time(), origin=found.point.origin)
    point.meta = {**found.point.meta, "forked_from": str(old)}
    point.mode, point.config, point.sessions = found.point.mode, copy.deepcopy(found.point.config), 1
    writer = _opened(Writer.open(store.record(new), point, None, label), new)
    rows = (item for item in follow(store.record(old), Cursor()) if isinstance(item, Row))
    first = next(rows)
    if first.number:
        for row in remote.scan(replica.path, max_step=first.row["_step"]):
            writer.row(row, finite=False)
    for item in (first, *rows):
        writer.row(item.row, finite=False)
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
    left.rows, left.last_step, left.summary = relation.first.number, -1, {}
    take_history(left, there)
    take_description(left, there, replica)
    start = relation.first.start
    closing = Writer.open(store.record(old), left, found, label, rewound_to=(start.token, start.offset))
    _opened(closing, old).close("interrupted", None)
    store.catalog.put(left)
    return new


def _opened(writer: Writer | None, path: RunPath) -> Writer:
    if writer is None:
        raise RunInUse(f"Run {path} is begun by another process at this moment: try again.")
    return writer
