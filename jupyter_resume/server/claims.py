"""Which client is which, when two write one run.

The protocol has no name for a client: a post says only where its lines go. What tells two apart is
``_timestamp - _runtime`` of their rows, when a client's clock of the run was started, which stays the same for a
client and differs between two; besides, the connection, and where a client's next line belongs.

A client whose line would have overwritten another one's is kept aside from then on, also where its later lines
would fit: else rows of two trainings would be mixed in one history. A client that resumes the run is a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SAME = 1.0  # seconds that a client's start may seem to move
_MOST = 64


@dataclass
class Session:
    """One client: what it is known by, where its next line belongs, and whether it is kept aside."""

    name: str | None
    peer: str | None
    began: float | None
    next: int = 0
    aside: bool = False


class Claims:
    """The clients of one run."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []

    def remember(self, name: str | None, row: Mapping[str, Any], at: int, aside: bool) -> None:
        """Take in what the record tells of an earlier client: its line ``at``."""
        self._add(Session(name, None, began(row), at + 1, aside))

    def who(self, name: str | None, peer: str | None, row: Mapping[str, Any], at: int) -> Session:
        """The client that posts ``row`` as line ``at``; ``name`` is what it calls itself, if it does."""
        start = began(row)
        near = [session for session in self._sessions if _may_be(session, name, start)]
        sure = [session for session in near if name is not None or session.next == at or session.peer == peer]
        if sure:
            session = max(sure, key=lambda s: (s.peer == peer, s.next == at, -_apart(s, start)))
        elif any(session.aside for session in near):
            session = min(near, key=lambda s: _apart(s, start))
        else:
            session = self._add(Session(name, peer, start))
        session.peer = peer
        session.began = session.began if start is None else start
        return session

    def contradicted(self, session: Session, row: Mapping[str, Any], at: int) -> Session:
        """The client, kept aside, whose line was taken by another: a new one if ``session`` was not to go on there."""
        if not session.aside and session.name is None and session.next not in (0, at):
            session = self._add(Session(None, session.peer, began(row)))
        session.aside = True
        return session

    def _add(self, session: Session) -> Session:
        self._sessions = [*self._sessions[1 - _MOST :], session]
        return session


def remembered(tail: Mapping[str, Any], rows: int, conflicts: Iterable[Mapping[str, Any]]) -> Claims:
    """The clients as the record tells them: whose row is the last, and whose were kept aside.

    ``conflicts``: of each its ``row``, its line ``at`` and the client's ``name``.
    """
    claims = Claims()
    if rows:
        claims.remember(None, tail, rows - 1, aside=False)
    latest: dict[tuple[Any, float | None], Mapping[str, Any]] = {}
    for conflict in conflicts:
        start = began(conflict["row"])
        latest[conflict.get("name"), None if start is None else round(start)] = conflict
    for conflict in latest.values():
        claims.remember(conflict.get("name"), conflict["row"], conflict["at"], aside=True)
    return claims


def began(row: Mapping[str, Any]) -> float | None:
    """When the client's clock of the run was started, in Unix seconds; None if the row does not tell."""
    at, runtime = row.get("_timestamp"), row.get("_runtime")
    if isinstance(at, (int, float)) and isinstance(runtime, (int, float)):
        return float(at) - float(runtime)
    return None


def _may_be(session: Session, name: str | None, start: float | None) -> bool:
    if name is not None or session.name is not None:
        return session.name == name
    return _apart(session, start) <= _SAME


def _apart(session: Session, start: float | None) -> float:
    return 0.0 if session.began is None or start is None else abs(session.began - start)
