"""Files: each content goes to the server once, by its policy, and comes back verified."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyter_resume.errors import FileDamaged, FileMissing, RemoteError, RemoteRefused
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record
from jupyter_resume.sync.bringing import waiting_runs

from .machines import On, Told, begin, link_of, log, save, session, sync, whole
from .remotes import URL, Tracker
from .troubles import TROUBLES

pytest_plugins = ("tests.machines_fixtures",)


def test_files_are_sent_by_their_policies(tracker: Tracker) -> None:
    run = begin()
    save(run, "now.txt", b"now")
    save(run, "live.txt", b"live", policy="live")
    save(run, "end.txt", b"end", policy="end")
    link_of(run).flush()
    assert tracker.one().files == {"now.txt": b"now", "live.txt": b"live"}
    for name in ("now.txt", "live.txt", "end.txt"):
        Path(name).write_bytes(b"changed")
    run.finish()
    assert tracker.one().files == {"now.txt": b"now", "live.txt": b"changed", "end.txt": b"changed"}


def test_unchanged_content_is_not_sent_again_not_from_another_session_nor_machine(tracker: Tracker, on: On) -> None:
    data = os.urandom(1000)
    on("A")
    run = begin()
    save(run, "a.bin", data)
    link_of(run).flush()
    save(run, "a.bin", data)
    run.finish()
    assert tracker.put_bytes == 1000
    session(files={"a.bin": data})
    on("B")
    run = begin()
    save(run, "other.bin", b"1")
    link_of(run).flush()
    save(run, "a.bin", data)
    run.finish()
    assert tracker.put_bytes == 1001
    assert sync().files == ()


def test_sending_many_files_does_not_read_the_record_once_for_each(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = Record.tail
    monkeypatch.setattr(Record, "tail", lambda record: read.append(1) or real(record))
    costs = []
    for count in (2, 20):
        run = begin(id=f"with-{count}", mode="offline")
        for n in range(count):
            save(run, f"{n}.bin", b"%d" % n)
        run.finish()
        read.clear()
        assert len(sync(run.id).files) == count
        costs.append(len(read))
    assert costs[0] == costs[1]


def test_a_run_that_was_deleted_and_is_sent_anew_has_its_files_again(tracker: Tracker) -> None:
    run = begin()
    log(run, 0)
    save(run, "f.bin", b"1")
    link_of(run).flush()
    tracker.runs.clear()
    link_of(run).syncing.verified = False
    link_of(run).syncing.share()  # as its cell does that is run again with --export: it is begun anew
    log(run, 1)
    run.finish()
    whole(tracker.one(), [0, 1])
    assert tracker.one().files == {"f.bin": b"1"}


def test_a_run_that_was_deleted_and_begun_anew_by_another_machine_has_the_files_of_this_one_again(
    tracker: Tracker, on: On
) -> None:
    on("A")
    session(files={"f.bin": b"1"})
    tracker.runs.clear()
    on("B")
    begin().finish()
    assert tracker.one().files == {}
    on("A")
    begin().finish()
    assert tracker.one().files == {"f.bin": b"1"}


def test_a_content_that_is_superseded_while_it_is_sent_is_followed_by_the_newer(tracker: Tracker) -> None:
    run = begin()
    save(run, "f.bin", b"1")

    def newer() -> None:
        save(run, "f.bin", b"22")

    tracker.then("put_file", newer)
    link_of(run).flush()
    link_of(run).flush()
    assert tracker.one().files == {"f.bin": b"22"}
    run.finish()


def test_a_content_that_was_superseded_before_it_was_sent_is_no_error(tracker: Tracker, told: Told) -> None:
    run = begin()
    save(run, "f.bin", b"1")
    waiting = link_of(run).syncing.files_waiting()
    save(run, "f.bin", b"22")
    assert waiting == ["f.bin"]
    told()
    link_of(run).flush()
    assert told() == []
    assert tracker.one().files == {"f.bin": b"22"}
    run.finish()


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_stored_content_that_is_not_what_was_saved_is_not_sent_and_the_rest_is(
    tracker: Tracker, told: Told, how: str
) -> None:
    run = begin()
    save(run, "bad.bin", b"bad")
    save(run, "good.bin", b"good")
    blob = run.blobs.path(run.files["bad.bin"].digest)
    blob.write_bytes(b"BAD") if how == "damaged" else blob.unlink()
    told()
    for _ in range(3):
        link_of(run).flush()
    log(run, 0)
    run.finish()
    said = told()
    assert sum("bad.bin" in line for line in said) == 1, said
    kept = tracker.one()
    assert kept.files == {"good.bin": b"good"}
    assert (kept.values("v"), kept.state) == ([0], "finished")


def test_a_file_that_the_server_does_not_take_keeps_nothing_else_back_and_is_told_once(
    tracker: Tracker, told: Told
) -> None:
    run = begin()
    link = link_of(run)
    save(run, "refused.bin", b"1")
    save(run, "taken.bin", b"2")
    refusal = RemoteRefused("storage.example does not take the upload (HTTP 400).", status=400)

    def refuse() -> None:
        if tracker.calls[-1].what == "refused.bin":
            raise refusal

    tracker.then("put_file", *[refuse] * 20)
    told()
    for _ in range(4):
        link._turn()
        link._upload()
    assert len(told()) == 1
    log(run, 0)
    run.finish()
    kept = tracker.one()
    assert (kept.files, kept.state, kept.values("v")) == ({"taken.bin": b"2"}, "finished", [0])
    assert any("1 file to be sent" in line for line in told())
    tracker._then.clear()
    assert waiting_runs(Store(), URL) == [run.run_path]
    assert sync().files == ("refused.bin",)
    assert waiting_runs(Store(), URL) == []


def test_restore_prefers_the_newer_file_that_another_machine_has_saved(tracker: Tracker, on: On) -> None:
    on("A")
    session(files={"m.bin": b"by A"})
    on("B")
    run = begin()
    assert run.restore("m.bin").read() == b"by A"
    save(run, "m.bin", b"by B")
    run.finish()
    on("A")
    run = begin()
    assert run.restore("m.bin").read() == b"by B"
    save(run, "m.bin", b"waits on A")
    assert run.restore("m.bin", root="elsewhere").read() == b"waits on A"
    run.finish()


@pytest.mark.parametrize("trouble", ["unreachable", "overloaded", "html", "key"])
def test_restore_takes_what_is_here_where_the_server_gives_trouble(tracker: Tracker, told: Told, trouble: str) -> None:
    run = begin()
    save(run, "m.bin", b"here")
    link_of(run).flush()
    tracker.down = TROUBLES[trouble]
    told()
    assert run.restore("m.bin").read() == b"here"
    assert len(told()) == 1
    with pytest.raises(RemoteError):
        run.restore("other.bin")
    tracker.down = None


def test_a_download_that_comes_damaged_leaves_what_was_there(tracker: Tracker, on: On, tmp_path: Path) -> None:
    on("A")
    session(files={"m.bin": b"whole"})
    on("B")
    run = begin()
    target = tmp_path / "out" / "m.bin"
    target.parent.mkdir()
    target.write_bytes(b"mine")

    def damage() -> None:
        tracker.one().files["m.bin"] = b"WHOLE"

    tracker.then("fetch", damage)
    with pytest.raises(FileDamaged):
        run.restore("m.bin", root=target.parent, replace=True)
    assert target.read_bytes() == b"mine"
    assert [path.name for path in target.parent.iterdir()] == ["m.bin"]


def test_a_file_that_is_nowhere_is_missing_with_near_names_of_both_sides(tracker: Tracker, on: On) -> None:
    run = begin()
    with pytest.raises(FileMissing):
        run.restore("model.h5")  # the server does not know the run yet
    run.finish()
    on("A")
    session(files={"model-best.h5": b"1"})
    on("B")
    run = begin()
    with pytest.raises(FileMissing, match=r"model-best\.h5"):
        run.restore("model-bset.h5")
    run.finish()
