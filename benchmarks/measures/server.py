"""``jupyter resume serve``: rows a second, the resume query, and files, beside the same HTTP server without a store."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from urllib.parse import urlsplit

from jupyter_resume.identity import RunPath
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import ResumePoint
from jupyter_resume.store.writer import Writer

from ..bench import Bench
from ..child import Child
from ..place import KEY, RESUME, Place, ours, plain
from ..plan import MIB
from ..results import Result
from ..tools import OURS

ROWS = 100  # of one post, as an SDK gathers them in 15 seconds
_UPSERT = "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
_CREATE = """mutation($f: [String!]!) { createRunFiles(input: {projectName: "p", runName: "files", files: $f}) {
  files { uploadUrl } } }"""


def measure(bench: Bench) -> Iterator[Result]:
    with ExitStack() as stack:
        homes = [stack.enter_context(bench.home()) for _ in range(2)]
        places = [stack.enter_context(ours(homes[0])), stack.enter_context(plain(homes[1]))]
        yield Result.of("server", "ready", OURS.name, [places[0].ready])
        yield from _rows(bench, places)
        yield from _files(bench, places)
    for runs in bench.plan.serve_runs:
        yield from _queries(bench, f"resume query, {runs:,} runs", runs, 100)
    for length in bench.plan.serve_lengths:
        yield from _queries(bench, f"resume query, {length:,} rows", 1, length)


def _rows(bench: Bench, places: list[Place]) -> Iterator[Result]:
    plan = bench.plan
    for clients in plan.serve_clients:
        rates: dict[str, list[float]] = defaultdict(list)
        for number, _ in enumerate(bench.rounds(plan.serve_rounds, f"server, {clients} clients", [OURS])):
            for place in places if number % 2 else places[::-1]:
                runs = [f"r{clients}-{number}-{n}" for n in range(clients)]
                if place.name == OURS.name:
                    for run in runs:
                        place.query(_UPSERT, i={"name": run, "modelName": "p"})
                rates[place.name].append(_posted(bench, place, runs, plan.serve_posts // clients))
        case = f"rows over file_stream, {clients} client{'s' if clients > 1 else ''}"
        floor = rates["plain"]
        yield Result.of("server", case, OURS.name, rates[OURS.name], unit="/s", floor=floor)
        yield Result.of("server", case, "plain", floor, unit="/s")


def _posted(bench: Bench, place: Place, runs: list[str], posts: int) -> float:
    """Rows a second, all clients together, each with a connection of its own, in at most four processes."""
    with bench.home() as home, ExitStack() as stack:
        shares = [share for n in range(4) if (share := runs[n::4])]
        children = [
            stack.enter_context(Child(OURS, "post", home, port=place.port, runs=share, posts=posts, rows=ROWS))
            for share in shares
        ]
        for child in children:
            child.reply()  # its bodies are made
        began = time.perf_counter()
        for child in children:
            child.go()
        for child in children:
            child.reply()
        return len(runs) * posts * ROWS / (time.perf_counter() - began)


def _files(bench: Bench, places: list[Place]) -> Iterator[Result]:
    size = bench.plan.serve_file
    data = bytes(range(256)) * (size // 256)
    places[0].query(_UPSERT, i={"name": "files", "modelName": "p"})
    up: dict[str, list[float]] = defaultdict(list)
    down: dict[str, list[float]] = defaultdict(list)
    for number, _ in enumerate(bench.rounds(bench.plan.serve_rounds, f"server, {size // MIB} MiB", [OURS])):
        for place in places if number % 2 else places[::-1]:
            path = "/file"
            if place.name == OURS.name:
                made = json.loads(place.query(_CREATE, f=["model"]))["data"]["createRunFiles"]["files"][0]["uploadUrl"]
                path = urlsplit(made)._replace(scheme="", netloc="").geturl()
            began = time.perf_counter()
            place.send("PUT", path, data)
            up[place.name].append(size / MIB / (time.perf_counter() - began))
            began = time.perf_counter()
            got = place.send("GET", "/files/local/p/files/model" if place.name == OURS.name else "/file")
            down[place.name].append(size / MIB / (time.perf_counter() - began))
            if got != data:
                raise RuntimeError("A download is not what was uploaded.")
    for what, rates in (("upload", up), ("download", down)):
        case = f"{what}, {size // MIB} MiB"
        yield Result.of("server", case, OURS.name, rates[OURS.name], unit="MiB/s", floor=rates["plain"])
        yield Result.of("server", case, "plain", rates["plain"], unit="MiB/s")


def _queries(bench: Bench, case: str, runs: int, length: int) -> Iterator[Result]:
    with bench.home() as home:
        store = Store(home)
        for n in range(runs):
            _written(store, f"r{n}", length)
        with ours(home) as place:
            times = []
            connection = HTTPConnection("127.0.0.1", place.port, timeout=120)
            for n in range(bench.plan.serve_queries):
                asked = {"query": RESUME, "variables": {"project": "p", "name": f"r{n * 7 % runs}"}}
                began = time.perf_counter()
                connection.request("POST", "/graphql", json.dumps(asked).encode(), KEY)
                said = json.loads(connection.getresponse().read())
                times.append(time.perf_counter() - began)
                if said["data"]["model"]["bucket"]["historyLineCount"] != length:
                    raise RuntimeError(f"The resume query is wrong: {said}")
            connection.close()
        yield Result.of("server", case, OURS.name, times)


def _written(store: Store, run: str, length: int) -> None:
    """A finished run of so many rows."""
    now = time.time()
    path = RunPath("local", "p", run)
    writer = Writer.open(
        store.record(path), ResumePoint("local", "p", run, created=now, updated=now), None, "benchmark"
    )
    assert writer is not None
    for first in range(0, length, 1000):
        steps = range(first, min(length, first + 1000))
        writer.commit(
            [
                (lines.ROW, {"_step": n, "_runtime": n / 10, "_timestamp": now + n / 10, "loss": 1 / (n + 1)})
                for n in steps
            ]
        )
    writer.close("finished", 0)
    store.catalog.put(writer.point)
