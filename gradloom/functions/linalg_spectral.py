"""Eigenvalues, singular values, and what stands on them: pseudo-inverse, rank, least squares, low-rank forms."""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.errors import ArgumentError, NotSupportedError, ShapeError
from gradloom.functions.base import apply, const
from gradloom.functions.contraction import matmul
from gradloom.functions.creation import eye, full
from gradloom.functions.elementwise import abs, cast, div, eq, gt, maximum, mul, neg, sub, where
from gradloom.functions.linalg_base import (
    columns,
    conj,
    diagonal_matrix,
    diagonal_of,
    imag,
    is_complex,
    mH,
    need_float,
    need_matrix,
    need_square,
    part,
    real,
    rows,
    same_dtype,
)
from gradloom.functions.movement import broadcast_to, narrow, reshape, unsqueeze
from gradloom.functions.reductions import amax, sum
from gradloom.ops import linalg as L
from gradloom.ops.core import broadcast_shapes
from gradloom.tensor import Tensor

__all__ = "pca_lowrank pinverse svd svd_lowrank".split()
FUNCTION_ONLY = "pca_lowrank svd_lowrank".split()


class Eigen(NamedTuple):
    """Eigenvalues (..., n) and eigenvectors as columns (..., n, n)."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SVD(NamedTuple):
    """``A = U diag(S) Vh``."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class OldSVD(NamedTuple):
    """``A = U diag(S) V^H``."""

    U: Tensor
    S: Tensor
    V: Tensor


class LeastSquares(NamedTuple):
    """``lstsq``'s results; those that a driver does not compute are empty."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def _off_diagonal(n: int) -> Tensor:
    return eq(eye(n, dtype=dtypes.bool_), const(False))


def _gaps(v: Tensor) -> Tensor:
    """``v[j] - v[i]`` at (i, j), 1 on the diagonal."""
    return where(_off_diagonal(v.shape[-1]), sub(rows(v), columns(v)), const(1.0))


def _without_diagonal(x: Tensor) -> Tensor:
    return where(_off_diagonal(x.shape[-1]), x, const(0.0))


# -- Hermitian eigenvalues (Giles 2008, 3.1) ---------------------------------------------------------------
def _triangle(UPLO: str) -> str:
    if UPLO not in ("L", "U", "l", "u"):
        raise ArgumentError(f"eigh: UPLO must be 'L' or 'U', got {UPLO!r}")
    return UPLO.upper()


def eigh(A: Tensor, UPLO: str = "L") -> Eigen:
    """Eigenvalues in ascending order and eigenvectors of Hermitian matrices; only one triangle is read."""
    need_square("eigh", A)
    t = _triangle(UPLO)
    return Eigen(part(L.eigh, 0, (A,), (t,)), part(L.eigh, 1, (A,), (t,)))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian matrices in ascending order."""
    need_square("eigvalsh", A)
    return apply(L.eigvalsh, (A,), (_triangle(UPLO),))


@L.eigh.part.gradient
def _eigh_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    a, t = ins[1], attrs[1]
    if attrs[0] == 0:
        v = part(L.eigh, 1, (a,), (t,))
        return None, matmul(mul(v, rows(ct)), mH(v))
    w = part(L.eigh, 0, (a,), (t,))
    inner = _without_diagonal(div(matmul(mH(out), ct), _gaps(w)))
    return None, matmul(matmul(out, inner), mH(out))


@L.eigvalsh.gradient
def _eigvalsh_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    v = part(L.eigh, 1, (ins[0],), attrs)
    return (matmul(mul(v, rows(ct)), mH(v)),)


# -- eigenvalues of any square matrix -----------------------------------------------------------------------
def eig(A: Tensor) -> Eigen:
    """Complex eigenvalues, in no order, and eigenvectors of length 1.

    Gradients need distinct eigenvalues, and a function that does not depend on the phase of the vectors.
    """
    need_square("eig", A)
    return Eigen(part(L.eig, 0, (A,)), part(L.eig, 1, (A,)))


