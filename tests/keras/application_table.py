"""Models of `keras.applications` beside Keras: what both are made with, and numbers for their weights."""

from __future__ import annotations

import hashlib
import re

import numpy as np

NAMES = [
    "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge", "DenseNet121", "DenseNet169",
    "DenseNet201", "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4",
    "EfficientNetB5", "EfficientNetB6", "EfficientNetB7", "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2",
    "EfficientNetV2B3", "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L", "InceptionResNetV2", "InceptionV3",
    "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile", "ResNet50",
    "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2", "VGG16", "VGG19", "Xception",
]  # fmt: skip

# the smallest of each family, on images as small as they go: outputs are compared
RUN = {
    "ConvNeXtTiny": 32, "DenseNet121": 32, "EfficientNetB0": 32, "EfficientNetV2B0": 32, "EfficientNetV2S": 32,
    "InceptionResNetV2": 75, "InceptionV3": 75, "MobileNet": 32, "MobileNetV2": 32, "MobileNetV3Large": 32,
    "MobileNetV3Small": 32, "NASNetMobile": 32, "ResNet50": 32, "ResNet50V2": 32, "VGG16": 32, "Xception": 71,
}  # fmt: skip
QUICK = ("MobileNetV3Small",)  # those that every run of the tests computes; the others are slow to compile

_GIVEN = re.compile(
    r"(conv2d|batch_normalization|layer_normalization|dense|normalization|separable_conv2d|seed_generator)(_\d+)?$"
)


def facts(model):
    """How many numbers, and a digest of the shapes of weights in order, with the names that their layers were given."""
    rows = []
    for layer in model.layers:
        name = "" if _GIVEN.match(layer.name) else layer.name
        shapes = [tuple(w.shape) for w in layer.weights]
        if shapes:
            rows.append(f"{name}:{shapes}")
    return [model.count_params(), hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16], len(model.layers)]


def weights(model):
    """Numbers for all weights: kernels such that values neither grow nor vanish, all else near 1."""
    found = []
    for k, w in enumerate(model.get_weights()):
        rng = np.random.default_rng(k)
        if w.ndim > 1:
            found.append((rng.normal(size=w.shape) * (2.0 / max(np.prod(w.shape[:-1]), 1)) ** 0.5).astype(np.float32))
        else:
            found.append(rng.uniform(0.8, 1.2, w.shape).astype(np.float32))
    return found


def made(applications, name):
    """A model of seven classes for small images, without the activation at the end."""
    n = RUN[name]
    return getattr(applications, name)(weights=None, classes=7, input_shape=(n, n, 3), classifier_activation=None)


def images(name):
    """One picture for it."""
    return np.random.default_rng(3).uniform(0, 1, (1, RUN[name], RUN[name], 3)).astype(np.float32)
