"""The sidebar in a real browser, as a user sees and presses it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from .lab import PREFIX, JupyterServer

AXE = Path(__file__).parent.parent / "labextension" / "node_modules" / "axe-core" / "axe.min.js"

BEGIN = """%load_ext jupyter_resume
run = %wb_init --project panel --resume allow --name "night run" --notes "second try" --config lr=0.001 optimizer=adam
if not run.files:
    open("model-best.h5", "wb").write(b"w" * 12345)
    run.save("model-best.h5")
run.restore("model-best.h5", replace=True)
try:
    run.restore("scaler.pt")
except OSError:
    pass"""
TRAIN = """import math, time
from pathlib import Path
while run.step < {steps} and not Path("{end}").exists():
    run.log({{"loss": math.exp(-run.step / 300), "val/accuracy": 1 - math.exp(-run.step / 200), "phase": "warm-up"}})
    time.sleep(0.01)
run.finish()"""


def need_built() -> None:
    """Skip where the sidebar is not installed; on a machine that has to prove it, fail."""
    if not Path(PREFIX, "share/jupyter/labextensions/jupyter-resume/package.json").exists():
        message = "the sidebar is not built: its packages could not be had when jupyter-resume was installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def notebook(server: JupyterServer, path: str, steps: int = 100_000) -> None:
    """A notebook that trains for so many steps, or until `finish`."""
    end = str(server.root / f"{path}.end")
    server.create_notebook(path, [BEGIN, TRAIN.format(steps=steps, end=end), "print('not to be run again')"])


def finish(server: JupyterServer, path: str) -> None:
    """Let the training of that notebook come to its end."""
    (server.root / f"{path}.end").touch()


class Panel:
    """The sidebar on one page."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.node = page.locator("#jupyter-resume-panel")
        self.death = self.node.locator(".jp-Resume-death")

    def show(self) -> Panel:
        """Open it by its tab, unless it is open: a page that was reloaded opens it by itself."""
        tab = self.page.locator(".jp-SideBar [data-id='jupyter-resume-panel']")
        tab.wait_for()
        self.page.get_by_text("Python 3 (ipykernel) |").first.wait_for()
        if not self.node.is_visible():
            tab.click()
        self.node.wait_for()
        return self

    @property
    def text(self) -> str:
        """All that it says, with single spaces."""
        return " ".join(self.node.inner_text().split())

    def state(self) -> str:
        text: str = self.node.locator(".jp-Resume-stateWords").inner_text()
        return text

    def step(self) -> int:
        return int(re.sub(r"\D", "", self.node.locator(".jp-Resume-step").inner_text()))

    def wait_for_step(self, least: int) -> int:
        self.page.wait_for_function(
            "least => Number(document.querySelector('#jupyter-resume-panel .jp-Resume-step')"
            "?.innerText.replace(/\\D/g, '')) >= least",
            arg=least,
        )
        return self.step()

    def wait_for_state(self, state: str) -> None:
        self.node.locator(".jp-Resume-stateWords", has_text=re.compile(f"^{state}$")).wait_for()

    def button(self, name: str) -> Any:
        return self.node.get_by_role("button", name=name, exact=True)

    def section(self, title: str) -> Any:
        return self.node.locator(".jp-Resume-section", has=self.page.locator(f"h3:text-is('{title}')"))

    def resume(self) -> None:
        self.death.get_by_role("button", name="Resume", exact=True).click()


def run_first(page: Any, cells: int = 2) -> None:
    """Run the notebook's first cells, as Shift+Enter does."""
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.locator(".jp-InputArea-prompt").click()
    for _ in range(cells):
        page.keyboard.press("Shift+Enter")


def close_dialog(page: Any) -> None:
    """Answer JupyterLab's own word on a kernel that died."""
    page.locator(".jp-Dialog button.jp-mod-accept").click()


def serious(page: Any, within: str) -> list[str]:
    """What axe finds serious or worse in a part of the page."""
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "within => axe.run(within, {resultTypes: ['violations']}).then(result => result.violations.map("
        "one => [one.impact, one.id, one.nodes.map(node => node.html.slice(0, 150) + ' ' + node.failureSummary)]))",
        within,
    )
    return [f"{rule}: {nodes}" for impact, rule, nodes in found if impact in ("serious", "critical")]
