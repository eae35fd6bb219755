"""Factorisations that keep a matrix for later: QR and its reflectors, LU, LDL."""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

from gradloom import dtypes
from gradloom.errors import ArgumentError, GradientError, ShapeError
from gradloom.functions.base import apply
from gradloom.functions.contraction import matmul
from gradloom.functions.creation import arange, full
from gradloom.functions.elementwise import cast, eq, mul, neg, sub
from gradloom.functions.linalg_base import (
    batch_of,
    columns,
    diagonal_matrix,
    identity,
    is_complex,
    lower,
    mH,
    need_matrix,
    need_square,
    part,
    real,
    same_dtype,
    upper,
)
from gradloom.functions.linalg_solve import solve_triangular
from gradloom.functions.movement import broadcast_to, cat, narrow, unsqueeze
from gradloom.ops import factor as F
from gradloom.ops import linalg as L
from gradloom.ops.gather import take_along
from gradloom.tensor import Tensor

__all__ = "geqrf lu lu_solve lu_unpack orgqr ormqr qr".split()
FUNCTION_ONLY = ["lu_unpack"]


class QR(NamedTuple):
    """``A = Q R``."""

    Q: Tensor
    R: Tensor


class Reflectors(NamedTuple):
    """R above the reflectors, and the reflectors' scales."""

    a: Tensor
    tau: Tensor


class PLU(NamedTuple):
    """``A = P L U``."""

    P: Tensor
    L: Tensor
    U: Tensor


class LUFactor(NamedTuple):
    """L (below the diagonal) and U in one matrix, and the pivots, counted from 1."""

    LU: Tensor
    pivots: Tensor


class LUInfo(NamedTuple):
    """As :class:`LUFactor`, and 0 or the first pivot that is 0."""

    LU: Tensor
    pivots: Tensor
    info: Tensor


class LDLFactor(NamedTuple):
    """L and D in one matrix, and the pivots as LAPACK has them."""

    LD: Tensor
    pivots: Tensor


class LDLInfo(NamedTuple):
    """As :class:`LDLFactor`, and 0 or the first block of D that is 0."""

    LD: Tensor
    pivots: Tensor
    info: Tensor


