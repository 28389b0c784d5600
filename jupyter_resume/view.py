"""RunView: all that a display shows of a run, as one value for the cell, the terminal and the tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ._run import Run
from .remote.base import RemoteFile, RemoteRun, step_of
from .store.home import Store
from .store.record import Tail
from .sync.standing import Standing
from .sync.uploading import files_unsent
from .times import unix
from .wording import size_of

_POINTS = 64
_OURS = {"_step", "_timestamp", "_runtime"}


@dataclass(frozen=True)
class Metric:
    """A metric: its last value, and up to 64 numbers from its course for a sparkline."""

    name: str
    last: float | int | str | bool | None
    points: tuple[float, ...]


@dataclass(frozen=True)
class RunView:
    """A run as it stood ``at`` (Unix seconds). ``step`` is the next to log, ``elapsed`` seconds over all sessions.

    ``total`` is the step at which its user expects it to be done, if that was said. ``url`` is its page on its server,
    ``server`` how it stands with that, in words.
    """

    path: str
    name: str
    state: str
    resumed: bool
    starting_step: int
    reason: str
    step: int
    elapsed: float
    at: float
    metrics: tuple[Metric, ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    restored: tuple[str, ...] = ()
    not_restored: tuple[tuple[str, str], ...] = ()
    waiting: int = 0
    notes: str | None = None
    total: int | None = None
    url: str | None = None
    server: str | None = None


class Course:
    """The courses of a run's metrics, thinned as they grow: every value at first, then every second one, ..."""

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._last: dict[str, Any] = {}
        self._points: dict[str, list[float]] = {}
        self._stride: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        for row in rows:
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Take in one row of the history."""
        for name, value in row.items():
            if name in _OURS:
                continue
            self._last[name] = value
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
                self._add_point(name, float(value))

    def _add_point(self, name: str, value: float) -> None:
        stride = self._stride.setdefault(name, 1)
        skipped = self._skipped.get(name, 0) + 1
        if skipped < stride:
            self._skipped[name] = skipped
            return
        self._skipped[name] = 0
        points = self._points.setdefault(name, [])
        points.append(value)
        if len(points) > _POINTS:
            del points[::2]
            self._stride[name] = 2 * stride

    def metrics(self, summary: Mapping[str, Any]) -> tuple[Metric, ...]:
        """The metrics as they stand, in the order in which they came; of ``summary`` those that have no course here."""
        known = tuple(Metric(name, last, tuple(self._points.get(name, ()))) for name, last in self._last.items())
        return known + tuple(
            Metric(name, last, ())
            for name, last in summary.items()
            if name not in self._last and name not in _OURS and not isinstance(last, (dict, list))
        )


def of_run(run: Run, course: Course) -> RunView:
    """The view of a run that this process writes, whose metrics have run ``course``."""
    return RunView(
        path=run.path,
        name=run.name,
        state=run.state,
        resumed=run.resumed,
        starting_step=run.starting_step,
        reason=run.reason,
        step=run.step,
        elapsed=run.runtime,
        at=time.time(),
        metrics=course.metrics(run.summary.as_dict()),
        files=(
            *((file.name, file.size) for file in run.files_there.values()),
            *((entry.name, entry.size) for entry in run.files.values()),
        ),
        restored=tuple(dict.fromkeys(_restored(str(run.run_path), restored.dump()) for restored in run.restored)),
        not_restored=tuple(run.not_restored.items()),
        waiting=run.in_memory,
        notes=run.notes,
        total=run.total,
        url=run.url,
        server=str(run.link.standing) if run.link else None,
    )


def of_outside(
    run: RemoteRun,
    rows: Iterable[dict[str, Any]] = (),
    files: Iterable[RemoteFile] = (),
    url: str | None = None,
    place: str | None = None,
) -> RunView:
    """The view of a run seen from outside, at ``place``, whose metrics have run the course of ``rows``."""
    elapsed = run.summary.get("_runtime")
    return RunView(
        path=str(run.path),
        name=run.name or run.path.run_id,
        state=run.state,
        resumed=False,
        starting_step=0,
        reason="",
        step=last_step(run) + 1,
        elapsed=float(elapsed) if isinstance(elapsed, (int, float)) and elapsed - elapsed == 0 else 0.0,
        at=unix(run.heartbeat_at) or unix(run.created_at) or 0.0,
        metrics=Course(rows).metrics(run.summary),
        files=tuple((file.name, file.size) for file in files),
        notes=run.notes,
        url=url,
        server=f"as {place} has it" if place else None,
    )


def last_step(run: RemoteRun) -> int:
    """The last step that a run logged; -1 if none was."""
    said = step_of(run.summary)
    return max(-1 if said is None else said, (run.rows or 0) - 1)


def _restored(run: str, restored: Mapping[str, Any]) -> str:
    """A restored file in a few words."""
    of = "" if restored["run"] == run else f" of run {restored['run']}"
    how = "verified" if restored["copied"] else "in place already, verified"
    return f"{restored['name']} ({size_of(restored['size'])}){of}, {how}"


def of_record(store: Store, tail: Tail) -> RunView:
    """The view of a run from its record, whoever writes it."""
    record = store.record(tail.point.path)
    metrics = Course(record.recent()).metrics(tail.point.summary)
    return of_tail(tail, record.state(tail), metrics, server_of(store, tail))


def of_tail(tail: Tail, state: str, metrics: tuple[Metric, ...], server: str | None = None) -> RunView:
    """The view of a run that stands at ``tail``, whose state and metrics are known, and how it stands with servers."""
    point = tail.point
    run = str(point.path)
    return RunView(
        path=run,
        name=str(point.meta.get("name") or point.run_id),
        state=state,
        resumed=point.sessions > 1,
        starting_step=tail.starting_step if point.sessions > 1 else 0,
        reason=f"{point.sessions} sessions" if point.sessions > 1 else "",
        step=point.next_step,
        elapsed=point.runtime,
        at=point.updated,
        metrics=metrics,
        files=tuple((entry.name, entry.size) for entry in point.files.values()),
        restored=tuple(_restored(run, one) for one in point.restored.values() if "why" not in one),
        not_restored=tuple((one["name"], one["why"]) for one in point.restored.values() if "why" in one),
        notes=point.meta.get("notes"),
        total=total if isinstance(total := point.meta.get("total"), int) else None,
        server=server,
    )


def server_of(store: Store, tail: Tail) -> str | None:
    """How a run stands with the servers that have it, as far as is known here."""
    standings = [
        Standing.of(replica, tail.point.rows, tail.point.last_step, len(files_unsent(tail.point.files, replica)))
        for replica in store.replicas(tail.point.path)
    ]
    if not standings and tail.point.mode != "local":
        why = "offline" if tail.point.mode == "offline" else "not on its server yet"
        return f"{why}: 'jupyter resume sync' sends it"
    return "; ".join(map(str, standings)) or None
