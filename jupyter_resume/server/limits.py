"""How much one client may ask for: requests a second by key, and wrong keys a minute by address."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .refusals import Refusal

_KNOWN = 10_000


@dataclass
class _Bucket:
    left: float
    at: float


class Limits:
    """Token buckets. A key has ``rate`` requests a second and twice as many at once; ten keys a minute may be wrong."""

    def __init__(self, rate: float = 500.0, guesses: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.guesses = rate, guesses
        self._clock = clock
        self._asked: OrderedDict[str, _Bucket] = OrderedDict()
        self._wrong: OrderedDict[str, _Bucket] = OrderedDict()

    def check(self, key: str) -> None:
        """Count a request. Raises Refusal 429."""
        bucket = self._bucket(self._asked, key, self.rate, 2 * self.rate)
        if bucket.left < 1:
            raise Refusal(429, f"The key {key!r} asks more than {self.rate:g} times a second: slow down.", 1)
        bucket.left -= 1

    def check_guess(self, peer: str) -> None:
        """Count a wrong key. Raises Refusal 429 for an address that sent too many; right ones are still taken."""
        bucket = self._bucket(self._wrong, peer, self.guesses / 60, self.guesses)
        if bucket.left < 1:
            raise Refusal(429, "Too many requests with a wrong key came from this address: wait a minute.", 60)
        bucket.left -= 1

    def _bucket(self, known: OrderedDict[str, _Bucket], name: str, rate: float, most: float) -> _Bucket:
        now = self._clock()
        bucket = known.pop(name, None) or _Bucket(most, now)
        bucket.left, bucket.at = min(most, bucket.left + (now - bucket.at) * rate), now
        known[name] = bucket
        while len(known) > _KNOWN:
            known.popitem(last=False)
        return bucket
