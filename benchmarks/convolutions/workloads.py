"""Twenty-five convolutions, as image networks have them, each in three directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIRECTIONS = ("forward", "input", "filter")  # the results; the gradient of the images; the gradient of the filters


@dataclass(frozen=True)
class Shape:
    """Square images and filters. batch, channels, size: of the images; filters of ``kernel``**2 to ``out`` channels."""

    where: str
    batch: int
    channels: int
    size: int
    out: int
    kernel: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    valid: bool = False

    @property
    def padding(self) -> int:
        """So that stride 1 keeps the size, unless ``valid``."""
        return 0 if self.valid else self.dilation * (self.kernel - 1) // 2

    @property
    def places(self) -> int:
        """Size of the results."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def flops(self) -> float:
        """Summed directly; the same in every direction."""
        return 2.0 * self.batch * self.places**2 * self.out * self.channels // self.groups * self.kernel**2

    @property
    def label(self) -> str:
        """Such as ``32x64x32² -> 64, 3x3``."""
        extra = [f"/{self.stride}"] * (self.stride > 1) + [f"groups {self.groups}"] * (self.groups > 1)
        extra += [f"dilation {self.dilation}"] * (self.dilation > 1)
        sizes = f"{self.batch}x{self.channels}x{self.size}² -> {self.out}, {self.kernel}x{self.kernel}"
        return " ".join([sizes, *extra])


SHAPES = (
    Shape("ResNet-18, CIFAR", 32, 3, 32, 64, 3),
    Shape("ResNet-18, CIFAR", 32, 64, 32, 64, 3),
    Shape("ResNet-18, CIFAR", 32, 64, 32, 128, 3, 2),
    Shape("ResNet-18, CIFAR", 32, 128, 16, 128, 3),
    Shape("ResNet-18, CIFAR", 32, 256, 8, 256, 3),
    Shape("ResNet-18, CIFAR", 32, 512, 4, 512, 3),
    Shape("ResNet-50", 8, 3, 224, 64, 7, 2),
    Shape("ResNet-50", 8, 64, 56, 64, 3),
    Shape("ResNet-50", 8, 64, 56, 256, 1),
    Shape("ResNet-50", 8, 256, 56, 64, 1),
    Shape("ResNet-50", 8, 128, 56, 128, 3, 2),
    Shape("ResNet-50", 8, 256, 14, 256, 3),
    Shape("ResNet-50", 8, 512, 7, 512, 3),
    Shape("ResNet-50", 8, 512, 28, 1024, 1, 2),
    Shape("ResNet-50", 8, 2048, 7, 512, 1),
    Shape("LeNet-like", 64, 1, 28, 32, 3, valid=True),
    Shape("LeNet-like", 64, 32, 26, 64, 3, valid=True),
    Shape("U-Net", 8, 32, 128, 32, 3),
    Shape("U-Net", 8, 512, 16, 256, 3),
    Shape("MobileNetV2", 8, 96, 56, 24, 1),
    Shape("MobileNetV2", 8, 144, 56, 144, 3, groups=144),
    Shape("MobileNetV2", 8, 144, 56, 144, 3, 2, groups=144),
    Shape("MobileNetV2", 8, 576, 14, 576, 3, groups=576),
    Shape("ResNeXt-50", 8, 256, 28, 256, 3, groups=32),
    Shape("DeepLab", 4, 256, 28, 256, 3, dilation=2),
)


@dataclass(frozen=True)
class Workload:
    """A shape in one direction."""

    number: int
    direction: str
    kind: str = "convolution"

    @property
    def name(self) -> str:
        """As in the results."""
        return f"{self.number}_{self.direction}"

    @property
    def shape(self) -> Shape:
        """What is convolved."""
        return SHAPES[self.number]


WORKLOADS = tuple(Workload(k, direction) for k in range(len(SHAPES)) for direction in DIRECTIONS)
BY_NAME = {w.name: w for w in WORKLOADS}


def operands(w: Workload) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, filters and results' gradient, float32, in PyTorch's order of axes."""
    s, draw = w.shape, np.random.default_rng(w.number)
    x = draw.standard_normal((s.batch, s.channels, s.size, s.size), dtype="f4")
    f = draw.standard_normal((s.out, s.channels // s.groups, s.kernel, s.kernel), dtype="f4")
    y = draw.standard_normal((s.batch, s.out, s.places, s.places), dtype="f4")
    return x, f, y
