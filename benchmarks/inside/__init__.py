"""The trials' side: what runs in a child, under the Python of the tool that is measured."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def arguments() -> dict[str, Any]:
    """What the parent asked for."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    return asked


def reply(**values: object) -> None:
    """One line to the parent, there before this returns."""
    os.write(int(os.environ["BENCHMARK_REPLY_FD"]), json.dumps(values).encode() + b"\n")
