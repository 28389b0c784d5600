"""A real kernel through jupyter_client, and what its cells send."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty
from types import TracebackType
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

Json = dict[str, Any]


@dataclass
class Cell:
    """A cell that was executed: its outputs as messages (type, content), in order, updates among them."""

    outputs: list[tuple[str, Json]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    """When each of them arrived, in seconds."""
    shown: list[Json] = field(default_factory=list)
    """The MIME bundles that a page shows: those of its displays follow every update, whichever cell sends it."""
    reply: Json = field(default_factory=dict)

    def all(self, kind: str) -> list[Json]:
        """The content of the outputs of one type."""
        return [content for one, content in self.outputs if one == kind]

    @property
    def text(self) -> str:
        """Streams, plain text and error lines."""
        streams = [content["text"] for content in self.all("stream")]
        errors = [line for content in self.all("error") for line in content["traceback"]]
        return "\n".join([*streams, *(bundle.get("text/plain", "") for bundle in self.shown), *errors])


class Kernel:
    """A kernel for a `with` statement; ended, with SIGKILL, at its end."""

    def __init__(self) -> None:
        self._manager = KernelManager()
        self._displays: dict[str, Json] = {}

    def __enter__(self) -> Kernel:
        self._manager.start_kernel()
        self.client: BlockingKernelClient = self._manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def send(self, code: str, cell_id: str | None = None) -> str:
        """Send code as a cell of that id, as a page does; the id of the request."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        metadata = {} if cell_id is None else {"cellId": cell_id}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        sent: str = message["header"]["msg_id"]
        return sent

    def kill(self) -> None:
        """SIGKILL, and its end."""
        process = self._manager.provisioner.process
        process.kill()
        process.wait(60)

    def run(self, code: str, timeout: float = 60, cell_id: str | None = None) -> Cell:
        """Execute a cell to its end; what it sends later is taken in by `wait`."""
        cell, message = Cell(), self.send(code, cell_id)
        while True:
            answer = self.client.get_iopub_msg(timeout=timeout)
            if answer["msg_type"] == "status":
                if answer["parent_header"].get("msg_id") == message and answer["content"]["execution_state"] == "idle":
                    break
            else:
                self._take(cell, answer)
        cell.reply = self._reply(message, timeout)
        return cell

    def check(self, code: str, cell_id: str | None = None) -> Cell:
        """As `run`, for a cell that must go well."""
        cell = self.run(code, cell_id=cell_id)
        assert cell.reply["status"] == "ok", cell.text
        return cell

    def wait(self, cell: Cell, true: Callable[[], bool], timeout: float = 10) -> None:
        """Take in what arrives, as that cell's, until ``true()``."""
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, f"not within {timeout} s: {cell.outputs}"
            try:
                self._take(cell, self.client.get_iopub_msg(timeout=0.1))
            except Empty:
                continue

    def complete(self, code: str) -> list[str]:
        """What TAB offers at the end of the code."""
        matches: list[str] = self._reply(self.client.complete(code, len(code)), 60)["matches"]
        return matches

    def _reply(self, message: str, timeout: float) -> Json:
        """The answer to one request; answers to the questions whether the kernel is ready may still come in between."""
        while True:
            answer = self.client.get_shell_msg(timeout=timeout)
            if answer["parent_header"].get("msg_id") == message:
                content: Json = answer["content"]
                return content

    def _take(self, cell: Cell, message: Json) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in ("status", "execute_input"):
            return
        cell.outputs.append((kind, content))
        cell.at.append(time.monotonic())
        display_id = content.get("transient", {}).get("display_id")
        if kind in ("display_data", "execute_result"):
            cell.shown.append(dict(content["data"]))
            if display_id is not None:
                self._displays[display_id] = cell.shown[-1]
        elif kind == "update_display_data":
            self._displays[display_id].clear()
            self._displays[display_id].update(content["data"])
