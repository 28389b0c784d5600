"""What a kernel itself said of its training: the evidence beside the record, from another source than the record."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

_EPOCH = re.compile(r"^Epoch (\d+)/\d+$", re.MULTILINE)
_LOSS = re.compile(r" - loss: (\S+)$")


class Witness:
    """Listens to the lines that Keras prints with ``verbose=2``.

    Keras announces an epoch after every callback of the one before has returned, so an epoch that was announced
    is proof that the row of the one before was logged.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.announced: int | None = None
        self.done: dict[int, str] = {}
        self._loss: str | None = None
        self._rest = ""

    def hear(self, text: str) -> None:
        """Take in a piece of text; pieces end anywhere. Epochs are counted from 0 here, as steps are."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if match := _EPOCH.match(line):
                epoch = int(match[1]) - 1
                if self.announced is not None and self._loss is not None:
                    self.done[self.announced] = self._loss
                if self.first is None:
                    self.first = epoch
                self.announced, self._loss = epoch, None
            elif match := _LOSS.search(line):
                self._loss = match[1]

    def missing_in(self, rows: Sequence[dict[str, Any]]) -> list[int]:
        """The epochs that were announced as done and are not in these rows with the loss that was printed."""
        recorded = {row["_step"]: row.get("loss") for row in rows}
        return [epoch for epoch, printed in self.done.items() if not _agree(recorded.get(epoch), printed)]


def _agree(recorded: float | None, printed: str) -> bool:
    """Keras prints four digits after the point."""
    if recorded is None:
        return False
    loss = float(printed)
    return math.isclose(recorded, loss, rel_tol=1e-3, abs_tol=1e-4) or (math.isnan(recorded) and math.isnan(loss))
