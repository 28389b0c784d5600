"""What a server has of the run that is asked for, before it begins here; and the replica that is kept there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from . import notices
from ._alone import Alone, entities
from ._run import Run
from .errors import RemoteError
from .identity import DEFAULT_ENTITY, RunPath, ids_there
from .policy import Asked, Policy
from .remote.answers import host_of
from .remote.base import Remote, RemotePoint
from .settings import Settings
from .store.home import Store
from .store.record import ResumePoint, Tail
from .store.replica import Replica, ReplicaFile
from .sync.background import Background
from .sync.bringing import path_there
from .sync.connecting import BEHIND, Server, connect
from .sync.forking import fork
from .sync.reconcile import reconcile
from .sync.source import written_here
from .sync.syncing import Syncing, diverged


@dataclass(kw_only=True)
class There(Alone):
    """A run on the server that is meant."""

    choice: str | None
    server: Server
    point: RemotePoint | None = None
    replica: Replica | None = None
    file: ReplicaFile | None = None

    @classmethod
    def of(cls, store: Store, asked_for: Settings, choice: str | None) -> There:
        """Reach the server."""
        server = Server.reach(store, asked_for.base_url, asked_for.entity)
        known = server.entity if asked_for.entity == DEFAULT_ENTITY else asked_for.entity
        where = entities(store, asked_for, known)
        return cls(store=store, base_url=asked_for.base_url, entities=where, choice=choice, server=server)

    @property
    def exists(self) -> bool:
        """Whether the server has the run, and something was ever written to it."""
        return self.point is not None and self.point.started

    def ask(self, path: RunPath, known: bool, given: str | None = None) -> None:
        """Ask for the run that is at ``path`` here; ``known`` is False for an id that was made just now.

        ``given``: the id as it was asked for, which another client may have left as it is.
        """
        self.file = self.store.replica(path, self.base_url)
        self.replica = self.file.load() or Replica(self.base_url, path_there(path, self.server.entity))
        self.point = self.server.ask(self.replica.path) if known else None
        if self.point is None and given is not None and ids_there(given)[1:] == (self.replica.path.run_id,):
            as_given = replace(self.replica.path, run_id=given)
            if (point := self.server.ask(as_given)) is not None:
                self.point, self.replica.path = point, as_given
        self.path = self.replica.path

    def refuse_if_unsure(self, asked: Asked) -> None:
        """Raise why the server cannot be asked, if the policy cannot do without its answer."""
        unsure = asked.policy is Policy.MUST or (asked.policy is Policy.NEVER and asked.run_id is not None)
        if unsure and (error := self.server.error):
            raise type(error)(
                f"{str(error).rstrip('.')}; resume={asked.policy.value!r} needs its answer: pass mode='offline' "
                "(%wb_init --mode offline) to decide by this machine's record and sync later.",
                **error.data,
            )

    def reconcile(self, found: Tail | None, point: ResumePoint, label: str) -> tuple[int, int] | None:
        """Make ``point`` and the replica go on from both sides; where the record is cut, if rows are set aside.

        Sets `forked` if it is another run that goes on. Raises RunDiverged.
        """
        if self.replica is None or self.server.error or self.server.remote is None:
            return None
        record = self.store.record(found.point.path) if found else None
        remote, path = self.server.remote, self.replica.path
        followed = self.replica.rewound
        try:
            scan = partial(remote.scan, path)
            result = reconcile(record, point, self.replica, self.point, scan, self.choice)
        except RemoteError as error:
            self.server.error = error
            return None
        if result.diverged is None:
            if result.rewound_to is not None and self.replica.rewound not in (None, followed):
                notices.tell(
                    f"run {path} was rewound at {host_of(self.base_url)} to step {self.replica.rewound}: rows logged "
                    "here behind it are kept, set aside as superseded."
                )
            return result.rewound_to
        assert found is not None
        assert self.point is not None
        assert self.file is not None
        if self.choice != "fork":
            self.file.note(self.replica)
            raise diverged(path, self.base_url, result.diverged, self.point)
        self.forked = fork(self.store, found, self.replica, result.diverged, self.point, remote, label)
        return None

    def link(self, run: Run) -> Background | None:
        """What keeps the run's replica in step, and reconnects by itself; None where there is no server."""
        if self.replica is None or self.file is None:
            return None
        error = self.server.error
        if error is not None:
            notices.tell(
                f"{str(error).rstrip('.')}: run {self.path} goes on from this machine's record, and is sent when the "
                "server answers again."
            )
        remote = self.again() or self.server.remote
        if remote is None:  # the key was taken away just now, which was told: 'jupyter resume sync' sends the run
            return None
        here = written_here(run.writer, lambda: run.step)
        syncing = Syncing(remote, here, run.blobs, self.replica, self.file, stopped=run.hear_stopped)
        syncing.verified = error is None
        if syncing.verified:
            syncing.remember()
        return Background(syncing, reconnect=self.again, trouble=error, list_files=run.resumed)

    def again(self) -> Remote | None:
        """The server with the key that is configured now; None if there is none."""
        try:
            return connect(self.base_url, BEHIND)
        except RemoteError:
            return None
