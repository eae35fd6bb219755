"""Functions of arrays, by NumPy's names as ``keras.ops`` has them: elementwise, reductions, shapes, joins, indices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import gradloom.functions as G
from gradloom import dtypes
from gradloom.errors import ShapeError
from gradloom.functions import PUBLIC
from gradloom.keras import config
from gradloom.keras.operations import as_tensor, operation
from gradloom.keras.symbolic import UNKNOWN, any_size, inferring
from gradloom.tensor import Tensor

TABLE: dict[str, Callable[..., Any]] = {}


def _kept(name: str, fn: Callable[..., Any], doc: str) -> None:
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    TABLE[name] = operation(fn)


def _floated(x: Tensor) -> Tensor:
    return x if x.dtype.is_floating or x.dtype.is_complex else x.to(config.as_dtype(None))


# -- elementwise -----------------------------------------------------------------------------------------------------
_FLOAT = (
    "arccos arccosh arcsin arcsinh arctan arctanh cos cosh deg2rad erf erfinv exp exp2 expm1 log log10 log1p log2 "
    "rad2deg reciprocal rsqrt sin sinc sinh sqrt tan tanh erfc i0 ceil floor"
).split()
_ANY = "conj negative sign signbit square real angle isfinite isinf isnan isneginf isposinf isreal".split()
_SPELT = {"conj": "conj", "negative": "neg"}


def _unary(name: str, floats: bool) -> None:
    inner = PUBLIC[_SPELT.get(name, name)]

    def call(x: Any) -> Any:
        return inner(_floated(x) if floats else x)

    _kept(name, call, f"{name} of each element.")


for _name in _FLOAT:
    _unary(_name, True)
for _name in _ANY:
    _unary(_name, False)
_kept("imag", lambda x: PUBLIC["imag"](x) if x.dtype.is_complex else G.zeros_like(x), "Imaginary parts.")
_kept("trunc", lambda x: x if x.dtype is dtypes.bool_ else G.trunc(x), "trunc of each element.")
_kept("absolute", lambda x: x if x.dtype is dtypes.bool_ else G.abs(x), "absolute of each element.")

_BINARY = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "true_divide", "true_divide": "true_divide",
    "floor_divide": "floor_divide", "mod": "remainder", "power": "pow", "maximum": "maximum", "minimum": "minimum",
    "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge",
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor", "arctan2": "arctan2",
    "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor", "fmod": "fmod",
    "bitwise_left_shift": "bitwise_left_shift", "bitwise_right_shift": "bitwise_right_shift", "fmin": "fmin",
    "fmax": "fmax", "gcd": "gcd", "lcm": "lcm", "heaviside": "heaviside", "hypot": "hypot", "nextafter": "nextafter",
    "logaddexp": "logaddexp", "logaddexp2": "logaddexp2", "ldexp": "ldexp",
}  # fmt: skip

_FLOATING = frozenset(("heaviside", "hypot", "logaddexp", "logaddexp2", "nextafter"))  # of whole numbers too


def _two(a: Any, b: Any) -> tuple[Any, Any]:
    """Both as tensors; a plain number takes the other's dtype, a whole one beside truth values is int32."""
    if isinstance(a, int | float | bool) and isinstance(b, Tensor):
        return (as_tensor(a, dtypes.int32) if type(a) is int and b.dtype is dtypes.bool_ else a), b
    if isinstance(b, int | float | bool) and isinstance(a, Tensor):
        return a, as_tensor(b, dtypes.int32) if type(b) is int and a.dtype is dtypes.bool_ else b
    return as_tensor(a), as_tensor(b)


def _binary(name: str, spelt: str) -> None:
    inner = PUBLIC[spelt]

    def call(x1: Any, x2: Any) -> Any:
        a, b = _two(x1, x2)
        if name in _FLOATING:
            a, b = as_tensor(a), as_tensor(b)
            if not (a.dtype.is_floating or b.dtype.is_floating):
                a, b = _floated(a), _floated(b)
        if not isinstance(a, Tensor):
            a = as_tensor(a, b.dtype if b.dtype.is_floating or isinstance(a, int) else None)
        return inner(a, b)

    _kept(name, call, f"{name} of two, element by element, broadcast together.")


for _name, _spelt in _BINARY.items():
    if _spelt in PUBLIC:
        _binary(_name, _spelt)

