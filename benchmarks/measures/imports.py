"""How long ``import`` takes in a fresh process, and ``%load_ext`` in a running kernel."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ..bench import Bench
from ..kernel import Kernel
from ..results import Result
from ..tools import OURS, Tool

_IMPORT = "import time; before = time.perf_counter(); import {}; print(time.perf_counter() - before)"
_LOAD = """
import time
before = time.perf_counter()
get_ipython().run_line_magic("load_ext", "jupyter_resume")
took = time.perf_counter() - before
"""


def measure(bench: Bench) -> Iterator[Result]:
    times: dict[str, list[float]] = defaultdict(list)
    loads = []
    with bench.home() as home:
        for tool in bench.tools:
            _import(tool, home)  # compiles the modules and warms the page cache
        for tools in bench.rounds(bench.plan.import_rounds, "import", bench.tools):
            for tool in tools:
                times[tool.name].append(_import(tool, home))
            with Kernel(home) as kernel:
                loads.append(kernel.run(_LOAD, "took").value)
    for tool in bench.tools:
        yield Result.of("import", "import", tool.name, times[tool.name])
    yield Result.of("import", "%load_ext in a running kernel", OURS.name, loads)


def _import(tool: Tool, home: Path) -> float:
    command = [str(tool.python), "-c", _IMPORT.format(tool.name)]
    done = subprocess.run(
        command, cwd=home, env=tool.environment(home), capture_output=True, text=True, check=True, timeout=120
    )
    return float(done.stdout.split()[-1])
