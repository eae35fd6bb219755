"""The public functions on tensors, under PyTorch's names; NumPy's ``axis`` and ``keepdims`` are accepted too.

Everything here is composed from the primitives of :mod:`gradloom.ops`.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.graph.node import Aval
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.core import Primitive, broadcast_shapes
from gradloom.runtime.buffers import allocate
from gradloom.tape import TAPE, Value, composite
from gradloom.tensor import Tensor, as_tensor

apply = TAPE.apply


def _in(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (bool, int, float, np.bool_, np.integer, np.floating)):
        # a number inside a library function is part of its formula; a user's number is an input of the program
        return const(x) if TAPE.inside else TAPE.scalar(x)  # type: ignore[arg-type]
    return as_tensor(x)


def const(x: float | np.generic) -> Tensor:
    """A constant of a library formula, part of the program (a user's number is an input instead)."""
    x = x.item() if isinstance(x, np.generic) else x
    kind = dtypes.bool_ if isinstance(x, bool) else dtypes.int64 if isinstance(x, int) else dtypes.float64
    return apply(S.full, (), (x, (), kind, True))


# -- elementwise ------------------------------------------------------------------------------------
def _unary(prim: Primitive, doc: str) -> Callable[[Any], Tensor]:
    def fn(input: Any) -> Tensor:
        return apply(prim, (input if isinstance(input, Tensor) else _in(input),))

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc + " Per element; shape as the input's."
    return fn


def _binary(prim: Primitive, doc: str) -> Callable[[Any, Any], Tensor]:
    def fn(input: Any, other: Any) -> Tensor:
        return apply(prim, (_in(input), _in(other)))

    fn.__name__ = fn.__qualname__ = prim.name
    fn.__doc__ = doc + " Operands broadcast and promote."
    return fn


mul, div = _binary(E.mul, "input * other."), _binary(E.div, "input / other, as real numbers.")
_add = _binary(E.add, "input + other.")
floor_divide = _binary(E.floordiv, "Quotient rounded down.")
remainder = _binary(E.mod, "Remainder with the sign of the divisor (Python's).")
fmod = _binary(E.fmod, "Remainder with the sign of the dividend (C's).")
maximum = _binary(E.maximum, "The larger; NaN where either is.")
minimum = _binary(E.minimum, "The smaller; NaN where either is.")
atan2 = arctan2 = _binary(E.atan2, "The angle of the point (other, input).")
eq = equal_elements = _binary(E.eq, "input == other.")
ne = not_equal = _binary(E.ne, "input != other.")
lt = less = _binary(E.lt, "input < other.")
le = less_equal = _binary(E.le, "input <= other.")
gt = greater = _binary(E.gt, "input > other.")
ge = greater_equal = _binary(E.ge, "input >= other.")
bitwise_and = _binary(E.bitwise_and, "Bits of both.")
bitwise_or = _binary(E.bitwise_or, "Bits of either.")
bitwise_xor = _binary(E.bitwise_xor, "Bits of just one.")
bitwise_left_shift = _binary(E.shift_left, "Bits moved up.")
bitwise_right_shift = _binary(E.shift_right, "Bits moved down.")
neg = negative = _unary(E.neg, "-input.")
abs = absolute = _unary(E.abs_, "The magnitude.")
sign = _unary(E.sign, "-1, 0 or 1.")
floor, ceil, trunc = _unary(E.floor, "Rounded down."), _unary(E.ceil, "Rounded up."), _unary(E.trunc, "Towards 0.")
round = _unary(E.round_, "To the nearest integer, halves to even.")
exp, exp2, expm1 = _unary(E.exp, "e**x."), _unary(E.exp2, "2**x."), _unary(E.expm1, "e**x - 1.")
log, log2, log10, log1p = (
    _unary(E.log, "Natural logarithm."), _unary(E.log2, "Binary logarithm."), _unary(E.log10, "Decimal logarithm."),
    _unary(E.log1p, "log(1 + x)."),
)  # fmt: skip
sqrt, rsqrt, reciprocal = _unary(E.sqrt, "Square root."), _unary(E.rsqrt, "1/sqrt(x)."), _unary(E.reciprocal, "1/x.")
sin, cos, tan = _unary(E.sin, "Sine."), _unary(E.cos, "Cosine."), _unary(E.tan, "Tangent.")
asin = arcsin = _unary(E.asin, "Inverse sine.")
acos = arccos = _unary(E.acos, "Inverse cosine.")
atan = arctan = _unary(E.atan, "Inverse tangent.")
sinh, cosh, tanh = _unary(E.sinh, "Hyperbolic sine."), _unary(E.cosh, "Hyperbolic cosine."), _unary(E.tanh, "tanh.")
asinh = arcsinh = _unary(E.asinh, "Inverse hyperbolic sine.")
acosh = arccosh = _unary(E.acosh, "Inverse hyperbolic cosine.")
atanh = arctanh = _unary(E.atanh, "Inverse hyperbolic tangent.")
erf, erfc, erfinv = _unary(E.erf, "Error function."), _unary(E.erfc, "1 - erf(x)."), _unary(E.erfinv, "Inverse of erf.")
lgamma, digamma = _unary(E.lgamma, "log |gamma(x)|."), _unary(E.digamma, "Derivative of lgamma.")
sigmoid, relu = _unary(E.sigmoid, "1/(1 + e**-x)."), _unary(E.relu, "max(x, 0).")
isnan, isinf, isfinite = _unary(E.isnan, "NaN?"), _unary(E.isinf, "Infinite?"), _unary(E.isfinite, "Finite?")
bitwise_not = _unary(E.bitwise_not, "Bits inverted.")
detach = _unary(E.detach, "The same values, cut off from the gradient.")
sub = _binary(E.sub, "input - other.")


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``."""
    return _add(input, other if alpha == 1 else mul(other, alpha))


def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``. Small integer exponents become products."""
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool) and isinstance(input, Tensor):
        if exponent == 2:
            return mul(input, input)
        if exponent == 1:
            return mul(input, const(1))
        if exponent == 3:
            return mul(mul(input, input), input)
        if exponent == 0.5 and input.dtype.is_floating:
            return sqrt(input)
        if exponent == -1 and input.dtype.is_floating:
            return reciprocal(input)
        return apply(E.pow_, (input, const(exponent)))
    return apply(E.pow_, (_in(input), _in(exponent)))


