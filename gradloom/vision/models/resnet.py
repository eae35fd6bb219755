"""Residual networks: ResNet (He et al. 2016), ResNeXt (Xie et al. 2017), Wide ResNet (Zagoruyko and Komodakis 2016).

The stride of a bottleneck stands at its 3x3 convolution ("version 1.5"), as in the weights that are to be had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradloom import nn
from gradloom.nn import init
from gradloom.tensor import Tensor
from gradloom.vision.models.registry import builder

__all__ = [
    "BasicBlock", "Bottleneck", "ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
]  # fmt: skip

Norm = Callable[[int], nn.Module]


def _conv3x3(inplanes: int, planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inplanes, planes, kernel_size=3, stride=stride, padding=dilation, groups=groups, bias=False, dilation=dilation
    )


def _conv1x1(inplanes: int, planes: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inplanes, planes, kernel_size=1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut. Raises ValueError for groups, another base width, or dilation."""

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, groups: int = 1,
        base_width: int = 64, dilation: int = 1, norm_layer: Norm = nn.BatchNorm2d,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups != 1 or base_width != 64 or dilation != 1:
            raise ValueError("BasicBlock has groups=1, base_width=64 and dilation=1 only; take Bottleneck")
        self.conv1 = _conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, inplanes, H, W) to (N, planes, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3x3 convolution on fewer channels between two of 1x1, beside a shortcut."""

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, groups: int = 1,
        base_width: int = 64, dilation: int = 1, norm_layer: Norm = nn.BatchNorm2d,
    ) -> None:  # fmt: skip
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = _conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.conv2 = _conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = _conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, inplanes, H, W) to (N, 4 * planes, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A stem that quarters the image, four stages of residual blocks, a mean over the pixels and a linear layer.

    Parameters
    ----------
    block : BasicBlock or Bottleneck.
    layers : number of blocks of each stage.
    zero_init_residual : start with blocks that hand their input on (Goyal et al. 2017).
    groups, width_per_group : of the 3x3 convolutions of a bottleneck.
    replace_stride_with_dilation : for stages 2 to 4, whether they keep the size and dilate instead.
    norm_layer : what makes a norm of so many channels; BatchNorm2d unless given.
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: Sequence[int], num_classes: int = 1000,
        zero_init_residual: bool = False, groups: int = 1, width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None, norm_layer: Norm | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        dilate = (False, False, False) if replace_stride_with_dilation is None else replace_stride_with_dilation
        if len(dilate) != 3:
            raise ValueError(f"replace_stride_with_dilation has three entries, for stages 2 to 4; got {dilate}")
        self._norm: Norm = nn.BatchNorm2d if norm_layer is None else norm_layer
        self.inplanes, self.dilation, self.groups, self.base_width = 64, 1, groups, width_per_group
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._stage(block, 64, layers[0])
        self.layer2 = self._stage(block, 128, layers[1], 2, dilate[0])
        self.layer3 = self._stage(block, 256, layers[2], 2, dilate[1])
        self.layer4 = self._stage(block, 512, layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(m, BasicBlock | Bottleneck):
                last = m.bn3 if isinstance(m, Bottleneck) else m.bn2
                if last.weight is not None:
                    init.zeros_(last.weight)

    def _stage(
        self, block: type[BasicBlock] | type[Bottleneck], planes: int, blocks: int, stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:  # fmt: skip
        before = self.dilation
        if dilate:
            self.dilation, stride = self.dilation * stride, 1
        width = planes * block.expansion
        shortcut = None
        if stride != 1 or self.inplanes != width:
            shortcut = nn.Sequential(_conv1x1(self.inplanes, width, stride), self._norm(width))
        made = [block(self.inplanes, planes, stride, shortcut, self.groups, self.base_width, before, self._norm)]
        self.inplanes = width
        for _ in range(1, blocks):
            made.append(
                block(width, planes, 1, None, self.groups, self.base_width, self.dilation, self._norm)
            )  # fmt: skip
        return nn.Sequential(*made)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


_BASIC = {"block": BasicBlock}
_DEEP = {"block": Bottleneck}

resnet18 = builder("resnet18", "ResNet-18: 11.7 M parameters.", ResNet, **_BASIC, layers=(2, 2, 2, 2))
resnet34 = builder("resnet34", "ResNet-34: 21.8 M parameters.", ResNet, **_BASIC, layers=(3, 4, 6, 3))
resnet50 = builder("resnet50", "ResNet-50: 25.6 M parameters.", ResNet, **_DEEP, layers=(3, 4, 6, 3))
resnet101 = builder("resnet101", "ResNet-101: 44.5 M parameters.", ResNet, **_DEEP, layers=(3, 4, 23, 3))
resnet152 = builder("resnet152", "ResNet-152: 60.2 M parameters.", ResNet, **_DEEP, layers=(3, 8, 36, 3))
resnext50_32x4d = builder(
    "resnext50_32x4d", "ResNeXt-50 with 32 groups of 4 channels.", ResNet, **_DEEP, layers=(3, 4, 6, 3), groups=32,
    width_per_group=4,
)  # fmt: skip
resnext101_32x8d = builder(
    "resnext101_32x8d", "ResNeXt-101 with 32 groups of 8 channels.", ResNet, **_DEEP, layers=(3, 4, 23, 3), groups=32,
    width_per_group=8,
)  # fmt: skip
resnext101_64x4d = builder(
    "resnext101_64x4d", "ResNeXt-101 with 64 groups of 4 channels.", ResNet, **_DEEP, layers=(3, 4, 23, 3), groups=64,
    width_per_group=4,
)  # fmt: skip
wide_resnet50_2 = builder(
    "wide_resnet50_2", "ResNet-50 with bottlenecks twice as wide.", ResNet, **_DEEP, layers=(3, 4, 6, 3),
    width_per_group=128,
)  # fmt: skip
wide_resnet101_2 = builder(
    "wide_resnet101_2", "ResNet-101 with bottlenecks twice as wide.", ResNet, **_DEEP, layers=(3, 4, 23, 3),
    width_per_group=128,
)  # fmt: skip
