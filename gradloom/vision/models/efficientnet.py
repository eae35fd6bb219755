"""EfficientNet B0 to B7 (Tan and Le 2019) and V2 (Tan and Le 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gradloom import nn
from gradloom.nn import init
from gradloom.tensor import Tensor
from gradloom.vision.models.drawing import zero_bias
from gradloom.vision.models.registry import builder
from gradloom.vision.models.sizes import make_divisible, scaled_depth
from gradloom.vision.ops.drop import StochasticDepth
from gradloom.vision.ops.layers import Conv2dNormActivation, Layer, SqueezeExcitation

__all__ = [
    "EfficientNet", "FusedMBConv", "FusedMBConvConfig", "MBConv", "MBConvConfig", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
    "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s",
]  # fmt: skip


@dataclass
class _Config:
    expand_ratio: float
    kernel: int
    stride: int
    input_channels: int
    out_channels: int
    num_layers: int


@dataclass
class MBConvConfig(_Config):
    """A stage of mobile inverted bottlenecks; widths and depth are multiplied, widths rounded to multiples of 8."""

    width_mult: float = 1.0
    depth_mult: float = 1.0

    def __post_init__(self) -> None:
        self.input_channels = make_divisible(self.input_channels * self.width_mult)
        self.out_channels = make_divisible(self.out_channels * self.width_mult)
        self.num_layers = scaled_depth(self.num_layers, self.depth_mult)


@dataclass
class FusedMBConvConfig(_Config):
    """A stage of bottlenecks whose first two convolutions are one."""


class _Bottleneck(nn.Module):
    """What both kinds share: a branch with stochastic depth beside a shortcut, where sizes allow it."""

    def __init__(self, cnf: _Config, layers: Sequence[nn.Module], stochastic_depth_prob: float) -> None:
        super().__init__()
        if cnf.stride not in (1, 2):
            raise ValueError(f"{type(self).__name__}: stride is 1 or 2, got {cnf.stride}")
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.out_channels = cnf.out_channels

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, H / stride, W / stride)."""
        result = self.block(input)
        return self.stochastic_depth(result) + input if self.use_res_connect else result


