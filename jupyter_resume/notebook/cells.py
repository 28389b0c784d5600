"""Notes in the record of each open run which cell runs: as a cell begins, since a killed kernel says nothing more.

As the cell ends it is noted whether the run moved in it: if not, the run stays in the cell in which it moved last.
Nothing of this is done by `log`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import _active, cell
from .._run import Run
from ..cell import Cell
from ..store import lines

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_entered: dict[Run, tuple[Cell | None, float]] = {}
"""Of the runs that were open as the cell began: the cell that they were in before, and when they had moved last."""


def follow(shell: InteractiveShell) -> None:
    """Note the cells of a shell from now on, for as long as it lives."""
    shell.events.register("pre_run_cell", before_cell)  # to register again changes nothing
    shell.events.register("post_run_cell", after_cell)


def before_cell(info: Any) -> None:
    """IPython's ``pre_run_cell``; a frontend that says no id has no cells."""
    cell_id = getattr(info, "cell_id", None)
    if not cell.is_id(cell_id):
        return
    _entered.clear()
    for run in _written():
        _entered[run] = (cell.of(run.writer.point.meta), run.writer.point.updated)
        _note(run, Cell(cell_id, True, time.time()))


def after_cell(result: Any) -> None:
    """IPython's ``post_run_cell``; a magic that runs code of its own within the cell is none."""
    cell_id = getattr(result.info, "cell_id", None)
    for run in _written():
        now = cell.of(run.writer.point.meta)
        if now is None or not now.running or now.id != cell_id:
            continue
        before, moved = _entered.get(run, (now, -1.0))  # one that was begun in this cell is in it
        last = before if run.writer.point.updated == moved else now
        _note(run, last and Cell(last.id, False, time.time()))
    if cell_id is not None:
        _entered.clear()


def _written() -> list[Run]:
    return [run for run in _active.open_runs() if not (run.closed or run.forked or run.fenced)]


def _note(run: Run, where: Cell | None) -> None:
    run.writer.put(lines.META, cell.said(where))
