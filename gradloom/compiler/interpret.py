"""What a kernel means: :class:`Nest` and :class:`Contract` evaluated with NumPy, plainly and slowly.

The oracle for emitted code. Every instruction is computed for the whole iteration space, in the order of the body, in
the instruction's dtype; functions of ``f32`` are computed in ``f64`` and rounded, and sums are kept in a wider
type than their own, so the result is the best that the dtype can hold. Addresses are checked against the buffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np

from gradloom.compiler.loops import Access, Contract, Inst, Nest
from gradloom.ops import references
from gradloom.ops.philox import philox

__all__ = ["NUMPY", "interpret_contract", "interpret_nest"]

NUMPY = {
    "f32": np.dtype(np.float32), "f64": np.dtype(np.float64), "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16), "i8": np.dtype(np.int8), "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32), "i64": np.dtype(np.int64), "u8": np.dtype(np.uint8), "u16": np.dtype(np.uint16),
    "u32": np.dtype(np.uint32), "u64": np.dtype(np.uint64), "bool": np.dtype(np.bool_),
}  # fmt: skip
"""The NumPy dtype of each dtype of the kernel IR."""

Array = np.ndarray


def interpret_nest(
    nest: Nest, extents: Sequence[int], access_ints: Sequence[Sequence[int]], buffers: Sequence[Array]
) -> None:
    """Run a nest over ``buffers``, in place.

    Parameters
    ----------
    extents: of every axis. access_ints: for each access its run-time integers (offset, strides, index stride).
    buffers: contiguous arrays whose dtypes are those of the accesses; written ones must be writable.

    Raises
    ------
    IndexError: where an access leaves its buffer.
    """
    shape = tuple(extents)
    reduced = tuple(k for k, a in enumerate(nest.axes) if a == "r")
    results = _body(nest.body, nest.accesses, shape, access_ints, buffers, reduced, None)
    _stores(nest.stores, nest.accesses, shape, access_ints, buffers, results)


def interpret_contract(
    contract: Contract, extents: Sequence[int], access_ints: Sequence[Sequence[int]], buffers: Sequence[Array]
) -> None:
    """Run a contraction over ``buffers``, in place. ``extents``: of the batch axes, then m, n and k."""
    *outer, k = extents
    m, n = outer[-2:]
    batch = tuple(outer[:-2])
    wide = np.float64 if contract.dtype == "f32" else np.longdouble
    a = _load(contract.accesses[0], (*batch, m, k), access_ints[0], buffers).astype(wide)
    b = _load(contract.accesses[1], (*batch, k, n), access_ints[1], buffers).astype(wide)
    a = np.broadcast_to(a, (*batch, m, k))
    b = np.broadcast_to(b, (*batch, k, n))
    with np.errstate(all="ignore"):
        acc = np.matmul(a, b).astype(NUMPY[contract.dtype])
    results = _body(contract.body, contract.accesses, tuple(outer), access_ints, buffers, (), acc)
    _stores(contract.stores, contract.accesses, tuple(outer), access_ints, buffers, results)


# -- memory -------------------------------------------------------------------------------------------
def _positions(shape: tuple[int, ...], axis: int) -> Array:
    """0, 1, … along one axis, one element along the others."""
    return np.arange(shape[axis], dtype=np.int64).reshape([-1 if k == axis else 1 for k in range(len(shape))])


def _places(access: Access, shape: tuple[int, ...], ints: Sequence[int], index: Array | None = None) -> Array:
    """Element numbers in the buffer; axes that the access does not follow have one element."""
    rest = list(ints)
    at = np.full([1] * len(shape), rest.pop(0), dtype=np.int64)
    for k, s in enumerate(access.steps):
        if s != "0":
            at = at + _positions(shape, k) * (1 if s == "1" else rest.pop(0))
    if index is not None:
        at = at + index.astype(np.int64) * rest.pop(0)
    return at


def _buffer(access: Access, buffers: Sequence[Array], at: Array) -> Array:
    flat = buffers[access.buf].reshape(-1)
    if flat.dtype != NUMPY[access.dtype]:
        flat = flat.view(NUMPY[access.dtype])
    if at.size and (at.min() < 0 or at.max() >= flat.size):
        raise IndexError(f"{access} reaches elements {at.min()} to {at.max()} of a buffer of {flat.size}")
    return flat


def _load(
    access: Access, shape: tuple[int, ...], ints: Sequence[int], buffers: Sequence[Array], index: Array | None = None
) -> Array:
    at = _places(access, shape, ints, index)
    return _buffer(access, buffers, at)[at]


def _stores(
    stores: Sequence[tuple[int, int]],
    accesses: Sequence[Access],
    shape: tuple[int, ...],
    access_ints: Sequence[Sequence[int]],
    buffers: Sequence[Array],
    results: list[Array],
) -> None:
    for v, a in stores:
        at = _places(accesses[a], shape, access_ints[a])
        if math.prod(shape) or at.size:
            _buffer(accesses[a], buffers, at)[at] = np.broadcast_to(results[v], at.shape)


# -- values -------------------------------------------------------------------------------------------
def _body(
    body: Sequence[Inst],
    accesses: Sequence[Access],
    shape: tuple[int, ...],
    access_ints: Sequence[Sequence[int]],
    buffers: Sequence[Array],
    reduced: tuple[int, ...],
    acc: Array | None,
) -> list[Array]:
    out: list[Array] = []
    with np.errstate(all="ignore"):
        for inst in body:
            args = [out[a] for a in inst.args]
            if inst.op in ("load", "load_at"):
                a = inst.attrs[0]
                v = _load(accesses[a], shape, access_ints[a], buffers, args[0] if args else None)
            elif inst.op == "const":
                v = np.full([1] * len(shape), inst.attrs[0])
            elif inst.op == "iota":
                v = _positions(shape, inst.attrs[0])
            elif inst.op == "acc":
                assert acc is not None
                v = acc
            elif inst.op == "reduce":
                v = _reduce(inst, args[0], shape, reduced)
            else:
                v = _elementwise(inst, args)
            out.append(v.astype(NUMPY[inst.dtype], copy=False))
    return out


def _reduce(inst: Inst, x: Array, shape: tuple[int, ...], reduced: tuple[int, ...]) -> Array:
    x = np.broadcast_to(x, [n if k in reduced else x.shape[k] for k, n in enumerate(shape)])
    kind, dtype = inst.attrs[0], NUMPY[inst.dtype]
    if kind in ("any", "all"):
        return (np.any if kind == "any" else np.all)(x, axis=reduced, keepdims=True)
    if kind in ("sum", "prod"):
        wide = {"f32": np.float64, "f64": np.longdouble}.get(inst.dtype, dtype)
        return (np.sum if kind == "sum" else np.prod)(x, axis=reduced, keepdims=True, dtype=wide)
    low = kind == "max"
    if dtype.kind == "f":
        first = -np.inf if low else np.inf
    elif dtype.kind == "b":
        first = not low
    else:
        first = np.iinfo(dtype).min if low else np.iinfo(dtype).max
    return (np.max if low else np.min)(x, axis=reduced, keepdims=True, initial=first)


def _elementwise(inst: Inst, args: list[Array]) -> Array:
    op = inst.op
    dtype = args[0].dtype
    if op in _ANY:
        return _ANY[op](inst, *args)
    if dtype.kind == "f":
        if op in _FLOAT_EXACT:
            return _FLOAT_EXACT[op](*args)
        wide = [a.astype(np.float64) for a in args]
        return _FUNCTIONS[op](*wide)
    return _INTEGER[op](*args)


def _cast(inst: Inst, x: Array) -> Array:
    to = NUMPY[inst.dtype]
    if x.dtype.kind in "fV" and to.kind in "iu" and to.itemsize < 4:
        return x.astype(np.float32).astype(np.int32).astype(to)  # emitted code goes through i32 too, and wraps
    return x.astype(to)


def _philox(inst: Inst, seed: Array, stream: Array, index: Array) -> Array:
    """Word ``attrs[0]``."""
    return philox(seed, stream, index)[inst.attrs[0]]


def _unit64(inst: Inst, hi: Array, lo: Array) -> Array:
    return ((hi >> 5).astype(np.float64) * 2.0**26 + (lo >> 6).astype(np.float64)) / 2.0**53


def _safe(op: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Integer division with 0 for a division by zero; the least integer divided by -1 wraps."""

    def run(a: Array, b: Array) -> Array:
        a, b = np.broadcast_arrays(a, b)
        return np.where(b == 0, np.zeros((), a.dtype), op(a, np.where(b == 0, np.ones((), b.dtype), b)))

    return run


