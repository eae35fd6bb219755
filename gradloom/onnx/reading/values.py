"""Values of a model that is read: tensors, and what stays NumPy's: shapes, text, numbers of fewer than eight bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.errors import ArgumentError
from gradloom.tensor import Tensor, tensor

__all__ = ["OnnxImportError", "array", "dtype_of", "floats", "holds", "integers", "number", "numpy_dtype", "to_tensor"]

_OURS = {
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
    "bfloat16", "complex64", "complex128",
}  # fmt: skip


class OnnxImportError(ArgumentError):
    """A model that cannot be read or run, with the operator, the node and what to do."""


def holds(value: Any) -> bool:
    """Whether a tensor can hold an array: text and narrow numbers stay NumPy's."""
    return isinstance(value, np.ndarray) and value.dtype.name in _OURS


def to_tensor(value: Any) -> Any:
    """A tensor of an array's numbers; tensors, sequences and what no tensor holds as they are."""
    if isinstance(value, (np.generic, bool, int, float)):
        value = np.asarray(value)
    return tensor(value) if holds(value) else value


def array(value: Any) -> Any:
    """The NumPy array of a value; sequences element by element."""
    if isinstance(value, Tensor):
        return value.detach().numpy()
    if isinstance(value, list):
        return [array(v) for v in value]
    return value


def integers(value: Any) -> list[int]:
    """Python integers out of a tensor, an array or a list."""
    if value is None:
        return []
    flat = np.asarray(array(value)).reshape(-1)
    return [int(v) for v in flat]


def floats(value: Any) -> list[float]:
    """Python floats out of a tensor, an array or a list."""
    return [] if value is None else [float(v) for v in np.asarray(array(value)).reshape(-1)]


def number(value: Any) -> Any:
    """The only element of a value, as a Python number; None for None."""
    if value is None:
        return None
    found = np.asarray(array(value)).reshape(-1)
    return found[0].item()


def numpy_dtype(code: int) -> np.dtype:
    """The NumPy dtype of one of ONNX's numbers for dtypes."""
    import onnx

    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code))


def dtype_of(code: int) -> DType | None:
    """The dtype of one of ONNX's numbers, None where no tensor has it."""
    name = numpy_dtype(code).name
    return dtypes.as_dtype(name) if name in _OURS else None


def normal(axis: int, ndim: int) -> int:
    """An axis from the front."""
    return axis + ndim if axis < 0 else axis


def from_attribute(a: Any) -> Any:
    """An attribute as Python has it: numbers, text as str, tensors as arrays, graphs as they are."""
    import onnx

    found = onnx.helper.get_attribute_value(a)
    if a.type == onnx.AttributeProto.TENSOR:
        return onnx.numpy_helper.to_array(found)
    if isinstance(found, bytes):
        return found.decode("utf-8", "surrogateescape")
    if isinstance(found, Sequence) and not isinstance(found, str):
        return [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in found]
    return found
