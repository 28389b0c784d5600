"""How much longer ``save`` and ``restore`` take than ``cp`` of the same file, in pairs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ..bench import Bench
from ..child import ask
from ..plan import MIB
from ..results import Result
from ..tools import OURS

CASES = {
    "save": "save",
    "restore": "restore into an empty folder",
    "restore again": "restore where the same file is",
}


def measure(bench: Bench) -> Iterator[Result]:
    for size in bench.plan.file_sizes:
        ours: dict[str, list[float]] = defaultdict(list)
        cp: dict[str, list[float]] = defaultdict(list)
        rounds = bench.rounds(bench.plan.file_rounds, f"files, {size // MIB} MiB", [OURS])
        for number, _ in enumerate(rounds):
            with bench.home() as home:
                random_file(home / "model.bin", size)
                for action, case in CASES.items():
                    took = ask(OURS, "files", home, action=action.split()[0], cp_first=number % 2 == 0)
                    if not took["same"]:
                        raise RuntimeError("restore() returned another content than save() was given.")
                    ours[case].append(took["ours"])
                    cp[case].append(took["cp"])
        for action in CASES.values():
            case = f"{action}, {size // MIB} MiB"
            yield Result.of("files", case, OURS.name, ours[action], floor=cp[action])
            yield Result.of("files", case, "cp", cp[action])


def random_file(path: Path, size: int) -> None:
    """Write a file that nothing can make smaller."""
    with path.open("wb") as file:
        for _ in range(size // (8 * MIB)):
            file.write(os.urandom(8 * MIB))
