"""Inception-ResNet-v2 (Szegedy et al. 2017): branches whose sum is a small correction.
``keras.applications.inception_resnet_v2``.
"""

from __future__ import annotations

from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.applications.inception_v3 import chain, conv, joined, smoothed, stem
from gradloom.keras.layers import Layer
from gradloom.keras.models import Functional
from gradloom.tensor import Tensor

__all__ = ["InceptionResNetV2", "decode_predictions", "preprocess_input"]

preprocess_input = preprocessing("tf")

# name, how many, how strong, branches
BLOCKS = {
    "block35": (10, 0.17, (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))),
    "block17": (20, 0.1, (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))),
    "block8": (10, 0.2, (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))),
}


class CustomScaleLayer(Layer):
    """The first of two inputs and the second one times a number: (..., n), (..., n) to (..., n)."""

    def __init__(self, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The first input's."""
        return tuple(input_shape[0])

    def call(self, inputs: Any) -> Tensor:
        """See the class."""
        return inputs[0] + inputs[1] * self.scale


def _blocks(x: Any, kind: str) -> Any:
    count, scale, branches = BLOCKS[kind]
    for k in range(1, count + 1):
        name = f"{kind}_{k}"
        mixed = joined([chain(x, *steps) for steps in branches], f"{name}_mixed")
        up = layers.Conv2D(B.channels(x), 1, padding="same", name=f"{name}_conv")(mixed)
        last = kind == "block8" and k == count  # whole, and without relu
        x = CustomScaleLayer(1.0 if last else scale)([x, up])
        x = x if last else layers.Activation("relu", name=f"{name}_ac")(x)
    return x


def InceptionResNetV2(include_top: bool = True, weights: Any = None, input_tensor: Any = None,
                      input_shape: Any = None, pooling: Any = None, classes: int = 1000,
                      classifier_activation: Any = "softmax", name: str = "inception_resnet_v2"
                      ) -> Functional:  # fmt: skip
    """Forty blocks of branches with shortcuts, over 299x299 pixels from -1 to 1, 75x75 at least."""
    inputs = x = B.start(input_shape, input_tensor, 299, 75, include_top, weights, classes)
    x = stem(x)
    first = [conv(x, 96, 1), chain(x, (48, 1), (64, 5)), chain(x, (64, 1), (96, 3), (96, 3)), smoothed(x, 64)]
    x = _blocks(joined(first, "mixed_5b"), "block35")
    second = [chain(x, (384, 3, 2)), chain(x, (256, 1), (256, 3), (384, 3, 2)), layers.MaxPooling2D(3, strides=2)(x)]
    x = _blocks(joined(second, "mixed_6a"), "block17")
    third = [
        chain(x, (256, 1), (384, 3, 2)), chain(x, (256, 1), (288, 3, 2)), chain(x, (256, 1), (288, 3), (320, 3, 2)),
        layers.MaxPooling2D(3, strides=2)(x),
    ]  # fmt: skip
    x = _blocks(joined(third, "mixed_7a"), "block8")
    x = conv(x, 1536, 1, name="conv_7b")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling, False)
    return B.finish(inputs, input_tensor, x, name, weights)
