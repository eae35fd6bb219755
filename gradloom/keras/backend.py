"""``keras.backend``: the settings of :mod:`gradloom.keras.config`, and the functions that tf.keras programs call ``K``.

Of both kinds of names, those that Keras 3 has in ``keras.ops`` under the same name and with the same arguments are
these; the others stand here. Axes are called ``axis``, images have their channels where ``data_format`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import NotSupportedError
from gradloom.keras import config, losses, random
from gradloom.keras import ops as keras_ops
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import KerasTensor, Variable, is_keras_tensor
from gradloom.tensor import Tensor

ops: Any = keras_ops  # its functions stand in tables

__all__ = [
    *config.__all__, "argmax", "argmin", "batch_dot", "batch_flatten", "batch_get_value", "batch_normalization",
    "batch_set_value", "bias_add", "binary_crossentropy", "cast_to_floatx", "categorical_crossentropy", "clip",
    "concatenate", "constant", "conv1d", "conv2d", "conv2d_transpose", "conv3d", "count_params", "ctc_batch_cost",
    "ctc_decode", "cumprod", "cumsum", "depthwise_conv2d", "dot", "dropout", "dtype", "eval", "expand_dims",
    "flatten", "foldl", "foldr", "function", "gather", "get_value", "gradients", "hard_sigmoid", "in_top_k",
    "int_shape", "is_keras_tensor", "is_sparse", "l2_normalize", "map_fn", "max", "mean", "min",
    "moving_average_update", "name_scope", "one_hot", "permute_dimensions", "pool2d", "pool3d", "pow", "prod",
    "random_bernoulli", "random_normal", "random_uniform", "relu", "repeat", "repeat_elements", "resize_images",
    "reverse", "rnn", "separable_conv2d", "set_value", "shape", "softmax", "sparse_categorical_crossentropy",
    "spatial_2d_padding", "spatial_3d_padding", "std", "sum", "switch", "temporal_padding", "truncated_normal",
    "update", "update_add", "update_sub", "var", "variable",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in config.__all__:
        return getattr(config, name)
    found = None if name.startswith("_") else getattr(keras_ops, name, None)
    if not callable(found):
        raise AttributeError(f"keras.backend has no {name!r} here")
    return found


# -- variables and values --------------------------------------------------------------------------------------------


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> Variable:
    """A variable of these values."""
    made = Variable(value, dtype=dtype, name=name)
    made.constraint = constraint
    return made


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor of these values, floats unless `dtype` says otherwise."""
    found = as_tensor(value, dtype or config.floatx())
    if shape is None:
        return found
    return G.broadcast_to(found, tuple(shape)) if found.numel() == 1 else found.reshape(tuple(shape))


def get_value(x: Any) -> np.ndarray:
    """The values as an array."""
    return np.asarray(x.detach().numpy() if isinstance(x, Tensor) else x)


eval = get_value


def set_value(x: Variable, value: Any) -> None:
    """Set a variable's values."""
    x.assign(value)


def batch_get_value(tensors: Sequence[Any]) -> list[np.ndarray]:
    """The values of several."""
    return [get_value(x) for x in tensors]


def batch_set_value(tuples: Sequence[tuple[Variable, Any]]) -> None:
    """Set the values of several variables."""
    for x, value in tuples:
        set_value(x, value)


def update(x: Variable, new_x: Any) -> Variable:
    """Set a variable's values."""
    return x.assign(new_x)


def update_add(x: Variable, increment: Any) -> Variable:
    """Add to a variable."""
    return x.assign_add(increment)


def update_sub(x: Variable, decrement: Any) -> Variable:
    """Take from a variable."""
    return x.assign_sub(decrement)


def moving_average_update(x: Variable, value: Any, momentum: float) -> Variable:
    """Set ``x`` to momentum · x + (1 - momentum) · value."""
    return x.assign(x.detach() * momentum + as_tensor(value) * (1.0 - momentum))


