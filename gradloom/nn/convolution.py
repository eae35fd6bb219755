"""Convolution layers and their transposes, in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from gradloom.errors import ShapeError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.module import Module, Parameter
from gradloom.nn.parameter import new_parameter
from gradloom.tensor import Tensor

Sizes = int | Sequence[int]
Mode = Literal["zeros", "reflect", "replicate", "circular"]
_MODES = ("zeros", "reflect", "replicate", "circular")


def sizes(value: Sizes, count: int, name: str) -> tuple[int, ...]:
    """A number for each spatial axis. Raises ValueError for another number of numbers."""
    out = (value,) * count if isinstance(value, int) else tuple(int(v) for v in value)
    if len(out) == 1:
        out *= count
    if len(out) != count:
        raise ValueError(f"{name} takes one number or {count}, got {value!r}")
    return out


class _ConvNd(Module):
    """What all convolutions share. A subclass has `_spatial`, the number of spatial axes, and its function."""

    _spatial: int
    _function: Callable[..., Tensor]
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: str | Sizes,
        dilation: Sizes,
        transposed: bool,
        output_padding: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        n = self._spatial
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        for name, channels in (("in_channels", in_channels or 0), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name} must be divisible by groups, got {channels} and {groups}")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {_MODES}, but got padding_mode={padding_mode!r}")
        self.in_channels = in_channels or 0
        self.out_channels = out_channels
        self.kernel_size = sizes(kernel_size, n, "kernel_size")
        self.stride = sizes(stride, n, "stride")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"padding is 'same', 'valid' or numbers, not {padding!r}")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError(f"padding='same' is not supported for strided convolutions, got stride {stride}")
        self.padding = padding if isinstance(padding, str) else sizes(padding, n, "padding")
        self.dilation = sizes(dilation, n, "dilation")
        self.transposed = transposed
        self.output_padding = sizes(output_padding, n, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        lazy = in_channels is None
        self.weight = new_parameter(self._weight_shape(), lazy, device, dtype)
        self.register_parameter("bias", new_parameter(out_channels, lazy, device, dtype) if bias else None)
        if not lazy:
            self.reset_parameters()

    def _weight_shape(self) -> tuple[int, ...]:
        """Of the filters, for the number of input channels that there is."""
        a, b = (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        return (a, b // self.groups, *self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init.fans(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
            init.uniform_(self.bias, -bound, bound)

    @property
    def _reversed_padding_repeated_twice(self) -> list[int]:
        """The padding as `functional.pad` takes it: (before, after) of the last axis first."""
        if self.padding == "valid":
            return [0, 0] * self._spatial
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [p for t in reversed(total) for p in (t // 2, t - t // 2)]
        return [p for q in reversed(self.padding) for p in (q, q)]  # type: ignore[misc]

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(self._checked(input), self._reversed_padding_repeated_twice, self.padding_mode)
            padding = 0
        return type(self)._function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _checked(self, input: Tensor) -> Tensor:
        """Refuse an image that the padding would misread before the convolution can."""
        n = self._spatial
        if input.ndim not in (n + 1, n + 2) or input.shape[-n - 1] != self.in_channels:
            raise ShapeError(
                f"conv{n}d: expects images (N, C, ...) or (C, ...) with {self.in_channels} channels and {n} spatial "
                f"axes, got shape {tuple(input.shape)}",
                code="shape.convolution",
                hint="axes are batch, channels, then the spatial ones",
            )
        return input

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, *size) to (N, out_channels, *size'); the batch axis may be missing."""
        return self._conv_forward(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Channels, and the options that are set."""
        out = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self._spatial:
            out += f", padding={self.padding}"
        if self.dilation != (1,) * self._spatial:
            out += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self._spatial:
            out += f", output_padding={self.output_padding}"
        if self.groups != 1:
            out += f", groups={self.groups}"
        if self.bias is None:
            out += ", bias=False"
        return out if self.padding_mode == "zeros" else out + f", padding_mode={self.padding_mode}"


class _Conv(_ConvNd):
    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: str | Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Mode = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, False, 0, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip


class Conv1d(_Conv):
    """Cross-correlation of signals (N, C, L) with learnt filters; the options are those of Conv2d."""

    _spatial, _function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Cross-correlation of images (N, C, H, W) with learnt filters.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    kernel_size, stride, dilation : int or one for each spatial axis
        Size of the filters, steps between their places, and between their own taps.
    padding : likewise, or "same" (the size stays) or "valid" (none)
        Places added on both sides.
    groups : int
        Channels and filters fall into so many groups that do not mix; in_channels of them is a depthwise convolution.
    bias : bool
        Whether an entry for each output channel is added.
    padding_mode : str
        What stands there: "zeros", "reflect", "replicate" or "circular".

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels / groups, *kernel_size)
        Drawn uniformly from ±1/sqrt(in_channels / groups · kernel).
    bias : Parameter of shape (out_channels,), or None
        Drawn likewise.

    Raises
    ------
    ValueError
        Channels that do not divide by groups, or an option that is none.
    """

    _spatial, _function = 2, staticmethod(F.conv2d)


class Conv3d(_Conv):
    """Cross-correlation of volumes (N, C, D, H, W) with learnt filters; the options are those of Conv2d."""

    _spatial, _function = 3, staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}, not {padding_mode!r}')
        if isinstance(padding, str):
            raise ValueError(f"{type(self).__name__} takes padding as numbers, not {padding!r}")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, True, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The places to add at the end for an output of a given size."""
        if output_size is None:
            return self.output_padding
        n = self._spatial
        lead = input.ndim - n
        wanted = tuple(int(s) for s in output_size)
        if len(wanted) == n + lead:
            wanted = wanted[lead:]
        if len(wanted) != n:
            raise ShapeError(
                f"ConvTranspose{n}D: for {input.ndim}D input, output_size must have {n} or {n + lead} elements "
                f"(got {len(output_size)})",
                code="shape.convolution",
                hint="give the spatial sizes, or the whole shape",
            )
        assert not isinstance(self.padding, str)
        least = [
            (m - 1) * s - 2 * p + d * (k - 1) + 1
            for m, s, p, d, k in zip(
                input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
        if any(not low <= w <= high for low, w, high in zip(least, wanted, most, strict=True)):
            raise ShapeError(
                f"requested an output size of {list(wanted)}, but valid sizes range from {least} to {most} "
                f"(for an input of {list(input.shape[lead:])})",
                code="shape.convolution",
                hint="stride says how many output sizes shrink to one input size",
            )
        return tuple(w - low for w, low in zip(wanted, least, strict=True))

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """(N, in_channels, *size) to (N, out_channels, *size'); `output_size` chooses among those that fit."""
        more = self._output_padding(input, output_size)
        return type(self)._function(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )


class ConvTranspose1d(_ConvTransposeNd):
    """The transpose of Conv1d: (N, C, L) to longer signals; the options are those of ConvTranspose2d."""

    _spatial, _function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    """The transpose of Conv2d: (N, C, H, W) to larger images.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    kernel_size, stride, padding, dilation : int or one for each spatial axis
        Those of the convolution that is transposed: stride enlarges, padding cuts off.
    output_padding : likewise
        Places more at the end; smaller than stride or dilation.
    groups : int
        Channels and filters fall into so many groups that do not mix.
    bias : bool
        Whether an entry for each output channel is added.

    Attributes
    ----------
    weight : Parameter of shape (in_channels, out_channels / groups, *kernel_size)
    bias : Parameter of shape (out_channels,), or None

    Raises
    ------
    ValueError
        Channels that do not divide by groups, or another padding_mode than "zeros".
    """

    _spatial, _function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    """The transpose of Conv3d: (N, C, D, H, W) to larger volumes; the options are those of ConvTranspose2d."""

    _spatial, _function = 3, staticmethod(F.conv_transpose3d)
