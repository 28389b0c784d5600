"""A relay in front of a server: it makes the way longer, and counts the requests by kind and the bytes both ways.

A connection and each request of it take ``latency`` seconds more, a round trip each. For each line on stdin it replies
with all that it has counted by then. Responses are not read but for their status.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BufferedReader
from urllib.parse import unquote, urlsplit

from . import arguments, reply

_PIECE = 1 << 18
_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)|\{\s*(\w+)")


class Connection:
    """One connection of a client; a thread for each direction. Requests on it come one after the other."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._server = socket.create_connection(("127.0.0.1", asked["port"]))
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._kind, self._rows, self._answered = "", False, True
        for work in (self._up, self._down):
            threading.Thread(target=self._until_closed, args=[work], daemon=True).start()

    def _until_closed(self, work: Callable[[], None]) -> None:
        with suppress(OSError):
            work()
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _up(self) -> None:
        reader = self._client.makefile("rb")
        time.sleep(asked["latency"])
        while head := b"".join(iter(reader.readline, b"\r\n")):
            self._request(head + b"\r\n", reader)

    def _request(self, head: bytes, reader: BufferedReader) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        }
        time.sleep(asked["latency"])
        path = unquote(urlsplit(target).path)
        pieces: Iterable[tuple[bytes, bytes]] = _pieces(reader, headers)
        if method == "POST":  # the kind is in the body, and has to be known before the answer comes
            pieces = list(pieces)
            kind, rows = _kind_of_post(path, b"".join(content for _, content in pieces), headers)
        else:
            kind, rows = f"{method} {path.rpartition('/')[2]}", False
        self._kind, self._rows, self._answered = kind, rows, False
        self._server.sendall(head)
        wire = size = 0
        for raw, content in pieces:
            self._server.sendall(raw)
            wire, size = wire + len(raw), size + len(content)
        with counting:
            seen = kinds[kind]
            seen["requests"] += 1
            seen["body"] += size
            seen["sent"] += len(head) + wire

    def _down(self) -> None:
        while piece := self._server.recv(_PIECE):
            now = time.monotonic()
            with counting:
                kinds[self._kind]["received"] += len(piece)
                if not self._answered and not piece.startswith(b"HTTP/1.1 1"):
                    self._answered = True
                    if self._rows and piece.startswith(b"HTTP/1.1 2"):
                        rows_at.append(now)
            self._client.sendall(piece)


def _pieces(reader: BufferedReader, headers: dict[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """The body of a request as it comes: bytes on the wire, and bytes of content."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = reader.readline()
            size = int(line.split(b";")[0], 16)
            data = reader.read(size + 2)
            yield line + data, data[:size]
            if not size:
                return
    left = int(headers.get("content-length") or 0)
    while left > 0 and (data := reader.read1(min(left, _PIECE))):
        left -= len(data)
        yield data, data


def _kind_of_post(path: str, body: bytes, headers: dict[str, str]) -> tuple[str, bool]:
    """What a post is called in the counts, and whether it brings rows of the history."""
    name = path.rpartition("/")[2]
    try:
        said = json.loads(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
    except ValueError:
        return name, False
    if name == "graphql":
        found = _OPERATION.search(said.get("query", ""))
        return said.get("operationName") or (found and (found[1] or found[2])) or name, False
    rows = (said.get("files") or {}).get("wandb-history.jsonl") or {}
    return name, bool(rows.get("content"))


asked = arguments()
kinds: dict[str, dict[str, int]] = defaultdict(lambda: {"requests": 0, "body": 0, "sent": 0, "received": 0})
rows_at: list[float] = []  # when rows were accepted, on the clock that all processes of a machine share
counting = threading.Lock()


def answer_the_parent() -> None:
    for _ in sys.stdin:
        with counting:
            reply(kinds=kinds, rows_at=rows_at[-100:])


with socket.create_server(("127.0.0.1", 0), backlog=128) as port:
    reply(port=port.getsockname()[1])
    threading.Thread(target=answer_the_parent, daemon=True).start()
    while True:
        Connection(port.accept()[0])
