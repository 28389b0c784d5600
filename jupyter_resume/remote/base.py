"""Remote: what any tracker must answer, and the values that go to it and come back.

A remote holds a replica of a run's record. Rows, events and output go to it by line number, so that sending a line
twice is the same as once. Every method raises `RemoteError` and nothing else; none of them waits longer than the
``patience`` (seconds) that its remote was made with, retries included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..identity import RunPath


@dataclass(frozen=True)
class Account:
    """Whose key it is. ``entity`` is the one that is meant where none is given."""

    entity: str
    username: str | None = None
    teams: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemotePoint:
    """A run as the remote has it: all that is needed to go on with it.

    ``rows``, ``events`` and ``output`` are line counts (None: the remote does not say, so nothing may be sent to that
    stream); ``tail`` is the last row, ``runtime`` in seconds. ``config`` holds plain values; ``internal`` is what
    the tracker keeps in it for itself (W&B: ``_wandb``). ``name``, ``notes`` and ``tags`` are None where the remote
    does not say them, and empty where somebody has taken them away. ``started`` is False for a run that was made and
    never written.
    """

    path: RunPath
    storage_id: str | None = None
    started: bool = True
    rows: int = 0
    events: int | None = 0
    output: int | None = 0
    tail: Mapping[str, Any] = field(default_factory=dict)
    runtime: float = 0.0
    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    internal: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        """The last step that was logged; -1 if none was."""
        said = (step_of(self.tail), step_of(self.summary), self.rows - 1)
        return max(step for step in said if step is not None)

    @property
    def next_step(self) -> int:
        """The step to log next: ``max(last _step in history and summary, lines - 1) + 1``."""
        return self.last_step + 1

    @property
    def rewound_to(self) -> int | None:
        """The last step that stayed when somebody rewound the run; None if nobody did, or where that is not said."""
        mark = self.internal.get("branch_point")  # as W&B's SDK leaves it; of a fork it names another run
        if not isinstance(mark, Mapping) or mark.get("run_id") != self.path.run_id:
            return None
        return step_of({"_step": mark.get("step")})


def step_of(row: Mapping[str, Any]) -> int | None:
    """The step of a row, if it has one that is a whole number from 0."""
    step = row.get("_step")
    if isinstance(step, bool) or not isinstance(step, (int, float)) or step != step:
        return None
    return int(step) if 0 <= step < 1 << 63 and step == int(step) else None


@dataclass(frozen=True)
class Description:
    """What is said of a run; None leaves what the remote has. ``config`` holds plain values, all of them."""

    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] | None = None
    group: str | None = None
    job_type: str | None = None
    config: Mapping[str, Any] | None = None
    internal: Mapping[str, Any] = field(default_factory=dict)
    host: str | None = None
    program: str | None = None


@dataclass(frozen=True)
class Begun:
    """What the remote answered to beginning or continuing a run."""

    path: RunPath
    storage_id: str | None
    name: str | None
    rows: int | None


@dataclass(frozen=True)
class Lines:
    """Lines of one stream, the first of them being line number ``offset``."""

    offset: int
    texts: Sequence[str]


@dataclass(frozen=True)
class Post:
    """What is sent at once; an empty one is a sign of life. ``rows`` and ``events`` are JSON texts.

    ``complete`` says that the run ended, with ``exit_code``; ``uploaded`` names files that are there by now.
    """

    rows: Lines | None = None
    events: Lines | None = None
    output: Lines | None = None
    summary: str | None = None
    uploaded: tuple[str, ...] = ()
    preempting: bool = False
    complete: bool = False
    exit_code: int | None = None


@dataclass(frozen=True)
class Reply:
    """What came back. ``stopped``: somebody asked on the server that the run be stopped.

    ``pause``: seconds that the server asks to be left alone before the next post.
    """

    stopped: bool = False
    pause: float = 0.0


@dataclass(frozen=True)
class RemoteFile:
    """A file of a run: ``size`` in bytes, ``md5`` in base64 (None: the remote gives none), ``url`` to fetch it from."""

    name: str
    size: int
    md5: str | None
    url: str
    updated_at: str | None = None
    mimetype: str | None = None


@dataclass(frozen=True)
class RemoteRun:
    """A run seen from outside. ``created_at`` and ``heartbeat_at`` are ISO 8601 in UTC, as the server gives them."""

    path: RunPath
    storage_id: str | None
    name: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    rows: int | None = None
    created_at: str | None = None
    heartbeat_at: str | None = None
    user: str | None = None


@dataclass(frozen=True)
class Page:
    """Some runs, and where the next ones begin; None: these were the last. ``total`` counts all that match."""

    runs: tuple[RemoteRun, ...]
    next: str | None
    total: int | None = None


class Remote(Protocol):
    """A tracker on another machine."""

    base_url: str

    def account(self) -> Account:
        """Whose key it is."""

    def url_of(self, path: RunPath) -> str:
        """The run's page, for a person."""

    # A run that is written

    def resume_point(self, path: RunPath) -> RemotePoint | None:
        """Where a run stands; None if there is no such run."""

    def begin(self, path: RunPath, said: Description, storage_id: str | None = None) -> Begun:
        """Begin a run, or go on with the one that is there; it counts as running from then on."""

    def describe(self, path: RunPath, said: Description) -> None:
        """Change what is said of a run."""

    def append(self, path: RunPath, post: Post) -> Reply:
        """Send lines, the summary, the end, or a sign of life."""

    def rewind(self, path: RunPath, step: int) -> RemotePoint:
        """Go back to ``step``: later rows are no part of the run any more."""

    # Its files

    def files(self, path: RunPath, names: Sequence[str] | None = None) -> Iterator[RemoteFile]:
        """The files of a run, or those of ``names`` that it has; pages are fetched as they are needed."""

    def put_file(self, path: RunPath, name: str, content: Path, mimetype: str | None = None) -> None:
        """Upload the content of a local file as ``name``. FileNotFoundError if it is gone by now."""

    def fetch(self, file: RemoteFile, into: Path, progress: bool = False) -> None:
        """Download, check size and digest, and move to ``into``; what fails leaves it as it was. Raises FileDamaged."""

    # Runs from outside

    def run(self, path: RunPath) -> RemoteRun:
        """A run. Raises RunMissing."""

    def runs(
        self,
        entity: str,
        project: str,
        filters: Mapping[str, Any] | None = None,
        order: str | None = None,
        after: str | None = None,
        most: int = 50,
    ) -> Page:
        """Some runs of a project, from where an earlier page ended. ``filters`` are MongoDB's."""

    def sampled(self, path: RunPath, keys: Sequence[str] | None = None, samples: int = 500) -> list[dict[str, Any]]:
        """At most about ``samples`` rows of the history, evenly taken; with ``keys`` the rows that have all of them."""

    def scan(
        self, path: RunPath, min_step: int = 0, max_step: int | None = None, page_size: int = 1000
    ) -> Iterator[dict[str, Any]]:
        """Every row of the history whose step is in ``[min_step, max_step)``, fetched a page at a time."""
