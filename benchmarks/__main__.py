"""``python -m benchmarks --peers-python PATH``: measure, write results.json, print the table."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from . import machine, plan, results
from .bench import Bench
from .measures import MEASURES
from .table import markdown
from .tools import OURS, peers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--peers-python", type=Path, help="a Python with wandb, trackio and mlflow-skinny")
    parser.add_argument("--only", default=",".join(MEASURES), help="some of: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small numbers, to try the scripts")
    parser.add_argument(
        "--output",
        type=Path,
        help="the JSON file, of which a partial run replaces its part (of a full run: benchmarks/results.json)",
    )
    parser.add_argument("--scratch", type=Path, help="a folder on the disk to measure (default: the temporary folder)")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := set(names) - set(MEASURES):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}: choose from {', '.join(MEASURES)}")

    tools = [OURS, *(peers(asked.peers_python.absolute()) if asked.peers_python else [])]
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        bench = Bench(tools, plan.QUICK if asked.quick else plan.FULL, Path(folder))
        report = results.Report(
            machine.facts(bench.scratch),
            {tool.name: tool.version() for tool in tools},
            [result for name in names for result in MEASURES[name](bench)],
        )
    complete = names == list(MEASURES) and asked.peers_python and not asked.quick
    if output := asked.output or (results.FILE if complete else None):
        kept = results.Report.read(output) if output.exists() and not complete else None
        (report.replacing(kept, list(MEASURES)) if kept else report).write(output)
    print(markdown(report))


if __name__ == "__main__":
    main()
