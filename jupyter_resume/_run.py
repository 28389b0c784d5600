"""Run: what a user holds while training."""

from __future__ import annotations

import operator
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from . import files, notices, restoring
from ._exit import exit_code_of
from ._linked import Linked
from .errors import InvalidValue, ResumeError, StoreError, UnsafeName
from .files import Restored
from .identity import RunPath, as_given
from .keeper import keeper
from .origin import Origin
from .recorded import Recorded
from .saving import Pattern, Saving
from .store import lines
from .store.blobs import Blobs
from .store.home import Store
from .store.writer import Writer
from .values import Metrics


class Companion(Protocol):
    """What goes on beside a run while it is open."""

    def tend(self, runtime: float) -> None:
        """Called about once a second; ``runtime`` is the run's, in seconds."""

    def close(self) -> None:
        """Called before the run ends."""


class Run(Linked):
    """One run of a training, new or continued; made by `jupyter_resume.init`.

    >>> import jupyter_resume as wandb
    >>> with wandb.init(project="docs") as run:
    ...     run.log({"loss": 0.5})
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        *,
        resumed: bool,
        reason: str,
        origin: Origin,
        dir: Path,
        on_close: Callable[[Run], None],
    ) -> None:
        super().__init__(writer, resumed=resumed)
        point = writer.point
        self.starting_step = point.next_step
        self.reason = reason
        self.origin = origin
        self.config = Recorded(writer, lines.CONFIG, point.config)
        self.summary = Recorded(writer, lines.SUMMARY, point.summary)
        self.recent: deque[dict[str, Any]] = deque(maxlen=1024)
        self.restored: list[Restored] = []
        self.not_restored: dict[str, str] = {}
        self._store = store
        self._on_close = on_close
        self._dir = dir
        self._metrics = Metrics()
        self._step = point.next_step
        self._runtime_before = point.runtime
        self._begun_at = time.monotonic()
        self._ended_at: float | None = None
        self._saving = Saving(writer, store.blobs(point.path))
        self._told_late = self._told_forked = False
        self.companions: list[Companion] = []
        self._catalogue_due = False
        keeper.add(self._tend)

    # What it is

    @property
    def dir(self) -> str:
        """The folder for this run's files; `restore` puts files here."""
        return str(self._dir)

    @property
    def step(self) -> int:
        """The step that the next `log` records; after a resume, the one after the last recorded."""
        return self._step

    @property
    def runtime(self) -> float:
        """Seconds that the run has run, over all its sessions."""
        return self._runtime_before + (self._ended_at or time.monotonic()) - self._begun_at

    @property
    def blobs(self) -> Blobs:
        """The content of the run's saved files."""
        return self._store.blobs(self.run_path)

    # What it does

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Record metrics; when this returns, they survive ``kill -9``.

        ``data`` maps names to scalars (Python, NumPy, PyTorch, JAX); a nested dict becomes ``outer.inner``.
        Without ``step`` the row is the current step's and the step moves on, unless ``commit=False``. With
        ``step`` the run moves to that step and stays, unless ``commit=True``. Several calls at one step are one
        row, the last value of a name winning. A ``step`` below the current one is kept out of order, and told once.

        Raises InvalidValue, which names the key, for what is no scalar (the rest of the call is recorded), and
        RunClosed after `finish`.
        """
        row, finite, complaints = self._metrics.read(data)
        writer = self._writer
        with writer.lock:
            if writer.closed or writer.forked:
                self._refuse()
                return
            if row or not complaints:
                at = self._step
                if step is None:
                    row["_step"] = at
                    if commit is not False:
                        self._step = at + 1
                else:
                    row["_step"] = target = _step_number(step)
                    if target >= at:
                        self._step = target + 1 if commit else target
                row["_timestamp"] = time.time()
                row["_runtime"] = self._runtime_before + time.monotonic() - self._begun_at
                if row["_step"] >= at:
                    writer.row(row, finite)
                    self.recent.append(row)
                else:
                    self._log_late(row)
        if self._may_be_stopped:
            self._check_stopped()
        if complaints:
            recorded = " (the other values of the call were recorded)" if row else ""
            more = f"; and {len(complaints) - 3} more" if len(complaints) > 3 else ""
            said = "; ".join(text for _, text in complaints[:3])
            raise InvalidValue(f"{said}{more}{recorded}.", key=complaints[0][0])

    def _log_late(self, row: dict[str, Any]) -> None:
        self._writer.late_row(row)
        if not self._told_late:
            self._told_late = True
            notices.tell(
                f"step {row['_step']} is below the current step {self._step} of run {self.path}: such rows are kept, "
                f"marked out of order, and are no part of the history; log from step {self._step} on (rewind, which "
                "moves a run back to an earlier step, comes with a later version)."
            )

    def _refuse(self) -> None:
        if not self._writer.forked:
            raise self._ended()
        if not self._told_forked:
            self._told_forked = True
            notices.tell(
                f"this process is a fork of the one that writes run {self.path}: nothing that it does is recorded."
            )

    def save(
        self,
        pattern: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: str = "live",
        *,
        metadata: dict[str, Any] | None = None,
    ) -> list[str]:
        """Keep the content of files in the run; their names in it.

        ``pattern`` is a path or a glob; of a link the file that it leads to is saved. Names are relative to
        ``base_path`` (default: the working directory, or the folder of an absolute pattern). ``policy``: ``"now"``
        saves once; ``"live"`` saves now and again whenever a file changes; ``"end"`` saves when the run ends.
        ``metadata`` is recorded with the files.

        Raises FileMissing if nothing matches and policy is ``"now"``, FileUnstable for a file that keeps
        changing, UnsafeName for one outside the base path.
        """
        if self.closed or self.forked:
            self._refuse()
            return []
        return self._saving.save(Pattern.of(pattern, base_path, policy), metadata)

    def restore(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | os.PathLike[str] | None = None,
        *,
        mode: str = "rb",
    ) -> IO[Any]:
        """A file of this run, or of ``run_path``, in place and verified, opened; see `jupyter_resume.restore`."""
        return self.bring_back(name, run_path, replace, root).open(mode)

    def bring_back(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | os.PathLike[str] | None = None,
    ) -> Restored:
        """As `restore`, but returns what was restored instead of an open file."""
        source = self.run_path if run_path is None else RunPath.parse(run_path, self.entity, self.project, as_given)
        into = self._dir if root is None else Path(root)
        try:
            if source in (self.run_path, self.path_there):
                own = restoring.Known(self.run_path, self.files, self.link.syncing.replica if self.link else None)
                remote = self.link.syncing.remote if self.link else None
                restored = restoring.restore(self._store, own, remote, name, into, replace)
            else:
                restored = restoring.restore_from(self._store, source, name, into, replace)
        except ResumeError as error:
            self.not_restored[_plain(name)] = str(error)
            self._writer.put(lines.RESTORED, {"name": _plain(name)[:400], "why": str(error)[:1000]})
            raise
        self.not_restored.pop(restored.file, None)
        self.restored.append(restored)
        self._writer.put(lines.RESTORED, restored.dump())
        return restored

    def finish(self, exit_code: int | None = None) -> None:
        """End the run: ``finished``, or ``failed`` with an exit code other than 0. Files to save are saved first."""
        self.close("failed" if exit_code else "finished", exit_code or 0)

    def close(self, state: str, exit_code: int | None = None) -> None:
        """End this session of the run in the given state; one that is not ``finished`` can be found and resumed."""
        if self.closed or self._writer.forked:
            return
        self._writer.tend()  # it may have been taken over just now
        if not self.fenced:
            self._saving.finish()
        while self.companions:
            self.companions.pop().close()
        self._writer.close(state, exit_code)
        self._ended_at = time.monotonic()
        keeper.remove(self._tend)  # last: an interrupted close leaves a run that is still tended
        self._on_close(self)
        if self.link:
            self.link.close()

    def _tend(self) -> None:
        self._writer.tend()
        if not self.fenced and not self.closed:
            self._saving.tend()
            for companion in list(self.companions):
                companion.tend(self.runtime)
            if self._catalogue_due:
                self.catalogue()

    def history_tail(self) -> list[dict[str, Any]]:
        """The last rows of the record, also of earlier sessions."""
        return self._writer.record.recent()

    def catalogue(self) -> None:
        """Bring the run's entry in the catalog up to date."""
        try:
            self._store.catalog.put(self._writer.point)
            self._catalogue_due = False
        except StoreError as error:
            if self._catalogue_due:
                return
            self._catalogue_due = True  # it is tried again while the run lives
            if self._writer.attached and not self.in_memory:  # else the disk takes nothing, which was told
                notices.tell(f"{error} Runs are found by their records meanwhile, which takes longer.")

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.close("interrupted")
        elif isinstance(error, SystemExit):
            self.finish(exit_code_of(error.code))
        else:
            self.finish(0 if error is None else 1)

    def __repr__(self) -> str:
        return f"<Run {self.path} {self.state}, {'resumed, ' if self.resumed else ''}step {self.step}>"


def _plain(name: object) -> str:
    """A file's name as the run has it, as far as it may be one."""
    try:
        return files.safe_name(name)
    except UnsafeName:
        return str(name)


def _step_number(step: object) -> int:
    try:
        number = operator.index(step)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if isinstance(step, bool) or not 0 <= number < 1 << 53:
        raise InvalidValue(f"step={step!r:.60} is no step: pass an integer from 0 to 2**53.", key="step")
    return number
