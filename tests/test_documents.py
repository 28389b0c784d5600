"""Every code block of the documents on resuming and restoring, as a program, run and then resumed.

The blocks stand here word for word. What is changed before they are run stands beside them: the name of the
library, and what Keras itself has changed since. What a block takes for granted comes in front of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from jupyter_resume.store.home import Store
from jupyter_resume.store.record import ResumePoint

OURS = {
    "import wandb\n": "import jupyter_resume as wandb\n",
    "from wandb.keras import": "from jupyter_resume.keras import",
}

RESUMING_KERAS = """\
import keras
import numpy as np
import wandb
from wandb.keras import WandbCallback
wandb.init(project="preemptable", resume=True)

if wandb.run.resumed:
    # restore the best model
    model = keras.models.load_model(wandb.restore("model-best.h5").name)
else:
    a = keras.layers.Input(shape=(32,))
    b = keras.layers.Dense(10)(a)
    model = keras.models.Model(input=a,output=b)

model.compile("adam", loss="mse")
model.fit(np.random.rand(100, 32), np.random.rand(100, 10),
    # set the resumed epoch
    initial_epoch=wandb.run.step, epochs=300,
    # save the best model if it improved each epoch
    callbacks=[WandbCallback(save_model=True, monitor="loss")])
"""
KERAS_3 = {
    "Model(input=a,output=b)": "Model(inputs=a,outputs=b)",  # renamed in Keras 2
    'loss="mse"': "loss=keras.losses.MeanSquaredError()",  # Keras 3 does not find "mse" again in an .h5
}

RESUMING_IDS = """\
# store this id to use it later when resuming
id = wandb.util.generate_id()
wandb.init(id=id, resume="allow")
# or via environment variables
os.environ["WANDB_RESUME"] = "allow"
os.environ["WANDB_RUN_ID"] = wandb.util.generate_id()
wandb.init()
"""

RESTORING = """\
# restore a model file from a specific run by user "vanpelt" in "my-project"
best_model = wandb.restore('model-best.h5', run_path="vanpelt/my-project/a1b2c3d")

# restore a weights file from a checkpoint
# (NOTE: resuming must be configured if run_path is not provided)
weights_file = wandb.restore('weights.h5')
# use the "name" attribute of the returned object
# if your framework expects a filename, e.g. as in Keras
my_predefined_model.load_weights(weights_file.name)
"""


def program(folder: Path, block: str, changes: Mapping[str, str], before: str = "", after: str = "") -> list[str]:
    """The command that runs a block as a program, with every change made in it."""
    for old, new in changes.items():
        assert block.count(old) == 1
        block = block.replace(old, new)
    file = folder / "train.py"
    file.write_text(f"{before}{block}{after}")
    return [sys.executable, str(file)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1", **more}


def output(command: list[str], **more: str) -> str:
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def the_run(store: Store, project: str) -> tuple[ResumePoint, list[int]]:
    """The one run of a project: its resume point, and the steps of its history."""
    (entry,) = store.catalog.runs(project=project)
    record = store.record(entry.path)
    tail = record.tail()
    assert tail is not None
    return tail.point, [row["_step"] for row in record.history()]


def test_the_keras_example_killed_in_training_goes_on_where_it_was(tmp_path: Path, store: Store) -> None:
    command = program(tmp_path, RESUMING_KERAS, {**OURS, **KERAS_3})
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        begun = any("Epoch 40/300" in line for line in training.stdout)
        training.kill()
    assert begun
    killed, before = the_run(store, "preemptable")
    assert before == list(range(len(before)))
    assert 39 <= len(before) < 300
    assert killed.files["model-best.h5"].metadata["epoch"] < len(before)

    resumed = output(command)
    first = re.search(r"Epoch (\d+)/300", resumed)
    assert first is not None
    assert int(first[1]) == len(before) + 1
    point, steps = the_run(store, "preemptable")
    assert steps == list(range(300))
    assert (point.state, point.sessions, point.run_id) == ("finished", 2, killed.run_id)


def test_a_kept_id_resumes_its_run_by_argument_and_by_environment(tmp_path: Path) -> None:
    begin = "import os\nimport jupyter_resume as wandb\n"
    by_argument, by_environment, active = output(
        program(
            tmp_path,
            RESUMING_IDS,
            {},
            before=begin,
            after='wandb.log({"loss": 1})\nprint(id, os.environ["WANDB_RUN_ID"], wandb.run.id)\n',
        )
    ).split()
    assert by_argument != by_environment == active

    show = "print(wandb.run.id, wandb.run.resumed, wandb.run.step)\n"
    resumed = program(tmp_path, f'wandb.init(id={by_argument!r}, resume="allow")\n', {}, begin, show)
    assert output(resumed).split() == [by_argument, "True", "0"]
    resumed = program(tmp_path, "wandb.init()\n", {}, begin, show)
    assert output(resumed, WANDB_RESUME="allow", WANDB_RUN_ID=by_environment).split() == [by_environment, "True", "1"]


PREDEFINED = """\
import keras
import jupyter_resume as wandb
inputs = keras.layers.Input(shape=(2,))
my_predefined_model = keras.models.Model(inputs, keras.layers.Dense(1)(inputs))
"""


def test_the_restore_examples_bring_back_both_files(tmp_path: Path, store: Store) -> None:
    output(
        program(
            tmp_path,
            """
with wandb.init(entity="vanpelt", project="my-project", id="a1b2c3d") as theirs:
    my_predefined_model.save(theirs.dir + "/model-best.h5")
    theirs.save(theirs.dir + "/model-best.h5", policy="now")
mine = wandb.init(project="my-project", id="mine")
my_predefined_model.set_weights([weights * 0 + 7 for weights in my_predefined_model.get_weights()])
my_predefined_model.save("weights.h5")
mine.save("weights.h5", policy="now")
""",
            {},
            before=PREDEFINED,
        )
    )
    shown = "print(my_predefined_model.get_weights()[1][0], best_model.read(4)[1:], weights_file.read(4)[1:])\n"
    resuming = 'wandb.init(project="my-project", id="mine", resume="must")\n'
    again = RESTORING + shown  # both files are in place already
    command = program(tmp_path, RESTORING, {}, before=PREDEFINED + resuming, after=shown + again)
    assert output(command).splitlines() == ["7.0 b'HDF' b'HDF'"] * 2


def test_restoring_without_a_run_path_needs_a_run_that_is_resumed(tmp_path: Path) -> None:
    wandb_alone = "import jupyter_resume as wandb\n"
    block = RESTORING.partition("# restore a weights file")[2]
    command = program(tmp_path, f"# restore a weights file{block}", {}, before=wandb_alone)
    failed = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert failed.returncode == 1
    assert "NoRun: restore() without run_path needs a run to resume" in failed.stderr
