"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from gradloom.optim.lr_scheduler.base import LRScheduler, set_rate
from gradloom.optim.lr_scheduler.plateau import ReduceLROnPlateau
from gradloom.optim.optimizer import Optimizer


class _Combined(LRScheduler):
    """What both share: checks and state."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name} needs at least one scheduler")
        optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        for index, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(f"{name}: scheduler {index} has no optimizer")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"{name}: scheduler {index} is a ReduceLROnPlateau, whose step needs a measure")
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"{name}: scheduler {index} belongs to another optimizer")
        self._schedulers, self.optimizer = list(schedulers), optimizer

    def state_dict(self) -> dict[str, Any]:
        """Its own state, and that of each scheduler."""
        own = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        return {**own, "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Combined):
    """The first schedule until the first milestone, then the second from its beginning, and so on."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        super().__init__(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"{len(schedulers)} schedulers need one milestone less, got {len(milestones)}")
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # each scheduler set the rates to its own beginning when it was made: go back, and begin with the first
        for group in optimizer.param_groups:
            set_rate(group, group["initial_lr"])
        self._undo(self)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._first_step()
        self._last_lr = first.get_last_lr()

    def _undo(self, scheduler: LRScheduler) -> None:
        for inner in getattr(scheduler, "_schedulers", []):
            if hasattr(inner, "_schedulers"):
                self._undo(inner)
            else:
                inner.last_epoch -= 1

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch."""
        if epoch is not None:
            raise ValueError("SequentialLR goes on by one epoch at a time")
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Combined):
    """All schedules at every step, each on what the one before it gave."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        super().__init__(schedulers, optimizer)
        self._last_lr = self._rates()

    def _first_step(self) -> None:
        for scheduler in self._schedulers:
            scheduler._first_step()
        self._last_lr = self._rates()

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch."""
        if epoch is not None:
            raise ValueError("ChainedScheduler goes on by one epoch at a time")
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._rates()
