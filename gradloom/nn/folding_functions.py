"""Patches of images as columns, and columns summed back into images (`nn.functional.unfold` and `fold`)."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.pooling import overlap_add, windows_of
from gradloom.ops.windows import Span
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


def _spans(size: Pair, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair, counts: Pair) -> tuple[Span, Span]:
    rows = zip(size, kernel, stride, dilation, padding, counts, strict=True)
    down, across = (Span(*row) for row in rows)
    return down, across


@composite
def _unfold(x: Tensor, spans: tuple[Span, Span]) -> Tensor:
    n, c = x.shape[:2]
    w = windows_of(x, (2, 3), spans)  # (N, C, down, across, patch height, patch width)
    places, patches = spans[0].size * spans[1].size, spans[0].number * spans[1].number
    return G.reshape(G.permute(w, (0, 1, 4, 5, 2, 3)), (n, c * places, patches))


@composite
def _fold(x: Tensor, spans: tuple[Span, Span]) -> Tensor:
    a, b = spans
    x = G.reshape(x, (x.shape[0], x.shape[1] // (a.size * b.size), a.size, b.size, a.number, b.number))
    return overlap_add(G.permute(x, (0, 1, 4, 5, 2, 3)), (2, 3), spans)


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
    size = (input.shape[-2], input.shape[-1])
    counts = _counts("unfold", size, k, d, p, s)
    batched = input.ndim == 4
    out = _unfold(input if batched else G.unsqueeze(input, 0), _spans(size, k, d, p, s, counts))
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
    out = _fold(input if batched else G.unsqueeze(input, 0), _spans(size, k, d, p, s, counts))
    return out if batched else G.squeeze(out, 0)
