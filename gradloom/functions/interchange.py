"""Tensors and the arrays of other libraries: DLPack both ways, NumPy's protocols, arrays taken in.

NumPy's ufuncs (``np.sin(t)``, ``array * t``) give tensors, computed as gradloom's function of that name, with its
gradient; so do the reductions and joins of ``_FUNCTIONS`` (``np.sum(t, axis=0)``). NumPy's other functions take
a tensor as the array over its memory, and give arrays.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.devices import resolve
from gradloom.dtypes import as_dtype, default_float
from gradloom.errors import DeviceError, DTypeError, ExchangeError, GradientError
from gradloom.runtime.dlpack import CPU, capsule_of, from_capsule
from gradloom.tensor import Tensor, as_tensor, buffer_of, from_numpy, tensor

__all__ = ["asarray", "from_dlpack", "from_file", "frombuffer"]
FUNCTION_ONLY = __all__
METHODS = "__array_function__ __array_ufunc__ __buffer__ __complex__ __dlpack__ __dlpack_device__ to_device".split()


# -- DLPack -----------------------------------------------------------------------------------------------


def __dlpack__(
    self: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> object:
    """A DLPack capsule over this tensor's memory; later updates of the tensor do not reach it.

    Raises
    ------
    ExchangeError: (a BufferError) gradients are asked of the tensor, another device is wanted, or the memory is
    read-only and the taker asks for a version without flags.
    """
    if self.requires_grad:
        raise ExchangeError(
            "a tensor that requires grad cannot be shared: what others do to it has no gradient", code="exchange.grad",
            hint="share tensor.detach()",
        )  # fmt: skip
    if stream not in (None, -1):
        raise ExchangeError(f"stream {stream!r}: there are none on the CPU", code="exchange.stream", hint="use None")
    if dl_device is not None and (int(dl_device[0]), int(dl_device[1])) != CPU:
        raise ExchangeError(f"device {tuple(dl_device)} is not there; found: {CPU}, the CPU", code="exchange.device")
    buffer = self._buffer()
    keep = buffer.keep
    readonly = isinstance(keep, np.ndarray) and not keep.flags.writeable
    d = self._v.aval.dtype
    if copy:
        buffer, readonly = buffer_of(self.numpy()), False
    versioned = max_version is not None and max_version[0] >= 1
    return capsule_of(buffer, tuple(self.shape), d, versioned=versioned, readonly=readonly, copied=bool(copy))


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    """(1, 0): the CPU."""
    return CPU


def to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The array API's way to move an array; the CPU is the only device. Raises DeviceError for another."""
    if stream is not None:
        raise ExchangeError(f"stream {stream!r}: there are none on the CPU", code="exchange.stream", hint="use None")
    return self.to(device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over another library's memory, without a copy where it is contiguous.

    Parameters
    ----------
    x: anything with ``__dlpack__`` (an array of NumPy, PyTorch, JAX, …) or a capsule. copy: True for memory of its own,
    False to refuse where a copy is needed, None for a copy where needed.

    Raises
    ------
    ExchangeError: it cannot be shared so. DeviceError: it is not in this machine's memory. DTypeError: its dtype is not
    gradloom's.
    """
    resolve(device)
    if hasattr(x, "__dlpack__"):
        where = x.__dlpack_device__() if hasattr(x, "__dlpack_device__") else CPU
        if int(where[0]) not in (1, 3):
            raise DeviceError(
                f"from_dlpack: the memory is on device {tuple(map(int, where))}, found: cpu", code="device.missing",
                hint="move it to the CPU first",
            )  # fmt: skip
        try:
            capsule = x.__dlpack__(max_version=(1, 0))
        except TypeError:  # a library from before versions
            capsule = x.__dlpack__()
    else:
        capsule = x
    a, d = from_capsule(capsule)
    if a.flags.c_contiguous and a.flags.aligned and not copy:
        return from_numpy(a)
    if copy is False:
        raise ExchangeError(
            f"from_dlpack: an array of strides {a.strides} cannot be had without a copy", code="exchange.copy",
            hint="pass copy=None, or make it contiguous first",
        )  # fmt: skip
    return from_numpy(np.array(a, d.numpy, order="C", copy=True))


# -- arrays taken in --------------------------------------------------------------------------------------


def asarray(
    obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of an array, a column or frame, a buffer, a nested sequence or a number.

    copy: True for memory of its own, False to refuse where a copy is needed, None for a copy only where needed.
    Raises ExchangeError where ``copy=False`` cannot be had.
    """
    resolve(device)
    d = None if dtype is None else as_dtype(dtype)
    if isinstance(obj, Tensor):
        t = obj
    elif hasattr(obj, "__dlpack__") and not isinstance(obj, (np.ndarray, np.generic)):
        t = from_dlpack(obj, copy=copy)
    elif hasattr(obj, "__array__") or hasattr(obj, "__array_interface__"):
        t = _from_array(obj, copy)
    elif isinstance(obj, (memoryview, bytearray, bytes)) or hasattr(obj, "__buffer__"):
        t = _from_array(memoryview(obj), copy)
    else:
        if copy is False:
            raise ExchangeError(
                f"asarray: a {type(obj).__name__} cannot be had without a copy",
                code="exchange.copy",
                hint="use copy=None",
            )
        t = tensor(obj, dtype=d)
        return t.requires_grad_() if requires_grad else t
    if d is not None and t.dtype is not d:
        if copy is False:
            raise ExchangeError(
                f"asarray: {t.dtype.name} becomes {d.name} only by a copy", code="exchange.copy", hint="use copy=None"
            )
        t = t.to(d)
    elif copy:
        t = t.clone()
    return t.requires_grad_() if requires_grad else t


def _from_array(obj: Any, copy: bool | None) -> Tensor:
    """By NumPy: also columns and frames of pandas and Polars, which give arrays."""
    a = np.asarray(obj)
    if a.dtype == object:  # a frame of columns of several kinds
        try:
            a = np.asarray(obj, np.float64)
        except (TypeError, ValueError):
            raise DTypeError(
                f"data of type {type(obj).__name__} are no numbers", code="dtype.data",
                hint="choose the numeric columns, and encode texts and categories first",
            ) from None  # fmt: skip
    if not a.flags.c_contiguous or not a.dtype.isnative or not a.flags.aligned:
        if copy is False:
            raise ExchangeError(
                f"an array of strides {a.strides} cannot be had without a copy",
                code="exchange.copy",
                hint="use copy=None",
            )
        a = np.array(a, a.dtype.newbyteorder("="), order="C", copy=True)
    return from_numpy(a)


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-d tensor over the memory of a buffer (bytes, bytearray, array, mmap), ``offset`` in bytes; nothing is copied.

    Raises ValueError where the buffer is too short or no whole number of elements.
    """
    a = np.frombuffer(buffer, as_dtype(dtype).numpy, count, offset)
    t = from_numpy(a)
    return t.requires_grad_() if requires_grad else t


def from_file(
    filename: Any, shared: bool = False, size: int = 0, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor of ``size`` elements over a file's bytes, which are read as they are looked at.

    shared: what is written through ``t.numpy()`` reaches the file, which grows to the size where it is shorter.
    Raises ValueError where a file that is not shared is too short.
    """
    d = as_dtype(dtype) if dtype is not None else default_float()
    if not size:
        t = from_numpy(np.empty(0, d.numpy))
    else:
        if shared:
            with open(filename, "ab") as f:
                f.truncate(max(f.tell(), size * d.itemsize))
        mapped = np.memmap(filename, np.uint8, "r+" if shared else "c", shape=(size * d.itemsize,))
        t = from_numpy(np.asarray(mapped).view(d.numpy))
    return t.requires_grad_() if requires_grad else t


# -- NumPy's protocols ------------------------------------------------------------------------------------


def __complex__(self: Tensor) -> complex:
    """The only element as a complex number."""
    return complex(self.item())


def __buffer__(self: Tensor, flags: int) -> memoryview:
    """The buffer protocol (PEP 688): ``memoryview(t)`` from Python 3.12 on, ``memoryview(t.numpy())`` before."""
    return self.numpy().data


# ufuncs whose name here is another one
_UFUNCS = {
    "invert": "bitwise_not", "left_shift": "bitwise_left_shift", "right_shift": "bitwise_right_shift", "fmod": "fmod",
    "power": "pow", "float_power": "float_power", "conjugate": "conj", "rint": "round", "fabs": "abs", "cbrt": "",
    "arctan2": "atan2", "mod": "remainder", "true_divide": "div", "divide": "div", "vecdot": "",
}  # fmt: skip
_REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin", "logical_and": "all", "logical_or": "any",
}  # fmt: skip


