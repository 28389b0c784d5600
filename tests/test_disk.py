"""Disks that are full, read-only, another user's or damaged: training goes on, and what can be kept is kept."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import _active, origin
from jupyter_resume.errors import StoreError, StoreUnwritable
from jupyter_resume.identity import RunPath
from jupyter_resume.store import lease, writer
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record

from .processes import Other, become_nobody, other

PATH = RunPath("local", "disk", "the-run")
THE_RUN: dict[str, Any] = {"project": "disk", "id": "the-run", "resume": "allow"}

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits and permissions")


def numbers(record: Record) -> list[Any]:
    return [row["n"] for row in record.history()]


def told(home: Path) -> list[str]:
    """The notices of the other process, but for the one that its run begins with."""
    lines = (home.parent / "notices").read_text().splitlines()
    return [line for line in lines if not line.endswith("(new).")]


# Full


@posix_only
def test_when_there_is_room_again_rows_are_written_in_order_and_nothing_is_lost(home: Path, store: Store) -> None:
    record = store.record(PATH)
    with other(home) as one:
        one.init(**THE_RUN)
        one.log({"n": 0})
        one.limit(record.segment(1).stat().st_size + 150)  # room for a row and a piece of one
        one.log(*[{"n": n} for n in range(1, 400)])
        assert one.in_memory() > 390
        assert numbers(record) == [0, 1]
        one.tend()
        assert numbers(record) == [0, 1]
        one.limit(-1)
        one.tend()
        assert one.in_memory() == 0
        assert numbers(record) == list(range(400))
        one.log({"n": 400})
        assert numbers(record) == list(range(401))
    warnings = told(home)
    assert len([line for line in warnings if "cannot write to" in line]) == 1
    assert "training goes on" in warnings[0]
    assert "up to 64 MiB" in warnings[0]
    assert "takes data again" in warnings[1]
    assert "none lost" in warnings[1]
    assert len(warnings) == 2


@posix_only
def test_a_run_killed_on_a_full_disk_has_what_was_written_and_goes_on(home: Path, store: Store) -> None:
    record = store.record(PATH)
    with other(home) as one:
        one.init(**THE_RUN)
        one.log({"n": 0})
        one.limit(record.segment(1).stat().st_size + 150)
        one.log({"n": 1}, {"n": 2}, {"n": 3})
        one.kill()
    run = wandb.init(**THE_RUN)
    assert run.step == 2
    run.log({"n": 2})
    assert numbers(record) == [0, 1, 2]


def test_a_run_can_begin_where_nothing_can_be_written_and_is_written_from_its_first_row(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def claim(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    record = store.record(PATH)
    with monkeypatch.context() as patch:
        patch.setattr(lease, "claim", claim)
        run = wandb.init(**THE_RUN, config={"lr": 0.1}, notes="kept")
        run.log({"n": 0})
        run.log({"n": 1})
        run.config["lr"] = 0.2
        run._tend()
        assert numbers(record) == []
        assert run.in_memory == 5
    run._tend()
    run.log({"n": 2})
    assert numbers(record) == [0, 1, 2]
    run.finish()
    tail = record.tail()
    assert tail is not None
    assert (tail.point.config, tail.point.meta["notes"], tail.point.state) == ({"lr": 0.2}, "kept", "finished")
    said = capsys.readouterr().err
    assert said.count("training goes on") == 1
    assert "5 lines written, none lost" in said


def test_a_run_that_another_process_began_meanwhile_is_its_own_and_this_one_is_told_once(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def claim(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lease, "claim", claim)
        run = wandb.init(**THE_RUN)
        run.log({"n": "here"})
    with other(home) as one:
        one.init(**THE_RUN)
        one.log({"n": "there"})
        run._tend()
        run._tend()
        assert run.state == "taken over"
        run.finish()
        assert numbers(store.record(PATH)) == ["there"]
        assert one.state() == store.record(PATH).state() == "running"
    said = capsys.readouterr().err
    assert said.count("was taken over by") == 1
    assert "lines of run local/disk/the-run could not be written" in said


@posix_only
def test_what_is_dropped_beyond_the_bound_is_counted_and_said(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writer, "BACKLOG_BOUND", 2000)
    run = wandb.init(**THE_RUN)
    run.log({"n": 0})
    real = run._writer._fd
    with open("/dev/full", "wb", buffering=0) as full:
        run._writer._fd = full.fileno()
        for n in range(1, 101):
            run.log({"n": n})
        held = run.in_memory
        assert 0 < held < 40
    run._writer._fd = real
    run._tend()
    run.log({"n": "after"})
    assert numbers(store.record(PATH)) == [*range(held + 1), "after"]
    said = capsys.readouterr().err
    assert "newer rows are dropped" in said
    assert f"{held} lines written, {100 - held} dropped meanwhile" in said
    assert "none lost" not in said
    assert run.step == 102
    run.finish()
    assert f"{100 - held} lines of run local/disk/the-run could not be written" in capsys.readouterr().err


def test_a_run_whose_end_could_not_be_written_can_be_begun_again_in_the_same_process(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run = wandb.init(**THE_RUN)
    run.log({"n": 0})
    real = run._writer._fd
    assert real is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, real)
    os.close(full)
    run.log({"n": 1})
    run.finish()
    assert "2 lines of run local/disk/the-run could not be written" in capsys.readouterr().err
    again = wandb.init(**THE_RUN)
    assert (again.resumed, again.step) == (True, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root on Linux can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


def test_on_a_disk_that_is_really_full_training_goes_on_and_saved_files_stay_whole(
    small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUPYTER_RESUME_HOME", str(small_disk / "store"))
    run = wandb.init(**THE_RUN)
    model = tmp_path / "model.txt"
    model.write_text("good")
    run.save(model, policy="now")
    filler = fill(small_disk)
    for n in range(500):
        run.log({"n": n, "note": "x" * 100})
    model.write_text("b" * 500_000)
    with pytest.raises(StoreError, match=r"No space left on device.*what was saved before is as it was"):
        run.save(model, policy="now")
    with pytest.raises(wandb.ResumeError, match=r"could not be put at|No space left"):
        run.restore("model.txt", root=small_disk / "elsewhere")
    with run.restore("model.txt", root=tmp_path / "restored") as file:
        assert file.read() == b"good"
    run._tend()
    assert run.in_memory > 0
    filler.unlink()
    run._tend()
    assert run.in_memory == 0
    assert numbers(Store().record(PATH)) == list(range(500))
    blobs = Store().blobs(PATH).folder
    assert len(list(blobs.iterdir())) == 1
    said = capsys.readouterr().err
    assert said.count("cannot write to") == 1
    run.finish()


# Read-only, or another's


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store's folder that other users can reach, and its parent where they can write."""
    parent = Path(tempfile.mkdtemp(prefix="jupyter-resume-test-"))
    parent.chmod(0o777)
    home = parent / "store"
    home.mkdir()
    monkeypatch.setenv("JUPYTER_RESUME_HOME", str(home))
    yield home
    for run in _active.open_runs():
        run.close("interrupted")
    home.chmod(0o755)
    shutil.rmtree(parent, ignore_errors=True)


