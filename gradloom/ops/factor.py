"""Linear algebra that NumPy's LAPACK does not offer, written with NumPy: LU, LDL, triangular solutions, exponentials.

Loops run over columns and are vectorised over the batch; the bulk of the work is matrix products of blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.ops.linalg import Factorisation, Part, failed, flat_batch

BLOCK = 32
TALL = 64  # rows of a triangular solution that LAPACK is asked for at once
Array = np.ndarray


def _size(x: Array) -> Array:
    """The magnitude by which LAPACK chooses pivots: |re| + |im|."""
    return np.abs(x.real) + np.abs(x.imag) if x.dtype.kind == "c" else np.abs(x)


# -- LU -------------------------------------------------------------------------------------------------
def getrf(a: Array, pivot: bool) -> tuple[Array, Array, Array]:
    """LU decomposition in place of a batch (b, m, n), as LAPACK's getrf: (LU, pivots from 1, info).

    info is the first pivot that is exactly 0, counted from 1, or 0. Right-looking, by blocks of columns.
    """
    b, m, n = a.shape
    k = min(m, n)
    pivots = np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), (b, k)).copy()
    info = np.zeros(b, np.int32)
    every = np.arange(b)
    for start in range(0, k, BLOCK):
        stop = min(start + BLOCK, k)
        for j in range(start, stop):
            if pivot:
                p = j + np.argmax(np.where(np.isnan(x := _size(a[:, j:, j])), np.inf, x), axis=1)
                pivots[:, j] = p + 1
                if (p != j).any():
                    a[every, j], a[every, p] = a[every, p], a[every, j].copy()
            d = a[:, j, j]
            zero = d == 0
            info[zero & (info == 0)] = j + 1
            a[:, j + 1 :, j] /= np.where(zero, 1, d)[:, None]
            if j + 1 < stop:
                a[:, j + 1 :, j + 1 : stop] -= a[:, j + 1 :, j, None] * a[:, None, j, j + 1 : stop]
        if stop < n:
            corner = a[:, start:stop, start:stop]
            a[:, start:stop, stop:] = trsm(corner, a[:, start:stop, stop:], False, True)
            if stop < m:
                a[:, stop:, stop:] -= a[:, stop:, start:stop] @ a[:, start:stop, stop:]
    return a, pivots, info


def _lu(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    pivot, check = attrs
    batch = arrays[0].shape[:-2]
    lu, pivots, info = getrf(flat_batch(arrays[0]), pivot)
    info = info.reshape(batch)
    if check and info.any():
        raise failed(
            "lu_factor", "is singular: pivot {} of its LU decomposition is 0", info, "linalg.singular",
            "call with check_errors=False to have the numbers",
        )  # fmt: skip
    return [lu.reshape(arrays[0].shape), pivots.reshape(*batch, -1), info]


lu = Factorisation(
    "lu",
    _lu,
    lambda a, t: [
        Part(a[0].shape[-2:], a[0].dtype), Part((min(a[0].shape[-2:]),), dtypes.int32), Part((), dtypes.int32)
    ],
)  # fmt: skip
"""operands (a), attrs (pivot, raise where singular): both factors in one matrix, pivots from 1, info."""


def _permutation_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    (pivots,) = arrays
    m, inverse = attrs
    k = pivots.shape[-1]
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), k).astype(np.int64) - 1
    out = np.broadcast_to(np.arange(m), (len(flat), m)).copy()
    every = np.arange(len(flat))
    for j in range(k):
        p = flat[:, j]
        out[every, j], out[every, p] = out[every, p], out[every, j].copy()
    return (np.argsort(out, axis=-1) if inverse else out).reshape(aval.shape)


permutation = Primitive("permutation", _permutation_np, lambda a, t: Aval((*a[0].shape[:-1], t[0]), dtypes.int64))
"""Pivots from 1 as the order of rows that they make: row i of P^T A is row out[i] of A. attrs (rows, inverse order)."""


# -- triangular solutions -------------------------------------------------------------------------------
def trsm(a: Array, b: Array, upper: bool, unit: bool) -> Array:
    """X with ``a @ X = b`` for a triangular ``a``; the other triangle is not read. By blocks of rows.

    A zero on the diagonal gives infinities or NaN, as in BLAS.
    """
    n = a.shape[-1]
    x = np.array(b, np.result_type(a, b))
    starts = range(0, n, TALL)
    for start in reversed(starts) if upper else starts:
        stop = min(start + TALL, n)
        done = slice(stop, n) if upper else slice(0, start)
        if done.stop > done.start:
            x[..., start:stop, :] -= a[..., start:stop, done] @ x[..., done, :]
        corner, rows = a[..., start:stop, start:stop], x[..., start:stop, :]
        if not _by_lapack(corner, rows, upper, unit):
            _by_rows(corner, rows, upper, unit)
    return x


def _by_lapack(a: Array, x: Array, upper: bool, unit: bool) -> bool:
    """Overwrite ``x`` by the solution, if LAPACK's solver can make it: it leaves an upper triangle as it is."""
    k = a.shape[-1]
    if k < 8 or a.dtype != x.dtype or a.dtype.char not in "fdFD" or not x.size:
        return False
    turn = (..., slice(None), slice(None)) if upper else (..., slice(None, None, -1), slice(None, None, -1))
    whole = np.triu(a[turn])
    diagonal = whole[..., np.arange(k), np.arange(k)]
    if unit:
        whole[..., np.arange(k), np.arange(k)] = 1
    elif not diagonal.all():
        return False
    if not (np.isfinite(whole).all() and np.isfinite(x).all()):
        return False
    order = slice(None) if upper else slice(None, None, -1)
    x[...] = np.linalg.solve(whole, x[..., order, :])[..., order, :]
    return True


