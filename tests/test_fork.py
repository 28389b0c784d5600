"""Forks and threads: a child of the process that writes a run is no writer of it, and threads lose nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume import _active, _init
from jupyter_resume.errors import Refused, RunClosed
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store

from .processes import at_home, hear, pipe, started

PATH = RunPath("local", "fork", "the-run")
THE_RUN: dict[str, Any] = {"project": "fork", "id": "the-run", "resume": "allow"}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; its exit status."""
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def child_does_everything(home: Path, say: Any) -> None:
    """The parent's run, and a forked child that tries all that would change it."""
    at_home(home)
    run = _init.init(**THE_RUN, config={"lr": 0.1})
    run.log({"n": 0})

    def work() -> None:
        assert run.forked
        run.log({"n": "child"})
        _active.log({"n": "child"})
        run.config["lr"] = "child"
        run.summary["n"] = "child"
        run.notes = "child"
        Path("model.txt").write_text("child")
        assert run.save("model.txt") == []
        run._tend()
        run.finish(1)
        run.close("failed", 1)
        _active.finish()

    status = in_fork(work)
    run.log({"n": 1})
    say.send((status, run.step, run.config.as_dict(), run.state, dict(run.files)))
    run.close("interrupted")


def test_a_forked_child_writes_nothing_and_finishes_nothing(home: Path, store: Store, tmp_path: Path) -> None:
    here, there = pipe()
    with started(child_does_everything, home, there) as process:
        assert hear(here) == (0, 2, {"lr": 0.1}, "running", {})
        process.join()
    record = store.record(PATH)
    assert [row["n"] for row in record.history()] == [0, 1]
    tail = record.tail()
    assert tail is not None
    assert (tail.point.config, tail.point.meta, tail.point.state) == ({"lr": 0.1}, {}, "interrupted")
    told = [line for line in (tmp_path / "notices").read_text().splitlines() if "is a fork of" in line]
    assert len(told) == 1


def child_exits(home: Path, say: Any) -> None:
    """A forked child that leaves by the front door, exit hooks and all."""
    at_home(home)
    run = _init.init(**THE_RUN)
    run.log({"n": 0})
    pid = os.fork()
    if not pid:
        import atexit

        atexit._run_exitfuncs()
        os._exit(0)
    os.waitpid(pid, 0)
    say.send((run.state, Store().record(PATH).state()))
    run.log({"n": 1})
    run.close("interrupted")


def test_a_forked_child_that_exits_does_not_finish_the_run(home: Path, store: Store) -> None:
    here, there = pipe()
    with started(child_exits, home, there) as process:
        assert hear(here) == ("running", "running")
        process.join()
    assert [row["n"] for row in store.record(PATH).history()] == [0, 1]


def worker(n: int) -> int:
    """What a data loader does, and a careless log in it."""
    _active.log({"worker": n})
    return n * n


def parent_of_workers(home: Path, say: Any) -> None:
    at_home(home)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    run = _init.init(**THE_RUN)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for n in pool.imap(worker, range(20)):
            run.log({"n": n})
    say.send(run.step)
    run.finish()


def test_multiprocessing_workers_neither_write_nor_finish_the_run(home: Path, store: Store) -> None:
    here, there = pipe()
    with started(parent_of_workers, home, there) as process:
        assert hear(here) == 20
        process.join()
    record = store.record(PATH)
    assert [row["n"] for row in record.history()] == [n * n for n in range(20)]
    assert not any("worker" in row for row in record.history())
    assert record.state() == "finished"


def parent_of_an_orphan(home: Path, say: Any, stay: Any) -> None:
    """A run, and a forked child that stays until it is told to go."""
    at_home(home)
    run = _init.init(**THE_RUN)
    run.log({"n": 0})
    if not os.fork():
        say.send(os.getpid())
        stay.recv()
        run.log({"n": "orphan"})
        run.finish()
        say.send("done")
        os._exit(0)
    signal.pause()


