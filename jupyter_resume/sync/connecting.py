"""Reaching the server that runs are kept on: with which key, and for which entity."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import keys
from ..errors import KeyRejected, RemoteError
from ..identity import DEFAULT_ENTITY, RunPath
from ..store.home import Store

if TYPE_CHECKING:
    from ..remote.base import Remote, RemotePoint

AT_ONCE = 6.0  # seconds that a user waits for a server's answer; WANDB_INIT_TIMEOUT says otherwise
BEHIND = 5.0  # seconds of patience of what happens in the background, which tries again by itself


def connect(base_url: str, patience: float | None = None, environ: Mapping[str, str] = os.environ) -> Remote:
    """The server at ``base_url``, with the key that is configured for it. Raises KeyRejected if there is none."""
    key = keys.find(base_url, environ)
    if key is None:
        raise KeyRejected(f"There is no API key for {base_url}: give one with login() or %wb_login, or WANDB_API_KEY.")
    from ..remote.wandb import Wandb

    return Wandb(base_url, key, patience=_at_once(environ) if patience is None else patience)


def _at_once(environ: Mapping[str, str]) -> float:
    try:
        return min(max(float(environ.get("WANDB_INIT_TIMEOUT") or AT_ONCE), 1.0), 600.0)
    except ValueError:
        return AT_ONCE


def default_entity(store: Store, remote: Remote) -> str:
    """The entity that is meant at a server where none is given; it is asked, and remembered. Raises RemoteError."""
    entity = remote.account().entity
    store.hosts.remember(remote.base_url, entity)
    return entity


@dataclass
class Server:
    """A server that is asked before a run begins. ``error`` is why it could not be, once it could not."""

    base_url: str
    entity: str
    remote: Remote | None = None
    error: RemoteError | None = None

    @classmethod
    def reach(cls, store: Store, base_url: str, entity: str) -> Server:
        """Reach a server, and ask which entity is meant if none was given."""
        known = entity if entity != DEFAULT_ENTITY else store.hosts.entity(base_url) or entity
        server = cls(base_url, known)
        try:
            server.remote = connect(base_url)
            if entity == DEFAULT_ENTITY:
                server.entity = default_entity(store, server.remote)
        except RemoteError as error:
            server.error = error
        return server

    def ask(self, path: RunPath) -> RemotePoint | None:
        """Where it has a run; None if it has none, or cannot be asked (see ``error``)."""
        if self.remote is None or self.error is not None:
            return None
        try:
            return self.remote.resume_point(path)
        except RemoteError as error:
            self.error = error
            return None
