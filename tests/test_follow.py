"""Reading on in a record: whatever way it is split, the same lines with the same numbers, and only complete ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_resume as wandb
from jupyter_resume.identity import RunPath
from jupyter_resume.store import lines
from jupyter_resume.store.follow import Cursor, Row, Texts, follow, holds
from jupyter_resume.store.record import Record, ResumePoint
from jupyter_resume.store.writer import Writer

PATH = RunPath("local", "follow", "the-run")
START = Cursor()


def opened(record: Record, **kwargs: Any) -> Writer:
    """The next writer of a record."""
    tail = record.tail()
    point = tail.point if tail else ResumePoint(*("local", "follow", "the-run"))
    point.state = "running"
    writer = Writer.open(record, point, tail, "a test", takeover=True, **kwargs)
    assert writer is not None
    return writer


def put(writer: Writer, step: int, **values: Any) -> None:
    writer.row({**values, "_step": step}, finite=True)


def rows(record: Record, cursor: Cursor = START, reached: int | None = None) -> list[tuple[int, dict[str, Any]]]:
    return [(item.number, item.row) for item in follow(record, cursor, reached) if isinstance(item, Row)]


def rows_with_places(record: Record) -> list[Row]:
    return [item for item in follow(record, Cursor()) if isinstance(item, Row)]


def here(tmp_path: Path) -> Record:
    return Record(tmp_path / "record", PATH)


def test_a_record_that_is_not_there_has_nothing_to_be_read(tmp_path: Path) -> None:
    record = here(tmp_path)
    assert list(follow(record, Cursor())) == []
    assert holds(record, Cursor())
    assert not holds(record, Cursor(1, 5))


def test_rows_of_one_step_are_one_line(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    put(writer, 0, a=1, b=1)
    put(writer, 0, b=2)
    put(writer, 3, a=3)
    assert rows(record) == [(0, {"a": 1, "b": 2, "_step": 0}), (1, {"a": 3, "_step": 3})]


def test_the_row_of_the_step_that_is_logged_next_is_not_given_out(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    put(writer, 0)
    put(writer, 1)
    assert [n for n, _ in rows(record, reached=1)] == [0]
    assert [n for n, _ in rows(record, reached=2)] == [0, 1]
    assert [n for n, _ in rows(record, reached=-1)] == [0]
    assert [n for n, _ in rows(record)] == [0, 1]


def test_a_row_is_complete_once_a_later_step_was_logged_whatever_its_writer_has_reached(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    put(writer, 5, a=1)
    put(writer, 9)
    assert rows(record, reached=5) == [(0, {"a": 1, "_step": 5})]


def test_an_open_row_goes_on_growing_where_reading_was_left(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    put(writer, 0, a=1)
    put(writer, 1, a=1)
    (first,) = [item for item in follow(record, Cursor(), reached=1) if isinstance(item, Row)]
    put(writer, 1, b=2)
    assert rows(record, first.end, reached=2) == [(1, {"a": 1, "b": 2, "_step": 1})]


def test_reading_goes_on_behind_what_was_read(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    cursor, read = Cursor(), []
    for step in range(50):
        put(writer, step)
        for item in follow(record, cursor, step + 1):
            assert isinstance(item, Row)
            read.append(item.number)
            assert item.start == cursor or item.number == 0
            cursor = item.end
        assert cursor.offset == record.segment(1).stat().st_size
    assert read == list(range(50))


def test_sessions_are_one_history(tmp_path: Path) -> None:
    record = here(tmp_path)
    for session in range(3):
        writer = opened(record)
        put(writer, 2 * session)
        put(writer, 2 * session + 1)
        writer.close("interrupted", None)
    assert [(n, row["_step"]) for n, row in rows(record)] == [(n, n) for n in range(6)]
    (_, last) = [item for item in follow(record, Cursor()) if isinstance(item, Row)][-2:]
    assert [n for n, _ in rows(record, last.start)] == [5]
    assert rows(record, last.end) == []


def test_the_next_session_may_number_its_lines_higher(tmp_path: Path) -> None:
    """As after another machine has gone on."""
    record = here(tmp_path)
    writer = opened(record)
    put(writer, 0)
    writer.close("interrupted", None)
    tail = record.tail()
    assert tail is not None
    tail.point.rows, tail.point.last_step, tail.point.state = 10, 99, "running"
    after = Writer.open(record, tail.point, tail, "a test")
    assert after is not None
    put(after, 100)
    assert [(n, row["_step"]) for n, row in rows(record)] == [(0, 0), (10, 100)]


def test_what_an_overtaken_writer_logs_is_not_read(tmp_path: Path) -> None:
    record = here(tmp_path)
    first = opened(record)
    put(first, 0, who=1)
    second = opened(record)
    put(first, 1, who=1)
    put(second, 1, who=2)
    put(first, 2, who=1)
    assert [(n, row["_step"], row["who"]) for n, row in rows(record)] == [(0, 0, 1), (1, 1, 2)]


def test_rows_that_are_set_aside_are_not_read_and_a_cursor_behind_them_is_no_place_any_more(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    for step in range(4):
        put(writer, step, who=1)
    writer.close("interrupted", None)
    items = rows_with_places(record)
    tail = record.tail()
    assert tail is not None
    tail.point.rows, tail.point.last_step, tail.point.state = 2, 1, "running"
    cut = items[1].end
    after = Writer.open(record, tail.point, tail, "a test", rewound_to=(cut.token, cut.offset))
    assert after is not None
    put(after, 2, who=2)
    assert [(n, row["_step"], row["who"]) for n, row in rows(record)] == [(0, 0, 1), (1, 1, 1), (2, 2, 2)]
    assert not holds(record, items[3].end)
    assert rows(record, items[3].end) == rows(record), "it is read from the beginning"
    assert holds(record, cut)
    assert [n for n, _ in rows(record, cut)] == [2]


def test_rows_of_every_session_that_was_set_aside_are_kept(tmp_path: Path) -> None:
    record = here(tmp_path)
    for session in range(3):
        writer = opened(record)
        put(writer, session, session=session)
        writer.close("interrupted", None)
    (first, *_) = rows_with_places(record)
    tail = record.tail()
    assert tail is not None
    tail.point.rows, tail.point.last_step = 1, 0
    after = Writer.open(record, tail.point, tail, "a test", rewound_to=(first.end.token, first.end.offset))
    assert after is not None
    assert [row["session"] for row in record.history()] == [0]
    assert [(why, row["session"]) for why, row in record.set_aside()] == [("superseded", 1), ("superseded", 2)]


@pytest.mark.parametrize("kept", [0, 1])
def test_of_a_run_that_is_taken_over_and_set_back_only_what_comes_late_is_fenced(tmp_path: Path, kept: int) -> None:
    record = here(tmp_path)
    first = opened(record)
    for step in range(3):
        put(first, step, who=1)
    cut = rows_with_places(record)[kept - 1].end if kept else Cursor()
    second = opened(record, rewound_to=(cut.token, cut.offset))
    put(first, 3, who=1)
    put(second, 3, who=2)
    third = opened(record)
    put(second, 4, who=2)
    put(third, 4, who=3)
    assert [row["who"] for row in record.history()] == [1] * kept + [2, 3]
    aside = [(why, row["_step"], row["who"]) for why, row in record.set_aside()]
    superseded = [("superseded", step, 1) for step in range(kept, 3)]
    assert aside == [*superseded, ("fenced", 3, 1), ("fenced", 4, 2)]


def test_damaged_and_torn_lines_are_passed_over(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    for step in range(4):
        put(writer, step)
    writer.close("interrupted", None)
    file = record.segment(1)
    data = file.read_bytes()
    at = data.index(b'{"_step":2}')
    file.write_bytes(data[:at] + b"#" + data[at + 1 :])
    with file.open("ab") as end:
        end.write(b'12345678 r {"_st')  # as a power cut leaves it
    assert [row["_step"] for _, row in rows(record)] == [0, 1, 3]
    after = opened(record)
    put(after, 7)
    assert [row["_step"] for _, row in rows(record)] == [0, 1, 3, 7]


def test_rows_that_came_late_are_no_lines(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    put(writer, 5)
    writer.late_row({"_step": 3})
    put(writer, 6)
    assert [row["_step"] for _, row in rows(record)] == [5, 6]


def test_events_and_output_come_with_their_numbers_and_keep_an_open_row_open(tmp_path: Path) -> None:
    record = here(tmp_path)
    writer = opened(record)
    put(writer, 0, a=1)
    writer.put(lines.EVENTS, {"at": 0, "lines": ["{}", "{}"]})
    put(writer, 0, b=1)
    writer.put(lines.CONSOLE, {"at": 0, "lines": ["text"]})
    items = list(follow(record, Cursor(), reached=0))
    assert [(item.stream, item.at, len(item.texts)) for item in items if isinstance(item, Texts)] == [
        ("events", 0, 2),
        ("output", 0, 1),
    ]
    assert items[-1].end.rows == 0, "the open row is read again"
    assert rows(record, items[-1].end) == [(0, {"a": 1, "b": 1, "_step": 0})]


STEPS = st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=25)


@settings(max_examples=120, deadline=None)
@given(STEPS, st.lists(st.integers(0, 25), max_size=6), st.data())
def test_any_way_of_reading_gives_the_same_lines_as_reading_at_once(
    moves: list[tuple[int, bool]], stops: list[int], data: st.DataObject
) -> None:
    """``moves``: by how much the step rises, and whether a new session begins; ``stops``: after which row one reads."""
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder) / "record", PATH)
        writer, step = opened(record), 0
        cursor, read = Cursor(), []

        def go_on(reached: int | None) -> None:
            nonlocal cursor
            most = data.draw(st.integers(0, 5)) if reached is not None else None
            for count, item in enumerate(follow(record, cursor, reached)):
                if count == most:
                    break
                assert isinstance(item, Row)
                read.append((item.number, item.row))
                cursor = item.end

        for number, (move, new_session) in enumerate(moves):
            if new_session:
                writer.close("interrupted", None)
                writer = opened(record)
                move = max(move, 1) if writer.point.rows else move  # a new session begins behind the last step
            step += move
            put(writer, step, n=number)
            if number in stops:
                go_on(step)
        go_on(None)
        assert read == rows(record)
        assert [row for _, row in read] == list(record.history())
        assert [number for number, _ in read] == list(range(len(read)))


def test_a_cursor_holds_through_a_run_of_the_product(tmp_path: Path) -> None:
    run = wandb.init(project="follow", id="r", resume="allow")
    record = run.writer.record
    run.log({"a": 1}, commit=False)
    assert rows(record, reached=run.step) == []
    run.log({"b": 1})
    assert [row["b"] for _, row in rows(record, reached=run.step)] == [1]
