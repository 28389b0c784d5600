"""A process that does one trial: ``python -m benchmarks.inside.<what>``, with a pipe on which it replies.

Every trial is a fresh process, so no tool profits or suffers from the trial before it. POSIX only.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .tools import Tool


class Child:
    """A running trial; leaving the ``with`` block ends it."""

    def __init__(self, tool: Tool, what: str, home: Path, **arguments: Any) -> None:
        asked = json.dumps({"tool": tool.name, **arguments})
        self._log = home / f"{what}.stderr"
        reading, writing = os.pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(tool.python), "-m", f"benchmarks.inside.{what}", asked],
                cwd=home,
                env=tool.environment(home) | {"BENCHMARK_REPLY_FD": str(writing)},
                pass_fds=[writing],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        os.close(writing)
        self._replies = os.fdopen(reading, encoding="utf-8")

    def reply(self) -> dict[str, Any]:
        """The next reply, or an error with the end of what the child wrote to stderr."""
        line = self._replies.readline()
        if not line:
            said = self._log.read_text(errors="replace")
            raise RuntimeError(f"A trial ended without a reply:\n{said[-2000:]}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def replies(self, count: int) -> Iterator[dict[str, Any]]:
        for _ in range(count):
            yield self.reply()

    def go(self) -> None:
        """Tell a trial that waits for it to begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL to the Python process alone, as the kernel's out-of-memory killer does it."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        self._process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._process.stdin:
            self._process.stdin.close()
        self._replies.close()


def ask(tool: Tool, what: str, home: Path, **arguments: Any) -> dict[str, Any]:
    """Run a trial to its end and return its one reply."""
    with Child(tool, what, home, **arguments) as child:
        reply = child.reply()
        child.wait()
        return reply
