"""Pooling to a size that is asked for: adaptive windows, as equal as they can be, and randomly placed ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.base import const
from gradloom.functions.pooling import first_largest, window_max, window_sum
from gradloom.functions.sampling import rand
from gradloom.nn.pooling_functions import Sizes, divided, images, numbers, real, restored, wide
from gradloom.ops import elementwise as E
from gradloom.ops import gather as I
from gradloom.ops.windows import Span
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = (
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool1d_with_indices "
    "adaptive_max_pool2d adaptive_max_pool2d_with_indices adaptive_max_pool3d adaptive_max_pool3d_with_indices "
    "fractional_max_pool2d fractional_max_pool2d_with_indices fractional_max_pool3d "
    "fractional_max_pool3d_with_indices"
).split()


# -- adaptive ----------------------------------------------------------------------------------------------
# Window o of m over n positions goes from floor(o n / m) to ceil((o + 1) n / m). Where m divides n they are ordinary
# windows; else they are fetched by position, one axis after the other.
def _targets(name: str, output_size: Any, shape: Sizes) -> Sizes:
    n = len(shape)
    asked = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(asked) != n:
        raise ShapeError(
            f"{name}: output_size {output_size}, expected one number or {n}", code="shape.pool",
            hint="None keeps the size of an axis",
        )  # fmt: skip
    out = tuple(size if m is None else int(m) for m, size in zip(asked, shape, strict=True))
    if min(out) < 0:
        raise ShapeError(f"{name}: output_size {output_size} is negative", code="shape.pool")
    return out


def _even(n: int, m: int) -> Span | None:
    """The windows where they are all alike."""
    return Span(n, n // m, n // m, 1, 0, m) if m and n % m == 0 else None


def _bounds(n: int, m: int) -> tuple[Tensor, Tensor]:
    """Where the windows begin and end, int64 (m,)."""
    o = G.arange(m)
    first = G.apply(E.floordiv, (G.mul(o, const(n)), const(m)))
    last = G.apply(E.floordiv, (G.add(G.mul(o, const(n)), const(n + m - 1)), const(m)))
    return first, last


def _fetched(x: Tensor, axis: int, m: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Windows as a last axis, those that are shorter filled with their last entry; which are real; their bounds."""
    n = x.shape[axis]
    first, last = _bounds(n, m)
    longest = max(-(-(o + 1) * n // m) - o * n // m for o in range(m))
    at = G.add(G.unsqueeze(first, 1), G.arange(longest))
    real = G.lt(at, G.unsqueeze(last, 1))
    at = G.minimum(at, G.sub(G.unsqueeze(last, 1), const(1)))
    w = G.apply(I.take, (x, at), (axis,))
    order = (*(k for k in range(w.ndim) if k != axis + 1), axis + 1)
    lead = tuple(m if k == axis else 1 for k in range(x.ndim))
    return G.permute(w, order), G.reshape(real, (*lead, longest)), G.reshape(first, lead), G.reshape(last, lead)


@composite
def _adaptive_avg(x: Tensor, size: Sizes) -> Tensor:
    dtype = x.dtype
    axes, shape = tuple(range(1, 1 + len(size))), tuple(x.shape[1:-1])
    total = wide(x)
    even = {k: s for k, n, m in zip(axes, shape, size, strict=True) if (s := _even(n, m))}
    count: Any = 1
    if even:
        total = window_sum(total, tuple(even), tuple(even.values()))
        for s in even.values():
            count *= s.size
    by: Tensor | None = None
    for k, m in zip(axes, size, strict=True):
        if k not in even:
            w, real, first, last = _fetched(total, k, m)
            total = G.sum(G.where(real, w, const(0)), -1, dtype=total.dtype)
            by = G.sub(last, first) if by is None else G.mul(by, G.sub(last, first))
    if by is not None:
        count = by if count == 1 else G.mul(by, const(count))
    return divided(total, count, dtype)


@composite
def _adaptive_max(x: Tensor, size: Sizes, positions: bool) -> tuple[Tensor, ...]:
    axes, shape = tuple(range(1, 1 + len(size))), tuple(x.shape[1:-1])
    spans = [_even(n, m) for n, m in zip(shape, size, strict=True)]
    if all(s is not None for s in spans):
        values, flat = window_max(x, axes, tuple(spans), positions)  # type: ignore[arg-type]
        return (values,) if flat is None else (values, flat)
    at: Tensor | None = None
    stride = 1
    for k, n, m in reversed(list(zip(axes, shape, size, strict=True))):
        w, _, first, last = _fetched(x, k, m)
        _, place = first_largest(w)
        here = G.minimum(G.add(place, first), G.sub(last, const(1)))  # of several NaN the last
        x = G.apply(I.take_along, (x, here), (k,))
        if positions:
            out = G.mul(here, const(stride))
            at = out if at is None else G.add(out, G.apply(I.take_along, (at, here), (k,)))
        stride *= n
    return (x,) if at is None else (x, at)


def _prepared(name: str, n: int, input: Tensor, output_size: Any) -> tuple[Tensor, bool, Sizes]:
    x, batched = images(name, input, n)
    return x, batched, _targets(name, output_size, tuple(x.shape[1:-1]))


def _empty(input: Tensor, n: int, size: Sizes, dtype: Any) -> Tensor:
    return G.zeros((*input.shape[:-n], *size), dtype=dtype)


def _adaptive_avg_of(n: int) -> Callable[..., Tensor]:
    name = f"adaptive_avg_pool{n}d"

    def pool(input: Tensor, output_size: Any) -> Tensor:
        real(name, input, integers=False)
        x, batched, size = _prepared(name, n, input, output_size)
        return restored(_adaptive_avg(x, size), batched) if 0 not in size else _empty(input, n, size, input.dtype)

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = """Means of windows that make ``output_size`` of any input; None keeps the size of an axis.

    Window o of m over n positions goes from floor(o n / m) to ceil((o + 1) n / m).
    """
    return pool


def _adaptive_max_of(n: int, always: bool) -> Callable[..., Any]:
    name = f"adaptive_max_pool{n}d"

    def run(input: Tensor, output_size: Any, indices: bool) -> Any:
        real(name, input)
        x, batched, size = _prepared(name, n, input, output_size)
        if 0 in size:
            out = (_empty(input, n, size, input.dtype), _empty(input, n, size, dtypes.int64))
        else:
            out = tuple(restored(y, batched) for y in _adaptive_max(x, size, indices))  # type: ignore[assignment]
        return out if indices else out[0]

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return run(input, output_size, bool(return_indices))

    def pool_with_indices(input: Tensor, output_size: Any, return_indices: bool = True) -> tuple[Tensor, Tensor]:
        return run(input, output_size, True)

    fn: Callable[..., Any] = pool_with_indices if always else pool
    fn.__name__ = fn.__qualname__ = name + ("_with_indices" if always else "")
    fn.__doc__ = f"""The largest of windows that make ``output_size``; windows as in ``adaptive_avg_pool{n}d``.

    ``return_indices``: also the flat int64 position of each in its channel. The gradient goes to the first of equals.
    """
    return fn


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg_of, (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_adaptive_max_of(n, False) for n in (1, 2, 3))
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _adaptive_max_of(n, True) for n in (1, 2, 3)
)


# -- fractional (Graham 2014) ---------------------------------------------------------------------------------
def _starts(sample: Tensor, n: int, m: int, k: int) -> Tensor:
    """Where m windows of k over n positions begin, int64 (N, C, m), from one number of [0, 1) for each channel."""
    if m == 1:
        return G.full((*sample.shape, 1), n - k, dtype=dtypes.int64)
    alpha = const((n - k) / (m - 1))
    u = G.unsqueeze(sample, -1)
    o = G.cast(G.arange(m), sample.dtype)
    at = G.sub(G.cast(G.mul(G.add(o, u), alpha), dtypes.int64), G.cast(G.mul(u, alpha), dtypes.int64))
    return G.where(G.eq(G.arange(m), const(m - 1)), const(n - k), at)


@composite
def _fractional(x: Tensor, samples: Tensor, kernel: Sizes, size: Sizes) -> tuple[Tensor, Tensor]:
    n = len(kernel)
    batch, channels, *shape = x.shape
    order = list(range(n)) if n == 3 else [1, 0]  # in two dimensions the first number is the width's
    at: Tensor | None = None  # (N, C, windows, entries), both flat over the axes
    for k, axis in enumerate(order):
        first = _starts(G.reshape(G.narrow(samples, 2, axis, 1), (batch, channels)), shape[k], size[k], kernel[k])
        here = G.add(G.unsqueeze(first, -1), G.arange(kernel[k]))  # (N, C, m, k)
        if at is None:
            at = here
        else:
            _, _, m, e = at.shape
            both = G.add(
                G.reshape(G.mul(at, const(shape[k])), (batch, channels, m, 1, e, 1)),
                G.reshape(here, (batch, channels, 1, size[k], 1, kernel[k])),
            )
            at = G.reshape(both, (batch, channels, m * size[k], e * kernel[k]))
    assert at is not None
    _, _, m, e = at.shape
    flat = G.reshape(x, (batch, channels, math.prod(shape)))
    w = G.apply(I.take_along, (G.detach(flat), G.reshape(at, (batch, channels, m * e))), (2,))
    _, place = first_largest(G.reshape(w, (batch, channels, m, e)))
    where = G.apply(I.take_along, (at, G.unsqueeze(place, -1)), (3,))
    where = G.reshape(where, (batch, channels, m))
    values = G.apply(I.take_along, (flat, where), (2,))
    out = (batch, channels, *size)
    return G.reshape(values, out), G.reshape(where, out)


def _ratios(value: Any, n: int) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


def check_fraction(name: str, output_size: Any, output_ratio: Any, n: int) -> None:
    """Raise ValueError unless one of both is given, and ratios are between 0 and 1."""
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"{name}: give output_size or output_ratio, one of them")
    if output_ratio is not None:
        ratios = _ratios(output_ratio, n)
        if len(ratios) != n or any(not 0 < r < 1 for r in ratios):
            raise ValueError(f"{name}: output_ratio {output_ratio} must be one number or {n} between 0 and 1")


