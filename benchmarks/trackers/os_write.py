"""The floor of ``log()``: a line as long as ours, handed to the operating system, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..latency import Row, row


class Tracker:
    def start(self, run: str, *, resume: bool) -> str:
        self._path = Path(run)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        line = {**row(7), "_step": 12345, "_timestamp": 1763750000.123456, "_runtime": 1234.567891}
        self._line = b"01234567 r " + json.dumps(line, separators=(",", ":")).encode() + b"\n"
        return run

    def next_step(self) -> int:
        return self.rows(str(self._path))

    def log(self, row: Row, step: int) -> None:
        os.write(self._file, self._line)

    def finish(self) -> None:
        os.close(self._file)

    def rows(self, run: str) -> int:
        return Path(run).read_bytes().count(b"\n")
