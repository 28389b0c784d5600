"""How a run stands with its server, in words."""

from __future__ import annotations

from dataclasses import dataclass

from ..remote.answers import host_of
from ..store.replica import Replica


@dataclass(frozen=True)
class Standing:
    """How a run stands with its server. ``trouble`` is what is the matter, in words.

    ``waiting`` counts rows, ``files`` files that it lacks; ``sides`` are the steps reached here and there, where both
    have gone on.
    """

    host: str
    waiting: int
    trouble: str | None = None
    files: int = 0
    sides: tuple[int, int] | None = None

    @classmethod
    def of(cls, replica: Replica, rows: int, last_step: int, files: int, trouble: str | None = None) -> Standing:
        """How a record of so many rows, up to ``last_step``, stands with its replica."""
        diverged = replica.diverged
        waiting = max(0, rows - (replica.rows if diverged is None else diverged.first))
        sides = None if diverged is None else (last_step, diverged.there)
        return cls(host_of(replica.base_url), waiting, trouble, files, sides)

    def __str__(self) -> str:
        if self.sides is not None:
            both = f"the run {gone_on(self.host, self.waiting, *self.sides)}"
            return f"{self.trouble}; {both}" if self.trouble else both
        what = in_words(self.waiting, self.files)
        if self.trouble:
            return f"{self.trouble}; {what} here, to be sent" if what else self.trouble
        return f"{what} to send to {self.host}" if what else f"in step with {self.host}"


def gone_on(host: str, waiting: int, here: int, there: int) -> str:
    """What is said of a run that has gone on here and there: both sides, and the choice."""
    return (
        f"has gone on at {host} to step {there}, and {in_words(waiting, 0)} up to step {here} "
        f"{'waits' if waiting == 1 else 'wait'} here: choose by --if-diverged (if_diverged=) 'adopt' (follow the "
        "server; what waits is kept aside), 'append' (send it behind the server's; %wb_sync and jupyter resume sync do "
        "too) or 'fork' (go on with it as a new run)"
    )


def in_words(rows: int, files: int) -> str:
    """So many rows and files, in words; empty for none."""
    counts = (rows, "row"), (files, "file")
    return " and ".join(f"{count:,} {noun if count == 1 else noun + 's'}" for count, noun in counts if count)
