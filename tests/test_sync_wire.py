"""Whole runs against a server that fails on the wire, in shapes that nobody here chose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import _there, exported
from jupyter_resume.errors import KeyRejected, RemoteError
from jupyter_resume.store.home import Store
from jupyter_resume.sync.background import Background
from jupyter_resume.sync.bringing import bring
from jupyter_resume.sync.connecting import connect

from .faults import KEY, Fault, Faults, Seen, altered, faults, never, page, redirect, refused, reset


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The server that is configured; what is to be sent is sent by `flush` and `finish` only."""
    with faults() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
        monkeypatch.setattr(_there, "BEHIND", 1.0)
        monkeypatch.setattr(Background, "start", lambda link: None)
        yield server


def begin(**asked: Any) -> wandb.Run:
    return wandb.init(project="demo", **{"id": "r1", "resume": "allow", **asked})


def log(run: wandb.Run, *values: Any) -> None:
    for value in values:
        run.log({"v": value})


def sync(server: Faults) -> None:
    store = Store()
    for entry in store.catalog.runs():
        bring(store, entry.path, connect(server.url), entry.path.entity)


def values(server: Faults) -> list[Any]:
    return [row.get("v") for row in server.kept("r1").history]


FAILING: dict[str, Callable[[Faults], Fault]] = {
    "503": lambda server: Fault(503),
    "429": lambda server: Fault(429, headers={"Retry-After": "1000"}),
    "a login page": lambda server: page(),
    "HTML with 502": lambda server: page(502),
    "no answer": lambda server: never(),
    "reset": lambda server: reset(),
    "reset when done": lambda server: reset(applied=True),
    "another host": lambda server: redirect("http://127.0.0.2:9/graphql"),
    "401": lambda server: Fault(401, {"errors": ["no"]}),
    "403": lambda server: Fault(403, {"errors": ["no"]}),
    "not JSON": lambda server: Fault(200, "{", {"Content-Type": "application/json"}),
    "GraphQL errors": lambda server: refused("something broke", data={"model": None}),
    "null data": lambda server: Fault(200, {"data": None}),
    "a list": lambda server: Fault(200, []),
}


@pytest.mark.parametrize("how", FAILING)
def test_a_run_goes_on_whatever_the_server_answers_at_init_and_is_whole_there_in_the_end(
    server: Faults, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begin(config={"lr": 1})
    log(run, 0)
    run.close("interrupted")
    server.always("*", FAILING[how](server))
    capsys.readouterr()
    run = begin()
    assert run.step == 1
    assert capsys.readouterr().err.count("goes on from this machine's record") == 1
    log(run, 1, 2)
    run.finish()
    said = capsys.readouterr().err
    assert said.count("has ended here with 2 rows") == 1
    assert len(said.splitlines()) <= 2
    assert KEY not in said
    for policy in ("must", "never"):
        with pytest.raises(RemoteError, match="--mode offline"):
            begin(resume=policy)
    server.always("*", None)
    sync(server)
    assert values(server) == [0, 1, 2]
    sync(server)
    assert values(server) == [0, 1, 2]


@pytest.mark.parametrize("how", ["503", "429", "no answer", "reset", "reset when done", "a login page", "not JSON"])
@pytest.mark.parametrize("op", ["UpsertBucket", "file_stream", "PUT", "CreateRunFiles", "RunFiles"])
def test_what_fails_once_while_it_is_sent_is_there_once(server: Faults, how: str, op: str) -> None:
    if (op, how) == ("PUT", "not JSON"):
        pytest.skip("storage answers in whatever form it likes")
    run = begin(config={"lr": 1})
    log(run, 0, 1)
    Path("f.txt").write_text("data")
    run.save("f.txt", policy="now")
    server.then(op, *[FAILING[how](server)] * 2)
    assert run.link is not None
    for _ in range(4):
        run.link.flush()
    run.finish()
    sync(server)
    kept = server.kept("r1")
    assert values(server) == [0, 1]
    assert kept.files["f.txt"] == b"data"


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"historyTail": json.dumps([json.dumps({"_step": 2})]), "historyLineCount": 10}, 10),
        ({"historyTail": "[]", "historyLineCount": 0, "summaryMetrics": json.dumps({"_step": 7})}, 8),
        ({"historyTail": json.dumps([json.dumps({"_step": 500})]), "historyLineCount": 2, "summaryMetrics": "{}"}, 501),
        ({"historyTail": json.dumps([json.dumps({"_step": 3})]), "historyLineCount": 2,
          "summaryMetrics": json.dumps({"_step": 9})}, 10),
    ],
)  # fmt: skip
def test_the_next_step_is_right_for_the_edges_of_the_protocol(
    server: Faults, change: dict[str, Any], step: int
) -> None:
    begin().finish()
    for file in Store().home.rglob("*.jsonl"):
        file.unlink()
    server.then("RunResumeStatus", altered(lambda body: body["data"]["model"]["bucket"].update(change)))
    run = begin(resume="must")
    assert run.step == step


