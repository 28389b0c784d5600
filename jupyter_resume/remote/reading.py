"""Answers read: GraphQL's data and errors, and the JSON texts that W&B nests in them.

A null is nothing, where nothing does no harm. What a run is continued by is checked, and named if it makes no sense.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import RemoteMalformed, RemoteRefused
from ..identity import RunPath
from ..store import lines
from ..wording import short
from . import answers
from .base import RemotePoint, RemoteRun
from .http import Http
from .patience import Patience
from .queries import DECORATION, unknown, without

_NAME = re.compile(r"(?:query|mutation)\s+(\w+)")


def ask(
    http: Http, document: str, variables: Mapping[str, Any], patience: Patience, also: Collection[int] = ()
) -> dict[str, Any]:
    """The data of the answer to a document; fields that the server is too old for are left out of it.

    Raises RemoteError.
    """
    while True:
        try:
            return _ask(http, without(document, http.lacks), variables, patience, also)
        except RemoteRefused as error:
            found = unknown(str(error)) - http.lacks
            if not found:
                raise
            http.lacks |= found


def _ask(
    http: Http, document: str, variables: Mapping[str, Any], patience: Patience, also: Collection[int]
) -> dict[str, Any]:
    """The data of the answer to a document as it is.

    Raises RemoteRefused for GraphQL errors, unless each is about a field that only decorates (`DECORATION`) and
    there is data: a null that comes with an error is not known to be nothing.
    """
    name = _NAME.search(document)
    body = {"query": document, "variables": dict(variables), "operationName": name[1] if name else None}
    said = http.post("/graphql", body, patience, also).value
    data, errors = said.get("data"), said.get("errors")
    if errors:
        listed = errors if isinstance(errors, list) else [errors]
        if not isinstance(data, dict) or not all(map(_decorates, listed)):
            words = http.without_key(answers.messages_of(listed)) or "without saying why"
            if answers.was_deleted(words):
                raise answers.deleted(http.base_url, words)
            raise RemoteRefused(
                f"{answers.host_of(http.base_url)} refuses this ({words}): check entity, project and run id, and the "
                "rights of the API key."
            )
    if not isinstance(data, dict):
        raise Reader(http.base_url).nonsense("data", data)
    return data


def _decorates(error: object) -> bool:
    path = error.get("path") if isinstance(error, dict) else None
    return isinstance(path, list) and any(isinstance(name, str) and name in DECORATION for name in path)


class Reader:
    """Reads the fields of a server's answers; raises RemoteMalformed with their names."""

    def __init__(self, base_url: str) -> None:
        self._host = answers.host_of(base_url)

    def nonsense(self, what: str, value: object) -> RemoteMalformed:
        """The error for a field that cannot be as it is."""
        how = "is missing" if value is None else f"is {short(repr(value), 40)}"
        if isinstance(value, (list, dict, str)):  # it may hold a signed address
            how = f"is {type(value).__name__} of length {len(value)}"
        return RemoteMalformed(
            f"{self._host} answered what makes no sense: {what} {how}; update the server, or check that "
            "WANDB_BASE_URL is a W&B server's address.",
            field=what,
        )

    def node(self, data: Mapping[str, Any], *names: str) -> dict[str, Any] | None:
        """The object at the end of a path of names; None if there is a null on the way."""
        at: Any = data
        for name in names:
            at = at.get(name)
            if at is None:
                return None
            if not isinstance(at, dict):
                raise self.nonsense(name, at)
        return dict(at)

    def need(self, data: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """As `node`, where a null makes no sense."""
        found = self.node(data, *names)
        if found is None:
            raise self.nonsense(".".join(names), None)
        return found

    def nodes(self, connection: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
        """The nodes of a connection's edges; nulls are left out."""
        edges = connection.get("edges")
        if not isinstance(edges, list):
            raise self.nonsense(f"{what}.edges", edges)
        found = [edge.get("node") for edge in edges if isinstance(edge, dict)]
        return [node for node in found if isinstance(node, dict)]

    def next_page(self, connection: Mapping[str, Any], what: str, before: str | None) -> str | None:
        """Where the next page begins; None if this was the last."""
        info = self.node(connection, "pageInfo") or {}
        if not info.get("hasNextPage"):
            return None
        cursor = info.get("endCursor")
        if not isinstance(cursor, str) or not cursor or cursor == before:  # else it would go on for ever
            raise self.nonsense(f"{what}.pageInfo.endCursor", cursor)
        return cursor

    def count(self, node: Mapping[str, Any], what: str, must: bool = True) -> int | None:
        """A number of lines, or of bytes."""
        value = whole(node.get(what))
        if value is None and not must:
            return None
        if type(value) is not int or value < 0:
            raise self.nonsense(what, value)
        return value

    def nested(self, value: object, what: str) -> dict[str, Any]:
        """A JSON object in a text."""
        if value is None or value == "":
            return {}
        found = self._load(value, what)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self.nonsense(what, value)
        return found

    def tail(self, value: object, what: str) -> dict[str, Any]:
        """The last row of a JSON text that is a list of rows, each a JSON text again."""
        if value is None or value == "":
            return {}
        found = self._load(value, what)
        if isinstance(found, str):  # wrapped once more, as texts in a text are
            found = self._load(found, what)
        if found is None or found == []:
            return {}
        if not isinstance(found, list):
            raise self.nonsense(what, value)
        return self.nested(found[-1], what)

    def rows(self, value: object, what: str) -> list[dict[str, Any]]:
        """Rows of a history."""
        if not isinstance(value, list):
            raise self.nonsense(what, value)
        return [self.nested(row, what) for row in value]

    def _load(self, value: object, what: str) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return lines.load(value.encode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            raise self.nonsense(what, value) from None

    def config(self, value: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """The plain values of a config, and what the tracker keeps in it for itself."""
        plain = {
            key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
            for key, entry in self.nested(value, "config").items()
            if key != "wandb_version"
        }
        internal = plain.pop("_wandb", None)
        return plain, internal if isinstance(internal, dict) else {}

    def point(self, data: Mapping[str, Any], asked: RunPath) -> RemotePoint | None:
        """Where a run stands, from the answer to RunResumeStatus."""
        model = self.node(data, "model")
        bucket = self.node(model, "bucket") if model else None
        if model is None or bucket is None:
            return None
        config, internal = self.config(bucket.get("config"))
        summary = self.nested(bucket.get("summaryMetrics"), "summaryMetrics")
        tail = self.tail(bucket.get("historyTail"), "historyTail")
        last_event = self.tail(bucket.get("eventsTail"), "eventsTail")
        events = self.count(bucket, "eventsLineCount", must=False)
        output = self.count(bucket, "logLineCount", must=False)
        marked = "t" in internal or "t" in self.nested(bucket.get("wandbConfig"), "wandbConfig")
        written = bool(events or output or summary.keys() - {"_wandb"})
        rows = self.count(bucket, "historyLineCount", must=marked or written or bool(tail)) or 0
        if not (marked or written or rows):  # nothing was ever written: what is not counted is none
            events, output = events or 0, output or 0
        inner, notes, tags = summary.get("_wandb"), bucket.get("notes"), bucket.get("tags")
        return RemotePoint(
            path=self.path(model, text(bucket.get("name")), asked),
            storage_id=text(bucket.get("id")),
            started=marked or written or bool(rows),
            rows=rows,
            events=events,
            output=output,
            tail=tail,
            runtime=max(
                _seconds(last_event.get("_runtime")),
                _seconds(inner.get("runtime") if isinstance(inner, dict) else None),
                _seconds(summary.get("_runtime")),
                _seconds(tail.get("_runtime")),
            ),
            name=text(bucket.get("displayName")),
            notes=notes if isinstance(notes, str) else None,
            tags=texts(tags) if isinstance(tags, list) else None,
            config=config,
            internal=internal,
            summary=summary,
        )

    def path(self, project: Mapping[str, Any], run_id: str | None, asked: RunPath) -> RunPath:
        """The run's path in the server's words, where it says something."""
        entity = self.node(project, "entity") or {}
        return RunPath(
            text(entity.get("name")) or asked.entity, text(project.get("name")) or asked.project, run_id or asked.run_id
        )

    def run(self, node: Mapping[str, Any], entity: str, project: str) -> RemoteRun:
        """A run as it is listed."""
        name, state = text(node.get("name")), text(node.get("state"))
        if not name or not state:
            raise self.nonsense("state" if name else "name", node.get("state" if name else "name"))
        user = self.node(node, "user") or {}
        return RemoteRun(
            path=RunPath(entity, project, name),
            storage_id=text(node.get("id")),
            name=text(node.get("displayName")) or name,
            state=state,
            config=self.config(node.get("config"))[0],
            summary=self.nested(node.get("summaryMetrics"), "summaryMetrics"),
            tags=texts(node.get("tags")),
            notes=text(node.get("notes")),
            group=text(node.get("group")),
            job_type=text(node.get("jobType")),
            rows=self.count(node, "historyLineCount", must=False),
            created_at=text(node.get("createdAt")),
            heartbeat_at=text(node.get("heartbeatAt")),
            user=text(user.get("username")) or text(user.get("name")),
        )


def whole(value: object) -> object:
    """A whole number as one: JSON may write it with a point, and servers write 64 bits as text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    return value


def text(value: object) -> str | None:
    """A string; None for anything else, and for an empty one."""
    return value if isinstance(value, str) and value else None


def texts(value: object) -> tuple[str, ...]:
    """The strings of a list."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        return 0.0
    return float(value)
