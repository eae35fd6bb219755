"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradloom.optim.optimizer import Optimizer, checked
from gradloom.tensor import Tensor


class SGD(Optimizer):
    """p ← p - lr·b with b ← momentum·b + (1 - dampening)·g, and g ← g + weight_decay·p before.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Learning rate.
    momentum, dampening : float
        The first step takes b = g, as PyTorch does.
    weight_decay : float
        Factor of the L2 penalty.
    nesterov : bool
        Step along g + momentum·b (Sutskever et al. 2013). Needs momentum and no dampening.
    maximize : bool
        Climb instead of descending.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("momentum", momentum)
        checked("weight_decay", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and a dampening of 0")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (group["momentum"] != 0, group["weight_decay"] != 0, bool(group["nesterov"]), bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int) -> list[float]:
        # the buffer starts as zeros, so a share of 1 at the first step makes it the gradient
        share = 1.0 if step == 1 else 1.0 - group["dampening"]
        return [-float(group["lr"]), float(group["momentum"]), share, float(group["weight_decay"])]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        has_momentum, has_decay, nesterov, maximize = flags
        minus_lr, momentum, share, decay = scalars
        if maximize:
            grad = -grad
        if has_decay:
            grad = grad + param * decay
        if not has_momentum:
            return (param + grad * minus_lr,)
        buffer = state[0] * momentum + grad * share
        direction = grad + buffer * momentum if nesterov else buffer
        return param + direction * minus_lr, buffer
