"""The SDKs of other days against our server: 0.13.11, and 0.8.36, for which the two documents were written."""

from __future__ import annotations

import json

import pytest

from .sdk import Json, Sdk, Server, look, train

pytest_plugins = ("tests.sdk_fixtures",)

FIRST = {"config": {"lr": 0.1, "layers": [64, 64]}, "notes": "the first", "tags": ["a", "b"]}
ROWS = [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25, "acc": 0.5}]
FILES = {"ckpt.txt": "step 2", "sub/deep.bin": "\x00\xff", "one.txt": "1", "two.txt": "2", "three.txt": "3"}


@pytest.fixture(scope="module", params=["0.13.11", "0.8.36"])
def sdk(request: pytest.FixtureRequest) -> Sdk:
    """One of the two."""
    found: Sdk = request.getfixturevalue({"0.13.11": "middle", "0.8.36": "oldest"}[request.param])
    return found


@pytest.fixture(scope="module")
def seen(sdk: Sdk, server: Server) -> Json:
    """Three runs of this SDK at the same time, one finished, one killed, one refused; then resumed, and looked at."""
    name = f"v{sdk}".replace(".", "-")
    whole, dead = f"{name}-whole", f"{name}-dead"
    first = train(sdk, server, whole, init={**FIRST, "resume": "allow"}, rows=ROWS, files=FILES)
    killed = train(sdk, server, dead, init={"resume": "allow"}, rows=ROWS, files={"ckpt.txt": "x"}, then="wait")
    refused = train(sdk, server, f"{name}-nobody", init={"resume": "must"})
    auto = {"init": {"resume": "auto"}, "rows": ROWS, "folder": server.home.parent / f"{name}-auto"}
    failed = train(sdk, server, then="raise", **auto)
    killed.wait_for("logged")
    server.until(dead, lambda run: len(run["rows"]) == 3)
    killed.kill()
    found: Json = {"name": name, "refused": refused.result(), "first": first.result(), "killed": server.run(dead)}
    found["failed"] = failed.result()
    found["whole"] = server.until(whole, lambda run: len(run["files"]) >= len(FILES))
    again = {"resume": "must", "config": {"lr": 0.2, "epochs": 3}}
    restore = ["ckpt.txt", "nope.txt"]
    second = train(sdk, server, whole, init=again, restore=restore, rows=[{"loss": 0.1}])
    revived = train(sdk, server, dead, init={"resume": "must"}, rows=ROWS)
    automatic = train(sdk, server, **auto)
    found["second"], found["revived"], found["automatic"] = second.result(), revived.result(), automatic.result()
    never = train(sdk, server, dead, init={"resume": "never"}, rows=[{"loss": 99.0}])
    unasked = train(sdk, server, f"{name}-unasked", rows=ROWS[:1], then="raise")
    found["never"], found["unasked"] = never.result(), unasked.result()
    found["api"] = look(sdk, server, whole, lists=[{"project": f"{server.entity}/demo"}], file="sub/deep.bin")
    return found


def test_a_run_is_logged_saved_and_finished(seen: Json, sdk: Sdk) -> None:
    assert seen["first"].rc == 0, seen["first"].output
    init = seen["first"].event("init")
    assert (init["resumed"], init["step"]) == (False, 0)
    run = seen["whole"]
    assert [(row["_step"], row["loss"]) for row in run["rows"]] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert run["state"] == "finished"
    assert (run["config"]["lr"]["value"], run["notes"], run["tags"]) == (0.1, "the first", ["a", "b"])
    assert (run["summaryMetrics"]["loss"], run["summaryMetrics"]["acc"]) == (0.25, 0.5)
    assert set(FILES) <= set(run["files"])
    assert not [name for name in run["files"] if "batch_archive" in name], "an archive was not unpacked"
    assert "wandb_version" not in run["config"]


def test_a_finished_run_is_resumed(seen: Json, sdk: Sdk, server: Server) -> None:
    second = seen["second"]
    init = second.event("init")
    assert (init["resumed"], init["step"]) == (True, 3)
    lr = 0.1 if sdk.version == "0.8.36" else 0.2  # in its day the old value won
    assert init["config"] == {"lr": lr, "epochs": 3, "layers": [64, 64]}
    run = server.run(f"{seen['name']}-whole")
    assert [row["_step"] for row in run["rows"]] == [0, 1, 2, 3]
    assert (run["state"], run["notes"], run["tags"]) == ("finished", "the first", ["a", "b"])
    assert {key: run["config"][key]["value"] for key in ("lr", "epochs", "layers")} == init["config"]


