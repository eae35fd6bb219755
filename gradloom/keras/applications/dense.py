"""Densely connected networks (Huang et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.models import Functional

__all__ = ["DenseNet121", "DenseNet169", "DenseNet201"]

EPSILON = 1.001e-5
GROWTH = 32
BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def _ready(x: Any, bn: str, relu: str) -> Any:
    return layers.Activation("relu", name=relu)(layers.BatchNormalization(axis=B.axis(), epsilon=EPSILON, name=bn)(x))


def _block(x: Any, name: str) -> Any:
    y = layers.Conv2D(4 * GROWTH, 1, use_bias=False, name=f"{name}_1_conv")(_ready(x, f"{name}_0_bn", f"{name}_0_relu"))
    y = _ready(y, f"{name}_1_bn", f"{name}_1_relu")
    y = layers.Conv2D(GROWTH, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(y)
    return layers.Concatenate(axis=B.axis(), name=f"{name}_concat")([x, y])


def _densenet(blocks: tuple[int, ...], include_top: bool, weights: Any, input_tensor: Any, input_shape: Any,
              pooling: Any, classes: int, classifier_activation: Any, name: str) -> Functional:  # fmt: skip
    inputs = x = B.start(input_shape, input_tensor, 224, 32, include_top, weights, classes)
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(layers.ZeroPadding2D(3)(x))
    x = layers.ZeroPadding2D(1)(_ready(x, "conv1_bn", "conv1_relu"))
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for k, count in enumerate(blocks, 2):
        for i in range(1, count + 1):
            x = _block(x, f"conv{k}_block{i}")
        if k <= len(blocks):
            x = _ready(x, f"pool{k}_bn", f"pool{k}_relu")
            x = layers.Conv2D(B.channels(x) // 2, 1, use_bias=False, name=f"pool{k}_conv")(x)
            x = layers.AveragePooling2D(2, strides=2, name=f"pool{k}_pool")(x)
    x = _ready(x, "bn", "relu")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling)
    return B.finish(inputs, input_tensor, x, name, weights)


def _made(depth: int) -> Callable[..., Functional]:
    def make(
        include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
        pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
        name: str = f"densenet{depth}",
    ) -> Functional:  # fmt: skip
        return _densenet(BLOCKS[depth], include_top, weights, input_tensor, input_shape, pooling, classes,
                         classifier_activation, name)  # fmt: skip

    make.__name__ = make.__qualname__ = f"DenseNet{depth}"
    make.__doc__ = f"A densely connected network of {depth} layers."
    return make


DenseNet121, DenseNet169, DenseNet201 = (_made(n) for n in BLOCKS)
