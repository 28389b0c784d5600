"""What goes on beside a run that is meant for a server: measurements, output, and the environment for others."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import exported, machine
from jupyter_resume.console import Console
from jupyter_resume.identity import RunPath
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store

from .processes import PATIENCE


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


class Stream:
    """A stream that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: object) -> int:
        self.written.append(str(text))
        return len(str(text))


def listen(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console that hears what this process prints; in the test itself, since pytest puts its own streams back."""
    monkeypatch.setattr(sys, "stdout", Stream())
    monkeypatch.setattr(sys, "stderr", Stream())
    return Console(wandb.init(project="p", id="one").writer)


def kept(console: Console, store: Store) -> list[str]:
    """What was kept, without the times."""
    console.close()
    return [text.partition(" ")[2] for text in texts(store, lines.CONSOLE) if not text.startswith("ERROR ")]


def test_printing_from_within_printing_does_not_hang(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a signal's handler does, which may come at any moment."""
    console = listen(monkeypatch)

    class Noisy:
        def __str__(self) -> str:
            sys.stdout.write("inner\n")
            return "outer\n"

    printing = threading.Thread(target=lambda: sys.stdout.write(Noisy()), daemon=True)  # type: ignore[arg-type]
    printing.start()
    printing.join(PATIENCE)
    assert not printing.is_alive()
    assert {"inner", "outer"} <= set(kept(console, store))


def test_a_child_forked_while_another_thread_prints_can_print(monkeypatch: pytest.MonkeyPatch) -> None:
    console = listen(monkeypatch)
    tee = console._streams[0]
    with tee._lock:  # the thread that holds it is not in the child
        child = os.fork()
        if child == 0:
            printing = threading.Thread(target=lambda: sys.stdout.write("child\n"), daemon=True)
            printing.start()
            printing.join(PATIENCE)
            os._exit(int(printing.is_alive()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_printed_without_a_newline_is_kept_within_bounds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    console = listen(monkeypatch)
    for _ in range(1000):
        sys.stdout.write("0123456789")
    assert len(console._streams[0]._rest) <= 4097
    sys.stdout.write("\r")
    sys.stdout.write("100%")
    sys.stdout.write("\r\n")
    sys.stdout.write("." * 10_000 + "\n")
    assert kept(console, store) == ["100%", "." * 4096]


def test_a_flood_of_output_is_kept_in_pieces_that_a_server_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    console = listen(monkeypatch)
    sys.stdout.write(("x" * 4000 + "\n") * 300)
    assert len(kept(console, store)) == 300
    found = [value for kind, value in store.record(RunPath("local", "p", "one")).scan() if kind == lines.CONSOLE]
    assert max(sum(map(len, value["lines"])) for value in found) < 1 << 19
    assert [value["at"] for value in found] == [0, *itertools.accumulate(len(value["lines"]) for value in found)][:-1]


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