def square(input: Tensor) -> Tensor:
    """``input * input``."""
    return mul(input, input)


def logical_and(input: Any, other: Any) -> Tensor:
    """Truth of both."""
    return bitwise_and(cast(_in(input), dtypes.bool_), cast(_in(other), dtypes.bool_))


def logical_or(input: Any, other: Any) -> Tensor:
    """Truth of either."""
    return bitwise_or(cast(_in(input), dtypes.bool_), cast(_in(other), dtypes.bool_))


def logical_xor(input: Any, other: Any) -> Tensor:
    """Truth of just one."""
    return bitwise_xor(cast(_in(input), dtypes.bool_), cast(_in(other), dtypes.bool_))


def logical_not(input: Any) -> Tensor:
    """Falsehood."""
    return bitwise_not(cast(_in(input), dtypes.bool_))


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """``input`` where the condition holds, ``other`` elsewhere; all three broadcast."""
    c = _in(condition)
    return apply(E.where, (c if c.dtype is dtypes.bool_ else cast(c, dtypes.bool_), _in(input), _in(other)))


def cast(input: Any, dtype: Any) -> Tensor:
    """The elements converted to a dtype; floating to integer cuts off towards zero."""
    x, d = _in(input), as_dtype(dtype)
    return x if x.dtype is d and not x._v.aval.weak else apply(E.cast, (x,), (d,))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Elements brought into [min, max]; either bound may be left out."""
    x = input
    if min is not None:
        lo = _in(min)
        x = where(lt(x, lo), lo, x)
    if max is not None:
        hi = _in(max)
        x = where(gt(x, hi), hi, x)
    return x


clip = clamp


# -- reductions ---------------------------------------------------------------------------------------
def axes_of(name: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from 0. Raises IndexRangeError for one that the tensor lacks."""
    if dim is None:
        return tuple(range(ndim))
    out = []
    for d in dim if isinstance(dim, (tuple, list)) else (dim,):
        k = int(d)
        if not -builtins.max(ndim, 1) <= k < builtins.max(ndim, 1):
            raise IndexRangeError(
                f"{name}: axis {k} is out of range for a tensor of {ndim} dimensions",
                code="index.axis",
                hint=f"axes run from {-ndim} to {ndim - 1}",
            )
        if ndim:
            out.append(k % ndim)
    if len(set(out)) != len(out):
        raise ShapeError(f"{name}: axis given twice in {dim}", code="shape.axis")
    return tuple(sorted(out))


