"""The values that cross between measuring, the JSON file and the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

FILE = Path(__file__).with_name("results.json")

Facts = dict[str, str | int | float]


@dataclass(frozen=True)
class Result:
    """One tool in one case. ``value`` is None where nothing was measured; ``note`` then says why.

    ``trials`` are the rounds, in order; ``ratio`` is the median over the rounds of trial / floor, where the
    floor is the same work without a tracker, done in the same round.
    """

    measure: str
    case: str
    tool: str
    unit: str
    value: float | None
    trials: list[float] = field(default_factory=list)
    ratio: float | None = None
    note: str = ""

    @classmethod
    def of(
        cls,
        measure: str,
        case: str,
        tool: str,
        trials: Sequence[float],
        *,
        unit: str = "s",
        floor: Sequence[float] | None = None,
        pick: Callable[[Sequence[float]], float] = median,
        note: str = "",
    ) -> Result:
        ratio = median(a / b for a, b in zip(trials, floor, strict=True)) if floor else None
        return cls(
            measure,
            case,
            tool,
            unit,
            _short(pick(trials)),
            [_short(trial) for trial in trials],
            None if ratio is None else _short(ratio),
            note,
        )

    @classmethod
    def missing(cls, measure: str, case: str, tool: str, why: str) -> Result:
        return cls(measure, case, tool, "", None, note=why)


@dataclass(frozen=True)
class Report:
    """One run of the benchmarks: where, with which versions, and what came out."""

    machine: Facts
    versions: Facts
    results: list[Result]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def replacing(self, older: Report, order: list[str]) -> Report:
        """These results in the place of the older ones of the same measures, and the other older ones."""
        mine = {result.measure for result in self.results}
        both = [*self.results, *(result for result in older.results if result.measure not in mine)]
        both.sort(key=lambda result: order.index(result.measure))
        return Report(self.machine, older.versions | self.versions, both)

    @classmethod
    def read(cls, path: Path) -> Report:
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["machine"], data["versions"], [Result(**result) for result in data["results"]])


def _short(number: float) -> float:
    """Four significant digits: more than the noise of any machine allows."""
    return float(f"{number:.4g}")
