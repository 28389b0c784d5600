"""A server in memory, for all that lies above the wire: the `Remote` protocol over dicts, with calls that can fail.

tracker.install(monkeypatch): every `connect` of this process then reaches it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume.digests import encoded
from jupyter_resume.errors import (
    FileDamaged,
    KeyRejected,
    RemoteError,
    RemoteGone,
    RemoteRefused,
    RemoteUnreachable,
    RunMissing,
)
from jupyter_resume.identity import RunPath
from jupyter_resume.remote.base import (
    Account,
    Begun,
    Description,
    Page,
    Post,
    RemoteFile,
    RemotePoint,
    RemoteRun,
    Reply,
)

URL = "https://tracker.example"
KEY = "0123456789abcdef0123456789abcdef01234567"
CHANGES = ("begin", "describe", "append", "put_file", "rewind")


def unreachable() -> RemoteUnreachable:
    return RemoteUnreachable("tracker.example cannot be reached (the connection was refused).")


@dataclass
class Kept:
    """A run as the server has it. ``rows`` has None where a line never came; a list of JSON values otherwise."""

    path: RunPath
    storage_id: str
    rows: list[dict[str, Any] | None] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    internal: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    state: str = "running"
    exit_code: int | None = None
    started: bool = True
    stopped: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    beats: int = 0

    @property
    def steps(self) -> list[int]:
        return [-1 if row is None else row["_step"] for row in self.rows]

    def values(self, key: str) -> list[Any]:
        """What was logged under a name, row by row."""
        return [None if row is None else row.get(key) for row in self.rows]

    def log(self, **values: Any) -> None:
        """What another client logs, straight to the server."""
        step = max([*self.steps, self.summary.get("_step", -1)]) + 1
        row = {"_step": step, "_timestamp": 2e9 + step, "_runtime": float(step), **values}
        self.rows.append(row)
        self.summary.update(row)

    def rewind(self, step: int) -> None:
        """What W&B's SDK does by ``resume_from``, before it logs anything."""
        self.rows = [row for row in self.rows if row is not None and row["_step"] <= step]
        self.summary = dict(self.rows[-1] or {}) if self.rows else {}
        self.internal = {**self.internal, "branch_point": {"run_id": self.path.run_id, "step": float(step)}}


@dataclass
class Call:
    """A call that reached the server."""

    name: str
    path: RunPath | None
    what: Any = None


class Tracker:
    """The server. ``down`` is raised by every call while it is set; `then` makes single calls fail.

    ``overwritten`` has every line that was put where another one stood: nothing of ours may ever do that.
    """

    def __init__(self, entity: str = "alice") -> None:
        self.entity = entity
        self.keys = {KEY}
        self.runs: dict[RunPath, Kept] = {}
        self.calls: list[Call] = []
        self.overwritten: list[tuple[RunPath, int]] = []
        self.put_bytes = self.scanned = 0
        self.down: RemoteError | None = None
        self.most: int | None = None  # bytes of rows that a post may have
        self._ids = itertools.count(1)
        self._then: dict[str, deque[Callable[[], None]]] = defaultdict(deque)
        self._after: dict[str, deque[Callable[[], None]]] = defaultdict(deque)
        self._lock = threading.RLock()

    def remote(self, base_url: str = URL, key: str = KEY, **ignored: Any) -> Client:
        """As `remote.wandb.Wandb`."""
        return Client(self, base_url, key)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the server of this test's process."""
        monkeypatch.setattr("jupyter_resume.remote.wandb.Wandb", self.remote)
        monkeypatch.setenv("WANDB_BASE_URL", URL)
        monkeypatch.setenv("WANDB_API_KEY", KEY)

    def then(self, name: str, *effects: RemoteError | Callable[[], None]) -> None:
        """The next calls of this name fail before they do anything; a function is called instead."""
        self._then[name].extend(map(_effect, effects))

    def after(self, name: str, *effects: RemoteError | Callable[[], None]) -> None:
        """The next calls of this name do what they are to, and fail then: the answer is lost."""
        self._after[name].extend(map(_effect, effects))

    def one(self, run_id: str = "r1") -> Kept:
        """The run of this id."""
        (found,) = (run for path, run in self.runs.items() if path.run_id == run_id)
        return found

    def begun(self, run_id: str = "r1", project: str = "demo", **said: Any) -> Kept:
        """A run that was begun by somebody else."""
        path = RunPath(self.entity, project, run_id)
        self.runs[path] = Kept(path, f"id{next(self._ids)}", **said)
        return self.runs[path]

    def changes(self) -> list[Call]:
        """The calls that change something."""
        return [call for call in self.calls if call.name in CHANGES]

    def asked(self, name: str) -> int:
        """How often a call was made."""
        return sum(call.name == name for call in self.calls)


