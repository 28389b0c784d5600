"""Rows for readers: ranges of steps, evenly thinned, and W&B's sampling specs; lines of output taken apart."""

from __future__ import annotations

import json
import re
from typing import Any

from ..sampling import thinned
from .positions import Positions
from .refusals import bad

_SAMPLES = 500
_SCANNED = 20_000  # rows that are looked through for those that have all keys of a spec
_STAMP = re.compile(r"(?:(ERROR) )?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?) ?(.*)", re.DOTALL)


def sample(
    positions: Positions, min_step: int | None, max_step: int | None, samples: int | None, most: int | None = None
) -> list[dict[str, Any]]:
    """Rows with ``min_step <= _step < max_step``, evenly thinned to ``samples``; ``most``: only the first ones."""
    numbers = positions.between(min_step, max_step)
    if most is not None:
        numbers = numbers[:most]
    return [row for row in positions.rows(thinned(numbers, samples or _SAMPLES)) if row is not None]


def by_spec(positions: Positions, spec: str) -> list[dict[str, Any]]:
    """Rows for a spec ``{"keys", "minStep", "maxStep", "samples"}``: those that have all keys, with those keys.

    ``maxStep`` belongs to the range, except where the range is as wide as ``samples``: older SDKs page that way.
    """
    try:
        asked = json.loads(spec)
        keys = list(dict.fromkeys(str(key) for key in asked.get("keys") or ()))
        low, high = asked.get("minStep"), asked.get("maxStep")
        samples = int(asked.get("samples") or _SAMPLES)
        low = None if low is None else int(low)
        high = None if high is None else int(high) + (0 if int(high) - (low or 0) == samples else 1)
    except (ValueError, TypeError, AttributeError):
        raise bad("A spec of sampledHistory is not a JSON object with keys, samples, minStep and maxStep.") from None
    numbers = positions.between(low, high)
    rows = (row for row in positions.rows(thinned(numbers, max(samples, _SCANNED))) if row is not None)
    full = [{key: row[key] for key in keys} if keys else row for row in rows if all(key in row for key in keys)]
    return [full[n] for n in thinned(range(len(full)), samples)]


def log_line(number: int, text: str) -> dict[str, Any]:
    """A line of output: its time and level stand before it."""
    found = _STAMP.fullmatch(text)
    if not found:
        return {"number": number, "timestamp": None, "level": None, "label": None, "line": text}
    level = "error" if found[1] else None
    return {"number": number, "timestamp": found[2], "level": level, "label": None, "line": found[3]}
