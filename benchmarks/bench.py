"""What a measure is given: the tools, the plan, and fresh folders."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .plan import Plan
from .tools import Tool

T = TypeVar("T")


@dataclass
class Bench:
    tools: list[Tool]
    plan: Plan
    scratch: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def rounds(self, count: int, what: str, tools: list[T]) -> Iterator[list[T]]:
        """The tools, ``count`` times, each time in another order: what slows the machine meets them all."""
        for number in range(count):
            print(f"{what}: round {number + 1} of {count}", file=sys.stderr)
            turn = number % len(tools)
            yield tools[turn:] + tools[:turn]

    @contextmanager
    def home(self) -> Iterator[Path]:
        """An empty folder, gone afterwards."""
        home = self.scratch / f"home-{next(self._numbers)}"
        home.mkdir()
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)
