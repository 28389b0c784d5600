"""A RunView as text, HTML and JSON: pure functions of the value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from .view import Metric, RunView
from .wording import clock, duration, esc, number, said, short, size_of

MIME = "application/vnd.jupyter-resume.run+json"
VERSION = 1
_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_METRICS, _MOST_FILES = 12, 8
_MOST_IN_JSON = 100

_INK = "var(--jp-content-font-color1, inherit)"
_PALE = "var(--jp-content-font-color2, inherit)"
_BRAND = "var(--jp-brand-color1, #1976d2)"
_GOOD = "var(--jp-success-color1, #388e3c)"
_BAD = "var(--jp-error-color1, #d32f2f)"
_WARN = "var(--jp-warn-color1, #f57c00)"
_TRACK = "var(--jp-layout-color3, #bdbdbd)"
_COLOURS = {"running": _BRAND, "finished": _GOOD, "failed": _BAD, "crashed": _BAD, "taken over": _BAD}
_FRAME = (
    "padding:2px 0 2px 12px;max-width:60em;line-height:1.5;overflow-wrap:anywhere;"
    f"font-family:var(--jp-ui-font-family, inherit);font-size:var(--jp-ui-font-size1, inherit);color:{_INK}"
)
_CELL = "vertical-align:baseline;padding:1px 16px 1px 0"
_LABEL = f"{_CELL};text-align:left;white-space:nowrap;color:{_PALE}"
_NUMBER = f"{_CELL};text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
_REST = f"{_CELL};text-align:left;width:100%"


class Shown(RunView):
    """A view that displays itself."""

    @classmethod
    def of(cls, view: RunView) -> Shown:
        """The same view, to be displayed."""
        return cls(**{field.name: getattr(view, field.name) for field in fields(view)})

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)


def bundle(view: RunView) -> dict[str, Any]:
    """One display in three forms: our MIME type, HTML and plain text."""
    return {MIME: json(view), "text/html": html(view), "text/plain": text(view)}


def json(view: RunView) -> dict[str, Any]:
    """The view as JSON values; ``version`` counts this form.

    NaN and infinities are strings. Of metrics the first 100 are there, of files the last 100; ``more`` counts the
    others, since each update carries all of it.
    """
    values = {field.name: getattr(view, field.name) for field in fields(view)}
    values["metrics"] = [asdict(metric) for metric in view.metrics[:_MOST_IN_JSON]]
    for metric in values["metrics"]:
        last = metric["last"]
        if isinstance(last, str) or (isinstance(last, float) and last - last != 0):
            metric["last"] = short(str(last), 200)
    values["files"] = view.files[-_MOST_IN_JSON:]
    more = {kind: max(0, len(getattr(view, kind)) - _MOST_IN_JSON) for kind in ("metrics", "files")}
    cut = {name: short(values[name] or "", 1000) for name in ("name", "notes")}
    return {"version": VERSION, **values, **cut, "more": more}


def headline(view: RunView) -> str:
    """``new``, or ``resumed at step 12`` with the reason."""
    if not view.resumed:
        return "new"
    return (f"resumed at step {view.starting_step}" if view.starting_step else "resumed") + (
        f": {short(view.reason, 200)}" if view.reason else ""
    )


def facts(view: RunView) -> list[tuple[str, str]]:
    """What there is to say beside state and metrics: labels, each with a line of text."""
    said = [("files", files(view))] if view.files else []
    said += [("restored", short(restored, 300)) for restored in view.restored[-_MOST_FILES:]]
    said += [("not restored", short(f"{name}: {why}", 300)) for name, why in view.not_restored[-_MOST_FILES:]]
    if view.waiting:
        lines = "1 line waits" if view.waiting == 1 else f"{view.waiting:,} lines wait"
        said.append(("waiting", f"{lines} in memory: the disk takes none"))
    if view.server:
        said.append(("server", short(view.server, 400)))
    if view.url:
        said.append(("page", short(view.url, 400)))
    if view.notes:
        said.append(("notes", short(view.notes, 200)))
    if (more := len(view.metrics) - _MOST_METRICS) > 0:
        said.append(("more", f"{more} more metrics"))
    return said


def text(view: RunView) -> str:
    """For a terminal."""
    shown, said = view.metrics[:_MOST_METRICS], facts(view)
    width = max(
        (len(label) for label in [*(short(metric.name) for metric in shown), *(label for label, _ in said)]), default=0
    )
    return "\n".join(
        [
            f"run {short(view.path, 400)}" + (f" ({short(view.name)})" if view.name not in view.path else ""),
            f"  {view.state}, step {view.step}{_of_total(view)}, {duration(view.elapsed)}, {headline(view)},"
            f" as of {clock(view.at)}",
            *(f"  {short(m.name):<{width}}  {number(m.last):>10}  {spark(m)}".rstrip() for m in shown),
            *(f"  {label:<{width}}  {line}" for label, line in said),
        ]
    )


def html(view: RunView) -> str:
    """For a notebook, light or dark: colours are the theme's, with fallbacks; every text is escaped.

    JupyterLab strips theme colours and drawings from a notebook that it does not trust; it reads well without.
    """
    colour = _COLOURS.get(view.state, _WARN)
    row = '<tr style="background:none">'
    rows = [
        f'{row}<td style="{_LABEL}">{said(short(metric.name))}</td><td style="{_NUMBER}">{said(number(metric.last))}'
        f'</td><td style="{_REST}">{svg(metric.points)}</td></tr>'
        for metric in view.metrics[:_MOST_METRICS]
    ]
    rows += [
        f'{row}<td style="{_LABEL}">{label}</td><td colspan="2" style="{_REST}'
        f'{f";color:{_BAD}" if label in ("not restored", "waiting") else ""}">{said(line)}</td></tr>'
        for label, line in facts(view)
    ]
    table = (
        f'<table style="margin:2px 0 0;border:none;border-collapse:collapse;font-size:inherit">{"".join(rows)}</table>'
        if rows
        else ""
    )
    return (
        f'<div style="border-left:3px solid {colour};{_FRAME}"><div><b>{said(short(view.path, 400))}</b>'
        + (f" {said(short(view.name))}" if view.name not in view.path else "")
        + f'</div><div><b style="color:{colour}">● {esc(view.state)}</b> · step <b>{view.step}</b>{_of_total(view)} · '
        f'{duration(view.elapsed)} · {esc(headline(view))}<span style="color:{_PALE};white-space:nowrap"> · as of '
        f"{clock(view.at)}</span>"
        f"</div>{bar(view)}{table}</div>"
    )


def _of_total(view: RunView) -> str:
    return f" of {view.total}" if view.total else ""


def bar(view: RunView) -> str:
    """How far the run is, as a bar; nothing where nobody said how far it goes."""
    if not view.total or view.total < 0:
        return ""
    colour = _COLOURS.get(view.state, _WARN)
    done = min(view.step, view.total)
    return (
        f'<div role="progressbar" aria-label="steps" aria-valuemin="0" aria-valuemax="{view.total}" '
        f'aria-valuenow="{done}" style="margin:4px 0;max-width:30em;height:4px;border-radius:2px;overflow:hidden;'
        f'background:{_TRACK}"><div style="width:{100 * done / view.total:.1f}%;height:4px;background:{colour}">'
        "</div></div>"
    )


def svg(points: Sequence[float], width: int = 120, height: int = 16) -> str:
    """A sparkline; nothing for fewer than two points. Where drawings are stripped its title stays."""
    if len(points) < 2:
        return ""
    low, high = min(points), max(points)
    step, span = width / (len(points) - 1), height - 6
    path = " ".join(
        f"{n * step:.1f},{height - 3 - span * _share(value, low, high):.1f}" for n, value in enumerate(points)
    )
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'style="vertical-align:middle"><title>from {number(points[0])} to {number(points[-1])}</title>'
        f'<polyline points="{path}" fill="none" stroke="{_BRAND}" stroke-width="1.5"/></svg>'
    )


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, from 0 to 1; halved first, so that no difference overflows."""
    return (value / 2 - low / 2) / ((high / 2 - low / 2) or 1.0)


def spark(metric: Metric, width: int = 16) -> str:
    """A sparkline of block characters."""
    points = metric.points
    if len(points) < 2:
        return ""
    picked = [points[n * (len(points) - 1) // (width - 1)] for n in range(width)] if len(points) > width else points
    low, high = min(picked), max(picked)
    return "".join(_BLOCKS[round(_share(value, low, high) * (len(_BLOCKS) - 1))] for value in picked)


def files(view: RunView) -> str:
    """The last files, with their sizes."""
    shown = view.files[-_MOST_FILES:]
    more = len(view.files) - len(shown)
    return ", ".join(f"{short(name)} ({size_of(size)})" for name, size in shown) + (
        f", and {more} more" if more else ""
    )
