"""Inverses, solutions of linear systems, determinants, powers and exponentials of matrices."""

from __future__ import annotations

from typing import Any, NamedTuple

from gradloom.errors import ShapeError
from gradloom.functions.base import apply, const
from gradloom.functions.contraction import matmul
from gradloom.functions.elementwise import isnan, log, mul, neg, where
from gradloom.functions.linalg_base import (
    batch_of,
    columns,
    conj,
    diagonal_matrix,
    diagonal_of,
    identity,
    imag,
    is_complex,
    lower,
    mH,
    need_float,
    need_matrix,
    need_square,
    part,
    same_dtype,
    upper,
)
from gradloom.functions.movement import broadcast_to, cat, narrow, permute, reshape, swap_last, unsqueeze
from gradloom.functions.reductions import sum
from gradloom.ops import factor as F
from gradloom.ops import linalg as L
from gradloom.ops.core import broadcast_shapes
from gradloom.tensor import Tensor

__all__ = (
    "cholesky cholesky_inverse cholesky_solve det inverse logdet matrix_exp matrix_power slogdet triangular_solve"
).split()
FUNCTION_ONLY: list[str] = []


class InverseInfo(NamedTuple):
    """The inverse, and 0 or the first pivot that is 0."""

    inverse: Tensor
    info: Tensor


class SolveInfo(NamedTuple):
    """The solution, and 0 or the first pivot that is 0."""

    result: Tensor
    info: Tensor


class CholeskyInfo(NamedTuple):
    """The factor, and 0 or the order of the first leading minor that is not positive."""

    L: Tensor
    info: Tensor


class SignLog(NamedTuple):
    """Sign and logarithm of the magnitude of a determinant."""

    sign: Tensor
    logabsdet: Tensor


class Triangular(NamedTuple):
    """``triangular_solve``'s results."""

    solution: Tensor
    cloned_coefficient: Tensor


# -- inverse and solutions ------------------------------------------------------------------------------
def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices (..., n, n). Raises LinAlgError where one is singular, naming it."""
    need_square("inv", A)
    return part(L.inverse, 0, (A,), (True,))


def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices (..., n, n). Raises LinAlgError where one is singular, naming it."""
    return inv(input)


def inv_ex(A: Tensor, *, check_errors: bool = False) -> InverseInfo:
    """The inverse and, for each matrix, 0 or the first pivot that is 0 (then the inverse is NaN)."""
    need_square("inv_ex", A)
    return InverseInfo(*(part(L.inverse, k, (A,), (bool(check_errors),)) for k in range(2)))


def _is_vector(a: Tensor, b: Tensor) -> bool:
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])


def _system(name: str, A: Tensor, B: Tensor, left: bool, check: bool) -> tuple[Tensor, Tensor]:
    need_square(name, A)
    need_float(name, B)
    same_dtype(name, A, B)
    vector = _is_vector(A, B)
    if vector and not left:
        raise ShapeError(f"{name}: with left=False B must be matrices, got {tuple(B.shape)}", code="shape.solve")
    b = unsqueeze(B, -1) if vector else B
    if b.ndim < 2 or A.shape[-1] != b.shape[-2 if left else -1]:
        raise ShapeError(
            f"{name}: A {tuple(A.shape)} and B {tuple(B.shape)} do not fit: axis {-2 if left else -1} of B must be "
            f"{A.shape[-1]}",
            code="shape.solve",
            hint="B is a batch of matrices (..., n, k), or of vectors where its shape is A's without the last axis",
        )
    x, y = batch_of(name, A if left else swap_last(A), b if left else swap_last(b))
    out = part(L.solve, 0, (x, y), (check,))
    info = part(L.solve, 1, (x, y), (check,))
    out = out if left else swap_last(out)
    return (reshape(out, out.shape[:-1]) if vector else out), info


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with ``A @ X = B`` (``X @ A = B`` for ``left=False``). Raises LinAlgError where A is singular."""
    return _system("solve", A, B, left, True)[0]


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> SolveInfo:
    """As :func:`solve`, and for each matrix 0 or the first pivot that is 0 (then the solution is NaN)."""
    return SolveInfo(*_system("solve_ex", A, B, left, bool(check_errors)))


@L.inverse.part.gradient
def _inverse_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    y = mH(out)
    return None, neg(matmul(matmul(y, ct), y))


@L.solve.part.gradient
def _solve_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    gb = part(L.solve, 0, (mH(ins[1]), ct), (False,))
    return None, neg(matmul(gb, mH(out))), gb


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X with ``A @ X = B`` (``X @ A = B``) for triangular A; its other triangle is not looked at.

    A zero on the diagonal is not checked for: it gives infinities and NaN.
    """
    need_square("solve_triangular", A)
    need_matrix("solve_triangular", B)
    same_dtype("solve_triangular", A, B)
    if A.shape[-1] != B.shape[-2 if left else -1]:
        raise ShapeError(f"solve_triangular: A {tuple(A.shape)} and B {tuple(B.shape)} do not fit", code="shape.solve")
    if not left:
        turned = solve_triangular(swap_last(A), swap_last(B), upper=not upper, unitriangular=unitriangular)
        return swap_last(turned)
    a, b = batch_of("solve_triangular", A, B)
    return apply(F.triangular, (a, b), (bool(upper), bool(unitriangular)))


