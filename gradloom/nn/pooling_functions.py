"""Pooling of `nn.functional`: the largest, the mean or the p-norm of windows, and largest values put back into place.

Inputs are (N, C, ...) or (C, ...). Inside the channels come last, as in all functions of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import const
from gradloom.functions.pooling import window_max, window_sum
from gradloom.ops import gather as I
from gradloom.ops.windows import Span
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = (
    "avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d lp_pool3d max_pool1d max_pool1d_with_indices max_pool2d "
    "max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool1d max_unpool2d max_unpool3d"
).split()

Sizes = tuple[int, ...]


# -- what they share -------------------------------------------------------------------------------------
def numbers(name: str, what: str, value: Any, n: int, least: int = 1) -> Sizes:
    """One number for each of n axes, given as one or as a sequence. Raises ShapeError for others."""
    out = tuple(int(v) for v in value) if isinstance(value, (tuple, list)) else (int(value),)
    out = out * n if len(out) == 1 else out
    if len(out) != n or min(out) < least:
        raise ShapeError(
            f"{name}: {what} {value}, expected one number or {n}, each at least {least}", code="shape.pool",
        )  # fmt: skip
    return out


def images(name: str, input: Tensor, n: int) -> tuple[Tensor, bool]:
    """An input of n axes behind the channels as (N, ..., C), and whether it had a batch axis."""
    if input.ndim not in (n + 1, n + 2):
        axes = ("L", "H, W", "D, H, W")[n - 1]
        raise ShapeError(
            f"{name}: expects (N, C, {axes}) or (C, {axes}), got shape {tuple(input.shape)}", code="shape.pool",
            hint="add missing axes with unsqueeze, or use the function for another number of dimensions",
        )  # fmt: skip
    if 0 in input.shape[-n - 1 :]:
        raise ShapeError(
            f"{name}: shape {tuple(input.shape)} has an empty axis; only the batch may be empty", code="shape.pool"
        )
    batched = input.ndim == n + 2
    x = input if batched else G.unsqueeze(input, 0)
    return G.permute(x, (0, *range(2, n + 2), 1)), batched


def restored(x: Tensor, batched: bool) -> Tensor:
    """(N, ..., C) as (N, C, ...), without the batch axis where there was none."""
    x = G.permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))
    return x if batched else G.squeeze(x, 0)


def _spans(
    name: str, shape: Sizes, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Span, ...]:
    """Windows over axes of a shape, by PyTorch's rules."""
    n = len(shape)
    k = numbers(name, "kernel_size", kernel, n)
    s = k if stride is None or stride == [] or stride == () else numbers(name, "stride", stride, n)
    p, d = numbers(name, "padding", padding, n, 0), numbers(name, "dilation", dilation, n)
    out = []
    for size, ki, si, pi, di in zip(shape, k, s, p, d, strict=True):
        extent = di * (ki - 1) + 1
        if 2 * pi > extent:
            raise ShapeError(
                f"{name}: padding {pi} is more than half of the kernel ({extent})", code="shape.pool",
                hint="a window may hold no more padding than that; pad the input with functional.pad first",
            )  # fmt: skip
        room = size + 2 * pi - extent
        count = (room + (si - 1 if ceil_mode else 0)) // si + 1
        if ceil_mode and (count - 1) * si >= size + pi:  # the last window must start inside or in the front padding
            count -= 1
        if count < 1:
            raise ShapeError(
                f"{name}: a kernel of {extent} does not fit an axis of {size} padded by {pi}: the output size would "
                f"be {count}", code="shape.pool", hint="use a smaller kernel_size or dilation, or larger images",
            )  # fmt: skip
        out.append(Span(size, ki, si, di, pi, count))
    return tuple(out)


def real(name: str, input: Tensor, integers: bool = True) -> None:
    """Raise DTypeError unless the input is floating, or of integers where they are taken."""
    if input.dtype.category not in ((1, 2) if integers else (2,)):
        raise DTypeError(
            f"{name}: dtype {input.dtype.name} is not supported", code="dtype.pool",
            hint="takes floating" + (" or integer" if integers else "") + " tensors; convert with .to(dtype)",
        )  # fmt: skip


# -- the largest -------------------------------------------------------------------------------------------
@composite
def _max(x: Tensor, spans: tuple[Span, ...], positions: bool) -> tuple[Tensor, ...]:
    values, at = window_max(x, tuple(range(1, 1 + len(spans))), spans, positions)
    return (values,) if at is None else (values, at)


def _max_pool(
    name: str, n: int, input: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    indices: bool,
) -> Any:  # fmt: skip
    real(name, input)
    x, batched = images(name, input, n)
    spans = _spans(name, tuple(x.shape[1:-1]), kernel, stride, padding, dilation, ceil_mode)
    out = tuple(restored(y, batched) for y in _max(x, spans, bool(indices)))
    return out if indices else out[0]


