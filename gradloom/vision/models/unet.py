"""U-Net (Ronneberger et al. 2015): one answer for each pixel. Padded, so that sizes stay; with batch norm."""

from __future__ import annotations

from gradloom import nn
from gradloom.errors import ShapeError
from gradloom.functions import cat
from gradloom.nn import functional as F
from gradloom.tensor import Tensor
from gradloom.vision.models.registry import builder

__all__ = ["UNet", "unet"]


def _double(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Down through poolings with doubling widths, and up again beside what was seen on the way.

    Parameters
    ----------
    in_channels, num_classes : channels of the image and of the answer.
    width : channels at full size. depth : how often the size is halved.
    bilinear : enlarge by interpolation and a 1x1 convolution instead of a transposed convolution.
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 2, width: int = 64, depth: int = 4, bilinear: bool = False
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"UNet: depth is 1 or more, got {depth}")
        widths = [width * 2**n for n in range(depth + 1)]
        self.depth, self.bilinear = depth, bilinear
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.up = nn.ModuleList(
            nn.Conv2d(w, w // 2, kernel_size=1) if bilinear else nn.ConvTranspose2d(w, w // 2, kernel_size=2, stride=2)
            for w in reversed(widths[1:])
        )
        self.merge = nn.ModuleList(_double(w, w // 2) for w in reversed(widths[1:]))
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes, H, W). Raises ShapeError unless 2**depth divides H and W."""
        if any(n % 2**self.depth for n in x.shape[2:]):
            raise ShapeError(
                f"UNet: images of {tuple(x.shape[2:])} pixels cannot be halved {self.depth} times",
                code="shape.unet",
                hint=f"pad them to multiples of {2**self.depth}",
            )
        seen = []
        for n, block in enumerate(self.down):
            x = block(x if n == 0 else F.max_pool2d(x, 2))
            seen.append(x)
        seen.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            if self.bilinear:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = merge(cat([seen.pop(), up(x)], 1))
        return self.head(x)


unet = builder("unet", "U-Net with four halvings: 31.0 M parameters.", UNet)
