"""Callbacks: what may happen around a training loop. Names and arguments follow Keras 3.

A callback that overrides no batch method costs a step nothing; one that does is handed the values so far, which have
to be looked at for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Logs = dict[str, float]
BATCH_EVENTS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


class Callback:
    """Override what is wanted. ``self.model`` is the model, ``self.params`` has epochs, steps and verbose."""

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Called before training with the model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before training with epochs, steps and verbose."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Training starts."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Training ended; ``logs`` are those of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Epoch ``epoch``, counted from 0, starts."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Epoch ``epoch`` ended, validation included; what is put into ``logs`` shows up in the history."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The same as ``on_train_batch_begin``."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The same as ``on_train_batch_end``."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Step ``batch`` of the epoch starts."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Step ``batch`` of the epoch ended; ``logs`` are means over the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Step ``batch`` of an evaluation or validation starts."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Step ``batch`` of an evaluation or validation ended."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Prediction starts."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Prediction ended."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Step ``batch`` of a prediction starts."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Step ``batch`` of a prediction ended; ``logs`` has its outputs."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Evaluation or validation starts."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Evaluation or validation ended."""


def rises(name: str) -> bool:
    """Whether more of a value of this name is better: an accuracy, and not a loss."""
    return any(word in name for word in ("acc", "auc", "precision", "recall", "f1", "iou", "r2", "cosine"))


class History(Callback):
    """The values of every epoch: ``history`` maps a name to its list, ``epoch`` has the epochs' numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Keep the values of the epoch."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


def overrides(callback: Any, *names: str) -> bool:
    """Whether one of these methods is the callback's own, and not the empty one of :class:`Callback`."""
    return any(
        getattr(type(callback), name, None) is not getattr(Callback, name) or name in vars(callback) for name in names
    )


class CallbackList:
    """Several callbacks called as one, in their order. Which of them watch single steps is found out once."""

    def __init__(self, callbacks: Iterable[Callback], model: Any, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
        self.at_batch_begin = [c for c in self.callbacks if overrides(c, "on_batch_begin", "on_train_batch_begin")]
        self.at_batch_end = [c for c in self.callbacks if overrides(c, "on_batch_end", "on_train_batch_end")]

    def call(self, method: str, *arguments: Any) -> None:
        """Call one method of each callback."""
        for callback in self.callbacks:
            getattr(callback, method)(*arguments)
