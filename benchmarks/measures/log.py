"""How long ``log()`` of three scalars keeps the training loop waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ..bench import Bench
from ..child import ask
from ..kernel import Kernel
from ..results import Result
from ..tools import FLOOR, OURS

SHOWN = f"{OURS.name}, live display on"
SHOWN_TWICE = f"{OURS.name}, live display and widget on"

_SHOW = """
%load_ext jupyter_resume
%wb_init --project benchmark --id log --resume never
"""
_WIDGET = "%wb_widget --total {calls}"
_LOG = """
import jupyter_resume
from benchmarks.latency import latencies
took = latencies(lambda row, step: jupyter_resume.log(dict(row)), {calls}, {over})
"""

Times = dict[str, list[dict[str, float]]]  # by tool, and then a round each


def measure(bench: Bench) -> Iterator[Result]:
    """All tools in a tight loop; ours also with the displays, and in a loop long enough to see them."""
    plan = bench.plan
    tight: Times = defaultdict(list)
    paced: Times = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    for tools in bench.rounds(plan.log_rounds, "log", [FLOOR, *bench.tools]):
        for times, over, turn in ((tight, 0.0, tools), (paced, plan.paced_seconds, [FLOOR, OURS])):
            for tool in turn:
                calls = plan.log_calls_of.get(tool.name, plan.log_calls)
                with bench.home() as home:
                    times[tool.name].append(ask(tool, "log", home, run="log", calls=calls, over=over))
            for shown, show, last in ((SHOWN, "", 1), (SHOWN_TWICE, _WIDGET.format(calls=plan.log_calls), 4)):
                with bench.home() as home:
                    took, messages = _with_display(home, plan.log_calls, over, show)
                    times[shown].append(took)
                if over:
                    rates[shown].append((messages - last) / plan.paced_seconds)  # without those as the cell ends
    notes = {
        name: f"{calls:,} calls a round, not {plan.log_calls:,}: it is slow"
        for name, calls in plan.log_calls_of.items()
    }
    yield from _results("tight loop", tight, notes)
    yield from _results("computing in between", paced, notes)
    for shown, trials in rates.items():
        yield Result.of("log", "display messages, computing in between", shown, trials, unit="/s", pick=max)


def _with_display(home: Path, calls: int, over: float, show: str) -> tuple[dict[str, float], int]:
    """The same loop in a kernel that displays the run, and how many messages the displays sent meanwhile."""
    with Kernel(home) as kernel:
        kernel.run(_SHOW)
        kernel.run(show)
        cell = kernel.run(_LOG.format(calls=calls, over=over), "took, jupyter_resume.run.step")
    took, step = cell.value
    messages = cell.messages["update_display_data"] + cell.messages["comm_msg"]
    if step != calls or (over and not messages):
        raise RuntimeError(f"Of {calls} rows {step} were logged, and the display sent {messages} messages.")
    return took, messages


def _results(loop: str, times: Times, notes: dict[str, str]) -> Iterator[Result]:
    """Median p50 and p99 with their ratio to the floor, and the largest time of all."""
    for statistic in ("p50", "p99", "max"):
        floor = [took[statistic] for took in times[FLOOR.name]]
        for name, rounds in times.items():
            trials = [took[statistic] for took in rounds]
            case, note = f"{statistic}, {loop}", notes.get(name, "")
            if statistic == "max":
                yield Result.of("log", case, name, trials, pick=max, note=note)
            else:
                known = None if name == FLOOR.name else floor
                yield Result.of("log", case, name, trials, floor=known, note=note)
