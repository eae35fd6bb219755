"""What stands between a trainer and the loop: its batches, what it does at an epoch's end, how callbacks see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gradloom.errors import StateError
from gradloom.io.files import save
from gradloom.optim.lr_scheduler import ReduceLROnPlateau
from gradloom.train.callbacks import Callback, rises

if TYPE_CHECKING:
    from gradloom.train.trainer import Trainer


class Batches:
    """The batches of each epoch; of a resumed one those that are left."""

    def __init__(self, trainer: Trainer | None, data: Iterable[Any]) -> None:
        self.trainer, self.data = trainer, data

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The batches as tuples; between two of them the state is written where it is due."""
        trainer = self.trainer
        batches = iter(self.data)
        if trainer is not None and trainer._start and not hasattr(self.data, "load_state_dict"):
            for _ in range(trainer._start):  # data without a place of its own: gone through again
                next(batches, None)
        for batch in batches:
            yield tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            if trainer is None:
                continue
            folder = trainer._folder
            if folder is not None and not trainer._waiting and folder.due(trainer.steps):
                trainer._save()
        if trainer is not None and trainer._waiting:  # fewer batches than an update takes
            trainer._update()


class Ends(Callback):
    """What the trainer itself does at the end of an epoch, after everybody else's callbacks."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.trainer = trainer

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Schedule, best model, checkpoint."""
        trainer, values = self.trainer, logs or {}
        name = trainer.monitor or ("val_loss" if "val_loss" in values else "loss")
        if name not in values:
            raise StateError(
                f"monitor={name!r} is not among the values of the epoch: {', '.join(values) or 'none'}",
                code="train.monitor",
                hint="val_ values need validation data",
            )
        scheduler = trainer.scheduler
        if scheduler is not None and trainer.schedule == "epoch":
            scheduler.step(*([values[name]] if isinstance(scheduler, ReduceLROnPlateau) else []))
        value = -values[name] if rises(name) else values[name]
        trainer._epoch, trainer._start = epoch + 1, 0
        if trainer.best is None or value < trainer.best:
            trainer.best = value
            if trainer._folder is not None:
                with trainer._with_averaged():
                    save(trainer.model.state_dict(), trainer._folder.best)
        trainer._save()


class Rate:
    """The optimiser as callbacks see it: one learning rate."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    @property
    def learning_rate(self) -> float:
        """Of the first group of parameters; set, it is every group's."""
        return float(self._optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = float(value)


class Handle:
    """The trainer as callbacks see a model."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.module = trainer, trainer.model
        self.optimizer = Rate(trainer.optimizer)

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
        """Write the module's state dict."""
        save(self.module.state_dict(), path)

    save = save_weights
