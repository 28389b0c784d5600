"""A run and its replica on a server: where it is there, and what the server says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import notices, restoring
from ._described import Described
from .errors import RemoteError, RunStopped
from .files import safe_name
from .identity import DEFAULT_ENTITY, RunPath
from .store.writer import Writer

if TYPE_CHECKING:
    from .remote.base import RemoteFile
    from .sync.background import Background


class Linked(Described):
    """A run that may be kept on a server too; ``link`` brings it there, None for one of this machine alone."""

    def __init__(self, writer: Writer, *, resumed: bool) -> None:
        super().__init__(writer)
        self.resumed = resumed
        self.link: Background | None = None
        self.stopped = False
        self.raise_stopped = self._may_be_stopped = self._heard = False

    @property
    def entity(self) -> str:
        """The entity: a person or a team."""
        return self.path_there.entity

    @property
    def path_there(self) -> RunPath:
        """Entity, project and id as the server has them; without a server as `run_path`."""
        return self.link.syncing.replica.path if self.link else self.run_path

    @property
    def path(self) -> str:
        """``entity/project/run_id``, as `restore` and `Api` take it."""
        return str(self.path_there)

    @property
    def url(self) -> str | None:
        """The run's page on its server; None for a run that is in this machine's store only.

        Also None until the server has said which entity is meant, where none was given.
        """
        if self.link is None:
            return None
        syncing, path = self.link.syncing, self.path_there
        if path.entity == DEFAULT_ENTITY and syncing.replica.storage_id is None and not syncing.verified:
            return None
        return syncing.remote.url_of(path)

    @property
    def over(self) -> bool:
        """Whether nothing more becomes of it here: it is closed, and its server was sent what it would take."""
        return self.closed and (self.link is None or self.link.closed)

    @property
    def files_there(self) -> dict[str, RemoteFile]:
        """Files that only the server has, by name, as far as they are known yet; `restore` brings them."""
        there = self.link.syncing.files_there if self.link else {}
        known = self.files
        return {name: file for name, file in there.items() if name not in known}

    @property
    def known(self) -> restoring.Known:
        """What is known here of its files, for `restoring`."""
        return restoring.Known(self.run_path, self.files, self.link.syncing.replica if self.link else None)

    def has_file(self, name: str) -> bool:
        """Whether `restore` would bring this file: saved here, or on the server by another machine.

        So that a cell can be run at any time. Raises RemoteError if only the server knows, and does not answer.

        >>> import jupyter_resume as wandb
        >>> run = wandb.init(project="docs")
        >>> run.has_file("model-best.h5")
        False
        >>> run.finish()
        """
        name = safe_name(name)
        if name in self.files or self.link is None or not self.resumed:
            return name in self.files
        return restoring.newer_there(self.known, self.link.syncing.remote, name) is not None

    def newer_there(self, name: str) -> bool:
        """Whether the server has another content of this file than was saved here, and than waits here to be sent.

        False where it does not answer: what is here is gone on with.
        """
        if self.link is None:
            return False
        try:
            return restoring.newer_there(self.known, self.link.syncing.remote, name) is not None
        except RemoteError:
            return False

    def hear_stopped(self, said: bool) -> None:
        """What the server says of whether somebody asked that the run be stopped."""
        first, self._heard = not self._heard, True
        if said and not self.stopped:
            notices.tell(f"somebody asked on the server that run {self.path} be stopped: run.stopped is True.")
            # What was asked of an earlier session, and is said to a resumed one at once, does not concern it.
            self._may_be_stopped = self.raise_stopped and not (first and self.resumed)
        self.stopped = said

    def _check_stopped(self) -> None:
        self._may_be_stopped = False  # told once; a program that goes on may
        if self.stopped:
            raise RunStopped(
                f"Somebody asked on the server that run {self.path} be stopped; everything up to step "
                f"{self._writer.point.last_step} is recorded. Log on to go on all the same."
            )
