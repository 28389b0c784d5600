"""A run's files, brought to its replica: content that is there already is not sent."""

from __future__ import annotations

from collections.abc import Mapping

from ..digests import md5_of
from ..errors import FileDamaged
from ..remote.base import Post, Remote, RemoteFile
from ..store.blobs import Blobs
from ..store.record import FileEntry
from ..store.replica import Replica, ReplicaFile
from ..transfer import digest_of
from .replicating import Replicating, Stopped
from .source import Source
from .standing import Standing


class Uploading(Replicating):
    """A replica whose files are brought there too; ``files_there`` are those that the server is known to have."""

    def __init__(
        self, remote: Remote, source: Source, blobs: Blobs, replica: Replica, file: ReplicaFile, stopped: Stopped
    ) -> None:
        super().__init__(remote, source, replica, file, stopped)
        self.files_there: dict[str, RemoteFile] = {}
        self._blobs = blobs
        self._md5s: dict[str, str | None] = {}
        self._listed = False

    def files(self) -> dict[str, FileEntry]:
        """The files of the run."""
        return self._source.look().files

    def files_waiting(self) -> list[str]:
        """Names of files whose content the server lacks, as far as is known here."""
        return files_unsent(self._source.look().files, self.replica)

    def standing(self, trouble: str | None) -> Standing:
        """How it stands now; ``trouble`` is what is the matter, in words."""
        look = self._source.look()
        files = files_unsent(look.files, self.replica)
        return Standing.of(self.replica, look.rows, look.last_step, len(files), trouble)

    def upload(self, name: str) -> bool:
        """Bring one file there; False if the server had its content, or if it is superseded by now.

        Raises FileDamaged if the store has not what was saved, and RemoteError.
        """
        entry = self._source.look().files.get(name)
        if entry is None:
            return False
        content = self._blobs.path(entry.digest)
        try:
            if digest_of(content) != entry.digest:
                raise FileDamaged(f"The stored content of {name!r} is damaged: save it again.", name=name)
            md5 = md5_of(content)
            sent = self._md5_there(name) != md5
            if sent:
                self.remote.put_file(self.replica.path, name, content)
                self._post(Post(uploaded=(name,)))
        except FileNotFoundError:
            if self._source.look().files.get(name) == entry:
                raise FileDamaged(f"The stored content of {name!r} is missing: save it again.", name=name) from None
            return False  # a newer content has taken its place
        with self._lock:
            self._md5s[name] = md5
            self.replica.files[name] = [entry.digest, md5]
            self._file.save_upload(self.replica, name)
        return sent

    def _md5_there(self, name: str) -> str | None:
        """The digest that the server has for a file; it is asked once a session."""
        if name not in self._md5s and not self._listed:
            names = [one for one in dict.fromkeys((name, *self.files_waiting())) if one not in self._md5s]
            self._md5s.update(dict.fromkeys(names))
            self._md5s.update({file.name: file.md5 for file in self.remote.files(self.replica.path, names)})
        return self._md5s.get(name)

    def list_files(self) -> None:
        """Learn which files the server has, those that other machines saved among them."""
        self.files_there = {file.name: file for file in self.remote.files(self.replica.path)}
        self._md5s, self._listed = {name: file.md5 for name, file in self.files_there.items()}, True

    def _forget_files(self) -> None:
        """The server has none of the run's files (any more), as far as is known."""
        self._md5s, self._listed = {}, False


def files_unsent(files: Mapping[str, FileEntry], replica: Replica) -> list[str]:
    """Names of a run's files whose content its replica lacks, as far as is known here."""
    return [name for name, entry in files.items() if replica.files.get(name, [""])[0] != entry.digest]
