"""Where things lie: the store's folder, and in it each run's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import StoreError
from ..identity import RunPath
from .blobs import Blobs
from .catalog import Catalog
from .hosts import Hosts
from .record import Record, ResumePoint
from .replica import Replica, ReplicaFile


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """``JUPYTER_RESUME_HOME``, or the platform's folder for a user's data."""
    if home := environ.get("JUPYTER_RESUME_HOME"):
        return Path(home).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("jupyter_resume", appauthor=False))


class Store:
    """All runs of this machine, in one folder. Making one touches nothing."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or default_home()
        self.catalog = Catalog(self.home / "catalog.sqlite", _Points(self))
        self.hosts = Hosts(self.home / "hosts.json")

    def folder(self, path: RunPath) -> Path:
        """The folder of one run."""
        return self.home / "runs" / _folder_name(path.entity) / _folder_name(path.project) / path.run_id

    def record(self, path: RunPath) -> Record:
        """The record of one run, whether or not it exists."""
        return Record(self.folder(path) / "record", path)

    def blobs(self, path: RunPath) -> Blobs:
        """The content of one run's saved files."""
        return Blobs(self.folder(path) / "blobs")

    def replica(self, path: RunPath, base_url: str) -> ReplicaFile:
        """What is known of one run's replica at a server."""
        return ReplicaFile.of(self.folder(path) / "replicas", base_url)

    def replicas(self, path: RunPath) -> list[Replica]:
        """What is known of a run's replicas at every server."""
        found = (ReplicaFile(file).load() for file in sorted((self.folder(path) / "replicas").glob("*.json")))
        return [replica for replica in found if replica is not None]

    def files(self, path: RunPath) -> Path:
        """The folder of a run that its user sees as ``run.dir``."""
        return self.folder(path) / "files"


class _Points:
    """Every run's resume point, read from its record; iterable again and again."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __iter__(self) -> Iterator[ResumePoint]:
        for folder in (self.store.home / "runs").glob("*/*/*/record"):
            try:
                tail = Record(folder).tail()
                if tail and self.store.record(tail.point.path).folder == folder:  # else it is a copy of that run's
                    yield tail.point
            except (StoreError, OSError):
                continue


def _folder_name(name: str) -> str:
    """A folder's name for any entity or project name: readable, and the same for no two names."""
    quoted = re.sub(r"[^A-Za-z0-9_ -]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)
    if len(quoted) <= 100:
        return quoted
    import hashlib

    return f"{quoted[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
