"""Adam (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018) and AdamW (Loshchilov and Hutter 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.optim.optimizer import Optimizer, checked
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
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked("betas[0]", betas[0], high=1.0)
        checked("betas[1]", betas[1], high=1.0)
        checked("weight_decay", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (bool(group["amsgrad"]), group["weight_decay"] != 0, self._decoupled, bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int) -> list[float]:
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        return [
            -lr / (1.0 - beta1**step),
            1.0 / math.sqrt(1.0 - beta2**step),
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            float(group["eps"]),
            1.0 - lr * decay if self._decoupled else float(decay),
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

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