as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of another user"
)


@posix_only
def test_in_a_read_only_home_training_goes_on_with_one_warning_and_rows_are_written_when_it_is_not(
    public: Path,
) -> None:
    public.chmod(0o555)
    with other(public, become_nobody) as one:
        assert one.init(**THE_RUN)[:2] == (False, 0)
        one.log({"n": 0}, {"n": 1})
        warnings = told(public)
        assert len(warnings) == 1
        assert "training goes on" in warnings[0]
        assert "JUPYTER_RESUME_HOME" in warnings[0]
        public.chmod(0o777)
        one.tend()
        one.finish()
    assert numbers(Store().record(PATH)) == [0, 1]
    assert Store().record(PATH).state() == "finished"


@posix_only
def test_a_read_only_home_to_the_end_says_what_is_lost(public: Path) -> None:
    public.chmod(0o555)
    with other(public, become_nobody) as one:
        one.init(**THE_RUN)
        one.log({"n": 0})
        one.finish()
    assert "2 lines of run local/disk/the-run could not be written" in told(public)[-1]


def test_a_home_that_is_a_file_is_as_one_that_cannot_be_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.write_text("no folder")
    run = wandb.init(**THE_RUN)
    run.log({"n": 0})
    run.finish()
    warnings = [line for line in capsys.readouterr().err.splitlines() if "cannot" in line]
    assert len(warnings) == 1
    assert home.read_text() == "no folder"


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_record_of_another_users_is_refused_in_a_sentence(public: Path, mode: int) -> None:
    run = wandb.init(**THE_RUN)
    run.log({"n": 0})
    run.finish()
    folder = Store().record(PATH).folder
    folder.chmod(mode)
    for file in folder.iterdir():
        file.chmod(mode & 0o644)
    with other(public, become_nobody) as one:
        with pytest.raises(Other.Refused, match=r"another user.*another id, or set JUPYTER_RESUME_HOME") as refused:
            one.init(**THE_RUN)
        assert refused.value.kind == "StoreUnwritable"
        assert "\n" not in str(refused.value)
    assert numbers(Store().record(PATH)) == [0]
    assert StoreUnwritable.__mro__[1] is StoreError


@as_root
def test_another_users_run_does_not_keep_this_one_from_listing_its_own(public: Path) -> None:
    wandb.init(**THE_RUN).finish()
    Store().record(PATH).folder.chmod(0o700)
    public.chmod(0o777)
    (public / "catalog.sqlite").unlink()
    for folder in (public / "runs", public / "runs" / "local"):
        folder.chmod(0o777)
    with other(public, become_nobody) as one:
        assert one.init(project="mine", resume="auto")[:2] == (False, 0)


