"""The sidebar: its routes beside the Jupyter Server's own, its panel beside JupyterLab's notebook, and the wheel."""

from __future__ import annotations

from collections.abc import Iterator

from jupyter_resume.store.home import Store

from ..bench import Bench
from ..jupyter import API, Place, log, many, server, written
from ..results import Result
from ..tools import OURS
from . import frames, panel, wheel


def measure(bench: Bench) -> Iterator[Result]:
    for runs in bench.plan.lab_runs:
        with bench.home() as home:
            many(Store(home), runs)
            with server(home) as place:
                yield from _measured(bench, place, f"a page of 50, {runs:,} runs", f"{API}/runs?limit=50")
                yield from _measured(bench, place, f"a search, {runs:,} runs", f"{API}/runs?q=run{runs - 1}")
    for length in bench.plan.lab_lengths:
        yield from _one_run(bench, length)
    yield from panel.measure(bench)
    yield from frames.measure(bench)
    yield from wheel.measure(bench)


def _one_run(bench: Bench, length: int) -> Iterator[Result]:
    with bench.home() as home:
        writer = written(Store(home), length)
        with server(home) as place:
            path = f"{API}/runs/local/p/long"
            place.ask(f"{API}/hello")
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
                log(writer, range(length + 3 * n, length + 3 * n + 3))
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
