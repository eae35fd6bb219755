"""Running results along an axis: sums, products, extremes and where they stand, and the linear recurrence.

Running extremes are fetched by position where a gradient is wanted, so those primitives need no rule of their own.

The recurrence ``y[t] = a[t] * y[t - 1] + b[t]`` is what the gradients of the others come down to, and it is closed
under differentiation itself (Blelloch, "Prefix sums and their applications", 1990, section 1.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import DTypeError, ShapeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive


class Scan(Primitive):
    """A running result. attrs: (axis, reverse): from the end of the axis to its front where ``reverse``."""

    batch = "axis"

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """Shape and dtype of the operand. Raises ShapeError for operands that differ."""
        for a in avals[1:]:
            if a.shape != avals[0].shape or a.dtype is not avals[0].dtype:
                raise ShapeError(
                    f"{self.name}: operands {avals[0].dtype.name}{list(avals[0].shape)} and "
                    f"{a.dtype.name}{list(a.shape)} differ",
                    code="shape.scan",
                    hint="broadcast and convert them to one shape and dtype",
                )
        if avals[0].dtype.category == 0:
            raise DTypeError(
                f"{self.name}: bool is not supported", code="dtype.scan", hint="convert to an integer dtype"
            )
        return Aval(avals[0].shape, avals[0].dtype)


class ScanIndex(Scan):
    """Where the running extreme stands: the latest position of it. attrs: (axis, reverse)."""

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """The operand's shape, int64."""
        return Aval(avals[0].shape, dtypes.int64)


def _forward(fn: Callable[..., np.ndarray], positions: bool = False) -> Callable[..., np.ndarray]:
    """A reference from one for the last axis, front to end, worked in float64. positions: the result counts them."""

    def run(arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
        axis, reverse = attrs
        wide = arrays[0].dtype if arrays[0].dtype.kind in "iuc" else np.float64
        moved = [np.moveaxis(np.asarray(a, wide), axis, -1) for a in arrays]
        if not reverse:
            out = fn(*moved)
        else:
            out = fn(*(a[..., ::-1] for a in moved))[..., ::-1]
            out = moved[0].shape[-1] - 1 - out if positions else out
        return np.moveaxis(out, -1, axis).astype(aval.dtype.numpy)

    return run


def _sum(x: np.ndarray) -> np.ndarray:
    return np.cumsum(x, -1, dtype=x.dtype)


def _prod(x: np.ndarray) -> np.ndarray:
    return np.cumprod(x, -1, dtype=x.dtype)


def _max(x: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(x, -1)


def _min(x: np.ndarray) -> np.ndarray:
    return np.minimum.accumulate(x, -1)


def _where_extreme(accumulate: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def run(x: np.ndarray) -> np.ndarray:
        best = accumulate(x, -1)
        hit = (x == best) | ((x != x) & (best != best))
        return np.maximum.accumulate(np.where(hit, np.arange(x.shape[-1]), 0), -1)

    return run


def _linear(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y = np.array(b)
    for t in range(1, b.shape[-1]):
        y[..., t] += a[..., t] * y[..., t - 1]
    return y


cumsum = Scan("cumsum", _forward(_sum))
cumprod = Scan("cumprod", _forward(_prod))
cummax = Scan("cummax", _forward(_max))
cummin = Scan("cummin", _forward(_min))
cummax_index = ScanIndex("cummax_index", _forward(_where_extreme(np.maximum.accumulate), True))
cummin_index = ScanIndex("cummin_index", _forward(_where_extreme(np.minimum.accumulate), True))
recurrence = Scan("recurrence", _forward(_linear))
"""``y[t] = a[t] * y[t - 1] + b[t]`` from ``y[-1] = 0``. operands (a, b)."""


def _declare() -> None:
    from gradloom import functions as G
    from gradloom.ops import structure as S
    from gradloom.ops.complex_numbers import conjugate as conj

    def before(x: Any, attrs: tuple, first: float) -> Any:
        """Each entry's predecessor in the order of the scan; ``first`` has none."""
        axis, reverse = attrs
        n = x.shape[axis]
        kept = G.narrow(x, axis, min(n, 1) if reverse else 0, max(n - 1, 0))
        low, high = [0] * x.ndim, [0] * x.ndim
        (high if reverse else low)[axis] = min(n, 1)
        return G.apply(S.pad, (kept,), (tuple(low), tuple(high), first))

    def other_way(attrs: tuple) -> tuple:
        return attrs[0], not attrs[1]

    cumsum.saves = False
    cumsum.vjp = lambda ct, out, ins, attrs: (G.apply(cumsum, (ct,), other_way(attrs)),)

    def cumprod_vjp(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
        # d out[j] / d x[k] = (product of x before k) * (product of x after k up to j): no division, so zeros are right
        after = G.apply(recurrence, (before(conj(ins[0]), other_way(attrs), 0.0), ct), other_way(attrs))
        return (G.mul(before(conj(out), attrs, 1.0), after),)

    cumprod.vjp = cumprod_vjp

    def recurrence_vjp(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
        back = other_way(attrs)
        g = G.apply(recurrence, (before(conj(ins[0]), back, 0.0), ct), back)
        return G.mul(g, before(conj(out), attrs, 0.0)), g

    recurrence.vjp = recurrence_vjp


GRADIENTS = _declare
