"""ConvNeXt (Liu et al. 2022): a convolutional network in the proportions of a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gradloom import nn
from gradloom.functions import full
from gradloom.nn import init
from gradloom.nn.module import Parameter
from gradloom.tensor import Tensor
from gradloom.vision.models.drawing import zero_bias
from gradloom.vision.models.registry import builder
from gradloom.vision.ops.drop import StochasticDepth
from gradloom.vision.ops.layers import Conv2dNormActivation, Layer, Permute

__all__ = ["CNBlock", "CNBlockConfig", "ConvNeXt", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny"]


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), kept."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CNBlock(nn.Module):
    """A depthwise 7x7 convolution and a two-layer perceptron at each pixel, scaled, beside a shortcut."""

    def __init__(
        self, dim: int, layer_scale: float, stochastic_depth_prob: float, norm_layer: Layer | None = None
    ) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6) if norm_layer is None else norm_layer
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim, bias=True),
            Permute([0, 2, 3, 1]),
            norm(dim),
            nn.Linear(dim, 4 * dim, bias=True),
            nn.GELU(),
            nn.Linear(4 * dim, dim, bias=True),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = Parameter(full((dim, 1, 1), layer_scale))
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, input: Tensor) -> Tensor:
        """(N, dim, H, W), kept."""
        return self.stochastic_depth(self.layer_scale * self.block(input)) + input


@dataclass
class CNBlockConfig:
    """A stage: its width, the width of the stage behind it (None for the last), and its blocks."""

    input_channels: int
    out_channels: int | None
    num_layers: int


class ConvNeXt(nn.Module):
    """A 4x4 patch convolution, stages with 2x2 convolutions between them, a mean, a norm and a linear layer.

    Parameters
    ----------
    stochastic_depth_prob : of the last block; it grows evenly from 0 at the first.
    layer_scale : at which the branches' scales start.
    """

    def __init__(
        self, block_setting: Sequence[CNBlockConfig], stochastic_depth_prob: float = 0.0, layer_scale: float = 1e-6,
        num_classes: int = 1000, block: Layer = CNBlock, norm_layer: Layer | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not block_setting:
            raise ValueError("ConvNeXt: block_setting has no entry")
        norm = partial(LayerNorm2d, eps=1e-6) if norm_layer is None else norm_layer
        width = block_setting[0].input_channels
        features: list[nn.Module] = [
            Conv2dNormActivation(
                3, width, kernel_size=4, stride=4, padding=0, norm_layer=norm, activation_layer=None, bias=True
            )
        ]
        total, done = sum(cnf.num_layers for cnf in block_setting), 0
        for cnf in block_setting:
            stage = []
            for _ in range(cnf.num_layers):
                stage.append(block(cnf.input_channels, layer_scale, stochastic_depth_prob * done / (total - 1.0)))
                done += 1
            features.append(nn.Sequential(*stage))
            width = cnf.input_channels
            if cnf.out_channels is not None:
                between = nn.Conv2d(cnf.input_channels, cnf.out_channels, kernel_size=2, stride=2)
                features.append(nn.Sequential(norm(cnf.input_channels), between))
                width = cnf.out_channels
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(norm(width), nn.Flatten(1), nn.Linear(width, num_classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d | nn.Linear):
                init.trunc_normal_(m.weight, std=0.02)
                zero_bias(m)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)))


def _convnext(widths: Sequence[int], depths: Sequence[int], **options: Any) -> ConvNeXt:
    settings = [CNBlockConfig(w, n, d) for w, n, d in zip(widths, [*widths[1:], None], depths, strict=True)]
    return ConvNeXt(settings, **options)


convnext_tiny = builder(
    "convnext_tiny", "ConvNeXt-T: 28.6 M parameters.", _convnext, widths=(96, 192, 384, 768), depths=(3, 3, 9, 3),
    stochastic_depth_prob=0.1,
)  # fmt: skip
convnext_small = builder(
    "convnext_small", "ConvNeXt-S: 50.2 M parameters.", _convnext, widths=(96, 192, 384, 768), depths=(3, 3, 27, 3),
    stochastic_depth_prob=0.4,
)  # fmt: skip
convnext_base = builder(
    "convnext_base", "ConvNeXt-B: 88.6 M parameters.", _convnext, widths=(128, 256, 512, 1024), depths=(3, 3, 27, 3),
    stochastic_depth_prob=0.5,
)  # fmt: skip
convnext_large = builder(
    "convnext_large", "ConvNeXt-L: 197.8 M parameters.", _convnext, widths=(192, 384, 768, 1536), depths=(3, 3, 27, 3),
    stochastic_depth_prob=0.5,
)  # fmt: skip