@F.triangular.gradient
def _triangular_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    up, unit = attrs
    gb = apply(F.triangular, (mH(ins[0]), ct), (not up, unit))
    ga = neg(matmul(gb, mH(out)))
    return (upper if up else lower)(ga, int(unit) * (1 if up else -1)), gb


def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Triangular:
    """X with ``A @ X = input`` for triangular A; with ``transpose`` A^T (the older form of ``solve_triangular``)."""
    a = swap_last(A) if transpose else A
    x = solve_triangular(a, input, upper=upper != transpose, unitriangular=unitriangular)
    batch = broadcast_shapes("triangular_solve", [A.shape[:-2], input.shape[:-2]])
    return Triangular(x, broadcast_to(A, (*batch, *A.shape[-2:])))


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last axes to its first ``ind``."""
    if ind < 1:
        raise ShapeError(f"tensorinv: ind must be positive, got {ind}", code="shape.tensorinv")
    n = _size(A.shape[:ind])
    if n != _size(A.shape[ind:]):
        raise ShapeError(
            f"tensorinv: the first {ind} axes of {tuple(A.shape)} do not have as many elements as the others",
            code="shape.tensorinv",
        )
    return reshape(inv(reshape(A, (n, n))), (*A.shape[ind:], *A.shape[:ind]))


def tensorsolve(A: Tensor, B: Tensor, dims: Any = None, *, axes: Any = None) -> Tensor:
    """X with ``tensordot(A, X, X.ndim) = B``; ``dims`` of A are moved to its end first."""
    chosen = dims if dims is not None else axes
    if chosen is not None:
        moved = [int(k) % A.ndim for k in chosen]
        A = permute(A, (*(k for k in range(A.ndim) if k not in moved), *moved))
    tail = A.shape[B.ndim :]
    if _size(tail) != _size(B.shape) or _size(A.shape[: B.ndim]) != _size(B.shape):
        raise ShapeError(
            f"tensorsolve: A {tuple(A.shape)} is no square map onto B {tuple(B.shape)}", code="shape.tensorsolve"
        )
    n = _size(tail)
    return reshape(solve(reshape(A, (n, n)), reshape(B, (n,))), tail)


def _size(shape: Any) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


# -- determinants ---------------------------------------------------------------------------------------
def det(input: Tensor) -> Tensor:
    """Determinants of square matrices: (..., n, n) -> (...)."""
    need_square("det", input)
    return apply(L.det, (input,))


def linalg_det(A: Tensor) -> Tensor:
    """Determinants of square matrices: (..., n, n) -> (...)."""
    return det(A)


@L.det.gradient
def _det_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    return (mul(columns(columns(ct)), conj(apply(L.cofactor, (ins[0],)))),)


@L.cofactor.gradient
def _cofactor_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    # d(det A · A^-T) = tr(A^-1 dA) C - A^-T dA^T C; defined for invertible matrices
    g = conj(ct)
    turned = swap_last(part(L.inverse, 0, (ins[0],), (False,)))
    total = sum(mul(g, out), (-2, -1), keepdim=True, dtype=out.dtype)
    return (conj(mul(total, turned) - matmul(matmul(out, swap_last(g)), turned)),)


def slogdet(input: Tensor) -> SignLog:
    """Sign and log |det| of square matrices; 0 and -inf where one is singular."""
    need_square("slogdet", input)
    return SignLog(part(L.slogdet, 0, (input,)), part(L.slogdet, 1, (input,)))


def linalg_slogdet(A: Tensor) -> SignLog:
    """Sign and log |det| of square matrices; 0 and -inf where one is singular."""
    return slogdet(A)


@L.slogdet.part.gradient
def _slogdet_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    a = ins[1]
    if attrs[0] == 1:
        return None, mul(columns(columns(ct)), mH(part(L.inverse, 0, (a,), (False,))))
    if not is_complex(a):
        return None, mul(a, const(0.0))
    # d sign = i · sign · Im tr(A^-1 dA)
    b = imag(mul(conj(ct), out))
    return None, mul(columns(columns(mul(b, const(-1j)))), mH(part(L.inverse, 0, (a,), (False,))))


def logdet(input: Tensor) -> Tensor:
    """Logarithm of the determinant: NaN where it is negative, -inf where it is 0."""
    sign, magnitude = slogdet(input)
    return magnitude + log(sign)


# -- Cholesky -------------------------------------------------------------------------------------------
def _cholesky(name: str, a: Tensor, up: bool, check: bool) -> tuple[Tensor, Tensor]:
    need_square(name, a)
    factor, info = (part(L.cholesky, k, (a,), (check, bool(up))) for k in range(2))
    return factor, info


def linalg_cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """Lower triangular L with ``A = L L^H`` (upper U with ``A = U^H U``); only that triangle of A is read.

    Raises LinAlgError where a matrix is not positive-definite, naming it and the minor.
    """
    return _cholesky("cholesky", A, upper, True)[0]


def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """As ``linalg.cholesky``."""
    return _cholesky("cholesky", input, upper, True)[0]


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> CholeskyInfo:
    """The factor and, for each matrix, 0 or the order of the first leading minor that is not positive."""
    return CholeskyInfo(*_cholesky("cholesky_ex", A, upper, bool(check_errors)))


@L.cholesky.part.gradient
def _cholesky_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    # Murray (2016), "Differentiation of the Cholesky decomposition". An imaginary part that the cotangent has on the
    # diagonal, where the factor is real, stays in the gradient, as in PyTorch; no Hermitian direction feels it
    up = attrs[2]
    low = out if up else mH(out)  # L^H
    inner = matmul(low, mH(ct) if up else ct)
    strict = lower(inner, -1)
    sym = mul(strict + mH(strict) + diagonal_matrix(diagonal_of(inner)), const(0.5))
    half = apply(F.triangular, (low, sym), (True, False))  # L^-H sym
    return None, mH(apply(F.triangular, (low, mH(half)), (True, False)))  # ... L^-1


def cholesky_solve(input: Tensor, input2: Tensor, upper: bool = False) -> Tensor:
    """X with ``A @ X = input``, ``input2`` the Cholesky factor of A."""
    need_square("cholesky_solve", input2)
    need_matrix("cholesky_solve", input)
    same_dtype("cholesky_solve", input, input2)
    if input2.shape[-1] != input.shape[-2]:
        raise ShapeError(
            f"cholesky_solve: the factor {tuple(input2.shape)} and B {tuple(input.shape)} do not fit",
            code="shape.solve",
        )
    factor, b = batch_of("cholesky_solve", input2, input)
    return apply(F.cholesky_solve, (factor, b), (bool(upper),))


@F.cholesky_solve.gradient
def _cholesky_solve_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    # A = L L^H, so the gradient is of all of L, as PyTorch has it
    factor = ins[0]
    gb = apply(F.cholesky_solve, (factor, ct), attrs)
    half = matmul(gb, mH(out))
    whole = neg(half + mH(half))
    return (matmul(factor, whole) if attrs[0] else matmul(whole, factor)), gb


def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, ``input`` its Cholesky factor."""
    need_square("cholesky_inverse", input)
    return cholesky_solve(identity(input.shape[-1], input), input, upper)


