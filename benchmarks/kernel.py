"""A real IPython kernel, driven as a notebook drives it."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from jupyter_client.manager import KernelManager

from .tools import OURS


@dataclass(frozen=True)
class Cell:
    """What running one cell gave: a Python literal, and how many messages of each type its output took."""

    value: Any
    messages: Counter[str]


class Kernel:
    """A kernel of this Python with its store below ``home``; shut down on leaving the ``with`` block."""

    def __init__(self, home: Path) -> None:
        notebook = home / "training.ipynb"
        notebook.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
        self._manager = KernelManager()
        session = {"IPYTHONDIR": str(home), "JPY_SESSION_NAME": str(notebook)}
        self._manager.start_kernel(env=OURS.environment(home) | session, cwd=str(home), stdout=DEVNULL, stderr=DEVNULL)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        try:
            self._client.wait_for_ready(timeout=60)
        except RuntimeError:
            self.__exit__()
            raise

    def run(self, code: str, value: str = "None", timeout: float = 120) -> Cell:
        """Run a cell, then evaluate ``value`` in the kernel; RuntimeError when either of them fails.

        Messages are counted whichever cell they belong to: a live display updates an earlier one's output.
        """
        request = self._client.execute(code, user_expressions={"value": value}, allow_stdin=False)
        seen: Counter[str] = Counter()
        idle = False
        while not idle:
            message = self._client.get_iopub_msg(timeout=timeout)
            seen[message["msg_type"]] += 1
            idle = _answers(message, request) and message["content"].get("execution_state") == "idle"
        while not _answers(message, request) or message["msg_type"] != "execute_reply":
            message = self._client.get_shell_msg(timeout=timeout)
        return Cell(ast.literal_eval(_text(message["content"])), seen)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def _answers(message: dict[str, Any], request: str) -> bool:
    return bool(message["parent_header"].get("msg_id") == request)


def _text(reply: dict[str, Any]) -> str:
    """The value in an execute reply, or an error with what the kernel said."""
    value = reply if reply["status"] != "ok" else reply["user_expressions"]["value"]
    if value["status"] != "ok":
        raise RuntimeError(f"A cell failed: {value.get('ename')}: {value.get('evalue')}")
    return str(value["data"]["text/plain"])
