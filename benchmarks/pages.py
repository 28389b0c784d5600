"""JupyterLab in a browser, with a notebook and the panel open beside it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_resume.origin import NotebookRef

from .jupyter import Place, server

PANEL = "#jupyter-resume-panel"
STEP = f"{PANEL} .jp-Resume-step"
PATIENCE = 120.0  # seconds
_TAB = ".jp-SideBar [data-id='jupyter-resume-panel']"
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def lacking() -> str:
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


@contextmanager
def browsed(home: Path) -> Iterator[tuple[Place, Any]]:
    """A page of a browser, and the JupyterLab to open in it."""
    from playwright.sync_api import sync_playwright

    settings = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with server(home, "jupyterlab") as place, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_chromium(), args=_FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE * 1000)
        yield place, page
        chromium.close()


def open_notebook(place: Place, page: Any, notebook: str) -> None:
    """Open a notebook in a workspace in which nothing else is."""
    page.goto(place.url(f"lab/tree/{notebook}") + "&reset")
    page.get_by_text("Python 3 (ipykernel) |").first.wait_for()


def open_panel(page: Any) -> None:
    """Open the panel, and return when JupyterLab has noted that it is open."""
    noted = '"current":"jupyter-resume-panel"'
    with page.expect_response(
        lambda answer: "/api/workspaces" in answer.url and noted in (answer.request.post_data or "")
    ):
        page.locator(_TAB).click()


def shown_step(page: Any) -> int:
    """The step that the panel shows."""
    return int(re.sub(r"\D", "", page.inner_text(STEP)))


def made_notebook(home: Path, name: str, cells: list[str]) -> NotebookRef:
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