class MBConv(_Bottleneck):
    """Widened by 1x1, filtered depthwise, channels weighted, narrowed by 1x1."""

    def __init__(self, cnf: _Config, stochastic_depth_prob: float, norm_layer: Layer) -> None:
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        narrow = cnf.input_channels
        wide = make_divisible(narrow * cnf.expand_ratio)
        layers: list[nn.Module] = [] if wide == narrow else [conv(narrow, wide, kernel_size=1)]
        layers += [
            conv(wide, wide, kernel_size=cnf.kernel, stride=cnf.stride, groups=wide),
            SqueezeExcitation(wide, max(1, narrow // 4), activation=partial(nn.SiLU, inplace=True)),
            Conv2dNormActivation(wide, cnf.out_channels, kernel_size=1, norm_layer=norm_layer, activation_layer=None),
        ]
        super().__init__(cnf, layers, stochastic_depth_prob)


class FusedMBConv(_Bottleneck):
    """Widened by a full convolution and narrowed by 1x1; one convolution where nothing is widened."""

    def __init__(self, cnf: _Config, stochastic_depth_prob: float, norm_layer: Layer) -> None:
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        narrow = cnf.input_channels
        wide = make_divisible(narrow * cnf.expand_ratio)
        if wide == narrow:
            layers = [conv(narrow, cnf.out_channels, kernel_size=cnf.kernel, stride=cnf.stride)]
        else:
            layers = [
                conv(narrow, wide, kernel_size=cnf.kernel, stride=cnf.stride),
                Conv2dNormActivation(
                    wide, cnf.out_channels, kernel_size=1, norm_layer=norm_layer, activation_layer=None
                ),
            ]
        super().__init__(cnf, layers, stochastic_depth_prob)


class EfficientNet(nn.Module):
    """A stem, stages of bottlenecks, a 1x1 convolution, a mean and a linear layer.

    Parameters
    ----------
    inverted_residual_setting : one entry for each stage.
    dropout : before the linear layer.
    stochastic_depth_prob : of the last block; it grows evenly from 0 at the first.
    last_channel : width before the mean; four times the last stage unless given.
    """

    def __init__(
        self, inverted_residual_setting: Sequence[MBConvConfig | FusedMBConvConfig], dropout: float,
        stochastic_depth_prob: float = 0.2, num_classes: int = 1000, norm_layer: Layer | None = None,
        last_channel: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("EfficientNet: inverted_residual_setting has no entry")
        norm = nn.BatchNorm2d if norm_layer is None else norm_layer
        conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.SiLU)
        features: list[nn.Module] = [conv(3, inverted_residual_setting[0].input_channels, stride=2)]
        total, done = sum(cnf.num_layers for cnf in inverted_residual_setting), 0
        for cnf in inverted_residual_setting:
            stage = []
            for n in range(cnf.num_layers):
                kind: Any = MBConv if isinstance(cnf, MBConvConfig) else FusedMBConv
                row = (cnf.expand_ratio, cnf.kernel, cnf.stride, cnf.input_channels, cnf.out_channels, 1)
                if n:
                    row = (cnf.expand_ratio, cnf.kernel, 1, cnf.out_channels, cnf.out_channels, 1)
                stage.append(kind(_Config(*row), stochastic_depth_prob * done / total, norm))
                done += 1
            features.append(nn.Sequential(*stage))
        last = inverted_residual_setting[-1].out_channels
        width = 4 * last if last_channel is None else last_channel
        features.append(conv(last, width, kernel_size=1))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout, inplace=True), nn.Linear(width, num_classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                init.kaiming_normal_(m.weight, mode="fan_out")
                zero_bias(m)
            elif isinstance(m, nn.Linear):
                bound = 1.0 / math.sqrt(m.out_features)
                init.uniform_(m.weight, -bound, bound)
                zero_bias(m)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


# expansion, kernel, stride, channels in and out, layers
_B0 = (
    (1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3), (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1),
)  # fmt: skip
# V2: the stages of fused bottlenecks, then those of plain ones
_V2_S = (
    ((1, 3, 1, 24, 24, 2), (4, 3, 2, 24, 48, 4), (4, 3, 2, 48, 64, 4)),
    ((4, 3, 2, 64, 128, 6), (6, 3, 1, 128, 160, 9), (6, 3, 2, 160, 256, 15)),
)
_V2_M = (
    ((1, 3, 1, 24, 24, 3), (4, 3, 2, 24, 48, 5), (4, 3, 2, 48, 80, 5)),
    ((4, 3, 2, 80, 160, 7), (6, 3, 1, 160, 176, 14), (6, 3, 2, 176, 304, 18), (6, 3, 1, 304, 512, 5)),
)
_V2_L = (
    ((1, 3, 1, 32, 32, 4), (4, 3, 2, 32, 64, 7), (4, 3, 2, 64, 96, 7)),
    ((4, 3, 2, 96, 192, 10), (6, 3, 1, 192, 224, 19), (6, 3, 2, 224, 384, 25), (6, 3, 1, 384, 640, 7)),
)
_SOFT_NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
_V2_NORM = partial(nn.BatchNorm2d, eps=1e-3)


def _b(width_mult: float, depth_mult: float, **options: Any) -> EfficientNet:
    return EfficientNet([MBConvConfig(*row, width_mult, depth_mult) for row in _B0], **options)


def _v2(stages: Any, **options: Any) -> EfficientNet:
    fused, plain = stages
    settings: list[MBConvConfig | FusedMBConvConfig] = [FusedMBConvConfig(*row) for row in fused]
    settings += [MBConvConfig(*row) for row in plain]
    return EfficientNet(settings, **{"norm_layer": _V2_NORM, "last_channel": 1280, **options})


def _sized(number: int, millions: str, width: float, depth: float, dropout: float, **options: Any) -> Any:
    return builder(
        f"efficientnet_b{number}", f"EfficientNet B{number}: {millions} M parameters.", _b, width_mult=width,
        depth_mult=depth, dropout=dropout, **options,
    )  # fmt: skip


efficientnet_b0 = _sized(0, "5.3", 1.0, 1.0, 0.2)
efficientnet_b1 = _sized(1, "7.8", 1.0, 1.1, 0.2)
efficientnet_b2 = _sized(2, "9.1", 1.1, 1.2, 0.3)
efficientnet_b3 = _sized(3, "12.2", 1.2, 1.4, 0.3)
efficientnet_b4 = _sized(4, "19.3", 1.4, 1.8, 0.4)
efficientnet_b5 = _sized(5, "30.4", 1.6, 2.2, 0.4, norm_layer=_SOFT_NORM)
efficientnet_b6 = _sized(6, "43.0", 1.8, 2.6, 0.5, norm_layer=_SOFT_NORM)
efficientnet_b7 = _sized(7, "66.3", 2.0, 3.1, 0.5, norm_layer=_SOFT_NORM)
efficientnet_v2_s = builder("efficientnet_v2_s", "EfficientNet V2-S: 21.5 M.", _v2, stages=_V2_S, dropout=0.2)
efficientnet_v2_m = builder("efficientnet_v2_m", "EfficientNet V2-M: 54.1 M.", _v2, stages=_V2_M, dropout=0.3)
efficientnet_v2_l = builder("efficientnet_v2_l", "EfficientNet V2-L: 118.5 M.", _v2, stages=_V2_L, dropout=0.4)
