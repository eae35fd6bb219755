"""Every function of the standard in every dtype that array-api-strict takes it in: dtype, shape and values."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest

import gradloom as gl
from gradloom import array_api as xp

DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"
).split()  # fmt: skip

_ONE = (
    "abs acos acosh all any argmax argmin asin asinh atan atanh bitwise_invert ceil conj cos cosh count_nonzero "
    "cumulative_prod cumulative_sum empty_like exp expm1 flip floor full_like imag isfinite isinf isnan log log10 "
    "log1p log2 logical_not max mean min negative nonzero ones_like positive prod real reciprocal round sign signbit "
    "sin sinh sort argsort sqrt square std sum tan tanh trunc unique_all unique_counts unique_inverse unique_values "
    "var zeros_like diff"
).split()
_TWO = (
    "add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal "
    "floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor maximum "
    "minimum multiply nextafter not_equal pow remainder subtract"
).split()

# a call for each function of arrays: of the namespace, a vector of four, another
CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    **{n: lambda m, x, y, n=n: getattr(m, n)(x) for n in _ONE},
    **{n: lambda m, x, y, n=n: getattr(m, n)(x, y) for n in _TWO},
    "full_like": lambda m, x, y: m.full_like(x, 1),
    "asarray": lambda m, x, y: m.asarray(x, copy=True),
    "astype": lambda m, x, y: m.astype(x, m.float64 if not m.isdtype(x.dtype, "complex floating") else m.complex128),
    "broadcast_arrays": lambda m, x, y: m.broadcast_arrays(x, m.reshape(y, (4, 1))),
    "broadcast_to": lambda m, x, y: m.broadcast_to(x, (2, 4)),
    "clip": lambda m, x, y: m.clip(x, m.min(y), None),
    "concat": lambda m, x, y: m.concat([x, y]),
    "expand_dims": lambda m, x, y: m.expand_dims(x, axis=0),
    "matmul": lambda m, x, y: m.matmul(x, y),
    "matrix_transpose": lambda m, x, y: m.matrix_transpose(m.reshape(x, (2, 2))),
    "meshgrid": lambda m, x, y: m.meshgrid(x, y),
    "moveaxis": lambda m, x, y: m.moveaxis(m.reshape(x, (2, 2)), 0, 1),
    "permute_dims": lambda m, x, y: m.permute_dims(m.reshape(x, (2, 2)), (1, 0)),
    "repeat": lambda m, x, y: m.repeat(x, 2),
    "reshape": lambda m, x, y: m.reshape(x, (2, 2)),
    "result_type": lambda m, x, y: m.zeros(1, dtype=m.result_type(x, y)),
    "roll": lambda m, x, y: m.roll(x, 1),
    "searchsorted": lambda m, x, y: m.searchsorted(m.sort(x), y),
    "squeeze": lambda m, x, y: m.squeeze(m.reshape(x, (1, 4)), axis=0),
    "stack": lambda m, x, y: m.stack([x, y]),
    "take": lambda m, x, y: m.take(x, m.asarray([1, 0])),
    "take_along_axis": lambda m, x, y: m.take_along_axis(x, m.asarray([1, 0]), axis=0),
    "tensordot": lambda m, x, y: m.tensordot(x, y, axes=1),
    "tile": lambda m, x, y: m.tile(x, (2,)),
    "tril": lambda m, x, y: m.tril(m.reshape(x, (2, 2))),
    "triu": lambda m, x, y: m.triu(m.reshape(x, (2, 2))),
    "unstack": lambda m, x, y: m.unstack(x),
    "vecdot": lambda m, x, y: m.vecdot(x, y),
    "where": lambda m, x, y: m.where(m.asarray([True, False, True, False]), x, y),
}
# functions that take no array, or whose arrays are no data; test_standard.py has them. Of can_cast the standard leaves
# open what it says of integers and floats; isin and broadcast_shapes are newer than 2024.12
OTHERS = set("arange can_cast empty eye finfo from_dlpack full iinfo isdtype linspace ones zeros".split())
NEWER = {"isin", "broadcast_shapes"}


def values(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    if dtype == "bool":
        return np.array([True, False, True, True]), np.array([True, True, False, True])
    x, y = np.array([1, 3, 2, 0]), np.array([2, 1, 1, 3])
    if dtype.startswith(("float", "complex")):
        x, y = x / 4 + 0.1, y / 4 + 0.05
    if dtype.startswith("complex"):
        x, y = x + 0.5j * y, y - 0.25j
    return x.astype(dtype), y.astype(dtype)


def test_every_function_of_the_standard_is_called() -> None:
    standard = {n for n in strict.__all__ if inspect.isfunction(getattr(strict, n)) and "flags" not in n}
    assert standard - {n for n in standard if n.startswith("__")} <= set(CALLS) | OTHERS | NEWER
    assert not set(CALLS) & OTHERS


@pytest.fixture(autouse=True)
def plainly() -> Any:
    gl.set_target("reference")
    yield
    gl.set_target("cpu")


@pytest.mark.parametrize("name", sorted(n for n in CALLS if hasattr(strict, n)))
def test_in_every_dtype(name: str) -> None:
    wrong = []
    for dtype in DTYPES:
        x, y = values(dtype)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                want = CALLS[name](strict, strict.asarray(x), strict.asarray(y))
        except TypeError:
            continue  # the standard does not ask for it
        got = CALLS[name](xp, xp.asarray(x), xp.asarray(y))
        for a, b in zip(*(list(v) if isinstance(v, (tuple, list)) else [v] for v in (got, want)), strict=True):
            c = np.asarray(b._array)
            if a.dtype.name != c.dtype.name or tuple(a.shape) != c.shape:
                wrong.append(f"{dtype}: {a.dtype.name}{tuple(a.shape)}, expected {c.dtype.name}{c.shape}")
            elif name != "empty_like" and not np.allclose(a.numpy(), c, 1e-5, 1e-6, equal_nan=True):
                wrong.append(f"{dtype}: {a.numpy()}, expected {c}")
    assert not wrong, "\n".join(wrong)
