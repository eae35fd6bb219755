"""What is given to fit, evaluate and predict, checked once where it enters and turned into arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.keras.losses import Loss, SparseCategoricalCrossentropy
from gradloom.tensor import Tensor


def as_array(value: Any, what: str) -> np.ndarray:
    """A tensor, array or list as an array. DTypeError for text and objects, ShapeError for a bare number."""
    array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise DTypeError(
            f"{what} has dtype {array.dtype}",
            code="keras.dtype",
            hint="give numbers; encode texts and categories first",
        )
    if array.ndim == 0:
        raise ShapeError(f"{what} is a single number", code="keras.input-shape", hint="its first axis is the batch")
    return array


def check_lengths(x: np.ndarray, y: np.ndarray | None, weight: np.ndarray | None) -> None:
    """Refuse x, y and sample_weight of different numbers of samples, and none at all."""
    for name, other in (("y", y), ("sample_weight", weight)):
        if other is not None and len(other) != len(x):
            raise ShapeError(
                f"x has {len(x)} samples and {name} has {len(other)}: shapes {x.shape} and {other.shape}",
                code="keras.lengths",
                hint="each sample of x goes with one entry",
            )
    if len(x) == 0:
        raise ShapeError("x has no samples", code="keras.lengths", hint="give at least one")


def check_labels(y: np.ndarray, classes: int) -> None:
    """Refuse class numbers outside of 0 to ``classes - 1``, naming the first of them.

    Raises
    ------
    IndexRangeError : with the sample's index, its value and the valid range.
    """
    if y.size and (y.min() < 0 or y.max() >= classes):
        flat = y.reshape(-1)
        place = int(np.flatnonzero((flat < 0) | (flat >= classes))[0])
        sample = place // max(1, y.size // len(y))
        raise IndexRangeError(
            f"y[{sample}] is {flat[place]}, but the model has {classes} outputs: class numbers go from 0 to "
            f"{classes - 1}",
            code="keras.label-range",
            hint="count classes from 0, or give the last layer as many units as there are classes",
        )


def prepare_labels(y: np.ndarray, loss: Loss, output: tuple[int, ...]) -> np.ndarray:
    """The answers as the loss takes them: class numbers as int64 (n, ...), checked; others as float32.

    Parameters
    ----------
    output : shape of one sample's output.
    """
    loss.check_shapes(output, y.shape[1:])
    if not isinstance(loss, SparseCategoricalCrossentropy):
        return y if y.dtype == np.float32 else y.astype(np.float32)
    if y.dtype.kind == "f":
        whole = y.astype(np.int64)
        if not np.array_equal(whole, y):
            raise DTypeError(
                f"loss {loss.name!r}: y holds numbers that are not whole", code="keras.dtype", hint="give class numbers"
            )
        y = whole
    if y.ndim == len(output) + 1:
        y = y[..., 0]
    check_labels(y, output[-1])
    return np.ascontiguousarray(y, np.int64)


def combine_weights(
    sample_weight: np.ndarray | None, class_weight: Mapping[int, float] | None, y: np.ndarray
) -> np.ndarray | None:
    """One float32 weight a sample, (n,): the product of both kinds; None where there is neither."""
    weight = None if sample_weight is None else np.asarray(sample_weight, np.float32)
    if class_weight is None:
        return weight
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y)).astype(np.int64)
    table = np.ones(int(max(labels.max(), *class_weight)) + 1, np.float32)
    for label, value in class_weight.items():
        table[label] = value
    by_class = table[labels]
    return by_class if weight is None else weight * by_class


def sample_dtype(x: np.ndarray) -> np.dtype:
    """What a batch of x is converted to: float32 for all numbers but the 16-bit floats."""
    return x.dtype if x.dtype == np.float16 or x.dtype.name == "bfloat16" else np.dtype(np.float32)
