"""One run as somebody watches it: where it stands, and the curves of its metrics, kept up to date by what is new."""

from __future__ import annotations

import secrets
import sys
import threading
from math import isfinite
from operator import lt
from typing import Any

from ..curve import Curve
from ..store import lines
from ..store.record import Record
from ..store.watch import Forward, Present

METRICS = 100
"""Metrics of a run that have curves."""

_NUMBERS = {float, int}
_OURS = {"_step", "_timestamp", "_runtime"}


class Watched:
    """A run that is watched; use it under its ``lock``.

    A `cursor` names what somebody has seen. It means nothing to another Watched, of this process or of a later one.
    """

    def __init__(self, record: Record) -> None:
        self.lock = threading.Lock()
        self.present = Present(record)
        self.history = Forward(record, lines.ROW + lines.NUMBERED)
        self.curves: dict[str, Curve] = {}
        self.others: set[str] = set()
        self._key = secrets.token_hex(4)
        self._generation = 0
        self._rows = 0
        self._step = -1

    def advance(self, most: int) -> None:
        """Read on in the history, about ``most`` bytes at most."""
        found = self.history.read(most)
        if self.history.generation != self._generation:
            self._generation, self._rows, self._step = self.history.generation, 0, -1
            self.curves, self.others = {}, set()
        if found and found[0][0] == lines.ROW and found[0][1].keys() - _OURS - self.curves.keys():
            self._add(found.pop(0)[1])  # so that its metrics are known
        if self._add_alike([value for kind, value in found if kind == lines.ROW], len(found)):
            return
        for kind, value in found:
            if kind == lines.ROW:
                self._add(value)
            elif not value["late"]:
                self._add(value["row"])

    def _add_alike(self, rows: list[dict[str, Any]], count: int) -> bool:
        """Take in rows of the same metrics at steps that grow, all numbers finite; False if they are others."""
        if not rows or len(rows) != count:
            return False
        names, steps = rows[0].keys(), [row["_step"] for row in rows]
        metrics = [name for name in names if name not in _OURS]
        known = all(name in self.curves for name in metrics) and steps[0] > self._step
        if not known or not all(map(lt, steps, steps[1:])) or any(row.keys() != names for row in rows):
            return False
        columns = [[row[name] for row in rows] for name in metrics]
        try:
            if any(not _NUMBERS.issuperset(map(type, column)) or not all(map(isfinite, column)) for column in columns):
                return False
        except OverflowError:  # an integer that is no float
            return False
        self._rows, self._step = self._rows + count, steps[-1]
        for name, column in zip(metrics, columns, strict=True):
            self.curves[name].extend(steps, column, self._rows)
        return True

    def _add(self, row: dict[str, Any]) -> None:
        self._rows += 1
        step = row["_step"]
        self._step = max(self._step, step)
        for name, value in row.items():
            if type(value) not in _NUMBERS or name in _OURS:
                continue
            curve = self.curves.get(name)
            if curve is None:
                if len(self.curves) >= METRICS:
                    self.others.add(name)
                    continue
                curve = self.curves[name] = Curve()
            if isinstance(value, float):
                curve.add(step, value if value - value == 0 else None, self._rows)
            elif abs(value) <= sys.float_info.max:
                curve.add(step, value, self._rows)

    @property
    def cursor(self) -> str:
        """All that was read so far."""
        return f"{self._key}.{self._generation}.{self._rows}.{self.present.version}"

    def seen(self, cursor: str | None) -> tuple[int, int]:
        """The rows and the version of the rest that a cursor stands for; (-1, -1): nothing."""
        parts = (cursor or "").split(".")
        if parts[:2] != [self._key, str(self._generation)] or len(parts) != 4:
            return -1, -1
        if not (parts[2].isdecimal() and parts[3].isdecimal()):
            return -1, -1
        rows = int(parts[2][:18])
        return (rows, int(parts[3][:18])) if rows <= self._rows else (-1, -1)
