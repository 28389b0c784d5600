"""Times as W&B writes them: ISO 8601, in UTC."""

from __future__ import annotations

from datetime import datetime, timezone


def iso(at: float) -> str:
    """Unix seconds as text."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def unix(text: str | None) -> float | None:
    """The Unix seconds of a text; what names no zone is UTC, and what is no time is None."""
    try:
        at = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
