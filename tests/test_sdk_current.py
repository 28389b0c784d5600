"""The SDK that people install today, unmodified, against our server: a run from its first row to the public API."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from .sdk import Json, Sdk, Server, Session, look, run_script, train

pytest_plugins = ("tests.sdk_fixtures",)

FIRST = {"config": {"lr": 0.1, "layers": [64, 64]}, "notes": "the first", "tags": ["a", "b"]}
ROWS = [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25, "acc": 0.5}]


def ended(*sessions: Session) -> None:
    """Await the good end of all of them."""
    for session in sessions:
        result = session.result()
        assert result.rc == 0, result.output


@pytest.fixture(scope="module")
def life(current: Sdk, server: Server) -> str:
    """A run that was logged, with two files, and finished."""
    files = {"ckpt.bin": "\x00\xff weights", "sub dir/näme %41+1.txt": "deep"}
    result = train(current, server, "life", init=FIRST, rows=ROWS, files=files).result()
    assert result.rc == 0, result.output
    assert result.event("init")["resumed"] is False
    assert result.event("init")["starting_step"] == 0
    return "life"


def test_a_run_arrives_whole(server: Server, life: str) -> None:
    run = server.run(life)
    assert [(row["_step"], row["loss"]) for row in run["rows"]] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert run["state"] == "finished"
    assert run["config"]["lr"]["value"] == 0.1
    assert (run["notes"], run["tags"], run["summaryMetrics"]["acc"]) == ("the first", ["a", "b"], 0.5)
    assert {"ckpt.bin", "sub dir/näme %41+1.txt", "config.yaml", "output.log"} <= set(run["files"])


def test_the_public_api_tells_everything_of_a_run(current: Sdk, server: Server, life: str) -> None:
    run = look(current, server, life, file="ckpt.bin", pattern="%.bin")["run"]
    assert (run["id"], run["state"], run["config"]) == (life, "finished", FIRST["config"])
    assert (run["notes"], run["tags"], run["summary"]) == ("the first", ["a", "b"], {"loss": 0.25, "acc": 0.5})
    assert [row["loss"] for row in run["history"]] == [1.0, 0.5, 0.25]
    assert [(row["_step"], row["loss"]) for row in run["history_of_loss"]] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert run["two_samples"] == 2
    assert [row["_step"] for row in run["scan"]] == [0, 1, 2] == run["scan_in_pages"]
    assert [row["loss"] for row in run["scan_of_loss"]] == [1.0, 0.5, 0.25]
    assert run["file"] == "\x00\xff weights"
    assert run["matching"] == ["ckpt.bin"]
    assert run["file_count"] == len(run["files"]) == len(run["files_by_page"])
    assert run["files"]["ckpt.bin"] == [10, "dXnmj2ePhBw759Mi8XVoKg=="]


def test_a_file_of_any_lawful_name_is_downloaded(current: Sdk, server: Server, life: str) -> None:
    run = look(current, server, life, file="sub dir/näme %41+1.txt")["run"]
    assert run["file"] == "deep"


def test_a_run_that_is_not_there_is_named(current: Sdk, server: Server) -> None:
    seen = look(current, server, "nobody")
    assert seen["type"] == "CommError"
    assert "Could not find run" in seen["message"]


def test_a_finished_run_is_resumed_with_its_step_files_config_notes_and_tags(current: Sdk, server: Server) -> None:
    ended(train(current, server, "again", init=FIRST, rows=ROWS, files={"ckpt.txt": "step 2"}))
    restore = ["ckpt.txt", "nope.txt"]
    changed = {"resume": "must", "config": {"lr": 0.2, "epochs": 3}}
    second = train(current, server, "again", init=changed, restore=restore, rows=[{"loss": 0.1}]).result()
    init = second.event("init")
    assert (init["resumed"], init["starting_step"]) == (True, 3)
    assert init["config"] == {"lr": 0.2, "epochs": 3, "layers": [64, 64]}  # the new value wins, the old keys stay
    assert (init["notes"], init["tags"]) == ("the first", ["a", "b"])
    assert init["summary"] == {"loss": 0.25, "acc": 0.5}
    assert second.of("restored") == [{"event": "restored", "name": "ckpt.txt", "text": "step 2"}]
    assert second.event("missing")["type"] == "ValueError"
    assert second.event("missing")["message"] == f"File nope.txt not found in {server.entity}/demo/again."
    run = server.run("again")
    assert [row["_step"] for row in run["rows"]] == [0, 1, 2, 3]
    assert (run["state"], run["notes"], run["tags"]) == ("finished", "the first", ["a", "b"])
    assert {key: run["config"][key]["value"] for key in ("lr", "epochs", "layers")} == init["config"]
    third = train(current, server, "again", init={"resume": "allow", "notes": "new", "tags": ["c"]}).result()
    assert third.event("init")["starting_step"] == 4
    run = server.run("again")
    assert (run["notes"], run["tags"], len(run["rows"])) == ("new", ["c"], 4)


def test_every_policy_does_what_the_table_says(current: Sdk, server: Server, life: str) -> None:
    missing = {
        policy: train(current, server, f"missing-{policy}", init={"resume": policy}, rows=[{"x": 1}])
        for policy in ("allow", "never", "must")
    }
    for policy, session in missing.items():
        result = session.result()
        if policy == "must":
            assert result.event("refused")["type"] == "UsageError"
            assert "does not exist or has not been initialized" in result.event("refused")["message"]
        else:
            assert (result.event("init")["resumed"], result.event("init")["starting_step"]) == (False, 0)
    again = {
        (policy, run_id): train(current, server, run_id, init={"resume": policy}, rows=[{"x": 2}])
        for policy, run_id in [("allow", "missing-allow"), ("must", "missing-never"), ("never", life)]
    }
    for (policy, _), session in again.items():
        result = session.result()
        if policy == "never":
            assert f"Run ({life}) already exists" in result.event("refused")["message"]
        else:
            assert (result.event("init")["resumed"], result.event("init")["starting_step"]) == (True, 1)
    assert server.run(life)["state"] == "finished", "a refused run was touched"
    assert len(server.rows(life)) == 3


def test_an_id_that_no_file_name_should_be_is_refused_in_a_sentence(current: Sdk, server: Server) -> None:
    ids = {
        "resnet-lr0.1": None,
        "with space": "other characters",
        "a\\b%2F..": "other characters",
        "x" * 65: "at most 64",
    }
    sessions = [train(current, server, run_id, rows=ROWS) for run_id in ids]
    for session, (run_id, words) in zip(sessions, ids.items(), strict=True):
        result = session.result()
        if words is None:
            assert len(server.rows(run_id)) == 3
        else:
            assert words in result.event("refused")["message"]


def test_the_policy_may_come_from_the_environment(current: Sdk, server: Server, life: str) -> None:
    del life
    environment = {"WANDB_RESUME": "must", "WANDB_RUN_ID": "by-environment", "WANDB_NOTES": "said outside"}
    refused = train(current, server, env=environment).result()
    assert "does not exist" in refused.event("refused")["message"]
    ended(train(current, server, "by-environment", rows=ROWS))
    resumed = train(current, server, env=environment).result()
    assert (resumed.event("init")["id"], resumed.event("init")["starting_step"]) == ("by-environment", 3)
    assert server.run("by-environment")["notes"] == "said outside"


def test_auto_continues_what_failed_and_not_what_finished(current: Sdk, server: Server, tmp_path: Path) -> None:
    def auto(**plan: object) -> Session:
        return train(current, server, init={"resume": "auto"}, rows=ROWS, folder=tmp_path, **plan)

    failed = auto(then="raise").result()
    assert failed.rc == 1
    run_id = failed.event("init")["id"]
    assert server.run(run_id)["state"] == "failed"
    second = auto().result().event("init")
    assert (second["id"], second["resumed"], second["starting_step"]) == (run_id, True, 3)
    assert server.run(run_id)["state"] == "finished"
    third = auto().result().event("init")
    assert third["id"] != run_id
    assert third["resumed"] is False


def test_a_killed_script_is_resumed_after_its_last_row(current: Sdk, server: Server) -> None:
    session = train(current, server, "killed", rows=ROWS, files={"ckpt.txt": "step 2"}, then="wait")
    session.wait_for("logged")
    server.until("killed", lambda run: len(run["rows"]) == 3)
    session.kill()
    assert server.run("killed")["state"] in ("running", "crashed")
    second = train(current, server, "killed", init={"resume": "must"}, rows=ROWS).result()
    assert (second.event("init")["resumed"], second.event("init")["starting_step"]) == (True, 3)
    run = server.run("killed")
    assert [row["_step"] for row in run["rows"]] == [0, 1, 2, 3, 4, 5]
    assert run["state"] == "finished"


def test_a_run_that_was_stopped_can_be_resumed(current: Sdk, server: Server) -> None:
    session = train(current, server, "stopped", then="log until told")
    session.wait_for("logged")
    server.until("stopped", lambda run: len(run["rows"]) > 3)
    look(current, server, "stopped", stop=True)
    stopped = session.result()
    assert stopped.rc != 0, "the stop never reached the script"
    assert "finished" not in [event["event"] for event in stopped.events]
    logged = len(server.rows("stopped"))
    second = train(current, server, "stopped", init={"resume": "must"}, rows=ROWS).result()
    assert second.rc == 0, second.output
    assert second.event("init")["starting_step"] == logged
    assert server.run("stopped")["stopped"] is False
    assert server.run("stopped")["state"] == "finished"


def test_console_lines_go_on_after_a_resume(current: Sdk, server: Server) -> None:
    for _ in range(2):
        ended(train(current, server, "console", init={"resume": "allow"}, rows=ROWS))
    run = server.run("console")
    assert run["logLineCount"] >= 6
    page = run_script(current, "look.py", {"path": f"{server.entity}/demo/console", "console": True}, server)
    lines = [line for line in page.event("seen")["console"] if "loss is" in line]
    assert [re.sub(r".*loss is ", "", line).strip() for line in lines] == ["1.0", "0.5", "0.25"] * 2


def test_runs_are_listed_filtered_and_ordered(current: Sdk, server: Server) -> None:
    for session in [
        train(current, server, f"s{n}", project="sweep", init={"config": {"lr": n / 10}, "tags": [f"t{n}"]},
              rows=[{"loss": 10 - n}], then="raise" if n == 3 else "finish")
        for n in (1, 2, 3)
    ]:  # fmt: skip
        assert session.result().event("logged")
    asked: list[tuple[Json, list[str]]] = [
        ({}, ["s1", "s2", "s3"]),
        ({"order": "+summary_metrics.loss"}, ["s3", "s2", "s1"]),
        ({"order": "-summary_metrics.loss", "filters": {"config.lr": {"$lt": 0.25}}}, ["s1", "s2"]),
        (
            {"order": "-config.lr.value", "filters": {"$or": [{"tags": {"$in": ["t2"]}}, {"config.lr": 0.3}]}},
            ["s3", "s2"],
        ),
        ({"filters": {"state": "failed"}}, ["s3"]),
        ({"filters": {"summary_metrics.loss": {"$gte": 9}, "state": {"$ne": "failed"}}}, ["s1"]),
    ]
    lists = [{"project": f"{server.entity}/sweep", **question} for question, _ in asked]
    seen = look(current, server, lists=lists, projects=server.entity)
    found = [[run["id"] for run in runs] for runs in seen["lists"]]
    assert [sorted(found[0]), *found[1:]] == [expected for _, expected in asked]
    assert {"demo", "sweep"} <= set(seen["projects"])


def test_a_run_is_changed_given_a_file_and_deleted_from_outside(current: Sdk, server: Server, tmp_path: Path) -> None:
    ended(train(current, server, "outside", init=FIRST, rows=ROWS))
    later = tmp_path / "later.txt"
    later.write_text("added later")
    changes = {"update": {"tags": ["x"], "notes": "changed"}, "config": {"lr": 0.7}, "upload": str(later)}
    run = look(current, server, "outside", **changes, file="later.txt")["run"]
    assert (run["tags"], run["notes"], run["config"]["lr"], run["file"]) == (["x"], "changed", 0.7, "added later")
    assert run["state"] == "finished"
    resumed = train(current, server, "outside", init={"resume": "must"}).result().event("init")
    assert (resumed["starting_step"], resumed["config"]["lr"]) == (3, 0.7)
    look(current, server, "outside", delete=True)
    assert server.run("outside") == {}


def test_an_offline_run_is_synced_later(current: Sdk, server: Server, tmp_path: Path) -> None:
    offline = {**FIRST, "mode": "offline"}
    ended(train(current, server, "offline", init=offline, rows=ROWS, files={"ckpt.txt": "x"}, folder=tmp_path))
    assert server.run("offline") == {}
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    synced = run_script(current, "sync.py", {"folder": str(folder)}, server, folder=tmp_path)
    assert synced.rc == 0, synced.output
    run = server.run("offline")
    assert [(row["_step"], row["loss"]) for row in run["rows"]] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert (run["state"], run["notes"], run["tags"]) == ("finished", "the first", ["a", "b"])
    assert run["files"]["ckpt.txt"]["sizeBytes"] == 1
    resumed = train(current, server, "offline", init={"resume": "must"}).result().event("init")
    assert (resumed["starting_step"], resumed["config"]["lr"]) == (3, 0.1)


def test_a_second_sync_of_the_same_run_doubles_no_row(current: Sdk, server: Server, tmp_path: Path) -> None:
    ended(train(current, server, "twice", init={"mode": "offline"}, rows=ROWS, folder=tmp_path))
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    for _ in range(2):
        assert run_script(current, "sync.py", {"folder": str(folder)}, server, folder=tmp_path).rc == 0
        assert [row["_step"] for row in server.rows("twice")] == [0, 1, 2]


def test_a_run_is_rewound_and_forked(current: Sdk, server: Server) -> None:
    ended(train(current, server, "origin", init=FIRST, rows=ROWS))
    fork = train(current, server, "branch", init={"fork_from": "origin?_step=1"}, rows=[{"loss": 9.0}]).result()
    assert fork.rc == 0, fork.output
    assert fork.event("init")["starting_step"] == 2
    assert [row["loss"] for row in server.rows("branch")][-1] == 9.0
    rewound = train(current, server, init={"resume_from": "origin?_step=1"}, rows=[{"loss": 7.0}]).result()
    assert rewound.rc == 0, rewound.output
    assert rewound.event("init")["starting_step"] == 2
    assert [(row["_step"], row["loss"]) for row in server.rows("origin")] == [(0, 1.0), (1, 0.5), (2, 7.0)]


def test_what_is_saved_live_or_at_the_end_is_its_last_state(current: Sdk, server: Server) -> None:
    sessions = {
        policy: train(current, server, f"saved-{policy}", files={"ckpt.txt": "early"}, policy=policy,
                      rewritten={"ckpt.txt": "late, and longer"})
        for policy in ("live", "end")
    }  # fmt: skip
    for policy, session in sessions.items():
        ended(session)
        resumed = train(current, server, f"saved-{policy}", init={"resume": "must"}, restore=["ckpt.txt"]).result()
        assert resumed.event("restored")["text"] == "late, and longer"


def test_a_large_file_is_the_same_when_it_comes_back(current: Sdk, server: Server) -> None:
    size = 3_000_001
    ended(train(current, server, "large", sized={"big.bin": size}))
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert look(current, server, "large", file="big.bin")["run"]["file"] == hashlib.md5(content).hexdigest()
