"""``keras.ops`` of NumPy's further functions: what leaves NaN out, comparisons, cuts, counts, sequences of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions import PUBLIC
from gradloom.keras import config
from gradloom.keras.operations import as_tensor, operation
from gradloom.keras.ops.arrays import TABLE as ARRAYS
from gradloom.keras.ops.arrays import _axes, _floated, _of_list
from gradloom.keras.ops.rest import spread
from gradloom.tensor import Tensor, from_numpy

TABLE: dict[str, Callable[..., Any]] = {}


def _ops(*fns: Callable[..., Any]) -> None:
    """Functions of a first tensor and others."""
    for fn in fns:
        TABLE[fn.__name__] = operation(fn)


def _all_axes(x: Tensor, axis: Any) -> tuple[int, ...]:
    axis = _axes(axis)
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(a % x.ndim for a in axes)


# -- NaN left out ----------------------------------------------------------------------------------------------------


def _without(x: Tensor, instead: float) -> tuple[Tensor, Tensor]:
    """NaN replaced by a number, and where there was none."""
    if not x.dtype.is_floating:
        return x, G.ones_like(x).to(config.as_dtype("bool"))
    kept = G.logical_not(G.isnan(x))
    return G.where(kept, x, G.full_like(x, instead)), kept


def _extreme(x: Tensor, axis: Any, keepdims: bool, largest: bool) -> Tensor:
    if _axes(axis) == ():
        return x
    y, kept = _without(x, -np.inf if largest else np.inf)
    axes = _all_axes(x, axis)
    found = (G.amax if largest else G.amin)(y, axes, keepdims)
    if not x.dtype.is_floating:
        return found
    return G.where(G.any(kept, axes, keepdims), found, G.full_like(found, np.nan))


def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element that is not NaN; NaN where all are."""
    return _extreme(x, axis, keepdims, True)


def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element that is not NaN; NaN where all are."""
    return _extreme(x, axis, keepdims, False)


def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The product without NaN."""
    return ARRAYS["prod"].__wrapped__(_without(x, 1.0)[0], axis, keepdims)  # type: ignore[attr-defined]


