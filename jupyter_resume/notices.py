"""What a person is told beside results and errors: one line each, on stderr, and never an exception."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

Tell = Callable[[str], None]


def tell(text: str) -> None:
    """Print one line; a closed or broken stderr is no reason to stop training."""
    with contextlib.suppress(Exception):
        sys.stderr.write(f"jupyter_resume: {text}\n")  # in one write: several processes may share it
