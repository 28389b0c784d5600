"""The panel in a browser: how long after a page load it shows the run, and what `log()` costs while it is open."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from jupyter_resume.store.home import Store

from ..bench import Bench
from ..jupyter import many, written
from ..pages import PATIENCE, STEP, browsed, lacking, made_notebook, open_notebook, open_panel, shown_step
from ..results import Result
from ..tools import OURS

SHOWN = f"{OURS.name}, live display, widget and panel on"
_READY = "panel ready after page load"
_MOMENTS = """
const moments = window.benchmark = {};
const shown = selector =>
  [...document.querySelectorAll(selector)].some(node => node.offsetParent !== null && node.innerText.trim());
const look = () => {
  if (!moments.notebook && shown('.jp-NotebookPanel .jp-Cell')) moments.notebook = performance.now();
  if (!moments.panel && shown('#jupyter-resume-panel .jp-Resume-step')) moments.panel = performance.now();
  if (!moments.notebook || !moments.panel) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
_INIT = "%wb_init --project benchmark --id log --resume never"
_SHOW = f"%load_ext jupyter_resume\n{_INIT}\n%wb_widget"
_HIDE = f"%load_ext jupyter_resume\n%config ResumeMagics.display = False\n{_INIT}"
_LOG = """import json, jupyter_resume
from pathlib import Path
from benchmarks.latency import latencies
took = [latencies(lambda row, step: jupyter_resume.log(dict(row)), {calls}, over) for over in (0.0, {over})]
Path("took.part").write_text(json.dumps([took, jupyter_resume.run.step]))
Path("took.part").rename("took.json")"""


def measure(bench: Bench) -> Iterator[Result]:
    """Nothing, with the reason, where there is no browser or no sidebar."""
    if why := lacking():
        for case in (_READY, "log() with the panel open"):
            yield Result.missing("lab", case, OURS.name, why)
        return
    for length in bench.plan.lab_lengths:
        with bench.home() as home:
            notebook = made_notebook(home, "long.ipynb", ["1"])
            writer = written(Store(home), length, notebook)
            for runs in bench.plan.lab_runs:
                many(Store(home), runs)
                ours, floor = _loads(bench, home, length)
                case = f"{_READY}, {runs:,} runs, one of {length:,} rows"
                yield Result.of("lab", case, OURS.name, ours, floor=floor)
                yield Result.of("lab", case, "notebook", floor)
            writer.close("finished", 0)
    yield from _logging(bench)


def _loads(bench: Bench, home: Path, length: int) -> tuple[list[float], list[float]]:
    """Seconds from navigation until the panel shows the step, and until JupyterLab shows the notebook."""
    ours, floor = [], []
    with browsed(home) as (place, page):
        open_notebook(place, page, "long.ipynb")
        open_panel(page)
        page.add_init_script(_MOMENTS)
        for _ in range(bench.plan.panel_loads):
            page.goto(place.url("lab/tree/long.ipynb"))
            page.wait_for_function("() => window.benchmark.notebook && window.benchmark.panel")
            moments = page.evaluate("() => window.benchmark")
            if shown_step(page) != length:
                raise RuntimeError(f"The panel shows step {shown_step(page)}, not {length}.")
            ours.append(moments["panel"] / 1000)
            floor.append(moments["notebook"] / 1000)
            page.wait_for_load_state("networkidle")
    return ours, floor


def _logging(bench: Bench) -> Iterator[Result]:
    """`log()` in a notebook's kernel with all that shows a run open, beside the same page with none of it."""
    loops = ("tight loop", "computing in between")
    times: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for names in bench.rounds(bench.plan.log_rounds, "lab: log", [OURS.name, SHOWN]):
        for name in names:
            with bench.home() as home:
                for loop, took in zip(loops, _log(bench, home, show=name == SHOWN), strict=True):
                    times[loop, name].append(took)
    for loop in loops:
        for statistic in ("p50", "p99"):
            plain, shown = ([took[statistic] for took in times[loop, name]] for name in (OURS.name, SHOWN))
            yield Result.of("lab", f"log() {statistic}, {loop}", OURS.name, plain)
            yield Result.of("lab", f"log() {statistic}, {loop}", SHOWN, shown, floor=plain)


def _log(bench: Bench, home: Path, show: bool) -> list[dict[str, float]]:
    """What the loops took in a cell that was run in the page; where the panel is open it has followed."""
    calls = bench.plan.log_calls
    cells = [_SHOW if show else _HIDE, _LOG.format(calls=calls, over=bench.plan.paced_seconds)]
    made_notebook(home, "log.ipynb", cells)
    with browsed(home) as (place, page):
        open_notebook(place, page, "log.ipynb")
        if show:
            open_panel(page)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.locator(".jp-NotebookPanel .jp-Cell").first.locator(".jp-InputArea-prompt").click()
        for _ in cells:
            page.keyboard.press("Shift+Enter")
        file, deadline = place.root / "took.json", time.monotonic() + PATIENCE
        while not file.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"The cells did not come to their end: {page.inner_text('.jp-Notebook')[-1000:]}")
            page.wait_for_timeout(100)
        took, step = json.loads(file.read_text())
        if step != 2 * calls:
            raise RuntimeError(f"{step} rows were logged, not {2 * calls}.")
        if show:
            page.wait_for_function(
                f"step => document.querySelector('{STEP}')?.innerText.replace(/\\D/g, '') === step", arg=str(step)
            )
    return cast(list[dict[str, float]], took)
