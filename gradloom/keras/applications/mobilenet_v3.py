"""MobileNetV3 (Howard et al. 2019). ``keras.applications.mobilenet_v3`` itself is its two functions in Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.mobile import divisible
from gradloom.keras.models import Functional

__all__ = ["MobileNetV3Large", "MobileNetV3Small", "decode_predictions", "preprocess_input"]

preprocess_input = preprocessing(None)


class Row(NamedTuple):
    """A block: how wide inside, filters behind, large kernel or not, stride, gate or not, hard swish or relu."""

    wide: float
    filters: int
    large: bool
    stride: int
    gate: bool
    swish: bool


ROWS = {
    "Small": (
        Row(1, 16, False, 2, True, False), Row(72 / 16, 24, False, 2, False, False),
        Row(88 / 24, 24, False, 1, False, False), Row(4, 40, True, 2, True, True), Row(6, 40, True, 1, True, True),
        Row(6, 40, True, 1, True, True), Row(3, 48, True, 1, True, True), Row(3, 48, True, 1, True, True),
        Row(6, 96, True, 2, True, True), Row(6, 96, True, 1, True, True), Row(6, 96, True, 1, True, True),
    ),
    "Large": (
        Row(1, 16, False, 1, False, False), Row(4, 24, False, 2, False, False), Row(3, 24, False, 1, False, False),
        Row(3, 40, True, 2, True, False), Row(3, 40, True, 1, True, False), Row(3, 40, True, 1, True, False),
        Row(6, 80, False, 2, False, True), Row(2.5, 80, False, 1, False, True), Row(2.3, 80, False, 1, False, True),
        Row(2.3, 80, False, 1, False, True), Row(6, 112, False, 1, True, True), Row(6, 112, False, 1, True, True),
        Row(6, 160, True, 2, True, True), Row(6, 160, True, 1, True, True), Row(6, 160, True, 1, True, True),
    ),
}  # fmt: skip
LAST = {"Small": 1024, "Large": 1280}


def _act(x: Any, swish: bool) -> Any:
    return layers.Activation("hard_swish")(x) if swish else layers.ReLU()(x)


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(axis=B.axis(), epsilon=1e-3, momentum=0.999, name=name)(x)


def _gated(x: Any, filters: int, prefix: str) -> Any:
    """Each channel times a number between 0 and 1 that all channels' means decide."""
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{prefix}squeeze_excite_avg_pool")(x)
    gate = layers.Conv2D(divisible(filters * 0.25), 1, padding="same", name=f"{prefix}squeeze_excite_conv")(gate)
    gate = layers.ReLU(name=f"{prefix}squeeze_excite_relu")(gate)
    gate = layers.Conv2D(filters, 1, padding="same", name=f"{prefix}squeeze_excite_conv_1")(gate)
    gate = layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)
    return layers.Multiply(name=f"{prefix}squeeze_excite_mul")([x, gate])


def _block(x: Any, row: Row, k: int, alpha: float, minimalistic: bool) -> Any:
    first, before, prefix = x, B.channels(x), f"expanded_conv_{k}_" if k else "expanded_conv_"
    swish, size = row.swish and not minimalistic, 5 if row.large and not minimalistic else 3
    inside, behind = divisible(before * row.wide), divisible(row.filters * alpha)
    if k:
        x = layers.Conv2D(inside, 1, padding="same", use_bias=False, name=f"{prefix}expand")(x)
        x = _act(_norm(x, f"{prefix}expand_bn"), swish)
    if row.stride == 2:
        x = layers.ZeroPadding2D(B.padding_for(x, size), name=f"{prefix}depthwise_pad")(x)
    x = layers.DepthwiseConv2D(size, strides=row.stride, padding="same" if row.stride == 1 else "valid",
                               use_bias=False, name=f"{prefix}depthwise")(x)  # fmt: skip
    x = _act(_norm(x, f"{prefix}depthwise_bn"), swish)
    if row.gate and not minimalistic:
        x = _gated(x, inside, prefix)
    x = layers.Conv2D(behind, 1, padding="same", use_bias=False, name=f"{prefix}project")(x)
    x = _norm(x, f"{prefix}project_bn")
    return layers.Add(name=f"{prefix}add")([first, x]) if row.stride == 1 and before == behind else x


def _mobilenet(size: str, input_shape: Any, alpha: float, minimalistic: bool, include_top: bool, weights: Any,
               input_tensor: Any, classes: int, pooling: Any, dropout_rate: float, classifier_activation: Any,
               include_preprocessing: bool, name: str) -> Functional:  # fmt: skip
    if input_shape is None:  # of any size: convolutions to the end
        input_shape = (3, None, None) if B.axis() == 1 else (None, None, 3)
    inputs = x = B.start(input_shape, input_tensor, 224, 32, False, weights, classes)
    swish = not minimalistic
    if include_preprocessing:
        x = layers.Rescaling(1.0 / 127.5, offset=-1.0)(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    x = _act(_norm(x, "conv_bn"), swish)
    for k, row in enumerate(ROWS[size]):
        x = _block(x, row, k, alpha, minimalistic)
    x = layers.Conv2D(divisible(B.channels(x) * 6), 1, padding="same", use_bias=False, name="conv_1")(x)
    x = _act(_norm(x, "conv_1_bn"), swish)
    if include_top:
        last = divisible(LAST[size] * alpha) if alpha > 1.0 else LAST[size]
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = _act(layers.Conv2D(last, 1, padding="same", name="conv_2")(x), swish)
        x = layers.Dropout(dropout_rate)(x) if dropout_rate > 0 else x
        x = layers.Flatten()(layers.Conv2D(classes, 1, padding="same", name="logits")(x))
        x = layers.Activation(B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling)
    return B.finish(inputs, input_tensor, x, name, weights)


def _made(size: str) -> Callable[..., Functional]:
    def make(
        input_shape: Any = None, alpha: float = 1.0, minimalistic: bool = False, include_top: bool = True,
        weights: Any = None, input_tensor: Any = None, classes: int = 1000, pooling: Any = None,
        dropout_rate: float = 0.2, classifier_activation: Any = "softmax", include_preprocessing: bool = True,
        name: str = f"MobileNetV3{size}",
    ) -> Functional:  # fmt: skip
        return _mobilenet(size, input_shape, alpha, minimalistic, include_top, weights, input_tensor, classes, pooling,
                          dropout_rate, classifier_activation, include_preprocessing, name)  # fmt: skip

    make.__name__ = make.__qualname__ = f"MobileNetV3{size}"
    make.__doc__ = (
        f"MobileNetV3, {size.lower()}, over pixels from 0 to 255 of any size. alpha : how wide; minimalistic : without "
        "gates, hard swish and large kernels."
    )
    return make


MobileNetV3Small, MobileNetV3Large = (_made(size) for size in ROWS)
