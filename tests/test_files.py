"""save and restore: what is kept is whole, and what comes back is exactly that, or an error that changes nothing."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

import jupyter_resume as wandb
from jupyter_resume import saving, transfer
from jupyter_resume.errors import (
    FileDamaged,
    FileError,
    FileMissing,
    FileUnstable,
    InvalidInput,
    LocalFileDiffers,
    NoRun,
    RunClosed,
    RunMissing,
    UnsafeName,
)
from jupyter_resume.files import safe_name
from jupyter_resume.identity import RunPath
from jupyter_resume.keeper import keeper
from jupyter_resume.store.blobs import Blobs
from jupyter_resume.store.home import Store

from .processes import Counters, other, started


@pytest.fixture
def run() -> wandb.Run:
    """A run that is tended only when a test says so."""
    run = wandb.init(project="files", id="the-run", resume="allow")
    keeper.remove(run._tend)
    return run


def write(name: str | Path, content: str | bytes = "content") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content; None for a link."""
    return {
        str(path.relative_to(folder)): None if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def blobs_of(run: wandb.Run) -> Path:
    return Store().blobs(run.run_path).folder


# save: names


def test_names_are_relative_to_the_working_directory(run: wandb.Run) -> None:
    write("a.h5"), write("deep/b.h5"), write("deep/er/c.h5")
    assert run.save("a.h5") == ["a.h5"]
    assert run.save("deep/*.h5") == ["deep/b.h5"]
    assert run.save("**/*.h5") == ["a.h5", "deep/b.h5", "deep/er/c.h5"]
    assert sorted(run.files) == ["a.h5", "deep/b.h5", "deep/er/c.h5"]


def test_names_are_relative_to_a_base_path_that_is_given(run: wandb.Run, tmp_path: Path) -> None:
    write("deep/er/c.h5")
    assert run.save("deep/er/*.h5", base_path="deep") == ["er/c.h5"]
    assert run.save(tmp_path / "deep" / "er" / "c.h5", base_path=tmp_path / "deep" / "er") == ["c.h5"]


def test_names_of_an_absolute_pattern_are_relative_to_its_own_folder(run: wandb.Run, tmp_path: Path) -> None:
    write("deep/er/c.h5")
    assert run.save(str(tmp_path / "deep" / "er" / "c.h5")) == ["c.h5"]
    assert run.save(str(tmp_path / "deep" / "*" / "*.h5")) == ["er/c.h5"]


@pytest.mark.parametrize("folder", ["run[1]", "what?", "a*b", "[!x]"])
def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(
    run: wandb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    write(f"{folder}/model[best].h5"), write(f"{folder}/other.h5")
    monkeypatch.chdir(tmp_path / folder)
    assert run.save("model[best].h5") == ["model[best].h5"]
    assert run.save("*.h5") == ["model[best].h5", "other.h5"]
    assert run.save(str(tmp_path / folder / "other.h5")) == ["other.h5"]


def test_a_file_outside_the_base_path_is_refused(run: wandb.Run, tmp_path: Path) -> None:
    write("outside.h5"), write("base/inside.h5")
    with pytest.raises(UnsafeName, match=r"is not inside .* pass base_path="):
        run.save("outside.h5", base_path="base")
    os.chdir("base")
    with pytest.raises(UnsafeName, match="is not inside"):
        run.save("../outside.h5")
    assert run.files == {}


@pytest.mark.parametrize("pattern", ["", " ", "a\0b"])
def test_what_is_no_pattern_is_refused(run: wandb.Run, pattern: str) -> None:
    with pytest.raises(UnsafeName, match="is no file name or pattern"):
        run.save(pattern)


def test_a_folder_is_refused_with_the_pattern_for_its_files(run: wandb.Run) -> None:
    write("checkpoints/a.h5")
    with pytest.raises(UnsafeName, match=r"checkpoints is a folder: save its files with 'checkpoints/\*'"):
        run.save("checkpoints")
    assert run.save("checkpoints/*") == ["checkpoints/a.h5"]


def test_an_unknown_policy_is_refused(run: wandb.Run) -> None:
    write("a.h5")
    with pytest.raises(InvalidInput, match="use 'live', 'now' or 'end'"):
        run.save("a.h5", policy="later")


def test_nothing_to_save_now_is_an_error_and_later_is_watched_for(run: wandb.Run) -> None:
    with pytest.raises(FileMissing, match=r"Nothing matches 'none\.h5'"):
        run.save("none.h5", policy="now")
    assert run.save("none.h5") == []
    write("none.h5")
    run._tend()
    run._tend()
    assert list(run.files) == ["none.h5"]


def test_nothing_is_saved_after_finish(run: wandb.Run) -> None:
    write("a.h5")
    run.finish()
    with pytest.raises(RunClosed):
        run.save("a.h5")


# save: what is recorded


@pytest.mark.parametrize("size", [0, 1, 100_000, 9_000_001])
def test_the_size_and_the_digest_of_the_content_are_in_the_record(run: wandb.Run, store: Store, size: int) -> None:
    content = os.urandom(size)
    write("model.h5", content)
    run.log({"loss": 1})
    run.save("model.h5", policy="now", metadata={"loss": 1})
    tail = store.record(run.run_path).tail()
    assert tail is not None
    entry = tail.point.files["model.h5"]
    assert (entry.size, entry.digest, entry.step, entry.metadata) == (
        size, blake3(content).hexdigest(), 0, {"loss": 1},
    )  # fmt: skip
    assert (blobs_of(run) / entry.digest).read_bytes() == content


def test_the_content_is_kept_when_the_file_is_changed_or_deleted(run: wandb.Run, tmp_path: Path) -> None:
    write("model.h5", "kept")
    run.save("model.h5", policy="now")
    write("model.h5", "changed")
    with run.restore("model.h5") as file:
        assert file.read() == b"kept"


def test_a_link_is_saved_as_the_file_that_it_leads_to(run: wandb.Run) -> None:
    write("real.h5", "content")
    os.symlink("real.h5", "link.h5")
    assert run.save("link.h5") == ["link.h5"]
    with run.restore("link.h5") as file:
        assert file.read() == b"content"
    assert not Path(run.dir, "link.h5").is_symlink()


def test_now_saves_once_live_whenever_a_file_changes_and_end_at_the_end(run: wandb.Run, store: Store) -> None:
    for policy in ("now", "live", "end"):
        write(f"{policy}.txt", "first")
        run.save(f"{policy}.txt", policy=policy)
    assert sorted(run.files) == ["live.txt", "now.txt"]
    for policy in ("now", "live", "end"):
        write(f"{policy}.txt", "and then another")
    run._tend()  # sees the change
    assert run.files["live.txt"].size == len("first")
    run._tend()  # sees that the file has come to rest
    assert run.files["live.txt"].size == len("and then another")
    assert "end.txt" not in run.files
    write("live.txt", "the last one, which is longer")
    run.finish()
    tail = store.record(run.run_path).tail()
    assert tail is not None
    assert {name: entry.size for name, entry in tail.point.files.items()} == {
        "now.txt": len("first"),
        "live.txt": len("the last one, which is longer"),
        "end.txt": len("and then another"),
    }


def test_a_live_file_that_did_not_change_is_not_saved_again(run: wandb.Run) -> None:
    write("a.h5")
    run.save("a.h5")
    before = run.files["a.h5"]
    for _ in range(3):
        run._tend()
    assert run.files["a.h5"] == before


def test_new_files_of_a_live_pattern_are_saved_when_they_come(run: wandb.Run) -> None:
    write("ckpt/1.h5")
    run.save("ckpt/*.h5")
    write("ckpt/2.h5")
    run._tend()
    run._tend()
    assert sorted(run.files) == ["ckpt/1.h5", "ckpt/2.h5"]


def test_one_content_is_kept_once_and_one_that_no_file_has_any_more_goes_after_a_while(
    run: wandb.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_GRACE", 3600.0)
    write("a.h5", "same")
    write("b.h5", "same")
    run.save("*.h5", policy="now")
    assert len(list(blobs_of(run).iterdir())) == 1
    write("a.h5", "other")
    run.save("a.h5", policy="now")
    run._tend()
    assert len(list(blobs_of(run).iterdir())) == 2
    write("b.h5", "other")
    run.save("b.h5", policy="now")
    run._tend()
    assert len(list(blobs_of(run).iterdir())) == 2  # who has just read the record may still want it
    monkeypatch.setattr(saving, "_GRACE", 0.0)
    run._tend()
    assert [blob.read_bytes() for blob in blobs_of(run).iterdir()] == [b"other"]


def test_a_content_that_comes_back_is_not_deleted(run: wandb.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ("one", "two", "one"):
        write("a.h5", content)
        run.save("a.h5", policy="now")
    monkeypatch.setattr(saving, "_GRACE", 0.0)
    run._tend()
    assert [blob.read_bytes() for blob in blobs_of(run).iterdir()] == [b"one"]


def test_what_a_killed_writer_left_behind_goes_when_its_run_is_continued(home: Path, store: Store) -> None:
    with other(home) as one:
        one.init(project="files", id="the-run")
        one.save("a.h5", "first")
        one.save("a.h5", "second")
        one.kill()
    folder = store.blobs(RunPath("local", "files", "the-run")).folder
    write(folder / ".incoming-123-abcd", "half a f")
    assert len(list(folder.iterdir())) == 3
    run = wandb.init(project="files", id="the-run", resume="must")
    assert [blob.read_bytes() for blob in folder.iterdir()] == [b"second"]
    with run.restore("a.h5") as file:
        assert file.read() == b"second"


# save: a file that changes meanwhile


class Meddling:
    """Changes the source while it is being copied, the first so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, source: Path, times: int) -> None:
        self.source, self.left, self._copy = source, times, transfer.copy
        monkeypatch.setattr(transfer, "copy", self)

    def __call__(self, source: BinaryIO, target: Path, sync: bool = False) -> str:
        digest = self._copy(source, target, sync)
        if self.left and source.name == str(self.source):
            self.left -= 1
            with self.source.open("r+b") as file:
                file.write(b"%d" % self.left)
        return digest


def test_a_file_that_changes_while_it_is_saved_is_saved_when_it_has_come_to_rest(
    run: wandb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.h5", "9 is the number")
    Meddling(monkeypatch, path, 2)
    run.save("a.h5", policy="now")
    with run.restore("a.h5") as file:
        assert file.read() == b"0 is the number"


def test_a_file_that_never_comes_to_rest_is_refused_and_the_others_are_saved(
    run: wandb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.h5", "before")
    run.save("a.h5", policy="now")
    path = write(tmp_path / "a.h5", "restless")
    write("b.h5", "at rest")
    Meddling(monkeypatch, path, 1000)
    with pytest.raises(FileUnstable, match=r"a\.h5 kept changing while it was being saved"):
        run.save("*.h5", policy="now")
    assert run.files["a.h5"].size == len("before")
    assert run.files["b.h5"].size == len("at rest")
    assert not [blob for blob in blobs_of(run).iterdir() if blob.name.startswith(".")]


def test_a_live_file_that_could_not_be_saved_is_tried_again(
    run: wandb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.h5", "1 first")
    write("b.h5", "first")
    run.save("*.h5")
    write("a.h5", "2 second")
    write("b.h5", "second")
    with monkeypatch.context() as patch:
        Meddling(patch, path, 1000)
        for _ in range(4):
            run._tend()
    assert run.files["b.h5"].size == len("second")
    assert run.files["a.h5"].size == len("1 first")
    assert capsys.readouterr().err.count("is not saved") == 1
    run.finish()
    assert run.files["a.h5"].size == len("2 second")


def rewrite_for_ever(path: Path, counters: Counters) -> None:
    """Write a file anew again and again in place, all its bytes alike, with a rest after each time."""
    with path.open("r+b", buffering=0) as file:
        n = 0
        while True:
            n += 1
            file.seek(0)
            for _ in range(64):
                file.write(bytes([n % 251]) * (1 << 16))
            counters[0] = n
            time.sleep(0.05)


def replace_for_ever(path: Path, counters: Counters) -> None:
    """Write a file anew again and again under another name, and move it into place."""
    n = 0
    while True:
        n += 1
        fresh = path.with_suffix(".fresh")
        fresh.write_bytes(bytes([n % 251]) * (1 << 20))
        fresh.replace(path)
        counters[0] = n
        time.sleep(0.03)


@pytest.mark.parametrize("writer", [rewrite_for_ever, replace_for_ever])
def test_a_file_that_another_process_keeps_writing_is_never_recorded_torn(
    run: wandb.Run, tmp_path: Path, writer: Any
) -> None:
    path, counters = write(tmp_path / "model.bin", bytes(1 << 22)), Counters(tmp_path / "counters")
    saved = set()
    with started(writer, path, counters):
        counters.wait(0, 1)
        for _ in range(15):
            try:
                run.save("model.bin", policy="now")
            except FileUnstable:
                continue
            content = (blobs_of(run) / run.files["model.bin"].digest).read_bytes()
            assert len(set(content)) == 1
            saved.add(content[0])
    assert len(saved) > 2


# restore


@pytest.fixture
def saved(run: wandb.Run) -> wandb.Run:
    """A run that has saved model.h5, model-best.h5 and deep/er.txt, whose local files are gone."""
    for name, content in (("model.h5", "model"), ("model-best.h5", "the best"), ("deep/er.txt", "deep\n")):
        write(name, content)
        run.save(name, policy="now")
        Path(name).unlink()
    return run


def test_a_file_comes_back_into_the_runs_folder_open_for_reading_in_binary(saved: wandb.Run) -> None:
    with wandb.restore("model-best.h5") as file:
        assert file.name == str(Path(saved.dir, "model-best.h5"))
        assert file.read() == b"the best"
    with wandb.restore("deep/er.txt", mode="r") as text:
        assert text.read() == "deep\n"
        assert Path(text.name) == Path(saved.dir, "deep", "er.txt")
    with pytest.raises(InvalidInput, match="not for reading"):
        wandb.restore("deep/er.txt", mode="w")
    assert [one.file for one in saved.restored[:2]] == ["model-best.h5", "deep/er.txt"]


def test_a_file_comes_back_after_the_run_was_killed_and_resumed(home: Path) -> None:
    with other(home) as one:
        one.init(project="files", id="killed")
        one.save("model.h5", "weights")
        one.kill()
    wandb.init(project="files", id="killed", resume="must")
    with wandb.restore("model.h5") as file:
        assert file.read() == b"weights"


def test_a_root_that_is_given_is_where_the_file_goes(saved: wandb.Run, tmp_path: Path) -> None:
    with wandb.restore("deep/er.txt", root="some/where") as file:
        assert Path(file.name) == tmp_path / "some" / "where" / "deep" / "er.txt"


@pytest.mark.parametrize("run_path", ["local/files/the-run", "files/the-run", "local/files/runs/the-run"])
def test_without_a_run_a_file_comes_from_the_run_path_into_the_working_directory(
    saved: wandb.Run, tmp_path: Path, run_path: str
) -> None:
    saved.finish()
    with wandb.restore("model.h5", run_path=run_path) as file:
        assert Path(file.name) == tmp_path / "model.h5"
        assert file.read() == b"model"


def test_a_bare_run_id_is_looked_for_in_the_active_runs_project(saved: wandb.Run) -> None:
    saved.finish()
    now = wandb.init(project="files")
    with now.restore("model.h5", run_path="the-run") as file:
        assert Path(file.name) == Path(now.dir, "model.h5")
    with pytest.raises(RunMissing, match="no run local/files/another"):
        now.restore("model.h5", run_path="another")


def test_a_file_comes_from_a_run_that_another_process_is_writing(home: Path) -> None:
    with other(home) as one:
        one.init(project="files", id="theirs")
        one.save("model.h5", "theirs")
        with wandb.restore("model.h5", run_path="files/theirs") as file:
            assert file.read() == b"theirs"
        one.log({"n": 0})


def test_without_a_run_and_without_a_run_path_resuming_must_be_configured() -> None:
    with pytest.raises(NoRun, match=r"init\(resume=\.\.\.\) first, or pass run_path='entity/project/run_id'"):
        wandb.restore("model.h5")


def test_a_file_that_is_in_place_already_is_not_copied(saved: wandb.Run) -> None:
    first = saved.bring_back("model.h5")
    assert first.copied
    before = first.path.stat()
    again = saved.bring_back("model.h5")
    assert not again.copied
    assert again.path.stat() == before
    assert "in place already, verified" in repr(again)


@pytest.mark.parametrize("content", ["other", "longer than it", "", "mode\0"])
def test_another_file_of_that_name_is_never_passed_off_and_never_overwritten(saved: wandb.Run, content: str) -> None:
    mine = write(Path(saved.dir, "model.h5"), content)
    with pytest.raises(LocalFileDiffers, match=r"replace=True.*root=") as refused:
        wandb.restore("model.h5")
    assert isinstance(refused.value, FileExistsError)
    assert mine.read_text() == content
    assert "replace=True" in saved.not_restored["model.h5"]
    with wandb.restore("model.h5", replace=True) as file:
        assert file.read() == b"model"
    assert saved.not_restored == {}
    assert sorted(everything_in(Path(saved.dir))) == ["model.h5"]


def test_another_runs_file_of_the_same_name_is_never_passed_off(saved: wandb.Run, tmp_path: Path) -> None:
    saved.finish()
    theirs = wandb.init(project="files", id="theirs")
    write("model.h5", "model of another run")
    theirs.save("model.h5", policy="now")
    theirs.finish()
    with pytest.raises(LocalFileDiffers):
        wandb.restore("model.h5", run_path="files/the-run")
    with wandb.restore("model.h5", run_path="files/theirs") as file:
        assert file.read() == b"model of another run"


def test_a_replacement_is_one_move_that_an_open_reader_does_not_see(saved: wandb.Run) -> None:
    mine = write(Path(saved.dir, "model.h5"), "mine")
    with mine.open("rb") as reader:
        saved.bring_back("model.h5", replace=True)
        assert reader.read() == b"mine"


@pytest.mark.parametrize(
    ("asked", "near"), [("model_best.h5", "'model-best.h5'"), ("modle.h5", "'model.h5'"), ("er.txt", "'deep/er.txt'")]
)
def test_an_unknown_name_is_refused_with_the_nearest_names(saved: wandb.Run, asked: str, near: str) -> None:
    with pytest.raises(FileMissing, match="did you mean") as refused:
        wandb.restore(asked)
    assert near in str(refused.value)
    assert isinstance(refused.value, FileNotFoundError)
    assert "\n" not in str(refused.value)
    assert asked in saved.not_restored


def test_a_name_that_is_near_none_is_told_what_there_is(saved: wandb.Run) -> None:
    with pytest.raises(FileMissing, match=r"has no file 'xyzzy': it has 'deep/er\.txt', .*\.$"):
        wandb.restore("xyzzy")


def test_a_run_without_files_says_so(run: wandb.Run) -> None:
    with pytest.raises(FileMissing, match="the run has no saved files"):
        run.restore("model.h5")


LEAVING = ["..", "../model.h5", "deep/../../model.h5", "/etc/passwd", "C:\\model.h5", "c:model.h5", "./c:model.h5",
           "./\\model.h5", "\\\\host\\x", "..\\model.h5", "deep\\..\\..\\x", "a\0b", "", ".", "./", "a\nb",
           "x" * 5000]  # fmt: skip


@pytest.mark.parametrize("name", LEAVING)
def test_a_name_that_leaves_the_root_is_refused_and_nothing_is_made(saved: wandb.Run, name: str) -> None:
    with pytest.raises(UnsafeName) as refused:
        wandb.restore(name, root="there")
    assert str(refused.value).isprintable()
    assert not Path("there").exists()


@given(
    st.text(st.characters(codec=None), max_size=30)
    | st.lists(st.sampled_from([".", "..", "/", "\\", "a", ":", " ", "\0"])).map("".join)
)
def test_whatever_the_name_it_stays_below_its_root_or_is_refused(name: str) -> None:
    try:
        safe = safe_name(name)
    except UnsafeName:
        return
    root = Path("/some/root")
    assert Path(os.path.normpath(root / safe)).is_relative_to(root)
    assert Path(os.path.normpath(root / safe)) != root
    assert safe_name(safe) == safe


def test_a_name_may_be_written_with_dots_that_stay(saved: wandb.Run) -> None:
    with wandb.restore("./deep/./er.txt") as file:
        assert file.read() == b"deep\n"


# restore: links, folders, and files in the way


def test_a_folder_that_links_out_of_the_root_is_not_followed(saved: wandb.Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(outside, root / "deep")
    for replace in (False, True):
        with pytest.raises(UnsafeName, match=r"leads out of .* by a link"):
            wandb.restore("deep/er.txt", root=root, replace=replace)
    assert everything_in(outside) == {}


def test_a_file_that_links_out_of_the_root_is_not_followed(saved: wandb.Run, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.h5", "model")
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(outside, root / "model.h5")
    for replace in (False, True):
        with pytest.raises(UnsafeName, match=r"leads out of .* by a link"):
            wandb.restore("model.h5", root=root, replace=replace)
    assert outside.read_text() == "model"
    assert (root / "model.h5").is_symlink()


def test_a_link_that_leads_nowhere_is_in_the_way(saved: wandb.Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    os.symlink("nowhere", root / "model.h5")
    with pytest.raises(LocalFileDiffers):
        wandb.restore("model.h5", root=root)
    with wandb.restore("model.h5", root=root, replace=True) as file:
        assert file.read() == b"model"
    assert not (root / "model.h5").is_symlink()
    assert not (root / "nowhere").exists()


def test_links_inside_the_root_and_a_root_that_is_a_link_are_followed(saved: wandb.Run, tmp_path: Path) -> None:
    (tmp_path / "real" / "there").mkdir(parents=True)
    os.symlink(tmp_path / "real", tmp_path / "root")
    os.symlink("there", tmp_path / "real" / "deep")
    with wandb.restore("deep/er.txt", root=tmp_path / "root") as file:
        assert file.read() == b"deep\n"
    assert (tmp_path / "real" / "there" / "er.txt").exists()


def test_a_folder_of_that_name_is_in_the_way_whatever_is_asked(saved: wandb.Run, tmp_path: Path) -> None:
    write("root/model.h5/inside", "kept")
    for replace in (False, True):
        with pytest.raises(LocalFileDiffers, match="is a folder"):
            wandb.restore("model.h5", root="root", replace=replace)
    assert everything_in(tmp_path / "root") == {"model.h5/inside": b"kept"}


@pytest.mark.parametrize("blocked", ["a", "a/b", "a/b/c"])
def test_a_file_where_a_folder_is_needed_is_in_the_way(run: wandb.Run, tmp_path: Path, blocked: str) -> None:
    write("a/b/c/d.txt")
    run.save("a/b/c/d.txt", policy="now")
    write(f"root/{blocked}", "kept")
    with pytest.raises(LocalFileDiffers, match="is a file where a folder is needed"):
        run.restore("a/b/c/d.txt", root="root", replace=True)
    assert everything_in(tmp_path / "root") == {blocked: b"kept"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no fifos")
def test_a_pipe_of_that_name_is_in_the_way_and_nobody_waits_for_it(saved: wandb.Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.h5")
    with pytest.raises(LocalFileDiffers):
        wandb.restore("model.h5", root=tmp_path)


# restore: what is stored is damaged, or the copy fails


def blob(run: wandb.Run, name: str) -> Path:
    return blobs_of(run) / run.files[name].digest


@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "missing"])
def test_damaged_content_is_an_error_and_what_is_in_place_is_untouched(
    saved: wandb.Run, tmp_path: Path, damage: str
) -> None:
    stored = blob(saved, "model.h5")
    content = bytearray(stored.read_bytes())
    if damage == "missing":
        stored.unlink()
    else:
        content[2] ^= damage == "flipped"
        stored.write_bytes(content[: -1 if damage == "shorter" else None] + (b"x" if damage == "longer" else b""))
    good = write("root/model.h5", "good")
    for replace in (True, False):
        root = tmp_path / ("root" if replace else "empty")
        with pytest.raises(FileDamaged, match="save") as refused:
            wandb.restore("model.h5", root=root, replace=replace)
        assert "\n" not in str(refused.value)
    assert good.read_text() == "good"
    assert everything_in(tmp_path / "root") == {"model.h5": b"good"}
    assert everything_in(tmp_path / "empty") == {}
    with wandb.restore("model-best.h5") as file:  # the others are as they were
        assert file.read() == b"the best"


def test_a_good_file_in_place_is_returned_whatever_became_of_the_stored_one(saved: wandb.Run) -> None:
    saved.bring_back("model.h5")
    blob(saved, "model.h5").write_bytes(b"bad")
    with wandb.restore("model.h5") as file:
        assert file.read() == b"model"


def test_saving_a_file_again_mends_its_damaged_content(saved: wandb.Run) -> None:
    blob(saved, "model.h5").write_bytes(b"bad")
    write("model.h5", "model")
    saved.save("model.h5", policy="now")
    with wandb.restore("model.h5") as file:
        assert file.read() == b"model"


def test_a_copy_that_fails_half_way_leaves_no_temporary_and_the_file_in_place(
    saved: wandb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write("root/model.h5", "good")

    def copy_by_chunks(source: int, sink: int) -> Iterator[int]:
        yield os.write(sink, b"mo")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "_copy_by_chunks", copy_by_chunks)
    with pytest.raises(FileError, match=r"could not be put at .*No space left on device.*as it was"):
        wandb.restore("model.h5", root="root", replace=True)
    assert good.read_text() == "good"
    assert everything_in(tmp_path / "root") == {"model.h5": b"good"}


def test_where_the_system_copies_nothing_itself_the_copy_is_the_same(
    saved: wandb.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(9_000_001)
    write("big.bin", content)

    def refuse(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    if hasattr(os, "copy_file_range"):
        monkeypatch.setattr(os, "copy_file_range", refuse)
    saved.save("big.bin", policy="now")
    with wandb.restore("big.bin") as file:
        assert file.read() == content


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_content_is_addressed_only_by_digests_of_the_record(saved: wandb.Run, name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Blobs(tmp_path / "none").copy_out("0" * 64, tmp_path / "x")
    with pytest.raises(UnsafeName):
        saved.restore(name)
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_rewritten_through_memory_while_it_is_saved_is_never_recorded_torn(run: wandb.Run) -> None:
    size = 16 << 20
    Path("mapped.bin").write_bytes(b"\0" * size)
    stop = threading.Event()

    def rewrite() -> None:
        with open("mapped.bin", "r+b") as file, mmap.mmap(file.fileno(), size) as view:
            while not stop.is_set():
                for value in range(256):
                    view[:] = bytes([value]) * size

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        with contextlib.suppress(FileUnstable):
            run.save("mapped.bin", policy="now")
    finally:
        stop.set()
        writer.join()
    for blob in blobs_of(run).iterdir():
        assert len(set(blob.read_bytes())) == 1
