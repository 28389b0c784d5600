"""The client of W&B's protocol: what it sends, and what it makes of the answers."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_resume import errors
from jupyter_resume.identity import RunPath
from jupyter_resume.remote.base import Account, Begun, Description, Lines, Post, Remote, RemoteFile, Reply
from jupyter_resume.remote.http import Http
from jupyter_resume.remote.wandb import Wandb

from .faults import KEY, Fault, Faults, Seen, altered, faults, refused, reset
from .serving import served

RUN = RunPath("tester", "demo", "r1")


@pytest.fixture
def server() -> Iterator[Faults]:
    with faults() as one:
        yield one


@pytest.fixture
def remote(server: Faults) -> Wandb:
    return Wandb(server.url, KEY, patience=5, chance=lambda: 0.0)


def rows(*steps: float) -> list[str]:
    return [json.dumps({"_step": step, "loss": 1 / (step + 1)}) for step in steps]


def bucket(server: Faults, **changes: Any) -> None:
    """Change the bucket of the next answer on a run's status."""
    server.then("RunResumeStatus", altered(lambda body: body["data"]["model"]["bucket"].update(changes)))


# Where a run stands


@pytest.mark.parametrize(
    ("history", "tail", "summary", "step"),
    [
        ((), None, {}, 0),
        ((0,), None, {"_step": 0}, 1),
        ((0, 1, 2), None, {"_step": 2}, 3),
        (range(10), 2, {"_step": 2}, 10),  # stale
        ((), None, {"_step": 7}, 8),
        ((0, 1), 3, {"_step": 9}, 10),
        ((0, 1), 500, {}, 501),  # sparse
        ((0, 1), 3.5, {"_step": "x"}, 2),  # what is no whole number says nothing
        ((0, 1), -4, {"_step": True}, 2),
        ((0, 1), 7.0, {}, 8),
    ],
)
def test_the_next_step_is_behind_everything_that_the_server_knows_of(
    server: Faults, remote: Wandb, history: Any, tail: float | None, summary: dict[str, Any], step: int
) -> None:
    kept = server.kept("r1")
    kept.rows, kept.summary = rows(*history), json.dumps(summary)
    if tail is not None:
        bucket(server, historyTail=json.dumps(rows(tail)))
    point = remote.resume_point(RUN)
    assert point is not None
    assert (point.rows, point.next_step) == (len(history), step)