def __array_ufunc__(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy's ufuncs on tensors: gradloom's function of that name; NumPy's own into an ``out`` array."""
    from gradloom.functions import PUBLIC

    out = kwargs.pop("out", None)
    into = out[0] if isinstance(out, tuple) else out
    name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
    fn = PUBLIC.get(name)
    if not isinstance(into, np.ndarray) and set(kwargs) <= {"dtype", "axis", "keepdims"}:
        dtype = kwargs.get("dtype")
        result: Any = None
        if method == "__call__" and fn is not None and not set(kwargs) - {"dtype"}:
            operands = [x if _is_number(x) or isinstance(x, Tensor) else as_tensor(x) for x in inputs]
            result = fn(*(operands if dtype is None else [as_tensor(x).to(as_dtype(dtype)) for x in operands]))
        elif method == "reduce" and ufunc.__name__ in _REDUCTIONS and dtype is None:
            axis = kwargs.get("axis", 0)
            reduce = PUBLIC[_REDUCTIONS[ufunc.__name__]]
            result = reduce(inputs[0], axis, kwargs.get("keepdims", False))
        if result is not None:
            return into._write(result) if isinstance(into, Tensor) else result
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if any(t.requires_grad for t in tensors) and not isinstance(into, np.ndarray):
        raise GradientError(
            f"np.{ufunc.__name__}: gradloom has no function of that name, so its gradient would be lost",
            code="gradient.numpy", hint="pass tensor.detach(), or compose it of gradloom's functions",
        )  # fmt: skip
    arrays = [x.numpy() if isinstance(x, Tensor) else x for x in inputs]
    if out is not None:
        outs = out if isinstance(out, tuple) else (out,)
        if all(o is None or isinstance(o, np.ndarray) for o in outs):
            return getattr(ufunc, method)(*arrays, out=outs if len(outs) > 1 else outs[0], **kwargs)
        return into._write(as_tensor(np.asarray(getattr(ufunc, method)(*arrays, **kwargs))))
    found = getattr(ufunc, method)(*arrays, **kwargs)
    if isinstance(found, tuple):
        return tuple(as_tensor(np.asarray(x)) for x in found)
    return None if found is None else as_tensor(np.asarray(found))


def _is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float, complex)) and not isinstance(x, np.generic)