# -- powers and exponentials ------------------------------------------------------------------------------
def matrix_power(input: Tensor, n: int) -> Tensor:
    """The product of ``n`` copies of square matrices by repeated squaring; the inverse's for negative ``n``."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise ShapeError(
            f"matrix_power: expects square matrices (..., n, n), got shape {tuple(input.shape)}", code="shape.square"
        )
    if n < 0:
        input, n = inv(input), -n
    if n == 0:
        one = broadcast_to(identity(input.shape[-1], input), input.shape)
        return where(isnan(one), input, one)  # a result of the input all the same, with gradient 0
    out: Tensor | None = None
    square = input
    while n:
        if n & 1:
            out = square if out is None else matmul(out, square)
        n >>= 1
        if n:
            square = matmul(square, square)
    assert out is not None
    return input.clone() if out is input else out


def linalg_matrix_power(A: Tensor, n: int) -> Tensor:
    """As ``gradloom.matrix_power``."""
    return matrix_power(A, n)


def linalg_matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices, sum of ``A^k / k!``."""
    return matrix_exp(A)


def matrix_exp(input: Tensor) -> Tensor:
    """The exponential of square matrices, sum of ``A^k / k!``."""
    need_square("matrix_exp", input)
    return apply(F.matrix_exp, (input,))


@F.matrix_exp.gradient
def _matrix_exp_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    # the derivative is a block of a larger exponential (Najfeld & Havel 1995, Mathias 1996)
    a = mH(ins[0])
    n = a.shape[-1]
    nothing = mul(a, const(0.0))
    wide = cat([cat([a, ct], -1), cat([nothing, a], -1)], -2)
    return (narrow(narrow(apply(F.matrix_exp, (wide,)), -2, 0, n), -1, n, n),)
