"""Adam (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018), AdamW (Loshchilov and Hutter 2019), SparseAdam."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, checked_betas, number, switches, tensor_options
from gradloom.optim.rows import touched
from gradloom.tensor import Tensor


class Adam(Optimizer):
    """Step along the running mean of the gradient, divided by the root of the running mean of its square.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Learning rate.
    betas : (float, float)
        Decay of the two running means.
    eps : float
        Added to the root.
    weight_decay : float
        Factor of the L2 penalty, added to the gradient.
    amsgrad : bool
        Divide by the largest mean square so far.
    maximize : bool
        Climb instead of descending.
    decoupled_weight_decay : bool
        Let the decay shrink the parameter itself, as AdamW does.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        betas: tuple[LearningRate, LearningRate] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked_betas(betas)
        checked("weight_decay", weight_decay)
        tensor_options(lr, betas, foreach, capturable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, {**defaults, **switches(foreach, fused=fused, differentiable=differentiable)})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        decoupled = bool(group["decoupled_weight_decay"])
        return (bool(group["amsgrad"]), group["weight_decay"] != 0, decoupled, bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        lr, (beta1, beta2), decay = number(group["lr"]), group["betas"], group["weight_decay"]
        beta1, beta2 = number(beta1), number(beta2)
        return [
            -lr / (1.0 - beta1**step),
            1.0 / math.sqrt(1.0 - beta2**step),
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            float(group["eps"]),
            1.0 - lr * decay if group["decoupled_weight_decay"] else float(decay),
        ]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        amsgrad, has_decay, decoupled, maximize = flags
        minus_step, root_correction, share1, beta2, share2, eps, decay = scalars
        if maximize:
            grad = -grad
        if has_decay and decoupled:
            param = param * decay
        elif has_decay:
            grad = grad + param * decay
        mean = state[0] + (grad - state[0]) * share1
        square = state[1] * beta2 + grad * grad * share2
        if amsgrad:
            largest = G.maximum(state[2], square)
            return param + mean / (G.sqrt(largest) * root_correction + eps) * minus_step, mean, square, largest
        return param + mean / (G.sqrt(square) * root_correction + eps) * minus_step, mean, square


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself: p ← p·(1 - lr·weight_decay) before the step."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        betas: tuple[LearningRate, LearningRate] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As `Optimizer.load_state_dict`; the decay stays decoupled."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


class SparseAdam(Optimizer):
    """Adam that leaves alone the rows (first axis) which a step's gradient does not speak of, and their moments.

    A gradient of embeddings with ``sparse=True`` speaks of the rows that were looked up, as in PyTorch, whose
    SparseAdam takes no other. Of any other gradient it is the rows that are not all zero.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr, betas, eps : float, (float, float), float
    maximize : bool
    """

    _complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if number(lr) <= 0 or eps <= 0:
            raise ValueError(f"lr and eps must be positive, got {lr} and {eps}")
        checked("lr", lr)
        checked_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _flags(self, group: Mapping[str, Any]) -> bool:
        return bool(group["maximize"])

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        beta1, beta2 = group["betas"]
        rate = -number(group["lr"]) * math.sqrt(1.0 - beta2**step) / (1.0 - beta1**step)
        return [rate, 1.0 - beta1, 1.0 - beta2, float(group["eps"])]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        rate, share1, share2, eps = scalars
        here = touched(grad)
        if flags:
            grad = -grad
        mean = state[0] + (grad - state[0]) * share1
        square = state[1] + (grad * grad - state[1]) * share2
        new = param + mean / (G.sqrt(square) + eps) * rate
        return G.where(here, new, param), G.where(here, mean, state[0]), G.where(here, square, state[1])
