"""How a run stands with its server, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How a run stands with its server. ``trouble`` is what is the matter, in words.

    ``waiting`` counts rows, ``files`` files that it lacks.
    """

    host: str
    waiting: int
    trouble: str | None = None
    files: int = 0

    def __str__(self) -> str:
        what = in_words(self.waiting, self.files)
        if self.trouble:
            return f"{self.trouble}; {what} here, to be sent" if what else self.trouble
        return f"{what} to send to {self.host}" if what else f"in step with {self.host}"


def in_words(rows: int, files: int) -> str:
    """So many rows and files, in words; empty for none."""
    counts = (rows, "row"), (files, "file")
    return " and ".join(f"{count:,} {noun if count == 1 else noun + 's'}" for count, noun in counts if count)
