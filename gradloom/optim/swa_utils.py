"""Means of a model's weights along the way: SWA (Izmailov et al. 2018) and exponential means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from gradloom.modes import no_grad
from gradloom.nn.module import Module
from gradloom.optim.lr_scheduler.base import LRScheduler, by_group
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import number
from gradloom.tensor import Tensor, tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Mean = Callable[[Tensor, Tensor, Any], Tensor]
MultiMean = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]


def _decay(decay: float) -> float:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"decay lies between 0 and 1, got {decay}")
    return decay


def get_ema_avg_fn(decay: float = 0.999) -> Mean:
    """decay·mean + (1 - decay)·value."""
    _decay(decay)

    def mean(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        with no_grad():
            return averaged * decay + current * (1.0 - decay)

    return mean


def get_swa_avg_fn() -> Mean:
    """Mean + (value - mean)/(count + 1)."""

    def mean(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        with no_grad():
            return averaged + (current - averaged) / (count + 1)

    return mean


def _many(mean: Mean) -> MultiMean:
    def means(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        with no_grad():
            for a, c in zip(averaged, current, strict=True):
                a.copy_(mean(a, c, count))

    return means


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiMean:
    """`get_ema_avg_fn` for lists, in place."""
    return _many(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> MultiMean:
    """`get_swa_avg_fn` for lists, in place."""
    return _many(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model that holds the mean of its weights over the calls of `update_parameters`.

    Parameters
    ----------
    model : Module
    device : optional
        Where the copy lives.
    avg_fn, multi_avg_fn : function, optional
        (mean, value, count) to the new mean; or of lists, in place. The plain mean if neither is given.
    use_buffers : bool
        Average the buffers too, instead of copying them.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Mean | None = None,
        multi_avg_fn: MultiMean | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("give avg_fn or multi_avg_fn, not both")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(np.asarray(0, np.int64)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the model's present weights into the mean; the first time they are copied."""
        own: list[Tensor] = [*self.module.parameters()]
        theirs: list[Tensor] = [*model.parameters()]
        if self.use_buffers:
            own += self.module.buffers()
            theirs += model.buffers()
        count = int(self.n_averaged.item())
        with no_grad():
            if count == 0:
                for mean, value in zip(own, theirs, strict=True):
                    mean.copy_(value.detach())
            elif self.multi_avg_fn is not None:
                self.multi_avg_fn([p.detach() for p in own], [p.detach() for p in theirs], count)
            else:
                function = self.avg_fn or get_swa_avg_fn()
                for mean, value in zip(own, theirs, strict=True):
                    new = function(mean.detach(), value.detach(), count)
                    mean.copy_(new if new.dtype is mean.dtype else new.to(mean.dtype))
            if not self.use_buffers:
                for kept, value in zip(self.module.buffers(), model.buffers(), strict=True):
                    kept.copy_(value.detach())
            self.n_averaged.copy_(tensor(np.asarray(count + 1, np.int64)))


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of batch normalisation anew, as means over a loader's batches.

    loader : batches, or tuples whose first entry is one.
    """
    layers = [m for m in model.modules() if hasattr(m, "running_mean") and hasattr(m, "reset_running_stats")]
    layers = [m for m in layers if m.running_mean is not None]
    if not layers:
        return
    momenta = [m.momentum for m in layers]
    training = model.training
    model.train()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over batches
        with no_grad():
            for batch in loader:
                x = batch[0] if isinstance(batch, (list, tuple)) else batch
                model(x if device is None else x.to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """Go from the present rate to `swa_lr` in anneal_epochs, and stay there.

    Parameters
    ----------
    optimizer : Optimizer
    swa_lr : float, or one for each group
    anneal_epochs : int
    anneal_strategy : {"cos", "linear"}
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy is 'cos' or 'linear', not {anneal_strategy!r}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be an integer of at least 0, got {anneal_epochs}")
        for group, rate in zip(optimizer.param_groups, by_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How far the way is gone at a step."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[float]:
        """The present rates, led back to where they began, and on to the new share."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            rate, goal = number(group["lr"]), group["swa_lr"]
            start = goal if before == 1 else (rate - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates
