"""The sidebar's story once in Notebook 7: it follows a run, sees its kernel die, and lets it go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store

from . import panel as sidebar
from .lab import JupyterServer, need
from .panel import Panel
from .test_browser import ARTIFACTS, browser

__all__ = ["browser"]  # pytest's fixture


def test_a_run_whose_kernel_is_killed_goes_on_in_notebook_7_too(tmp_path: Path, browser: Any) -> None:
    need("notebook")
    sidebar.need_built()
    home = tmp_path / "store"
    with JupyterServer(tmp_path / "root", env={"JUPYTER_RESUME_HOME": str(home)}, app="notebook") as server:
        sidebar.notebook(server, "n.ipynb")
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}/notebooks/n.ipynb?token={server.token}")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
        page.locator(".lm-MenuBar-item", has_text="View").click()
        page.locator(".lm-Menu-item[data-command='jupyter-resume:open']").click()
        panel = Panel(page)
        panel.node.get_by_text("This notebook has no run yet.").wait_for()
        sidebar.run_first(page)
        panel.wait_for_step(100)
        (session,) = server.request("GET", "/api/sessions").json()
        (pid,) = server.kernel_pids(session["kernel"]["id"])
        os.kill(pid, 9)
        panel.death.get_by_text("The kernel died at").wait_for()
        other = browser.new_page()  # which saw nothing of it
        other.goto(f"{server.url}/notebooks/n.ipynb?token={server.token}")
        other.locator(".lm-MenuBar-item", has_text="View").click()
        other.locator(".lm-Menu-item[data-command='jupyter-resume:open']").click()
        Panel(other).death.get_by_text("Resume runs 2 cells, from the top to the one that was running").wait_for()
        other.close()
        sidebar.close_dialog(page)
        panel.wait_for_state("Crashed")
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "panel-notebook7.png")
        at = panel.step()
        panel.resume()
        panel.wait_for_step(at + 20)
        sidebar.finish(server, "n.ipynb")
        panel.wait_for_state("Finished")
        assert f"resumed at step {at:,}" in panel.text
        run_path = RunPath(*panel.node.locator(".jp-Resume-path bdi").inner_text().split("/"))
        steps = [row["_step"] for row in Store(home).record(run_path).history()]
        assert steps == list(range(panel.step()))
        page.close()
