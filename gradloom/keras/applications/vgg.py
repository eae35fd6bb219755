"""VGG (Simonyan and Zisserman 2015)."""

from __future__ import annotations

from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.models import Functional

__all__ = ["VGG16", "VGG19"]


def _vgg(counts: tuple[int, ...], include_top: bool, weights: Any, input_tensor: Any, input_shape: Any,
         pooling: Any, classes: int, classifier_activation: Any, name: str) -> Functional:  # fmt: skip
    inputs = x = B.start(input_shape, input_tensor, 224, 32, include_top, weights, classes)
    for k, (count, filters) in enumerate(zip(counts, (64, 128, 256, 512, 512), strict=True), 1):
        for i in range(1, count + 1):
            x = layers.Conv2D(filters, 3, activation="relu", padding="same", name=f"block{k}_conv{i}")(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"block{k}_pool")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(4096, activation="relu", name="fc1")(x)
        x = layers.Dense(4096, activation="relu", name="fc2")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling, False)
    return B.finish(inputs, input_tensor, x, name, weights)


def VGG16(include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
          pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
          name: str = "vgg16") -> Functional:  # fmt: skip
    """Thirteen convolutions of 3x3 and three dense layers, over 224x224 pixels."""
    return _vgg((2, 2, 3, 3, 3), include_top, weights, input_tensor, input_shape, pooling, classes,
                classifier_activation, name)  # fmt: skip


def VGG19(include_top: bool = True, weights: Any = None, input_tensor: Any = None, input_shape: Any = None,
          pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
          name: str = "vgg19") -> Functional:  # fmt: skip
    """Sixteen convolutions of 3x3 and three dense layers, over 224x224 pixels."""
    return _vgg((2, 2, 4, 4, 4), include_top, weights, input_tensor, input_shape, pooling, classes,
                classifier_activation, name)  # fmt: skip
