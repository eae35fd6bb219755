"""Tensors brought to another dtype, and to the one device there is."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.devices import resolve
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, NotSupportedError
from gradloom.functions.base import tensor_of
from gradloom.functions.conversion import convert
from gradloom.functions.layouts import clone
from gradloom.functions.legacy import class_name, dtype_of
from gradloom.options import check_format, check_options
from gradloom.tensor import Tensor

__all__ = ["get_device"]
METHODS = (
    "astype bfloat16 bool cpu cuda double float half int is_pinned is_shared long pin_memory share_memory_ "
    "to to_dense type type_as"
).split()


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``to(dtype)``, ``to(device, dtype)`` or ``to(other)``: converted to a dtype, to that of another tensor.

    Itself where nothing changes, unless ``copy=True``. ``non_blocking`` makes no difference: values are computed
    when they are looked at. Raises DeviceError for a device other than the CPU.
    """
    target: DType | None = None
    flags: list[Any] = []
    memory_format = kwargs.pop("memory_format", None)
    for a in (*args, *(kwargs.pop(k, None) for k in ("dtype", "device", "other"))):
        if a is None:
            continue
        if isinstance(a, Tensor):
            target = a.dtype
        elif isinstance(a, DType | builtins.type | np.dtype):
            target = as_dtype(a)
        elif isinstance(a, builtins.bool):
            flags.append(a)
        else:
            resolve(a)
    copy = kwargs.pop("copy", flags[1] if len(flags) > 1 else False)
    kwargs.pop("non_blocking", None)
    if kwargs:
        raise DTypeError(f"to: unexpected arguments {', '.join(sorted(kwargs))}")
    if memory_format is not None:
        check_format(memory_format)
    out = self if target is None else convert(self, target)
    return clone(out) if copy and out is self else out


def type(self: Tensor, dtype: Any = None, non_blocking: builtins.bool = False) -> Any:
    """The name of the dtype's class of tensors, such as ``"gradloom.FloatTensor"``; or converted to a dtype."""
    return class_name(self.dtype) if dtype is None else convert(self, dtype_of(dtype))


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """Converted to another tensor's dtype."""
    return convert(self, other.dtype)


def astype(self: Tensor, dtype: Any, copy: builtins.bool = True) -> Tensor:
    """Converted to a dtype; a copy also where it has that dtype, unless ``copy=False``, as in NumPy."""
    return to(self, as_dtype(dtype), copy=copy)


def double(self: Tensor, memory_format: Any = None) -> Tensor:
    """As float64."""
    return convert(self, dtypes.float64)


def float(self: Tensor, memory_format: Any = None) -> Tensor:
    """As float32."""
    return convert(self, dtypes.float32)


def half(self: Tensor, memory_format: Any = None) -> Tensor:
    """As float16."""
    return convert(self, dtypes.float16)


def bfloat16(self: Tensor, memory_format: Any = None) -> Tensor:
    """As bfloat16."""
    return convert(self, dtypes.bfloat16)


def long(self: Tensor, memory_format: Any = None) -> Tensor:
    """As int64."""
    return convert(self, dtypes.int64)


def int(self: Tensor, memory_format: Any = None) -> Tensor:
    """As int32."""
    return convert(self, dtypes.int32)


def bool(self: Tensor, memory_format: Any = None) -> Tensor:
    """As bool."""
    return convert(self, dtypes.bool_)


# -- places ---------------------------------------------------------------------------------------------
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """Itself: every tensor is on the CPU."""
    return self


def cuda(self: Tensor, device: Any = None, non_blocking: builtins.bool = False, memory_format: Any = None) -> Tensor:
    """Absent. Raises DeviceError."""
    return to(self, "cuda" if device is None else device)


def get_device(input: Tensor) -> builtins.int:
    """-1, the number of the CPU."""
    tensor_of("get_device", input)
    return -1


def to_dense(self: Tensor, dtype: Any = None) -> Tensor:
    """Itself, or converted to a dtype: every tensor is dense."""
    return self if dtype is None else to(self, dtype)


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Absent: memory is pinned for the copies of another device. Raises DeviceError."""
    check_options(pin_memory=True)
    return self


def is_pinned(self: Tensor, device: Any = None) -> builtins.bool:
    """False: there is no other device to pin memory for."""
    return False


def is_shared(self: Tensor) -> builtins.bool:
    """False: memory belongs to the process."""
    return False


def share_memory_(self: Tensor) -> Tensor:
    """Absent: memory belongs to the process. Raises NotSupportedError."""
    raise NotSupportedError(
        "tensors are not shared between processes", code="unsupported.share", hint="send numpy() to the other process"
    )
