"""What a run here and its replica make together: config, summary, notes and tags that were changed on either side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..remote.base import Description, RemotePoint
from ..store import lines
from ..store.record import ResumePoint
from ..store.replica import Replica

_MISSING = object()


def merge(base: Mapping[str, Any], here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Three-way: what was changed here since ``base`` wins, the rest is as it is there."""
    merged: dict[str, Any] = {}
    for key in {**there, **here}:
        ours = here.get(key, _MISSING)
        value = there.get(key, _MISSING) if ours == base.get(key, _MISSING) else ours
        if value is not _MISSING:
            merged[key] = value
    return merged


def describe(point: ResumePoint) -> dict[str, Any]:
    """What a server is told of a run, as plain values that can be remembered and compared."""
    meta = point.meta
    return {
        "name": meta.get("name"),
        "notes": meta.get("notes"),
        "tags": list(meta.get("tags") or ()),
        "group": meta.get("group"),
        "job_type": meta.get("job_type"),
        "config": dict(point.config),
    }


def differ(said: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether two descriptions say something different; NaN is itself here."""
    return said != before and lines.dump_exact(dict(said)) != lines.dump_exact(dict(before))


def description(said: Mapping[str, Any], replica: Replica, before: Mapping[str, Any] | None = None) -> Description:
    """What is told now; of what was told ``before`` only what has changed."""

    def changed(key: str) -> Any:
        value, known = said[key] or None, (replica.said if before is None else before).get(key) or None
        if value is None:  # what nobody ever said leaves what the server has
            return None if known is None else ""
        return value if before is None or value != known else None

    tags = changed("tags")
    return Description(
        name=changed("name"),
        notes=changed("notes"),
        tags=None if tags is None else tuple(tags),
        group=changed("group"),
        job_type=changed("job_type"),
        config=said["config"] if before is None or said["config"] != before.get("config") else None,
        internal=replica.internal,
    )


def said_there(there: RemotePoint) -> dict[str, Any]:
    """What the server has been told of a run, as far as it says so, in the form of `describe`."""
    tags = None if there.tags is None else list(there.tags)
    said = {"name": there.name, "notes": there.notes, "tags": tags, "config": dict(there.config)}
    return {key: value for key, value in said.items() if value is not None}


def told(summary: Mapping[str, Any], runtime: float, rows: int, last: Mapping[str, Any]) -> dict[str, Any]:
    """The summary as a server is told it: its step is that of the ``last`` row there, so that it never runs ahead.

    Where no row was ever logged (``rows``) the summary's step is the server's own, and stays.
    """
    said = {**summary, "_wandb": {"runtime": int(runtime)}}
    if rows:
        said.pop("_step", None)
    return {**said, "_step": last["_step"]} if "_step" in last else said


def with_others(said: Mapping[str, Any], base: Mapping[str, Any], there: RemotePoint) -> dict[str, Any]:
    """What is said here, with what others have changed on the server since ``base`` was said."""
    theirs = said_there(there)
    theirs.pop("config")
    config = merge(base.get("config", {}), said["config"], _config_there(there, base))
    known = {key: base.get(key) or None for key in theirs}
    here = {key: said[key] or None for key in theirs}
    return {**said, **merge(known, here, {key: value or None for key, value in theirs.items()}), "config": config}


def take_description(point: ResumePoint, there: RemotePoint, replica: Replica) -> None:
    """Bring in what was changed on the server: config, name, notes and tags."""
    base = replica.said
    point.config = merge(base.get("config", {}), point.config, _config_there(there, base))
    theirs = {key: value or None for key, value in said_there(there).items() if key != "config"}
    if there.name == point.run_id:
        theirs["name"] = base.get("name") or None  # what a run is called that nobody has named
    known = {key: base.get(key) or None for key in theirs}
    merged = merge(known, {key: point.meta.get(key) or None for key in theirs}, theirs)
    point.meta = {
        **{key: value for key, value in point.meta.items() if key not in theirs},
        **{key: value for key, value in merged.items() if value is not None},
    }


def _config_there(there: RemotePoint, base: Mapping[str, Any]) -> Mapping[str, Any]:
    """The server's config; one without even what the tracker keeps in it for itself was not given at all."""
    return there.config if there.config or there.internal else base.get("config", {})


def take_history(point: ResumePoint, there: RemotePoint) -> None:
    """Stand where the server stands: its rows are the run's, and the next one follows them."""
    point.rows, point.last_step = there.rows, there.last_step
    point.tail = dict(there.tail)
    point.summary = {**point.summary, **{key: value for key, value in there.summary.items() if key != "_wandb"}}
    point.runtime = max(point.runtime, there.runtime)
    for stream, count in (("events", there.events), ("output", there.output)):
        if count is not None:
            point.streams[stream] = {**point.streams.get(stream, {}), "count": count}
