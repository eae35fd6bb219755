"""EfficientNetV2 (Tan and Le 2021): the first stages without depthwise convolutions.
``keras.applications.efficientnet_v2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.efficient import DROPPED, conv, gated, initial
from gradloom.keras.initializers import VarianceScaling
from gradloom.keras.models import Functional

__all__ = [
    "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3", "EfficientNetV2L",
    "EfficientNetV2M", "EfficientNetV2S", "decode_predictions", "preprocess_input",
]  # fmt: skip

preprocess_input = preprocessing(None)


class Stage(NamedTuple):
    """Blocks of one kind: how many, filters before and behind, how wide inside, stride, fused or depthwise."""

    repeats: int
    before: int
    behind: int
    wide: int
    stride: int
    fused: bool


BASE = (
    Stage(1, 32, 16, 1, 1, True), Stage(2, 16, 32, 4, 2, True), Stage(2, 32, 48, 4, 2, True),
    Stage(3, 48, 96, 4, 2, False), Stage(5, 96, 112, 6, 1, False), Stage(8, 112, 192, 6, 2, False),
)  # fmt: skip
SMALL = (
    Stage(2, 24, 24, 1, 1, True), Stage(4, 24, 48, 4, 2, True), Stage(4, 48, 64, 4, 2, True),
    Stage(6, 64, 128, 4, 2, False), Stage(9, 128, 160, 6, 1, False), Stage(15, 160, 256, 6, 2, False),
)  # fmt: skip
MEDIUM = (
    Stage(3, 24, 24, 1, 1, True), Stage(5, 24, 48, 4, 2, True), Stage(5, 48, 80, 4, 2, True),
    Stage(7, 80, 160, 4, 2, False), Stage(14, 160, 176, 6, 1, False), Stage(18, 176, 304, 6, 2, False),
    Stage(5, 304, 512, 6, 1, False),
)  # fmt: skip
LARGE = (
    Stage(4, 32, 32, 1, 1, True), Stage(7, 32, 64, 4, 2, True), Stage(7, 64, 96, 4, 2, True),
    Stage(10, 96, 192, 4, 2, False), Stage(19, 192, 224, 6, 1, False), Stage(25, 224, 384, 6, 2, False),
    Stage(7, 384, 640, 6, 1, False),
)  # fmt: skip
# stages, width, depth, size of the images
SIZES = {
    "B0": (BASE, 1.0, 1.0, 224), "B1": (BASE, 1.0, 1.1, 240), "B2": (BASE, 1.1, 1.2, 260), "B3": (BASE, 1.2, 1.4, 300),
    "S": (SMALL, 1.0, 1.0, 384), "M": (MEDIUM, 1.0, 1.0, 480), "L": (LARGE, 1.0, 1.0, 480),
}  # fmt: skip


def _norm(x: Any, name: str, act: str | None = None) -> Any:
    x = layers.BatchNormalization(axis=B.axis(), momentum=0.9, name=name)(x)
    return x if act is None else layers.Activation("swish", name=act)(x)


def _block(x: Any, s: Stage, dropped: float, name: str) -> Any:
    first, inside = x, s.before * s.wide
    same: dict[str, Any] = {"padding": "same", "use_bias": False}
    if s.wide != 1:
        size, stride = (3, s.stride) if s.fused else (1, 1)
        x = conv(x, inside, size, f"{name}expand_conv", strides=stride, **same)
        x = _norm(x, f"{name}expand_bn", f"{name}expand_activation")
    if not s.fused:
        x = layers.DepthwiseConv2D(3, strides=s.stride, depthwise_initializer=initial(), name=f"{name}dwconv2",
                                   **same)(x)  # fmt: skip
        x = gated(_norm(x, f"{name}bn", f"{name}activation"), max(1, int(s.before * 0.25)), name)
    whole = s.fused and s.wide == 1  # one convolution does all
    x = conv(x, s.behind, 3 if whole else 1, f"{name}project_conv", strides=s.stride if whole else 1, **same)
    x = _norm(x, f"{name}project_bn", f"{name}project_activation" if whole else None)
    if s.stride == 1 and s.before == s.behind:
        if dropped:
            x = layers.Dropout(dropped, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
        x = layers.Add(name=f"{name}add")([x, first])
    return x


def _efficientnet(kind: str, include_top: bool, weights: Any, input_tensor: Any, input_shape: Any, pooling: Any,
                  classes: int, classifier_activation: Any, include_preprocessing: bool, name: str
                  ) -> Functional:  # fmt: skip
    stages, width, depth, size = SIZES[kind]

    def filters(n: int) -> int:
        return int(max(8, int(n * width + 4) // 8 * 8))

    inputs = x = B.start(input_shape, input_tensor, size, 32, include_top, weights, classes)
    if include_preprocessing and stages is BASE and B.channels(x) == 3:
        x = layers.Rescaling(1.0 / 255)(x)
        x = layers.Normalization(mean=B.MEANS, variance=[d**2 for d in B.DEVIATIONS], axis=B.axis())(x)
    elif include_preprocessing:
        x = layers.Rescaling(1.0 / 128.0, offset=-1)(x)
    x = conv(x, filters(stages[0].before), 3, "stem_conv", strides=2, padding="same", use_bias=False)
    x = _norm(x, "stem_bn", "stem_activation")
    total, done = sum(s.repeats for s in stages), 0
    for k, s in enumerate(stages, 1):
        before, behind = filters(s.before), filters(s.behind)
        for i in range(math.ceil(depth * s.repeats)):
            here = s._replace(before=before if i == 0 else behind, behind=behind, stride=s.stride if i == 0 else 1)
            x = _block(x, here, DROPPED * done / total, f"block{k}{chr(97 + i)}_")
            done += 1
    x = conv(x, filters(1280), 1, "top_conv", padding="same", use_bias=False)
    x = _norm(x, "top_bn", "top_activation")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(0.2, name="top_dropout")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions",
                         kernel_initializer=VarianceScaling(1.0 / 3.0, "fan_out", "uniform"))(x)  # fmt: skip
    else:
        x = B.pooled(x, pooling)
    return B.finish(inputs, input_tensor, x, name, weights)


def _made(kind: str) -> Callable[..., Functional]:
    def make(
        include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
        pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
        include_preprocessing: bool = True, name: str = f"efficientnetv2-{kind.lower()}",
    ) -> Functional:  # fmt: skip
        return _efficientnet(kind, include_top, weights, input_tensor, input_shape, pooling, classes,
                             classifier_activation, include_preprocessing, name)  # fmt: skip

    make.__name__ = make.__qualname__ = f"EfficientNetV2{kind}"
    make.__doc__ = f"EfficientNetV2 {kind}, over {SIZES[kind][3]}x{SIZES[kind][3]} pixels from 0 to 255."
    return make


EfficientNetV2B0, EfficientNetV2B1, EfficientNetV2B2, EfficientNetV2B3 = (_made(f"B{k}") for k in range(4))
EfficientNetV2S, EfficientNetV2M, EfficientNetV2L = (_made(k) for k in "SML")
