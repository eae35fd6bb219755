"""Residual networks for images of 32 x 32 pixels.

The thin ones of He et al. 2016, section 4.2 (6n + 2 layers, 16 to 64 channels), and ResNet-18 with a 3x3 stem.
"""

from __future__ import annotations

from typing import Any

from gradloom import nn
from gradloom.nn import init
from gradloom.tensor import Tensor
from gradloom.vision.models.registry import builder
from gradloom.vision.models.resnet import BasicBlock, ResNet

__all__ = ["CifarResNet", "cifar_resnet18", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]


class _Subsample(nn.Module):
    """The paper's option A for a shortcut: every second pixel, the new channels zero. It has no parameters."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + new_channels, H / stride, W / stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        return nn.functional.pad(x, (0, 0, 0, 0, before, self.new_channels - before))


class CifarResNet(nn.Module):
    """A 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels, a mean and a linear layer."""

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"CifarResNet: depth is 6n + 2, such as 20, 32, 44, 56 or 110; got {depth}")
        self.conv1 = nn.Conv2d(in_channels, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(16, 16, (depth - 2) // 6, 1)
        self.layer2 = self._stage(16, 32, (depth - 2) // 6, 2)
        self.layer3 = self._stage(32, 64, (depth - 2) // 6, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(inplanes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        shortcut = _Subsample(planes - inplanes, stride) if stride != 1 else None
        first = BasicBlock(inplanes, planes, stride, shortcut)
        return nn.Sequential(first, *(BasicBlock(planes, planes) for _ in range(1, blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def _resnet18_3x3(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    model = ResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes, **options)
    model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=False)
    init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


resnet20 = builder("resnet20", "ResNet-20 for 32 x 32 images: 0.27 M parameters.", CifarResNet, depth=20)
resnet32 = builder("resnet32", "ResNet-32 for 32 x 32 images: 0.46 M parameters.", CifarResNet, depth=32)
resnet44 = builder("resnet44", "ResNet-44 for 32 x 32 images: 0.66 M parameters.", CifarResNet, depth=44)
resnet56 = builder("resnet56", "ResNet-56 for 32 x 32 images: 0.85 M parameters.", CifarResNet, depth=56)
resnet110 = builder("resnet110", "ResNet-110 for 32 x 32 images: 1.7 M parameters.", CifarResNet, depth=110)
cifar_resnet18 = builder(
    "cifar_resnet18", "ResNet-18 with a 3x3 stem and no pooling, for 32 x 32 images: 11.2 M parameters.", _resnet18_3x3
)
