"""Complex arithmetic in real numbers: how a primitive acts on real and imaginary parts.

The compiler keeps a complex value as two real ones, its *planes*, so that chains of complex operations become the same
fused kernels as real ones. A rule takes a :class:`Builder`, the operands (a :class:`Pair` for each that is complex or
is promoted to complex, a :class:`Plane` for real ones) and the attributes, and gives a Pair, or a Plane where the
result is real. Primitives without a rule run in NumPy on complex arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from gradloom.dtypes import bool_
from gradloom.ops import complex_numbers as C
from gradloom.ops import elementwise as E
from gradloom.ops import floats as F
from gradloom.ops import gather as I
from gradloom.ops import scan as R
from gradloom.ops import structure as S
from gradloom.ops.core import Primitive

__all__ = ["RULES", "Builder", "Pair", "Plane"]


class Builder(Protocol):
    """What records real instructions."""

    def __call__(self, prim: Primitive, *ins: Any, attrs: tuple = ()) -> Plane:
        """The result of a primitive on planes and numbers."""

    def like(self, x: Plane, value: float) -> Plane:
        """A constant of another plane's shape and dtype."""

    def broadcast(self, *planes: Plane) -> list[Plane]:
        """Planes brought to their common shape."""

    def interleave(self, pair: Pair) -> Plane:
        """Both parts along a new last axis."""

    def part(self, x: Plane) -> Pair:
        """The opposite."""


class Plane:
    """A real value of the program. Operators record instructions."""

    __slots__ = ("b", "node")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, b: Builder, node: Any) -> None:
        self.b, self.node = b, node

    def __add__(self, o: Any) -> Plane:
        return self.b(E.add, self, o)

    def __radd__(self, o: Any) -> Plane:
        return self.b(E.add, o, self)

    def __sub__(self, o: Any) -> Plane:
        return self.b(E.sub, self, o)

    def __mul__(self, o: Any) -> Plane:
        return self.b(E.mul, self, o)

    def __rmul__(self, o: Any) -> Plane:
        return self.b(E.mul, o, self)

    def __truediv__(self, o: Any) -> Plane:
        return self.b(E.div, self, o)

    def __rtruediv__(self, o: Any) -> Plane:
        return self.b(E.div, o, self)

    def __neg__(self) -> Plane:
        return self.b(E.neg, self)

    def __abs__(self) -> Plane:
        return self.b(E.abs_, self)

    def __eq__(self, o: object) -> Plane:  # type: ignore[override]
        return self.b(E.eq, self, o)

    def __ne__(self, o: object) -> Plane:  # type: ignore[override]
        return self.b(E.ne, self, o)

    def __ge__(self, o: Any) -> Plane:
        return self.b(E.ge, self, o)

    def __gt__(self, o: Any) -> Plane:
        return self.b(E.gt, self, o)

    def __or__(self, o: Plane) -> Plane:
        return self.b(E.bitwise_or, self, o)

    def __and__(self, o: Plane) -> Plane:
        return self.b(E.bitwise_and, self, o)


class Pair(NamedTuple):
    """Real and imaginary part, of one shape and dtype."""

    re: Plane
    im: Plane


Rule = Callable[[Builder, Sequence[Any], tuple], Any]
RULES: dict[Primitive, Rule] = {}


def rule(*prims: Primitive) -> Callable[[Rule], Rule]:
    """Decorator: how primitives act on planes."""

    def declare(fn: Rule) -> Rule:
        RULES.update(dict.fromkeys(prims, fn))
        return fn

    return declare


def unary(prim: Primitive) -> Callable[[Callable[[Builder, Plane, Plane], Any]], Any]:
    """Decorator: a rule of one complex operand as a function of its parts."""

    def declare(fn: Callable[[Builder, Plane, Plane], Any]) -> Any:
        RULES[prim] = lambda b, xs, attrs: fn(b, xs[0].re, xs[0].im)
        return fn

    return declare


# -- arithmetic ---------------------------------------------------------------------------------------
def times(x: Pair, y: Pair) -> Pair:
    """The product."""
    return Pair(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)


