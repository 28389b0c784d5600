"""Names and pages of GraphQL nodes: storage ids, paths, times, JSON texts, connections."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote
from zlib import crc32

from ..errors import InvalidInput
from ..identity import RunPath
from .refusals import bad
from .tickets import storage_path

MOST = 1000  # nodes of one page


def page(nodes: Sequence[Any], after: str | None, first: int | None) -> dict[str, Any]:
    """A connection: the nodes behind the cursor ``after``."""
    start = int(after) if after and after.isdigit() else 0
    end = start + max(0, min(MOST if first is None else first, MOST))
    edges = [{"node": node, "cursor": str(n + 1)} for n, node in enumerate(nodes[start:end], start)]
    info = {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": end < len(nodes)}
    return {"edges": edges, "pageInfo": info, "uploadHeaders": [], "totalCount": len(nodes)}


def encode_id(kind: str, *parts: str) -> str:
    """A storage id."""
    return base64.b64encode(":".join((kind, "v1", *(quote(part, safe="") for part in parts))).encode()).decode()


def decode_id(text: str, kind: str) -> list[str] | None:
    """The parts of a storage id; None if it is no such."""
    try:
        said, version, *parts = base64.b64decode(text, validate=True).decode().split(":")
    except (binascii.Error, ValueError):
        return None
    return [unquote(part) for part in parts] if (said, version) == (kind, "v1") else None


def run_of_id(text: str) -> RunPath:
    """The run of a storage id. Raises Refusal."""
    parts = decode_id(text, "Run")
    if parts is None or len(parts) != 3:
        raise bad(f"{text!r:.80} is no id of a run here.")
    return RunPath.of(parts[2], parts[1], parts[0])


def path_of(entity: str, project: str | None, run_id: str | None) -> RunPath | None:
    """The path for names from outside; None for what cannot be a run's name here.

    A dot in an id becomes a dash, as in `init`: scripts like to make ids of numbers ("lr0.1").
    """
    try:
        path = RunPath.of(entity, project or "", plain_id(run_id or ""))
    except InvalidInput:
        return None
    return path if path.run_id == plain_id(run_id or "") else None


def plain_id(text: str) -> str:
    """An id with dashes for its dots, if it is more than dots."""
    return text if text.startswith(".") else text.replace(".", "-")


def number_of(text: str) -> int:
    """A number for a name, always the same: W&B's internal ids are numbers."""
    return crc32(text.encode()) & 0x7FFFFFFF


def file_path(run: RunPath, name: str) -> str:
    """The path that a run's file is downloaded from."""
    return storage_path(run, name).replace("/storage", "/files", 1)


def dumps(value: Any) -> str:
    """JSON, NaN and infinities as W&B's own clients write them."""
    return json.dumps(value)


def read_filters(text: str | None) -> dict[str, Any]:
    """The filters of a query, which come as JSON. Raises Refusal."""
    try:
        filters = json.loads(text or "{}")
    except (ValueError, RecursionError):
        filters = None
    if not isinstance(filters, dict):
        raise bad("The filters are not a JSON object.")
    return filters
