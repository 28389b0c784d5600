"""The sidebar's routes in a Jupyter Server: how long an answer takes, beside the server's own, and its size."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from jupyter_resume.identity import RunPath
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import ResumePoint
from jupyter_resume.store.writer import Writer

from ..bench import Bench
from ..results import Result
from ..tools import OURS

_TOKEN = "benchmark"
_PATIENCE = 60.0  # seconds for a server to start
_API = "/jupyter-resume/api/v1"


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
    """A Jupyter Server that was started, asked over one connection."""

    connection: HTTPConnection

    def ask(self, path: str, tag: str = "") -> Answer:
        """What a GET is answered."""
        headers = {"Authorization": f"token {_TOKEN}", **({"If-None-Match": tag} if tag else {})}
        began = time.perf_counter()
        self.connection.request("GET", path, headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        if answer.status not in (200, 304):
            raise RuntimeError(f"GET {path} was answered {answer.status}: {body[:200]!r}")
        return Answer(answer.status, answer.headers.get("ETag", ""), body, took)


def measure(bench: Bench) -> Iterator[Result]:
    for runs in bench.plan.lab_runs:
        with bench.home() as home:
            _many(Store(home), runs)
            with _server(home) as place:
                yield from _measured(bench, place, f"a page of 50, {runs:,} runs", f"{_API}/runs?limit=50")
                yield from _measured(bench, place, f"a search, {runs:,} runs", f"{_API}/runs?q=run{runs - 1}")
    for length in bench.plan.lab_lengths:
        yield from _one_run(bench, length)


def _one_run(bench: Bench, length: int) -> Iterator[Result]:
    with bench.home() as home:
        writer = _written(Store(home), length)
        with _server(home) as place:
            path = f"{_API}/runs/local/p/long"
            place.ask(f"{_API}/hello")
            first = answer = place.ask(path)
            loading = answer.seconds
            while answer.json["history"]["loaded"] < 1:
                answer = place.ask(f"{path}?since={answer.json['cursor']}")
                loading += answer.seconds
            yield Result.of("lab", f"the first answer, {length:,} rows", OURS.name, [first.seconds])
            yield Result.of("lab", f"until all curves are there, {length:,} rows", OURS.name, [loading])
            whole = place.ask(path)
            if whole.json["run"]["last_step"] != length - 1 or len(whole.json["history"]["metrics"]) != 3:
                raise RuntimeError(f"The answer is wrong: {whole.body[:300]!r}")
            yield Result.of(
                "lab", f"size of all curves, {length:,} rows", OURS.name, [len(whole.body) / 1000], unit="kB"
            )
            cursor, tag = whole.json["cursor"], whole.tag
            yield from _measured(bench, place, f"nothing new, {length:,} rows", f"{path}?since={cursor}", tag)
            times, sizes = [], []
            for n in range(bench.plan.lab_asks):
                _log(writer, range(length + 3 * n, length + 3 * n + 3))
                answer = place.ask(f"{path}?since={cursor}", tag)
                if answer.status != 200:
                    raise RuntimeError("New rows are not seen.")
                cursor, tag = answer.json["cursor"], answer.tag
                times.append(answer.seconds)
                sizes.append(len(answer.body) / 1000)
            yield Result.of("lab", f"three new rows, {length:,} rows", OURS.name, times)
            yield Result.of("lab", f"size of three new rows, {length:,} rows", OURS.name, sizes, unit="kB")
        writer.close("finished", 0)


def _measured(bench: Bench, place: Place, case: str, path: str, tag: str = "") -> Iterator[Result]:
    """Times of an answer, each beside one of the server's own, and its size if it has any."""
    times, floor = [], []
    for _ in range(bench.plan.lab_asks):
        floor.append(place.ask("/api/status").seconds)
        answer = place.ask(path, tag)
        times.append(answer.seconds)
    yield Result.of("lab", case, OURS.name, times, floor=floor)
    yield Result.of("lab", case, "status", floor)
    if answer.body:
        yield Result.of("lab", f"size of {case}", OURS.name, [len(answer.body) / 1000], unit="kB")


def _many(store: Store, runs: int) -> None:
    """So many finished runs, in the catalog."""
    for n in range(runs):
        point = ResumePoint(
            "local", f"p{n % 5}", f"run{n}", created=float(n), updated=float(n), state="finished", rows=10
        )
        if n < 10:
            Writer.open(store.record(point.path), point, None, "benchmark").close("finished", 0)  # type: ignore[union-attr]
    store.catalog.runs()
    for n in range(runs):
        store.catalog.put(
            ResumePoint("local", f"p{n % 5}", f"run{n}", created=float(n), updated=float(n), state="finished", rows=10)
        )


def _written(store: Store, length: int) -> Writer:
    """A run of so many rows, still being written."""
    path = RunPath("local", "p", "long")
    writer = Writer.open(store.record(path), ResumePoint("local", "p", "long", created=time.time()), None, "benchmark")
    assert writer is not None
    for first in range(0, length, 1000):
        _log(writer, range(first, min(length, first + 1000)))
    store.catalog.put(writer.point)
    return writer


def _log(writer: Writer, steps: range) -> None:
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
                },
            )
            for n in steps
        ]
    )


@contextmanager
def _server(home: Path) -> Iterator[Place]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = home / "notebooks"
    root.mkdir()
    command = [
        *(str(OURS.python), "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"),
        *(f"--ServerApp.port={port}", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={_TOKEN}"),
        '--ServerApp.jpserver_extensions={"jupyter_resume.lab": True}',
    ]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, env=OURS.environment(home), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _PATIENCE
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            try:
                Place(connection).ask(f"{_API}/hello")
                break
            except OSError:
                connection.close()
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (home / "server.log").read_text()[-2000:]
                    raise RuntimeError(f"The server did not start:\n{said}") from None
                time.sleep(0.05)
        yield Place(connection)
        connection.close()
    finally:
        process.terminate()
        process.wait()
