"""Reading and writing by index, as PyTorch and NumPy.

Integers, 0-d integer tensors, slices, new axes and ellipsis give views, and writes to those reach the base. Integer
tensors, lists, arrays and masks give copies; the axes they make take the place of the axes they index where these are
neighbours, and come first otherwise. Negative steps are NumPy's. Where PyTorch and NumPy differ, PyTorch is followed:
an integer beside index tensors is a view taken first, and uint8 tensors are masks (deprecated there).
"""

from __future__ import annotations

import math
import operator
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import AxisError, IndexRangeError, ShapeError
from gradloom.functions.layouts import region_strides
from gradloom.ops import gather as I
from gradloom.ops import structure as S
from gradloom.ops.core import broadcast_shapes
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, _view, as_tensor, from_numpy

__all__ = ["getitem", "put_at", "setitem"]

_ALL = slice(None)


# -- what an index is made of ---------------------------------------------------------------------------
class _Mask(NamedTuple):
    """A bool tensor in an index; it stands for as many axes as it has."""

    tensor: Tensor


class _At(NamedTuple):
    """A 0-d integer tensor: a view whose place is known when the program runs."""

    tensor: Tensor


def _item(it: Any) -> Any:
    """One part of an index as None, Ellipsis, slice, int, bool, _At, _Mask or an integer Tensor."""
    if it is None or it is Ellipsis or isinstance(it, (slice, bool)):
        return it
    if isinstance(it, (int, np.integer)):
        return int(it)
    if isinstance(it, np.bool_):
        return bool(it)
    if isinstance(it, Tensor):
        return _tensor_item(it)
    if isinstance(it, (list, tuple, range, np.ndarray)):
        return _tensor_item(_sequence(it))
    try:
        return operator.index(it)
    except TypeError:
        raise IndexRangeError(
            f"index: {it!r} of type {type(it).__name__} is no index", code="index.kind",
            hint="an index is made of integers, slices, ..., None, and tensors or lists of integers or bools",
        ) from None  # fmt: skip


def _sequence(it: Any) -> Tensor:
    """A list, range or array of integers or bools as a tensor."""
    if isinstance(it, np.ndarray):
        return from_numpy(it)
    flat = list(it)
    if any(x is None or x is Ellipsis or isinstance(x, slice) for x in flat):
        raise IndexRangeError(
            "index: a list holds a slice, None or ...", code="index.kind", hint="use a tuple: x[tuple(index)]"
        )
    t = as_tensor([list(x) if isinstance(x, (tuple, range)) else x for x in flat])
    return t if t.numel() else G.zeros(tuple(t.shape), dtype=dtypes.int64)


def _tensor_item(t: Tensor) -> Any:
    if t.dtype is dtypes.uint8:
        warnings.warn("indexing with a uint8 tensor as a mask is deprecated; use a bool tensor", DeprecationWarning, 5)
        return _Mask(G.ne(t, G.const(0)))
    if t.dtype is dtypes.bool_:
        return _Mask(t)
    if t.dtype.category != 1:
        raise IndexRangeError(
            f"index: a {t.dtype.name} tensor is no index", code="index.kind",
            hint="index with integer or bool tensors; convert with .long()",
        )  # fmt: skip
    return t if t.ndim else _At(t)


def _axes(it: Any) -> int:
    """How many axes of the tensor a part stands for."""
    if it is None or it is Ellipsis or isinstance(it, bool):
        return 0
    return it.tensor.ndim if isinstance(it, _Mask) else 1


class _Plan(NamedTuple):
    """An index taken apart: first a view, then gathers within it.

    region: starts, stops and steps of the slice of ``x``; sizes: its shape; whole: whether it is all of ``x``.
    shape: of the view, integers dropped, new axes in, and the axes of a mask joined. at: 0-d index tensors by the axis
    of the slice. advanced: index tensors by the axis of the view that they index. masks: masks by the axis of the view
    that they choose from.
    """

    region: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    sizes: tuple[int, ...]
    whole: bool
    shape: tuple[int, ...]
    at: list[tuple[int, Tensor]]
    advanced: list[tuple[int, Tensor]]
    masks: list[tuple[int, Tensor]]


def _parse(x: Tensor, index: Any) -> _Plan:
    """The plan of an index; those of integers, slices, None and ... alone are remembered."""
    items = index if type(index) is tuple else (index,)
    key = []
    for it in items:
        kind = type(it)
        if kind is slice:
            if not (type(it.start) in _PLAIN and type(it.stop) in _PLAIN and type(it.step) in _PLAIN):
                break
            key.append((it.start, it.stop, it.step))
        elif kind in _PLAIN or it is Ellipsis:
            key.append(it)
        else:
            break
    else:
        return _remembered(x._v.aval.shape, tuple(key))
    return _taken_apart(tuple(x.shape), [_item(it) for it in items])


_PLAIN = (int, type(None))