def eigvals(A: Tensor) -> Tensor:
    """Complex eigenvalues of square matrices, in no order."""
    need_square("eigvals", A)
    # a gradient needs the vectors, in the same order: both from one call
    return part(L.eig, 0, (A,)) if A.requires_grad else apply(L.eigvals, (A,))


def _from_eigenbasis(v: Tensor, inner: Tensor, like: Tensor) -> Tensor:
    """V^-H inner V^H, real where the matrix is."""
    g = part(L.solve, 0, (mH(v), matmul(inner, mH(v))), (False,))
    return g if is_complex(like) else real(g)


@L.eig.part.gradient
def _eig_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    a = ins[1]
    if attrs[0] == 0:
        return None, _from_eigenbasis(part(L.eig, 1, (a,)), diagonal_matrix(ct), a)
    w = part(L.eig, 0, (a,))
    vg = matmul(mH(out), ct)
    fixed = sub(vg, matmul(mH(out), mul(out, rows(real(diagonal_of(vg))))))  # the columns keep their length
    return None, _from_eigenbasis(out, _without_diagonal(div(fixed, conj(_gaps(w)))), a)


# -- singular values (Giles 2008, 3.2; Townsend 2016; the complex phase after Wan & Zhang 2019) ---------------
def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> SVD:
    """``A = U diag(S) Vh`` with singular values in descending order; reduced for ``full_matrices=False``.

    Gradients of U and Vh need distinct singular values; of full matrices only the first columns count.
    """
    need_matrix("svd", A)
    _no_driver("svd", driver)
    return SVD(*(part(L.svd, k, (A,), (bool(full_matrices),)) for k in range(3)))


def _no_driver(name: str, driver: str | None) -> None:
    if driver is not None:
        raise NotSupportedError(
            f"{name}: driver {driver!r} names a CUDA library; tensors are on the CPU", code="unsupported.driver",
            hint="leave driver out",
        )  # fmt: skip


def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> OldSVD:
    """``A = U diag(S) V^H`` (the older form of ``linalg.svd``); without ``compute_uv`` U and V are zeros."""
    need_matrix("svd", input)
    if not compute_uv:
        (m, n), batch = input.shape[-2:], input.shape[:-2]
        zeros = [full((*batch, k, k), 0.0, dtype=input.dtype) for k in (m, n)]
        return OldSVD(zeros[0], svdvals(input), zeros[1])
    u, s, vh = linalg_svd(input, not some)
    return OldSVD(u, s, mH(vh))


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values in descending order: (..., m, n) -> (..., min(m, n))."""
    need_matrix("svdvals", A)
    _no_driver("svdvals", driver)
    return apply(L.svdvals, (A,))


@L.svdvals.gradient
def _svdvals_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    u, vh = (part(L.svd, k, (ins[0],), (False,)) for k in (0, 2))
    return (matmul(mul(u, rows(ct)), vh),)


@L.svd.part.gradient
def _svd_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    a = ins[1]
    which, whole = attrs[0], attrs[1]
    u, s, vh = (part(L.svd, k, (a,), (whole,)) for k in range(3))
    k = s.shape[-1]
    u, vh = narrow(u, -1, 0, k), narrow(vh, -2, 0, k)
    if which == 1:
        return None, matmul(mul(u, rows(ct)), vh)
    gaps = mul(_gaps(s), where(_off_diagonal(k), rows(s) + columns(s), const(1.0)))  # differences of squares
    if which == 0:
        ct = narrow(ct, -1, 0, k)
        ug = matmul(mH(u), ct)
        inner = _without_diagonal(mul(div(sub(ug, mH(ug)), gaps), rows(s)))
        if is_complex(a):
            inner = inner + diagonal_matrix(_turned(ug, s))
        g = matmul(u, inner)
        if a.shape[-2] > k:
            g = g + div(sub(ct, matmul(u, ug)), rows(s))
        return None, matmul(g, vh)
    ct = narrow(ct, -2, 0, k)
    vg = matmul(vh, mH(ct))
    inner = mul(columns(s), div(sub(vg, mH(vg)), gaps))
    g = matmul(_without_diagonal(inner), vh)
    if a.shape[-1] > k:
        g = g + div(sub(ct, matmul(matmul(ct, mH(vh)), vh)), columns(s))
    return None, matmul(u, g)


def _turned(ug: Tensor, s: Tensor) -> Tensor:
    """The part of U's phase that stands on the diagonal: i Im(diag U^H gU) / S."""
    return div(mul(imag(diagonal_of(ug)), const(1j)), s)


