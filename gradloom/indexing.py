"""Reading and writing by index: slices, integers, new axes, ellipsis as views; index tensors and masks as gathers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import IndexRangeError, ShapeError
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.tensor import Tensor, _view, as_tensor

__all__ = ["getitem", "setitem"]


def _parse(x: Tensor, index: Any) -> tuple[tuple, tuple[int, ...], tuple[int, ...], list[tuple[int, Tensor]]]:
    """(region, shape after integers and new axes, ..., advanced indices by their axis in that shape)."""
    items = list(index) if isinstance(index, tuple) else [index]
    expanded: list[Any] = []
    masks: list[tuple[int, Tensor]] = []  # with their places in ``expanded``
    for it in items:
        if (
            isinstance(it, (list, np.ndarray))
            or (isinstance(it, Tensor) and it.ndim)
            or (isinstance(it, Tensor) and it.dtype is dtypes.bool_)
        ):
            t = as_tensor(it)
            if t.dtype is dtypes.bool_:
                masks.append((len(expanded), t))
                expanded.extend(as_tensor(np.ascontiguousarray(a)) for a in np.nonzero(t.numpy()))
                continue
            expanded.append(t)
        elif isinstance(it, Tensor):
            expanded.append(int(it))
        else:
            expanded.append(it)
    used = sum(1 for it in expanded if it is not None and it is not Ellipsis)
    if used > x.ndim:
        raise IndexRangeError(f"index: {used} indices for a tensor of {x.ndim} dimensions", code="index.rank")
    if not any(it is Ellipsis for it in expanded):
        expanded.append(Ellipsis)
    at = next(k for k, it in enumerate(expanded) if it is Ellipsis)
    expanded[at : at + 1] = [slice(None)] * (x.ndim - used)
    for place, mask in masks:
        if place > at:
            place += x.ndim - used - 1
        _check_mask(x, mask, sum(1 for it in expanded[:place] if it is not None))
    starts, stops, steps, shape, advanced = [], [], [], [], []
    axis = 0
    for it in expanded:
        if it is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        if isinstance(it, slice):
            b, e, s = it.indices(n)
            m = len(range(b, e, s))
            starts.append(b if m else 0)
            stops.append(e if m else 0)
            steps.append(s if m else 1)
            shape.append(m)
        elif isinstance(it, Tensor):
            starts.append(0)
            stops.append(n)
            steps.append(1)
            advanced.append((len(shape), it))
            shape.append(n)
        else:
            k = int(it)
            if not -n <= k < n:
                raise IndexRangeError(
                    f"index {k} is out of range for axis {axis} of size {n}", code="index.range",
                    hint=f"valid indices run from {-n} to {n - 1}",
                )  # fmt: skip
            k %= n
            starts.append(k)
            stops.append(k + 1)
            steps.append(1)
        axis += 1
    return (tuple(starts), tuple(stops), tuple(steps)), tuple(shape), (), advanced


def _check_mask(x: Tensor, mask: Tensor, axis: int) -> None:
    if tuple(x.shape[axis : axis + mask.ndim]) != tuple(mask.shape):
        raise ShapeError(
            f"index: mask {tuple(mask.shape)} at axis {axis} does not fit tensor {tuple(x.shape)}", code="shape.mask"
        )


def _basic(x: Tensor, region: tuple, shape: tuple[int, ...]) -> Tensor:
    def redo(b: Tensor) -> Tensor:
        whole = region == ((0,) * b.ndim, tuple(b.shape), (1,) * b.ndim)
        y = b if whole else G.apply(S.slice_, (b,), region)
        return G.reshape(y, shape)

    def undo(b: Tensor, new: Tensor) -> Tensor:
        sizes = tuple(len(range(s, e, t)) for s, e, t in zip(*region, strict=True))
        return G.update_slice(b, G.reshape(new, sizes), region)

    return _view(x, redo, undo)


def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]``. Views where NumPy's basic indexing gives them, copies for tensors and masks."""
    region, shape, _, advanced = _parse(x, index)
    y = _basic(x, region, shape)
    if not advanced:
        return y
    for k, t in advanced:
        G.check_range(t, -y.shape[k], y.shape[k], "index", "index.range")
    if len(advanced) == 1:
        k, t = advanced[0]
        return G.apply(I.take, (y, t), (k,))
    pattern = tuple("i" if any(k == a for a, _ in advanced) else ":" for k in range(y.ndim))
    return G.apply(I.index, (y, *(t for _, t in advanced)), (pattern,))


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value``: writes reach the base of a view."""
    v = G.operand(value)
    if isinstance(index, Tensor) and index.dtype is dtypes.bool_ and index.shape == x.shape and v.numel() == 1:
        x._write(G.where(index, G.cast(v, x.dtype), x))
        return
    region, shape, _, advanced = _parse(x, index)
    if not advanced:
        if math.prod(shape):
            whole = _basic(x, region, shape)
            if whole is x:
                x._write(v)
                return
            target = G.cast(v, x.dtype)
            lead = target.ndim - len(shape)
            if lead > 0 and all(n == 1 for n in target.shape[:lead]):
                target = G.reshape(target, target.shape[lead:])
            whole._write(G.broadcast_to(target, shape))
        return
    y = _basic(x, region, shape)
    for k, t in advanced:
        G.check_range(t, -y.shape[k], y.shape[k], "index", "index.range")
    pattern = tuple("i" if any(k == a for a, _ in advanced) else ":" for k in range(y.ndim))
    ts = [t for _, t in advanced]
    want = I.index.infer([y._v.aval, *(t._v.aval for t in ts)], (pattern,)).shape
    new = G.apply(I.index_put, (y, G.broadcast_to(G.cast(v, x.dtype), want), *ts), (pattern, "set"))
    y._write(new)
