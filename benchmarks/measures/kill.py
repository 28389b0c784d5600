"""How many rows, whose ``log()`` had returned, are gone after ``kill -9`` of the process that logged them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack

from ..bench import Bench
from ..child import Child, ask
from ..results import Result


def measure(bench: Bench) -> Iterator[Result]:
    for rows, hertz in bench.plan.kill_cases:
        case = f"{rows} rows at {hertz:g} a second"
        lost: dict[str, list[float]] = defaultdict(list)
        for tools in bench.rounds(bench.plan.kill_rounds, f"kill, {case}", bench.tools):
            with ExitStack() as homes:
                killed = []
                for tool in tools:
                    home = homes.enter_context(bench.home())
                    with Child(tool, "paced", home, run="killed", rows=rows, hertz=hertz) as child:
                        run = child.reply()["run"]
                        returned = sum(1 for _ in child.replies(rows))
                        child.kill()
                    killed.append((tool, home, run, returned))
                time.sleep(bench.plan.settle_seconds)
                for tool, home, run, returned in killed:
                    lost[tool.name].append(returned - ask(tool, "count", home, run=run)["rows"])
        for name, trials in lost.items():
            yield Result.of("kill", case, name, trials, unit="rows lost")
