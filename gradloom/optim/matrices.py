"""Optimisers that know rows and columns: Adafactor (Shazeer and Stern 2018) and Muon (Jordan 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions.conversion import finfo
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, number, switches
from gradloom.tensor import Tensor


def _norm(x: Tensor) -> Tensor:
    return G.sqrt(G.sum(x * x))


class Adafactor(Optimizer):
    """Mean squares kept by rows and columns of the last two axes; steps in proportion to the parameter's size.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        The largest relative step; it falls as 1/sqrt(t).
    beta2_decay : float
        The mean of squares at step t has the share t^beta2_decay of the new one.
    eps : (float or None, float)
        Least mean square (None: the dtype's resolution, squared) and least size of a parameter.
    d : float
        Steps with a larger root mean square are cut down to it.
    weight_decay : float
        Decoupled.
    maximize : bool
    """

    _complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        checked("lr", lr)
        if beta2_decay > 0:
            raise ValueError(f"beta2_decay must be at most 0, got {beta2_decay}")
        if eps[0] is not None:
            checked("eps[0]", eps[0])
        checked("eps[1]", eps[1])
        if d < 1.0:
            raise ValueError(f"d must be at least 1, got {d}")
        checked("weight_decay", weight_decay)
        switches(foreach)
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("row_var", "col_var") if param.ndim > 1 else ("variance",)

    def _state_array(self, name: str, group: Mapping[str, Any], param: Tensor) -> np.ndarray:
        shape = tuple(param.shape)
        if name == "row_var":
            shape = (*shape[:-1], 1)
        elif name == "col_var":
            shape = (*shape[:-2], 1, shape[-1])
        return np.zeros(shape, param.dtype.numpy)

    def _flags(self, group: Mapping[str, Any]) -> tuple[bool, ...]:
        return (group["eps"][0] is None, group["weight_decay"] != 0, bool(group["maximize"]))

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        lr = number(group["lr"])
        return [
            -min(lr, 1.0 / math.sqrt(step)),
            float(step ** group["beta2_decay"]),
            float(group["eps"][0] or 0.0),
            float(group["eps"][1]),
            float(group["d"]),
            1.0 - lr * group["weight_decay"],
        ]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        resolution, has_decay, maximize = flags
        rate, share, eps1, eps2, most, decay = scalars
        least = G.const(finfo(param.dtype).eps) if resolution else eps1
        if maximize:
            grad = -grad
        root = math.sqrt(max(param.numel(), 1))
        rate = G.maximum(eps2, _norm(param) / root) * rate
        if has_decay:
            param = param * decay
        square = grad * grad
        if param.ndim > 1:
            rows = state[0] + (G.mean(square, dim=-1, keepdim=True) - state[0]) * share
            columns = state[1] + (G.mean(square, dim=-2, keepdim=True) - state[1]) * share
            estimate = rows * columns / G.maximum(G.mean(rows, dim=-2, keepdim=True), least)
            kept = [rows, columns]
        else:
            estimate = state[0] + (square - state[0]) * share
            kept = [estimate]
        step = grad / G.sqrt(G.maximum(estimate, least * least))
        cut = G.maximum(1.0, _norm(step) / (most * root))
        return (param + step * (rate / cut), *kept)


class Muon(Optimizer):
    """Steps along the momentum with all singular values brought near 1, for matrices.

    The Newton-Schulz iteration runs in the parameter's precision (PyTorch rounds it to bfloat16).

    Parameters
    ----------
    params : iterable of Tensor of two dimensions, or of dict
    lr, weight_decay, momentum : float
        The decay is decoupled.
    nesterov : bool
    ns_coefficients : (float, float, float)
        Of the odd polynomial a·x + b·x³ + c·x⁵.
    eps : float
        Least norm.
    ns_steps : int
    adjust_lr_fn : {None, "original", "match_rms_adamw"}
        The factor of the rate by shape: sqrt(max(1, rows/columns)), or 0.2·sqrt(max(rows, columns)).
    """

    _counts = False
    _complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        checked("lr", lr)
        checked("momentum", momentum)
        checked("weight_decay", weight_decay)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"adjust_lr_fn is None, 'original' or 'match_rms_adamw', not {adjust_lr_fn!r}")
        if ns_steps >= 100:
            raise ValueError(f"ns_steps must be below 100, got {ns_steps}")
        if len(ns_coefficients) != 3:
            raise ValueError(f"ns_coefficients are three numbers, got {ns_coefficients}")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """As `Optimizer.add_param_group`. ValueError for a parameter that is no matrix."""
        super().add_param_group(group)
        for p in self.param_groups[-1]["params"]:
            if p.ndim != 2:
                self.param_groups.pop()
                raise ValueError(f"Muon trains matrices; one of the parameters has shape {tuple(p.shape)}")

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def _flags(self, group: Mapping[str, Any]) -> tuple[Any, ...]:
        coefficients = tuple(float(c) for c in group["ns_coefficients"])
        return (bool(group["nesterov"]), coefficients, float(group["eps"]), group["ns_steps"], group["adjust_lr_fn"])

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        lr = number(group["lr"])
        return [-lr, float(group["momentum"]), 1.0 - group["momentum"], 1.0 - lr * group["weight_decay"]]

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        nesterov, (a, b, c), eps, steps, adjust = flags
        minus_lr, momentum, share, decay = scalars
        buffer = state[0] + (grad - state[0]) * share
        x = grad + (buffer - grad) * momentum if nesterov else buffer
        rows, columns = param.shape
        tall = rows > columns
        x = G.swap_last(x) if tall else x
        x = x / G.maximum(_norm(x), eps)
        for _ in range(steps):
            gram = G.matmul(x, G.swap_last(x))
            x = x * a + G.matmul(gram * b + G.matmul(gram, gram) * c, x)
        x = G.swap_last(x) if tall else x
        longest = 0.2 * math.sqrt(max(rows, columns))
        factor = longest if adjust == "match_rms_adamw" else math.sqrt(max(1.0, rows / max(columns, 1)))
        return param * decay + x * minus_lr * factor, buffer