# The catalog


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process counts as one program, whoever runs the tests."""
    monkeypatch.setattr(origin, "finders", [lambda: origin.ProgramRef(str(tmp_path / "train.py"), str(tmp_path))])


def unfinished() -> str:
    run = wandb.init(project="disk")
    run.log({"n": 0})
    run.close("interrupted")
    return run.id


def damage(catalog: Path, how: str) -> None:
    data = catalog.read_bytes()
    if how == "garbage":
        catalog.write_bytes(random.Random(1).randbytes(len(data)))
    elif how == "empty":
        catalog.write_bytes(b"")
    elif how == "half":
        catalog.write_bytes(data[: len(data) // 2])
    elif how == "holes":
        catalog.write_bytes(data[:100] + bytes(len(data) - 100))
    elif how == "lost":
        catalog.unlink()
    elif how == "another's":
        catalog.unlink()
        with contextlib.closing(sqlite3.connect(catalog)) as db:
            db.execute("CREATE TABLE runs (something TEXT)")
            db.execute("CREATE INDEX by_kernel ON runs (something)")
            db.commit()
    elif how == "entry":
        with contextlib.closing(sqlite3.connect(catalog)) as db:
            db.execute("UPDATE runs SET origin = 'no json'")
            db.commit()
    elif how == "old entry":
        with contextlib.closing(sqlite3.connect(catalog)) as db:
            db.execute("""UPDATE runs SET origin = '{"kind": "program", "field": "of a later version"}'""")
            db.commit()


@pytest.mark.parametrize("how", ["garbage", "empty", "half", "holes", "lost", "another's", "entry", "old entry"])
def test_a_damaged_or_lost_catalog_is_made_anew_and_no_run_is_lost(home: Path, store: Store, how: str) -> None:
    mine = [unfinished(), unfinished()]
    other_project = wandb.init(project="another")
    other_project.finish()
    damage(home / "catalog.sqlite", how)
    run = wandb.init(project="disk", resume="auto")
    assert (run.id, run.resumed, run.step) == (mine[1], True, 1)
    found = {(entry.path.run_id, entry.state) for entry in store.catalog.runs()}
    assert found == {(mine[0], "interrupted"), (mine[1], "running"), (other_project.id, "finished")}


@pytest.mark.parametrize("seed", range(12))
def test_a_catalog_with_flipped_bytes_keeps_nobody_from_a_run(home: Path, store: Store, seed: int) -> None:
    mine = unfinished()
    catalog, draw = home / "catalog.sqlite", random.Random(seed)
    data = bytearray(catalog.read_bytes())
    for _ in range(20):
        data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    catalog.write_bytes(bytes(data))
    with contextlib.suppress(StoreError):
        store.catalog.runs()
    run = wandb.init(project="disk", id=mine, resume="must")
    assert run.step == 1
    store.catalog.rebuild()
    assert [entry.path.run_id for entry in store.catalog.runs()] == [mine]


def test_a_corrupt_catalog_is_told_and_kept_aside(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished()
    capsys.readouterr()
    damage(home / "catalog.sqlite", "garbage")
    unfinished()
    said = [line for line in capsys.readouterr().err.splitlines() if "catalog" in line]
    assert len(said) == 1
    assert "made anew from the runs' records" in said[0]
    assert len(list(home.glob("catalog-corrupt-*.sqlite"))) == 1


def test_a_catalog_that_is_a_folder_keeps_nobody_from_a_run(home: Path) -> None:
    mine = unfinished()
    for file in home.glob("catalog.sqlite*"):
        file.unlink()
    (home / "catalog.sqlite").mkdir()
    run = wandb.init(project="disk", resume="auto")
    assert (run.id, run.step) == (mine, 1)


def test_many_processes_use_the_catalog_at_once(home: Path, store: Store) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(other(home)) for _ in range(6)]
        for one in crowd:
            one.send("runs", 10)
        ids = {run_id for one in crowd for run_id in one.answer()}
    assert len(ids) == 60
    assert {entry.path.run_id for entry in store.catalog.runs()} == ids
    assert {entry.state for entry in store.catalog.runs()} == {"finished"}
    assert told(home) == []
    assert store.catalog.rebuild() == 60


def test_names_and_paths_that_are_no_text_are_recorded_all_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(origin, "finders", [lambda: origin.ProgramRef(str(folder / "train.py"), str(folder))])
    begun = wandb.init(project="disk", name="a \ud800 name", notes="\udce9", tags=["\udce9"])
    begun.log({"n": 0})
    begun.close("interrupted")
    again = wandb.init(project="disk", resume="auto")
    assert (again.id, again.step, again.name, again.notes) == (begun.id, 1, "a \ud800 name", "\udce9")


# The clock


def test_a_clock_that_goes_backwards_changes_no_step_and_no_runtime(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(clock))
    for session in range(3):
        run = wandb.init(**THE_RUN)
        assert run.step == 5 * session
        for _ in range(5):
            run.log({"n": run.step})
        run.close("interrupted")
    rows = list(store.record(PATH).history())
    assert [row["_step"] for row in rows] == [row["n"] for row in rows] == list(range(15))
    runtimes = [row["_runtime"] for row in rows]
    assert runtimes == sorted(runtimes)
    assert runtimes[-1] < 60
    assert store.record(PATH).state() == "interrupted"
