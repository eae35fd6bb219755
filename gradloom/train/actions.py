"""Callbacks that act on a run: functions given as one, rates set by a function, a stop at NaN, means of weights."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.train.callbacks import Callback, Logs

__all__ = ["LambdaCallback", "LearningRateScheduler", "SwapEMAWeights", "TerminateOnNaN"]


class LambdaCallback(Callback):
    """Functions as a callback, by its methods' names: ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``."""

    def __init__(self, **functions: Callable[..., None] | None) -> None:
        super().__init__()
        methods = [name for name in dir(Callback) if name.startswith("on_")]
        for name, function in functions.items():
            if name.startswith("on_") and name not in methods:  # others are attributes for those who call them
                close = difflib.get_close_matches(name, methods, 1, 0.5)
                raise ValueError(f"callbacks have no method {name}" + (f"; did you mean {close[0]}?" if close else ""))
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
        rate = self._rate(epoch, float(optimizer.learning_rate))
        if not isinstance(rate, float | np.floating):
            raise ValueError(f"The output of the `schedule` function should be a float. Got: {rate}")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {float(rate):g}")

    def _rate(self, epoch: int, present: float) -> Any:
        try:
            return self.schedule(epoch, present)
        except TypeError:  # a function of the epoch alone
            return self.schedule(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Put the rate into the history."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


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
