"""Images read at coordinates that a tensor gives: ``grid_sample``, and the grids of affine maps.

Coordinates run from -1 to 1 over an image: to the centres of the corner pixels where corners are aligned, else to their
outer edges (Jaderberg et al. 2015, "Spatial transformer networks").
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from gradloom import dtypes
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply, const
from gradloom.functions.contraction import matmul
from gradloom.functions.creation import arange, ones
from gradloom.functions.elementwise import (
    abs,
    add,
    cast,
    clamp,
    div,
    eq,
    floor,
    fmod,
    ge,
    le,
    logical_and,
    mul,
    remainder,
    round,
    sub,
    where,
)
from gradloom.functions.movement import broadcast_to, permute, reshape, slice_axis, stack, swap_last
from gradloom.ops import gather as I
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__: list[str] = []
INTERNAL = "affine_grid affine_grid_generator grid_sample grid_sampler".split()

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


# -- coordinates ------------------------------------------------------------------------------------------
def _pixels(x: Tensor, n: int, align: bool) -> Tensor:
    """Coordinates of -1 to 1 as positions."""
    x = add(x, const(1.0))
    if align:
        return mul(x, const((n - 1) / 2))
    return mul(sub(mul(x, const(float(n))), const(1.0)), const(0.5))


def _clipped(x: Tensor, n: int) -> Tensor:
    """Brought to 0 … n - 1; the gradient passes strictly between them."""
    low, high = const(0.0), const(float(n - 1))
    return where(le(x, low), low, where(ge(x, high), high, x))


def _reflected(x: Tensor, n: int, align: bool) -> Tensor:
    """Reflected at the centres of the border pixels, or at their outer edges, until inside."""
    low, span = (0.0, float(n - 1)) if align else (-0.5, float(n))
    if span == 0:
        return mul(x, const(0.0))
    x = abs(sub(x, const(low)))
    extra = fmod(x, const(span))
    flips = floor(div(x, const(span)))
    even = eq(remainder(flips, const(2.0)), const(0.0))
    return add(where(even, extra, sub(const(span), extra)), const(low))


def _inside(x: Tensor, n: int, padding: str, align: bool) -> Tensor:
    if padding == "border":
        return _clipped(x, n)
    if padding == "reflection":
        return _clipped(_reflected(x, n, align), n)
    return x


def _cubic(t: Tensor) -> list[Tensor]:
    """Weights of the four pixels around a position t behind the second (Keys 1981, a = -0.75)."""
    a = -0.75

    def near(d: Tensor) -> Tensor:
        return add(mul(mul(sub(mul(d, const(a + 2)), const(a + 3)), d), d), const(1.0))

    def far(d: Tensor) -> Tensor:
        d1 = add(mul(sub(d, const(5.0)), d), const(8.0))
        return sub(mul(mul(d1, d), const(a)), const(4 * a))

    one = const(1.0)
    return [far(add(t, one)), near(t), near(sub(one, t)), far(sub(const(2.0), t))]


# -- sampling ----------------------------------------------------------------------------------------------
def _at(image: Tensor, batch: Tensor, places: Sequence[Tensor], weight: Tensor | None, bounded: bool) -> Tensor:
    """Pixels (N, ..., C) at whole positions, times a weight; those outside of the image are 0."""
    sizes = image.shape[1:-1]
    index = [batch]
    there: Tensor | None = None
    for p, n in zip(places, sizes, strict=True):
        if not bounded:
            ok = logical_and(ge(p, const(0.0)), le(p, const(float(n - 1))))
            there = ok if there is None else logical_and(there, ok)
        index.append(cast(clamp(p, const(0.0), const(float(n - 1))), dtypes.int64))
    v = apply(I.index, (image, *index), (("i",) * len(index) + (":",),))
    if weight is not None:
        v = mul(v, reshape(weight, (*weight.shape, 1)))
    return v if there is None else where(reshape(there, (*there.shape, 1)), v, const(0.0))


@composite
def _sampled(image: Tensor, grid: Tensor, mode: str, padding: str, align: bool) -> Tensor:
    """Image (N, *sizes, C), grid (N, *new, axes) with the last axis of the image first; result (N, *new, C)."""
    rank = image.ndim - 2
    sizes = image.shape[1:-1]
    batch = reshape(arange(image.shape[0]), (image.shape[0], *(1 for _ in range(rank))))
    xs = []
    for k, n in enumerate(sizes):
        at = rank - 1 - k
        x = reshape(slice_axis(grid, rank + 1, at, at + 1), tuple(grid.shape[:-1]))
        x = _pixels(x, n, align)
        xs.append(x if mode == "bicubic" else _inside(x, n, padding, align))
    bounded = padding != "zeros"
    if mode == "nearest":
        return _at(image, batch, [round(x) for x in xs], None, bounded)
    firsts = [floor(x) for x in xs]
    parts: list[list[tuple[Tensor, Tensor]]] = []  # of each axis positions and weights
    for x, first, n in zip(xs, firsts, sizes, strict=True):
        t = sub(x, first)
        if mode == "bicubic":
            taps = [_inside(add(first, const(float(j - 1))), n, padding, align) for j in range(4)]
            parts.append(list(zip(taps, _cubic(t), strict=True)))
        else:
            parts.append([(first, sub(const(1.0), t)), (add(first, const(1.0)), t)])
    total: Tensor | None = None
    for corner in itertools.product(*parts):
        weight = corner[0][1]
        for _, w in corner[1:]:
            weight = mul(weight, w)
        v = _at(image, batch, [p for p, _ in corner], weight, bounded and mode == "bicubic")
        total = v if total is None else add(total, v)
    assert total is not None
    return total


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """Images (N, C, H, W) read at the places that ``grid`` (N, H', W', 2) says, x before y: (N, C, H', W').

    With three axes (N, C, D, H, W) and (N, D', H', W', 3), x before y before z. Coordinates of -1 and 1 are the outer
    edges of the image, or the centres of its corner pixels with ``align_corners``.

    Parameters
    ----------
    mode: ``"bilinear"`` (trilinear for three axes), ``"nearest"``, ``"bicubic"`` (two axes only).
    padding_mode: what is outside: ``"zeros"``, ``"border"`` (the nearest pixel) or ``"reflection"``.

    Raises
    ------
    ValueError: for another mode. ShapeError: for shapes that do not fit. DTypeError: for integers, or two dtypes.
    """
    if mode not in MODES:
        raise ValueError(f"grid_sample: mode {mode!r} is none of {', '.join(map(repr, MODES))}")
    if padding_mode not in PADDINGS:
        raise ValueError(f"grid_sample: padding_mode {padding_mode!r} is none of {', '.join(map(repr, PADDINGS))}")
    rank = input.ndim - 2
    a, g = tuple(input.shape), tuple(grid.shape)
    if rank not in (2, 3) or len(g) != rank + 2 or g[0] != a[0] or g[-1] != rank:
        raise ShapeError(
            f"grid_sample: input {a} and grid {g}", code="shape.grid_sample",
            hint="expects (N, C, H, W) with (N, H', W', 2), or (N, C, D, H, W) with (N, D', H', W', 3)",
        )  # fmt: skip
    if 0 in a[1:]:
        raise ShapeError(f"grid_sample: input {a} has an empty axis", code="shape.grid_sample")
    if mode == "bicubic" and rank != 2:
        raise ShapeError(
            f"grid_sample: mode 'bicubic' is for images (N, C, H, W), got {a}", code="shape.grid_sample",
            hint="use mode 'bilinear'",
        )  # fmt: skip
    if not input.dtype.is_floating or input.dtype is not grid.dtype:
        raise DTypeError(
            f"grid_sample: input of {input.dtype.name} and grid of {grid.dtype.name}", code="dtype.grid_sample",
            hint="both have one floating dtype; convert with .to(dtype)",
        )  # fmt: skip
    half = input.dtype.itemsize < 4
    x, at = (cast(input, dtypes.float32), cast(grid, dtypes.float32)) if half else (input, grid)
    out = _sampled(permute(x, (0, *range(2, rank + 2), 1)), at, mode, padding_mode, bool(align_corners))
    return cast(permute(out, (0, rank + 1, *range(1, rank + 1))), input.dtype)


# -- affine maps ---------------------------------------------------------------------------------------------
@composite
def _affine(theta: Tensor, sizes: tuple[int, ...], align: bool) -> Tensor:
    n, rank = theta.shape[0], len(sizes)
    axes = []
    for k in reversed(range(rank)):  # x first
        m = sizes[k]
        i = cast(arange(m), theta.dtype)
        if align:
            line = sub(mul(i, const(2.0 / (m - 1))), const(1.0)) if m > 1 else mul(i, const(0.0))
        else:
            line = sub(mul(add(mul(i, const(2.0)), const(1.0)), const(1.0 / m)), const(1.0))
        column = tuple(m if j == k else 1 for j in range(rank))
        axes.append(broadcast_to(reshape(line, column), sizes))
    base = reshape(stack([*axes, ones(sizes, dtype=theta.dtype)], rank), (-1, rank + 1))
    points = matmul(broadcast_to(base, (n, *base.shape)), swap_last(theta))
    return reshape(points, (n, *sizes, rank))


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The places that images of ``size`` (N, C, H, W) have after affine maps, for :func:`grid_sample`: (N, H, W, 2).

    theta: (N, 2, 3); for a size of (N, C, D, H, W) it is (N, 3, 4) and the result (N, D, H, W, 3). Raises ShapeError
    for others, DTypeError for integers.
    """
    size = tuple(int(v) for v in size)
    rank = len(size) - 2
    if not theta.dtype.is_floating:
        raise DTypeError(f"affine_grid: theta of dtype {theta.dtype.name}, expected floating", code="dtype.affine_grid")
    if rank not in (2, 3) or min(size) < 1 or tuple(theta.shape) != (size[0], rank, rank + 1):
        raise ShapeError(
            f"affine_grid: theta {tuple(theta.shape)} with size {size}", code="shape.affine_grid",
            hint="expects (N, 2, 3) with (N, C, H, W), or (N, 3, 4) with (N, C, D, H, W)",
        )  # fmt: skip
    return _affine(theta, size[2:], bool(align_corners))


_BY_NUMBER = {0: "bilinear", 1: "nearest", 2: "bicubic"}
_PADDING_BY_NUMBER = {0: "zeros", 1: "border", 2: "reflection"}


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:  # fmt: skip
    """:func:`grid_sample` with modes by number: bilinear, nearest, bicubic; zeros, border, reflection."""
    for what, value, names in (
        ("interpolation_mode", interpolation_mode, _BY_NUMBER),
        ("padding_mode", padding_mode, _PADDING_BY_NUMBER),
    ):
        if value not in names:
            raise ValueError(f"grid_sampler: {what} is 0, 1 or 2, not {value!r}")
    return grid_sample(
        input, grid, _BY_NUMBER[interpolation_mode], _PADDING_BY_NUMBER[padding_mode], align_corners
    )  # fmt: skip


def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """:func:`affine_grid`."""
    return affine_grid(theta, size, align_corners)
