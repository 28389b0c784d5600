"""The record: what rows mean, and what can still be read of one that was torn, cut, or damaged anywhere."""

from __future__ import annotations

import dataclasses
import gc
import io
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_resume as wandb
from jupyter_resume.errors import InvalidValue, RecordDamaged, RecordTooNew
from jupyter_resume.identity import RunPath
from jupyter_resume.store import lines, record, writer
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record, ResumePoint, read_lines
from jupyter_resume.store.writer import Writer

PATH = RunPath("local", "record", "the-run")


def begin(**kwargs: Any) -> wandb.Run:
    return wandb.init(project="record", id="the-run", resume="allow", **kwargs)


def values(record: Record) -> list[dict[str, Any]]:
    """The history without the keys that every row has."""
    return [{k: v for k, v in row.items() if k not in ("_timestamp", "_runtime")} for row in record.history()]


# What rows mean


def test_each_log_is_a_row_and_a_step() -> None:
    run = begin()
    for n in range(3):
        assert run.step == n
        run.log({"n": n})
    assert values(run._writer.record) == [{"n": n, "_step": n} for n in range(3)]


def test_rows_have_the_time_in_unix_seconds_and_the_seconds_of_the_run() -> None:
    run = begin()
    run.log({})
    run.log({})
    first, second = run._writer.record.history()
    assert second["_timestamp"] >= first["_timestamp"] > 1.6e9
    assert second["_runtime"] >= first["_runtime"] >= 0


def test_several_logs_of_one_step_are_one_row_and_the_last_value_wins() -> None:
    run = begin()
    run.log({"a": 1, "b": 1}, commit=False)
    run.log({"b": 2}, commit=False)
    assert run.step == 0
    run.log({"c": 3})
    run.log({"a": 4})
    assert values(run._writer.record) == [{"a": 1, "b": 2, "c": 3, "_step": 0}, {"a": 4, "_step": 1}]


def test_a_step_that_is_given_is_moved_to_and_stays() -> None:
    run = begin()
    run.log({"a": 1}, step=10)
    run.log({"b": 2}, step=10)
    assert run.step == 10
    run.log({"c": 3})
    assert run.step == 11
    run.log({"d": 4}, step=20, commit=True)
    assert run.step == 21
    assert values(run._writer.record) == [{"a": 1, "b": 2, "c": 3, "_step": 10}, {"d": 4, "_step": 20}]


def test_a_row_that_was_not_committed_is_there_and_the_next_session_goes_on_behind_it(store: Store) -> None:
    run = begin()
    run.log({"a": 1}, commit=False)
    run.close("interrupted")
    again = begin()
    assert again.step == 1
    assert values(store.record(PATH)) == [{"a": 1, "_step": 0}]


