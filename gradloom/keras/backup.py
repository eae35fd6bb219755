"""Training that survives being broken off: the whole state of a run in one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.io.files import load, save
from gradloom.train.callbacks import Callback, Logs
from gradloom.train.checkpoints import generators, set_generators


class BackupAndRestore(Callback):
    """Keep the whole state of training on disk; a run that was broken off, or killed, goes on from there, bit for bit.

    Model, optimiser, metrics, random generators and the place in the data stand in one file, which is replaced in one
    step. With the same seed (`keras.utils.set_random_seed`) the result is that of a run that was not interrupted.

    Parameters
    ----------
    backup_dir : a folder for this run alone.
    save_freq : "epoch", or a number of batches.
    double_checkpoint : with a number of batches, save after each epoch too.
    delete_checkpoint : whether the file is removed when training ends.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed")
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(f"Invalid value for argument `save_freq`. Received: save_freq={save_freq}. Expected "
                             "either 'epoch' or an integer value.")  # fmt: skip
        self.backup_dir, self.save_freq, self.delete_checkpoint = Path(backup_dir), save_freq, delete_checkpoint
        self.double_checkpoint = double_checkpoint
        self._epoch = self._batches = 0
        self._found: dict[str, Any] | None = None

    @property
    def _file(self) -> Path:
        return self.backup_dir / "state.ckpt"

    def restore(self, model: Any) -> tuple[int, int]:
        """Take up what an earlier run left: the epoch to go on with, and how many of its batches are done."""
        from gradloom.keras.saving import archive

        self._found = None
        if not self._file.exists():
            return 0, 0
        state = load(self._file)
        values = {k: np.asarray(v) for k, v in state["values"].items()}
        archive.put_values(model, values, str(self._file))
        slots = {k.rpartition("/")[2]: v for k, v in values.items() if k.startswith("optimizer/vars/")}
        if slots:
            model.optimizer.build(model.trainable_weights)
            model.optimizer.load_own_variables(slots)
        self._found = state
        return int(state["epoch"]), int(state["batch"])

    def resume(self, model: Any) -> None:
        """Just before the first step: the metrics of the epoch under way, and the generators. ``fit`` calls it."""
        if self._found is None:
            return
        if self._found["batch"]:
            kept = [v for metric in model.metrics for v in metric.variables]
            for variable, value in zip(kept, self._found["sums"]):
                variable.assign(value)
        set_generators(self._found["generators"])
        self._found = None

    def _save(self, epoch: int, batch: int) -> None:
        from gradloom.keras.saving import archive

        self.backup_dir.mkdir(parents=True, exist_ok=True)
        sums = [np.array(v) for metric in self.model.metrics for v in metric.variables]
        values = archive.values_of(self.model, optimizer=True)
        save({"epoch": epoch, "batch": batch, "values": values, "sums": sums, "generators": generators()}, self._file)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save where so many batches are done, over all epochs."""
        self._batches += 1
        if isinstance(self.save_freq, int) and self._batches % self.save_freq == 0:
            self._save(self._epoch, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save."""
        if self.save_freq == "epoch" or self.double_checkpoint:
            self._save(epoch + 1, 0)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the file, and the folder if it is empty."""
        if self.delete_checkpoint and self._file.exists():
            self._file.unlink()
            if not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()
