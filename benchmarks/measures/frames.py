"""The panel's frames while a long run is opened, scrolled, put on a log scale, and grows: the longest of each."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_resume.store.home import Store
from jupyter_resume.store.writer import Writer

from ..bench import Bench
from ..jupyter import log, written
from ..pages import PANEL, PATIENCE, STEP, browsed, lacking, made_notebook, open_notebook, open_panel
from ..results import Result
from ..tools import OURS

_METRICS = 6
_CASE = "longest frame"
_REST = "at rest, panel closed"
_RECORD = """
window.frames_ = [];
let last = performance.now();
const tick = now => {
  window.frames_.push(now - last);
  last = now;
  requestAnimationFrame(tick);
};
requestAnimationFrame(tick);
"""
_TAKE = "() => new Promise(done => requestAnimationFrame(() => done(window.frames_.splice(0))))"
_READ = f"step => document.querySelector('{STEP}')?.innerText.replace(/\\D/g, '') === step"
_WHOLE = f"""() => {{
  const steps = document.querySelector('{PANEL} .jp-Resume-range span + span');
  return steps && !document.querySelector('{PANEL} progress');
}}"""


def measure(bench: Bench) -> Iterator[Result]:
    """Nothing, with the reason, where there is no browser or no sidebar."""
    if why := lacking():
        yield Result.missing("lab", _CASE, OURS.name, why)
        return
    length = max(bench.plan.lab_lengths)
    longest: dict[str, list[float]] = defaultdict(list)
    with bench.home() as home:
        notebook = made_notebook(home, "long.ipynb", ["1"])
        writer = written(Store(home), length, notebook, _METRICS)
        with browsed(home) as (place, page):
            page.add_init_script(_RECORD)
            for _ in bench.rounds(bench.plan.frame_rounds, "lab: frames", [OURS.name]):
                open_notebook(place, page, "long.ipynb")
                page.wait_for_load_state("networkidle")
                for case, act in _acts(page, writer, bench.plan.frame_seconds):
                    page.evaluate(_TAKE)
                    act()
                    longest[case].append(max(page.evaluate(_TAKE)) / 1000)
        writer.close("finished", 0)
    floor = longest.pop(_REST)
    for case, frames in longest.items():
        named = f"{_CASE}, {case}, {length:,} rows of {_METRICS} metrics"
        yield Result.of("lab", named, OURS.name, frames, floor=floor)
        yield Result.of("lab", named, "notebook", floor)


def _acts(page: Any, writer: Writer, seconds: float) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is done, one after the other; the frames of each are its own."""

    def rest() -> None:
        page.wait_for_timeout(1000 * seconds)

    def open_() -> None:
        open_panel(page)
        page.wait_for_function(_WHOLE, timeout=5000 * PATIENCE)

    def scroll() -> None:
        page.locator(PANEL).hover()
        for way in (1, -1):
            for _ in range(30):
                page.mouse.wheel(0, way * 120)
                page.wait_for_timeout(16)

    def rescale() -> None:
        for _ in range(6):
            page.get_by_label("log scale").click()
            page.wait_for_timeout(100)

    def grow() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            step = writer.point.next_step
            log(writer, range(step, step + 3), _METRICS)
            page.wait_for_timeout(50)
        page.wait_for_function(_READ, arg=str(writer.point.next_step))

    yield _REST, rest
    yield "while it is opened", open_
    yield "scrolled", scroll
    yield "log scale", rescale
    yield "while it grows", grow
