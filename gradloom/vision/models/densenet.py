"""DenseNet 121 to 201 (Huang et al. 2017): each layer sees the maps of all before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gradloom import nn
from gradloom.autodiff.segments import Segment
from gradloom.functions import cat
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.tensor import Tensor
from gradloom.vision.models.drawing import zero_bias
from gradloom.vision.models.registry import builder

__all__ = ["DenseNet", "densenet121", "densenet161", "densenet169", "densenet201"]

# the published files were written when a layer's two parts were numbered apart: norm.1 is norm1
_OLD_KEY = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, growth_rate: int, bn_size: int, drop_rate: float, memory_efficient: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, bn_size * growth_rate, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, kernel_size=3, padding=1, bias=False)
        self.drop_rate = float(drop_rate)
        self.memory_efficient = memory_efficient

    def _narrowed(self, maps: list[Tensor]) -> Tensor:
        return self.conv1(self.relu1(self.norm1(cat(maps, 1))))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """The maps so far, to ``growth_rate`` new ones."""
        if self.memory_efficient:
            with Segment():
                x = self._narrowed(maps)
        else:
            x = self._narrowed(maps)
        x = self.conv2(self.relu2(self.norm2(x)))
        return F.dropout(x, self.drop_rate, self.training) if self.drop_rate > 0 else x


class _DenseBlock(nn.ModuleDict):
    def __init__(
        self, layers: int, channels: int, growth_rate: int, bn_size: int, drop_rate: float, memory_efficient: bool
    ) -> None:
        super().__init__()
        for n in range(layers):
            self[f"denselayer{n + 1}"] = _DenseLayer(
                channels + n * growth_rate, growth_rate, bn_size, drop_rate, memory_efficient
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + layers * growth_rate, H, W)."""
        maps = [x]
        for layer in self.values():
            maps.append(layer(maps))
        return cat(maps, 1)


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        {
            "norm": nn.BatchNorm2d(channels),
            "relu": nn.ReLU(inplace=True),
            "conv": nn.Conv2d(channels, channels // 2, kernel_size=1, bias=False),
            "pool": nn.AvgPool2d(kernel_size=2, stride=2),
        }
    )


class DenseNet(nn.Module):
    """Dense blocks with halving transitions between them.

    Parameters
    ----------
    growth_rate : maps that a layer adds.
    block_config : layers of each block.
    num_init_features : maps of the stem.
    bn_size : width of a layer's inner maps, in growth rates.
    memory_efficient : compute the joined maps again in the backward pass instead of keeping them.
    """

    def __init__(
        self, growth_rate: int = 32, block_config: Sequence[int] = (6, 12, 24, 16), num_init_features: int = 64,
        bn_size: int = 4, drop_rate: float = 0, num_classes: int = 1000, memory_efficient: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        parts: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(3, num_init_features, kernel_size=7, stride=2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(num_init_features),
            "relu0": nn.ReLU(inplace=True),
            "pool0": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        }
        channels = num_init_features
        for n, layers in enumerate(block_config, 1):
            parts[f"denseblock{n}"] = _DenseBlock(layers, channels, growth_rate, bn_size, drop_rate, memory_efficient)
            channels += layers * growth_rate
            if n < len(block_config):
                parts[f"transition{n}"] = _transition(channels)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(channels, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                init.kaiming_normal_(m.weight)
        zero_bias(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        x = F.relu(self.features(x))
        return self.classifier(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))

    @staticmethod
    def renamed(state: dict[str, Any]) -> dict[str, Any]:
        """A state dict with the names of the published files brought to those of the model."""
        return {_OLD_KEY.sub(r"\1\2.", name): value for name, value in state.items()}


densenet121 = builder("densenet121", "DenseNet-121: 8.0 M parameters.", DenseNet)
densenet161 = builder(
    "densenet161", "DenseNet-161: 28.7 M parameters.", DenseNet, growth_rate=48, block_config=(6, 12, 36, 24),
    num_init_features=96,
)  # fmt: skip
densenet169 = builder("densenet169", "DenseNet-169: 14.1 M.", DenseNet, block_config=(6, 12, 32, 32))
densenet201 = builder("densenet201", "DenseNet-201: 20.0 M.", DenseNet, block_config=(6, 12, 48, 32))
