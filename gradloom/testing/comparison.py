"""``assert_close``: PyTorch's comparison, its tolerances and its messages."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.tensor import Tensor, as_tensor

__all__ = ["assert_close"]

_TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip
_Message = str | Callable[[str], str] | None


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: _Message = None,
) -> None:
    """Raise AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere.

    Tensors, arrays, numbers, and sequences and mappings of them, compared item by item. Dtypes and shapes must be the
    same (an array beside a tensor need not have its dtype).

    Parameters
    ----------
    rtol, atol: both or neither; by default those of the dtype, the larger ones where two differ (float32: 1.3e-6 and
    1e-5; integers and bool: 0). equal_nan: NaN equals NaN. check_dtype: whether dtypes must agree. check_device,
    check_layout, check_stride: always true here, where there is one of each. allow_subclasses: False refuses tensors of
    different classes. msg: the message, or a function that makes one of the usual message.

    Raises
    ------
    ValueError: only one of rtol and atol is given. TypeError: the inputs cannot be compared.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            f"rtol and atol must both be specified or both be unspecified, but got rtol={rtol} and atol={atol}"
        )
    todo: list[tuple[Any, Any, tuple]] = [(actual, expected, ())]
    while todo:
        a, b, path = todo.pop()
        if _is_sequence(a) and _is_sequence(b):
            if len(a) != len(b):
                _fail(f"The length of the sequences mismatch: {len(a)} != {len(b)}", path, msg)
            todo += reversed([(x, y, (*path, k)) for k, (x, y) in enumerate(zip(a, b, strict=True))])
        elif isinstance(a, Mapping) and isinstance(b, Mapping):
            if set(a) != set(b):
                missing, extra = sorted(set(b) - set(a), key=repr), sorted(set(a) - set(b), key=repr)
                _fail(
                    "The keys of the mappings do not match:\n"
                    f"Missing keys in the actual mapping: {missing}\nAdditional keys in the actual mapping: {extra}",
                    path, msg,
                )  # fmt: skip
            todo += reversed([(a[k], b[k], (*path, k)) for k in b])
        elif _is_number(a) and _is_number(b):
            _numbers(a, b, rtol, atol, equal_nan, check_dtype, path, msg)
        elif isinstance(a, _LIKE) and isinstance(b, _LIKE):
            if not allow_subclasses and type(a) is not type(b):
                raise TypeError(f"tensors of different classes: {type(a).__name__} and {type(b).__name__}")
            both = isinstance(a, Tensor) == isinstance(b, Tensor)
            _tensors(as_tensor(a), as_tensor(b), rtol, atol, equal_nan, check_dtype and both, path, msg)
        elif a is None and b is None:
            continue
        else:
            raise TypeError(f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.{_at(path)}")


_LIKE = (Tensor, np.ndarray, np.generic, numbers.Number)


def _is_number(x: Any) -> bool:
    return isinstance(x, numbers.Number) and not isinstance(x, np.generic)


def _is_sequence(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, (str, bytes))


def _at(path: tuple) -> str:
    return f"\n\nThe failure occurred for item {''.join(f'[{k!r}]' for k in path)}" if path else ""


def _fail(text: str, path: tuple, msg: _Message) -> None:
    text += _at(path)
    raise AssertionError(msg(text) if callable(msg) else text if msg is None else msg)


def _tolerances(a: DType, b: DType, rtol: float | None, atol: float | None) -> tuple[float, float]:
    if rtol is not None and atol is not None:
        return rtol, atol
    one, two = _TOLERANCES.get(a.name, (0.0, 0.0)), _TOLERANCES.get(b.name, (0.0, 0.0))
    return max(one[0], two[0]), max(one[1], two[1])


def _numbers(
    a: Any,
    b: Any,
    rtol: float | None,
    atol: float | None,
    equal_nan: bool,
    check_dtype: bool,
    path: tuple,
    msg: _Message,
) -> None:
    if check_dtype and type(a) is not type(b):
        _fail(f"The (d)types do not match: {type(a)} != {type(b)}.", path, msg)
    kinds = [
        dtypes.as_dtype("complex128" if isinstance(x, complex) else "float64" if isinstance(x, float) else "int64")
        for x in (a, b)
    ]
    r, t = _tolerances(kinds[0], kinds[1], rtol, atol)
    with np.errstate(all="ignore"):
        gap = abs(a - b)
        fits = a == b or (equal_nan and a != a and b != b) or (np.isfinite(gap) and gap <= t + r * abs(b))
    if fits:
        return
    if not (r or t):
        _fail(f"Scalars are not equal!\n\nExpected {b} but got {a}.\nAbsolute difference: {gap}", path, msg)
    ratio = gap / abs(b) if b else float("inf")
    _fail(
        f"Scalars are not close!\n\nExpected {b} but got {a}.\nAbsolute difference: {gap} (up to {t} allowed)\n"
        f"Relative difference: {ratio} (up to {r} allowed)",
        path, msg,
    )  # fmt: skip


def _tensors(
    a: Tensor, b: Tensor, rtol: float | None, atol: float | None, equal_nan: bool, check_dtype: bool, path: tuple,
    msg: _Message,
) -> None:  # fmt: skip
    if a.shape != b.shape:
        _fail(f"The values for attribute 'shape' do not match: {tuple(a.shape)} != {tuple(b.shape)}.", path, msg)
    if check_dtype and a.dtype is not b.dtype:
        _fail(f"The values for attribute 'dtype' do not match: {a.dtype!r} != {b.dtype!r}.", path, msg)
    r, t = _tolerances(a.dtype, b.dtype, rtol, atol)
    x, y = _wide(a.detach().numpy()), _wide(b.detach().numpy())
    with np.errstate(all="ignore"):
        exact = x.dtype.kind in "biu" and y.dtype.kind in "biu"
        if exact:
            x, y = x.astype(object) if x.dtype != y.dtype else x, y.astype(object) if x.dtype != y.dtype else y
            gap = np.abs(x.astype(np.float64) - y.astype(np.float64))
        else:
            gap = np.abs(x - y)
        size = np.abs(y).astype(np.float64)
        fits = (x == y) | (np.isfinite(gap) & (gap <= t + r * size) if (r or t) else False)
        if equal_nan and not exact:
            fits = fits | (np.isnan(x) & np.isnan(y))
    if np.all(fits):
        return
    wrong = np.asarray(~np.asarray(fits, bool))
    count = int(wrong.sum())
    with np.errstate(all="ignore"):
        ratio = np.where(wrong, gap / size, 0.0)
    gap = np.where(wrong, gap, 0.0)
    equal = not (r or t)
    lead = "Tensor-likes are not equal!" if equal else "Tensor-likes are not close!"
    if not x.ndim:
        limit = ("", "") if equal else (f" (up to {t} allowed)", f" (up to {r} allowed)")
        lead = lead.replace("Tensor-likes", "Scalars")
        _fail(
            f"{lead}\n\nExpected {b.item()} but got {a.item()}.\nAbsolute difference: {float(gap)}{limit[0]}\n"
            f"Relative difference: {float(ratio)}{limit[1]}",
            path, msg,
        )  # fmt: skip
    limit = ("", "") if equal else (f" (up to {t} allowed)", f" (up to {r} allowed)")
    lines = [f"{lead}\n", f"Mismatched elements: {count} / {wrong.size} ({100 * count / wrong.size:.1f}%)"]
    for name, values, allowed in (("absolute", gap, limit[0]), ("relative", ratio, limit[1])):
        flat = np.where(np.isnan(values), np.inf, values)
        at = np.unravel_index(int(np.argmax(flat)), values.shape)
        place = tuple(int(k) for k in at)
        lines.append(f"Greatest {name} difference: {float(values[at])} at index {place}{allowed}")
    _fail("\n".join(lines), path, msg)


def _wide(a: np.ndarray) -> np.ndarray:
    if a.dtype.kind in "biu":
        return a
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)
