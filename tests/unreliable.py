"""A network that fails: a proxy between a client and a server that cuts, loses, doubles and holds what goes through.

with unreliable(server.url, faults) as network:
    client = Client(network.url)

``faults`` is asked once for each request, in the order of their arrival, for its `Fault`.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum, auto
from urllib.parse import urlsplit

_CHUNK = 1 << 16


class Fault(Enum):
    """What happens to one request. "Lost" and "cut" end the client's connection."""

    NONE = auto()
    REFUSED = auto()
    """Nothing of it arrives."""
    CUT = auto()
    """Half of it arrives."""
    REPLY_LOST = auto()
    """It arrives and is obeyed; the client never hears of it."""
    REPLY_CUT = auto()
    """It is obeyed, and half of the answer comes back."""
    TWICE = auto()
    """It arrives twice, and the second answer comes back."""
    HELD = auto()
    """It waits for `Network.let_through`."""


class Network:
    """The proxy: every request has a connection to the server of its own. ``met`` counts what was done to requests."""

    def __init__(self, url: str, faults: Callable[[str], Fault]) -> None:
        found = urlsplit(url)
        self.server = (found.hostname or "", found.port or 80)
        self.faults = faults
        self.met: Counter[Fault] = Counter()
        self.let_through = threading.Event()
        self._listening: socket.socket | None = None
        self._port = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.open()

    @property
    def url(self) -> str:
        """Where clients find the server."""
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Take connections, at the same port each time."""
        listening = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._listening, self._port = listening, listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._listening is not None:
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client = listening.accept()[0]
            except OSError:
                return
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                if request := _request(client):
                    self._answer(client, request)
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def _answer(self, client: socket.socket, request: bytes) -> None:
        fault = self.faults(request.partition(b"\r\n")[0].decode())
        self.met[fault] += 1
        if fault is Fault.HELD:
            self.let_through.wait(60)
        if fault is Fault.REFUSED:
            return
        if fault is Fault.CUT:
            with socket.create_connection(self.server) as server:
                server.sendall(request[: len(request) // 2])
            return
        reply = self._ask(request)
        if fault is Fault.TWICE:
            reply = self._ask(request)
        if fault is not Fault.REPLY_LOST:
            client.sendall(reply[: len(reply) // 2] if fault is Fault.REPLY_CUT else reply)

    def _ask(self, request: bytes) -> bytes:
        """The server's whole answer."""
        with socket.create_connection(self.server, timeout=60) as server:
            server.sendall(request)
            return b"".join(iter(lambda: server.recv(_CHUNK), b""))


def _request(client: socket.socket) -> bytes:
    """One request as it was sent, but for its connection, which is to be closed; nothing if none came."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(_CHUNK)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while len(body) < int(found[1] if found else 0):
        more = client.recv(_CHUNK)
        if not more:
            return b""
        body += more
    return re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head) + b"\r\nConnection: close\r\n\r\n" + body


@contextlib.contextmanager
def unreliable(url: str, faults: Callable[[str], Fault] | list[Fault] | None = None) -> Iterator[Network]:
    """A network to the server at ``url``; a list of faults is what happens in turn, and then no more."""
    if not callable(faults):
        turn = itertools.chain(faults or (), itertools.repeat(Fault.NONE))
        network = Network(url, lambda request: next(turn))
    else:
        network = Network(url, faults)
    try:
        yield network
    finally:
        network.let_through.set()
        network.close()
