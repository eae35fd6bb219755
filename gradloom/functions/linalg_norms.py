"""Norms of vectors and matrices, condition numbers, traces, and rows brought under a norm."""

from __future__ import annotations

import builtins
import math
from typing import Any

from gradloom import dtypes
from gradloom.dtypes import as_dtype
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import axes_of, const, operand, pick
from gradloom.functions.elementwise import abs, cast, div, eq, gt, isnan, mul, pow, sign, sqrt, where
from gradloom.functions.linalg_base import diagonal_of, imag, is_complex, need_matrix, real
from gradloom.functions.linalg_solve import inv_ex
from gradloom.functions.linalg_spectral import svdvals
from gradloom.functions.movement import narrow, permute, reshape
from gradloom.functions.reductions import amax, amin, sum
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = "frobenius_norm norm nuclear_norm renorm trace".split()
FUNCTION_ONLY = "frobenius_norm nuclear_norm".split()
INPLACE = ["renorm"]


def trace(input: Tensor) -> Tensor:
    """Sum of the diagonal of a matrix. Integers sum in int64."""
    if input.ndim != 2:
        raise ShapeError(f"trace: expects a matrix, got shape {tuple(input.shape)}", code="shape.rank")
    return sum(diagonal_of(input))


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices in the axes ``dim1`` and ``dim2``, ``offset`` above the main one, as the last axis."""
    (r,), (c,) = axes_of("diagonal", dim1, A.ndim), axes_of("diagonal", dim2, A.ndim)
    if r == c:
        raise ShapeError(f"diagonal: dim1 and dim2 name one axis: {dim1}, {dim2}", code="shape.axis")
    x = permute(A, (*(k for k in range(A.ndim) if k not in (r, c)), r, c))
    n, m = x.shape[-2:]
    rows, cols = (0, builtins.min(offset, m)) if offset >= 0 else (builtins.min(-offset, n), 0)
    return diagonal_of(narrow(narrow(x, -2, rows, n - rows), -1, cols, m - cols))


def linalg_trace(x: Tensor, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """Sums of the diagonals of matrices (..., n, m), ``offset`` above the main one (Array API)."""
    return sum(diagonal(x, offset=offset), -1, dtype=dtype)


# -- vectors ----------------------------------------------------------------------------------------------
def _prepared(name: str, x: Tensor, dtype: Any) -> Tensor:
    """The operand in the dtype asked for. Raises DTypeError for integers, and where that loses something."""
    if dtype is not None:
        d = as_dtype(dtype)
        if d.category < x.dtype.category or not (d.is_floating or d.is_complex):
            raise DTypeError(f"{name}: dtype {d.name} cannot hold {x.dtype.name}", code="dtype.norm")
        return cast(x, d)
    if x.dtype.category < 2:
        raise DTypeError(
            f"{name}: dtype {x.dtype.name} is not floating", code="dtype.norm", hint="convert with .float() first"
        )
    return x


def _axes(name: str, dim: Any, ndim: int) -> tuple[int, ...]:
    return axes_of(name, None if dim is None else dim, ndim)


def vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """``sum(|x|**ord)**(1/ord)`` over axes (all by default); ord inf and -inf are the extremes, 0 counts non-zeros.

    The gradient at 0 is 0, as PyTorch has it.
    """
    t = _prepared("vector_norm", x, dtype)
    d = pick(dim, axis)
    axes = _axes("vector_norm", d if not isinstance(d, list) else tuple(d), t.ndim)
    if d == () or d == []:
        axes = tuple(range(t.ndim))
    if isinstance(ord, str):
        raise ArgumentError(f"vector_norm: ord must be a number, got {ord!r}", hint="'fro' and 'nuc' are of matrices")
    p = float(ord)
    if p < 0 or p == math.inf:
        for k in axes:
            if t.shape[k] == 0:
                raise ShapeError(
                    f"vector_norm: axis {k} of shape {tuple(t.shape)} is empty and ord {ord} has no identity",
                    code="shape.empty",
                )
    return _vector(t, p, axes, bool(keepdim or keepdims))


@composite
def _vector(x: Tensor, p: float, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.dtype.itemsize < 4:  # squares of half precision overflow early
        return cast(_vector(cast(x, dtypes.float32), p, axes, keep), x.dtype)
    if p == 2:
        square = mul(real(x), real(x)) + mul(imag(x), imag(x)) if is_complex(x) else mul(x, x)
        return _root(sum(square, axes, keep), 2.0)
    a = abs(x)
    if p == math.inf:
        return amax(a, axes, keep)
    if p == -math.inf:
        return amin(a, axes, keep)
    if p == 1:
        return sum(a, axes, keep)
    if p == 0:
        return sum(where(isnan(a), const(1.0), sign(a)), axes, keep)
    none = eq(a, const(0.0))
    power = pow(where(none, const(1.0), a), p)
    return _root(sum(where(none, const(0.0 if p > 0 else math.inf), power), axes, keep), p)


def _root(s: Tensor, p: float) -> Tensor:
    """``s ** (1/p)`` with gradient 0 where s is 0."""
    none = eq(s, const(0.0))
    safe = where(none, const(1.0), s)
    return where(none, const(0.0 if p > 0 else math.inf), sqrt(safe) if p == 2 else pow(safe, 1 / p))


# -- matrices ---------------------------------------------------------------------------------------------
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """Norms of matrices: ``"fro"``, ``"nuc"`` (sum of singular values), 2 and -2 (extreme singular values), 1 and -1

    (extreme column sums of magnitudes), inf and -inf (row sums). ``dim``: the axes of rows and of columns.
    """
    t = _prepared("matrix_norm", A, dtype)
    keep = bool(keepdim or keepdims)
    if t.ndim < 2:
        raise ShapeError(f"matrix_norm: expects matrices, got shape {tuple(A.shape)}", code="shape.matrix")
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise ShapeError(f"matrix_norm: dim must name two axes, got {dim}", code="shape.axis")
    (r,), (c,) = axes_of("matrix_norm", dim[0], t.ndim), axes_of("matrix_norm", dim[1], t.ndim)
    if r == c:
        raise ShapeError(f"matrix_norm: dim names one axis twice: {dim}", code="shape.axis")
    if ord == "fro":
        return _vector(t, 2.0, tuple(sorted((r, c))), keep)
    if ord == "nuc" or ord in (2, -2):
        rest = [k for k in range(t.ndim) if k not in (r, c)]
        s = svdvals(permute(t, (*rest, r, c)))
        out = sum(s, -1) if ord == "nuc" else (amax if ord > 0 else amin)(s, -1)
        shape = tuple(1 if k in (r, c) else n for k, n in enumerate(t.shape))
        return reshape(out, shape) if keep else out
    if ord not in (1, -1, math.inf, -math.inf):
        raise ArgumentError(f"matrix_norm: ord must be 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2, got {ord!r}")
    summed, rest_axis = (r, c) if builtins.abs(ord) == 1 else (c, r)
    out = (amax if ord > 0 else amin)(sum(abs(t), summed, True), rest_axis, True)
    return out if keep else reshape(out, tuple(n for k, n in enumerate(t.shape) if k not in (r, c)))


def linalg_norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """A vector norm, or a matrix norm where two axes are named or the tensor has two and ``ord`` is given.

    Without ``ord`` the 2-norm of all elements over ``dim``.
    """
    keep = keepdim or keepdims
    d = pick(dim, axis)
    if ord is None:
        return vector_norm(A, 2, d, keep, dtype=dtype)
    if d is None:
        if A.ndim not in (1, 2):
            raise ShapeError(
                f"linalg.norm: with ord and without dim the tensor must have 1 or 2 dimensions, got {tuple(A.shape)}",
                code="shape.rank", hint="name the axes by dim",
            )  # fmt: skip
        d = tuple(range(A.ndim))
    axes = tuple(d) if isinstance(d, (tuple, list)) else (d,)
    if len(axes) == 2:
        return matrix_norm(A, ord, axes, keep, dtype=dtype)
    if isinstance(ord, str):
        raise ShapeError(f"linalg.norm: ord {ord!r} needs two axes, got {axes}", code="shape.axis")
    return vector_norm(A, ord, axes, keep, dtype=dtype)


def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None, *, axis: Any = None,
    keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """``torch.norm``: ``"fro"`` and numbers are vector norms over ``dim`` (all by default), ``"nuc"`` a matrix's."""
    keep = keepdim or keepdims
    d = pick(dim, axis)
    if p == "nuc":
        axes = tuple(range(input.ndim)) if d is None else d
        return matrix_norm(input, "nuc", axes, keep, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise ArgumentError(f"norm: p must be a number, 'fro' or 'nuc', got {p!r}")
    return vector_norm(input, 2 if p is None or p == "fro" else p, d, keep, dtype=dtype)


def frobenius_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Root of the sum of squares over ``dim`` (all axes by default)."""
    return vector_norm(input, 2, dim, keepdim)


def nuclear_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Sum of singular values of the matrices in two axes."""
    return norm(input, "nuc", dim, keepdim)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """Condition numbers ``norm(A) * norm(inv(A))``: by singular values for p None, 2, -2; inf where A is singular."""
    need_matrix("cond", A)
    if p is None or p in (2, -2):
        s = svdvals(A)
        n = s.shape[-1]
        if not n:
            return cast(sum(s, -1), s.dtype)
        first, last = s[..., 0], s[..., n - 1]
        return div(last, first) if p == -2 else div(first, last)
    if A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"cond: p={p!r} needs square matrices, got {tuple(A.shape)}", code="shape.square")
    if not A.shape[-1]:
        return sum(real(A), (-2, -1))
    inverse, info = inv_ex(A)
    product = mul(matrix_norm(A, p), matrix_norm(inverse, p))
    return where(gt(info, const(0)), const(math.inf), product)


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Each slice of an axis whose p-norm exceeds ``maxnorm`` scaled down to it."""
    if input.ndim < 2:
        raise ShapeError(f"renorm: expects at least 2 dimensions, got shape {tuple(input.shape)}", code="shape.rank")
    (k,) = axes_of("renorm", dim, input.ndim)
    others = tuple(j for j in range(input.ndim) if j != k)
    size = vector_norm(input, p, others, True)
    limit = operand(maxnorm)
    factor = where(gt(size, limit), div(limit, size + const(1e-7)), const(1.0))
    return mul(input, cast(factor, input.dtype))
