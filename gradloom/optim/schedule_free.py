"""AdamW without a schedule (Defazio et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.modes import no_grad
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, checked_betas, number, switches
from gradloom.tensor import Tensor


class AdamWScheduleFree(Optimizer):
    """AdamW whose running mean of the parameters stands in for a falling rate.

    While training the parameters are y, between the fast sequence z and its mean x; `eval()` puts x in their place and
    `train()` puts y back. Evaluate and save between the two.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
    betas : (float, float)
        The first is the weight of the mean in y.
    eps, weight_decay : float
        The decay acts at y.
    warmup_steps : int
        Steps in which the rate rises.
    r, weight_lr_power : float
        Weights of the mean: t^r · lr^weight_lr_power.
    """

    _numbers = ("weight_sum", "lr_max")
    _complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        foreach: bool | None = None,
    ) -> None:
        checked("lr", lr)
        checked("eps", eps)
        checked_betas(betas)
        if betas[0] <= 0:
            raise ValueError(f"betas[0] must be above 0, got {betas[0]}")
        checked("weight_decay", weight_decay)
        switches(foreach)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
            "train_mode": True,
            "foreach": foreach,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("z", "exp_avg_sq")

    def _state_array(self, name: str, group: Mapping[str, Any], param: Tensor) -> np.ndarray:
        return np.array(param.detach().numpy()) if name == "z" else super()._state_array(name, group, param)

    def _first_numbers(self, group: Mapping[str, Any]) -> dict[str, float]:
        return {"weight_sum": 0.0, "lr_max": 0.0}

    def _flags(self, group: Mapping[str, Any]) -> bool:
        if not group["train_mode"]:
            raise ValueError("the parameters hold their mean: call train() on the optimizer before a step")
        return group["weight_decay"] != 0

    @staticmethod
    def _rate(group: Mapping[str, Any], step: int) -> float:
        return number(group["lr"]) * min(1.0, step / max(group["warmup_steps"], 1))

    def _advance(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> dict[str, float]:
        most = max(numbers["lr_max"], self._rate(group, step))
        return {
            "lr_max": most,
            "weight_sum": numbers["weight_sum"] + step ** group["r"] * most ** group["weight_lr_power"],
        }

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        beta1, beta2 = group["betas"]
        rate = self._rate(group, step)
        after = self._advance(group, step, numbers)["weight_sum"]
        share = (after - numbers["weight_sum"]) / after if after else 0.0
        return [
            rate,
            rate * (beta1 * (1.0 - share) - 1.0),
            share,
            float(beta2),
            1.0 - beta2,
            1.0 / math.sqrt(1.0 - beta2**step),
            float(group["eps"]),
            float(group["weight_decay"]),
        ]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        rate, rate_y, share, beta2, share2, root, eps, decay = scalars
        z, square = state[0], state[1] * beta2 + grad * grad * share2
        direction = grad / (G.sqrt(square) * root + eps)
        if flags:
            direction = direction + param * decay
        return param + (z - param) * share + direction * rate_y, z - direction * rate, square

    def _move(self, weight: Any, training: bool) -> None:
        with no_grad():
            for group in self.param_groups:
                if group["train_mode"] != training:
                    for p in group["params"]:
                        z = self.state[p].get("z")
                        if z is not None:
                            p.copy_(p + (z - p) * weight(group["betas"][0]))
                    group["train_mode"] = training

    def eval(self) -> None:
        """Put the mean x into the parameters."""
        self._move(lambda beta: 1.0 - 1.0 / beta, False)

    def train(self) -> None:
        """Put y, where gradients are taken, back into the parameters."""
        self._move(lambda beta: 1.0 - beta, True)
