"""The panel in a browser: how long after a page load it shows the run, and what `log()` costs while it is open."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from jupyter_resume.origin import NotebookRef
from jupyter_resume.store.home import Store

from ..bench import Bench
from ..jupyter import Place, many, server, written
from ..results import Result
from ..tools import OURS

SHOWN = f"{OURS.name}, live display, widget and panel on"
_STEP = "#jupyter-resume-panel .jp-Resume-step"
_READY = "panel ready after page load"
_PATIENCE = 120.0
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
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
    if why := _lacking():
        for case in (_READY, "log() with the panel open"):
            yield Result.missing("lab", case, OURS.name, why)
        return
    for length in bench.plan.lab_lengths:
        with bench.home() as home:
            notebook = _notebook(home, "long.ipynb", ["1"])
            writer = written(Store(home), length, notebook)
            for runs in bench.plan.lab_runs:
                many(Store(home), runs)
                ours, floor = _loads(bench, home, length)
                case = f"{_READY}, {runs:,} runs, one of {length:,} rows"
                yield Result.of("lab", case, OURS.name, ours, floor=floor)
                yield Result.of("lab", case, "notebook", floor)
            writer.close("finished", 0)
    yield from _logging(bench)


def _lacking() -> str:
    """What there must be and is not; "" if nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "not measured, playwright is not installed"
    if _chromium() is None:
        return "not measured, there is no Chromium on this machine"
    if not Path(sys.prefix, "share/jupyter/labextensions/jupyter-resume/package.json").exists():
        return "not measured, the sidebar is not built"
    return ""


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _loads(bench: Bench, home: Path, length: int) -> tuple[list[float], list[float]]:
    """Seconds from navigation until the panel shows the step, and until JupyterLab shows the notebook."""
    ours, floor = [], []
    with _page(home) as (place, page):
        _open(place, page, "long.ipynb", panel=True)
        page.add_init_script(_MOMENTS)
        for _ in range(bench.plan.panel_loads):
            page.goto(place.url("lab/tree/long.ipynb"))
            page.wait_for_function("() => window.benchmark.notebook && window.benchmark.panel")
            moments = page.evaluate("() => window.benchmark")
            if _step(page) != length:
                raise RuntimeError(f"The panel shows step {_step(page)}, not {length}.")
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
    _notebook(home, "log.ipynb", cells)
    with _page(home) as (place, page):
        _open(place, page, "log.ipynb", panel=show)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.locator(".jp-NotebookPanel .jp-Cell").first.locator(".jp-InputArea-prompt").click()
        for _ in cells:
            page.keyboard.press("Shift+Enter")
        file, deadline = place.root / "took.json", time.monotonic() + _PATIENCE
        while not file.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"The cells did not come to their end: {page.inner_text('.jp-Notebook')[-1000:]}")
            page.wait_for_timeout(100)
        took, step = json.loads(file.read_text())
        if step != 2 * calls:
            raise RuntimeError(f"{step} rows were logged, not {2 * calls}.")
        if show:
            page.wait_for_function(
                f"step => document.querySelector('{_STEP}')?.innerText.replace(/\\D/g, '') === step", arg=str(step)
            )
    return cast(list[dict[str, float]], took)


@contextmanager
def _page(home: Path) -> Iterator[tuple[Place, Any]]:
    """A page of a browser, and the JupyterLab to open in it."""
    from playwright.sync_api import sync_playwright

    settings = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with server(home, "jupyterlab") as place, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_chromium(), args=_FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(_PATIENCE * 1000)
        yield place, page
        chromium.close()


def _open(place: Place, page: Any, notebook: str, panel: bool) -> None:
    """Open a notebook, and the panel beside it: then return when JupyterLab has noted that it is open."""
    page.goto(place.url(f"lab/tree/{notebook}") + "&reset")
    page.get_by_text("Python 3 (ipykernel) |").first.wait_for()
    if not panel:
        return
    noted = '"current":"jupyter-resume-panel"'
    with page.expect_response(
        lambda answer: "/api/workspaces" in answer.url and noted in (answer.request.post_data or "")
    ):
        page.locator(".jp-SideBar [data-id='jupyter-resume-panel']").click()


def _step(page: Any) -> int:
    return int(re.sub(r"\D", "", page.inner_text(_STEP)))


def _notebook(home: Path, name: str, cells: list[str]) -> NotebookRef:
    """A notebook among the server's files."""
    root = home / "notebooks"
    root.mkdir(exist_ok=True)
    blank: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    ids = tuple(f"cell-{n}" for n in range(len(cells)))
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel},
        "cells": [blank | {"id": id_, "source": cell} for id_, cell in zip(ids, cells, strict=True)],
    }
    (root / name).write_text(json.dumps(content))
    return NotebookRef(str(root / name), "benchmark", cells=ids)
