"""Runs and files from outside a run: Api over a server, beside Api over the store that it serves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import errors
from jupyter_resume.api import Api
from jupyter_resume.digests import md5_of
from jupyter_resume.identity import RunPath
from jupyter_resume.remote.base import Account, Page, RemoteFile, RemoteRun
from jupyter_resume.remote.wandb import Wandb
from jupyter_resume.seen import ApiRun
from jupyter_resume.source import RemoteSource

from .serving import KEY, Served, served


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server of this test's store, with a key that is configured for it."""
    with served(home) as server:
        yield server


@pytest.fixture
def there(server: Served) -> Api:
    return Api.of(RemoteSource(Wandb(server.url, KEY, patience=10)))


@pytest.fixture
def here() -> Api:
    return Api(mode="local")


def recorded(run_id: str, count: int = 3, project: str = "p", **how: Any) -> None:
    with wandb.init(project=project, id=run_id, mode="local", **how) as run:
        for step in range(count):
            run.log({"loss": 1 / (step + 1), "odd": step} if step % 2 else {"loss": 1 / (step + 1)})


def told(run: ApiRun) -> dict[str, Any]:
    """All that a run says, but for where it is."""
    names = [name for name, value in vars(type(run)).items() if isinstance(value, property) and name != "url"]
    return {name: getattr(run, name) for name in names}


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


# One run


def test_a_run_says_the_same_here_and_there(server: Served, here: Api, there: Api) -> None:
    how = {"config": {"lr": 0.1, "model": {"depth": 3}}, "name": "A run", "tags": ["a", "b"], "notes": "n"}
    recorded("one", **how, group="g", job_type="train")
    local, remote = here.run("p/one"), there.run("p/one")
    assert told(local) == told(remote)
    assert (local.url, remote.url) == (None, f"{server.url}/local/p/runs/one")
    assert repr(local) == repr(remote)
    assert "loss" in remote._repr_html_()


