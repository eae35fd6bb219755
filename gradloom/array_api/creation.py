"""New arrays, with the standard's signatures."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.devices import resolve
from gradloom.dtypes import DType, as_dtype
from gradloom.functions import PUBLIC as G
from gradloom.functions import interchange
from gradloom.tensor import Tensor

__all__ = [
    "arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace", "meshgrid",
    "ones", "ones_like", "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip

from_dlpack = interchange.from_dlpack


def _shape(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)


def asarray(obj: Any, /, *, dtype: DType | None = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """An array of a number, nested sequences, a buffer or another array; see :func:`gradloom.asarray`."""
    return interchange.asarray(obj, dtype=dtype, device=device, copy=copy)


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """start, start + step, … below stop; whole numbers give the default integer dtype."""
    resolve(device)
    if stop is None:
        start, stop = 0, start
    return G["arange"](start, stop, step, dtype=dtype)


def empty(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """An array with undefined elements."""
    resolve(device)
    return G["empty"](_shape(shape), dtype=dtype)


def empty_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """An array with undefined elements in the shape and dtype of another."""
    return empty(tuple(x.shape), dtype=dtype or x.dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Ones on the k-th diagonal."""
    resolve(device)
    return G["eye"](n_rows, n_rows if n_cols is None else n_cols, k=k, dtype=dtype)


def full(shape: Any, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """An array of one value; its dtype is that of the value where none is given."""
    resolve(device)
    if dtype is None and isinstance(fill_value, complex):
        dtype = dtypes.default_float().to_complex()
    return G["full"](_shape(shape), fill_value, dtype=dtype)


def full_like(x: Tensor, /, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """An array of one value in the shape and dtype of another."""
    return full(tuple(x.shape), fill_value, dtype=dtype or x.dtype, device=device)


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: DType | None = None, device: Any = None, endpoint: bool = True
) -> Tensor:
    """``num`` values from start to stop, the last one included with ``endpoint``."""
    resolve(device)
    if dtype is None:
        f = dtypes.default_float()
        dtype = f.to_complex() if isinstance(start, complex) or isinstance(stop, complex) else f
    if as_dtype(dtype).is_complex:
        return interchange.asarray(np.linspace(start, stop, num, endpoint), dtype=dtype)
    return G["linspace"](start, stop, num, endpoint=endpoint, dtype=dtype)


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Coordinates of a grid; ``"xy"`` has the first two axes exchanged."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing {indexing!r}; expected 'xy' or 'ij'")
    return list(G["meshgrid"](*arrays, indexing=indexing))


def ones(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Ones."""
    resolve(device)
    return G["ones"](_shape(shape), dtype=dtype)


def ones_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Ones in the shape and dtype of another array."""
    return ones(tuple(x.shape), dtype=dtype or x.dtype, device=device)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The part of matrices on and below the k-th diagonal, zeros above."""
    return G["tril"](x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The part of matrices on and above the k-th diagonal, zeros below."""
    return G["triu"](x, k)


def zeros(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Zeros."""
    resolve(device)
    return G["zeros"](_shape(shape), dtype=dtype)


def zeros_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Zeros in the shape and dtype of another array."""
    return zeros(tuple(x.shape), dtype=dtype or x.dtype, device=device)
