"""The servers that are measured, each in a process of its own, and plain requests to them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from .tools import OURS

KEY = {"Authorization": f"Bearer {'0' * 40}", "Content-Type": "application/json"}
RESUME = """query RunResumeStatus($project: String, $name: String!) { model(name: $project) { id name
  entity { id name } bucket(name: $name, missingOk: true) { id name summaryMetrics displayName logLineCount
  historyLineCount  eventsLineCount historyTail eventsTail config tags notes wandbConfig(keys: ["t"]) } } }"""


@dataclass(frozen=True)
class Place:
    """A server that was started: where it is, and how long that took in seconds."""

    name: str
    port: int
    ready: float

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer; an error for any other status than 200."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, KEY)
            answer: HTTPResponse = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path.partition('?')[0]} was answered {answer.status}: {said[:200]!r}")
        return said

    def query(self, text: str, **variables: object) -> bytes:
        return self.send("POST", "/graphql", json.dumps({"query": text, "variables": variables}).encode())

    def rows(self, project: str, run: str) -> int:
        """How many rows the server has of a run."""
        said = json.loads(self.query(RESUME, project=project, name=run))
        bucket = said["data"]["model"] and said["data"]["model"]["bucket"]
        return int(bucket["historyLineCount"]) if bucket else 0


@contextmanager
def ours(home: Path) -> Iterator[Place]:
    """``jupyter resume serve`` on a store in ``home``, in a process of its own."""
    command = [str(OURS.python), "-m", "jupyter_resume", "serve", "--port", "0", "--home", str(home), "--quiet"]
    with _started([*command, "--rate", "1000000"], home, OURS.name) as place:
        yield place


@contextmanager
def plain(home: Path) -> Iterator[Place]:
    """The floor: `inside.plain_server`."""
    with _started([str(OURS.python), "-m", "benchmarks.inside.plain_server", str(home)], home, "plain") as place:
        yield place


@contextmanager
def _started(command: list[str], home: Path, name: str) -> Iterator[Place]:
    began = time.perf_counter()
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=home, env=OURS.environment(home), stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        ready = time.perf_counter() - began
        address = next((word for word in said.split() if word.startswith("http://")), "")
        if not address:
            raise RuntimeError(f"The server did not start:\n{(home / 'server.log').read_text()[-2000:]}")
        yield Place(name, urlsplit(address).port or 0, ready)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
