"""A RunView, and tables, as text, HTML and JSON: pure functions of values."""

from __future__ import annotations

import html as _html
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .view import Metric, RunView

MIME = "application/vnd.jupyter-resume.run+json"
VERSION = 1
_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_METRICS, _MOST_FILES, _WIDTH = 12, 8, 60
_INK = "var(--jp-content-font-color1, inherit)"
_PALE = "var(--jp-content-font-color2, inherit)"
_LINE = "var(--jp-border-color2, #9e9e9e)"
_BRAND = "var(--jp-brand-color1, #1976d2)"
_COLOURS = {
    "running": "var(--jp-brand-color1, #1976d2)",
    "finished": "var(--jp-success-color1, #388e3c)",
    "failed": "var(--jp-error-color1, #d32f2f)",
    "crashed": "var(--jp-error-color1, #d32f2f)",
    "taken over": "var(--jp-error-color1, #d32f2f)",
}


def bundle(view: RunView) -> dict[str, Any]:
    """One display in three forms: our MIME type, HTML and plain text."""
    return {MIME: json(view), "text/html": html(view), "text/plain": text(view)}


def json(view: RunView) -> dict[str, Any]:
    """The view as JSON values, NaN and infinities as strings; ``version`` counts this form."""
    values = asdict(view)
    for metric in values["metrics"]:
        if isinstance(metric["last"], float) and metric["last"] - metric["last"] != 0:
            metric["last"] = str(metric["last"])
    return {"version": VERSION, **values}


def headline(view: RunView) -> str:
    """``resumed at step 12``, ``new``, or nothing to say."""
    if view.resumed and view.starting_step:
        return f"resumed at step {view.starting_step}"
    return "resumed" if view.resumed else "new"


def text(view: RunView) -> str:
    """For a terminal."""
    lines = [
        f"run {view.path}" + (f" ({view.name})" if view.name not in view.path else ""),
        f"  {headline(view)}" + (f": {view.reason}" if view.resumed and view.reason else ""),
        f"  {view.state}, step {view.step}, {duration(view.elapsed)}, as of {clock(view.at)}",
    ]
    shown = view.metrics[:_MOST_METRICS]
    width = max((len(short(metric.name)) for metric in shown), default=0)
    for metric in shown:
        lines.append(f"  {short(metric.name):<{width}}  {number(metric.last):>10}  {spark(metric)}".rstrip())
    if len(view.metrics) > len(shown):
        lines.append(f"  ... and {len(view.metrics) - len(shown)} more metrics")
    if view.files:
        lines.append("  files: " + files(view))
    lines += [f"  {restored}" for restored in view.restored]
    lines += [f"  not restored: {short(name)}: {why}" for name, why in view.not_restored]
    if view.waiting:
        lines.append(f"  {view.waiting} lines wait in memory: the disk takes none")
    if view.notes:
        lines.append(f"  notes: {short(view.notes, 200)}")
    return "\n".join(lines)


