"""Products of vectors and matrices beside ``matmul``: dot, outer, the ``add…`` forms, Kronecker, cross, chains."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Sequence
from typing import Any

from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import axes_of, operand, pick
from gradloom.functions.contraction import bmm, matmul, mm, need_rank
from gradloom.functions.contraction import dot as batched_dot
from gradloom.functions.creation import ones_like, zeros
from gradloom.functions.elementwise import _add, mul, sub
from gradloom.functions.linalg_base import conj, same_dtype
from gradloom.functions.movement import broadcast_to, cat, flip, narrow, permute, reshape, swap_last, unsqueeze
from gradloom.functions.reductions import sum
from gradloom.functions.scans import cumprod
from gradloom.ops.core import broadcast_shapes
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = (
    "addbmm addmm addmv addr baddbmm chain_matmul cross dot ger inner kron matrix_transpose mv outer tensordot vander "
    "vdot vecdot"
).split()
FUNCTION_ONLY = "chain_matmul matrix_transpose tensordot vander vecdot".split()
INPLACE = "addbmm addmm addmv addr baddbmm".split()


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix (n, m) and a vector (m)."""
    need_rank("mv", 2, input=input)
    need_rank("mv", 1, vec=vec)
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of products of two vectors of one length."""
    need_rank("dot", 1, input=input, tensor=tensor)
    return _dot("dot", input, tensor)


def _dot(name: str, a: Tensor, b: Tensor) -> Tensor:
    same_dtype(name, a, b)
    if a.shape != b.shape:
        raise ShapeError(f"{name}: lengths {a.shape[0]} and {b.shape[0]} differ", code="shape.matmul")
    return matmul(a, b)


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """As :func:`dot`, the first vector conjugated."""
    need_rank("vdot", 1, input=input, other=other)
    return _dot("vdot", conj(input), other)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last axes, for every pair of the others; a 0-d operand scales."""
    if not input.ndim or not other.ndim:
        return mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        raise ShapeError(
            f"inner: the last axes of {tuple(input.shape)} and {tuple(other.shape)} differ", code="shape.matmul"
        )
    return tensordot(input, other, ([-1], [-1]))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors, (n) and (m): (n, m)."""
    need_rank("outer", 1, input=input, vec2=vec2)
    return mul(unsqueeze(input, 1), vec2)


ger = outer


def _blend(name: str, input: Any, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """``beta * input + alpha * product``; with ``beta`` 0 the input is not looked at, so its NaN do not spread."""
    x = operand(input)
    same_dtype(name, x, product)
    if product.dtype.category < 2:  # as PyTorch: the scales take the dtype of the tensors
        if name == "addr" and product.dtype.category and (isinstance(beta, float) or isinstance(alpha, float)):
            raise DTypeError(
                f"addr: beta {beta} and alpha {alpha} must be integers for {product.dtype.name} tensors",
                code="dtype.scale",
            )
        kind = int if product.dtype.category else bool
        beta, alpha = kind(beta), kind(alpha)
    if broadcast_shapes(name, [x.shape, product.shape]) != product.shape:
        raise ShapeError(
            f"{name}: input {tuple(x.shape)} does not broadcast to the product's shape {tuple(product.shape)}",
            code="shape.broadcast",
        )
    scaled = product if alpha == 1 else mul(product, alpha)
    if beta == 0:
        return scaled
    return _add(x if beta == 1 else mul(x, beta), scaled)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2``; with ``beta=0`` NaN of the input do not count."""
    return _blend("addmm", input, mm(mat1, mat2), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * mat @ vec``."""
    return _blend("addmv", input, mv(mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    return _blend("addr", input, outer(vec1, vec2), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2)``."""
    return _blend("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha *`` the sum of the batch's products: one product, the batch part of its sums."""
    need_rank("addbmm", 3, batch1=batch1, batch2=batch2)
    same_dtype("addbmm", batch1, batch2)
    (b, n, k), (b2, k2, m) = batch1.shape, batch2.shape
    if (b, k) != (b2, k2):
        raise ShapeError(
            f"addbmm: batches {tuple(batch1.shape)} and {tuple(batch2.shape)} do not fit", code="shape.matmul"
        )
    rows = reshape(permute(batch1, (1, 0, 2)), (n, b * k))
    return _blend("addbmm", input, matmul(rows, reshape(batch2, (b * k, m))), beta, alpha)


# -- chains -------------------------------------------------------------------------------------------
@functools.lru_cache(maxsize=256)
def _chain(sizes: tuple[int, ...]) -> Any:
    """The cheapest bracketing of a chain of matrices (sizes[k], sizes[k+1]) as nested pairs of positions."""
    n = len(sizes) - 1
    best: dict[tuple[int, int], tuple[int, Any]] = {(k, k): (0, k) for k in range(n)}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = (
                (best[i, s][0] + best[s + 1, j][0] + sizes[i] * sizes[s + 1] * sizes[j + 1], s) for s in range(i, j)
            )
            cost, s = builtins.min(options)
            best[i, j] = (cost, (best[i, s][1], best[s + 1, j][1]))
    return best[0, n - 1][1]


def chain_matmul(*matrices: Any) -> Tensor:
    """The product of matrices in the cheapest order (dynamic programming; Cormen et al., ch. 15.2)."""
    ms = list(matrices[0]) if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)) else list(matrices)
    if not ms:
        raise ShapeError("chain_matmul: needs at least one matrix", code="shape.matmul")
    for k, m in enumerate(ms):
        need_rank("chain_matmul", 2, **{f"matrix {k}": m})

    def product(node: Any) -> Tensor:
        return ms[node] if isinstance(node, int) else matmul(product(node[0]), product(node[1]))

    return product(_chain((*(int(m.shape[0]) for m in ms), int(ms[-1].shape[1]))))


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """As :func:`chain_matmul` of two or more; the first and the last may be vectors."""
    ms = list(tensors)
    if len(ms) < 2:
        raise ShapeError(f"multi_dot: needs two tensors or more, got {len(ms)}", code="shape.matmul")
    row, column = ms[0].ndim == 1, ms[-1].ndim == 1
    if row:
        ms[0] = unsqueeze(ms[0], 0)
    if column:
        ms[-1] = unsqueeze(ms[-1], 1)
    out = chain_matmul(ms)
    return reshape(out, (*([] if row else [out.shape[0]]), *([] if column else [out.shape[1]])))


