"""What is known of a run's server before the run begins: nothing, where none is asked (``local``, ``offline``)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import RunInUse
from .identity import DEFAULT_ENTITY, RunPath
from .policy import Asked
from .settings import Settings
from .store.home import Store
from .store.record import ResumePoint, Tail

if TYPE_CHECKING:
    from ._run import Run
    from .sync.background import Background


@dataclass
class Alone:
    """No server: it says nothing of any run. `_there.There` is one that is asked.

    ``entities`` are those that the run may have in this machine's store, the likeliest first. ``path`` is the run as
    the server has it; ``forked`` is the run that goes on instead, if the user chose so.
    """

    store: Store
    base_url: str
    entities: tuple[str, ...]
    path: RunPath | None = None
    forked: RunPath | None = None

    @property
    def entity(self) -> str:
        """The entity of a run that begins."""
        return self.entities[0]

    @property
    def exists(self) -> bool:
        """Whether the server has the run, and something was ever written to it."""
        return False

    def ask(self, path: RunPath, known: bool, given: str | None = None) -> None:
        """Ask for the run that is at ``path`` here; ``known`` is False for an id that was made just now.

        ``given``: the id as it was asked for, which another client may have left as it is.
        """

    def refuse_if_unsure(self, asked: Asked) -> None:
        """Raise why the server cannot be asked, if the policy cannot do without its answer."""

    def reconcile(self, found: Tail | None, point: ResumePoint, label: str) -> tuple[int, int] | None:
        """Make ``point`` and the replica go on from both sides; where the record is cut, if rows are set aside.

        Sets `forked` if it is another run that goes on. Raises RunDiverged.
        """
        return None

    def link(self, run: Run) -> Background | None:
        """What keeps the run's replica in step, and reconnects by itself; None where there is no server."""
        return None


def reach(store: Store, asked_for: Settings, choice: str | None) -> Alone:
    """Reach the server, if there is to be one; only then what speaks to it is imported."""
    if asked_for.mode == "online":
        from ._there import There

        return There.of(store, asked_for, choice)
    known = asked_for.entity
    if known == DEFAULT_ENTITY and asked_for.mode != "local":
        known = store.hosts.entity(asked_for.base_url) or known
    return Alone(store, asked_for.base_url, entities(store, asked_for, known))


def entities(store: Store, asked_for: Settings, known: str) -> tuple[str, ...]:
    """The entities that a run may have here; ``known`` is the likeliest."""
    others = (store.hosts.entity(asked_for.base_url), DEFAULT_ENTITY) if asked_for.entity == DEFAULT_ENTITY else ()
    return tuple(dict.fromkeys(name for name in (known, *others) if name))


def refuse_other_sdk(run_id: str) -> None:
    """Raise RunInUse if the wandb package has this run open in this process: both would write the same lines."""
    other = getattr(sys.modules.get("wandb"), "run", None)
    if getattr(other, "id", None) == run_id and type(other).__module__.partition(".")[0] == "wandb":
        raise RunInUse(
            f"Run {run_id} is open in this process as wandb.run, which writes to it too: call wandb.finish() first and "
            "then init() or %wb_init again, or go on with takeover=True (%wb_init --takeover) and log by one of them."
        )