def html(view: RunView) -> str:
    """For a notebook, light or dark: colours are the theme's, with fallbacks; every text is escaped."""
    colour = _COLOURS.get(view.state, "var(--jp-warn-color1, #f57c00)")
    rows = "".join(
        f'<tr><td style="text-align:left;padding:1px 12px 1px 0;color:{_PALE}">{esc(short(metric.name))}</td>'
        '<td style="text-align:right;padding:1px 12px 1px 0;font-variant-numeric:tabular-nums">'
        f'{esc(number(metric.last))}</td><td style="padding:1px 0">{svg(metric.points)}</td></tr>'
        for metric in view.metrics[:_MOST_METRICS]
    )
    more = len(view.metrics) - _MOST_METRICS
    notes = [f"files: {files(view)}"] if view.files else []
    notes += view.restored
    notes += [f"not restored: {short(name)}: {why}" for name, why in view.not_restored]
    notes += [f"{view.waiting} lines wait in memory: the disk takes none"] if view.waiting else []
    notes += [f"notes: {short(view.notes, 200)}"] if view.notes else []
    notes += [f"... and {more} more metrics"] if more > 0 else []
    return (
        f'<div style="border-left:3px solid {colour};padding:2px 0 2px 10px;color:{_INK};max-width:60em">'
        f"<div><b>{esc(view.path)}</b>"
        + (f" {esc(short(view.name))}" if view.name not in view.path else "")
        + f' · <b style="color:{colour}">{esc(view.state)}</b> · {esc(headline(view))} · step <b>{view.step}</b>'
        f" · {duration(view.elapsed)}</div>"
        + (f'<table style="margin:4px 0;border:none;font-size:inherit">{rows}</table>' if rows else "")
        + "".join(f'<div style="color:{_PALE};overflow-wrap:anywhere">{esc(note)}</div>' for note in notes)
        + f'<div style="color:{_PALE};font-size:85%">'
        + (f"{esc(view.reason)} · " if view.resumed and view.reason else "")
        + f"as of {clock(view.at)}</div></div>"
    )


def svg(points: Sequence[float], width: int = 120, height: int = 18) -> str:
    """A sparkline; nothing for fewer than two points."""
    if len(points) < 2:
        return ""
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    step = width / (len(points) - 1)
    path = " ".join(
        f"{n * step:.1f},{height - 2 - (value - low) / span * (height - 4):.1f}" for n, value in enumerate(points)
    )
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="from '
        f'{number(points[0])} to {number(points[-1])}"><polyline points="{path}" fill="none" stroke="{_BRAND}" '
        'stroke-width="1.5"/></svg>'
    )


def spark(metric: Metric, width: int = 16) -> str:
    """A sparkline of block characters."""
    points = metric.points
    if len(points) < 2:
        return ""
    picked = [points[n * (len(points) - 1) // (width - 1)] for n in range(width)] if len(points) > width else points
    low, high = min(picked), max(picked)
    return "".join(_BLOCKS[int((value - low) / ((high - low) or 1.0) * (len(_BLOCKS) - 1))] for value in picked)


def files(view: RunView) -> str:
    """The last files, with their sizes."""
    shown = view.files[-_MOST_FILES:]
    more = len(view.files) - len(shown)
    return ", ".join(f"{short(name)} ({size_of(size)})" for name, size in shown) + (
        f", and {more} more" if more else ""
    )


@dataclass(frozen=True)
class Table:
    """Rows under headings that display themselves; ``empty`` is said when there are none."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "nothing"

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        cells = [self.columns, *(tuple(short(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(self.columns))]
        return "\n".join(
            "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells
        )

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<div>{esc(self.empty)}</div>"
        head = "".join(f'<th style="text-align:left">{esc(column)}</th>' for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{esc(short(cell))}</td>' for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True, repr=False)
class Message:
    """One line that displays itself."""

    line: str

    def __repr__(self) -> str:
        return self.line

    def _repr_html_(self) -> str:
        return f"<div>{esc(self.line)}</div>"


def esc(text: object) -> str:
    """Safe in HTML, in text and in attributes."""
    return _html.escape(str(text), quote=True)


def short(text: str, width: int = _WIDTH) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= width else line[: width - 3] + "..."


def number(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return short(str(value), 24)


def size_of(count: int) -> str:
    """Bytes, for a person."""
    if count < 1000:
        return f"{count} bytes"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def duration(seconds: float) -> str:
    """Seconds, for a person: 5s, 3m 20s, 2h 05m."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def clock(at: float) -> str:
    """The time of day, with the date unless it is today's."""
    then = time.localtime(at)
    today = time.strftime("%Y%m%d", then) == time.strftime("%Y%m%d")
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def age(at: float, now: float | None = None) -> str:
    """How long ago, for a person."""
    return duration(max(0.0, (time.time() if now is None else now) - at)) + " ago"
