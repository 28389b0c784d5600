"""Before a run goes on here: what is here and what the server has become one resume point.

Nothing is lost and nothing overwritten: where both sides have gone on, the user chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..remote.base import RemotePoint
from ..store.follow import Cursor, Row
from ..store.record import Record, ResumePoint
from ..store.replica import Divergence, Replica, Shift
from .merge import merge, take_description, take_history
from .relation import Diverged, GoneOn, InStep, Scan, relate


@dataclass(frozen=True)
class Reconciled:
    """How the run goes on: ``rewound_to`` is where the record is cut, if rows of it are set aside."""

    diverged: Diverged | None = None
    rewound_to: tuple[int, int] | None = None


def reconcile(
    record: Record | None,
    point: ResumePoint,
    replica: Replica,
    there: RemotePoint | None,
    scan: Scan,
    choice: str | None = None,
) -> Reconciled:
    """Change ``point`` and ``replica`` so that the run goes on from both; ``record`` is None for one that is not here.

    What is `Diverged` is returned, and noted in ``replica``, unless ``choice`` is ``"adopt"`` or ``"append"``.
    ``scan``: see `relate`; it may raise.
    """
    if there is None or record is None:
        forget(replica)
    if there is None:
        return Reconciled()
    relation = GoneOn() if record is None else relate(record, replica, there, scan)
    rewound_to = None
    if isinstance(relation, InStep):
        go_on(replica, relation)
        _raise_steps(point, replica)
        point.last_step = max(point.last_step, there.last_step)
        point.runtime = max(point.runtime, there.runtime)
        theirs = {key: value for key, value in there.summary.items() if not key.startswith("_")}
        point.summary = {**point.summary, **merge(replica.summary, point.summary, theirs)}
    elif isinstance(relation, GoneOn):
        if relation.cut is None:
            _follow(point, replica, there)
        else:
            rewound_to = adopt(point, replica, relation.cut, there)
    elif choice == "append":
        append(replica, relation.first, there)
        _raise_steps(point, replica)
        point.summary = {**{k: v for k, v in there.summary.items() if not k.startswith("_")}, **point.summary}
        point.summary["_step"] = point.last_step
    elif choice == "adopt":
        rewound_to = adopt(point, replica, relation.cut, there)
    else:
        replica.diverged = Divergence(relation.first.number, there.last_step)
        return Reconciled(diverged=relation)
    take_description(point, there, replica)
    take_counts(replica, there)
    replica.diverged, replica.rewound = None, there.rewound_to
    return Reconciled(rewound_to=rewound_to)


def go_on(replica: Replica, relation: InStep) -> None:
    """The server lacks what lies behind the cursor, and nothing else."""
    replica.rows, replica.cursor, replica.last = relation.rows, relation.cursor, relation.last
    if not relation.rows:
        replica.shifts = []
    if relation.shift is not None:
        replica.shifts = [known for known in replica.shifts if known.since < relation.rows]
        replica.move(relation.shift)


def append(replica: Replica, first: Row, there: RemotePoint) -> int:
    """Let the rows from ``first`` on go behind what the server has; by how many steps they are moved."""
    steps: int = max(0, there.next_step - first.row["_step"])
    replica.shifts = [known for known in replica.shifts if known.since < first.number]
    replica.move(Shift(first.number, there.rows - first.number, steps))
    replica.rows, replica.cursor, replica.last = first.number, first.start, dict(there.tail)
    return steps


def adopt(point: ResumePoint, replica: Replica, cut: Cursor, there: RemotePoint) -> tuple[int, int]:
    """Stand where the server stands; where the record is cut, so that the rows behind are set aside."""
    point.rows, point.last_step, point.summary, point.runtime = cut.rows, cut.step, {}, 0.0
    replica.cursor = cut
    _follow(point, replica, there)
    return cut.token, cut.offset


def _follow(point: ResumePoint, replica: Replica, there: RemotePoint) -> None:
    known = point.rows, point.last_step
    take_history(point, there)
    point.rows = max(known[0], there.rows)  # the record's own numbers, and its steps, only ever rise
    point.last_step = max(known[1], there.last_step)
    replica.rows, replica.last = point.rows, dict(there.tail)
    replica.summary = dict(there.summary)
    replica.shifts = [shift for shift in replica.shifts if shift.since < point.rows]
    replica.move(Shift(point.rows, there.rows - point.rows, 0))


def _raise_steps(point: ResumePoint, replica: Replica) -> None:
    """What is logged from now on has the steps of the server, also where rows before it are moved."""
    shift = replica.shift(point.rows)
    if shift.steps:
        point.last_step += shift.steps
        point.summary["_step"] = point.last_step
        replica.move(Shift(point.rows, shift.rows, 0))


def forget(replica: Replica) -> None:
    """The server has nothing of the run: all that is here is to be sent."""
    replica.storage_id = None
    replica.rows = replica.events = replica.output = replica.ended = 0
    replica.cursor, replica.last, replica.shifts = Cursor(), {}, []
    replica.diverged = replica.rewound = None
    replica.said, replica.summary, replica.internal, replica.files = {}, {}, {}, {}


def take_counts(replica: Replica, there: RemotePoint) -> None:
    """Remember how the server knows the run, and how many lines of events and output it has."""
    if there.storage_id != replica.storage_id:  # it was deleted there, and begun anew by another machine
        replica.files = {}
    replica.storage_id, replica.internal = there.storage_id, dict(there.internal)
    replica.events, replica.output = _known(there.events), _known(there.output)


def _known(count: int | None) -> int:
    """A count of lines; where the server does not say it, none is ever sent."""
    return 1 << 62 if count is None else count
