"""Every error that jupyter_resume raises, in one tree.

ResumeError
├── InvalidInput (ValueError)        an argument that cannot be right
│   ├── InvalidRunId                 empty, or longer than 64 characters
│   ├── InvalidRunPath               not entity/project/run_id
│   ├── InvalidPolicy                resume= is no policy, or contradicts an id
│   ├── InvalidValue                 log(), config or summary got what cannot be recorded
│   └── UnsafeName                   a file name that would leave its folder
├── Refused                          the resume rules say no
│   ├── RunExists                    resume="never" (the default) on a run that exists
│   ├── RunMissing                   resume="must" on a run that does not
│   └── RunInUse                     another process writes this run
├── NoRun                            there is no active run
├── RunClosed                        the run is finished: nothing more can be written to it
├── StoreError                       this machine's store cannot do it
│   ├── StoreUnwritable              no permission, no room, read-only
│   ├── RecordTooNew                 written by a newer version
│   └── RecordDamaged                not one readable line of the run is left
├── RemoteError                      the server of runs that are kept on another machine too
│   ├── RemoteUnreachable            no answer, or one for now only (5xx, 429): asking again later may help
│   ├── RemoteMalformed              an answer that makes no sense: HTML, or fields that are missing
│   ├── RemoteRefused                an answer that asking again will not change
│   │   ├── KeyRejected              401 or 403: the API key is not good for this
│   │   └── RemoteGone               404 or 410: the server does not know the run, or it was deleted
│   └── RunDiverged                  here and there the run has gone on differently
├── RunStopped                       somebody asked on the server that the run be stopped, and raising was asked for
└── FileError                        a run's file
    ├── FileMissing (FileNotFoundError)   the run has no such file, or nothing matched
    ├── LocalFileDiffers (FileExistsError)  another file of that name is in the way
    ├── FileDamaged                  the stored content is not what was recorded
    └── FileUnstable                 the file kept changing while it was being saved

Each is one sentence with a remedy, and carries its data as attributes. In a notebook it shows as
that one line and fails the cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class ResumeError(Exception):
    """The root of the tree: ``except ResumeError`` catches all of it."""

    def __init__(self, message: str, **data: object) -> None:
        super().__init__(message)
        self.data = data
        self.__dict__.update(data)

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: one line instead of a traceback, still a real error of the cell."""
        return [f"{type(self).__name__}: {self}"]


class InvalidInput(ResumeError, ValueError):
    """An argument that cannot be right."""


class InvalidRunId(InvalidInput):
    """A run id that is empty or longer than 64 characters."""


class InvalidRunPath(InvalidInput):
    """A run path that is not ``entity/project/run_id`` or one of its short forms."""


class InvalidPolicy(InvalidInput):
    """A ``resume=`` that is no policy, or that contradicts the run id."""


class InvalidValue(InvalidInput):
    """A metric, config or summary value that cannot be recorded; ``.key`` names it."""


class UnsafeName(InvalidInput):
    """A file name that would leave its folder; ``.name``."""


class Refused(ResumeError):
    """The resume rules say no; nothing was changed."""


class RunExists(Refused):
    """``resume="never"`` on a run that exists."""


class RunMissing(Refused):
    """``resume="must"`` on a run that does not exist."""


class RunInUse(Refused):
    """Another process writes this run; ``.owner`` says which."""


class NoRun(ResumeError, AttributeError):
    """There is no active run."""


class RunClosed(ResumeError):
    """The run is finished: nothing more can be written to it."""


class StoreError(ResumeError):
    """This machine's store cannot do it."""


class StoreUnwritable(StoreError):
    """No permission, no room, or a read-only disk."""


class RecordTooNew(StoreError):
    """The record was written by a newer version of jupyter_resume."""


class RecordDamaged(StoreError):
    """Not one readable line of the run is left."""


class RemoteError(ResumeError):
    """The server of runs that are kept on another machine too; ``.status`` is the HTTP status, if there was one."""

    status: int | None = None


class RemoteUnreachable(RemoteError):
    """No answer, or one for now only; ``.retry_after`` is how many seconds the server asked to wait, if it did.

    ``.final``: asking again at once will not help. ``.held``: it is not the server's doing, but another writer's.
    """

    retry_after: float | None = None
    final: bool = False
    held: bool = False


class RemoteMalformed(RemoteError):
    """An answer that makes no sense, as from a proxy's login page."""


class RemoteRefused(RemoteError):
    """An answer that asking again will not change; ``.words`` are the server's own, if it gave any."""

    words: str = ""


class KeyRejected(RemoteRefused):
    """The API key is missing, wrong, or not good for this."""


class RemoteGone(RemoteRefused):
    """The server does not know the run (any more)."""


class RunDiverged(RemoteError):
    """A run has gone on here and on the server differently; ``.here`` and ``.there`` are the steps reached."""


class RunStopped(ResumeError):
    """Somebody asked on the server that the run be stopped."""


class FileError(ResumeError):
    """Something about one of a run's files."""


class FileMissing(FileError, FileNotFoundError):
    """The run has no such file, or a pattern matched nothing."""

    def __str__(self) -> str:
        return str(self.args[0])


class LocalFileDiffers(FileError, FileExistsError):
    """Another file of that name is in the way, and ``replace`` is False; ``.path`` is where, if that could help."""

    path: Path | None = None

    def __str__(self) -> str:
        return str(self.args[0])


class FileDamaged(FileError):
    """The stored content is not what the run recorded."""


class FileUnstable(FileError):
    """The file kept changing while it was being saved."""
