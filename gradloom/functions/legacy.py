"""PyTorch's old names of tensors by dtype: ``FloatTensor(2, 3)``, ``isinstance(x, LongTensor)``, ``x.type()``."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError
from gradloom.functions.creation import empty
from gradloom.tensor import Size, Tensor, tensor

_CLASSES = {
    "BFloat16Tensor": dtypes.bfloat16, "BoolTensor": dtypes.bool_, "ByteTensor": dtypes.uint8,
    "CharTensor": dtypes.int8, "ComplexDoubleTensor": dtypes.complex128, "ComplexFloatTensor": dtypes.complex64,
    "DoubleTensor": dtypes.float64, "FloatTensor": dtypes.float32, "HalfTensor": dtypes.float16,
    "IntTensor": dtypes.int32, "LongTensor": dtypes.int64, "ShortTensor": dtypes.int16,
}  # fmt: skip

__all__ = list(_CLASSES)
FUNCTION_ONLY = __all__


class _ByDtype(type):
    """The class of such a name: no tensor's own class, but every tensor of the dtype is an instance."""

    dtype: DType

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.dtype

    def __call__(cls, *data: Any, device: Any = None) -> Tensor:
        """From sizes, with undefined content; from data; or a tensor of the dtype as it is."""
        if len(data) == 1 and isinstance(data[0], Tensor):
            if data[0].dtype is not cls.dtype:
                raise DTypeError(
                    f"{cls.__name__}: got a tensor of dtype {data[0].dtype.name}, expected {cls.dtype.name}",
                    code="dtype.legacy", hint="convert with .to(dtype)",
                )  # fmt: skip
            return data[0]
        if len(data) == 1 and not isinstance(data[0], int | np.integer | Size):
            return tensor(data[0], dtype=cls.dtype, device=device)
        return empty(*(data or (0,)), dtype=cls.dtype, device=device)

    def __repr__(cls) -> str:
        return f"gradloom.{cls.__name__}"


def _declare(name: str, dtype: DType) -> type:
    doc = f"Tensors of dtype {dtype.name}: made from sizes, with undefined content, or from data."
    return _ByDtype(name, (), {"dtype": dtype, "__doc__": doc, "__module__": "gradloom"})


globals().update({name: _declare(name, d) for name, d in _CLASSES.items()})


def class_name(dtype: DType) -> str:
    """The old name of the class of tensors of a dtype; for dtypes newer than that the dtype's."""
    return "gradloom." + next((name for name, d in _CLASSES.items() if d is dtype), dtype.name)


def dtype_of(given: Any) -> DType:
    """The dtype of a class of tensors, of its name, or of whatever else names a dtype."""
    if isinstance(given, _ByDtype):
        return given.dtype
    if isinstance(given, str) and given.rsplit(".", 1)[-1] in _CLASSES:
        return _CLASSES[given.rsplit(".", 1)[-1]]
    return as_dtype(given)