_MAX_DOC = """The largest of each window of kernel_size, every stride (kernel_size unless given), dilation apart.

    Windows may reach ``padding`` beyond the input, which counts for nothing. ``ceil_mode``: a last window that reaches
    beyond counts too. ``return_indices``: also the flat int64 position of each in its channel. NaN is handed on; the
    gradient goes to the first of equals. Raises ShapeError where no window fits or padding exceeds half the kernel.
    """


def _max_pool_of(n: int) -> Callable[..., Any]:
    def pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        return _max_pool(
            f"max_pool{n}d", n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )  # fmt: skip

    pool.__name__ = pool.__qualname__ = f"max_pool{n}d"
    pool.__doc__ = _MAX_DOC
    return pool


def _with_indices(n: int) -> Callable[..., Any]:
    def pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = True,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        return _max_pool(f"max_pool{n}d", n, input, kernel_size, stride, padding, dilation, ceil_mode, True)

    pool.__name__ = pool.__qualname__ = f"max_pool{n}d_with_indices"
    pool.__doc__ = f"``max_pool{n}d`` with ``return_indices``."
    return pool


max_pool1d, max_pool2d, max_pool3d = map(_max_pool_of, (1, 2, 3))
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(_with_indices, (1, 2, 3))


# -- means -----------------------------------------------------------------------------------------------
def _members(s: Span, padded: bool) -> list[int]:
    """How many positions of each window count: those inside, or also the padding that it covers."""
    out = []
    for o in range(s.number):
        first = o * s.step - s.low
        last = min(first + s.size, s.length + s.low)
        out.append(last - first if padded else max(0, min(last, s.length) - max(first, 0)))
    return out


def _counts(s: Span, padded: bool, axis: int, ndim: int) -> Any:
    """The same: a number where it is one for all windows, else computed along the axis."""
    some = set(_members(s, padded))
    if len(some) == 1:
        return some.pop()
    first = G.sub(G.mul(G.arange(s.number), const(s.step)), const(s.low))
    last = G.minimum(G.add(first, const(s.size)), const(s.length + s.low))
    if not padded:
        last, first = G.minimum(last, const(s.length)), G.maximum(first, const(0))
    return G.reshape(G.maximum(G.sub(last, first), const(0)), tuple(-1 if k == axis else 1 for k in range(ndim)))


def wide(x: Tensor) -> Tensor:
    """Half precision as float32, in which sums are taken."""
    return G.cast(x, dtypes.float32) if x.dtype.is_floating and x.dtype.itemsize < 4 else x


def divided(total: Tensor, by: Any, dtype: Any) -> Tensor:
    """A sum as a mean, rounded towards zero for integers, as PyTorch does."""
    if not dtype.is_floating:
        return G.cast(G.div(total, by if isinstance(by, Tensor) else const(by), rounding_mode="trunc"), dtype)
    if isinstance(by, Tensor):
        return G.cast(G.div(total, G.cast(by, total.dtype)), dtype)
    exact = by > 0 and by & (by - 1) == 0
    return G.cast(G.mul(total, const(1.0 / by)) if exact else G.div(total, const(float(by))), dtype)


@composite
def _avg(x: Tensor, spans: tuple[Span, ...], padded: bool, divisor: int | None) -> Tensor:
    total = window_sum(wide(x), tuple(range(1, 1 + len(spans))), spans)
    by: Any = divisor
    if by is None:
        by = 1
        for k, s in enumerate(spans, 1):
            c = _counts(s, padded, k, x.ndim)
            by = by * c if isinstance(by, int) and isinstance(c, int) else G.mul(*(
                v if isinstance(v, Tensor) else const(v) for v in (by, c)))  # fmt: skip
    if isinstance(by, Tensor):
        by = G.maximum(by, const(1))  # a window of padding alone has the sum 0
    return divided(total, by, x.dtype)


def _avg_pool(
    name: str, n: int, input: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, padded: bool,
    divisor: int | None,
) -> Tensor:  # fmt: skip
    real(name, input)
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override must not be 0")
    x, batched = images(name, input, n)
    spans = _spans(name, tuple(x.shape[1:-1]), kernel, stride, padding, 1, ceil_mode)
    return restored(_avg(x, spans, bool(padded), None if divisor is None else int(divisor)), batched)


def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window; see :func:`avg_pool2d`."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of kernel_size, every stride (kernel_size unless given).

    Sums are divided by the window's size; without ``count_include_pad`` by how many of its positions are inside of the
    input; by ``divisor_override`` where given. Raises ShapeError where no window fits or padding exceeds half the
    kernel.
    """
    return _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window; see :func:`avg_pool2d`."""
    return _avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