@pytest.mark.parametrize(
    "field", ["historyTail", "eventsTail", "summaryMetrics", "config", "tags", "notes", "displayName", "wandbConfig"]
)
@pytest.mark.parametrize("value", [None, "not JSON", 17])
def test_fields_that_are_null_or_nonsense_lose_nothing(server: Faults, field: str, value: Any) -> None:
    run = begin(config={"lr": 1}, notes="n")
    log(run, 0, 1)
    run.close("interrupted")
    for _ in range(5):
        server.then("RunResumeStatus", altered(lambda body: body["data"]["model"]["bucket"].update({field: value})))
    run = begin()
    assert run.step == 2
    assert run.config["lr"] == 1
    log(run, 2)
    run.finish()
    server._queued.clear()
    sync(server)
    assert values(server) == [0, 1, 2]
    assert Store().catalog.runs()[0].path.run_id == "r1"


@pytest.mark.parametrize("silent", [True, False])
def test_what_the_server_does_not_say_is_not_taken_away_and_what_was_is(server: Faults, silent: bool) -> None:
    said = {"name": "nm", "notes": "n", "tags": ["t"]}
    with begin(**said) as run:
        log(run, 0)
    kept = server.kept("r1")
    change: dict[str, Any] = {"notes": "", "tags": []}
    if silent:
        change = dict.fromkeys(("displayName", "notes", "tags"))
    else:
        kept.said.update(change)
    server.always("RunResumeStatus", altered(lambda body: body["data"]["model"]["bucket"].update(change)))
    with begin() as run:
        assert (run.name, run.notes, run.tags) == (("nm", "n", ("t",)) if silent else ("nm", None, ()))
        log(run, 1)
    there = [kept.said.get(name) for name in ("displayName", "notes", "tags")]
    assert there == (["nm", "n", ["t"]] if silent else ["nm", "", []])


def test_a_key_that_is_no_good_is_refused_only_where_the_server_must_decide(server: Faults) -> None:
    server.always("*", Fault(401))
    with pytest.raises(KeyRejected):
        begin(resume="must")
    run = begin()
    log(run, 0)
    run.finish()
    server.always("*", None)
    sync(server)
    assert values(server) == [0]


def test_such_an_id_may_be_given_as_the_policy(server: Faults) -> None:
    kept = server.kept("resnet-v1.5")
    kept.rows = [json.dumps({"_step": 0, "v": 0})]
    for step in (1, 2):
        with begin(id=None, resume="resnet-v1.5") as run:
            assert run.step == step
            log(run, step)
    assert [row["v"] for row in kept.history] == [0, 1, 2]
    assert [run.name for run in server.runs.values()] == ["resnet-v1.5"]


