"""A post to file_stream, read and checked: what cannot be taken whole is refused whole."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from ..store import lines
from .refusals import Refusal, bad

HISTORY, EVENTS = "wandb-history.jsonl", "wandb-events.jsonl"
SUMMARY, OUTPUT = "wandb-summary.json", "output.log"
MOST_BYTES = 32 << 20  # of a post, unpacked; the SDK sends at most 10 MiB
MOST_LINE = 16 << 20
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


def parse(data: bytes, what: str) -> Any:
    """JSON, NaN and infinities allowed. Raises Refusal."""
    try:
        return lines.load(data)
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
