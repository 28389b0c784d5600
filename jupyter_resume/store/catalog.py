"""The index of this machine's runs: state, last step, and the notebook or program that each belongs to.

A SQLite file that any number of processes use at once. Of the runs it holds nothing that the records do not, so it can
be lost: a corrupt one is set aside and made anew from the records. Which id the notebook at a path has stands in the
notebook itself too, once it is saved.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import StoreError
from ..identity import RunPath
from ..notices import tell
from ..origin import NotebookRef, Origin, load, same
from .record import ResumePoint

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    entity TEXT, project TEXT, run_id TEXT, name TEXT, state TEXT, last_step INTEGER, rows INTEGER,
    created REAL, updated REAL, origin_path TEXT, kernel_id TEXT, origin TEXT, notebook_id TEXT,
    PRIMARY KEY (entity, project, run_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_age ON runs (created);
CREATE INDEX IF NOT EXISTS by_origin ON runs (origin_path);
CREATE INDEX IF NOT EXISTS by_kernel ON runs (kernel_id);
CREATE INDEX IF NOT EXISTS by_notebook ON runs (notebook_id);
CREATE TABLE IF NOT EXISTS notebooks (path TEXT PRIMARY KEY, notebook_id TEXT, at REAL) WITHOUT ROWID;
"""
_COLUMNS = "entity, project, run_id, name, state, last_step, rows, created, updated, origin"


@dataclass(frozen=True)
class CatalogEntry:
    """One run in the index; times are Unix seconds, ``state`` is as the run's writer last said it."""

    path: RunPath
    name: str
    state: str
    last_step: int
    rows: int
    created: float
    updated: float
    origin: Origin | None

    @classmethod
    def of(cls, point: ResumePoint) -> CatalogEntry:
        """The entry for a run that stands at ``point``."""
        name = str(point.meta.get("name") or "")
        return cls(
            point.path, name, point.state, point.last_step, point.rows, point.created, point.updated, load(point.origin)
        )


