"""Deformable convolution (Dai et al. 2017; with a mask: Zhu et al. 2019): each tap reads where its offset points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradloom import dtypes, nn
from gradloom.errors import ShapeError
from gradloom.functions import PUBLIC, cast, clamp, floor, logical_and
from gradloom.functions.creation import empty
from gradloom.nn import init
from gradloom.nn.module import Parameter
from gradloom.tensor import Tensor, from_numpy

__all__ = ["DeformConv2d", "deform_conv2d"]


def _two(x: int | Sequence[int]) -> tuple[int, int]:
    a, b = (x, x) if isinstance(x, int) else x
    return int(a), int(b)


def _wrong(message: str, hint: str) -> ShapeError:
    return ShapeError(f"deform_conv2d: {message}", code="shape.deform_conv2d", hint=hint)


def _geometry(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None,
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int],
) -> tuple[int, tuple[int, int]]:  # fmt: skip
    """Number of groups of offsets, and height and width of the result. Raises ShapeError for what does not fit."""
    if input.ndim != 4 or weight.ndim != 4:
        raise _wrong(
            f"input {tuple(input.shape)} and weight {tuple(weight.shape)} need four axes",
            "(N, C, H, W) and (C_out, C / groups, kh, kw)",
        )
    taps = weight.shape[2] * weight.shape[3]
    if input.shape[1] % weight.shape[1] or weight.shape[0] % (input.shape[1] // weight.shape[1]):
        raise _wrong(
            f"{input.shape[1]} channels and a weight of shape {tuple(weight.shape)} do not divide into groups",
            "the weight's second axis is C / groups, and groups divides its first",
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise _wrong(f"bias of shape {tuple(bias.shape)}", f"one entry for each of the {weight.shape[0]} outputs")
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise ValueError(
            f"deform_conv2d: stride {stride} and dilation {dilation} are positive, padding {padding} is not negative"
        )
    h, w = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(input.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True)
    )
    if h < 1 or w < 1:
        raise _wrong(f"the result would have size ({h}, {w})", "enlarge the padding or the images")
    groups = offset.shape[1] // (2 * taps) if offset.ndim == 4 else 0
    if not groups or tuple(offset.shape) != (input.shape[0], 2 * groups * taps, h, w) or input.shape[1] % groups:
        raise _wrong(
            f"offset of shape {tuple(offset.shape)}",
            f"({input.shape[0]}, 2 * groups * {taps}, {h}, {w}), groups dividing {input.shape[1]} channels",
        )
    if mask is not None and tuple(mask.shape) != (input.shape[0], groups * taps, h, w):
        raise _wrong(
            f"mask of shape {tuple(mask.shape)}", f"({input.shape[0]}, {groups * taps}, {h}, {w}) as the offset has it"
        )
    return groups, (h, w)


def _columns(input: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear samples (N, G, T, C / G) of (N, C, H, W) at (N, G, T); zero outside."""
    n, c, h, w = input.shape
    g = y.shape[1]
    pixels = input.reshape(n, g, c // g, h * w).permute(0, 1, 3, 2).reshape(n * g * h * w, c // g)
    base = from_numpy((np.arange(n * g) * (h * w)).reshape(n, g, 1))
    top, left = floor(y).detach(), floor(x).detach()
    fy, fx = y - top, x - left
    out: Tensor | None = None
    for dy in (0, 1):
        for dx in (0, 1):
            v, u = top + dy, left + dx
            there = logical_and(logical_and(v >= 0, v <= h - 1), logical_and(u >= 0, u <= w - 1))
            index = cast(clamp(v, 0, h - 1), dtypes.int64) * w + cast(clamp(u, 0, w - 1), dtypes.int64) + base
            share = (fy if dy else 1 - fy) * (fx if dx else 1 - fx) * cast(there, y.dtype)
            picked = PUBLIC["index_select"](pixels, 0, index.reshape(-1)).reshape(*y.shape, c // g)
            term = picked * share.unsqueeze(-1)
            out = term if out is None else out + term
    assert out is not None
    return out


def deform_conv2d(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | tuple[int, int] = (1, 1),
    padding: int | tuple[int, int] = (0, 0), dilation: int | tuple[int, int] = (1, 1), mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Convolve (N, C, H, W) with taps moved by offsets, to (N, C_out, H', W').

    Parameters
    ----------
    offset : (N, 2 * G * kh * kw, H', W'), for each group of channels and tap how far down and how far right.
    weight : (C_out, C / groups, kh, kw).
    mask : (N, G * kh * kw, H', W'), a factor on each tap.
    """
    s, p, d = _two(stride), _two(padding), _two(dilation)
    g, (oh, ow) = _geometry(input, offset, weight, bias, mask, s, p, d)
    n, c = input.shape[:2]
    kh, kw = weight.shape[2:]
    moved = offset.reshape(n, g, kh, kw, 2, oh, ow)
    rows = np.arange(oh)[:, None] * s[0] - p[0] + (np.arange(kh) * d[0])[:, None, None, None]  # (kh, 1, oh, 1)
    columns = np.arange(ow) * s[1] - p[1] + (np.arange(kw) * d[1])[:, None, None]  # (kw, 1, ow)
    y = moved[:, :, :, :, 0] + from_numpy(rows.astype(np.float64)).to(input.dtype)
    x = moved[:, :, :, :, 1] + from_numpy(columns.astype(np.float64)).to(input.dtype)
    taps = _columns(input, y.reshape(n, g, -1), x.reshape(n, g, -1))  # (N, G, kh*kw*oh*ow, C/G)
    if mask is not None:
        taps = taps * mask.reshape(n, g, -1, 1)
    groups = c // weight.shape[1]
    # (N, groups, C/groups, taps, pixels) against (groups, C_out/groups, C/groups, taps)
    taps = taps.permute(0, 1, 3, 2).reshape(n, groups, c // groups * kh * kw, oh * ow)
    filters = weight.reshape(groups, weight.shape[0] // groups, -1)
    out = PUBLIC["matmul"](filters, taps).reshape(n, weight.shape[0], oh, ow)
    return out if bias is None else out + bias.reshape(-1, 1, 1)


class DeformConv2d(nn.Module):
    """:func:`deform_conv2d` as a layer that is given the offsets."""

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, dilation: int | tuple[int, int] = 1,
        groups: int = 1, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"DeformConv2d: {groups} groups do not divide {in_channels} and {out_channels} channels")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _two(kernel_size), _two(stride)
        self.padding, self.dilation = _two(padding), _two(dilation)
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size))
        if bias:
            self.bias = Parameter(empty(out_channels))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, C, H, W), offsets and perhaps a mask, to (N, C_out, H', W')."""
        return deform_conv2d(
            input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The options."""
        rest = "" if self.groups == 1 else f", groups={self.groups}"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}{rest}"
        )
