"""VGG with 11 to 19 layers, with and without batch norm (Simonyan and Zisserman 2015)."""

from __future__ import annotations

from typing import Any

from gradloom import nn
from gradloom.nn import init
from gradloom.tensor import Tensor
from gradloom.vision.models.drawing import zero_bias
from gradloom.vision.models.registry import builder

__all__ = ["VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]

_WIDTHS = (64, 128, 256, 512, 512)
_REPEATS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """Convolutions of 3x3 in five stages, each closed by a pooling, and three linear layers.

    Parameters
    ----------
    features : the convolutional part, (N, 3, H, W) to (N, 512, h, w).
    init_weights : draw weights in the manner of the paper's later reports (He et al. 2015) instead of the layers' own.
    """

    def __init__(
        self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            for m in self.modules():
                if isinstance(m, nn.Conv2d):
                    init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                    zero_bias(m)
                elif isinstance(m, nn.Linear):
                    init.normal_(m.weight, 0, 0.01)
                    zero_bias(m)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _vgg(depth: int, batch_norm: bool, **options: Any) -> VGG:
    layers: list[nn.Module] = []
    channels = 3
    for width, repeats in zip(_WIDTHS, _REPEATS[depth], strict=True):
        for _ in range(repeats):
            layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return VGG(nn.Sequential(*layers), **options)


vgg11 = builder("vgg11", "VGG-11: 132.9 M parameters.", _vgg, depth=11, batch_norm=False)
vgg11_bn = builder("vgg11_bn", "VGG-11 with batch norm.", _vgg, depth=11, batch_norm=True)
vgg13 = builder("vgg13", "VGG-13: 133.0 M parameters.", _vgg, depth=13, batch_norm=False)
vgg13_bn = builder("vgg13_bn", "VGG-13 with batch norm.", _vgg, depth=13, batch_norm=True)
vgg16 = builder("vgg16", "VGG-16: 138.4 M parameters.", _vgg, depth=16, batch_norm=False)
vgg16_bn = builder("vgg16_bn", "VGG-16 with batch norm.", _vgg, depth=16, batch_norm=True)
vgg19 = builder("vgg19", "VGG-19: 143.7 M parameters.", _vgg, depth=19, batch_norm=False)
vgg19_bn = builder("vgg19_bn", "VGG-19 with batch norm.", _vgg, depth=19, batch_norm=True)
