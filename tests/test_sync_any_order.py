"""Any order of logging, sending, losing answers, dying and changing machines: every row is at the server once."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_resume as wandb
from jupyter_resume import _active
from jupyter_resume.errors import RunDiverged
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record
from jupyter_resume.sync.background import Background
from jupyter_resume.sync.bringing import bring

from .remotes import URL, Tracker, unreachable

MACHINES = ("A", "B", "C")
ACTIONS = st.one_of(
    st.tuples(st.just("log"), st.integers(1, 3)),
    st.tuples(st.just("open row"), st.just(None)),
    st.tuples(st.just("flush"), st.just(None)),
    st.tuples(st.just("answer lost"), st.just(None)),
    st.tuples(st.just("down"), st.booleans()),
    st.tuples(st.just("die"), st.just(None)),
    st.tuples(st.just("finish"), st.just(None)),
    st.tuples(st.just("sync"), st.just(None)),
    st.tuples(st.just("forget"), st.just(None)),
    st.tuples(st.just("machine"), st.sampled_from(MACHINES)),
    st.tuples(st.just("mode"), st.sampled_from(("online", "online", "offline"))),
)


class World:
    """Machines, a server, and what was logged; ``run`` is the one that is open, if one is."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.tracker = Tracker()
        self.tracker.install(patch)
        patch.setattr(Background, "start", lambda link: None)
        patch.setattr(Record, "live_owner", lambda record, tail=None: None)  # all are this process; the dead are dead
        patch.setattr("jupyter_resume.notices.tell", lambda text: None)
        self.mode = "online"
        self.run: wandb.Run | None = None
        self.logged: list[int] = []
        self.count = itertools.count()
        self.machine("A")

    def machine(self, name: str) -> None:
        self.die()
        self.patch.setenv("JUPYTER_RESUME_HOME", str(self.folder / name))

    def begun(self) -> wandb.Run:
        if self.run is None:
            asked: dict[str, Any] = {"project": "demo", "id": "r", "entity": "alice", "resume": "allow"}
            try:
                self.run = wandb.init(**asked, mode=self.mode)
            except RunDiverged:
                assert self.unsent(), "nothing waits here: there is nothing to choose"
                self.run = wandb.init(**asked, mode=self.mode, if_diverged="append")
        return self.run

    def unsent(self) -> set[int]:
        """What this machine has logged that is not at the server."""
        here = (Store().record(RunPath(entity, "demo", "r")) for entity in ("alice", "local"))
        logged = {row["v"] for record in here for row in record.history()}
        return logged - set(self.tracker.one("r").values("v"))

    def log(self, rows: int) -> None:
        for _ in range(rows):
            self.logged.append(next(self.count))
            self.begun().log({"v": self.logged[-1]})

    def open_row(self) -> None:
        self.logged.append(next(self.count))
        self.begun().log({"v": self.logged[-1]}, commit=False)
        self.begun().log({"w": 1})

    def flush(self) -> None:
        link = self.begun().link
        if link is not None and isinstance(link.flush(), RunDiverged):
            link.flush("append")

    def answer_lost(self) -> None:
        if self.tracker.down is None:
            self.tracker.after("append", unreachable())
            self.flush()
            self.tracker._after.clear()

    def down(self, is_down: bool) -> None:
        self.tracker.down = unreachable() if is_down else None

    def die(self) -> None:
        if self.run is not None:
            if self.run.link is not None:
                self.run.link._closed = True
                self.run.link.syncing.close()
            self.run.writer.release()
            _active.forget(self.run)
            self.run = None

    def finish(self) -> None:
        if self.run is not None:
            self.run.finish()
            self.run = None

    def sync(self) -> None:
        self.die()
        store = Store()
        for entry in store.catalog.runs():
            if self.tracker.down is None:
                try:
                    bring(store, entry.path, self.tracker.remote(), "alice", tell=lambda text: None)
                except RunDiverged:
                    assert self.unsent(), "nothing waits here: there is nothing to choose"
                    bring(store, entry.path, self.tracker.remote(), "alice", "append", tell=lambda text: None)

    def forget(self) -> None:
        """What this machine knows of the replica is lost."""
        self.die()
        for entry in Store().catalog.runs():
            Store().replica(entry.path, URL).path.unlink(missing_ok=True)

    def do(self, action: str, how: Any) -> None:
        if action == "mode":
            self.finish()
            self.mode = how
        else:
            getattr(self, action.replace(" ", "_"))(*(() if how is None else (how,)))

    def settle(self) -> None:
        """Everything is sent, from every machine."""
        self.down(False)
        for name in MACHINES:
            self.machine(name)
            self.sync()


@settings(max_examples=100, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=3, max_size=30))
def test_every_row_is_at_the_server_once(tmp_path_factory: pytest.TempPathFactory, actions: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        world = World(tmp_path_factory.mktemp("world"), patch)
        for action, how in actions:
            world.do(action, how)
        world.settle()
        if not world.logged:
            return
        kept = world.tracker.one("r")
        assert sorted(kept.values("v")) == world.logged
        assert kept.steps == sorted(set(kept.steps))
        assert world.tracker.overwritten == []
        assert kept.summary["_step"] == kept.steps[-1]
        before = len(world.tracker.changes())
        world.settle()
        assert len(world.tracker.changes()) == before, "twice is the same as once"
        world.mode = "online"
        assert world.begun().step == kept.steps[-1] + 1
        world.die()
