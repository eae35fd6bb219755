"""The activations that are methods of tensors too; the others stand in :mod:`gradloom.nn.functional`."""

from __future__ import annotations

from gradloom.errors import ShapeError
from gradloom.functions.elementwise import ge, gt, in_single, le, logical_and, mul, where
from gradloom.functions.movement import reshape
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["hardshrink", "prelu"]


@composite
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where -lambd <= x <= lambd, else x."""
    return where(logical_and(ge(input, -lambd), le(input, lambd)), 0.0, input)


@composite
@in_single
def _prelu(input: Tensor, weight: Tensor) -> Tensor:
    count = weight.numel()
    axis = 1 if input.ndim > 1 else 0
    weight = reshape(weight, tuple(count if i == axis else 1 for i in range(input.ndim)) if count > 1 else ())
    return where(gt(input, 0), input, mul(input, weight))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """X where x > 0, else weight·x; `weight` has one entry, or one for each channel (axis 1)."""
    count, shape = weight.numel(), tuple(input.shape)
    if weight.ndim > 1:
        raise ShapeError(
            f"prelu: weight must be a number or a vector, got shape {tuple(weight.shape)}", code="shape.prelu",
            hint="weight has one entry, or one for each channel (axis 1)",
        )  # fmt: skip
    channels = shape[1] if len(shape) > 1 else 1
    if count not in (1, channels):
        raise ShapeError(
            f"prelu: weight has {count} entries, input of shape {shape} has {channels} channels", code="shape.prelu",
            hint="weight has one entry, or one for each channel (axis 1)",
        )  # fmt: skip
    return _prelu(input, weight)
