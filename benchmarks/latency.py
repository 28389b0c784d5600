"""How long one ``log()`` takes, seen from the training loop. Runs in a trial's process and in a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns

Row = Mapping[str, float]


def row(step: int) -> Row:
    """The three scalars that every tool logs."""
    return {"loss": 1 / (step + 1), "accuracy": 1 - 1 / (step + 2), "lr": 0.001}


def latencies(log: Callable[[Row, int], object], calls: int, over: float = 0.0) -> dict[str, float]:
    """p50, p99 and max of the calls in seconds; ``over``: make the loop last so long, computing in between.

    Computing, not sleeping, as training does: a background thread has to take the interpreter from it.
    """
    pause = int(over / calls * 1e9)
    took = []
    due = perf_counter_ns()
    for step in range(calls):
        values = row(step)
        while perf_counter_ns() < due:
            pass
        before = perf_counter_ns()
        log(values, step)
        took.append(perf_counter_ns() - before)
        due += pause
    took.sort()
    return {"p50": took[calls // 2] / 1e9, "p99": took[calls * 99 // 100] / 1e9, "max": took[-1] / 1e9}