def over(b: Builder, x: Pair, y: Pair) -> Pair:
    """The quotient, scaled against overflow (Smith 1962)."""
    c, d = y
    wide = abs(c) >= abs(d)
    r = b(E.where, wide, d, c) / b(E.where, wide, c, d)
    scale = 1.0 / b(E.where, wide, c + d * r, d + c * r)
    re = b(E.where, wide, x.re + x.im * r, x.re * r + x.im) * scale
    im = b(E.where, wide, x.im - x.re * r, x.im * r - x.re) * scale
    zero = (c == 0.0) & (d == 0.0)
    return Pair(b(E.where, zero, x.re / abs(c), re), b(E.where, zero, x.im / abs(c), im))


def apart(b: Builder, xs: Sequence[Any], attrs: tuple, prim: Primitive) -> Pair:
    """A primitive done to each plane."""
    parts = zip(*(x if isinstance(x, Pair) else (x, x) for x in xs), strict=True)
    return Pair(*(b(prim, *ins, attrs=attrs) for ins in parts))


def _each(prim: Primitive) -> None:
    RULES[prim] = lambda b, xs, attrs: apart(b, xs, attrs, prim)


for _prim in (
    E.add, E.sub, E.neg, E.where, E.detach, S.reshape, S.permute, S.expand, S.slice_, S.update_slice, S.cat, S.iota,
    I.take, I.take_along, I.index, R.cumsum,
):  # fmt: skip
    _each(_prim)


