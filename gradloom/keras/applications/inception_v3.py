"""Inception-v3 (Szegedy et al. 2016): branches of several kernels, joined. ``keras.applications.inception_v3``."""

from __future__ import annotations

from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.models import Functional

__all__ = ["InceptionV3", "decode_predictions", "preprocess_input"]

preprocess_input = preprocessing("tf")


def conv(x: Any, filters: int, size: Any, strides: int = 1, padding: str = "same", name: str | None = None) -> Any:
    """A convolution, a norm without scale, and relu."""
    x = layers.Conv2D(filters, size, strides=strides, padding=padding, use_bias=False, name=name)(x)
    x = layers.BatchNormalization(axis=B.axis(), scale=False, name=name and f"{name}_bn")(x)
    return layers.Activation("relu", name=name and f"{name}_ac")(x)


def chain(x: Any, *steps: Any) -> Any:
    """Convolutions one after the other: (filters, size), or (filters, size, 2) for those that halve the sides."""
    for filters, size, *stride in steps:
        x = conv(x, filters, size, 2, "valid") if stride else conv(x, filters, size)
    return x


def stem(x: Any) -> Any:
    """From 299x299 pixels to 35x35 places."""
    x = conv(conv(x, 32, 3, 2, "valid"), 32, 3, padding="valid")
    x = layers.MaxPooling2D(3, strides=2)(conv(x, 64, 3))
    x = conv(conv(x, 80, 1, padding="valid"), 192, 3, padding="valid")
    return layers.MaxPooling2D(3, strides=2)(x)


def smoothed(x: Any, filters: int) -> Any:
    """A mean over neighbours, and a convolution of size 1."""
    return conv(layers.AveragePooling2D(3, strides=1, padding="same")(x), filters, 1)


def joined(branches: list[Any], name: str | None = None) -> Any:
    """The branches' channels side by side."""
    return layers.Concatenate(axis=B.axis(), name=name)(branches)


def _forked(x: Any, name: str | None = None) -> Any:
    return joined([conv(x, 384, (1, 3)), conv(x, 384, (3, 1))], name)


def InceptionV3(include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
                pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
                name: str = "inception_v3") -> Functional:  # fmt: skip
    """Eleven blocks of branches, over 299x299 pixels from -1 to 1, 75x75 at least."""
    inputs = x = B.start(input_shape, input_tensor, 299, 75, include_top, weights, classes)
    x = stem(x)
    for k, filters in enumerate((32, 64, 64)):
        x = joined(
            [conv(x, 64, 1), chain(x, (48, 1), (64, 5)), chain(x, (64, 1), (96, 3), (96, 3)), smoothed(x, filters)],
            f"mixed{k}",
        )
    x = joined(
        [chain(x, (384, 3, 2)), chain(x, (64, 1), (96, 3), (96, 3, 2)), layers.MaxPooling2D(3, strides=2)(x)], "mixed3"
    )
    for k, n in enumerate((128, 160, 160, 192), 4):
        single, wide = conv(x, 192, 1), chain(x, (n, 1), (n, (1, 7)), (192, (7, 1)))
        wider = chain(x, (n, 1), (n, (7, 1)), (n, (1, 7)), (n, (7, 1)), (192, (1, 7)))
        x = joined([single, wide, wider, smoothed(x, 192)], f"mixed{k}")
    short = chain(x, (192, 1), (320, 3, 2))
    wide = chain(x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))
    x = joined([short, wide, layers.MaxPooling2D(3, strides=2)(x)], "mixed8")
    for k in (0, 1):
        single = conv(x, 320, 1)
        fork = _forked(conv(x, 384, 1), f"mixed9_{k}")
        deeper = _forked(chain(x, (448, 1), (384, 3)))
        x = joined([single, fork, deeper, smoothed(x, 192)], f"mixed{9 + k}")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling, False)
    return B.finish(inputs, input_tensor, x, name, weights)
