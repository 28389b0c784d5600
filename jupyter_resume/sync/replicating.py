"""One run's replica, which one process at a time brings up to date, and what is remembered of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from ..errors import RemoteUnreachable
from ..remote.answers import host_of
from ..remote.base import Post, Remote
from ..store.replica import Replica, ReplicaFile
from .source import Source

Stopped = Callable[[bool], None]


class Replicating:
    """The replica at ``remote`` of the run of ``source``; ``stopped`` hears whether somebody asked there to stop it.

    ``pause``: seconds that the server asks to be left alone. ``verified`` is False where the server is to be asked
    again before anything is sent.
    """

    def __init__(self, remote: Remote, source: Source, replica: Replica, file: ReplicaFile, stopped: Stopped) -> None:
        self.remote = remote
        self.replica = replica
        self.verified = False
        self.pause = 0.0
        self._source = source
        self._file = file
        self._stopped = stopped
        self._lock = threading.RLock()
        self._held = self._closed = False

    @property
    def host(self) -> str:
        """The server, for a person."""
        return host_of(self.remote.base_url)

    @property
    def lost(self) -> bool:
        """Whether another process has taken the run over: what is logged here is no part of it any more."""
        return self._source.lost()

    def waiting(self) -> int:
        """About how many rows the server lacks."""
        return max(0, self._source.rows() - self.replica.rows)

    def _hold(self) -> None:
        """Be the only one that brings this replica up to date; go on from what another process has done before."""
        if self._held:
            return
        if self._closed:  # an answer came after the end: who brings the run up to date now is left alone
            raise RemoteUnreachable(f"Run {self.replica.path} has ended here.", held=True)
        if not self._file.lock():
            raise RemoteUnreachable(
                f"Run {self.replica.path} is being sent to {self.host} by another process.", held=True
            )
        self._held = True
        known = self._file.load()
        if known is not None and known.in_step_at > self.replica.in_step_at:
            self.replica, self.verified = known, False

    def remember(self) -> None:
        """Write down where the replica stands; not if another process is bringing it up to date."""
        with contextlib.suppress(RemoteUnreachable), self._lock:
            self._hold()
            self._save()

    def beat(self) -> None:
        """Show a sign of life."""
        self._post(Post())

    def close(self) -> None:
        """Let another process bring this replica up to date, from now on."""
        self._held, self._closed = False, True
        self._file.unlock()

    def _post(self, post: Post) -> None:
        reply = self.remote.append(self.replica.path, post)
        self.pause = reply.pause
        self._stopped(reply.stopped)

    def _save(self) -> None:
        self.replica.in_step_at = time.time()
        self._file.save(self.replica)
