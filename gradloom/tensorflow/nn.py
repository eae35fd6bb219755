"""`tf.nn`: functions of activations, losses and layers, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.errors import ShapeError
from gradloom.keras import ops as keras_ops
from gradloom.keras import random as keras_random
from gradloom.tensor import Tensor, as_tensor

__all__ = [
    "avg_pool", "avg_pool2d", "batch_normalization", "bias_add", "conv1d", "conv2d", "conv2d_transpose", "conv3d",
    "crelu", "depthwise_conv2d", "dropout", "elu", "embedding_lookup", "gelu", "l2_loss", "l2_normalize",
    "leaky_relu",
    "log_poisson_loss", "log_softmax", "max_pool", "max_pool2d", "moments", "relu", "relu6", "selu", "sigmoid",
    "sigmoid_cross_entropy_with_logits", "silu", "softmax", "softmax_cross_entropy_with_logits", "softplus", "softsign",
    "sparse_softmax_cross_entropy_with_logits", "swish", "tanh", "top_k", "weighted_cross_entropy_with_logits",
    "zero_fraction",
]  # fmt: skip

ops: Any = keras_ops  # its functions stand in tables


def relu(features: Any, name: str | None = None) -> Tensor:
    """max(x, 0)."""
    return ops.relu(as_tensor(features))  # type: ignore[no-any-return]


def relu6(features: Any, name: str | None = None) -> Tensor:
    """min(max(x, 0), 6)."""
    return ops.relu6(as_tensor(features))  # type: ignore[no-any-return]


def crelu(features: Any, axis: int = -1, name: str | None = None) -> Tensor:
    """`relu` of x and of -x, one after the other along `axis`."""
    x = as_tensor(features)
    return ops.relu(ops.concatenate([x, -x], axis))  # type: ignore[no-any-return]


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Tensor:
    """`x` where it is positive, else alpha x."""
    return ops.leaky_relu(as_tensor(features), alpha)  # type: ignore[no-any-return]


def elu(features: Any, name: str | None = None) -> Tensor:
    """`x` where it is positive, else exp(x) - 1."""
    return ops.elu(as_tensor(features))  # type: ignore[no-any-return]


def selu(features: Any, name: str | None = None) -> Tensor:
    """The scaled exponential linear unit (Klambauer et al. 2017)."""
    return ops.selu(as_tensor(features))  # type: ignore[no-any-return]


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Tensor:
    """`x` times the normal distribution function of x, or its approximation by tanh."""
    return ops.gelu(as_tensor(features), approximate)  # type: ignore[no-any-return]


def silu(features: Any, beta: float = 1.0) -> Tensor:
    """`x` sigmoid(beta x)."""
    x = as_tensor(features)
    return x * ops.sigmoid(beta * x)  # type: ignore[no-any-return]


swish = silu


def sigmoid(x: Any, name: str | None = None) -> Tensor:
    """1 / (1 + exp(-x))."""
    return ops.sigmoid(as_tensor(x))  # type: ignore[no-any-return]


def tanh(x: Any, name: str | None = None) -> Tensor:
    """The hyperbolic tangent."""
    return ops.tanh(as_tensor(x))  # type: ignore[no-any-return]


def softplus(features: Any, name: str | None = None) -> Tensor:
    """log(1 + exp(x))."""
    return ops.softplus(as_tensor(features))  # type: ignore[no-any-return]


def softsign(features: Any, name: str | None = None) -> Tensor:
    """`x` / (1 + |x|)."""
    return ops.softsign(as_tensor(features))  # type: ignore[no-any-return]


def softmax(logits: Any, axis: int | None = None, name: str | None = None) -> Tensor:
    """Probabilities along `axis`, the last unless given."""
    return ops.softmax(as_tensor(logits), -1 if axis is None else axis)  # type: ignore[no-any-return]


def log_softmax(logits: Any, axis: int | None = None, name: str | None = None) -> Tensor:
    """Logarithms of `softmax`."""
    return ops.log_softmax(as_tensor(logits), -1 if axis is None else axis)  # type: ignore[no-any-return]


def dropout(x: Any, rate: float, noise_shape: Any = None, seed: Any = None, name: str | None = None) -> Tensor:
    """Elements set to zero with probability `rate`, the others scaled by 1 / (1 - rate)."""
    return keras_random.dropout(as_tensor(x), rate, noise_shape, seed)  # type: ignore[no-any-return]


def l2_loss(t: Any, name: str | None = None) -> Tensor:
    """Half the sum of squares."""
    return ops.sum(ops.square(as_tensor(t))) / 2  # type: ignore[no-any-return]


def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None) -> Tensor:
    """`x` over its Euclidean norm along `axis`; squares are at least `epsilon`."""
    value = as_tensor(x)
    squares = ops.sum(ops.square(value), axis, keepdims=True)
    return value * ops.rsqrt(ops.maximum(squares, epsilon))  # type: ignore[no-any-return]


def moments(
    x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and variance over `axes`."""
    return ops.moments(as_tensor(x), axes, keepdims)  # type: ignore[no-any-return]


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float, name: str | None = None
) -> Tensor:
    """(x - mean) scale / sqrt(variance + epsilon) + offset."""
    factor = ops.rsqrt(as_tensor(variance) + variance_epsilon)
    if scale is not None:
        factor = factor * scale
    out = (as_tensor(x) - mean) * factor
    return out if offset is None else out + offset


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Tensor:
    """Add a number to each channel: the last axis, or the second with a format that begins with "NC"."""
    x, b = as_tensor(value), as_tensor(bias)
    if data_format is not None and data_format.startswith("NC"):
        return x + b.reshape((1, -1) + (1,) * (x.ndim - 2))
    return x + b