def test_base_url_or_a_key_decide_that_a_server_is_asked(
    server: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded("one")
    (tmp_path / "netrc").write_text(f"machine {server.url.partition('//')[2]} login user password {KEY}\n")
    assert Api(server.url).run("p/one").url is not None
    assert Api().run("p/one").url is None
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert Api().run("p/one").url is not None
    assert repr(Api()) == f"<Api of {server.url}>"


def test_a_missing_run_is_an_error_with_the_nearest_ids(there: Api) -> None:
    recorded("baseline")
    with pytest.raises(errors.RunMissing, match=r"no run local/p/basline in http://.*did you mean 'baseline'"):
        there.run("p/basline")
    with pytest.raises(errors.RunMissing, match="no runs there"):
        there.run("elsewhere/x")


def test_the_entity_that_a_path_leaves_out_is_the_keys(there: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded("one")
    assert there.run("p/one").entity == "local"
    monkeypatch.setenv("WANDB_ENTITY", "team")
    with pytest.raises(errors.RunMissing, match="team/p/one"):
        Api.of(RemoteSource(there._source.remote)).run("p/one")  # type: ignore[attr-defined]


def test_a_server_that_does_not_answer_is_an_error_of_its_own() -> None:
    api = Api.of(RemoteSource(Wandb("http://127.0.0.1:9", KEY, patience=0.5)))
    with pytest.raises(errors.RemoteUnreachable):
        api.run("team/p/one")
    runs = api.runs("team/p")
    with pytest.raises(errors.RemoteUnreachable):
        len(runs)


# Many runs


def test_only_the_pages_that_are_needed_are_fetched(there: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(123):
        recorded(f"r{n:03}", 1)
    asked: list[str | None] = []
    original = Wandb.runs

    def counted(self: Wandb, entity: str, project: str, filters: Any, order: Any, after: Any, most: int) -> Page:
        asked.append(after)
        return original(self, entity, project, filters, order, after, most)

    monkeypatch.setattr(Wandb, "runs", counted)
    runs = there.runs("p")
    assert asked == []
    assert len(runs) == 123
    assert runs[49].id == "r049"
    assert len(asked) == 1
    assert "and 103 more" in repr(runs)
    assert len(asked) == 1
    assert runs[50].id == "r050"
    assert len(asked) == 2
    assert ids(runs) == [f"r{n:03}" for n in range(123)]
    assert len(asked) == 3
    assert ids(there.runs("p", per_page=1000, order="-created_at")) == ids(runs)[::-1]
    assert len(asked) == 4
    first = next(iter(there.runs("p", per_page=2)))
    assert (first.id, len(asked)) == ("r000", 5)


@pytest.mark.parametrize("order", ["+created_at", "-created_at", "-config.lr", "state,+summary_metrics.loss", None])
def test_filters_and_orders_agree_here_and_there(order: str | None, here: Api, there: Api) -> None:
    for n in range(6):
        tags = ["even"] if n % 2 == 0 else ["odd", "best"]
        run = wandb.init(project="p", id=f"r{n}", mode="local", name=f"Run {n}", config={"lr": n % 3}, tags=tags)
        run.log({"loss": float("nan") if n == 5 else -n})
        run.close(["finished", "failed", "interrupted"][n % 3])
    for filters in (
        {},
        {"state": "failed"},
        {"state": "interrupted"},
        {"config.lr": {"$gte": 1}},
        {"tags": {"$in": ["best"]}, "display_name": {"$regex": "[135]"}},
        {"$or": [{"summary_metrics.loss": {"$lt": -3}}, {"name": "r0"}]},
        {"created_at": {"$gt": "2020-01-01T00:00:00Z"}, "$nor": [{"state": "finished"}]},
    ):
        local, remote = here.runs("p", filters, order), there.runs("p", filters, order)
        assert ids(local) == ids(remote)
        assert len(local) == len(remote) > 0
        for one, other in zip(local, remote, strict=True):
            assert one.config == other.config
            assert one.name == other.name


# History


@pytest.mark.parametrize("count", [0, 1, 7, 1203])
def test_history_and_scans_are_equal_here_and_there(count: int, here: Api, there: Api) -> None:
    recorded("long", count)
    local, remote = here.run("p/long"), there.run("p/long")
    assert list(local.scan_history()) == list(remote.scan_history())
    assert len(list(remote.scan_history(page_size=100))) == count
    for asked in ({}, {"samples": 10}, {"samples": 1}, {"keys": ["odd"]}, {"keys": ["loss", "odd"], "samples": 5}):
        assert local.history(**asked) == remote.history(**asked)
    for span in ({"min_step": 3, "max_step": 5}, {"min_step": 1200}, {"keys": ["odd"], "max_step": 9}):
        assert list(local.scan_history(**span)) == list(remote.scan_history(**span))


# Files


def test_files_are_the_same_here_and_there(here: Api, there: Api, tmp_path: Path) -> None:
    (tmp_path / "work" / "deep").mkdir(parents=True)
    (tmp_path / "work" / "deep" / "ä b.bin").write_bytes(os.urandom(300_000))
    (tmp_path / "work" / "empty").touch()
    with wandb.init(project="p", id="one", mode="local") as run:
        run.save(tmp_path / "work" / "empty", policy="now")
        run.save(tmp_path / "work" / "deep" / "*", base_path=tmp_path / "work", policy="now")
    for api in (here, there):
        found = api.run("p/one").files()
        assert [(file.name, file.size, file.md5) for file in found] == [
            (name, size, md5_of(tmp_path / "work" / name)) for name, size in (("deep/ä b.bin", 300_000), ("empty", 0))
        ]
        for file in found:
            with file.download(root="down") as opened:
                assert opened.read() == (tmp_path / "work" / file.name).read_bytes()
                assert Path(opened.name) == tmp_path / "down" / file.name
        assert sorted(path.name for path in (tmp_path / "down").rglob("*")) == ["deep", "empty", "ä b.bin"]
    with pytest.raises(errors.FileMissing, match="did you mean 'empty'"):
        there.run("p/one").file("emtpy")


def test_a_local_file_is_replaced_only_if_asked_and_the_same_one_is_not_fetched(
    there: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "m.txt").write_text("theirs")
    with wandb.init(project="p", id="one", mode="local") as run:
        run.save(tmp_path / "work" / "m.txt", policy="now")
    file = there.run("p/one").file("m.txt")
    Path("m.txt").write_text("mine!!")
    with pytest.raises(errors.LocalFileDiffers, match="replace=True"):
        file.download()
    with file.download(exist_ok=True) as opened:
        assert opened.read() == b"mine!!"
    with file.download(replace=True) as opened:
        assert opened.read() == b"theirs"
    monkeypatch.setattr(Wandb, "fetch", None)
    with file.download() as opened:
        assert opened.read() == b"theirs"


def test_what_arrives_with_another_digest_is_thrown_away(there: Api, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "m.txt").write_text("theirs")
    with wandb.init(project="p", id="one", mode="local") as run:
        run.save(tmp_path / "work" / "m.txt", policy="now", metadata={"md5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    file = there.run("p/one").file("m.txt")
    with pytest.raises(errors.FileDamaged):
        file.download(root="down")
    assert list((tmp_path / "down").iterdir()) == []
    Path("m.txt").write_text("mine!!")
    with pytest.raises(errors.FileDamaged):
        file.download(replace=True)
    assert Path("m.txt").read_text() == "mine!!"


class Odd:
    """A remote that lists whatever files it is told to."""

    base_url = "http://odd"

    def __init__(self, *names: str, fails_at: int | None = None) -> None:
        self.names, self.fails_at = names, fails_at
        self.fetched: list[Path] = []

    def account(self) -> Account:
        return Account("me")

    def url_of(self, path: RunPath) -> str:
        return f"{self.base_url}/{path}"

    def run(self, path: RunPath) -> RemoteRun:
        return RemoteRun(path, None, None, "finished", {}, {"loss": "<script>"})

    def runs(self, entity: str, project: str, filters: Any, order: Any, after: str | None, most: int) -> Page:
        """Two pages, on the second of which a run of the first is again, as where a new run shifted it."""
        names = ["a", "b"] if after is None else ["b", "c"]
        runs = tuple(self.run(RunPath(entity, project, name)) for name in names)
        return Page(runs, "2" if after is None else None, None)

    def files(self, path: RunPath, names: Sequence[str] | None = None) -> Iterator[RemoteFile]:
        for n, name in enumerate(self.names):
            if n == self.fails_at:
                self.fails_at = None
                raise errors.RemoteUnreachable("gone for a moment")
            yield RemoteFile(name, 1, None, "http://odd/x")

    def fetch(self, file: RemoteFile, into: Path, progress: bool = False) -> None:
        self.fetched.append(into)
        into.write_bytes(b"x")

    def sampled(self, path: RunPath, keys: Any = None, samples: int = 500) -> list[Mapping[str, Any]]:
        return [{"_step": 0, "loss": 1, "more": 2}, {"_step": 1, "more": 2}]


def odd(remote: Odd) -> Api:
    return Api.of(RemoteSource(remote))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "C:\\x", "..", "a\x00b", "", "\\\\host\\x"])
def test_a_name_from_a_server_never_leaves_the_root(name: str, tmp_path: Path) -> None:
    remote = Odd(name)
    (file,) = odd(remote).run("p/one").files()
    with pytest.raises(errors.UnsafeName):
        file.download(root="root", replace=True)
    assert remote.fetched == []
    assert list(tmp_path.iterdir()) == []


def test_a_link_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "sub").symlink_to(tmp_path / "outside", target_is_directory=True)
    (file,) = odd(Odd("sub/x")).run("p/one").files()
    with pytest.raises(errors.UnsafeName):
        file.download(root="root", replace=True)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_without_a_digest_is_never_taken_for_the_one_in_place() -> None:
    Path("x").write_bytes(b"x")
    remote = Odd("x")
    file = odd(remote).run("p/one").file("x")
    assert file.md5 is None
    with pytest.raises(errors.LocalFileDiffers):
        file.download()
    file.download(replace=True).close()
    assert len(remote.fetched) == 1


def test_a_listing_of_files_that_failed_is_gone_on_with_and_nothing_is_left_out() -> None:
    files = odd(Odd(*(f"f{n:03}" for n in range(120)), fails_at=70)).run("p/one").files()
    with pytest.raises(errors.RemoteUnreachable):
        list(files)
    assert [file.name for file in files] == [f"f{n:03}" for n in range(120)]
    assert repr(odd(Odd(*"abc")).run("p/one").files()).splitlines()[1:] == [f"{name}     1 byte" for name in "abc"]
    assert repr(files).endswith("and more")


def test_a_run_that_is_on_two_pages_is_there_once() -> None:
    runs = odd(Odd()).runs("p")
    assert ids(runs) == ["a", "b", "c"]
    assert len(odd(Odd()).runs("p")) == 3
    assert runs[0].entity == "me"


def test_rows_of_a_server_that_takes_no_notice_of_keys_are_cut_to_them() -> None:
    run = odd(Odd()).run("p/one")
    assert run.history(keys=["loss"]) == [{"_step": 0, "loss": 1}]
    assert len(run.history()) == 2
    assert "<script>" not in run._repr_html_()