def test_a_run_whose_id_another_client_gave_is_gone_on_with_under_that_id(
    server: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = server.kept("resnet-v1.5")
    kept.config = {"_wandb": {"value": {"t": {}}}}
    kept.rows = [json.dumps({"_step": n, "v": n}) for n in range(3)]
    for step in (3, 4):  # the second time it is found in this machine's store
        run = begin(id="resnet-v1.5", resume="must")
        assert (run.id, run.step, run.resumed) == ("resnet-v1-5", step, True)
        assert run.url == f"{server.url}/tester/demo/runs/resnet-v1.5"
        log(run, step)
        run.finish()
    assert [row["v"] for row in kept.history] == [0, 1, 2, 3, 4]
    assert [run.name for run in server.runs.values()] == ["resnet-v1.5"]
    assert capsys.readouterr().err.count("the run id 'resnet-v1.5' is used as 'resnet-v1-5'") == 2


def test_a_run_with_such_an_id_is_handed_on_under_it(server: Faults) -> None:
    server.kept("resnet-v1.5").rows = [json.dumps({"_step": 0, "v": 0})]
    with begin(id="resnet-v1.5") as run:
        handed = exported.export(run, {})
        assert (handed["WANDB_RUN_ID"], handed["WANDB_ENTITY"]) == ("resnet-v1.5", "tester")


def test_a_run_with_such_an_id_can_be_forked(server: Faults) -> None:
    kept = server.kept("resnet-v1.5")
    kept.rows = [json.dumps({"_step": 0, "v": 0})]
    begin(id="resnet-v1.5").close("interrupted")
    with begin(id="resnet-v1.5", mode="offline") as run:
        log(run, 10)
    kept.rows.append(json.dumps({"_step": 1, "v": 1}))
    with begin(id="resnet-v1.5", if_diverged="fork") as run:
        assert run.id not in ("resnet-v1.5", "resnet-v1-5")
        log(run, 11)
    assert [row["v"] for row in server.kept(run.id).history] == [0, 10, 11]
    assert [row["v"] for row in kept.history] == [0, 1]


def test_an_id_that_no_run_has_is_used_cleaned_there_too(server: Faults) -> None:
    begin(id="resnet v2").finish()
    assert [run.name for run in server.runs.values()] == ["resnet-v2"]


def test_a_file_of_a_run_that_another_client_named_is_restored(server: Faults) -> None:
    server.kept("resnet-v1.5").files = {"best.pt": b"theirs"}
    server.kept("mine-1").files = {"best.pt": b"ours"}
    for path, content in (
        ("tester/demo/resnet-v1.5", b"theirs"),
        ("demo:resnet-v1.5", b"theirs"),
        ("demo/mine 1", b"ours"),
    ):
        with wandb.restore("best.pt", run_path=path, root=path.replace("/", "_")) as file:
            assert file.read() == content
    with begin(id="now") as run, run.restore("best.pt", run_path="tester/demo/resnet-v1.5") as file:
        assert file.read() == b"theirs"


def test_a_proxy_that_finds_everything_too_large_costs_no_row_its_values(server: Faults) -> None:
    run = begin()
    log(run, 0)
    assert run.link is not None
    for rows in (1, 2):
        server.always("file_stream", page(413))
        log(run, rows)
        run.link.flush()
        sent = server.ops().count("file_stream")
        assert sent < 8 * rows
    server.always("file_stream", None)
    for value in range(3, 30):
        log(run, value)
    sent = server.ops().count("file_stream")
    run.finish()
    assert values(server) == list(range(30))
    assert server.ops().count("file_stream") - sent <= 3


def test_rows_that_are_too_large_together_go_in_several_posts_and_one_by_itself_is_cut(server: Faults) -> None:
    limit = 20_000

    def usual(seen: Seen) -> Fault:
        return page(413) if seen.op == "file_stream" and len(seen.body) > limit else answer(seen)

    answer, server.usual = server.usual, usual  # type: ignore[method-assign]
    run = begin()
    for value in range(12):
        run.log({"v": value, "text": "x" * (30_000 if value == 5 else 5_000)})
    run.finish()
    assert values(server) == [0, 1, 2, 3, 4, None, 6, 7, 8, 9, 10, 11]
    assert server.kept("r1").state == "finished"


@pytest.mark.parametrize("fault", [Fault(503), page(), Fault(403)])
@pytest.mark.parametrize("op", ["PUT", "CreateRunFiles"])
def test_how_a_run_ended_is_told_though_its_files_cannot_be_sent_and_again_when_they_are(
    server: Faults, op: str, fault: Fault
) -> None:
    run = begin()
    log(run, 0)
    Path("f.txt").write_text("data")
    run.save("f.txt", policy="now")
    server.always(op, fault)
    run.finish(3)
    kept = server.kept("r1")
    if (op, fault.status) != ("CreateRunFiles", 403):  # a key that may not do this may do nothing
        assert (kept.state, kept.exit_code) == ("failed", 3)
    server.always(op, None)
    sync(server)
    assert (kept.files, kept.state, kept.exit_code) == ({"f.txt": b"data"}, "failed", 3)
    before = len(server.seen)
    sync(server)
    assert {"UpsertBucket", "file_stream"}.isdisjoint(server.ops()[before:])


def test_a_run_has_no_address_while_nobody_knows_whose_it_is(
    server: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    server.always("*", Fault(503))
    run = begin()
    assert run.url is None
    assert "/local/" not in capsys.readouterr().err.replace("run local/demo/r1", "")
    server.always("*", None)
    assert run.link is not None
    run.link.flush()
    assert run.url == f"{server.url}/tester/demo/runs/r1"
