"""Runs and files from outside a run: Api over this machine's store."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import types
from pathlib import Path

import pytest

import jupyter_resume as wandb
from jupyter_resume import errors, notices, paging, sampling, selection
from jupyter_resume.api import Api
from jupyter_resume.store.home import Store


@pytest.fixture(autouse=True)
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(notices, "tell", lines.append)
    return lines


@pytest.fixture
def runs(tmp_path: Path) -> None:
    """Five runs: r0 to r4, of which r3 crashed and r4 failed."""
    for n in range(5):
        run = wandb.init(
            project="p",
            id=f"r{n}",
            name=f"Run {n}",
            config={"lr": n / 10, "model": {"depth": n}},
            tags=["even"] if n % 2 == 0 else ["odd", "best"],
            group="g" if n < 2 else None,
            notes="first" if n == 0 else None,
        )
        for step in range(n + 1):
            run.log({"loss": 1.0 - step / 10, "only": step} if step % 2 else {"loss": 1.0 - step / 10})
        if n == 3:
            run.close("crashed")
        else:
            run.finish(int(n == 4))


@pytest.fixture
def saved(tmp_path: Path) -> wandb.Run:
    (tmp_path / "work" / "sub").mkdir(parents=True)
    (tmp_path / "work" / "model.h5").write_bytes(b"weights" * 1000)
    (tmp_path / "work" / "sub" / "notes.txt").write_text("hello")
    with wandb.init(project="p", id="one") as run:
        run.save(tmp_path / "work" / "model.h5", policy="now")
        run.save(str(tmp_path / "work" / "sub" / "*"), base_path=tmp_path / "work", policy="now")
    return run


def ids(runs: object) -> list[str]:
    return [run.id for run in runs]  # type: ignore[attr-defined]


# One run


@pytest.mark.usefixtures("runs")
def test_a_run_tells_what_it_was() -> None:
    run = Api().run("local/p/r0")
    assert (run.id, run.name, run.entity, run.project, run.path) == ("r0", "Run 0", "local", "p", "local/p/r0")
    assert (run.state, run.notes, run.tags, run.group, run.job_type, run.url) == (
        "finished", "first", ("even",), "g", None, None,
    )  # fmt: skip
    assert run.config == {"lr": 0.0, "model": {"depth": 0}}
    assert run.summary["loss"] == 1.0
    assert run.created_at is not None
    assert run.created_at.startswith("20")
    assert "T" in run.created_at
    assert [Api().run(f"p/r{n}").state for n in (3, 4)] == ["crashed", "failed"]


@pytest.mark.usefixtures("runs")
def test_what_a_run_gives_is_a_copy() -> None:
    run = Api().run("p/r1")
    run.config["lr"] = 9
    run.summary["loss"] = 9
    assert run.config["lr"] == 0.1
    assert run.summary["loss"] != 9


def test_a_run_that_is_being_written_is_seen_and_one_whose_writer_died_is_crashed(store: Store) -> None:
    run = wandb.init(project="p", id="live")
    run.log({"loss": 0.5})
    seen = Api().run("p/live")
    assert (seen.state, seen.summary["loss"], len(list(seen.scan_history()))) == ("running", 0.5, 1)
    run.log({"loss": 0.4})
    assert Api().run("p/live").summary["loss"] == 0.4
    assert seen.summary["loss"] == 0.5
    child = os.fork() if hasattr(os, "fork") else None
    if child is None:
        pytest.skip("no fork")
    if child == 0:
        wandb.init(project="p", id="died", resume="allow")
        os._exit(1)
    os.waitpid(child, 0)
    assert Api().run("p/died").state == "crashed"


@pytest.mark.usefixtures("runs")
def test_a_path_leaves_out_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "p")
    assert Api().run("r2").path == "local/p/r2"
    assert Api().run("/local/p/runs/r2").path == "local/p/r2"
    monkeypatch.setenv("WANDB_ENTITY", "team")
    with pytest.raises(errors.RunMissing, match="no run team/p/r2"):
        Api().run("r2")
    assert Api().run("local/p/r2").path == "local/p/r2"


@pytest.mark.usefixtures("runs")
def test_a_missing_run_is_an_error_with_the_nearest_ids(home: Path) -> None:
    with pytest.raises(errors.RunMissing, match=r"no run local/p/r7 in the store .*did you mean 'r\d'") as caught:
        Api().run("p/r7")
    assert str(home) in str(caught.value)
    with pytest.raises(errors.RunMissing, match="no runs there"):
        Api().run("other/r7")
    with pytest.raises(errors.RunMissing, match="newest runs are 'r4', 'r3'"):
        Api().run("p/something-else")


@pytest.mark.parametrize("path", ["", "a/b/c/d", "//", 5, None, "a//b"])
def test_what_is_no_run_path_is_refused(path: object) -> None:
    with pytest.raises(errors.InvalidInput):
        Api().run(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", "a/b/c", 5, "a//b", "a?b"])
def test_what_is_no_project_is_refused(path: object) -> None:
    with pytest.raises(errors.InvalidInput):
        Api().runs(path)  # type: ignore[arg-type]


# Many runs


@pytest.mark.usefixtures("runs")
def test_runs_come_oldest_first_and_in_any_order_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    assert ids(api.runs("p")) == ["r0", "r1", "r2", "r3", "r4"]
    assert ids(api.runs("local/p", order="-created_at")) == ["r4", "r3", "r2", "r1", "r0"]
    assert ids(api.runs("p", order="-config.lr")) == ["r4", "r3", "r2", "r1", "r0"]
    assert ids(api.runs("p", order="state,-summary_metrics._step")) == ["r3", "r4", "r2", "r1", "r0"]
    assert ids(api.runs("p", order=None)) == ["r4", "r3", "r2", "r1", "r0"]
    assert ids(api.runs("none")) == []
    monkeypatch.setenv("WANDB_PROJECT", "p")
    assert len(api.runs()) == 5


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"state": "crashed"}, ["r3"]),
        ({"config.lr": {"$gte": 0.2, "$lt": 0.4}}, ["r2", "r3"]),
        ({"config.lr.value": 0.1}, ["r1"]),
        ({"config.model.depth": {"$in": [1, 4]}}, ["r1", "r4"]),
        ({"tags": "best", "summary_metrics.only": {"$exists": True}}, ["r1", "r3"]),
        ({"tags": {"$nin": ["best"]}}, ["r0", "r2", "r4"]),
        ({"$or": [{"display_name": "Run 0"}, {"name": "r4"}]}, ["r0", "r4"]),
        ({"$nor": [{"state": "finished"}, {"state": "failed"}]}, ["r3"]),
        ({"$not": {"group": "g"}, "display_name": {"$regex": "[23]$"}}, ["r2", "r3"]),
        ({"config.lr": {"$not": {"$gt": 0.1}}}, ["r0", "r1"]),
        ({"created_at": {"$gt": "2020-01-01T00:00:00Z"}, "state": {"$ne": "finished"}}, ["r3", "r4"]),
        ({"created_at": {"$lt": "2020-01-01"}}, []),
    ],
)
def test_filters_choose_runs(filters: dict[str, object], expected: list[str]) -> None:
    chosen = Api().runs("p", filters=filters)
    assert len(chosen) == len(expected)
    assert ids(chosen) == expected


@pytest.mark.parametrize(
    "filters",
    [
        {"x": {"$near": 1}},
        {"$where": "1"},
        {"$and": {"x": 1}},
        {"$not": 5},
        {"x": {"$regex": "("}},
        {5: 1},
        ["x"],
        {"x": {"$in": 3}},
    ],
)
def test_filters_that_make_no_sense_are_refused_before_anything_is_read(filters: object) -> None:
    with pytest.raises(errors.InvalidInput):
        Api().runs("p", filters=filters)  # type: ignore[arg-type]


def test_filters_nested_too_deeply_are_refused_in_words() -> None:
    nested: dict[str, object] = {"x": 1}
    for _ in range(5000):
        nested = {"$not": nested}
    with pytest.raises(errors.InvalidInput, match="flatter"):
        selection.check(nested)
    inner: dict[str, object] = {"$gt": 1}
    for _ in range(5000):
        inner = {"$not": inner}
    with pytest.raises(errors.InvalidInput):
        selection.check({"x": inner})


def test_an_interrupted_run_is_found_by_our_word_and_by_wandbs() -> None:
    wandb.init(project="p", id="stopped").close("interrupted")
    for word in ("interrupted", "killed"):
        assert ids(Api().runs("p", filters={"state": word})) == ["stopped"]


def test_runs_without_the_key_and_with_nan_come_last_in_every_order() -> None:
    for name, loss in (("a", 2.0), ("b", float("nan")), ("c", 1.0), ("d", None)):
        with wandb.init(project="p", id=name) as run:
            if loss is not None:
                run.log({"loss": loss})
    assert ids(Api().runs("p", order="+summary_metrics.loss"))[:2] == ["c", "a"]
    assert ids(Api().runs("p", order="-summary_metrics.loss"))[:2] == ["a", "c"]


def test_only_the_pages_that_are_needed_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(23):
        wandb.init(project="p", id=f"n{n:02}").finish()
    looked = []
    original = Store.record
    monkeypatch.setattr(Store, "record", lambda self, path: looked.append(path) or original(self, path))
    runs = Api().runs("p", per_page=5)
    assert looked == []
    assert len(runs) == 23
    assert runs[3].id == "n03"
    assert len(set(looked)) == 5
    assert ids(runs[4:7]) == ["n04", "n05", "n06"]
    assert runs.fetched == 10
    assert runs[-1].id == "n22"
    assert ids(runs) == [f"n{n:02}" for n in range(23)]
    assert runs.fetched == len(runs) == 23


def test_pages_begin_again_where_one_failed_and_end_with_a_cursor_that_stands_still() -> None:
    failing = [True]

    def fetch(cursor: str | None) -> paging.Piece[int]:
        at = int(cursor or 0)
        if at == 2 and failing[0]:
            raise OSError("gone")
        return paging.Piece([at, at + 1], str(min(at + 2, 4)), None)

    numbers = paging.Paged(fetch)
    with pytest.raises(OSError, match="gone"):
        list(numbers)
    failing[0] = False
    assert list(numbers) == [0, 1, 2, 3, 4, 5]
    assert (len(numbers), numbers[-1], numbers[1:3], numbers[::-2]) == (6, 5, [1, 2], [5, 3, 1])
    with pytest.raises(IndexError):
        numbers[6]


@pytest.mark.usefixtures("runs")
def test_runs_and_a_run_show_themselves() -> None:
    runs = Api().runs("p")
    assert repr(runs).splitlines()[0].split() == ["run", "name", "state", "last", "step", "last", "seen"]
    assert "local/p/r3" in repr(runs)
    assert "<table>" in runs._repr_html_()
    assert "no such runs" in repr(Api().runs("none"))
    run = Api().run("p/r4")
    assert repr(run) == "<ApiRun local/p/r4 failed, step 5>"
    assert "0.6" in run._repr_html_()
    for n in range(25):
        wandb.init(project="many", id=f"n{n}", name="<script>").finish()
    many = Api().runs("many")
    assert repr(many).endswith("and 5 more")
    assert "<script>" not in many._repr_html_()
    assert repr(Api()).startswith("<Api of the store ")


# History


def test_history_is_thinned_evenly_and_scanned_whole() -> None:
    with wandb.init(project="p", id="long") as run:
        for step in range(101):
            run.log({"loss": step, "odd": step} if step % 2 else {"loss": step})
    seen = Api().run("p/long")
    assert [row["_step"] for row in seen.history(samples=11)] == list(range(0, 101, 10))
    assert len(seen.history()) == 101
    assert seen.history(keys=["odd"], samples=2) == [{"_step": 1, "odd": 1}, {"_step": 99, "odd": 99}]
    assert [row["_step"] for row in seen.history("odd", samples=1)] == [99]
    assert [row["loss"] for row in seen.scan_history()] == list(range(101))
    assert [row["loss"] for row in seen.scan_history(min_step=5, max_step=8)] == [5, 6, 7]
    assert list(seen.scan_history(keys=["odd", "loss"], max_step=4)) == [{"odd": 1, "loss": 1}, {"odd": 3, "loss": 3}]
    assert list(seen.scan_history(keys=["none"])) == []


def test_history_comes_as_a_data_frame_where_pandas_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with wandb.init(project="p", id="x") as run:
        run.log({"loss": 0.5})
    frame = types.SimpleNamespace(from_records=lambda rows: ("frame", [row["loss"] for row in rows]))
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=frame))  # type: ignore[arg-type]
    assert Api().run("p/x").history(pandas=True) == ("frame", [0.5])
    monkeypatch.setitem(sys.modules, "pandas", None)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidInput, match="pip install pandas"):
        Api().run("p/x").history(pandas=True)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"samples": True}, {"samples": "5"}, {"keys": [1]}])
def test_history_refuses_what_makes_no_sense(wrong: dict[str, object]) -> None:
    wandb.init(project="p", id="x").finish()
    with pytest.raises(errors.InvalidInput):
        Api().run("p/x").history(**wrong)  # type: ignore[arg-type]


def test_samples_are_even_where_lines_of_the_history_never_came(store: Store) -> None:
    from jupyter_resume.store import lines

    run = wandb.init(project="p", id="gaps")
    for step in range(4):
        run.log({"loss": step})
    run._writer.put(lines.GAP, {"rows": 8})
    run.log({"loss": 9}, step=20)
    run.finish()
    record = store.record(run.run_path)
    assert record.tail().point.rows > 5  # type: ignore[union-attr]
    assert [row["_step"] for row in sampling.sample(record, samples=3)] == [0, 2, 20]
    assert [row["_step"] for row in sampling.sample(record)] == [0, 1, 2, 3, 20]


# Files


@pytest.mark.usefixtures("saved")
def test_files_are_listed_with_size_and_md5() -> None:
    run = Api().run("p/one")
    assert [file.name for file in run.files()] == ["model.h5", "sub/notes.txt"]
    assert len(run.files()) == 2
    shown = repr(run.files()).splitlines()
    assert shown[0].split() == ["file", "size", "saved", "at"]
    assert shown[1].startswith("model.h5")
    assert "<table>" in run.files()._repr_html_()
    assert repr(run.files("nope")) == "no saved files"
    assert [file.name for file in run.files(["model.h5", "nope"])] == ["model.h5"]
    assert [file.name for file in run.files("sub/notes.txt")] == ["sub/notes.txt"]
    file = run.file("model.h5")
    assert (file.name, file.size) == ("model.h5", 7000)
    assert file.md5 == base64.b64encode(hashlib.md5(b"weights" * 1000).digest()).decode()
    assert file.url.startswith("file://")
    assert file.updated_at is not None
    assert repr(file) == "<File model.h5 (7.0 kB) of run local/p/one>"


@pytest.mark.usefixtures("saved")
def test_a_missing_file_is_an_error_with_the_nearest_names() -> None:
    run = Api().run("p/one")
    with pytest.raises(errors.FileMissing, match=r"no file 'modle\.h5': did you mean 'model\.h5'"):
        run.file("modle.h5")
    for name in ("../x", "/etc/passwd", "", "C:/x"):
        with pytest.raises(errors.UnsafeName):
            run.file(name)


@pytest.mark.usefixtures("saved")
def test_a_download_is_verified_and_opened(tmp_path: Path) -> None:
    file = Api().run("p/one").file("sub/notes.txt")
    with file.download(root=tmp_path / "new") as opened:
        assert opened.read() == b"hello"
        assert opened.name == str(tmp_path / "new" / "sub" / "notes.txt")
    with file.download(root=tmp_path / "new") as again:  # it is there, and is the same
        assert again.read() == b"hello"
    assert os.listdir(tmp_path / "new" / "sub") == ["notes.txt"]


@pytest.mark.usefixtures("saved")
def test_another_file_of_that_name_is_replaced_or_opened_only_if_asked(tmp_path: Path, told: list[str]) -> None:
    file = Api().run("p/one").file("model.h5")
    (tmp_path / "model.h5").write_bytes(b"mine")
    with pytest.raises(errors.LocalFileDiffers, match="replace=True"):
        file.download()
    with file.download(exist_ok=True) as opened:
        assert opened.read() == b"mine"
    assert "left as it is" in told[0]
    with file.download(replace=True, exist_ok=True) as opened:
        assert opened.read() == b"weights" * 1000
    assert len(told) == 1
    (tmp_path / "folder" / "model.h5").mkdir(parents=True)
    with pytest.raises(errors.LocalFileDiffers):
        file.download(root="folder", exist_ok=True)


def test_damaged_content_is_not_downloaded(saved: wandb.Run, store: Store, tmp_path: Path) -> None:
    entry = Api().run("p/one").file("model.h5")
    blob = store.blobs(saved.run_path).path(saved.files["model.h5"].digest)
    blob.write_bytes(b"rubbish" * 1000)
    with pytest.raises(errors.FileDamaged):
        entry.download()
    assert not (tmp_path / "model.h5").exists()


# Which source


def test_without_a_key_the_store_is_asked_and_with_one_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "store" in Api().place
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9/")
    assert Api().place == "http://127.0.0.1:9"
    assert Api("http://127.0.0.1:7").place == "http://127.0.0.1:7"
    assert "store" in Api(mode="local").place
    assert "store" in Api(mode="offline").place
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "store" in Api().place
    assert Api(mode="online").place == "http://127.0.0.1:9"
    with pytest.raises(errors.InvalidInput, match="leave out one"):
        Api("http://127.0.0.1:7", mode="local")


def test_a_server_without_a_key_and_a_mode_that_is_none_are_refused() -> None:
    with pytest.raises(errors.KeyRejected, match="WANDB_API_KEY"):
        Api("http://127.0.0.1:9")
    with pytest.raises(errors.KeyRejected):
        Api(mode="online")
    with pytest.raises(errors.InvalidInput):
        Api(mode="cloud")
    with pytest.raises(errors.InvalidInput):
        Api("not an address")
