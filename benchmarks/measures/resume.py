"""How long ``init(id=..., resume="must")`` takes in a fresh process, as the run's history grows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..bench import Bench
from ..child import ask
from ..results import Result
from ..tools import OURS, Tool

_NOTES = {"mlflow": "goes on at no step of its own, the caller has to know it"}
_TOO_LONG = "longer histories are not measured, its log() would take too long to write them"
_OFFLINE = "does not resume offline: the same id begins again at step 0"
_AFTER = {False: "", True: ", after kill -9"}
_ROWS = 100  # a resumed run logs some before it is killed again


@dataclass
class History:
    """A run of some length, and how its processes end: by finish(), or by SIGKILL with rows just logged."""

    tool: Tool
    home: Path
    length: int
    killed: bool
    run: str = "long"
    steps: int = 0
    times: list[float] = field(default_factory=list)

    def go_on(self, rows: int, *, resume: bool) -> float:
        """Start the run, check that it stands at the right step, log and end it; seconds of the start."""
        took = ask(self.tool, "start", self.home, run=self.run, resume=resume, rows=rows, killed=self.killed)
        if took["step"] not in (None, self.steps):
            raise RuntimeError(f"{self.tool.name} resumed at step {took['step']} instead of {self.steps}.")
        self.run = took["run"]
        self.steps += rows
        return float(took["init"])


def measure(bench: Bench) -> Iterator[Result]:
    plan = bench.plan
    wandb = next((tool for tool in bench.tools if tool.name == "wandb"), None)
    resuming = [tool for tool in bench.tools if tool is not wandb]
    for length in plan.lengths:
        with ExitStack() as homes:
            histories: dict[str, list[History]] = defaultdict(list)
            for tool in resuming:
                if length > plan.longest_of.get(tool.name, length):
                    yield Result.missing("resume", _case(length, False), tool.name, _TOO_LONG)
                    continue
                for killed in (False, True) if tool is OURS else (False,):
                    history = History(tool, homes.enter_context(bench.home()), length, killed)
                    history.go_on(length, resume=False)
                    histories[tool.name].append(history)
            for tools in bench.rounds(plan.resume_rounds, f"resume, {length:,} rows", resuming):
                for history in (each for tool in tools for each in histories[tool.name]):
                    history.times.append(history.go_on(_ROWS if history.killed else 0, resume=True))
            for history in (each for several in histories.values() for each in several):
                name, case = history.tool.name, _case(length, history.killed)
                yield Result.of("resume", case, name, history.times, note=_NOTES.get(name, ""))
        if wandb:
            yield Result.missing("resume", _case(length, False), wandb.name, _OFFLINE)


def _case(length: int, killed: bool) -> str:
    return f"{length:,} rows{_AFTER[killed]}"
