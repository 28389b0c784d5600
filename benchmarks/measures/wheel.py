"""What is installed: the wheel's size, the sidebar's part of it, and how long pip takes where there is no Node."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..bench import Bench
from ..results import Result
from ..tools import OURS, REPOSITORY

_SIDEBAR = "share/jupyter/labextensions/jupyter-resume/"
_BUILD = (
    "import sys; from hatchling.builders.wheel import WheelBuilder;"
    "print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=['standard'])))"
)


def measure(bench: Bench) -> Iterator[Result]:
    """Of a wheel that is built here, with the sidebar as it was built when this Python got the package."""
    if why := _lacking():
        yield Result.missing("lab", "wheel", OURS.name, why)
        return
    with bench.home() as home:
        wheel = _built(home)
        with zipfile.ZipFile(wheel) as held:
            sidebar = [one for one in held.infolist() if _SIDEBAR in one.filename]
        packed, unpacked = (sum(getattr(one, size) for one in sidebar) for size in ("compress_size", "file_size"))
        for case, size in (
            ("size of the wheel", wheel.stat().st_size),
            ("size of the sidebar in the wheel, packed", packed),
            ("size of the sidebar in the wheel, unpacked", unpacked),
        ):
            yield Result.of("lab", case, OURS.name, [size / 1000], unit="kB")
        times = [_installed(wheel, home / f"venv-{n}") for n in range(bench.plan.init_rounds)]
        yield Result.of("lab", "pip install of the wheel alone, without Node", OURS.name, times)


def _lacking() -> str:
    try:
        import hatch_jupyter_builder  # noqa: F401
        import hatchling  # noqa: F401
    except ImportError:
        return "not measured, hatchling and hatch-jupyter-builder are not installed"
    return (
        ""
        if (REPOSITORY / "jupyter_resume/labextension/package.json").exists()
        else "not measured, the sidebar is not built"
    )


def _built(home: Path) -> Path:
    command = [sys.executable, "-c", _BUILD, str(REPOSITORY), str(home)]
    environment = {**os.environ, "HATCH_JUPYTER_BUILDER_SKIP_NPM": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"The wheel was not built:\n{done.stderr[-2000:]}")
    (wheel,) = home.glob("*.whl")
    return wheel


def _installed(wheel: Path, venv: Path) -> float:
    """Seconds that pip takes in a new environment, on whose path there is nothing else; the sidebar is there then."""
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True, timeout=300)
    command = [str(venv / "bin/python"), "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    environment = {"PATH": str(venv / "bin"), "HOME": str(venv), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    began = time.perf_counter()
    subprocess.run(command, cwd=venv, env=environment, check=True, capture_output=True, timeout=300)
    took = time.perf_counter() - began
    if not (venv / _SIDEBAR / "package.json").exists():
        raise RuntimeError("The wheel was installed without the sidebar.")
    return took
