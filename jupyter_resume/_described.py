"""What a run is: its identity, how it stands, and what its user says of it and may change while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import settings
from .errors import InvalidInput, RunClosed
from .identity import RunPath
from .store import lines
from .store.record import FileEntry
from .store.writer import Writer


class Described:
    """A run as its writer has it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @property
    def id(self) -> str:
        """The run id."""
        return self._writer.point.run_id

    @property
    def entity(self) -> str:
        """The entity: a person or a team."""
        return self._writer.point.entity

    @property
    def project(self) -> str:
        """The project."""
        return self._writer.point.project

    @property
    def run_path(self) -> RunPath:
        """Entity, project and id as this machine's store has them."""
        return self._writer.point.path

    @property
    def path(self) -> str:
        """``entity/project/run_id``, as `restore` and `Api` take it."""
        return str(self.run_path)

    # How it stands

    @property
    def state(self) -> str:
        """``running``, ``taken over``, or how the run ended: ``finished``, ``failed``, ``interrupted``."""
        if self.fenced:
            return "taken over"
        return self._writer.point.state

    @property
    def closed(self) -> bool:
        """Whether this handle can write no more."""
        return self._writer.closed

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that writes the run."""
        return self._writer.forked

    @property
    def fenced(self) -> bool:
        """Whether another process took the run over; what is logged here is no part of it any more."""
        return self._writer.fenced_by is not None

    @property
    def writer(self) -> Writer:
        """What writes the run's record."""
        return self._writer

    @property
    def in_memory(self) -> int:
        """Lines that wait in memory because the disk takes none; 0 as a rule."""
        return self._writer.in_memory

    @property
    def files(self) -> dict[str, FileEntry]:
        """The saved files, by name."""
        return self._writer.files()

    # What is said of it

    @property
    def name(self) -> str:
        """The display name; the id if none was given."""
        return str(self._writer.point.meta.get("name") or self.id)

    @name.setter
    def name(self, text: str) -> None:
        self.describe(name=_text("name", text))

    @property
    def notes(self) -> str | None:
        """Notes on the run; assigning replaces them."""
        notes = self._writer.point.meta.get("notes")
        return None if notes is None else str(notes)

    @notes.setter
    def notes(self, text: str | None) -> None:
        self.describe(notes=None if text is None else _text("notes", text))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; assigning replaces them."""
        return tuple(self._writer.point.meta.get("tags") or ())

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        self.describe(tags=list(settings.read_tags(tags) or ()))

    @property
    def group(self) -> str | None:
        """The group of runs that this one belongs to."""
        return self._writer.point.meta.get("group")

    @property
    def job_type(self) -> str | None:
        """What kind of job the run is, such as ``train``."""
        return self._writer.point.meta.get("job_type")

    @property
    def total(self) -> int | None:
        """The step at which the run is expected to be done, for a progress bar; None if nobody said."""
        total = self._writer.point.meta.get("total")
        return total if isinstance(total, int) else None

    @total.setter
    def total(self, steps: int | None) -> None:
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or not 0 < steps < 1 << 53):
            raise InvalidInput(f"total={steps!r:.60} is no number of steps: pass a positive integer, or None.")
        if steps != self.total:
            self.describe(total=steps)

    def describe(self, **values: Any) -> None:
        """Set name, notes, tags, group, job_type or total. Raises RunClosed."""
        if self.closed:
            raise self._ended()
        self._writer.put(lines.META, values)

    def _ended(self) -> RunClosed:
        return RunClosed(
            f"Run {self.path} has ended ({self.state}): init(id={self.id!r}, resume='allow') continues it."
        )


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{what}={value!r:.60} is {type(value).__name__}: use a string.")
    return value
