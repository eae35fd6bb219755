"""Callbacks, by the names that Keras gives them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from gradloom.errors import StateError
from gradloom.keras.names import lookup
from gradloom.train.callbacks import Callback, History, Logs

__all__ = ["Callback", "EarlyStopping", "History", "LambdaCallback", "ModelCheckpoint"]


class _Best:
    """The best value of a quantity so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        self.monitor = monitor
        lookup("mode", mode, {"auto": 1, "min": 1, "max": 1})
        rising = mode == "max" or (mode == "auto" and any(w in monitor for w in ("acc", "auc", "precision", "recall")))
        self.sign = 1.0 if rising else -1.0
        self.min_delta = abs(min_delta)
        self.value = -self.sign * math.inf

    def read(self, logs: Logs | None) -> float:
        if self.monitor not in (logs or {}):
            raise StateError(
                f"monitor={self.monitor!r} is not among the values of the epoch: {', '.join(logs or {}) or 'none'}",
                code="keras.monitor",
                hint="val_ values need validation_data or validation_split",
            )
        return (logs or {})[self.monitor]

    def better(self, value: float) -> bool:
        return self.sign * (value - self.value) > self.min_delta


class EarlyStopping(Callback):
    """Stop when a value no longer gets better.

    Parameters
    ----------
    monitor : name of the value.
    min_delta : changes up to this are none.
    patience : epochs without a better value after which training stops.
    mode : "min", "max", or "auto" by the name.
    baseline : a value that must be beaten.
    restore_best_weights : go back to the weights of the best epoch at the end.
    start_from_epoch : epochs before this one are not looked at.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__()
        self.monitor, self.min_delta, self.patience, self.mode = monitor, min_delta, patience, mode
        self.verbose, self.baseline = verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self._best = _Best(self.monitor, self.mode, self.min_delta)
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: Any = None

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._best.value

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier run."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the value of the epoch."""
        value = self._best.read(logs)
        if epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self._best.better(value):
            self._best.value, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._best.sign * (value - self.baseline) > self._best.min_delta:
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the best weights where that was asked for."""
        if self.restore_best_weights and self.best_weights is not None:
            self.model.set_weights(self.best_weights)
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping, best epoch {self.best_epoch + 1}")


class ModelCheckpoint(Callback):
    """Save the weights after epochs.

    Parameters
    ----------
    filepath : a ``.safetensors`` name; ``{epoch:02d}`` and names of values in braces are filled in, epochs from 1.
    monitor, mode : what "best" is, with ``save_best_only``.
    save_weights_only : must be True; whole models are not written.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = True,
        mode: str = "auto",
    ) -> None:
        super().__init__()
        if not save_weights_only:
            raise StateError(
                "save_weights_only=False: whole models are not saved",
                code="keras.file-format",
                hint="leave it out, and make the model in code before load_weights",
            )
        self.filepath, self.verbose, self.save_best_only = os.fspath(filepath), verbose, save_best_only
        self._best = _Best(monitor, mode)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save where it is due."""
        if self.save_best_only:
            value = self._best.read(logs)
            if not self._best.better(value):
                return
            self._best.value = value
        path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        self.model.save_weights(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: weights saved to {path}")


class LambdaCallback(Callback):
    """Functions as a callback, by its methods' names: ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``."""

    def __init__(self, **functions: Callable[..., None]) -> None:
        super().__init__()
        methods = {name: True for name in dir(Callback) if name.startswith("on_")}
        for name, function in functions.items():
            lookup("callback method", name, methods)
            setattr(self, name, function)
