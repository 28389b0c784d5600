"""Kill tests over the network: whatever dies, and whenever, the server ends up with every row once and every file.

The instants are drawn with a seed of its own each time; a failure prints it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume import _init, _there, keeper
from jupyter_resume.digests import md5_of
from jupyter_resume.errors import RemoteUnreachable
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store
from jupyter_resume.sync import background
from jupyter_resume.sync.bringing import Brought, bring
from jupyter_resume.sync.connecting import connect

from .processes import Counters, at_home, started
from .serving import KEY, Served, served
from .unreliable import Fault, unreliable

PATH = RunPath("local", "kill", "the-run")
THE_RUN: dict[str, Any] = {"project": "kill", "id": "the-run", "resume": "allow"}

BEGUN_AT, LOGGED, FINISH = range(3)


@pytest.fixture
def instants() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


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
        time.sleep(0.001)  # some hundred rows a second
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


@pytest.mark.parametrize("part", range(5))
def test_a_client_killed_at_twenty_instants_leaves_nothing_that_the_next_session_or_a_sync_does_not_bring(
    home: Path, store: Store, tmp_path: Path, instants: random.Random, part: int
) -> None:
    counters = Counters(tmp_path / "counters")
    expected = 0
    with served(tmp_path / "server", "--quiet") as server:
        for _ in range(20):
            counters[BEGUN_AT] = counters[LOGGED] = 0
            with started(train, home, counters, server.url, instants.randrange(1 << 32)) as child:
                if instants.random() < 0.8:
                    counters.wait(BEGUN_AT, 1)
                    assert counters[BEGUN_AT] == expected + 1
                time.sleep(instants.random() * 0.3)  # any instant will do
                child.kill()
                child.join()
            if (tail := store.record(PATH).tail()) is not None:
                expected = tail.point.next_step
                assert expected >= counters[LOGGED]
                if instants.random() < 0.4:
                    sync(store, server.url)
                    agree(store, server)
        agree_twice(store, server)
        assert server.client(project=PATH.project).run(PATH.run_id, "state")["state"] == "running"
        with training(home, tmp_path, server.url, instants) as (child, counters):
            end(child, counters)
        agree(store, server)
        assert server.client(project=PATH.project).run(PATH.run_id, "state")["state"] == "finished"


def fix_port(server: Served) -> None:
    """Let the server listen at the same port when it is started again."""
    server.options = (*server.options, "--port", server.url.rpartition(":")[2])


def kill(server: Served) -> None:
    """SIGKILL."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.log.close()
    assert server.process.stdout is not None
    server.process.stdout.close()


def taken(server: Served, counters: Counters) -> None:
    """Wait until the server has a row that was logged from now on."""
    wanted, end = counters[LOGGED], time.monotonic() + 60
    client = server.client(project=PATH.project)
    while (client.resume(PATH.run_id) or {"historyLineCount": 0})["historyLineCount"] <= wanted:
        assert time.monotonic() < end, server.stderr
        time.sleep(0.02)  # a server tells nobody