def int_shape(x: Any) -> tuple[int | None, ...] | None:
    """The sizes, None where they are open."""
    return tuple(x.shape) if hasattr(x, "shape") else None


shape = ops.shape


def count_params(x: Any) -> int:
    """How many numbers a tensor holds."""
    return int(np.prod(x.shape))


def dtype(x: Any) -> str:
    """The dtype's name."""
    return config.standardize_dtype(x.dtype)


def is_sparse(tensor: Any) -> bool:
    """False: tensors are dense."""
    return False


def cast_to_floatx(x: Any) -> Any:
    """In the dtype of :func:`floatx`; arrays stay arrays."""
    if isinstance(x, Tensor | KerasTensor):
        return ops.cast(x, config.floatx())
    return np.asarray(x, dtype=config.as_dtype(None).numpy)


def function(inputs: Any, outputs: Any, updates: Any = None, **kwargs: Any) -> Callable[..., Any]:
    """A function from arrays for symbolic inputs to arrays of symbolic outputs.

    Raises NotSupportedError for `updates`.
    """
    from gradloom.keras.models import Model

    if updates:
        raise NotSupportedError("keras.backend.function takes no updates", code="keras.updates", hint="assign instead")
    model = Model(inputs, outputs)

    def call(values: Any) -> Any:
        found = model(values)
        return [get_value(y) for y in found] if isinstance(outputs, list | tuple) else get_value(found)

    return call


def gradients(loss: Any, variables: Any) -> Any:
    """Absent on purpose, as where programs run at once: NotSupportedError."""
    raise NotSupportedError("gradients of symbolic tensors are not offered", code="keras.gradients",
                            hint="record the computation with GradientTape")  # fmt: skip


def name_scope(name: str) -> Any:
    """See :func:`keras.name_scope`."""
    from gradloom.keras import name_scope as scope

    return scope(name)


# -- reductions, under names with `axis` -----------------------------------------------------------------------------


def _reduced(name: str) -> Callable[..., Any]:
    def call(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        given = x if isinstance(x, KerasTensor) else as_tensor(x)
        if name in ("mean", "std", "var") and str(config.standardize_dtype(given.dtype)) == "bool":
            given = ops.cast(given, config.floatx())
        return getattr(ops, name)(given, axis=axis, keepdims=keepdims)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"``{name}`` over ``axis``, over all where None."
    return call


max, min, sum, prod, mean, std, var = map(_reduced, ("max", "min", "sum", "prod", "mean", "std", "var"))


def argmax(x: Any, axis: int = -1) -> Any:
    """Where the largest element stands, int64."""
    return ops.cast(ops.argmax(x, axis), "int64")


def argmin(x: Any, axis: int = -1) -> Any:
    """Where the smallest element stands, int64."""
    return ops.cast(ops.argmin(x, axis), "int64")


def cumsum(x: Any, axis: int = 0) -> Any:
    """Sums up to each place."""
    return ops.cumsum(x, axis)


def cumprod(x: Any, axis: int = 0) -> Any:
    """Products up to each place."""
    return ops.cumprod(x, axis)


# -- shapes ----------------------------------------------------------------------------------------------------------


def expand_dims(x: Any, axis: int = -1) -> Any:
    """A new axis of size 1."""
    return ops.expand_dims(x, axis)


def flatten(x: Any) -> Any:
    """As one axis."""
    return ops.reshape(x, (-1,))


def batch_flatten(x: Any) -> Any:
    """All axes behind the first as one."""
    from gradloom.keras import layers

    return layers.Flatten("channels_last")(x)


def permute_dimensions(x: Any, pattern: Any) -> Any:
    """Axes in another order."""
    return ops.transpose(x, tuple(pattern))


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Any:
    """Joined along an axis, the last unless said."""
    return ops.concatenate(list(tensors), axis)


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Each entry of an axis so many times."""
    return ops.repeat(x, rep, axis)


def repeat(x: Any, n: int) -> Any:
    """Rows (batch, size) so many times: (batch, n, size)."""
    return ops.repeat(ops.expand_dims(x, 1), n, 1)


def reverse(x: Any, axes: Any) -> Any:
    """Axes in reverse."""
    return ops.flip(x, axis=axes)


def gather(reference: Any, indices: Any) -> Any:
    """Rows by number."""
    return ops.take(reference, indices, axis=0)


def one_hot(indices: Any, num_classes: int) -> Any:
    """1 at each number's place."""
    return ops.one_hot(indices, num_classes)


def temporal_padding(x: Any, padding: Any = (1, 1)) -> Any:
    """Zeros before and behind the middle axis of (batch, time, size)."""
    return ops.pad(x, ((0, 0), tuple(padding), (0, 0)))


def _padded(x: Any, padding: Any, data_format: Any) -> Any:
    inner = [tuple(p) for p in padding]
    first = config.checked_format(data_format) == "channels_first"
    return ops.pad(x, ((0, 0), (0, 0), *inner) if first else ((0, 0), *inner, (0, 0)))


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: Any = None) -> Any:
    """Zeros around images."""
    return _padded(x, padding, data_format)


