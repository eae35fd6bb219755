"""The networks, described once: steps that every framework carries out in its own way.

So the work is the same for all, weights are the same arrays, and losses can be compared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One operation of a network.

    Attributes
    ----------
    op : conv, deconv (transposed, no padding), linear, norm (batch norm), relu, relu6, maxpool, mean (over the image),
        flatten, add or concat (of channels).
    inputs, output : numbers of values; 0 is the image.
    before, after : shapes without the batch, channels first, of the first input and of the output.
    kernel, stride, padding, groups, bias : where they mean something.
    """

    op: str
    inputs: tuple[int, ...]
    output: int
    before: Shape
    after: Shape
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = False

    @property
    def flops(self) -> float:
        """Multiplications and additions for one image, summed directly."""
        if self.op == "linear":
            return 2.0 * self.before[0] * self.after[0]
        if self.op not in ("conv", "deconv"):
            return 0.0
        pixels = np.prod((self.after if self.op == "conv" else self.before)[1:], dtype=float)
        return 2.0 * float(pixels) * self.before[0] * self.after[0] // self.groups * self.kernel**2


class Network:
    """Steps in order; each method adds one and gives back the number of its value.

    Attributes
    ----------
    steps : all of them. cuts : how many steps come before each place where only one value is alive.
    """

    def __init__(self, shape: Shape) -> None:
        self.shapes: list[Shape] = [shape]
        self.steps: list[Step] = []
        self.cuts: list[int] = []

    def _add(self, op: str, inputs: tuple[int, ...], after: Shape, **given: int) -> int:
        self.steps.append(Step(op, inputs, len(self.shapes), self.shapes[inputs[0]], after, **given))
        self.shapes.append(after)
        return len(self.shapes) - 1

    def cut(self) -> None:
        """Say that from here on only the last value is needed."""
        self.cuts.append(len(self.steps))

    def conv(self, x: int, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1,
             bias: bool = False) -> int:  # fmt: skip
        size = tuple((n + 2 * padding - kernel) // stride + 1 for n in self.shapes[x][1:])
        return self._add("conv", (x,), (channels, *size), kernel=kernel, stride=stride, padding=padding,
                         groups=groups, bias=bias)  # fmt: skip

    def deconv(self, x: int, channels: int, kernel: int) -> int:
        size = tuple(n * kernel for n in self.shapes[x][1:])
        return self._add("deconv", (x,), (channels, *size), kernel=kernel, stride=kernel, bias=True)

    def linear(self, x: int, features: int) -> int:
        return self._add("linear", (x,), (features,), bias=True)

    def maxpool(self, x: int, kernel: int, stride: int, padding: int = 0) -> int:
        c, *size = self.shapes[x]
        size = [(n + 2 * padding - kernel) // stride + 1 for n in size]
        return self._add("maxpool", (x,), (c, *size), kernel=kernel, stride=stride, padding=padding)

    def norm(self, x: int) -> int:
        return self._add("norm", (x,), self.shapes[x])

    def relu(self, x: int, name: str = "relu") -> int:
        return self._add(name, (x,), self.shapes[x])

    def mean(self, x: int) -> int:
        return self._add("mean", (x,), self.shapes[x][:1])

    def flatten(self, x: int) -> int:
        return self._add("flatten", (x,), (int(np.prod(self.shapes[x])),))

    def add(self, x: int, y: int) -> int:
        return self._add("add", (x, y), self.shapes[x])

    def concat(self, x: int, y: int) -> int:
        return self._add("concat", (x, y), (self.shapes[x][0] + self.shapes[y][0], *self.shapes[x][1:]))

    def conv_norm(self, x: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, act: str = "") -> int:
        """A convolution that keeps sizes but for its stride, batch norm, and an activation if one is named."""
        x = self.norm(self.conv(x, channels, kernel, stride, kernel // 2, groups))
        return self.relu(x, act) if act else x

    def flops(self, train: bool) -> float:
        """For one image; when training also weights' gradients, and inputs' gradients for all layers but the first."""
        counts = [step.flops for step in self.steps if step.flops]
        return 3 * sum(counts) - counts[0] if train else sum(counts)

    def weights(self) -> list[dict[str, np.ndarray]]:
        """Initial values of every step, float32: weight (out, in, k, k), of deconv (in, out, k, k), of linear
        (out, in); bias; of norm also mean and var. A norm before an addition starts small, so that sums stay tame.
        """
        draw = np.random.default_rng(1)
        summed = {i for step in self.steps if step.op == "add" for i in step.inputs}
        found = []
        for s in self.steps:
            values: dict[str, np.ndarray] = {}
            if s.op in ("conv", "linear", "deconv"):
                a, b = s.before[0] // s.groups, s.after[0]
                shape = (b, a) if s.op == "linear" else (b, a, s.kernel, s.kernel)
                if s.op == "deconv":
                    shape = (a, b, s.kernel, s.kernel)
                spread = (2.0 / (a * s.kernel**2)) ** 0.5 if s.op == "conv" else a**-0.5
                values["weight"] = (draw.standard_normal(shape, dtype="f4") * np.float32(spread)).astype("f4")
                if s.bias:
                    values["bias"] = (draw.standard_normal(b, dtype="f4") * np.float32(0.05)).astype("f4")
            elif s.op == "norm":
                c = s.before[0]
                values["weight"] = np.full(c, 0.25 if s.output in summed else 1.0, "f4")
                values["bias"] = (draw.standard_normal(c, dtype="f4") * np.float32(0.05)).astype("f4")
                values["mean"], values["var"] = np.zeros(c, "f4"), np.ones(c, "f4")
            found.append(values)
        return found


def lenet() -> Network:
    """Two 3x3 convolutions with 32 and 64 channels, pooling, two linear layers; 1 x 28 x 28."""
    n = Network((1, 28, 28))
    x = n.relu(n.conv(0, 32, 3, bias=True))
    x = n.relu(n.conv(x, 64, 3, bias=True))
    x = n.flatten(n.maxpool(x, 2, 2))
    n.linear(n.relu(n.linear(x, 128)), 10)
    return n


def resnet(size: int, blocks: tuple[int, ...], bottleneck: bool, small: bool, classes: int) -> Network:
    """He et al. 2016, with the stride in the 3x3 convolution; ``small``: a 3x3 stem without pooling."""
    n = Network((3, size, size))
    x = n.conv_norm(0, 64, 3, act="relu") if small else n.conv_norm(0, 64, 7, 2, act="relu")
    x = x if small else n.maxpool(x, 3, 2, 1)
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        out = width * 4 if bottleneck else width
        for k in range(count):
            n.cut()
            stride = 2 if stage and k == 0 else 1
            if bottleneck:
                y = n.conv_norm(x, width, 1, act="relu")
                y = n.conv_norm(y, width, 3, stride, act="relu")
                y = n.conv_norm(y, out, 1)
            else:
                y = n.conv_norm(n.conv_norm(x, width, 3, stride, act="relu"), width, 3)
            if n.shapes[x] != n.shapes[y]:
                x = n.conv_norm(x, out, 1, stride)
            x = n.relu(n.add(y, x))
    n.cut()
    n.linear(n.mean(x), classes)
    return n


def mobilenet_v2(size: int, classes: int) -> Network:
    """Sandler et al. 2018, without dropout; for 32 x 32 the first three strides are 1, as is usual for CIFAR."""
    n = Network((3, size, size))
    small = size <= 32
    x = n.conv_norm(0, 32, 3, 1 if small else 2, act="relu6")
    table = ((1, 16, 1, 1), (6, 24, 2, 1 if small else 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
             (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
    for expansion, channels, count, first in table:
        for k in range(count):
            n.cut()
            before, stride = n.shapes[x][0], first if k == 0 else 1
            y = x if expansion == 1 else n.conv_norm(x, before * expansion, 1, act="relu6")
            y = n.conv_norm(y, before * expansion, 3, stride, before * expansion, "relu6")
            y = n.conv_norm(y, channels, 1)
            x = n.add(y, x) if before == channels and stride == 1 else y
    n.cut()
    n.linear(n.mean(n.conv_norm(x, 1280, 1, act="relu6")), classes)
    return n


def unet(size: int, width: int = 32, depth: int = 4, classes: int = 2) -> Network:
    """Ronneberger et al. 2015, padded and with batch norm: one answer for each pixel."""
    n = Network((3, size, size))

    def double(x: int, channels: int) -> int:
        return n.conv_norm(n.conv_norm(x, channels, 3, act="relu"), channels, 3, act="relu")

    x, seen = 0, []
    for k in range(depth):
        x = double(x, width * 2**k)
        seen.append(x)
        x = n.maxpool(x, 2, 2)
    x = double(x, width * 2**depth)
    for k in reversed(range(depth)):
        x = double(n.concat(seen.pop(), n.deconv(x, width * 2**k, 2)), width * 2**k)
    n.conv(x, classes, 1, bias=True)
    return n


NETWORKS: dict[str, Callable[[], Network]] = {
    "lenet": lenet,
    "resnet18": functools.partial(resnet, 32, (2, 2, 2, 2), False, True, 10),
    "mobilenet32": functools.partial(mobilenet_v2, 32, 10),
    "mobilenet224": functools.partial(mobilenet_v2, 224, 1000),
    "resnet50": functools.partial(resnet, 224, (3, 4, 6, 3), True, False, 1000),
    "unet": functools.partial(unet, 128),
}
