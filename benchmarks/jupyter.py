"""A Jupyter Server with the sidebar's routes, or a JupyterLab with the sidebar, and runs in its store."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Literal

from jupyter_resume.identity import RunPath
from jupyter_resume.origin import NotebookRef, dump
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import ResumePoint
from jupyter_resume.store.writer import Writer

from .tools import OURS

TOKEN = "benchmark"
_PATIENCE = 60.0  # seconds for a server to start
API = "/jupyter-resume/api/v1"


@dataclass(frozen=True)
class Answer:
    """An answer: its status, its tag and body, and how long it took in seconds."""

    status: int
    tag: str
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Place:
    """A Jupyter Server that was started, asked over one connection; its files are in `root`."""

    connection: HTTPConnection
    root: Path

    def url(self, path: str) -> str:
        """Where a browser finds a page."""
        return f"http://127.0.0.1:{self.connection.port}/{path}?token={TOKEN}"

    def ask(self, path: str, tag: str = "") -> Answer:
        """What a GET is answered."""
        headers = {"Authorization": f"token {TOKEN}", **({"If-None-Match": tag} if tag else {})}
        began = time.perf_counter()
        self.connection.request("GET", path, headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        if answer.status not in (200, 304):
            raise RuntimeError(f"GET {path} was answered {answer.status}: {body[:200]!r}")
        return Answer(answer.status, answer.headers.get("ETag", ""), body, took)


def many(store: Store, runs: int) -> None:
    """So many finished runs, in the catalog; those that are there stay."""
    for n in range(runs):
        point = ResumePoint(
            "local", f"p{n % 5}", f"run{n}", created=float(n), updated=float(n), state="finished", rows=10
        )
        if n < 10 and (writer := Writer.open(store.record(point.path), point, None, "benchmark")):
            writer.close("finished", 0)
    store.catalog.runs()
    for n in range(runs):
        store.catalog.put(
            ResumePoint("local", f"p{n % 5}", f"run{n}", created=float(n), updated=float(n), state="finished", rows=10)
        )


def written(store: Store, length: int, notebook: NotebookRef | None = None, metrics: int = 3) -> Writer:
    """A run of so many rows, still being written, from a notebook if one is given."""
    path = RunPath("local", "p", "long")
    now = time.time()
    point = ResumePoint("local", "p", "long", created=now, updated=now, origin=dump(notebook) if notebook else {})
    writer = Writer.open(store.record(path), point, None, "benchmark")
    assert writer is not None
    for first in range(0, length, 1000):
        log(writer, range(first, min(length, first + 1000)), metrics)
    store.catalog.put(writer.point)
    return writer


def log(writer: Writer, steps: range, metrics: int = 3) -> None:
    """A row for each step."""
    now = time.time()
    writer.commit(
        [
            (
                lines.ROW,
                {
                    "_step": n,
                    "_runtime": n / 10,
                    "_timestamp": now,
                    "loss": 1 / (n + 1),
                    "lr": 1e-3,
                    "accuracy": n % 97 / 97,
                    **{f"metric {k}": math.sin(n / 10**k) for k in range(3, metrics)},
                },
            )
            for n in steps
        ]
    )


@contextmanager
def server(home: Path, app: Literal["jupyter_server", "jupyterlab"] = "jupyter_server") -> Iterator[Place]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = home / "notebooks"
    root.mkdir(exist_ok=True)
    command = [
        *(str(OURS.python), "-m", app, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"),
        *(f"--ServerApp.port={port}", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={TOKEN}"),
        '--ServerApp.jpserver_extensions={"jupyter_resume.lab": True}',
    ]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, env=OURS.environment(home), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _PATIENCE
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            try:
                Place(connection, root).ask(f"{API}/hello")
                break
            except OSError:
                connection.close()
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (home / "server.log").read_text()[-2000:]
                    raise RuntimeError(f"The server did not start:\n{said}") from None
                time.sleep(0.05)
        yield Place(connection, root)
        connection.close()
    finally:
        process.terminate()
        process.wait()
