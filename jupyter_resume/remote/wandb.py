"""Weights & Biases as a remote: its cloud, one hosted by oneself, or `jupyter resume serve`.

Source: W&B's GraphQL API and file_stream, as its SDK 0.31 uses them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from .. import keys, notices
from ..errors import FileError, InvalidInput, KeyRejected, RemoteError, RemoteGone, RemoteRefused, RunMissing
from ..identity import RunPath
from . import answers, download, queries
from .base import Account, Begun, Description, Lines, Page, Post, RemoteFile, RemotePoint, RemoteRun, Reply, step_of
from .bodies import upload_headers
from .http import Http, Timeouts
from .patience import Clock, Patience, Sleep
from .reading import Reader, ask, text, texts, whole

_PAGE = 50  # files or names of one query
_MOST_OF_A_STEP = 1 << 20  # rows; more at one step are taken as the server thins them
_LONGEST_PAUSE = 300.0
_EXPIRED = (403, 404, 410)  # what storage says of an upload address that is no longer good
_UNKNOWN = re.compile(r"(?i)unsupported|unknown|cannot query|undefined|no such|doesn't exist|does not exist on")


class Wandb:
    """A server with W&B's protocol; implements `base.Remote`. Threads may share it."""

    def __init__(
        self,
        base_url: str = keys.DEFAULT_BASE_URL,
        key: str | None = None,
        patience: float = 30.0,
        timeouts: Timeouts | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
        chance: Callable[[], float] = random.random,
        tell: notices.Tell = notices.tell,
    ) -> None:
        self.base_url = keys.read_base_url(base_url)
        self._http = Http(
            self.base_url, None if key is None else keys.check_form(key), patience, timeouts, clock, sleep, chance
        )
        self._read = Reader(self.base_url)
        self._host = answers.host_of(self.base_url)
        self._tell = tell
        self._told_of_no_digest = False
        self._old_uploads = False  # whether the server is known to lack createRunFiles
        self._ids: dict[RunPath, str] = {}

    def __repr__(self) -> str:
        return f"<Wandb {self.base_url}>"

    def account(self) -> Account:
        """Whose key it is. Raises KeyRejected."""
        viewer = self._read.node(self._ask(queries.VIEWER, {}), "viewer")
        if viewer is None:
            raise KeyRejected(
                f"{self._host} knows nobody by the API key: log in again (jupyter resume login), or mend "
                "WANDB_API_KEY, which comes first where it is set.",
                status=None,
            )
        username, teams = text(viewer.get("username")), self._read.node(viewer, "teams")
        entity = text(viewer.get("entity")) or username
        if entity is None:
            raise self._read.nonsense("viewer.entity", viewer.get("entity"))
        names = [node.get("name") for node in self._read.nodes(teams, "teams")] if teams and teams.get("edges") else []
        return Account(entity, username, texts(names))

    def url_of(self, path: RunPath) -> str:
        """The run's page, for a person."""
        page = "https://wandb.ai" if urlsplit(self.base_url).hostname in keys.CLOUD_HOSTS else self.base_url
        return f"{page}/{_escaped(path.entity, path.project, 'runs', path.run_id)}"

    # A run that is written

    def resume_point(self, path: RunPath) -> RemotePoint | None:
        """Where a run stands; None if there is no such run."""
        return self._point(path, self._http.patience())

    def begin(self, path: RunPath, said: Description, storage_id: str | None = None) -> Begun:
        """Begin a run, or go on with the one that is there.

        Its config gets the mark without which W&B's SDK takes a run for one that never began. A run that is gone on
        with (``storage_id``) keeps its config if ``said.config`` is None: a config that is sent replaces it.
        """
        if said.config is None and storage_id is None:
            said = dataclasses.replace(said, config={})
        variables = {**_described(said), "host": said.host or platform.node() or "unknown", "program": said.program}
        payload = self._upsert(path, variables, storage_id)
        bucket = self._read.need(payload, "upsertBucket", "bucket")
        if (found := text(bucket.get("id"))) is not None:
            self._ids[path] = found
        project = self._read.node(bucket, "project") or {}
        return Begun(
            path=self._read.path(project, text(bucket.get("name")), path),
            storage_id=found,
            name=text(bucket.get("displayName")),
            rows=self._read.count(bucket, "historyLineCount", must=False),
        )

    def describe(self, path: RunPath, said: Description) -> None:
        """Change what is said of a run; ``host`` and ``program`` belong to its beginning and are not sent."""
        payload = self._upsert(path, _described(said), self._ids.get(path))
        self._read.need(payload, "upsertBucket")

    def append(self, path: RunPath, post: Post) -> Reply:
        """Send lines, the summary, the end, or a sign of life."""
        address = f"/files/{_escaped(path.entity, path.project, path.run_id)}/file_stream"
        answer = self._http.post(address, _body(post), self._http.patience(), slow=2)
        return Reply(stopped=answer.value.get("stopped") is True, pause=_pause(answer.headers))

    def rewind(self, path: RunPath, step: int) -> RemotePoint:
        """Go back to ``step``: later rows are no part of the run any more. Raises RemoteGone if there is no run."""
        patience = self._http.patience()
        asked = {
            "runName": path.run_id, "entity": path.entity, "project": path.project,
            "metricName": "_step", "metricValue": step,
        }  # fmt: skip
        data = ask(self._http, queries.REWIND, asked, patience)
        point = self._point(path, patience) if self._read.node(data, "rewindRun", "rewoundRun") else None
        if point is None:
            raise self._gone(path)
        return point

    # Its files

    def files(self, path: RunPath, names: Sequence[str] | None = None) -> Iterator[RemoteFile]:
        """The files of a run, or those of ``names`` that it has. Raises RemoteGone if there is no such run."""
        if names is None:
            yield from self._files(path, [])
        for start in range(0, len(names or ()), _PAGE):
            yield from self._files(path, list(names or ())[start : start + _PAGE])

    def put_file(self, path: RunPath, name: str, content: Path, mimetype: str | None = None) -> None:
        """Upload the content of a local file as ``name``.

        ``mimetype`` is not sent: W&B takes it from the name, and storage refuses headers that its address does not
        name. Raises FileNotFoundError if the file is gone by now, FileError if it cannot be read to its end.
        """
        patience = self._http.patience()
        try:
            source = open(content, "rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileError(f"{content} cannot be read ({error.strerror}): save it again.", path=content) from None
        with source:
            self._put(path, name, source, os.fstat(source.fileno()).st_size, patience)

    def fetch(self, file: RemoteFile, into: Path, progress: bool = False) -> None:
        """Download to ``into`` and check size and digest; what fails leaves nothing there. Raises FileDamaged."""
        checked = download.fetch(self._http, file, into, progress)
        if not checked and not self._told_of_no_digest:
            self._told_of_no_digest = True
            self._tell(f"{self._host} gives no digest of {file.name!r}: of such files only the size is checked")

    # Runs from outside

    def run(self, path: RunPath) -> RemoteRun:
        """A run. Raises RunMissing."""
        node = self._read.node(self._ask(queries.RUN, _named(path)), "project", "run")
        if node is None:
            raise RunMissing(f"{self._host} has no run {path}: list the project's runs, or check the run id.")
        return self._read.run(node, path.entity, path.project)

    def runs(
        self,
        entity: str,
        project: str,
        filters: Mapping[str, Any] | None = None,
        order: str | None = None,
        after: str | None = None,
        most: int = _PAGE,
    ) -> Page:
        """Some runs of a project, from where an earlier page ended. Raises RemoteGone if there is no such project."""
        asked = {"entity": entity, "project": project, "cursor": after, "perPage": most, "order": order}
        asked["filters"] = json.dumps(dict(filters)) if filters else None
        found = self._read.node(self._ask(queries.RUNS, _given(asked)), "project")
        if found is None:
            raise RemoteGone(f"{self._host} has no project {entity}/{project}: check both names.", status=None)
        connection = self._read.need(found, "runs")
        runs = tuple(self._read.run(node, entity, project) for node in self._read.nodes(connection, "runs"))
        total = self._read.count(found, "runCount", must=False)
        return Page(runs, self._read.next_page(connection, "runs", after), total)

    def sampled(self, path: RunPath, keys: Sequence[str] | None = None, samples: int = 500) -> list[dict[str, Any]]:
        """At most about ``samples`` rows of the history, evenly taken; with ``keys`` the rows that have all of them."""
        if not keys:
            node = self._history(queries.FULL_HISTORY, {**_named(path), "samples": samples}, path)
            return self._read.rows(node.get("history"), "history")
        spec = {"keys": list(dict.fromkeys(["_step", *keys])), "samples": samples}
        node = self._history(queries.SAMPLED_HISTORY, {**_named(path), "specs": [json.dumps(spec)]}, path)
        found = node.get("sampledHistory")
        return self._read.rows(found[0] if isinstance(found, list) and found else found, "sampledHistory")

    def scan(
        self, path: RunPath, min_step: int = 0, max_step: int | None = None, page_size: int = 1000
    ) -> Iterator[dict[str, Any]]:
        """Every row of the history whose step is in ``[min_step, max_step)``, fetched a page at a time.

        A page that comes back full may have been thinned by the server, unless it has a row for every step: it is
        asked for again, for half the steps or for more rows of one. Where steps are far apart, pages span more.
        """
        node = self._history(queries.LAST_STEP, _named(path), path)
        last = self._read.nested(node.get("historyKeys"), "historyKeys").get("lastStep")
        known = (
            step_of({"_step": whole(last)}),
            step_of(self._read.nested(node.get("summaryMetrics"), "summaryMetrics")),
        )
        end = 1 + max((step for step in known if step is not None), default=-1)
        end = end if max_step is None else min(end, max_step)
        at, span, most = max(0, min_step), page_size, page_size
        while at < end:
            stop = min(at + span, end)
            asked = {
                "entity": path.entity, "project": path.project, "run": path.run_id,
                "minStep": at, "maxStep": stop, "pageSize": most,
            }  # fmt: skip
            rows = self._read.rows(self._history(queries.HISTORY_PAGE, asked, path).get("history"), "history")
            full = len(rows) >= most
            if full and len({step_of(row) for row in rows}) < stop - at:
                span = (stop - at) // 2
                continue
            if full and stop - at == 1 and most < _MOST_OF_A_STEP:
                most *= 2
                continue
            yield from (row for row in rows if (step := step_of(row)) is None or at <= step < stop)
            at, most = stop, page_size
            span = span * 2 if len(rows) < page_size // 2 else max(span, page_size)

    # Requests

    def _ask(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        return ask(self._http, document, variables, self._http.patience())

    def _point(self, path: RunPath, patience: Patience) -> RemotePoint | None:
        point = self._read.point(ask(self._http, queries.RESUME_STATUS, _named(path), patience), path)
        if point is not None and point.storage_id is not None:
            self._ids[path] = point.storage_id
        return point

    def _upsert(self, path: RunPath, variables: Mapping[str, Any], storage_id: str | None) -> dict[str, Any]:
        asked = {**variables, **_named(path), "id": storage_id}
        return ask(self._http, queries.UPSERT, _given(asked), self._http.patience(), also=(409,))

    def _history(self, document: str, variables: Mapping[str, Any], path: RunPath) -> dict[str, Any]:
        node = self._read.node(self._ask(document, variables), "project", "run")
        if node is None:
            raise self._gone(path)
        return node

    def _gone(self, path: RunPath) -> RemoteError:
        return RemoteGone(f"{self._host} has no run {path}: check entity, project and run id.", status=None)

    def _files(self, path: RunPath, names: list[str]) -> Iterator[RemoteFile]:
        after: str | None = None
        while True:
            asked = {**_named(path), "fileNames": names, "fileLimit": _PAGE, "fileCursor": after}
            node = self._history(queries.FILES, _given(asked), path)
            connection = self._read.need(node, "files")
            for found in self._read.nodes(connection, "files"):
                name, url, md5 = text(found.get("name")), text(found.get("url")), text(found.get("md5"))
                if name is None or url is None or md5 == "0":  # a name that the run has no file for
                    continue
                if names and name not in names:  # the server takes no notice of names
                    continue
                size = self._read.count(found, "sizeBytes") or 0
                yield RemoteFile(name, size, md5, url, text(found.get("updatedAt")), text(found.get("mimetype")))
            after = self._read.next_page(connection, "files", after)
            if after is None:
                return

    def _put(self, path: RunPath, name: str, source: BinaryIO, size: int, patience: Patience) -> None:
        for fresh in (False, True):
            url, headers = self._upload_address(path, name, patience)
            try:
                self._http.put(url, source, size, headers, patience)
                return
            except RemoteRefused as error:
                if fresh or error.status not in _EXPIRED:
                    raise RemoteRefused(
                        f"{answers.host_of(url)} does not take the upload of {name!r} (HTTP {error.status}"
                        f"{error.words and ': ' + error.words}): see that the run and its storage are there.",
                        status=error.status,
                    ) from None

    def _upload_address(self, path: RunPath, name: str, patience: Patience) -> tuple[str, dict[str, str]]:
        """Where to put a file, and with which headers."""
        if not self._old_uploads:
            asked = {"entity": path.entity, "project": path.project, "run": path.run_id, "files": [name]}
            try:
                data = ask(self._http, queries.CREATE_FILES, asked, patience)
            except RemoteRefused as error:
                if "createrunfiles" not in str(error).lower() or not _UNKNOWN.search(str(error)):
                    raise
                self._old_uploads = True
            else:
                made = self._read.need(data, "createRunFiles")
                files = made.get("files")
                if not isinstance(files, list) or len(files) != 1 or not isinstance(files[0], dict):
                    raise self._read.nonsense("createRunFiles.files", files)
                return self._address(files[0].get("uploadUrl"), "uploadUrl"), upload_headers(made.get("uploadHeaders"))
        old = {"name": path.project, "entity": path.entity, "run": path.run_id, "files": [name]}
        bucket = self._read.node(ask(self._http, queries.UPLOAD_URLS, old, patience), "model", "bucket")
        if bucket is None:
            raise self._gone(path)
        connection = self._read.need(bucket, "files")
        nodes = self._read.nodes(connection, "files")
        if len(nodes) != 1:
            raise self._read.nonsense("files.edges", connection.get("edges"))
        return self._address(nodes[0].get("url"), "url"), upload_headers(connection.get("uploadHeaders"))

    def _address(self, value: object, what: str) -> str:
        if not isinstance(value, str) or not value:
            raise self._read.nonsense(what, value)
        return self._http.absolute(value)


def _named(path: RunPath) -> dict[str, Any]:
    return {"entity": path.entity, "project": path.project, "name": path.run_id}


def _given(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables without those that say nothing."""
    return {name: value for name, value in variables.items() if value is not None}


def _escaped(*names: str) -> str:
    """A path of these names. InvalidInput for one of dots alone: in an address it would be a step up."""
    if found := next((name for name in names if not name.strip(".")), None):
        raise InvalidInput(f"A server cannot have {found!r} as a name: give entity, project and run other names.")
    return "/".join(quote(name, safe="") for name in names)


def _described(said: Description) -> dict[str, Any]:
    """The variables of UpsertBucket for what is said of a run."""
    return _given(
        {
            "displayName": said.name,
            "notes": said.notes,
            "tags": None if said.tags is None else list(said.tags),
            "groupName": said.group,
            "jobType": said.job_type,
            "config": None if said.config is None else config_text(said.config, said.internal),
        }
    )


def config_text(config: Mapping[str, Any], internal: Mapping[str, Any]) -> str:
    """A config in W&B's form. NaN and infinities, which no strict JSON has, become the strings that name them."""
    known = internal.get("t")
    marks = {**(known if isinstance(known, Mapping) else {}), "4": platform.python_version()}
    entries = {str(key): {"value": value} for key, value in config.items() if key not in ("_wandb", "wandb_version")}
    return json.dumps(_strict({**entries, "_wandb": {"value": {**internal, "t": marks}}}), allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    return [_strict(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _body(post: Post) -> dict[str, Any]:
    """A post in the form of file_stream."""
    summary = None if post.summary is None else Lines(0, [post.summary])
    streams = {
        "wandb-history.jsonl": post.rows, "wandb-events.jsonl": post.events,
        "wandb-summary.json": summary, "output.log": post.output,
    }  # fmt: skip
    body: dict[str, Any] = {}
    if files := {
        name: {"offset": part.offset, "content": list(part.texts)} for name, part in streams.items() if part is not None
    }:
        body["files"] = files
    if post.uploaded:
        body["uploaded"] = list(post.uploaded)
    if post.preempting:
        body["preempting"] = True
    if post.complete:
        body.update(complete=True, exitcode=post.exit_code if post.exit_code is not None else 0)
    return body


def _pause(headers: Mapping[str, str]) -> float:
    """How long to leave the server alone, so that the requests it still allows last until it allows more."""
    try:
        left, reset = float(headers["RateLimit-Remaining"]), float(headers["RateLimit-Reset"])
    except (KeyError, ValueError):
        return 0.0
    if not (left >= 0 and 0 < reset < float("inf")):
        return 0.0
    return min(reset / max(left, 1.0), _LONGEST_PAUSE)
