"""What is given to fit, evaluate and predict, checked once where it enters and turned into arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.keras import config, tree
from gradloom.keras.losses import Loss, SparseCategoricalCrossentropy
from gradloom.tensor import Tensor


def as_array(value: Any, what: str, texts: bool = False) -> np.ndarray:
    """A tensor, array or list as an array. DTypeError for text and objects, ShapeError for a bare number."""
    array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if texts and array.dtype.kind in "USO":
        return array
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise DTypeError(
            f"{what} has dtype {array.dtype}",
            code="keras.dtype",
            hint="give numbers; encode texts and categories first",
        )
    if array.ndim == 0:
        raise ShapeError(f"{what} is a single number", code="keras.input-shape", hint="its first axis is the batch")
    return array


def is_structure(value: Any) -> bool:
    """Whether this is a dictionary, or a list or tuple, of arrays rather than of numbers."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list | tuple) and any(
        x is None or isinstance(x, np.ndarray | Tensor | Mapping) or hasattr(x, "__array__") for x in value
    )


def arrays_of(value: Any, what: str, texts: bool = False) -> tuple[list[Any], Any]:
    """The arrays of a structure, None for optional inputs that are left out, and the structure with 0 for leaves."""
    if value is None:
        return [], None
    if hasattr(value, "to_numpy"):  # a table
        value = value.to_numpy()
    if not is_structure(value):
        return [as_array(value, what, texts)], 0
    value = _leaves_kept(dict(value) if isinstance(value, Mapping) else value)
    leaves = [None if x is None else as_array(x, what, texts) for x in tree.flatten(value)]
    return leaves, tree.map_structure(lambda x: 0, value)


def _leaves_kept(value: Any) -> Any:
    """Lists of numbers as arrays, so that they are leaves."""
    if isinstance(value, Mapping):
        return {k: _leaves_kept(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        if is_structure(value):
            found = [_leaves_kept(v) for v in value]
            return tuple(found) if isinstance(value, tuple) else found
        return np.asarray(value)
    return value


def check_lengths(given: list[tuple[str, Any]]) -> None:
    """Refuse x, y and sample_weight of different numbers of samples, and none at all."""
    arrays = [(name, array) for name, array in given if array is not None]
    if not arrays:
        raise ShapeError("all inputs are None", code="keras.lengths", hint="one at least has samples")
    name, first = arrays[0]
    for other_name, other in arrays[1:]:
        if len(other) != len(first):
            raise ShapeError(
                f"{name} has {len(first)} samples and {other_name} has {len(other)}: shapes {first.shape} and "
                f"{other.shape}",
                code="keras.lengths",
                hint="each sample of x goes with one entry",
            )
    if len(first) == 0:
        raise ShapeError(f"{name} has no samples", code="keras.lengths", hint="give at least one")


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


def prepare_labels(y: np.ndarray, loss: Loss | None, output: tuple[Any, ...] | None) -> np.ndarray:
    """The answers as the loss takes them: class numbers as int64 (n, ...), checked; floats as float32.

    Parameters
    ----------
    output : shape of one sample's output, None where it is not known.
    """
    if loss is not None and output is not None and None not in output:
        loss.check_shapes(tuple(output), tuple(y.shape[1:]))
    if not isinstance(loss, SparseCategoricalCrossentropy) or output is None:
        if y.dtype == np.float64:
            return y.astype(config.floatx())
        if y.dtype.kind in "biu" and loss is not None and type(loss).__module__.startswith("gradloom"):
            if output is None or tuple(y.shape[1:]) == tuple(output) or y.dtype.kind == "b":
                return y.astype(np.float32)
        return y
    if y.dtype.kind == "f":
        whole = y.astype(np.int64)
        if not np.array_equal(whole, y):
            raise DTypeError(
                f"loss {loss.name!r}: y holds numbers that are not whole", code="keras.dtype", hint="give class numbers"
            )
        y = whole
    if y.ndim == len(output) + 1:
        y = y[..., 0]
    ignored = loss._options.get("ignore_class")
    if loss._options.get("axis", -1) == -1 and output[-1] is not None:
        check_labels(y if ignored is None else y[y != ignored], output[-1])
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


def sample_dtype(x: np.ndarray, wanted: str | None) -> Any:
    """What a batch of x is converted to: the input's declared dtype; otherwise float64 becomes ``floatx``."""
    if x.dtype.kind in "USO":
        return None
    if wanted is not None and wanted != "string":
        if x.dtype == np.float16 or x.dtype.name == "bfloat16":
            return x.dtype
        return config.as_dtype(wanted).numpy
    return np.dtype(np.float32) if x.dtype == np.float64 else x.dtype