def test_a_step_below_the_current_one_is_kept_out_of_order_and_told_once(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begin()
    run.log({"a": 1}, step=10, commit=True)
    capsys.readouterr()
    run.log({"late": 1}, step=3)
    run.log({"late": 2}, step=4, commit=True)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "step 3 is below the current step 11" in told[0]
    assert "rewind" in told[0]
    assert run.step == 11
    assert "late" not in run.summary
    run.close("interrupted")
    record = store.record(PATH)
    assert values(record) == [{"a": 1, "_step": 10}]
    assert [(why, row["late"], row["_step"]) for why, row in record.set_aside()] == [
        ("out of order", 1, 3),
        ("out of order", 2, 4),
    ]
    tail = record.tail()
    assert tail is not None
    assert tail.point.out_of_order == 2
    assert begin().step == 11


@pytest.mark.parametrize("step", [-1, 1.5, "3", True, None.__class__, 2**53, 10**30, [1]])
def test_what_is_no_step_is_refused_and_nothing_moves(step: Any) -> None:
    run = begin()
    with pytest.raises(InvalidValue, match="is no step"):
        run.log({"a": 1}, step=step)
    assert run.step == 0
    assert values(run._writer.record) == []


def test_the_greatest_step_can_be_logged_and_resumed(store: Store) -> None:
    run = begin()
    run.log({"a": 1}, step=2**53 - 1, commit=True)
    run.log({"a": 2})
    run.close("interrupted")
    assert begin().step == 2**53 + 1


def test_history_can_be_read_from_a_step_on() -> None:
    run = begin()
    for n in range(10):
        run.log({"n": n})
    assert [row["n"] for row in run._writer.record.history(min_step=7)] == [7, 8, 9]


def test_sessions_follow_each_other_in_one_history_with_growing_runtime(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for session in range(4):
        run = begin()
        assert run.step == 2 * session
        run.log({"n": 2 * session})
        run.log({"n": 2 * session + 1})
        run.close("interrupted")
    rows = list(store.record(PATH).history())
    assert [(row["n"], row["_step"]) for row in rows] == [(n, n) for n in range(8)]
    assert all(one["_runtime"] <= two["_runtime"] for one, two in itertools.pairwise(rows))
    tail = store.record(PATH).tail()
    assert tail is not None
    assert (tail.point.sessions, tail.point.rows, tail.token) == (4, 8, 4)


def test_summary_config_notes_tags_state_and_exit_code_are_in_the_record(store: Store) -> None:
    run = begin(config={"lr": 0.1, "old": 1}, notes="first", tags=["a"], name="a name")
    run.log({"loss": 0.5})
    run.summary["best"] = 0.25
    run.finish(3)
    tail = store.record(PATH).tail()
    assert tail is not None
    point = tail.point
    assert (point.state, point.exit_code) == ("failed", 3)
    assert point.meta == {"name": "a name", "notes": "first", "tags": ["a"]}
    again = begin(config={"lr": 0.2, "new": 2}, notes="second")
    assert again.config.as_dict() == {"lr": 0.2, "old": 1, "new": 2}
    assert (again.notes, again.tags, again.name) == ("second", ("a",), "a name")
    assert (again.summary.best, again.summary.loss, again.summary["_step"]) == (0.25, 0.5, 0)
    del again.config["old"]
    again.close("interrupted")
    tail = store.record(PATH).tail()
    assert tail is not None
    assert tail.point.config == {"lr": 0.2, "new": 2}
    assert tail.point.state == "interrupted"


# What can still be read


@pytest.fixture
def segment(store: Store) -> Path:
    """The only segment of a run of five rows that nobody writes any more."""
    run = begin(config={"lr": 0.1})
    for n in range(5):
        run.log({"n": n})
    run.close("interrupted")
    return store.record(PATH).segment(1)


def test_a_torn_last_line_is_skipped_and_the_next_session_goes_on_behind_it(segment: Path, store: Store) -> None:
    whole = segment.read_bytes()
    cut = whole.index(b'"n":4') + 3
    segment.write_bytes(whole[:cut])
    assert [row["n"] for row in store.record(PATH).history()] == [0, 1, 2, 3]
    again = begin()
    assert (again.resumed, again.step, again.config.lr) == (True, 4, 0.1)
    again.log({"n": "again"})
    assert [row["n"] for row in store.record(PATH).history()] == [0, 1, 2, 3, "again"]
    assert segment.read_bytes() == whole[:cut]


def test_an_empty_last_file_is_passed_over(segment: Path, store: Store) -> None:
    store.record(PATH).segment(2).touch()
    assert [row["n"] for row in store.record(PATH).history()] == [0, 1, 2, 3, 4]
    again = begin()
    assert again.step == 5
    assert again._writer.token == 3


def test_an_empty_only_file_is_no_run_and_another_can_begin_there(store: Store) -> None:
    record = store.record(PATH)
    record.folder.mkdir(parents=True)
    record.segment(1).touch()
    assert record.tail() is None
    run = begin()
    assert not run.resumed
    run.log({"n": 0})
    assert [row["n"] for row in record.history()] == [0]


def test_a_record_from_a_newer_version_is_refused_in_a_sentence_and_not_touched(segment: Path, store: Store) -> None:
    first, rest = segment.read_bytes().split(b"\n", 1)
    read = lines.unseal(first)
    assert read is not None
    newer = lines.seal("H", lines.dump_any(read[1] | {"format": 99, "unknown": "field"})) + b"what comes then\n" + rest
    segment.write_bytes(newer)
    with pytest.raises(RecordTooNew, match=r"newer version.*format 99.*pip install -U"):
        begin()
    assert segment.read_bytes() == newer
    assert [file.name for file in store.record(PATH).folder.iterdir()] == [segment.name]
    assert wandb.init(project="record").step == 0  # another run is not concerned


def test_a_record_of_which_nothing_is_readable_is_refused_in_a_sentence(segment: Path) -> None:
    segment.write_bytes(bytes(1000) + b"\n" + b"\xff" * 1000 + b"\n")
    with pytest.raises(RecordDamaged, match="move that folder away"):
        begin()


def test_a_damaged_first_line_costs_only_what_it_says(
    segment: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(bytes(data))
    again = begin()
    assert (again.resumed, again.step) == (True, 5)
    assert "1 lines of the record of run local/record/the-run are damaged" in capsys.readouterr().err
    again.log({"n": 5})
    assert [row["n"] for row in store.record(PATH).history()] == list(range(6))


def test_a_damaged_first_line_of_a_later_session_is_read_from_the_one_before(segment: Path, store: Store) -> None:
    again = begin()
    again.log({"n": 5})
    again.close("interrupted")
    later = store.record(PATH).segment(2)
    data = bytearray(later.read_bytes())
    data[20] ^= 1
    later.write_bytes(bytes(data))
    assert [row["n"] for row in store.record(PATH).history()] == list(range(6))
    third = begin()
    assert (third.step, third.config.lr) == (6, 0.1)


def test_a_damaged_line_in_the_middle_costs_that_line(segment: Path, store: Store) -> None:
    data = bytearray(segment.read_bytes())
    data[data.index(b'"n":2') + 4] = ord("7")
    segment.write_bytes(bytes(data))
    assert [row["n"] for row in store.record(PATH).history()] == [0, 1, 3, 4]
    assert begin().step == 5


def test_a_session_whose_file_is_gone_costs_its_rows(store: Store) -> None:
    for n in range(3):
        run = begin()
        run.log({"n": n})
        run.close("interrupted")
    store.record(PATH).segment(2).unlink()
    assert [row["n"] for row in store.record(PATH).history()] == [0, 2]
    assert begin().step == 3


# For every truncation and corruption


@dataclasses.dataclass(frozen=True)
class Written:
    """A record of several sessions as bytes, and the rows that were written, in order."""

    segments: tuple[bytes, ...]
    rows: tuple[dict[str, Any], ...]


def _written(snapshot_every: int, rows_of_sessions: tuple[int, ...]) -> Written:
    kept, writer._SNAPSHOT_EVERY = writer._SNAPSHOT_EVERY, snapshot_every
    rows: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            record = Record(Path(folder) / "record")
            for count in rows_of_sessions:
                base = record.tail()
                point = base.point if base else ResumePoint(*dataclasses.astuple(PATH))
                point.state = "running"
                one = Writer.open(record, dataclasses.replace(point), base, "a test")
                assert one is not None
                one._snapshot_at = snapshot_every
                for _ in range(count):
                    step = len(rows)
                    rows.append({"n": f"row {step}", "_step": step, "_timestamp": float(step), "_runtime": float(step)})
                    one.row(rows[-1], True)
                one.close("interrupted", None)
            return Written(tuple(record.segment(n).read_bytes() for n in record.tokens()), tuple(rows))
    finally:
        writer._SNAPSHOT_EVERY = kept


WRITTEN = [_written(1 << 16, (5,)), _written(1 << 16, (3, 4, 3)), _written(300, (9,)), _written(300, (6, 5))]


@st.composite
def damaged_records(draw: st.DrawFn) -> tuple[Written, tuple[bytes, ...]]:
    """A record, and its segments after something happened to them."""
    written = draw(st.sampled_from(WRITTEN))
    segments = list(written.segments)
    for _ in range(draw(st.integers(1, 3))):
        which = draw(st.integers(0, len(segments) - 1))
        data = segments[which]
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 300))
        kind = draw(st.sampled_from(["cut", "flip", "zero", "remove", "insert", "behead", "junk"]))
        if kind == "cut":
            data = data[:start]
        elif kind == "flip" and start < len(data):
            data = data[:start] + bytes([data[start] ^ draw(st.integers(1, 255))]) + data[start + 1 :]
        elif kind == "zero":
            data = data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]
        elif kind == "remove":
            data = data[:start] + data[start + length :]
        elif kind == "insert":
            data = data[:start] + draw(st.binary(max_size=300)) + data[start:]
        elif kind == "behead":
            data = data[start:]
        elif kind == "junk":
            data += draw(st.binary(max_size=300))
        segments[which] = data
    return written, tuple(segments)


