"""Values in words for a person: short, of one line, and safe wherever they are shown."""

from __future__ import annotations

import re
import time
from typing import Any

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")  # moves the cursor, or the text


def esc(text: object) -> str:
    """Safe in HTML, in text and in attributes."""
    from html import escape  # only a display needs it, and its table of names takes a while

    return escape(str(text), quote=True)


def said(text: str) -> str:
    """A text that users wrote, in HTML: escaped, and from right to left only within itself."""
    return f"<bdi>{esc(text)}</bdi>"


def short(text: str, width: int = 60) -> str:
    """One line of at most ``width`` characters, none of which moves the cursor or the text around it."""
    line = " ".join(_UNSEEN.sub(" ", str(text)).split())
    return line if len(line) <= width else line[: width - 3] + "..."


def number(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return short(str(value), 24)


def size_of(count: int) -> str:
    """Bytes, for a person."""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def duration(seconds: float) -> str:
    """Seconds, for a person: 5s, 3m 20s, 2h 05m."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def clock(at: float) -> str:
    """The time of day, with the date unless it is today's."""
    then = time.localtime(at)
    today = time.strftime("%Y%m%d", then) == time.strftime("%Y%m%d")
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def age(at: float, now: float | None = None) -> str:
    """How long ago, for a person."""
    return duration((time.time() if now is None else now) - at) + " ago"
