"""Results as Markdown: ``python -m benchmarks.table [results.json]`` prints what docs/benchmarks.md shows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .budgets import Budget, budget
from .results import FILE, Report, Result

TITLES = {
    "import": "Import",
    "init": "A new run: init in a fresh process, after the import",
    "log": "log() of three scalars",
    "kill": "Rows lost on kill -9, of those whose log() had returned",
    "resume": "Resuming a run, against the length of its history",
    "files": "Files, against cp",
    "server": "The server, against the same HTTP server doing nothing but writing and reading a file",
    "lab": "The sidebar: its routes against the server's own /api/status, its panel against JupyterLab's own notebook",
    "online": "Online: a run and its replica on a server, against wandb on the same server",
}
NAMES = {
    "os_write": "os.write (the floor)",
    "cp": "cp (the floor)",
    "plain": "plain server (the floor)",
    "status": "/api/status",
    "notebook": "JupyterLab's notebook",
}
OURS = "jupyter_resume"


def markdown(report: Report) -> str:
    """The whole report: what it was measured on, then a table a measure."""
    parts = ["; ".join(f"{name} {value}" for name, value in (report.machine | report.versions).items()) + "."]
    for measure in dict.fromkeys(result.measure for result in report.results):
        results = [result for result in report.results if result.measure == measure]
        parts += [f"### {TITLES[measure]}", "\n".join(_table(results, list(report.versions)))]
        parts += ["\n".join(f"- {note}" for note in notes)] if (notes := _notes(results)) else []
    return "\n\n".join(parts)


def _table(results: list[Result], known: list[str]) -> Iterator[str]:
    """A row a case, a column a tool (as in ``known``, floors last), and the target where there is one."""

    def place(tool: str) -> int:
        name = tool.partition(",")[0]
        return known.index(name) if name in known else len(known)

    tools = sorted(dict.fromkeys(result.tool for result in results), key=place)
    cells = {(result.case, result.tool): result for result in results}
    yield _line(["", *(NAMES.get(tool, tool) for tool in tools), "target"])
    yield _line(["---", *["---:"] * len(tools), "---"])
    for case in dict.fromkeys(result.case for result in results):
        row = [cells.get((case, tool)) for tool in tools]
        ours = [result for result in row if result and result.tool.startswith(OURS)]
        yield _line([case, *(_cell(result) for result in row), _target(ours)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if result.value is None:
        return "-"
    if result.unit in ("rows lost", "rows"):
        least, most = min(result.trials), max(result.trials)
        return f"**{most:g}**" if least == most else f"{result.value:g} ({least:g} to {most:g})"
    if result.ratio is None:
        return quantity(result.value, result.unit)
    ratio = f"{result.ratio:,.0f}" if result.ratio >= 10 else f"{result.ratio:.2g}"
    return f"{quantity(result.value, result.unit)} ({ratio}x)"


def _target(ours: list[Result]) -> str:
    """The budget and whether every one of our numbers in the row keeps it."""
    found = [(each, limit) for each in ours if (limit := budget(each))]
    if not found:
        return ""
    result, limit = found[0]
    verdict = "met" if all(limit.met_by(each) for each, limit in found) else "missed"
    return f"{_limit(limit, result.unit)}: {verdict}"


def _limit(limit: Budget, unit: str) -> str:
    if limit.ratio:
        return f"≤ {limit.limit:g}x"
    return "0" if limit.limit == 0 else f"≤ {quantity(limit.limit, unit)}"


def quantity(value: float, unit: str) -> str:
    """A number as people read it.

    >>> quantity(0.0000071, "s"), quantity(0.25, "s"), quantity(4.2, "/s")
    ('7.1 µs', '250 ms', '4.2 /s')
    """
    if unit == "s":
        for scale, name in ((1, "s"), (1e-3, "ms")):
            if value >= scale:
                return f"{value / scale:.3g} {name}"
        return f"{value / 1e-6:.3g} µs"
    return f"{value:,.0f} {unit}".rstrip() if value >= 1000 else f"{value:.3g} {unit}".rstrip()


def _notes(results: list[Result]) -> list[str]:
    """Each remark once, behind the tool that it is about."""
    said = dict.fromkeys((result.tool, result.note) for result in results if result.note)
    return [f"{tool}: {note}." for tool, note in said]


if __name__ == "__main__":
    print(markdown(Report.read(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)))
