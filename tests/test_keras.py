"""WandbCallback, on real Keras with JAX: what it logs, which model it keeps, and that a resume knows the best one."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import keras
import numpy as np
import pytest

import jupyter_resume as wandb
from jupyter_resume import Run
from jupyter_resume.errors import InvalidInput, NoRun, RemoteUnreachable, StoreUnwritable
from jupyter_resume.keras import WandbCallback
from jupyter_resume.store.home import Store

from .machines import On, flush
from .processes import Counters, at_home, started
from .remotes import Tracker, unreachable

pytest_plugins = ("tests.machines_fixtures",)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

BEST = "model-best.h5"
X, Y = np.random.default_rng(0).random((20, 3)), np.random.default_rng(1).random((20, 1))


class Killed(BaseException):
    """The process ends here, as far as the code under test can tell."""


def small_model(loss: Any = None, **compiled: Any) -> Any:
    inputs = keras.layers.Input(shape=(3,))
    model = keras.models.Model(inputs=inputs, outputs=keras.layers.Dense(1, name="out")(inputs))
    model.compile("adam", loss=loss or keras.losses.MeanSquaredError(), **compiled)
    return model


def mark(model: Any, epoch: int) -> None:
    """Make the model know its epoch."""
    model.set_weights([np.full(weights.shape, float(epoch), "float32") for weights in model.get_weights()])


def epoch_of(model: Any) -> int:
    return int(model.get_weights()[0].flat[0])


def session(resume: str = "allow") -> Run:
    return wandb.init(project="keras", id="train", resume=resume)


def train(callback: Any, *values: float, monitor: str = "loss", begin: int | None = None, model: Any = None) -> None:
    """What ``fit`` tells a callback, with these values of the monitored metric; each epoch's model is marked."""
    model = model or small_model()
    callback.set_model(model)
    callback.on_train_begin()
    run = wandb.run
    first = run.step if begin is None and run else begin or 0
    for epoch, value in enumerate(values, first):
        mark(model, epoch)
        callback.on_epoch_end(epoch, {monitor: value})


def restored(run: Run, name: str = BEST) -> Any:
    return keras.models.load_model(run.restore(name).name)


def test_every_epoch_is_one_row_with_its_number(store: Store) -> None:
    run = session()
    small_model().fit(X, Y, epochs=3, verbose=0, callbacks=[WandbCallback()])
    rows = list(store.record(run.run_path).history())
    assert [(row["_step"], row["epoch"]) for row in rows] == [(0, 0), (1, 1), (2, 2)]
    assert all(isinstance(row["loss"], float) for row in rows)


def test_a_resumed_training_goes_on_at_the_next_epoch_with_the_restored_model(store: Store) -> None:
    run = session()
    small_model().fit(X, Y, epochs=3, verbose=0, callbacks=[WandbCallback()])
    run.close("interrupted")
    run = session("must")
    model = restored(run)
    assert model.evaluate(X, Y, verbose=0) < run.summary["loss"]  # the epoch's loss is a mean over its batches
    model.compile("adam", loss=keras.losses.MeanSquaredError())
    model.fit(X, Y, initial_epoch=run.step, epochs=5, verbose=0, callbacks=[WandbCallback()])
    rows = list(store.record(run.run_path).history())
    assert [row["epoch"] for row in rows] == [row["_step"] for row in rows] == [0, 1, 2, 3, 4]


def test_the_kept_model_is_that_of_the_best_epoch_not_of_the_last() -> None:
    run = session()
    train(WandbCallback(), 0.5, 0.3, 0.4)
    assert epoch_of(restored(run)) == 1
    assert run.files[BEST].metadata == {"loss": 0.3, "epoch": 1}
    assert (run.summary["best_loss"], run.summary["best_epoch"]) == (0.3, 1)


def test_a_worse_model_does_not_replace_a_better_one_of_an_earlier_session() -> None:
    run = session()
    train(WandbCallback(), 0.5, 0.3)
    run.close("interrupted")
    run = session("must")
    train(WandbCallback(), 0.4, 0.35)
    assert epoch_of(restored(run)) == 1
    train(WandbCallback(), 0.29)
    assert epoch_of(restored(run)) == 4