def test_a_checkpoint_is_restored_and_a_missing_one_said_to_be_missing(seen: Json, sdk: Sdk) -> None:
    assert seen["second"].of("restored") == [{"event": "restored", "name": "ckpt.txt", "text": "step 2"}]
    missing = seen["second"].event("missing")
    assert missing["type"] == ("AttributeError" if sdk.version == "0.8.36" else "ValueError")
    assert "nope.txt" in missing["message"]


def test_a_killed_script_is_resumed_after_its_last_row(seen: Json, server: Server) -> None:
    assert seen["killed"]["state"] in ("running", "crashed")
    init = seen["revived"].event("init")
    assert (init["resumed"], init["step"]) == (True, 3)
    run = server.run(f"{seen['name']}-dead")
    assert [row["_step"] for row in run["rows"]] == [0, 1, 2, 3, 4, 5]
    assert run["state"] == "finished"


def test_must_refuses_a_run_that_is_not_there(seen: Json, sdk: Sdk, server: Server) -> None:
    refused = seen["refused"].event("refused")
    assert seen["refused"].rc == 3
    words = "process failed to launch" if sdk.version == "0.8.36" else "nobody"  # its log has the reason
    assert words in refused["message"]
    assert not server.run(f"{seen['name']}-nobody").get("rows")


def test_never_changes_nothing_of_a_run_that_is_there(seen: Json, sdk: Sdk, server: Server) -> None:
    run = server.run(f"{seen['name']}-dead")
    assert [row["loss"] for row in run["rows"]] == [1.0, 0.5, 0.25] * 2
    if sdk.version == "0.8.36":  # it does not ask whether there is one, and writes from line 0 on: kept aside
        assert seen["never"].rc == 0
        assert [json.loads(aside["line"])["loss"] for aside in run["conflicts"] if aside["stream"] == "history"] == [
            99.0
        ]
    else:
        assert seen["never"].event("refused")["type"] in ("UsageError", "CommError", "Error")
        assert run["conflictCount"] == 0


def test_auto_continues_what_failed(seen: Json, server: Server) -> None:
    assert seen["failed"].rc == 1
    run_id = seen["failed"].event("init")["id"]
    init = seen["automatic"].event("init")
    assert (init["id"], init["resumed"], init["step"]) == (run_id, True, 3)
    assert [row["_step"] for row in server.rows(run_id)] == [0, 1, 2, 3, 4, 5]


def test_an_exception_makes_the_run_failed(seen: Json, server: Server) -> None:
    assert seen["unasked"].rc == 1
    assert server.until(f"{seen['name']}-unasked", lambda run: run["state"] != "running")["state"] == "failed"


def test_the_public_api_tells_everything(seen: Json, sdk: Sdk) -> None:
    run = seen["api"]["run"]
    assert run["state"] == "finished"
    assert run["tags"] == ["a", "b"]
    assert [row["loss"] for row in run["history"]] == [1.0, 0.5, 0.25, 0.1]
    sampled = run["history_of_loss"]
    assert [row["loss"] for row in (sampled[0] if sdk.version == "0.8.36" else sampled)] == [1.0, 0.5, 0.25, 0.1]
    assert run["two_samples"] == 2
    assert [row["_step"] for row in run["scan"]] == [0, 1, 2, 3] == run["scan_in_pages"]
    assert [row["loss"] for row in run["scan_of_loss"]] == [1.0, 0.5, 0.25, 0.1]
    assert run["file"] == "\x00\xff"
    assert run["file_count"] == len(run["files"])
    assert run["files"]["ckpt.txt"] == [6, "afquV+LYEQcyAG+pYf8oJw=="]
    assert {f"{seen['name']}-whole", f"{seen['name']}-dead"} <= {run["id"] for run in seen["api"]["lists"][0]}


def test_a_run_of_the_old_sdk_is_resumed_by_the_new_one_and_back(
    seen: Json, sdk: Sdk, current: Sdk, server: Server
) -> None:
    """0.8.36 uploads a `wandb_version` that 0.31.0 chokes on, and not the `t` without which no run exists for it."""
    run_id = f"{seen['name']}-whole"
    new = train(current, server, run_id, init={"resume": "must", "config": {"by": "new"}}, restore=["ckpt.txt"],
                rows=[{"loss": 0.05}]).result()  # fmt: skip
    assert (new.event("init")["resumed"], new.event("init")["starting_step"]) == (True, 4)
    assert new.of("restored")[0]["text"] == "step 2"
    old = train(sdk, server, run_id, init={"resume": "must"}, rows=[{"loss": 0.01}]).result()
    assert (old.event("init")["resumed"], old.event("init")["step"]) == (True, 5)
    assert old.event("init")["config"]["by"] == "new"
    run = server.run(run_id)
    assert [row["_step"] for row in run["rows"]] == [0, 1, 2, 3, 4, 5]
    assert json.loads(json.dumps(run["config"]))["by"]["value"] == "new"
