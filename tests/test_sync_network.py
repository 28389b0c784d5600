"""The server is SIGKILLed or stands still, the network between fails: the server ends up with every row once.

The instants are drawn with a seed of its own each time; a failure prints it.
"""

from __future__ import annotations

import itertools
import random
import signal
import time
from pathlib import Path

import pytest

from jupyter_resume.errors import RemoteUnreachable
from jupyter_resume.store.home import Store

from .processes import Counters, started
from .serving import Served, served
from .training import BEGUN_AT, LOGGED, PATH, agree, agree_twice, end, sync, taken, train, training
from .unreliable import Fault, unreliable


@pytest.fixture
def instants() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


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


def test_rows_that_were_logged_while_the_server_was_dead_are_there_when_it_has_come_back(
    home: Path, store: Store, tmp_path: Path, instants: random.Random
) -> None:
    with served(tmp_path / "server", "--quiet") as server:
        fix_port(server)
        with training(home, tmp_path, server.url, instants) as (child, counters):
            for _ in range(5):
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
        for _ in range(5):
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
        assert server.client(project=PATH.project).history(PATH.run_id) == list(store.record(PATH).history())
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