def _reduce(prim: Any, x: Tensor, dim: Any, keepdim: bool, dtype: DType) -> Tensor:
    return apply(prim, (x,), (axes_of(prim.name, dim, x.ndim), bool(keepdim), dtype))


def _pick(dim: Any, axis: Any) -> Any:
    return dim if dim is not None else axis


def sum(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Sum over axes (all by default). Integers and bool sum in int64."""
    d = as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.is_floating else dtypes.int64
    x = cast(input, d) if d.is_floating else input
    return _reduce(S.sum_, x, _pick(dim, axis), keepdim or keepdims, d)


def prod(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Product over axes (all by default)."""
    d = as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.is_floating else dtypes.int64
    x = cast(input, d) if d.is_floating else input
    return _reduce(S.prod, x, _pick(dim, axis), keepdim or keepdims, d)


def amax(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Largest element over axes; NaN where there is one."""
    return _reduce(S.amax, input, _pick(dim, axis), keepdim or keepdims, input.dtype)


def amin(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Smallest element over axes; NaN where there is one."""
    return _reduce(S.amin, input, _pick(dim, axis), keepdim or keepdims, input.dtype)


def any(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element is true."""
    return _reduce(S.any_, cast(input, dtypes.bool_), _pick(dim, axis), keepdim or keepdims, dtypes.bool_)


def all(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true."""
    return _reduce(S.all_, cast(input, dtypes.bool_), _pick(dim, axis), keepdim or keepdims, dtypes.bool_)


@composite
def _mean(x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    axes = axes_of("mean", dim, x.ndim)
    n = math.prod(x.shape[k] for k in axes)
    return mul(sum(x, axes, keepdim), const(1.0 / n if n else math.nan))


def mean(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """Mean over axes (all by default). Raises DTypeError for integers."""
    x = cast(input, dtype) if dtype is not None else input
    if not x.dtype.is_floating:
        raise DTypeError(
            f"mean: dtype {x.dtype.name} is not floating", code="dtype.mean", hint="convert with .float() first"
        )
    d = _pick(dim, axis)
    return _mean(x, tuple(d) if isinstance(d, list) else d, keepdim or keepdims)


@composite
def _var(x: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    axes = axes_of("var", dim, x.ndim)
    n = math.prod(x.shape[k] for k in axes)
    d = sub(x, mul(sum(x, axes, True), const(1.0 / n if n else math.nan)))
    k = n - correction
    return mul(sum(mul(d, d), axes, keepdim), const(1.0 / k if k > 0 else math.nan if k == 0 else math.inf))


def var(
    input: Tensor, dim: Any = None, *, correction: float = 1, unbiased: bool | None = None, keepdim: bool = False,
    axis: Any = None, keepdims: bool = False,
) -> Tensor:  # fmt: skip
    """Variance over axes, divided by n - correction."""
    c = correction if unbiased is None else int(unbiased)
    d = _pick(dim, axis)
    return _var(input, tuple(d) if isinstance(d, list) else d, c, keepdim or keepdims)


def std(input: Tensor, dim: Any = None, **kwargs: Any) -> Tensor:
    """Standard deviation: the root of :func:`var`."""
    return sqrt(var(input, dim, **kwargs))


@composite
def _arg(x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Tensor:
    whole = dim is None
    y = reshape(x, (-1,)) if whole else x
    axis = 0 if whole else axes_of("argmax", dim, x.ndim)[0] if x.ndim else 0
    if not y.ndim:
        return zeros_like(y, dtype=dtypes.int64)
    n = y.shape[axis]
    best = (amax if largest else amin)(y, axis, True)
    hit = eq(y, best)
    if y.dtype.is_floating:
        hit = logical_or(hit, isnan(y))
    at = reshape(arange(n), tuple(n if k == axis else 1 for k in range(y.ndim)))
    out = amin(where(hit, at, const(n)), axis, keepdim and not whole)
    return reshape(out, (1,) * x.ndim) if whole and keepdim else out


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None) -> Tensor:
    """Position of the first largest element (a NaN counts as largest); of the flattened tensor without ``dim``."""
    return _arg(input, _pick(dim, axis), keepdim, True)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None) -> Tensor:
    """Position of the first smallest element (a NaN counts as smallest)."""
    return _arg(input, _pick(dim, axis), keepdim, False)


@composite
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow."""
    m = amax(detach(input), dim, True)
    m = where(isfinite(m), m, const(0.0))
    s = log(sum(exp(sub(input, m)), dim, True)) + m
    axes = axes_of("logsumexp", dim, input.ndim)
    return s if keepdim else reshape(s, tuple(n for k, n in enumerate(input.shape) if k not in axes))


@composite
def softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """exp(x) normalised along an axis."""
    x = cast(input, dtype) if dtype is not None else input
    if not x.numel():
        return mul(x, const(1.0))
    e = exp(sub(x, amax(detach(x), dim, True)))
    return div(e, sum(e, dim, True))


@composite
def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """The logarithm of softmax, computed stably."""
    x = cast(input, dtype) if dtype is not None else input
    if not x.numel():
        return mul(x, const(1.0))
    z = sub(x, amax(detach(x), dim, True))
    return sub(z, log(sum(exp(z), dim, True)))


# -- movement -------------------------------------------------------------------------------------------
def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    new = tuple(int(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    old = tuple(input.shape)
    if new == old:
        return input
    size = math.prod(old)
    if -1 in new:
        rest = math.prod(n for n in new if n != -1)
        if new.count(-1) > 1 or (size % rest if rest else True):
            raise ShapeError(
                f"reshape: shape {old} ({size} elements) cannot become {new}", code="shape.reshape",
                hint="the sizes given must divide the number of elements, and only one may be -1",
            )  # fmt: skip
        new = tuple(size // rest if n == -1 else n for n in new)
    if math.prod(new) != size or builtins.any(n < 0 for n in new):
        raise ShapeError(
            f"reshape: shape {old} has {size} elements, {new} has {math.prod(new)}", code="shape.reshape",
            hint="the number of elements must stay the same",
        )  # fmt: skip
    return apply(S.reshape, (input,), (new,))


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Axes in another order."""
    n = input.ndim
    order = tuple(int(d) % n if n and -n <= int(d) < n else int(d) for d in dims)
    if sorted(order) != list(range(n)):
        raise ShapeError(f"permute: {tuple(dims)} is no order of {n} axes", code="shape.permute")
    return input if order == tuple(range(n)) else apply(S.permute, (input,), (order,))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes swapped."""
    n = input.ndim
    (a,), (b,) = axes_of("transpose", dim0, n), axes_of("transpose", dim1, n)
    order = list(range(n))
    order[a], order[b] = order[b], order[a]
    return permute(input, order)


swapaxes = transpose


def swap_last(x: Tensor) -> Tensor:
    """The last two axes swapped."""
    return permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast to a shape, as NumPy."""
    shape = tuple(int(n) for n in shape)
    if shape == input.shape:
        return input
    if len(shape) < input.ndim or builtins.any(
        n not in (1, m) for n, m in zip(input.shape, shape[len(shape) - input.ndim :], strict=True)
    ):
        raise ShapeError(
            f"broadcast_to: shape {tuple(input.shape)} does not broadcast to {shape}", code="shape.broadcast"
        )
    return apply(S.expand, (input,), (shape,))


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of size 1 repeated without copies; -1 keeps a size."""
    flat = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    lead = len(flat) - input.ndim
    shape = tuple(input.shape[k - lead] if n == -1 else int(n) for k, n in enumerate(flat))
    return broadcast_to(input, shape)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new axis of size 1 at ``dim``."""
    n = input.ndim + 1
    (k,) = axes_of("unsqueeze", dim, n)
    return reshape(input, (*input.shape[:k], 1, *input.shape[k:]))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Axes of size 1 dropped: all, or those named."""
    axes = axes_of("squeeze", dim, input.ndim)
    return reshape(input, tuple(n for k, n in enumerate(input.shape) if not (n == 1 and k in axes)))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from ``start_dim`` to ``end_dim`` as one."""
    if not input.ndim:
        return reshape(input, (1,))
    (a,), (b,) = axes_of("flatten", start_dim, input.ndim), axes_of("flatten", end_dim, input.ndim)
    if a > b:
        raise ShapeError(f"flatten: start_dim {a} comes after end_dim {b}", code="shape.flatten")
    return reshape(input, (*input.shape[:a], math.prod(input.shape[a : b + 1]), *input.shape[b + 1 :]))


def flip(input: Tensor, dims: Any) -> Tensor:
    """Axes in reverse."""
    axes = axes_of("flip", dims, input.ndim)
    starts = tuple(n - 1 if k in axes else 0 for k, n in enumerate(input.shape))
    stops = tuple(-1 if k in axes else n for k, n in enumerate(input.shape))
    return apply(S.slice_, (input,), (starts, stops, tuple(-1 if k in axes else 1 for k in range(input.ndim))))


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors one after the other along an axis."""
    ts = [_in(t) for t in tensors]
    if not ts:
        raise ShapeError("cat: needs at least one tensor", code="shape.cat")
    d = dtypes.result_type([(t.dtype, t._v.aval.rank) for t in ts])
    (k,) = axes_of("cat", dim if axis is None else axis, ts[0].ndim)
    return apply(S.cat, tuple(cast(t, d) for t in ts), (k,))


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape along a new axis."""
    d = dim if axis is None else axis
    return cat([unsqueeze(_in(t), d) for t in tensors], d)


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along an axis, of a size or of the sizes given."""
    (k,) = axes_of("split", dim, input.ndim)
    n = input.shape[k]
    s = split_size_or_sections
    sizes = list(s) if isinstance(s, (list, tuple)) else [builtins.min(s, n - b) for b in range(0, n, s)]
    if builtins.sum(sizes) != n:
        raise ShapeError(f"split: sizes {sizes} do not add up to {n}", code="shape.split")
    out, at = [], 0
    for m in sizes:
        out.append(narrow(input, k, at, m))
        at += m
    return tuple(out)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """About equal pieces along an axis."""
    (k,) = axes_of("chunk", dim, input.ndim)
    return split(input, builtins.max(1, -(-input.shape[k] // chunks)), k)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``length`` entries of an axis from ``start`` on."""
    (k,) = axes_of("narrow", dim, input.ndim)
    if not 0 <= start <= start + length <= input.shape[k]:
        raise IndexRangeError(f"narrow: {start}..{start + length} is not within axis {k} of {tuple(input.shape)}")
    starts = tuple(start if j == k else 0 for j in range(input.ndim))
    stops = tuple(start + length if j == k else n for j, n in enumerate(input.shape))
    return apply(S.slice_, (input,), (starts, stops, (1,) * input.ndim))


def update_slice(x: Tensor, value: Tensor, region: tuple) -> Tensor:
    """``x`` with the region (starts, stops, steps) replaced."""
    return apply(S.update_slice, (x, cast(value, x.dtype)), region)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Summed back to a shape that broadcasting started from."""
    if x.shape == shape:
        return x
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        k + lead for k, n in enumerate(shape) if n == 1 and x.shape[k + lead] != 1
    )  # fmt: skip
    if axes:
        x = _reduce(S.sum_, x, axes, False, x.dtype)
    return reshape(x, shape)


def fit(ct: Tensor, aval: Aval) -> Tensor:
    """A cotangent brought to the shape and dtype of its operand."""
    return cast(sum_to(ct, aval.shape), aval.dtype)


# -- contraction ------------------------------------------------------------------------------------------
def dot(a: Tensor, b: Tensor) -> Tensor:
    """Batched product of operands with equal batch axes (and dtypes promoted)."""
    return apply(S.dot, (a, b))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product as NumPy and PyTorch have it: 1-d operands are vectors, leading axes broadcast.

    Raises
    ------
    ShapeError: where the inner sizes differ. DTypeError: where the dtypes do.
    """
    a, b = _in(input), _in(other)
    if not a.ndim or not b.ndim:
        raise ShapeError(
            f"matmul: operands must have at least one dimension, got {tuple(a.shape)} and {tuple(b.shape)}",
            code="shape.matmul",
        )
    if a.dtype is not b.dtype:
        raise DTypeError(
            f"matmul: dtypes {a.dtype.name} and {b.dtype.name} differ", code="dtype.matmul",
            hint="convert one of them with .to(dtype)",
        )  # fmt: skip
    va, vb = a.ndim == 1, b.ndim == 1
    x = unsqueeze(a, 0) if va else a
    y = unsqueeze(b, 1) if vb else b
    if x.shape[-1] != y.shape[-2]:
        raise ShapeError(
            f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit: axis -1 of the first ({x.shape[-1]}) "
            f"must equal axis {-1 if vb else -2} of the second ({y.shape[-2]})",
            code="shape.matmul",
            hint="transpose one operand or check the number of features",
        )
    if y.ndim == 2 and x.ndim > 2:  # one big product
        out = reshape(dot(reshape(x, (-1, x.shape[-1])), y), (*x.shape[:-1], y.shape[-1]))
    else:
        batch = broadcast_shapes("matmul", [x.shape[:-2], y.shape[:-2]])
        out = dot(broadcast_to(x, (*batch, *x.shape[-2:])), broadcast_to(y, (*batch, *y.shape[-2:])))
    if va or vb:
        shape = list(out.shape)
        if vb:
            shape.pop()
        if va:
            shape.pop(-1 if vb else -2)
        out = reshape(out, tuple(shape))
    return out


mm = bmm = matmul


@composite
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input (..., in), weight (out, in), bias (out)."""
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: input {tuple(input.shape)} does not fit weight {tuple(weight.shape)}: axis -1 of the input must "
            f"be {weight.shape[-1]}",
            code="shape.linear",
            hint="the layer's in_features must equal the number of features of its input; flatten images first",
        )
    out = matmul(input, swap_last(weight))
    return out if bias is None else _add(out, bias)


# -- gathers -----------------------------------------------------------------------------------------------
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Rows of an axis by an integer tensor. Raises IndexRangeError when an index is out of range."""
    (k,) = axes_of("index_select", dim, input.ndim)
    return take(input, index, k)


def take(input: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    """Entries of an axis by an integer tensor of any shape; checked as the program runs."""
    check_range(index, -input.shape[axis], input.shape[axis], "index", "index.take")
    return apply(S.take, (input, index), (axis,))


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """``out[i][j] = input[index[i][j]][j]`` for ``dim=0``, and so on."""
    (k,) = axes_of("gather", dim, input.ndim)
    if index.ndim != input.ndim:
        raise ShapeError(
            f"gather: index {tuple(index.shape)} and input {tuple(input.shape)} differ in rank", code="shape.gather"
        )
    check_range(index, 0, input.shape[k], "index", "index.gather")
    starts = (0,) * input.ndim
    stops = tuple(
        n if j == k else builtins.min(n, m) for j, (n, m) in enumerate(zip(input.shape, index.shape, strict=True))
    )
    x = input if stops == input.shape else apply(S.slice_, (input,), (starts, stops, (1,) * input.ndim))
    return apply(S.take_along, (x, index), (k,))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with ``src`` added at ``index`` along an axis."""
    (k,) = axes_of("scatter_add", dim, input.ndim)
    check_range(index, 0, input.shape[k], "index", "index.scatter")
    return apply(S.along_add, (input, index, cast(src, input.dtype)), (k,))


def _check_infer(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval((), dtypes.bool_)


_check = E._ew("check", lambda flag, src, *attrs: flag, operands="keep", result="bool", body=lambda e, a, _: a[0])
_check.infer = _check_infer  # type: ignore[method-assign,assignment]
_check.is_check = True  # type: ignore[attr-defined]


@composite
def _range_check(index: Tensor, low: int, high: int, what: str, code: str, skip: int | None) -> Tensor:
    bad = logical_or(lt(index, const(low)), ge(index, const(high)))
    if skip is not None:
        bad = logical_and(bad, ne(index, const(skip)))
    flag = any(bad)
    return apply(_check, (flag, index), (code, low, high, what, skip))


def check_range(index: Tensor, low: int, high: int, what: str, code: str, skip: int | None = None) -> None:
    """Have the program refuse integers outside of low <= i < high; the error names value and position."""
    if index.dtype.category != 1:
        raise DTypeError(f"{what}: dtype {index.dtype.name} is not an integer dtype", code="dtype.index")
    if index.numel():
        _range_check(index, int(low), int(high), what, code, skip)


def check_labels(target: Tensor, num_classes: int, ignore_index: int | None = -100) -> None:
    """Have the program refuse labels outside of 0 <= label < num_classes (``ignore_index`` passes)."""
    check_range(target, 0, num_classes, "label", "index.label", ignore_index)


@composite
def one_hot(input: Tensor, num_classes: int) -> Tensor:
    """int64 tensor of shape (..., num_classes), 1 at each label."""
    check_range(input, 0, num_classes, "label", "index.label")
    return cast(eq(unsqueeze(input, -1), arange(num_classes)), dtypes.int64)


# -- creation ------------------------------------------------------------------------------------------------
def full(size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of one value."""
    shape = (int(size),) if isinstance(size, (int, np.integer)) else tuple(int(n) for n in size)
    d = as_dtype(
        dtype if dtype is not None else type(fill_value) if not isinstance(fill_value, Tensor) else fill_value.dtype
    )
    if isinstance(fill_value, Tensor):
        out = broadcast_to(cast(fill_value, d), shape)
    else:
        out = apply(S.full, (), (fill_value, shape, d, False))
    return out.requires_grad_() if requires_grad else out


def _sizes(sizes: tuple) -> tuple[int, ...]:
    flat = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    return tuple(int(n) for n in flat)


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Zeros of a shape, in the default dtype unless given."""
    return full(_sizes(size), 0.0, dtype=dtype or dtypes.default_float(), requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Ones of a shape, in the default dtype unless given."""
    return full(_sizes(size), 1.0, dtype=dtype or dtypes.default_float(), requires_grad=requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Memory of a shape, its content undefined."""
    shape, d = _sizes(size), as_dtype(dtype) if dtype is not None else dtypes.default_float()
    t = TAPE.make_tensor(Value(Aval(shape, d), None, allocate(builtins.max(1, math.prod(shape) * d.itemsize))))
    return t.requires_grad_() if requires_grad else t


def zeros_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Zeros of another tensor's shape and dtype."""
    return full(input.shape, 0.0, dtype=dtype or input.dtype)


def ones_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Ones of another tensor's shape and dtype."""
    return full(input.shape, 1.0, dtype=dtype or input.dtype)


def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """One value in another tensor's shape and dtype."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype)


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None) -> Tensor:
    """start, start + step, … below end. Integers give int64."""
    if end is None:
        start, end = 0, start
    n = builtins.max(0, math.ceil((end - start) / step))
    integer = builtins.all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    d = as_dtype(dtype) if dtype is not None else dtypes.int64 if integer else dtypes.default_float()
    if start == 0 and step == 1:
        return apply(S.iota, (), (n, d))
    wide = dtypes.int64 if integer else dtypes.float64
    x = apply(S.iota, (), (n, wide))
    return cast(_add(mul(x, const(step)), const(start)), d)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None) -> Tensor:
    """``steps`` values from start to end, both included."""
    return as_tensor(np.linspace(start, end, steps), dtype=dtype or dtypes.default_float())


def eye(n: int, m: int | None = None, *, dtype: Any = None) -> Tensor:
    """Ones on the diagonal."""
    cols = n if m is None else m
    return cast(eq(unsqueeze(arange(n), 1), arange(cols)), dtype or dtypes.default_float())


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element zeroed with probability p and the rest scaled by 1/(1-p) in training (Srivastava et al. 2014)."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be within [0, 1], got {p}")
    if not training or p == 0:
        return input
    from gradloom.random import uniform_like

    if p == 1:
        return mul(input, const(0.0))
    return mul(input, mul(cast(ge(uniform_like(input), p), input.dtype), 1.0 / (1.0 - p)))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements agree within atol + rtol * |other|."""
    return bool(np.allclose(input.numpy(), other.numpy(), rtol, atol, equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shape and all elements are the same."""
    return input.shape == other.shape and bool(np.array_equal(input.numpy(), other.numpy()))


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


subtract, multiply, divide, true_divide = sub, mul, div, div
E.GRADIENTS()
S.GRADIENTS()
