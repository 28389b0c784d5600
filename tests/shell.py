"""A shell in this process that passes for a kernel's."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class Shell(InteractiveShell):  # type: ignore[misc]
    """A shell with no history on the disk; what it displays is kept."""

    def __init__(self) -> None:
        super().__init__(config=Config({"HistoryManager": {"enabled": False}}))
        self.kernel = SimpleNamespace()
        self.display_pub = CapturingDisplayPublisher()

    def cell(self, code: str) -> Any:
        """Run a cell; its result, or its error raised."""
        with contextlib.redirect_stdout(io.StringIO()):
            done = self.run_cell(code, store_history=True)
        done.raise_error()
        return done.result
