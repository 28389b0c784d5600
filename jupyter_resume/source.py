"""Source: where runs are read from outside, this machine's store or a remote; both answer with the same values."""

from __future__ import annotations

import contextlib
import difflib
import mimetypes
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from . import digests, files, sampling, selection, settings
from .errors import InvalidInput, RemoteError, ResumeError, RunMissing
from .fetched import bring
from .identity import DEFAULT_ENTITY, RunPath, as_given, clean_id, ids_there
from .remote.base import Page, Remote, RemoteFile, RemoteRun
from .store.catalog import CatalogEntry
from .store.home import Store
from .store.record import FileEntry, ResumePoint, Tail
from .times import iso

_BY_AGE = ("", "-created_at", "+created_at", "created_at")
_LOOKED_THROUGH = 200  # runs, for one whose id is like the one that was asked for


class Source(Protocol):
    """Runs seen from outside. What it says is as it was when it was asked."""

    @property
    def place(self) -> str:
        """Where that is, in words."""

    def entity(self) -> str:
        """The entity that is meant where none is given."""

    def entity_there(self, entity: str) -> str:
        """What an entity is called there: to a server ``local`` is nobody."""

    def id_there(self, run_id: str) -> str:
        """What a run id is called there; see `as_given`."""

    def url_of(self, path: RunPath) -> str | None:
        """The run's page; None if there is none."""

    def run(self, path: RunPath) -> RemoteRun:
        """A run. Raises RunMissing, with the nearest ids."""

    def runs(
        self, entity: str, project: str, filters: Mapping[str, Any], order: str | None, after: str | None, most: int
    ) -> Page:
        """Some runs of a project, from where an earlier page ended; ``most`` is what a page is meant to hold."""

    def sampled(self, path: RunPath, keys: Sequence[str] | None, samples: int) -> list[dict[str, Any]]:
        """At most ``samples`` rows, evenly taken; with ``keys`` those that have all, as ``_step`` and these."""

    def scan(self, path: RunPath, min_step: int, max_step: int | None, page_size: int) -> Iterator[dict[str, Any]]:
        """Every row with ``min_step <= _step < max_step``."""

    def files(self, path: RunPath, names: Sequence[str] | None = None) -> Iterator[RemoteFile]:
        """The run's files, or those of ``names`` that it has."""

    def md5(self, path: RunPath, file: RemoteFile) -> str | None:
        """A file's MD5 in base64; None if nobody knows it."""

    def bring(self, path: RunPath, file: RemoteFile, root: Path, replace: bool) -> Path:
        """The file, at ``root/name``, verified; see `fetched.bring`."""


@dataclass(frozen=True)
class Stored:
    """A run of the store as it stands; ``heartbeat`` in Unix seconds."""

    path: RunPath
    point: ResumePoint
    state: str
    heartbeat: float


class StoreSource:
    """The runs of this machine's store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def place(self) -> str:
        """The store's folder."""
        return f"the store {self.store.home}"

    def entity(self) -> str:
        """As `init` has it."""
        return settings.resolve({"mode": "local"}).entity

    def entity_there(self, entity: str) -> str:
        """As it is called."""
        return entity

    def id_there(self, run_id: str) -> str:
        """As it is used here."""
        return clean_id(run_id)

    def url_of(self, path: RunPath) -> str | None:
        """The embedded store has no pages."""
        return None

    def run(self, path: RunPath) -> RemoteRun:
        """A run, from its record."""
        return _seen(self._look(path, self._tail(path)))

    def runs(
        self, entity: str, project: str, filters: Mapping[str, Any], order: str | None, after: str | None, most: int
    ) -> Page:
        """A page of the catalog where only the age matters, else all that match at once: each has been read anyway."""
        entries = self.store.catalog.runs(entity, project)
        if filters or (order or "") not in _BY_AGE:
            chosen = selection.choose(self._read(entries), filters, order)
            return Page(tuple(map(_seen, chosen)), None, len(chosen))
        entries.sort(key=lambda entry: entry.created, reverse=(order or "-")[0] == "-")
        start = int(after or 0)
        page = entries[start : start + most]
        rest = str(start + most) if start + most < len(entries) else None
        return Page(tuple(map(_seen, self._read(page))), rest, len(entries))

    def sampled(self, path: RunPath, keys: Sequence[str] | None, samples: int) -> list[dict[str, Any]]:
        """From the record, read once."""
        self._tail(path)
        return sampling.sample(self.store.record(path), keys, samples)

    def scan(self, path: RunPath, min_step: int, max_step: int | None, page_size: int) -> Iterator[dict[str, Any]]:
        """From the record; a page is of no use here."""
        self._tail(path)
        for row in self.store.record(path).history(min_step):
            if max_step is not None and row["_step"] >= max_step:
                return
            yield row

    def files(self, path: RunPath, names: Sequence[str] | None = None) -> Iterator[RemoteFile]:
        """By name."""
        known = self._tail(path).point.files
        for name in sorted(known) if names is None else names:
            if name in known:
                yield self._file(path, known[name])

    def _file(self, path: RunPath, entry: FileEntry) -> RemoteFile:
        kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
        blob = self.store.blobs(path).path(entry.digest)
        return RemoteFile(entry.name, entry.size, None, blob.as_uri(), iso(entry.saved_at), kind)

    def md5(self, path: RunPath, file: RemoteFile) -> str | None:
        """Of the content that the store has, read when it is asked for; None if it was replaced since."""
        try:
            return digests.md5_of(self.store.blobs(path).path(file.url.rpartition("/")[2]))
        except OSError:
            return None

    def bring(self, path: RunPath, file: RemoteFile, root: Path, replace: bool) -> Path:
        """As `restore` does."""
        return files.restore_from(self.store, path, file.name, root, replace).path

    def _tail(self, path: RunPath) -> Tail:
        tail = self.store.record(path).tail()
        if tail is None:
            known = [entry.path.run_id for entry in self.store.catalog.runs(path.entity, path.project)]
            raise no_run(path, self.place, known)
        return tail

    def _look(self, path: RunPath, tail: Tail) -> Stored:
        return Stored(path, tail.point, self.store.record(path).state(tail), tail.point.updated)

    def _read(self, entries: Sequence[CatalogEntry]) -> Iterator[Stored]:
        """The runs of some entries, those left out that cannot be read."""
        for entry in entries:
            try:
                tail = self.store.record(entry.path).tail()
                if tail is not None:
                    yield self._look(entry.path, tail)
            except (ResumeError, OSError):
                continue


