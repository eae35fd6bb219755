"""Complex numbers: made of their parts, taken apart, conjugated, and seen as pairs of real ones.

Gradients follow PyTorch: the cotangent is that of the conjugate Wirtinger derivative, so a holomorphic ``f`` pulls
``ct`` back to ``ct * conj(f'(x))``, and a real operand of a complex result takes the real part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.ops.elementwise import COMPLEX, FLOAT, _ew

__all__ = ["angle", "as_complex", "as_real", "conj", "conjugate", "imag", "join", "real", "sgn"]


def _join_np(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.complex128 if a.dtype == np.float64 else np.complex64)
    out.real, out.imag = a, b  # 1j * b would make NaN of an infinite part
    return out


def _sgn_np(x: np.ndarray) -> np.ndarray:
    r = np.abs(x)
    r = np.where(r == 0, 1, r)
    return _join_np(x.real / r, x.imag / r)


join = _ew("complex", _join_np, takes=FLOAT, result="complex")
"""``a + 1j * b``."""
real = _ew("real", np.real, takes=COMPLEX, result="real")
imag = _ew("imag", np.imag, takes=COMPLEX, result="real")
conj = _ew("conj", np.conjugate, takes=COMPLEX)
angle = _ew("angle", np.angle, takes=COMPLEX, result="real")
sgn = _ew("sgn", _sgn_np, takes=COMPLEX)
"""``x / |x|``, 0 at 0."""


def _pairs_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    return np.stack([a[0].real, a[0].imag], -1)


def _pairs_shape(a: Sequence[Aval], t: tuple) -> Aval:
    return Aval((*a[0].shape, 2), a[0].dtype.to_real())


def _numbers_np(a: Sequence[np.ndarray], t: tuple, v: Aval) -> np.ndarray:
    return _join_np(a[0][..., 0], a[0][..., 1])


def _numbers_shape(a: Sequence[Aval], t: tuple) -> Aval:
    if a[0].shape[-1:] != (2,):
        raise ShapeError(
            f"view_as_complex: the last axis must hold 2 numbers, got shape {tuple(a[0].shape)}", code="shape.complex",
            hint="real parts are at index 0 of the last axis, imaginary parts at index 1",
        )  # fmt: skip
    return Aval(a[0].shape[:-1], a[0].dtype.to_complex())


as_real = Primitive("view_as_real", _pairs_np, _pairs_shape)
"""Real and imaginary parts along a new last axis."""
as_complex = Primitive("view_as_complex", _numbers_np, _numbers_shape)
"""The opposite."""


def conjugate(x: Any) -> Any:
    """The conjugate of a tensor; a real one is its own."""
    from gradloom import functions as G

    return G.apply(conj, (x,)) if x.dtype.is_complex else x


def _declare() -> None:
    from gradloom import functions as G

    def times_i(x: Any) -> Any:
        return G.apply(join, (G.zeros_like(x), x))

    for p in (join, real, imag, conj, as_real, as_complex):
        p.saves = False
    join.vjp = lambda ct, out, ins, attrs: (G.apply(real, (ct,)), G.apply(imag, (ct,)))
    real.vjp = lambda ct, out, ins, attrs: (ct,)
    imag.vjp = lambda ct, out, ins, attrs: (times_i(ct),)
    conj.vjp = lambda ct, out, ins, attrs: (conjugate(ct),)
    as_real.vjp = lambda ct, out, ins, attrs: (G.apply(as_complex, (ct,)),)
    as_complex.vjp = lambda ct, out, ins, attrs: (G.apply(as_real, (ct,)),)

    def angle_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        x = ins[0]
        r = G.abs(x)
        turned = G.mul(x, times_i(G.div(ct, G.mul(r, r))))
        return (G.where(G.eq(r, G.const(0.0)), G.zeros_like(x), turned),)

    angle.vjp = angle_vjp

    def sgn_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        # the part of the cotangent across the direction of x; along it nothing changes
        r = G.abs(ins[0])
        along = G.mul(out, G.apply(real, (G.mul(ct, conjugate(out)),)))
        return (G.where(G.eq(r, G.const(0.0)), G.zeros_like(ct), G.div(G.sub(ct, along), r)),)

    sgn.vjp = sgn_vjp


GRADIENTS = _declare