def test_rows_that_were_logged_while_the_server_was_dead_are_there_when_it_has_come_back(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    with served(tmp_path / "server", "--quiet") as server:
        fix_port(server)
        with training(home, tmp_path, server.url, instants) as (child, counters):
            for _ in range(8):
                time.sleep(instants.random() * 0.3)  # anywhere in a post, a description or an upload
                kill(server)
                time.sleep(instants.random() * 0.2)
                server.start()
                taken(server, counters)
            end(child, counters)
        agree(store, server)
        assert server.client(project=PATH.project).run(PATH.run_id, "state")["state"] == "finished"
        agree_twice(store, server)


def test_both_may_be_killed_in_either_order_and_a_sync_brings_the_rest(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    counters = Counters(tmp_path / "counters")
    with served(tmp_path / "server", "--quiet") as server:
        fix_port(server)
        for _ in range(8):
            counters[BEGUN_AT] = 0
            with started(train, home, counters, server.url, instants.randrange(1 << 32)) as child:
                counters.wait(BEGUN_AT, 1)
                time.sleep(instants.random() * 0.4)
                for victim in instants.sample(["client", "server"], 2):
                    if victim == "server":
                        kill(server)
                    else:
                        child.kill()
                        child.join()
                    time.sleep(instants.random() * 0.1)
            if instants.random() < 0.3:
                with pytest.raises(RemoteUnreachable):
                    sync(store, server.url, patience=0.1)
            server.start()
        agree_twice(store, server)


def test_a_server_that_stands_still_for_a_while_is_waited_for_and_log_is_not_held_up(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    with served(tmp_path / "server", "--quiet") as server:
        with training(home, tmp_path, server.url, instants) as (child, counters):
            taken(server, counters)
            for seconds in (0.5, 2.5):  # within the patience of one attempt, and beyond it
                server.process.send_signal(signal.SIGSTOP)
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    counters.wait(LOGGED, counters[LOGGED] + 50)
                server.process.send_signal(signal.SIGCONT)
                taken(server, counters)
            end(child, counters)
        agree(store, server)
        agree_twice(store, server)


def test_a_client_killed_while_the_server_stands_still_loses_and_doubles_nothing(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    """What it had sent is taken after its death, and perhaps after its successor has asked where the run stands."""
    with served(tmp_path / "server", "--quiet") as server:
        for _ in range(4):
            with training(home, tmp_path, server.url, instants) as (child, counters):
                taken(server, counters)
                server.process.send_signal(signal.SIGSTOP)
                counters.wait(LOGGED, counters[LOGGED] + 100)
                time.sleep(instants.random() * 0.3)
                child.kill()
                child.join()
                server.process.send_signal(signal.SIGCONT)
            if instants.random() < 0.5:
                sync(store, server.url)
        agree_twice(store, server)


def test_an_address_that_refuses_for_a_while_is_found_again(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    with served(tmp_path / "server", "--quiet") as server, unreliable(server.url) as network:
        with training(home, tmp_path, network.url, instants) as (child, counters):
            for _ in range(4):
                taken(server, counters)
                network.close()
                counters.wait(LOGGED, counters[LOGGED] + 200)
                network.open()
                taken(server, counters)
            end(child, counters)
        agree(store, server)
        agree_twice(store, server, network.url)


def test_a_run_that_ended_while_nothing_could_be_reached_is_told_so_later(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    with served(tmp_path / "server", "--quiet") as server, unreliable(server.url) as network:
        with training(home, tmp_path, network.url, instants) as (child, counters):
            taken(server, counters)
            network.close()
            counters.wait(LOGGED, counters[LOGGED] + 50)
            end(child, counters)
        network.open()
        client = server.client(project=PATH.project)
        assert client.run(PATH.run_id, "state")["state"] == "running"
        agree_twice(store, server, network.url)
        assert client.run(PATH.run_id, "state")["state"] == "finished"


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.CUT, Fault.REPLY_LOST, Fault.REPLY_CUT, Fault.TWICE])
def test_whatever_befalls_every_third_request_each_row_is_there_once(
    home: Path, store: Store, tmp_path: Path, instants: random.Random, fault: Fault
) -> None:
    turn = itertools.cycle([Fault.NONE, Fault.NONE, fault])
    with (
        served(tmp_path / "server", "--quiet") as server,
        unreliable(server.url, lambda request: next(turn)) as network,
    ):
        with training(home, tmp_path, network.url, instants) as (child, counters):
            while network.met[fault] < 6:
                taken(server, counters)
            end(child, counters)
        network.faults = lambda request: Fault.NONE
        agree_twice(store, server, network.url)


def test_clients_killed_on_a_network_of_every_fault_leave_a_run_that_is_whole(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    kinds = [Fault.REFUSED, Fault.CUT, Fault.REPLY_LOST, Fault.REPLY_CUT, Fault.TWICE]
    turn = itertools.cycle(instants.sample([*kinds, *[Fault.NONE] * 15], 20))
    counters = Counters(tmp_path / "counters")
    with (
        served(tmp_path / "server", "--quiet") as server,
        unreliable(server.url, lambda request: next(turn)) as network,
    ):
        for _ in range(10):
            counters[BEGUN_AT] = 0
            with started(train, home, counters, network.url, instants.randrange(1 << 32)) as child:
                counters.wait(BEGUN_AT, 1)
                time.sleep(instants.random() * 0.5)
                child.kill()
                child.join()
        assert sum(network.met[kind] for kind in kinds) >= 8
        network.faults = lambda request: Fault.NONE
        agree_twice(store, server, network.url)


def test_a_post_that_arrives_after_the_clients_successor_has_asked_writes_over_nothing(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    """A post of the dead session lies on the way while the next one begins, and arrives behind what that one sends."""
    held: list[str] = []

    def faults(request: str) -> Fault:
        if "file_stream" in request and counters[LOGGED] > 50 and not held:
            held.append(request)
            return Fault.HELD
        return Fault.NONE

    counters = Counters(tmp_path / "counters")
    with served(tmp_path / "server", "--quiet") as server, unreliable(server.url, faults) as network:
        with training(home, tmp_path, network.url, instants) as (child, counters):
            end_of_wait = time.monotonic() + 60
            while not held:
                assert time.monotonic() < end_of_wait
                time.sleep(0.01)
            child.kill()
            child.join()
        with training(home, tmp_path, network.url, instants) as (child, counters):
            taken(server, counters)
            network.let_through.set()
            taken(server, counters)
            end(child, counters)
        agree_twice(store, server, network.url)
