"""Layers that image models are built from: convolution with norm and activation, squeeze-and-excitation, MLP, …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom import nn
from gradloom.functions import ones, rsqrt, zeros
from gradloom.tensor import Tensor

__all__ = ["MLP", "Conv2dNormActivation", "Conv3dNormActivation", "FrozenBatchNorm2d", "Permute", "SqueezeExcitation"]

Layer = Callable[..., nn.Module]


def _same(kernel: int | Sequence[int], dilation: int | Sequence[int], axes: int) -> int | tuple[int, ...]:
    """The padding that keeps the size at stride 1 for odd kernels."""
    if isinstance(kernel, int) and isinstance(dilation, int):
        return (kernel - 1) // 2 * dilation
    kernels = (kernel,) * axes if isinstance(kernel, int) else tuple(kernel)
    dilations = (dilation,) * axes if isinstance(dilation, int) else tuple(dilation)
    return tuple((k - 1) // 2 * d for k, d in zip(kernels, dilations, strict=True))


class _ConvNormActivation(nn.Sequential):
    """Convolution, norm, activation; the two last are left out where None is given."""

    _conv: Layer
    _axes: int

    def _fill(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, groups: int,
        norm_layer: Layer | None, activation_layer: Layer | None, dilation: Any, inplace: bool | None,
        bias: bool | None,
    ) -> None:  # fmt: skip
        if padding is None:
            padding = _same(kernel_size, dilation, self._axes)
        layers: list[nn.Module] = [
            type(self)._conv(
                in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups,
                bias=norm_layer is None if bias is None else bias,
            )
        ]  # fmt: skip
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer() if inplace is None else activation_layer(inplace=inplace))
        super().__init__(*layers)
        self.out_channels = out_channels


class Conv2dNormActivation(_ConvNormActivation):
    """Conv2d, norm and activation in a row.

    Parameters
    ----------
    padding : None keeps the size at stride 1.
    norm_layer, activation_layer : what makes the layers; None leaves one out.
    inplace : handed to the activation; None where it takes no such option.
    bias : of the convolution; None means: where there is no norm.
    """

    _conv = nn.Conv2d
    _axes = 2

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] | str | None = None, groups: int = 1,
        norm_layer: Layer | None = nn.BatchNorm2d, activation_layer: Layer | None = nn.ReLU,
        dilation: int | tuple[int, int] = 1, inplace: bool | None = True, bias: bool | None = None,
    ) -> None:  # fmt: skip
        self._fill(
            in_channels, out_channels, kernel_size, stride, padding, groups, norm_layer, activation_layer, dilation,
            inplace, bias,
        )  # fmt: skip


class Conv3dNormActivation(_ConvNormActivation):
    """Conv3d, norm and activation in a row; see :class:`Conv2dNormActivation`."""

    _conv = nn.Conv3d
    _axes = 3

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int, int] = 3,
        stride: int | tuple[int, int, int] = 1, padding: int | tuple[int, int, int] | str | None = None,
        groups: int = 1, norm_layer: Layer | None = nn.BatchNorm3d, activation_layer: Layer | None = nn.ReLU,
        dilation: int | tuple[int, int, int] = 1, inplace: bool | None = True, bias: bool | None = None,
    ) -> None:  # fmt: skip
        self._fill(
            in_channels, out_channels, kernel_size, stride, padding, groups, norm_layer, activation_layer, dilation,
            inplace, bias,
        )  # fmt: skip


class SqueezeExcitation(nn.Module):
    """Channels weighted by what two 1x1 convolutions make of their means (Hu et al. 2018, figures 1 and 2)."""

    def __init__(
        self, input_channels: int, squeeze_channels: int, activation: Layer = nn.ReLU,
        scale_activation: Layer = nn.Sigmoid,
    ) -> None:  # fmt: skip
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), kept."""
        scale = self.activation(self.fc1(self.avgpool(input)))
        return self.scale_activation(self.fc2(scale)) * input


class MLP(nn.Sequential):
    """Linear layers with norm, activation and dropout between them; the last has dropout alone."""

    def __init__(
        self, in_channels: int, hidden_channels: list[int], norm_layer: Layer | None = None,
        activation_layer: Layer | None = nn.ReLU, inplace: bool | None = None, bias: bool = True, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        options = {} if inplace is None else {"inplace": inplace}
        layers: list[nn.Module] = []
        for number, width in enumerate(hidden_channels):
            layers.append(nn.Linear(in_channels, width, bias=bias))
            if number < len(hidden_channels) - 1:
                if norm_layer is not None:
                    layers.append(norm_layer(width))
                if activation_layer is not None:
                    layers.append(activation_layer(**options))
            layers.append(nn.Dropout(dropout, **options))
            in_channels = width
        super().__init__(*layers)


class Permute(nn.Module):
    """The axes in another order."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """The axes ``dims`` of ``x``, in this order."""
        return x.permute(*self.dims)


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm2d in which statistics, weight and bias are all buffers, and stay as they are."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", ones(num_features))
        self.register_buffer("bias", zeros(num_features))
        self.register_buffer("running_mean", zeros(num_features))
        self.register_buffer("running_var", ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), kept."""
        scale = self.weight * rsqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def extra_repr(self) -> str:
        """Channels and eps."""
        return f"{self.weight.shape[0]}, eps={self.eps}"
