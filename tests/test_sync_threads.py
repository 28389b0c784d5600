"""The threads: when they send, how long they pause, and who waits for them: never log()."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_resume import Run
from jupyter_resume.errors import RemoteUnreachable, RunDiverged
from jupyter_resume.identity import RunPath
from jupyter_resume.sync import background
from jupyter_resume.sync.background import Background

from .machines import begin, link_of, log, save, sync, whole
from .processes import PATIENCE
from .remotes import URL, Tracker, unreachable
from .serving import served

pytest_plugins = ("tests.machines_fixtures",)


def test_pauses_grow_and_what_the_server_asks_for_is_kept(tracker: Tracker) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    log(run, 0)
    tracker.down = unreachable()
    pauses = [link._turn() for _ in range(8)]
    assert pauses[0] < 3
    assert pauses[2] < pauses[4]
    assert background.LONGEST * 0.7 < pauses[-1] <= background.LONGEST * 1.25
    tracker.down = RemoteUnreachable("tracker.example is busy (HTTP 429).", status=429, retry_after=500.0)
    assert link._turn() == 500.0


def test_log_never_waits_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns while a request hangs, by an event and not by a clock."""
    monkeypatch.setenv("JUPYTER_RESUME_SYNC_INTERVAL", "0.1")
    tracker = Tracker()
    tracker.install(monkeypatch)
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        go_on.wait(PATIENCE)

    for name in ("append", "files"):
        tracker.then(name, hang)
    run = begin()
    log(run, 0)
    assert hangs.wait(PATIENCE)
    for n in range(1, 100):
        log(run, n)
    run.config["lr"] = 1
    run.summary["best"] = 1
    run.notes = "n"
    Path("f.txt").write_text("1")
    run.save("f.txt", policy="now")
    assert run.step == 100
    assert str(link_of(run).standing)
    assert (run.path, run.url) == ("alice/demo/r1", f"{URL}/alice/demo/runs/r1")
    assert tracker.one().rows == []
    go_on.set()
    run.finish()
    whole(tracker.one(), list(range(100)))
    assert tracker.one().files == {"f.txt": b"1"}


def waiting(tracker: Tracker) -> tuple[Run, Background]:
    """A run with a row that waits for a server which did not answer last, and what sends it."""
    run = begin()
    link = link_of(run)
    tracker.down = unreachable()
    link._turn()
    log(run, 0)
    return run, link


def test_finish_does_not_wait_for_a_thread_that_hangs(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "HASTE", 0.01)
    run, link = waiting(tracker)
    link._rows_busy.acquire()  # as by a thread whose request hangs
    run.finish()
    link._rows_busy.release()
    tracker.down = None
    sync()
    whole(tracker.one(), [0])


def test_a_thread_whose_answer_comes_after_the_end_does_not_hold_the_run_from_then_on(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "HASTE", 0.01)
    run, link = waiting(tracker)
    tracker.down = None
    tracker.then("resume_point", run.finish)  # while the thread waits for the answer
    with link._rows_busy:
        link._turn()
    assert sync().rows == 1
    begin().finish()
    whole(tracker.one(), [0])


def test_what_a_flush_brought_in_order_goes_on_at_once(tracker: Tracker) -> None:
    """Else the thread would sleep on for as long as the trouble had let it."""
    run = begin()
    link = link_of(run)
    link.flush()
    tracker.one().log(v="theirs")
    log(run, "mine")
    link.syncing.verified = False
    assert link._turn() == background.SELDOM
    link._rows_due.clear()
    assert isinstance(link.flush(), RunDiverged)
    assert not link._rows_due.is_set()
    assert link.flush("append") is None
    assert link._rows_due.is_set()
    run.finish()
    whole(tracker.one(), ["theirs", "mine"])


@pytest.mark.parametrize("last", [True, False])
def test_signs_of_life_are_sent_while_a_long_upload_goes_on(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    monkeypatch.setattr(background, "BEAT", 0.0)
    run = begin()
    link = link_of(run)
    link.flush()
    save(run, "large.bin", b"1")
    beats: list[int] = []

    def meanwhile() -> None:
        thread = threading.Thread(target=rows_thread)
        thread.start()
        thread.join(PATIENCE)
        beats.append(tracker.one().beats)

    def rows_thread() -> None:
        if link._rows_busy.acquire(timeout=1.0):
            try:
                link._turn()
            finally:
                link._rows_busy.release()

    tracker.then("put_file", meanwhile)
    run.finish() if last else link.flush()
    assert beats == [1]
    run.finish()
    assert (tracker.one().files, tracker.one().state) == ({"large.bin": b"1"}, "finished")


def test_a_sign_of_life_is_sent_when_nothing_else_is(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    before = tracker.one().beats
    link._turn()
    assert tracker.one().beats == before
    monkeypatch.setattr(background, "BEAT", 0.0)
    link._turn()
    assert tracker.one().beats == before + 1
    run.finish()


def test_a_turn_ends_also_while_rows_keep_coming(tracker: Tracker) -> None:
    run = begin()
    link = link_of(run)
    link._turn()
    tracker.then("append", *[lambda: log(run, "meanwhile")] * 50)
    log(run, 0)
    before = tracker.asked("append")
    link._turn()
    assert tracker.asked("append") <= before + 2
    tracker._then.clear()
    run.finish()


def test_the_threads_bring_everything_to_a_server_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from .serving import KEY as THEIRS

    monkeypatch.setenv("JUPYTER_RESUME_SYNC_INTERVAL", "0.1")
    with served(tmp_path / "server") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", THEIRS)
        client = server.client()
        run = begin(config={"lr": 1})
        log(run, 0, 1)
        save(run, "f.txt", b"1")
        _until(lambda: (client.resume("r1") or {}).get("historyLineCount") == 2 and len(client.files("r1")) == 1)
        server.stop()
        log(run, 2, 3)
        _until(lambda: link_of(run).trouble is not None)
        port = server.url.rpartition(":")[2]
        server.options = (*server.options, "--port", port)
        server.start()
        _until(lambda: (client.resume("r1") or {}).get("historyLineCount") == 4)
        run.finish()
        assert [row["v"] for row in client.history("r1")] == [0, 1, 2, 3]
        assert client.run("r1", "state conflictCount") == {"state": "finished", "conflictCount": 0}
        assert RunPath("local", "demo", "r1") == run.path_there


def _until(true: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