def _reduction(name: str) -> Callable[..., Any]:
    def run(a: Any, axis: Any = None, dtype: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
        from gradloom.functions import PUBLIC

        return PUBLIC[name](a if dtype is None else a.to(as_dtype(dtype)), axis, keepdims)

    return run


def _spread(name: str) -> Callable[..., Any]:
    def run(
        a: Any, axis: Any = None, dtype: None = None, out: None = None, ddof: float = 0, *, keepdims: bool = False
    ) -> Any:
        from gradloom.functions import PUBLIC

        return PUBLIC[name](a, axis, correction=ddof, keepdim=keepdims)

    return run


def _join(name: str) -> Callable[..., Any]:
    def run(arrays: Any, axis: int = 0, out: None = None) -> Any:
        from gradloom.functions import PUBLIC

        return PUBLIC[name]([as_tensor(x) for x in arrays], axis)

    return run


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{n: _reduction(n) for n in ("sum", "prod", "mean", "all", "any", "amax", "amin")},
    "max": _reduction("amax"), "min": _reduction("amin"), "var": _spread("var"), "std": _spread("std"),
    "concatenate": _join("cat"), "stack": _join("stack"),
}  # fmt: skip


def __array_function__(self: Tensor, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy's functions that are no ufuncs: reductions and joins by gradloom, all others by NumPy on the arrays."""
    rule = _FUNCTIONS.get(func.__name__) if func.__module__ == "numpy" else None
    if rule is not None and not any(isinstance(v, np.ndarray) for v in kwargs.values()):
        try:
            inspect.signature(rule).bind(*args, **kwargs)
        except TypeError:
            pass  # an argument that only NumPy knows
        else:
            return rule(*args, **kwargs)
    return func(*map(_array, args), **{k: _array(v) for k, v in kwargs.items()})


def _array(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.numpy()
    return type(x)(map(_array, x)) if type(x) in (list, tuple) else x
