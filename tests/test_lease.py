"""One writer per run: the second is refused, a takeover fences the first, and neither trusts the file system."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume.errors import RunInUse
from jupyter_resume.identity import RunPath
from jupyter_resume.store import lease
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record
from jupyter_resume.store.writer import Writer

from .processes import Other, be_another_machine, have_no_links, have_no_locks, lie_about_locks, other

PATH = RunPath("local", "lease", "the-run")
THE_RUN = {"project": "lease", "id": "the-run", "resume": "allow"}


@pytest.fixture
def record(store: Store) -> Record:
    return store.record(PATH)


def rows(record: Record) -> list[Any]:
    return [row["n"] for row in record.history()]


# The second writer


@pytest.mark.parametrize("resume", ["allow", "must", "auto", "the-run"])
def test_the_second_writer_is_refused_and_told_who_writes_and_how_to_take_over(
    home: Path, record: Record, resume: str
) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0}, {"n": 1})
        with pytest.raises(RunInUse) as refused:
            wandb.init(project="lease", id="the-run", resume=resume)
        message = str(refused.value)
        for part in (
            "local/lease/the-run", socket.gethostname(), f"pid {first.pid}", "program train.py", "last step 1",
            "takeover=True", "--takeover",
        ):  # fmt: skip
            assert part in message
        assert "\n" not in message
        assert refused.value.owner.pid == first.pid  # type: ignore[attr-defined]
        assert refused.value.last_step == 1  # type: ignore[attr-defined]
        first.log({"n": 2})
        assert rows(record) == [0, 1, 2]
        assert record.tokens() == [1]
        assert wandb.run is None


def test_the_refusal_names_the_notebook_that_writes(home: Path) -> None:
    with other(home, in_a_notebook) as first:
        first.init(**THE_RUN)
        with pytest.raises(RunInUse, match=r"notebook train\.ipynb \(pid"):
            wandb.init(**THE_RUN)


def in_a_notebook() -> None:
    from jupyter_resume import origin

    origin.finders.insert(0, lambda: origin.NotebookRef("/somewhere/train.ipynb", "a test"))


def test_two_kernels_of_one_notebook_are_two_writers_of_one_run(home: Path) -> None:
    with other(home, in_a_notebook) as first, other(home, in_a_notebook) as second:
        first.init(project="lease", resume="auto")
        with pytest.raises(Other.Refused, match="is being written by notebook") as refused:
            second.init(project="lease", resume="auto")
        assert refused.value.kind == "RunInUse"


def test_a_writer_that_finished_is_in_nobodys_way(home: Path, record: Record) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        first.finish()
        run = wandb.init(**THE_RUN)
        assert (run.resumed, run.step) == (True, 1)


def test_a_killed_writer_blocks_nobody(home: Path, record: Record) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        assert record.state() == "running"
        first.kill()
        assert record.state() == "crashed"
        run = wandb.init(**THE_RUN)
        assert (run.resumed, run.step) == (True, 1)
        assert record.state() == "running"


def test_a_stopped_writer_still_writes_its_run(home: Path) -> None:
    import signal

    with other(home) as first:
        first.init(**THE_RUN)
        os.kill(first.pid, signal.SIGSTOP)
        with pytest.raises(RunInUse):
            wandb.init(**THE_RUN)
        os.kill(first.pid, signal.SIGCONT)
        first.log({"n": 0})


def test_a_zombie_blocks_nobody(home: Path) -> None:
    with other(home) as parent:
        pid = parent.zombie(**THE_RUN)
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        run = wandb.init(**THE_RUN)
        assert (run.resumed, run.step) == (True, 1)


def test_a_process_that_only_has_the_owners_number_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = lease.this_process("program train.py")
    with monkeypatch.context() as patch:
        patch.setattr(
            lease, "this_process", lambda label: lease.Owner(mine.host, mine.machine, mine.pid, mine.started - 1, label)
        )
        wandb.init(**THE_RUN).log({"n": 0})
    store = Store()
    tail = store.record(PATH).tail()
    assert store.record(PATH).live_owner(tail) is None
    writer = Writer.open(store.record(PATH), tail.point, tail, "program train.py")  # type: ignore[union-attr]
    assert writer is not None
    writer.close("interrupted", None)


def test_a_row_that_comes_between_the_look_and_the_owners_death_is_not_lost(home: Path, record: Record) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        looked = record.tail()
        assert looked is not None
        first.log({"n": 1})
        first.kill()
    assert Writer.open(record, looked.point, looked, "late") is None
    run = wandb.init(**THE_RUN)
    assert run.step == 2
    assert rows(record) == [0, 1]


# Taking over


def test_a_takeover_fences_the_first_writer_whose_late_rows_are_set_aside(home: Path, record: Record) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0}, {"n": 1})
        run = wandb.init(**THE_RUN, takeover=True)
        assert (run.resumed, run.step) == (True, 2)
        first.log({"n": "late"}, {"n": "later"})
        run.log({"n": 2})
        first.log({"n": "latest"})
        run.log({"n": 3})
        assert rows(record) == [0, 1, 2, 3]
        assert [(why, row["n"]) for why, row in record.set_aside()] == [
            ("fenced", "late"), ("fenced", "later"), ("fenced", "latest"),
        ]  # fmt: skip


def test_a_fenced_writer_is_told_by_whom_and_its_finish_changes_nothing(
    home: Path, store: Store, record: Record, tmp_path: Path
) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        run = wandb.init(**THE_RUN, takeover=True)
        first.tend()
        assert first.state() == "taken over"
        first.tend()
        told = [line for line in (tmp_path / "notices").read_text().splitlines() if "was taken over by" in line]
        assert len(told) == 1
        assert f"pid {os.getpid()}" in told[0]
        first.finish()
        assert record.state() == "running"
        entry = store.catalog.get(PATH)
        assert entry is not None
        assert entry.state == "running"
        run.log({"n": 1})
        assert rows(record) == [0, 1]
        run.finish()
        assert record.state() == "finished"


def test_a_writer_that_finishes_before_it_was_told_changes_nothing_either(
    home: Path, store: Store, record: Record
) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        run = wandb.init(**THE_RUN, takeover=True)
        first.finish()
        assert record.state() == "running"
        entry = store.catalog.get(PATH)
        assert entry is not None
        assert entry.state == "running"
        assert run.state == "running"


def test_a_run_can_be_taken_back(home: Path, record: Record) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        run = wandb.init(**THE_RUN, takeover=True)
        run.log({"n": 1})
        assert first.init(**THE_RUN, takeover=True)[:2] == (False, 1)  # it does not know yet: it goes on in place
        first.tend()
        with pytest.raises(Other.Refused, match="is being written by"):
            first.init(**THE_RUN)
        assert first.init(**THE_RUN, takeover=True) == (True, 2, 3)
        first.log({"n": 2})
        run.log({"n": "late"})
        assert rows(record) == [0, 1, 2]
        run._tend()
        assert run.state == "taken over"


def test_a_fenced_writers_files_are_no_part_of_the_run_and_take_none_away(
    home: Path, record: Record, tmp_path: Path
) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.save("model.txt", "before")
        run = wandb.init(**THE_RUN, takeover=True)
        first.save("model.txt", "late")
        first.tend()
        first.save("model.txt", "later")
        first.finish()
        with run.restore("model.txt", root=tmp_path / "restored") as file:
            assert file.read() == b"before"


def test_a_takeover_of_a_run_that_nobody_writes_is_a_plain_resume(home: Path, record: Record) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        first.kill()
    run = wandb.init(**THE_RUN, takeover=True)
    assert (run.resumed, run.step) == (True, 1)
    assert wandb.init(project="lease", id="new", resume="allow", takeover=True).step == 0


# File systems that cannot be trusted

POOR: list[tuple[Callable[[], None], ...]] = [
    (lie_about_locks,), (have_no_locks,), (have_no_links,), (lie_about_locks, have_no_links),
    (have_no_locks, have_no_links),
]  # fmt: skip
on_poor_file_systems = pytest.mark.parametrize(
    "patches", POOR, ids=lambda patches: " and ".join(patch.__name__ for patch in patches)
)


@pytest.fixture
def patched(patches: tuple[Callable[[], None], ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """This process too is on that file system."""
    monkeypatch.setattr(lease, "try_lock", lease.try_lock)
    monkeypatch.setattr(os, "link", os.link)
    for patch in patches:
        patch()


@on_poor_file_systems
@pytest.mark.usefixtures("patched")
def test_a_living_writer_is_seen_and_a_dead_one_blocks_nobody(
    home: Path, record: Record, patches: tuple[Callable[[], None], ...]
) -> None:
    with other(home, *patches) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        with pytest.raises(RunInUse):
            wandb.init(**THE_RUN)
        first.kill()
    run = wandb.init(**THE_RUN)
    run.log({"n": 1})
    assert rows(record) == [0, 1]
    assert record.tokens() == [1, 2]
    assert not [file for file in record.folder.iterdir() if file.name.startswith(".")]


@on_poor_file_systems
@pytest.mark.usefixtures("patched")
def test_of_many_that_begin_a_run_at_once_one_does(
    home: Path, record: Record, patches: tuple[Callable[[], None], ...]
) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(other(home, *patches)) for _ in range(5)]
        for one in crowd:
            one.send("init", **THE_RUN)
        winners, losers = [], []
        for one in crowd:
            try:
                one.answer()
                winners.append(one)
            except Other.Refused as refused:
                losers.append(refused.kind)
        assert losers == ["RunInUse"] * 4
        winners[0].log({"n": "winner"})
        assert rows(record) == ["winner"]


@on_poor_file_systems
@pytest.mark.usefixtures("patched")
def test_of_many_that_take_over_at_once_no_two_share_a_token_or_mix_their_rows(
    home: Path, record: Record, patches: tuple[Callable[[], None], ...]
) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(other(home, *patches)) for _ in range(5)]
        for one in crowd:
            one.send("init", **THE_RUN, takeover=True)
        tokens = [one.answer()[2] for one in crowd]
        assert len(set(tokens)) == 5
        for one in crowd:
            one.send("log", *[{"n": f"{one.pid} {n}"} for n in range(20)])
        for one in crowd:
            one.answer()
    found = rows(record)
    last = crowd[tokens.index(max(tokens))]
    assert found == [f"{last.pid} {n}" for n in range(20)]


# Another machine


def dead_on_another_machine(home: Path) -> None:
    """Leave a run behind whose writer was killed on what counts as another machine."""
    with other(home, be_another_machine) as first:
        first.init(**THE_RUN)
        first.log({"n": 0})
        first.kill()


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_writer_on_another_machine_that_holds_the_lock_lives_however_silent(home: Path, record: Record) -> None:
    with other(home, be_another_machine) as first:
        first.init(**THE_RUN)
        age(record.segment(1), 10 * lease.PATIENCE)
        with pytest.raises(RunInUse):
            wandb.init(**THE_RUN)
        assert record.state() == "running"


def test_a_writer_on_another_machine_is_waited_for_and_then_counts_as_dead(home: Path, record: Record) -> None:
    dead_on_another_machine(home)
    with pytest.raises(RunInUse):
        wandb.init(**THE_RUN)
    age(record.segment(1), lease.PATIENCE - 5)
    with pytest.raises(RunInUse):
        wandb.init(**THE_RUN)
    age(record.segment(1), 6)
    assert record.state() == "crashed"
    run = wandb.init(**THE_RUN)
    assert (run.resumed, run.step) == (True, 1)


def test_a_writer_on_another_machine_can_be_taken_over_at_once(home: Path, record: Record) -> None:
    dead_on_another_machine(home)
    assert wandb.init(**THE_RUN, takeover=True).step == 1


def test_without_locks_a_writer_on_another_machine_lives_by_its_heartbeat(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "try_lock", lambda fd, shared=False: None)
    with other(home, be_another_machine, have_no_locks) as first:
        first.init(**THE_RUN)
        age(record.segment(1), 2 * lease.PATIENCE)
        first.tend()
        with pytest.raises(RunInUse):
            wandb.init(**THE_RUN)
        first.kill()
    age(record.segment(1), 2 * lease.PATIENCE)
    assert wandb.init(**THE_RUN).resumed


def test_looking_at_a_run_leaves_nothing_behind_in_its_record(home: Path, record: Record) -> None:
    with other(home) as first:
        first.init(**THE_RUN)
        record.state()
        with pytest.raises(RunInUse):
            wandb.init(**THE_RUN)
    assert [file.name for file in record.folder.iterdir()] == ["000001.jsonl"]


@pytest.mark.parametrize(("held", "silent", "lives"), [(True, 99.0, True), (False, 0.0, False), (None, 0.0, True)])
def test_in_another_container_of_this_machine_the_lock_tells(held: bool | None, silent: float, lives: bool) -> None:
    mine = lease.this_process("notebook")
    boot = mine.machine.partition(" ")[0]
    there = lease.Owner(mine.host, f"{boot} pid:[1]", mine.pid, mine.started, mine.label)
    assert lease.holds(there, held, silent) is lives
