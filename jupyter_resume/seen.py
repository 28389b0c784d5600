"""A run seen from outside, and its files: values as they stood when they were asked for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from . import files, listing, notices, render, sampling, view
from .errors import InvalidInput, LocalFileDiffers
from .identity import RunPath
from .paging import Paged, Piece
from .remote.base import RemoteFile, RemoteRun
from .source import Source
from .tables import Table
from .wording import size_of

_FILES = 50


class ApiRun:
    """A run seen from outside, as it stood when it was asked for."""

    def __init__(self, source: Source, seen: RemoteRun) -> None:
        self.seen = seen
        self.source = source

    @property
    def id(self) -> str:
        """The run id."""
        return self.seen.path.run_id

    @property
    def entity(self) -> str:
        """The entity: a person or a team."""
        return self.seen.path.entity

    @property
    def project(self) -> str:
        """The project."""
        return self.seen.path.project

    @property
    def path(self) -> str:
        """``entity/project/run_id``."""
        return str(self.seen.path)

    @property
    def name(self) -> str:
        """The display name; the id if none was given."""
        return self.seen.name or self.id

    @property
    def url(self) -> str | None:
        """The run's page; None in the embedded store, which has none."""
        return self.source.url_of(self.seen.path)

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``failed``, ``crashed``, ``preempted``; ``interrupted``, W&B's ``killed``."""
        return self.seen.state

    @property
    def config(self) -> dict[str, Any]:
        """The config; a copy."""
        return dict(self.seen.config)

    @property
    def summary(self) -> dict[str, Any]:
        """The last value of each metric, and what was set by hand; a copy."""
        return dict(self.seen.summary)

    @property
    def notes(self) -> str | None:
        """Notes on the run."""
        return self.seen.notes

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags."""
        return self.seen.tags

    @property
    def group(self) -> str | None:
        """The group of runs that this one belongs to."""
        return self.seen.group

    @property
    def job_type(self) -> str | None:
        """What kind of job it is, such as ``train``."""
        return self.seen.job_type

    @property
    def created_at(self) -> str | None:
        """When it was begun: ISO 8601, in UTC."""
        return self.seen.created_at

    @property
    def heartbeat_at(self) -> str | None:
        """When it was heard of last: ISO 8601, in UTC."""
        return self.seen.heartbeat_at

    def history(self, keys: Sequence[str] | None = None, samples: int = 500, *, pandas: bool = False) -> Any:
        """At most ``samples`` rows of the history, evenly taken; as a DataFrame with ``pandas``.

        With ``keys`` only the rows that have all of them, and of these ``_step`` and the keys.
        """
        wanted = _keys(keys)
        rows = self.source.sampled(self.seen.path, wanted or None, count("samples", samples))
        return _frame(rows) if pandas else rows

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        min_step: int = 0,
        max_step: int | None = None,
        page_size: int = 1000,
    ) -> Iterator[dict[str, Any]]:
        """Every row with ``min_step <= _step < max_step``, ``page_size`` at a time.

        With ``keys`` only the rows that have all of them, and of these only the keys.
        """
        wanted = _keys(keys)
        rows = self.source.scan(self.seen.path, min_step, max_step, count("page_size", page_size))
        return sampling.with_keys(rows, wanted) if wanted else rows

    def files(self, names: Sequence[str] | None = None) -> Files:
        """The files that the run has saved, or those of ``names`` that it has; fetched as they are needed."""
        return Files(self.source, self.seen.path, [names] if isinstance(names, str) else names)

    def file(self, name: str) -> File:
        """One file. Raises FileMissing, with the nearest names, and UnsafeName."""
        name = files.safe_name(name)
        for found in self.source.files(self.seen.path, [name]):
            if found.name == name:
                return File(self.source, self.seen.path, found)
        known = [file.name for file in islice(self.source.files(self.seen.path), 1000)]
        raise files.missing(self.seen.path, name, known)

    def __repr__(self) -> str:
        return f"<ApiRun {self.path} {self.state}, step {view.of_outside(self.seen).step}>"

    def _repr_html_(self) -> str:
        return render.html(view.of_outside(self.seen))


class File:
    """A file of a run."""

    def __init__(self, source: Source, run: RunPath, found: RemoteFile) -> None:
        self.run = run
        self._source = source
        self.found = found

    @property
    def name(self) -> str:
        """Its name in the run."""
        return self.found.name

    @property
    def size(self) -> int:
        """In bytes."""
        return self.found.size

    @property
    def md5(self) -> str | None:
        """The MD5 in base64, as W&B writes it; None if it is not known. Of a file in the store it is computed now."""
        return self.found.md5 or self._source.md5(self.run, self.found)

    @property
    def url(self) -> str:
        """Where its content is; a server's address may want the key."""
        return self.found.url

    @property
    def updated_at(self) -> str | None:
        """When it was saved: ISO 8601, in UTC."""
        return self.found.updated_at

    @property
    def mimetype(self) -> str | None:
        """What kind of file it is."""
        return self.found.mimetype

    def download(self, root: str | os.PathLike[str] = ".", replace: bool = False, exist_ok: bool = False) -> IO[bytes]:
        """Bring the file to ``root``, below its name, and open it for reading; ``.name`` is its path.

        What is opened is exactly the run's file, or it is an error. A file that is there already and is the same
        stays; a different one is an error, unless ``replace``, or ``exist_ok``, which opens it as it is.

        Raises LocalFileDiffers, FileDamaged, UnsafeName, RemoteError.
        """
        try:
            path = self._source.bring(self.run, self.found, Path(root), replace)
        except LocalFileDiffers as error:
            there = error.path
            if not exist_ok or there is None or not there.is_file():
                raise
            notices.tell(f"{there} is not the file of run {self.run}: it is left as it is, as exist_ok=True asks.")
            path = there
        return open(path, "rb")

    def __repr__(self) -> str:
        return f"<File {self.name} ({size_of(self.size)}) of run {self.run}>"


