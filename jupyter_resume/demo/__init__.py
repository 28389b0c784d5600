"""``jupyter resume demo``: a notebook trains, its kernel is killed with ``kill -9``, the same notebook goes on.

Nothing is simulated: a real kernel, a real SIGKILL in mid-training, and a second kernel that executes the same
cells. What was lost is measured against what the first kernel had said itself, not against the record.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import transfer
from ..identity import RunPath
from ..store.home import Store
from ..store.record import FileEntry, ResumePoint
from ..tables import Table
from ..wording import size_of
from . import page
from .kernel import Kernel, KernelFailed
from .witness import Witness

_PROJECT, _MODEL = "preemptable", "model-best.h5"
_KILLED_AFTER = 0.45  # of the epochs


class _NotAsPromised(Exception):
    """What the demo shows did not happen."""


@dataclass(frozen=True)
class _Stand:
    """The run as the store has it, read from outside the kernels."""

    path: RunPath
    state: str
    rows: list[dict[str, Any]]
    point: ResumePoint


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 if all is as promised, 1 if anything is not, with a sentence that says what."""
    parser = argparse.ArgumentParser(prog="jupyter resume demo", description=str(__doc__).split("\n")[0])
    parser.add_argument("--epochs", type=int, default=300, help="epochs of the training, at least 10 (default: 300)")
    parser.add_argument("--home", type=Path, help="the store's folder (default: a new one)")
    parser.add_argument("--out", type=Path, help="where the page is written (default: a new folder)")
    asked = parser.parse_args(argv)
    if asked.epochs < 10:
        parser.error(f"--epochs {asked.epochs}: at least 10, or the training ends before it can be killed")
    missing = [name for name in ("keras", "jax", "h5py") if importlib.util.find_spec(name) is None]
    if missing:
        print(f'The demo needs {", ".join(missing)}: pip install "jupyter-resume[demo]"', file=sys.stderr)
        return 1
    out = Path(tempfile.mkdtemp(prefix="jupyter-resume-demo-")) if asked.out is None else asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    try:
        return _Demo(asked.epochs, out, asked.home and asked.home.absolute()).run()
    except (_NotAsPromised, KernelFailed) as error:
        print(f"The demo failed: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the kernels are ended.", file=sys.stderr)
        return 130


