"""Metrics as curves: numbers over steps, in the coordinates of a small SVG of 360 by 125."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT, TOP = 360.0, 120.0, 16.0
_MOST = 40  # metrics


@dataclass(frozen=True)
class Curve:
    """One metric. ``lines`` are points ``x,y x,y ...``; where a value is no finite number, a line ends."""

    name: str
    last: str
    low: str
    high: str
    first_step: int
    last_step: int
    lines: tuple[str, ...]


def curves(rows: Sequence[dict[str, Any]]) -> list[Curve]:
    """The curves of all metrics that are numbers, losses first, then by name."""
    names = {key for row in rows for key, value in row.items() if key[0] != "_" and _finite(value) is not None}
    ordered = sorted(names, key=lambda name: ("loss" not in name.lower(), name))
    return [curve for name in ordered[:_MOST] if (curve := _curve(name, rows))]


def _curve(name: str, rows: Sequence[dict[str, Any]]) -> Curve | None:
    points = [(row["_step"], _finite(row[name])) for row in rows if name in row]
    known = [(step, value) for step, value in points if value is not None]
    if not known:
        return None
    low, high = min(value for _, value in known), max(value for _, value in known)
    first, last = known[0][0], known[-1][0]
    across, up = (last - first) or 1, (high - low) or 1.0
    lines: list[list[str]] = [[]]
    for step, value in points:
        if value is None:
            lines.append([])
            continue
        x = (step - first) / across * WIDTH
        y = HEIGHT - (value - low) / up * (HEIGHT - TOP) if math.isfinite(up) and high > low else (HEIGHT + TOP) / 2
        lines[-1].append(f"{x:.1f},{y:.1f}")
    drawn = tuple(" ".join(line) for line in lines if line)
    return Curve(name, number(known[-1][1]), number(low), number(high), first, last, drawn)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number(value: Any) -> str:
    """A number, short."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)