@lru_cache(maxsize=4096)
def _remembered(shape: tuple[int, ...], key: tuple) -> _Plan:
    return _taken_apart(shape, [slice(*k) if type(k) is tuple else k for k in key])


def _taken_apart(whole: tuple[int, ...], items: list[Any]) -> _Plan:
    """The plan of parts as :func:`_item` gives them, for a tensor of shape ``whole``."""
    used = sum(map(_axes, items))
    if used > len(whole):
        raise IndexRangeError(
            f"index: {used} indices for a tensor of {len(whole)} dimensions, shape {whole}", code="index.rank"
        )
    dots = [k for k, it in enumerate(items) if it is Ellipsis]
    if len(dots) > 1:
        raise IndexRangeError("index: ... stands more than once", code="index.ellipsis", hint="leave one of them out")
    place = dots[0] if dots else len(items)
    items[place : place + len(dots)] = [_ALL] * (len(whole) - used)
    region: list[tuple[int, int, int]] = []
    shape: list[int] = []
    at: list[tuple[int, Tensor]] = []
    advanced: list[tuple[int, Tensor]] = []
    masks: list[tuple[int, Tensor]] = []
    for it in items:
        axis = len(region)
        if it is None:
            shape.append(1)
        elif isinstance(it, bool):  # a new axis, of which the one entry is taken, or none
            advanced.append((len(shape), from_numpy(np.zeros(int(it), np.int64))))
            shape.append(1)
        elif isinstance(it, slice):
            part = range(*it.indices(whole[axis]))
            region.append((part.start, part.stop, part.step) if part else (0, 0, 1))
            shape.append(len(part))
        elif isinstance(it, int):
            k = _checked(it, axis, whole[axis])
            region.append((k, k + 1, 1))
        elif isinstance(it, _At):
            at.append((axis, it.tensor))
            region.append((0, whole[axis], 1))
        else:
            sizes = whole[axis : axis + _axes(it)]
            if isinstance(it, _Mask):
                _fits(whole, it.tensor, axis, sizes)
                masks.append((len(shape), it.tensor))
            else:
                advanced.append((len(shape), it))
            region += [(0, n, 1) for n in sizes]
            shape.append(math.prod(sizes))
    starts, stops, steps = zip(*region, strict=True) if region else ((), (), ())
    sizes = tuple(len(range(*r)) for r in region)
    everything = sizes == whole and all(t == 1 for t in steps)
    return _Plan((tuple(starts), tuple(stops), tuple(steps)), sizes, everything, tuple(shape), at, advanced, masks)


def _checked(k: int, axis: int, n: int) -> int:
    if not -n <= k < n:
        raise IndexRangeError(
            f"index {k} is out of range for axis {axis} of size {n}", code="index.range",
            hint=f"valid indices run from {-n} to {n - 1}" if n else "the axis is empty",
        )  # fmt: skip
    return k % n


def _fits(whole: tuple[int, ...], mask: Tensor, axis: int, sizes: tuple[int, ...]) -> None:
    if sizes != tuple(mask.shape):
        raise AxisError(
            f"index: mask {tuple(mask.shape)} at axis {axis} does not fit tensor {whole}", code="shape.mask"
        )


# -- the view ---------------------------------------------------------------------------------------------
_BATCH = 1 << 18  # elements of a batch that is copied out of its data at once


def _known(b: Tensor) -> bool:
    """Whether this is data that is there, without gradients: a batch cut out further down is not worth a program.

    Where it starts stands in the program, and a loop over the data would compile one for every batch. Where a function
    or a step is recorded as a whole its inputs must stay inputs.
    """
    v = b._v
    return (
        v.entry is None and v.buf is not None and v.hist is None and not b._rg
        and not (TAPE.traces or TAPE.inside or TAPE.lifted or TAPE.whole) and TAPE.watch is None
    )  # fmt: skip


def _base(x: Tensor, plan: _Plan) -> Tensor:
    """The view that integers, slices and new axes give."""
    region, sizes, whole, shape, at = plan[:5]
    for axis, t in at:
        G.check_range(t, -sizes[axis], sizes[axis], "index", "index.range", axis=axis)

    def cut(b: Tensor) -> Tensor:
        return b if whole else G.apply(S.slice_, (b,), region)

    def back(b: Tensor, part: Tensor) -> Tensor:
        # what is overwritten still counts as used, with a gradient of 0
        return part if whole and not b.requires_grad else G.update_slice(b, part, region)

    def redo(b: Tensor) -> Tensor:
        further = not whole and not at and region[0][0] > 0 and min(region[2]) > 0
        if further and math.prod(shape) <= _BATCH and _known(b):
            return from_numpy(b.numpy()[tuple(map(slice, *region))].reshape(shape).copy())
        y = cut(b)
        for axis, t in reversed(at):
            y = G.apply(I.take, (y, t), (axis,))
        return y if y._v.aval.shape == shape else G.apply(S.reshape, (y,), (shape,))

    def undo(b: Tensor, new: Tensor) -> Tensor:
        if not at:
            return back(b, G.reshape(new, sizes))
        pattern = tuple("i" if any(k == axis for axis, _ in at) else ":" for k in range(b.ndim))
        part, ts = cut(b), [t for _, t in at]
        want = I.index.infer([part._v.aval, *(t._v.aval for t in ts)], (pattern,)).shape
        part = G.apply(I.index_put, (part, G.reshape(new, want), *ts), (pattern, "set"))
        return back(b, part)

    return _view(x, redo, undo, None if at else region_strides(region, shape))