def test_a_run_comes_back_with_all_that_was_said_of_it(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    kept.rows, kept.events, kept.output = rows(0, 1), ['{"_runtime": 8}'], ["a", "b", "c"]
    kept.summary = '{"_step": 1, "loss": NaN, "_wandb": {"runtime": 5}}'
    kept.said = {"displayName": "bright-river-1", "tags": ["a", "b"], "notes": "n1"}
    kept.config = {"lr": {"value": 0.1}, "_wandb": {"value": {"t": {"4": "3.9"}, "cli_version": "0.31.0"}}}
    point = remote.resume_point(RUN)
    assert point is not None
    assert (point.path, point.storage_id) == (RUN, kept.id)
    assert (point.rows, point.events, point.output) == (2, 1, 3)
    assert (point.name, point.notes, point.tags) == ("bright-river-1", "n1", ("a", "b"))
    assert (point.tail["_step"], point.summary["_step"], point.runtime) == (1, 1, 8.0)
    assert point.config == {"lr": 0.1}
    assert point.internal == {"t": {"4": "3.9"}, "cli_version": "0.31.0"}
    assert point.started
    asked = server.last("RunResumeStatus")
    assert asked.variables == {"entity": "tester", "project": "demo", "name": "r1"}
    assert asked.headers["user-agent"].startswith("jupyter-resume/")
    assert asked.json["operationName"] == "RunResumeStatus"
    assert (asked.path, asked.key) == ("/graphql", KEY)


def test_nulls_where_w_and_b_says_null_are_nothing(server: Faults, remote: Wandb) -> None:
    server.bare = True
    server.kept("r1")
    point = remote.resume_point(RUN)
    assert point is not None
    assert (point.rows, point.next_step, point.started) == (0, 0, False)
    assert (dict(point.tail), dict(point.summary), dict(point.config)) == ({}, {}, {})
    assert (point.name, point.notes, point.tags, point.runtime) == (None, None, None, 0.0)


def test_notes_and_tags_that_were_taken_away_are_empty(server: Faults, remote: Wandb) -> None:
    server.kept("r1").said = {"notes": "", "tags": []}
    point = remote.resume_point(RUN)
    assert point is not None
    assert (point.notes, point.tags) == ("", ())


@pytest.mark.parametrize("gone", [{"model": None}, {"model": {"bucket": None}}])
def test_a_run_that_is_not_there_is_none(server: Faults, remote: Wandb, gone: dict[str, Any]) -> None:
    server.then("RunResumeStatus", Fault(body={"data": gone}))
    assert remote.resume_point(RUN) is None


@pytest.mark.parametrize(
    ("changes", "started"),
    [
        ({}, False),
        ({"summaryMetrics": '{"_wandb": {"runtime": 0}}'}, False),
        ({"wandbConfig": '{"t": {}}'}, True),
        ({"config": '{"_wandb": {"value": {"t": {}}}}'}, True),
        ({"historyLineCount": 1}, True),
        ({"eventsLineCount": 1}, True),
        ({"logLineCount": 1}, True),
        ({"summaryMetrics": '{"loss": 1}'}, True),
    ],
)
def test_a_run_has_started_by_its_mark_or_by_anything_written(
    server: Faults, remote: Wandb, changes: dict[str, Any], started: bool
) -> None:
    server.kept("r1")
    bucket(server, **changes)
    point = remote.resume_point(RUN)
    assert point is not None
    assert point.started is started


def test_config_values_are_taken_out_of_their_wrapping(server: Faults, remote: Wandb) -> None:
    config = {"lr": {"value": {"a": 1}, "desc": None}, "raw": 3, "object": {"x": 1}, "wandb_version": 1, "_wandb": 5}
    server.kept("r1")
    bucket(server, config=json.dumps(config))
    point = remote.resume_point(RUN)
    assert point is not None
    assert point.config == {"lr": {"a": 1}, "raw": 3, "object": {"x": 1}}
    assert point.internal == {}


@pytest.mark.parametrize(
    ("events", "summary", "tail", "runtime"),
    [
        ({"_runtime": 9}, {"_runtime": 3}, {"_runtime": 5}, 9),
        ({}, {"_wandb": {"runtime": 7}, "_runtime": 3}, {"_runtime": 5}, 7),
        ({}, {"_runtime": 6.5}, {"_runtime": 5}, 6.5),
        ({"_runtime": "x"}, {"_wandb": None}, {"_runtime": 5}, 5),
        ({"_runtime": -1}, {"_wandb": {"runtime": None}}, {"_runtime": float("inf")}, 0),
    ],
)
def test_the_runtime_is_the_longest_that_the_server_knows_of(
    server: Faults, remote: Wandb, events: Any, summary: Any, tail: Any, runtime: float
) -> None:
    server.kept("r1")
    bucket(
        server,
        eventsTail=json.dumps([json.dumps(events)]),
        summaryMetrics=json.dumps(summary),
        historyTail=json.dumps(["not even looked at", json.dumps(tail)]),
    )
    point = remote.resume_point(RUN)
    assert point is not None
    assert point.runtime == runtime


@pytest.mark.parametrize("name", ["eventsLineCount", "logLineCount"])
def test_a_stream_whose_length_the_server_does_not_say_has_none(server: Faults, remote: Wandb, name: str) -> None:
    server.kept("r1").rows = rows(0)
    bucket(server, **{name: None})
    point = remote.resume_point(RUN)
    assert point is not None
    assert {"eventsLineCount": point.events, "logLineCount": point.output}[name] is None


@pytest.mark.parametrize("name", ["historyLineCount", "eventsLineCount", "logLineCount"])
@pytest.mark.parametrize("count", [-1, 1.5, "-3", "3.5", "", "three", True, [], float("nan")])
def test_a_count_that_is_none_is_named(server: Faults, remote: Wandb, name: str, count: object) -> None:
    server.kept("r1")
    bucket(server, **{name: count})
    with pytest.raises(errors.RemoteMalformed, match=name):
        remote.resume_point(RUN)


@pytest.mark.parametrize("count", ["3", 3.0])
def test_a_count_may_be_written_as_text(server: Faults, remote: Wandb, count: object) -> None:
    server.kept("r1").rows = rows(0, 1, 2)
    bucket(server, historyLineCount=count, eventsLineCount=count, logLineCount=count)
    point = remote.resume_point(RUN)
    assert point is not None
    assert (point.rows, point.events, point.output, point.next_step) == (3, 3, 3, 3)


def test_a_run_of_which_the_server_says_nothing_but_that_it_is_there_never_began(server: Faults, remote: Wandb) -> None:
    for left in ({}, dict.fromkeys(("historyLineCount", "historyTail", "config", "wandbConfig", "summaryMetrics"))):
        bare = {"id": "UnVu", "name": "r1", **left}
        server.then("RunResumeStatus", Fault(body={"data": {"model": {"name": "demo", "bucket": bare}}}))
        point = remote.resume_point(RUN)
        assert point is not None
        assert (point.started, point.rows, point.events, point.output, point.next_step) == (False, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "written", [{"historyTail": json.dumps(['{"_step": 3}'])}, {"wandbConfig": '{"t": {}}'}, {"logLineCount": 2}]
)
def test_a_history_without_a_length_is_no_answer(server: Faults, remote: Wandb, written: dict[str, Any]) -> None:
    server.kept("r1")
    bucket(server, historyLineCount=None, **written)
    with pytest.raises(errors.RemoteMalformed, match="historyLineCount is missing"):
        remote.resume_point(RUN)


@pytest.mark.parametrize("name", ["summaryMetrics", "config", "wandbConfig", "historyTail", "eventsTail"])
@pytest.mark.parametrize("text", ["{", "<html>", '"text"', "3", '["{"]', '["3"]', "[" * 100_000, 7])
def test_json_in_json_that_is_none_is_named(server: Faults, remote: Wandb, name: str, text: object) -> None:
    server.kept("r1")
    bucket(server, **{name: text})
    with pytest.raises(errors.RemoteMalformed, match=name):
        remote.resume_point(RUN)


def test_a_tail_may_be_wrapped_once_more(server: Faults, remote: Wandb) -> None:
    server.kept("r1")
    bucket(server, historyTail=json.dumps(json.dumps(['{"_step": 3}'])))
    point = remote.resume_point(RUN)
    assert point is not None
    assert point.next_step == 4


@pytest.mark.parametrize("name", ["summaryMetrics", "config", "wandbConfig", "historyTail", "eventsTail"])
@pytest.mark.parametrize("text", [None, "", "null"])
def test_json_in_json_may_be_nothing(server: Faults, remote: Wandb, name: str, text: object) -> None:
    server.kept("r1")
    bucket(server, **{name: text})
    point = remote.resume_point(RUN)
    assert point is not None
    assert point.next_step == 0


@pytest.mark.parametrize("name", ["displayName", "notes", "tags", "id", "name"])
@pytest.mark.parametrize("value", [None, 7, {}, [None, 3], "\ud800"])
def test_decoration_of_any_kind_stops_nobody(server: Faults, remote: Wandb, name: str, value: object) -> None:
    server.kept("r1").rows = rows(0, 1)
    bucket(server, **{name: value})
    point = remote.resume_point(RUN)
    assert point is not None
    assert point.next_step == 2


@pytest.mark.parametrize("model", ["text", 3, [], {"bucket": "text"}, {"bucket": []}])
def test_an_answer_of_another_shape_is_no_run(server: Faults, remote: Wandb, model: object) -> None:
    server.then("RunResumeStatus", Fault(body={"data": {"model": model}}))
    with pytest.raises(errors.RemoteMalformed, match=r"model|bucket"):
        remote.resume_point(RUN)


# Begun and described


def test_a_run_is_begun_with_all_that_is_said_of_it(server: Faults, remote: Wandb) -> None:
    said = Description("n", "notes", ("a",), "g", "train", {"lr": 0.1, "d": {"x": [1]}}, {}, "box", "train.py")
    begun = remote.begin(RUN, said)
    kept = server.kept("r1")
    assert begun == Begun(RUN, kept.id, "n", 0)
    assert server.last("UpsertBucket").variables == {
        "name": "r1", "project": "demo", "entity": "tester", "displayName": "n", "notes": "notes", "tags": ["a"],
        "groupName": "g", "jobType": "train", "host": "box", "program": "train.py",
        "config": server.last("UpsertBucket").variables["config"],
    }  # fmt: skip
    mark = {"value": {"t": {"4": platform.python_version()}}}
    assert kept.config == {"lr": {"value": 0.1}, "d": {"value": {"x": [1]}}, "_wandb": mark}
    point = remote.resume_point(RUN)
    assert point is not None
    assert point.started


def test_a_run_that_is_gone_on_with_is_addressed_by_its_storage_id_too(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    kept.rows, kept.state, kept.exit_code, kept.stopped = rows(0, 1), "failed", 1, True
    internal = {"cli_version": "0.31.0", "t": {"1": [2], "4": "3.8"}}
    begun = remote.begin(RUN, Description(config={}, internal=internal), kept.id)
    assert begun.rows == 2
    sent = server.last("UpsertBucket").variables
    assert (sent["id"], sent["name"], sent["project"], sent["entity"]) == (kept.id, "r1", "demo", "tester")
    assert kept.config["_wandb"]["value"] == {"cli_version": "0.31.0", "t": {"1": [2], "4": platform.python_version()}}
    assert (kept.state, kept.stopped) == ("running", False)


def test_what_is_not_said_is_left_as_it_is(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    kept.config, kept.said = {"lr": {"value": 1}}, {"notes": "old", "tags": ["old"]}
    remote.begin(RUN, Description(), kept.id)
    remote.describe(RUN, Description(name="new"))
    assert kept.config == {"lr": {"value": 1}}
    assert (kept.said["notes"], kept.said["tags"], kept.said["displayName"]) == ("old", ["old"], "new")
    sent = server.last("UpsertBucket").variables
    assert sent == {"id": kept.id, "name": "r1", "project": "demo", "entity": "tester", "displayName": "new"}
    remote.describe(RUN, Description(tags=(), notes="", host="box", program="p.py"))
    assert (kept.said["notes"], kept.said["tags"]) == ("", [])
    assert not {"host", "program"} & server.last("UpsertBucket").variables.keys()


def test_a_config_is_json_of_the_strict_kind(server: Faults, remote: Wandb) -> None:
    config = {"a": float("nan"), "b": [float("inf"), (1, -float("inf"))], "c": "half \ud800", "d": 1 << 80}
    remote.begin(RUN, Description(config=config))  # the server refuses NaN here
    values = {key: entry["value"] for key, entry in server.kept("r1").config.items() if key != "_wandb"}
    assert values == {"a": "NaN", "b": ["Infinity", [1, "-Infinity"]], "c": "half \ud800", "d": 1 << 80}


def test_an_answer_without_names_leaves_those_that_were_asked_for(server: Faults, remote: Wandb) -> None:
    server.bare = True
    change = altered(lambda body: body["data"]["upsertBucket"].update(bucket={"id": "X", "project": None}))
    server.then("UpsertBucket", change)
    assert remote.begin(RUN, Description()) == Begun(RUN, "X", None, None)


def test_the_entity_that_the_server_means_is_told(server: Faults, remote: Wandb) -> None:
    where = {"name": "demo", "entity": {"name": "team"}}
    server.then("UpsertBucket", altered(lambda body: body["data"]["upsertBucket"]["bucket"].update(project=where)))
    assert remote.begin(RUN, Description()).path == RunPath("team", "demo", "r1")


@pytest.mark.parametrize("payload", [None, {"bucket": None}, {}, "text"])
def test_a_run_that_was_not_made_is_not_begun(server: Faults, remote: Wandb, payload: object) -> None:
    server.then("UpsertBucket", Fault(body={"data": {"upsertBucket": payload}}))
    with pytest.raises(errors.RemoteMalformed, match="upsertBucket"):
        remote.begin(RUN, Description())


@pytest.mark.parametrize("status", [409, 400, 200])
def test_a_run_that_was_deleted_is_told_as_one_and_not_tried_again(server: Faults, remote: Wandb, status: int) -> None:
    words = "run tester/demo/r1 was previously created and deleted; try a new run name"
    server.always("UpsertBucket", refused(words, status=status))
    with pytest.raises(errors.RemoteGone, match=r"was deleted there .*another id"):
        remote.begin(RUN, Description())
    assert server.ops() == ["UpsertBucket"]


def test_a_conflict_of_two_beginnings_is_tried_again(server: Faults, remote: Wandb) -> None:
    server.then("UpsertBucket", Fault(409, {"error": "conflict"}), Fault(409, {"error": "conflict"}))
    assert remote.begin(RUN, Description()).path == RUN
    assert server.ops() == ["UpsertBucket"] * 3


# Lines


@pytest.mark.parametrize(
    ("post", "body"),
    [
        (Post(), {}),
        (
            Post(rows=Lines(5, ['{"_step":5,"loss":NaN}'])),
            {"files": {"wandb-history.jsonl": {"offset": 5, "content": ['{"_step":5,"loss":NaN}']}}},
        ),
        (
            Post(events=Lines(1, ["{}"]), output=Lines(3, ["é", "b"]), summary='{"a":1}'),
            {
                "files": {
                    "wandb-events.jsonl": {"offset": 1, "content": ["{}"]},
                    "wandb-summary.json": {"offset": 0, "content": ['{"a":1}']},
                    "output.log": {"offset": 3, "content": ["é", "b"]},
                }
            },
        ),
        (Post(uploaded=("a", "b")), {"uploaded": ["a", "b"]}),
        (Post(preempting=True), {"preempting": True}),
        (Post(complete=True, exit_code=3), {"complete": True, "exitcode": 3}),
        (Post(complete=True), {"complete": True, "exitcode": 0}),
        (Post(output=Lines(0, ["half \ud800"])), {"files": {"output.log": {"offset": 0, "content": ["half ?"]}}}),
    ],
)
def test_a_post_has_the_shape_that_file_stream_has(server: Faults, remote: Wandb, post: Post, body: object) -> None:
    server.kept("r1")
    assert remote.append(RUN, post) == Reply()
    sent = server.last("file_stream")
    assert sent.json == body
    assert (sent.path, sent.key) == ("/files/tester/demo/r1/file_stream", KEY)
    assert "content-encoding" not in sent.headers


def test_lines_are_kept_where_their_numbers_say_also_when_they_come_twice(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    server.then("file_stream", reset(applied=True))
    remote.append(RUN, Post(rows=Lines(0, rows(0, 1))))
    remote.append(RUN, Post(rows=Lines(2, rows(2)), summary='{"_step":2}', complete=True, exit_code=1))
    assert [row["_step"] for row in kept.history] == [0, 1, 2]
    assert server.ops() == ["file_stream"] * 3
    assert (kept.state, kept.exit_code) == ("failed", 1)


def test_names_are_escaped_in_addresses(server: Faults, remote: Wandb) -> None:
    server.kept("..a", "p;é", "a b")
    remote.append(RunPath("a b", "p;é", "..a"), Post())
    assert server.last("file_stream").path == "/files/a%20b/p%3B%C3%A9/..a/file_stream"
    with pytest.raises(errors.InvalidInput, match="other names"):
        remote.append(RunPath("a", "..", "r"), Post())


def test_a_base_url_may_have_a_path() -> None:
    with faults(prefix="/wandb") as server:
        remote = Wandb(server.url + "/", KEY, patience=0)
        remote.begin(RUN, Description())
        remote.append(RUN, Post())
        assert [seen.path for seen in server.seen] == ["/wandb/graphql", "/wandb/files/tester/demo/r1/file_stream"]


def test_a_stop_that_somebody_asked_for_is_told(server: Faults, remote: Wandb) -> None:
    server.kept("r1").stopped = True
    assert remote.append(RUN, Post()).stopped


@pytest.mark.parametrize("body", [{"stopped": None}, {"stopped": "yes"}, {"else": 1}, {}])
def test_any_object_is_an_answer_to_a_post(server: Faults, remote: Wandb, body: object) -> None:
    server.then("file_stream", Fault(body=body))
    assert remote.append(RUN, Post()) == Reply()


@pytest.mark.parametrize(
    ("left", "until", "pause"),
    [("0", "20", 20.0), ("10", "5", 0.5), ("0", "1e9", 300.0), ("x", "5", 0.0), ("-1", "5", 0.0), (None, "5", 0.0),
     ("nan", "5", 0.0), ("1", "nan", 0.0), ("1", "-3", 0.0)],
)  # fmt: skip
def test_the_servers_rate_limit_becomes_a_pause(
    server: Faults, remote: Wandb, left: str | None, until: str, pause: float
) -> None:
    headers = {"RateLimit-Remaining": left, "RateLimit-Reset": until}
    server.then("file_stream", Fault(body={}, headers=headers))
    assert remote.append(RUN, Post()).pause == pause


def test_a_rewound_run_stands_where_it_was_rewound_to(server: Faults, remote: Wandb) -> None:
    server.kept("r1").rows = rows(0, 1, 2, 3)
    point = remote.rewind(RUN, 1)
    assert (point.rows, point.next_step) == (2, 2)
    asked = server.last("RewindRun").variables
    assert asked == {
        "runName": "r1", "entity": "tester", "project": "demo", "metricName": "_step", "metricValue": 1,
    }  # fmt: skip
    with pytest.raises(errors.RemoteGone, match="no run tester/demo/zz"):
        remote.rewind(RunPath("tester", "demo", "zz"), 1)


# Files


def test_files_come_by_pages_with_size_and_digest(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    kept.files = {f"f{n:03}": b"x" * n for n in range(120)}
    found = list(remote.files(RUN))
    assert [file.name for file in found] == sorted(kept.files)
    md5 = base64.b64encode(hashlib.md5(b"xxx").digest()).decode()
    assert found[3] == RemoteFile(
        "f003", 3, md5, f"{server.url}/files/tester/demo/r1/f003", "2026-11-21T17:07:40", "text/plain"
    )
    assert server.ops() == ["RunFiles"] * 3
    server.seen.clear()
    assert next(remote.files(RUN)).name == "f000"
    assert server.ops() == ["RunFiles"]


def test_only_names_that_the_run_has_a_file_for_come_back(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    kept.files = {f"f{n}": b"x" for n in range(60)}
    assert list(remote.files(RUN, [])) == []
    assert server.ops() == []
    assert [file.name for file in remote.files(RUN, ["nope", "f1", "f2"])] == ["f1", "f2"]
    assert server.last("RunFiles").variables["fileNames"] == ["nope", "f1", "f2"]
    assert len(list(remote.files(RUN, [*kept.files, "nope"]))) == 60


def test_a_server_that_takes_no_notice_of_names_gives_no_other_file(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    kept.files = {f"f{n:03}": b"x" for n in range(60)}

    def usual(seen: Seen) -> Fault:
        return answer(
            replace(seen, body=json.dumps({**seen.json, "variables": seen.variables | {"fileNames": []}}).encode())
        )

    answer, server.usual = server.usual, usual  # type: ignore[method-assign]
    assert [file.name for file in remote.files(RUN, ["f055", "f001"])] == ["f001", "f055"]
    assert list(remote.files(RUN, ["nope"])) == []


@pytest.mark.parametrize(
    "node", [{"md5": "0"}, {"url": None}, {"url": ""}, {"name": None}, {"md5": "0", "sizeBytes": None}]
)
def test_a_node_that_is_no_file_is_left_out(server: Faults, remote: Wandb, node: dict[str, Any]) -> None:
    server.kept("r1").files = {"a": b"1", "b": b"2"}
    edges = "data", "project", "run", "files", "edges"

    def change(body: Any) -> None:
        for name in edges:
            body = body[name]
        body[0]["node"].update(node)
        body += [None, {"node": None}, {}]

    server.then("RunFiles", altered(change))
    assert [file.name for file in remote.files(RUN)] == ["b"]


@pytest.mark.parametrize(("said", "size"), [("12345678901", 12345678901), (7.0, 7)])
def test_a_size_may_be_written_as_text(server: Faults, remote: Wandb, said: object, size: int) -> None:
    server.kept("r1").files = {"a": b"1"}
    files = {"edges": [{"node": {"name": "a", "url": "/x", "md5": None, "sizeBytes": said}}]}
    server.then("RunFiles", Fault(body={"data": {"project": {"run": {"files": files}}}}))
    (found,) = remote.files(RUN)
    assert (found.size, found.md5) == (size, None)


def test_pages_that_never_end_are_no_answer(server: Faults, remote: Wandb) -> None:
    files = {"edges": [], "pageInfo": {"hasNextPage": True, "endCursor": "same"}}
    server.always("RunFiles", Fault(body={"data": {"project": {"run": {"files": files}}}}))
    with pytest.raises(errors.RemoteMalformed, match="endCursor"):
        list(remote.files(RUN))
    assert len(server.seen) == 2


def test_the_files_of_no_run_are_an_error(server: Faults, remote: Wandb) -> None:
    with pytest.raises(errors.RemoteGone, match="no run tester/demo/r1"):
        list(remote.files(RUN))


@pytest.mark.parametrize("data", [b"", b"x", b"checkpoint" * 300_000])
def test_a_file_is_uploaded_as_it_is_and_without_the_key(
    server: Faults, remote: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    Path("netrc").write_text(f"machine 127.0.0.1 login api password {KEY}\n")  # where requests looks by itself
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.upload_headers = ["X-Amz-Acl: private", "nonsense", "Bad Name: x", "Content-Length: 3", "X-Broken: a\nb"]
    kept = server.kept("r1")
    Path("model.bin").write_bytes(data)
    remote.put_file(RUN, "sub dir/é.bin", Path("model.bin"), mimetype="text/plain")
    assert kept.files == {"sub dir/é.bin": data}
    assert server.last("CreateRunFiles").variables["files"] == ["sub dir/é.bin"]
    put = server.last("PUT")
    assert put.headers["content-length"] == str(len(data))
    assert put.headers["x-amz-acl"] == "private"
    assert not {"authorization", "transfer-encoding", "content-type", "x-broken"} & put.headers.keys()
    (file,) = remote.files(RUN)
    remote.fetch(file, tmp_path / "back.bin")
    assert Path("back.bin").read_bytes() == data


def test_relative_addresses_may_have_the_path_of_the_servers_address() -> None:
    for base_url, given, whole in (
        ("http://h:1/wandb", "/wandb/files/x", "http://h:1/wandb/files/x"),
        ("http://h:1/wandb", "/files/x", "http://h:1/wandb/files/x"),
        ("http://h:1/wandb", "/wandbish/x", "http://h:1/wandb/wandbish/x"),
        ("http://h:1", "/files/x", "http://h:1/files/x"),
    ):
        assert Http(base_url, None).absolute(given) == whole


def test_relative_addresses_are_the_servers(server: Faults, remote: Wandb, tmp_path: Path) -> None:
    server.relative = True
    server.kept("r1")
    Path("a").write_text("1")
    remote.put_file(RUN, "a", Path("a"))
    (file,) = remote.files(RUN)
    remote.fetch(file, tmp_path / "b")
    assert Path("b").read_text() == "1"
    assert server.last("GET").key == KEY


def test_a_server_that_does_not_know_create_run_files_is_asked_the_old_way(server: Faults, remote: Wandb) -> None:
    server.knows_create_files = False
    kept = server.kept("r1")
    Path("a").write_text("1")
    remote.put_file(RUN, "a", Path("a"))
    remote.put_file(RUN, "b", Path("a"))
    assert kept.files == {"a": b"1", "b": b"1"}
    assert server.ops() == ["CreateRunFiles", "RunUploadUrls", "PUT", "RunUploadUrls", "PUT"]
    with pytest.raises(errors.RemoteGone, match="no run tester/demo/zz"):
        remote.put_file(RunPath("tester", "demo", "zz"), "a", Path("a"))


@pytest.mark.parametrize(("status", "quote"), [(400, '"'), (200, "'"), (422, '"')])
def test_a_server_that_is_too_old_for_a_field_is_asked_without_it(
    server: Faults, remote: Wandb, tmp_path: Path, status: int, quote: str
) -> None:
    kept = server.kept("r1")
    kept.rows, kept.files = rows(0, 1, 2), {"a": b"1"}

    def usual(seen: Seen) -> Fault:
        asked = seen.json["query"] if seen.method == "POST" and seen.path == "/graphql" else ""
        lacking = [name for name in ("wandbConfig", "md5", "runCount", "historyKeys", "inserted") if name in asked]
        words = [f"Cannot query field {quote}{name}{quote} on type {quote}T{quote}." for name in lacking[:2]]
        return refused(*words, status=status) if words else answer(seen)

    answer, server.usual = server.usual, usual  # type: ignore[method-assign]
    point = remote.resume_point(RUN)
    assert point is not None
    assert (point.next_step, point.started) == (3, True)
    assert [file.md5 for file in remote.files(RUN)] == ["xMpCOKC5I4INzFCab3WEmw=="]  # what the server says unasked
    assert [run.path for run in remote.runs("tester", "demo").runs] == [RUN]
    assert [row["_step"] for row in remote.scan(RUN)] == [0, 1, 2]
    assert remote.begin(RUN, Description()).rows == 3
    before = len(server.seen)
    remote.resume_point(RUN)
    assert server.ops()[before:] == ["RunResumeStatus"]


def test_a_field_that_a_run_is_continued_by_is_not_left_out(server: Faults, remote: Wandb) -> None:
    server.always("RunResumeStatus", refused('Cannot query field "historyLineCount" on type "Run".', status=400))
    with pytest.raises(errors.RemoteRefused, match="historyLineCount"):
        remote.resume_point(RUN)
    assert server.ops() == ["RunResumeStatus"]


def test_a_refusal_of_create_run_files_is_one(server: Faults, remote: Wandb) -> None:
    Path("a").write_text("1")
    with pytest.raises(errors.RemoteRefused, match="run not found"):
        remote.put_file(RUN, "a", Path("a"))
    assert server.ops() == ["CreateRunFiles"]


@pytest.mark.parametrize(
    "made",
    [None, {"files": None}, {"files": []}, {"files": [{"uploadUrl": "/a"}, {"uploadUrl": "/b"}]}, {"files": [None]},
     {"files": [{"uploadUrl": None}]}, {"files": [{"uploadUrl": "file:///etc/passwd"}]},
     {"files": [{"uploadUrl": "http://[::1"}]}, {"files": [{"uploadUrl": 3}]}],
)  # fmt: skip
def test_an_upload_without_an_address_is_no_answer(server: Faults, remote: Wandb, made: object) -> None:
    Path("a").write_text("1")
    server.then("CreateRunFiles", Fault(body={"data": {"createRunFiles": made}}))
    with pytest.raises(errors.RemoteMalformed):
        remote.put_file(RUN, "a", Path("a"))


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_address_that_expired_is_asked_for_anew_once(server: Faults, remote: Wandb, status: int) -> None:
    kept = server.kept("r1")
    Path("a").write_text("1")
    server.then("PUT", Fault(status))
    remote.put_file(RUN, "a", Path("a"))
    assert kept.files == {"a": b"1"}
    server.seen.clear()
    server.always("PUT", Fault(status, "<Error>AccessDenied</Error>"))
    with pytest.raises(errors.RemoteRefused, match=f"upload of 'a' .HTTP {status}") as caught:
        remote.put_file(RUN, "a", Path("a"))
    assert type(caught.value) is errors.RemoteRefused  # the key has nothing to do with it
    assert server.ops() == ["CreateRunFiles", "PUT"] * 2


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("<?xml version='1.0'?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The signature s.</Message></Error>",
         "application/xml", r"HTTP 403: SignatureDoesNotMatch: The signature s\.\)"),
        ("<Error/>", "application/xml", r"HTTP 403\)"),
        ("", "text/plain", r"HTTP 403\)"),
        ('{"error": {"code": 403, "message": "no room (a)"}}', "application/json", r"HTTP 403: no room \(a\)\)"),
        ("<html>Log in</html>", "text/html", r"HTTP 403: with a web page: a proxy\?\)"),
    ],
)  # fmt: skip
def test_storage_that_takes_nothing_is_quoted(
    server: Faults, remote: Wandb, tmp_path: Path, body: str, kind: str, said: str
) -> None:
    server.kept("r1")
    content = tmp_path / "x"
    content.write_bytes(b"x")
    server.always("PUT", Fault(403, body, {"Content-Type": kind}))
    with pytest.raises(errors.RemoteRefused, match=rf"does not take the upload of 'x' \({said}: see") as caught:
        remote.put_file(RUN, "x", content)
    assert "API key" not in str(caught.value)


def test_an_upload_that_was_cut_begins_anew(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    Path("a").write_bytes(b"y" * 3_000_000)
    server.then("PUT", reset(), Fault(500), Fault(503, headers={"Retry-After": "0"}))
    remote.put_file(RUN, "a", Path("a"))
    assert kept.files == {"a": b"y" * 3_000_000}
    assert server.ops() == ["CreateRunFiles", "PUT", "PUT", "PUT", "PUT"]


def test_a_file_that_is_gone_by_now_is_told_as_such(server: Faults, remote: Wandb) -> None:
    with pytest.raises(FileNotFoundError):
        remote.put_file(RUN, "a", Path("nowhere"))
    with pytest.raises(errors.FileError, match="cannot be read"):
        remote.put_file(RUN, "a", Path())
    assert server.ops() == []


def test_a_file_that_shrinks_while_it_is_uploaded_is_not_taken_for_whole(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    path = Path("a")
    path.write_bytes(b"y" * 1000)
    server.then("CreateRunFiles", altered(lambda body: path.write_bytes(b"y") and None))
    with pytest.raises(errors.FileUnstable):
        remote.put_file(RUN, "a", path)
    assert kept.files == {}


# Runs from outside


def test_whose_key_it_is(server: Faults, remote: Wandb) -> None:
    assert remote.account() == Account("tester", "tester", ("tester", "crew"))
    server.bare = True
    assert remote.account() == Account("tester", None, ())
    server.then("Viewer", Fault(body={"data": {"viewer": {"username": "u", "entity": None}}}))
    assert remote.account() == Account("u", "u", ())
    server.then("Viewer", Fault(body={"data": {"viewer": None}}))
    with pytest.raises(errors.KeyRejected, match="jupyter resume login"):
        remote.account()
    server.then("Viewer", Fault(body={"data": {"viewer": {}}}))
    with pytest.raises(errors.RemoteMalformed, match=r"viewer\.entity"):
        remote.account()


@pytest.mark.parametrize(
    ("base_url", "page"),
    [
        ("https://api.wandb.ai", "https://wandb.ai/e/p%20q/runs/r"),
        ("https://api.forge.coreweave.com/", "https://wandb.ai/e/p%20q/runs/r"),
        ("http://localhost:8080/x", "http://localhost:8080/x/e/p%20q/runs/r"),
    ],
)
def test_a_run_has_a_page(base_url: str, page: str) -> None:
    assert Wandb(base_url, KEY).url_of(RunPath("e", "p q", "r")) == page


def test_a_run_is_seen_from_outside(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    kept.rows, kept.summary, kept.config = rows(0, 1), '{"loss": 0.5}', {"lr": {"value": 1}}
    kept.said = {"tags": ["a"], "notes": "n", "groupName": "g", "jobType": "j", "displayName": "d"}
    run = remote.run(RUN)
    assert (run.path, run.storage_id, run.name, run.state, run.rows) == (RUN, kept.id, "d", "running", 2)
    assert (run.config, run.summary, run.tags, run.notes) == ({"lr": 1}, {"loss": 0.5}, ("a",), "n")
    assert (run.group, run.job_type, run.user) == ("g", "j", "tester")
    assert (run.created_at, run.heartbeat_at) == ("2026-11-21T17:00:00", "2026-11-21T17:07:40")
    server.bare = True
    run = remote.run(RUN)
    assert (run.name, run.config, run.summary, run.tags, run.rows, run.user) == ("r1", {}, {}, (), None, None)
    with pytest.raises(errors.RunMissing, match="no run tester/demo/zz"):
        remote.run(RunPath("tester", "demo", "zz"))


def test_runs_come_by_pages(server: Faults, remote: Wandb) -> None:
    for number in range(5):
        server.kept(f"r{number}")
    first = remote.runs("tester", "demo", {"state": "running"}, "-created_at", most=3)
    assert [run.path.run_id for run in first.runs] == ["r0", "r1", "r2"]
    asked = server.last("Runs").variables
    assert (json.loads(asked["filters"]), asked["order"], asked["perPage"]) == ({"state": "running"}, "-created_at", 3)
    second = remote.runs("tester", "demo", after=first.next, most=3)
    assert ([run.path.run_id for run in second.runs], second.next, second.total) == (["r3", "r4"], None, 5)
    with pytest.raises(errors.RemoteGone, match="no project tester/none"):
        remote.runs("tester", "none")


def test_rows_are_sampled(server: Faults, remote: Wandb) -> None:
    server.kept("r1").rows = [*rows(*range(100)), '{"_step": 100, "acc": NaN}']
    assert len(remote.sampled(RUN, samples=10)) == 10
    found = remote.sampled(RUN, ["loss"], samples=10)
    assert [set(row) for row in found] == [{"_step", "loss"}] * 10
    assert remote.sampled(RUN, ["_step", "none"]) == []
    with pytest.raises(errors.RemoteGone):
        remote.sampled(RunPath("tester", "demo", "zz"))


def test_every_row_is_scanned_in_steps_far_apart_or_many_at_one(server: Faults, remote: Wandb) -> None:
    kept = server.kept("r1")
    steps = [0, 1, 2, 3, *[50] * 7, 1000, 200_000, 200_001]
    kept.rows = rows(*steps)
    for page_size in (2, 3, 8, 1000):
        server.seen.clear()
        assert [row["_step"] for row in remote.scan(RUN, page_size=page_size)] == steps
        assert len(server.seen) < 100
    assert [row["_step"] for row in remote.scan(RUN, 2, 50)] == [2, 3]
    assert [row["_step"] for row in remote.scan(RUN, 1000)] == [1000, 200_000, 200_001]
    kept.rows = rows(*range(95))
    server.seen.clear()
    assert [row["_step"] for row in remote.scan(RUN, page_size=10)] == list(range(95))
    assert server.ops() == ["RunHistoryKeys"] + ["HistoryPage"] * 10
    kept.rows, kept.summary = [], "{}"
    assert list(remote.scan(RUN)) == []
    with pytest.raises(errors.RemoteGone):
        list(remote.scan(RunPath("tester", "demo", "zz")))


def test_the_last_step_may_be_written_as_text(server: Faults, remote: Wandb) -> None:
    server.kept("r1").rows = rows(*range(5))
    said = {"historyKeys": {"lastStep": "4"}, "summaryMetrics": None}
    server.then("RunHistoryKeys", Fault(body={"data": {"project": {"run": said}}}))
    assert [row["_step"] for row in remote.scan(RUN)] == list(range(5))


def test_rows_that_are_no_rows_are_named(server: Faults, remote: Wandb) -> None:
    server.kept("r1").rows = ["{"]
    with pytest.raises(errors.RemoteMalformed, match="history"):
        remote.sampled(RUN)
    server.then("RunSampledHistory", refused("no such metric"))
    with pytest.raises(errors.RemoteRefused, match="no such metric"):
        remote.sampled(RUN, ["x"])


# The same client and our own server


def test_every_method_works_with_our_own_server(tmp_path: Path) -> None:
    with served(tmp_path / "served") as ours:
        remote: Remote = Wandb(ours.url, KEY, patience=5)
        assert remote.account().entity == "local"
        run = RunPath("local", "demo", "r1")
        assert remote.resume_point(run) is None
        begun = remote.begin(run, Description("n", config={"lr": 0.1, "x": float("nan")}, tags=("a",), program="t.py"))
        assert (begun.path, begun.rows) == (run, 0)
        remote.append(run, Post(rows=Lines(0, rows(*range(5))), output=Lines(0, ["hi"]), summary='{"_step":4}'))
        assert remote.append(run, Post()) == Reply()
        remote.describe(run, Description(notes="hello"))
        point = remote.resume_point(run)
        assert point is not None
        assert (point.rows, point.output, point.next_step, point.notes) == (5, 1, 5, "hello")
        assert point.config == {"lr": 0.1, "x": "NaN"}
        for name, data in (("a b/model.bin", b"x" * 100_000), ("empty", b"")):
            Path("local").write_bytes(data)
            remote.put_file(run, name, Path("local"))
            (file,) = remote.files(run, [name, "nope"])
            remote.fetch(file, tmp_path / "out" / name)
            assert (tmp_path / "out" / name).read_bytes() == data
        assert [file.name for file in remote.files(run)] == ["a b/model.bin", "empty"]
        assert remote.run(run).state == "running"
        assert [found.path for found in remote.runs("local", "demo", {"state": "running"}).runs] == [run]
        assert [row["_step"] for row in remote.sampled(run, ["loss"], 3)] == [0, 2, 4]
        assert [row["_step"] for row in remote.scan(run, page_size=2)] == [0, 1, 2, 3, 4]
        assert remote.rewind(run, 1).next_step == 2
        again = remote.begin(run, Description(config=dict(point.config), internal=point.internal), point.storage_id)
        assert again.rows == 2
        remote.append(run, Post(complete=True, exit_code=0))
        assert remote.run(run).state == "finished"
        assert f"{ours.url}/local/demo/runs/r1" == remote.url_of(run)
        with pytest.raises(errors.RemoteGone):
            remote.append(RunPath("local", "demo", "none"), Post())
        with pytest.raises(errors.RunMissing):
            remote.run(RunPath("local", "demo", "none"))
