"""Keras: log every epoch, and keep the best model in the run."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import _active, notices
from .._run import Run
from ..errors import InvalidInput, InvalidValue, NoRun, ResumeError

try:
    import keras
except ModuleNotFoundError as error:  # Keras itself, or the backend that it was told to use
    raise ModuleNotFoundError(
        f"jupyter_resume.keras needs Keras 3 and one of its backends ({error.name} is missing): "
        'pip install "jupyter-resume[keras]", and set KERAS_BACKEND to "jax" before Keras is imported.',
        name=error.name,
    ) from error

_HIGHER = re.compile(r"acc|auc|precision|recall|f1|fbeta|fmeasure|io_?u|r2|similarity|specificity|sensitivity")
_LOWER = re.compile(r"loss|error|entropy|divergence|mse|mae|mape|msle|hinge|poisson|perplexity|log_?cosh")


class WandbCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Log each epoch as one row of the active run, and keep the best model in it as ``model-best.h5``.

    ``monitor``: the logged name that decides which model is the best; ``mode``: ``"min"``, ``"max"``, or ``"auto"``,
    which goes by the name and refuses one that says nothing. ``save_model=False`` only logs. ``save_weights_only``
    keeps ``model-best.weights.h5``, the one ending that Keras takes for weights. ``verbose=1`` tells of each save.

    The best value so far is recorded with the file itself, so it is still the one to beat after a resume. The
    summary has it as ``best_<monitor>``, and its epoch (counted from 0) as ``best_epoch``.

    Keras 3 cannot reload a compiled ``.h5`` whose loss was given by a short name such as ``"mse"``: compile with
    ``keras.losses.MeanSquaredError()``, or reload with ``load_model(..., compile=False)``. Nor does it bring back the
    optimizer from any ``.h5``: call ``model.compile(...)`` on a reloaded model before ``fit``. Notices say so when
    training begins.

    Raises InvalidInput for an argument that is not one of these, NoRun when training begins without a run.
    Source: the document on resuming.

    >>> from jupyter_resume.keras import WandbCallback  # doctest: +SKIP
    >>> model.fit(x, y, initial_epoch=run.step, epochs=300, callbacks=[WandbCallback()])  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        save_model: bool = True,
        monitor: str = "loss",
        mode: str = "auto",
        save_weights_only: bool = False,
        verbose: int = 0,
        **unsupported: Any,
    ) -> None:
        super().__init__()
        if unsupported:
            raise InvalidInput(
                f"WandbCallback does not support {', '.join(unsupported)} here: "
                "it takes save_model, monitor, mode, save_weights_only and verbose."
            )
        self.monitor = monitor
        self.save_model = save_model
        self.save_weights_only = save_weights_only
        self.verbose = verbose
        self.file = "model-best.weights.h5" if save_weights_only else "model-best.h5"
        self.best: float | None = None
        self._sign = 1 if _higher_is_better(monitor, mode) else -1
        self._run: Run | None = None
        self._told: set[str] = set()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the run, and the value that is to be beaten."""
        run = _active.active()
        if run is None:
            raise NoRun("WandbCallback needs an active run: call init() or %wb_init before fit().")
        self._run = run
        self.best, epoch = self._best_so_far(run)
        if self.best is not None and run.summary.get(self._best_key) != self.best:
            run.summary.update({self._best_key: self.best, "best_epoch": epoch})  # a kill came between file and summary
        if _reloaded_without_optimizer(self.model):
            self._tell_once(
                "this model was reloaded from an .h5, from which Keras does not bring back the optimizer: call "
                "model.compile(...) before fit()."
            )
        if self.save_model and not self.save_weights_only:
            for name in _losses_that_do_not_reload(self.model):
                self._tell_once(
                    f"Keras cannot reload a compiled .h5 whose loss is {name!r}: compile with "
                    f"{_as_object(name)} instead, or reload {self.file} with load_model(..., compile=False)."
                )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the epoch, then save the model if it is the best so far."""
        run = self._run
        if run is None:
            raise NoRun("WandbCallback needs an active run: call init() or %wb_init before fit().")
        logs = logs or {}
        try:
            run.log({"epoch": epoch, **logs})
        except InvalidValue as error:  # the rest of the row is recorded
            self._tell_once(str(error))
        if self.monitor not in logs:
            self._tell_once(
                f"WandbCallback monitors {self.monitor!r}, which this training does not report: "
                f"no best model is kept; pass monitor= one of {', '.join(map(repr, logs)) or 'what it reports'}."
            )
            return
        value = float(logs[self.monitor])
        if not math.isfinite(value) or (self.best is not None and self._sign * (value - self.best) <= 0):
            return
        if self.save_model and not self._save(run, value, epoch):
            return
        if self.verbose:
            before = "" if self.best is None else f" from {self.best:.5g}"
            saved = f", saved as {self.file}" if self.save_model else ""
            print(f"Epoch {epoch + 1}: {self.monitor} improved{before} to {value:.5g}{saved}")
        self.best = value
        run.summary.update({self._best_key: value, "best_epoch": epoch})

    @property
    def _best_key(self) -> str:
        return f"best_{self.monitor}"

    def _best_so_far(self, run: Run) -> tuple[float | None, int | None]:
        """The best value and its epoch, as recorded with the file itself; without a file, in the summary.

        With a file of another machine's that came from the server, in the summary too, which came with it.
        """
        if not self.save_model or run.newer_there(self.file):
            return run.summary.get(self._best_key), run.summary.get("best_epoch")
        entry = run.files.get(self.file)
        if entry is None:
            return None, None
        if self.monitor not in entry.metadata:
            self._tell_once(
                f"the {self.file} of run {run.path} was not chosen by {self.monitor!r}: the first finite value now "
                "replaces it."
            )
        return entry.metadata.get(self.monitor), entry.metadata.get("epoch")

    def _save(self, run: Run, value: float, epoch: int) -> bool:
        """Keep the model in the run and in its folder; on a failure training goes on with what was kept before."""
        folder, place = Path(run.dir, ".saving"), Path(run.dir, self.file)
        fresh = folder / self.file
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _no_word_on_legacy(), _compile_config_kept(self.model):
                self.model.save_weights(fresh) if self.save_weights_only else self.model.save(fresh)
            # A file in the run's folder that is not the recorded one would stand in the way of restore(). So at
            # every instant, and after a kill at any, there is either none or exactly the recorded one.
            place.unlink(missing_ok=True)
            run.save(fresh, base_path=folder, policy="now", metadata={self.monitor: value, "epoch": epoch})
            fresh.replace(place)
        except (ResumeError, OSError) as error:
            self._tell_once(f"{self.file} is not saved: {error}")
            return False
        except (NotImplementedError, ValueError, TypeError) as error:  # how Keras says that it cannot write this model
            self._tell_once(
                f"Keras cannot write this model as {self.file} ({' '.join(str(error).split())[:200]}): pass "
                "save_weights_only=True to keep its weights."
            )
            return False
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
                folder.rmdir()
        return True

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            notices.tell(text)


def _higher_is_better(monitor: str, mode: str) -> bool:
    """Read ``mode``; ``"auto"`` goes by the monitored name. A guess could keep the worst model as the best."""
    if mode not in ("auto", "min", "max"):
        raise InvalidInput(f"mode={mode!r} is not known: use 'min', 'max', or 'auto'.")
    higher, lower = bool(_HIGHER.search(monitor.lower())), bool(_LOWER.search(monitor.lower()))
    if mode == "auto" and higher == lower:
        raise InvalidInput(f"mode='auto' cannot tell whether a higher {monitor!r} is better: pass 'max' or 'min'.")
    return mode == "max" or (mode == "auto" and higher)


def _losses_that_do_not_reload(model: Any) -> list[str]:
    """The names among a model's losses that Keras does not find again when it reads a ``.h5``."""
    try:
        config = model.get_compile_config()
    except Exception:  # a compile() of its own, or a loss that has no config: nothing to say about names
        return []
    return sorted({name for name in _names((config or {}).get("loss")) if not _reloads(name)})


