"""Products of matrices and of whatever becomes one."""

from __future__ import annotations

import math

from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, operand
from gradloom.functions.elementwise import _add
from gradloom.functions.movement import broadcast_to, reshape, swap_last, unsqueeze
from gradloom.ops import structure as S
from gradloom.ops.core import broadcast_shapes
from gradloom.tape import MODES, composite
from gradloom.tensor import Tensor

__all__ = "bmm matmul mm".split()
INTERNAL = "dot linear".split()


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Batched product of operands with equal batch axes (and dtypes promoted)."""
    return apply(S.dot, (a, b))


def matmul(input: Tensor, other: Tensor, *, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Matrix product as NumPy and PyTorch have it: 1-d operands are vectors, leading axes broadcast.

    transpose_a, transpose_b: swap the last two axes of an operand before, as TensorFlow has it.

    Raises
    ------
    ShapeError: where the inner sizes differ. DTypeError: where the dtypes do.
    """
    a, b = operand(input), operand(other)
    if MODES.autocast is not None:
        (a, b), _ = MODES.autocast.operands("matmul", (a, b), {})
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
    if transpose_a and a.ndim > 1:
        a = swap_last(a)
    if transpose_b and b.ndim > 1:
        b = swap_last(b)
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ShapeError(
            f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit: axis -1 of the first ({a.shape[-1]}) "
            f"must equal axis {-1 if b.ndim == 1 else -2} of the second ({inner})",
            code="shape.matmul",
            hint="transpose one operand or check the number of features",
        )
    if a.ndim == 2 == b.ndim:
        return dot(a, b)
    if a.ndim > 2 and b.ndim > 2 and a.shape[:-2] != b.shape[:-2]:
        broadcast_shapes("matmul", [a.shape[:-2], b.shape[:-2]])  # refuses them here, under this name
    return _product(a, b)


@composite
def _product(a: Tensor, b: Tensor) -> Tensor:
    """The product of operands that fit, vectors or batches among them."""
    va, vb = a.ndim == 1, b.ndim == 1
    x = unsqueeze(a, 0) if va else a
    y = unsqueeze(b, 1) if vb else b
    if y.ndim == 2 and x.ndim > 2:  # one big product
        rows = math.prod(x.shape[:-1])
        out = reshape(dot(reshape(x, (rows, x.shape[-1])), y), (*x.shape[:-1], y.shape[-1]))
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


def need_rank(name: str, rank: int, **operands: Tensor) -> None:
    """Raise ShapeError where an operand does not have so many dimensions."""
    for label, x in operands.items():
        if x.ndim != rank:
            raise ShapeError(
                f"{name}: {label} must have {rank} dimension{'s' * (rank != 1)}, got shape {tuple(x.shape)}",
                code="shape.rank",
                hint="matmul takes operands of any rank" if name in ("mm", "bmm", "mv", "dot") else "",
            )


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices, (n, k) and (k, m); no broadcasting."""
    if input.ndim != 2 or mat2.ndim != 2:
        need_rank("mm", 2, input=input, mat2=mat2)
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two batches of matrices, (b, n, k) and (b, k, m); no broadcasting."""
    if input.ndim != 3 or mat2.ndim != 3:
        need_rank("bmm", 3, input=input, mat2=mat2)
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(
            f"bmm: batches of {input.shape[0]} and {mat2.shape[0]} matrices differ", code="shape.matmul",
            hint="matmul broadcasts leading axes",
        )  # fmt: skip
    return matmul(input, mat2)


@composite
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input (..., in), weight (out, in) or (in), bias (out) or a number."""
    if weight.ndim not in (1, 2) or not input.ndim or input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"linear: input {tuple(input.shape)} does not fit weight {tuple(weight.shape)}: axis -1 of the input must "
            f"be {weight.shape[-1] if weight.ndim else 1}",
            code="shape.linear",
            hint="the layer's in_features must equal the number of features of its input; flatten images first",
        )
    out = matmul(input, weight if weight.ndim == 1 else swap_last(weight))
    return out if bias is None else _add(out, bias)
