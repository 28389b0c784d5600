"""The demo, for real: a notebook trains in a kernel, the kernel is killed, and the notebook goes on."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from jupyter_resume import demo
from jupyter_resume.demo import page
from jupyter_resume.demo.witness import Witness
from jupyter_resume.store.home import Store
from jupyter_resume.tables import Table

EPOCHS = 150


def kernels() -> list[str]:
    """The command lines of this process's kernels that live."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if "ipykernel" in line and process.status() != psutil.STATUS_ZOMBIE:
                found.append(line)
    return found


def test_the_demo_shows_what_it_promises_also_where_one_was_interrupted_before(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--epochs", str(EPOCHS), "--home", str(home), "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr(Witness, "hear", _interrupt_in_epoch_2(Witness.hear))
        assert demo.main(arguments) == 130
    assert "Interrupted; the kernels are ended." in capsys.readouterr().err
    assert kernels() == []

    assert demo.main(arguments) == 0
    shown = capsys.readouterr().out
    killed_at = int(_measured("rows before the kill", shown))
    assert 0.4 * EPOCHS < killed_at < EPOCHS
    assert re.match(r"0 of the \d+ epochs that the kernel had said were done", _measured("rows lost", shown))
    assert _measured("step resumed at", shown) == str(killed_at)
    assert re.match(r"model-best.h5, [\d.]+ kB, digest ok", _measured("file restored and verified", shown))
    assert _measured("at the end", shown) == f"finished, {EPOCHS} rows, no gap, 2 sessions of one run"
    assert kernels() == []

    runs = Store(home).catalog.runs(project="preemptable")
    assert sorted(run.state for run in runs) == ["finished", "running"]  # the interrupted one is its own run still
    history = list(Store(home).record(next(run.path for run in runs if run.state == "finished")).history())
    written = re.search(r"^The loss curve: (.*)$", shown, re.MULTILINE)
    assert written is not None
    text = Path(written[1]).read_text()
    (line,) = re.findall(r'<polyline points="([^"]*)"', text)
    assert len(line.split()) == len(history) == EPOCHS
    assert text.count('class="resume"') == 1
    assert f"kernel killed, resumed at step {killed_at}" in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"https?://|<script|src=", text)


def _interrupt_in_epoch_2(real: Any) -> Any:
    def hear(self: Witness, text: str) -> None:
        real(self, text)
        if (self.announced or 0) >= 1:
            raise KeyboardInterrupt

    return hear


def _measured(what: str, shown: str) -> str:
    found = re.search(rf"^{what} +(\S.*)$", shown, re.MULTILINE)
    assert found is not None, shown
    return found[1]


def test_a_cell_that_fails_ends_the_demo_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_own_copy", lambda notebook: ["1 / 0"])
    assert demo.main(["--out", str(tmp_path)]) == 1
    assert "The demo failed: a cell failed: ZeroDivisionError: division by zero." in capsys.readouterr().err
    assert kernels() == []


def test_a_kernel_that_dies_by_itself_ends_the_demo_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_own_copy", lambda notebook: ["import os; os._exit(3)"])
    assert demo.main(["--out", str(tmp_path)]) == 1
    assert "The demo failed: the kernel died by itself" in capsys.readouterr().err


def test_what_is_missing_is_named_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("jax", "h5py") else real(name))
    assert demo.main([]) == 1
    assert capsys.readouterr().err == 'The demo needs jax, h5py: pip install "jupyter-resume[demo]"\n'


def test_too_few_epochs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--epochs", "3"])
    assert "at least 10" in capsys.readouterr().err


SAID = """\
begins at step 0
Epoch 1/9
4/4 - 0s - 131ms/step - loss: 0.6317
Epoch 2/9
4/4 - 0s - 3ms/step - loss: 5.7100e-04
Epoch 3/9
4/4 - 0s - 3ms/step - lo"""


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_an_epoch_is_done_when_the_next_is_announced_wherever_the_text_is_cut(length: int) -> None:
    witness = Witness()
    for start in range(0, len(SAID), length):
        witness.hear(SAID[start : start + length])
    assert witness.done == {0: "0.6317", 1: "5.7100e-04"}
    assert (witness.first, witness.announced) == (0, 2)


def test_a_row_that_is_missing_or_has_another_loss_is_lost() -> None:
    witness = Witness()
    witness.hear(SAID)
    assert witness.missing_in([{"_step": 0, "loss": 0.63166}, {"_step": 1, "loss": 0.00057104}]) == []
    assert witness.missing_in([{"_step": 0, "loss": 0.63166}]) == [1]
    assert witness.missing_in([{"_step": 0, "loss": 0.64}, {"_step": 1, "loss": 0.00057104}]) == [0]


def test_the_page_escapes_and_leaves_out_what_is_no_number() -> None:
    text = page.html("<loss>", [(0, 2.0), (1, float("nan")), (2, 1.0)], 1, Table(("a",), (("<b>",),)), ["x & y"])
    assert "&lt;loss&gt;" in text
    assert "<b>" not in text
    assert "x &amp; y" in text
    assert "nan" not in text
