"""The record of one run: what was logged, in segments of lines that are only ever appended.

Each writer has a segment of its own (see `lease`). Its first line says which segment it continues and up to
which byte, and carries the resume point it found; further snapshots follow at intervals. So a resume point is
read from the end of the last segment, however long the history is, and what an overtaken writer appended
after that byte is set aside by construction.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import RecordDamaged, RecordTooNew, StoreUnwritable
from ..identity import RunPath
from . import edits, lease, lines

FORMAT = 1
_SEGMENT = re.compile(r"(\d{6,})\.jsonl")
_CHUNK = 1 << 16
# Bytes of one read, which lets go of the interpreter and takes it back before a thread that waits for it has woken up;
# the 5 ms after which that one may ask for it begin anew. With little work behind each read, log() would wait for all.
_PORTION = 1 << 19
_TOGETHER = 128  # lines that are unsealed at once; with many more, garbage is collected, and all threads wait for that
_MOST_RESTORED = 100


@dataclass(frozen=True)
class FileEntry:
    """One file as the run recorded it: size in bytes, ``digest`` is BLAKE3 in hex, ``saved_at`` in Unix seconds."""

    name: str
    size: int
    digest: str
    saved_at: float
    step: int
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, values: dict[str, Any]) -> FileEntry:
        """From a line of the record; keys of a later version are passed over."""
        return cls(**{key: value for key, value in values.items() if key in cls.__dataclass_fields__})


@dataclass
class ResumePoint:
    """All that a run's next writer must know; everything else of the record is history.

    ``rows`` is how many lines the history has, ``tail`` the last of them; ``streams`` says the same of events and
    output: ``{"events": {"count": 3, "tail": "..."}, "output": {"count": 9}}``. ``fence`` is the token of the newest
    session that asked for one. ``restored`` says of files that the last session asked for what came of it.
    """

    entity: str
    project: str
    run_id: str
    created: float = 0.0
    updated: float = 0.0
    origin: dict[str, Any] = field(default_factory=dict)
    mode: str = "local"
    meta: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileEntry] = field(default_factory=dict)
    rows: int = 0
    last_step: int = -1
    runtime: float = 0.0
    out_of_order: int = 0
    sessions: int = 0
    state: str = "running"
    exit_code: int | None = None
    tail: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    filled: int = 0
    conflicts: int = 0
    fence: int = 0
    restored: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> RunPath:
        """The run this is about."""
        return RunPath(self.entity, self.project, self.run_id)

    @property
    def next_step(self) -> int:
        """The step to log next: ``max(last _step in history and summary, lines - 1) + 1``; 0 for a new run."""
        said = self.summary.get("_step")
        return max(self.last_step, self.rows - 1, said if type(said) is int else -1) + 1

    def apply(self, kind: str, value: Any) -> None:
        """Move on by one line of the record."""
        if kind == lines.ROW:
            self.add_row(value)
        elif kind == lines.LATE_STEP:
            self.out_of_order += 1
        elif kind == lines.SUMMARY:
            _merge(self.summary, value)
        elif kind == lines.CONFIG:
            _merge(self.config, value)
        elif kind == lines.META:
            self.meta.update(value)
        elif kind == lines.FILE:
            entry = FileEntry.load(value)
            self.files[entry.name] = entry
        elif kind == lines.SESSION:
            self.sessions += 1
            self.fence += bool(value["fence"])
        elif kind == lines.NO_FILE:
            self.files.pop(value["name"], None)
        elif kind == lines.RESTORED:
            self.restored.pop(value["name"], None)  # the last is the last of them
            self.restored[value["name"]] = value
            if len(self.restored) > _MOST_RESTORED:
                del self.restored[next(iter(self.restored))]
        elif kind == lines.END:
            self.state, self.exit_code = value["state"], value.get("exit_code")
            self.updated = value.get("at", self.updated)
        elif kind == lines.GAP:
            self.rows = max(self.rows, value["rows"])
        elif kind == lines.NUMBERED:
            self._add_numbered(value["at"], value["row"], value["late"])
        elif kind == lines.CONFLICT:
            self.conflicts += 1
        elif kind == lines.EVENTS:
            self._add_lines("events", value)["tail"] = value["lines"][-1]
        elif kind == lines.CONSOLE:
            self._add_lines("output", value)

    def add_row(self, row: dict[str, Any]) -> None:
        """Move on by one row; several rows of one step are one."""
        step = row["_step"]
        if step > self.last_step:
            self.rows += 1
            self.last_step = step
            self.tail = row
        else:
            self.tail = {**self.tail, **row}
        self.runtime = row.get("_runtime", self.runtime)
        self.updated = row.get("_timestamp", self.updated)
        self.summary.update(row)

    def _add_numbered(self, at: int, row: dict[str, Any], late: bool) -> None:
        if late:
            self.out_of_order += 1
            self.rows, self.tail = max(self.rows, at + 1), row
        else:
            self.filled += 1

    def _add_lines(self, stream: str, value: dict[str, Any]) -> dict[str, Any]:
        known = self.streams.setdefault(stream, {"count": 0})
        known["count"] = max(known["count"], value["at"] + len(value["lines"]))
        return known

    def dump(self) -> dict[str, Any]:
        """As plain values, for a snapshot line."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["files"] = [asdict(entry) for entry in self.files.values()]
        return values

    @classmethod
    def load(cls, values: dict[str, Any]) -> ResumePoint:
        """From a snapshot line; keys of a later version are passed over."""
        known = {f.name for f in fields(cls)}
        point = cls(**{key: value for key, value in values.items() if key in known and key != "files"})
        point.files = {value["name"]: FileEntry.load(value) for value in values.get("files", ())}
        return point