def embedding_lookup(params: Any, ids: Any, max_norm: float | None = None, name: str | None = None) -> Tensor:
    """Rows of a table; longer ones are shortened to `max_norm` where it is given."""
    rows: Tensor = ops.take(as_tensor(params), as_tensor(ids), axis=0)
    if max_norm is None:
        return rows
    length = ops.sqrt(ops.sum(ops.square(rows), -1, keepdims=True))
    return rows * (max_norm / ops.maximum(length, max_norm))


def top_k(input: Any, k: int = 1, sorted: bool = True, name: str | None = None) -> Any:
    """The `k` largest along the last axis: values and indices."""
    return ops.top_k(as_tensor(input), k, sorted)


def zero_fraction(value: Any, name: str | None = None) -> Tensor:
    """The share of elements that are zero."""
    return ops.mean(ops.cast(as_tensor(value) == 0, "float32"))  # type: ignore[no-any-return]


# losses, one for each sample


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: int = -1, name: str | None = None) -> Tensor:
    """- sum of labels times log_softmax(logits) along `axis`."""
    return -ops.sum(as_tensor(labels) * log_softmax(logits, axis), axis)  # type: ignore[no-any-return]


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any, name: str | None = None) -> Tensor:
    """The same of class numbers, which have one axis less than the logits."""
    scores, classes = as_tensor(logits), as_tensor(labels)
    if classes.ndim != scores.ndim - 1:
        raise ShapeError(
            f"labels of shape {tuple(classes.shape)} do not fit logits of shape {tuple(scores.shape)}",
            code="shape.labels",
            hint="class numbers have one axis less; for probabilities use softmax_cross_entropy_with_logits",
        )
    return ops.sparse_categorical_crossentropy(classes, scores, from_logits=True)  # type: ignore[no-any-return]


def sigmoid_cross_entropy_with_logits(labels: Any = None, logits: Any = None, name: str | None = None) -> Tensor:
    """max(x, 0) - x z + log(1 + exp(-|x|)) of logits x and labels z."""
    x, z = as_tensor(logits), as_tensor(labels)
    return ops.relu(x) - x * z + ops.log1p(ops.exp(-ops.abs(x)))  # type: ignore[no-any-return]


def weighted_cross_entropy_with_logits(labels: Any, logits: Any, pos_weight: Any, name: str | None = None) -> Tensor:
    """`sigmoid_cross_entropy_with_logits` with positive labels weighted."""
    x, z = as_tensor(logits), as_tensor(labels)
    weight = 1 + (pos_weight - 1) * z
    return (1 - z) * x + weight * (ops.log1p(ops.exp(-ops.abs(x))) + ops.relu(-x))  # type: ignore[no-any-return]


def log_poisson_loss(targets: Any, log_input: Any, compute_full_loss: bool = False, name: str | None = None) -> Tensor:
    """exp(c) - z c of logarithms c and targets z; the full loss adds Stirling's approximation of log(z!)."""
    c, z = as_tensor(log_input), as_tensor(targets)
    loss = ops.exp(c) - z * c
    if compute_full_loss:
        safe = ops.maximum(z, 1.0)
        stirling = safe * ops.log(safe) - safe + 0.5 * ops.log(2 * 3.141592653589793 * safe)
        loss = loss + ops.where(z > 1, stirling, ops.zeros_like(z))
    return loss  # type: ignore[no-any-return]


