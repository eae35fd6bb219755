"""PyTorch's old names: tensors by dtype (``FloatTensor(2, 3)``, ``isinstance(x, LongTensor)``), ``x.new(...)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError
from gradloom.functions.creation import empty
from gradloom.functions.views import reshape
from gradloom.tensor import Size, Tensor, tensor

_CLASSES = {
    "BFloat16Tensor": dtypes.bfloat16, "BoolTensor": dtypes.bool_, "ByteTensor": dtypes.uint8,
    "CharTensor": dtypes.int8, "ComplexDoubleTensor": dtypes.complex128, "ComplexFloatTensor": dtypes.complex64,
    "DoubleTensor": dtypes.float64, "FloatTensor": dtypes.float32, "HalfTensor": dtypes.float16,
    "IntTensor": dtypes.int32, "LongTensor": dtypes.int64, "ShortTensor": dtypes.int16,
}  # fmt: skip

__all__ = list(_CLASSES)
FUNCTION_ONLY = __all__
METHODS = "as_subclass is_distributed is_inference map2_ new resize resize_as".split()


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


def new(self: Tensor, *data: Any, device: Any = None, size: Any = None) -> Tensor:
    """A tensor of this dtype: from sizes, as ``new_empty``, or from data, as ``new_tensor``."""
    if size is not None:
        return empty(size, dtype=self.dtype, device=device)
    if len(data) == 1 and not isinstance(data[0], int | np.integer | Size):
        return tensor(data[0], dtype=self.dtype, device=device)
    return empty(*(data or (0,)), dtype=self.dtype, device=device)


def resize(self: Tensor, *sizes: Any) -> Tensor:
    """As :func:`gradloom.reshape`, which has taken its place."""
    return reshape(self, *sizes)


def resize_as(self: Tensor, other: Tensor) -> Tensor:
    """As ``reshape_as``, which has taken its place."""
    return reshape(self, tuple(other.shape))


def as_subclass(self: Tensor, cls: type) -> Tensor:
    """The same elements as an instance of a subclass. Raises DTypeError for another class."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise DTypeError(f"as_subclass: expected a subclass of Tensor, got {cls!r}", code="dtype.argument")
    made = cls.__new__(cls)
    made._v, made._rg = self._v, self._rg
    return made


def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Any) -> Tensor:
    """Each element replaced by a Python function of it and of two other tensors'; one call each. Slow."""
    others = [t.expand(self.shape).reshape(-1).tolist() for t in (x, y)]
    values = [callable(*each) for each in zip(self.reshape(-1).tolist(), *others, strict=True)]
    return self._write(tensor(values, dtype=self.dtype).reshape(self.shape))


def is_inference(self: Tensor) -> bool:
    """Whether it is a tensor that gradients may never come by: there are none of that kind, made where it may be."""
    return False


def is_distributed(self: Tensor) -> bool:
    """Whether it is spread over processes: never."""
    return False


Tensor.is_xla = Tensor.is_vulkan = Tensor.is_maia = Tensor.is_ipu = False  # type: ignore[attr-defined]
Tensor.name = None  # type: ignore[attr-defined]
Tensor.output_nr = 0  # type: ignore[attr-defined]


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
