"""Patches of images as columns, and columns summed back into images (`nn.functional.unfold` and `fold`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.movement import update_slice
from gradloom.functions.rearrange import constant_pad_nd
from gradloom.ops import structure as S
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["fold", "unfold"]

Pair = tuple[int, int]


def _pair(name: str, value: Any) -> Pair:
    p = (int(value),) * 2 if isinstance(value, int) else tuple(int(v) for v in value)
    if len(p) == 1:
        p *= 2
    if len(p) != 2 or min(p) < (0 if name == "padding" else 1):
        raise ShapeError(f"{name}: expects one or two positive numbers, got {value}", code="shape.fold")
    return p[0], p[1]


def _counts(name: str, size: Pair, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Pair:
    """Number of patches down and across."""
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)
    ]
    if min(out) < 1:
        raise ShapeError(
            f"{name}: patches {kernel} with dilation {dilation} do not fit images {size} with padding {padding}",
            code="shape.fold",
        )
    return out[0], out[1]


def _regions(lead: tuple[int, int], kernel: Pair, dilation: Pair, stride: Pair, counts: Pair) -> Iterator[tuple]:
    """For each place in the patch, the region of the padded images (N, C, H, W) that it takes in all patches."""
    for i, j in itertools.product(*map(range, kernel)):
        first = (i * dilation[0], j * dilation[1])
        stops = tuple(f + (c - 1) * s + 1 for f, c, s in zip(first, counts, stride, strict=True))
        yield (0, 0, *first), (*lead, *stops), (1, 1, *stride)


@composite
def _unfold(x: Tensor, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair, counts: Pair) -> Tensor:
    n, c = x.shape[:2]
    x = constant_pad_nd(x, (padding[1], padding[1], padding[0], padding[0]))
    parts = [G.apply(S.slice_, (x,), r) for r in _regions((n, c), kernel, dilation, stride, counts)]
    return G.reshape(G.stack(parts, 2), (n, c * len(parts), counts[0] * counts[1]))


@composite
def _fold(x: Tensor, size: Pair, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair, counts: Pair) -> Tensor:
    n, places = x.shape[0], kernel[0] * kernel[1]
    c = x.shape[1] // places
    high, wide = size[0] + 2 * padding[0], size[1] + 2 * padding[1]
    x = G.reshape(x, (n, c, places, *counts))
    blank = G.zeros((n, c, high, wide), dtype=x.dtype)
    out = blank
    for k, region in enumerate(_regions((n, c), kernel, dilation, stride, counts)):
        part = G.reshape(G.narrow(x, 2, k, 1), (n, c, *counts))
        out = G.add(out, update_slice(blank, part, region))
    return constant_pad_nd(out, (-padding[1], -padding[1], -padding[0], -padding[0]))


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Patches of images (N, C, H, W) or (C, H, W) as columns: (N, C * patch, number of patches).

    Raises ShapeError for another number of axes, and where no patch fits.
    """
    if input.ndim not in (3, 4):
        raise ShapeError(
            f"unfold: expects (N, C, H, W) or (C, H, W), got {tuple(input.shape)}", code="shape.fold"
        )  # fmt: skip
    k, d = _pair("kernel_size", kernel_size), _pair("dilation", dilation)
    p, s = _pair("padding", padding), _pair("stride", stride)
    counts = _counts("unfold", tuple(input.shape[-2:]), k, d, p, s)
    batched = input.ndim == 4
    out = _unfold(input if batched else G.unsqueeze(input, 0), k, d, p, s, counts)
    return out if batched else G.squeeze(out, 0)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns (N, C * patch, number of patches) summed back into images (N, C, *output_size) where patches overlap.

    Without the batch axis it works likewise. Raises ShapeError where sizes do not fit together.
    """
    size, k = _pair("output_size", output_size), _pair("kernel_size", kernel_size)
    d, p, s = _pair("dilation", dilation), _pair("padding", padding), _pair("stride", stride)
    counts = _counts("fold", size, k, d, p, s)
    places, patches = k[0] * k[1], counts[0] * counts[1]
    if input.ndim not in (2, 3) or input.shape[-2] % places or input.shape[-1] != patches:
        raise ShapeError(
            f"fold: columns {tuple(input.shape)} do not make images {size} of patches {k}", code="shape.fold",
            hint=f"expects (N, C * {places}, {patches})",
        )  # fmt: skip
    batched = input.ndim == 3
    out = _fold(input if batched else G.unsqueeze(input, 0), size, k, d, p, s, counts)
    return out if batched else G.squeeze(out, 0)
