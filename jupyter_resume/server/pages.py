"""Pages, made here and complete in themselves: a run, the runs of a project, the projects.

What users wrote - names, notes, tags, metrics, output - is escaped by the templates; nothing is loaded from
elsewhere and there is no script.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import jinja2

from .. import selection
from ..errors import InvalidInput
from ..identity import RunPath, check_name
from ..wording import size_of
from . import history
from .access import Client
from .curves import curves, number
from .hosting import ALIVE, Hosting, Seen
from .naming import file_path
from .refusals import Refusal, missing

_POINTS = 600  # rows that a curve is drawn from
_OUTPUT = 300  # lines of output
_RUNS = 100  # on one page
_METRICS = 3  # columns of a project's page
_REFRESH = 15  # seconds, of a run that is going on
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)|[\x00-\x08\x0b-\x1f\x7f]")
_UNSHOWN = ("_wandb", "_timestamp")
_STATES = {"interrupted": "killed"}


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader(__package__ or "", "templates")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)


def home(hosting: Hosting, who: Client) -> str:
    """The projects that the client may see, the last worked on first."""
    found = [
        {"entity": entity, "name": name, "runs": runs, "updated": _when(updated), "href": _href(entity, name)}
        for entity, name, runs, updated in hosting.store.catalog.projects()
        if who.may_read(entity)
    ]
    return _templates().get_template("home.html").render(projects=found, refresh=None)


def told(sentence: str) -> str:
    """What a person is told who cannot have what was asked for."""
    return _templates().get_template("told.html").render(sentence=sentence, refresh=None)


def project(hosting: Hosting, entity: str, name: str, order: str, page: int) -> str:
    """The runs of a project, in the order asked for. Raises Refusal."""
    try:
        check_name(entity, "entity")
        check_name(name, "project")
    except InvalidInput as error:
        raise Refusal(404, str(error)) from None
    order = order if re.fullmatch(r"[+-]?[^,]{1,1000}", order) else "-created_at"
    found = selection.choose(hosting.list(entity, name), {}, order)
    pages = max(1, -(-len(found) // _RUNS))
    page = min(max(1, page), pages)
    metrics = _common_metrics(found)
    fields = ["display_name", "state", "summary_metrics._step", "created_at", "heartbeat_at"]
    titles = ["run", "state", "last step", "begun", "last sign"]
    keys = [*fields, *(f"summary_metrics.{metric}" for metric in metrics), "tags"]
    columns = [
        _column(title, key, order, key.startswith("summary_metrics"))
        for title, key in zip([*titles, *metrics, "tags"], keys, strict=True)
    ]
    return (
        _templates()
        .get_template("project.html")
        .render(
            entity=entity,
            name=name,
            total=len(found),
            pages=pages,
            number=page,
            order=order,
            columns=columns,
            runs=[_listed(seen, metrics) for seen in found[(page - 1) * _RUNS : page * _RUNS]],
            refresh=None,
        )
    )


def _column(title: str, key: str, order: str, is_number: bool) -> dict[str, Any]:
    down, at = order.startswith("-"), order.lstrip("+-")
    sorted_by = ("descending" if down else "ascending") if at == key else None
    first_down = key not in ("display_name", "state", "tags")
    turned = down if at == key else not first_down
    return {"name": title, "order": ("" if turned else "-") + key, "sorted": sorted_by, "number": is_number}


def _common_metrics(found: Iterable[Seen]) -> list[str]:
    """The metrics that most runs have, losses first."""
    counts: dict[str, int] = {}
    for seen in found:
        for key, value in seen.point.summary.items():
            if key[0:1] != "_" and isinstance(value, (int, float)) and not isinstance(value, bool):
                counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda name: ("loss" not in name.lower(), -counts[name], name))[:_METRICS]


def _listed(seen: Seen, metrics: list[str]) -> dict[str, Any]:
    point = seen.point
    return {
        "href": _href(seen.path.entity, seen.path.project, seen.path.run_id),
        "name": point.meta.get("name") or seen.path.run_id,
        "state": _STATES.get(seen.state, seen.state),
        "step": point.last_step if point.last_step >= 0 else "",
        "created": _when(point.created),
        "updated": _when(seen.heartbeat),
        "metrics": [number(point.summary[name]) if name in point.summary else "" for name in metrics],
        "tags": point.meta.get("tags") or [],
    }


def run(hosting: Hosting, path: RunPath) -> str:
    """A run: state, step, curves, config, summary, files, output, and what was kept aside. Raises Refusal."""
    seen = hosting.see(path)
    if seen is None:
        raise missing(path)
    point, positions = seen.point, hosting.positions(path)
    meta = point.meta
    numbers = range(max(0, positions.console_count - _OUTPUT), positions.console_count)
    facts = [(label, meta[key]) for label, key in _FACTS if meta.get(key)]
    return (
        _templates()
        .get_template("run.html")
        .render(
            path=path,
            name=meta.get("name") or path.run_id,
            project_href=_href(path.entity, path.project),
            state=_STATES.get(seen.state, seen.state),
            exit_code=point.exit_code,
            step=point.last_step,
            rows=point.rows,
            runtime=_lasting(point.runtime),
            sessions=point.sessions,
            created=_when(point.created),
            heartbeat=_when(seen.heartbeat),
            stopped=bool(meta.get("stopped")),
            facts=facts,
            tags=meta.get("tags") or [],
            notes=meta.get("notes"),
            conflict_count=point.conflicts,
            conflicts=[{**each, "time": _when(each["time"])} for each in positions.conflicts()],
            out_of_order_count=point.out_of_order,
            out_of_order=[json.dumps(row) for row in positions.out_of_order(20)] if point.out_of_order else [],
            missing=positions.missing,
            curves=curves(history.sample(positions, None, None, _POINTS)),
            config=_flat(point.config),
            summary=_flat({key: value for key, value in point.summary.items() if key not in _UNSHOWN}),
            files=[
                {
                    "name": entry.name,
                    "href": file_path(path, entry.name),
                    "size": size_of(entry.size),
                    "saved": _when(entry.saved_at),
                    "step": entry.step if entry.step >= 0 else "",
                    "digest": entry.digest,
                }
                for entry in sorted(point.files.values(), key=lambda entry: entry.name)
            ],
            console=[
                _line(n, text) for n, text in zip(numbers, positions.console(numbers), strict=True) if text is not None
            ],
            console_skipped=numbers.start,
            refresh=_REFRESH if seen.state in ALIVE else None,
        )
    )


_FACTS = (
    ("by", "user"),
    ("group", "group"),
    ("job", "job_type"),
    ("on", "host"),
    ("program", "program"),
    ("commit", "commit"),
)


def _line(at: int, text: str) -> dict[str, Any]:
    """A line of output as a terminal would leave it: without escape codes, the last rewriting."""
    line = history.log_line(at, text)
    plain = _ESCAPES.sub("", line["line"].rstrip("\r").rpartition("\r")[2])
    return {**line, "line": plain[:4000]}


def _flat(values: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Names and values, nested ones as ``outer.inner``."""
    rows: list[tuple[str, str]] = []
    for key, value in sorted(values.items()):
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{above}{key}.")
        else:
            text = number(value) if isinstance(value, (str, int, float, bool)) else json.dumps(value)
            rows.append((f"{above}{key}", text if len(text) <= 1000 else f"{text[:1000]}..."))
    return rows


def _href(*parts: str) -> str:
    quoted = [quote(part, safe="") for part in parts]
    return "/" + "/".join([*quoted[:2], *(["runs", quoted[2]] if len(parts) == 3 else [])])


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _lasting(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
