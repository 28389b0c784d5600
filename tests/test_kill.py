"""SIGKILL at any instant: what was acknowledged is in the record, files are whole, and each resume continues.

The instants are drawn with a seed of its own each time; a failure prints it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume import _init
from jupyter_resume.errors import RunInUse
from jupyter_resume.files import restore_from
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store

from .processes import Counters, at_home, started

PATH = RunPath("local", "kill", "the-run")
THE_RUN: dict[str, Any] = {"project": "kill", "id": "the-run", "resume": "allow"}

BEGUN_AT, ACKNOWLEDGED, FENCED, FINISHED = range(4)


@pytest.fixture
def instants() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def log_for_ever(home: Path, counters: Counters) -> None:
    """Log at full speed; ``n`` is the step, and how many rows were acknowledged stands in shared memory."""
    at_home(home)
    run = _init.init(**THE_RUN)
    n = run.step
    counters[BEGUN_AT] = n + 1
    while True:
        run.log({"n": n, "loss": 1 / (n + 1), "note": "x" * (n % 50)})
        n += 1
        counters[ACKNOWLEDGED] = n


@pytest.mark.parametrize("part", [1, 2])
def test_every_row_whose_log_returned_survives_a_hundred_kills_and_each_resume_continues(
    home: Path, store: Store, tmp_path: Path, instants: random.Random, part: int
) -> None:
    counters, record = Counters(tmp_path / "counters"), store.record(PATH)
    counters[BEGUN_AT] = expected = 0
    for _ in range(100):
        counters[BEGUN_AT] = 0
        with started(log_for_ever, home, counters) as child:
            counters.wait(BEGUN_AT, 1)
            assert counters[BEGUN_AT] == expected + 1
            counters.wait(ACKNOWLEDGED, expected + instants.choice([1, 2, 10]))
            time.sleep(instants.random() * 0.01)  # any instant will do
            child.kill()
            child.join()
        tail = record.tail()
        assert tail is not None
        expected = tail.point.next_step
        # one more than was acknowledged may be there: killed after the write and before log() returned
        assert expected in (counters[ACKNOWLEDGED], counters[ACKNOWLEDGED] + 1)
    rows = list(record.history())
    assert [row["n"] for row in rows] == list(range(expected))
    assert [row["_step"] for row in rows] == list(range(expected))
    assert tail.token == tail.point.sessions == 100
    assert list(record.set_aside()) == []


def save_for_ever(home: Path, counters: Counters) -> None:
    """Save a file again and again; all its bytes are alike, and say which it was."""
    at_home(home)
    run = _init.init(**THE_RUN)
    n = counters[ACKNOWLEDGED]
    file = home.parent / "model.bin"
    counters[BEGUN_AT] = 1
    while True:
        n += 1
        file.write_bytes(bytes([n % 251]) * (100_000 + 1000 * (n % 7)))
        run.save("model.bin", policy="now")
        counters[ACKNOWLEDGED] = n


@pytest.mark.parametrize("part", [1, 2])
def test_a_file_is_whole_and_no_older_than_was_acknowledged_after_a_hundred_kills(
    home: Path, store: Store, tmp_path: Path, instants: random.Random, part: int
) -> None:
    counters = Counters(tmp_path / "counters")
    for kill in range(100):
        counters[BEGUN_AT] = 0
        with started(save_for_ever, home, counters) as child:
            counters.wait(BEGUN_AT, 1)
            if kill == 0 or instants.random() < 0.5:
                counters.wait(ACKNOWLEDGED, counters[ACKNOWLEDGED] + 1)
            time.sleep(instants.random() * 0.03)
            child.kill()
            child.join()
        n = counters[ACKNOWLEDGED]
        restored = restore_from(store, PATH, "model.bin", tmp_path / "restored", replace=True)
        content = restored.path.read_bytes()
        assert len(set(content)) == 1
        found = next(m for m in (n, n + 1) if content[0] == m % 251)
        assert len(content) == 100_000 + 1000 * (found % 7)
        counters[ACKNOWLEDGED] = found
    with _init.init(**THE_RUN):
        assert len(list(store.blobs(PATH).folder.iterdir())) == 1
    assert sorted(file.name for file in (tmp_path / "restored").iterdir()) == ["model.bin"]


def contend(home: Path, counters: Counters, me: int, seed: int) -> None:
    """Try to write the run, at times by taking it over, and log until killed; rows say whose they are.

    Slots: how many rows this writer logged in this life, as its own ``log`` returned.
    """
    at_home(home)
    instants = random.Random(seed)
    while True:
        try:
            run = _init.init(**THE_RUN, takeover=instants.random() < 0.3)
        except RunInUse:
            time.sleep(0.001)
            continue
        n = 0
        while not run.fenced:
            run.log({"who": f"{me} {run._writer.token} {n}"})
            n += 1
            counters[me] = run._writer.token << 32 | n
            if n % 200 == 0:
                run._tend()
        run.finish()


@pytest.mark.parametrize("part", [1, 2])
def test_of_two_writers_that_contend_and_are_killed_no_rows_are_mixed_and_none_of_the_last_ones_is_lost(
    home: Path, store: Store, tmp_path: Path, instants: random.Random, part: int
) -> None:
    counters, record = Counters(tmp_path / "counters"), store.record(PATH)
    acknowledged: dict[tuple[int, int], int] = {}
    for _ in range(50):
        ones = [started(contend, home, counters, me, instants.randrange(1 << 32)) for me in (0, 1)]
        before = record.tail()
        with ones[0] as first, ones[1] as second:
            wanted = (before.token if before else 0) + 1
            while max(counters[0], counters[1]) < wanted << 32:
                time.sleep(0.0005)
            time.sleep(instants.random() * 0.02)
            for child in instants.sample([first, second], 2):
                child.kill()
                child.join()
        for me in (0, 1):
            token, count = counters[me] >> 32, counters[me] & (1 << 32) - 1
            if count:
                acknowledged[me, token] = count
    chain = dict(record.chain())
    rows = list(record.history())
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    said = [tuple(map(int, row["who"].split())) for row in rows]
    assert said == sorted(said, key=lambda one: (one[1], one[2]))
    aside = {tuple(map(int, row["who"].split())) for _, row in record.left_behind()}
    assert aside.isdisjoint(said)
    everything = {*said, *aside}
    for (me, token), count in acknowledged.items():
        assert token in chain
        assert {(me, token, n) for n in range(count)} <= everything
        if chain[token] is None:  # the last writer was never overtaken
            assert {(me, token, n) for n in range(count)} <= set(said)
    for token in chain:
        mine = [n for _, whose, n in said if whose == token]
        assert mine == list(range(len(mine)))
        assert len({who for who, whose, _ in everything if whose == token}) <= 1