def _step(row: dict[str, Any]) -> int:
    step: int = row["_step"]
    return step


def _merge(into: dict[str, Any], change: dict[str, Any]) -> None:
    """Set the keys of ``change["set"]``, drop those of ``change["drop"]``."""
    into.update(change.get("set", {}))
    for key in change.get("drop", ()):
        into.pop(key, None)


@dataclass(frozen=True)
class Tail:
    """Where a record stands: its last segment, the bytes of it that count, and the resume point there.

    ``starting_step`` is the one that the last session began with; ``edits`` are in the point, not in the record yet.
    """

    token: int
    end: int
    point: ResumePoint
    owner: lease.Owner | None
    damaged: int
    starting_step: int = 0
    edits: tuple[str, ...] = ()


class Record:
    """A run's record in ``folder``, for reading. Cheap to make; nothing is read before it is asked for.

    ``path`` says which run it is where the record itself no longer does.
    """

    def __init__(self, folder: Path, path: RunPath | None = None) -> None:
        self.folder = folder
        self.path = path

    def tokens(self) -> list[int]:
        """The fencing tokens given out so far, ascending."""
        try:
            names = [entry.name for entry in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(match[1]) for name in names if (match := _SEGMENT.fullmatch(name)))

    def segment(self, token: int) -> Path:
        """The file of one writer."""
        return self.folder / f"{token:06}.jsonl"

    def tail(self) -> Tail | None:
        """The last segment that can be read, and the resume point at its end; None if there is none.

        Raises RecordTooNew for a newer format, RecordDamaged if there are segments and no line is readable or if it is
        another run's, StoreUnwritable if another user keeps them to himself.
        """
        try:
            tail = self._tail()
            if tail is not None and self.path not in (None, tail.point.path):
                raise RecordDamaged(
                    f"The record in {self.folder} is a copy of that of run {tail.point.path}, or their ids differ in "
                    "upper and lower case only: move that folder away, or use the run's own id.",
                    folder=self.folder,
                )
            return tail and self._edited(tail)
        except PermissionError as error:
            raise StoreUnwritable(
                f"The record in {self.folder} cannot be read ({error.strerror}): it is another user's; start a run of "
                "your own with another id, or set JUPYTER_RESUME_HOME to a folder of yours.",
                folder=self.folder,
            ) from error

    def _edited(self, tail: Tail) -> Tail:
        if waiting := edits.names(self.folder):
            for name in waiting:
                tail.point.meta.update(edits.read(self.folder, name))
            return replace(tail, edits=waiting)
        return tail

    def _tail(self) -> Tail | None:
        tokens = self.tokens()
        for token in reversed(tokens):
            if found := self._tail_of(token):
                return found
        if any(self.segment(token).stat().st_size for token in tokens):
            raise RecordDamaged(
                f"No line of the record in {self.folder} is readable: move that folder away to start the run anew.",
                folder=self.folder,
            )
        return None

    def _tail_of(self, token: int) -> Tail | None:
        head = self._head(token)
        back = list(_lines_back_to_snapshot(self.segment(token)))
        point: ResumePoint | None = None
        end = damaged = 0
        for line_end, line in reversed(back):
            end = max(end, line_end)
            read = lines.unseal(line)
            if read is None:
                damaged += 1
            elif read[0] in (lines.HEAD, lines.SNAPSHOT):
                point = ResumePoint.load(read[1]["snapshot"] if read[0] == lines.HEAD else read[1])
            else:
                if point is None:  # the head is damaged, and no snapshot was written yet
                    before = next((t for n in reversed(self.tokens()) if n < token and (t := self._tail_of(n))), None)
                    if before is not None:
                        point = before.point
                    elif self.path is not None:
                        point = ResumePoint(self.path.entity, self.path.project, self.path.run_id)
                    else:
                        continue
                    point.state, point.exit_code = "running", None
                point.apply(*read)
        if point is None:
            return None
        owner = lease.Owner(**head["owner"]) if head else None
        begun = ResumePoint.load(head["snapshot"]).next_step if head else 0
        return Tail(token, end, point, owner, damaged, begun)

    def _head(self, token: int) -> dict[str, Any] | None:
        with self.segment(token).open("rb") as file:
            read = lines.unseal(file.readline().rstrip(b"\n"))
        if read is None or read[0] != lines.HEAD:
            return None
        head: dict[str, Any] = read[1]
        if head["format"] > FORMAT:
            raise RecordTooNew(
                f"The record in {self.folder} was written by a newer version of jupyter_resume (format "
                f"{head['format']}, this one reads {FORMAT}): upgrade with 'pip install -U jupyter-resume'.",
                folder=self.folder,
            )
        return head

    def live_owner(self, tail: Tail | None = None) -> lease.Owner | None:
        """The process that writes this run now; None if its last writer left or died."""
        tail = tail or self.tail()
        if tail is None or tail.owner is None or tail.point.state != "running":
            return None
        path = self.segment(tail.token)
        silent = 0.0 if lease.here(tail.owner) else lease.silence(path)
        return tail.owner if lease.holds(tail.owner, lease.locked(path), silent) else None

    def state(self, tail: Tail | None = None) -> str:
        """``running``, or how the run ended; ``crashed`` if its writer died without a word."""
        tail = tail or self.tail()
        if tail is None:
            return "crashed"
        if tail.point.state == "running" and self.live_owner(tail) is None:
            return "crashed"
        return tail.point.state

    def scan(self) -> Iterator[tuple[str, Any]]:
        """Every readable line that counts, oldest first, as kind and value."""
        for token, limit in self.chain():
            yield from ((kind, value) for kind, value, _ in read_lines(self.segment(token), 0, limit))

    def chain(self) -> list[tuple[int, int | None]]:
        """The segments that make up the run, oldest first, each with the bytes of it that count."""
        tail = self.tail()
        if tail is None:
            return []
        chain: list[tuple[int, int | None]] = [(tail.token, None)]
        while True:
            token = chain[-1][0]
            head = self._head(token)
            base = head["base"] if head else None
            if head is None or (base and not self.segment(base[0]).exists()):  # damaged, or what it continues is gone
                before = [n for n in self.tokens() if n < token][-1:]
                base = (before[0], None) if before else None
            if base is None:
                return chain[::-1]
            chain.append((base[0], base[1]))

    def history(self, min_step: int = 0) -> Iterator[dict[str, Any]]:
        """The rows in order of their steps, one a step, the last value of a key winning.

        Each row has ``_step``, ``_timestamp`` (Unix seconds) and ``_runtime`` (seconds of the run so far).
        """
        row: dict[str, Any] | None = None
        for value in self._rows():
            if value["_step"] < min_step:
                continue
            if row is not None and row["_step"] == value["_step"]:
                row.update(value)
            else:
                if row is not None:
                    yield row
                row = value
        if row is not None:
            yield row

    def _rows(self) -> Iterator[dict[str, Any]]:
        """The rows in order of their steps, those that came late for a gap in their places."""
        inline = (value for kind, value in self.scan() if kind == lines.ROW)
        tail = self.tail()
        if tail is None or not tail.point.filled:
            return inline
        fills = [value["row"] for kind, value in self.scan() if kind == lines.NUMBERED and not value["late"]]
        return heapq.merge(inline, sorted(fills, key=_step), key=_step)

    def recent(self, most: int = 1 << 18) -> list[dict[str, Any]]:
        """The last rows of the history, from about the last ``most`` bytes of the record."""
        rows: list[dict[str, Any]] = []
        for token, limit in reversed(self.chain()):
            with self.segment(token).open("rb") as file:
                end = file.seek(0, 2) if limit is None else limit
                start = max(0, end - most)
                file.seek(start)
                data = file.read(end - start)
            read = [lines.unseal(line) for line in data.split(b"\n")[:-1]]
            rows[:0] = [value for kind, value in filter(None, read) if kind == lines.ROW]
            most -= len(data)
            if most <= 0:
                break
        return rows

    def set_aside(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Rows that are kept but are no part of the history, each with the reason.

        ``"out of order"``: logged below the step that the run had reached. ``"superseded"``: part of the run once,
        which was then set back to go on from its server's rows (``adopt``, ``fork``) or was rewound. ``"fenced"``:
        logged by a writer whose run another process had taken over.
        """
        for kind, value in self.scan():
            if kind == lines.LATE_STEP:
                yield "out of order", value
            elif kind == lines.NUMBERED and value["late"]:
                yield "out of order", value["row"]
        yield from self.left_behind()

    def left_behind(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows behind the place where their segment is continued, each with the reason; reads only those bytes."""
        chain, found = dict(self.chain()), self._found()
        for token in self.tokens():
            if token in chain and chain[token] is None:
                continue  # the last one counts whole
            for kind, value, end in read_lines(self.segment(token), chain.get(token) or 0, None):
                if kind in (lines.ROW, lines.LATE_STEP):
                    yield ("superseded" if end <= found.get(token, 0) else "fenced"), value

    def _found(self) -> dict[int, int]:
        """How many bytes of each segment the writer found that came next, wherever it went on from."""
        found: dict[int, int] = {}
        for token in self.tokens():
            head = self._head(token) or {}
            if place := head.get("found") or head.get("base"):
                found.setdefault(place[0], place[1])
        return found


def read_lines(path: Path, start: int, end: int | None) -> Iterator[tuple[str, Any, int]]:
    """The readable lines of a segment between two offsets, which are ends of lines; None: to the end.

    Each comes as kind, value, and the offset of its end.
    """
    with path.open("rb", buffering=0) as file:
        at = file.seek(start)
        held = b""  # the beginning of a line whose end was not read yet
        while data := file.read(_PORTION if end is None else max(0, min(_PORTION, end - at - len(held)))):
            whole, newline, held = (held + data).rpartition(b"\n")
            found = whole.split(b"\n") if newline else []
            for first in range(0, len(found), _TOGETHER):
                some = found[first : first + _TOGETHER]
                for line, read in zip(some, lines.unseal_all(some), strict=True):
                    at += len(line) + 1
                    if read is not None:
                        yield *read, at


def _lines_back_to_snapshot(path: Path) -> Iterator[tuple[int, bytes]]:
    """Complete lines from the end of a segment back to its last good snapshot, as (end offset, line)."""
    with path.open("rb") as file:
        start, chunk = file.seek(0, 2), _CHUNK
        held = b""  # bytes from `start` on whose lines were not yielded yet
        torn = True  # the bytes after the last newline are no line
        while start > 0:
            step = min(start, chunk)
            start, chunk = start - step, 2 * chunk
            file.seek(start)
            held = file.read(step) + held
            if torn:
                cut = held.rfind(b"\n") + 1
                if not cut and start:
                    continue
                held, torn = held[:cut], False
            end = start + len(held)
            pieces = held.split(b"\n")[:-1]
            first = 0 if start == 0 else 1  # the first piece may be the rest of a line
            for piece in reversed(pieces[first:]):
                yield end, piece
                end -= len(piece) + 1
                if piece[9:10] in (b"S", b"H") and lines.unseal(piece):
                    return
            held = held[: end - start]