def nanvar(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The variance without NaN."""
    if _axes(axis) == ():
        return _floated(x) * 0.0
    y, kept = _without(_floated(x), 0.0)
    axes, w = _all_axes(x, axis), kept.to(y.dtype)
    count = G.sum(w, axes, True)
    d = (y - G.sum(y, axes, True) / count) * w
    return G.sum(d * d, axes, keepdims) / (count if keepdims else G.sum(w, axes))


def nanstd(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The deviation without NaN."""
    return G.sqrt(nanvar(x, axis, keepdims))


def nancumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Sums up to each place, NaN taken as 0."""
    return ARRAYS["cumsum"].__wrapped__(_without(x, 0.0)[0], axis, dtype)  # type: ignore[attr-defined]


def nancumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Products up to each place, NaN taken as 1."""
    return ARRAYS["cumprod"].__wrapped__(_without(x, 1.0)[0], axis, dtype)  # type: ignore[attr-defined]


def nanargmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Where the largest element stands that is not NaN; -1 where all are."""
    return _extreme_place(x, axis, keepdims, "argmax", -np.inf)


def nanargmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Where the smallest element stands that is not NaN; -1 where all are."""
    return _extreme_place(x, axis, keepdims, "argmin", np.inf)


def _extreme_place(x: Tensor, axis: Any, keepdims: bool, name: str, instead: float) -> Tensor:
    y, kept = _without(x, instead)
    found = ARRAYS[name].__wrapped__(y, axis, keepdims)  # type: ignore[attr-defined]
    return G.where(G.any(kept, _all_axes(x, axis), keepdims), found, G.full_like(found, -1))


def _quantiles(x: Tensor, q: Any, axis: Any, method: str, keepdims: bool) -> Tensor:
    """Quantiles of what is not NaN."""
    x, axes = _floated(x), _all_axes(x, axis)
    rest = [k for k in range(x.ndim) if k not in axes]
    flat = G.permute(x, (*rest, *axes)).reshape(*(x.shape[k] for k in rest), -1)
    found = PUBLIC["nanquantile"](flat, as_tensor(q).to(x.dtype), -1, interpolation=method)
    if keepdims:
        lead = tuple(found.shape[: found.ndim - len(rest)])
        found = found.reshape(*lead, *(1 if k in axes else n for k, n in enumerate(x.shape)))
    return found


def nanquantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """Quantiles of what is not NaN."""
    return _quantiles(x, q, axis, method, keepdims)


def nanpercentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """Percentiles of what is not NaN; ``q`` runs from 0 to 100."""
    return _quantiles(x, as_tensor(q, config.floatx()) / 100.0, axis, method, keepdims)


def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The middle of what is not NaN."""
    return _quantiles(x, 0.5, axis, "linear", keepdims)


def percentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """Percentiles; ``q`` runs from 0 to 100."""
    q = as_tensor(q, config.floatx()) / 100.0
    return ARRAYS["quantile"].__wrapped__(x, q, axis, method, keepdims)  # type: ignore[attr-defined]


def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element less the smallest."""
    return ARRAYS["amax"](x, axis, keepdims) - ARRAYS["amin"](x, axis, keepdims)


# -- comparisons -----------------------------------------------------------------------------------------------------


def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Where |x1 - x2| is at most ``atol + rtol |x2|``."""
    a, b = _same(x1, x2)
    return PUBLIC["isclose"](a, b, rtol, atol, equal_nan)


def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all are close, 0-d bool."""
    return G.all(isclose(x1, x2, rtol, atol, equal_nan))


def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Where an element of ``x1`` stands in ``x2`` too."""
    a, b = _same(x1, x2)
    return PUBLIC["isin"](a, b, assume_unique=assume_unique, invert=invert)


def _same(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    a, b = (as_tensor(x) for x in (x1, x2))
    if a.dtype is not b.dtype:
        kind = config.as_dtype(config.result_type(a.dtype, b.dtype))
        a, b = a.to(kind), b.to(kind)
    return a, b


def fabs(x: Any) -> Any:
    """The absolute value, as floats."""
    return G.abs(_floated(x))


def cbrt(x: Any) -> Any:
    """The cube root, of negative numbers too."""
    x = _floated(x)
    size = G.abs(x)
    root = G.where(size == 0, size, G.where(size == 0, G.ones_like(x), size) ** (1.0 / 3.0))
    return G.sign(x) * root


def bitwise_invert(x: Any) -> Any:
    """All bits turned over."""
    return PUBLIC["bitwise_not"](x)


def view(x: Any, dtype: Any = None) -> Any:
    """The same bytes read as another dtype."""
    return x if dtype is None else x.view(config.as_dtype(dtype))


def saturate_cast(x: Any, dtype: Any) -> Any:
    """In another dtype, held within what it can say; floats are cut towards 0."""
    kind = config.as_dtype(dtype)
    limits = np.iinfo(kind.numpy) if kind.numpy.kind in "iu" else None
    if kind.name == "bool":
        return x != 0
    if limits is None:
        top = float(np.asarray(_largest(kind.name)))
        return G.clamp(x, -top, top).to(kind) if x.dtype.is_floating else x.to(kind)
    if x.dtype.is_floating:
        high = float(np.nextafter(np.float64(limits.max) + 1, 0))
        wide = x.to(config.as_dtype("float64"))
        return G.clamp(wide, float(limits.min), high).to(kind)
    own = np.iinfo(x.dtype.numpy) if x.dtype.numpy.kind in "iu" else None
    low = max(limits.min, own.min if own else 0)
    high_int = min(limits.max, own.max if own else 1)
    return (G.clamp(x, low, high_int) if own else x).to(kind)


def _largest(name: str) -> float:
    return {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}.get(
        name, 1.7976931348623157e308
    )


# -- shapes ----------------------------------------------------------------------------------------------------------


def append(x1: Any, x2: Any, axis: Any = None) -> Any:
    """The second behind the first, both flat where no axis is said."""
    a, b = _same(x1, x2)
    return G.cat([a.reshape(-1), b.reshape(-1)], 0) if axis is None else G.cat([a, b], axis)


def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Cut in nearly equal parts, or at given places."""
    given = indices_or_sections
    return list(PUBLIC["tensor_split"](x, given if isinstance(given, int) else [int(i) for i in given], axis))


def _cut(axis: int) -> Callable[..., Any]:
    def call(x: Any, indices_or_sections: Any) -> Any:
        at = axis if axis != 1 or x.ndim > 1 else 0
        if x.ndim <= at:
            raise ValueError(f"a tensor of shape {tuple(x.shape)} has no axis {at} to cut along")
        return ARRAYS["split"].__wrapped__(x, indices_or_sections, at)  # type: ignore[attr-defined]

    call.__doc__ = f"Cut along axis {axis}."
    return call


def fliplr(x: Any) -> Any:
    """Columns in reverse."""
    return G.flip(x, (1,))


def flipud(x: Any) -> Any:
    """Rows in reverse."""
    return G.flip(x, (0,))


def rot90(array: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Turned by quarters in a plane."""
    return PUBLIC["rot90"](array, k, tuple(axes))


def diagflat(x: Any, k: int = 0) -> Any:
    """A matrix with the flattened elements on a diagonal."""
    return PUBLIC["diagflat"](x, k)


def kron(x1: Any, x2: Any) -> Any:
    """The Kronecker product."""
    return PUBLIC["kron"](*_same(x1, x2))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of each element, one column each."""
    return PUBLIC["vander"](x, N, increasing)


def unravel_index(indices: Any, shape: Any) -> Any:
    """Indices of each axis for numbers of flattened elements."""
    return tuple(i.to(indices.dtype) for i in PUBLIC["unravel_index"](indices, tuple(shape)))


def argpartition(x: Any, kth: int, axis: int | None = -1) -> Any:
    """An order in which the ``kth`` element stands where sorting puts it."""
    if not isinstance(kth, int):
        raise ValueError(f"kth must be an integer. Received: kth={kth}")
    if axis is None:
        x, axis = x.reshape(-1), 0
    if not -x.shape[axis] <= kth < x.shape[axis]:
        raise ValueError(f"Argument `kth` should be within the size {x.shape[axis]} of the axis. Received: kth={kth}")
    return ARRAYS["argsort"].__wrapped__(x, axis)  # type: ignore[attr-defined]


def nonzero(x: Any) -> Any:
    """Indices of each axis where the element is not 0."""
    return tuple(i.to(config.as_dtype("int32")) for i in PUBLIC["unbind"](PUBLIC["nonzero"](x), 1))


def unique(
    x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, size: int | None = None, fill_value: Any = None,
) -> Any:  # fmt: skip
    """Each value once, sorted; with the first places, the way back and the numbers where they are asked for.

    Parameters
    ----------
    size : exactly so many come out: more are left out, missing ones are ``fill_value``, the smallest where None.
    """
    array = x.detach().numpy()
    found = np.unique(array, True, True, True, axis=axis, equal_nan=False)
    values, places, back, counts = found
    if axis is None:
        back = back.reshape(array.shape)
    if size is not None:
        at = 0 if axis is None else axis
        less = min(size, values.shape[at])
        values, places, counts = values.take(range(less), at), places[:less], counts[:less]
        more = size - less
        if more:
            one = values.take([0], at) if fill_value is None else np.full_like(values.take([0], at), fill_value)
            values = np.concatenate([values, np.repeat(one, more, at)], at)
            places = np.pad(places, (0, more), constant_values=places[0])
            counts = np.pad(counts, (0, more))
    chosen = [values]
    flags = ((return_index, places), (return_inverse, back), (return_counts, counts))
    chosen += [extra.astype(np.int32) for wanted, extra in flags if wanted]
    tensors = tuple(from_numpy(np.ascontiguousarray(a)) for a in chosen)
    return tensors if len(tensors) > 1 else tensors[0]


# -- counts and sums -------------------------------------------------------------------------------------------------


def corrcoef(x: Any) -> Any:
    """Correlations of the rows."""
    return PUBLIC["corrcoef"](_floated(x))


def correlate(x1: Any, x2: Any, mode: str = "valid") -> Any:
    """The cross-correlation of two sequences: "valid", "same" or "full"."""
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"mode={mode!r}: expected 'valid', 'same' or 'full'")
    a, b = (_floated(x) for x in _same(x1, x2))
    n, m = a.shape[0], b.shape[0]
    if n < m and mode == "valid":  # the shorter slides along the longer; the order turns round
        return G.flip(correlate(b, a, mode), (0,))
    full = PUBLIC["constant_pad_nd"](a, [m - 1, m - 1], 0)
    rows = G.arange(n + m - 1).unsqueeze(1) + G.arange(m)
    found = G.sum(G.index_select(full, 0, rows.reshape(-1)).reshape(n + m - 1, m) * b, -1)
    if mode == "full":
        return found
    if mode == "valid":
        return found[m - 1 : n]
    most, short = max(n, m), min(n, m)
    start = (short - 1) // 2 if n >= m else short // 2
    return found[start : start + most]


def histogram(x: Any, bins: int = 10, range: Any = None) -> Any:
    """How many elements fall into each of ``bins`` equal parts of ``range``, and their edges."""
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"Argument `bins` should be a non-negative integer. Received: bins={bins}")
    x = _floated(x).reshape(-1)
    if range is not None and len(range) != 2:
        raise ValueError(f"Argument `range` must be a tuple of two elements. Received: range={range}")
    if range is not None and range[0] > range[1]:
        raise ValueError(f"The second element of `range` must be greater than the first. Received: range={range}")
    if range or not x.numel():
        low, high = (as_tensor(float(v), x.dtype) for v in range or (0.0, 1.0))
    else:
        low, high = G.amin(x), G.amax(x)
    narrow = (low == high).to(x.dtype) * 0.5
    low, high = low - narrow, high + narrow
    edges, _ = spread(low, high, bins + 1, True, x.dtype, 0)
    at = PUBLIC["searchsorted"](edges, x, right=True) - 1
    at = G.where(x == high, G.full_like(at, bins - 1), at)
    inside = G.logical_and(x >= low, x <= high).to(config.as_dtype("int32"))
    counts = G.sum((at.unsqueeze(-1) == G.arange(bins)).to(config.as_dtype("int32")) * inside.unsqueeze(-1), 0)
    return counts.to(config.as_dtype("int32")), edges


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral along an axis by trapezoids."""
    y = _floated(y)
    y = PUBLIC["moveaxis"](y, axis, -1)
    steps: Any = dx if x is None else as_tensor(x).to(y.dtype)
    if x is not None:
        steps = PUBLIC["moveaxis"](steps, axis, -1) if steps.ndim > 1 else steps
        steps = steps[..., 1:] - steps[..., :-1]
    return G.sum((y[..., 1:] + y[..., :-1]) * steps, -1) * 0.5


def cdist(x: Any, y: Any) -> Any:
    """Distances of all rows of ``x`` from all rows of ``y``."""
    return PUBLIC["cdist"](*(_floated(v) for v in _same(x, y)))


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10, dtype: Any = None, axis: int = 0
) -> Any:
    """Powers of ``base``, their exponents spread evenly."""
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        kind = config.as_dtype(dtype if dtype is not None else config.floatx())
        exponents, _ = spread(start, stop, num, endpoint, kind if kind.itemsize >= 4 else "float32", axis)
        return (as_tensor(base, exponents.dtype) ** exponents).to(kind)
    found = np.logspace(start, stop, num, endpoint, base, axis=axis)
    return as_tensor(found, dtype if dtype is not None else config.floatx())


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Numbers between two, each the same multiple of the one before."""
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        kind = config.as_dtype(dtype if dtype is not None else config.floatx())
        wide = kind.name if kind.itemsize >= 4 else "float32"
        a, b = PUBLIC["broadcast_tensors"](as_tensor(start, wide), as_tensor(stop, wide))
        exponents, _ = spread(G.zeros_like(a), G.log(b / a), num, endpoint, wide, axis)
        return (a.unsqueeze(axis) * G.exp(exponents)).to(kind)
    found = np.geomspace(start, stop, num, endpoint, axis=axis)
    return as_tensor(found, dtype if dtype is not None else config.floatx())


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """From the first choice whose condition holds, element by element; ``default`` where none does."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"condlist and choicelist must have the same length, not 0. Received: {len(condlist)} and "
                         f"{len(choicelist)}")  # fmt: skip
    choices = [as_tensor(c) for c in choicelist]
    kind = config.as_dtype(config.result_type(*(c.dtype for c in choices)))
    found: Any = as_tensor(default).to(kind)
    for condition, choice in reversed(list(zip(condlist, choices, strict=True))):
        found = G.where(as_tensor(condition).to(config.as_dtype("bool")), choice.to(kind), found)
    return found


def vectorize(pyfunc: Any, *, excluded: Any = None, signature: str | None = None) -> Any:
    """A function of single elements, or of cores as ``signature`` says, made one of arrays that are broadcast."""
    from gradloom.keras.ops.control import vectorized

    if not callable(pyfunc):
        raise ValueError(f"Expected argument `pyfunc` to be a callable. Received: pyfunc={pyfunc}")
    return vectorized(pyfunc, frozenset(excluded or ()), signature)


def _window(name: str) -> Callable[..., Any]:
    make: Any = getattr(np, name)

    def call(x: int) -> Any:
        return from_numpy(np.asarray(make(int(x)), np.float32))

    call.__name__, call.__doc__ = name, f"The {name} window of ``x`` points."
    return call


def kaiser(x: int, beta: float) -> Any:
    """The Kaiser window of ``x`` points."""
    return from_numpy(np.asarray(np.kaiser(int(x), float(beta)), np.float32))


def empty_like(x: Any, dtype: Any = None) -> Any:
    """Zeros of the same shape."""
    return G.zeros_like(x) if dtype is None else G.zeros_like(x).to(config.as_dtype(dtype))


_ops(
    nanmax, nanmin, nanprod, nanvar, nanstd, nancumsum, nancumprod, nanargmax, nanargmin, nanquantile, nanpercentile,
    nanmedian, percentile, ptp, isclose, allclose, isin, fabs, cbrt, bitwise_invert, view, saturate_cast, append,
    array_split, fliplr, flipud, rot90, diagflat, kron, vander, unravel_index, argpartition, nonzero, unique, corrcoef,
    correlate, histogram, trapezoid, empty_like, cdist,
)  # fmt: skip
for _name, _axis in (("hsplit", 1), ("vsplit", 0), ("dsplit", 2)):
    _cutter = _cut(_axis)
    _cutter.__name__ = _name
    TABLE[_name] = operation(_cutter)
TABLE["bitwise_not"] = TABLE["bitwise_invert"]
TABLE["logspace"], TABLE["geomspace"] = _of_list(logspace), _of_list(geomspace)
TABLE["select"] = _of_list(select)
TABLE["vectorize"], TABLE["kaiser"] = vectorize, kaiser
for _name in ("bartlett", "blackman", "hamming", "hanning"):
    TABLE[_name] = _window(_name)

__all__ = ["TABLE"]