# -- what stands on them ----------------------------------------------------------------------------------
def _bounds(A: Tensor, atol: Any, rtol: Any) -> tuple[Tensor, Tensor]:
    """PyTorch's rule: rtol defaults to eps * max(m, n), and to 0 where atol is positive."""
    d = A.dtype.to_real()
    default = builtins.max(A.shape[-2:]) * float(np.finfo(d.numpy).eps)

    def number(x: Any) -> Tensor:
        t = x if isinstance(x, Tensor) else full((), float(x), dtype=d)
        return cast(t, d)

    absolute = number(0.0 if atol is None else atol)
    if rtol is None:
        return absolute, where(gt(absolute, const(0.0)), const(0.0), full((), default, dtype=d))
    return absolute, number(rtol)


def pinv(A: Tensor, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, rcond: Any = None) -> Tensor:
    """The pseudo-inverse (Moore & Penrose): singular values up to ``max(atol, rtol * largest)`` count as 0.

    atol, rtol: numbers or tensors of the batch's shape; ``rcond`` is the older name of ``rtol``.
    """
    need_matrix("pinv", A)
    if hermitian:
        need_square("pinv", A)
    absolute, relative = _bounds(A, atol, rtol if rcond is None else rcond)
    batch = broadcast_shapes("pinv", [A.shape[:-2], absolute.shape, relative.shape])
    bounds = (broadcast_to(absolute, batch), broadcast_to(relative, batch))
    return apply(L.pinv, (_spread(A, batch), *bounds), (bool(hermitian),))