# -- norms -----------------------------------------------------------------------------------------------
def _lp_pool_of(n: int) -> Callable[..., Tensor]:
    name = f"lp_pool{n}d"

    def pool(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
        p = norm_type if isinstance(norm_type, int) else float(norm_type)
        if p == 0:
            raise ValueError(f"{name}: norm_type must not be 0")
        real(name, input, integers=False)
        x, batched = images(name, input, n)
        return restored(_lp(x, _spans(name, tuple(x.shape[1:-1]), kernel_size, stride, 0, 1, ceil_mode), p), batched)

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = """``(sum of x**p)**(1/p)`` of each window: the p-norm where x or p makes every power positive.

    A window that ``ceil_mode`` lets reach beyond the input is scaled up to a whole one. Sums below 0 give 0.
    """
    return pool


@composite
def _lp(x: Tensor, spans: tuple[Span, ...], p: float) -> Tensor:
    total = window_sum(G.pow(wide(x), const(p)), tuple(range(1, 1 + len(spans))), spans)
    for k, s in enumerate(spans, 1):
        some = set(_members(s, True))
        if some != {s.size}:
            total = G.div(total, G.cast(_counts(s, True, k, x.ndim), total.dtype))
            total = G.mul(total, const(float(s.size)))
    positive = G.mul(G.sign(total), G.relu(G.abs(total)))
    return G.cast(G.pow(positive, const(1.0 / p)), x.dtype)


lp_pool1d, lp_pool2d, lp_pool3d = map(_lp_pool_of, (1, 2, 3))


# -- unpooling -------------------------------------------------------------------------------------------
def _unpool_of(n: int) -> Callable[..., Tensor]:
    name = f"max_unpool{n}d"

    def unpool(
        input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
        output_size: Sequence[int] | None = None,
    ) -> Tensor:  # fmt: skip
        if input.ndim not in (n + 1, n + 2) or tuple(indices.shape) != tuple(input.shape):
            raise ShapeError(
                f"{name}: input {tuple(input.shape)} with indices {tuple(indices.shape)}", code="shape.unpool",
                hint=f"both have one shape of {n + 2} axes, or {n + 1} without a batch",
            )  # fmt: skip
        if indices.dtype is not dtypes.int64:
            raise DTypeError(
                f"{name}: indices of dtype {indices.dtype.name}, expected int64", code="dtype.unpool",
                hint="use those that max_pool gives with return_indices",
            )  # fmt: skip
        k = numbers(name, "kernel_size", kernel_size, n)
        s = k if stride is None or stride == [] else numbers(name, "stride", stride, n)
        p = numbers(name, "padding", padding, n, 0)
        size = _unpooled(name, tuple(input.shape[-n:]), k, s, p, output_size)
        lead, rank = tuple(input.shape[:-n]), input.ndim - n
        total = math.prod(size)
        G.check_range(indices, 0, total, "index", f"index.{name}")
        blank = G.zeros((*lead, total), dtype=input.dtype)
        flat = (*lead, math.prod(input.shape[-n:]))
        out = G.apply(
            I.along_put, (blank, G.reshape(input, flat), G.reshape(indices, flat)), (rank, "set")
        )  # fmt: skip
        return G.reshape(out, (*lead, *size))

    unpool.__name__ = unpool.__qualname__ = name
    unpool.__doc__ = f"""Values put where ``indices`` of :func:`max_pool{n}d` say, zeros elsewhere.

    ``output_size`` (with or without the leading axes) chooses among the sizes that pool to the input's. Raises
    ShapeError for another size, IndexRangeError for an index beyond it.
    """
    return unpool


def _unpooled(name: str, shape: Sizes, k: Sizes, s: Sizes, p: Sizes, asked: Sequence[int] | None) -> Sizes:
    usual = tuple(
        (m - 1) * si - 2 * pi + ki for m, ki, si, pi in zip(shape, k, s, p, strict=True)
    )  # fmt: skip
    if asked is None:
        if min(usual) < 1:
            raise ShapeError(f"{name}: the output size would be {usual}", code="shape.unpool", hint="less padding")
        return usual
    n = len(shape)
    size = tuple(int(v) for v in asked)
    size = size[-n:] if len(size) in (n + 1, n + 2) else size
    if len(size) != n or any(not u - si < v < u + si for v, u, si in zip(size, usual, s, strict=True)):
        raise ValueError(
            f"{name}: output_size {tuple(asked)} does not pool to {shape}; expected each to be within the stride "
            f"{s} of {usual}"
        )
    return size


max_unpool1d, max_unpool2d, max_unpool3d = map(_unpool_of, (1, 2, 3))