def _fractional_of(n: int, always: bool) -> Callable[..., Any]:
    name = f"fractional_max_pool{n}d"

    def run(
        input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, indices: bool, samples: Tensor | None
    ) -> Any:
        real(name, input, integers=False)
        _, batched = images(name, input, n)
        shape = tuple(input.shape[-n:])
        k = numbers(name, "kernel_size", kernel_size, n)
        check_fraction(name, output_size, output_ratio, n)
        if output_size is None:
            ratio = _ratios(output_ratio, n)
            size = tuple(int(m * r) for m, r in zip(shape, ratio, strict=True))
        else:
            size = numbers(name, "output_size", output_size, n)
        for m, ki, o in zip(shape, k, size, strict=True):
            if o < 1 or o + ki - 1 > m:
                raise ShapeError(
                    f"{name}: {o} windows of {ki} do not fit {m} positions", code="shape.pool",
                    hint="the output's size plus the kernel's, less one, may not exceed the input's",
                )  # fmt: skip
        x = input if batched else G.unsqueeze(input, 0)
        if samples is None:
            samples = rand(x.shape[0], x.shape[1], n, dtype=input.dtype)
        elif tuple(samples.shape) != (x.shape[0], x.shape[1], n):
            raise ShapeError(
                f"{name}: _random_samples of shape {tuple(samples.shape)}, expected {(*x.shape[:2], n)}",
                code="shape.pool",
            )
        out = _fractional(x, samples, k, size)
        out = out if batched else tuple(G.squeeze(y, 0) for y in out)  # type: ignore[assignment]
        return out if indices else out[0]

    def pool(
        input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> Any:  # fmt: skip
        return run(input, kernel_size, output_size, output_ratio, bool(return_indices), _random_samples)

    def pool_with_indices(
        input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = True, _random_samples: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        return run(input, kernel_size, output_size, output_ratio, True, _random_samples)

    fn: Callable[..., Any] = pool_with_indices if always else pool
    fn.__name__ = fn.__qualname__ = name + ("_with_indices" if always else "")
    fn.__doc__ = """The largest of windows of kernel_size whose distances are drawn at random (Graham 2014).

    The output's size is given or a ratio of the input's between 0 and 1. ``_random_samples``: the numbers of [0, 1)
    that place the windows, (N, C, axes), instead of drawn ones.
    """
    return fn


fractional_max_pool2d, fractional_max_pool3d = (_fractional_of(n, False) for n in (2, 3))
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = (_fractional_of(n, True) for n in (2, 3))
