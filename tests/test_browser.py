"""JupyterLab in a real browser: the live view moves, survives the kernel, and can be read in both themes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .lab import JupyterServer, need
from .panel import BEGIN, TRAIN

sync_api = pytest.importorskip("playwright.sync_api")

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SELECT = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output[data-mime-type='text/html']"
MEASURE = """view => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((one, n) => a * one + (1 - a) * below[n]);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const light = colour => colour.map(one => one / 255)
    .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0);
  const contrast = (node, property) => {
    const back = behind(node.closest('div'));
    const [low, high] = [light(back), light(over(parse(getComputedStyle(node)[property]), back))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const all = selector => [...view.querySelectorAll(selector)];
  return {
    text: Math.min(...all('bdi, span, b').map(node => contrast(node, 'color'))),
    lines: Math.min(...all('polyline').map(node => contrast(node, 'stroke'))),
    background: behind(view),
    numbers: all('tr').filter(row => row.cells.length === 3).map(row => row.cells[1].getBoundingClientRect().right),
    drawings: all('svg').map(node => node.getBoundingClientRect().left),
    values: all('td[colspan]').map(node => node.getBoundingClientRect().left),
    overflow: view.scrollWidth - view.clientWidth,
    height: view.getBoundingClientRect().height,
  };
}"""


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium_path()
    if path is None:
        message = "no Chromium on this machine: install the package chromium to run the browser tests"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


def without(folder: Path, *plugins: str) -> dict[str, str]:
    """An environment in which a user has disabled plugins of JupyterLab."""
    file = folder / "config" / "labconfig" / "page_config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"disabledExtensions": dict.fromkeys(plugins, True)}))
    return {"JUPYTER_CONFIG_PATH": str(folder / "config")}


class Lab:
    """A JupyterLab server and its user's settings. Cells show HTML, as where there is no sidebar, unless `sidebar`.

    `off`: plugins that are switched off."""

    def __init__(self, folder: Path, sidebar: bool = False, off: tuple[str, ...] = ()) -> None:
        self.settings = folder / "settings"
        self.set("notification", fetchNews="false")
        self.home = folder / "store"
        environment = {"JUPYTER_RESUME_HOME": str(self.home), "JUPYTERLAB_SETTINGS_DIR": str(self.settings)}
        off = off if sidebar else ("jupyter-resume:renderer", *off)
        if off:
            environment |= without(folder, *off)
        self.server = JupyterServer(folder / "root", env=environment)

    def set(self, name: str, plugin: str = "@jupyterlab/apputils-extension", **values: object) -> None:
        file = self.settings / plugin / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def open(self, browser: Any, path: str, theme: str = "Light") -> Any:
        """The page of a notebook whose kernel is ready."""
        self.set("themes", theme=f"JupyterLab {theme}")
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(f"{self.server.url}/lab/tree/{path}?reset&token={self.server.token}")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        return page


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    with lab.server:
        yield lab


def run_all(page: Any) -> None:
    """Run All, once more if nothing came of it: JupyterLab forgets what is run while the kernel is still connecting."""
    for _ in range(5):
        page.locator(".lm-MenuBar-item", has_text="Run").click()
        page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
        with contextlib.suppress(sync_api.TimeoutError):
            page.wait_for_function(
                "() => /[0-9*]/.test(document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-InputPrompt')"
                ".innerText)",
                timeout=10_000,
            )
            return
    raise AssertionError("Run All runs nothing")


def step(page: Any) -> int:
    """The step that the first view on the page shows."""
    return int(page.locator(f"{SELECT} b").nth(2).inner_text())


def wait_for_step(page: Any, least: int) -> int:
    page.wait_for_function(f'Number(document.querySelectorAll("{SELECT} b")[2]?.innerText) >= {least}')
    return step(page)


@pytest.mark.parametrize(("theme", "dark"), [("Light", False), ("Dark", True)])
def test_the_view_moves_in_the_page_and_outlives_its_kernel(theme: str, dark: bool, lab: Lab, browser: Any) -> None:
    path = f"{theme}.ipynb"
    lab.server.create_notebook(path, [BEGIN, TRAIN.format(steps=100_000, end="never")])
    page = lab.open(browser, path, theme)
    session = lab.server.open(path)
    run_all(page)
    first = wait_for_step(page, 1)
    second = wait_for_step(page, first + 20)
    view = page.locator(SELECT)
    assert "running" in view.inner_text()
    session.kill_and_wait_for_autorestart()
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    assert "running" in view.inner_text(), "what a killed kernel showed last stays, with its time"
    assert step(page) >= second
    run_all(page)
    resumed_at = wait_for_step(page, step(page) + 20)
    assert resumed_at > second
    text = view.inner_text()
    for part in ("night run", "running", "resumed at step", "it was the unfinished run of this notebook", "loss"):
        assert part in text
    for part in (
        "model-best.h5 (12.3 kB), in place already, verified",
        "has no file 'scaler.pt'",
        "second try",
        "warm-up",
    ):
        assert part in text
    session.interrupt()
    page.get_by_text("KeyboardInterrupt").first.wait_for()
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"lab-{theme.lower()}.png")
    view.screenshot(path=ARTIFACTS / f"view-{theme.lower()}.png")
    measured = view.evaluate(MEASURE)
    assert (sum(measured["background"]) < 3 * 64) is dark
    assert measured["text"] >= 4, measured
    assert measured["lines"] >= 3, measured
    for column in ("numbers", "drawings", "values"):
        assert len(measured[column]) >= 2
        assert max(measured[column]) - min(measured[column]) < 1, f"{column} are aligned"
    assert measured["overflow"] <= 0
    assert measured["height"] < 260, "compact"
    page.close()


def test_a_kernel_shut_down_leaves_the_view_saying_interrupted(lab: Lab, browser: Any) -> None:
    lab.server.create_notebook(
        "restart.ipynb", ["%load_ext jupyter_resume\nrun = %wb_init --project p", "run.log({'a': 1})"]
    )
    page = lab.open(browser, "restart.ipynb")
    run_all(page)
    wait_for_step(page, 1)
    lab.server.open("restart.ipynb").restart()
    page.locator(SELECT, has_text="interrupted").wait_for()
    page.close()


def test_a_notebook_that_is_not_trusted_still_shows_what_matters(lab: Lab, browser: Any) -> None:
    """JupyterLab strips drawings and theme colours from outputs that its user did not make."""
    lab.server.create_notebook("made.ipynb", [BEGIN, "for n in range(9): run.log({'loss': 1 / (n + 1)})\nrun.finish()"])
    session = lab.server.open("made.ipynb")
    cells = lab.server.notebook("made.ipynb")["cells"]
    results = [session.execute(cell["source"], cell["id"]).check() for cell in cells]
    outputs = [{"output_type": "display_data", "metadata": {}, "data": bundle} for bundle in results[0].displays]
    cell = {"cell_type": "code", "id": uuid.uuid4().hex[:8], "metadata": {}, "source": "", "execution_count": 1}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell | {"outputs": outputs}]}
    (lab.server.root / "sent.ipynb").write_text(json.dumps(notebook))
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto(f"{lab.server.url}/lab/tree/sent.ipynb?reset&token={lab.server.token}")
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    view = page.locator(SELECT)
    view.wait_for()
    assert view.locator("svg").count() == 0
    text = " ".join(view.inner_text().split())
    for part in ("night run ● finished · step 9", "loss 0.11111 from 1 to 0.11111", "restored model-best.h5"):
        assert part in text
    ARTIFACTS.mkdir(exist_ok=True)
    view.screenshot(path=ARTIFACTS / "view-untrusted.png")
    page.close()


def test_the_view_is_shown_in_notebook_7_too(tmp_path: Path, browser: Any) -> None:
    need("notebook")
    environment = {"JUPYTER_RESUME_HOME": str(tmp_path / "store")} | without(tmp_path, "jupyter-resume:renderer")
    with JupyterServer(tmp_path / "root", env=environment, app="notebook") as server:
        server.create_notebook("n.ipynb", [BEGIN, "for n in range(9): run.log({'loss': 1 / (n + 1)})\nrun.finish()"])
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}/notebooks/n.ipynb?token={server.token}")
        page.get_by_text("Python 3 (ipykernel)").wait_for()
        page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
        run_all(page)
        view = page.locator(SELECT, has_text="finished")
        view.wait_for()
        assert view.locator("svg").count() == 1
        page.close()
