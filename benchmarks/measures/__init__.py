"""What is measured, one module each: ``measure(bench)`` yields results. In the order of a full run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from ..bench import Bench
from ..results import Result
from . import files, imports, init, kill, lab, log, online, resume, server

Measure: TypeAlias = Callable[[Bench], Iterator[Result]]

MEASURES: dict[str, Measure] = {
    "import": imports.measure,
    "init": init.measure,
    "log": log.measure,
    "kill": kill.measure,
    "resume": resume.measure,
    "files": files.measure,
    "server": server.measure,
    "lab": lab.measure,
    "online": online.measure,
}