def _spread(A: Tensor, batch: tuple[int, ...]) -> Tensor:
    return broadcast_to(A, (*batch, *A.shape[-2:]))


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse with a bound relative to the largest singular value."""
    return pinv(input, rtol=rcond)


@L.pinv.gradient
def _pinv_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    # Golub & Pereyra (1973), for matrices whose rank does not change
    a, p = ins[0], out
    gh, ph = mH(ct), mH(out)
    if a.shape[-2] <= a.shape[-1]:
        k = matmul(gh, p)
        kp = matmul(k, ph)
        g = neg(mH(matmul(p, k))) + kp - matmul(matmul(a, p), kp) + matmul(matmul(ph, p), sub(gh, matmul(k, a)))
    else:
        k = matmul(p, gh)
        pk = matmul(ph, k)
        g = neg(mH(matmul(k, p))) + matmul(sub(gh, matmul(a, k)), matmul(p, ph)) + pk - matmul(matmul(pk, p), a)
    return g, None, None


def matrix_rank(A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """Number of singular values above ``max(atol, rtol * largest)``, int64. ``tol`` is an absolute bound."""
    need_matrix("matrix_rank", A)
    s = abs(eigvalsh(A)) if hermitian else svdvals(A)
    if tol is not None:
        absolute, relative = _bounds(A, tol, 0.0)
    else:
        absolute, relative = _bounds(A, atol, rtol)
    if not s.shape[-1]:
        shape = broadcast_shapes("matrix_rank", [A.shape[:-2], absolute.shape, relative.shape])
        return full(shape, 0, dtype=dtypes.int64)
    bound = maximum(absolute, mul(relative, amax(s, -1)))
    return sum(gt(s, unsqueeze(bound, -1)), -1)


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """X that minimises ``|A X - B|``, of least norm where there are several.

    driver: which of the further results are computed, as PyTorch's: ``"gelsy"`` (default) the rank, ``"gelsd"`` and
    ``"gelss"`` the singular values too, ``"gels"`` neither. Residuals where A has more rows than columns, except for
    ``"gelsy"``. All are computed by singular values.
    """
    need_matrix("lstsq", A)
    need_float("lstsq", B)
    same_dtype("lstsq", A, B)
    chosen = "gelsy" if driver is None else driver
    if chosen not in _DRIVERS:
        raise ArgumentError(f"lstsq: driver must be one of {', '.join(_DRIVERS)}, got {driver!r}")
    vector = A.ndim - 1 == B.ndim and B.shape == A.shape[:-1]
    b = unsqueeze(B, -1) if vector else B
    if b.ndim < 2 or b.shape[-2] != A.shape[-2]:
        raise ShapeError(f"lstsq: A {tuple(A.shape)} and B {tuple(B.shape)} do not fit", code="shape.solve")
    (m, n), d = A.shape[-2:], A.dtype.to_real()
    bound = float(np.finfo(d.numpy).eps) * builtins.max(m, n) if rcond is None else rcond
    x = matmul(pinv(A, atol=0.0, rtol=bound), b)
    nothing = full((0,), 0.0, dtype=d)
    residuals = narrow(reshape(real(x), (-1,)), 0, 0, 0) if x.numel() else nothing
    if m > n and chosen != "gelsy":
        off = sub(matmul(A, x), b)
        residuals = sum(real(mul(off, conj(off))), -2)
    solution = reshape(x, x.shape[:-1]) if vector else x
    with_rank = chosen != "gels"
    rank = matrix_rank(A.detach(), rtol=bound) if with_rank else full((0,), 0, dtype=dtypes.int64)
    values = svdvals(A.detach()) if chosen in ("gelsd", "gelss") else nothing
    return LeastSquares(solution, residuals, rank, values)


# -- low rank by random projection (Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1) ------------------
def _range(A: Tensor, q: int, niter: int, M: Tensor | None) -> Tensor:
    from gradloom.functions.linalg_factor import linalg_qr
    from gradloom.functions.sampling import randn

    def times(x: Tensor) -> Tensor:
        return matmul(A, x) if M is None else sub(matmul(A, x), matmul(M, x))

    def back(x: Tensor) -> Tensor:
        return matmul(mH(A), x) if M is None else sub(matmul(mH(A), x), matmul(mH(M), x))

    guess = cast(randn(A.shape[-1], q, dtype=A.dtype.to_real()), A.dtype)
    basis = linalg_qr(times(guess)).Q
    for _ in range(niter):
        basis = linalg_qr(times(linalg_qr(back(basis)).Q)).Q
    return basis


def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> OldSVD:
    """About the first ``q`` singular values and vectors of ``A - M``: ``A ~ U diag(S) V^H``."""
    need_matrix("svd_lowrank", A)
    k, (m, n) = 6 if q is None else q, A.shape[-2:]
    if not 0 <= k <= builtins.min(m, n):
        raise ShapeError(f"svd_lowrank: q {k} must lie between 0 and {builtins.min(m, n)}", code="shape.lowrank")
    turned = m < n
    a = mH(A) if turned else A
    mean = None if M is None else _spread(M, A.shape[:-2]) + full(A.shape, 0.0, dtype=A.dtype)
    if mean is not None and turned:
        mean = mH(mean)
    basis = _range(a, k, 2 if niter is None else niter, mean)
    small = matmul(mH(basis), a if mean is None else sub(a, mean))
    u, s, vh = linalg_svd(small, False)
    u, v = matmul(basis, u), mH(vh)
    return OldSVD(v, s, u) if turned else OldSVD(u, s, v)


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> OldSVD:
    """Principal components of the rows of A, centred: ``U diag(S) V^H``, V the components as columns."""
    need_matrix("pca_lowrank", A)
    m, n = A.shape[-2:]
    k = builtins.min(6, m, n) if q is None else q
    if not center:
        return svd_lowrank(A, k, niter)
    mean = mul(sum(A, -2, keepdim=True), const(1.0 / builtins.max(m, 1)))
    return svd_lowrank(sub(A, mean), k, niter)
