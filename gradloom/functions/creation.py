"""New tensors: constants, ranges, the identity."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import as_dtype
from gradloom.functions.base import apply, const, sizes_of
from gradloom.functions.elementwise import _add, cast, eq, mul
from gradloom.functions.movement import broadcast_to, unsqueeze
from gradloom.graph.node import Aval
from gradloom.ops import structure as S
from gradloom.runtime.buffers import allocate
from gradloom.tape import TAPE, Value
from gradloom.tensor import Tensor, as_tensor

__all__ = "arange empty eye full full_like linspace ones ones_like zeros zeros_like".split()
FUNCTION_ONLY = __all__


def full(size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of one value."""
    shape = (int(size),) if isinstance(size, (int, np.integer)) else tuple(int(n) for n in size)
    d = as_dtype(
        dtype if dtype is not None else type(fill_value) if not isinstance(fill_value, Tensor) else fill_value.dtype
    )
    if isinstance(fill_value, Tensor):
        out = broadcast_to(cast(fill_value, d), shape)
    else:
        out = apply(S.full, (), (fill_value, shape, d, False))
    return out.requires_grad_() if requires_grad else out


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Zeros of a shape, in the default dtype unless given."""
    return full(sizes_of(size), 0.0, dtype=dtype or dtypes.default_float(), requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Ones of a shape, in the default dtype unless given."""
    return full(sizes_of(size), 1.0, dtype=dtype or dtypes.default_float(), requires_grad=requires_grad)


def empty(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Memory of a shape, its content undefined."""
    shape, d = sizes_of(size), as_dtype(dtype) if dtype is not None else dtypes.default_float()
    t = TAPE.make_tensor(Value(Aval(shape, d), None, allocate(builtins.max(1, math.prod(shape) * d.itemsize))))
    return t.requires_grad_() if requires_grad else t


def zeros_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Zeros of another tensor's shape and dtype."""
    return full(input.shape, 0.0, dtype=dtype or input.dtype)


def ones_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """Ones of another tensor's shape and dtype."""
    return full(input.shape, 1.0, dtype=dtype or input.dtype)


def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """One value in another tensor's shape and dtype."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype)


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None) -> Tensor:
    """start, start + step, … below end. Integers give int64."""
    if end is None:
        start, end = 0, start
    n = builtins.max(0, math.ceil((end - start) / step))
    integer = builtins.all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    d = as_dtype(dtype) if dtype is not None else dtypes.int64 if integer else dtypes.default_float()
    if start == 0 and step == 1:
        return apply(S.iota, (), (n, d))
    wide = dtypes.int64 if integer else dtypes.float64
    x = apply(S.iota, (), (n, wide))
    return cast(_add(mul(x, const(step)), const(start)), d)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None) -> Tensor:
    """``steps`` values from start to end, both included."""
    return as_tensor(np.linspace(start, end, steps), dtype=dtype or dtypes.default_float())


def eye(n: int, m: int | None = None, *, dtype: Any = None) -> Tensor:
    """Ones on the diagonal."""
    cols = n if m is None else m
    return cast(eq(unsqueeze(arange(n), 1), arange(cols)), dtype or dtypes.default_float())
