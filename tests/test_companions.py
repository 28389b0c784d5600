"""What goes on beside a run that is meant for a server: measurements, output, and the environment for others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import exported, machine
from jupyter_resume.console import Console
from jupyter_resume.identity import RunPath
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store


def texts(store: Store, kind: str, run: str = "one") -> list[str]:
    """The lines of a stream, in order."""
    found = store.record(RunPath("local", "p", run)).scan()
    return [text for seen, value in found if seen == kind for text in value["lines"]]


SCRIPT = """
import sys
import jupyter_resume as wandb

run = wandb.init(project="p", id="one", resume="allow", mode=sys.argv[1])
print("first")
sys.stdout.write("10%\\r50%\\r100%\\n")
print("trouble", file=sys.stderr)
print("no newline", end="")
"""


def script(mode: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", SCRIPT, mode]
    return subprocess.run(command, capture_output=True, check=True, env={**os.environ, **environment})


def test_what_a_script_prints_is_kept_line_by_line_and_printed_all_the_same(store: Store) -> None:
    done = script("offline")
    assert done.stdout == b"first\n10%\r50%\r100%\nno newline"
    kept = [text.removeprefix("ERROR ").partition(" ")[2] for text in texts(store, lines.CONSOLE)]
    assert [text for text in kept if "jupyter_resume" not in text] == ["first", "100%", "trouble", "no newline"]
    assert [text for text in texts(store, lines.CONSOLE) if text.startswith("ERROR ")][-1].endswith(" trouble")


def test_output_goes_on_where_the_run_left_off(store: Store) -> None:
    script("offline")
    first = len(texts(store, lines.CONSOLE))
    script("offline")
    tail = store.record(RunPath("local", "p", "one")).tail()
    assert tail is not None
    assert tail.point.streams["output"]["count"] == len(texts(store, lines.CONSOLE)) == 2 * first


@pytest.mark.parametrize(("mode", "environment"), [("local", {}), ("offline", {"WANDB_CONSOLE": "off"})])
def test_nothing_is_kept_of_what_is_printed_where_nobody_asked_for_it(
    store: Store, mode: str, environment: dict[str, str]
) -> None:
    script(mode, **environment)
    assert texts(store, lines.CONSOLE) == []


def test_a_stream_that_somebody_else_has_wrapped_meanwhile_stays_wrapped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        def __init__(self) -> None:
            self.written: list[str] = []

        def write(self, text: str) -> int:
            self.written.append(text)
            return len(text)

    out, err = Stream(), Stream()
    run = wandb.init(project="p", id="one")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console = Console(run.writer)
    hear = out.write

    def wrapped(text: str) -> Any:
        return hear(text.upper())

    out.write = wrapped  # type: ignore[method-assign]
    print("a")
    print("b", file=err)
    console.close()
    print("c")
    print("d", file=err)
    assert (out.written, err.written) == (["A", "\n", "C", "\n"], ["b", "\n", "d", "\n"])
    assert out.write is wrapped
    assert [text[-1] for text in texts(store, lines.CONSOLE)] == ["A", "b"]


def test_the_machine_is_measured_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = wandb.init(project="p", id="one", mode="offline")
    measuring = next(companion for companion in run.companions if isinstance(companion, machine.Machine))
    measuring.tend(1.5)
    assert texts(store, lines.EVENTS) == []  # it is not time yet
    for _ in range(2):
        monkeypatch.setattr(measuring, "_due", 0.0)
        measuring.tend(2.5)
    events = [lines.load(text.encode()) for text in texts(store, lines.EVENTS)]
    assert len(events) == 2
    assert events[0]["_runtime"] == 2.5
    assert 0 < events[0]["system.memory_percent"] < 100
    assert events[0]["system.proc.memory.rssMB"] > 1


def test_the_machine_is_not_measured_where_nobody_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb.init(project="p", id="local").companions == []
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    run = wandb.init(project="p", id="offline", mode="offline")
    assert not any(isinstance(companion, machine.Machine) for companion in run.companions)


def test_an_exported_run_stands_in_the_environment_until_it_ends(tmp_path: Path) -> None:
    environ = {"WANDB_PROJECT": "before", "OTHER": "x"}
    run = wandb.init(project="p", id="one")
    assert exported.export(run, environ) == {"WANDB_RUN_ID": "one", "WANDB_RESUME": "allow", "WANDB_PROJECT": "p"}
    assert exported.export(run, environ)["WANDB_RUN_ID"] == "one"
    assert environ["WANDB_PROJECT"] == "p"
    environ["WANDB_RESUME"] = "must"  # the user's own word from now on
    run.finish()
    assert environ == {"WANDB_PROJECT": "before", "OTHER": "x", "WANDB_RESUME": "must"}
