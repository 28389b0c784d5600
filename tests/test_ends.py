"""How runs end: by a script's own end, by hand, by a signal; and what the next session then finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import jupyter_resume as wandb
from jupyter_resume.errors import RunClosed
from jupyter_resume.identity import RunPath
from jupyter_resume.keeper import keeper
from jupyter_resume.store.home import Store

RUN = RunPath("local", "p", "one")
BEGIN = """
import os, signal, sys, time
import jupyter_resume as wandb
run = wandb.init(project="p", id="one", resume="allow")
run.log({"loss": 0.5})
"""


def script(tmp_path: Path, end: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "train.py"
    program.write_text(BEGIN + end)
    return subprocess.run([sys.executable, program], capture_output=True, text=True, cwd=tmp_path, check=False)


@pytest.mark.parametrize(
    ("end", "state", "exit_code", "status"),
    [
        ("", "finished", 0, 0),
        ("sys.exit(0)", "finished", 0, 0),
        ("sys.exit()", "finished", 0, 0),
        ("sys.exit(3)", "failed", 3, 3),
        ("sys.exit('no data')", "failed", 1, 1),
        ("1 / 0", "failed", 1, 1),
        ("run.finish(7)", "failed", 7, 0),
        ("run.finish(); sys.exit(3)", "finished", 0, 3),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", "interrupted", None, -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed", None, -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", "crashed", None, -signal.SIGTERM),
        ("os._exit(0)", "crashed", None, 0),
        ("with run: 1 / 0", "failed", 1, 1),
        ("with run: raise KeyboardInterrupt", "interrupted", None, -signal.SIGINT),
    ],
)
def test_a_script_ends_its_run_as_it_ends(
    tmp_path: Path, store: Store, end: str, state: str, exit_code: int | None, status: int
) -> None:
    done = script(tmp_path, end)
    assert done.returncode == status, done.stderr
    record = store.record(RUN)
    tail = record.tail()
    assert tail is not None
    assert (record.state(tail), tail.point.exit_code) == (state, exit_code)
    assert [row["loss"] for row in record.history()] == [0.5]


@pytest.mark.parametrize("end", ["1 / 0", "os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(1)"])
def test_a_program_that_did_not_finish_resumes_its_run_by_itself(tmp_path: Path, store: Store, end: str) -> None:
    program = tmp_path / "train.py"
    program.write_text(BEGIN.replace('id="one", resume="allow"', "resume=True") + "print(run.id, run.step)\n" + end)
    told = [
        subprocess.run([sys.executable, program], capture_output=True, text=True, cwd=tmp_path, check=False).stdout
        for _ in range(2)
    ]
    assert [line.split()[1] for line in told] == ["1", "2"]
    assert told[0].split()[0] == told[1].split()[0]


def test_a_program_that_finished_begins_a_new_run(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(BEGIN.replace('id="one", resume="allow"', "resume=True") + "print(run.id)")
    ids = {subprocess.check_output([sys.executable, program], cwd=tmp_path) for _ in range(2)}
    assert len(ids) == 2


def test_the_same_program_in_another_folder_has_a_run_of_its_own(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(BEGIN.replace('id="one", resume="allow"', "resume=True") + "print(run.id, flush=True); 1 / 0")
    ids = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        command = [sys.executable, program]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / name, check=False)
        ids.add(done.stdout)
    assert len(ids) == 2


def test_a_finished_run_takes_nothing_more_and_says_how_to_go_on() -> None:
    run = wandb.init(project="p", id="one")
    run.finish()
    for write in (
        lambda: run.log({"loss": 1}),
        lambda: run.save("x"),
        lambda: run.config.update(lr=1),
        lambda: setattr(run, "notes", "late"),
    ):
        with pytest.raises(RunClosed, match=r"has ended.*resume='allow'"):
            write()
    run.finish()  # once more does nothing
    assert wandb.run is None
    wandb.finish()  # nor does this, with no run at all


def test_a_finished_run_can_be_continued_by_its_id() -> None:
    with wandb.init(project="p", id="one") as run:
        run.log({"loss": 1})
    again = wandb.init(project="p", id="one", resume="must")
    assert (again.resumed, again.step, again.state) == (True, 1, "running")


def test_killing_the_process_leaves_a_state_that_needs_no_server(tmp_path: Path, store: Store) -> None:
    program = tmp_path / "train.py"
    program.write_text(BEGIN + "print('ready', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, cwd=tmp_path) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert store.record(RUN).state() == "running"
        os.kill(child.pid, signal.SIGKILL)
    assert store.record(RUN).state() == "crashed"


@pytest.mark.parametrize(
    ("end", "state", "exit_code"),
    [
        ("with run: sys.exit(0)", "finished", 0),
        ("with run: sys.exit(4)", "failed", 4),
        ("import threading; t = threading.Thread(target=lambda: sys.exit(1)); t.start(); t.join()", "finished", 0),
    ],
)
def test_only_the_programs_own_end_fails_a_run(
    tmp_path: Path, store: Store, end: str, state: str, exit_code: int
) -> None:
    script(tmp_path, end)
    tail = store.record(RUN).tail()
    assert tail is not None
    assert (tail.point.state, tail.point.exit_code) == (state, exit_code)


def test_a_run_whose_end_was_interrupted_is_still_tended_and_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    run = wandb.init(project="p", id="one")

    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run._saving, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.finish()
    assert run._tend in keeper._tasks
    run.finish()
    assert run.state == "finished"
    assert run._tend not in keeper._tasks