def _gathered(y: Tensor, plan: _Plan) -> tuple[tuple[str, ...], list[Tensor]]:
    """Pattern and index tensors of the gather within the view; masks become the positions where they hold."""
    found = dict(plan.advanced)
    for k, t in plan.advanced:
        G.check_range(t, -y.shape[k], y.shape[k], "index", "index.range", axis=k)
    for k, mask in plan.masks:
        found[k] = from_numpy(np.flatnonzero(mask.detach().numpy()))
    ts = [found[k] for k in sorted(found)]
    try:
        if len(ts) > 1:
            broadcast_shapes("index", [tuple(t.shape) for t in ts])
    except ShapeError as e:
        raise AxisError(e.message, code=e.code, hint=e.hint) from None
    return tuple("i" if k in found else ":" for k in range(y.ndim)), ts


# -- reading ----------------------------------------------------------------------------------------------
def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]``: a view for integers, slices, None and ellipsis, a copy where tensors, lists or masks take part.

    Raises IndexRangeError for an index out of range or of a wrong kind (tensors of integers are checked as the program
    runs), ShapeError where a mask does not fit or index tensors do not broadcast. A mask is looked at.
    """
    plan = _parse(x, index)
    y = _base(x, plan)
    if not plan.advanced and not plan.masks:
        return y
    pattern, ts = _gathered(y, plan)
    if len(ts) == 1:
        return G.apply(I.take, (y, ts[0]), (pattern.index("i"),))
    return G.apply(I.index, (y, *ts), (pattern,))


# -- writing ----------------------------------------------------------------------------------------------
def setitem(x: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value``: the value is converted and broadcast; a write to a view reaches its base.

    Where an index names a place twice the last value stays. Raises as ``getitem``, ShapeError where the value does not
    broadcast, GradientError for a leaf that requires grad.
    """
    v = G.operand(value)
    plan = _parse(x, index)
    y = _base(x, plan)
    if plan.advanced or plan.masks:
        y._write(_put(y, plan, v, "set"))
    else:
        new = _broadcast(v, x.dtype, tuple(y.shape))
        y._write(new.clone() if new is value else new)


def put_at(x: Tensor, index: tuple, value: Tensor, how: str) -> Tensor:
    """``x`` after ``x[index] = value``, or with the value added; a new tensor. index: tensors and whole slices."""
    plan = _parse(x, index)
    if plan.at or not (plan.advanced or plan.masks):
        plan = _parse(x, tuple(G.reshape(i, (1,)) if isinstance(i, Tensor) and not i.ndim else i for i in index))
    return G.reshape(_put(G.reshape(x, plan.shape), plan, value, how), tuple(x.shape))


def _put(y: Tensor, plan: _Plan, v: Tensor, how: str) -> Tensor:
    """The view after the write to the places that index tensors and masks name."""
    chosen = _by_mask(y, plan, v) if how == "set" else None
    if chosen is not None:
        return chosen
    pattern, ts = _gathered(y, plan)
    want = I.index.infer([y._v.aval, *(t._v.aval for t in ts)], (pattern,)).shape
    return G.apply(I.index_put, (y, _broadcast(v, y.dtype, want), *ts), (pattern, how))


def _by_mask(y: Tensor, plan: _Plan, v: Tensor) -> Tensor | None:
    """A write under one mask of a value that does not vary along it: chosen per element, nothing looked at."""
    if len(plan.masks) != 1 or plan.advanced:
        return None
    ((k, mask),) = plan.masks
    at = v.ndim - (y.ndim - k)  # the value's axis of the mask, if it has one
    if at >= 0 and v.shape[at] != 1:
        return None
    chosen = G.reshape(mask, (-1, *[1] * (y.ndim - k - 1)))
    return G.where(chosen, _broadcast(v, y.dtype, tuple(y.shape)), y)


def _broadcast(v: Tensor, dtype: dtypes.DType, shape: tuple[int, ...]) -> Tensor:
    """A value as a write takes it: converted, leading axes of size 1 dropped where there are too many, broadcast."""
    v = G.cast(v, dtype)
    extra = v.ndim - len(shape)
    if extra > 0 and all(n == 1 for n in v.shape[:extra]):
        v = G.reshape(v, v.shape[extra:])
    return G.broadcast_to(v, shape)