class Files(Paged[File]):
    """Files of a run: iterable, indexable, with a length; shows itself as a table."""

    def __init__(self, source: Source, run: RunPath, names: Sequence[str] | None) -> None:
        super().__init__(self._page)
        self._source = source
        self._run = run
        self._names = names
        self._listing: Iterator[RemoteFile] | None = None
        self._known: set[str] = set()

    def _page(self, cursor: str | None) -> Piece[File]:
        if self._listing is None:
            self._listing = self._source.files(self._run, self._names)
        try:
            some = list(islice((file for file in self._listing if file.name not in self._known), _FILES))
        except BaseException:
            self._listing = None  # it ends where it failed: the next try begins anew, and passes over what is known
            raise
        self._known.update(file.name for file in some)
        more = str(len(self._known)) if len(some) == _FILES else None
        return Piece([File(self._source, self._run, file) for file in some], more)

    def _shown(self) -> Table:
        some = [file.found for file in self[: _FILES + 1]]
        table = listing.remote_files(some[:_FILES])
        return replace(table, note="and more") if len(some) > _FILES else table

    def __repr__(self) -> str:
        return repr(self._shown())

    def _repr_html_(self) -> str:
        return self._shown()._repr_html_()


def _keys(keys: Sequence[str] | None) -> list[str]:
    given = [keys] if isinstance(keys, str) else list(keys or ())
    if not all(isinstance(key, str) for key in given):
        raise InvalidInput(f"keys={keys!r:.80} is no list of strings: name metrics, as keys=['loss'].")
    return given


def count(what: str, number: int) -> int:
    """A number of rows or runs, from 1 on. Raises InvalidInput, naming ``what`` it is."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InvalidInput(f"{what}={number!r:.60} is no number of rows or runs: use an integer from 1 on.")
    return number


def _frame(rows: list[dict[str, Any]]) -> Any:
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise InvalidInput("pandas=True needs pandas, which is not installed: pip install pandas.") from error
    return pandas.DataFrame.from_records(rows)
