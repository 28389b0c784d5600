"""How long it takes until a new run can log: ``init`` in a fresh process, after the import."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ..bench import Bench
from ..child import ask
from ..results import Result

EMPTY = "first run in an empty store"
NEXT = "next run in the same store"
BOTH = "import and init, next run"


def measure(bench: Bench) -> Iterator[Result]:
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for tools in bench.rounds(bench.plan.init_rounds, "init", bench.tools):
        for tool in tools:
            with bench.home() as home:
                for case, run in ((EMPTY, "first"), (NEXT, "second")):
                    took = ask(tool, "start", home, run=run, resume=False, rows=1, killed=False)
                    times[case, tool.name].append(took["init"])
                times[BOTH, tool.name].append(took["import"] + took["init"])
    for (case, name), trials in times.items():
        yield Result.of("init", case, name, trials)
