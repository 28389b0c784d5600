"""Where the notebooks of a Jupyter Server lie: its paths, and those of the file system."""

from __future__ import annotations

import os
from pathlib import Path

from .refusals import Refusal


class Places:
    """The folder that a server shows, if it shows one; ``hidden`` says whether its hidden files too."""

    def __init__(self, root: str | None, hidden: bool = False) -> None:
        self._root = Path(root).absolute() if root else None
        self._hidden = hidden

    def notebook(self, path: str) -> Path:
        """The notebook at a path of the server's, links followed, there or not. Refuses what leaves the root."""
        return Path(os.path.realpath(self._inside(path)))

    def folder_of(self, path: str) -> Path:
        """The folder of a notebook that is there, links followed. Refuses what leaves the root, or is no notebook."""
        notebook = self._inside(path)
        if not notebook.is_file():
            raise Refusal(404, "NotebookMissing", f"There is no notebook {path[:200]}: save it first.")
        return Path(os.path.realpath(notebook.parent))

    def path_of(self, file: str | os.PathLike[str]) -> str | None:
        """The server's path of a file; None for one that it does not show."""
        if self._root is None or not os.fspath(file):
            return None
        try:
            return Path(file).relative_to(os.path.realpath(self._root)).as_posix()
        except ValueError:
            return None

    def _inside(self, path: str) -> Path:
        parts = path.strip("/").split("/")
        sane = all(part not in ("", ".", "..") and "\0" not in part and "\\" not in part for part in parts)
        if not sane or not path.endswith(".ipynb") or os.path.splitdrive(path)[0]:
            raise Refusal(
                400, "InvalidInput", f"{path[:200]!r} is no path of a notebook: give one below the server's root."
            )
        if self._root is None:
            raise Refusal(
                404, "NotebookMissing", "This server keeps its notebooks in no folder: restore in a cell instead."
            )
        if not self._hidden and any(part.startswith(".") for part in parts):
            raise Refusal(404, "NotebookMissing", f"There is no notebook {path[:200]}: hidden ones are not shown.")
        return self._root.joinpath(*parts)