def _names(loss: Any) -> Iterator[str]:
    """The losses given as strings: one, or in a list or dict of the outputs; a dict with a class is an object."""
    if isinstance(loss, str):
        yield loss
    elif isinstance(loss, dict) and "class_name" not in loss:
        for inner in loss.values():
            yield from _names(inner)
    elif isinstance(loss, (list, tuple)):
        for inner in loss:
            yield from _names(inner)


def _reloads(name: str) -> bool:
    """Whether Keras's reader of ``.h5`` files makes a loss of this name: this is the call that it uses."""
    try:
        return not isinstance(keras.losses.deserialize(name), str)
    except Exception:  # ValueError for "mse" in Keras 3.15; what it raises is no promise
        return False


def _as_object(name: str) -> str:
    """The loss object to write instead of a name: ``keras.losses.MeanSquaredError()`` for ``"mse"``."""
    try:
        wanted = keras.losses.get(name).__name__.replace("_", "").lower()
    except (ValueError, AttributeError):
        wanted = ""
    found = [known for known in dir(keras.losses) if known.lower() == wanted and known[0].isupper()]
    return f"keras.losses.{found[0]}()" if found else "a loss object, such as keras.losses.MeanSquaredError(),"


def _reloaded_without_optimizer(model: Any) -> bool:
    """Whether the optimizer counts as built but for no variable, as Keras's reader of ``.h5`` leaves it."""
    optimizer = getattr(model, "optimizer", None)
    known = getattr(optimizer, "_trainable_variables", None)
    return bool(getattr(optimizer, "built", False)) and known == [] and bool(model.trainable_variables)


@contextlib.contextmanager
def _compile_config_kept(model: Any) -> Iterator[None]:
    """Keras drops the optimizer from the model's own compile config when it writes ``.h5``.

    Whoever saves the model as ``.keras`` afterwards would lose it without a word.
    """
    config = getattr(getattr(model, "_compile_config", None), "config", None)
    before = dict(config) if isinstance(config, dict) else {}
    try:
        yield
    finally:
        if isinstance(config, dict):
            config.update(before)


@contextlib.contextmanager
def _no_word_on_legacy() -> Iterator[None]:
    """Keras calls ``.h5`` a legacy format at every save, which would be a line an epoch."""

    def not_that(record: logging.LogRecord) -> bool:
        return "considered legacy" not in record.getMessage()

    logger = logging.getLogger("absl")
    logger.addFilter(not_that)
    try:
        yield
    finally:
        logger.removeFilter(not_that)
