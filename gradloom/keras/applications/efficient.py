"""EfficientNet (Tan and Le 2019): one network, scaled in width, depth and size together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.initializers import VarianceScaling
from gradloom.keras.models import Functional

__all__ = [f"EfficientNetB{k}" for k in range(8)]


class Stage(NamedTuple):
    """Blocks of one kind: size of the kernel, how many, filters before and behind, how wide inside, stride."""

    size: int
    repeats: int
    before: int
    behind: int
    wide: int
    stride: int


STAGES = (
    Stage(3, 1, 32, 16, 1, 1), Stage(3, 2, 16, 24, 6, 2), Stage(5, 2, 24, 40, 6, 2), Stage(3, 3, 40, 80, 6, 2),
    Stage(5, 3, 80, 112, 6, 1), Stage(5, 4, 112, 192, 6, 2), Stage(3, 1, 192, 320, 6, 1),
)  # fmt: skip
# width, depth, size of the images, dropout
SCALES = (
    (1.0, 1.0, 224, 0.2), (1.0, 1.1, 240, 0.2), (1.1, 1.2, 260, 0.3), (1.2, 1.4, 300, 0.3), (1.4, 1.8, 380, 0.4),
    (1.6, 2.2, 456, 0.4), (1.8, 2.6, 528, 0.5), (2.0, 3.1, 600, 0.5),
)  # fmt: skip
DROPPED = 0.2  # of the last block's branch; less before it (Huang et al. 2016)


def initial() -> VarianceScaling:
    """The first numbers of kernels."""
    return VarianceScaling(2.0, "fan_out", "truncated_normal")


def conv(x: Any, filters: int, size: int, name: str, **options: Any) -> Any:
    """A convolution that begins with numbers wide for what goes out."""
    return layers.Conv2D(filters, size, kernel_initializer=initial(), name=name, **options)(x)


def _norm(x: Any, name: str, act: str | None = None) -> Any:
    x = layers.BatchNormalization(axis=B.axis(), name=name)(x)
    return x if act is None else layers.Activation("swish", name=act)(x)


def gated(x: Any, inside: int, name: str) -> Any:
    """Each channel times a number between 0 and 1 that all channels' means decide (Hu et al. 2018)."""
    filters = B.channels(x)
    gate = layers.GlobalAveragePooling2D(name=f"{name}se_squeeze")(x)
    gate = layers.Reshape((filters, 1, 1) if B.axis() == 1 else (1, 1, filters), name=f"{name}se_reshape")(gate)
    gate = conv(gate, inside, 1, f"{name}se_reduce", padding="same", activation="swish")
    gate = conv(gate, filters, 1, f"{name}se_expand", padding="same", activation="sigmoid")
    return layers.Multiply(name=f"{name}se_excite")([x, gate])


def _block(x: Any, s: Stage, stride: int, dropped: float, name: str) -> Any:
    first, filters = x, s.before * s.wide
    if s.wide != 1:
        x = conv(x, filters, 1, f"{name}expand_conv", padding="same", use_bias=False)
        x = _norm(x, f"{name}expand_bn", f"{name}expand_activation")
    if stride == 2:
        x = layers.ZeroPadding2D(B.padding_for(x, s.size), name=f"{name}dwconv_pad")(x)
    x = layers.DepthwiseConv2D(s.size, strides=stride, padding="valid" if stride == 2 else "same", use_bias=False,
                               depthwise_initializer=initial(), name=f"{name}dwconv")(x)  # fmt: skip
    x = _norm(x, f"{name}bn", f"{name}activation")
    x = gated(x, max(1, int(s.before * 0.25)), name)
    x = _norm(conv(x, s.behind, 1, f"{name}project_conv", padding="same", use_bias=False), f"{name}project_bn")
    if stride == 1 and s.before == s.behind:
        if dropped:
            x = layers.Dropout(dropped, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
        x = layers.Add(name=f"{name}add")([x, first])
    return x


def _efficientnet(scale: tuple[float, float, int, float], include_top: bool, weights: Any, input_tensor: Any,
                  input_shape: Any, pooling: Any, classes: int, classifier_activation: Any, name: str
                  ) -> Functional:  # fmt: skip
    width, depth, size, dropout = scale

    def filters(n: int) -> int:
        found = max(8, int(n * width + 4) // 8 * 8)
        return int(found + 8 if found < 0.9 * n * width else found)

    inputs = x = B.start(input_shape, input_tensor, size, 32, include_top, weights, classes)
    x = layers.Normalization(axis=B.axis())(layers.Rescaling(1.0 / 255.0)(x))
    x = layers.ZeroPadding2D(B.padding_for(x, 3), name="stem_conv_pad")(x)
    x = conv(x, filters(32), 3, "stem_conv", strides=2, use_bias=False)
    x = _norm(x, "stem_bn", "stem_activation")
    total, done = sum(math.ceil(depth * s.repeats) for s in STAGES), 0
    for k, s in enumerate(STAGES, 1):
        before, behind = filters(s.before), filters(s.behind)
        for i in range(math.ceil(depth * s.repeats)):
            here = s._replace(before=before if i == 0 else behind, behind=behind)
            x = _block(x, here, s.stride if i == 0 else 1, DROPPED * done / total, f"block{k}{chr(97 + i)}_")
            done += 1
    x = conv(x, filters(1280), 1, "top_conv", padding="same", use_bias=False)
    x = _norm(x, "top_bn", "top_activation")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(dropout, name="top_dropout")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions",
                         kernel_initializer=VarianceScaling(1.0 / 3.0, "fan_out", "uniform"))(x)  # fmt: skip
    else:
        x = B.pooled(x, pooling)
    return B.finish(inputs, input_tensor, x, name, weights)


def _made(k: int) -> Callable[..., Functional]:
    def make(
        include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
        pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
        name: str = f"efficientnetb{k}",
    ) -> Functional:  # fmt: skip
        return _efficientnet(SCALES[k], include_top, weights, input_tensor, input_shape, pooling, classes,
                             classifier_activation, name)  # fmt: skip

    make.__name__ = make.__qualname__ = f"EfficientNetB{k}"
    make.__doc__ = f"EfficientNet B{k}, over {SCALES[k][2]}x{SCALES[k][2]} pixels from 0 to 255."
    return make


EfficientNetB0, EfficientNetB1, EfficientNetB2, EfficientNetB3 = (_made(k) for k in range(4))
EfficientNetB4, EfficientNetB5, EfficientNetB6, EfficientNetB7 = (_made(k) for k in range(4, 8))