def spatial_3d_padding(x: Any, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: Any = None) -> Any:
    """Zeros around volumes."""
    return _padded(x, padding, data_format)


def resize_images(
    x: Any, height_factor: int, width_factor: int, data_format: Any = None, interpolation: str = "nearest"
) -> Any:
    """Images so many times as high and wide."""
    from gradloom.keras import layers

    grown = layers.UpSampling2D((height_factor, width_factor), data_format, interpolation)
    return grown(x)


# -- products and elements -------------------------------------------------------------------------------------------


def dot(x: Any, y: Any) -> Any:
    """The last axis of ``x`` with the last but one of ``y``: (..., a) and (..., a, b)."""
    return ops.dot(x, y)


def batch_dot(x: Any, y: Any, axes: Any = None) -> Any:
    """Products of each sample of ``x`` with that of ``y``, summed over an axis of each; two axes remain at least.

    axes : the axis of both, or one of each; the last of ``x`` and the last but one of ``y`` unless said.
    """
    from gradloom.keras import layers

    rx, ry = len(x.shape), len(y.shape)
    if axes is None:
        axes = (rx - 1, ry - 1 if ry == 2 else ry - 2)
    found = layers.Dot(axes if isinstance(axes, int) else tuple(axes))([x, y])
    return found if len(found.shape) > 1 else ops.expand_dims(found, -1)


def l2_normalize(x: Any, axis: Any = None) -> Any:
    """Divided by the Euclidean length along ``axis``."""
    total = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return x * ops.rsqrt(ops.maximum(total, 1e-12))


def pow(x: Any, a: Any) -> Any:
    """Elements to the power ``a``."""
    return ops.power(x, a)


def clip(x: Any, min_value: Any, max_value: Any) -> Any:
    """Held between two numbers; the lower limit where they are crossed."""
    low = -np.inf if min_value is None else min_value
    high = np.inf if max_value is None else max_value
    if isinstance(low, int | float) and isinstance(high, int | float):
        high = low if high < low else high
    return ops.clip(x, low, high)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """See :func:`keras.activations.relu`."""
    from gradloom.keras import activations

    return activations.relu(x, negative_slope=alpha, max_value=max_value, threshold=threshold)


def hard_sigmoid(x: Any) -> Any:
    """0.2 x + 0.5 held within 0 and 1, as tf.keras has it."""
    return ops.clip(x * 0.2 + 0.5, 0.0, 1.0)


def softmax(x: Any, axis: int = -1) -> Any:
    """eˣ over its sum."""
    return ops.softmax(x, axis)


def bias_add(x: Any, bias: Any, data_format: Any = None) -> Any:
    """A bias for each channel."""
    if config.checked_format(data_format) == "channels_first" and len(x.shape) > 2:
        bias = ops.reshape(bias, (-1, *(1,) * (len(x.shape) - 2)))
    return x + bias


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Any:
    """Elements left out with probability ``level``, the others larger."""
    return random.dropout(x, level, noise_shape, seed)


