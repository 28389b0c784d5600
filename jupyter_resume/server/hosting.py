"""The runs that this process writes for clients elsewhere, and every run as it can be seen from here.

Opening a run takes its lease as `init` does: a run that a local process writes is busy, and one that a local
process takes over is let go. A client that falls silent for `SILENCE` seconds is dead to us: its run is ended as
``crashed`` in the record, until something of it arrives again.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ResumeError, RunInUse, StoreError
from ..identity import RunPath
from ..store import lines
from ..store.catalog import CatalogEntry
from ..store.home import Store
from ..store.record import ResumePoint, Tail
from ..store.writer import Writer
from .claims import Claims, remembered
from .positions import Positions
from .refusals import Refusal, missing, translated

LABEL = "jupyter resume serve"
SILENCE = 150.0  # seconds without a sign of a client after which its run counts as crashed: five heartbeats
IDLE = 20.0  # seconds after which a run that is not running is let go
ALIVE = ("running", "preempting")
_SETTLED = 20_000
_INDEXED = 64  # runs whose positions are kept in memory


class Hosted:
    """A run that this process writes. Use it under its ``lock``."""

    def __init__(self, writer: Writer, positions: Positions, now: float) -> None:
        self.writer = writer
        self.positions = positions
        self.claims = _claims(writer.point, positions)
        self.seen = self.touched = now
        self.dirty = True
        self.lock = writer.lock

    @property
    def point(self) -> ResumePoint:
        """The resume point as it stands."""
        return self.writer.point

    def commit(self, changes: list[tuple[str, Any]]) -> None:
        """Append, all or nothing; see `Writer.commit`."""
        if changes:
            self.writer.commit(changes)
            self.dirty = True

    def alive(self, now: float) -> list[tuple[str, Any]]:
        """Note a sign of the client; the change of state to commit, if it brings one."""
        self.seen = self.touched = now
        if self.point.state in ALIVE:
            return []
        return [state("running", None, now)]


def _claims(point: ResumePoint, positions: Positions) -> Claims:
    """Whose lines the record has, so that a restarted server still tells two clients apart."""
    if not point.conflicts:
        return remembered(point.tail, point.rows, ())
    positions.refresh()
    asides = [c for c in positions.conflicts() if c["stream"] == "history"]
    return remembered(point.tail, point.rows, [{**c, "row": json.loads(c["line"])} for c in asides])


def state(name: str, exit_code: int | None, now: float) -> tuple[str, Any]:
    """The line that says how a run is from now on."""
    return lines.END, {"state": name, "exit_code": exit_code, "at": now}


@dataclass(frozen=True)
class Seen:
    """A run as it stands for a reader; ``heartbeat`` in Unix seconds."""

    path: RunPath
    point: ResumePoint
    state: str
    heartbeat: float


class Hosting:
    """All runs of a store, as a server has them. Every method may be called from any thread."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time, tell: Callable[[str], None] = print):
        self.store = store
        self.clock = clock
        self._tell = tell
        self._open: dict[RunPath, Hosted] = {}
        self._positions: dict[RunPath, Positions] = {}
        self._settled: dict[RunPath, tuple[CatalogEntry, Seen]] = {}  # runs that nobody writes, as listed last
        self._lock = threading.RLock()

    # Seeing

    def see(self, path: RunPath) -> Seen | None:
        """A run as it stands; None if there is no such run."""
        hosted = self._open.get(path)
        if hosted is not None and not hosted.writer.overtaken:
            with hosted.lock:
                return Seen(path, _frozen(hosted.point), hosted.point.state, max(hosted.seen, hosted.point.updated))
        record = self.store.record(path)
        tail = record.tail()
        if tail is None:
            return None
        return Seen(path, tail.point, self._state(path, tail), tail.point.updated)

    def _state(self, path: RunPath, tail: Tail) -> str:
        record = self.store.record(path)
        now = record.state(tail)
        if now == "crashed" and tail.point.state == "running" and tail.owner and tail.owner.label == LABEL:
            silent = self.clock() - record.segment(tail.token).stat().st_mtime
            if silent < SILENCE:  # it was this server that went away, not the client
                return "running"
            return "preempted" if tail.point.meta.get("preempting") else now
        return now

    def list(self, entity: str | None = None, project: str | None = None) -> Iterable[Seen]:
        """Every run, newest first."""
        for entry in self.store.catalog.runs(entity, project):
            settled = self._settled.get(entry.path)
            if settled is not None and settled[0] == entry and entry.path not in self._open:
                yield settled[1]
                continue
            try:
                seen = self.see(entry.path)
            except (ResumeError, OSError):
                continue
            if seen is not None:
                if seen.state not in ALIVE and len(self._settled) < _SETTLED:
                    self._settled[entry.path] = entry, seen
                yield seen

    def positions(self, path: RunPath) -> Positions:
        """Where the lines of a run are, brought up to date."""
        with self._lock:
            found = self._positions.pop(path, None) or Positions(self.store.record(path))
            self._positions[path] = found
            while len(self._positions) > _INDEXED:
                self._positions.pop(next(iter(self._positions)))
        found.refresh()
        return found

    # Writing

    def open(self, path: RunPath, make: bool = False) -> tuple[Hosted, bool]:
        """The run, to be written here, and whether it is new. Raises Refusal: missing, busy, no room."""
        with self._lock:
            hosted = self._open.get(path)
            if hosted is not None:
                if not hosted.writer.closed and not hosted.writer.overtaken:
                    return hosted, False
                self._let_go(hosted, catalogued=False)
            return self._take(path, make)

    def _take(self, path: RunPath, make: bool) -> tuple[Hosted, bool]:
        record = self.store.record(path)
        now = self.clock()
        while True:
            tail = record.tail()
            if tail is None:
                if not make:
                    raise missing(path)
                point = ResumePoint(path.entity, path.project, path.run_id, created=now, updated=now, mode="online")
            else:
                point = copy.deepcopy(tail.point)
                point.state = self._state(path, tail)
            try:
                writer = Writer.open(record, point, tail, LABEL, tell=self._tell)
            except (ResumeError, OSError) as error:
                raise translated(error) from error
            if writer is not None:
                break
        if not writer.attached:
            writer.release()
            raise Refusal(507, "The server's disk takes nothing at the moment: free some space there.", 30)
        hosted = self._open[path] = Hosted(writer, self._positions.get(path) or Positions(record), now)
        self._positions[path] = hosted.positions
        return hosted, tail is None

    def change(self, path: RunPath, act: Callable[[Hosted], Any], make: bool = False) -> Any:
        """Do something with a run under its lock; what the store refuses becomes a Refusal."""
        for attempt in (1, 2):
            hosted, _ = self.open(path, make)
            with hosted.lock:
                if hosted.writer.closed:  # let go between the two lines above
                    continue
                hosted.touched = self.clock()
                try:
                    return act(hosted)
                except RunInUse as error:
                    if attempt == 2:
                        raise translated(error) from error
                except (ResumeError, OSError) as error:
                    raise translated(error) from error
        raise Refusal(429, f"Busy: run {path} is changing hands.", 1)

    def catalogue(self, point: ResumePoint) -> None:
        """Bring a run's entry in the index up to date; the records can do without it."""
        try:
            self.store.catalog.put(point)
        except StoreError as error:
            self._tell(str(error))

    def remove(self, path: RunPath) -> None:
        """Take a run out of the store; its folder is kept in ``deleted``."""
        with self._lock:
            hosted, _ = self.open(path)
            with hosted.lock:
                self._let_go(hosted, catalogued=False)
                aside = self.store.home / "deleted" / f"{path.run_id}-{time.time_ns()}"
                aside.parent.mkdir(parents=True, exist_ok=True)
                self.store.folder(path).rename(aside)
                self._positions.pop(path, None)
                self.store.catalog.remove(path)

    def rewind(self, path: RunPath, step: int) -> Seen:
        """Let the run go on after ``step``; later rows are kept in the record, and are no part of the history."""
        with self._lock:
            hosted, _ = self.open(path)
            with hosted.lock:
                positions = hosted.positions
                positions.refresh()
                count = positions.lines_up_to(step)
                base = positions.end_of(count)
                point = copy.deepcopy(hosted.point)
                kept = positions.row(count - 1) if count else None
                self._let_go(hosted)
                tail = self.store.record(path).tail()
                assert tail is not None
                point.rows, point.last_step = count, kept["_step"] if kept else -1
                point.tail = kept or {}
                point.summary = {**point.summary, **(kept or {})} if kept else {}
                point.streams, point.state, point.exit_code = {}, "running", None
                point.runtime = float((kept or {}).get("_runtime", 0.0))
                writer = Writer.open(self.store.record(path), point, tail, LABEL, tell=self._tell, rewound_to=base)
                if writer is None or not writer.attached:
                    raise Refusal(429, f"Busy: run {path} is changing hands.", 1)
                fresh = self._open[path] = Hosted(writer, Positions(self.store.record(path)), self.clock())
                self._positions[path] = fresh.positions
                return Seen(path, _frozen(fresh.point), fresh.point.state, fresh.seen)

    # Keeping

    def sweep(self) -> None:
        """What must happen about once a second."""
        now = self.clock()
        for path, hosted in list(self._open.items()):
            with self._lock, hosted.lock:
                if self._open.get(path) is not hosted:
                    continue
                hosted.writer.tend()
                if hosted.writer.fenced_by is not None:
                    self._let_go(hosted, catalogued=False)
                    continue
                if hosted.point.state in ALIVE and now - hosted.seen > SILENCE:
                    end = "preempted" if hosted.point.meta.get("preempting") else "crashed"
                    try:
                        hosted.commit([state(end, None, hosted.seen)])
                    except ResumeError as error:
                        self._tell(str(error))
                if hosted.dirty:
                    hosted.dirty = False
                    self.catalogue(hosted.point)
                if hosted.point.state not in ALIVE and now - hosted.touched > IDLE:
                    self._let_go(hosted)

    def close(self) -> None:
        """Let every run go. What is running stays so for its clients: the next server goes on with it."""
        with self._lock:
            for hosted in list(self._open.values()):
                with hosted.lock:
                    self._let_go(hosted)

    def _let_go(self, hosted: Hosted, catalogued: bool = True) -> None:
        self._open.pop(hosted.point.path, None)
        self._settled.pop(hosted.point.path, None)
        if catalogued and hosted.dirty:
            self.catalogue(hosted.point)
        hosted.writer.release()


def _frozen(point: ResumePoint) -> ResumePoint:
    """A copy that later lines do not change."""
    return replace(
        point,
        meta=dict(point.meta),
        config=dict(point.config),
        summary=dict(point.summary),
        files=dict(point.files),
        streams={name: dict(value) for name, value in point.streams.items()},
    )
