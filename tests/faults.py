"""A W&B server in a thread that fails as it is told to, and otherwise keeps runs in memory.

Its answers have the shapes that W&B's protocol is known to have, not those of our server's code.

    with faults() as server:
        server.then("UpsertBucket", Fault(503), Fault(429, headers={"Retry-After": "1"}))  # these, then as usual
        server.always("PUT", Fault(403))
        server.then("RunResumeStatus", altered(lambda body: body["data"]["model"]["bucket"].update(config=None)))
        ...
        assert [seen.op for seen in server.seen] == [...]

An operation is a GraphQL operation's name, ``file_stream``, ``PUT``, ``GET``, or ``*`` for any request.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

KEY = "fa017fa017fa017fa017fa017fa017fa017fa017"
SIGNATURE = "s1gn4tur3"  # of upload and storage addresses; no message may hold it


@dataclass
class Fault:
    """An answer. ``body`` may be text, bytes, or what becomes JSON.

    ``delay``: seconds before it (or until the server closes); ``cut``: only so many bytes of the body, then the
    connection is closed; ``applied``: what was asked for is done nevertheless, and only the answer is lost.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str | None] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    applied: bool = False
    reset: bool = False
    drip: float = 0.0
    change: Callable[[Any], Any] | None = None


def refused(*messages: str, data: Any = None, path: list[str | int] | None = None, status: int = 200) -> Fault:
    """GraphQL errors, with or without data."""
    errors = [{"message": text, **({"path": path} if path else {})} for text in messages]
    return Fault(status, {"errors": errors, "data": data})


def page(status: int = 200) -> Fault:
    """A web page, as of a proxy."""
    return Fault(status, "<!DOCTYPE html><html><body>Please log in</body></html>", {"Content-Type": "text/html"})


def redirect(to: str, status: int = 302) -> Fault:
    """Another address."""
    return Fault(status, b"", {"Location": to})


def reset(applied: bool = False) -> Fault:
    """The connection is reset; ``applied``: after the request was done."""
    return Fault(reset=True, applied=applied)


def never() -> Fault:
    """The request is taken and never answered."""
    return Fault(delay=3600)


def dripping(seconds: float = 0.05) -> Fault:
    """A byte now and then, without end."""
    return Fault(drip=seconds)


def altered(change: Callable[[Any], Any]) -> Fault:
    """The usual answer, changed: in place, or to what ``change`` returns."""
    return Fault(change=change)


