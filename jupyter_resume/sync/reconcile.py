"""Before a run goes on here: what is here and what the server has become one resume point.

Nothing is lost and nothing overwritten: where both sides have gone on, the user chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInput
from ..remote.base import RemotePoint
from ..store.follow import Cursor
from ..store.record import Record, ResumePoint
from ..store.replica import Replica, Shift
from .merge import merge, take_description, take_history
from .relation import Diverged, InStep, relate

CHOICES = ("adopt", "append", "fork")


def read_choice(text: str | None) -> str | None:
    """What to do with a run that has gone on here and there. Raises InvalidInput."""
    if text is not None and text not in CHOICES:
        raise InvalidInput(f"if_diverged={text!r:.40} is no choice: use 'adopt', 'append' or 'fork'.")
    return text


@dataclass(frozen=True)
class Reconciled:
    """How the run goes on: ``rewound_to`` is where the record is cut, if rows of it are set aside."""

    diverged: Diverged | None = None
    rewound_to: tuple[int, int] | None = None


def reconcile(
    record: Record | None, point: ResumePoint, replica: Replica, there: RemotePoint | None, choice: str | None = None
) -> Reconciled:
    """Change ``point`` and ``replica`` so that the run goes on from both; ``record`` is None for one that is not here.

    What is `Diverged` is returned and left as it is, unless ``choice`` is ``"adopt"`` or ``"append"``.
    """
    if there is None:
        forget(replica)
        return Reconciled()
    relation = None if record is None else relate(record, replica, there)
    if isinstance(relation, Diverged) and choice not in ("adopt", "append"):
        return Reconciled(diverged=relation)
    rewound_to = None
    if isinstance(relation, InStep):
        replica.rows, replica.cursor, replica.last = relation.rows, relation.cursor, relation.last
        theirs = {key: value for key, value in there.summary.items() if not key.startswith("_")}
        point.summary = {**point.summary, **merge(replica.summary, point.summary, theirs)}
    elif isinstance(relation, Diverged) and choice == "append":
        shift = Shift(relation.first.number, there.rows - relation.first.number, 0)
        steps = max(0, there.next_step - relation.first.row["_step"])
        before = [known for known in replica.shifts if known.since < shift.since]
        replica.rows, replica.cursor, replica.last = shift.since, relation.first.start, dict(there.tail)
        replica.shifts = [*before, Shift(shift.since, shift.rows, steps), Shift(point.rows, shift.rows, 0)]
        point.last_step += steps
        point.summary = {**{k: v for k, v in there.summary.items() if k != "_wandb"}, **point.summary}
        point.summary["_step"] = point.last_step
    else:
        if isinstance(relation, Diverged):
            rewound_to = relation.first.start.token, relation.first.start.offset
            point.rows, replica.cursor = relation.first.number, relation.first.start
            point.last_step, point.summary, point.runtime = -1, {}, 0.0
        known = point.rows
        take_history(point, there)
        point.rows = max(known, there.rows)  # the record's own numbers only ever rise
        replica.rows, replica.last = point.rows, dict(there.tail)
        replica.shifts.append(Shift(point.rows, there.rows - point.rows, 0))
    take_description(point, there, replica)
    take_counts(replica, there)
    return Reconciled(rewound_to=rewound_to)


def forget(replica: Replica) -> None:
    """The server has nothing of the run: all that is here is to be sent."""
    replica.storage_id = None
    replica.rows = replica.events = replica.output = replica.ended = 0
    replica.cursor, replica.last, replica.shifts = Cursor(), {}, []
    replica.said, replica.summary, replica.internal, replica.files = {}, {}, {}, {}


def take_counts(replica: Replica, there: RemotePoint) -> None:
    """Remember how the server knows the run, and how many lines of events and output it has."""
    replica.storage_id, replica.internal = there.storage_id, dict(there.internal)
    replica.events, replica.output = _known(there.events), _known(there.output)


def _known(count: int | None) -> int:
    """A count of lines; where the server does not say it, none is ever sent."""
    return 1 << 62 if count is None else count
