"""What breaks a resume on the wire, a real SDK as the judge: poisoned configs, two writers, dead servers."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sdk import ROOT, Json, Sdk, Server, Session, look, serve, train

pytest_plugins = ("tests.sdk_fixtures",)

ROWS = [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25}]


def history(*rows: Json) -> Json:
    """These rows as the lines of a file_stream request, from the first line on."""
    return {"wandb-history.jsonl": {"offset": 0, "content": [json.dumps(row) for row in rows]}}


def summary(**values: object) -> Json:
    """A summary as a file_stream request."""
    return {"wandb-summary.json": {"offset": 0, "content": [json.dumps(values)]}}


STATES = {
    "in-step": (history(*[{"_step": n, "x": n} for n in range(3)]) | summary(_step=2), 3),
    "stale-tail": (history(*[{"x": n} for n in range(9)], {"_step": 2, "x": 9}) | summary(_step=2), 10),
    "summary-only": (summary(_step=7), 8),
    "summary-ahead": (history({"_step": 1, "x": 0}, {"_step": 3, "x": 1}) | summary(_step=9), 10),
    "tail-ahead": (history({"_step": 1, "x": 0}, {"_step": 500, "x": 1}) | summary(), 501),
    "broken-step": (history({"_step": 0, "x": 0}, {"_step": 1.5, "x": 1}) | summary(_step=0.5), 2),
}
"""What the server holds of a run, by name; with it the step at which it must go on."""


def made_by_another_client(server: Server, run_id: str, files: Json) -> None:
    """A run whose maker knows nothing of wandb's telemetry, and left wandb_version in its config, as 0.8.36 does."""
    server.upsert(run_id, config=json.dumps({"lr": {"value": 0.1}, "wandb_version": 1}))
    server.post(run_id, {"files": files, "complete": True, "exitcode": 0})


@pytest.fixture(scope="module")
def resumed(current: Sdk, server: Server) -> Json:
    """Each of these runs resumed by the current SDK, which logs one row."""
    for name, (files, _) in STATES.items():
        made_by_another_client(server, name, files)
    sessions = {name: train(current, server, name, init={"resume": "must"}, rows=[{"new": 1}]) for name in STATES}
    return {name: session.result() for name, session in sessions.items()}


@pytest.mark.parametrize("name", STATES)
def test_a_run_goes_on_after_its_last_step_whatever_the_server_holds(name: str, resumed: Json, server: Server) -> None:
    files, step = STATES[name]
    init = resumed[name].event("init")
    assert (init["resumed"], init["starting_step"], init["config"]["lr"]) == (True, step, 0.1)
    logged = len(files.get("wandb-history.jsonl", {}).get("content", []))
    run = server.run(name)
    earlier = [row["x"] for row in run["rows"] if "x" in row]
    assert earlier == list(range(logged - run["outOfOrderCount"])), "earlier rows changed"
    assert run["outOfOrderCount"] == (
        name == "stale-tail"
    )  # its last row says step 2 at step 9: kept, and shown as such
    assert [(row["_step"], row["new"]) for row in run["rows"][len(earlier) :]] == [(step, 1)]
    assert run["conflictCount"] == 0


def test_the_middle_sdk_resumes_them_too_and_nothing_is_lost(middle: Sdk, server: Server) -> None:
    names = ["in-step", "summary-only", "tail-ahead"]
    for name in names:
        made_by_another_client(server, f"m-{name}", STATES[name][0])
    sessions = [train(middle, server, f"m-{name}", init={"resume": "must"}, rows=[{"new": 1}]) for name in names]
    for name, session in zip(names, sessions, strict=True):
        result = session.result()
        files, step = STATES[name]
        step = 0 if name == "summary-only" else step  # this SDK looks at the summary's step only where there are rows
        assert (result.event("init")["resumed"], result.event("init")["step"]) == (True, step)
        run = server.run(f"m-{name}")
        assert sum("new" in row for row in run["rows"]) + run["outOfOrderCount"] == 1
        assert sum("x" in row for row in run["rows"]) == len(files.get("wandb-history.jsonl", {}).get("content", []))
        assert run["conflictCount"] == 0


