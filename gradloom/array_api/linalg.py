"""The linear algebra extension, with the standard's signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gradloom import linalg as L
from gradloom.array_api.manipulation import matrix_transpose
from gradloom.array_api.promotion import pair
from gradloom.array_api.reductions import sum
from gradloom.dtypes import DType
from gradloom.errors import ShapeError
from gradloom.functions import PUBLIC as G
from gradloom.tensor import Tensor

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "trace", "vecdot", "vector_norm",
]  # fmt: skip


class EighResult(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors in columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """An orthonormal and an upper triangular factor."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """The determinant's sign, and the logarithm of its magnitude."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """Left singular vectors, singular values in descending order, right ones in rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """Product of matrices; leading axes broadcast."""
    return G["matmul"](*pair(x1, x2))


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """Sum of products over the last and first ``axes`` axes, or over pairs of axes."""
    return G["tensordot"](*pair(x1, x2), axes if isinstance(axes, int) else tuple(map(tuple, axes)))


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Sum of products along an axis, the first operand conjugated; the axis counts from the end."""
    a, b = pair(x1, x2)
    return L.vecdot(a, b, dim=axis)


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The triangular factor of positive definite matrices."""
    return L.cholesky(x, upper=upper)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Cross products of vectors of 3 elements along an axis."""
    a, b = pair(x1, x2)
    return L.cross(a, b, dim=axis)


def det(x: Tensor, /) -> Tensor:
    """Determinants."""
    return L.det(x)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """Diagonals of matrices."""
    return L.diagonal(x, offset=offset)


def eigh(x: Tensor, /) -> EighResult:
    """Eigenvalues and eigenvectors of symmetric or Hermitian matrices."""
    return EighResult(*L.eigh(x))


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues of symmetric or Hermitian matrices."""
    return L.eigvalsh(x)


def inv(x: Tensor, /) -> Tensor:
    """Inverses."""
    return L.inv(x)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Norms of matrices."""
    return L.matrix_norm(x, "fro" if ord is None else ord, keepdim=keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """Matrices multiplied with themselves."""
    return L.matrix_power(x, n)


def matrix_rank(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """How many singular values are larger than ``rtol`` times the largest."""
    if x.ndim < 2:
        raise ShapeError(f"matrix_rank: expected at least 2 dimensions, got {tuple(x.shape)}", code="shape.rank")
    return L.matrix_rank(x, rtol=rtol)


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """Products of every element of one vector with every one of another."""
    return G["outer"](*pair(x1, x2))


def pinv(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """Pseudo-inverses."""
    return L.pinv(x, rtol=rtol)


def qr(x: Tensor, /, *, mode: str = "reduced") -> QRResult:
    """An orthonormal and an upper triangular factor."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode {mode!r}; expected 'reduced' or 'complete'")
    return QRResult(*L.qr(x, mode))


def slogdet(x: Tensor, /) -> SlogdetResult:
    """Signs of determinants, and logarithms of their magnitudes."""
    return SlogdetResult(*L.slogdet(x))


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """Solutions of ``x1 @ x = x2``; a 1-d ``x2`` is one vector, any other is matrices."""
    a, b = pair(x1, x2)
    if b.ndim == 1:
        return G["squeeze"](L.solve(a, G["unsqueeze"](b, -1)), -1)
    batch = broadcast(a, b)
    return L.solve(G["broadcast_to"](a, (*batch, *a.shape[-2:])), G["broadcast_to"](b, (*batch, *b.shape[-2:])))


def broadcast(a: Tensor, b: Tensor) -> tuple[int, ...]:
    """The common leading axes of two stacks of matrices."""
    from gradloom.ops.core import broadcast_shapes

    return broadcast_shapes("solve", [tuple(a.shape[:-2]), tuple(b.shape[:-2])])


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular values and vectors."""
    return SVDResult(*L.svd(x, full_matrices=full_matrices))


def svdvals(x: Tensor, /) -> Tensor:
    """Singular values, in descending order."""
    return L.svdvals(x)


def trace(x: Tensor, /, *, offset: int = 0, dtype: DType | None = None) -> Tensor:
    """Sums of diagonals; dtypes as in ``sum``."""
    return sum(L.diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """Norms of vectors along axes, of all elements by default."""
    return L.vector_norm(x, ord, axis, keepdims)
