"""Kin of Adam: Adamax (Kingma and Ba 2015), NAdam (Dozat 2016), RAdam (Liu et al. 2020), Adan (Xie et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, checked_betas, number, switches
from gradloom.tensor import Tensor


def _decayed(flags: tuple[bool, ...], param: Tensor, grad: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and parameter after weight decay and the sign of the climb; flags end in (has, decoupled, maximize)."""
    has_decay, decoupled, maximize = flags[-3:]
    if maximize:
        grad = -grad
    if has_decay and decoupled:
        param = param * decay
    elif has_decay:
        grad = grad + param * decay
    return param, grad


class _AdamLike(Optimizer):
    """What the kin share: two running means, decay in either manner."""

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (group["weight_decay"] != 0, bool(group.get("decoupled_weight_decay")), bool(group["maximize"]))

    @staticmethod
    def _decay(group: Mapping[str, Any]) -> float:
        if group.get("decoupled_weight_decay"):
            return 1.0 - number(group["lr"]) * group["weight_decay"]
        return float(group["weight_decay"])


class Adamax(_AdamLike):
    """Adam by the largest gradient, decayed, in place of the mean square.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr, betas, eps, weight_decay : float, (float, float), float, float
        eps is added to the size of the gradient.
    maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked_betas(betas)
        checked("weight_decay", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
        }
        super().__init__(params, {**defaults, **switches(foreach, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        beta1, beta2 = group["betas"]
        rate = -number(group["lr"]) / (1.0 - beta1**step)
        return [rate, 1.0 - beta1, float(beta2), float(group["eps"]), self._decay(group)]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        rate, share, beta2, eps, decay = scalars
        param, grad = _decayed(flags, param, grad, decay)
        mean = state[0] + (grad - state[0]) * share
        largest = G.maximum(state[1] * beta2, G.abs(grad) + eps)
        return param + mean / largest * rate, mean, largest


class NAdam(_AdamLike):
    """Adam with Nesterov's look ahead.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr, betas, eps, weight_decay : float, (float, float), float, float
    momentum_decay : float
        How quickly the momentum rises to its full value.
    decoupled_weight_decay, maximize : bool
    """

    _numbers = ("mu_product",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked_betas(betas)
        checked("weight_decay", weight_decay)
        checked("momentum_decay", momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "capturable": capturable,
        }
        super().__init__(params, {**defaults, **switches(foreach, differentiable=differentiable)})

    def _first_numbers(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {"mu_product": 1.0}

    @staticmethod
    def _momentum(group: Mapping[str, Any], step: int) -> float:
        return group["betas"][0] * (1.0 - 0.5 * 0.96 ** (step * group["momentum_decay"]))

    def _advance(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> dict[str, float]:
        return {"mu_product": numbers["mu_product"] * self._momentum(group, step)}

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        now, ahead = self._momentum(group, step), self._momentum(group, step + 1)
        product = numbers["mu_product"] * now
        return [
            -lr * (1.0 - now) / (1.0 - product),
            -lr * ahead / (1.0 - product * ahead),
            1.0 / math.sqrt(1.0 - beta2**step),
            1.0 - beta1,
            float(beta2),
            1.0 - beta2,
            float(group["eps"]),
            self._decay(group),
        ]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        rate_grad, rate_mean, root_correction, share1, beta2, share2, eps, decay = scalars
        param, grad = _decayed(flags, param, grad, decay)
        mean = state[0] + (grad - state[0]) * share1
        square = state[1] * beta2 + grad * grad * share2
        root = G.sqrt(square) * root_correction + eps
        return param + (grad * rate_grad + mean * rate_mean) / root, mean, square


class RAdam(_AdamLike):
    """Adam whose first steps, while the mean square is uncertain, leave it out.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr, betas, eps, weight_decay : float, (float, float), float, float
    decoupled_weight_decay, maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked_betas(betas)
        checked("weight_decay", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "capturable": capturable,
        }
        super().__init__(params, {**defaults, **switches(foreach, differentiable=differentiable)})

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        correction = 1.0 - beta2**step
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * step * beta2**step / correction
        adaptive, plain = 0.0, 1.0
        if length > 5.0:  # the mean square can be trusted; both cases are numbers of one program
            rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            adaptive, plain = math.sqrt(rectified * correction), 0.0
        rate = -lr / (1.0 - beta1**step)
        return [
            rate * adaptive,
            rate * plain,
            1.0 - beta1,
            float(beta2),
            1.0 - beta2,
            float(group["eps"]),
            self._decay(group),
        ]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        adaptive, plain, share1, beta2, share2, eps, decay = scalars
        param, grad = _decayed(flags, param, grad, decay)
        mean = state[0] + (grad - state[0]) * share1
        square = state[1] * beta2 + grad * grad * share2
        return param + mean * (adaptive / (G.sqrt(square) + eps) + plain), mean, square


class Adan(_AdamLike):
    """Adam with a running mean of the gradient's changes, Nesterov's look ahead without a second gradient.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
    betas : (float, float, float)
        Decay of the means of the gradient, of its changes, and of the square of both together.
    eps, weight_decay : float
        The decay is decoupled: p ← (p - step)/(1 + lr·weight_decay), or p·(1 - lr·weight_decay) where `no_prox`.
    no_prox, maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        no_prox: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked_betas(betas)
        checked("weight_decay", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "no_prox": no_prox,
            "maximize": maximize,
        }
        super().__init__(params, {**defaults, **switches(foreach, fused=fused)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_diff", "exp_avg_sq", "pre_grad")

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (group["weight_decay"] != 0, bool(group["no_prox"]), bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        lr, (beta1, beta2, beta3), decay = number(group["lr"]), group["betas"], group["weight_decay"]
        return [
            -lr / (1.0 - beta1**step),
            -lr * beta2 / (1.0 - beta2**step),
            1.0 / math.sqrt(1.0 - beta3**step),
            beta1,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            beta3,
            1.0 - beta3,
            float(group["eps"]),
            1.0 - lr * decay if group["no_prox"] else 1.0 / (1.0 + lr * decay),
            0.0 if step == 1 else 1.0,  # the first gradient has changed by nothing
        ]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        has_decay, no_prox, maximize = flags
        rate, rate_change, root, beta1, share1, beta2, share2, beta3, share3, eps, decay, later = scalars
        if maximize:
            grad = -grad
        change = (grad - state[3]) * later
        ahead = grad + change * beta2
        mean = state[0] * beta1 + grad * share1
        changes = state[1] * beta2 + change * share2
        square = state[2] * beta3 + ahead * ahead * share3
        step = (mean * rate + changes * rate_change) / (G.sqrt(square) * root + eps)
        if has_decay:
            new = param * decay + step if no_prox else (param + step) * decay
        else:
            new = param + step
        return new, mean, changes, square, grad