def batch_normalization(
    x: Any, mean: Any, var: Any, beta: Any, gamma: Any, axis: int = -1, epsilon: float = 1e-3
) -> Any:
    """(x - mean) / √(var + epsilon) · gamma + beta."""
    return ops.batch_normalization(x, mean, var, axis, beta, gamma, epsilon)


def in_top_k(predictions: Any, targets: Any, k: int) -> Any:
    """Whether each answer is among the k highest scores."""
    return ops.in_top_k(targets, predictions, k)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two, by a condition of one element; of several, element by element. Functions are called."""
    if len(getattr(condition, "shape", ())) == 0 and callable(then_expression):
        return ops.cond(condition, then_expression, else_expression)
    one, other = (e() if callable(e) else e for e in (then_expression, else_expression))
    c, rank = as_tensor(condition), len(as_tensor(one).shape)
    while len(c.shape) < rank:
        c = ops.expand_dims(c, -1)
    return ops.where(c, one, other)


def map_fn(fn: Callable[..., Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """A function of each entry of the first axis."""
    return ops.map(fn, elems)


def foldl(fn: Callable[..., Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """``fn(carry, x)`` over the entries of the first axis, from the first on."""
    rows = ops.unstack(as_tensor(elems))
    state, rest = (rows[0], rows[1:]) if initializer is None else (initializer, rows)
    for row in rest:
        state = fn(state, row)
    return state


def foldr(fn: Callable[..., Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """As :func:`foldl`, from the last entry on."""
    return foldl(fn, ops.flip(as_tensor(elems), axis=0), initializer)


# -- random ----------------------------------------------------------------------------------------------------------


def random_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers."""
    return random.normal(tuple(shape), mean, stddev, dtype, seed)


def random_uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Uniform numbers."""
    return random.uniform(tuple(shape), minval, maxval, dtype, seed)


def random_bernoulli(shape: Any, p: float = 0.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """1 with probability ``p``, else 0."""
    return (random.uniform(tuple(shape), seed=seed) < p).to(config.as_dtype(dtype))


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers within two deviations."""
    return random.truncated_normal(tuple(shape), mean, stddev, dtype, seed)


# -- losses ----------------------------------------------------------------------------------------------------------


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-Σ y log p."""
    return ops.categorical_crossentropy(target, output, from_logits, axis)


def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1, ignore_class: int | None = None
) -> Any:
    """-log p[answer]."""
    return losses.sparse_categorical_crossentropy(target, output, from_logits, ignore_class, axis)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-y log p - (1 - y) log(1 - p), element by element."""
    return ops.binary_crossentropy(target, output, from_logits)


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Any:
    """What labels (n, s) cost against probabilities (n, t, classes), the last class the blank: (n, 1)."""
    lengths = [ops.cast(ops.reshape(v, (-1,)), "int32") for v in (label_length, input_length)]
    classes = y_pred.shape[-1]
    # the blank is the first class of ops.ctc_loss
    order = [classes - 1, *range(classes - 1)]
    logs = ops.log(ops.take(y_pred, order, axis=-1) + config.epsilon())
    labels = ops.cast(y_true, "int32") + 1
    return ops.expand_dims(ops.ctc_loss(labels, logs, lengths[0], lengths[1], 0), 1)


def ctc_decode(
    y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[Any], Any]:
    """Labels, one (n, t) for each path and -1 behind their ends, and their scores; the last class is the blank."""
    logs = ops.log(as_tensor(y_pred) + config.epsilon())
    found, scores = ops.ctc_decode(
        logs, ops.cast(input_length, "int32"), "greedy" if greedy else "beam_search", beam_width, top_paths,
        mask_index=logs.shape[-1] - 1,
    )  # fmt: skip
    return list(ops.unstack(found)), scores


