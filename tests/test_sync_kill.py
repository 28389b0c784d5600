"""A client is SIGKILLed at any instant: the server ends up with every row once and every file.

The instants are drawn with a seed of its own each time; a failure prints it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from jupyter_resume import cli
from jupyter_resume.store.home import Store

from .processes import Counters, started
from .serving import KEY, served
from .training import BEGUN_AT, LOGGED, PATH, agree, agree_twice, content, end, sync, train, training


@pytest.fixture
def instants() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


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


def test_jupyter_resume_sync_brings_what_a_killed_client_left_and_then_nothing(
    home: Path,
    store: Store,
    tmp_path: Path,
    instants: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with served(tmp_path / "server", "--quiet") as server:
        with training(home, tmp_path, server.url, instants) as (child, counters):
            counters.wait(LOGGED, 100)
            child.kill()
            child.join()
        assert cli.main(["sync", "--base-url", server.url]) == 0
        agree(store, server)
        before = content(server)
        for asked in ([], [str(PATH)]):
            capsys.readouterr()
            assert cli.main(["sync", *asked, "--base-url", server.url]) == 0
            assert "sent" not in capsys.readouterr().out
            assert content(server) == before
