"""``keras.ops`` of linear algebra, of batches of matrices (..., n, m)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.functions import PUBLIC, linalg_factor, linalg_solve, linalg_spectral
from gradloom.keras.operations import as_tensor, operation
from gradloom.keras.ops.arrays import _floated
from gradloom.tensor import Tensor

TABLE: dict[str, Callable[..., Any]] = {}


def _square(name: str, x: Tensor) -> Tensor:
    x = _floated(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{name}: expected a square matrix, (..., n, n). Received: shape={tuple(x.shape)}")
    return x


def cholesky(x: Any, upper: bool = False) -> Any:
    """The triangular factor of a positive-definite matrix."""
    return linalg_solve.cholesky(_square("cholesky", x), upper)


def cholesky_inverse(x: Any, upper: bool = False) -> Any:
    """The inverse of the matrix whose Cholesky factor this is."""
    return linalg_solve.cholesky_inverse(_square("cholesky_inverse", x), upper)


def det(x: Any) -> Any:
    """The determinant."""
    return linalg_solve.det(_square("det", x))


def logdet(x: Any) -> Any:
    """The logarithm of the determinant of a positive-definite matrix."""
    return 2.0 * G.sum(G.log(_main(cholesky(x))), -1)


def _main(x: Tensor) -> Tensor:
    """The main diagonal of the last two axes."""
    return PUBLIC["diagonal"](x, 0, -2, -1)


def slogdet(x: Any) -> Any:
    """Sign and logarithm of the determinant."""
    return tuple(linalg_solve.slogdet(_square("slogdet", x)))


def eig(x: Any) -> Any:
    """Eigenvalues and eigenvectors, complex."""
    return tuple(linalg_spectral.eig(_square("eig", x)))


def eigh(x: Any) -> Any:
    """Eigenvalues, rising, and eigenvectors of a symmetric matrix."""
    return tuple(linalg_spectral.eigh(_square("eigh", x)))


def inv(x: Any) -> Any:
    """The inverse."""
    return linalg_solve.inv(_square("inv", x))


def lu_factor(x: Any) -> Any:
    """Both triangular factors in one matrix, and which rows were exchanged, counted from 0."""
    found = linalg_factor.lu_factor(_floated(x))
    return found[0], found[1] - 1


def matrix_rank(x: Any, tol: Any = None) -> Any:
    """The number of singular values above ``tol``."""
    return linalg_spectral.matrix_rank(_floated(x), tol)


def pinv(x: Any, rcond: Any = None) -> Any:
    """The pseudo-inverse; singular values below ``rcond`` times the largest count as 0."""
    return linalg_spectral.pinv(_floated(x), rtol=rcond)


def qr(x: Any, mode: str = "reduced") -> Any:
    """Orthogonal and triangular factor; ``mode`` is "reduced" or "complete"."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"`mode` argument value not supported. Expected one of {{'reduced', 'complete'}}. Received: "
                         f"mode={mode}")  # fmt: skip
    return tuple(linalg_factor.linalg_qr(_floated(x), mode))


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, singular values, and V transposed; the singular values alone without ``compute_uv``."""
    if not compute_uv:
        return linalg_spectral.svdvals(_floated(x))
    return tuple(linalg_spectral.linalg_svd(_floated(x), full_matrices))


def solve(a: Any, b: Any) -> Any:
    """X with a @ x = b; b is (..., n) or (..., n, k)."""
    a, b = _square("solve", a), _floated(as_tensor(b))
    if b.ndim == a.ndim - 1:
        return linalg_solve.solve(a, b.unsqueeze(-1)).squeeze(-1)
    return linalg_solve.solve(a, b)


def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """X with a @ x = b for a triangular ``a``."""
    a, b = _square("solve_triangular", a), _floated(as_tensor(b))
    if b.ndim == a.ndim - 1:
        return linalg_solve.solve_triangular(a, b.unsqueeze(-1), upper=not lower).squeeze(-1)
    return linalg_solve.solve_triangular(a, b, upper=not lower)


def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """X with the smallest |a @ x - b|."""
    a, b = _floated(a), _floated(as_tensor(b))
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"Leading dimensions of input arrays must match. Received: a.shape={tuple(a.shape)}, "
                         f"b.shape={tuple(b.shape)}")  # fmt: skip
    found = pinv(a, rcond) @ (b.unsqueeze(-1) if b.ndim == 1 else b)
    return found.squeeze(-1) if b.ndim == 1 else found


for _fn in (
    cholesky, cholesky_inverse, det, logdet, slogdet, eig, eigh, inv, lu_factor, matrix_rank, pinv, qr, svd, solve,
    solve_triangular, lstsq,
):  # fmt: skip
    TABLE[_fn.__name__] = operation(_fn)

__all__ = ["TABLE"]
