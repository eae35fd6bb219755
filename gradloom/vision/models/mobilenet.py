"""MobileNet V2 (Sandler et al. 2018) and V3 (Howard et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gradloom import nn
from gradloom.nn import init
from gradloom.tensor import Tensor
from gradloom.vision.models.drawing import zero_bias
from gradloom.vision.models.registry import builder
from gradloom.vision.models.sizes import make_divisible
from gradloom.vision.ops.layers import Conv2dNormActivation, Layer, SqueezeExcitation

__all__ = [
    "InvertedResidual", "InvertedResidualConfig", "MobileNetV2", "MobileNetV3", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small",
]  # fmt: skip


def _draw(model: nn.Module) -> None:
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            init.kaiming_normal_(m.weight, mode="fan_out")
            zero_bias(m)
        elif isinstance(m, nn.Linear):
            init.normal_(m.weight, 0, 0.01)
            zero_bias(m)


# -- V2 -----------------------------------------------------------------------------------------------------
# expansion, channels, repeats, stride of the first
_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class InvertedResidual(nn.Module):
    """Widened by a 1x1 convolution, filtered by a depthwise 3x3 one, narrowed by a 1x1 one without activation."""

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int, norm_layer: Layer = nn.BatchNorm2d) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"InvertedResidual: stride is 1 or 2, got {stride}")
        self.stride = stride
        hidden = round(inp * expand_ratio)
        self.use_res_connect = stride == 1 and inp == oup
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.ReLU6)
        layers: list[nn.Module] = [] if expand_ratio == 1 else [conv(inp, hidden, kernel_size=1)]
        layers += [
            conv(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, oup, 1, 1, 0, bias=False),
            norm_layer(oup),
        ]
        self.conv = nn.Sequential(*layers)
        self.out_channels = oup

    def forward(self, x: Tensor) -> Tensor:
        """(N, inp, H, W) to (N, oup, H / stride, W / stride)."""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """A stem, seventeen inverted residuals, a 1x1 convolution, a mean and a linear layer.

    Parameters
    ----------
    width_mult : factor on all widths. round_nearest : what widths are multiples of.
    inverted_residual_setting : rows of (expansion, channels, repeats, stride); the paper's table unless given.
    block : what makes a block, with InvertedResidual's arguments.
    """

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None, round_nearest: int = 8,
        block: Layer = InvertedResidual, norm_layer: Layer = nn.BatchNorm2d, dropout: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__()
        rows = _V2 if inverted_residual_setting is None else inverted_residual_setting
        if not rows or any(len(row) != 4 for row in rows):
            raise ValueError("inverted_residual_setting has rows of (expansion, channels, repeats, stride)")
        width = make_divisible(32 * width_mult, round_nearest)
        self.last_channel = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.ReLU6)
        features: list[nn.Module] = [conv(3, width, stride=2)]
        for expansion, channels, repeats, stride in rows:
            out = make_divisible(channels * width_mult, round_nearest)
            for n in range(repeats):
                features.append(
                    block(width, out, stride if n == 0 else 1, expand_ratio=expansion, norm_layer=norm_layer)
                )
                width = out
        features.append(conv(width, self.last_channel, kernel_size=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), nn.Linear(self.last_channel, num_classes))
        _draw(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(x.flatten(1))


# -- V3 -----------------------------------------------------------------------------------------------------
@dataclass
class InvertedResidualConfig:
    """One row of the table of a MobileNet V3. Widths are multiplied by ``width_mult`` and rounded to multiples of 8."""

    input_channels: int
    kernel: int
    expanded_channels: int
    out_channels: int
    use_se: bool
    activation: str  # "RE" for ReLU, "HS" for Hardswish
    stride: int
    dilation: int
    width_mult: float = 1.0

    def __post_init__(self) -> None:
        self.input_channels = make_divisible(self.input_channels * self.width_mult)
        self.expanded_channels = make_divisible(self.expanded_channels * self.width_mult)
        self.out_channels = make_divisible(self.out_channels * self.width_mult)
        self.use_hs = self.activation == "HS"


class _Block(nn.Module):
    def __init__(self, cnf: InvertedResidualConfig, norm_layer: Layer, se_layer: Layer) -> None:
        super().__init__()
        if cnf.stride not in (1, 2):
            raise ValueError(f"MobileNetV3: the stride of a block is 1 or 2, got {cnf.stride}")
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        wide = cnf.expanded_channels
        conv = partial(
            Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.Hardswish if cnf.use_hs else nn.ReLU
        )
        layers: list[nn.Module] = []
        if wide != cnf.input_channels:
            layers.append(conv(cnf.input_channels, wide, kernel_size=1))
        stride = 1 if cnf.dilation > 1 else cnf.stride
        layers.append(conv(wide, wide, kernel_size=cnf.kernel, stride=stride, dilation=cnf.dilation, groups=wide))
        if cnf.use_se:
            layers.append(se_layer(wide, make_divisible(wide // 4)))
        layers.append(
            Conv2dNormActivation(wide, cnf.out_channels, kernel_size=1, norm_layer=norm_layer, activation_layer=None)
        )
        self.block = nn.Sequential(*layers)
        self.out_channels = cnf.out_channels

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, H / stride, W / stride)."""
        return self.block(input) + input if self.use_res_connect else self.block(input)


