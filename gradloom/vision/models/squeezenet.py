"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016)."""

from __future__ import annotations

from gradloom import nn
from gradloom.functions import cat
from gradloom.nn import init
from gradloom.tensor import Tensor
from gradloom.vision.models.drawing import zero_bias
from gradloom.vision.models.registry import builder

__all__ = ["Fire", "SqueezeNet", "squeezenet1_0", "squeezenet1_1"]

_FIRES = (
    (64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128), (256, 48, 192), (384, 48, 192), (384, 64, 256),
    (512, 64, 256),
)  # fmt: skip
# filters, kernel of the stem; and which fires a pooling stands before. 1.0 has a wider stem.
_VERSIONS = {"1_0": ((96, 7), (0, 3, 7)), "1_1": ((64, 3), (0, 2, 4))}


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int) -> None:
        super().__init__()
        self.inplanes = inplanes
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inplanes, H, W) to (N, expand1x1_planes + expand3x3_planes, H, W)."""
        x = self.squeeze_activation(self.squeeze(x))
        return cat([self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """A stem, eight fire modules, and a convolution whose mean over the pixels is the answer."""

    def __init__(self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        if version not in _VERSIONS:
            raise ValueError(f"SqueezeNet: version is '1_0' or '1_1', got {version!r}")
        (filters, kernel), pooled = _VERSIONS[version]
        layers: list[nn.Module] = [nn.Conv2d(3, filters, kernel_size=kernel, stride=2), nn.ReLU(inplace=True)]
        for number, (channels, squeeze, expand) in enumerate(_FIRES):
            if number in pooled:
                layers.append(nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True))
            layers.append(Fire(channels if number else filters, squeeze, expand, expand))
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(512, num_classes, kernel_size=1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )  # fmt: skip
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                if m is last:
                    init.normal_(m.weight, 0.0, 0.01)
                else:
                    init.kaiming_uniform_(m.weight)
                zero_bias(m)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        return self.classifier(self.features(x)).flatten(1)


squeezenet1_0 = builder("squeezenet1_0", "SqueezeNet 1.0: 1.25 M parameters.", SqueezeNet, version="1_0")
squeezenet1_1 = builder("squeezenet1_1", "SqueezeNet 1.1, 2.4 times less work: 1.24 M.", SqueezeNet, version="1_1")
