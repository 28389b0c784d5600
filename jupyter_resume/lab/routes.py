"""The routes. What blocks is done by a few threads of its own; the event loop only passes on."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from blake3 import blake3
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from ..identity import RunPath
from ..origin import NotebookRef
from ..store import lines
from ..store.home import Store
from .answers import Answers
from .places import Places
from .refusals import Refusal, refusal_of

BASE = "jupyter-resume/api/v1"
THREADS = 4
MOST_WAITING = 64
_CHUNK = 1 << 20
_MOST_ASKED = 1 << 20
_MOST_CELLS = 1000
_RUN = r"runs/([^/]+)/([^/]+)/([^/]+)"

T = TypeVar("T")


class Work:
    """A few threads for what blocks; what would wait for too long is refused."""

    def __init__(self, threads: int = THREADS, most: int = MOST_WAITING) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="jupyter-resume-lab")
        self._most = most
        self._waiting = 0

    async def do(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call it in a thread."""
        if self._waiting >= self._most:
            raise Refusal(503, "Busy", "The server has too much to do: ask again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        finally:
            self._waiting -= 1


class Route(APIHandler):
    """What all routes share: JSON, ETags, and errors of one sentence."""

    auth_resource = "jupyter_resume"
    _track_activity = False  # a sidebar that polls keeps no idle server alive

    def initialize(self, answers: Answers, work: Work) -> None:
        """Take what `add_routes` gives to every route."""
        self.answers = answers
        self.work = work

    def reply(self, value: Any, tag: str | None = None) -> None:
        """Answer; with nothing, if who asks has it already."""
        body = lines.dump(value) if tag is None or not self._has(tag) else b""
        if tag is None and self._has(tag := hashlib.blake2b(body, digest_size=12).hexdigest()):
            body = b""
        self.set_header("ETag", f'"{tag}"')
        self.set_header("Cache-Control", "no-store")
        if not body:
            self.set_status(304)
        self.finish(body or None)

    def _has(self, tag: str) -> bool:
        return self.request.method == "GET" and f'"{tag}"' in self.request.headers.get("If-None-Match", "")

    def body(self) -> dict[str, Any]:
        """The request's JSON object."""
        try:
            value = json.loads(self.request.body) if len(self.request.body) <= _MOST_ASKED else None
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Refusal(400, "InvalidInput", "The request's body is no JSON object of at most 1 MiB.")
        return value

    def number(self, name: str, default: int) -> int:
        """A number of the query."""
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise Refusal(400, "InvalidInput", f"{name}={text[:40]!r} is no number.")
        return int(text)

    def asked_notebook(self) -> NotebookRef | None:
        """The notebook that the query names; reads its file."""
        path = self.get_query_argument("notebook", "") or self.get_query_argument("path", "")
        if not path:
            return None
        ask = self.get_query_argument
        cells = [cell for cell in ask("cells", "").split(",") if cell]
        return self.answers.reference(path, ask("notebook_id", None), ask("kernel_id", None), cells[:_MOST_CELLS])

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """One sentence as JSON; a foreign error is in the server's log only."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        refusal = refusal_of(error)
        if refusal is None and isinstance(error, web.HTTPError):
            refusal = Refusal(status_code, "Refused", error.log_message or error.reason or "The request is refused.")
        refusal = refusal or Refusal(500, "Internal", "Something went wrong in the server: its log says what.")
        self.set_status(refusal.status)
        self.finish(lines.dump({"message": str(refusal), "kind": refusal.kind}))

    def log_exception(self, *exc_info: Any) -> None:
        """Log what is not expected."""
        if refusal_of(exc_info[1]) is None:
            super().log_exception(*exc_info)


class Hello(Route):
    """Who answers."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Version and capabilities."""
        self.reply(self.answers.hello())


class Runs(Route):
    """The store's runs."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Some of them, newest first."""
        ask = self.get_query_argument
        offset, limit = self.number("offset", 0), self.number("limit", 50)

        def find() -> dict[str, Any]:
            mine = ask("only", "") == "mine"
            entity, project, words = ask("entity", None), ask("project", None), ask("q", "")
            return self.answers.runs(
                self.asked_notebook(), mine, entity or None, project or None, words[:200], offset, limit
            )

        self.reply(await self.work.do(find))


class Notebook(Route):
    """The notebook in front."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Its run."""

        def find() -> dict[str, Any]:
            notebook = self.asked_notebook()
            if notebook is None:
                raise Refusal(400, "InvalidInput", "path= is missing: give the notebook's path.")
            return self.answers.notebook(notebook)

        self.reply(await self.work.do(find))

    @web.authenticated
    @authorized
    async def put(self) -> None:
        """Its id."""
        body = self.body()
        path = body.get("path")
        if not isinstance(path, str):
            raise Refusal(400, "InvalidInput", "path is missing: give the notebook's path.")
        told = body.get("cells")
        cells = [cell for cell in told if isinstance(cell, str)] if isinstance(told, list) else []
        self.reply(await self.work.do(self.answers.name_notebook, path, body.get("notebook_id"), cells[:_MOST_CELLS]))


class OneRun(Route):
    """One run."""

    @web.authenticated
    @authorized
    async def get(self, entity: str, project: str, run_id: str) -> None:
        """As it stands, with what changed since a cursor."""
        path = RunPath.of(entity, project, run_id)
        tag, answer = await self.work.do(self.answers.run, path, self.get_query_argument("since", None))
        self.reply(answer, hashlib.blake2b(tag.encode(), digest_size=12).hexdigest())


class Notes(Route):
    """A run's notes."""

    @web.authenticated
    @authorized
    async def patch(self, entity: str, project: str, run_id: str) -> None:
        """Change them."""
        body = self.body()
        if "notes" not in body:
            raise Refusal(400, "InvalidInput", "notes is missing: give a text, or null.")
        self.reply(await self.work.do(self.answers.note, RunPath.of(entity, project, run_id), body["notes"]))


class Restore(Route):
    """A run's files, into a notebook's folder."""

    @web.authenticated
    @authorized
    async def post(self, entity: str, project: str, run_id: str) -> None:
        """Bring one back."""
        body = self.body()
        notebook, replace = body.get("notebook"), body.get("replace", False)
        if not isinstance(notebook, str) or not isinstance(replace, bool):
            raise Refusal(400, "InvalidInput", "Give the notebook's path, and replace as true or false.")
        path = RunPath.of(entity, project, run_id)
        self.reply(await self.work.do(self.answers.restore, path, body.get("name"), notebook, replace))


class Download(Route):
    """A run's files, to a browser."""

    @web.authenticated
    @authorized
    async def get(self, entity: str, project: str, run_id: str, name: str) -> None:
        """One of them, verified as it goes: the end of a damaged one is held back, and the transfer fails."""
        path = RunPath.of(entity, project, run_id)
        entry, content = await self.work.do(self.answers.open_file, path, name)
        with content:
            self.set_header("ETag", f'"{entry.digest}"')
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Content-Type-Options", "nosniff")
            quoted = quote(entry.name.rpartition("/")[2], safe="", errors="replace")
            self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{quoted}")
            if self._has(entry.digest):
                self.set_status(304)
                self.finish()
                return
            await self._send(content, entry.digest, entry.size, name)

    async def _send(self, content: BinaryIO, digest: str, size: int, name: str) -> None:
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", str(size))
        found, left = blake3(), size

        def read() -> bytes:
            data = content.read(_CHUNK)
            found.update(data)
            return data

        held = await self.work.do(read)
        while held and (data := await self.work.do(read)):
            left -= len(held)
            if left < 0:
                break
            self.write(held)
            try:
                await self.flush()
            except StreamClosedError:  # who asked is gone
                return
            held = data
        if len(held) != left or found.hexdigest() != digest:
            damaged = f"The stored content of {name[:200]!r} is damaged: nothing of it is right; save the file again."
            if not self._headers_written:
                self.clear_header("Content-Disposition")
                self.clear_header("Content-Length")
                self.clear_header("ETag")
                raise Refusal(409, "FileDamaged", damaged)
            self.log.error(damaged)
            self.detach().close()
            return
        self.write(held)
        self.finish(set_content_type="application/octet-stream")


class Nothing(Route):
    """Whatever else lies below our address."""

    @web.authenticated
    async def get(self) -> None:
        """Refuse."""
        raise Refusal(404, "NoRoute", "This version of jupyter_resume has no such route: restart the server.")

    put = post = patch = delete = get


ROUTES: list[tuple[str, type[Route]]] = [
    ("hello", Hello),
    ("notebook", Notebook),
    ("runs", Runs),
    (_RUN, OneRun),
    (f"{_RUN}/notes", Notes),
    (f"{_RUN}/restore", Restore),
    (f"{_RUN}/files/(.+)", Download),
    ("(?:.*)", Nothing),
]


def add_routes(app: web.Application, contents: Any) -> None:
    """Add the routes to a Jupyter Server, whose contents manager says where its notebooks lie."""
    places = Places(getattr(contents, "root_dir", None), bool(getattr(contents, "allow_hidden", False)))
    shared = {"answers": Answers(Store(), places), "work": Work()}
    base = url_path_join(app.settings["base_url"], BASE)
    app.add_handlers(".*$", [(url_path_join(base, path), route, shared) for path, route in ROUTES])