def laid_out(folder: str, segments: tuple[bytes, ...], path: RunPath | None) -> Record:
    record = Record(Path(folder), path)
    for number, data in enumerate(segments, 1):
        record.segment(number).write_bytes(data)
    return record


@settings(deadline=None, max_examples=250)
@given(damaged_records(), st.sampled_from([PATH, None]))
def test_a_damaged_record_is_read_or_refused_and_no_row_is_invented(
    damaged: tuple[Written, tuple[bytes, ...]], path: RunPath | None
) -> None:
    written, segments = damaged
    with tempfile.TemporaryDirectory() as folder:
        record = laid_out(folder, segments, path)
        try:
            tail = record.tail()
            rows = list(record.history())
            aside = [row for _, row in record.set_aside()]
            recent = record.recent()
        except (RecordDamaged, RecordTooNew):
            return
    steps = [row["_step"] for row in rows]
    assert steps == sorted(set(steps))
    assert all(row == written.rows[row["_step"]] for row in itertools.chain(rows, aside, recent))
    if tail is None:
        assert not any(segments)
    else:
        assert tail.point.last_step < len(written.rows)
        assert tail.point.next_step > max(steps, default=-1)


def folded(rows: Iterator[tuple[str, Any]]) -> ResumePoint:
    point = ResumePoint(*dataclasses.astuple(PATH))
    for kind, value in rows:
        if kind not in (lines.HEAD, lines.SNAPSHOT):
            point.apply(kind, value)
    return point


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(WRITTEN), st.data())
def test_a_resume_point_is_the_fold_of_what_is_readable_wherever_the_record_ends(
    written: Written, data: st.DataObject
) -> None:
    last = written.segments[-1]
    cut = data.draw(st.integers(0, len(last)))
    with tempfile.TemporaryDirectory() as folder:
        record = laid_out(folder, (*written.segments[:-1], last[:cut]), PATH)
        try:
            tail = record.tail()
        except RecordDamaged:
            assert len(written.segments) == 1
            assert b"\n" not in last[:cut]
            return
        if tail is None:
            assert len(written.segments) == 1
            assert cut == 0
            return
        fold = folded(record.scan())
        readable = list(record.history())
    assert readable == list(written.rows[: len(readable)])
    point = tail.point
    assert (point.rows, point.last_step, point.summary, point.runtime) == (
        fold.rows, fold.last_step, fold.summary, fold.runtime,
    )  # fmt: skip
    assert point.next_step == len(readable)


