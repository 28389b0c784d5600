"""The targets of the design (section 8), for the cases that have one; online also never to be worse than wandb."""

from __future__ import annotations

from dataclasses import dataclass

from .results import Result


@dataclass(frozen=True)
class Budget:
    """A limit on our own number: on the ratio to the floor where ``ratio`` is set, else on the value."""

    limit: float
    ratio: bool = False

    def met_by(self, result: Result) -> bool:
        number = result.ratio if self.ratio else result.value
        return number is not None and number <= self.limit


def budget(result: Result) -> Budget | None:
    """The target for a result of ours; None where the design names none."""
    match result.measure, result.case.split(",")[0]:
        case "import", "import":
            return Budget(0.10)
        case "import", _:
            return Budget(0.15)
        case "init", "first run in an empty store" | "next run in the same store":
            return Budget(0.05)
        case ("log", "p50") | ("lab", "log() p50"):
            return Budget(10e-6)
        case ("log", "p99") | ("lab", "log() p99"):
            return Budget(200e-6)
        case "lab", "longest frame":
            return Budget(0.1)
        case "log", "display messages":
            return Budget(5)
        case "kill", _:
            return Budget(0)
        case "resume", _:
            return Budget(0.10)
        case "files", "restore into an empty folder" | "restore where the same file is":
            return Budget(1.3, ratio=True)
        case "server", "ready":
            return Budget(2.0)
        case "online", case:
            return _online(case, result)
    return None


def _online(case: str, result: Result) -> Budget | None:
    """``log()`` keeps its budget; nothing is sent twice or lacking; else wandb's own number, if it was measured."""
    if case.startswith("log() "):
        return {"log() p50": Budget(10e-6), "log() p99": Budget(200e-6)}.get(case)
    if case in ("MiB sent again", "rows the server lacks after the next init"):
        return Budget(0)
    return Budget(1, ratio=True) if result.ratio is not None else None
