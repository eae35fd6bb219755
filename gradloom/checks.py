"""Checks of indices and labels: what a program's flags mean, and a look before anything is written over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradloom.errors import IndexRangeError

if TYPE_CHECKING:
    from gradloom.entries import Entry, Value

__all__ = ["fail", "look_ahead"]


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


def fail(e: Entry, leaves: Sequence[Value | None]) -> None:
    """Raise IndexRangeError for a violated check; the inputs of the program tell the value and its position."""
    code, low, high, what, skip, axis = e.attrs
    src = e.ins[1]
    where = ""
    if src.leaf >= 0:
        from gradloom.runtime.buffers import as_numpy

        leaf = leaves[src.leaf]
        assert leaf is not None and leaf.buf is not None
        a = as_numpy(leaf.buf, leaf.aval.dtype.numpy, leaf.aval.shape)
        bad = np.argwhere(((a < low) | (a >= high)) & (a != skip))[0]
        at = int(bad[0]) if len(bad) == 1 else tuple(int(b) for b in bad)
        where = f": {what} {a[tuple(bad)]} at position {at}"
    raise IndexRangeError(
        f"{what} out of range{'' if axis is None else f' for axis {axis} of size {high}'}{where}, "
        f"expected {low} <= {what} < {high}",
        code=code,
        hint="the mask picks more elements than the source has"
        if what == "number of elements"
        else f"there are {high} classes or rows; check the data, or the size of the last layer",
    )