class _Demo:
    """One run of the demo, in a folder of its own below ``out``."""

    def __init__(self, epochs: int, out: Path, home: Path | None) -> None:
        self.epochs = epochs
        self.out = out
        self.work = Path(tempfile.mkdtemp(prefix="notebook-", dir=out))
        self.store = Store(home or self.work / "store")
        self.notebook = self.work / "resume_keras.ipynb"
        self.cells = _own_copy(self.notebook)
        self.began = time.monotonic()

    def run(self) -> int:
        """All of it, with its table and its page."""
        first, before = self._train_and_kill()
        kept = before.point.files[_MODEL]
        second, back_in_place, after = self._train_to_the_end(before, kept)
        checks = _checks(self.epochs, first, before, second, back_in_place, kept, after)
        table = Table(
            ("what", "measured"), tuple((what, text if good else f"NOT SO: {text}") for what, text, good in checks)
        )
        print(f"\n{table}\n")
        seconds = time.monotonic() - self.began
        losses = [(row["_step"], float(row["loss"])) for row in after.rows if "loss" in row]
        notes = (
            f"Run {after.path}, {seconds:.0f} seconds in all. The first kernel was ended with SIGKILL in epoch "
            f"{(first.announced or 0) + 1} of {self.epochs}; a second one executed the same notebook from its top. "
            "Between the two the run's working files were deleted, so the model came back from the record.",
            "Keras brings back the weights from an .h5, not the optimizer: Adam begins anew where the run was resumed, "
            "and the slope of the curve may change there.",
            "The line is one run's history, read from its record. Rows lost are counted against what the first kernel "
            "had printed before it died.",
        )
        file = self.out / "jupyter-resume-demo.html"
        title = "A training that survived its kernel"
        file.write_text(page.html(title, losses, second.first or 0, table, notes), encoding="utf-8")
        print(f"The loss curve: {file}\nThe run's store: {self.store.home}\n{seconds:.0f} seconds")
        if broken := [what for what, _, good in checks if not good]:
            raise _NotAsPromised(f"not as promised: {', '.join(broken)}")
        return 0

    def _train_and_kill(self) -> tuple[Witness, _Stand]:
        """The first session: train, and kill the kernel in the middle of an epoch."""
        witness = Witness()
        with self._kernel() as kernel, self._progress() as progress:
            progress.write(f"1. {self.notebook.name} trains in a kernel (process {kernel.pid}) ...")

            def heard(text: str) -> None:
                witness.hear(text)
                _show(progress, witness)
                if not kernel.killed and (witness.announced or 0) >= _KILLED_AFTER * self.epochs:
                    kernel.kill()

            kernel.run(self.cells, heard)
            if not kernel.killed:
                raise _NotAsPromised("the training ended before its kernel was killed: try more --epochs")
            progress.write(f"2. kill -9 {kernel.pid}, in epoch {(witness.announced or 0) + 1} of {self.epochs}")
        stand = self._stand()
        if len(stand.rows) >= self.epochs:
            raise _NotAsPromised("the training was over when the kill came: try more --epochs")
        if stand.state != "crashed":
            raise _NotAsPromised(f"the killed kernel's run is said to be {stand.state!r}, not 'crashed'")
        if _MODEL not in stand.point.files:
            raise _NotAsPromised(f"the killed kernel's run has no {_MODEL}")
        return witness, stand

    def _train_to_the_end(self, before: _Stand, kept: FileEntry) -> tuple[Witness, bool, _Stand]:
        """The second session. Also whether the restored file had the recorded content, read after its cell."""
        folder = self.store.files(before.path)
        shutil.rmtree(folder)  # the model must come back from the record: a file left in place would prove nothing
        witness, back_in_place = Witness(), [False]
        with self._kernel() as kernel, self._progress() as progress:
            progress.write(f"3. the run's working files deleted; the same notebook again (process {kernel.pid}) ...")

            def heard(text: str) -> None:
                witness.hear(text)
                _show(progress, witness)

            def after(cell: str) -> None:
                if "%wb_restore" in cell:
                    file = folder / _MODEL
                    back_in_place[0] = file.is_file() and transfer.digest_of(file) == kept.digest
                progress.update(0)

            kernel.run(self.cells, heard, after)
            progress.update(self.epochs - progress.n)
        return witness, back_in_place[0], self._stand()

    def _kernel(self) -> Kernel:
        foreign = ("WANDB_", "JPY_", "JUPYTER_RESUME_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        environment.setdefault("JAX_PLATFORMS", "cpu")  # what is trained is far too small for anything else
        environment |= {
            "JUPYTER_RESUME_HOME": str(self.store.home),
            "WANDB_NOTEBOOK_NAME": str(self.notebook),  # nothing else tells a kernel without Jupyter Server
            "KERAS_BACKEND": "jax",
            "EPOCHS": str(self.epochs),
        }
        return Kernel(self.work, environment)

    def _progress(self) -> tqdm[Any]:
        interval = 0.1 if sys.stderr.isatty() else 2.0
        return tqdm(total=self.epochs, unit="epoch", ncols=80, leave=False, mininterval=interval)

    def _stand(self) -> _Stand:
        """The one run of this notebook."""
        path = os.path.realpath(self.notebook)
        entries = self.store.catalog.runs(project=_PROJECT)
        runs = [entry.path for entry in entries if entry.origin and entry.origin.path == path]
        if len(runs) != 1:
            raise _NotAsPromised(f"the notebook has {len(runs)} runs, not one")
        record = self.store.record(runs[0])
        tail = record.tail()
        if tail is None:
            raise _NotAsPromised(f"run {runs[0]} has no record")
        return _Stand(runs[0], record.state(tail), list(record.history()), tail.point)


def _checks(
    epochs: int,
    first: Witness,
    before: _Stand,
    second: Witness,
    back_in_place: bool,
    kept: FileEntry,
    after: _Stand,
) -> list[tuple[str, str, bool]]:
    """The table's lines: what, as measured, and whether it is as promised."""
    count = len(before.rows)
    lost = first.missing_in(before.rows)
    changed = after.rows[:count] != before.rows
    steps = [row["_step"] for row in after.rows]
    at = second.first
    whole = after.state == "finished" and steps == list(range(epochs)) and after.point.sessions == 2
    return [
        ("rows before the kill", str(count), count > 0 and not changed),
        (
            "rows lost",
            f"{len(lost)} of the {len(first.done)} epochs that the kernel had said were done",
            not lost and bool(first.done),
        ),
        ("step resumed at", "none: it did not train again" if at is None else str(at), at == count),
        (
            "file restored and verified",
            f"{_MODEL}, {size_of(kept.size)}, digest {'ok' if back_in_place else 'differs'} ({kept.digest[:16]})",
            back_in_place,
        ),
        (
            "at the end",
            f"{after.state}, {len(steps)} rows, {'no gap' if steps == list(range(len(steps))) else 'with gaps'}, "
            f"{after.point.sessions} sessions of one run",
            whole,
        ),
    ]


def _own_copy(target: Path) -> list[str]:
    """Copy the notebook, and return its code cells. Fresh cell ids make it a notebook of its own.

    Without them a run that an earlier demo left in the same store would be taken for this copy's: a notebook that
    was moved.
    """
    package = Path(__file__).parent.parent
    places = (package / "examples" / target.name, package.parent / "examples" / target.name)
    source = next((place for place in places if place.is_file()), None)
    if source is None:
        raise _NotAsPromised(f"{target.name} is not installed: pip install --force-reinstall jupyter-resume")
    notebook = json.loads(source.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["id"] = uuid.uuid4().hex[:8]
    target.write_text(json.dumps(notebook), encoding="utf-8")
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _show(progress: tqdm[Any], witness: Witness) -> None:
    if witness.announced is not None:
        progress.update(witness.announced - progress.n)
