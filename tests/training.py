"""A client that trains, in a process of its own to be killed, and whether a server then agrees with its record."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_resume import _init, _there, keeper
from jupyter_resume.digests import md5_of
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store
from jupyter_resume.sync import background
from jupyter_resume.sync.bringing import Brought, bring
from jupyter_resume.sync.connecting import connect

from .processes import Counters, at_home, started
from .serving import KEY, Served

PATH = RunPath("local", "kill", "the-run")
THE_RUN: dict[str, Any] = {"project": "kill", "id": "the-run", "resume": "allow"}

BEGUN_AT, LOGGED, FINISH = range(3)


def train(home: Path, counters: Counters, url: str, seed: int) -> None:
    """Log rows, and now and then change everything else that a run has, until killed or told to finish."""
    at_home(home, WANDB_BASE_URL=url, WANDB_API_KEY=KEY, JUPYTER_RESUME_SYNC_INTERVAL="0.1", NO_PROXY="127.0.0.1")
    keeper.PERIOD, background.LONGEST = 0.02, 0.2
    vars(_there)["BEHIND"] = 1.0
    chosen = random.Random(seed)
    run = _init.init(**THE_RUN)
    n = run.step
    live = home.parent / "live.bin"
    run.save(live, policy="live")
    counters[BEGUN_AT] = n + 1
    while not counters[FINISH]:
        run.log({"n": n, "loss": 1 / (n + 1), "accuracy": chosen.random()}, commit=chosen.random() < 0.9)
        n = run.step
        counters[LOGGED] = n
        what = chosen.random()
        if what < 0.01:
            run.config.update({"lr": chosen.random(), f"k{chosen.randrange(5)}": [n, {"x": None}]})
        elif what < 0.02:
            run.summary.update({"best": chosen.random()})
        elif what < 0.03:
            run.notes, run.tags = f"at {n}", (f"t{chosen.randrange(3)}", "b")
        elif what < 0.04:
            file = home.parent / f"now-{chosen.randrange(3)}.bin"
            file.write_bytes(chosen.randbytes(chosen.randrange(20_000)))
            run.save(file, policy="now")
        elif what < 0.06:
            live.write_bytes(chosen.randbytes(chosen.randrange(20_000)))
        time.sleep(0.002)  # some hundred rows a second
    run.finish()


def sync(store: Store, url: str, patience: float = 10) -> Brought:
    """What ``jupyter resume sync`` does with the run."""
    remote = connect(url, patience, environ={"WANDB_API_KEY": KEY})
    return bring(store, PATH, remote, "local")


def agree(store: Store, server: Served) -> None:
    """The server has what the record has: each row once and in order, the files, and what is said of the run."""
    record = store.record(PATH)
    tail = record.tail()
    assert tail is not None
    client = server.client(project=PATH.project)
    assert client.history(PATH.run_id) == list(record.history())
    counts = client.run(PATH.run_id, "historyLineCount conflictCount outOfOrderCount notes tags config summaryMetrics")
    assert (counts["historyLineCount"], counts["conflictCount"], counts["outOfOrderCount"]) == (tail.point.rows, 0, 0)
    assert {key: value["value"] for key, value in json.loads(counts["config"]).items() if key != "_wandb"} == (
        tail.point.config
    )
    summary = json.loads(counts["summaryMetrics"])
    assert {key: value for key, value in summary.items() if key != "_wandb"} == tail.point.summary
    assert (counts["notes"], counts["tags"]) == (tail.point.meta.get("notes"), tail.point.meta.get("tags", []))
    there = {node["name"]: node["md5"] for node in client.files(PATH.run_id)}
    assert there == {name: md5_of(store.blobs(PATH).path(e.digest)) for name, e in tail.point.files.items()}


def content(server: Served) -> dict[Path, bytes]:
    """All that the server keeps of the run."""
    folder = Store(server.home).folder(PATH)
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def agree_twice(store: Store, server: Served, url: str | None = None) -> None:
    """Nothing is missing after a sync, and another one changes nothing; ``url`` is where the run's replica is."""
    sync(store, url or server.url)
    agree(store, server)
    before = content(server)
    again = sync(store, url or server.url)
    assert (again.rows, again.files) == (0, ())
    assert content(server) == before


@contextlib.contextmanager
def training(home: Path, tmp_path: Path, url: str, instants: random.Random) -> Iterator[tuple[Any, Counters]]:
    """A client that trains; it has begun."""
    counters = Counters(tmp_path / "counters")
    counters[BEGUN_AT] = counters[FINISH] = 0
    with started(train, home, counters, url, instants.randrange(1 << 32)) as child:
        counters.wait(BEGUN_AT, 1)
        yield child, counters


def end(child: Any, counters: Counters) -> None:
    """Have the client finish its run."""
    counters[FINISH] = 1
    child.join(60)
    assert child.exitcode == 0


def taken(server: Served, counters: Counters) -> None:
    """Wait until the server has a row that was logged from now on."""
    wanted, end = counters[LOGGED], time.monotonic() + 60
    client = server.client(project=PATH.project)
    while (client.resume(PATH.run_id) or {"historyLineCount": 0})["historyLineCount"] <= wanted:
        assert time.monotonic() < end, server.stderr
        time.sleep(0.02)  # a server tells nobody
