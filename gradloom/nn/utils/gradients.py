"""Gradients clipped, by their common norm or one by one."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gradloom import functions as G
from gradloom.errors import GradientError
from gradloom.functions.linalg_norms import vector_norm
from gradloom.modes import no_grad
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


@composite
def _total(norm_type: float, *tensors: Tensor) -> Tensor:
    return vector_norm(G.stack([vector_norm(t, norm_type) for t in tensors]), norm_type)


@composite
def _clipped(max_norm: float, total: Tensor, *tensors: Tensor) -> list[Tensor]:
    # a norm of 0 must not divide; the factor never lengthens
    factor = G.clamp(max_norm / (total + 1e-6), max=1.0)
    return [t * G.cast(factor, t.dtype) for t in tensors]


@composite
def _bounded(bound: float, *tensors: Tensor) -> list[Tensor]:
    return [G.clamp(t, -bound, bound) for t in tensors]


def _listed(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in _listed(parameters) if p.grad is not None]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors as if they were one vector.

    norm_type: the exponent; inf for the largest magnitude. error_if_nonfinite: look at the value, and raise
    GradientError where it is NaN or infinite. foreach: accepted; all tensors are read in one program in any case.
    """
    listed = _listed(tensors)
    if not listed:
        return tensor(0.0)
    with no_grad():
        total = _total(float(norm_type), *listed)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise GradientError(
            f"the total norm of order {norm_type} of the gradients is {total.item()}, so they cannot be clipped",
            code="gradient.clip",
            hint="look for the overflow, or pass error_if_nonfinite=False",
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients, in place, by max_norm / total_norm where that is below 1."""
    grads = _gradients(parameters)
    if not grads:
        return
    with no_grad():
        for g, new in zip(grads, _clipped(float(max_norm), total_norm, *grads), strict=True):
            g._write(new)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients, in place, so that their common norm is at most `max_norm`; the norm that they had.

    The options are those of :func:`get_total_norm`.
    """
    listed = _listed(parameters)
    total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(listed, max_norm, total, foreach)
    return total


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """:func:`clip_grad_norm_` under its old name."""
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Bring every entry of the gradients, in place, into [-clip_value, clip_value]."""
    grads = _gradients(parameters)
    if not grads:
        return
    with no_grad():
        for g, new in zip(grads, _bounded(float(clip_value), *grads), strict=True):
            g._write(new)
