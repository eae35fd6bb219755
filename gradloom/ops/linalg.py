"""Linear algebra primitives that NumPy's LAPACK computes, batched over leading axes.

A factorisation has several results, a primitive has one. So a factorisation is two primitives: one computes all results
and lays them side by side in one array (``name``), the other cuts one of them out (``name_part``). A gradient belongs
to the part: what a loss does not use takes no part in its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.errors import GradloomError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

__all__ = ["Factorisation", "LinAlgError", "Part", "failed", "flat_batch"]

Array = np.ndarray


class LinAlgError(GradloomError, RuntimeError, np.linalg.LinAlgError):
    """A matrix that the operation cannot take: singular, not positive definite, or without convergence."""

    default_code = "linalg"


class Part(NamedTuple):
    """One result of a factorisation: the shape behind the batch axes, and its dtype."""

    shape: tuple[int, ...]
    dtype: DType


class Factorisation:
    """Several results of one computation.

    run: ``(arrays, attrs) -> results``, in NumPy. layout: ``(avals of the operands, attrs) -> parts``. core: how many
    last axes of the first operand belong to a matrix (what stands before them is the batch).
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Array], tuple], Sequence[Array]],
        layout: Callable[[Sequence[Aval], tuple], list[Part]],
    ) -> None:
        self.run, self.layout = run, layout
        self.whole = Primitive(name, self._pack, self._packed)
        self.part = Primitive(name + "_part", self._cut, self._shape)
        self.whole.batch = self.part.batch = "leading"

    def _packed(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        size = sum(math.prod(p.shape) for p in self.layout(avals, attrs))
        return Aval((*avals[0].shape[:-2], size), self._wide(avals, attrs))

    def _wide(self, avals: Sequence[Aval], attrs: tuple) -> DType:
        wide = avals[0].dtype
        for p in self.layout(avals, attrs):
            if p.dtype.category > wide.category:
                wide = p.dtype
        return wide

    def _pack(self, arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
        out = np.empty(aval.shape, aval.dtype.numpy)
        at, batch = 0, aval.shape[:-1]
        if not out.size and 0 in batch:
            return out
        for r in self.run(arrays, attrs):
            tail = r.shape[len(batch) :]
            n = math.prod(tail)
            out[..., at : at + n] = r.reshape(*batch, n)
            at += n
        return out

    def _shape(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        p = self.layout(avals[1:], attrs[1:-1])[attrs[0]]
        return Aval((*avals[0].shape[:-1], *p.shape), p.dtype)

    def _cut(self, arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
        at = attrs[-1]
        whole = arrays[0]
        n = math.prod(aval.shape[whole.ndim - 1 :])
        piece = whole[..., at : at + n].reshape(aval.shape)
        if piece.dtype.kind == "c" and not aval.dtype.is_complex:
            piece = piece.real
        return piece.astype(aval.dtype.numpy, copy=False)


def flat_batch(a: Array) -> Array:
    """A copy with one batch axis, in C order."""
    return np.array(a, order="C").reshape(math.prod(a.shape[:-2]), *a.shape[-2:])


def failed(name: str, why: str, info: Array, code: str, hint: str) -> LinAlgError:
    """The error for the first matrix of a batch whose ``info`` is not 0; ``why`` is given that number."""
    at = tuple(int(k) for k in np.argwhere(info)[0])
    which = f"matrix {at[0] if len(at) == 1 else at} of the batch" if at else "the matrix"
    return LinAlgError(f"{name}: {which} {why.format(int(info[at]))}", code=code, hint=hint)


def real_of(d: DType) -> DType:
    """The dtype of absolute values."""
    return d.to_real()


# -- inverse and solutions ------------------------------------------------------------------------------
def _info(a: Array) -> Array:
    """For each matrix the first pivot of its LU decomposition that is exactly 0, counted from 1; 0 where none is."""
    from gradloom.ops.factor import getrf

    return getrf(flat_batch(a), True)[2].reshape(a.shape[:-2])


_SINGULAR = "is singular: pivot {} of its LU decomposition is 0"
_SINGULAR_HINT = "linalg.pinv and linalg.lstsq take singular matrices; the ..._ex functions report without raising"


def _each(fn: Callable[..., Array], shape: tuple[int, ...], like: Array, *operands: Array) -> Array:
    """``fn`` for every matrix of a batch; NaN where NumPy refuses."""
    out = np.full(shape, np.nan, like.dtype)
    for at in np.ndindex(shape[:-2]):
        try:
            out[at] = fn(*(x[at] for x in operands))
        except np.linalg.LinAlgError:
            pass
    return out


def _inverse(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    (a,) = arrays
    info = np.zeros(a.shape[:-2], np.int32)
    try:
        return [np.linalg.inv(a), info]
    except np.linalg.LinAlgError:
        info = _info(a)
        if attrs[0]:
            raise failed("inv", _SINGULAR, info, "linalg.singular", _SINGULAR_HINT) from None
    return [_each(np.linalg.inv, a.shape, a, a), info]


def _solved(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    a, b = arrays
    info = np.zeros(a.shape[:-2], np.int32)
    try:
        return [np.linalg.solve(a, b), info]
    except np.linalg.LinAlgError:
        info = _info(a)
        if attrs[0]:
            raise failed("solve", _SINGULAR, info, "linalg.singular", _SINGULAR_HINT) from None
    return [_each(np.linalg.solve, b.shape, b, a, b), info]


_INFO = Part((), dtypes.int32)
inverse = Factorisation("inverse", _inverse, lambda a, t: [Part(a[0].shape[-2:], a[0].dtype), _INFO])
"""operands (a), attrs (raise where singular,): the inverse, info."""
solve = Factorisation("solve", _solved, lambda a, t: [Part(a[1].shape[-2:], a[1].dtype), _INFO])
"""operands (a, b) of one batch shape, attrs (raise where singular,): x with a @ x = b, info."""


# -- determinants ---------------------------------------------------------------------------------------
def _scalar_shape(a: Sequence[Aval], t: tuple) -> Aval:
    return Aval(a[0].shape[:-2], a[0].dtype)


def _same(a: Sequence[Aval], t: tuple) -> Aval:
    return Aval(a[0].shape, a[0].dtype)


def _cofactor_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    """det(a) a^-T by the singular values, so that it exists for singular matrices too."""
    (a,) = arrays
    if not a.size:
        return np.zeros(a.shape, a.dtype)
    u, s, vh = np.linalg.svd(a)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), np.ones((), s.dtype), s[..., None, :]).prod(-1)
    phase = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return phase * ((u.conj() * others[..., None, :]) @ vh.conj())


det = Primitive("det", lambda a, t, v: np.linalg.det(a[0]), _scalar_shape)
cofactor = Primitive("cofactor", _cofactor_np, _same)
"""The matrix of cofactors: the derivative of the determinant, also of singular matrices."""
slogdet = Factorisation(
    "slogdet",
    lambda a, t: list(np.linalg.slogdet(a[0])),
    lambda a, t: [Part((), a[0].dtype), Part((), real_of(a[0].dtype))],
)
"""operands (a): sign, logarithm of the magnitude of the determinant."""


# -- Cholesky -------------------------------------------------------------------------------------------
def _minor(a: Array) -> int:
    """The order of the first leading minor that is not positive, found by the factorisation that stops there."""
    low = np.tril(a).astype(np.result_type(a.dtype, np.float64))
    for k in range(len(low)):
        d = low[k, k].real - (np.abs(low[k, :k]) ** 2).sum()
        if not d > 0:
            return k + 1
        low[k, k] = math.sqrt(d)
        low[k + 1 :, k] = (low[k + 1 :, k] - low[k + 1 :, :k] @ low[k, :k].conj()) / low[k, k]
    return len(low)


def _cholesky(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    check, upper = attrs
    a = arrays[0].conj().swapaxes(-1, -2) if upper else arrays[0]
    info = np.zeros(a.shape[:-2], np.int32)
    try:
        out = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        out = np.tril(a)
        for at in np.ndindex(info.shape):
            try:
                out[at] = np.linalg.cholesky(a[at])
            except np.linalg.LinAlgError:
                info[at] = _minor(a[at])
    if check and info.any():
        raise failed(
            "cholesky", "is not positive-definite: its leading minor of order {} is not positive", info,
            "linalg.cholesky", "the matrix must be symmetric positive-definite; adding a small multiple of the unit "
            "matrix often helps",
        )  # fmt: skip
    return [out.conj().swapaxes(-1, -2) if upper else out, info]


cholesky = Factorisation("cholesky", _cholesky, lambda a, t: [Part(a[0].shape[-2:], a[0].dtype), _INFO])
"""operands (a), attrs (raise, upper): that triangular factor (only that triangle of a is read), info."""


# -- eigenvalues and singular values ----------------------------------------------------------------------
def _converged(name: str, fn: Callable[..., Any], *args: Any) -> Any:
    try:
        return fn(*args)
    except np.linalg.LinAlgError as e:
        bad = " (it has NaN or infinities)" if not np.isfinite(args[0]).all() else ""
        raise LinAlgError(f"{name}: {e}{bad}", code="linalg.convergence") from None


def _eigh(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    return list(_converged("eigh", np.linalg.eigh, arrays[0], attrs[0]))


def _complex_eig(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    a = arrays[0]
    d = np.result_type(a.dtype, np.complex64)
    return [x.astype(d, copy=False) for x in _converged("eig", np.linalg.eig, a)]


def _svd(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    return list(_converged("svd", np.linalg.svd, arrays[0], attrs[0]))


def _svd_layout(a: Sequence[Aval], t: tuple) -> list[Part]:
    (m, n), d = a[0].shape[-2:], a[0].dtype
    k = min(m, n)
    rows, cols = (m, n) if t[0] else (k, k)
    return [Part((m, rows), d), Part((k,), real_of(d)), Part((cols, n), d)]


def _values_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    a = arrays[0]
    return _converged("svd", lambda x: np.linalg.svd(x, compute_uv=False), a) if a.size else np.zeros(aval.shape)


def _values_shape(a: Sequence[Aval], t: tuple) -> Aval:
    return Aval((*a[0].shape[:-2], min(a[0].shape[-2:])), real_of(a[0].dtype))


eigh = Factorisation(
    "eigh", _eigh, lambda a, t: [Part(a[0].shape[-1:], real_of(a[0].dtype)), Part(a[0].shape[-2:], a[0].dtype)]
)
"""operands (a), attrs (triangle that is read, "L" or "U"): eigenvalues in ascending order, vectors as columns."""
eig = Factorisation(
    "eig",
    _complex_eig,
    lambda a, t: [Part(a[0].shape[-1:], a[0].dtype.to_complex()), Part(a[0].shape[-2:], a[0].dtype.to_complex())],
)
"""operands (a): eigenvalues, vectors as columns of length 1."""
svd = Factorisation("svd", _svd, _svd_layout)
"""operands (a), attrs (full matrices,): U, singular values in descending order, V^H."""
svdvals = Primitive("svdvals", _values_np, _values_shape)
eigvalsh = Primitive(
    "eigvalsh",
    lambda a, t, v: _converged("eigvalsh", np.linalg.eigvalsh, a[0], t[0]),
    lambda a, t: Aval(a[0].shape[:-1], real_of(a[0].dtype)),
)
"""attrs (triangle that is read,)."""
eigvals = Primitive(
    "eigvals",
    lambda a, t, v: _converged("eigvals", np.linalg.eigvals, a[0]),
    lambda a, t: Aval(a[0].shape[:-1], a[0].dtype.to_complex()),
)


# -- QR -----------------------------------------------------------------------------------------------
def _qr(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    return list(np.linalg.qr(arrays[0], attrs[0]))


def _qr_layout(a: Sequence[Aval], t: tuple) -> list[Part]:
    (m, n), d = a[0].shape[-2:], a[0].dtype
    k = m if t[0] == "complete" else min(m, n)
    return [Part((m, k), d), Part((k, n), d)]


def _geqrf(arrays: Sequence[Array], attrs: tuple) -> list[Array]:
    h, tau = np.linalg.qr(arrays[0], "raw")
    return [h.swapaxes(-1, -2), tau]


qr = Factorisation("qr", _qr, _qr_layout)
"""operands (a), attrs ("reduced" or "complete",): Q, R."""
geqrf = Factorisation(
    "geqrf", _geqrf, lambda a, t: [Part(a[0].shape[-2:], a[0].dtype), Part((min(a[0].shape[-2:]),), a[0].dtype)]
)
"""operands (a): R above reflectors, their scales (LAPACK's geqrf)."""


# -- pseudo-inverse -------------------------------------------------------------------------------------
def _pinv_np(arrays: Sequence[Array], attrs: tuple, aval: Aval) -> Array:
    """By singular values (eigenvalues of a Hermitian matrix) above max(atol, rtol * the largest)."""
    a, atol, rtol = arrays
    if not a.size:
        return np.zeros(aval.shape, a.dtype)
    if attrs[0]:
        s, u = _converged("pinv", np.linalg.eigh, a)
        vh, size = u.conj().swapaxes(-1, -2), np.abs(s)
    else:
        u, s, vh = _converged("pinv", lambda x: np.linalg.svd(x, full_matrices=False), a)
        size = s
    bound = np.maximum(atol, rtol * size.max(-1))[..., None]
    inverse = np.divide(1, s, out=np.zeros_like(s), where=size > bound)
    return (vh.conj().swapaxes(-1, -2) * inverse[..., None, :]) @ u.conj().swapaxes(-1, -2)


pinv = Primitive(
    "pinv",
    _pinv_np,
    lambda a, t: Aval((*a[0].shape[:-2], a[0].shape[-1], a[0].shape[-2]), a[0].dtype),
)
"""operands (a, atol, rtol) with bounds of the batch's shape, attrs (hermitian,)."""

for _p in (det, cofactor, svdvals, eigvalsh, eigvals, pinv):
    _p.batch = "leading"
