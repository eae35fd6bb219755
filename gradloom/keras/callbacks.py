"""Callbacks, by the names that Keras gives them."""

from __future__ import annotations

import os
from typing import Any

from gradloom.keras import absent
from gradloom.keras.backup import BackupAndRestore
from gradloom.keras.schedules import LearningRateSchedule
from gradloom.train import actions, monitors
from gradloom.train.actions import LambdaCallback, SwapEMAWeights, TerminateOnNaN
from gradloom.train.callbacks import Callback, CallbackList, History
from gradloom.train.monitors import EarlyStopping, ReduceLROnPlateau
from gradloom.train.reporting import CSVLogger, RemoteMonitor, TensorBoard

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "ReduceLROnPlateau", "RemoteMonitor",
    "SwapEMAWeights", "TensorBoard", "TerminateOnNaN",
]  # fmt: skip


class ModelCheckpoint(monitors.ModelCheckpoint):
    """Save the model, or its weights, after epochs or after numbers of batches.

    Parameters
    ----------
    filepath : a ``.keras`` or ``.h5`` name for whole models, a ``.safetensors`` or ``.weights.h5`` name for weights;
        ``{epoch:02d}`` and names of values in braces are filled in, epochs from 1.
    monitor, mode : what "best" is, with ``save_best_only``.
    save_weights_only : weights alone; by the file's name where None.
    save_freq : "epoch", or a number of batches.
    initial_value_threshold : a value that must be beaten by the first to be saved.
    """

    def __init__(
        self, filepath: str | os.PathLike[str], monitor: str = "val_loss", verbose: int = 0,
        save_best_only: bool = False, save_weights_only: bool | None = None, mode: str = "auto",
        save_freq: str | int = "epoch", initial_value_threshold: float | None = None,
    ) -> None:  # fmt: skip
        name = os.fspath(filepath)
        either = name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5")  # the older format holds both
        super().__init__(
            name, monitor, verbose, save_best_only, True if either else save_weights_only, mode, save_freq,
            initial_value_threshold,
        )  # fmt: skip
        if either:
            self.save_weights_only = bool(save_weights_only)


class LearningRateScheduler(actions.LearningRateScheduler):
    """Set the learning rate before each epoch.

    Parameters
    ----------
    schedule : from the epoch, counted from 0, and the present rate to the new one; or a schedule of epochs.
    """

    def _rate(self, epoch: int, present: float) -> Any:
        return (
            self.schedule(epoch) if isinstance(self.schedule, LearningRateSchedule) else super()._rate(epoch, present)
        )


class ProgbarLogger(Callback):
    """``fit`` shows its progress itself: this callback is accepted and adds nothing to it."""


__getattr__ = absent.names_of("callbacks")
