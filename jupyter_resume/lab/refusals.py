"""What a route answers when it cannot do what it was asked: a status, a kind, and one sentence."""

from __future__ import annotations

from .. import errors

_STATUS: list[tuple[type[errors.ResumeError], int]] = [
    (errors.RunMissing, 404),
    (errors.FileMissing, 404),
    (errors.InvalidInput, 400),
    (errors.RecordTooNew, 409),
    (errors.RecordDamaged, 409),
    (errors.FileError, 409),
    (errors.StoreError, 503),
]


class Refusal(Exception):
    """An answer that is an error; ``kind`` is for a program to read, the message for a person."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def refusal_of(error: BaseException | None) -> Refusal | None:
    """The refusal that an error of ours is; None for a foreign one."""
    if isinstance(error, Refusal):
        return error
    if not isinstance(error, errors.ResumeError):
        return None
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return Refusal(status, type(error).__name__, str(error))