@pytest.mark.parametrize("crash", ["writing", "saving", "moving"])
def test_a_crash_between_any_two_writes_leaves_a_file_that_restores(
    crash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any, **__: Any) -> None:
        raise Killed

    run = session()
    train(WandbCallback(), 0.5)
    model = small_model()
    with monkeypatch.context() as patched:
        if crash == "writing":
            patched.setattr(model, "save", end)
        elif crash == "saving":
            patched.setattr(Run, "save", end)
        else:
            patched.setattr(Path, "replace", _all_but(Path(run.dir, BEST), Path.replace, end))
        with pytest.raises(Killed):
            train(WandbCallback(), 0.4, model=model)
    run.close("interrupted")
    run = session("must")
    best = 1 if crash == "moving" else 0
    assert epoch_of(restored(run)) == best
    train(WandbCallback(), 0.45)
    assert epoch_of(restored(run)) == (best if crash == "moving" else 2)


def _all_but(target: Path, real: Callable[..., Any], end: Callable[..., Any]) -> Callable[..., Any]:
    return lambda path, to: end() if Path(to) == target else real(path, to)


def test_a_summary_that_a_kill_left_behind_is_brought_up_to_the_file() -> None:
    run = session()
    train(WandbCallback(), 0.5)
    run.summary.update({"best_loss": 0.9, "best_epoch": 7})
    train(WandbCallback())
    assert (run.summary["best_loss"], run.summary["best_epoch"]) == (0.5, 0)


def _improve_for_ever(home: Path, counters: Counters) -> None:
    at_home(home, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    run = session()
    model, callback = small_model(), WandbCallback()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in itertools.count(run.step):
        mark(model, epoch)
        callback.on_epoch_end(epoch, {"loss": 1 / (epoch + 1)})
        counters[0] = epoch


def test_killed_at_any_instant_the_best_model_and_its_value_belong_together(home: Path, tmp_path: Path) -> None:
    counters = Counters(tmp_path / "counters")
    at = random.Random(2).randrange
    for _ in range(3):
        begun = counters[0]
        with started(_improve_for_ever, home, counters) as child:
            counters.wait(0, begun + at(5, 15))
            child.kill()
        run = session("must")
        kept = run.files[BEST].metadata
        assert kept["epoch"] in (run.step - 1, run.step - 2)  # the kill may come between the row and its file
        assert kept["loss"] == 1 / (kept["epoch"] + 1)
        assert epoch_of(restored(run)) == kept["epoch"]
        run.close("interrupted")


def test_on_another_machine_the_best_model_is_the_servers_and_has_its_value(tracker: Tracker, on: On) -> None:
    on("A")
    run = session()
    train(WandbCallback(), 0.5, 0.4)
    flush(run)
    run.close("interrupted")
    on("B")
    run = session("must")
    assert (run.has_file(BEST), list(run.files)) == (True, [])
    assert epoch_of(restored(run)) == 1
    train(WandbCallback(), 0.45)
    assert list(run.files) == []
    train(WandbCallback(), 0.3)
    run.close("interrupted")
    on("A")
    run = session("must")
    callback = WandbCallback()
    train(callback, 0.35)
    assert (callback.best, run.summary["best_loss"], run.summary["best_epoch"]) == (0.3, 0.3, 3)
    assert epoch_of(restored(run)) == 3


def test_a_run_that_was_killed_before_its_first_model_has_none(tracker: Tracker, on: On) -> None:
    run = session()
    assert not run.has_file(BEST)
    run.log({"loss": 0.5})
    run.close("interrupted")
    assert not session("must").has_file(BEST)
    on("B")
    run = session("must")
    assert not run.has_file(BEST)
    tracker.down = unreachable()
    with pytest.raises(RemoteUnreachable):
        run.has_file(BEST)
    tracker.down = None


def test_a_nan_or_an_infinity_is_never_better() -> None:
    run = session()
    train(WandbCallback(), float("nan"), float("-inf"))
    assert BEST not in run.files
    train(WandbCallback(), 0.5, float("nan"), float("-inf"))
    assert epoch_of(restored(run)) == 2
    assert run.step == 5


def test_weights_alone_are_kept_under_the_one_ending_that_keras_takes() -> None:
    run = session()
    train(WandbCallback(save_weights_only=True), 0.5, 0.4, 0.6)
    assert list(run.files) == ["model-best.weights.h5"]
    model = small_model()
    model.load_weights(run.restore("model-best.weights.h5").name)
    assert epoch_of(model) == 1


def test_without_saving_the_best_value_is_kept_in_the_summary_alone() -> None:
    run = session()
    train(WandbCallback(save_model=False), 0.5, 0.4)
    run.close("interrupted")
    run = session("must")
    train(WandbCallback(save_model=False), 0.45)
    assert (run.summary["best_loss"], run.summary["best_epoch"], run.files) == (0.4, 1, {})


def test_a_higher_accuracy_is_better() -> None:
    run = session()
    train(WandbCallback(monitor="val_accuracy"), 0.5, 0.7, 0.6, monitor="val_accuracy")
    assert epoch_of(restored(run)) == 1


@pytest.mark.parametrize(
    ("monitor", "mode", "better"),
    [
        ("val_loss", "auto", 0.1),
        ("mean_absolute_error", "auto", 0.1),
        ("val_auc", "auto", 0.9),
        ("output_precision", "auto", 0.9),
        ("reward", "max", 0.9),
        ("accuracy", "min", 0.1),
    ],
)
def test_mode_says_what_better_means_and_auto_goes_by_the_name(monitor: str, mode: str, better: float) -> None:
    run = session()
    train(WandbCallback(monitor=monitor, mode=mode), 0.5, better, 0.5, monitor=monitor)
    assert run.files[BEST].metadata == {monitor: better, "epoch": 1}


def test_auto_refuses_a_name_that_says_nothing() -> None:
    with pytest.raises(InvalidInput, match="higher 'reward' is better: pass 'max' or 'min'"):
        WandbCallback(monitor="reward")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidInput, match="mode='best' is not known"):
        WandbCallback(mode="best")


