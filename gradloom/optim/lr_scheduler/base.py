"""LRScheduler: the base of all schedules."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import number
from gradloom.tensor import Tensor


def by_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each group, from one for all or a list. ValueError where the list has another length."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} values, the optimizer has {count} groups")
    return list(value)


def set_rate(group: dict[str, Any], value: float) -> None:
    """Set a group's rate; a rate that is a tensor stays one."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def warn_of_epoch() -> None:
    """Warn that a schedule's `step` was given an epoch; for the line that called `step`."""
    warnings.warn(
        "The epoch parameter in `scheduler.step()` was not necessary and is deprecated: `scheduler.step()` goes on by "
        "one",
        UserWarning,
        stacklevel=3,
    )


class LRScheduler:
    """Base class: call `step()` after each epoch. A subclass gives `get_lr`.

    Most schedules change the present rate, so that several can be chained, and so can a rate that was set by hand.

    Parameters
    ----------
    optimizer : Optimizer
    last_epoch : int
        Epochs already done; -1 begins anew and notes the present rate as "initial_lr".
    """

    _initial = False  # within the constructor's step

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", number(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"group {index} of the optimizer has no 'initial_lr' to resume from")
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self._first_step()

    def _first_step(self) -> None:
        self._step_count = 0
        self._initial = True
        try:
            self.step()
        finally:
            del self._initial

    def _rates(self) -> list[float]:
        """The present rates."""
        return [number(group["lr"]) for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """The rates at epoch `last_epoch`, one for each group, from the present ones."""
        raise NotImplementedError

    def _closed_form(self) -> list[float]:
        """The rates at epoch `last_epoch` from the initial ones."""
        return self.get_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch, or to a given one (which is deprecated: a warning says so), and set the rates."""
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                "`optimizer.step()` has been overridden by a function that has not called it, so nobody knows whether "
                "it came before `lr_scheduler.step()`, as it should"
                if "step" in vars(self.optimizer)
                else "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first rate of the schedule "
                "is never used. Call the optimizer's step first",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        if epoch is not None:
            warn_of_epoch()
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            # a schedule of a user may have PyTorch's name for the closed form
            values = getattr(self, "_get_closed_form_lr", self._closed_form)()
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            set_rate(group, value)
        self._last_lr = self._rates()

    def get_last_lr(self) -> list[float]:
        """The rates that the last step set, one for each group."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned. Load the optimizer's state too: it holds the rates."""
        self.__dict__.update(state_dict)


def saved_functions(functions: Sequence[Callable[..., Any] | None]) -> list[Any]:
    """What can be saved of functions: the attributes of callable objects, None for the rest."""
    plain = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
    return [None if f is None or isinstance(f, plain) else dict(f.__dict__) for f in functions]


def restore_functions(functions: Sequence[Any], saved: Sequence[Any]) -> None:
    """Give callable objects their attributes back."""
    for function, attributes in zip(functions, saved, strict=True):
        if attributes is not None:
            function.__dict__.update(attributes)
