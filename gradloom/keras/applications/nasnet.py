"""NASNet-A (Zoph et al. 2018): cells that were searched for. ``keras.applications.nasnet``."""

from __future__ import annotations

from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.applications.building import decode_predictions, preprocessing
from gradloom.keras.models import Functional

__all__ = ["NASNetLarge", "NASNetMobile", "decode_predictions", "preprocess_input"]

preprocess_input = preprocessing("tf")


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(axis=B.axis(), momentum=0.9997, epsilon=1e-3, name=name)(x)


def _conv(x: Any, filters: int, name: str, **options: Any) -> Any:
    return layers.Conv2D(filters, options.pop("size", 1), use_bias=False, kernel_initializer="he_normal", name=name,
                         **options)(x)  # fmt: skip


def _separable(x: Any, filters: int, size: int, name: str, stride: int = 1) -> Any:
    """Two separable convolutions behind relu; the first has the stride."""
    x = layers.Activation("relu")(x)
    if stride == 2:
        x = layers.ZeroPadding2D(B.padding_for(x, size), name=f"separable_conv_1_pad_{name}")(x)
    x = layers.SeparableConv2D(filters, size, strides=stride, padding="same" if stride == 1 else "valid",
                               use_bias=False, name=f"separable_conv_1_{name}")(x)  # fmt: skip
    x = layers.Activation("relu")(_norm(x, f"separable_conv_1_bn_{name}"))
    x = layers.SeparableConv2D(filters, size, padding="same", use_bias=False, name=f"separable_conv_2_{name}")(x)
    return _norm(x, f"separable_conv_2_bn_{name}")


