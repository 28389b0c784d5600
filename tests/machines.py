"""One run on several machines and a server in memory: what the tests of sync do, in their words.

A test module says ``pytest_plugins = ("tests.machines_fixtures",)`` and asks for `tracker`, `on` and `told`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupyter_resume as wandb
from jupyter_resume import _active, view
from jupyter_resume.errors import RemoteUnreachable
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record
from jupyter_resume.sync.background import Background
from jupyter_resume.sync.bringing import Brought, bring
from jupyter_resume.sync.connecting import connect

from .remotes import URL, Kept, Tracker, unreachable

PATH = RunPath("alice", "demo", "r1")
On = Callable[[str], None]
Told = Callable[[], list[str]]


def begin(**asked: Any) -> wandb.Run:
    """The run of the test, as its cell begins it."""
    return wandb.init(project="demo", **{"id": "r1", "resume": "allow", **asked})


def session(*values: Any, files: dict[str, bytes] | None = None, **asked: Any) -> wandb.Run:
    """A whole session of it: begun, values logged, files saved, finished."""
    run = begin(**asked)
    log(run, *values)
    for name, content in (files or {}).items():
        save(run, name, content)
    run.finish()
    return run


def goes_on(step: int, **asked: Any) -> wandb.Run:
    """A session that begins at this step, and logs its number."""
    run = begin(**asked)
    assert run.step == step
    log(run, step)
    run.finish()
    return run


def running(*values: Any, **asked: Any) -> wandb.Run:
    """The run with values that the server has already; it is open."""
    run = begin(**asked)
    log(run, *values)
    flush(run)
    return run


def log(run: wandb.Run, *values: Any) -> None:
    """A row for each value."""
    for value in values:
        run.log({"v": value})


def save(run: wandb.Run, name: str, content: bytes, **how: Any) -> None:
    """Write a file and save it."""
    Path(name).write_bytes(content)
    run.save(name, **{"policy": "now", **how})


def link_of(run: wandb.Run) -> Background:
    """What keeps its replica in step."""
    assert run.link is not None
    return run.link


def flush(run: wandb.Run) -> None:
    """Send what waits; nothing may be the matter."""
    error = link_of(run).flush()
    assert error is None, error


def lose(run: wandb.Run) -> None:
    """As when the process is killed: nothing more is sent, and its locks are gone."""
    if run.link is not None:
        run.link._closed = True
        run.link.syncing.close()
    run.writer.release()
    _active.forget(run)


def unheard(tracker: Tracker) -> wandb.Run:
    """A run of rows 0 to 3, which the server has; that it took 2 and 3 was not heard here."""
    run = running(0, 1)
    log(run, 2, 3)
    tracker.after("append", unreachable())
    assert isinstance(link_of(run).flush(), RemoteUnreachable)
    return run


def apart(tracker: Tracker, on: On, **asked: Any) -> wandb.Run:
    """Machine A has rows 2 to 4 that wait, machine B has brought 2 and 3; A goes on."""
    on("A")
    run = running(0, 1, config={"lr": 1}, notes="A")
    tracker.down = unreachable()
    log(run, "A2", "A3", "A4")
    run.summary["best"] = "A"
    run.finish()
    tracker.down = None
    on("B")
    run = begin(config={"lr": 2})
    log(run, "B2", "B3")
    run.summary["worst"] = "B"
    run.finish()
    on("A")
    return begin(**asked)


def sync(run_id: str = "r1", **how: Any) -> Brought:
    """As ``jupyter resume sync``."""
    store = Store()
    path = next(entry.path for entry in store.catalog.runs() if entry.path.run_id == run_id)
    return bring(store, path, connect(URL), "alice", **how)


def whole(run: Kept, values: list[Any]) -> None:
    """The server has exactly these values of ``v``, at steps that rise."""
    assert run.values("v") == values
    assert run.steps == sorted(set(run.steps))


def superseded(record: Record) -> list[Any]:
    """The values that are set aside, all of them for this reason."""
    assert {why for why, _ in record.set_aside()} == {"superseded"}
    return [row["v"] for _, row in record.set_aside()]


def server_of(path: RunPath = PATH) -> str:
    """How the run stands with its server, asked of the store as from another process."""
    tail = Store().record(path).tail()
    assert tail is not None
    return view.of_record(Store(), tail).server or ""
