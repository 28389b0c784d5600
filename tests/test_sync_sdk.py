"""One run, by W&B's own SDK and by us in turn, on one server: whoever goes on with it finds all that the other left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume
from jupyter_resume.errors import RunDiverged
from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store
from jupyter_resume.sync.bringing import bring
from jupyter_resume.sync.connecting import connect

from .kernel import Kernel
from .processes import other
from .sdk import KEY, SCRIPTS, Json, Sdk, Server, environment, look, script_environment, train

pytest_plugins = ("tests.sdk_fixtures",)

FIRST: Json = {"config": {"lr": 0.1, "layers": [64, 64]}, "notes": "the first", "tags": ["a", "b"]}
ROWS = [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25, "acc": 0.5}]
QUICK = {"JUPYTER_RESUME_SYNC_INTERVAL": "0.1", "NO_PROXY": "127.0.0.1"}


@pytest.fixture(autouse=True)
def online(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which runs are kept on the server, for this process and for others."""
    values = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, **QUICK}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def steps(run: Json) -> list[int]:
    return [row["_step"] for row in run["rows"]]


def losses(run: Json) -> list[Any]:
    return [row["loss"] for row in run["rows"] if "loss" in row]


def whole(run: Json) -> bool:
    """Whether nothing was kept aside."""
    return (run["conflictCount"], run["outOfOrderCount"]) == (0, 0)


def config_of(run: Json) -> Json:
    return {key: value["value"] for key, value in run["config"].items() if key != "_wandb"}


def killed_by_us(server: Server, home: Path, online: dict[str, str], run_id: str, **more: Any) -> None:
    """A run of three rows and a file, by us, in a process that is killed when the server has all of it."""
    with other(home, **online) as child:
        child.init(project="demo", id=run_id, resume="allow", **{**FIRST, **more})
        child.log(*ROWS)
        child.save("ckpt.txt", "step 2")
        server.until(run_id, lambda run: len(run["rows"]) == 3 and "ckpt.txt" in run["files"])
        child.kill()


def test_a_run_that_the_sdk_began_and_died_with_is_continued_by_init_and_then_by_the_sdk(
    current: Sdk, server: Server
) -> None:
    session = train(current, server, "theirs", init=FIRST, rows=ROWS, files={"ckpt.txt": "step 2"}, then="wait")
    session.wait_for("logged")
    server.until("theirs", lambda run: len(run["rows"]) == 3 and "ckpt.txt" in run["files"])
    session.vanish()

    run = jupyter_resume.init(project="demo", id="theirs", resume="must", config={"lr": 0.2, "epochs": 3})
    assert (run.resumed, run.starting_step, run.step) == (True, 3, 3)
    assert dict(run.config) == {"lr": 0.2, "layers": [64, 64], "epochs": 3}
    assert (run.notes, run.tags) == ("the first", ("a", "b"))
    assert {key: run.summary[key] for key in ("loss", "acc")} == {"loss": 0.25, "acc": 0.5}
    assert run.restore("ckpt.txt").read() == b"step 2"
    run.log({"loss": 0.1})
    Path("ckpt.txt").write_text("step 3")
    run.save("ckpt.txt", policy="now")
    run.finish()
    seen = server.run("theirs")
    assert (steps(seen), losses(seen), whole(seen)) == ([0, 1, 2, 3], [1.0, 0.5, 0.25, 0.1], True)
    assert (seen["state"], seen["notes"], seen["tags"]) == ("finished", "the first", ["a", "b"])
    assert config_of(seen) == {"lr": 0.2, "layers": [64, 64], "epochs": 3}
    assert seen["config"]["_wandb"]["value"]["cli_version"] == "0.31.0"
    assert {key: seen["summaryMetrics"][key] for key in ("loss", "acc", "_step")} == {
        "loss": 0.1,
        "acc": 0.5,
        "_step": 3,
    }

    again = train(current, server, "theirs", init={"resume": "must"}, restore=["ckpt.txt"], rows=[{"loss": 0.05}])
    result = again.result()
    init = result.event("init")
    assert (init["resumed"], init["starting_step"]) == (True, 4)
    assert init["config"] == {"lr": 0.2, "layers": [64, 64], "epochs": 3}
    assert (init["notes"], init["tags"]) == ("the first", ["a", "b"])
    assert result.of("restored")[0]["text"] == "step 3"
    seen = server.run("theirs")
    assert (steps(seen), whole(seen)) == ([0, 1, 2, 3, 4], True)
    console = look(current, server, "theirs", console=True)["console"]
    assert [line.rpartition(" ")[2] for line in console if "loss is" in line] == ["1.0", "0.5", "0.25", "0.05"]