def _adjusted(p: Any, x: Any, filters: int, name: str) -> Any:
    """What came before the last cell, with the places and channels that this cell's other input has."""
    if p is None:
        return x
    places = 2 if B.axis() == 1 else -2
    if p.shape[places] != x.shape[places]:
        p = layers.Activation("relu", name=f"adjust_relu_1_{name}")(p)
        even = layers.AveragePooling2D(1, strides=2, name=f"adjust_avg_pool_1_{name}")(p)
        even = _conv(even, filters // 2, f"adjust_conv_1_{name}", padding="same")
        odd = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(p))
        odd = layers.AveragePooling2D(1, strides=2, name=f"adjust_avg_pool_2_{name}")(odd)
        odd = _conv(odd, filters // 2, f"adjust_conv_2_{name}", padding="same")
        return _norm(layers.Concatenate(axis=B.axis())([even, odd]), f"adjust_bn_{name}")
    if B.channels(p) != filters:
        p = _conv(layers.Activation("relu")(p), filters, f"adjust_conv_projection_{name}", padding="same")
        return _norm(p, f"adjust_bn_{name}")
    return p


def _mean(x: Any, name: str, stride: int = 1) -> Any:
    padding = "same" if stride == 1 else "valid"
    return layers.AveragePooling2D(3, strides=stride, padding=padding, name=name)(x)


def _normal(x: Any, p: Any, filters: int, name: str) -> tuple[Any, Any]:
    """A cell that keeps the number of places."""
    before, add = x, lambda a, b, k: layers.Add(name=f"normal_add_{k}_{name}")([a, b])
    p = _adjusted(p, x, filters, name)
    h = _conv(layers.Activation("relu")(x), filters, f"normal_conv_1_{name}", padding="same")
    h = _norm(h, f"normal_bn_1_{name}")
    x1 = add(_separable(h, filters, 5, f"normal_left1_{name}"), _separable(p, filters, 3, f"normal_right1_{name}"), 1)
    x2 = add(_separable(p, filters, 5, f"normal_left2_{name}"), _separable(p, filters, 3, f"normal_right2_{name}"), 2)
    x3 = add(_mean(h, f"normal_left3_{name}"), p, 3)
    x4 = add(_mean(p, f"normal_left4_{name}"), _mean(p, f"normal_right4_{name}"), 4)
    x5 = add(_separable(h, filters, 3, f"normal_left5_{name}"), h, 5)
    return layers.Concatenate(axis=B.axis(), name=f"normal_concat_{name}")([p, x1, x2, x3, x4, x5]), before


def _reduction(x: Any, p: Any, filters: int, name: str) -> tuple[Any, Any]:
    """A cell that halves the sides."""
    before = x
    p = _adjusted(p, x, filters, name)
    h = _conv(layers.Activation("relu")(x), filters, f"reduction_conv_1_{name}", padding="same")
    h = _norm(h, f"reduction_bn_1_{name}")
    wide = layers.ZeroPadding2D(B.padding_for(h, 3), name=f"reduction_pad_1_{name}")(h)
    x1 = layers.Add(name=f"reduction_add_1_{name}")(
        [
            _separable(h, filters, 5, f"reduction_left1_{name}", 2),
            _separable(p, filters, 7, f"reduction_right1_{name}", 2),
        ]
    )
    most = layers.MaxPooling2D(3, strides=2, name=f"reduction_left2_{name}")(wide)
    x2 = layers.Add(name=f"reduction_add_2_{name}")([most, _separable(p, filters, 7, f"reduction_right2_{name}", 2)])
    mean = _mean(wide, f"reduction_left3_{name}", 2)
    x3 = layers.Add(name=f"reduction_add3_{name}")([mean, _separable(p, filters, 5, f"reduction_right3_{name}", 2)])
    x4 = layers.Add()([x2, _mean(x1, f"reduction_left4_{name}")])
    x5 = _separable(x1, filters, 3, f"reduction_left4_{name}")
    most = layers.MaxPooling2D(3, strides=2, name=f"reduction_right5_{name}")(wide)
    x5 = layers.Add(name=f"reduction_add4_{name}")([x5, most])
    return layers.Concatenate(axis=B.axis(), name=f"reduction_concat_{name}")([x2, x3, x4, x5]), before


def _nasnet(last: int, blocks: int, first: int, skip: bool, size: int, input_shape: Any, include_top: bool,
            weights: Any, input_tensor: Any, pooling: Any, classes: int, classifier_activation: Any, name: str
            ) -> Functional:  # fmt: skip
    """``last`` channels at the end; ``blocks`` cells in a stage; ``skip``: what came before a reduction is kept."""
    inputs = x = B.start(input_shape, input_tensor, size, 32, include_top, weights, classes)
    filters = last // 24
    x = _norm(_conv(x, first, "stem_conv1", size=3, strides=2), "stem_bn1")
    x, p = _reduction(x, None, filters // 4, "stem_1")
    x, p = _reduction(x, p, filters // 2, "stem_2")
    for stage in range(3):
        wide, start = filters << stage, stage * blocks + (stage > 0)
        if stage:
            x, before = _reduction(x, p, wide, f"reduce_{stage * blocks}")
            p = p if skip else before
        for k in range(blocks):
            x, p = _normal(x, p, wide, str(start + k))
    x = layers.Activation("relu")(x)
    if include_top:
        x = layers.GlobalAveragePooling2D()(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling, False)
    return B.finish(inputs, input_tensor, x, name, weights)


def NASNetMobile(input_shape: Any = None, include_top: bool = True, weights: Any = None, input_tensor: Any = None,
                 pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
                 name: str = "nasnet_mobile") -> Functional:  # fmt: skip
    """NASNet-A (4 @ 1056), over 224x224 pixels from -1 to 1."""
    return _nasnet(1056, 4, 32, False, 224, input_shape, include_top, weights, input_tensor, pooling, classes,
                   classifier_activation, name)  # fmt: skip


def NASNetLarge(input_shape: Any = None, include_top: bool = True, weights: Any = None, input_tensor: Any = None,
                pooling: Any = None, classes: int = 1000, classifier_activation: Any = "softmax",
                name: str = "nasnet_large") -> Functional:  # fmt: skip
    """NASNet-A (6 @ 4032), over 331x331 pixels from -1 to 1."""
    return _nasnet(4032, 6, 96, True, 331, input_shape, include_top, weights, input_tensor, pooling, classes,
                   classifier_activation, name)  # fmt: skip
