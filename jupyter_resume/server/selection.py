"""Which runs, in which order: the filters (a subset of MongoDB's) and orders of W&B's ``Api().runs``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

from .hosting import Seen
from .refusals import bad

Test = Callable[[Any], bool]


def choose(runs: Iterable[Seen], filters: str | None, order: str | None) -> list[Seen]:
    """The runs that match, ordered; without an order the newest first."""
    wanted = read_filters(filters)
    chosen = [seen for seen in runs if not wanted or matches(seen, wanted)]
    for part in reversed([part.strip() for part in (order or "").split(",") if part.strip()]):
        down, key = part[0] == "-", part.lstrip("+-")
        known = [(field(seen, key), seen) for seen in chosen]
        there = sorted((pair for pair in known if pair[0] is not None), key=lambda pair: _rank(pair[0]), reverse=down)
        chosen = [seen for _, seen in there] + [seen for value, seen in known if value is None]
    return chosen


def read_filters(filters: str | None) -> dict[str, Any]:
    """The filters as a dict. Raises Refusal."""
    try:
        wanted = json.loads(filters or "{}")
    except ValueError:
        wanted = None
    if wanted is None:
        raise bad("The filters are not JSON.")
    if not isinstance(wanted, dict):
        raise bad("The filters are not a JSON object.")
    return wanted


def matches(seen: Seen, wanted: dict[str, Any]) -> bool:
    """Whether a run matches. Raises Refusal for an operator that is not known."""
    for key, value in wanted.items():
        if key in ("$and", "$or", "$nor"):
            if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
                raise bad(f"The filter {key} takes a list of filters.")
            found = [matches(seen, part) for part in value]
            if not {"$and": all(found), "$or": any(found), "$nor": not any(found)}[key]:
                return False
        elif key == "$not":
            if matches(seen, value):
                return False
        elif not _holds(field(seen, key), value, key):
            return False
    return True


def field(seen: Seen, key: str) -> Any:
    """What a key of a filter or an order speaks of; None if the run has no such thing."""
    point = seen.point
    head, _, rest = key.partition(".")
    if head == "config":
        return _inside(point.config, rest.removesuffix(".value"))
    if head in ("summary_metrics", "summaryMetrics", "summary"):
        return _inside(point.summary, rest)
    plain: dict[str, Callable[[], Any]] = {
        "state": lambda: {"interrupted": "killed"}.get(seen.state, seen.state),
        "name": lambda: seen.path.run_id,
        "id": lambda: seen.path.run_id,
        "display_name": lambda: point.meta.get("name") or seen.path.run_id,
        "created_at": lambda: point.created,
        "heartbeat_at": lambda: seen.heartbeat,
        "updated_at": lambda: point.updated,
        "tags": lambda: point.meta.get("tags") or [],
        "group": lambda: point.meta.get("group"),
        "job_type": lambda: point.meta.get("job_type"),
        "username": lambda: point.meta.get("user"),
        "history_line_count": lambda: point.rows,
    }
    snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", head).lower()
    aliases = {"created": "created_at", "duration": "runtime", "jobtype": "job_type", "user": "username"}
    found = plain.get(aliases.get(snake, snake)) or plain.get(snake)
    return found() if found else point.meta.get(head)


def _inside(values: dict[str, Any], key: str) -> Any:
    """A value by its name, or by a path of names into dicts."""
    if key in values:
        return values[key]
    at: Any = values
    for part in key.split("."):
        if not isinstance(at, dict) or part not in at:
            return None
        at = at[part]
    return at


def _holds(found: Any, wanted: Any, key: str) -> bool:
    if not isinstance(wanted, dict) or not any(name.startswith("$") for name in wanted):
        return _equal(found, wanted, key)
    return all(_operator(name, value, key)(found) for name, value in wanted.items() if name != "$options")


def _operator(name: str, value: Any, key: str) -> Test:
    if name in ("$in", "$nin") and isinstance(value, list):
        return lambda found: any(_equal(found, each, key) for each in value) == (name == "$in")
    if name == "$regex" and isinstance(value, str):
        try:
            pattern = re.compile(value)
        except re.error:
            raise bad(f"The filter for {key} has no valid regular expression.") from None
        return lambda found: isinstance(found, str) and bool(pattern.search(found))
    if name == "$exists":
        return lambda found: (found is not None) == bool(value)
    if name == "$eq":
        return lambda found: _equal(found, value, key)
    if name == "$ne":
        return lambda found: not _equal(found, value, key)
    if name == "$not" and isinstance(value, dict):
        return lambda found: not _holds(found, value, key)
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "$gt": lambda a, b: a > b,
        "$gte": lambda a, b: a >= b,
        "$lt": lambda a, b: a < b,
        "$lte": lambda a, b: a <= b,
    }
    if name not in compare:
        raise bad(f"The filter {name!r:.40} for {key!r:.80} is not known here.")
    limit = _time(value) if key.endswith(("_at", "At")) else value
    return lambda found: _comparable(found, limit) and compare[name](found, limit)


def _equal(found: Any, wanted: Any, key: str) -> bool:
    if isinstance(found, list) and not isinstance(wanted, list):
        return wanted in found
    return bool(found == (_time(wanted) if key.endswith(("_at", "At")) else wanted))


def _time(value: Any) -> Any:
    """Unix seconds for a time as text."""
    if not isinstance(value, str):
        return value
    try:
        at = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return value
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def _comparable(a: Any, b: Any) -> bool:
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    return numbers or (isinstance(a, str) and isinstance(b, str))


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, (bool, int, float)):
        return 0, value
    return 1, str(value)