def test_an_argument_that_is_not_supported_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"does not support log_gradients, training_data here: it takes save_model"):
        WandbCallback(monitor="loss", log_gradients=True, training_data=None)


def test_training_without_a_run_is_refused() -> None:
    with pytest.raises(NoRun, match=r"call init\(\) or %wb_init before fit"):
        small_model().fit(X, Y, verbose=0, callbacks=[WandbCallback()])


def test_a_monitored_name_that_is_not_reported_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    run = session()
    small_model().fit(X, Y, epochs=3, verbose=0, callbacks=[WandbCallback(monitor="val_loss")])
    told = capsys.readouterr().err
    assert told.count("monitors 'val_loss', which this training does not report") == 1
    assert "pass monitor= one of 'loss'" in told
    assert (run.step, run.files) == (3, {})


@pytest.mark.parametrize("loss", ["mse", "MAE", {"out": "mse"}, ["mse"]])
def test_a_loss_name_that_keras_cannot_reload_is_told_with_the_remedy(
    loss: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = session()
    small_model(loss).fit(X, Y, verbose=0, callbacks=[WandbCallback()])
    told = capsys.readouterr().err
    objects = "MeanAbsoluteError" if loss == "MAE" else "MeanSquaredError"
    assert f"compile with keras.losses.{objects}() instead" in told
    with pytest.raises(ValueError, match="Could not deserialize"):
        keras.models.load_model(run.restore(BEST).name)
    assert keras.models.load_model(run.restore(BEST).name, compile=False)


@pytest.mark.parametrize(
    "loss", ["mean_squared_error", keras.losses.MeanSquaredError(), keras.losses.mean_squared_error]
)
def test_a_loss_that_keras_reloads_is_no_matter(loss: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = session()
    small_model(loss, metrics=["mae", "accuracy"]).fit(X, Y, verbose=0, callbacks=[WandbCallback()])
    assert "reload" not in capsys.readouterr().err
    assert restored(run)


def test_weights_alone_have_no_loss_to_reload(capsys: pytest.CaptureFixture[str]) -> None:
    session()
    small_model("mse").fit(X, Y, verbose=0, callbacks=[WandbCallback(save_weights_only=True)])
    assert "reload" not in capsys.readouterr().err


def test_a_reloaded_model_that_is_not_compiled_anew_is_told_before_keras_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = session()
    train(WandbCallback(), 0.5)
    capsys.readouterr()
    with pytest.raises(ValueError, match="optimizer"):
        restored(run).fit(X, Y, verbose=0, callbacks=[WandbCallback()])
    assert "does not bring back the optimizer: call model.compile(...) before fit()" in capsys.readouterr().err


def test_a_later_save_as_keras_still_has_the_optimizer(tmp_path: Path) -> None:
    session()
    model = small_model()
    model.fit(X, Y, verbose=0, callbacks=[WandbCallback()])
    model.save(tmp_path / "last.keras")
    assert isinstance(keras.models.load_model(tmp_path / "last.keras").optimizer, keras.optimizers.Adam)


def test_keras_says_nothing_of_legacy_files_each_epoch(caplog: pytest.LogCaptureFixture) -> None:
    session()
    train(WandbCallback(), 0.5, 0.4)
    assert "legacy" not in caplog.text


def test_a_file_that_cannot_be_saved_is_told_once_and_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StoreUnwritable("no room: free some space.")

    run = session()
    callback = WandbCallback()
    with monkeypatch.context() as patched:
        patched.setattr(Run, "save", full)
        train(callback, 0.5, 0.4)
    assert capsys.readouterr().err.count("model-best.h5 is not saved: no room: free some space.") == 1
    train(callback, 0.45)  # better than nothing, which is what is kept
    assert (epoch_of(restored(run)), run.step) == (2, 3)


def test_a_model_that_has_no_h5_form_is_told_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    class OfOnesOwn(keras.Model):  # type: ignore[misc]
        def __init__(self, size: int, secret: object) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(size)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    run = session()
    model = OfOnesOwn(1, object())
    model.compile("adam", loss=keras.losses.MeanSquaredError())
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[WandbCallback()])
    assert capsys.readouterr().err.count("pass save_weights_only=True") == 1
    model.fit(X, Y, initial_epoch=2, epochs=3, verbose=0, callbacks=[WandbCallback(save_weights_only=True)])
    assert (run.step, list(run.files)) == (3, ["model-best.weights.h5"])


def test_a_value_that_cannot_be_logged_is_told_once_and_the_rest_is_recorded(
    capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    run = session()
    callback = WandbCallback()
    callback.set_model(small_model())
    callback.on_train_begin()
    for epoch in range(2):
        callback.on_epoch_end(epoch, {"loss": 0.5, "confusion": np.zeros((2, 2))})
    assert capsys.readouterr().err.count("'confusion' has shape (2, 2)") == 1
    assert [row["loss"] for row in store.record(run.run_path).history()] == [0.5, 0.5]


def test_a_file_that_another_metric_chose_is_replaced_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    run = session()
    train(WandbCallback(), 0.5)
    train(WandbCallback(monitor="val_loss"), 0.9, monitor="val_loss")
    assert "was not chosen by 'val_loss'" in capsys.readouterr().err
    assert run.files[BEST].metadata == {"val_loss": 0.9, "epoch": 1}


def test_verbose_tells_of_each_improvement(capsys: pytest.CaptureFixture[str]) -> None:
    session()
    train(WandbCallback(verbose=1), 0.5, 0.6, 0.25)
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: loss improved to 0.5, saved as model-best.h5",
        "Epoch 3: loss improved from 0.5 to 0.25, saved as model-best.h5",
    ]


def test_nothing_but_the_model_is_left_in_the_runs_folder() -> None:
    run = session()
    train(WandbCallback(), 0.5, 0.4)
    assert os.listdir(run.dir) == [BEST]