def test_a_run_of_the_sdk_is_continued_in_a_notebook_whose_kernel_is_then_killed(current: Sdk, server: Server) -> None:
    result = train(current, server, "to-notebook", init=FIRST, rows=ROWS, files={"ckpt.txt": "step 2"}).result()
    assert result.rc == 0, result.output
    with Kernel() as kernel:
        kernel.check("%load_ext jupyter_resume")
        said = kernel.check("%wb_init --project demo --id to-notebook --resume must --config epochs=3").text
        assert "step 3" in said
        assert "step 2" in kernel.check("r = %wb_restore ckpt.txt\nprint(open(r.name).read())").text
        kernel.check("%wb_log loss=0.1")
        kernel.check("%wb_log loss=0.05")
        seen = server.until("to-notebook", lambda run: len(run["rows"]) == 5)
    assert (steps(seen), losses(seen), whole(seen)) == ([0, 1, 2, 3, 4], [1.0, 0.5, 0.25, 0.1, 0.05], True)
    init = train(current, server, "to-notebook", init={"resume": "must"}, rows=[{"loss": 0.01}]).result().event("init")
    assert (init["resumed"], init["starting_step"]) == (True, 5)
    assert init["config"] == {"lr": 0.1, "layers": [64, 64], "epochs": 3}
    with Kernel() as kernel:  # and back
        kernel.check("%load_ext jupyter_resume")
        assert "step 6" in kernel.check("%wb_init --project demo --id to-notebook --resume must").text
        kernel.check("%wb_log loss=0.005\n%wb_finish")
    seen = server.run("to-notebook")
    assert (steps(seen), whole(seen), seen["state"]) == ([0, 1, 2, 3, 4, 5, 6], True, "finished")


def test_a_run_that_we_began_and_died_with_is_continued_by_the_sdk_and_then_by_us(
    current: Sdk, server: Server, home: Path, online: dict[str, str]
) -> None:
    killed_by_us(server, home, online, "ours")
    changed = {"resume": "must", "config": {"lr": 0.2, "epochs": 3}}
    files = {"ckpt.txt": "step 3", "new.txt": "theirs"}
    session = train(current, server, "ours", init=changed, restore=["ckpt.txt"], rows=[{"loss": 0.1}], files=files)
    result = session.result()
    assert result.rc == 0, result.output
    init = result.event("init")
    assert (init["resumed"], init["starting_step"]) == (True, 3)
    assert init["config"] == {"lr": 0.2, "layers": [64, 64], "epochs": 3}
    assert (init["notes"], init["tags"]) == ("the first", ["a", "b"])
    assert init["summary"] == {"loss": 0.25, "acc": 0.5}
    assert result.of("restored")[0]["text"] == "step 2"

    run = jupyter_resume.init(project="demo", id="ours", resume="must", notes="the last")
    assert (run.resumed, run.starting_step) == (True, 4)
    assert dict(run.config) == {"lr": 0.2, "layers": [64, 64], "epochs": 3}
    assert (run.notes, run.tags, run.summary["loss"]) == ("the last", ("a", "b"), 0.1)
    assert run.restore("ckpt.txt").read() == b"step 3"
    assert run.restore("new.txt").read() == b"theirs"
    run.log({"loss": 0.05})
    run.finish()
    seen = server.run("ours")
    assert (steps(seen), losses(seen), whole(seen)) == ([0, 1, 2, 3, 4], [1.0, 0.5, 0.25, 0.1, 0.05], True)
    assert (seen["notes"], seen["tags"], seen["state"]) == ("the last", ["a", "b"], "finished")
    assert config_of(seen) == {"lr": 0.2, "layers": [64, 64], "epochs": 3}


