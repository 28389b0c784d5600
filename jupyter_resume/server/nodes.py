"""The nodes of the GraphQL schema: runs, projects, files, as W&B's terms describe what the store has.

A field of the schema is an attribute here, or a method that takes the query's ``info`` and the field's arguments.
"""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import files as run_files
from .. import selection
from ..errors import UnsafeName
from ..sampling import thinned
from ..store.record import FileEntry
from ..times import iso
from . import history
from .access import Client
from .digests import md5_of
from .hosting import Hosting, Seen
from .naming import MOST, dumps, encode_id, file_path, number_of, page, path_of, read_filters
from .tickets import Tickets

_STATES = {"interrupted": "killed"}  # ours, in W&B's words


@dataclass(frozen=True)
class Asking:
    """What resolvers need: the store, who asks, and the address that the client knows this server by."""

    hosting: Hosting
    tickets: Tickets
    client: Client
    address: str

    def entity(self, name: str | None) -> str:
        """The entity that is meant; the key's own if none is named (SDK 0.8 writes none as "None")."""
        return self.client.entity if name in (None, "", "None") else str(name)


class ProjectNode:
    """A project: there is one for any name, with or without runs."""

    def __init__(self, asking: Asking, entity: str, name: str) -> None:
        self._asking = asking
        self.name = name
        self.entityName = entity
        self.id = encode_id("Project", name, entity)
        self.internalId = str(number_of(f"{entity}/{name}"))
        self.entity = EntityNode(asking, entity)
        self.description = self.repo = self.dockerImage = self.views = self.user = None
        self.access = "PRIVATE"
        self.isBenchmark = False
        self.readOnly = asking.client.role != "write"

    @property
    def createdAt(self) -> str | None:
        """When its first run was begun."""
        begun = self._asking.hosting.store.catalog.project(self.entityName, self.name)[1]
        return None if begun is None else iso(begun)

    def run(self, info: Any, name: str | None = None, **_: Any) -> RunNode | None:
        """A run of the project."""
        path = path_of(self.entityName, self.name, name)
        seen = self._asking.hosting.see(path) if path else None
        return RunNode(self._asking, seen) if seen else None

    bucket = run

    def runs(self, info: Any, after: str | None = None, first: int | None = None, **asked: Any) -> dict[str, Any]:
        """The runs, filtered and ordered."""
        return page([RunNode(self._asking, seen) for seen in self._chosen(**asked)], after, first)

    buckets = runs

    def runCount(self, info: Any, filters: str | None = None) -> int:
        """How many runs match."""
        if read_filters(filters):
            return len(self._chosen(filters))
        return self._asking.hosting.store.catalog.project(self.entityName, self.name)[0]

    def _chosen(self, filters: str | None = None, order: str | None = None) -> list[Seen]:
        return selection.choose(self._asking.hosting.list(self.entityName, self.name), read_filters(filters), order)


class EntityNode:
    """An entity: a person's or a team's name."""

    def __init__(self, asking: Asking, name: str) -> None:
        self._asking = asking
        self.name = name
        self.id = encode_id("Entity", name)
        self.available = self.isTeam = self.privateOnly = self.isPaid = False
        self.photoUrl = self.entityType = self.defaultAccess = self.organization = None
        self.readOnly = self.readOnlyAdmin = self.codeSavingEnabled = False
        self.storageBytes = 0
        self.members: list[Any] = []

    def projects(self, info: Any, after: str | None = None, first: int | None = None) -> dict[str, Any]:
        """The projects that have runs."""
        return projects(self._asking, self.name, after, first)


def projects(asking: Asking, entity: str, after: str | None = None, first: int | None = None) -> dict[str, Any]:
    """The projects of an entity that have runs, the last worked on first."""
    found = asking.hosting.store.catalog.projects(entity)
    return page([ProjectNode(asking, entity, name) for _, name, _, _ in found], after, first)