@settings(deadline=None, max_examples=100)
@given(damaged_records())
def test_a_damaged_record_can_be_gone_on_with_and_keeps_its_rows(damaged: tuple[Written, tuple[bytes, ...]]) -> None:
    _, segments = damaged
    with tempfile.TemporaryDirectory() as folder:
        record = laid_out(folder, segments, PATH)
        try:
            tail = record.tail()
        except (RecordDamaged, RecordTooNew):
            return
        before = list(record.history())
        point = tail.point if tail else ResumePoint(*dataclasses.astuple(PATH))
        step = point.next_step
        one = Writer.open(record, point, tail, "a test", takeover=True)
        assert one is not None
        one.row({"n": "new", "_step": step, "_timestamp": 0.0, "_runtime": 0.0}, True)
        one.close("interrupted", None)
        after = list(record.history())
        assert after[:-1] == before
        assert after[-1]["n"] == "new"


# How much is read


class Counting(io.FileIO):
    """A file that counts what is read of any."""

    total = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        Counting.total += count or 0
        return count

    def readall(self) -> bytes:
        data = super().readall()
        Counting.total += len(data)
        return data

    def read(self, size: int | None = -1) -> bytes | None:
        if size is None or size < 0:
            return self.readall()
        data = super().read(size)
        Counting.total += len(data or b"")
        return data


def bytes_read_for_a_resume_point(record: Record, monkeypatch: pytest.MonkeyPatch) -> int:
    Counting.total = 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode="r", *_, **__: io.BufferedReader(Counting(str(path), mode)))
        assert record.tail() is not None
    return Counting.total