@rule(E.mul)
def _mul(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Pair:
    return times(*xs)


@rule(E.div)
def _div(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Pair:
    return over(b, *xs)


@unary(E.reciprocal)
def _reciprocal(b: Builder, x: Plane, y: Plane) -> Pair:
    return over(b, Pair(b.like(x, 1.0), b.like(x, 0.0)), Pair(x, y))


@rule(E.eq)
def _eq(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Plane:
    return (xs[0].re == xs[1].re) & (xs[0].im == xs[1].im)


@rule(E.ne)
def _ne(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Plane:
    return (xs[0].re != xs[1].re) | (xs[0].im != xs[1].im)


@rule(E.cast)
def _cast(b: Builder, xs: Sequence[Any], attrs: tuple) -> Any:
    (x,), (d,) = xs, attrs
    if not isinstance(x, Pair):
        re = b(E.cast, x, attrs=(d.to_real(),))
        return Pair(re, b.like(re, 0.0))
    if d.is_complex:
        return apart(b, xs, (d.to_real(),), E.cast)
    return (x.re != 0.0) | (x.im != 0.0) if d is bool_ else b(E.cast, x.re, attrs=attrs)


# -- parts --------------------------------------------------------------------------------------------
@rule(C.join)
def _join(b: Builder, xs: Sequence[Plane], attrs: tuple) -> Pair:
    re, im = xs
    return Pair(*b.broadcast(re, im))


@rule(C.as_real)
def _as_real(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Plane:
    return b.interleave(xs[0])


@rule(C.as_complex)
def _as_complex(b: Builder, xs: Sequence[Plane], attrs: tuple) -> Pair:
    return b.part(xs[0])


@unary(C.real)
def _real(b: Builder, x: Plane, y: Plane) -> Plane:
    return x


@unary(C.imag)
def _imag(b: Builder, x: Plane, y: Plane) -> Plane:
    return y


@unary(C.conj)
def _conj(b: Builder, x: Plane, y: Plane) -> Pair:
    return Pair(x, -y)


@unary(E.abs_)
def _abs(b: Builder, x: Plane, y: Plane) -> Plane:
    return b(F.hypot, x, y)


@unary(C.angle)
def _angle(b: Builder, x: Plane, y: Plane) -> Plane:
    return b(E.atan2, y, x)


@unary(C.sgn)
def _sgn(b: Builder, x: Plane, y: Plane) -> Pair:
    r = b(F.hypot, x, y)
    zero = r == 0.0
    return Pair(b(E.where, zero, 0.0, x / r), b(E.where, zero, 0.0, y / r))


@unary(E.isnan)
def _isnan(b: Builder, x: Plane, y: Plane) -> Plane:
    return b(E.isnan, x) | b(E.isnan, y)


@unary(E.isinf)
def _isinf(b: Builder, x: Plane, y: Plane) -> Plane:
    return b(E.isinf, x) | b(E.isinf, y)


@unary(E.isfinite)
def _isfinite(b: Builder, x: Plane, y: Plane) -> Plane:
    return b(E.isfinite, x) & b(E.isfinite, y)


# -- functions ----------------------------------------------------------------------------------------
def _lost(b: Builder, x: Plane, y: Plane) -> Plane:
    """Where a size is infinite and the angle that turns it is unknown."""
    return b(E.isinf, x) & b(E.bitwise_not, b(E.isfinite, y))


@unary(E.exp)
def exp(b: Builder, x: Plane, y: Plane) -> Pair:
    """e**x (cos y + i sin y); real where y is 0, of infinite or no size where only that is known."""
    e, lost = b(E.exp, x), _lost(b, x, y)
    re = b(E.where, lost | (y == 0.0), e, e * b(E.cos, y))
    im = b(E.where, lost & (e == 0.0), e, e * b(E.sin, y))
    return Pair(re, b(E.where, y == 0.0, y, im))


@unary(E.exp2)
def _exp2(b: Builder, x: Plane, y: Plane) -> Pair:
    return exp(b, x * math.log(2), y * math.log(2))


@unary(E.expm1)
def _expm1(b: Builder, x: Plane, y: Plane) -> Pair:
    s = b(E.sin, y * 0.5)
    return Pair(b(E.expm1, x) * b(E.cos, y) - 2.0 * s * s, b(E.exp, x) * b(E.sin, y))


@unary(E.log)
def log(b: Builder, x: Plane, y: Plane) -> Pair:
    """The logarithm, log |z| + i arg z."""
    return Pair(b(E.log, b(F.hypot, x, y)), b(E.atan2, y, x))


@rule(E.pow_)
def _pow(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Pair:
    """exp(y log x); 1 where y is 0, and 0 where x is 0 and y has a positive real part."""
    x, y = xs
    re, im = exp(b, *times(y, log(b, *x)))
    one = (y.re == 0.0) & (y.im == 0.0)
    none = (x.re == 0.0) & (x.im == 0.0) & (y.re > 0.0)
    re = b(E.where, one, 1.0, b(E.where, none, 0.0, re))
    return Pair(re, b(E.where, one | none, 0.0, im))


def _scaled(prim: Primitive, factor: float) -> None:
    def fn(b: Builder, x: Plane, y: Plane) -> Pair:
        z = log(b, x, y)
        return Pair(z.re * factor, z.im * factor)

    unary(prim)(fn)


_scaled(E.log2, 1 / math.log(2))
_scaled(E.log10, 1 / math.log(10))


@unary(E.log1p)
def _log1p(b: Builder, x: Plane, y: Plane) -> Pair:
    return log(b, x + 1.0, y)


@unary(E.sqrt)
def sqrt(b: Builder, x: Plane, y: Plane) -> Pair:
    """The root with a real part of at least 0; no sum of it cancels."""
    a = abs(y)
    t = b(E.sqrt, (b(F.hypot, x, y) + abs(x)) * 0.5)
    other = b(E.where, t == 0.0, a, a / (t + t))
    endless = a == math.inf
    right = x >= 0.0
    re = b(E.where, endless, a, b(E.where, right, t, other))
    im = b(E.where, endless, a, b(E.where, right, other, t))
    return Pair(re, b(F.copysign, im, y))


@unary(E.rsqrt)
def _rsqrt(b: Builder, x: Plane, y: Plane) -> Pair:
    z = sqrt(b, x, y)
    return _reciprocal(b, *z)


@unary(E.sinh)
def sinh(b: Builder, x: Plane, y: Plane) -> Pair:
    """The hyperbolic sine, sinh x cos y + i cosh x sin y; exactly 0 where x or y makes it so."""
    re = b(E.where, _lost(b, x, y), abs(x), b(E.where, x == 0.0, x, b(E.sinh, x) * b(E.cos, y)))
    return Pair(re, b(E.where, y == 0.0, y, b(E.cosh, x) * b(E.sin, y)))


@unary(E.cosh)
def cosh(b: Builder, x: Plane, y: Plane) -> Pair:
    """The hyperbolic cosine, cosh x cos y + i sinh x sin y; exactly 0 where x or y makes it so."""
    re = b(E.where, _lost(b, x, y), abs(x), b(E.cosh, x) * b(E.cos, y))
    return Pair(re, b(E.where, x == 0.0, x, b(E.where, y == 0.0, y, b(E.sinh, x) * b(E.sin, y))))


@unary(E.tanh)
def tanh(b: Builder, x: Plane, y: Plane) -> Pair:
    """Kahan 1987: by tan y and sinh x; its limit before sinh overflows."""
    t, s = b(E.tan, y), b(E.sinh, x)
    beta = 1.0 + t * t
    down = 1.0 + beta * s * s
    far = abs(x) > 22.0
    limit = b(E.where, b(E.isinf, x), 0.0, 4.0 * b(E.sin, y) * b(E.cos, y) * b(E.exp, -2.0 * abs(x)))
    one = b(F.copysign, 1.0, x) + limit * 0.0  # NaN where the angle is unknown and not all is decided by x
    re = b(E.where, far, one, b(E.where, x == 0.0, x, beta * b(E.sqrt, 1.0 + s * s) * s / down))
    return Pair(re, b(E.where, far, limit, b(E.where, y == 0.0, y, t / down)))


@unary(E.sin)
def _sin(b: Builder, x: Plane, y: Plane) -> Pair:
    u, v = sinh(b, y, -x)  # sin z = i sinh -iz
    return Pair(-v, u)


@unary(E.cos)
def _cos(b: Builder, x: Plane, y: Plane) -> Pair:
    return cosh(b, -y, x)  # cos z = cosh iz


@unary(E.tan)
def _tan(b: Builder, x: Plane, y: Plane) -> Pair:
    u, v = tanh(b, -y, x)  # tan z = -i tanh iz
    return Pair(v, -u)


@unary(E.sigmoid)
def _sigmoid(b: Builder, x: Plane, y: Plane) -> Pair:
    e = exp(b, -x, -y)
    return _reciprocal(b, 1.0 + e.re, e.im)


# -- reductions, movement, products -------------------------------------------------------------------
@rule(S.sum_)
def _sum(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Pair:
    axes, keep, dtype = attrs
    return apart(b, xs, (axes, keep, dtype.to_real()), S.sum_)


@rule(S.full)
def _full(b: Builder, xs: Sequence[Any], attrs: tuple) -> Pair:
    value, shape, dtype, weak = attrs
    z, d = complex(value), dtype.to_real()
    return Pair(b(S.full, attrs=(z.real, shape, d, weak)), b(S.full, attrs=(z.imag, shape, d, weak)))


@rule(S.pad)
def _pad(b: Builder, xs: Sequence[Pair], attrs: tuple) -> Pair:
    low, high, value = attrs
    z = complex(value)
    return Pair(b(S.pad, xs[0].re, attrs=(low, high, z.real)), b(S.pad, xs[0].im, attrs=(low, high, z.imag)))


def _put(prim: I.Scatter) -> None:
    def fn(b: Builder, xs: Sequence[Any], attrs: tuple) -> Any:
        return apart(b, xs, attrs, prim) if attrs[-1] in ("set", "add") else None

    RULES[prim] = fn


for _scatter in (I.take_put, I.along_put, I.index_put):
    _put(_scatter)


@rule(S.dot)
def _dot(b: Builder, xs: Sequence[Any], attrs: tuple) -> Pair:
    x, y = xs
    if not isinstance(x, Pair):
        return Pair(b(S.dot, x, y.re), b(S.dot, x, y.im))
    if not isinstance(y, Pair):
        return Pair(b(S.dot, x.re, y), b(S.dot, x.im, y))
    return Pair(
        b(S.dot, x.re, y.re) - b(S.dot, x.im, y.im), b(S.dot, x.re, y.im) + b(S.dot, x.im, y.re)
    )  # fmt: skip
