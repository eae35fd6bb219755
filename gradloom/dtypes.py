"""Dtypes, and the one table of promotion.

Promotion follows PyTorch: operands fall in three ranks, Python numbers < 0-d tensors < tensors with dimensions.
A lower rank matters only where its category (bool < integer < floating) is higher than that of the ranks above it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from gradloom.errors import DTypeError

__all__ = [
    "DType", "as_dtype", "bfloat16", "bool_", "default_float", "float16", "float32", "float64", "int8", "int16",
    "int32", "int64", "promote", "result_type", "set_default_dtype", "uint8",
]  # fmt: skip


class DType:
    """An element type.

    Attributes
    ----------
    name: ``"float32"``, … code: the compiler's short name, ``"f32"``. numpy: the NumPy dtype.
    category: 0 bool, 1 integer, 2 floating. itemsize: bytes of an element.
    """

    __slots__ = ("_np", "category", "code", "is_floating", "is_floating_point", "itemsize", "name")

    def __init__(self, name: str, code: str, category: int, itemsize: int) -> None:
        self.name, self.code, self.category, self.itemsize = name, code, category, itemsize
        self.is_floating = self.is_floating_point = category == 2
        self._np: np.dtype | None = None

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype (of ml_dtypes for bfloat16)."""
        if self._np is None:
            if self.name == "bfloat16":
                import ml_dtypes

                self._np = np.dtype(ml_dtypes.bfloat16)
            else:
                self._np = np.dtype(self.name)
        return self._np

    def __repr__(self) -> str:
        return f"gradloom.{self.name}"

    def __reduce__(self) -> tuple:
        return as_dtype, (self.name,)


bool_ = DType("bool", "bool", 0, 1)
uint8 = DType("uint8", "u8", 1, 1)
int8 = DType("int8", "i8", 1, 1)
int16 = DType("int16", "i16", 1, 2)
int32 = DType("int32", "i32", 1, 4)
int64 = DType("int64", "i64", 1, 8)
float16 = DType("float16", "f16", 2, 2)
bfloat16 = DType("bfloat16", "bf16", 2, 2)
float32 = DType("float32", "f32", 2, 4)
float64 = DType("float64", "f64", 2, 8)

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
_BY_NAME = {d.name: d for d in ALL} | {
    "float": float32, "double": float64, "half": float16, "long": int64, "int": int32, "short": int16,
}  # fmt: skip
_default = [float32]


def default_float() -> DType:
    """The dtype of floating results that nothing else decides; float32 unless set."""
    return _default[0]


def set_default_dtype(dtype: Any) -> None:
    """Set the default floating dtype. Raises DTypeError for one that is not floating."""
    d = as_dtype(dtype)
    if not d.is_floating:
        raise DTypeError(f"the default dtype must be floating, got {d.name}", code="dtype.default")
    _default[0] = d


@lru_cache(maxsize=256)
def _from_numpy(d: np.dtype) -> DType:
    name = d.name
    if name not in _BY_NAME:
        raise DTypeError(
            f"dtype {name} is not supported", code="dtype.unknown", hint="use one of " + ", ".join(x.name for x in ALL)
        )
    return _BY_NAME[name]


def as_dtype(d: Any) -> DType:
    """A DType from a DType, a name, a NumPy dtype or the Python types bool, int, float."""
    if isinstance(d, DType):
        return d
    if d is float:
        return default_float()
    if d is int:
        return int64
    if d is bool:
        return bool_
    if isinstance(d, str):
        d = d.rsplit(".", 1)[-1]
        if d in _BY_NAME:
            return _BY_NAME[d]
    try:
        return _from_numpy(np.dtype(d))
    except TypeError:
        raise DTypeError(f"{d!r} is not a dtype", code="dtype.unknown") from None


_INT_ORDER = {"int8": 0, "int16": 1, "int32": 2, "int64": 3}


@lru_cache(maxsize=512)
def promote(a: DType, b: DType) -> DType:
    """The dtype that holds both, as PyTorch has it (float16 with bfloat16 gives float32; uint8 with int8 int16)."""
    if a is b:
        return a
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == 2:
        if {a.name, b.name} == {"float16", "bfloat16"}:
            return float32
        return a if a.itemsize > b.itemsize else b
    if uint8 in (a, b):
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    return a if _INT_ORDER[a.name] > _INT_ORDER[b.name] else b


def result_type(operands: Iterable[tuple[DType, int]]) -> DType:
    """The result dtype of operands given as (dtype, rank): rank 0 Python numbers, 1 0-d tensors, 2 tensors."""
    best: list[DType | None] = [None, None, None]
    for d, r in operands:
        cur = best[r]
        best[r] = d if cur is None else promote(cur, d)
    out: DType | None = None
    for r in (2, 1, 0):
        d2 = best[r]
        if d2 is None:
            continue
        if out is None:
            out = d2
        elif d2.category > out.category:
            out = default_float() if r == 0 and d2.category == 2 else d2
    assert out is not None
    return out
