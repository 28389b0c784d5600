"""What is remembered of a replica: it costs what has changed, and whatever is left of it is read."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume.identity import RunPath
from jupyter_resume.store.replica import Replica, ReplicaFile, Shift
from jupyter_resume.store.uploaded import Uploaded

URL = "https://tracker.example"
PATH = RunPath("alice", "demo", "r1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replicas"


def remembered(folder: Path) -> Replica:
    """As another process finds it."""
    found = ReplicaFile.of(folder, URL).load()
    assert found is not None
    return found


def known(**values: Any) -> Replica:
    return Replica(URL, PATH, storage_id="id1", **values)


def test_what_is_remembered_is_found_again(folder: Path) -> None:
    replica = known(rows=3, shifts=[Shift(1, 2, 3)], said={"config": {"nan": float("inf")}}, files={"a\n": ["d", "m"]})
    ReplicaFile.of(folder, URL).save(replica)
    assert remembered(folder) == replica


def test_what_is_written_for_an_upload_does_not_grow_with_their_number(folder: Path) -> None:
    """Counted by the operating system: every byte that this process writes."""
    counted = Path("/proc/self/io")
    if not counted.exists():
        pytest.skip("this system does not count what a process writes")

    def written() -> int:
        return int(counted.read_text().split("wchar:")[1].split()[0])

    file, replica = ReplicaFile.of(folder, URL), known()
    file.save(replica)
    costs = []
    for portion in range(4):
        before = written()
        for n in range(250):
            name = f"{portion}/{n}.bin"
            replica.files[name] = ["d" * 64, "m" * 24]
            file.save_upload(replica, name)
            file.save(replica)  # as after a post of rows
        costs.append(written() - before)
    assert min(costs[2:]) < 1.1 * min(costs[:2])  # what else this process writes, a test runner's words, only adds
    assert max(costs) < 250 * 1000
    assert remembered(folder) == replica


def test_content_that_is_sent_again_and_again_does_not_make_it_grow(folder: Path) -> None:
    file, replica = ReplicaFile.of(folder, URL), known()
    file.save(replica)
    for n in range(1000):
        replica.files["live.bin"] = [str(n), "m"]
        file.save_upload(replica, "live.bin")
    assert remembered(folder).files == {"live.bin": ["999", "m"]}
    assert (folder / "tracker.example.files.jsonl").stat().st_size < 10_000


def test_a_state_of_the_form_that_had_the_files_in_it_is_read_and_goes_on(folder: Path) -> None:
    older = known(rows=2, files={"a": ["d", "m"], "b": ["d", "m"]})
    folder.mkdir()
    (folder / "tracker.example.json").write_text(json.dumps(asdict(older)))
    file = ReplicaFile.of(folder, URL)
    replica = file.load()
    assert replica == older
    assert replica is not None
    replica.files["a"] = ["newer", "m"]
    file.save_upload(replica, "a")
    assert remembered(folder).files == replica.files
    file.save(replica)
    assert "files" not in json.loads((folder / "tracker.example.json").read_bytes())
    assert remembered(folder) == replica


def test_of_lines_that_were_cut_anywhere_the_whole_ones_count_and_others_follow_them(tmp_path: Path) -> None:
    first = Uploaded(tmp_path / "files.jsonl")
    files = first.load()
    for name in ("a", "b", "c"):
        files[name] = [name, "m"]
        first.save(files, name)
    data = first.path.read_bytes()
    for cut in range(len(data) + 1):
        first.path.write_bytes(data[:cut])
        again = Uploaded(first.path)
        found = again.load()
        assert list(found) == ["a", "b", "c"][: data[:cut].count(b"\n")]
        found["new"] = ["new", "m"]
        again.save(found, "new")
        assert Uploaded(first.path).load() == found, cut


def test_a_damaged_line_costs_its_own_file_only(tmp_path: Path) -> None:
    lines = Uploaded(tmp_path / "files.jsonl")
    lines.save({name: [name, "m"] for name in ("a", "b", "c")})
    data = lines.path.read_bytes()
    at = data.index(b'"b"')
    lines.path.write_bytes(data[:at] + b"#" + data[at + 1 :])
    assert list(Uploaded(lines.path).load()) == ["a", "c"]


@pytest.mark.parametrize("moment", range(4))
def test_a_process_that_dies_while_it_forgets_what_a_server_lost_does_not_remember_its_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Remembered is what was before, or nothing of the files, and never a run begun anew that has them already."""
    file, replica = ReplicaFile.of(folder, URL), known(rows=3, files={"a": ["d", "m"]})
    file.save(replica)
    replica.rows, replica.files = 0, {}
    steps = iter(range(10))

    def dies(real: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            if next(steps) == moment:
                raise SystemExit
            return real(*args, **kwargs)

        return step

    for name in ("unlink", "write_bytes", "replace"):
        monkeypatch.setattr(Path, name, dies(getattr(Path, name)))
    with contextlib.suppress(SystemExit):
        file.save(replica)
    monkeypatch.undo()
    found = remembered(folder)
    assert (found.rows, found.files) in [(3, {"a": ["d", "m"]}), (3, {}), (0, {})]


def test_a_disk_that_takes_nothing_costs_the_memory_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, replica = ReplicaFile.of(folder, URL), known()
    file.save(replica)
    real = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "a" in mode:
            raise OSError(28, os.strerror(28))
        return real(path, mode, *args, **kwargs)

    replica.files["a"] = ["d", "m"]
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Path, "open", full)
        file.save_upload(replica, "a")
    assert remembered(folder).files == {}
    replica.files["b"] = ["d", "m"]
    file.save_upload(replica, "b")
    assert remembered(folder).files == replica.files
