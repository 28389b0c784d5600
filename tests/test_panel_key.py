"""A run on a server, in JupyterLab: its API key is in nothing that a page, a notebook or a log shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import panel as sidebar
from .faults import KEY
from .panel import Panel
from .serving import served
from .test_browser import Lab, browser

__all__ = ["browser"]  # pytest's fixture

CELLS = [
    "%load_ext jupyter_resume\nrun = %wb_init --project key --resume allow",
    "%wb_widget --total 20",
    "while run.step < 20:\n    run.log({'loss': 1 / (1 + run.step)})\nrun.finish()",
    "%wb_status\n%wb_files\n%wb_runs",
]


def test_the_key_is_in_no_notebook_output_response_or_log(tmp_path: Path, browser: Any) -> None:
    sidebar.need_built()
    lab = Lab(tmp_path / "lab", sidebar=True)
    seen: list[bytes] = []

    def keep(payload: str | bytes) -> None:
        seen.append(payload.encode() if isinstance(payload, str) else payload)

    def connected(socket: Any) -> None:
        socket.on("framesent", keep)
        socket.on("framereceived", keep)

    with served(tmp_path / "there") as there:
        lab.server.env |= {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": there.url, "NETRC": str(tmp_path / "netrc")}
        with lab.server as server:
            server.create_notebook("key.ipynb", CELLS)
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(60_000)
            answers: list[Any] = []
            page.on("response", lambda answer: answers.append(answer))
            page.on("websocket", connected)
            page.goto(f"{server.url}/lab/tree/key.ipynb?reset&token={server.token}")
            page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
            panel = Panel(page).show()
            sidebar.run_first(page, len(CELLS))
            panel.wait_for_state("Finished")
            panel.node.locator(".jp-Resume-server").get_by_text(there.url).or_(
                panel.node.get_by_role("link", name="Open its page")
            ).first.wait_for()
            page.keyboard.press("Control+s")
            page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
            seen += [
                answer.body() for answer in answers if "/api/" in answer.url and answer.ok and answer.status != 204
            ]
            seen.append(page.content().encode())
            seen.append(server.log_tail(10_000_000).encode())
            page.close()
    seen += [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"jupyter-resume.run+json" in text for text in seen), "the scan saw the run's messages"
    assert any(b'"notebook_id"' in text for text in seen)
    assert [text[:300] for text in seen if KEY.encode() in text] == []