def _effect(effect: RemoteError | Callable[[], None]) -> Callable[[], None]:
    if not isinstance(effect, RemoteError):
        return effect

    def fail() -> None:
        raise effect

    return fail


class Client:
    """A key's view of the server: a `Remote`."""

    def __init__(self, tracker: Tracker, base_url: str, key: str) -> None:
        self.base_url = base_url
        self._tracker, self._key = tracker, key

    def _enter(self, name: str, path: RunPath | None, what: Any = None) -> None:
        tracker = self._tracker
        tracker.calls.append(Call(name, path, what))
        if tracker.down is not None:
            raise tracker.down
        if self._key not in tracker.keys:
            raise KeyRejected("tracker.example does not take the API key: log in again.", status=401)
        if tracker._then[name]:
            tracker._then[name].popleft()()

    def _leave(self, name: str) -> None:
        if self._tracker._after[name]:
            self._tracker._after[name].popleft()()

    def _need(self, path: RunPath) -> Kept:
        if path not in self._tracker.runs:
            raise RemoteGone(f"tracker.example has no run {path}: check entity, project and run id.", status=404)
        return self._tracker.runs[path]

    def account(self) -> Account:
        self._enter("account", None)
        return Account(self._tracker.entity)

    def url_of(self, path: RunPath) -> str:
        return f"{self.base_url}/{path.entity}/{path.project}/runs/{path.run_id}"

    def resume_point(self, path: RunPath) -> RemotePoint | None:
        self._enter("resume_point", path)
        with self._tracker._lock:
            run = self._tracker.runs.get(path)
            if run is None:
                return None
            return RemotePoint(
                path=path,
                storage_id=run.storage_id,
                started=run.started,
                rows=len(run.rows),
                tail=json.loads(json.dumps(run.rows[-1] or {})) if run.rows else {},
                runtime=float((run.summary.get("_wandb") or {}).get("runtime", 0)),
                name=run.name,
                notes=run.notes,
                tags=run.tags,
                config=json.loads(json.dumps(run.config)),
                internal=dict(run.internal),
                summary=json.loads(json.dumps({k: v for k, v in run.summary.items() if k != "_wandb"})),
            )

    def begin(self, path: RunPath, said: Description, storage_id: str | None = None) -> Begun:
        self._enter("begin", path, said)
        with self._tracker._lock:
            if path not in self._tracker.runs:
                self._tracker.runs[path] = Kept(path, f"id{next(self._tracker._ids)}", name=path.run_id)
            run = self._tracker.runs[path]
            if storage_id is not None:
                assert storage_id == run.storage_id, "a run is continued by its own id"
            run.state, run.exit_code, run.started = "running", None, True
            self._describe(run, said)
            begun = Begun(path, run.storage_id, run.name, len(run.rows))
        self._leave("begin")
        return begun

    def describe(self, path: RunPath, said: Description) -> None:
        self._enter("describe", path, said)
        self._describe(self._need(path), said)
        self._leave("describe")

    def _describe(self, run: Kept, said: Description) -> None:
        for name in ("name", "notes"):
            if (value := getattr(said, name)) is not None:
                setattr(run, name, value or None)
        if said.tags is not None:
            run.tags = tuple(said.tags)
        if said.config is not None:
            run.config = json.loads(json.dumps(dict(said.config)))
            run.internal = {**said.internal, "t": {"4": "3.11"}}

    def append(self, path: RunPath, post: Post) -> Reply:
        self._enter("append", path, post)
        tracker = self._tracker
        with tracker._lock:
            run = self._need(path)
            size = sum(map(len, post.rows.texts)) if post.rows else 0
            if tracker.most is not None and size > tracker.most:
                raise too_large()
            if post.rows:
                at = post.rows.offset
                run.rows.extend([None] * (at - len(run.rows)))
                for number, text in enumerate(post.rows.texts, at):
                    row = json.loads(text)
                    if number == len(run.rows):
                        run.rows.append(row)
                    else:
                        if run.rows[number] not in (None, row):
                            tracker.overwritten.append((path, number))
                        run.rows[number] = row
            if post.summary is not None:
                run.summary = json.loads(post.summary)
            if post == Post():
                run.beats += 1
            if post.complete:
                run.state = "failed" if post.exit_code else "finished"
                run.exit_code = post.exit_code
            reply = Reply(run.stopped)
        self._leave("append")
        return reply

    def rewind(self, path: RunPath, step: int) -> RemotePoint:
        raise NotImplementedError

    def files(self, path: RunPath, names: Sequence[str] | None = None) -> Iterator[RemoteFile]:
        self._enter("files", path, names)
        for name, data in list(self._need(path).files.items()):
            if names is None or name in names:
                yield RemoteFile(name, len(data), _md5(data), f"{self.base_url}/{path}/{name}")

    def put_file(self, path: RunPath, name: str, content: Path, mimetype: str | None = None) -> None:
        self._enter("put_file", path, name)
        data = content.read_bytes()
        self._tracker.put_bytes += len(data)
        self._need(path).files[name] = data
        self._leave("put_file")

    def fetch(self, file: RemoteFile, into: Path, progress: bool = False) -> None:
        self._enter("fetch", None, file.name)
        path, _, _ = file.url.removeprefix(f"{self.base_url}/").rpartition(f"/{file.name}")
        data = self._need(RunPath(*path.split("/"))).files[file.name]
        if _md5(data) != file.md5:
            raise FileDamaged(f"{file.name} came damaged: try again.")
        fresh = into.with_name(f".{into.name}.part")
        fresh.write_bytes(data)
        fresh.replace(into)

    def run(self, path: RunPath) -> RemoteRun:
        self._enter("run", path)
        run = self._tracker.runs.get(path)
        if run is None:
            raise RunMissing(f"tracker.example has no run {path}.")
        return RemoteRun(path, run.storage_id, run.name or "", run.state, run.config, run.summary, rows=len(run.rows))

    def runs(self, *asked: Any, **how: Any) -> Page:
        raise NotImplementedError

    def sampled(self, path: RunPath, keys: Sequence[str] | None = None, samples: int = 500) -> list[dict[str, Any]]:
        return list(self.scan(path))

    def scan(
        self, path: RunPath, min_step: int = 0, max_step: int | None = None, page_size: int = 1000
    ) -> Iterator[dict[str, Any]]:
        self._enter("scan", path)
        for row in self._need(path).rows:
            if row is not None and min_step <= row["_step"] and (max_step is None or row["_step"] < max_step):
                self._tracker.scanned += 1
                yield json.loads(json.dumps(row))


def too_large() -> RemoteError:
    return RemoteRefused("tracker.example does not take a post of this size (HTTP 413).", status=413)


def _md5(data: bytes) -> str:
    return encoded(hashlib.md5(data, usedforsecurity=False).digest())
