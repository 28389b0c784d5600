"""What the machine does while a run trains: a line of events every 15 seconds, as W&B's clients send them.

Only for runs that are meant for a server, which draws them.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from .store import lines
from .store.writer import Writer

EVERY = 15.0  # seconds
_MIB = 1 << 20


class Machine:
    """Measures now and then. ``runtime`` of a line is in seconds of the run, as of its rows."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._due = time.monotonic() + EVERY

    def tend(self, runtime: float) -> None:
        """Measure if it is time to."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY
        event = {"_wandb": True, "_timestamp": time.time(), "_runtime": runtime, **measure()}
        with self._writer.lock:
            at = self._writer.point.streams.get("events", {}).get("count", 0)
            self._writer.put(lines.EVENTS, {"at": at, "lines": [lines.dump_exact(event).decode()]})

    def close(self) -> None:
        """Nothing is kept back."""


def measure() -> dict[str, Any]:
    """The machine and this process now, under the names that W&B draws: percent, and MiB of memory."""
    import psutil

    process = psutil.Process()
    measured: dict[str, Any] = {}
    with contextlib.suppress(psutil.Error, OSError):  # a container may hide the one or the other
        measured["system.cpu"] = psutil.cpu_percent()
        measured["system.memory_percent"] = psutil.virtual_memory().percent
        measured["system.disk.\\.usagePercent"] = psutil.disk_usage(".").percent
    with contextlib.suppress(psutil.Error, OSError):
        measured["system.proc.cpu.threads"] = process.num_threads()
        measured["system.proc.memory.rssMB"] = process.memory_info().rss / _MIB
        measured["system.proc.memory.percent"] = process.memory_percent()
    return measured
