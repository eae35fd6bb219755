"""Optimisers around an optimiser: SAM (Foret et al. 2021) and Lookahead (Zhang et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import StateError
from gradloom.modes import enable_grad
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import checked
from gradloom.tape import update
from gradloom.tensor import Tensor, tensor


class SAM(Optimizer):
    """Sharpness-aware minimisation: the base optimiser steps by the gradient at the worst point nearby.

    Give `step` a closure that computes loss and gradients: it is called twice. Or call `first_step` and `second_step`
    yourself, each behind a backward pass.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    base_optimizer : class of the optimiser that steps
    rho : float
        The distance of the point.
    adaptive : bool
        Measure the distance in units of each element's size (Kwon et al. 2021).
    **options : of the base optimiser
    """

    _complex = False

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: Callable[..., Optimizer],
        rho: float = 0.05,
        adaptive: bool = False,
        **options: Any,
    ) -> None:
        checked("rho", rho)
        super().__init__(params, {"rho": rho, "adaptive": adaptive, **options})
        self.base_optimizer = base_optimizer(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups
        for group in self.param_groups:
            group.setdefault("rho", rho)
            group.setdefault("adaptive", adaptive)
        self.defaults.update(self.base_optimizer.defaults)
        self.state = self.base_optimizer.state
        self._before: dict[int, Tensor] = {}

    def first_step(self, zero_grad: bool = False) -> None:
        """Go to the point where the loss is expected to be worst; keep where we were."""
        params, rates, adaptive = [], [], []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    params.append(p)
                    rates.append(float(group["rho"]))
                    adaptive.append(bool(group["adaptive"]))
        if params:
            for p in params:
                if id(p) not in self._before:
                    self._before[id(p)] = tensor(np.zeros(tuple(p.shape), p.dtype.numpy))
            olds = [self._before[id(p)] for p in params]

            def climb(reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
                here = writes[: len(reads)]
                total = G.const(0.0)
                for p, g, scaled in zip(here, reads, adaptive, strict=True):
                    u = G.abs(p) * g if scaled else g
                    total = total + G.sum(u * u)
                factor = 1.0 / (G.sqrt(total) + 1e-12)
                moved = []
                for p, g, scaled, rho in zip(here, reads, adaptive, scalars, strict=True):
                    new = p + (p * p * g if scaled else g) * (factor * rho)
                    moved.append(G.cast(new, p.dtype))
                return [*moved, *(p.clone() for p in here)]

            grads: list[Any] = [p.grad for p in params]
            update(("sam", tuple(adaptive)), climb, grads, [*params, *olds], rates)
        self._away = params
        if zero_grad:
            self.zero_grad()

    def second_step(self, zero_grad: bool = False) -> None:
        """Go back, and let the base optimiser step by the gradients that are there now."""
        if not getattr(self, "_away", None):
            raise StateError("second_step() before first_step()", code="optim.sam", hint="call step(closure)")
        back = [self._before[id(p)] for p in self._away]
        update(("sam back",), lambda reads, writes, scalars: [old.clone() for old in reads], back, self._away, [])
        self._away = []
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Both steps. The closure's first loss is returned."""
        if closure is None:
            raise ValueError("SAM.step needs a closure that computes loss and gradients: they are needed twice")
        with enable_grad():
            loss = closure()
            self.first_step(zero_grad=True)
            closure()
        self.second_step()
        return loss

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As `Optimizer.load_state_dict`, for the base optimiser."""
        self.base_optimizer.load_state_dict(state_dict)
        self.param_groups, self.state = self.base_optimizer.param_groups, self.base_optimizer.state

    def state_dict(self) -> dict[str, Any]:
        """The base optimiser's; nothing else lasts from step to step."""
        return self.base_optimizer.state_dict()


class Lookahead(Optimizer):
    """Every `k` steps of an optimiser, go the share `alpha` of the way from where the last `k` began.

    Parameters
    ----------
    optimizer : Optimizer
        The one that steps; its groups and state are shared.
    k : int
    alpha : float
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not 0.0 < alpha <= 1.0:
            raise ValueError(f"alpha lies above 0 and at most at 1, got {alpha}")
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.param_groups, self.state = optimizer.param_groups, optimizer.state
        self._since = 0
        params = [p for group in self.param_groups for p in group["params"]]
        self._slow = [tensor(np.array(p.detach().numpy())) for p in params]

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """As `Optimizer.add_param_group`, for the inner optimiser."""
        if not hasattr(self, "optimizer"):
            super().add_param_group(group)
            return
        self.optimizer.add_param_group(group)
        self._slow += [tensor(np.array(p.detach().numpy())) for p in self.param_groups[-1]["params"]]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of the inner optimiser, and each k-th time the slow one."""
        loss = self.optimizer.step(closure)
        self._since += 1
        if self._since == self.k:
            self._since = 0
            params = [p for group in self.param_groups for p in group["params"]]
            count = len(params)

            def pull(reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
                slow = [s + (p - s) * scalars[0] for p, s in zip(writes[:count], writes[count:], strict=True)]
                slow = [G.cast(s, w.dtype) for s, w in zip(slow, writes[count:], strict=True)]
                return slow + [s.clone() for s in slow]

            update(("lookahead", count), pull, [], [*params, *self._slow], [float(self.alpha)])
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The inner optimiser's, with "slow" (tensors) and "since" (steps since the last pull) beside it."""
        return {**self.optimizer.state_dict(), "slow": [s.detach() for s in self._slow], "since": self._since}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` gave."""
        self.optimizer.load_state_dict(state_dict)
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state
        self._since = int(state_dict["since"])
        self._slow = [tensor(np.array(s.numpy())) for s in state_dict["slow"]]
