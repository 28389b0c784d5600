"""What the routes answer, as plain values; everything here may block, and is called from a thread."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from .. import files, render, view
from ..errors import FileDamaged, FileMissing, InvalidInput, ResumeError, RunMissing
from ..identity import RunPath
from ..origin import NotebookRef, as_notebook_id, read_notebook, same, still_there, with_cells
from ..store import edits, notebooks
from ..store.catalog import CatalogEntry
from ..store.home import Store
from ..store.record import FileEntry, Tail
from ..store.watch import Present
from ..wording import short
from . import values
from .courses import Watched
from .places import Places

API = 1
CAPABILITIES = ("runs", "run", "notebook", "notes", "restore", "files")
PORTION = 2 << 20
"""Bytes of a long history that one answer reads at most: some 0.1 s; who asks is told how much is still to come."""

MOST_NOTES = 65_536
_WATCHED, _LISTED, _NOTEBOOKS = 16, 512, 64
_OF_NOTEBOOK = 20
_MOST_RUNS = 200
_MEMORY = 10.0  # seconds for which it is remembered that a notebook has no runs

T = TypeVar("T")


class _Kept(OrderedDict[Any, T]):
    """The values that were asked for last, at most so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._lock = threading.Lock()

    def ask(self, key: Any, make: Callable[[], T]) -> T:
        """The value for a key, made if it is not there; made twice, at worst, if two ask at once."""
        with self._lock:
            if key in self:
                self.move_to_end(key)
                return self[key]
        made = make()
        with self._lock:
            made = self.setdefault(key, made)
            while len(self) > self._most:
                self.popitem(last=False)
            return made


class _Listed:
    """A run that is in a list."""

    def __init__(self, present: Present) -> None:
        self.present = present
        self.lock = threading.Lock()


class Answers:
    """The answers from one store, for a server whose notebooks lie at ``places``. Any thread may ask.

    ``portion`` is how many bytes of a history one answer reads at most.
    """

    def __init__(self, store: Store, places: Places, portion: int = PORTION) -> None:
        self.store = store
        self.places = places
        self._portion = portion
        self._watched: _Kept[Watched] = _Kept(_WATCHED)
        self._listed: _Kept[_Listed] = _Kept(_LISTED)
        self._cells: _Kept[tuple[str, ...] | None] = _Kept(_NOTEBOOKS)
        self._without_runs: dict[NotebookRef, float] = {}

    def hello(self) -> dict[str, Any]:
        """Who answers."""
        return {"api": API, "version": metadata.version("jupyter-resume"), "capabilities": CAPABILITIES}

    # Lists

    def runs(
        self,
        notebook: NotebookRef | None,
        only_mine: bool,
        entity: str | None,
        project: str | None,
        words: str,
        offset: int,
        limit: int,
    ) -> dict[str, Any]:
        """Some of the runs, newest first; ``mine`` are those of the notebook."""
        limit = max(1, min(limit, _MOST_RUNS))
        notebook = notebook and notebooks.seen(self.store.catalog, notebook)
        if only_mine:
            mine = sorted(self._of_notebook(notebook), key=lambda entry: -entry.created) if notebook else []
            mine = [one for one in mine if _matches(one, entity, project, words)]
            total, entries = len(mine), mine[offset : offset + limit]
        else:
            total, entries = self.store.catalog.page(entity, project, words, offset, limit)
        known: dict[NotebookRef, bool] = {}

        def there(then: NotebookRef) -> bool:
            return known[then] if then in known else known.setdefault(then, still_there(then))

        rows = [
            self._row(entry, only_mine or bool(notebook and entry.origin and same(notebook, entry.origin, there)))
            for entry in entries
        ]
        return {"total": total, "runs": rows}

    def notebook(self, notebook: NotebookRef) -> dict[str, Any]:
        """The run of a notebook: the one that is written, else the one worked on last."""
        notebook = notebooks.seen(self.store.catalog, notebook)
        rows = [self._row(entry, mine=True) for entry in self._of_notebook(notebook)[:_OF_NOTEBOOK]]
        rows.sort(key=lambda row: (not row["live"], -row["updated"]))
        return {"run": rows[0] if rows else None, "runs": rows}

    def reference(self, path: str, notebook_id: object, kernel_id: str | None, cells: Sequence[str]) -> NotebookRef:
        """A notebook as the page has it open, with ``cells``; some of them may not be saved yet."""
        file = str(self.places.notebook(path))
        known = with_cells(self._cells_of(file), cells)
        return NotebookRef(file, "sidebar", as_notebook_id(notebook_id), kernel_id or None, known)

    def name_notebook(self, path: str, notebook_id: object, cells: Sequence[str]) -> dict[str, Any]:
        """Which id a notebook has; see `notebooks.recognise`."""
        found = notebooks.recognise(self.store.catalog, self.reference(path, notebook_id, None, cells))
        copied = found.copy_of and (self.places.path_of(found.copy_of) or Path(found.copy_of).name)
        return {"notebook_id": found.notebook_id, "copy_of": copied}

    def _of_notebook(self, notebook: NotebookRef) -> list[CatalogEntry]:
        now = time.monotonic()
        recently = now - self._without_runs.get(notebook, -_MEMORY) < _MEMORY
        found = self.store.catalog.of_notebook(notebook, anywhere=not recently)
        if not found and not recently:  # to look through all runs takes long where they are many
            if len(self._without_runs) > _NOTEBOOKS:
                self._without_runs.clear()
            self._without_runs[notebook] = now
        return found

    def _cells_of(self, file: str) -> tuple[str, ...] | None:
        try:
            stat = os.stat(file)
        except OSError:
            return None
        key = (file, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return self._cells.ask(key, lambda: read_notebook(Path(file))[1])

    def _row(self, entry: CatalogEntry, mine: bool) -> dict[str, Any]:
        if entry.state != "running":
            return values.row_of_entry(entry, self.places, mine)
        listed = self._listed.ask(entry.path, lambda: _Listed(Present(self.store.record(entry.path))))
        with listed.lock:
            try:
                tail = listed.present.look()
                if tail is not None:
                    return values.row_of_tail(tail, *listed.present.state(), listed.present.damaged, self.places, mine)
            except (ResumeError, OSError):  # its own page says why
                pass
        return {**values.row_of_entry(entry, self.places, mine), "state": "lost", "resumable": False}

    # One run

    def run(self, path: RunPath, cursor: str | None) -> tuple[str, dict[str, Any]]:
        """A run as it stands, with what changed since the cursor; and what tells this answer from another."""
        watched = self._watched.ask(path, lambda: Watched(self.store.record(path)))
        try:
            return self._seen(path, watched, cursor)
        except FileNotFoundError:
            raise self._missing(path) from None

    def _seen(self, path: RunPath, watched: Watched, cursor: str | None) -> tuple[str, dict[str, Any]]:
        with watched.lock:
            tail = watched.present.look()
            if tail is None:
                self._watched.pop(path, None)
                raise self._missing(path)
            watched.advance(self._portion)
            state, owner = watched.present.state()
            rows, version = watched.seen(cursor)
            damaged = max(watched.present.damaged, watched.history.damaged)
            loaded = watched.history.loaded
            seen = view.of_tail(
                tail, state, view.Course().metrics(tail.point.summary), view.server_of(self.store, tail)
            )
            answer: dict[str, Any] = {
                "api": API,
                "cursor": watched.cursor,
                "reset": rows < 0,
                "run": values.row_of_tail(tail, state, owner, damaged, self.places, mine=False),
                "view": render.json(seen),
                "total": seen.total,
                "history": {"loaded": round(loaded, 4), "metrics": values.curves(watched.curves, tail.point, rows)},
                "more": values.more(tail.point, watched.others),
            }
            if version != watched.present.version:
                answer["notes"] = tail.point.meta.get("notes")
                answer["config"] = values.config(tail.point)
                answer["files"] = values.files(tail.point)
            return f"{watched.cursor}.{state}.{owner}.{loaded:.4f}.{damaged}.{seen.server}", answer

    def note(self, path: RunPath, notes: object) -> dict[str, Any]:
        """Change a run's notes, whoever writes it."""
        if notes is not None and not isinstance(notes, str):
            raise InvalidInput("Notes are a text, or null to take them out.")
        if notes is not None and len(notes) > MOST_NOTES:
            raise InvalidInput(
                f"The notes have {len(notes)} characters and at most {MOST_NOTES} are kept: shorten them."
            )
        self._tail(path)
        edits.ask(self.store.record(path).folder, {"notes": notes})
        return {"notes": notes}

    def restore(self, path: RunPath, name: object, notebook: str, replace: bool) -> dict[str, Any]:
        """Bring a file of a run into a notebook's folder, verified."""
        if not isinstance(name, str):
            raise InvalidInput("name is the name of a file of the run: give a string.")
        folder = self.places.folder_of(notebook)
        restored = files.restore_from(self.store, path, name, folder, replace)
        return {
            "name": restored.file,
            "path": self.places.path_of(restored.path),
            "size": restored.size,
            "digest": restored.digest,
            "copied": restored.copied,
            "message": short(repr(restored), 600),
        }

    def open_file(self, path: RunPath, name: str) -> tuple[FileEntry, BinaryIO]:
        """A file of a run, and its content, which nobody has verified yet."""
        for attempt in (1, 2):
            known = self._tail(path).point.files
            entry = known.get(files.safe_name(name))
            if entry is None:
                raise FileMissing(f"Run {path} has no file {name[:200]!r}: it has {len(known)} others.", name=name)
            try:
                return entry, self.store.blobs(path).open(entry.digest)
            except OSError as error:  # its writer may have saved a newer content meanwhile
                if attempt == 2:
                    raise FileDamaged(f"The content of {name!r} is missing from the store: save it again.") from error
        raise AssertionError

    def _tail(self, path: RunPath) -> Tail:
        tail = self.store.record(path).tail()
        if tail is None:
            raise self._missing(path)
        return tail

    def _missing(self, path: RunPath) -> RunMissing:
        return RunMissing(f"There is no run {path} in this machine's store (any more): choose another one.")


def _matches(entry: CatalogEntry, entity: str | None, project: str | None, words: str) -> bool:
    path = entry.path
    if entity not in (None, path.entity) or project not in (None, path.project):
        return False
    return any(words.lower() in text.lower() for text in (path.run_id, entry.name, path.project))
