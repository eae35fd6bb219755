"""Callbacks, by the names that Keras gives them."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import StateError
from gradloom.keras import absent
from gradloom.keras.backup import BackupAndRestore
from gradloom.keras.names import lookup
from gradloom.keras.reporting import RemoteMonitor, TensorBoard
from gradloom.keras.schedules import LearningRateSchedule
from gradloom.train.callbacks import Callback, CallbackList, History, Logs, rises

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "ReduceLROnPlateau", "RemoteMonitor",
    "SwapEMAWeights", "TensorBoard", "TerminateOnNaN",
]  # fmt: skip


class _Best:
    """The best value of a quantity so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        self.monitor = monitor
        lookup("mode", mode, {"auto": 1, "min": 1, "max": 1})
        rising = mode == "max" or (mode == "auto" and rises(monitor))
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
    """Save the model, or its weights, after epochs or after numbers of batches.

    Parameters
    ----------
    filepath : a ``.keras`` name, or with ``save_weights_only`` a ``.safetensors`` or ``.weights.h5`` name;
        ``{epoch:02d}`` and names of values in braces are filled in, epochs from 1.
    monitor, mode : what "best" is, with ``save_best_only``.
    save_weights_only : weights alone; by the file's name where None.
    save_freq : "epoch", or a number of batches.
    initial_value_threshold : a value that must be beaten by the first to be saved.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool | None = None,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.filepath, self.verbose, self.save_best_only = os.fspath(filepath), verbose, save_best_only
        weights = not self.filepath.endswith(".keras")
        self.save_weights_only = weights if save_weights_only is None else save_weights_only
        if self.save_weights_only != weights:
            raise ValueError(
                f"filepath={self.filepath!r} with save_weights_only={self.save_weights_only}: whole models go to "
                ".keras files, weights to .safetensors or .weights.h5 files"
            )
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(f"save_freq={save_freq!r}: expected 'epoch' or a number of batches")
        self.save_freq = save_freq
        self._best = _Best(monitor, mode)
        if initial_value_threshold is not None:
            self._best.value = initial_value_threshold
        self._batches, self._epoch = 0, 0

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._best.value

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save where so many batches are done."""
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches >= int(self.save_freq):
            self._batches = 0
            self._save(self._epoch, logs, batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save where it is due."""
        if self.save_freq == "epoch":
            self._save(epoch, logs, None)

    def _save(self, epoch: int, logs: Logs | None, batch: int | None) -> None:
        if self.save_best_only:
            value = self._best.read(logs)
            if not self._best.better(value):
                return
            self._best.value = value
        names = {"epoch": epoch + 1, **({} if batch is None else {"batch": batch + 1}), **(logs or {})}
        try:
            path = self.filepath.format(**names)
        except KeyError as error:
            raise KeyError(
                f"filepath={self.filepath!r}: there is no value {error}; there are {sorted(names)}"
            ) from None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved to {path}")


class LambdaCallback(Callback):
    """Functions as a callback, by its methods' names: ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``."""

    def __init__(self, **functions: Callable[..., None] | None) -> None:
        super().__init__()
        methods = {name: True for name in dir(Callback) if name.startswith("on_")}
        for name, function in functions.items():
            lookup("callback method", name, methods)
            if function is not None:
                setattr(self, name, function)


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    Parameters
    ----------
    schedule : from the epoch, counted from 0, and the present rate to the new one.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate."""
        optimizer = self.model.optimizer
        if isinstance(self.schedule, LearningRateSchedule):
            rate: Any = self.schedule(epoch)
        else:
            try:
                rate = self.schedule(epoch, float(optimizer.learning_rate))
            except TypeError:  # a function of the epoch alone
                rate = self.schedule(epoch)
        if not isinstance(rate, float | np.floating):
            raise ValueError(f"The output of the `schedule` function should be a float. Got: {rate}")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {float(rate):g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Put the rate into the history."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class ReduceLROnPlateau(Callback):
    """Multiply the learning rate with ``factor`` when a value has not got better for ``patience`` epochs.

    Parameters
    ----------
    min_delta : changes up to this are none. cooldown : epochs after a change in which nothing is counted.
    min_lr : the rate does not get smaller.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__()
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Got factor={factor}")
        self.monitor, self.factor, self.patience, self.verbose, self.mode = monitor, factor, patience, verbose, mode
        self.min_delta, self.cooldown, self.min_lr = min_delta, cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier run."""
        self._best = _Best(self.monitor, self.mode, self.min_delta)
        self.wait = self.cooldown_counter = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the value of the epoch."""
        optimizer = self.model.optimizer
        if logs is not None:
            logs["learning_rate"] = float(optimizer.learning_rate)
        value = self._best.read(logs)
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._best.better(value):
            self._best.value, self.wait = value, 0
            return
        if self.cooldown_counter > 0:
            return
        self.wait += 1
        rate = float(optimizer.learning_rate)
        if self.wait >= self.patience and rate > self.min_lr:
            optimizer.learning_rate = max(rate * self.factor, self.min_lr)
            self.cooldown_counter, self.wait = self.cooldown, 0
            if self.verbose:
                print(f"Epoch {epoch + 1}: learning rate {float(optimizer.learning_rate):g}")


class CSVLogger(Callback):
    """One line an epoch into a CSV file."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._file: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file."""
        self._headed = self.append and os.path.exists(self.filename) and os.path.getsize(self.filename) > 0
        self._file = open(self.filename, "a" if self.append else "w", newline="")
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the line."""
        logs = logs or {}
        if self._writer is None:
            names = ["epoch", *sorted(logs)]
            self._writer = csv.DictWriter(self._file, names, delimiter=self.separator, extrasaction="ignore")
            if not self._headed:
                self._writer.writeheader()
        self._writer.writerow({"epoch": epoch, **logs})
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = self._writer = None


class TerminateOnNaN(Callback):
    """Stop when the loss is NaN or infinite."""

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss so far."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(f"NaN or Inf loss encountered at batch {batch}.")
            print(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True


class ProgbarLogger(Callback):
    """``fit`` shows its progress itself: this callback is accepted and adds nothing to it."""


class SwapEMAWeights(Callback):
    """Judge, and save, with the running means of the weights: for optimisers made with ``use_ema=True``.

    Parameters
    ----------
    swap_on_epoch : exchange before each epoch ends, so that checkpoints hold the means; else for validation only.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch, self._swapped = swap_on_epoch, False

    def _swap(self) -> None:
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError("SwapEMAWeights must be used when `use_ema=True` is set on the optimizer.")
        optimizer.swap_ema()
        self._swapped = not self._swapped

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Train on the weights themselves."""
        if self._swapped:
            self._swap()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Leave the means in place for those that come after."""
        if self.swap_on_epoch and not self._swapped:
            self._swap()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Judge by the means."""
        if not self._swapped and self.model.optimizer.built:
            self._swap()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Back to the weights themselves."""
        if self._swapped:
            self._swap()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Leave the weights themselves."""
        if self._swapped:
            self._swap()


__getattr__ = absent.names_of("callbacks")