# -- QR (Walter & Lehmann 2012; Seeger et al. 2017) --------------------------------------------------------
def linalg_qr(A: Tensor, mode: str = "reduced") -> QR:
    """``A = Q R`` with orthonormal columns in Q. mode: ``"reduced"``, ``"complete"`` (square Q) or ``"r"`` (Q empty).

    Gradients need the first min(m, n) columns to be independent; ``"r"`` has none, and ``"complete"`` only where A
    has no more rows than columns.
    """
    need_matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(f"qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    m, n = A.shape[-2:]
    if mode == "r":
        return QR(full((0,), 0.0, dtype=A.dtype), part(L.qr, 1, (A.detach(),), ("reduced",)))
    if m < n:  # Q belongs to the first m columns; the rest of R follows
        first = narrow(A, -1, 0, m)
        q, r = (part(L.qr, k, (first,), (mode,)) for k in range(2))
        return QR(q, cat([r, matmul(mH(q), narrow(A, -1, m, n - m))], -1))
    return QR(*(part(L.qr, k, (A,), (mode,)) for k in range(2)))


def qr(input: Tensor, some: bool = True) -> QR:
    """As ``linalg.qr``; ``some=False`` is its mode ``"complete"``."""
    return linalg_qr(input, "reduced" if some else "complete")


@L.qr.part.gradient
def _qr_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    a = ins[1]
    which, mode = attrs[0], attrs[1]
    if mode == "complete" and a.shape[-2] > a.shape[-1]:
        raise GradientError(
            f"qr: the complete Q of a matrix of shape {tuple(a.shape)} has no unique derivative",
            code="gradient.qr", hint="use mode='reduced'",
        )  # fmt: skip
    q, r = (out, part(L.qr, 1, (a,), (mode,))) if which == 0 else (part(L.qr, 0, (a,), (mode,)), out)
    m = neg(matmul(mH(ct), q)) if which == 0 else matmul(r, mH(ct))
    low = lower(m, -1)
    sym = low + mH(low) + diagonal_matrix(real_diagonal(m))
    g = matmul(q, sym) if which == 1 else ct + matmul(q, sym)
    return None, mH(apply(F.triangular, (r, mH(g)), (True, False)))  # g R^-H


def real_diagonal(x: Tensor) -> Tensor:
    """Real parts of the diagonals, in the dtype of the matrices."""
    from gradloom.functions.linalg_base import diagonal_of

    d = diagonal_of(x)
    return cast(real(d), x.dtype) if is_complex(x) else d


def geqrf(input: Tensor) -> Reflectors:
    """LAPACK's form of QR: R, and below it reflectors for ``householder_product`` and ``ormqr``. No gradients."""
    need_matrix("geqrf", input)
    return Reflectors(part(L.geqrf, 0, (input,)), part(L.geqrf, 1, (input,)))


def _compact(name: str, a: Tensor, tau: Tensor, wide: bool = False) -> tuple[Tensor, Tensor]:
    """Reflectors as ``I - W T W^H`` (Schreiber & Van Loan 1989). wide: more columns than rows may stand beside them."""
    need_matrix(name, a)
    same_dtype(name, a, tau)
    m, n = a.shape[-2:]
    k = tau.shape[-1] if tau.ndim else 0
    if not tau.ndim or (n > m and not wide) or k > min(m, n) or tau.shape[:-1] != a.shape[:-2]:
        raise ShapeError(
            f"{name}: reflectors {tuple(a.shape)} and tau {tuple(tau.shape)} do not fit: needs (..., m, n) with "
            "n <= m, and (..., k) with k <= n",
            code="shape.householder",
        )
    unit = full((m, k), 0.0, dtype=a.dtype) if not k else _unit(m, k, a)
    w = lower(narrow(a, -1, 0, k), -1) + unit
    scaled = mul(columns(tau), upper(matmul(mH(w), w), 1))
    return w, solve_triangular(scaled + identity(k, a), diagonal_matrix(tau), upper=True, unitriangular=True)


def _unit(m: int, k: int, like: Tensor) -> Tensor:
    return cast(eq(unsqueeze(arange(m), 1), arange(k)), like.dtype)


def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first n columns of the product of the reflectors below the diagonal of A (..., m, n), scales tau (..., k)."""
    w, t = _compact("householder_product", A, tau)
    m, n = A.shape[-2:]
    return sub(_unit(m, n, A), matmul(w, matmul(t, mH(narrow(w, -2, 0, n)))))


def orgqr(input: Tensor, input2: Tensor) -> Tensor:
    """As ``linalg.householder_product`` (LAPACK's name); ``input2`` are the scales tau."""
    return householder_product(input, input2)


def ormqr(input: Tensor, input2: Tensor, input3: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """``Q @ C`` (``C @ Q`` for ``left=False``) with Q the product of all reflectors, m x m, never formed.

    input: the reflectors (..., m, n). input2: their scales tau. input3: C. ``transpose`` takes Q^H.
    """
    w, t = _compact("ormqr", input, input2, wide=True)
    if input3.ndim < 2 or input3.shape[-2 if left else -1] != input.shape[-2]:
        raise ShapeError(
            f"ormqr: axis {-2 if left else -1} of C {tuple(input3.shape)} must be {input.shape[-2]}",
            code="shape.householder",
        )
    middle = mH(t) if transpose else t
    if left:
        return sub(input3, matmul(w, matmul(middle, matmul(mH(w), input3))))
    return sub(input3, matmul(matmul(matmul(input3, w), middle), mH(w)))


# -- LU -----------------------------------------------------------------------------------------------
def _lu(name: str, A: Tensor, pivot: bool, check: bool) -> tuple[Tensor, Tensor, Tensor]:
    need_matrix(name, A)
    out = tuple(part(F.lu, k, (A,), (bool(pivot), bool(check))) for k in range(3))
    return out  # type: ignore[return-value]


def lu_factor(A: Tensor, *, pivot: bool = True) -> LUFactor:
    """``P^T A = L U`` with rows exchanged by the largest pivot, both factors in one matrix; pivots int32 from 1.

    Raises LinAlgError where a pivot is 0.
    """
    return LUFactor(*_lu("lu_factor", A, pivot, True)[:2])


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> LUInfo:
    """As :func:`lu_factor`, and for each matrix 0 or the first pivot that is 0."""
    return LUInfo(*_lu("lu_factor_ex", A, pivot, check_errors))


def lu(input: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """As ``linalg.lu_factor_ex`` (the older form): (LU, pivots), and info where asked for."""
    out = _lu("lu", input, pivot, not get_infos)
    return LUInfo(*out) if get_infos else LUFactor(*out[:2])


def linalg_lu(A: Tensor, *, pivot: bool = True) -> PLU:
    """``A = P L U``: a permutation, unit lower triangular, upper triangular. P is empty for ``pivot=False``."""
    factors, pivots, _ = _lu("lu", A, pivot, False)
    p, low, up = lu_unpack(factors, pivots, unpack_pivots=pivot)
    return PLU(p, low, up)


@F.lu.part.gradient
def _lu_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    a = ins[1]
    m, n = a.shape[-2:]
    k = builtins.min(m, n)
    if attrs[0] != 0:
        return None, None
    low = lower(narrow(narrow(out, -2, 0, k), -1, 0, k), -1) + identity(k, out)
    up = upper(narrow(narrow(out, -2, 0, k), -1, 0, k))
    corner = narrow(narrow(ct, -2, 0, k), -1, 0, k)
    gl, gu = lower(corner, -1), upper(corner)
    # the corner: tril(L^H gL, -1) + triu(gU U^H), less what the rows below or the columns beside it carry
    below, beside = matmul(mH(low), gl), matmul(gu, mH(up))
    rest = None
    if m > n:
        l2, g2 = narrow(out, -2, k, m - k), narrow(ct, -2, k, m - k)
        beside = sub(beside, matmul(mH(l2), g2))
        rest = _right(up, g2)
    elif n > m:
        u2, g2 = narrow(out, -1, k, n - k), narrow(ct, -1, k, n - k)
        below = sub(below, matmul(g2, mH(u2)))
        rest = _left(low, g2)
    g = _right(up, _left(low, lower(below, -1) + upper(beside)))
    if rest is not None:
        g = cat([g, rest], -2 if m > n else -1)
    if attrs[1]:
        g = _permuted(g, part(F.lu, 1, (a,), attrs[1:3]), inverse=True)
    return None, g


def _left(low: Tensor, x: Tensor) -> Tensor:
    """L^-H x."""
    return apply(F.triangular, (mH(low), x), (True, True))


def _right(up: Tensor, x: Tensor) -> Tensor:
    """X U^-H."""
    return mH(apply(F.triangular, (up, mH(x)), (True, False)))


def _permuted(x: Tensor, pivots: Tensor, inverse: bool) -> Tensor:
    """P^T x, the rows in the order of the pivots; P x for ``inverse``."""
    m = x.shape[-2]
    order = apply(F.permutation, (pivots,), (m, inverse))
    index = broadcast_to(unsqueeze(order, -1), x.shape)
    return apply(take_along, (x, index), (x.ndim - 2,))


def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> PLU:
    """P, L and U of ``lu_factor``'s result; what is not asked for is empty."""
    need_matrix("lu_unpack", LU_data)
    m, n = LU_data.shape[-2:]
    k = builtins.min(m, n)
    nothing = full((0,), 0.0, dtype=LU_data.dtype)
    p, low, up = nothing, nothing, nothing
    if unpack_pivots:
        _need_pivots("lu_unpack", LU_pivots)
        order = apply(F.permutation, (LU_pivots,), (m, True))
        p = cast(eq(unsqueeze(order, -1), arange(m)), LU_data.dtype)
    if unpack_data:
        low = lower(narrow(LU_data, -1, 0, k), -1) + _unit(m, k, LU_data)
        up = upper(narrow(LU_data, -2, 0, k))
    return PLU(p, low, up)


def _need_pivots(name: str, pivots: Tensor) -> None:
    if pivots.dtype is not dtypes.int32:
        from gradloom.errors import DTypeError

        raise DTypeError(
            f"{name}: pivots have dtype {pivots.dtype.name}, expected int32", code="dtype.pivots",
            hint="give the pivots that lu_factor or ldl_factor returned",
        )  # fmt: skip


def linalg_lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with ``A @ X = B`` (``X @ A = B`` for ``left=False``; A^H for ``adjoint``) from A's ``lu_factor``."""
    need_square("lu_solve", LU)
    need_matrix("lu_solve", B)
    same_dtype("lu_solve", LU, B)
    _need_pivots("lu_solve", pivots)
    if LU.shape[-1] != B.shape[-2 if left else -1] or pivots.shape != LU.shape[:-1]:
        raise ShapeError(
            f"lu_solve: LU {tuple(LU.shape)}, pivots {tuple(pivots.shape)} and B {tuple(B.shape)} do not fit",
            code="shape.solve",
        )
    if not left:  # X A = B is A^H X^H = B^H
        return mH(linalg_lu_solve(LU, pivots, mH(B), adjoint=not adjoint))
    factors, b = batch_of("lu_solve", LU, B)
    swaps = broadcast_to(pivots, (*b.shape[:-2], pivots.shape[-1]))
    if adjoint:
        half = apply(F.triangular, (mH(factors), b), (False, False))
        return _permuted(apply(F.triangular, (mH(factors), half), (True, True)), swaps, inverse=True)
    half = apply(F.triangular, (factors, _permuted(b, swaps, inverse=False)), (False, True))
    return apply(F.triangular, (factors, half), (True, False))


def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with ``A @ X = input`` from A's ``lu_factor`` (the older order of arguments)."""
    return linalg_lu_solve(LU_data, LU_pivots, input)


# -- LDL ------------------------------------------------------------------------------------------------
def ldl_factor(A: Tensor, *, hermitian: bool = False) -> LDLFactor:
    """``A = L D L^T`` (``L D L^H``) of symmetric matrices, D in blocks of 1 and 2 (Bunch & Kaufman); no gradients.

    Only the lower triangle is read. Raises LinAlgError where D is singular.
    """
    need_square("ldl_factor", A)
    return LDLFactor(*(part(F.ldl, k, (A,), (bool(hermitian), True)) for k in range(2)))


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> LDLInfo:
    """As :func:`ldl_factor`, and for each matrix 0 or the first block of D that is 0."""
    need_square("ldl_factor_ex", A)
    return LDLInfo(*(part(F.ldl, k, (A,), (bool(hermitian), bool(check_errors))) for k in range(3)))


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with ``A @ X = B`` from A's ``ldl_factor``."""
    need_square("ldl_solve", LD)
    need_matrix("ldl_solve", B)
    same_dtype("ldl_solve", LD, B)
    _need_pivots("ldl_solve", pivots)
    if LD.shape[-1] != B.shape[-2] or pivots.shape != LD.shape[:-1]:
        raise ShapeError(
            f"ldl_solve: LD {tuple(LD.shape)}, pivots {tuple(pivots.shape)} and B {tuple(B.shape)} do not fit",
            code="shape.solve",
        )
    factors, b = batch_of("ldl_solve", LD, B)
    swaps = broadcast_to(pivots, (*b.shape[:-2], pivots.shape[-1]))
    return apply(F.ldl_solve, (factors, swaps, b), (bool(hermitian),))
