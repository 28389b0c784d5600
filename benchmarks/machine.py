"""On what the numbers were measured. No host name, no path, no user: results.json is public."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

from .results import Facts


def facts(scratch: Path) -> Facts:
    """The machine, as far as timings depend on it; ``scratch`` is the folder that the benchmarks write to."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory GiB": _memory_gib(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "file system": _file_system(scratch),
        "python": platform.python_version(),
        "load at start": round(os.getloadavg()[0], 2),
    }


def _field(path: Path, name: str) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _memory_gib() -> int:
    text = _field(Path("/proc/meminfo"), "MemTotal")
    return round(int(text.split()[0]) / (1 << 20)) if text else 0


def _file_system(folder: Path) -> str:
    """The type (ext4, xfs, ...) of the mount with the longest name above ``folder``."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    above = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above, default=(0, "unknown"))[1]
