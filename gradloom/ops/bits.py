"""The elements' bits read as another dtype."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradloom.errors import ShapeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

__all__ = ["bitcast"]


def _shape(a: Sequence[Aval], t: tuple) -> Aval:
    (x,), (d,) = a, t
    old, new = x.dtype.itemsize, d.itemsize
    if old == new:
        return Aval(x.shape, d)
    if not x.shape or x.shape[-1] * old % new:
        raise ShapeError(
            f"view: {x.dtype.name}{list(x.shape)} cannot be read as {d.name}: the last axis has "
            f"{(x.shape[-1] if x.shape else 0) * old} bytes, an element {new}",
            code="shape.bitcast",
            hint="the last axis is what grows or shrinks; its bytes must be a multiple of the new element's",
        )
    return Aval((*x.shape[:-1], x.shape[-1] * old // new), d)


bitcast = Primitive("bitcast", lambda a, t, v: np.ascontiguousarray(a[0]).view(t[0].numpy).reshape(v.shape), _shape)
"""attrs (dtype,). The last axis grows or shrinks where the dtypes' sizes differ."""
