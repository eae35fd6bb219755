"""Windows of axes: every position of a window as a view, and what pooling and resampling do.

``windows`` is movement. The others stand on the tape for their gradients only (``alias``): their values are composed of
slices and elementwise work in :mod:`gradloom.functions.pooling`, which fuse where one primitive would not, and their
gradients are each other, so that any order of derivative is composed in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.errors import ShapeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Movement, Primitive

__all__ = [
    "Span",
    "overlap_add",
    "resample",
    "windows",
    "windows_drop",
    "windows_pick",
    "windows_spread",
    "windows_sum",
]


class Span(NamedTuple):
    """Windows over one axis. Entry ``i`` of window ``o`` is position ``o * step - low + i * dilation``.

    length: of the axis; positions outside of it hold nothing. size: entries of a window. low: positions in front of the
    axis. number: of windows.
    """

    length: int
    size: int
    step: int
    dilation: int
    low: int
    number: int

    @property
    def extent(self) -> int:
        """Positions from a window's first to its last, both included."""
        return (self.size - 1) * self.dilation + 1


def _windows_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    (x,) = a
    strides = list(x.strides)
    more = []
    for axis, step, dilation in zip(t[0], t[2], t[3], strict=True):
        more.append(strides[axis] * dilation)
        strides[axis] *= step
    return np.lib.stride_tricks.as_strided(x, v.shape, (*strides, *more), writeable=False)


def _windows_shape(avals: Sequence[Aval], t: tuple) -> Aval:
    (x,) = avals
    shape = list(x.shape)
    for axis, size, step, dilation in zip(*t, strict=True):
        n = (shape[axis] - (size - 1) * dilation - 1) // step + 1
        if size < 1 or n < 1:
            raise ShapeError(
                f"windows: windows of {size} entries, {dilation} apart, do not fit axis {axis} of shape {x.shape}",
                code="shape.windows",
            )
        shape[axis] = n
    return Aval((*shape, *t[1]), x.dtype)


windows = Movement("windows", _windows_np, _windows_shape)
"""attrs (axes, sizes, steps, dilations): each axis counts its windows; one axis for the entries of each comes last."""


class _Noted(Primitive):
    """Operands (value, x…); attrs (axes, spans). The value is computed from the others before."""

    alias = True

    def __init__(self, name: str) -> None:
        super().__init__(name, lambda arrays, attrs, aval: arrays[0], lambda avals, attrs: avals[0])
        self.batch = self._batched

    def _batched(self, args: Any, flags: Any, attrs: tuple, avals: Any, n: int) -> Any:
        from gradloom import functions as G

        full = [a if f else G.broadcast_to(a, (n, *a.shape)) for a, f in zip(args, flags, strict=True)]
        return G.apply(self, tuple(full), (tuple(k + 1 for k in attrs[0]), attrs[1]))


windows_pick = _Noted("windows_pick")
"""(value, x, place): of each window the entry at a place; see ``functions.pooling`` for how places are told."""
windows_drop = _Noted("windows_drop")
"""(value, y, place): every entry of y added where ``windows_pick`` took it from."""
windows_sum = _Noted("windows_sum")
"""(value, x): the sum of each window."""
windows_spread = _Noted("windows_spread")
"""(value, y): every entry of y added to all positions of its window."""
overlap_add = _Noted("overlap_add")
"""(value, y): windows, their entries in the last axes, summed back into place."""


class _Resampled(Primitive):
    """Operands (value, x); attrs (axis, how, whether it is the adjoint)."""

    alias = True
    batch = "axis"


resample = _Resampled("resample", lambda arrays, attrs, aval: arrays[0], lambda avals, attrs: avals[0])
"""(value, x): an axis resampled, see ``functions.interpolation``."""


def _declare() -> None:
    from gradloom.functions import interpolation as R
    from gradloom.functions import pooling as P

    def windows_vjp(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
        axes, sizes, steps, dilations = attrs
        shape = ins[0].shape
        spans = [
            Span(shape[k], size, step, dilation, 0, out.shape[k])
            for k, size, step, dilation in zip(axes, sizes, steps, dilations, strict=True)
        ]
        return (P.overlap_add(ct, axes, tuple(spans)),)

    windows.vjp = windows_vjp
    windows.batch = lambda args, flags, attrs, avals, n: P.moved_windows(
        args[0], tuple(k + 1 for k in attrs[0]), *attrs[1:]
    )
    windows_pick.vjp = lambda ct, out, ins, attrs: (None, P.drop(ct, ins[2], *attrs), None)
    windows_drop.vjp = lambda ct, out, ins, attrs: (None, P.pick(ct, ins[2], *attrs), None)
    windows_sum.vjp = lambda ct, out, ins, attrs: (None, P.spread(ct, *attrs))
    windows_spread.vjp = lambda ct, out, ins, attrs: (None, P.window_sum(ct, *attrs))
    resample.vjp = lambda ct, out, ins, attrs: (None, R.resampled(ct, attrs[0], attrs[1], not attrs[2]))
    overlap_add.vjp = lambda ct, out, ins, attrs: (None, P.windows_of(ct, *attrs))


GRADIENTS = _declare
