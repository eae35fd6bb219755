"""Xception (Chollet 2017): separable convolutions with shortcuts. ``keras.applications.xception``."""

from __future__ import annotations

from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.models import Functional

__all__ = ["Xception", "decode_predictions", "preprocess_input"]

preprocess_input = preprocessing("tf")


def _separable(x: Any, filters: int, name: str) -> Any:
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(axis=B.axis(), name=f"{name}_bn")(x)


def _relu(x: Any, name: str) -> Any:
    return layers.Activation("relu", name=f"{name}_act")(x)


def _shortcut(x: Any, filters: int) -> Any:
    x = layers.Conv2D(filters, 1, strides=2, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(axis=B.axis())(x)


def _smaller(x: Any, before: int, filters: int, name: str, first: bool = False) -> Any:
    """Two separable convolutions and a maximum over places that lie two apart; the first block begins without relu."""
    short = _shortcut(x, filters)
    x = x if first else _relu(x, f"{name}_sepconv1")
    x = _relu(_separable(x, before, f"{name}_sepconv1"), f"{name}_sepconv2")
    x = _separable(x, filters, f"{name}_sepconv2")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    return layers.Add()([x, short])


def Xception(include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
             pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
             name: str = "xception") -> Functional:  # fmt: skip
    """Fourteen blocks of separable convolutions, over 299x299 pixels from -1 to 1, 71x71 at least."""
    inputs = x = B.start(input_shape, input_tensor, 299, 71, include_top, weights, classes)
    for k, (filters, stride) in enumerate(((32, 2), (64, 1)), 1):
        here = f"block1_conv{k}"
        x = B.conv_norm(x, filters, 3, here, bn=f"{here}_bn", act="relu", act_name=f"{here}_act", strides=stride)
    for k, filters in enumerate((128, 256, 728), 2):
        x = _smaller(x, filters, filters, f"block{k}", k == 2)
    for k in range(5, 13):
        first = x
        for i in (1, 2, 3):
            here = f"block{k}_sepconv{i}"
            x = _separable(_relu(x, here), 728, here)
        x = layers.Add()([x, first])
    x = _smaller(x, 728, 1024, "block13")
    for i, filters in enumerate((1536, 2048), 1):
        x = _relu(_separable(x, filters, f"block14_sepconv{i}"), f"block14_sepconv{i}")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling, False)
    return B.finish(inputs, input_tensor, x, name, weights)
