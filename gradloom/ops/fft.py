"""Discrete Fourier transforms, computed by NumPy's pocketfft in the precision of the operand.

Scale: 0 leaves the sum as it is, 1 divides by the root of the number of points, 2 by the number of points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

_Norm = Literal["backward", "ortho", "forward"]
_FORWARD: tuple[_Norm, ...] = ("backward", "ortho", "forward")  # NumPy's name of a scale, for e**-i
_BACK: tuple[_Norm, ...] = ("forward", "ortho", "backward")  # and for e**+i


def _full_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    axes, forward, scale = t
    if not v.size:
        return np.zeros(v.shape, v.dtype.numpy)
    return np.fft.fftn(a[0], axes=axes, norm=_FORWARD[scale]) if forward else np.fft.ifftn(
        a[0], axes=axes, norm=_BACK[scale]
    )  # fmt: skip


def _half_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    if not v.size:
        return np.zeros(v.shape, v.dtype.numpy)
    return np.fft.rfftn(a[0], axes=t[0], norm=_FORWARD[t[1]])


def _real_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    axes, n, scale = t
    if not v.size:
        return np.zeros(v.shape, v.dtype.numpy)
    sizes = [a[0].shape[k] for k in axes[:-1]] + [n]
    return np.fft.irfftn(a[0], sizes, axes, _BACK[scale])


def _resized(shape: tuple[int, ...], axis: int, n: int) -> tuple[int, ...]:
    return (*shape[:axis], n, *shape[axis + 1 :])


full = Primitive("fft", _full_np, lambda a, t: Aval(a[0].shape, a[0].dtype))
"""attrs (axes, forward, scale): complex to complex; e**-i forward."""
half = Primitive(
    "rfft",
    _half_np,
    lambda a, t: Aval(_resized(a[0].shape, t[0][-1], a[0].shape[t[0][-1]] // 2 + 1), a[0].dtype.to_complex()),
)
"""attrs (axes, scale): real to complex, forward, half of the last of the axes."""
real = Primitive("irfft", _real_np, lambda a, t: Aval(_resized(a[0].shape, t[0][-1], t[1]), a[0].dtype.to_real()))
"""attrs (axes, n, scale): half a Hermitian spectrum to n real values along the last of the axes; e**+i."""


def _batched(prim: Primitive) -> Callable[..., Any]:
    def rule(args: Sequence[Any], flags: Any, attrs: tuple, avals: Any, n: int) -> Any:
        from gradloom import functions as G

        return G.apply(prim, tuple(args), (tuple(k + 1 for k in attrs[0]), *attrs[1:]))

    return rule


for _p in (full, half, real):
    _p.batch = _batched(_p)