class RunNode:
    """A run, as it stood when it was looked up."""

    def __init__(self, asking: Asking, seen: Seen) -> None:
        self._asking, self._seen = asking, seen
        point, path = seen.point, seen.path
        meta = point.meta
        self.path = path
        self.id = encode_id("Run", path.run_id, path.project, path.entity)
        self.name = path.run_id
        self.displayName = meta.get("name") or path.run_id
        self.projectId = number_of(f"{path.entity}/{path.project}")
        self.state = _STATES.get(seen.state, seen.state)
        self.tags = [str(tag) for tag in meta.get("tags") or ()]
        self.notes, self.description = meta.get("notes"), meta.get("description")
        self.group = self.groupName = meta.get("group")
        self.jobType, self.commit, self.host = meta.get("job_type"), meta.get("commit"), meta.get("host")
        self.sweepName = meta.get("sweep")
        self.stopped = bool(meta.get("stopped"))
        self.readOnly = asking.client.role != "write"
        self.createdAt, self.heartbeatAt, self.updatedAt = iso(point.created), iso(seen.heartbeat), iso(point.updated)
        self.historyLineCount = point.rows
        self.eventsLineCount = point.streams.get("events", {}).get("count", 0)
        self.logLineCount = point.streams.get("output", {}).get("count", 0)
        self.fileCount = len(point.files)
        self.fencingToken = point.fence
        self.conflictCount, self.outOfOrderCount = point.conflicts, point.out_of_order
        self.runInfo: dict[str, Any] = {"program": meta.get("program"), "args": []}

    @property
    def project(self) -> ProjectNode:
        """Its project."""
        return ProjectNode(self._asking, self.path.entity, self.path.project)

    @property
    def user(self) -> dict[str, Any]:
        """Whose key began it."""
        name = self._seen.point.meta.get("user") or self.path.entity
        return {"id": encode_id("User", name), "name": name, "username": name}

    @property
    def config(self) -> str:
        """JSON: every value in an object with ``value``, as W&B has it."""
        values = {key: {"value": value} for key, value in self._seen.point.config.items() if key != "wandb_version"}
        return dumps(values | {"_wandb": {"value": self._wandb}})

    @property
    def _wandb(self) -> dict[str, Any]:
        """What W&B's SDK keeps of itself in the config. Without ``t`` it takes a run for one that never began."""
        return {"t": {}, **(self._seen.point.meta.get("wandb") or {})}

    def wandbConfig(self, info: Any, keys: list[str] | None = None) -> str:
        """JSON: chosen keys of ``_wandb``."""
        return dumps({key: value for key, value in self._wandb.items() if keys is None or key in keys})

    @property
    def summaryMetrics(self) -> str:
        """JSON: the summary."""
        return dumps(self._seen.point.summary)

    @property
    def systemMetrics(self) -> str:
        """JSON: the last event."""
        return self._seen.point.streams.get("events", {}).get("tail") or "{}"

    @property
    def historyTail(self) -> str:
        """JSON: a list with the last line, as JSON again."""
        return dumps([dumps(self._seen.point.tail)] if self._seen.point.tail else [])

    @property
    def eventsTail(self) -> str:
        """JSON: a list with the last event, as JSON again."""
        tail = self._seen.point.streams.get("events", {}).get("tail")
        return dumps([tail] if tail else [])

    @property
    def historyKeys(self) -> dict[str, Any]:
        """The last step, and the names of the metrics."""
        point = self._seen.point
        kinds = {key: _kind(value) for key, value in point.summary.items() if key != "_wandb"}
        keys = {key: {"typeCounts": [{"type": kind, "count": point.rows}]} for key, kind in kinds.items()}
        return {"lastStep": point.last_step, "sets": [], "keys": keys}

    @cached_property
    def _positions(self) -> Any:
        return self._asking.hosting.positions(self.path)

    def history(
        self, info: Any, minStep: int | None = None, maxStep: int | None = None, samples: int | None = None
    ) -> list[str]:
        """Rows as JSON: those with minStep <= _step < maxStep, evenly thinned to ``samples``."""
        return [dumps(row) for row in history.sample(self._positions, minStep, maxStep, samples)]

    def sampledHistory(self, info: Any, specs: list[str]) -> list[list[dict[str, Any]]]:
        """For each spec the rows that have all its keys, with those keys."""
        return [history.by_spec(self._positions, spec) for spec in specs]

    def parquetHistory(self, info: Any, liveKeys: list[str] | None = None) -> dict[str, Any]:
        """Nothing is exported to Parquet: everything is live, from the step that is named here."""
        first = next(iter(history.sample(self._positions, None, None, None, most=1)), None)
        return {"parquetUrls": [], "liveData": [{"_step": first["_step"] if first else 0}]}

    def events(self, info: Any, samples: int | None = None) -> list[str]:
        """Events as JSON, evenly thinned."""
        numbers = thinned(range(self._positions.event_count), samples or 500)
        return [text for text in self._positions.events(numbers) if text is not None]

    def logLines(
        self, info: Any, first: int | None = None, after: str | None = None, last: int | None = None, **_: Any
    ) -> dict[str, Any]:
        """Output by lines, from the front by pages or the last ones."""
        count = self._positions.console_count
        start = max(0, count - last) if last is not None else int(after) if after and after.isdigit() else 0
        end = min(count, start + (MOST if first is None else max(0, first)))
        numbers = range(start, count if last is not None else end)
        edges = [
            {"node": history.log_line(number, text), "cursor": str(number + 1)}
            for number, text in zip(numbers, self._positions.console(numbers), strict=True)
            if text is not None
        ]
        return {"edges": edges, "pageInfo": {"endCursor": str(numbers.stop), "hasNextPage": numbers.stop < count}}

    def conflicts(self, info: Any, last: int | None = 100) -> list[dict[str, Any]]:
        """What was kept aside."""
        if not self._seen.point.conflicts:
            return []
        return list(self._positions.conflicts(MOST if last is None else last))

    def files(
        self,
        info: Any,
        names: list[str | None] | None = None,
        after: str | None = None,
        first: int | None = None,
        pattern: str | None = None,
    ) -> dict[str, Any]:
        """The files; of names that are asked for, a node also for what is not there, with md5 "0"."""
        known = self._seen.point.files
        if names:
            return page([FileNode(self, name, known.get(name)) for name in names if name], after, first)
        wanted = re.compile(_like(pattern), re.DOTALL) if pattern else None
        found = [name for name in sorted(known) if wanted is None or wanted.fullmatch(name)]
        return page([FileNode(self, name, known[name]) for name in found], after, first)


