"""``make_tensor``: random values of any shape and dtype within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.devices import resolve
from gradloom.dtypes import as_dtype
from gradloom.random import default_generator
from gradloom.tensor import Tensor, tensor

__all__ = ["make_tensor"]


def make_tensor(
    *shape: Any, dtype: Any, device: Any = "cpu", low: float | None = None, high: float | None = None,
    requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of values drawn evenly from [low, high), by default [-9, 9), uint8 [0, 9), bool both.

    exclude_zero: zeros become the smallest positive value. noncontiguous, memory_format: accepted; memory is always
    contiguous here. Raises ValueError where low is not below high.
    """
    resolve(device)
    d = as_dtype(dtype)
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(map(int, shape))
    rng = np.random.default_rng(list(default_generator.draw()))
    kind = d.numpy.kind
    whole = kind in "iu"
    lo = low if low is not None else 0 if kind in "bu" else -9
    hi = high if high is not None else 2 if kind == "b" else 10 if whole else 9
    if lo > hi or (lo == hi and not whole and low is not None and high is not None):
        raise ValueError(f"make_tensor: low={low} must be below high={high}")
    if kind == "b":
        a = rng.integers(0, 2, sizes).astype(bool)
    elif whole:
        a = rng.integers(int(lo), max(int(lo) + 1, int(hi)), sizes)
    elif kind == "c":
        a = rng.uniform(lo, hi, sizes) + 1j * rng.uniform(lo, hi, sizes)
    else:
        a = rng.uniform(lo, hi, sizes)
    a = np.asarray(a).astype(d.numpy)
    if exclude_zero:
        tiny = 1 if kind in "biu" else np.finfo(np.float32 if d.itemsize <= 4 else np.float64).tiny
        a = np.where(a == 0, np.asarray(tiny).astype(d.numpy), a)
    return tensor(np.asarray(a), dtype=d, requires_grad=requires_grad)