@dataclass
class Seen:
    """A request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    op: str
    at: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def variables(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json.get("variables") or {}
        return found

    @property
    def key(self) -> str | None:
        """The API key that came with it."""
        said = self.headers.get("authorization")
        return base64.b64decode(said.split()[1]).decode().partition(":")[2] if said else None


@dataclass
class Kept:
    """A run in memory: lines as they were sent."""

    entity: str
    project: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: str = "{}"
    rows: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    uploaded: list[str] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    exit_code: int | None = None
    stopped: bool = False

    @property
    def id(self) -> str:
        return base64.b64encode(f"Run:v1:{self.name}:{self.project}:{self.entity}".encode()).decode()

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.rows]


class Faults:
    """The server. ``bare``: null wherever W&B may say null; ``no_md5``: as a server that gives no digests."""

    def __init__(self, key: str = KEY, tls: tuple[Path, Path] | None = None, prefix: str = "") -> None:
        self.key = key
        self.entity = "tester"
        self.bare = False
        self.no_md5 = False
        self.relative = False  # addresses of files without scheme and host
        self.knows_create_files = True
        self.upload_headers: list[str] = []
        self.seen: list[Seen] = []
        self.runs: dict[tuple[str, str, str], Kept] = {}
        self.closing = threading.Event()
        self._queued: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._standing: dict[str, Fault] = {}
        self._lock = threading.RLock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.faults = self
        self.prefix = prefix
        self.port = self._http.server_address[1]
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}{prefix}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    # What a test says and asks

    def then(self, op: str, *faults: Fault) -> None:
        """The next answers to an operation; afterwards it is as usual."""
        with self._lock:
            self._queued[op].extend(faults)

    def always(self, op: str, fault: Fault | None) -> None:
        """The answer to an operation from now on, behind those of `then`; None: as usual."""
        with self._lock:
            if fault is None:
                self._standing.pop(op, None)
            else:
                self._standing[op] = fault

    def ops(self) -> list[str]:
        """The operations that came, in order."""
        return [seen.op for seen in self.seen]

    def last(self, op: str) -> Seen:
        """The last request of an operation."""
        return next(seen for seen in reversed(self.seen) if seen.op == op)

    def kept(self, name: str, project: str = "demo", entity: str | None = None) -> Kept:
        """A run, made if it is not there."""
        entity = entity or self.entity
        return self.runs.setdefault((entity, project, name), Kept(entity, project, name))

    # Requests

    def fault(self, op: str) -> Fault | None:
        with self._lock:
            for name in (op, "*"):
                if self._queued[name]:
                    return self._queued[name].popleft()
            return self._standing.get(op) or self._standing.get("*")

    def usual(self, seen: Seen) -> Fault:
        """The answer of a server that is well."""
        path = seen.path[len(self.prefix) :]
        if seen.op == "PUT":
            return self._put(seen, path)
        if not path.startswith("/storage/") and seen.key != self.key:
            return Fault(401, {"error": "invalid API key"})
        with self._lock:
            if seen.op == "file_stream":
                return self._stream(path, seen.json)
            if seen.op == "GET":
                return self._get(seen, path)
            answer = getattr(self, f"_{seen.op}", None)
            if answer is None:
                return refused(f"unsupported operation {seen.op}")
            said = answer(seen.variables)
            return said if isinstance(said, Fault) else Fault(body={"data": said})

    def _find(self, asked: dict[str, Any], name: str = "name", project: str = "project") -> Kept | None:
        return self.runs.get((asked.get("entity") or self.entity, asked.get(project) or "", asked.get(name) or ""))

    def _Viewer(self, asked: dict[str, Any]) -> Any:
        teams = None if self.bare else {"edges": [{"node": {"name": self.entity}}, {"node": {"name": "crew"}}]}
        username = None if self.bare else "tester"
        return {"viewer": {"id": "VXNlcjp2MTp0", "entity": self.entity, "username": username, "teams": teams}}

    def _RunResumeStatus(self, asked: dict[str, Any]) -> Any:
        kept = self._find(asked)
        if kept is None:
            return {"model": {"id": "P1", "name": asked["project"], "entity": None, "bucket": None}}
        wandb = (kept.config.get("_wandb") or {}).get("value") or {}
        bucket = {
            "id": kept.id,
            "name": kept.name,
            "displayName": kept.said.get("displayName"),
            "tags": kept.said.get("tags"),
            "notes": kept.said.get("notes"),
            "summaryMetrics": None if self.bare and kept.summary == "{}" else kept.summary,
            "historyLineCount": len(kept.rows),
            "eventsLineCount": len(kept.events),
            "logLineCount": len(kept.output),
            "historyTail": None if self.bare and not kept.rows else json.dumps(kept.rows[-1:]),
            "eventsTail": None if self.bare and not kept.events else json.dumps(kept.events[-1:]),
            "config": None if self.bare and not kept.config else json.dumps(kept.config),
            "wandbConfig": json.dumps({"t": wandb["t"]} if "t" in wandb else {}),
        }
        if not self.bare:
            bucket = {"displayName": kept.name, "tags": [], "notes": ""} | {
                key: value for key, value in bucket.items() if value is not None
            }
        entity = None if self.bare else {"id": "E1", "name": kept.entity}
        return {"model": {"id": "P1", "name": kept.project, "entity": entity, "bucket": bucket}}

    def _UpsertBucket(self, asked: dict[str, Any]) -> Any:
        kept = next((run for run in self.runs.values() if run.id == asked.get("id")), None) or self._find(asked)
        inserted = kept is None
        if kept is None:
            kept = self.kept(asked["name"], asked["project"], asked.get("entity"))
        for name in ("displayName", "notes", "tags", "groupName", "jobType", "host", "program"):
            if asked.get(name) is not None:
                kept.said[name] = asked[name]
        if asked.get("config") is not None:
            kept.config = json.loads(asked["config"], parse_constant=_not_json)
        if asked.get("host"):
            kept.state, kept.exit_code, kept.stopped = "running", None, False
        bucket = {
            "id": kept.id,
            "name": kept.name,
            "displayName": kept.said.get("displayName") or (None if self.bare else kept.name),
            "historyLineCount": None if self.bare else len(kept.rows),
            "project": {"name": kept.project, "entity": {"name": kept.entity}},
        }
        return {"upsertBucket": {"inserted": inserted, "bucket": bucket}}

    def _RewindRun(self, asked: dict[str, Any]) -> Any:
        kept = self._find(asked, name="runName")
        if kept is None:
            return {"rewindRun": {"rewoundRun": None}}
        kept.rows = [text for text in kept.rows if json.loads(text)["_step"] <= asked["metricValue"]]
        kept.summary = kept.rows[-1] if kept.rows else "{}"
        rewound = {"id": kept.id, "name": kept.name, "historyLineCount": len(kept.rows)}
        return {"rewindRun": {"rewoundRun": rewound}}

    def _CreateRunFiles(self, asked: dict[str, Any]) -> Any:
        if not self.knows_create_files:
            return refused('Cannot query field "createRunFiles" on type "Mutation".', status=400)
        kept = self._find(asked, name="run")
        if kept is None:
            return refused("run not found")
        files = [{"name": name, "uploadUrl": self._storage(kept, name, "upload=1&")} for name in asked["files"]]
        return {"createRunFiles": {"runID": kept.id, "uploadHeaders": self.upload_headers, "files": files}}

    def _RunUploadUrls(self, asked: dict[str, Any]) -> Any:
        kept = self._find(asked, name="run", project="name")
        if kept is None:
            return {"model": {"bucket": None}}
        nodes = [{"name": name, "url": self._storage(kept, name, "upload=1&")} for name in asked["files"]]
        files = {"uploadHeaders": self.upload_headers, "edges": [{"node": node} for node in nodes]}
        return {"model": {"bucket": {"id": kept.id, "files": files}}}

    def _RunFiles(self, asked: dict[str, Any]) -> Any:
        kept = self._find(asked)
        if kept is None:
            return {"project": {"run": None}}
        names = asked.get("fileNames") or sorted(kept.files)
        start, most = int(asked.get("fileCursor") or 0), asked.get("fileLimit") or 50
        edges = [{"node": self._file(kept, name), "cursor": str(number + 1)} for number, name in enumerate(names)][
            start : start + most
        ]
        info = {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": start + most < len(names)}
        files = {"edges": edges, "pageInfo": info}
        return {"project": {"run": {"fileCount": len(kept.files), "files": files}}}

    def _file(self, kept: Kept, name: str) -> dict[str, Any]:
        data = kept.files.get(name)
        if data is None:
            return {
                "id": "F0",
                "name": name,
                "url": None,
                "sizeBytes": 0,
                "mimetype": None,
                "updatedAt": None,
                "md5": "0",
            }
        md5 = None if self.no_md5 else base64.b64encode(hashlib.md5(data).digest()).decode()
        root = "" if self.relative else self.url
        url = f"{root}/files/{kept.entity}/{kept.project}/{kept.name}/{quote(name)}"
        plain = None if self.bare else "text/plain"
        updated = None if self.bare else "2026-11-21T17:07:40"
        return {
            "id": "F1", "name": name, "url": url, "sizeBytes": len(data), "md5": md5,
            "mimetype": plain, "updatedAt": updated,
        }  # fmt: skip

    def _Run(self, asked: dict[str, Any]) -> Any:
        kept = self._find(asked)
        return {"project": {"run": kept and self._node(kept)}}

    def _Runs(self, asked: dict[str, Any]) -> Any:
        found = [run for run in self.runs.values() if (run.entity, run.project) == (asked["entity"], asked["project"])]
        if not found:
            return {"project": None}
        start, most = int(asked.get("cursor") or 0), asked.get("perPage") or 50
        edges = [{"node": self._node(run), "cursor": str(n + 1)} for n, run in enumerate(found)][start : start + most]
        info = {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": start + most < len(found)}
        return {"project": {"runCount": len(found), "runs": {"edges": edges, "pageInfo": info}}}

    def _node(self, kept: Kept) -> dict[str, Any]:
        said = kept.said
        optional = {
            "displayName": said.get("displayName") or kept.name, "tags": said.get("tags") or [],
            "notes": said.get("notes"), "group": said.get("groupName"), "jobType": said.get("jobType"),
            "createdAt": "2026-11-21T17:00:00", "heartbeatAt": "2026-11-21T17:07:40",
            "historyLineCount": len(kept.rows), "user": {"name": "T. Ester", "username": "tester"},
            "summaryMetrics": kept.summary, "config": json.dumps(kept.config),
        }  # fmt: skip
        return {"id": kept.id, "name": kept.name, "state": kept.state} | (
            dict.fromkeys(optional) if self.bare else optional
        )

    def _history(self, asked: dict[str, Any], answer: Callable[[Kept], Any], name: str = "name") -> Any:
        kept = self._find(asked, name=name)
        return {"project": {"run": kept and answer(kept)}}

    def _RunHistoryKeys(self, asked: dict[str, Any]) -> Any:
        return self._history(
            asked,
            lambda kept: {
                "historyKeys": {"lastStep": max((row["_step"] for row in kept.history), default=-1)},
                "summaryMetrics": kept.summary,
            },
        )

    def _HistoryPage(self, asked: dict[str, Any]) -> Any:
        def answer(kept: Kept) -> Any:
            within = [
                text
                for text, row in zip(kept.rows, kept.history, strict=True)
                if asked["minStep"] <= row["_step"] < asked["maxStep"]
            ]
            return {"history": _thinned(within, asked["pageSize"])}

        return self._history(asked, answer, name="run")

    def _RunFullHistory(self, asked: dict[str, Any]) -> Any:
        return self._history(asked, lambda kept: {"history": _thinned(kept.rows, asked["samples"])})

    def _RunSampledHistory(self, asked: dict[str, Any]) -> Any:
        specs = [json.loads(text) for text in asked["specs"]]

        def answer(kept: Kept) -> Any:
            chosen = [
                [
                    {key: row[key] for key in spec["keys"]}
                    for row in kept.history
                    if all(key in row for key in spec["keys"])
                ]
                for spec in specs
            ]
            return {
                "sampledHistory": [_thinned(rows, spec["samples"]) for rows, spec in zip(chosen, specs, strict=True)]
            }

        return self._history(asked, answer)

    def _stream(self, path: str, said: dict[str, Any]) -> Fault:
        _, _, entity, project, name, _ = (unquote(part) for part in path.split("/"))
        kept = self.runs.get((entity, project, name))
        if kept is None:
            return Fault(404, {"error": f"run {entity}/{project}/{name} not found"})
        streams = {"wandb-history.jsonl": kept.rows, "wandb-events.jsonl": kept.events, "output.log": kept.output}
        for stream, part in (said.get("files") or {}).items():
            if stream == "wandb-summary.json":
                kept.summary = part["content"][-1]
            else:
                known, at = streams[stream], part["offset"]
                known.extend([""] * (at - len(known)))
                known[at : at + len(part["content"])] = part["content"]
        kept.uploaded += said.get("uploaded") or []
        kept.state = "preempting" if said.get("preempting") else "running"
        if said.get("complete"):
            kept.exit_code = said.get("exitcode")
            kept.state = "failed" if kept.exit_code else "finished"
        return Fault(body={"exitcode": None, "limits": {"hb": 30}, "stopped": kept.stopped} if not self.bare else {})

    def _storage(self, kept: Kept, name: str, query: str = "") -> str:
        root = "" if self.relative else self.url
        return f"{root}/storage/{kept.entity}/{kept.project}/{kept.name}/{quote(name)}?{query}sig={SIGNATURE}"

    def _put(self, seen: Seen, path: str) -> Fault:
        if parse_qs(urlsplit(seen.target).query).get("sig") != [SIGNATURE]:
            return Fault(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", {"Content-Type": "application/xml"})
        _, _, entity, project, run, name = (unquote(part) for part in path.split("/", 5))
        with self._lock:
            self.runs[entity, project, run].files[name] = seen.body
        return Fault(200)

    def _get(self, seen: Seen, path: str) -> Fault:
        _, _, entity, project, run, name = (unquote(part) for part in path.split("/", 5))
        kept = self.runs.get((entity, project, run))
        data = kept.files.get(name) if kept else None
        if data is None:
            return Fault(404, {"error": "file not found"})
        ranged = re.fullmatch(r"bytes=(\d+)-", seen.headers.get("range", ""))
        if ranged:
            start = int(ranged[1])
            return Fault(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        return Fault(200, data)


@contextlib.contextmanager
def faults(key: str = KEY, tls: tuple[Path, Path] | None = None, prefix: str = "") -> Iterator[Faults]:
    """A server of faults for a while."""
    server = Faults(key, tls, prefix)
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    faults: Faults

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or did not like the certificate, is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `Faults.seen` has it all."""

    def _answer(self) -> None:
        faults = self.server.faults
        seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self._read(), "")
        if "content-length" in seen.headers and len(seen.body) < int(seen.headers["content-length"]):
            self.close_connection = True  # the client went away
            return
        seen.op = _op_of(seen)
        faults.seen.append(seen)
        fault = faults.fault(seen.op)
        if fault is None:
            fault = faults.usual(seen)
        elif fault.applied:
            faults.usual(seen)
        elif fault.change is not None:
            usual = faults.usual(seen)
            said = json.loads(json.dumps(usual.body)) if isinstance(usual.body, (dict, list)) else usual
            changed = fault.change(said)
            answer = said if changed is None else changed
            fault = answer if isinstance(answer, Fault) else Fault(usual.status, answer, usual.headers)
        if fault.delay and faults.closing.wait(fault.delay) and fault.delay >= 3600:
            self.close_connection = True
            return
        self._send(fault)

    do_GET = do_POST = do_PUT = do_CONNECT = _answer

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, fault: Fault) -> None:
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        body, kind = fault.body, "application/octet-stream"
        if isinstance(body, str):
            body, kind = body.encode("utf-8", "surrogatepass"), "text/plain"
        elif not isinstance(body, bytes):
            body, kind = json.dumps(body).encode(), "application/json"
        headers: dict[str, str | None] = {"Content-Type": kind, "Content-Length": str(len(body)), **fault.headers}
        if fault.drip:
            headers = {"Connection": "close", **fault.headers}
            self.close_connection = True
        self.send_response_only(fault.status)
        for name, value in ({"Date": self.date_time_string()} | headers).items():
            if value is not None:
                self.send_header(name, value)
        if fault.drip:
            self.end_headers()
            while not self.server.faults.closing.wait(fault.drip):
                self.wfile.write(b" ")
                self.wfile.flush()
            return
        if fault.cut is not None:
            body, self.close_connection = body[: fault.cut], True
        self.end_headers()
        self.wfile.write(body)


def _op_of(seen: Seen) -> str:
    if seen.method != "POST":
        return seen.method
    if seen.path.endswith("/file_stream"):
        return "file_stream"
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        said = json.loads(seen.body)
        if found := re.search(r"(?:query|mutation)\s+(\w+)", said["query"]):
            return found[1]
    return "POST"


def _thinned(rows: list[Any], most: int) -> list[Any]:
    if len(rows) <= most:
        return list(rows)
    last = len(rows) - 1
    return [rows[n * last // max(most - 1, 1)] for n in range(most)]


def _not_json(name: str) -> None:
    raise AssertionError(f"{name} is no JSON, and a strict server would refuse it")
