"""wandb in the mode that WANDB_MODE names. Offline it cannot resume: the same id begins at step 0, "must" or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ..latency import Row
from . import PROJECT

wandb: Any = import_module("wandb")

_FILE_HEADER, _BLOCK, _HEADER = 7, 32 * 1024, 7
_FULL, _LAST = 1, 4


class Tracker:
    def start(self, run: str, *, resume: bool) -> str:
        self._run = wandb.init(project=PROJECT, id=run, resume="must" if resume else "never")
        return str(self._run.id)

    def next_step(self) -> int:
        return int(self._run.step)

    def log(self, row: Row, step: int) -> None:
        self._run.log(row)

    def save(self, name: str) -> None:
        self._run.save(name, policy="now")

    def finish(self) -> None:
        self._run.finish()

    def rows(self, run: str) -> int:
        record: Any = import_module("wandb.proto.wandb_internal_pb2").Record
        files = Path(os.environ["WANDB_DIR"]).glob(f"**/run-{run}.wandb")
        records = (record.FromString(data) for file in files for data in _records(file.read_bytes()))
        return sum(each.HasField("history") for each in records)


def _records(data: bytes) -> Iterator[bytes]:
    """The complete records of a ``.wandb`` file: LevelDB's log format behind a header of 7 bytes.

    Blocks of 32 KiB hold chunks of ``crc32 (4), length (2), kind (1), payload``; fewer than 7 bytes at the
    end of a block are padding. The wheel reads it in Go only, so it is read here; a torn end is left out.
    """
    at, parts = _FILE_HEADER, b""
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        end = at + _HEADER + length
        if kind == 0 or end > len(data):
            return
        parts += data[at + _HEADER : end]
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
        at = end
