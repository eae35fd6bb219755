"""Dtypes as the standard has them: its promotion table, its questions about dtypes, and numbers beside arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom.devices import resolve
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError
from gradloom.functions import PUBLIC as G
from gradloom.tensor import Tensor

__all__ = [
    "FInfo", "IInfo", "astype", "can_cast", "common", "finfo", "iinfo", "isdtype", "pair",
    "result_type",
]  # fmt: skip

STANDARD = (
    dtypes.bool_, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.uint16, dtypes.uint32,
    dtypes.uint64, dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128,
)  # fmt: skip

KINDS = {
    "bool": lambda d: d is dtypes.bool_,
    "signed integer": lambda d: d.numpy.kind == "i",
    "unsigned integer": lambda d: d.numpy.kind == "u",
    "integral": lambda d: d.numpy.kind in "iu",
    "real floating": lambda d: d.is_floating_point,
    "complex floating": lambda d: d.is_complex,
    "numeric": lambda d: d is not dtypes.bool_,
}


class FInfo(NamedTuple):
    """Limits of a floating dtype (of the parts, for a complex one)."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IInfo(NamedTuple):
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_of(x: Any) -> DType:
    return x.dtype if isinstance(x, Tensor) else as_dtype(x)


def finfo(type: Any, /) -> FInfo:
    """Limits of a floating or complex dtype, or of an array's. Raises DTypeError for another."""
    d = _dtype_of(type)
    real = d.to_real() if d.is_complex else d
    if not real.is_floating_point:
        raise DTypeError(f"finfo: {d.name} is not floating", code="dtype.finfo", hint="use iinfo")
    if real.name in ("float16", "float32", "float64"):
        i: Any = np.finfo(real.numpy)
    else:
        import ml_dtypes

        i = ml_dtypes.finfo(real.numpy)
    return FInfo(int(i.bits), float(i.eps), float(i.max), float(i.min), float(i.smallest_normal), real)


def iinfo(type: Any, /) -> IInfo:
    """Limits of an integer dtype, or of an array's. Raises DTypeError for another."""
    d = _dtype_of(type)
    if d.numpy.kind not in "iu":
        raise DTypeError(f"iinfo: {d.name} is no integer dtype", code="dtype.iinfo", hint="use finfo")
    i = np.iinfo(d.numpy)
    return IInfo(int(i.bits), int(i.max), int(i.min), d)


def isdtype(dtype: DType, kind: DType | str | tuple[DType | str, ...]) -> bool:
    """Whether a dtype is of a kind: one of the standard's names, a dtype, or a tuple of these, any of which."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str) and not isinstance(kind, DType):
        if kind not in KINDS:
            raise ValueError(f"isdtype: kind {kind!r}; expected one of {', '.join(KINDS)}, or a dtype")
        return bool(KINDS[kind](dtype))
    return as_dtype(dtype) is as_dtype(kind)


def can_cast(from_: Any, to: DType, /) -> bool:
    """Whether every value of the first is one of the second: the table of promotion says so."""
    a, b = _dtype_of(from_), as_dtype(to)
    if a is b:
        return True
    if a.category != b.category:  # between kinds, only towards the wider one
        return a.category < b.category and a is not dtypes.bool_ and dtypes.promote(a, b) is b
    return dtypes.promote(a, b) is b


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that arrays, dtypes and Python numbers promote to; arrays of any rank count alike.

    Raises TypeError without an array or dtype.
    """
    found: DType | None = None
    numbers = []
    for x in arrays_and_dtypes:
        if isinstance(x, (bool, int, float, complex)) and not isinstance(x, np.generic):
            numbers.append(x)
            continue
        d = _dtype_of(x)
        found = d if found is None else dtypes.promote(found, d)
    if found is None:
        raise TypeError("result_type needs at least one array or dtype")
    for n in numbers:
        found = _with_number(found, n)
    return found


def _with_number(d: DType, x: complex) -> DType:
    """The dtype of an array beside a Python number."""
    if isinstance(x, bool):
        fits = True
    elif isinstance(x, int):
        fits = d is not dtypes.bool_
    elif isinstance(x, float):
        fits = d.is_floating_point or d.is_complex
    else:
        if d.is_floating_point:
            return d.to_complex()
        fits = d.is_complex
    if not fits or (isinstance(x, bool) and d is not dtypes.bool_):
        raise DTypeError(
            f"a Python {type(x).__name__} beside an array of dtype {d.name} is of another kind", code="dtype.number",
            hint="convert the array with astype, or the number",
        )  # fmt: skip
    return d


def astype(x: Tensor, dtype: DType, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """The elements converted; with ``copy=False`` the array itself where its dtype is that already."""
    resolve(device)
    d = as_dtype(dtype)
    if x.dtype is d:
        return x.clone() if copy else x
    if x.dtype.is_complex and not d.is_complex:
        if d is not dtypes.bool_:
            raise DTypeError(
                f"astype: complex values have no {d.name} counterpart", code="dtype.complex", hint="take real(x) first"
            )
    return x.to(d)


def common(arrays: Any) -> list[Tensor]:
    """Arrays brought to the one dtype that they promote to."""
    listed = list(arrays)
    d = result_type(*listed)
    return [x if x.dtype is d else x.to(d) for x in listed]


def pair(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Two operands, one of which may be a Python number, in the dtype that they promote to."""
    if not isinstance(x1, Tensor) and not isinstance(x2, Tensor):
        raise TypeError(f"expected an array beside a number, got {type(x1).__name__} and {type(x2).__name__}")
    d = result_type(x1, x2)
    a, b = ((x if x.dtype is d else x.to(d)) if isinstance(x, Tensor) else G["full"]((), x, dtype=d) for x in (x1, x2))
    return a, b
