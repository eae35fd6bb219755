"""Callbacks that watch a value of the epochs: early stopping, rates that fall on a plateau, files of the best model."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from gradloom.errors import StateError
from gradloom.train.callbacks import Callback, Logs, rises

__all__ = ["EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"]


class _Best:
    """The best value of a quantity so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if str(mode).lower() not in ("auto", "min", "max"):
            raise ValueError(f"mode={mode!r}: expected 'auto', 'min' or 'max'")
        self.monitor, self.mode = monitor, mode.lower()
        self.sign = 1.0 if self.mode == "max" or (self.mode == "auto" and rises(monitor)) else -1.0
        self.min_delta = abs(min_delta)
        self.value = -self.sign * math.inf

    def ask(self, model: Any) -> None:
        """With mode "auto", whether more is better is what the model's metric says, where it says so."""
        said = getattr(model, "_rises", None)
        found = said(self.monitor) if said is not None and self.mode == "auto" else None
        if found is not None and found != (self.sign > 0):
            self.sign = -self.sign
            self.value = -self.value if math.isinf(self.value) else self.value

    def read(self, logs: Logs | None, model: Any) -> float | None:
        """The value; None in an epoch without validation, where others have one. StateError where there is none."""
        if self.monitor not in (logs or {}):
            judged = any(name.startswith("val_") for name in logs or {})
            if self.monitor.startswith("val_") and not judged and getattr(model, "_validation_freq", 1) != 1:
                return None
            raise StateError(
                f"monitor={self.monitor!r} is not among the values of the epoch: {', '.join(logs or {}) or 'none'}",
                code="train.monitor",
                hint="val_ values need validation data",
            )
        return (logs or {})[self.monitor]

    def better(self, value: float) -> bool:
        return self.sign * (value - self.value) > self.min_delta


class _Watching(Callback):
    """Base of those that watch a value. What a resumed run needs of them stands under the names in ``_kept``."""

    _best: _Best
    _kept: tuple[str, ...] = ()

    @property
    def best(self) -> float | None:
        """The best value so far; None before the first."""
        return self._best.value if math.isfinite(self._best.value) else None

    @best.setter
    def best(self, value: float | None) -> None:
        self._best.value = -self._best.sign * math.inf if value is None else float(value)

    def set_model(self, model: Any) -> None:
        """Note the model."""
        super().set_model(model)
        self._best.ask(model)

    def state_dict(self) -> dict[str, Any]:
        """The best value and what is counted."""
        return {"best": self.best, **{name: getattr(self, name) for name in self._kept}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.best = state["best"]
        for name in self._kept:
            setattr(self, name, state[name])


class EarlyStopping(_Watching):
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

    _kept = ("wait", "stopped_epoch", "best_epoch", "best_weights")

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
        self._best.ask(self.model)
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier run."""
        self._reset()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; a run that had been stopped stays so."""
        super().load_state_dict(state)
        if self.stopped_epoch:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the value of the epoch."""
        value = self._best.read(logs, self.model)
        if value is None or epoch < self.start_from_epoch:
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


class ReduceLROnPlateau(_Watching):
    """Multiply the learning rate with ``factor`` when a value has not got better for ``patience`` epochs.

    Parameters
    ----------
    min_delta : changes up to this are none. cooldown : epochs after a change in which nothing is counted.
    min_lr : the rate does not get smaller.
    """

    _kept = ("wait", "cooldown_counter")

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
        self._best.ask(self.model)
        self.wait = self.cooldown_counter = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the value of the epoch."""
        optimizer = self.model.optimizer
        if logs is not None:
            logs["learning_rate"] = float(optimizer.learning_rate)
        value = self._best.read(logs, self.model)
        if value is None:
            return
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


class ModelCheckpoint(_Watching):
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

    _kept = ("_batches",)

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
            value = self._best.read(logs, self.model)
            if value is None or not self._best.better(value):
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