def test_the_same_id_without_resume_changes_no_earlier_row(current: Sdk, server: Server) -> None:
    """0.31.0 then logs steps from 0 again, behind the rows that are there; nothing of the first run may be changed."""
    for loss in (1.0, 0.5):
        result = train(current, server, "reused", rows=[{"loss": loss}, {"loss": loss / 2}]).result()
        assert result.rc == 0, result.output
        assert result.event("init")["starting_step"] == 0
    run = server.run("reused")
    first = [(row["_step"], row["loss"]) for row in run["rows"]][:2]
    assert first == [(0, 1.0), (1, 0.5)]
    steps = [row["_step"] for row in run["rows"]]
    assert steps == sorted(set(steps)), "rows of two lives stand mixed in one history"


def test_two_writers_of_one_run_are_never_mixed_and_the_conflict_is_shown(current: Sdk, server: Server) -> None:
    def writer(name: str) -> Session:
        row = {"writer": name}
        return train(current, server, "shared", init={"resume": "allow"}, row=row, then="log until told")

    first = writer("a")
    first.wait_for("logged")
    server.until("shared", lambda run: len(run["rows"]) > 20)
    second = writer("b")
    second.wait_for("logged")
    server.until("shared", lambda run: run["conflictCount"] > 20)
    second.go_on()
    first.go_on()
    told = {"a": first.result().event("finished")["count"], "b": second.result().event("finished")["count"]}
    run = server.run("shared")
    writers = [row["writer"] for row in run["rows"]]
    changes = sum(one != next_ for one, next_ in itertools.pairwise(writers))
    assert changes <= 1, "rows of two writers are mixed"
    aside = [json.loads(conflict["line"]) for conflict in run["conflicts"] if conflict["stream"] == "history"]
    for name, count in told.items():
        kept = [row["n"] for row in [*run["rows"], *aside] if row["writer"] == name]
        assert sorted(kept) == list(range(count)), f"rows of {name} are lost or doubled"
    steps = [row["_step"] for row in run["rows"]]
    assert steps == sorted(set(steps))
    page = server.page(f"/{server.entity}/demo/runs/shared")
    assert "Conflicts" in page
    assert f"{run['conflictCount']} lines kept aside" in re.sub(r"\s+", " ", page)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    server = serve(tmp_path / "home", tmp_path / "server.log")
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


def test_a_training_outlives_its_server(current: Sdk, mortal: Server, tmp_path: Path) -> None:
    session = train(current, mortal, "long", init={"config": {"lr": 0.1}}, then="log until told")
    session.wait_for("logged")
    for _ in range(2):
        before = len(mortal.until("long", lambda run: len(run["rows"]) > 20)["rows"])
        mortal.process.kill()
        mortal.process.wait()
        again = serve(tmp_path / "home", tmp_path / "server.log", port=mortal.port)
        mortal.process = again.process
        assert len(mortal.rows("long")) >= before, "acknowledged rows are gone"
        mortal.until("long", lambda run, before=before: len(run["rows"]) > before + 20)
    session.go_on()
    result = session.result()
    assert result.rc == 0, result.output
    run = mortal.run("long")
    assert [row["n"] for row in run["rows"]] == list(range(result.event("finished")["count"]))
    assert (run["state"], run["conflictCount"]) == ("finished", 0)
    assert mortal.stop() in (0, -signal.SIGTERM)


def test_keys_let_in_whom_they_are_for(current: Sdk, tmp_path: Path) -> None:
    def keys(*words: str) -> str:
        command = [sys.executable, "-m", "jupyter_resume", "serve", "--home", str(tmp_path / "home"), *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    def key(name: str, role: str) -> str:
        found = re.search(r"[\w-]{40,}", keys("--make-key", name, "--entity", "team", "--role", role))
        assert found
        return found.group(0)

    writing, reading, revoked = key("anna", "write"), key("ben", "read"), key("gone", "write")
    keys("--revoke-key", "gone")
    server = serve(tmp_path / "home", tmp_path / "server.log", key=writing)
    try:
        assert server.entity == "team"
        first = train(current, server, "r1", rows=ROWS, files={"ckpt.txt": "x"}).result()
        assert first.rc == 0, first.output
        assert len(server.rows("r1")) == 3
        wrong = [train(current, server, "r1", init={"resume": "allow"}, rows=ROWS, env={"WANDB_API_KEY": bad})
                 for bad in (reading, revoked, "0" * 40)]  # fmt: skip
        for session in wrong:
            assert session.result().event("refused")["type"] in ("CommError", "AuthenticationError")
        server.key = reading
        assert look(current, server, "r1", file="ckpt.txt")["run"]["file"] == "x"
        assert len(server.rows("r1")) == 3
        log = (tmp_path / "server.log").read_text()
        assert not [secret for secret in (writing, reading, revoked) if secret in log], "a key is in the log"
    finally:
        server.stop()
