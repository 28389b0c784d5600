"""Api over a server that fails as it is told to: nothing is left out, damaged or put where it does not belong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_resume import errors
from jupyter_resume.api import Api
from jupyter_resume.remote.wandb import Wandb
from jupyter_resume.source import RemoteSource

from .faults import KEY, Fault, Faults, faults, page, reset


@pytest.fixture
def server() -> Iterator[Faults]:
    with faults() as server:
        yield server


def api(server: Faults, key: str = KEY, patience: float = 0.5) -> Api:
    return Api.of(RemoteSource(Wandb(server.url, key, patience=patience)))


def test_a_page_of_runs_that_failed_is_asked_for_again_by_the_next_use(server: Faults) -> None:
    for n in range(7):
        server.kept(f"r{n}")
    runs = api(server).runs("demo", per_page=3)
    assert runs[2].id == "r2"
    server.always("Runs", Fault(503))
    with pytest.raises(errors.RemoteUnreachable):
        list(runs)
    assert runs[2].id == "r2"
    server.always("Runs", page())
    with pytest.raises(errors.RemoteMalformed):
        runs[3]
    server.always("Runs", None)
    assert [run.id for run in runs] == [f"r{n}" for n in range(7)]
    assert [json.loads(seen.body)["variables"].get("cursor") for seen in server.seen if seen.op == "Runs"][-2:] == [
        "3", "6",
    ]  # fmt: skip


def test_a_rejected_key_is_said_and_not_repeated(server: Faults) -> None:
    wrong = "wr0ng" * 8
    with pytest.raises(errors.KeyRejected) as caught:
        api(server, wrong).run("tester/demo/x")
    assert wrong not in str(caught.value)
    with pytest.raises(errors.KeyRejected):
        len(api(server, wrong).runs("tester/demo"))


def test_a_run_has_the_id_that_its_client_gave_it_or_the_one_that_is_used_here(server: Faults) -> None:
    server.kept("resnet-v1.5")
    server.kept("mine-1")
    found = api(server)
    assert [found.run(path.path).id for path in found.runs("demo")] == ["resnet-v1.5", "mine-1"]
    assert found.run("demo/mine 1").id == "mine-1"
    with pytest.raises(errors.RunMissing, match=r"no run tester/demo/resnet-v1.6 .*did you mean 'resnet-v1.5'"):
        found.run("tester/demo:resnet-v1.6")


def test_a_project_that_the_server_does_not_have(server: Faults) -> None:
    with pytest.raises(errors.RunMissing, match=r"no run tester/demo/x in .*check its name"):
        api(server).run("demo/x")
    with pytest.raises(errors.RemoteGone, match="no project tester/none"):
        list(api(server).runs("none"))


def test_a_run_is_missing_where_its_neighbours_cannot_be_asked_for(server: Faults) -> None:
    server.kept("first")
    server.always("Runs", Fault(500))
    with pytest.raises(errors.RunMissing):
        api(server).run("demo/frist")
    server.always("Runs", None)
    with pytest.raises(errors.RunMissing, match="did you mean 'first'"):
        api(server).run("demo/frist")


def test_what_a_server_leaves_out_is_none_and_everything_still_shows_itself(server: Faults) -> None:
    server.bare = True
    server.kept("bare").files["f"] = b"x"
    run = api(server).run("demo/bare")
    assert (run.name, run.config, run.summary, run.tags, run.notes, run.created_at) == ("bare", {}, {}, (), None, None)
    assert "bare" in repr(run)
    assert "bare" in run._repr_html_()
    assert "bare" in repr(api(server).runs("demo"))
    assert (run.file("f").updated_at, run.history(), list(run.scan_history())) == (None, [], [])


def test_a_download_that_is_cut_is_gone_on_with_or_leaves_nothing(server: Faults, tmp_path: Path) -> None:
    data = os.urandom(200_000)
    server.kept("r").files["sub/m.bin"] = data
    patient = api(server, patience=30).run("demo/r").file("sub/m.bin")
    file = api(server).run("demo/r").file("sub/m.bin")
    server.then("GET", Fault(body=data, cut=70_000), reset())
    with patient.download(root="down") as opened:
        assert opened.read() == data
    server.always("GET", Fault(503))
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "m.bin").write_bytes(b"mine")
    with pytest.raises(errors.RemoteUnreachable):
        file.download(root="mine", replace=True)
    server.always("GET", page())
    with pytest.raises((errors.RemoteError, errors.FileDamaged)):
        file.download(root="mine", replace=True)
    assert os.listdir(tmp_path / "mine" / "sub") == ["m.bin"]
    assert (tmp_path / "mine" / "sub" / "m.bin").read_bytes() == b"mine"


def test_names_from_a_listing_never_leave_the_root(server: Faults, tmp_path: Path) -> None:
    for name in ("../out", "/etc/out", "a/../../out", "C:\\out", "fine"):
        server.kept("r").files[name] = b"x"
    found = list(api(server).run("demo/r").files())
    assert len(found) == 5
    for file in found:
        if file.name == "fine":
            file.download(root="root").close()
            continue
        with pytest.raises(errors.UnsafeName):
            file.download(root="root", replace=True)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["root", "root/fine"]
    assert server.ops().count("GET") == 1


def test_a_history_whose_scan_fails_ends_in_an_error_and_not_early(server: Faults) -> None:
    server.kept("r").rows = [json.dumps({"_step": step, "loss": step}) for step in range(250)]
    run = api(server).run("demo/r")
    assert [row["_step"] for row in run.scan_history(page_size=100)] == list(range(250))
    rows = run.scan_history(page_size=100)
    assert next(rows)["_step"] == 0
    server.always("HistoryPage", Fault(502))
    with pytest.raises(errors.RemoteUnreachable):
        list(rows)
