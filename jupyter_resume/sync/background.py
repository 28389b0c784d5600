"""Keeping a run's replica in step while it is written: two quiet threads, one for rows and one for files.

`Run.log` never waits for them. Whatever goes wrong is told in one line when it begins and one when it is over; what
could not be sent waits in the record.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator

from ..errors import (
    FileError,
    KeyRejected,
    RemoteError,
    RemoteGone,
    RemoteMalformed,
    RemoteRefused,
    RemoteUnreachable,
    ResumeError,
    RunDiverged,
)
from ..notices import Tell, tell
from ..remote.base import Remote
from .standing import Standing, in_words
from .syncing import Syncing

INTERVAL = 15.0  # seconds between two posts of a run that logs; W&B's own client keeps this pace
SOON = 1.0  # seconds until the first post
BEAT = 30.0  # seconds of silence after which a sign of life is sent
PATIENT = 4  # tries while another process sends the run, before that is told: it may be about to leave
LONGEST = 60.0  # seconds between two tries while the server cannot be reached
SELDOM = 300.0  # seconds between two tries when asking again is not expected to help
MANY, LARGE = 20_000, 8 << 20  # rows, and bytes of files, that take a while to send
HASTE = 2.0  # seconds that a user waits for a thread whose server gives no answer


class Background:
    """Brings a run to its server until it is closed. ``interval`` in seconds; ``reconnect`` makes a remote anew.

    ``reconnect`` is asked after the key was refused: it returns a remote with another key, or None if there is none.
    ``trouble`` is what was the matter when the run was begun, which the user knows already. ``list_files``: ask which
    files the server has.
    """

    def __init__(
        self,
        syncing: Syncing,
        *,
        interval: float | None = None,
        reconnect: Callable[[], Remote | None] = lambda: None,
        trouble: RemoteError | None = None,
        list_files: bool = False,
        tell: Tell = tell,
    ) -> None:
        self.syncing = syncing
        self._interval = interval_asked() if interval is None else interval
        self._reconnect = reconnect
        self._tell = tell
        self._trouble = trouble
        self._told = set() if trouble is None else {_kind(trouble)}
        self._told_of_files: set[str] = set()
        self._list_files = list_files
        self._failures = self._file_failures = 0
        self._last_post, self._sent_any = time.monotonic(), False
        self._closed = False
        self._pid = os.getpid()
        self._rows_due, self._files_due = threading.Event(), threading.Event()
        self._rows_busy, self._files_busy = threading.Lock(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._send_rows, name="jupyter-resume-sync", daemon=True),
            threading.Thread(target=self._send_files, name="jupyter-resume-files", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    @property
    def trouble(self) -> RemoteError | None:
        """What is the matter now, if anything is."""
        return self._trouble

    @property
    def closed(self) -> bool:
        """Whether it sends no more."""
        return self._closed

    @property
    def standing(self) -> Standing:
        """How it stands now."""
        trouble = None if isinstance(self._trouble, RunDiverged) else self._trouble  # both sides are said in any case
        return self.syncing.standing(None if trouble is None else _plain(trouble))

    def flush(self, if_diverged: str | None = None) -> RemoteError | None:
        """Send at once, in the calling thread, what waits: rows and files. What went wrong, or None.

        ``if_diverged="append"`` also decides what was asked by `RunDiverged`.
        """
        return self._send_all(ending=False, if_diverged=if_diverged)

    def close(self) -> RemoteError | None:
        """Send what waits, say how the run ended, and end. What went wrong, or None; the user is told what waits."""
        if self._closed or self._pid != os.getpid():
            return self._trouble
        self._say_what_is_sent()
        over = False
        try:
            error = self._send_all(ending=True)
            over = error is None or isinstance(error, RunDiverged)
            return error
        finally:  # also of a Ctrl-C
            self._say_what_waits(over)
            self._closed = True
            self._rows_due.set()
            self._files_due.set()
            self.syncing.close()

    def _send_all(self, ending: bool, if_diverged: str | None = None) -> RemoteError | None:
        if self._closed or self._pid != os.getpid():
            return self._trouble
        if self.syncing.lost:
            self._give_up()
            return None
        try:
            with self._sending_rows():
                if if_diverged is not None:
                    self.syncing.verify(if_diverged)
                    self._trouble = None
                self._bring()
            unsent: RemoteError | None = None
            try:
                self._upload()  # may take long: the thread goes on with rows and signs of life meanwhile
            except (RemoteUnreachable, RemoteMalformed) as error:  # of the storage, it may be
                unsent = error
            with self._sending_rows():
                if ending:
                    self.syncing.end()
                if unsent is not None:
                    raise unsent
                self._over()
            self._rows_due.set()  # the thread may be asleep for long, after trouble that is over now
            return None
        except _Hangs as error:
            return error.trouble
        except RemoteError as error:
            self._wait_after(error)
            return error
        except Exception as error:  # it is told; a program does not end with it
            self._say_of_record(error)
            return RemoteError(f"{self.syncing.host}: {type(error).__name__}: {error}")

    @contextlib.contextmanager
    def _sending_rows(self) -> Iterator[None]:
        """The calling thread sends rows, and no other. A thread that waits for an answer in vain is not waited for."""
        trouble = self._trouble
        if not self._rows_busy.acquire(timeout=HASTE if trouble else -1):
            raise _Hangs(trouble)
        try:
            yield
        finally:
            self._rows_busy.release()

    def _say_what_is_sent(self) -> None:
        """Say that the end will take a while, if it will."""
        syncing = self.syncing
        sizes = {name: entry.size for name, entry in syncing.files().items()}
        names = syncing.files_waiting()
        if not syncing.lost and (syncing.waiting() > MANY or sum(sizes[name] for name in names) > LARGE):
            self._tell(
                f"sending {in_words(syncing.waiting(), len(names))} of run {syncing.replica.path} to {syncing.host}; "
                "what an interrupt leaves, 'jupyter resume sync' sends."
            )

    def _say_what_waits(self, over: bool) -> None:
        """Say what the end left; ``over``: rows were sent, or it is known why not."""
        syncing = self.syncing
        files = 0 if syncing.lost else len(syncing.files_waiting())
        if not over or files:
            what = in_words(syncing.waiting(), files) or "only its end"
            self._tell(
                f"run {syncing.replica.path} has ended here with {what} to be sent to {syncing.host}: the next init of "
                "the run, or 'jupyter resume sync', does it."
            )

    def _give_up(self) -> None:
        """Another process writes the run now, and sends it."""
        self._closed = True
        self._files_due.set()
        self.syncing.close()

    def _send_rows(self) -> None:
        pause = 0.0
        while not self._closed:
            self._rows_due.wait(pause)
            self._rows_due.clear()
            with self._rows_busy:
                if not self._closed:
                    pause = self._turn()

    def _turn(self) -> float:
        """Do what is due; the seconds until the next turn."""
        if self.syncing.lost:
            self._give_up()
            return 0.0
        if isinstance(self._trouble, (RunDiverged, RemoteGone)):
            return SELDOM  # the user has been told how to go on
        try:
            if self._bring():
                self._last_post, self._sent_any = time.monotonic(), True
            elif time.monotonic() - self._last_post > BEAT:
                self.syncing.beat()
                self._last_post = time.monotonic()
            self._over()
            self._files_due.set()
        except RemoteError as error:
            return self._wait_after(error)
        except Exception as error:
            self._say_of_record(error)
            return SELDOM
        return max(self.syncing.pause, self._interval if self._sent_any else min(SOON, self._interval))

    def _bring(self) -> bool:
        """Send rows and what is said of the run; whether there was anything."""
        syncing = self.syncing
        if isinstance(self._trouble, KeyRejected) and (remote := self._reconnect()) is not None:
            syncing.remote = remote
        syncing.give_way()
        if not syncing.verified:
            syncing.verify()
        if not syncing.begun:
            syncing.begin()
        sent = syncing.send()
        return syncing.describe() or sent

    def _send_files(self) -> None:
        while not self._closed:
            self._files_due.wait()
            self._files_due.clear()
            if self._closed:
                return
            try:
                if self._list_files:
                    self.syncing.list_files()
                    self._list_files = False
                self._upload()
                self._file_failures = 0
            except Exception as error:
                self._file_failures += 1
                if self._file_failures > 1 and self._trouble is None:  # else it is told, or will be, of the rows
                    self._say_of_file("", error)

    def _upload(self) -> None:
        """Send the files that wait, each whatever becomes of the others; raises what keeps all from being sent."""
        for name in self.syncing.files_waiting():
            with self._files_busy:
                if self._closed:
                    return
                try:
                    self.syncing.upload(name)
                except (KeyRejected, RemoteGone):
                    raise
                except (RemoteRefused, FileError, OSError) as error:
                    self._say_of_file(name, error)
                else:
                    self._told_of_files -= {name, ""}

    def _say_of_file(self, name: str, error: Exception) -> None:
        if name not in self._told_of_files:
            self._told_of_files.add(name)
            why = str(error) if isinstance(error, ResumeError) else f"{type(error).__name__}: {error}"
            what = f"{name} of run {self.syncing.replica.path} is" if name else "files are"
            self._tell(f"{what} not sent to {self.syncing.host} yet: {why.rstrip('.')}; kept in this machine's store.")

    def _say_of_record(self, error: Exception) -> None:
        self._say_once(f"{self.syncing.host}: {type(error).__name__}: {error}; rows wait in this machine's record.")

    def _wait_after(self, error: RemoteError) -> float:
        """Remember and tell what is the matter; the seconds until the next try."""
        self._trouble = error
        self._failures += 1
        held = isinstance(error, RemoteUnreachable) and error.held
        if not held or self._failures > PATIENT:
            self._say(error)
        if error.status != 429:
            self.syncing.verified = False
        if isinstance(error, RemoteUnreachable):
            backoff = min(LONGEST, 2.0 ** min(self._failures, 10)) * random.uniform(0.75, 1.25)
            return max(backoff, error.retry_after or 0.0)
        return LONGEST if isinstance(error, (RemoteMalformed, KeyRejected)) else SELDOM

    def _say(self, error: RemoteError) -> None:
        then = "training goes on, what is logged waits in this machine's record"
        if isinstance(error, (RemoteUnreachable, RemoteMalformed)):
            then += " and is sent when the server answers again"
        elif not isinstance(error, RunDiverged):
            then += "; send it later with 'jupyter resume sync'"
        self._say_once(f"{_plain(error)}; {then}.", _kind(error))

    def _say_once(self, text: str, kind: str | None = None) -> None:
        """Tell it unless it was told since the server last took data."""
        if (kind or text) not in self._told:
            self._told.add(kind or text)
            self._tell(text)

    def _over(self) -> None:
        if self._trouble is not None and self._told:
            self._tell(f"{self.syncing.host} takes data again; every row that waited was sent.")
        self._trouble, self._failures = None, 0
        self._told.clear()


class _Hangs(Exception):
    """The thread that sends rows waits for a server that gives no answer."""

    def __init__(self, trouble: RemoteError | None) -> None:
        super().__init__()
        self.trouble = trouble


def interval_asked() -> float:
    """``JUPYTER_RESUME_SYNC_INTERVAL`` in seconds, at least 0.1; else `INTERVAL`."""
    try:
        return max(0.1, float(os.environ.get("JUPYTER_RESUME_SYNC_INTERVAL") or INTERVAL))
    except ValueError:
        return INTERVAL


def _kind(error: RemoteError) -> str:
    return type(error).__name__


def _plain(error: RemoteError) -> str:
    return str(error).rstrip(".")
