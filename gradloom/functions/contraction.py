"""Products of matrices and of whatever becomes one."""

from __future__ import annotations

from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, operand
from gradloom.functions.elementwise import _add
from gradloom.functions.movement import broadcast_to, reshape, swap_last, unsqueeze
from gradloom.ops import structure as S
from gradloom.ops.core import broadcast_shapes
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = "bmm matmul mm".split()
INTERNAL = "dot linear".split()


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Batched product of operands with equal batch axes (and dtypes promoted)."""
    return apply(S.dot, (a, b))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product as NumPy and PyTorch have it: 1-d operands are vectors, leading axes broadcast.

    Raises
    ------
    ShapeError: where the inner sizes differ. DTypeError: where the dtypes do.
    """
    a, b = operand(input), operand(other)
    if not a.ndim or not b.ndim:
        raise ShapeError(
            f"matmul: operands must have at least one dimension, got {tuple(a.shape)} and {tuple(b.shape)}",
            code="shape.matmul",
        )
    if a.dtype is not b.dtype:
        raise DTypeError(
            f"matmul: dtypes {a.dtype.name} and {b.dtype.name} differ", code="dtype.matmul",
            hint="convert one of them with .to(dtype)",
        )  # fmt: skip
    va, vb = a.ndim == 1, b.ndim == 1
    x = unsqueeze(a, 0) if va else a
    y = unsqueeze(b, 1) if vb else b
    if x.shape[-1] != y.shape[-2]:
        raise ShapeError(
            f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit: axis -1 of the first ({x.shape[-1]}) "
            f"must equal axis {-1 if vb else -2} of the second ({y.shape[-2]})",
            code="shape.matmul",
            hint="transpose one operand or check the number of features",
        )
    if y.ndim == 2 and x.ndim > 2:  # one big product
        out = reshape(dot(reshape(x, (-1, x.shape[-1])), y), (*x.shape[:-1], y.shape[-1]))
    else:
        batch = broadcast_shapes("matmul", [x.shape[:-2], y.shape[:-2]])
        out = dot(broadcast_to(x, (*batch, *x.shape[-2:])), broadcast_to(y, (*batch, *y.shape[-2:])))
    if va or vb:
        shape = list(out.shape)
        if vb:
            shape.pop()
        if va:
            shape.pop(-1 if vb else -2)
        out = reshape(out, tuple(shape))
    return out


mm = bmm = matmul


@composite
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input (..., in), weight (out, in), bias (out)."""
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: input {tuple(input.shape)} does not fit weight {tuple(weight.shape)}: axis -1 of the input must "
            f"be {weight.shape[-1]}",
            code="shape.linear",
            hint="the layer's in_features must equal the number of features of its input; flatten images first",
        )
    out = matmul(input, swap_last(weight))
    return out if bias is None else _add(out, bias)
