"""Checks of indices and labels: what a program's flags mean, and a look before anything is written over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradloom.errors import IndexRangeError

if TYPE_CHECKING:
    from gradloom.entries import Entry, Value

__all__ = ["fail", "known", "look_ahead", "refuse_known"]

KNOWN = 1 << 16  # indices that are looked at before the program runs


def look_ahead(checks: Sequence[Entry], leaves: Sequence[Value | None]) -> None:
    """Check indices that lie in memory: a bad label must cost no parameter. Raises IndexRangeError."""
    from gradloom.runtime.buffers import as_numpy

    for e in checks:
        src = e.ins[1]
        leaf = leaves[src.leaf] if src.leaf >= 0 else None
        if leaf is None or leaf.buf is None or not leaf.aval.size:
            continue
        a = as_numpy(leaf.buf, leaf.aval.dtype.numpy, leaf.aval.shape)
        _, low, high, _, skip, _ = e.attrs
        if (a.min() < low or a.max() >= high) and (((a < low) | (a >= high)) & (a != skip)).any():
            fail(e, leaves)


def known(value: Value) -> np.ndarray | None:
    """A few numbers that lie in memory, or are one constant; None where they are many, or yet to be computed."""
    if not 0 < value.aval.size <= KNOWN:
        return None
    if value.buf is None:
        e = value.entry
        if e is None or e.prim.name != "full" or e.abstract:
            return None
        return np.broadcast_to(np.asarray(e.attrs[0]).astype(value.aval.dtype.numpy), value.aval.shape)
    from gradloom.runtime.buffers import as_numpy

    return as_numpy(value.buf, value.aval.dtype.numpy, value.aval.shape)


def refuse_known(value: Value, limits: tuple) -> None:
    """Check indices that lie in memory where they are used: the error stands at the line that wrote them."""
    a = known(value)
    _, low, high, _, skip, _ = limits
    if a is not None and (a.min() < low or a.max() >= high) and (((a < low) | (a >= high)) & (a != skip)).any():
        raise _error(a, limits)


def fail(e: Entry, leaves: Sequence[Value | None]) -> None:
    """Raise IndexRangeError for a violated check; the inputs of the program tell the value and its position."""
    src = e.ins[1]
    a = None
    if src.leaf >= 0:
        from gradloom.runtime.buffers import as_numpy

        leaf = leaves[src.leaf]
        assert leaf is not None and leaf.buf is not None
        a = as_numpy(leaf.buf, leaf.aval.dtype.numpy, leaf.aval.shape)
    raise _error(a, e.attrs)


def _error(a: np.ndarray | None, limits: tuple) -> IndexRangeError:
    """The error of indices outside of their limits; with value and position where they are known."""
    code, low, high, what, skip, axis = limits
    where = ""
    if a is not None:
        bad = np.argwhere(((a < low) | (a >= high)) & (a != skip))[0]
        at = int(bad[0]) if len(bad) == 1 else tuple(int(b) for b in bad)
        where = f": {what} {a[tuple(bad)]} at position {at}"
    return IndexRangeError(
        f"{what} out of range{'' if axis is None else f' for axis {axis} of size {high}'}{where}, "
        f"expected {low} <= {what} < {high}",
        code=code,
        hint="the mask picks more elements than the source has"
        if what == "number of elements"
        else f"there are {high} classes or rows; check the data, or the size of the last layer",
    )