def _by_rows(a: Array, x: Array, upper: bool, unit: bool) -> None:
    """The same, row after row."""
    k = a.shape[-1]
    for i in reversed(range(k)) if upper else range(k):
        inside = slice(i + 1, k) if upper else slice(0, i)
        if inside.stop > inside.start:
            x[..., i, :] -= (a[..., i, None, inside] @ x[..., inside, :])[..., 0, :]
        if not unit:
            x[..., i, :] /= a[..., i, i, None]


triangular = Primitive(
    "triangular_solve",
    lambda a, t, v: trsm(a[0], a[1], *t),
    lambda a, t: Aval(a[1].shape, a[1].dtype),
)
"""operands (a, b) of one batch shape, attrs (upper, unit diagonal)."""


def _cholesky_solve_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    factor, b = arrays
    turned = factor.conj().swapaxes(-1, -2)
    low, high = (turned, factor) if attrs[0] else (factor, turned)
    return trsm(high, trsm(low, b, False, False), True, False)


cholesky_solve = Primitive("cholesky_solve", _cholesky_solve_np, lambda a, t: Aval(a[1].shape, a[1].dtype))
"""operands (factor, b) of one batch shape, attrs (upper,)."""


# -- LDL: Bunch & Kaufman (1977), as LAPACK's sytf2 and hetf2 lay it out -----------------------------------
_ALPHA = (1 + math.sqrt(17)) / 8


def _sytf2(a: Array, hermitian: bool) -> tuple[Array, int]:
    """L D L^T (L D L^H) of the lower triangle in place: (pivots, info). Pivots below 0 mark blocks of 2."""
    n = len(a)
    pivots = np.zeros(n, np.int32)
    info = 0
    turn = np.conj if hermitian else (lambda x: x)

    def size(x: Any) -> Any:
        return _size(np.asarray(x))

    k = 0
    while k < n:
        step, p = 1, k
        top = size(a[k, k].real if hermitian else a[k, k])
        at, colmax = k, 0.0
        if k + 1 < n:
            column = size(a[k + 1 :, k])
            at = k + 1 + int(np.argmax(column))
            colmax = column[at - k - 1]
        nothing = max(top, colmax) == 0 or np.isnan(top)
        if nothing:
            info = info or k + 1
        elif top < _ALPHA * colmax:
            row = np.concatenate([size(a[at, k:at]), size(a[at + 1 :, at])])
            rowmax = row.max()
            if top >= _ALPHA * colmax * (colmax / rowmax):
                pass
            elif size(a[at, at].real if hermitian else a[at, at]) >= _ALPHA * rowmax:
                p = at
            else:
                p, step = at, 2
        kk = k + step - 1
        if p != kk:
            a[p + 1 :, [kk, p]] = a[p + 1 :, [p, kk]]
            between = turn(a[kk + 1 : p, kk].copy())
            a[kk + 1 : p, kk] = turn(a[p, kk + 1 : p])
            a[p, kk + 1 : p] = between
            if hermitian:
                a[p, kk] = np.conj(a[p, kk])
            a[kk, kk], a[p, p] = a[p, p], a[kk, kk]
            if step == 2:
                a[k + 1, k], a[p, k] = a[p, k], a[k + 1, k]
        if hermitian:
            for d in range(k, k + step):
                a[d, d] = a[d, d].real
        rest = slice(k + step, n)
        if k + step < n and not nothing:
            block = a[k : k + step, k : k + step].copy()
            if step == 2:
                block[0, 1] = turn(block[1, 0])
            w = a[rest, k : k + step].copy()
            factor = np.linalg.solve(block.T, w.T).T if step == 2 else w / block[0, 0]
            a[rest, rest] -= np.tril(factor @ turn(w).T)
            a[rest, k : k + step] = factor
        pivots[k : k + step] = p + 1 if step == 1 else -(p + 1)
        k += step
    return pivots, info


