"""Refusal: an answer of 4xx or 5xx with one sentence."""

from __future__ import annotations

from ..errors import ResumeError, RunInUse, StoreUnwritable
from ..identity import RunPath

RETRY_SECONDS = 2


class Refusal(ResumeError):
    """What a request cannot have: a status of HTTP, and ``retry_after`` seconds if the same may succeed later."""

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after


def bad(sentence: str) -> Refusal:
    """400: a request that cannot be right."""
    return Refusal(400, sentence)


def missing(path: RunPath) -> Refusal:
    """404: there is no such run."""
    return Refusal(404, f"There is no run {path} here: check the entity, project and id.")


def translated(error: ResumeError | OSError) -> Refusal:
    """The answer for what the store says."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RunInUse):
        return Refusal(429, f"Busy: {error}", RETRY_SECONDS)
    if isinstance(error, StoreUnwritable):
        return Refusal(507, str(error), 30)
    if isinstance(error, OSError):
        return Refusal(507, f"The server's disk takes nothing at the moment ({error.strerror}): free some space.", 30)
    return Refusal(400, str(error))
