"""What a training costs on the wire while all that shows it is open: the kernel's messages and the panel's requests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import websocket

from jupyter_resume.store.home import Store

from . import panel as sidebar
from .panel import Panel
from .test_browser import Lab, browser
from .test_panel import idle, lab, opened

__all__ = ["browser", "lab", "opened"]  # pytest's fixtures

ROWS = 10_000
BEGIN = """%load_ext jupyter_resume
run = %wb_init --project traffic"""
SHOW = "%wb_widget"
TRAIN = """import json, time
from pathlib import Path

def log(seconds):
    began = time.time()
    for n in range({rows}):
        run.log({{"loss": 1 / (n + 1), "accuracy": n / {rows}, "lr": 0.001}})
        if not n % 100:
            time.sleep(max(0, began + seconds * n / {rows} - time.time()))
    return began, time.time()

spans = [log(0), log(3)]
while not Path("{end}").exists():
    run.log({{"loss": 0.0}})
    time.sleep(0.05)
spans.append((spans[0][0], time.time()))
Path("{spans}").write_text(json.dumps(spans))
run.finish()"""


class Wire:
    """A kernel's messages, heard by a client beside the page."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self.heard: list[dict[str, Any]] = []
        self._socket = socket
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown()
        self._thread.join(10)

    def count(self, kind: str) -> int:
        return sum(message["header"]["msg_type"] == kind for message in self.heard)

    def shown(self, began: float, ended: float) -> Counter[str]:
        """What the displays and widgets sent from one of the kernel's moments to another, by type."""
        return Counter(
            message["header"]["msg_type"]
            for message in self.heard
            if message["header"]["msg_type"] in ("display_data", "update_display_data", "comm_open", "comm_msg")
            and message["content"].get("data", {}).get("method", "update") == "update"  # else an answer to a page
            and began <= datetime.fromisoformat(message["header"]["date"].replace("Z", "+00:00")).timestamp() <= ended
        )

    def _listen(self) -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError, ValueError):  # closed
            while data := self._socket.recv():
                if isinstance(data, str):
                    message = json.loads(data)
                    if message["channel"] == "iopub":
                        self.heard.append(message)


@contextlib.contextmanager
def wire(lab: Lab, path: str) -> Iterator[Wire]:
    """All that the kernel of a notebook sends."""
    sessions = lab.server.request("GET", "/api/sessions").json()
    (kernel_id,) = (session["kernel"]["id"] for session in sessions if session["path"] == path)
    socket = websocket.create_connection(
        f"{lab.server.url.replace('http', 'ws', 1)}/api/kernels/{kernel_id}/channels?session_id=beside",
        header=[f"Authorization: token {lab.server.token}"],
        http_no_proxy=["127.0.0.1"],
    )
    listening = Wire(socket)
    try:
        yield listening
    finally:
        listening.close()


class Requests:
    """What a page asks our routes."""

    def __init__(self) -> None:
        self.answered: list[Any] = []

    def listen(self, page: Any) -> None:
        page.on("response", lambda answer: "/jupyter-resume/api/" in answer.url and self.answered.append(answer))


def test_with_all_that_shows_a_run_open_there_are_five_messages_a_second_and_a_request(
    lab: Lab, opened: Callable[..., Panel]
) -> None:
    spans_file = lab.server.root / "spans.json"
    end = lab.server.root / "traffic.ipynb.end"
    lab.server.create_notebook("traffic.ipynb", [BEGIN, SHOW, TRAIN.format(rows=ROWS, spans=spans_file, end=end)])
    requests = Requests()
    panel = opened("traffic.ipynb", before=requests.listen)
    page = panel.page
    idle(page)
    with wire(lab, "traffic.ipynb") as kernel:
        sidebar.run_first(page, cells=3)
        panel.wait_for_step(ROWS)
        page.reload()
        panel.show()
        seen = panel.wait_for_step(ROWS + 1)
        assert panel.state() == "Running", "the page was away in mid-run"
        panel.wait_for_step(2 * ROWS)
        before, began = len(requests.answered), time.monotonic()
        step = panel.wait_for_step(panel.step() + 80)
        seconds = time.monotonic() - began
        training = requests.answered[before:]
        assert 1 <= len(training) <= 2 * seconds + 3, [answer.url for answer in training]
        sidebar.finish(lab.server, "traffic.ipynb")
        panel.wait_for_state("Finished")
        assert seen <= step <= panel.step()
        soon_quiet(page, requests)
        before, began = len(requests.answered), time.monotonic()
        turn(page)
        turn(page)
        seconds = time.monotonic() - began
        still = requests.answered[before:]
    assert kernel.count("execute_input") == 3, "everything was heard"
    tight, paced, whole = json.loads(spans_file.read_text())
    for since, until in (tight, paced, whole):
        shown = kernel.shown(since, until)
        assert sum(shown.values()) <= 5 * (until - since) + 4, f"{until - since} s: {shown}; two go together"
    shown = kernel.shown(*paced)
    assert min(shown["update_display_data"], shown["comm_msg"]) >= 2, "both of them follow"
    assert {answer.status for answer in still} == {304}
    assert [answer.request.sizes()["responseBodySize"] for answer in still] == [0] * len(still)
    assert 4 <= len(still) <= 3 * (seconds / 5 + 1), [answer.url for answer in still]
    (entry,) = Store(lab.home).catalog.runs() or []
    assert sum(1 for _ in Store(lab.home).record(entry.path).history()) == panel.step()


def turn(page: Any) -> None:
    """Return when the panel has looked at the run again, for the last time of a turn."""
    with page.expect_response(lambda answer: "/jupyter-resume/api/v1/runs/" in answer.url):
        pass


def soon_quiet(page: Any, requests: Requests) -> None:
    """Return when a turn has brought nothing new."""
    for _ in range(5):
        before = len(requests.answered)
        turn(page)
        if {answer.status for answer in requests.answered[before:]} == {304}:
            return
    raise AssertionError(f"it comes to no rest: {[(one.status, one.url) for one in requests.answered[-9:]]}")