@pytest.mark.parametrize("writer_of_another_machine", [False, True])
def test_a_child_that_outlives_a_killed_parent_blocks_nobody(
    home: Path, store: Store, writer_of_another_machine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_resume.store import lease

    here, there = pipe()
    stay, go = pipe()
    record = store.record(PATH)
    with started(parent_of_an_orphan, home, there, stay) as process:
        orphan = hear(here)
        process.kill()
        process.join()
        assert Path(f"/proc/{orphan}").exists() or os.name != "posix"
        if writer_of_another_machine:  # only the lock can tell then, and the child must not hold it
            monkeypatch.setattr(lease, "_machine", lambda: "another machine")
            monkeypatch.setattr(lease, "PATIENCE", 0.0)
        run = _init.init(**THE_RUN)
        assert (run.resumed, run.step) == (True, 1)
        go.send("go on")
        assert hear(here) == "done"
    run.log({"n": 1})
    assert [row["n"] for row in record.history()] == [0, 1]
    assert record.state() == "running"


def child_begins_its_own(home: Path, say: Any) -> None:
    """A forked child may have a run of its own, but not its parent's."""
    at_home(home)
    run = _init.init(**THE_RUN)
    run.log({"n": 0})

    def work() -> None:
        try:
            _init.init(**THE_RUN)
        except Refused as error:
            say.send(type(error).__name__)
        own = _init.init(project="fork", id="childs-run")
        _active.log({"n": "own"})
        assert _active.active() is own
        own.finish()

    say.send(in_fork(work))
    run.log({"n": 1})
    assert _active.active() is run
    run.finish()


def test_a_forked_child_may_begin_a_run_of_its_own_but_not_its_parents(home: Path, store: Store) -> None:
    here, there = pipe()
    with started(child_begins_its_own, home, there) as process:
        assert hear(here) == "RunInUse"
        assert hear(here) == 0
        process.join()
    assert [row["n"] for row in store.record(PATH).history()] == [0, 1]
    own = store.record(RunPath("local", "fork", "childs-run"))
    assert [row["n"] for row in own.history()] == ["own"]
    assert own.state() == store.record(PATH).state() == "finished"


def fork_while_threads_log(home: Path, say: Any) -> None:
    """Fork again and again while threads are in the middle of log()."""
    at_home(home)
    run = _init.init(**THE_RUN)
    stop = threading.Event()

    def log() -> None:
        while not stop.is_set():
            run.log({"n": 1})

    threads = [threading.Thread(target=log) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = [in_fork(lambda: run.log({"n": "child"})) for _ in range(30)]
    stop.set()
    for thread in threads:
        thread.join()
    say.send((statuses, run.step))
    run.finish()


def test_a_fork_while_threads_log_hangs_nobody_and_loses_nothing(home: Path, store: Store) -> None:
    here, there = pipe()
    with started(fork_while_threads_log, home, there) as process:
        statuses, step = hear(here)
        process.join()
    assert statuses == [0] * 30
    rows = list(store.record(PATH).history())
    assert [row["_step"] for row in rows] == list(range(step))
    assert {row["n"] for row in rows} == {1}


# Threads


def test_threads_log_at_once_and_every_row_is_there_with_a_step_of_its_own(store: Store) -> None:
    run = _init.init(**THE_RUN)
    start = threading.Barrier(8)

    def log(who: int) -> None:
        start.wait()
        for n in range(300):
            run.log({"who": who, "n": n})
            if n % 50 == 0:
                run.summary[f"last of {who}"] = n
                run.config[f"thread {who}"] = n

    threads = [threading.Thread(target=log, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.step == 2400
    rows = list(store.record(PATH).history())
    assert [row["_step"] for row in rows] == list(range(2400))
    for who in range(8):
        assert [row["n"] for row in rows if row["who"] == who] == list(range(300))
    run.finish()
    tail = store.record(PATH).tail()
    assert tail is not None
    assert tail.point.config == {f"thread {who}": 250 for who in range(8)}
    assert tail.point.rows == 2400


def test_a_finish_while_threads_log_loses_no_row_that_was_acknowledged(store: Store) -> None:
    run = _init.init(**THE_RUN)
    acknowledged, begun = [0] * 4, threading.Barrier(5)

    def log(who: int) -> None:
        begun.wait()
        try:
            while True:
                run.log({"who": who, "n": acknowledged[who]})
                acknowledged[who] += 1
        except RunClosed:
            return

    threads = [threading.Thread(target=log, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    while sum(acknowledged) < 500:
        pass
    run.finish()
    for thread in threads:
        thread.join()
    rows = list(store.record(PATH).history())
    for who in range(4):
        assert [row["n"] for row in rows if row["who"] == who] == list(range(acknowledged[who]))
