"""`tf.math`: element by element, and reductions. A name that is not here is NumPy's, of `keras.ops`."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom.functions.elementwise import cast
from gradloom.keras import ops as keras_ops
from gradloom.tensor import Tensor, as_tensor
from gradloom.tensorflow.core import (
    reduce_all,
    reduce_any,
    reduce_logsumexp,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_prod,
    reduce_std,
    reduce_sum,
    reduce_variance,
)
from gradloom.tensorflow.nn import l2_normalize, softplus, softsign, top_k, zero_fraction

__all__ = [
    "argmax", "argmin", "confusion_matrix", "divide_no_nan", "floordiv", "floormod", "in_top_k", "l2_normalize",
    "lbeta", "lgamma", "digamma", "multiply_no_nan", "polyval", "pow", "reduce_all", "reduce_any",
    "reduce_euclidean_norm",
    "reduce_logsumexp", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_std", "reduce_sum",
    "reduce_variance", "scalar_mul", "softplus", "softsign", "squared_difference", "top_k", "truediv", "xdivy",
    "xlogy", "zero_fraction",
]  # fmt: skip

ops: Any = keras_ops  # its functions stand in tables

# TensorFlow's name of what NumPy calls otherwise
_RENAMED = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2",
    "atanh": "arctanh", "is_finite": "isfinite", "is_inf": "isinf", "is_nan": "isnan",
    "unsorted_segment_sum": "segment_sum", "unsorted_segment_max": "segment_max",
    "unsorted_segment_min": "segment_min", "unsorted_segment_prod": "segment_prod",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    found = getattr(ops, _RENAMED.get(name, name), None)
    if name.startswith("_") or not callable(found):
        raise AttributeError(f"tf.math has no {name!r} here")
    return found


def argmax(input: Any, axis: int | None = None, output_type: Any = "int64", name: str | None = None) -> Tensor:
    """Where the largest element along `axis` is, the first axis unless given."""
    return cast(ops.argmax(as_tensor(input), axis or 0), dtypes.as_dtype(output_type))


def argmin(input: Any, axis: int | None = None, output_type: Any = "int64", name: str | None = None) -> Tensor:
    """Where the smallest element along `axis` is, the first axis unless given."""
    return cast(ops.argmin(as_tensor(input), axis or 0), dtypes.as_dtype(output_type))


def pow(x: Any, y: Any, name: str | None = None) -> Tensor:
    """`x` to the power y."""
    return ops.power(as_tensor(x), y)  # type: ignore[no-any-return]


def truediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """`x` / y; of integers too."""
    return ops.true_divide(as_tensor(x), y)  # type: ignore[no-any-return]


def floordiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """`x` // y."""
    return ops.floor_divide(as_tensor(x), y)  # type: ignore[no-any-return]


def floormod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """What x // y leaves, with y's sign."""
    return ops.mod(as_tensor(x), y)  # type: ignore[no-any-return]


def divide_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """`x` / y, and 0 where y is 0."""
    return ops.divide_no_nan(as_tensor(x), as_tensor(y))  # type: ignore[no-any-return]


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """`x` y, and 0 where y is 0, also for an x that is no number."""
    a, b = as_tensor(x), as_tensor(y)
    return ops.where(b == 0, ops.zeros_like(a * b), a * b)  # type: ignore[no-any-return]


def xlogy(x: Any, y: Any, name: str | None = None) -> Tensor:
    """`x` log(y), and 0 where x is 0."""
    a, b = as_tensor(x), as_tensor(y)
    return ops.where(a == 0, ops.zeros_like(a), a * ops.log(ops.where(a == 0, ops.ones_like(b), b)))  # type: ignore[no-any-return]


def xdivy(x: Any, y: Any, name: str | None = None) -> Tensor:
    """`x` / y, and 0 where x is 0."""
    a, b = as_tensor(x), as_tensor(y)
    return ops.where(a == 0, ops.zeros_like(a), a / ops.where(a == 0, ops.ones_like(b), b))  # type: ignore[no-any-return]


def squared_difference(x: Any, y: Any, name: str | None = None) -> Tensor:
    """(x - y) squared."""
    return ops.square(as_tensor(x) - as_tensor(y))  # type: ignore[no-any-return]


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Tensor:
    """A number times x."""
    return scalar * as_tensor(x)  # type: ignore[no-any-return]


def polyval(coeffs: Any, x: Any, name: str | None = None) -> Tensor:
    """A polynomial whose highest coefficient comes first."""
    value = as_tensor(x)
    out = ops.zeros_like(value)
    for c in coeffs:
        out = out * value + c
    return out  # type: ignore[no-any-return]


def lgamma(x: Any, name: str | None = None) -> Tensor:
    """The logarithm of the gamma function's magnitude."""
    return as_tensor(x).lgamma()  # type: ignore[no-any-return]


def digamma(x: Any, name: str | None = None) -> Tensor:
    """The derivative of `lgamma`."""
    return as_tensor(x).digamma()  # type: ignore[no-any-return]


def lbeta(x: Any, name: str | None = None) -> Tensor:
    """The logarithm of the beta function along the last axis."""
    value = as_tensor(x)
    return value.lgamma().sum(-1) - value.sum(-1).lgamma()  # type: ignore[no-any-return]


def reduce_euclidean_norm(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The square root of the sum of squares over `axis`."""
    return ops.sqrt(ops.sum(ops.square(as_tensor(input_tensor)), axis, keepdims=keepdims))  # type: ignore[no-any-return]


def in_top_k(targets: Any, predictions: Any, k: int, name: str | None = None) -> Tensor:
    """Whether each target is among the `k` largest predictions of its row."""
    return ops.in_top_k(as_tensor(targets), as_tensor(predictions), k)  # type: ignore[no-any-return]


def confusion_matrix(
    labels: Any, predictions: Any, num_classes: int | None = None, weights: Any = None, dtype: Any = "int32",
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """How often label i (row) was predicted as j (column); with weights, their sums."""
    truth, found = as_tensor(labels).reshape(-1), as_tensor(predictions).reshape(-1)
    count = int(ops.maximum(truth.max(), found.max())) + 1 if num_classes is None else int(num_classes)
    flat = cast(truth, dtypes.int64) * count + cast(found, dtypes.int64)
    each = None if weights is None else as_tensor(weights).reshape(-1)
    table = flat.bincount(each, minlength=count * count).reshape((count, count))
    return cast(table, dtypes.as_dtype(dtype))
