"""Options of optimisers, checked: hyper-parameters and PyTorch's switches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.errors import ArgumentError, GradientError
from gradloom.tensor import Tensor

__all__ = ["LearningRate", "checked", "checked_betas", "number", "switches", "tensor_options"]

LearningRate = float | Tensor


def switches(foreach: bool | None = None, **others: Any) -> dict[str, Any]:
    """Refuse what cannot be had of PyTorch's switches `foreach`, `fused`, `differentiable`. Returns those given."""
    if foreach and others.get("fused"):
        raise RuntimeError("`fused` and `foreach` cannot be True together: choose one")
    if others.get("differentiable"):
        raise GradientError(
            "differentiable=True: an optimiser's step closes the round, so no gradient flows through it",
            code="optim.differentiable",
            hint="write the inner update with gradloom.func.grad: p - lr * g is an ordinary expression",
        )
    return {"foreach": foreach, **others}


def number(value: Any) -> float:
    """An option that may be a 0-d tensor, as a number."""
    return float(value.item() if isinstance(value, Tensor) else value)


def checked(name: str, value: Any, low: float = 0.0, high: float | None = None) -> Any:
    """Return a hyper-parameter; ValueError unless low <= value (and value < high where given)."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"{name} as a tensor has one element, got shape {tuple(value.shape)}")
    x = number(value)
    if not x >= low or (high is not None and not x < high):
        raise ValueError(f"{name} must be at least {low}{'' if high is None else f' and below {high}'}, got {value}")
    return value


def checked_betas(betas: Sequence[Any]) -> None:
    """ValueError unless all lie in [0, 1)."""
    for k, beta in enumerate(betas):
        checked(f"betas[{k}]", beta, high=1.0)


def tensor_options(lr: Any, betas: Sequence[Any], foreach: bool | None, capturable: bool) -> None:
    """Refuse the options as tensors that PyTorch refuses: a mixture, and with ``foreach`` those not ``capturable``."""
    kinds = {isinstance(beta, Tensor) for beta in betas}
    if len(kinds) > 1:
        raise ArgumentError("betas must be either both floats or both Tensors")
    for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
        if isinstance(value, Tensor) and foreach and not capturable:
            raise ArgumentError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
