"""The application: which address leads where, who may go there, and one log line for each request."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ResumeError
from ..identity import RunPath
from . import access, downloads, pages, posts, streams, uploads
from .access import Client, Keys
from .graphql import answer, schema
from .hosting import Hosted, Hosting
from .limits import Limits
from .naming import path_of
from .nodes import Asking
from .refusals import Refusal, bad, translated
from .tickets import Tickets

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
_MOST_GRAPHQL = 64 << 20
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Serving:
    """What a server is made of. ``trusting``: while no key was made, any key is taken, and reading needs none."""

    hosting: Hosting
    keys: Keys
    tickets: Tickets
    limits: Limits
    trusting: bool
    address: str | None = None
    most_upload: int = 100 << 30
    log: Callable[[str], None] = print


def application(serving: Serving) -> ASGIApp:
    """The ASGI application, warm: the first request waits for nothing."""
    schema()
    handlers = _Handlers(serving)
    run = "/{entity}/{project}"
    routes = [
        Route("/", handlers.home),
        Route("/healthz", handlers.health),
        Route("/graphql", handlers.graphql, methods=["POST"]),
        Route("/files" + run + "/{run}/file_stream", handlers.file_stream, methods=["POST"]),
        Route("/files" + run + "/{run}/{name:path}", handlers.download),
        Route("/storage" + run + "/{run}/{name:path}", handlers.put, methods=["PUT"]),
        Route("/storage" + run + "/{run}/{name:path}", handlers.get),
        Route(run, handlers.project),
        Route(run + "/runs/{run}", handlers.run),
    ]
    app = Starlette(
        routes=routes, exception_handlers={ResumeError: _refused, HTTPException: _unrouted, Exception: _broken}
    )
    return _Logged(app, serving)


class _Handlers:
    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.hosting = serving.hosting

    # Who asks

    @property
    def _open(self) -> bool:
        """Whether any key is taken: none was made, and only this machine can come here."""
        return self.serving.trusting and not self.serving.keys.all()

    def client(self, request: Request, reading: bool = False) -> Client:
        """Whose request it is; raises Refusal. ``reading``: needs no key while none was made."""
        serving, said = self.serving, request.headers.get("authorization")
        peer = request.client.host if request.client else ""
        self._check_origin(request)
        if reading and said is None and self._open:
            return Client("local", "local", "read")
        try:
            who = access.client(serving.keys, said, serving.trusting)
        except Refusal:
            if said is not None:
                serving.limits.check_guess(peer)
            raise
        serving.limits.check(who.name)
        request.state.who = who.name
        return who

    def _check_origin(self, request: Request) -> None:
        """A page of another site, which a browser has open, must not use this server on its behalf."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if len(request.headers.getlist("host")) != 1 or not _HOST.fullmatch(host):
            raise bad("The Host header is not one host and port.")
        if origin is not None and origin.partition("://")[2] != host and origin != self.serving.address:
            raise Refusal(403, "Pages of other sites may not use this server.")
        if self._open and re.sub(r":\d+$", "", host) not in ("127.0.0.1", "localhost", "[::1]"):
            raise Refusal(
                403, "Without keys this server is for this machine only, under the name 127.0.0.1 or localhost."
            )

    def address(self, request: Request) -> str:
        """The address that the client knows this server by."""
        if self.serving.address:
            return self.serving.address
        return f"{request.url.scheme}://{request.headers['host']}"

    def run_of(self, request: Request) -> RunPath:
        """The run that an address names. Raises Refusal."""
        names = request.path_params
        path = path_of(names["entity"], names["project"], names["run"])
        if path is None:
            raise Refusal(
                404, "There is no such run here: names have no / \\ # ? % : and ids only letters, digits, - and _."
            )
        return path

    # W&B's protocol

    async def graphql(self, request: Request) -> Response:
        """A query or mutation."""
        who = self.client(request)
        body = await _body(request, _MOST_GRAPHQL)
        asking = Asking(self.hosting, self.serving.tickets, who, self.address(request))
        said = await to_thread.run_sync(lambda: answer(posts.parse(body, "The body"), asking))
        return _json(said)

    async def file_stream(self, request: Request) -> Response:
        """A post of lines."""
        who, run = self.client(request), self.run_of(request)
        who.check_write(run.entity)
        token = request.headers.get("x-jupyter-resume-token", "")
        sender = streams.Sender(
            who.name,
            request.headers.get("x-wandb-client-id"),
            "{}:{}".format(*request.client) if request.client else None,
            int(token) if token.isdigit() else None,
        )
        body = await _body(request, posts.MOST_BYTES)

        def work() -> dict[str, Any]:
            post = posts.read(body)

            def act(hosted: Hosted) -> dict[str, Any]:
                return streams.take(hosted, post, sender, self.hosting.clock())

            said: dict[str, Any] = self.hosting.change(run, act)
            return said

        return _json(await to_thread.run_sync(work))

    async def put(self, request: Request) -> Response:
        """A file's content, by a signed address."""
        run, name = self.run_of(request), request.path_params["name"]
        ticket = self.serving.tickets.check("PUT", run, name, request.query_params)
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdigit() else None
        await uploads.receive(self.hosting, run, name, ticket, request.stream(), size, self.serving.most_upload)
        return Response(status_code=200)

    async def get(self, request: Request) -> Response:
        """A file's content to whom has a signed address."""
        run, name = self.run_of(request), request.path_params["name"]
        self.serving.tickets.check("GET", run, name, request.query_params)
        return await to_thread.run_sync(lambda: downloads.send(self.hosting, run, name, request))

    async def download(self, request: Request) -> Response:
        """A file's content to whom has a key."""
        who, run = self.client(request, reading=True), self.run_of(request)
        who.check_read(run.entity)
        return await to_thread.run_sync(lambda: downloads.send(self.hosting, run, request.path_params["name"], request))

    # Pages

    async def home(self, request: Request) -> Response:
        """The page of projects."""
        who = self.client(request, reading=True)
        return await self._page(lambda: pages.home(self.hosting, who))

    async def project(self, request: Request) -> Response:
        """The page of a project."""
        who, names = self.client(request, reading=True), request.path_params
        who.check_read(names["entity"])
        order = request.query_params.get("order", "-created_at")
        number = request.query_params.get("page", "1")
        at = int(number) if number.isdigit() else 1
        return await self._page(lambda: pages.project(self.hosting, names["entity"], names["project"], order, at))

    async def run(self, request: Request) -> Response:
        """The page of a run."""
        who, run = self.client(request, reading=True), self.run_of(request)
        who.check_read(run.entity)
        return await self._page(lambda: pages.run(self.hosting, run))

    async def _page(self, make: Callable[[], str]) -> Response:
        return Response(await to_thread.run_sync(make), headers=_SAFE, media_type="text/html")

    async def health(self, request: Request) -> Response:
        """Whether the server answers."""
        return Response("ok\n", media_type="text/plain")


