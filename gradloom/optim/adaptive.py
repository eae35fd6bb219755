"""Rates by element: Adagrad (Duchi et al. 2011), Adadelta (Zeiler 2012), RMSprop (Hinton 2012), Rprop (1993)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, number, switches
from gradloom.tensor import Tensor


def _penalised(has_decay: bool, maximize: bool, param: Tensor, grad: Tensor, decay: Tensor) -> Tensor:
    """The gradient with the sign of the climb and the L2 penalty."""
    if maximize:
        grad = -grad
    return grad + param * decay if has_decay else grad


class Adadelta(Optimizer):
    """Steps in proportion to the root mean square of earlier steps over that of the gradients.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Factor of the step.
    rho : float
        Decay of both running means.
    eps, weight_decay : float
    maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked("weight_decay", weight_decay)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"rho must lie between 0 and 1, got {rho}")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
        }
        super().__init__(params, {**defaults, **switches(foreach, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (group["weight_decay"] != 0, bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        rho = group["rho"]
        return [-number(group["lr"]), float(rho), 1.0 - rho, float(group["eps"]), float(group["weight_decay"])]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        minus_lr, rho, share, eps, decay = scalars
        grad = _penalised(flags[0], flags[1], param, grad, decay)
        square = state[0] * rho + grad * grad * share
        delta = G.sqrt(state[1] + eps) / G.sqrt(square + eps) * grad
        return param + delta * minus_lr, square, state[1] * rho + delta * delta * share


class Adagrad(Optimizer):
    """Rates that fall with the root of the sum of squared gradients.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr, lr_decay : float
        The rate of step t is lr/(1 + (t - 1)·lr_decay).
    weight_decay, initial_accumulator_value, eps : float
    maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        checked("lr", lr)
        checked("lr_decay", lr_decay)
        checked("weight_decay", weight_decay)
        checked("initial_accumulator_value", initial_accumulator_value)
        checked("eps", eps)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, {**defaults, **switches(foreach, fused=fused, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("sum",)

    def _state_array(self, name: str, group: Mapping[str, Any], param: Tensor) -> np.ndarray:
        value = group["initial_accumulator_value"]
        return np.full(
            tuple(param.shape), complex(value, value) if param.dtype.is_complex else value, param.dtype.numpy
        )

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (group["weight_decay"] != 0, bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        rate = -number(group["lr"]) / (1.0 + (step - 1) * group["lr_decay"])
        return [rate, float(group["eps"]), float(group["weight_decay"])]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        rate, eps, decay = scalars
        grad = _penalised(flags[0], flags[1], param, grad, decay)
        total = state[0] + grad * grad
        return param + grad / (G.sqrt(total) + eps) * rate, total


class RMSprop(Optimizer):
    """The gradient over the root of the running mean of its square.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr, alpha, eps, weight_decay : float
        alpha is the decay of the mean.
    momentum : float
    centered : bool
        Divide by the standard deviation: the squared running mean is taken off (Graves 2013).
    maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("alpha", alpha), ("eps", eps), ("weight_decay", weight_decay)):
            checked(name, value)
        checked("momentum", momentum)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "maximize": maximize,
        }
        super().__init__(params, {**defaults, **switches(foreach, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return tuple(names)

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        decays = group["weight_decay"] != 0
        return (group["momentum"] > 0, bool(group["centered"]), decays, bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        alpha = group["alpha"]
        rest = [group["momentum"], alpha, 1.0 - alpha, group["eps"], group["weight_decay"]]
        return [-number(group["lr"]), *map(float, rest)]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        has_momentum, centered, has_decay, maximize = flags
        minus_lr, momentum, alpha, share, eps, decay = scalars
        grad = _penalised(has_decay, maximize, param, grad, decay)
        square = state[0] * alpha + grad * grad * share
        kept = [square]
        spread = square
        if centered:
            mean = state[-1] + (grad - state[-1]) * share
            spread = square - mean * mean
            kept.append(mean)
        step = grad / (G.sqrt(spread) + eps)
        if has_momentum:
            step = state[1] * momentum + step
            kept.insert(1, step)
        return (param + step * minus_lr, *kept)


class Rprop(Optimizer):
    """A step size for each element, which grows while the gradient keeps its sign (Riedmiller and Braun 1993).

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        The first step size.
    etas : (float, float)
        Factors of the step size where the sign changed, and where it stayed.
    step_sizes : (float, float)
        Smallest and largest step size.
    maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        checked("lr", lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"etas lie below and above 1, got {etas}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "maximize": maximize,
            "capturable": capturable,
        }
        super().__init__(params, {**defaults, **switches(foreach, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("prev", "step_size")

    def _state_array(self, name: str, group: Mapping[str, Any], param: Tensor) -> np.ndarray:
        if name == "prev":
            return super()._state_array(name, group, param)
        rate = number(group["lr"])
        return np.full(tuple(param.shape), complex(rate, rate) if param.dtype.is_complex else rate, param.dtype.numpy)

    def _flags(self, group: Mapping[str, Any]) -> bool:
        return bool(group["maximize"])

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        return [float(x) for x in (*group["etas"], *group["step_sizes"])]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        shrink, grow, least, most = scalars
        if flags:
            grad = -grad
        agreed = grad * state[0]
        turned = agreed < 0.0
        size = G.where(turned, state[1] * shrink, G.where(agreed > 0.0, state[1] * grow, state[1]))
        size = G.minimum(G.maximum(size, least), most)
        grad = G.where(turned, 0.0, grad)
        return param - G.sign(grad) * size, grad, size
