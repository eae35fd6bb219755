"""What stands between a trainer and the loop: its batches, what it does at an epoch's end, how callbacks see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.data import Dataset, IterableDataset
from gradloom.errors import StateError
from gradloom.io.files import save
from gradloom.optim.lr_scheduler import ReduceLROnPlateau
from gradloom.tensor import Tensor
from gradloom.train.callbacks import Callback
from gradloom.train.values import more_is_better

if TYPE_CHECKING:
    from gradloom.train.trainer import Trainer


def checked_batches(data: Any, what: str) -> Any:
    """`data`, unless it is samples and not batches of them: TypeError."""
    arrays = (np.ndarray, Tensor)
    samples = isinstance(data, Dataset) and not isinstance(data, IterableDataset)
    if samples or isinstance(data, arrays) or (
        isinstance(data, tuple) and len(data) > 0 and all(isinstance(part, arrays) for part in data)
    ):  # fmt: skip
        how = "DataLoader(data, 32, shuffle=True)" if samples else "DataLoader(TensorDataset(x, y), 32, shuffle=True)"
        raise TypeError(f"{what} is samples, a {type(data).__name__}; expected are batches of them: {how}")
    return data


class Batches:
    """The batches of each epoch; of a resumed one those that are left."""

    def __init__(self, trainer: Trainer | None, data: Iterable[Any]) -> None:
        self.trainer, self.data = trainer, data

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The batches as tuples; between two of them the state is written where it is due."""
        trainer, found = self.trainer, False
        batches = iter(self.data)
        if trainer is not None and trainer._start and not hasattr(self.data, "load_state_dict"):
            for _ in range(trainer._start):  # data without a place of its own: gone through again
                next(batches, None)
        for batch in batches:
            found = True
            given = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            yield given
            if trainer is None:
                continue
            trainer._check_finite(given)
            folder = trainer._folder
            if folder is not None and not trainer._waiting and folder.due(trainer.steps):
                trainer._save()
        if not found and (trainer is None or not trainer._start):
            raise StateError(
                f"there are no batches in epoch {number + 1}", code="train.empty",
                hint="an iterator is used up after one epoch: give a DataLoader, a list, or an object whose __iter__ "
                "begins anew" if number else "look at the length of the data, and at drop_last",
            )  # fmt: skip
        if trainer is not None:
            trainer._epoch_trained()
            if found:
                trainer._check_finite(given)


class Ends(Callback):
    """What the trainer itself does at the end of an epoch, after everybody else's callbacks."""

    def __init__(self, trainer: Trainer, judged: bool) -> None:
        super().__init__()
        self.trainer = trainer
        self.judged = judged  # whether there is validation, be it now and then

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Give callbacks the states that they had when the run was broken off: by their kind, in their order."""
        states, self.trainer._states = self.trainer._states, []
        for callback in self.trainer._callbacks:
            at = next((k for k, (kind, _) in enumerate(states) if kind == type(callback).__name__), None)
            if at is not None and hasattr(callback, "load_state_dict"):
                callback.load_state_dict(states.pop(at)[1])

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """What an even mean of weights lacks."""
        self.trainer._settle_norms()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Schedule, best model, checkpoint."""
        trainer, values = self.trainer, logs or {}
        name = trainer.monitor or ("val_loss" if self.judged else "loss")
        trainer._epoch, trainer._start = epoch + 1, 0
        if name in values:
            self._look(name, values)
        elif not (self.judged and name.startswith("val_")):  # else an epoch without validation, where others have one
            raise StateError(
                f"monitor={name!r} is not among the values of the epoch: {', '.join(values) or 'none'}",
                code="train.monitor",
                hint="val_ values need validation data",
            )
        scheduler = trainer.scheduler
        if scheduler is not None and trainer.schedule == "epoch":
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            elif name in values:
                scheduler.step(values[name])
        trainer._save()

    def _look(self, name: str, values: dict[str, float]) -> None:
        """Note whether the epoch is the best so far, and keep its weights."""
        trainer = self.trainer
        more = more_is_better(trainer.metrics, name)
        if more is None:
            raise StateError(
                f"monitor={name!r}: whether more of it is better is not known", code="train.monitor",
                hint="set higher_is_better to True or False on the metric's class",
            )  # fmt: skip
        value = -values[name] if more else values[name]
        if not math.isnan(value) and (trainer.best is None or value < trainer.best):
            trainer.best = value
            if trainer._folder is not None:
                with trainer._with_averaged():
                    save(trainer.model.state_dict(), trainer._folder.best)


class Rate:
    """The optimiser as callbacks see it: one learning rate, and a mean of the weights to exchange them with."""

    built = True

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._optimizer = trainer, trainer.optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    @property
    def use_ema(self) -> bool:
        """Whether a mean of the weights is kept."""
        return self._trainer.averaged is not None

    def swap_ema(self) -> None:
        """Exchange the weights with their mean."""
        self._trainer.swap_averaged()

    @property
    def iterations(self) -> int:
        """Updates so far."""
        return self._trainer.updates

    @property
    def learning_rate(self) -> float:
        """Of the first group of parameters; where it is set, those of the others go with it."""
        return float(self._optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        now = self.learning_rate
        for group in self._optimizer.param_groups:  # rates by layer keep their proportions
            group["lr"] = float(value) * float(group["lr"]) / now if now else float(value)


class Weight:
    """A parameter as callbacks see it: with its path."""

    def __init__(self, path: str, value: Any) -> None:
        self.path, self._value = path, value

    def numpy(self) -> Any:
        """Its values."""
        return self._value.detach().numpy()


class Handle:
    """The trainer as callbacks see a model."""

    def __init__(self, trainer: Trainer, validation_freq: int = 1) -> None:
        self.trainer, self.module = trainer, trainer.model
        self.optimizer = Rate(trainer)
        self._validation_freq = validation_freq

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"callbacks of a Trainer see its module (.module), its optimizer and its weights, but not .{name}; "
            "the trainer itself is .trainer"
        )

    def _rises(self, name: str) -> bool | None:
        """Whether more is better of a value of this name."""
        return more_is_better(self.trainer.metrics, name)

    @property
    def weights(self) -> list[Weight]:
        """The parameters with their paths."""
        return [Weight(name.replace(".", "/"), value) for name, value in self.module.named_parameters()]

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Hand the module's text on."""
        print_fn(repr(self.module))

    @property
    def stop_training(self) -> bool:
        """Set by callbacks; training ends with the step under way."""
        return self.trainer.stop_training

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        self.trainer.stop_training = value

    def get_weights(self) -> dict[str, Any]:
        """A copy of the module's state dict."""
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def set_weights(self, weights: dict[str, Any]) -> None:
        """Load what `get_weights` gave."""
        self.module.load_state_dict(weights)

    def save_weights(self, path: Any) -> None:
        """Write the module's state dict. ValueError for a name that says something else is in the file."""
        if str(path).endswith((".keras", ".h5", ".onnx")):
            raise ValueError(
                f"{path}: a module's weights are written as .pt, .ckpt or .safetensors, ONNX by gradloom.onnx.export"
            )
        save(self.module.state_dict(), path)

    save = save_weights