@pytest.mark.parametrize("choice", ["append", "adopt", "fork"])
def test_rows_that_wait_here_while_the_sdk_goes_on_are_not_mixed_in_but_asked_about(
    current: Sdk, server: Server, home: Path, online: dict[str, str], choice: str
) -> None:
    run_id = f"both-{choice}"
    with other(home, **{**online, "JUPYTER_RESUME_SYNC_INTERVAL": "60"}) as child:
        child.init(project="demo", id=run_id, resume="allow")
        child.log(*ROWS)
        server.until(run_id, lambda run: len(run["rows"]) == 3)
        child.log({"loss": 0.2, "here": 1})
        child.kill()
    init = train(current, server, run_id, init={"resume": "must"}, rows=[{"loss": 0.1}]).result().event("init")
    assert init["starting_step"] == 3
    with pytest.raises(RunDiverged, match=r"adopt.*append.*fork"):
        jupyter_resume.init(project="demo", id=run_id, resume="must")
    assert losses(server.run(run_id)) == [1.0, 0.5, 0.25, 0.1]
    with jupyter_resume.init(project="demo", id=run_id, resume="must", if_diverged=choice) as run:
        assert (run.id == run_id) is (choice != "fork")
        assert run.starting_step == (5 if choice == "append" else 4)
        run.log({"loss": 0.05})
    expected = {
        "append": [1.0, 0.5, 0.25, 0.1, 0.2, 0.05],
        "adopt": [1.0, 0.5, 0.25, 0.1, 0.05],
        "fork": [1.0, 0.5, 0.25, 0.2, 0.05],
    }[choice]
    seen = server.run(run.id)
    assert (steps(seen), losses(seen), whole(seen)) == (list(range(len(expected))), expected, True)
    assert ("here" in seen["summaryMetrics"]) is (choice != "adopt")
    if choice == "fork":
        assert losses(server.run(run_id)) == [1.0, 0.5, 0.25, 0.1]
    result = train(current, server, run.id, init={"resume": "must"}).result()
    assert result.event("init")["starting_step"] == len(expected)


def test_offline_sessions_of_ours_are_one_history_that_the_sdk_reads_and_continues(
    current: Sdk, server: Server, store: Store, online: dict[str, str]
) -> None:
    Path("ckpt.txt").write_text("step 3")
    for session in (1, 2):
        with jupyter_resume.init(project="demo", id="away", resume="allow", mode="offline", **FIRST) as run:
            run.log({"loss": 1 / session})
            run.log({"loss": 0.5 / session})
            run.config.update({f"session{session}": True})
            run.save("ckpt.txt", policy="now")
    assert server.run("away") == {}
    path = RunPath("local", "demo", "away")
    brought = bring(store, path, connect(server.url, environ=online), server.entity)
    assert (brought.rows, brought.files) == (4, ("ckpt.txt",))
    again = bring(store, path, connect(server.url, environ=online), server.entity)
    assert (again.rows, again.files) == (0, ())
    told = look(current, server, "away", file="ckpt.txt")["run"]
    config = {**FIRST["config"], "session1": True, "session2": True}
    assert [row["loss"] for row in told["history"]] == [1.0, 0.5, 0.5, 0.25]
    assert [row["_step"] for row in told["scan"]] == [0, 1, 2, 3] == told["scan_in_pages"]
    assert (told["state"], told["config"], told["summary"]["loss"]) == ("finished", config, 0.25)
    assert (told["notes"], told["tags"], told["file"]) == ("the first", ["a", "b"], "step 3")
    assert told["files"]["ckpt.txt"][0] == 6
    session = train(current, server, "away", init={"resume": "must"}, restore=["ckpt.txt"], rows=[{"loss": 0.1}])
    result = session.result()
    init = result.event("init")
    assert (init["resumed"], init["starting_step"], init["config"]) == (True, 4, config)
    assert result.of("restored")[0]["text"] == "step 3"
    assert (steps(server.run("away")), whole(server.run("away"))) == ([0, 1, 2, 3, 4], True)


def test_a_run_that_the_sdk_rewinds_and_writes_nothing_to_goes_on_here_behind_the_rewind(
    current: Sdk, server: Server
) -> None:
    with jupyter_resume.init(project="demo", id="rewound", resume="allow") as run:
        for n in range(4):
            run.log({"loss": float(n)})
    result = train(current, server, init={"resume_from": "rewound?_step=1"}).result()
    assert (result.rc, result.event("init")["starting_step"]) == (0, 2), result.output
    assert losses(server.run("rewound")) == [0.0, 1.0]
    with jupyter_resume.init(project="demo", id="rewound", resume="must") as run:
        assert run.step == 2
        run.log({"loss": 9.0})
    seen = server.run("rewound")
    assert (losses(seen), steps(seen), whole(seen)) == ([0.0, 1.0, 9.0], [0, 1, 2], True)