# convolution and pooling


def _steps(value: Any, rank: int, channels_first: bool) -> Any:
    """Strides or sizes of the spatial axes, of a number or of a list for all axes."""
    if isinstance(value, (list, tuple)):
        if len(value) == rank + 2:
            return tuple(value[2:] if channels_first else value[1:-1])
        return tuple(value) if len(value) == rank else tuple(value) * rank
    return (int(value),) * rank


def _format(data_format: str | None) -> tuple[bool, str]:
    first = data_format is not None and data_format.startswith("NC")
    return first, "channels_first" if first else "channels_last"


def _conv(
    input: Any, filters: Any, strides: Any, padding: Any, data_format: str | None, dilations: Any, rank: int
) -> Tensor:
    if not isinstance(padding, str):
        raise TypeError(f'padding is "SAME" or "VALID"; got {padding!r}: pad the input with tf.pad')
    first, order = _format(data_format)
    return ops.conv(  # type: ignore[no-any-return]
        as_tensor(input), as_tensor(filters), _steps(strides, rank, first), padding.lower(), order,
        _steps(1 if dilations is None else dilations, rank, first),
    )  # fmt: skip


def conv1d(
    input: Any, filters: Any, stride: Any, padding: str, data_format: str = "NWC", dilations: Any = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Convolution of (N, W, C) with filters (w, C, K)."""
    return _conv(input, filters, stride, padding, data_format, dilations, 1)


def conv2d(
    input: Any, filters: Any, strides: Any, padding: str, data_format: str = "NHWC", dilations: Any = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Convolution of (N, H, W, C) with filters (h, w, C, K)."""
    return _conv(input, filters, strides, padding, data_format, dilations, 2)


def conv3d(
    input: Any, filters: Any, strides: Any, padding: str, data_format: str = "NDHWC", dilations: Any = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Convolution of (N, D, H, W, C) with filters (d, h, w, C, K)."""
    return _conv(input, filters, strides, padding, data_format, dilations, 3)


def depthwise_conv2d(
    input: Any, filter: Any, strides: Any, padding: str, data_format: str | None = None, dilations: Any = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Convolution of each channel alone, with filters (h, w, C, multiplier)."""
    first, order = _format(data_format)
    return ops.depthwise_conv(  # type: ignore[no-any-return]
        as_tensor(input), as_tensor(filter), _steps(strides, 2, first), padding.lower(), order,
        _steps(1 if dilations is None else dilations, 2, first),
    )  # fmt: skip


def conv2d_transpose(
    input: Any, filters: Any, output_shape: Sequence[int], strides: Any, padding: str = "SAME",
    data_format: str = "NHWC", dilations: Any = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """The transpose of `conv2d` with filters (h, w, K, C); the result has `output_shape`."""
    first, order = _format(data_format)
    out: Tensor = ops.conv_transpose(
        as_tensor(input), as_tensor(filters), _steps(strides, 2, first), padding.lower(), None, order,
        _steps(1 if dilations is None else dilations, 2, first),
    )  # fmt: skip
    if tuple(out.shape) != tuple(int(n) for n in output_shape):
        raise ShapeError(
            f"conv2d_transpose gives shape {tuple(out.shape)}, output_shape is {tuple(output_shape)}",
            code="shape.conv",
            hint="with SAME the output is the input's size times the stride",
        )
    return out


def max_pool(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str | None = None, name: str | None = None
) -> Tensor:
    """The largest of each window, over as many axes as the input has between batch and channels."""
    x = as_tensor(input)
    first, order = _format(data_format)
    rank = x.ndim - 2
    return ops.max_pool(  # type: ignore[no-any-return]
        x, _steps(ksize, rank, first), _steps(strides, rank, first), padding.lower(), order
    )


def avg_pool(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str | None = None, name: str | None = None
) -> Tensor:
    """The mean of each window, over as many axes as the input has between batch and channels."""
    x = as_tensor(input)
    first, order = _format(data_format)
    rank = x.ndim - 2
    return ops.average_pool(  # type: ignore[no-any-return]
        x, _steps(ksize, rank, first), _steps(strides, rank, first), padding.lower(), order
    )


max_pool2d, avg_pool2d = max_pool, avg_pool