def _ldl(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    hermitian, check = attrs
    a = arrays[0]
    work = np.tril(flat_batch(a))
    pivots = np.zeros((len(work), a.shape[-1]), np.int32)
    found = np.zeros(len(work), np.int32)
    for k in range(len(work)):
        pivots[k], found[k] = _sytf2(work[k], hermitian and a.dtype.kind == "c")
    info = found.reshape(a.shape[:-2])
    if check and info.any():
        raise failed(
            "ldl_factor", "has a zero block at {}: the factor D is singular", info, "linalg.singular",
            "use ldl_factor_ex to have the factors nevertheless",
        )  # fmt: skip
    return [work.reshape(a.shape), pivots.reshape(a.shape[:-1]), info]


def _ldl_solve_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    ld, pivots, b = arrays
    hermitian = attrs[0] and ld.dtype.kind == "c"
    batch = aval.shape[:-2]
    out = np.array(np.broadcast_to(b, aval.shape), np.result_type(ld, b))
    ld = np.broadcast_to(ld, (*batch, *ld.shape[-2:]))
    pivots = np.broadcast_to(pivots, (*batch, pivots.shape[-1]))
    for at in np.ndindex(batch):
        _sytrs(ld[at], pivots[at], out[at], hermitian)
    return out


def _sytrs(ld: Array, pivots: Array, x: Array, hermitian: bool) -> None:
    """X := A^-1 x from the factors."""
    n = len(ld)
    turn = np.conj if hermitian else (lambda v: v)
    k = 0
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        p, kk = abs(int(pivots[k])) - 1, k + step - 1
        if p != kk:
            x[[kk, p]] = x[[p, kk]]
        x[k + step :] -= ld[k + step :, k : k + step] @ x[k : k + step]
        block = ld[k : k + step, k : k + step].copy()
        if step == 2:
            block[0, 1] = turn(block[1, 0])
        x[k : k + step] = np.linalg.solve(block, x[k : k + step]) if step == 2 else x[k : k + step] / block[0, 0]
        k += step
    k = n - 1
    while k >= 0:
        step = 1 if pivots[k] > 0 else 2
        first = k - step + 1
        x[first : k + 1] -= turn(ld[k + 1 :, first : k + 1]).T @ x[k + 1 :]
        p = abs(int(pivots[k])) - 1
        if p != k:
            x[[k, p]] = x[[p, k]]
        k -= step


ldl = Factorisation(
    "ldl",
    _ldl,
    lambda a, t: [Part(a[0].shape[-2:], a[0].dtype), Part(a[0].shape[-1:], dtypes.int32), Part((), dtypes.int32)],
)
"""operands (a), attrs (hermitian, raise): L and D in one matrix, pivots as LAPACK has them, info."""
ldl_solve = Primitive("ldl_solve", _ldl_solve_np, lambda a, t: Aval(a[2].shape, a[2].dtype))
"""operands (ld, pivots, b), attrs (hermitian,)."""


# -- exponential ----------------------------------------------------------------------------------------
# numerator of the Pade approximant of degree 13, and the norm up to which it is exact in float64 (Higham 2005)
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_THETA = 5.371920351148152


def _expm_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    """Scaling and squaring with the Pade approximant of degree 13 (Higham, SIAM J. Matrix Anal. Appl. 26, 2005)."""
    (a,) = arrays
    if not a.size:
        return np.zeros(aval.shape, a.dtype)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x = flat_batch(a).astype(wide)
    norm = np.abs(x).sum(-2).max(-1)
    finite = np.isfinite(norm)
    ratio = np.where(finite & (norm > _THETA), norm, _THETA) / _THETA
    scale = np.ceil(np.log2(ratio)).astype(np.int64)
    x = np.where(finite[:, None, None], x, 0) / np.exp2(scale.astype(np.float64))[:, None, None]
    eye = np.eye(x.shape[-1], dtype=wide)
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x4 @ x2
    c = _PADE
    odd = x6 @ (c[13] * x6 + c[11] * x4 + c[9] * x2) + c[7] * x6 + c[5] * x4 + c[3] * x2 + c[1] * eye
    even = x6 @ (c[12] * x6 + c[10] * x4 + c[8] * x2) + c[6] * x6 + c[4] * x4 + c[2] * x2 + c[0] * eye
    odd = x @ odd
    out = np.linalg.solve(even - odd, even + odd)
    for k in range(int(scale.max())):
        more = scale > k
        out[more] = out[more] @ out[more]
    out[~finite] = np.nan
    return out.reshape(a.shape).astype(a.dtype)


matrix_exp = Primitive("matrix_exp", _expm_np, lambda a, t: Aval(a[0].shape, a[0].dtype))

for _p in (permutation, triangular, cholesky_solve, ldl_solve, matrix_exp):
    _p.batch = "leading"
