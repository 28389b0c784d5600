"""The demo's result as one HTML page: the loss as one line over both sessions, the resume marked, and the table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..tables import Table
from ..wording import esc, number

_WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 28, 40
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --pale: #59636e; --line: #d1d9e0; --back: #ffffff;
  --curve: #0969da; --mark: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #f0f6fc; --pale: #9198a1; --line: #3d444d; --back: #0d1117;
  --curve: #4493f8; --mark: #f0883e; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 50em;
  margin: 2em auto; padding: 0 1em; }
svg { width: 100%; height: auto; } svg text { fill: var(--pale); font-size: 12px; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 3px 16px 3px 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
"""


def html(title: str, losses: Sequence[tuple[int, float]], resumed_at: int, table: Table, notes: Sequence[str]) -> str:
    """A self-contained page, for a light and a dark screen. ``losses``: step and loss of every row, in order."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{esc(title)}</h1>\n"
        f"{chart(losses, resumed_at)}\n{table._repr_html_()}\n"
        + "".join(f"<p>{esc(note)}</p>\n" for note in notes)
        + "</body></html>\n"
    )


def chart(losses: Sequence[tuple[int, float]], resumed_at: int) -> str:
    """The curve as one SVG polyline, with a mark where the run was resumed."""
    points = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if len(points) < 2:
        return "<p>There are too few rows for a curve.</p>"
    first, last = points[0][0], points[-1][0]
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(step: float) -> float:
        return _LEFT + (step - first) / ((last - first) or 1) * plot_width

    def y(loss: float) -> float:
        return _TOP + (high - loss) / ((high - low) or 1) * plot_height

    across = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{number(loss)}</text>'
        for loss in _round_numbers(low, high)
    )
    below = "".join(
        f'<text x="{x(step):.1f}" y="{_HEIGHT - 20}" text-anchor="middle">{number(step)}</text>'
        for step in _round_numbers(first, last)
    )
    at = x(resumed_at - 0.5)  # between the last row before the kill and the first after it
    side = "end" if at > _WIDTH / 2 else "start"
    line = " ".join(f"{x(step):.2f},{y(loss):.2f}" for step, loss in points)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Loss over {len(points)} steps, killed and '
        f'resumed at step {resumed_at}">{across}{below}'
        f'<text x="{_LEFT + plot_width / 2}" y="{_HEIGHT - 4}" text-anchor="middle">step (one row an epoch)</text>'
        f'<text x="{_LEFT - 8}" y="{_TOP - 12}" text-anchor="end">loss</text>'
        f'<line class="resume" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_TOP + plot_height}" stroke="var(--mark)" '
        'stroke-dasharray="5 4"/>'
        f'<text x="{at + (-8 if side == "end" else 8):.1f}" y="{_TOP - 12}" text-anchor="{side}" '
        f'style="fill:var(--mark)">kernel killed, resumed at step {resumed_at}</text>'
        f'<polyline points="{line}" fill="none" stroke="var(--curve)" stroke-width="2" stroke-linejoin="round"/></svg>'
    )


def _round_numbers(low: float, high: float) -> list[float]:
    """Some four to ten round numbers from ``low`` to ``high``, for an axis."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = next(size * power for size in (0.1, 0.2, 0.5, 1.0) if span / (size * power) < 10)
    return [float(f"{n * step:.6g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
