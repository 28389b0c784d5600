"""RunWidget in a real JupyterLab: it moves, its buttons are pressed, and the notebook outlives its kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .lab import JupyterServer, need
from .test_browser import ARTIFACTS, Lab, browser, lab, run_all

__all__ = ["browser", "lab"]  # pytest's fixtures

BEGIN = """%load_ext jupyter_resume
%config ResumeMagics.display = False
from pathlib import Path
run = %wb_init --project {project} --name "night run" --notes "second try"
for name in ("model-best.h5", "optimizer.pt"):
    Path(name).write_bytes(name.encode() * 1000)
    run.save(name)
    Path(name).unlink()
%wb_widget --total 5000"""
TRAIN = """import math, time
while not Path("stop").exists():
    run.log({"loss": math.exp(-run.step / 300), "val/accuracy": 1 - math.exp(-run.step / 200), "phase": "warm-up"})
    time.sleep(0.01)"""
WIDGET = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output .widget-vbox"
PLAIN = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output:not(:has(.widget-vbox))"


def wait_for_step(page: Any, least: int) -> None:
    page.wait_for_function(
        'least => Number(document.querySelectorAll(".widget-html-content b")[2]?.innerText) >= least', arg=least
    )


def reopened(lab: Lab, browser: Any, page: Any, path: str, theme: str = "Light") -> Any:
    """The page of the notebook after it was saved and its kernel shut down; a new kernel knows nothing of it."""
    page.locator(".lm-MenuBar-item", has_text="File").click()
    page.locator(".lm-Menu-item[data-command='docmanager:save']").click()
    page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
    page.close()
    lab.server.open(path).shutdown()
    return lab.open(browser, path, theme)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_moves_and_is_pressed_and_outlives_its_kernel(theme: str, lab: Lab, browser: Any) -> None:
    path = f"widget-{theme}.ipynb"
    stop = lab.server.root / "stop"
    stop.unlink(missing_ok=True)
    lab.server.create_notebook(path, [BEGIN.replace("{project}", theme), TRAIN])
    page = lab.open(browser, path, theme)
    run_all(page)
    widget = page.locator(WIDGET)
    wait_for_step(page, 1)
    wait_for_step(page, 150)
    restore, finish = (widget.get_by_role("button", name=name) for name in ("Restore", "Finish"))
    widget.get_by_text("A cell is running").wait_for()
    assert restore.is_disabled()
    assert finish.is_disabled()
    assert widget.get_by_role("progressbar").get_attribute("aria-valuemax") == "5000"
    ARTIFACTS.mkdir(exist_ok=True)
    widget.screenshot(path=ARTIFACTS / f"widget-running-{theme.lower()}.png")
    stop.touch()

    page.wait_for_function("() => !document.querySelector('.widget-button')?.disabled")
    widget.get_by_text("A cell is running").wait_for(state="detached")
    files = widget.locator("select")
    assert files.input_value() == "optimizer.pt"
    files.select_option("model-best.h5")
    restore.click()
    widget.get_by_text("model-best.h5 (13.0 kB): restored and verified").wait_for()
    restored = next((lab.settings.parent / "store" / "runs" / "local" / theme).rglob("files/model-best.h5"))
    assert restored.read_bytes() == b"model-best.h5" * 1000
    restored.write_bytes(b"mine")
    restore.click()
    widget.get_by_role("button", name="Replace it").wait_for()
    page.screenshot(path=ARTIFACTS / f"widget-{theme.lower()}.png")
    widget.get_by_role("button", name="Cancel").click()
    finish.click()
    sure = widget.get_by_role("button", name="Finish it")
    sure.wait_for()
    widget.screenshot(path=ARTIFACTS / f"widget-finish-{theme.lower()}.png")
    assert "running" in widget.inner_text()
    overflow = widget.evaluate("node => node.scrollWidth - node.clientWidth")
    assert overflow <= 0
    sure.click()

    plain = page.locator(PLAIN, has_text="finished")
    plain.wait_for()
    assert page.locator(WIDGET).count() == 0
    page = reopened(lab, browser, page, path, theme)
    page.locator(PLAIN, has_text="finished").wait_for()
    assert page.get_by_text("model not found").count() == 0
    assert page.get_by_role("button", name="Restore").count() == 0
    page.screenshot(path=ARTIFACTS / f"widget-reopened-{theme.lower()}.png")
    page.close()


def test_a_kernel_that_is_restarted_leaves_plain_html(lab: Lab, browser: Any) -> None:
    lab.server.create_notebook("widget-restart.ipynb", [BEGIN.replace("{project}", "restart"), "run.log({'loss': 1})"])
    page = lab.open(browser, "widget-restart.ipynb")
    run_all(page)
    wait_for_step(page, 1)
    lab.server.open("widget-restart.ipynb").restart()
    page.locator(PLAIN, has_text="interrupted").wait_for()
    page = reopened(lab, browser, page, "widget-restart.ipynb")
    page.locator(PLAIN, has_text="interrupted").wait_for()
    assert page.get_by_text("model not found").count() == 0
    page.close()


def test_it_is_pressed_in_notebook_7_too(tmp_path: Path, browser: Any) -> None:
    need("notebook")
    environment = {"JUPYTER_RESUME_HOME": str(tmp_path / "store")}
    with JupyterServer(tmp_path / "root", env=environment, app="notebook") as server:
        server.create_notebook("n.ipynb", [BEGIN.replace("{project}", "seven"), "run.log({'loss': 1})"])
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}/notebooks/n.ipynb?token={server.token}")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
        run_all(page)
        wait_for_step(page, 1)
        page.get_by_role("button", name="Restore", exact=True).click()
        page.get_by_text("optimizer.pt (12.0 kB): restored and verified").wait_for()
        page.get_by_role("button", name="Finish", exact=True).click()
        page.get_by_role("button", name="Finish it").click()
        page.locator(PLAIN, has_text="finished").wait_for()
        assert page.locator(WIDGET).count() == 0
        page.close()