# -- windows ---------------------------------------------------------------------------------------------------------


def conv1d(
    x: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """A convolution; "causal" sees only what was."""
    if str(padding).lower() == "causal":
        before = dilation_rate * (kernel.shape[0] - 1)
        x, padding = temporal_padding(x, (before, 0)), "valid"
    return ops.conv(x, kernel, strides, padding, data_format, dilation_rate)


def _conv(
    x: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """A convolution."""
    return ops.conv(x, kernel, strides, padding, data_format, dilation_rate)


conv2d = conv3d = _conv


def conv2d_transpose(
    x: Any, kernel: Any, output_shape: Any, strides: Any = (1, 1), padding: str = "valid", data_format: Any = None,
    dilation_rate: Any = (1, 1),
) -> Any:  # fmt: skip
    """A transposed convolution; its results are as large as the padding makes them, which must be `output_shape`."""
    found = ops.conv_transpose(x, kernel, strides, padding, None, data_format, dilation_rate)
    wanted = tuple(int(n) for n in output_shape)
    if tuple(found.shape[1:]) != wanted[1:]:
        raise ValueError(f"conv2d_transpose gives {tuple(found.shape)}. Received: output_shape={wanted}")
    return found


def depthwise_conv2d(
    x: Any, depthwise_kernel: Any, strides: Any = (1, 1), padding: str = "valid", data_format: Any = None,
    dilation_rate: Any = (1, 1),
) -> Any:  # fmt: skip
    """Each channel with filters of its own."""
    return ops.depthwise_conv(x, depthwise_kernel, strides, padding, data_format, dilation_rate)


def separable_conv2d(
    x: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = (1, 1), padding: str = "valid",
    data_format: Any = None, dilation_rate: Any = (1, 1),
) -> Any:  # fmt: skip
    """A depthwise convolution, then one over channels."""
    return ops.separable_conv(x, depthwise_kernel, pointwise_kernel, strides, padding, data_format, dilation_rate)


def _pool(
    x: Any, pool_size: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, pool_mode: str = "max"
) -> Any:
    """The largest entry of windows, or with ``pool_mode="avg"`` their mean."""
    if pool_mode not in ("max", "avg"):
        raise ValueError(f"pool_mode={pool_mode!r}: expected 'max' or 'avg'")
    pool = ops.max_pool if pool_mode == "max" else ops.average_pool
    return pool(x, pool_size, strides, padding, data_format)


pool2d = pool3d = _pool


def rnn(
    step_function: Callable[..., Any], inputs: Any, initial_states: Sequence[Any], go_backwards: bool = False,
    mask: Any = None, constants: Any = None, unroll: bool = False, input_length: int | None = None,
    time_major: bool = False, zero_output_for_mask: bool = False, return_all_outputs: bool = True,
) -> tuple[Any, Any, list[Any]]:  # fmt: skip
    """``output, states = step_function(x, states)`` for each time: the last output, all of them, the last states.

    Parameters
    ----------
    mask : (batch, time); where it is False, output and states stay as they were, or the output is 0 if it is said so.
    """
    steps = ops.unstack(inputs, axis=0 if time_major else 1)
    seen = None if mask is None else ops.unstack(as_tensor(mask), axis=0 if time_major else 1)
    states, outputs, extra = list(initial_states), [], list(constants or ())
    before: Any = None
    for t in reversed(range(len(steps))) if go_backwards else range(len(steps)):
        y, new = step_function(steps[t], (*states, *extra))
        if seen is not None:
            held = ops.zeros_like(y) if before is None or zero_output_for_mask else before
            y = switch(seen[t], y, held)
            new = [switch(seen[t], n, s) for n, s in zip(new, states, strict=True)]
        before, states = y, list(new)
        outputs.append(y)
    every = outputs if return_all_outputs else outputs[-1:]
    return outputs[-1], ops.stack(every, axis=0 if time_major else 1), states
