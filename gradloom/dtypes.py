"""Dtypes, and the one table of promotion; ``docs/promotion.md`` tells it in words.

Promotion follows PyTorch: operands fall in three ranks, Python numbers < 0-d tensors < tensors with dimensions.
A lower rank matters only where its category (bool < integer < floating < complex) is higher than that of the ranks
above it. Where PyTorch refuses (uint16, uint32 and uint64 with other integers) the Array API's table is followed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from gradloom.errors import DTypeError

__all__ = [
    "DType", "as_dtype", "bfloat16", "bool_", "complex64", "complex128", "default_complex", "default_float",
    "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "promote",
    "result_type", "set_default_dtype", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip

BOOL, INTEGER, FLOATING, COMPLEX = range(4)
_OF_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


class DType(str):
    """An element type, and its name: it equals the text ``"float32"`` and is found under it in dicts.

    That it is a text, rather than compares like one, keeps hashes and comparisons in the interpreter's own code. NumPy
    takes it where a dtype is asked for, bfloat16 and float8 once ml_dtypes is imported; ``numpy`` serves always.

    Attributes
    ----------
    name: ``"float32"``, … code: the compiler's short name, ``"f32"``. numpy: the NumPy dtype.
    category: 0 bool, 1 integer, 2 floating, 3 complex. itemsize: bytes of an element.
    is_floating_point, is_complex, is_signed: as in PyTorch; is_floating is a short name of the first.
    native: whether kernels compute with it; the others are computed by NumPy. storage_only: values can only be
    converted.
    """

    __slots__ = (
        "_np", "category", "code", "is_complex", "is_floating", "is_floating_point", "is_signed", "itemsize", "name",
        "native", "storage_only",
    )  # fmt: skip

    def __new__(cls, name: str, code: str, category: int, itemsize: int) -> DType:
        """The text of the name."""
        return str.__new__(cls, name)

    def __init__(self, name: str, code: str, category: int, itemsize: int) -> None:
        self.name, self.code, self.category, self.itemsize = name, code, category, itemsize
        self.is_floating = self.is_floating_point = category == FLOATING
        self.is_complex = category == COMPLEX
        self.is_signed = category != BOOL and code[0] != "u"
        self.storage_only = name.startswith("float8")
        self.native = not (self.is_complex or self.storage_only)
        self._np: np.dtype | None = None

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype (of ml_dtypes for bfloat16 and float8)."""
        if self._np is None:
            if self.name in _OF_ML_DTYPES:
                import ml_dtypes

                self._np = np.dtype(getattr(ml_dtypes, self.name))
            else:
                self._np = np.dtype(self.name)
        return self._np

    def to_complex(self) -> DType:
        """The complex dtype of this precision: complex128 for float64, complex64 for the other floating dtypes.

        Raises DTypeError for bool and integers.
        """
        if self.is_complex:
            return self
        if not self.is_floating:
            raise DTypeError(f"{self.name} has no complex counterpart", code="dtype.complex", hint="use a float dtype")
        return complex128 if self is float64 else complex64

    def to_real(self) -> DType:
        """The dtype of real and imaginary parts; itself where it is not complex."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def __repr__(self) -> str:
        return f"gradloom.{self.name}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> tuple:
        return as_dtype, (self.name,)


bool_ = DType("bool", "bool", BOOL, 1)
uint8 = DType("uint8", "u8", INTEGER, 1)
uint16 = DType("uint16", "u16", INTEGER, 2)
uint32 = DType("uint32", "u32", INTEGER, 4)
uint64 = DType("uint64", "u64", INTEGER, 8)
int8 = DType("int8", "i8", INTEGER, 1)
int16 = DType("int16", "i16", INTEGER, 2)
int32 = DType("int32", "i32", INTEGER, 4)
int64 = DType("int64", "i64", INTEGER, 8)
float8_e4m3fn = DType("float8_e4m3fn", "f8e4m3", FLOATING, 1)
float8_e5m2 = DType("float8_e5m2", "f8e5m2", FLOATING, 1)
float16 = DType("float16", "f16", FLOATING, 2)
bfloat16 = DType("bfloat16", "bf16", FLOATING, 2)
float32 = DType("float32", "f32", FLOATING, 4)
float64 = DType("float64", "f64", FLOATING, 8)
complex64 = DType("complex64", "c64", COMPLEX, 8)
complex128 = DType("complex128", "c128", COMPLEX, 16)

ALL = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64, float8_e4m3fn, float8_e5m2, float16, bfloat16,
    float32, float64, complex64, complex128,
)  # fmt: skip
_BY_NAME = {d.name: d for d in ALL} | {
    "float": float32, "double": float64, "half": float16, "long": int64, "int": int32, "short": int16,
    "cfloat": complex64, "cdouble": complex128,
}  # fmt: skip
_default = [float32]


def default_float() -> DType:
    """The dtype of floating results that nothing else decides; float32 unless set."""
    return _default[0]


def default_complex() -> DType:
    """The dtype of complex results that nothing else decides: complex64, or complex128 where the default is float64."""
    return _default[0].to_complex()


def set_default_dtype(dtype: Any) -> bool:
    """Set the default floating dtype, and say whether that changed it. Raises DTypeError for one that is not floating.

    What the tape predicts depends on it: users call :func:`gradloom.set_default_dtype`, which tells the tape.
    """
    d = as_dtype(dtype)
    if not d.is_floating or d.storage_only:
        raise DTypeError(
            f"the default dtype must be floating, got {d.name}", code="dtype.default",
            hint="use float16, bfloat16, float32 or float64",
        )  # fmt: skip
    changed = d is not _default[0]
    _default[0] = d
    return changed


@lru_cache(maxsize=256)
def _from_numpy(d: np.dtype) -> DType:
    name = d.name
    if name not in _BY_NAME:
        raise DTypeError(
            f"dtype {name} is not supported", code="dtype.unknown", hint="use one of " + ", ".join(x.name for x in ALL)
        )
    return _BY_NAME[name]


def as_dtype(d: Any) -> DType:
    """A DType from a DType, a name, a NumPy dtype or the Python types bool, int, float, complex."""
    if isinstance(d, DType):
        return d
    if d is float:
        return default_float()
    if d is int:
        return int64
    if d is bool:
        return bool_
    if d is complex:
        return default_complex()
    if isinstance(d, str):
        d = d.rsplit(".", 1)[-1]
        if d in _BY_NAME:
            return _BY_NAME[d]
        if d in ("complex32", "chalf"):
            raise DTypeError(
                f"dtype {d} is not offered: NumPy has no complex numbers of half precision", code="dtype.complex32",
                hint="use complex64",
            )  # fmt: skip
    try:
        return _from_numpy(np.dtype(d))
    except TypeError:
        raise DTypeError(f"{d!r} is not a dtype", code="dtype.unknown") from None


_SIGNED = {1: int8, 2: int16, 4: int32, 8: int64}


@lru_cache(maxsize=512)
def promote(a: DType, b: DType) -> DType:
    """The dtype that holds both, as PyTorch has it (float16 with bfloat16 gives float32; uint8 with int8 int16).

    Raises DTypeError for float8 with anything else, and for uint64 with a signed integer, which no integer dtype holds.
    """
    if a is b:
        return a
    if a.storage_only or b.storage_only:
        raise DTypeError(
            f"{a.name} and {b.name} have no common dtype: float8 tensors can only be converted", code="dtype.promote",
            hint="convert with .to(dtype) first",
        )  # fmt: skip
    if a.category < b.category:
        a, b = b, a
    if a.is_complex:
        return complex128 if complex128 in (a, b) or b is float64 else complex64
    if a.category != b.category:
        return a
    if a.is_floating:
        if a.itemsize == b.itemsize:  # float16 and bfloat16
            return float32
        return a if a.itemsize > b.itemsize else b
    if a.is_signed == b.is_signed:
        return a if a.itemsize > b.itemsize else b
    signed, other = (a, b) if a.is_signed else (b, a)
    if signed.itemsize > other.itemsize:
        return signed
    if other is uint64:
        raise DTypeError(
            f"{a.name} and {b.name} have no common integer dtype", code="dtype.promote",
            hint="convert one of them with .to(dtype)",
        )  # fmt: skip
    return _SIGNED[2 * other.itemsize]


def _over(high: DType | None, low: DType | None) -> DType | None:
    """What a rank and all those below it give; None where there is none."""
    if high is None or low is None:
        return high or low
    if high.is_floating and low.is_complex:
        return high.to_complex()
    if high.category >= FLOATING or high.category >= low.category > BOOL:
        return high
    return promote(high, low)


def result_type(operands: Iterable[tuple[DType, int]]) -> DType:
    """The result dtype of operands given as (dtype, rank): rank 0 Python numbers, 1 0-d tensors, 2 tensors."""
    best: list[DType | None] = [None, None, None]
    for d, r in operands:
        cur = best[r]
        best[r] = d if cur is None else promote(cur, d)
    number, tensor = best[0], _over(best[2], best[1])
    if tensor is None:  # numbers among themselves keep Python's precision
        assert number is not None
        return number
    if number is not None and number.category >= FLOATING:
        number = default_float() if number.is_floating else default_complex()
    out = _over(tensor, number)
    assert out is not None
    return out
