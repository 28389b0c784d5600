"""Runs as JSON values: a row in a list, curves, config and files, each bounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from .. import cell
from ..curve import Curve
from ..origin import NotebookRef, Origin
from ..store.catalog import CatalogEntry
from ..store.lease import Owner
from ..store.record import FileEntry, ResumePoint, Tail
from ..wording import short
from .places import Places

_MOST_KEYS, _MOST_FILES, _MOST_TEXT = 500, 500, 2000


def row_of_entry(entry: CatalogEntry, places: Places, mine: bool) -> dict[str, Any]:
    """A run that its catalog entry tells all about: nobody writes it."""
    return {
        **_names(entry, places, mine),
        "state": entry.state,
        "live": False,
        "resumable": entry.state != "finished",
        "next_step": entry.last_step + 1,
        "writer": None,
        "last_file": None,
        "rows_lost": 0,
        "cell": None,
    }


def row_of_tail(
    tail: Tail, state: str, owner: Owner | None, damaged: int, places: Places, mine: bool
) -> dict[str, Any]:
    """A run as its record stands."""
    point = tail.point
    last = max(point.files.values(), key=lambda file: file.saved_at, default=None)
    in_cell = cell.of(point.meta)
    return {
        **_names(CatalogEntry.of(point), places, mine),
        "state": state,
        "live": owner is not None,
        "resumable": owner is None and state != "finished",
        "next_step": point.next_step,
        "writer": short(str(owner), 300) if owner else None,
        "last_file": last and {name: getattr(last, name) for name in ("name", "size", "saved_at", "step")},
        "rows_lost": damaged,
        "cell": in_cell and {**asdict(in_cell), "running": in_cell.running and point.state == "running"},
    }


def _names(entry: CatalogEntry, places: Places, mine: bool) -> dict[str, Any]:
    path = entry.path
    return {
        "path": str(path),
        "entity": path.entity,
        "project": path.project,
        "id": path.run_id,
        "name": short(entry.name or path.run_id, 200),
        "mine": mine,
        "last_step": entry.last_step,
        "rows": entry.rows,
        "created": entry.created,
        "updated": entry.updated,
        "origin": entry.origin and _origin(entry.origin, places),
    }


def _origin(origin: Origin, places: Places) -> dict[str, Any]:
    notebook = isinstance(origin, NotebookRef)
    return {
        "kind": "notebook" if notebook else "program",
        "label": short(origin.label, 200),
        "path": places.path_of(origin.path),
        "notebook_id": origin.notebook_id if isinstance(origin, NotebookRef) else None,
    }


def curves(known: Mapping[str, Curve], point: ResumePoint, since: int) -> list[dict[str, Any]]:
    """The curves that changed after so many rows."""
    found = []
    for name, curve in known.items():
        if curve.stamp <= since:
            continue
        change, extremes = curve.change(since), curve.extremes()
        found.append(
            {
                "name": name,
                "last": plain(point.summary.get(name)),
                "low": extremes and extremes[0],
                "high": extremes and extremes[1],
                "from": change.since,
                "steps": change.steps,
                "values": change.values,
            }
        )
    return found


def config(point: ResumePoint) -> dict[str, Any]:
    """The config: its first 500 keys; a value that would be longer than 2,000 characters is cut, and a text then."""
    return {key: _cut(plain(value)) for key, value in list(point.config.items())[:_MOST_KEYS]}


def files(point: ResumePoint) -> list[dict[str, Any]]:
    """The last 500 files."""
    return [_file(entry) for entry in list(point.files.values())[-_MOST_FILES:]]


def more(point: ResumePoint, metrics: Collection[str]) -> dict[str, int]:
    """How many there are of each kind that an answer leaves out."""
    return {
        "metrics": len(metrics),
        "config": max(0, len(point.config) - _MOST_KEYS),
        "files": max(0, len(point.files) - _MOST_FILES),
    }


def _file(entry: FileEntry) -> dict[str, Any]:
    return {key: value for key, value in asdict(entry).items() if key != "metadata"}


def _cut(value: Any) -> Any:
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    text = value if isinstance(value, str) else str(value)
    return value if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."


def plain(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities as the texts that JavaScript has for them."""
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value
