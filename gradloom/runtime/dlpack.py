"""DLPack: memory shared with other libraries, by capsules of the C structures that the standard describes.

https://dmlc.github.io/dlpack/latest/ . Both forms are known: the versioned one, with flags, and the one before it.
Whoever takes a capsule renames it and calls its deleter once; a capsule that nobody took frees what it holds itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.dtypes import ALL, DType
from gradloom.errors import DeviceError, DTypeError, ExchangeError
from gradloom.runtime.buffers import Buffer

__all__ = ["CPU", "capsule_of", "from_capsule"]

CPU = (1, 0)
_HOST = (1, 3)  # plain memory, and memory pinned for a GPU: both can be read here
_READ_ONLY, _COPIED = 1, 2


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Array(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32), ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class _Plain(ctypes.Structure):
    _fields_ = [("array", _Array), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("array", _Array),
    ]  # fmt: skip


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_FORMS = {b"dltensor_versioned": _Versioned, b"dltensor": _Plain}
_USED = {b"dltensor_versioned": b"used_dltensor_versioned", b"dltensor": b"used_dltensor"}

_api = ctypes.pythonapi
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(("PyCapsule_New", _api))
# the destructor gets a capsule whose count is 0 already, so its address must not become a Python object again
_valid_at = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_pointer_at = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(("PyCapsule_SetName", _api))

_exports: dict[int, Any] = {}
"""What others hold of ours: address of the structure to all that must live as long."""


def _release(address: int, _exports: dict[int, Any] = _exports) -> None:
    _exports.pop(address, None)


def _discard(capsule: int, _forms: tuple[bytes, ...] = tuple(_FORMS)) -> None:
    for name in _forms:
        if _valid_at(capsule, name):
            _release(_pointer_at(capsule, name))


_release_c = _Deleter(_release)
_discard_c = _Deleter(_discard)
# others may call them while the interpreter ends: they must outlive this module
for _keep in (_release_c, _discard_c, _exports):
    _api.Py_IncRef(ctypes.py_object(_keep))

_CODES = {"b": 6, "i": 0, "u": 1, "f": 2, "c": 5}
_NAMED = {"bfloat16": 4, "float8_e4m3fn": 10, "float8_e4m3fnuz": 11, "float8_e5m2": 12, "float8_e5m2fnuz": 13}


def _code(d: DType) -> tuple[int, int]:
    return _NAMED.get(d.name) or _CODES[d.numpy.kind], d.itemsize * 8


def capsule_of(
    buffer: Buffer, shape: Sequence[int], dtype: DType, *, versioned: bool, readonly: bool = False, copied: bool = False
) -> object:
    """A capsule over a C-contiguous buffer, which lives until its taker lets go.

    Raises ExchangeError for read-only memory in the form without flags: its taker could not know.
    """
    if readonly and not versioned:
        raise ExchangeError(
            "read-only memory cannot be shared with a library that asks for no DLPack version",
            code="exchange.readonly",
            hint="share a copy: tensor.clone()",
        )  # fmt: skip
    n = len(shape)
    sizes = (ctypes.c_int64 * max(1, n))(*shape)
    steps, step = [0] * n, 1
    for k in reversed(range(n)):
        steps[k] = step
        step *= shape[k]
    strides = (ctypes.c_int64 * max(1, n))(*steps)
    code, bits = _code(dtype)
    pointer = ctypes.POINTER(ctypes.c_int64)
    array = _Array(
        buffer.ptr, _Device(*CPU), n, _DataType(code, bits, 1), ctypes.cast(sizes, pointer),
        ctypes.cast(strides, pointer), 0,
    )  # fmt: skip
    deleter = ctypes.cast(_release_c, ctypes.c_void_p)
    flags = (_READ_ONLY if readonly else 0) | (_COPIED if copied else 0)
    made = _Versioned(1, 0, None, deleter, flags, array) if versioned else _Plain(array, None, deleter)
    address = ctypes.addressof(made)
    _exports[address] = (made, sizes, strides, buffer)
    name = b"dltensor_versioned" if versioned else b"dltensor"
    return _new(address, _NAME_POINTERS[name], ctypes.cast(_discard_c, ctypes.c_void_p))


# a capsule keeps the address of its name, so the names must stay where they are
_KEPT = {name: ctypes.create_string_buffer(name) for name in (*_FORMS, *_USED.values())}
_NAME_POINTERS: dict[bytes, Any] = {name: ctypes.addressof(b) for name, b in _KEPT.items()}
_USED_POINTERS: dict[bytes, Any] = {form: _NAME_POINTERS[used] for form, used in _USED.items()}


class _Foreign:
    """Another library's memory as NumPy sees it; the deleter is called when the last view of it is gone."""

    __slots__ = ("__array_interface__", "address", "deleter")

    def __init__(self, address: int, deleter: int | None, interface: dict[str, Any]) -> None:
        self.address, self.deleter, self.__array_interface__ = address, deleter, interface

    def __del__(self) -> None:
        if self.deleter:
            _Deleter(self.deleter)(self.address)


def from_capsule(capsule: object) -> tuple[np.ndarray, DType]:
    """The array that a capsule holds, with the strides it has there, and its dtype; nothing is copied.

    Raises
    ------
    ExchangeError: it is no DLPack capsule, was taken already, or is of a version or lanes that cannot be read.
    DeviceError: its memory is not this machine's. DTypeError: gradloom has no such dtype.
    """
    form = next((name for name in _FORMS if _valid(capsule, name)), None)
    if form is None:
        used = any(_valid(capsule, name) for name in _USED.values())
        raise ExchangeError(
            "from_dlpack: the capsule was taken already" if used else "from_dlpack: this is no DLPack capsule",
            code="exchange.capsule", hint="a capsule can be taken once; ask its tensor for another",
        )  # fmt: skip
    address = _pointer(capsule, form)
    held = _FORMS[form].from_address(address)
    a = held.array
    if isinstance(held, _Versioned) and held.major > 1:
        raise ExchangeError(f"from_dlpack: version {held.major}.{held.minor} is not known", code="exchange.version")
    if a.device.type not in _HOST:
        raise DeviceError(
            f"from_dlpack: the memory is on device {a.device.type}, found: cpu", code="device.missing",
            hint="move it to the CPU first",
        )  # fmt: skip
    dtype = next((d for d in ALL if _code(d) == (a.dtype.code, a.dtype.bits)), None)
    if dtype is None or a.dtype.lanes != 1:
        raise DTypeError(
            f"from_dlpack: type code {a.dtype.code} of {a.dtype.bits} bits and {a.dtype.lanes} lanes has no dtype here",
            code="dtype.dlpack",
        )
    shape = tuple(a.shape[k] for k in range(a.ndim))
    strides = tuple(a.strides[k] * dtype.itemsize for k in range(a.ndim)) if a.strides else None
    readonly = isinstance(held, _Versioned) and bool(held.flags & _READ_ONLY)
    empty = 0 in shape
    interface = {
        "data": (0 if empty else a.data + a.byte_offset, readonly), "shape": (0,) if empty else shape,
        "typestr": f"|V{dtype.itemsize}", "version": 3, "strides": None if empty else strides,
    }  # fmt: skip
    _rename(capsule, _USED_POINTERS[form])
    array = np.asarray(_Foreign(address, held.deleter, interface))
    return (np.empty(shape, dtype.numpy) if empty else array.view(dtype.numpy)), dtype
