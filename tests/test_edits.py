"""Edits of a run's description by others than its writer: seen at once, taken in by whoever writes the run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import jupyter_resume
from jupyter_resume import view
from jupyter_resume.errors import StoreUnwritable
from jupyter_resume.identity import RunPath
from jupyter_resume.store import edits
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record, ResumePoint

PATH = RunPath("local", "edits", "one")


def begin(**arguments: str) -> jupyter_resume.Run:
    return jupyter_resume.init(project="edits", id="one", resume="allow", **arguments)


def point(record: Record) -> ResumePoint:
    tail = record.tail()
    assert tail is not None
    return tail.point


@pytest.fixture
def record(store: Store) -> Record:
    return store.record(PATH)


def test_an_edit_is_seen_at_once_by_every_reader(store: Store, record: Record) -> None:
    begin().finish()
    edits.ask(record.folder, {"notes": "good one"})
    tail = record.tail()
    assert tail is not None
    assert view.of_record(store, tail).notes == "good one"
    assert tail.point.state == "finished"


def test_a_living_writer_takes_an_edit_in_by_itself(record: Record) -> None:
    run = begin()
    edits.ask(record.folder, {"notes": "from the sidebar"})
    deadline = time.monotonic() + 30
    while edits.names(record.folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert run.notes == "from the sidebar"
    assert b'm {"notes":"from the sidebar"}' in record.segment(1).read_bytes()


def test_the_next_writer_has_an_edit_from_its_beginning(record: Record) -> None:
    begin(notes="old").close("interrupted")
    edits.ask(record.folder, {"notes": "new"})
    run = begin()
    assert run.notes == "new"
    assert edits.names(record.folder) == ()


def test_what_init_says_is_newer_than_an_edit_before_it(record: Record) -> None:
    begin().close("interrupted")
    edits.ask(record.folder, {"notes": "before"})
    run = begin(notes="after")
    run._writer.tend()
    assert run.notes == point(record).meta["notes"] == "after"


def test_a_run_that_ends_takes_waiting_edits_with_it(record: Record) -> None:
    run = begin()
    edits.ask(record.folder, {"notes": "last words"})
    run.finish()
    assert edits.names(record.folder) == ()
    assert point(record).meta["notes"] == "last words"


def test_the_last_of_several_edits_counts_and_notes_can_be_taken_out(record: Record) -> None:
    begin(notes="first").finish()
    for notes in ("second", "third", None):
        edits.ask(record.folder, {"notes": notes})
    assert point(record).meta["notes"] is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"notes": 3}', b'{"name": "x", "state": "finished"}', b"\xff"])
def test_a_file_that_is_no_edit_changes_nothing(record: Record, content: bytes) -> None:
    begin(name="n", notes="mine").close("interrupted")
    (record.folder / "edits").mkdir()
    (record.folder / "edits" / "0001.json").write_bytes(content)
    now = point(record)
    assert (now.meta["notes"], now.meta["name"], now.state) == ("mine", "n", "interrupted")
    assert begin().notes == "mine"


def test_an_overtaken_writer_leaves_edits_to_its_successor(record: Record) -> None:
    run = begin()
    run._writer.fenced_by = run._writer._owner
    edits.ask(record.folder, {"notes": "for the next"})
    run._writer.tend()
    assert edits.names(record.folder) != ()


def test_an_edit_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "edits").write_text("a file in the way")
    with pytest.raises(StoreUnwritable, match="could not be kept"):
        edits.ask(tmp_path, {"notes": "x"})


def test_notes_of_any_text_come_back_as_they_were(record: Record) -> None:
    begin().finish()
    notes = "<script>\u202e\ud800 emoji \U0001f600\n" + "x" * 10_000
    edits.ask(record.folder, {"notes": notes})
    assert point(record).meta["notes"] == notes
    assert json.loads((record.folder / "edits" / edits.names(record.folder)[0]).read_text())["notes"] == notes
