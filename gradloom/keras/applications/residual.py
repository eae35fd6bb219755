"""Residual networks, activations behind the convolutions (He et al. 2015) and before them (He et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.models import Functional

__all__ = ["ResNet50", "ResNet50V2", "ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2"]

EPSILON = 1.001e-5
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(axis=B.axis(), epsilon=EPSILON, name=name)(x)


def _behind(x: Any, filters: int, stride: int, project: bool, name: str) -> Any:
    """1x1 with the stride, 3x3, 1x1, each with its norm; then the shortcut is added."""
    short = x
    if project:
        short = _norm(layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(x), f"{name}_0_bn")
    x = _norm(layers.Conv2D(filters, 1, strides=stride, name=f"{name}_1_conv")(x), f"{name}_1_bn")
    x = layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = _norm(layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(x), f"{name}_2_bn")
    x = layers.Activation("relu", name=f"{name}_2_relu")(x)
    x = _norm(layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x), f"{name}_3_bn")
    return layers.Activation("relu", name=f"{name}_out")(layers.Add(name=f"{name}_add")([short, x]))


def _before(x: Any, filters: int, stride: int, project: bool, name: str) -> Any:
    """Norm and activation first; the stride is that of the 3x3."""
    ready = layers.Activation("relu", name=f"{name}_preact_relu")(_norm(x, f"{name}_preact_bn"))
    if project:
        short = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(ready)
    else:
        short = layers.MaxPooling2D(1, strides=stride)(x) if stride > 1 else x
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_1_conv")(ready)
    x = layers.Activation("relu", name=f"{name}_1_relu")(_norm(x, f"{name}_1_bn"))
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = layers.Conv2D(filters, 3, strides=stride, use_bias=False, name=f"{name}_2_conv")(x)
    x = layers.Activation("relu", name=f"{name}_2_relu")(_norm(x, f"{name}_2_bn"))
    return layers.Add(name=f"{name}_out")([short, layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)])


def _resnet(depth: int, second: bool, include_top: bool, weights: Any, input_tensor: Any, input_shape: Any,
            pooling: Any, classes: int, classifier_activation: Any, name: str) -> Functional:  # fmt: skip
    inputs = x = B.start(input_shape, input_tensor, 224, 32, include_top, weights, classes)
    x = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(layers.ZeroPadding2D(3, name="conv1_pad")(x))
    if not second:
        x = layers.Activation("relu", name="conv1_relu")(_norm(x, "conv1_bn"))
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(x))
    counts = DEPTHS[depth]
    for k, count in enumerate(counts):
        for i in range(1, count + 1):
            stage = f"conv{k + 2}_block{i}"
            if second:  # a stage ends with its stride; the last has none
                stride = 2 if i == count and k < len(counts) - 1 else 1
                x = _before(x, 64 << k, stride, i == 1, stage)
            else:
                x = _behind(x, 64 << k, 2 if i == 1 and k else 1, i == 1, stage)
    if second:
        x = layers.Activation("relu", name="post_relu")(_norm(x, "post_bn"))
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling)
    return B.finish(inputs, input_tensor, x, name, weights)


def _made(depth: int, second: bool) -> Callable[..., Functional]:
    called = f"ResNet{depth}{'V2' if second else ''}"

    def make(
        include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
        pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax", name: str = called.lower(),
    ) -> Functional:  # fmt: skip
        return _resnet(depth, second, include_top, weights, input_tensor, input_shape, pooling, classes,
                       classifier_activation, name)  # fmt: skip

    make.__name__ = make.__qualname__ = called
    place = "before" if second else "behind"
    make.__doc__ = f"A residual network of {depth} layers, activations {place} the convolutions."
    return make


ResNet50, ResNet101, ResNet152 = (_made(n, False) for n in DEPTHS)
ResNet50V2, ResNet101V2, ResNet152V2 = (_made(n, True) for n in DEPTHS)
