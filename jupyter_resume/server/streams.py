"""A post to file_stream: lines with their numbers, which become lines of the run's record.

A post may come twice, late, or overlap: what is there already is compared, and the same line changes nothing.
Another line for a number that is taken is kept aside as a conflict. A row whose step is below the one reached
takes its number and is marked out of order. When `take` returns, everything of the post was appended.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..store import lines
from ..store.record import ResumePoint
from .claims import Session
from .hosting import Hosted, state
from .refusals import Refusal, bad

HISTORY, EVENTS = "wandb-history.jsonl", "wandb-events.jsonl"
SUMMARY, OUTPUT = "wandb-summary.json", "output.log"
MOST_BYTES = 32 << 20  # of a post, unpacked; the SDK sends at most 10 MiB
MOST_LINE = 16 << 20
WIDEST_GAP = 1_000_000  # lines
_INT64 = 1 << 63


@dataclass(frozen=True)
class Chunk:
    """Lines of one file, the first of them at ``offset``."""

    offset: int
    lines: list[Any]


@dataclass(frozen=True)
class Post:
    """What a post says, checked. Rows and the summary are dicts, events and output texts."""

    history: Chunk | None = None
    events: Chunk | None = None
    output: Chunk | None = None
    summary: dict[str, Any] | None = None
    complete: bool = False
    failed: bool = False
    preempting: bool = False
    exit_code: int | None = None


@dataclass(frozen=True)
class Sender:
    """Whose post it is: the key's name, what the client calls itself, its connection, its fencing token."""

    key: str
    name: str | None = None
    peer: str | None = None
    token: int | None = None


def unpack(body: bytes, encoding: str, most: int = MOST_BYTES) -> bytes:
    """A request's body without its gzip. Raises Refusal: malformed, or too large."""
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        return body
    inflate = zlib.decompressobj(wbits=31)
    try:
        plain = inflate.decompress(body, most + 1)
    except zlib.error:
        raise bad("The body is not gzip, as its Content-Encoding says.") from None
    if len(plain) > most:
        raise Refusal(413, f"The body is larger than {most >> 20} MiB unpacked: send less at a time.")
    if not inflate.eof:
        raise bad("The gzip body is cut off.")
    return plain


def parse(data: bytes | str, what: str) -> Any:
    """JSON, NaN and infinities allowed. Raises Refusal."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise bad(f"{what} is not JSON.") from None


def read(body: bytes) -> Post:
    """Read the body of a post. Raises Refusal for what cannot be taken whole."""
    said = parse(body, "The body")
    if not isinstance(said, dict):
        raise bad("The body is not a JSON object.")
    files = said.get("files") or {}
    if not isinstance(files, dict):
        raise bad("'files' is not a JSON object.")
    history, events = _chunk(files, HISTORY), _chunk(files, EVENTS)
    if history:
        history = Chunk(history.offset, [_row(text, history.offset + n) for n, text in enumerate(history.lines)])
    if events:
        events = Chunk(events.offset, [_event(text) for text in events.lines])
    summary = _chunk(files, SUMMARY)
    exit_code = said.get("exitcode")
    return Post(
        history,
        events,
        _chunk(files, OUTPUT),
        _object(summary.lines[-1], SUMMARY) if summary and summary.lines else None,
        said.get("complete") is True,
        said.get("failed") is True,
        said.get("preempting") is True,
        exit_code if isinstance(exit_code, int) and abs(exit_code) < _INT64 else None,
    )


def _chunk(files: dict[str, Any], name: str) -> Chunk | None:
    said = files.get(name)
    if said is None:
        return None
    if not isinstance(said, dict):
        raise bad(f"'{name}' is not a JSON object.")
    offset, content = said.get("offset", 0), said.get("content") or []
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < _INT64:
        raise bad(f"The offset of {name} is not a line number: {offset!r:.40}.")
    if not isinstance(content, list) or not all(isinstance(text, str) for text in content):
        raise bad(f"The content of {name} is not a list of strings.")
    if any(len(text) > MOST_LINE for text in content):
        raise Refusal(413, f"A line of {name} is longer than {MOST_LINE >> 20} MiB: save it as a file.")
    return Chunk(offset, [text[:-1] if text.endswith("\n") else text for text in content])


def _object(text: str, name: str) -> dict[str, Any]:
    value = parse(text.encode("utf-8", "surrogatepass"), f"A line of {name}")
    if not isinstance(value, dict):
        raise bad(f"A line of {name} is not a JSON object.")
    return value


def _row(text: str, number: int) -> dict[str, Any]:
    """A row as the record keeps it: a whole number as step (the line's, if it has none), sorted keys."""
    row = _object(text, HISTORY)
    step = row.get("_step")
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    row["_step"] = step if type(step) is int and 0 <= step < _INT64 else number
    for key in ("_timestamp", "_runtime"):
        if key in row and (type(row[key]) not in (int, float) or row[key] - row[key] != 0):
            del row[key]
    return dict(sorted(row.items()))


def _event(text: str) -> str:
    _object(text, EVENTS)
    return text


@dataclass
class _Taking:
    """What one post does to a run."""

    hosted: Hosted
    sender: Sender
    now: float
    changes: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def point(self) -> ResumePoint:
        return self.hosted.point

    def aside(self, stream: str, at: int, line: str) -> None:
        if not self.hosted.positions.known_conflict(stream, at, line):
            by = {"by": self.sender.key, "name": self.sender.name, "time": self.now}
            value = {"stream": stream, "at": at, "line": line, **by}
            self.changes.append((lines.CONFLICT, value))

    def history(self, chunk: Chunk) -> None:
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
