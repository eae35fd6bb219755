"""MobileNet (Howard et al. 2017) and MobileNetV2 (Sandler et al. 2018)."""

from __future__ import annotations

from typing import Any

from gradloom.keras import layers
from gradloom.keras.applications import building as B
from gradloom.keras.models import Functional

__all__ = ["MobileNet", "MobileNetV2"]


def divisible(value: float, by: int = 8) -> int:
    """The nearest multiple, at most a tenth below."""
    found = max(by, int(value + by / 2) // by * by)
    return found + by if found < 0.9 * value else found


def _norm(x: Any, name: str, relu: str | None, second: bool) -> Any:
    moment = 0.999 if second else 0.99
    x = layers.BatchNormalization(axis=B.axis(), epsilon=1e-3, momentum=moment, name=name)(x)
    return x if relu is None else layers.ReLU(6.0, name=relu)(x)


def MobileNet(input_shape: Any = None, alpha: float = 1.0, depth_multiplier: int = 1, dropout: float = 1e-3,
              include_top: bool = True, weights: Any = None, input_tensor: Any = None, pooling: Any = None,
              classes: int = 1000, classifier_activation: Any = "softmax", name: str | None = None
              ) -> Functional:  # fmt: skip
    """Depthwise convolutions and 1x1 ones in turn. alpha : how wide; depth_multiplier : filters for each channel."""
    inputs = x = B.start(input_shape, input_tensor, 224, 32, include_top, weights, classes)
    x = layers.Conv2D(int(32 * alpha), 3, padding="same", use_bias=False, strides=2, name="conv1")(x)
    x = _norm(x, "conv1_bn", "conv1_relu", False)
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for k, width in enumerate(widths, 1):
        stride = 2 if k in (2, 4, 6, 12) else 1
        if stride == 2:
            x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{k}")(x)
        x = layers.DepthwiseConv2D(3, padding="valid" if stride == 2 else "same", depth_multiplier=depth_multiplier,
                                   strides=stride, use_bias=False, name=f"conv_dw_{k}")(x)  # fmt: skip
        x = _norm(x, f"conv_dw_{k}_bn", f"conv_dw_{k}_relu", False)
        x = layers.Conv2D(int(width * alpha), 1, padding="same", use_bias=False, name=f"conv_pw_{k}")(x)
        x = _norm(x, f"conv_pw_{k}_bn", f"conv_pw_{k}_relu", False)
    if include_top:
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Conv2D(classes, 1, padding="same", name="conv_preds")(x)
        x = layers.Reshape((classes,), name="reshape_2")(x)
        x = layers.Activation(B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling, False)
    size = inputs.shape[2]
    return B.finish(inputs, input_tensor, x, name or f"mobilenet_{alpha:0.2f}_{size}", weights)


def MobileNetV2(input_shape: Any = None, alpha: float = 1.0, include_top: bool = True, weights: Any = None,
                input_tensor: Any = None, pooling: Any = None, classes: int = 1000,
                classifier_activation: Any = "softmax", name: str | None = None) -> Functional:  # fmt: skip
    """Blocks that are wide inside and narrow between. alpha : how wide."""
    inputs = x = B.start(input_shape, input_tensor, 224, 32, include_top, weights, classes)
    x = layers.Conv2D(divisible(32 * alpha), 3, strides=2, padding="same", use_bias=False, name="Conv1")(x)
    x = _norm(x, "bn_Conv1", "Conv1_relu", True)
    widths = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
    for k, width in enumerate(widths):
        stride, before, first = 2 if k in (1, 3, 6, 13) else 1, B.channels(x), x
        prefix = f"block_{k}_" if k else "expanded_conv_"
        if k:
            x = layers.Conv2D(6 * before, 1, padding="same", use_bias=False, name=f"{prefix}expand")(x)
            x = _norm(x, f"{prefix}expand_BN", f"{prefix}expand_relu", True)
        if stride == 2:
            x = layers.ZeroPadding2D(B.padding_for(x, 3), name=f"{prefix}pad")(x)
        x = layers.DepthwiseConv2D(3, strides=stride, use_bias=False, padding="valid" if stride == 2 else "same",
                                   name=f"{prefix}depthwise")(x)  # fmt: skip
        x = _norm(x, f"{prefix}depthwise_BN", f"{prefix}depthwise_relu", True)
        after = divisible(int(width * alpha))
        x = layers.Conv2D(after, 1, padding="same", use_bias=False, name=f"{prefix}project")(x)
        x = _norm(x, f"{prefix}project_BN", None, True)
        if before == after and stride == 1:
            x = layers.Add(name=f"{prefix}add")([first, x])
    last = divisible(1280 * alpha) if alpha > 1.0 else 1280
    x = _norm(layers.Conv2D(last, 1, use_bias=False, name="Conv_1")(x), "Conv_1_bn", "out_relu", True)
    if include_top:
        x = layers.GlobalAveragePooling2D()(x)
        x = layers.Dense(classes, activation=B.checked_activation(classifier_activation), name="predictions")(x)
    else:
        x = B.pooled(x, pooling, False)
    return B.finish(inputs, input_tensor, x, name or f"mobilenetv2_{alpha:0.2f}_{inputs.shape[2]}", weights)
