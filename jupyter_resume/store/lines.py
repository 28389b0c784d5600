"""One line of a record: ``crc32 kind json``, so that a torn or damaged line is known for what it is.

The checksum is 8 hex digits over the rest of the line; the kind is one character; the JSON may hold NaN,
Infinity and -Infinity, as W&B's own file_stream does.
"""

from __future__ import annotations

import contextlib
import json
from functools import cache
from typing import Any
from zlib import crc32

import orjson

HEAD = "H"  # first line of a segment: who writes, what it continues, and a snapshot
SNAPSHOT = "S"  # the whole resume point, so that reading back is constant in the length of the history
ROW = "r"  # what one log() call recorded
LATE_STEP = "o"  # the same, below the step that the run had reached: kept, out of order
SUMMARY = "s"
CONFIG = "c"
META = "m"  # name, notes, tags, group, job_type, total
FILE = "f"
NO_FILE = "d"  # a file was taken out of the run: {"name"}
RESTORED = "t"  # what came of a restore: {"name", "size", "run", "copied"}, or {"name", "why"} if nothing did
END = "e"  # a change of state: how this writer left, with an exit code if there is one
SESSION = "b"  # a client on another machine began a session: {"at", "fence": whether it took a fencing token}
# What a writer on another machine sends by line numbers (see `server.streams`):
GAP = "g"  # the history goes on at a later line than the next: {"rows": its number}
NUMBERED = "n"  # a row for a given line: {"at", "row", "late"}; late: below the step reached, else it fills a gap
CONFLICT = "x"  # what would have overwritten something else, kept aside: {"stream", "at", "line", "by", "time"}
EVENTS = "v"  # measurements of the machine: {"at": first line's number, "lines": [JSON texts]}
CONSOLE = "l"  # output: {"at": first line's number, "lines": [texts]}; a line may be written again


# What an integer's first digit may stand behind becomes a colon, every digit a zero
_MARKED = bytes(48 if chr(byte) in "0123456789" else 58 if chr(byte) in ":,[- \t\r\n" else 32 for byte in range(256))
_LONG = b":" + b"0" * 19


def _has_long_number(body: bytes) -> bool:
    """Whether there may be an integer of more than 64 bits, which orjson would round. A fraction may be long."""
    return _LONG in (b":" + body).translate(_MARKED)


def dump(value: Any) -> bytes:
    """JSON for a value of plain types whose floats are finite; anything orjson cannot hold goes by `dump_any`."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits, a lone surrogate
        return dump_any(value)


def dump_exact(value: Any) -> bytes:
    """As `dump_any`, fast for what has no null: that is what orjson makes of NaN and infinities."""
    body = dump(value)
    return dump_any(value) if b"null" in body else body


def dump_any(value: Any) -> bytes:
    """JSON for any plain value, NaN and infinities included (which orjson would turn into null)."""
    return json.dumps(value, separators=(",", ":")).encode()


def all_finite(body: bytes) -> bool:
    """Whether what `dump_any` made holds no NaN and no infinity; a string that says so counts as one, harmlessly."""
    return b"NaN" not in body and b"Infinity" not in body


def seal(kind: str, body: bytes) -> bytes:
    """The complete line for a JSON body."""
    start, checksum = _start(kind)
    return b"%08x %b%b\n" % (crc32(body, checksum), start, body)


@cache
def _start(kind: str) -> tuple[bytes, int]:
    """What stands before the JSON of every line of a kind, and the checksum so far."""
    start = kind.encode() + b" "
    return start, crc32(start)


def load(body: bytes) -> Any:
    """The value of JSON as `dump_any` writes it. Raises ValueError."""
    if not _has_long_number(body):
        with contextlib.suppress(orjson.JSONDecodeError):  # NaN, infinities, lone surrogates
            return orjson.loads(body)
    return json.loads(body)


def unseal_all(sealed: list[bytes]) -> list[tuple[str, Any] | None]:
    """As `unseal` for each, several times as fast where all are good."""
    body = b",".join([line[11:] for line in sealed])
    try:
        good = all(int(line[:8], 16) == crc32(line[9:]) and line[8:11:2] == b"  " for line in sealed)
        values = orjson.loads(b"[%b]" % body) if good and not _has_long_number(body) else []
    except ValueError:
        values = []
    if len(values) != len(sealed):
        return [unseal(line) for line in sealed]
    return [(chr(line[9]), value) for line, value in zip(sealed, values, strict=True)]


def unseal(line: bytes) -> tuple[str, Any] | None:
    """Kind and value of a line without its newline; None if it is torn or damaged."""
    payload = line[9:]
    try:
        if int(line[:8], 16) != crc32(payload) or line[8:9] != b" " or payload[1:2] != b" ":
            return None
        kind, body = payload[:1].decode(), payload[2:]
        return kind, load(body)
    except ValueError:
        return None
