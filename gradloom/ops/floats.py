"""Elementwise primitives on the make of floating numbers, and the stable forms of sums of exponentials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, int32
from gradloom.errors import DTypeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive, broadcast_shapes
from gradloom.ops.elementwise import FLOAT, NUM, _ew
from gradloom.ops.formulas import Num, formula, function, where

__all__ = [
    "HostMap", "copysign", "fmax", "fmin", "frexp_exponent", "frexp_mantissa", "gcd", "hypot", "lcm", "logaddexp",
    "logaddexp2", "nextafter", "signbit", "sinc", "truncdiv", "xlog1py", "xlogy",
]  # fmt: skip

exp, exp2, log, log2, log1p, sin = map(function, ("exp", "exp2", "log", "log2", "log1p", "sin"))
INF, NAN = math.inf, math.nan


def _truncdiv_np(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return np.trunc(a / b)
    q = np.floor_divide(a, b)
    return q + ((q < 0) & (q * b != a)).astype(q.dtype)


def _extreme(name: str, logical: str) -> Callable[..., Any]:
    """``fmax`` of bool is or, of integers max."""
    return lambda e, a, _: e.op(logical if e.compute == "bool" else name if e.floating else name[1:], *a)


def _signbit(e: Any, args: Sequence[Any], attrs: tuple) -> Any:
    return e.bool_const(False) if e.compute == "bool" else e.cmp("signbit", args[0])


truncdiv = _ew("truncdiv", _truncdiv_np, takes=NUM)
copysign = _ew("copysign", np.copysign, result="float")
hypot = _ew("hypot", np.hypot, takes=FLOAT)
nextafter = _ew("nextafter", np.nextafter, takes=FLOAT)
fmax = _ew("fmax", np.fmax, body=_extreme("fmax", "or"))
fmin = _ew("fmin", np.fmin, body=_extreme("fmin", "and"))
signbit = _ew(
    "signbit", lambda x: np.signbit(x) if x.dtype.kind == "f" else np.less(x, 0), result="bool", body=_signbit
)


# -- mantissa and exponent ----------------------------------------------------------------------------
def _parts(x: Num) -> tuple[Num, Num]:
    """The m and n of ``x = m 2**n`` with ``1/2 <= |m| < 1``, of doubles; x and 0 where x is 0, infinite or NaN."""
    a = abs(x)
    tiny = a < 2.0**-1000
    b = where(tiny, a * 2.0**200, a)
    b = where(b > 0.0, where(b < INF, b, 1.0), 1.0)
    n = log2(b).op("floor") + 1.0  # the logarithm may have been rounded across an integer
    m = b * exp2(-n)
    low, high = m < 0.5, m >= 1.0
    n = where(low, n - 1.0, where(high, n + 1.0, n))
    m = where(low, m + m, where(high, m * 0.5, m)).op("copysign", x)
    n = where(tiny, n - 200.0, n)

    def or_else(value: Num, other: Any) -> Num:
        return where(a > 0.0, where(a < INF, value, other), other)

    return or_else(m, x), or_else(n, 0.0)


frexp_mantissa = formula("frexp_mantissa", lambda x: _parts(x)[0], in_double=True, takes=FLOAT)
frexp_exponent = formula("frexp_exponent", lambda x: _parts(x)[1], in_double=True, out=int32, takes=FLOAT)


# -- logarithms of sums, products with logarithms -----------------------------------------------------
def _logaddexp(a: Num, b: Num) -> Num:
    big = where(a > b, a, b)  # b where either is NaN; the difference is NaN then
    return where(a == b, a + math.log(2.0), big + log1p(exp(-abs(a - b))))


def _logaddexp2(a: Num, b: Num) -> Num:
    big = where(a > b, a, b)
    return where(a == b, a + 1.0, big + log1p(exp2(-abs(a - b))) * (1 / math.log(2.0)))


def _x_times(fn: Callable[[Num], Num]) -> Callable[[Num, Num], Num]:
    """The product x fn(y), and 0 where x is 0, even where fn(y) is infinite; NaN where y is."""
    return lambda x, y: where(y == y, where(x == 0.0, 0.0, x * fn(y)), NAN)


def _sinc(x: Num) -> Num:
    """sin(pi x) / (pi x), the angle brought to within a quarter turn of 0 before pi is multiplied to it."""
    turns = x.op("round")
    odd = turns * 0.5 != (turns * 0.5).op("round")
    s = sin((x - turns) * math.pi)
    s = where(odd, -s, s) / (x * math.pi)
    return where(x == 0.0, 1.0, s)


logaddexp = formula("logaddexp", _logaddexp, takes=FLOAT, result="same")
logaddexp2 = formula("logaddexp2", _logaddexp2, takes=FLOAT, result="same")
xlogy = formula("xlogy", _x_times(log))
xlog1py = formula("xlog1py", _x_times(log1p))
sinc = formula("sinc", _sinc)


# -- what has loops that depend on the values ---------------------------------------------------------
class HostMap(Primitive):
    """Applied per element in NumPy; operands broadcast and promote as those of :class:`Elementwise`.

    takes: categories of dtypes. floating: whether integers become the default float. Half precision is worked in
    float32.
    """

    def __init__(
        self, name: str, fn: Callable[..., Any], takes: tuple[int, ...] = (0, 1, 2), floating: bool = True
    ) -> None:
        super().__init__(name, self._run)
        self.fn, self.takes, self.floating = fn, takes, floating

    def _compute(self, avals: Sequence[Aval]) -> DType:
        d = dtypes.result_type([(a.dtype, a.rank) for a in avals])
        return dtypes.default_float() if self.floating and d.category < 2 else d

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """The common shape and dtype."""
        d = dtypes.result_type([(a.dtype, a.rank) for a in avals])
        if d.category not in self.takes:
            names = ("bool", "integer", "floating")
            raise DTypeError(
                f"{self.name}: dtype {d.name} is not supported", code=f"dtype.{self.name}",
                hint="takes " + " or ".join(names[c] for c in self.takes) + " tensors; convert with .to(dtype)",
            )  # fmt: skip
        return Aval(broadcast_shapes(self.name, [a.shape for a in avals]), self._compute(avals), False)

    def _run(self, arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
        wide = np.dtype(np.float32) if aval.dtype in (dtypes.float16, dtypes.bfloat16) else aval.dtype.numpy
        with np.errstate(all="ignore"):
            args = np.broadcast_arrays(*(a.astype(wide) for a in arrays))
            return np.asarray(self.fn(*args, *attrs)).astype(aval.dtype.numpy, copy=False)


gcd = HostMap("gcd", np.gcd, takes=(1,), floating=False)
lcm = HostMap("lcm", np.lcm, takes=(1,), floating=False)


def _declare() -> None:
    from gradloom import functions as G
    from gradloom.functions import floats as F

    zero = G.const

    def signed(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        x, y = ins
        one = G.const(1.0)
        return G.mul(ct, G.mul(G.sign(x), G.apply(copysign, (one, y)))), G.zeros_like(y)

    def chosen(first: Callable[..., Any]) -> Callable[..., Any]:
        def rule(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
            a, b = ins
            mine = G.logical_or(first(a, b), G.isnan(b))
            return G.where(mine, ct, zero(0.0)), G.where(mine, zero(0.0), ct)

        return rule

    def weighed(base: float) -> Callable[..., Any]:
        def rule(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
            a, b = ins
            d = G.where(G.eq(a, b), zero(0.0), G.sub(a, b))  # infinities that are equal share
            share = G.sigmoid(d if base == math.e else G.mul(d, G.const(math.log(base))))
            return G.mul(ct, share), G.mul(ct, G.sub(G.const(1.0), share))

        return rule

    def logarithmic(fn: Any, shift: float) -> Callable[..., Any]:
        def rule(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
            x, y = ins
            flat = G.logical_and(G.eq(x, zero(0.0)), G.le(y, G.const(-shift)))
            dx = G.where(flat, zero(0.0), fn(G.where(flat, G.const(1.0), y)))
            return G.mul(ct, dx), G.mul(ct, G.div(x, G.add(y, G.const(shift)) if shift else y))

        return rule

    copysign.vjp = signed
    hypot.vjp = lambda ct, out, ins, attrs: tuple(G.mul(ct, G.div(x, out)) for x in ins)
    fmax.vjp, fmin.vjp = chosen(G.ge), chosen(G.le)
    nextafter.vjp = lambda ct, out, ins, attrs: (G.where(G.eq(*ins), zero(0.0), ct), G.zeros_like(ins[1]))
    truncdiv.vjp = lambda ct, out, ins, attrs: tuple(G.mul(ct, zero(0.0)) for _ in ins)
    frexp_mantissa.vjp = lambda ct, out, ins, attrs: (
        G.mul(ct, G.exp2(G.neg(G.cast(G.apply(frexp_exponent, ins), ct.dtype)))),
    )
    logaddexp.vjp, logaddexp2.vjp = weighed(math.e), weighed(2.0)
    xlogy.vjp, xlog1py.vjp = logarithmic(G.log, 0.0), logarithmic(G.log1p, 1.0)
    sinc.vjp = lambda ct, out, ins, attrs: (G.mul(ct, F.sinc_slope(ins[0], out)),)


GRADIENTS = _declare