# -- reductions ------------------------------------------------------------------------------------------------------


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


def _reduction(name: str, inner: Callable[..., Any], floats: bool = False) -> None:
    def call(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x, axis = _floated(x) if floats else x, _axes(axis)
        if axis == ():  # each element by itself
            return inner(x.unsqueeze(-1), -1, False)
        return inner(x, axis, keepdims)

    _kept(name, call, f"{name} over ``axis``, all axes where None.")


def _over_all(fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Tensor, axis: Any, keepdims: bool) -> Any:
        return fn(x, tuple(range(x.ndim)) if axis is None else axis, keepdims)

    return call


def _true(x: Tensor) -> Tensor:
    return x if x.dtype is dtypes.bool_ else x != 0


def _mean(x: Tensor, axis: Any, keepdims: bool) -> Tensor:
    if x.dtype is dtypes.float16:  # whose sum may be beyond what it can say
        return PUBLIC["mean"](x.to(dtypes.float32), axis, keepdims).to(x.dtype)
    return PUBLIC["mean"](x, axis, keepdims)


_reduction("sum", lambda x, a, k: PUBLIC["sum"](x, a, k))
_reduction("mean", _over_all(_mean), True)
_reduction("amax", _over_all(PUBLIC["amax"]))
_reduction("amin", _over_all(PUBLIC["amin"]))
_reduction("all", _over_all(lambda x, a, k: PUBLIC["all"](_true(x), a, k)))
_reduction("any", _over_all(lambda x, a, k: PUBLIC["any"](_true(x), a, k)))
_reduction("var", _over_all(lambda x, a, k: PUBLIC["var"](x, a, correction=0, keepdim=k)), True)
_reduction("std", _over_all(lambda x, a, k: PUBLIC["std"](x, a, correction=0, keepdim=k)), True)
_reduction("logsumexp", _over_all(PUBLIC["logsumexp"]), True)
_reduction("count_nonzero", lambda x, a, k: PUBLIC["count_nonzero"](x, a).to(dtypes.int32))
_reduction("nansum", _over_all(PUBLIC["nansum"]))
_reduction("nanmean", _over_all(PUBLIC["nanmean"]), True)


@operation
def max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The largest element over ``axis``; ``initial`` where none is larger."""
    x = x if not isinstance(initial, int | float) or x.numel() else G.full((1,) * x.ndim, initial, dtype=x.dtype)
    found = TABLE["amax"](x, axis, keepdims)
    return found if initial is None else G.clamp(found, min=initial)


@operation
def min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The smallest element over ``axis``; ``initial`` where none is smaller."""
    x = x if not isinstance(initial, int | float) or x.numel() else G.full((1,) * x.ndim, initial, dtype=x.dtype)
    found = TABLE["amin"](x, axis, keepdims)
    return found if initial is None else G.clamp(found, max=initial)


@operation
def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """The product over ``axis``."""
    x = x if dtype is None else x.to(config.as_dtype(dtype))
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    for a in sorted((a % x.ndim for a in axes), reverse=True):
        x = PUBLIC["prod"](x, a, keepdims)
    return x


@operation
def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Where the largest element stands."""
    return PUBLIC["argmax"](x, axis, keepdims).to(config.as_dtype("int32"))


@operation
def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Where the smallest element stands."""
    return PUBLIC["argmin"](x, axis, keepdims).to(config.as_dtype("int32"))


@operation
def argsort(x: Any, axis: int | None = -1) -> Any:
    """The order that sorts along an axis."""
    x = x.reshape(-1) if axis is None else x
    return PUBLIC["argsort"](x, -1 if axis is None else axis, stable=True).to(config.as_dtype("int32"))


@operation
def sort(x: Any, axis: int | None = -1) -> Any:
    """Sorted along an axis; flattened where it is None."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    return PUBLIC["sort"](x, axis).values


@operation
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The middle value, the mean of the two middle ones where their number is even."""
    return quantile.__wrapped__(x, 0.5, axis, "linear", keepdims)  # type: ignore[attr-defined]


@operation
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """Quantiles along an axis, or over several."""
    x = _floated(x)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(a % x.ndim for a in axes)
    rest = [k for k in range(x.ndim) if k not in axes]
    flat = G.permute(x, (*rest, *axes)).reshape(*(x.shape[k] for k in rest), -1)
    found = PUBLIC["quantile"](flat, as_tensor(q).to(x.dtype), -1, interpolation=method)
    if keepdims:
        lead = tuple(found.shape[: found.ndim - len(rest)])
        found = found.reshape(*lead, *(1 if k in axes else n for k, n in enumerate(x.shape)))
    return found


def _running(name: str, x: Tensor, axis: Any, dtype: Any) -> Tensor:
    """A cumulative function in the dtype of ``x``, int32 for truth values, or in another."""
    if isinstance(axis, tuple | list):
        (axis,) = axis or (None,)
    kind = config.as_dtype(dtype) if dtype is not None else dtypes.int32 if x.dtype is dtypes.bool_ else x.dtype
    x = x.to(kind)
    return PUBLIC[name](x.reshape(-1) if axis is None else x, 0 if axis is None else axis).to(kind)


@operation
def cumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Sums up to each place along an axis."""
    return _running("cumsum", x, axis, dtype)


@operation
def cumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Products up to each place along an axis."""
    return _running("cumprod", x, axis, dtype)


@operation
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """The mean, or the mean by weights."""
    if weights is None or axis == ():
        return TABLE["mean"](x, axis)
    w = as_tensor(weights)
    kind = config.as_dtype(config.result_type(x.dtype, w.dtype, float))
    x, w = x.to(kind), w.to(kind)
    if w.ndim != x.ndim and isinstance(axis, int):
        shape = [1] * x.ndim
        shape[axis] = -1
        w = w.reshape(*shape)
    w = G.broadcast_to(w, tuple(x.shape))
    return PUBLIC["sum"](x * w, axis) / PUBLIC["sum"](w, axis)


# -- shapes ----------------------------------------------------------------------------------------------------------


@operation
def reshape(x: Any, newshape: Any) -> Any:
    """The same elements in another shape."""
    shape = (newshape,) if isinstance(newshape, int) else tuple(-1 if d is None else d for d in newshape)
    if any(isinstance(d, int) and d < -1 for d in shape):
        raise ValueError("Elements of `newshape` must be non-negative integers, or a single -1. Received: "
                         f"newshape={newshape}")  # fmt: skip
    if inferring() and any(d in UNKNOWN for d in x.shape):
        known = math.prod(d for d in shape if isinstance(d, int) and d != -1)
        if x.numel() % (known or 1) or (-1 not in shape and x.numel() != known):  # fits for other sizes
            return x.new_zeros(tuple(any_size() if d == -1 else d for d in shape))
    return x.reshape(*shape)


@operation
def transpose(x: Any, axes: Any = None) -> Any:
    """Axes in another order, reversed where none is said."""
    return G.permute(x, tuple(reversed(range(x.ndim))) if axes is None else tuple(axes))


@operation
def expand_dims(x: Any, axis: Any) -> Any:
    """New axes of size 1."""
    given = [axis] if isinstance(axis, int) else list(axis)
    rank = x.ndim + len(given)
    for a in sorted(a + rank if a < 0 else a for a in given):
        x = x.unsqueeze(a)
    return x


@operation
def squeeze(x: Any, axis: Any = None) -> Any:
    """Axes of size 1 dropped."""
    axis = _axes(axis)
    for a in () if axis is None else (axis,) if isinstance(axis, int) else axis:
        if x.shape[a] != 1:
            raise ShapeError(
                f"Cannot squeeze axis={a}, because the dimension is not 1. Received: shape={tuple(x.shape)}",
                code="shape.squeeze",
                hint="only axes of size 1 can be dropped",
            )
    return G.squeeze(x, axis)


@operation
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes swapped."""
    return G.swapaxes(x, axis1, axis2)


@operation
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Axes moved to other places."""
    return PUBLIC["moveaxis"](x, source, destination)


@operation
def flip(x: Any, axis: Any = None) -> Any:
    """Axes in reverse."""
    return G.flip(x, axis=_axes(axis))


@operation
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Elements moved along axes, those that leave coming in again."""
    return PUBLIC["roll"](x, shift, axis)


@operation
def ravel(x: Any) -> Any:
    """As one axis."""
    return x.reshape(-1)


@operation
def broadcast_to(x: Any, shape: Any) -> Any:
    """Repeated to a shape."""
    return G.broadcast_to(x, tuple(shape))


@operation
def tile(x: Any, repeats: Any) -> Any:
    """The whole repeated along each axis."""
    return PUBLIC["tile"](x, (repeats,) if isinstance(repeats, int) else tuple(repeats))


@operation
def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    """Each element repeated."""
    if isinstance(repeats, int):
        return PUBLIC["repeat_interleave"](x, repeats, axis)
    if inferring():  # as many as the numbers say
        shape = [any_size()] if axis is None else list(x.shape)
        if axis is not None:
            shape[axis] = any_size()
        return x.new_zeros(tuple(shape))
    return PUBLIC["repeat_interleave"](x, as_tensor(repeats), axis)


@operation
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """Values around: constants, or those of the edge ("reflect", "symmetric", "edge")."""
    if constant_values is not None and mode != "constant":
        raise ValueError("Argument `constant_values` can only be provided when `mode == 'constant'`. Received: "
                         f"mode={mode}")  # fmt: skip
    widths = pad_width
    if isinstance(widths, int):
        widths = ((widths, widths),) * x.ndim
    elif len(widths) and isinstance(widths[0], int):
        widths = (tuple(widths),) * x.ndim if len(widths) == 2 else ((widths[0], widths[0]),) * x.ndim
    elif len(widths) == 1:
        widths = (tuple(widths[0]),) * x.ndim
    if mode == "constant":
        flat = [n for pair in reversed([tuple(w) for w in widths]) for n in pair]
        return PUBLIC["constant_pad_nd"](x, flat, constant_values or 0)
    for axis, (low, high) in enumerate(widths):
        if low or high:
            places = np.pad(np.arange(x.shape[axis]), (low, high), mode=mode)  # type: ignore[call-overload]
            x = PUBLIC["index_select"](x, axis, as_tensor(places.astype(np.int64)))
    return x


def _listed(name: str, fn: Callable[..., Any], doc: str) -> None:
    """A function of a list of tensors."""

    def call(x: Any, axis: int = 0) -> Any:
        return fn([as_tensor(e) for e in x], axis)

    call.__name__, call.__doc__ = name, doc
    TABLE[name] = _of_list(call)


def _of_list(fn: Callable[..., Any]) -> Callable[..., Any]:
    import functools

    from gradloom.keras.symbolic import OpCall, any_symbolic

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return OpCall(fn.__name__)(*args, **kwargs) if any_symbolic(args, kwargs) else fn(*args, **kwargs)

    return call


_listed("concatenate", lambda xs, axis: PUBLIC["cat"](xs, axis), "Tensors joined along an axis.")
_listed("stack", lambda xs, axis: PUBLIC["stack"](xs, axis), "Tensors joined along a new axis.")
_listed("hstack", lambda xs, axis: PUBLIC["hstack"](xs), "Tensors joined side by side.")
_listed("vstack", lambda xs, axis: PUBLIC["vstack"](xs), "Tensors joined one below the other.")
_listed("dstack", lambda xs, axis: PUBLIC["dstack"](xs), "Tensors joined one behind the other.")


@operation
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """In equal parts, or cut at given places."""
    given = indices_or_sections
    if isinstance(given, int):
        size = x.shape[axis]
        if size % given and not (inferring() and size in UNKNOWN):
            raise ValueError(f"split: axis {axis} of size {size} cannot be cut into {given} equal parts")
        return list(PUBLIC["tensor_split"](x, given, axis))
    cuts = [0, *[int(i) for i in given], x.shape[axis]]
    return list(PUBLIC["split"](x, [b - a for a, b in itertools.pairwise(cuts)], axis))


@operation
def unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    """The entries of an axis, each a tensor; ``num`` says how many where a symbolic tensor does not."""
    if inferring() and x.shape[axis] in UNKNOWN:
        if num is None:
            raise ValueError(f"Cannot infer argument `num` from shape {tuple(x.shape)} along axis {axis}: give `num`")
        return [PUBLIC["select"](x, axis, 0) for _ in range(num)]
    return list(PUBLIC["unbind"](x, axis))


# -- choosing --------------------------------------------------------------------------------------------------------


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """``x1`` where the condition holds, else ``x2``; the places where it holds, without them."""
    c = as_tensor(condition)
    if x1 is None:
        return tuple(i.to(dtypes.int32) for i in PUBLIC["unbind"](PUBLIC["nonzero"](c), 1))
    a, b = _two(x1, x2)
    return G.where(c if c.dtype.name == "bool" else c != 0, a, b)


@operation
def take(x: Any, indices: Any, axis: Any = None) -> Any:
    """Entries by number along an axis; negative numbers count from the end."""
    index = as_tensor(indices).to(config.as_dtype("int64"))
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis %= x.ndim
    index = G.where(index < 0, index + x.shape[axis], index)
    found = PUBLIC["index_select"](x, axis, index.reshape(-1))
    return found.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


@operation
def take_along_axis(x: Any, indices: Any, axis: Any = None) -> Any:
    """Entries by number, place by place."""
    index = as_tensor(indices).to(config.as_dtype("int64"))
    if axis is None:
        return PUBLIC["take_along_dim"](x.reshape(-1), index.reshape(-1), 0)
    return PUBLIC["take_along_dim"](x, index, axis)


@operation
def get_item(x: Any, key: Any) -> Any:
    """``x[key]``."""
    return x[key]


@operation
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """Held between two numbers."""
    return G.clamp(x.to(dtypes.int32) if x.dtype is dtypes.bool_ else x, x_min, x_max)


@operation
def round(x: Any, decimals: int = 0) -> Any:
    """The nearest whole number, or with so many decimals."""
    if x.dtype.is_floating or x.dtype.is_complex:
        return PUBLIC["round"](x, decimals=decimals)
    return PUBLIC["round"](x.to(dtypes.float64), decimals=decimals).to(x.dtype) if decimals < 0 else x


@operation
def nan_to_num(x: Any, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """NaN and infinities replaced."""
    return PUBLIC["nan_to_num"](x, nan, posinf, neginf)


@operation
def logical_not(x: Any) -> Any:
    """True where the element is 0."""
    return PUBLIC["logical_not"](x)


@operation
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences of neighbours."""
    return PUBLIC["diff"](a, n, axis)


@operation
def tril(x: Any, k: int = 0) -> Any:
    """What is not above a diagonal."""
    return PUBLIC["tril"](x, k)


@operation
def triu(x: Any, k: int = 0) -> Any:
    """What is not below a diagonal."""
    return PUBLIC["triu"](x, k)


@operation
def diag(x: Any, k: int = 0) -> Any:
    """A diagonal, or a matrix of one."""
    return PUBLIC["diag"](x, k)


@operation
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A diagonal of two axes."""
    return PUBLIC["diagonal"](x, offset, axis1, axis2)


@operation
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal."""
    return PUBLIC["sum"](PUBLIC["diagonal"](x, offset, axis1, axis2), -1)


@operation
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Any:
    """Where values belong in a sorted sequence."""
    return PUBLIC["searchsorted"](sorted_sequence, as_tensor(values), side=side).to(config.as_dtype("int32"))


@operation
def digitize(x: Any, bins: Any) -> Any:
    """Which bin each element falls into."""
    return PUBLIC["searchsorted"](as_tensor(bins).to(x.dtype), x, right=True).to(config.as_dtype("int32"))


@operation
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """How often each number stands there."""
    n = int(np.maximum(int(x.amax().item()) + 1 if x.numel() else 0, minlength))
    onehot = x.unsqueeze(-1) == G.arange(n)
    if weights is None:
        return onehot.to(dtypes.int32).sum(-2).to(dtypes.int32)
    kind = config.as_dtype(config.result_type(x.dtype, as_tensor(weights).dtype))
    return (onehot.to(kind) * as_tensor(weights).to(kind).unsqueeze(-1)).sum(-2).to(kind)


for _fn in (
    argmax, argmin, argsort, average, bincount, broadcast_to, clip, cumprod, cumsum, diag, diagonal, diff, digitize,
    expand_dims, flip, get_item, logical_not, max, median, min, moveaxis, nan_to_num, pad, prod, quantile, ravel,
    repeat, reshape, roll, round, searchsorted, sort, split, squeeze, swapaxes, take, take_along_axis, tile, trace,
    transpose, tril, triu, unstack,
):  # fmt: skip
    TABLE[_fn.__name__] = _fn
TABLE["where"] = _of_list(where)
for _new, _old in {"abs": "absolute", "conjugate": "conj", "left_shift": "bitwise_left_shift",
                   "right_shift": "bitwise_right_shift"}.items():  # fmt: skip
    if _old in TABLE:
        TABLE[_new] = TABLE[_old]