# -- tensors --------------------------------------------------------------------------------------------
def tensordot(a: Tensor, b: Tensor, dims: Any = 2, *, axes: Any = None) -> Tensor:
    """Sums of products over axes: the last ``dims`` of ``a`` with the first of ``b``, or two lists of axes."""
    chosen = dims if axes is None else axes
    chosen = chosen.tolist() if isinstance(chosen, Tensor) else chosen
    if isinstance(chosen, int):
        if not 0 <= chosen <= builtins.min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: dims={chosen} for tensors of {a.ndim} and {b.ndim} dimensions", code="shape.tensordot"
            )
        left, right = list(range(a.ndim - chosen, a.ndim)), list(range(chosen))
    elif not isinstance(chosen, (list, tuple)) or len(chosen) != 2:
        raise ArgumentError(
            f"tensordot: dims must be a number of axes or two lists of them, got {chosen!r}", hint="dims=([1], [0])"
        )
    else:
        left, right = ([int(k) for k in (d if isinstance(d, (list, tuple)) else [d])] for d in chosen)
        left = [axes_of("tensordot", k, a.ndim)[0] for k in left]
        right = [axes_of("tensordot", k, b.ndim)[0] for k in right]
    if len(left) != len(right) or len(set(left)) != len(left) or len(set(right)) != len(right):
        raise ShapeError(f"tensordot: axes {left} and {right} do not pair up", code="shape.tensordot")
    same_dtype("tensordot", a, b)
    for p, q in zip(left, right, strict=True):
        n, m = a.shape[p], b.shape[q]
        if n == m:
            continue
        if n == 1:  # PyTorch lets an axis of size 1 meet any other
            b = sum(b, q, keepdim=True, dtype=b.dtype)
        elif m == 1:
            a = sum(a, p, keepdim=True, dtype=a.dtype)
        else:
            raise ShapeError(
                f"tensordot: axis {p} of {tuple(a.shape)} and axis {q} of {tuple(b.shape)} differ",
                code="shape.tensordot",
            )
    free_a = [k for k in range(a.ndim) if k not in left]
    free_b = [k for k in range(b.ndim) if k not in right]
    rows, cols = [a.shape[k] for k in free_a], [b.shape[k] for k in free_b]
    inside = math.prod(a.shape[k] for k in left)
    x = reshape(permute(a, (*free_a, *left)), (math.prod(rows), inside))
    y = reshape(permute(b, (*right, *free_b)), (inside, math.prod(cols)))
    return reshape(batched_dot(x, y), (*rows, *cols))