def in_kernel(sdk: Sdk, plan: Json) -> str:
    """A cell that runs a script with the SDK in a subprocess that has the kernel's environment."""
    command = [str(environment(sdk)), str(SCRIPTS / "train.py"), json.dumps(plan)]
    return f"import subprocess\nprint(subprocess.run({command!r}, capture_output=True, text=True).stdout)"


@pytest.fixture
def as_a_script(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process and its kernels have the variables that a script with the SDK is given."""
    for name, value in script_environment(server, tmp_path / "sdk").items():
        if name.startswith("WANDB_"):
            monkeypatch.setenv(name, value)


def test_an_exported_run_is_joined_by_the_sdk_in_a_subprocess_and_both_write_it_in_turn(
    current: Sdk, server: Server, as_a_script: None
) -> None:
    with Kernel() as kernel:
        kernel.check("%load_ext jupyter_resume")
        kernel.check("%wb_init --project demo --id joined --resume allow --config lr=0.1 --export")
        for _ in range(3):
            kernel.check("%wb_log loss=1.0 here=1")
        server.until("joined", lambda run: len(run["rows"]) == 3)
        plan = {"init": {"config": {"theirs": 1}}, "rows": [{"loss": 0.5, "there": 2}] * 2, "files": {"t.txt": "t"}}
        said = kernel.check(in_kernel(current, plan)).text
        assert '"event": "finished"' in said, said
        assert '"starting_step": 3' in said, said
        assert len(server.rows("joined")) == 5
        kernel.check("%wb_log loss=0.25")
        server.until("joined", lambda run: len(run["rows"]) == 6)
        kernel.check("from jupyter_resume import config\nconfig.update({'lr': 0.2})")
        said = kernel.check(in_kernel(current, {"init": {}, "rows": [{"loss": 0.1}]})).text
        assert '"event": "finished"' in said, said
        kernel.check("%wb_log loss=0.05")
        kernel.check("%wb_finish")
    seen = server.run("joined")
    assert losses(seen) == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.1, 0.05]
    assert (steps(seen), whole(seen)) == (list(range(8)), True)
    assert config_of(seen) == {"lr": 0.2, "theirs": 1}
    summary = seen["summaryMetrics"]
    assert {key: summary[key] for key in ("loss", "here", "there", "_step")} == {
        "loss": 0.05, "here": 1, "there": 2, "_step": 7,
    }  # fmt: skip
    assert "t.txt" in seen["files"]


def test_a_run_that_is_open_as_wandb_run_in_the_kernel_is_refused(
    current: Sdk, server: Server, as_a_script: None
) -> None:
    python = str(environment(current))
    where = "import site, sys; print(sys.version_info[:2], site.getsitepackages()[0])"
    found = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    version, _, folder = found.rpartition(") ")
    if version + ")" != str(tuple(sys.version_info[:2])):
        pytest.skip(f"the SDK's environment has another Python: {version})")
    with Kernel() as kernel:
        kernel.check(f"import sys; sys.path.append({folder!r})\nimport wandb")
        kernel.check("r = wandb.init(project='demo', id='held', settings=wandb.Settings(x_disable_stats=True))")
        kernel.check("r.log({'loss': 1.0})")
        kernel.check("%load_ext jupyter_resume")
        refused = kernel.run("%wb_init --project demo --id held --resume allow")
        assert "Run held is open in this process as wandb.run" in refused.text
        assert "wandb.finish()" in refused.text
        kernel.check("wandb.finish()")
        assert "step 1" in kernel.check("%wb_init --project demo --id held --resume must").text
        kernel.check("%wb_log loss=0.5\n%wb_finish")
    seen = server.run("held")
    assert (losses(seen), whole(seen)) == ([1.0, 0.5], True)


@pytest.mark.parametrize("age", ["middle", "oldest"])
def test_an_old_sdk_continues_a_run_of_ours_and_we_continue_its(
    age: str, request: pytest.FixtureRequest, server: Server, home: Path, online: dict[str, str]
) -> None:
    sdk: Sdk = request.getfixturevalue(age)
    run_id = f"old-{age}"
    killed_by_us(server, home, online, run_id)
    changed = {"resume": "must", "config": {"epochs": 3}}
    session = train(sdk, server, run_id, init=changed, restore=["ckpt.txt"], rows=[{"loss": 0.1}],
                    files={"ckpt.txt": "step 3"})  # fmt: skip
    result = session.result()
    assert result.rc == 0, result.output
    init = result.event("init")
    assert (init["resumed"], init["step"]) == (True, 3)
    assert init["config"] == {"lr": 0.1, "layers": [64, 64], "epochs": 3}
    assert result.of("restored")[0]["text"] == "step 2"
    with jupyter_resume.init(project="demo", id=run_id, resume="must") as run:
        assert (run.resumed, run.starting_step) == (True, 4)
        assert dict(run.config) == {"lr": 0.1, "layers": [64, 64], "epochs": 3}
        assert (run.notes, run.tags) == ("the first", ("a", "b"))
        assert run.restore("ckpt.txt").read() == b"step 3"
        run.log({"loss": 0.05})
    seen = server.run(run_id)
    assert (steps(seen), losses(seen), whole(seen)) == ([0, 1, 2, 3, 4], [1.0, 0.5, 0.25, 0.1, 0.05], True)
    assert config_of(seen) == {"lr": 0.1, "layers": [64, 64], "epochs": 3}
    assert (seen["notes"], seen["tags"], seen["state"]) == ("the first", ["a", "b"], "finished")
    told = look(sdk, server, run_id, file="ckpt.txt")["run"]
    assert [row["loss"] for row in told["scan"]] == [1.0, 0.5, 0.25, 0.1, 0.05]
    assert (told["file"], told["state"]) == ("step 3", "finished")


def test_a_kernel_and_a_subprocess_that_log_at_the_same_time_lose_and_double_nothing(
    current: Sdk, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK counts its lines from its init on: while it writes, the kernel's rows wait."""
    for name, value in script_environment(server, tmp_path / "sdk").items():
        if name.startswith("WANDB_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_RESUME_SYNC_INTERVAL", "60")  # it is sent when the test says so
    plan = {"init": {"config": {"theirs": 1}}, "then": "log until told", "row": {"s": 1}}
    command = [str(environment(current)), str(SCRIPTS / "train.py"), json.dumps(plan)]

    def count(run: Json, key: str) -> int:
        return len([row for row in run.get("rows", []) if key in row])

    with Kernel() as kernel:
        kernel.check("%load_ext jupyter_resume")
        kernel.check("run = %wb_init --project demo --id at-once --resume allow --config lr=0.1 --export")
        kernel.check(
            "import subprocess, threading\n"
            "ended = threading.Event()\n"
            "def work():\n"
            "    while not ended.wait(0.02):\n"
            "        run.log({'k': run.step})\n"
            "thread = threading.Thread(target=work)\n"
            "thread.start()"
        )
        kernel.check("while run.step < 20:\n    ended.wait(0.01)\nrun.link.flush()")
        assert count(server.run("at-once"), "k") > 10
        for _ in range(2):
            theirs = count(server.run("at-once"), "s")
            kernel.check(
                f"joined = subprocess.Popen({command!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)"
            )
            joined = server.until("at-once", lambda run, n=theirs: count(run, "s") > n + 50)
            ours = count(joined, "k")
            assert "is being written by another client" in kernel.check("print(run.link.flush())").text
            assert count(server.run("at-once"), "k") == ours
            said = kernel.check("print(joined.communicate('\\n')[0])").text
            assert '"event": "finished"' in said, said
            assert "None" in kernel.check("print(run.link.flush())").text
            assert count(server.run("at-once"), "k") > ours
        kernel.check("ended.set()\nthread.join()")
        logged = int(kernel.check("print(run.step)").text)
        kernel.check("run.finish()")
    seen = server.run("at-once")
    assert whole(seen)
    assert steps(seen) == sorted(set(steps(seen)))
    assert [row["k"] for row in seen["rows"] if "k" in row] == list(range(logged))
    numbers = [row["n"] for row in seen["rows"] if "s" in row]
    assert numbers == [*range(theirs), *range(len(numbers) - theirs)]
    assert config_of(seen) == {"lr": 0.1, "theirs": 1}
    assert {key: seen["summaryMetrics"][key] for key in ("s", "k")} == {"s": 1, "k": logged - 1}
    assert seen["state"] == "finished"
