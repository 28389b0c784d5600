"""Which runs, in which order: the filters (a subset of MongoDB's) and orders of W&B's ``Api().runs``.

Times are Unix seconds; a filter may name one as ISO 8601 text. A state may be named in our words or in W&B's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from .errors import InvalidInput
from .identity import RunPath
from .store.record import ResumePoint
from .times import unix

Test = Callable[[Any], bool]
_STATES = {"interrupted": "killed"}  # ours, in W&B's words
_DEEPEST = 50


class Candidate(Protocol):
    """A run as it stands; ``heartbeat``, the last sign of it, in Unix seconds."""

    @property
    def path(self) -> RunPath:
        """Which run."""

    @property
    def point(self) -> ResumePoint:
        """What it says of itself."""

    @property
    def state(self) -> str:
        """How it is now."""

    @property
    def heartbeat(self) -> float:
        """When it was heard of last."""


C = TypeVar("C", bound=Candidate)


def choose(runs: Iterable[C], filters: Mapping[str, Any], order: str | None) -> list[C]:
    """The runs that match, ordered by ``+key`` or ``-key``, several with commas; without an order as they come.

    What has no such key comes last. Raises InvalidInput for an operator that is not known.
    """
    check(filters)
    chosen = [run for run in runs if matches(run, filters)]
    for part in reversed([part.strip() for part in (order or "").split(",") if part.strip()]):
        down, key = part[0] == "-", part.lstrip("+-")
        known = [(rank, run) for run in chosen if (rank := _rank(field(run, key))) is not None]
        last = [run for run in chosen if _rank(field(run, key)) is None]
        chosen = [run for _, run in sorted(known, key=lambda pair: pair[0], reverse=down)] + last
    return chosen


def check(filters: object, depth: int = 0) -> None:
    """Raise InvalidInput for filters that make no sense, whatever runs there are."""
    if depth > _DEEPEST:
        raise InvalidInput(f"The filters are nested deeper than {_DEEPEST} levels: write them flatter.")
    if not isinstance(filters, Mapping):
        raise InvalidInput(f'The filters {filters!r:.80} are no dict: write them as {{"state": "finished"}}.')
    for key, value in filters.items():
        if not isinstance(key, str):
            raise InvalidInput(f"The filters have a key {key!r:.40} that is no string: name a field of the runs.")
        if key in ("$and", "$or", "$nor"):
            if not isinstance(value, (list, tuple)):
                raise InvalidInput(f"The filter {key} takes a list of filters.")
            for part in value:
                check(part, depth + 1)
        elif key == "$not":
            check(value, depth + 1)
        elif key.startswith("$"):
            raise InvalidInput(f"The filter {key!r:.40} is not known here: use $and, $or, $nor or $not.")
        else:
            _condition(value, key, depth + 1)


def matches(run: Candidate, filters: Mapping[str, Any]) -> bool:
    """Whether a run matches filters that `check` let pass."""
    for key, value in filters.items():
        if key in ("$and", "$or", "$nor"):
            found = [matches(run, part) for part in value]
            if not {"$and": all(found), "$or": any(found), "$nor": not any(found)}[key]:
                return False
        elif key == "$not":
            if matches(run, value):
                return False
        elif not _condition(value, key)(field(run, key)):
            return False
    return True


def field(run: Candidate, key: str) -> Any:
    """What a key of a filter or an order speaks of; None if the run has no such thing."""
    point = run.point
    head, _, rest = key.partition(".")
    if head == "config":
        return _inside(point.config, rest.removesuffix(".value"))
    if head in ("summary_metrics", "summaryMetrics", "summary"):
        return _inside(point.summary, rest)
    plain: dict[str, Callable[[], Any]] = {
        "state": lambda: _STATES.get(run.state, run.state),
        "name": lambda: run.path.run_id,
        "id": lambda: run.path.run_id,
        "display_name": lambda: point.meta.get("name") or run.path.run_id,
        "created_at": lambda: point.created,
        "heartbeat_at": lambda: run.heartbeat,
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


def _condition(wanted: Any, key: str, depth: int = 0) -> Test:
    """The test that a filter's value stands for: a value to be equal to, or operators that all must hold."""
    if not isinstance(wanted, Mapping) or not any(str(name).startswith("$") for name in wanted):
        return lambda found: _equal(found, wanted, key)
    tests = [_operator(name, value, key, depth) for name, value in wanted.items() if name != "$options"]
    return lambda found: all(test(found) for test in tests)


def _operator(name: str, value: Any, key: str, depth: int) -> Test:
    if name in ("$in", "$nin") and isinstance(value, (list, tuple)):
        return lambda found: any(_equal(found, each, key) for each in value) == (name == "$in")
    if name == "$regex" and isinstance(value, str):
        try:
            pattern = re.compile(value)
        except re.error:
            raise InvalidInput(f"The filter for {key!r:.80} has no valid regular expression.") from None
        return lambda found: isinstance(found, str) and bool(pattern.search(found))
    if name == "$exists":
        return lambda found: (found is not None) == bool(value)
    if name == "$eq":
        return lambda found: _equal(found, value, key)
    if name == "$ne":
        return lambda found: not _equal(found, value, key)
    if name == "$not" and isinstance(value, Mapping) and depth < _DEEPEST:
        inner = _condition(value, key, depth + 1)
        return lambda found: not inner(found)
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "$gt": lambda a, b: a > b,
        "$gte": lambda a, b: a >= b,
        "$lt": lambda a, b: a < b,
        "$lte": lambda a, b: a <= b,
    }
    if name not in compare:
        raise InvalidInput(
            f"The filter {name!r:.40} for {key!r:.80} is not known here: use $eq, $ne, $in, $nin, $gt, $gte, $lt, "
            "$lte, $exists, $regex or $not."
        )
    limit = _meant(value, key)
    return lambda found: _comparable(found, limit) and compare[name](found, limit)


def _equal(found: Any, wanted: Any, key: str) -> bool:
    if isinstance(found, list) and not isinstance(wanted, list):
        return wanted in found
    return bool(found == _meant(wanted, key))


def _meant(value: Any, key: str) -> Any:
    """A filter's value as runs have it: Unix seconds for a time as text, W&B's word for a state."""
    if not isinstance(value, str):
        return value
    if key == "state":
        return _STATES.get(value, value)
    if not key.endswith(("_at", "At")):
        return value
    at = unix(value)
    return value if at is None else at


def _comparable(a: Any, b: Any) -> bool:
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    return numbers or (isinstance(a, str) and isinstance(b, str))


def _rank(value: Any) -> tuple[int, Any] | None:
    """What a value is sorted by, numbers before texts; None for what has no place."""
    if value is None or value != value:
        return None
    return (0, value) if isinstance(value, (bool, int, float)) else (1, str(value))
