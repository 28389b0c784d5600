"""Training runs that survive their notebook.

``import jupyter_resume as wandb`` runs the code of W&B's documents on resuming and restoring. In a notebook,
``%load_ext jupyter_resume`` and ``%wb_init --resume allow``. Everything is imported when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from . import util as util
    from ._init import finish, init, log, restore, save
    from ._run import Run
    from .errors import ResumeError
    from .recorded import Recorded

    run: Run | None
    config: Recorded
    summary: Recorded

__all__ = ["ResumeError", "Run", "config", "finish", "init", "log", "restore", "run", "save", "summary"]

_HOMES = {
    "Run": "_run",
    "ResumeError": "errors",
    "finish": "_init",
    "init": "_init",
    "log": "_init",
    "restore": "_init",
    "save": "_init",
}
_OF_THE_ACTIVE_RUN = {"run": "active", "config": "config", "summary": "summary"}


def __getattr__(name: str) -> Any:
    if name in _OF_THE_ACTIVE_RUN:
        return getattr(_import("_init"), _OF_THE_ACTIVE_RUN[name])()
    if name in _HOMES:
        value = globals()[name] = getattr(_import(_HOMES[name]), name)
        return value
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("jupyter-resume")
    if name in ("util", "keras"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _import(module: str) -> Any:
    """One of our modules; inside IPython, with the finder that knows which notebook this is."""
    if module == "_init" and "IPython" in sys.modules:
        importlib.import_module(f"{__name__}.notebook.session").install()
    return importlib.import_module(f"{__name__}.{module}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "keras", "util", "__version__"])


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext jupyter_resume``"""
    from .notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext jupyter_resume``, also the first half of ``%reload_ext``"""
    from .notebook.extension import unload

    unload(shell)