class FileNode:
    """A file of a run, or a name that it has no file for."""

    def __init__(self, run: RunNode, name: str, entry: FileEntry | None) -> None:
        self._run, self._entry = run, entry
        self.name = name
        self.id = encode_id("File", run.path.run_id, run.path.project, run.path.entity, name)
        self.sizeBytes = entry.size if entry else 0
        self.digest = entry.digest if entry else None
        self.updatedAt = iso(entry.saved_at) if entry else None
        self.mimetype = mimetypes.guess_type(name)[0] or "application/octet-stream"

    def url(self, info: Any, upload: bool | None = None) -> str | None:
        """Where to get it with a key, or where to put it without one."""
        if upload:
            return self.uploadUrl
        return f"{self._run._asking.address}{file_path(self._run.path, self.name)}" if self._entry else None

    @property
    def uploadUrl(self) -> str:
        """Where to put it, without a key. Raises UnsafeName."""
        if run_files.safe_name(self.name) != self.name:
            raise UnsafeName(f"{self.name!r:.80} is no plain name of a file: write it without '.' parts.")
        asking = self._run._asking
        asking.client.check_write(self._run.path.entity)
        return f"{asking.address}{asking.tickets.address('PUT', self._run.path, self.name)}"

    @property
    def directUrl(self) -> str | None:
        """Where to get it without a key, for some time."""
        asking = self._run._asking
        return f"{asking.address}{asking.tickets.address('GET', self._run.path, self.name)}" if self._entry else None

    @property
    def md5(self) -> str:
        """Base64; "0" if there is no such file."""
        return md5_of(self._run._asking.hosting.store.blobs(self._run.path), self._entry) if self._entry else "0"


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "nil" if value is None else "boolean"
    return "number" if isinstance(value, (int, float)) else "string" if isinstance(value, str) else "map"


def _like(pattern: str) -> str:
    """SQL's LIKE as a regular expression."""
    return "".join(".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