class MobileNetV3(nn.Module):
    """Inverted residuals with hard swish and squeeze-and-excitation, and a head that widens after the mean.

    Parameters
    ----------
    inverted_residual_setting : one entry for each block. last_channel : width of the head.
    """

    def __init__(
        self, inverted_residual_setting: Sequence[InvertedResidualConfig], last_channel: int, num_classes: int = 1000,
        block: Layer = _Block, norm_layer: Layer | None = None, dropout: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("MobileNetV3: inverted_residual_setting has no entry")
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01) if norm_layer is None else norm_layer
        se = partial(SqueezeExcitation, scale_activation=nn.Hardsigmoid)
        conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.Hardswish)
        last = inverted_residual_setting[-1].out_channels
        self.features = nn.Sequential(
            conv(3, inverted_residual_setting[0].input_channels, stride=2),
            *(block(cnf, norm, se) for cnf in inverted_residual_setting),
            conv(last, 6 * last, kernel_size=1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * last, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(p=dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
        )
        _draw(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


# input, kernel, expanded, output, squeeze-and-excitation, activation, stride, and whether it is of the tail, whose
# widths `reduced_tail` halves and whose strides `dilated` turns into dilations
_V3_LARGE = (
    (16, 3, 16, 16, False, "RE", 1, ""), (16, 3, 64, 24, False, "RE", 2, ""), (24, 3, 72, 24, False, "RE", 1, ""),
    (24, 5, 72, 40, True, "RE", 2, ""), (40, 5, 120, 40, True, "RE", 1, ""), (40, 5, 120, 40, True, "RE", 1, ""),
    (40, 3, 240, 80, False, "HS", 2, ""), (80, 3, 200, 80, False, "HS", 1, ""), (80, 3, 184, 80, False, "HS", 1, ""),
    (80, 3, 184, 80, False, "HS", 1, ""), (80, 3, 480, 112, True, "HS", 1, ""), (112, 3, 672, 112, True, "HS", 1, ""),
    (112, 5, 672, 160, True, "HS", 2, "first"), (160, 5, 960, 160, True, "HS", 1, "tail"),
    (160, 5, 960, 160, True, "HS", 1, "tail"),
)  # fmt: skip
_V3_SMALL = (
    (16, 3, 16, 16, True, "RE", 2, ""), (16, 3, 72, 24, False, "RE", 2, ""), (24, 3, 88, 24, False, "RE", 1, ""),
    (24, 5, 96, 40, True, "HS", 2, ""), (40, 5, 240, 40, True, "HS", 1, ""), (40, 5, 240, 40, True, "HS", 1, ""),
    (40, 5, 120, 48, True, "HS", 1, ""), (48, 5, 144, 48, True, "HS", 1, ""), (48, 5, 288, 96, True, "HS", 2, "first"),
    (96, 5, 576, 96, True, "HS", 1, "tail"), (96, 5, 576, 96, True, "HS", 1, "tail"),
)  # fmt: skip


def _mobilenet_v3(
    rows: Sequence[tuple[Any, ...]], last_channel: int, width_mult: float = 1.0, reduced_tail: bool = False,
    dilated: bool = False, **options: Any,
) -> MobileNetV3:  # fmt: skip
    halve, dilation = 2 if reduced_tail else 1, 2 if dilated else 1
    settings = []
    for narrow, kernel, wide, out, se, activation, stride, tail in rows:
        settings.append(
            InvertedResidualConfig(
                narrow // (halve if tail == "tail" else 1), kernel, wide // (halve if tail == "tail" else 1),
                out // (halve if tail else 1), se, activation, stride, dilation if tail else 1, width_mult,
            )
        )  # fmt: skip
    return MobileNetV3(settings, make_divisible(last_channel // halve * width_mult), **options)


mobilenet_v2 = builder("mobilenet_v2", "MobileNet V2: 3.5 M parameters.", MobileNetV2)
mobilenet_v3_large = builder(
    "mobilenet_v3_large", "MobileNet V3, large: 5.5 M parameters.", _mobilenet_v3, rows=_V3_LARGE, last_channel=1280
)
mobilenet_v3_small = builder(
    "mobilenet_v3_small", "MobileNet V3, small: 2.5 M parameters.", _mobilenet_v3, rows=_V3_SMALL, last_channel=1024
)
