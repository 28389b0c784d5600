"""A post to file_stream: lines with their numbers, which become lines of the run's record.

A post may come twice, late, or overlap: what is there already is compared, and the same line changes nothing.
Another line for a number that is taken is kept aside as a conflict. A row whose step is below the one reached
takes its number and is marked out of order. When `take` returns, everything of the post was appended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..store import lines
from ..store.record import ResumePoint
from .claims import Session
from .hosting import Hosted, state
from .posts import EVENTS, HISTORY, OUTPUT, Chunk, Post
from .refusals import Refusal, bad

WIDEST_GAP = 1_000_000  # lines


@dataclass(frozen=True)
class Sender:
    """Whose post it is: the key's name, what the client calls itself, its connection, its fencing token."""

    key: str
    name: str | None = None
    peer: str | None = None
    token: int | None = None


@dataclass
class _Taking:
    """What one post does to a run."""

    hosted: Hosted
    sender: Sender
    now: float
    changes: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def point(self) -> ResumePoint:
        """The run as it stands before this post."""
        return self.hosted.point

    def aside(self, stream: str, at: int, line: str) -> None:
        """Keep a line as a conflict, once."""
        if not self.hosted.positions.known_conflict(stream, at, line):
            by = {"by": self.sender.key, "name": self.sender.name, "time": self.now}
            value = {"stream": stream, "at": at, "line": line, **by}
            self.changes.append((lines.CONFLICT, value))

    def history(self, chunk: Chunk) -> None:
        """Rows."""
        known, at, rows = self.point.rows, chunk.offset, chunk.lines
        if not rows:
            return
        _check_gap(HISTORY, known, at, len(rows))
        session = self.hosted.claims.who(self.sender.name, self.sender.peer, rows[0], at)
        overlap = max(0, min(len(rows), known - at))
        if overlap:
            session = self._compare(session, at, rows[:overlap])
        if session.aside:
            if not overlap:
                self.hosted.positions.refresh()
            for number, row in enumerate(rows[overlap:], at + overlap):
                self.aside("history", number, _text(row))
        elif len(rows) > overlap:
            self._append(max(at, known), rows[overlap:])
        session.next = at + len(rows)

    def _compare(self, session: Session, at: int, rows: Sequence[dict[str, Any]]) -> Session:
        positions = self.hosted.positions
        positions.refresh()
        for number, (row, stored) in enumerate(zip(rows, positions.rows(range(at, at + len(rows))), strict=True), at):
            if stored is None:
                if session.aside:
                    self.aside("history", number, _text(row))
                else:
                    self.changes.append((lines.NUMBERED, {"at": number, "row": row, "late": False}))
            elif _text(stored) != _text(row):
                session = self.hosted.claims.contradicted(session, row, at)
                self.aside("history", number, _text(row))
        return session

    def _append(self, start: int, rows: Sequence[dict[str, Any]]) -> None:
        if start > self.point.rows:
            self.changes.append((lines.GAP, {"rows": start}))
        step = self.point.last_step
        for number, row in enumerate(rows, start):
            if row["_step"] > step:
                step = row["_step"]
                self.changes.append((lines.ROW, row))
            else:
                self.changes.append((lines.NUMBERED, {"at": number, "row": row, "late": True}))

    def texts(self, stream: str, name: str, kind: str, chunk: Chunk, rewritable: bool) -> None:
        """Lines of events or of output; output may be written again."""
        if not chunk.lines:
            return
        known, at = self.point.streams.get(stream, {}).get("count", 0), chunk.offset
        _check_gap(name, known, at, len(chunk.lines))
        overlap = max(0, min(len(chunk.lines), known - at))
        fresh: list[tuple[int, str]] = []
        if overlap:
            positions = self.hosted.positions
            positions.refresh()
            stored = (positions.console if rewritable else positions.events)(range(at, at + overlap))
            for number, (new, old) in enumerate(zip(chunk.lines, stored, strict=False), at):
                if old is None or (rewritable and new != old):
                    fresh.append((number, new))
                elif new != old:
                    self.aside(stream, number, new)
        fresh += enumerate(chunk.lines[overlap:], at + overlap)
        for first, texts in _runs(fresh):
            self.changes.append((kind, {"at": first, "lines": texts}))

    def summary(self, said: dict[str, Any]) -> None:
        """The summary as it is from now on. What the rows of this post make of it is known only afterwards."""
        now = dict(self.point.summary)
        for kind, value in self.changes:
            if kind == lines.ROW:
                now.update(value)
        if change := difference(now, said):
            self.changes.append((lines.SUMMARY, change))

    def ending(self, post: Post) -> None:
        """What the post says of how the run is, or ended."""
        point = self.point
        if post.preempting:
            self.changes += [(lines.META, {"preempting": True}), state("preempting", None, self.now)]
        if post.complete or post.failed:
            code = post.exit_code if post.exit_code is not None else int(post.failed)
            name = {0: "finished", 255: "killed"}.get(code, "failed")
            if (point.state, point.exit_code) != (name, code) or len(self.changes):
                self.changes.append(state(name, code, self.now))


def take(hosted: Hosted, post: Post, sender: Sender, now: float) -> dict[str, Any]:
    """Apply a post to a run that is locked; the reply. Raises Refusal, RunInUse, StoreUnwritable."""
    if sender.token is not None and sender.token < hosted.point.fence:
        raise Refusal(
            409,
            f"Run {hosted.point.path} was taken over by a newer session (token {hosted.point.fence}, this one has "
            f"{sender.token}): nothing of this post was taken.",
        )
    taking = _Taking(hosted, sender, now)
    before = hosted.seen
    if not (post.complete and hosted.point.state != "running"):
        taking.changes += hosted.alive(now)
    try:
        if post.history:
            taking.history(post.history)
        if post.events:
            taking.texts("events", EVENTS, lines.EVENTS, post.events, rewritable=False)
        if post.output:
            taking.texts("output", OUTPUT, lines.CONSOLE, post.output, rewritable=True)
        if post.summary is not None:
            taking.summary(post.summary)
        taking.ending(post)
        hosted.commit(taking.changes)
    except BaseException:
        hosted.seen = before
        raise
    return {"exitcode": None, "limits": {"hb": 30}, "stopped": bool(hosted.point.meta.get("stopped"))}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The change that makes ``old`` into ``new``: what to set and what to drop; empty if they are the same."""
    none = object()
    changed = {key: value for key, value in new.items() if old.get(key, none) != value}
    dropped = [key for key in old if key not in new]
    return {"set": changed, "drop": dropped} if changed or dropped else {}


def _check_gap(name: str, known: int, at: int, count: int) -> None:
    if at - known > WIDEST_GAP:
        raise bad(f"Line {at} of {name} is too far behind the last one, {known - 1}: lines are missing in between.")


def _text(row: dict[str, Any]) -> str:
    """The one text for a row, however it was written."""
    return json.dumps(row, sort_keys=True, separators=(",", ":"))


def _runs(numbered: Sequence[tuple[int, str]]) -> list[tuple[int, list[str]]]:
    """Neighbouring lines together."""
    together: list[tuple[int, list[str]]] = []
    for number, text in numbered:
        if together and number == together[-1][0] + len(together[-1][1]):
            together[-1][1].append(text)
        else:
            together.append((number, [text]))
    return together