class RemoteSource:
    """The runs that a remote has."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._entity: str | None = None

    @property
    def place(self) -> str:
        """The server's address."""
        return self.remote.base_url

    def entity(self) -> str:
        """``WANDB_ENTITY``, else whose key it is; asked once."""
        if self._entity is None:
            self._entity = os.environ.get("WANDB_ENTITY") or self.remote.account().entity
        return self._entity

    def entity_there(self, entity: str) -> str:
        """As it is called; whose key it is for ``local``."""
        return self.entity() if entity == DEFAULT_ENTITY else entity

    def id_there(self, run_id: str) -> str:
        """As it was given."""
        return as_given(run_id)

    def url_of(self, path: RunPath) -> str | None:
        """The run's page."""
        return self.remote.url_of(path)

    def run(self, path: RunPath) -> RemoteRun:
        """As the remote says; if it has no such run, the newest ones are looked through for one with a similar id."""
        try:
            return self._run(path)
        except RunMissing:
            known: list[str] = []
            try:
                page = self.remote.runs(path.entity, path.project, order="-created_at", most=_LOOKED_THROUGH)
                known = [run.path.run_id for run in page.runs]
            except (RemoteError, RunMissing):
                pass  # the hint is not worth an error
            raise no_run(path, self.place, known) from None

    def _run(self, path: RunPath) -> RemoteRun:
        *others, last = ids_there(path.run_id)
        for run_id in others:
            with contextlib.suppress(RunMissing):
                return self.remote.run(replace(path, run_id=run_id))
        return self.remote.run(replace(path, run_id=last))

    def runs(
        self, entity: str, project: str, filters: Mapping[str, Any], order: str | None, after: str | None, most: int
    ) -> Page:
        """A page of them."""
        return self.remote.runs(entity, project, dict(filters), order, after, most)

    def sampled(self, path: RunPath, keys: Sequence[str] | None, samples: int) -> list[dict[str, Any]]:
        """As the remote takes them; with ``keys`` cut to these."""
        wanted = list(dict.fromkeys(("_step", *keys))) if keys else None
        rows = self.remote.sampled(path, wanted, samples)
        return list(sampling.with_keys(rows, wanted)) if wanted else rows

    def scan(self, path: RunPath, min_step: int, max_step: int | None, page_size: int) -> Iterator[dict[str, Any]]:
        """A page at a time."""
        return self.remote.scan(path, min_step, max_step, page_size)

    def files(self, path: RunPath, names: Sequence[str] | None = None) -> Iterator[RemoteFile]:
        """A page at a time."""
        return self.remote.files(path, names)

    def md5(self, path: RunPath, file: RemoteFile) -> str | None:
        """As the listing had it."""
        return file.md5

    def bring(self, path: RunPath, file: RemoteFile, root: Path, replace: bool) -> Path:
        """Downloaded, unless it is there already."""
        return bring(file, lambda file, into: self.remote.fetch(file, into, progress=True), root, replace)[0]


def meant(base_url: str | None = None, mode: str | None = None) -> Source:
    """Where runs are looked for: a server if its address is given or a key is configured, else this machine's store.

    ``mode``: ``"local"`` or ``"offline"`` for the store, ``"online"`` for the server. Raises InvalidInput, KeyRejected.
    """
    said = settings.resolve({"base_url": base_url, "mode": mode})
    if base_url is not None and mode in ("local", "offline"):
        raise InvalidInput(f"mode={mode!r} asks this machine's store and base_url= a server: leave out one of them.")
    if base_url is None and said.mode != "online":
        return StoreSource(Store())
    from .sync.connecting import connect

    return RemoteSource(connect(said.base_url))


def no_run(path: RunPath, place: str, known: Sequence[str]) -> RunMissing:
    """The error for a run that is not in ``place``, with the nearest ids of its project."""
    known = [each for each in known if each != path.run_id]
    near = difflib.get_close_matches(path.run_id, known, n=3, cutoff=0.5)
    if near:
        said = f"did you mean {', '.join(map(repr, near))}?"
    elif known:
        said = f"that project's newest runs are {', '.join(map(repr, islice(known, 5)))}."
    else:
        said = "that project has no runs there; check its name and the entity's."
    return RunMissing(f"There is no run {path} in {place}: {said}", near=near)


def _seen(stored: Stored) -> RemoteRun:
    """A run of the store in the words of a remote; times as they were written."""
    point, meta = stored.point, stored.point.meta
    return RemoteRun(
        path=stored.path,
        storage_id=None,
        name=str(meta.get("name") or stored.path.run_id),
        state=stored.state,
        config=point.config,
        summary=point.summary,
        tags=tuple(meta.get("tags") or ()),
        notes=meta.get("notes"),
        group=meta.get("group"),
        job_type=meta.get("job_type"),
        rows=point.rows,
        created_at=iso(point.created),
        heartbeat_at=iso(stored.heartbeat),
        user=meta.get("user"),
    )
