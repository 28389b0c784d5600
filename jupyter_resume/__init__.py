"""Training runs that survive their notebook.

``import jupyter_resume as wandb`` runs the code of W&B's documents on resuming and restoring. In a notebook,
``%load_ext jupyter_resume`` and ``%wb_init --resume allow``. Frameworks, IPython and what else is heavy are
imported where they are used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from . import _active, util
from ._active import finish, log, restore, save
from ._init import init
from ._run import Run
from .errors import ResumeError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ._login import login
    from .api import Api
    from .recorded import Recorded

    run: Run | None
    config: Recorded
    summary: Recorded

__all__ = ["Api", "ResumeError", "Run", "finish", "init", "log", "login", "restore", "run", "save", "util"]

_OF_THE_ACTIVE_RUN = {"run": _active.active, "config": _active.config, "summary": _active.summary}

# What users of wandb reach for first.
_OF_WANDB_ONLY = frozenset((
    "Artifact", "Audio", "Histogram", "Html", "Image", "Object3D", "Settings", "Table", "Video", "agent", "alert",
    "define_metric", "link_artifact", "log_artifact", "log_code", "log_model", "plot", "sweep", "unwatch",
    "use_artifact", "use_model", "watch",
))  # fmt: skip

if "IPython" in sys.modules:  # a run that a notebook begins without %load_ext is to be found by its notebook too
    from .notebook import session

    session.install()


def __getattr__(name: str) -> Any:
    if name in _OF_THE_ACTIVE_RUN:
        return _OF_THE_ACTIVE_RUN[name]()
    if name == "Api":
        return importlib.import_module(".api", __name__).Api
    if name == "login":
        return importlib.import_module("._login", __name__).login
    if name == "keras":
        return importlib.import_module(".keras", __name__)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("jupyter-resume")
    if name in _OF_WANDB_ONLY:
        raise AttributeError(
            f"{name} of wandb is not here (yet): log() takes scalars; pictures, tables and models are files to save()."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "errors", "keras", *(name for name in globals() if name.startswith("__"))})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext jupyter_resume``"""
    from .notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext jupyter_resume``, also the first half of ``%reload_ext``"""
    from .notebook.extension import unload

    unload(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where the sidebar lies, for ``jupyter-builder develop``."""
    return [{"src": "labextension", "dest": "jupyter-resume"}]