def _truncdiv(a: Array, b: Array) -> Array:
    if a.dtype.kind == "u":
        return a // b
    q, r = a // b, a % b
    return q + ((r != 0) & ((a < 0) != (b < 0)))


def _shift(op: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Shifts by the width or more (negative amounts among them) give 0, or the sign."""

    def run(a: Array, b: Array) -> Array:
        bits = 8 * a.dtype.itemsize
        far = (b < 0) | (b >= bits)
        filled = (a >> np.asarray(bits - 1, a.dtype)) if op is np.right_shift else np.zeros_like(a)
        if a.dtype.kind == "u":
            filled = np.zeros_like(a)
        return np.where(far, filled, op(a, np.where(far, np.zeros((), b.dtype), b)))

    return run


def _sign(x: Array) -> Array:
    return np.sign(x)


_ANY: dict[str, Callable[..., Array]] = {
    "cast": _cast,
    "where": lambda inst, c, a, b: np.asarray(np.where(c, a, b)),
    "eq": lambda inst, a, b: a == b,
    "ne": lambda inst, a, b: a != b,
    "lt": lambda inst, a, b: a < b,
    "le": lambda inst, a, b: a <= b,
    "gt": lambda inst, a, b: a > b,
    "ge": lambda inst, a, b: a >= b,
    "isnan": lambda inst, x: np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool),
    "isinf": lambda inst, x: np.isinf(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool),
    "isfinite": lambda inst, x: np.isfinite(x) if x.dtype.kind == "f" else np.ones(x.shape, bool),
    "signbit": lambda inst, x: np.signbit(x) if x.dtype.kind == "f" else x < 0,
    "philox": _philox,
    "unit": lambda inst, x: (x >> 8).astype(np.float32) * np.float32(2.0**-24),
    "unit64": _unit64,
}

_FLOAT_EXACT: dict[str, Callable[..., Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "sign": _sign, "floordiv": np.floor_divide, "mod": np.mod, "truncdiv": lambda a, b: np.trunc(a / b),
    "fmod": np.fmod, "min": np.minimum, "max": np.maximum, "fmin": np.fmin, "fmax": np.fmax,
    "copysign": np.copysign, "nextafter": np.nextafter, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "round": np.rint, "sqrt": np.sqrt,
}  # fmt: skip

_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "fma": lambda a, b, c: a * b + c, "pow": np.power, "atan2": np.arctan2, "hypot": np.hypot,
    "rsqrt": lambda x: 1 / np.sqrt(x), "recip": lambda x: 1 / x, "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1,
    "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "erf": references.erf,
    "erfc": references.erfc, "erfinv": references.erfinv, "lgamma": references.lgamma, "digamma": references.digamma,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip


def _integer_pow(a: Array, b: Array) -> Array:
    """Wrapping power; a negative exponent gives what truncation gives."""
    down = b < 0
    out = np.power(a, np.where(down, np.zeros((), b.dtype), b))
    odd = np.where(b & 1 == 1, a, np.ones((), a.dtype))
    tiny = np.where(a == 1, a, np.where(a == -1, odd, np.zeros((), a.dtype))) if a.dtype.kind == "i" else out
    return np.where(down, tiny, out)


_INTEGER: dict[str, Callable[..., Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "fma": lambda a, b, c: a * b + c,
    "neg": lambda x: np.zeros((), x.dtype) - x, "abs": np.abs, "sign": _sign,
    "div": _safe(_truncdiv), "truncdiv": _safe(_truncdiv), "floordiv": _safe(np.floor_divide),
    "mod": _safe(np.mod), "fmod": _safe(np.fmod), "min": np.minimum, "max": np.maximum, "fmin": np.minimum,
    "fmax": np.maximum, "pow": _integer_pow, "floor": np.positive, "ceil": np.positive, "trunc": np.positive,
    "round": np.positive, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "not": np.invert, "shl": _shift(np.left_shift), "shr": _shift(np.right_shift),
}  # fmt: skip
