"""Which notebook this kernel runs: ordered finders, each asking one source.

What each source is worth: an explicit name, then what the frontend says (VS Code, Colab), then what Jupyter
Server put into the environment, then the command line of a tool that executes notebooks. A notebook renamed
while its kernel lives is asked for at the server, and only then.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import origin
from ..origin import NotebookRef, read_notebook, with_cells
from . import cells

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_RUNNERS = {"jupyter-execute", "execute", "papermill", "jupyter-nbconvert", "nbconvert"}
_TAKES_TWO = {"-p", "--parameters", "-r", "--parameters_raw"}
_TAKES_ONE = {
    *("--output", "--output-dir", "--to", "--kernel_name", "--timeout", "--startup_timeout", "--log-level", "--config"),
    *("-f", "--parameters_file", "-y", "--parameters_yaml", "-b", "--parameters_base64", "-k", "--kernel", "-l"),
    *("--language", "--cwd", "--engine", "--execution-timeout", "--start-timeout", "--autosave-cell-every"),
}

_MOST_SERVERS = 8

Finder = Callable[["InteractiveShell"], "str | None"]


def install() -> None:
    """Let runs begun in this process be found by their notebook, and by the cell of it that they are in."""
    if find not in origin.finders:
        origin.finders.insert(0, find)
    if (shell := _shell()) is not None:
        cells.follow(shell)


def find() -> NotebookRef | None:
    """The notebook of this process's kernel; None outside a kernel."""
    shell = _shell()
    return None if shell is None else find_in(shell)


def _shell() -> InteractiveShell | None:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def find_in(shell: InteractiveShell, given: str | None = None) -> NotebookRef | None:
    """The notebook that ``shell`` runs, without a path if nothing tells it; None if it is no kernel's shell.

    ``given`` is the path that the user gave, if any: nothing else is asked then.
    """
    if not given and getattr(shell, "kernel", None) is None:
        return None
    path, source = "", "none"
    if given:
        path, source = str(Path(given).expanduser()), "argument"
    else:
        for name, finder in FINDERS.items():
            if told := finder(shell):
                path, source = told, name
                break
    if path:
        path = os.path.realpath(path)
    notebook_id, saved = read_notebook(Path(path)) if path else (None, None)
    cell = _cell_id(shell)
    return NotebookRef(path, source, notebook_id, _kernel_id(), with_cells(saved, [cell] if cell else ()), cell)


def _from_environment(shell: InteractiveShell) -> str | None:
    name = os.environ.get("WANDB_NOTEBOOK_NAME")
    return name if name and (name.endswith(".ipynb") or os.path.exists(name)) else None


def _from_vscode(shell: InteractiveShell) -> str | None:
    path = shell.user_ns.get("__vsc_ipynb_file__")
    return path if isinstance(path, str) else None


def _from_colab(shell: InteractiveShell) -> str | None:
    if "google.colab" not in sys.modules:
        return None
    try:
        from google.colab import _message

        name = _message.blocking_request("get_ipynb", timeout_sec=1)["ipynb"]["metadata"]["colab"]["name"]
    except Exception:  # another version, or no page to ask
        return None
    return f"/content/{name}"


def _from_jupyter(shell: InteractiveShell) -> str | None:
    """The path that Jupyter Server put into the environment, unless a tool inside such a kernel started this one.

    It dates from the kernel's start. If what lies there lacks the cell that is being executed, the notebook was
    renamed since, or is not saved yet: the server is asked.
    """
    path = os.environ.get("JPY_SESSION_NAME")
    if not path or not path.endswith(".ipynb") or _kernel_id() is None:
        return None
    if os.path.exists(path):
        cell, saved = _cell_id(shell), read_notebook(Path(path))[1]
        if cell is None or saved is None or cell in saved:
            return path
    return _from_server() or path


