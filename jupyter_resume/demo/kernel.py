"""A notebook's cells in a real kernel, heard from outside: what it prints, as it prints it, up to its last word."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

_READY = 120.0  # seconds that a kernel may take to answer on a busy machine
_QUIET = 0.5  # seconds without a message after which a killed kernel has no more to say


class KernelFailed(Exception):
    """The kernel died by itself, or a cell failed in it."""


class Kernel:
    """A kernel of this very Python, ended with the ``with`` block in whatever way that is left."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._log = folder / "kernel.log"
        # No folders to look in: a "python3" that someone installed may be another Python.
        self._manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        self._client: Any = None
        self.pid = 0
        self.killed = False

    def __enter__(self) -> Kernel:
        try:
            with self._log.open("ab") as log:
                self._manager.start_kernel(
                    cwd=str(self._folder), env=self._environment, stdout=log.fileno(), stderr=log.fileno()
                )
            self.pid = int(getattr(self._manager.provisioner, "pid"))  # noqa: B009 - a local kernel has one
            self._client = self._manager.blocking_client()
            self._client.start_channels()
            self._client.wait_for_ready(timeout=_READY)
        except RuntimeError as error:
            self.__exit__(None, None, None)
            raise KernelFailed(f"the kernel did not start ({error}){self._last_words()}") from error
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.stop_channels()
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows TerminateProcess, either way
        self.killed = True

    def run(
        self, cells: Iterable[str], heard: Callable[[str], None], after: Callable[[str], None] = lambda cell: None
    ) -> None:
        """Execute cells in order, up to the end or to a `kill`; ``heard`` gets every piece of text on their stdout.

        ``after`` gets the source of each cell that was executed. Raises KernelFailed.
        """
        for cell in cells:
            self._listen(self._client.execute(cell, allow_stdin=False), heard)
            if self.killed:
                return
            after(cell)

    def _listen(self, request: str, heard: Callable[[str], None]) -> None:
        """Take in messages until the cell is done, or until a kernel that was killed has said its last."""
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=_QUIET)
            except queue.Empty:
                if self.killed:
                    return
                if not self._manager.is_alive():
                    raise KernelFailed(f"the kernel died by itself{self._last_words()}") from None
                continue
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != request:
                continue
            if kind == "stream" and content["name"] == "stdout":
                heard(content["text"])
            elif kind == "error":
                raise KernelFailed(f"a cell failed: {content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle" and not self.killed:
                return

    def _last_words(self) -> str:
        """The last line of its log, to be put behind a message."""
        lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        said = [line for line in lines if line.strip() and "without encryption" not in line]
        return f": {said[-1].strip()[:300]}" if said else ""