def test_a_resume_point_is_read_from_a_bounded_number_of_bytes_however_long_the_history(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin()
    record, read, size = store.record(PATH), [], 0
    for length in range(0, 24_000, 1_500):
        for step in range(length, length + 1_500):
            run.log({"loss": 1 / (step + 1), "accuracy": step})
        read.append(bytes_read_for_a_resume_point(record, monkeypatch))
    size = record.segment(1).stat().st_size
    assert max(read) < 5 * writer._SNAPSHOT_EVERY
    assert max(read) < size / 6
    assert min(read[8:]) <= 1.1 * min(read[:8])  # the most is a matter of how far back the last snapshot happens to be


def test_a_long_summary_is_snapshotted_less_often_but_still_bounds_what_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin()
    names = [f"metric {n}" for n in range(2_000)]
    for step in range(40):
        run.log(dict.fromkeys(names, step))
    record = store.record(PATH)
    snapshots = sum(kind == lines.SNAPSHOT for kind, _ in record.scan())
    assert snapshots >= 3
    size = record.segment(1).stat().st_size
    assert bytes_read_for_a_resume_point(record, monkeypatch) < size


def test_a_snapshot_says_what_the_rows_before_it_say(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_SNAPSHOT_EVERY", 1 << 10)
    run = begin(config={"lr": 0.1})
    run._writer._snapshot_at = 1 << 10
    for step in range(200):
        run.log({"n": step, f"only at {step % 7}": float("nan")})
        run.summary["best"] = step
    seen = 0
    point = ResumePoint(*dataclasses.astuple(PATH))
    for kind, value in store.record(PATH).scan():
        if kind == lines.SNAPSHOT:
            seen += 1
            there = ResumePoint.load(value)
            assert (there.rows, there.last_step, repr(there.summary)) == (
                point.rows, point.last_step, repr(point.summary),
            )  # fmt: skip
        elif kind != lines.HEAD:
            point.apply(kind, value)
    assert seen > 3


@pytest.mark.parametrize("damage", [None, 0, 5, 9, 10, 12, -2])
def test_lines_read_together_are_what_they_are_one_by_one(damage: int | None) -> None:
    values = [{"_step": 1, "x": 0.5}, {"big": 2**70}, {"nan": float("nan")}, ["a", ","], "text,", {"\ud800": None}]
    for picked in (values[:1], values[3:5], values):
        sealed = [lines.seal(lines.ROW, lines.dump_any(value))[:-1] for value in picked] * 3
        if damage is not None:
            torn = bytearray(sealed[1])
            torn[damage] ^= 1
            sealed[1] = bytes(torn)
        assert repr(lines.unseal_all(sealed)) == repr([lines.unseal(line) for line in sealed])
    assert lines.unseal_all([]) == []


@pytest.mark.parametrize("portion", [1, 10, 200, 1 << 12])
def test_lines_are_the_same_in_whatever_portions_they_are_read(
    portion: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = [lines.seal(lines.ROW, lines.dump({"_step": step, "text": "x" * step})) for step in range(50)]
    sealed[20] = b"?" + sealed[20][1:]
    ends = list(itertools.accumulate(map(len, sealed)))
    segment = tmp_path / "segment"
    segment.write_bytes(b"".join(sealed) + b"a torn line")
    every = [(lines.ROW, {"_step": step, "text": "x" * step}, ends[step]) for step in range(50) if step != 20]
    monkeypatch.setattr(record, "_PORTION", portion)
    assert list(read_lines(segment, 0, None)) == every
    assert list(read_lines(segment, ends[9], ends[29])) == [line for line in every if ends[9] < line[2] <= ends[29]]
    assert list(read_lines(segment, ends[29], ends[9])) == list(read_lines(segment, 5000, None)) == []


def test_reading_a_long_record_lets_go_of_the_interpreter_seldom(tmp_path: Path) -> None:
    """A thread that did it often would keep log() in another one waiting until all was read (see `record`)."""
    segment = tmp_path / "segment"
    segment.write_bytes(lines.seal(lines.ROW, lines.dump({"_step": 0, "loss": 0.25})) * 40_000)

    class Counted(io.FileIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes | Any:
            Counted.reads += 1
            return super().read(size)

        def readinto(self, buffer: Any, /) -> int | Any:
            Counted.reads += 1
            return super().readinto(buffer)

    class Opened(type(tmp_path)):  # type: ignore[misc]
        def open(self, mode: str = "r", buffering: int = -1) -> Any:
            return io.BufferedReader(Counted(self)) if buffering else Counted(self)

    assert sum(1 for _ in read_lines(Opened(segment), 0, None)) == 40_000
    assert Counted.reads < 10


def test_reading_a_long_record_collects_no_garbage(tmp_path: Path) -> None:
    """All threads would wait for it, the longer the more the program holds."""
    segment = tmp_path / "segment"
    segment.write_bytes(lines.seal(lines.ROW, lines.dump({"_step": 0, "loss": 0.25})) * 40_000)
    collected: list[str] = []
    gc.collect()
    gc.callbacks.append(count := lambda phase, info: collected.append(phase))
    try:
        assert sum(1 for _ in read_lines(segment, 0, None)) == 40_000
    finally:
        gc.callbacks.remove(count)
    assert len(collected) < 10  # 2 each; without any, or with those of other threads


@given(st.one_of(st.integers(-(2**80), 2**80), st.floats(allow_nan=False), st.floats(1e-6, 1e-3)))
def test_a_number_of_any_length_is_read_as_it_was_written(number: float) -> None:
    for value in (number, [number], {"x": number, "y": -1}):
        assert repr(lines.load(lines.dump_any(value))) == repr(value)