class Catalog:
    """The catalog in one file; ``records`` gives every run's resume point when it has to be made anew."""

    def __init__(self, file: Path, records: Iterable[ResumePoint]) -> None:
        self.file = file
        self._records = records

    def put(self, point: ResumePoint) -> None:
        """Add a run, or bring its entry up to date."""
        self._use(lambda db: _put(db, point))

    def remove(self, path: RunPath) -> None:
        """Take a run out."""
        names = (path.entity, path.project, path.run_id)
        self._use(lambda db: db.execute("DELETE FROM runs WHERE entity = ? AND project = ? AND run_id = ?", names))

    def projects(self, entity: str | None = None) -> list[tuple[str, str, int, float]]:
        """Every project with runs (of an entity): its entity, name, number of runs, and when it was worked on last."""
        asked = (
            "SELECT entity, project, count(*), max(updated) FROM runs WHERE ?1 IS NULL OR entity = ?1 "
            "GROUP BY entity, project ORDER BY max(updated) DESC"
        )
        return self._use(lambda db: list(db.execute(asked, (entity,))))

    def project(self, entity: str, project: str) -> tuple[int, float | None]:
        """How many runs a project has, and when the first was begun."""
        asked = "SELECT count(*), min(created) FROM runs WHERE entity = ? AND project = ?"
        count, begun = self._use(lambda db: db.execute(asked, (entity, project)).fetchone())
        return count, begun

    def get(self, path: RunPath) -> CatalogEntry | None:
        """The entry of one run."""
        where = "WHERE entity = ? AND project = ? AND run_id = ?"
        rows = self._use(lambda db: _select(db, where, path.entity, path.project, path.run_id))
        return rows[0] if rows else None

    def runs(self, entity: str | None = None, project: str | None = None) -> list[CatalogEntry]:
        """All runs of an entity and project (None: of every one), newest first; from the records if need be."""
        where = "WHERE (?1 IS NULL OR entity = ?1) AND (?2 IS NULL OR project = ?2) ORDER BY created DESC"
        try:
            return self._use(lambda db: _select(db, where, entity, project))
        except StoreError:
            entries = (CatalogEntry.of(point) for point in self._records)
            mine = [e for e in entries if entity in (None, e.path.entity) and project in (None, e.path.project)]
            return sorted(mine, key=lambda entry: -entry.created)

    def unfinished(self, entity: str, project: str, origin: Origin) -> list[RunPath]:
        """The runs of a project that this notebook or program began and did not finish, the last worked on first.

        Where the catalog cannot be used the records are asked themselves. One that a notebook began at this path comes
        before those that it began elsewhere.
        """
        scope = "WHERE entity = ? AND project = ? AND state != 'finished'"
        newest = "ORDER BY updated DESC"

        def near(db: sqlite3.Connection) -> list[CatalogEntry]:
            where = f"{scope} AND (origin_path = ?3 OR kernel_id = ?4 OR notebook_id = ?5)"
            here_first = "ORDER BY origin_path != ?3 AND (?4 IS NULL OR kernel_id IS NOT ?4), updated DESC"
            return _select(db, f"{where} {here_first}", entity, project, *_marks(origin))

        def every(db: sqlite3.Connection) -> list[CatalogEntry]:
            return _select(db, f"{scope} {newest}", entity, project)

        def matching(entries: Iterable[CatalogEntry]) -> list[RunPath]:
            return [entry.path for entry in entries if entry.origin and same(origin, entry.origin)]

        try:
            found = matching(self._use(near))
            if not found and isinstance(origin, NotebookRef):  # it may have been renamed since
                found = matching(self._use(every))
        except StoreError:
            entries = [CatalogEntry.of(point) for point in self._records]
            mine = [
                e for e in entries if (e.path.entity, e.path.project) == (entity, project) and e.state != "finished"
            ]
            found = matching(sorted(mine, key=lambda entry: -entry.updated))
        return found

    def page(
        self,
        entity: str | None = None,
        project: str | None = None,
        words: str = "",
        offset: int = 0,
        limit: int = 50,
    ) -> tuple[int, list[CatalogEntry]]:
        """Some of the runs, newest first, and how many there are of an entity and project with ``words`` in a name."""
        where = (
            "WHERE (?1 IS NULL OR entity = ?1) AND (?2 IS NULL OR project = ?2) AND (?3 IS NULL OR run_id LIKE ?3 "
            "ESCAPE '\\' OR name LIKE ?3 ESCAPE '\\' OR project LIKE ?3 ESCAPE '\\' OR origin_path LIKE ?3 ESCAPE '\\')"
        )
        quoted = re.sub(r"([%_\\])", r"\\\1", _text(words))
        asked = (entity, project, f"%{quoted}%" if words else None)

        def ask(db: sqlite3.Connection) -> tuple[int, list[CatalogEntry]]:
            count = int(db.execute(f"SELECT count(*) FROM runs {where}", asked).fetchone()[0])
            order = f"{where} ORDER BY created DESC, entity, project, run_id LIMIT ?4 OFFSET ?5"
            return count, _select(db, order, *asked, limit, offset)

        try:
            return self._use(ask)
        except StoreError:
            every = [entry for entry in self.runs(entity, project) if _has(entry, words.lower())]
            return len(every), every[offset : offset + limit]

    def of_notebook(self, notebook: NotebookRef, anywhere: bool = True) -> list[CatalogEntry]:
        """Every run that a notebook began, the last worked on first.

        ``anywhere``: where neither its path nor its id finds any, all runs are gone through for its cells.
        """

        def mine(entries: Iterable[CatalogEntry]) -> list[CatalogEntry]:
            return [entry for entry in entries if entry.origin and same(notebook, entry.origin)]

        near = "WHERE origin_path = ? OR kernel_id = ? OR notebook_id = ? ORDER BY updated DESC"
        try:
            found = mine(self._use(lambda db: _select(db, near, *_marks(notebook))))
        except StoreError:
            found = []
        if found or not anywhere:
            return found
        return mine(sorted(self.runs(), key=lambda entry: -entry.updated))

    # Notebooks

    def notebook_at(self, path: str) -> str | None:
        """The id that the notebook at a path was given, or that its last run knew."""
        asked = (
            "SELECT notebook_id FROM notebooks WHERE path = ?1 UNION ALL SELECT * FROM (SELECT notebook_id FROM runs "
            "WHERE origin_path = ?1 AND notebook_id IS NOT NULL ORDER BY updated DESC LIMIT 1) LIMIT 1"
        )
        found = self._use(lambda db: db.execute(asked, (_text(path),)).fetchone())
        return str(found[0]) if found else None

    def place_of(self, notebook_id: str) -> str | None:
        """Where the notebook of this id lay when it was seen last."""
        asked = (
            "SELECT path, at FROM notebooks WHERE notebook_id = ?1 UNION ALL SELECT origin_path, updated FROM runs "
            "WHERE notebook_id = ?1 AND origin_path != '' ORDER BY at DESC LIMIT 1"
        )
        found = self._use(lambda db: db.execute(asked, (notebook_id,)).fetchone())
        return str(found[0]) if found else None

    def last_of(self, notebook_id: str, path: str) -> CatalogEntry | None:
        """The run that the notebook of this id worked on last; else at this path, before it was given the id."""
        where = (
            "WHERE notebook_id = ?1 OR (notebook_id IS NULL AND origin_path = ?2 AND created <= "
            "(SELECT at FROM notebooks WHERE path = ?2 AND notebook_id = ?1)) "
            "ORDER BY notebook_id IS NULL, updated DESC LIMIT 1"
        )
        found = self._use(lambda db: _select(db, where, notebook_id, _text(path)))
        return found[0] if found else None

    def name_notebook(self, path: str, notebook_id: str, replace: bool) -> str:
        """Note that the notebook at a path has this id; the one that it has: without ``replace`` the first stays."""
        how = "REPLACE" if replace else "IGNORE"

        def write(db: sqlite3.Connection) -> str:
            db.execute(f"INSERT OR {how} INTO notebooks VALUES (?, ?, ?)", (_text(path), notebook_id, time.time()))
            told = db.execute("SELECT notebook_id FROM notebooks WHERE path = ?", (_text(path),)).fetchone()[0]
            db.execute("DELETE FROM notebooks WHERE notebook_id = ? AND path != ?", (told, _text(path)))
            return str(told)

        return self._use(write)

    def rebuild(self) -> int:
        """Make the catalog anew from the records; how many runs it then holds."""
        try:
            self._set_aside("replaced")
        except OSError as error:
            raise StoreError(
                f"The catalog {self.file} cannot be replaced ({error.strerror}): make the disk writable."
            ) from error
        return self._use(lambda db: int(db.execute("SELECT count(*) FROM runs").fetchone()[0]))

    def _use(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``action`` in a transaction; on a corrupt file once more, on one made anew."""
        for attempt in (1, 2):
            try:
                with contextlib.closing(self._connect()) as db, db:
                    return action(db)
            except (sqlite3.DatabaseError, OSError, UnicodeDecodeError) as error:
                if not _is_corrupt(error):
                    raise StoreError(f"The catalog {self.file} cannot be used ({error}).", file=self.file) from error
                if attempt == 2:
                    raise StoreError(f"The catalog {self.file} stays unreadable ({error}): delete it.") from error
                aside = self._set_aside("corrupt")
                tell(f"the catalog was corrupt: it is made anew from the runs' records (the old one is {aside.name}).")
        raise AssertionError

    def _connect(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.file, timeout=5.0)
        try:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'notebooks'").fetchone():
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("BEGIN IMMEDIATE")
                columns = {column[1] for column in db.execute("PRAGMA table_info(runs)")}
                if columns and "notebook_id" not in columns:  # made by an earlier version
                    db.execute("ALTER TABLE runs ADD COLUMN notebook_id TEXT")
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                if not columns:
                    for point in self._records:
                        _put(db, point)
                db.commit()
            db.execute("PRAGMA synchronous = OFF")  # the records are the truth, and it can be made anew
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, why: str) -> Path:
        """Rename the file out of the way, its write-ahead log with it."""
        aside = self.file.with_name(f"{self.file.stem}-{why}-{time.time_ns()}{self.file.suffix}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.file}{suffix}").replace(f"{aside}{suffix}")
        return aside


def _is_corrupt(error: Exception) -> bool:
    """Whether the file is no catalog of ours; not if it is locked for long or read-only, or there is no room."""
    if isinstance(error, sqlite3.OperationalError):
        return any(words in str(error) for words in ("no such table", "no such column", "has no column"))
    return isinstance(error, (sqlite3.DatabaseError, UnicodeDecodeError))


def _put(db: sqlite3.Connection, point: ResumePoint) -> None:
    entry = CatalogEntry.of(point)
    origin = entry.origin
    db.execute(
        f"INSERT OR REPLACE INTO runs ({_COLUMNS}, origin_path, kernel_id, notebook_id) VALUES ({', '.join('?' * 13)})",
        (
            point.entity,
            point.project,
            point.run_id,
            _text(entry.name),
            entry.state,
            entry.last_step,
            entry.rows,
            entry.created,
            entry.updated,
            json.dumps(point.origin if origin else None),
            *(_marks(origin) if origin else (None, None, None)),
        ),
    )


def _marks(origin: Origin) -> tuple[str, str | None, str | None]:
    """What an origin is looked up by: its path, its kernel's id and the notebook's own."""
    if isinstance(origin, NotebookRef):
        return _text(origin.path), origin.kernel_id, origin.notebook_id
    return _text(origin.path), None, None


def _has(entry: CatalogEntry, words: str) -> bool:
    texts = (entry.path.run_id, entry.name, entry.path.project, entry.origin.path if entry.origin else "")
    return any(words in text.lower() for text in texts)


def _select(db: sqlite3.Connection, where: str, *values: str | int | None) -> list[CatalogEntry]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM runs {where}", values)
    try:
        return [
            CatalogEntry(RunPath(*path), name, state, last_step, count, created, updated, _origin(origin))
            for *path, name, state, last_step, count, created, updated, origin in rows
        ]
    except (ValueError, TypeError, AttributeError) as error:
        raise sqlite3.DatabaseError(f"an entry is unreadable: {error}") from error


def _origin(text: str) -> Origin | None:
    """The origin as `_put` wrote it; TypeError for anything else."""
    values = json.loads(text)
    origin = None if values is None else load(values)
    if values is not None and origin is None:
        raise TypeError(f"no origin is {text[:80]}")
    return origin


def _text(name: str) -> str:
    """A name or path as SQLite takes it: one that is no Unicode text has its odd bytes written out."""
    return name.encode(errors="backslashreplace").decode()
