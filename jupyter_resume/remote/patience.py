"""Patience: how long a call still tries, and the pause before its next attempt."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

_FIRST, _LONGEST = 0.5, 60.0  # seconds between two attempts
_MOST_ASKED = 3600.0  # what a server may ask for and be believed

Clock = Callable[[], float]
Sleep = Callable[[float], object]


class Patience:
    """The time that one call has, attempts and pauses together; 0 seconds are one attempt."""

    def __init__(
        self,
        seconds: float,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._seconds, self._clock, self._sleep, self._chance = max(0.0, seconds), clock, sleep, chance
        self.renew()

    def renew(self) -> None:
        """Start anew, after progress."""
        self._until = self._clock() + self._seconds
        self._failures = 0

    @property
    def left(self) -> float:
        """Seconds; 0 if there are none."""
        return max(0.0, self._until - self._clock())

    def timeout(self, usual: float) -> float:
        """How long one attempt may wait: as usual, or what is left (a second at least)."""
        return min(usual, max(self.left, 1.0)) if self._seconds else usual

    def pause(self, asked: float | None = None) -> bool:
        """Wait before another attempt, ``asked`` seconds at least; False, at once, if there is no time for one."""
        left = self.left
        wait = min(_FIRST * 2**self._failures, _LONGEST) * (0.75 + 0.5 * self._chance())
        if asked is not None:
            wait = max(wait, asked)
        elif 0 < left < wait:
            wait = left * 0.9  # one last attempt, rather than none
        if wait >= left or (asked is None and left < _FIRST / 2):
            return False
        self._failures = min(self._failures + 1, 16)
        self._sleep(wait)
        return True


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait: a number, or a date that is compared with the server's own clock."""
    said = headers.get("Retry-After", "").strip()
    if not said:
        return None
    try:
        seconds = float(said)
    except ValueError:
        then, now = _seconds(said), _seconds(headers.get("Date", ""))
        if then is None:
            return None
        seconds = then - (time.time() if now is None else now)
    return min(max(seconds, 0.0), _MOST_ASKED) if seconds == seconds else None


def _seconds(date: str) -> float | None:
    """A date of HTTP as Unix seconds."""
    import email.utils

    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
