"""Callbacks that report elsewhere: into a CSV file, into a folder that TensorBoard watches, and to an address."""

from __future__ import annotations

import csv
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import NotSupportedError
from gradloom.io.events import SummaryWriter
from gradloom.train.callbacks import Callback, Logs

__all__ = ["CSVLogger", "RemoteMonitor", "TensorBoard"]


class CSVLogger(Callback):
    """One line an epoch into a CSV file; a run that is resumed goes on with its file."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._file: Any = None
        self._writer: Any = None
        self._names: list[str] = []  # of the columns
        self._end: int | None = None  # where the lines end that a resumed run goes on behind

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier run."""
        self._file = self._writer = self._end = None
        self._names = []

    def state_dict(self) -> dict[str, Any]:
        """The columns, and how long the file is."""
        return {"names": list(self._names), "end": self._end if self._file is None else self._file.tell()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the lines that were written when the state was taken; those of epochs done again go."""
        self._names, self._end = list(state["names"]), state["end"]

    def _begin(self, logs: Logs) -> None:
        resumed = self._end is not None and os.path.exists(self.filename)
        if resumed:
            self._file = open(self.filename, "r+", newline="")
            self._file.seek(min(int(self._end or 0), os.path.getsize(self.filename)))
            self._file.truncate()
        else:
            self._file = open(self.filename, "a" if self.append else "w", newline="")
            self._names = ["epoch", *sorted(logs)]
            if getattr(self.model, "_validation_freq", 1) != 1 and not any(n.startswith("val_") for n in logs):
                self._names += [f"val_{n}" for n in sorted(logs) if n != "learning_rate"]
        self._writer = csv.DictWriter(
            self._file, self._names, restval="NA", delimiter=self.separator, extrasaction="ignore"
        )
        if not resumed and not self._file.tell():
            self._writer.writeheader()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the line."""
        if self._file is None:
            self._begin(logs or {})
        self._writer.writerow({"epoch": epoch, **(logs or {})})
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._end = self._file.tell()
            self._file.close()
        self._file = self._writer = None


class TensorBoard(Callback):
    """Write losses, metrics, learning rate and weights as TensorBoard shows them, without needing it.

    Parameters
    ----------
    log_dir : the folder; training goes into "train" in it, validation into "validation".
    histogram_freq : every so many epochs the weights' histograms are written; 0: never.
    write_graph : whether the model's layers are written as a text.
    write_images : whether the weights are written as images too, with the histograms.
    write_steps_per_second : whether the pace is written.
    update_freq : "epoch", "batch", or a number of batches, after which the values so far are written too.
    profile_batch, embeddings_freq : absent; ``gradloom.profiler`` tells times.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0, write_graph: bool = True,
        write_images: bool = False, write_steps_per_second: bool = False, update_freq: str | int = "epoch",
        profile_batch: Any = 0, embeddings_freq: int = 0, embeddings_metadata: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if profile_batch or embeddings_freq or embeddings_metadata:
            raise NotSupportedError(
                "TensorBoard: profile_batch and embeddings are not offered", code="train.tensorboard",
                hint="gradloom.profiler.profile() tells times; leave both out here",
            )  # fmt: skip
        if update_freq not in ("epoch", "batch") and (not isinstance(update_freq, int) or update_freq < 1):
            raise ValueError(f"update_freq={update_freq!r}: expected 'epoch', 'batch' or a number of batches")
        self.log_dir, self.histogram_freq = os.fspath(log_dir), histogram_freq
        self.write_graph, self.write_images = write_graph, write_images
        self.write_steps_per_second = write_steps_per_second
        self._every = 1 if update_freq == "batch" else 0 if update_freq == "epoch" else int(update_freq)
        self.update_freq = update_freq
        self._writers: dict[str, SummaryWriter] = {}
        self._steps = 0
        self._began = 0.0
        if self._every or write_steps_per_second:
            # only then are values looked at after batches, which costs a step something
            self.on_train_batch_end = self._batch_ended  # type: ignore[method-assign]

    def _writer(self, name: str) -> SummaryWriter:
        if name not in self._writers:
            self._writers[name] = SummaryWriter(Path(self.log_dir) / name)
        return self._writers[name]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Write the model's layers."""
        self._steps = 0
        if self.write_graph:
            lines: list[str] = []
            self.model.summary(print_fn=lines.append)
            text = "\n".join(f"    {line}" for whole in lines for line in str(whole).splitlines())
            self._writer("train").add_text("model", text, 0)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the time."""
        self._began, self._first = time.perf_counter(), self._steps

    def _batch_ended(self, batch: int, logs: Logs | None = None) -> None:
        self._steps += 1
        if self._every and self._steps % self._every == 0:
            for name, value in (logs or {}).items():
                self._writer("train").add_scalar(f"batch_{name}", value, self._steps)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's values, the learning rate, and histograms where they are due."""
        writer = self._writer("train")
        for name, value in (logs or {}).items():
            if name.startswith("val_"):
                self._writer("validation").add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
            else:
                writer.add_scalar(f"epoch_{name}", value, epoch)
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            writer.add_scalar("epoch_learning_rate", float(optimizer.learning_rate), epoch)
        if self.write_steps_per_second:
            pace = (self._steps - self._first) / max(time.perf_counter() - self._began, 1e-9)
            writer.add_scalar("epoch_steps_per_second", pace, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for weight in self.model.weights:
                values = np.asarray(weight.numpy(), np.float32)
                if np.isfinite(values).all() and values.size:
                    writer.add_histogram(f"{weight.path}/histogram", values, epoch)
                    if self.write_images:
                        writer.add_image(f"{weight.path}/image", _picture(values), epoch, dataformats="HW")
        for one in self._writers.values():
            one.flush()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write what an evaluation by itself gave."""
        if not self._writers.get("train") and logs:
            step = int(getattr(getattr(self.model, "optimizer", None), "iterations", 0))
            for name, value in logs.items():
                self._writer("validation").add_scalar(f"evaluation_{name}_vs_iterations", value, step)
            self._writer("validation").flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        for one in self._writers.values():
            one.close()
        self._writers.clear()


def _picture(values: np.ndarray) -> np.ndarray:
    """Weights as grey from 0 to 1, two axes."""
    flat = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(1, -1)
    span = float(flat.max() - flat.min())
    return (flat - flat.min()) / span if span else np.zeros_like(flat)


class RemoteMonitor(Callback):
    """Send each epoch's values to an address by POST; a failure is warned of, and training goes on.

    Parameters
    ----------
    root, path : of the address. field : the form's field that holds the JSON. headers : of the request.
    send_as_json : whether the JSON is the body itself.
    """

    def __init__(
        self, root: str = "http://localhost:9000", path: str = "/publish/epoch/end/", field: str = "data",
        headers: dict[str, str] | None = None, send_as_json: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.root, self.path, self.field, self.headers, self.send_as_json = root, path, field, headers, send_as_json

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Send the values."""
        from urllib.parse import urlencode
        from urllib.request import Request, urlopen

        text = json.dumps({"epoch": epoch, **{k: np.asarray(v).tolist() for k, v in (logs or {}).items()}})
        body = text if self.send_as_json else urlencode({self.field: text})
        kind = "application/json" if self.send_as_json else "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, **(self.headers or {})}
        request = Request(self.root + self.path, body.encode(), headers)
        try:
            urlopen(request, timeout=5).close()
        except (OSError, ValueError) as error:  # a URLError is an OSError
            warnings.warn(f"RemoteMonitor: {self.root} was not reached: {error}", stacklevel=2)