def _from_nbval(shell: InteractiveShell) -> str | None:
    """nbval's kernels inherit the id of the test that is the notebook's cell; they start in its folder."""
    match = re.match(r"(?:.*/)?([^/]+\.ipynb)::Cell \d+", os.environ.get("PYTEST_CURRENT_TEST", ""))
    return _existing(match[1], [os.environ.get("PWD", ""), os.getcwd()]) if match else None


def _from_command_line(shell: InteractiveShell) -> str | None:
    """The one notebook named by the tool that started this kernel; of papermill's two, the one it writes."""
    import psutil

    try:
        parent = psutil.Process(os.getppid())
        line, folders = parent.cmdline(), [parent.cwd(), os.environ.get("PWD", "")]
    except psutil.Error:
        return None
    tool = next((n for n, word in enumerate(line[:4]) if Path(word).name in _RUNNERS), None)
    if tool is None:
        return None
    named = _positional(line[tool + 1 :])
    if Path(line[tool]).name == "papermill" and len(named) >= 2 and named[1].endswith(".ipynb"):
        folders.reverse()  # --cwd moved the parent; its words are still relative to where it was started
        return _existing(named[1], folders) or str(Path(next(filter(None, folders)), named[1]))
    found = [path for word in named if (path := _existing(word, folders) or _existing(f"{word}.ipynb", folders))]
    found = [path for path in found if path.endswith(".ipynb")]
    return found[0] if len(found) == 1 else None


def _positional(words: list[str]) -> list[str]:
    """A command line's words that are neither options nor values of the options we know."""
    named, left = [], iter(words)
    for word in left:
        if not word.startswith("-"):
            named.append(word)
        for _ in range(2 if word in _TAKES_TWO else word in _TAKES_ONE):
            next(left, None)
    return named


def _existing(name: str, folders: list[str]) -> str | None:
    """The first of these places where there is such a file."""
    paths = [str(Path(folder, name)) for folder in folders if folder]
    return next((path for path in paths if os.path.isfile(path)), None)


FINDERS: dict[str, Finder] = {
    "WANDB_NOTEBOOK_NAME": _from_environment,
    "VS Code": _from_vscode,
    "Colab": _from_colab,
    "Jupyter Server": _from_jupyter,
    "nbval": _from_nbval,
    "command line": _from_command_line,
}


def _from_server() -> str | None:
    """Where the notebook of this kernel lies now, by the Jupyter Server that runs it; quiet on any failure."""
    kernel_id = _kernel_id()
    if kernel_id is None:
        return None
    import requests
    from jupyter_core.paths import jupyter_runtime_dir

    ask = requests.Session()
    ask.trust_env = False  # neither a proxy nor a .netrc has a say in what this machine asks itself
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json"))[:_MOST_SERVERS]:
        try:
            server = json.loads(file.read_text())
            headers = {"Authorization": f"token {server['token']}"} if server.get("token") else {}
            answer = ask.get(f"{server['url']}api/sessions", headers=headers, timeout=1)
            for session in answer.json():
                if session["kernel"]["id"] == kernel_id and session["type"] == "notebook":
                    return str(Path(server["root_dir"], session["path"]))
        except Exception:  # gone, of another user, or nothing that speaks this
            continue
    return None


def _kernel_id() -> str | None:
    """The id of this kernel, which restarts keep; only a server's kernels have one that means something.

    A tool that executes notebooks inside such a kernel hands on its environment, not its connection file.
    """
    from ipykernel.connect import get_connection_file

    try:
        name = Path(get_connection_file()).stem
    except Exception:  # no kernel application
        return None
    return name.removeprefix("kernel-") if name.startswith("kernel-") and "JPY_SESSION_NAME" in os.environ else None


def _cell_id(shell: Any) -> str | None:
    """The id of the cell that is being executed, from a frontend that says it."""
    try:
        metadata = shell.get_parent()["metadata"]
    except (AttributeError, KeyError, TypeError):
        return None
    cell = metadata.get("cellId")
    return cell if isinstance(cell, str) else None