async def _body(request: Request, most: int) -> bytes:
    """The whole body, without its gzip. Raises Refusal."""
    too_large = Refusal(413, f"The body is larger than {most >> 20} MiB: send less at a time.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise too_large
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large
        pieces.append(piece)
    return posts.unpack(b"".join(pieces), request.headers.get("content-encoding", ""), most)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    refusal = translated(error) if isinstance(error, (ResumeError, OSError)) else bad(str(error))
    return _told(request, refusal.status, str(refusal), refusal.retry_after)


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(request, error.status_code, f"There is nothing at this address ({error.detail}).")


async def _broken(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)
    return _told(request, 500, f"The server failed at this ({type(error).__name__}): its log says more.", 5)


def _told(request: Request, status: int, sentence: str, retry_after: int | None = None) -> Response:
    """One sentence, in the form that each client reads: GraphQL's errors, or ``error``; to a browser plain text."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if "text/html" in request.headers.get("accept", ""):
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="jupyter resume: user api, password an API key", charset="UTF-8"'
        return Response(pages.told(sentence), status, {**_SAFE, **headers}, "text/html")
    if request.url.path == "/graphql":
        return _json({"errors": [{"message": sentence}], "data": None, "error": sentence}, status, headers)
    return _json({"error": sentence}, status, headers)


class _Logged:
    """One line for each request, without queries, headers or anything that could be a secret."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app, self._log = app, serving.log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent = time.perf_counter(), 0, 0

        async def noting(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        scope.setdefault("state", {})
        try:
            await self._app(scope, receive, noting)
        finally:
            took = (time.perf_counter() - began) * 1e3
            who = scope["state"].get("who", "-")
            path = scope["path"].encode("ascii", "backslashreplace").decode()[:300]
            path = re.sub(r"[\x00-\x20\x7f]", "?", path)
            self._log(f"{scope['method']} {path} {status or '-'} {sent} bytes {took:.1f} ms {who}")


def to_stderr(line: str) -> None:
    """Print a log line with the time."""
    print(time.strftime("%Y-%m-%dT%H:%M:%S"), line, file=sys.stderr, flush=True)