def kron(input: Tensor, other: Tensor) -> Tensor:
    """Kronecker product: blocks of ``other`` scaled by the elements of ``input``; the shorter shape gets ones."""
    n = builtins.max(input.ndim, other.ndim)
    a, b = ((1,) * (n - x.ndim) + tuple(x.shape) for x in (input, other))
    wide_a = tuple(s for size in a for s in (size, 1))
    wide_b = tuple(s for size in b for s in (1, size))
    product = mul(reshape(input, wide_a), reshape(other, wide_b))
    return reshape(product, tuple(p * q for p, q in zip(a, b, strict=True)))


@composite
def _cross(a: Tensor, b: Tensor, dim: int) -> Tensor:
    def turned(x: Tensor) -> tuple[Tensor, Tensor]:
        ext = cat([x, x], dim)
        return narrow(ext, dim, 1, 3), narrow(ext, dim, 2, 3)

    (a1, a2), (b1, b2) = turned(a), turned(b)
    return sub(mul(a1, b2), mul(a2, b1))


def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1, axis: int | None = None) -> Tensor:
    """Cross product of the vectors of 3 along ``dim``; other axes broadcast.

    Raises ShapeError where the axis has another size or ranks differ.
    """
    if input.ndim != other.ndim:
        raise ShapeError(
            f"cross: ranks of {tuple(input.shape)} and {tuple(other.shape)} differ", code="shape.cross",
            hint="unsqueeze the smaller one",
        )  # fmt: skip
    shape = broadcast_shapes("cross", [input.shape, other.shape])
    (k,) = axes_of("cross", dim if axis is None else axis, len(shape))
    for x in (input, other):
        if x.shape[k] != 3:
            raise ShapeError(f"cross: axis {k} of {tuple(x.shape)} must have size 3", code="shape.cross")
    return _cross(broadcast_to(input, shape), broadcast_to(other, shape), k)


def cross(input: Tensor, other: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """As ``linalg.cross``; without ``dim`` along the first axis of size 3."""
    d = pick(dim, axis)
    if d is None:
        shape = broadcast_shapes("cross", [input.shape, other.shape])
        if 3 not in shape:
            raise ShapeError(f"cross: no axis of size 3 in {shape}", code="shape.cross", hint="name the axis by dim")
        d = shape.index(3)
    return linalg_cross(input, other, dim=d)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1, axis: int | None = None) -> Tensor:
    """Sum of ``conj(x) * y`` along an axis; other axes broadcast."""
    same_dtype("vecdot", x, y)
    return sum(mul(conj(x), y), dim if axis is None else axis, dtype=x.dtype)


def matrix_transpose(x: Tensor) -> Tensor:
    """The last two axes exchanged (Array API). Raises ShapeError below two dimensions."""
    if x.ndim < 2:
        raise ShapeError(
            f"matrix_transpose: expects matrices (..., n, m), got shape {tuple(x.shape)}", code="shape.matrix"
        )
    return swap_last(x)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The Vandermonde matrix (n, N) of a vector: powers fall from N-1 to 0, or rise. Raises ShapeError for matrices."""
    if x.ndim != 1:
        raise ShapeError(f"vander: expects a vector, got shape {tuple(x.shape)}", code="shape.vander")
    if N == 0:
        return zeros((x.shape[0], 0), dtype=x.dtype)
    out = vander_of_each(x, N=N)
    return out if increasing else flip(out, -1)


def vander_of_each(x: Tensor, *, N: int | None = None) -> Tensor:
    """Rows ``1, x, x², … x**(N-1)`` for each element: shape (..., n, N), N the length of the last axis if not given."""
    x = x if x.ndim else reshape(x, (1,))
    n = x.shape[-1] if N is None else N
    if n < 1:
        raise ShapeError(f"vander: N must be positive, got {n}", code="shape.vander")
    ones = ones_like(unsqueeze(x, -1))
    if n == 1:
        return ones
    return cat([ones, cumprod(broadcast_to(unsqueeze(x, -1), (*x.shape, n - 1)), -1)], -1)
