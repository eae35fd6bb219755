"""Stochastic gradient descent with momentum, and its average (ASGD)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, number, switches
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

    _counts = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: LearningRate = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        checked("lr", lr)
        checked("momentum", momentum)
        checked("weight_decay", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and a dampening of 0")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, {**defaults, **switches(foreach, fused=fused, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        decays = number(group["weight_decay"]) != 0
        return (group["momentum"] != 0, decays, bool(group["nesterov"]), bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        # the buffer starts as zeros, so a share of 1 at the first step makes it the gradient
        share = 1.0 if step == 1 else 1.0 - group["dampening"]
        return [-number(group["lr"]), float(group["momentum"]), share, number(group["weight_decay"])]

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


class ASGD(Optimizer):
    """SGD with a falling rate η and a running mean of the parameters, the state "ax" (Polyak and Juditsky 1992).

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        η at the start; η = lr/(1 + lambd·lr·t)^alpha later.
    lambd, alpha : float
    t0 : float
        The step at which averaging begins.
    weight_decay : float
        Factor of the L2 penalty.
    maximize : bool
    """

    _numbers = ("eta", "mu")

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("weight_decay", weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
        }
        super().__init__(params, {**defaults, **switches(foreach, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("ax",)

    def _first_numbers(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {"eta": number(group["lr"]), "mu": 1.0}

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (group["weight_decay"] != 0, bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        eta, mu = numbers["eta"], numbers["mu"]
        return [-eta, 1.0 - group["lambd"] * eta, mu, 1.0 - mu, float(group["weight_decay"])]

    def _advance(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> dict[str, float]:
        lr, lambd = number(group["lr"]), group["lambd"]
        eta = lr / (1.0 + lambd * lr * step) ** group["alpha"]
        return {"eta": eta, "mu": 1.0 / max(1.0, step - group["t0"])}

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        has_decay, maximize = flags
        minus_eta, shrink, mu, rest, decay = scalars
        if maximize:
            grad = -grad
        if has_decay:
            grad = grad + param * decay
        new = param * shrink + grad * minus_eta
        return new, state[0] * rest + new * mu
