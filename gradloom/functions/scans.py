"""Running sums, products and extremes along an axis; differences, slopes and areas of sampled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import as_dtype
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import Extreme, apply, axes_of, const, operand
from gradloom.functions.creation import full, zeros_like
from gradloom.functions.elementwise import add, cast, clamp, detach, div, exp, log, logical_xor, mul, sub
from gradloom.functions.movement import broadcast_to, cat, narrow, reshape
from gradloom.functions.reductions import fetch, sum, total_dtype, wants_grad
from gradloom.functions.spellings import numpy_names
from gradloom.ops import scan as S
from gradloom.tape import composite
from gradloom.tensor import Tensor, as_tensor

__all__ = (
    "cummax cummin cumprod cumsum cumulative_prod cumulative_sum cumulative_trapezoid diff gradient logcumsumexp "
    "trapezoid trapz"
).split()
INTERNAL = ["recurrence"]
FUNCTION_ONLY = "cumulative_prod cumulative_sum cumulative_trapezoid gradient trapezoid trapz".split()
INPLACE = ["cumprod", "cumsum"]


def _axis(name: str, x: Tensor, dim: int) -> int:
    return axes_of(name, dim, x.ndim)[0] if x.ndim else 0


def recurrence(a: Tensor, b: Tensor, dim: int = -1, reverse: bool = False) -> Tensor:
    """``y[t] = a[t] * y[t - 1] + b[t]`` along an axis, from its end where ``reverse``; shapes and dtypes agree."""
    return apply(S.recurrence, (a, b), (_axis("recurrence", b, dim), reverse))


def _exact(x: Tensor) -> Tensor:
    """Half precision as float32, in which running results are kept; the rest as it is."""
    return cast(x, dtypes.float32) if x.dtype in (dtypes.float16, dtypes.bfloat16) else x


# -- running results ----------------------------------------------------------------------------------
def _running(prim: S.Scan, input: Tensor, dim: int, dtype: Any) -> Tensor:
    x = cast(input, total_dtype(input, dtype))
    axis = _axis(prim.name, x, dim)
    if not x.ndim:
        return x.clone()
    if x.dtype is dtypes.bool_:  # asked for by dtype=bool
        return cast(apply(prim, (cast(x, dtypes.int64),), (axis, False)), dtypes.bool_)
    return cast(apply(prim, (_exact(x),), (axis, False)), x.dtype)


@numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along an axis. Bool and integers add up in int64; float32 in float64 inside."""
    return _running(S.cumsum, input, dim, dtype)


@numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along an axis. The gradient is exact where elements are zero."""
    return _running(S.cumprod, input, dim, dtype)


def _cumulative(
    fn: Any, name: str, first: int, input: Tensor, axis: int | None, dtype: Any, include_initial: bool
) -> Tensor:
    if axis is None:
        if input.ndim != 1:
            raise ShapeError(
                f"{name}: axis is needed for {input.ndim} dimensions", code="shape.axis", hint="give axis="
            )
        axis = 0
    d = as_dtype(dtype) if dtype is not None else _array_api_total(input)
    out = fn(input, axis, dtype=d)
    if not include_initial:
        return out
    (k,) = axes_of(name, axis, input.ndim)
    shape = tuple(1 if j == k else n for j, n in enumerate(input.shape))
    return cat([full(shape, first, dtype=d), out], k)


def _array_api_total(x: Tensor) -> Any:
    """int64 or uint64 for integers, as the Array API has it."""
    unsigned = x.dtype.category == 1 and not x.dtype.is_signed
    return dtypes.uint64 if unsigned else total_dtype(x, None)


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running sums (Array API); with ``include_initial`` they begin with 0."""
    return _cumulative(cumsum, "cumulative_sum", 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running products (Array API); with ``include_initial`` they begin with 1."""
    return _cumulative(cumprod, "cumulative_prod", 1, x, axis, dtype, include_initial)


def _running_extreme(values: S.Scan, index: S.ScanIndex, input: Tensor, dim: int) -> Extreme:
    if input.dtype.is_complex:
        raise DTypeError(f"{values.name}: complex numbers have no order", code="dtype.complex", hint="use x.abs()")
    axis = _axis(values.name, input, dim)
    if not input.ndim:
        return Extreme(input.clone(), zeros_like(input, dtype=dtypes.int64))
    boolean = input.dtype is dtypes.bool_
    x = cast(input, dtypes.uint8) if boolean else _exact(input)
    at = apply(index, (detach(x),), (axis, False))
    if wants_grad(input):
        return Extreme(cast(fetch(x, at, axis), input.dtype), at)
    best = apply(values, (x,), (axis, False))
    return Extreme(cast(best, input.dtype), at)


@numpy_names
def cummax(input: Tensor, dim: int) -> Extreme:
    """Running maxima and the latest position of each, (values, indices). NaN stays once it came."""
    return _running_extreme(S.cummax, S.cummax_index, input, dim)


@numpy_names
def cummin(input: Tensor, dim: int) -> Extreme:
    """Running minima and the latest position of each, (values, indices). NaN stays once it came."""
    return _running_extreme(S.cummin, S.cummin_index, input, dim)


@composite
def _logcumsumexp(x: Tensor, axis: int) -> Tensor:
    # with m the running maximum, s[t] = s[t - 1] * exp(m[t - 1] - m[t]) + exp(x[t] - m[t]): nothing overflows
    m = apply(S.cummax, (detach(x),), (axis, False))
    most = float(np.finfo(x.dtype.numpy).max)  # in place of infinities, whose differences would be NaN
    m = clamp(m, -most, most)
    n = x.shape[axis]
    last = cat([narrow(m, axis, 0, min(n, 1)), narrow(m, axis, 0, max(n - 1, 0))], axis)
    s = apply(S.recurrence, (exp(sub(last, m)), exp(sub(x, m))), (axis, False))
    return add(m, log(s))


@numpy_names
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Logarithms of running sums of exponentials, without overflow."""
    if input.dtype.category != 2:
        raise DTypeError(
            f"logcumsumexp: dtype {input.dtype.name} is not floating", code="dtype.logcumsumexp", hint="use .float()"
        )
    axis = _axis("logcumsumexp", input, dim)
    return cast(_logcumsumexp(_exact(input), axis), input.dtype) if input.ndim else input.clone()


# -- differences --------------------------------------------------------------------------------------
def _steps(x: Tensor, axis: int) -> Tensor:
    n = x.shape[axis]
    later, earlier = narrow(x, axis, min(n, 1), max(n - 1, 0)), narrow(x, axis, 0, max(n - 1, 0))
    return logical_xor(later, earlier) if x.dtype is dtypes.bool_ else sub(later, earlier)


@numpy_names
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along an axis, taken ``n`` times; of bool where they differ."""
    if not input.ndim:
        raise ShapeError("diff: needs at least one dimension", code="shape.diff", hint="use reshape(-1)")
    if n < 0:
        raise ArgumentError(f"diff: n must not be negative, got {n}")
    axis = _axis("diff", input, dim)
    x = input
    if n and (prepend is not None or append is not None):
        x = cat([operand(t) for t in (prepend, x, append) if t is not None], axis)
    for _ in range(min(n, x.shape[axis])):
        x = _steps(x, axis)
    return x.clone() if x is input else x


# -- areas --------------------------------------------------------------------------------------------
def _panels(name: str, y: Tensor, x: Any, dx: Any, dim: int) -> tuple[Tensor, int]:
    """The area between neighbours (Newton-Cotes of degree 1), and the axis."""
    if not y.ndim:
        raise ShapeError(f"{name}: needs at least one dimension", code="shape.trapezoid")
    axis = _axis(name, y, dim)
    n = y.shape[axis]
    if y.dtype.category < 2:
        y = cast(y, dtypes.default_float()) if x is None or operand(x).dtype.category < 2 else y
    both = add(narrow(y, axis, min(n, 1), max(n - 1, 0)), narrow(y, axis, 0, max(n - 1, 0)))
    if x is None:
        return mul(both, mul(operand(dx), const(0.5))), axis
    at = operand(x)
    if at.ndim == 1:
        if at.shape[0] != n:
            raise ShapeError(f"{name}: x has {at.shape[0]} points, axis {axis} of y has {n}", code="shape.trapezoid")
        width = reshape(_steps(at, 0), (-1,) + (1,) * (y.ndim - axis - 1))
    else:
        width = _steps(at, at.ndim - (y.ndim - axis))
    return mul(mul(both, width), const(0.5)), axis


@numpy_names
def trapezoid(y: Tensor, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The area below sampled values by the trapezoid rule, at points ``x`` or at distance ``dx``."""
    area, axis = _panels("trapezoid", y, x, dx, dim)
    return sum(area, axis - y.ndim)


@numpy_names
def cumulative_trapezoid(y: Tensor, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """Running areas by the trapezoid rule: one fewer along the axis than there are values."""
    area, axis = _panels("cumulative_trapezoid", y, x, dx, dim)
    return cumsum(area, axis - y.ndim)


trapz = trapezoid


# -- slopes -------------------------------------------------------------------------------------------
def _slope(f: Tensor, axis: int, spacing: Any, edge_order: int) -> Tensor:
    """The derivative along an axis by differences that are exact for parabolas inside (Fornberg 1988)."""
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ShapeError(
            f"gradient: axis {axis} has {n} values, edge_order {edge_order} needs {edge_order + 1}",
            code="shape.gradient",
        )

    def part(start: int, length: int) -> Tensor:
        return narrow(f, axis, start, length)

    if isinstance(spacing, Tensor) and spacing.ndim:
        h = reshape(_steps(spacing, 0), tuple(n - 1 if k == axis else 1 for k in range(f.ndim)))
    else:
        h = broadcast_to(cast(operand(spacing), f.dtype), tuple(n - 1 if k == axis else 1 for k in range(f.ndim)))

    def width(k: int, length: int = 1) -> Tensor:
        return narrow(h, axis, k, length)

    first = div(sub(part(1, 1), part(0, 1)), width(0))
    last = div(sub(part(n - 1, 1), part(n - 2, 1)), width(n - 2))
    if n == 2:
        return cat([first, last], axis)
    a, b = width(0, n - 2), width(1, n - 2)
    low, mid, high = part(0, n - 2), part(1, n - 2), part(2, n - 2)
    # b^2 (mid - low) + a^2 (high - mid) over ab(a + b)
    rise = add(mul(mul(b, b), sub(mid, low)), mul(mul(a, a), sub(high, mid)))
    inner = div(rise, mul(mul(a, b), add(a, b)))
    if edge_order == 2:
        p, q = width(0), width(1)
        second = div(sub(part(2, 1), part(1, 1)), q)
        first = sub(mul(first, add(const(1.0), div(p, add(p, q)))), mul(second, div(p, add(p, q))))
        p, q = width(n - 2), width(n - 3)
        before = div(sub(part(n - 2, 1), part(n - 3, 1)), q)
        last = sub(mul(last, add(const(1.0), div(p, add(p, q)))), mul(before, div(p, add(p, q))))
    return cat([first, inner, last], axis)


def gradient(
    input: Tensor, *, spacing: Any = None, dim: int | Sequence[int] | None = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Slopes of sampled values along axes, one tensor for each.

    Parameters
    ----------
    spacing: a distance for all axes (1 without it), one for each, or the coordinates along each as a tensor.
    dim: the axes, all by default. edge_order: 1 or 2, the accuracy at both ends.
    """
    if edge_order not in (1, 2):
        raise ArgumentError(f"gradient: edge_order must be 1 or 2, got {edge_order}")
    axes = [
        axes_of("gradient", d, input.ndim)[0] for d in ([dim] if isinstance(dim, int) else dim or range(input.ndim))
    ]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"gradient: axis given twice in {dim}", code="shape.axis")
    many = isinstance(spacing, (list, tuple))
    given = list(spacing) if many else [1 if spacing is None else spacing] * len(axes)
    if len(given) != len(axes):
        raise ShapeError(
            f"gradient: {len(given)} spacings for {len(axes)} axes", code="shape.gradient", hint="one for each axis"
        )
    x = input if input.dtype.category >= 2 else cast(input, dtypes.default_float())
    return tuple(
        _slope(x, k, as_tensor(s) if isinstance(s, (list, tuple)) else s, edge_order)
        for k, s in zip(axes, given, strict=True)
    )
