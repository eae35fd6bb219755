"""Elementwise primitives: arithmetic, comparisons, functions, casts and random bits.

Conventions at points where a derivative does not exist follow PyTorch: relu and abs have 0 at 0, ties of maximum and
minimum share the gradient equally, clamp passes it on at its bounds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.dtypes import float32
from gradloom.ops import references
from gradloom.ops.core import Elementwise
from gradloom.ops.philox import philox, unit


def _ref(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A reference: operands in the compute dtype, half precision worked in float32, the result cast."""

    def run(arrays: Any, attrs: tuple, aval: Any) -> np.ndarray:
        return np.asarray(fn(*arrays, *attrs)).astype(aval.dtype.numpy, copy=False)

    return run


def _ew(name: str, fn: Callable[..., Any], **kw: Any) -> Elementwise:
    return Elementwise(name, _ref(fn), **kw)


NUM = (1, 2)
FLOAT = (2,)
BITS = (0, 1)
COMPLEX = (3,)
ANY = (0, 1, 2, 3)
NUMBERS = (1, 2, 3)


def _bool_or(name: str) -> Callable[..., Any]:
    """``add`` is or, ``mul`` is and where the operands are bool."""
    logical = {"add": "or", "mul": "and"}[name]
    return lambda e, args, attrs: e.op(logical if e.compute == "bool" else name, *args)


# -- arithmetic -----------------------------------------------------------------------------------
add = _ew("add", np.add, takes=ANY, body=_bool_or("add"))
sub = _ew("sub", np.subtract, takes=NUMBERS)
mul = _ew("mul", np.multiply, takes=ANY, body=_bool_or("mul"))
div = _ew("div", np.true_divide, takes=ANY, result="float")
floordiv = _ew("floordiv", lambda a, b: _int_safe(np.floor_divide, a, b), takes=NUM)
mod = _ew("mod", lambda a, b: _int_safe(np.mod, a, b), takes=NUM)
fmod = _ew("fmod", lambda a, b: _int_safe(np.fmod, a, b), takes=NUM)
neg = _ew("neg", np.negative, takes=NUMBERS)
abs_ = _ew("abs", np.abs, takes=NUMBERS, result="real")
sign = _ew("sign", lambda x: np.where(np.isnan(x), 0, np.sign(x)) if x.dtype.kind == "f" else np.sign(x), takes=NUM,
           body=lambda e, a, _: _sign_body(e, a[0]))  # fmt: skip
pow_ = _ew("pow", lambda a, b: _int_pow(a, b) if a.dtype.kind in "iu" else np.power(a, b), takes=NUMBERS)
maximum = _ew("maximum", np.maximum, body=lambda e, a, _: e.op("or" if e.compute == "bool" else "max", *a))
minimum = _ew("minimum", np.minimum, body=lambda e, a, _: e.op("and" if e.compute == "bool" else "min", *a))
atan2 = _ew("atan2", np.arctan2, result="float")


def _int_safe(fn: Callable[..., Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return fn(a, b)


def _int_pow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    safe = np.power(a, np.where(b < 0, 0, b)) if b.dtype.kind == "i" else np.power(a, b)
    if b.dtype.kind != "i":
        return safe
    neg_result = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0))
    return np.where(b < 0, neg_result, safe).astype(a.dtype)


def _sign_body(e: Any, x: Any) -> Any:
    zero, one = e.const(0), e.const(1)
    if e.compute in ("u8", "u16", "u32", "u64"):
        return e.where(e.cmp("gt", x, zero), one, zero)
    return e.where(e.cmp("gt", x, zero), one, e.where(e.cmp("lt", x, zero), e.const(-1), zero))


# -- functions (floating; integers become the default float) ---------------------------------------
def _fn(name: str, fn: Callable[..., Any], op: str | None = None, takes: tuple[int, ...] = ANY) -> Elementwise:
    o = op or name
    return _ew(name, fn, result="float", takes=takes, body=lambda e, a, _: e.op(o, *a))


def _real_fn(name: str, fn: Callable[..., Any]) -> Elementwise:
    return _fn(name, fn, takes=(0, 1, 2))


def _sigmoid_np(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "c":
        return 1 / (1 + np.exp(-x))
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


exp = _fn("exp", np.exp)
exp2 = _fn("exp2", np.exp2)
expm1 = _fn("expm1", np.expm1)
log = _fn("log", np.log)
log2 = _fn("log2", np.log2)
log10 = _fn("log10", np.log10)
log1p = _fn("log1p", np.log1p)
sqrt = _fn("sqrt", np.sqrt)
rsqrt = _fn("rsqrt", lambda x: 1 / np.sqrt(x))
reciprocal = _fn("reciprocal", lambda x: 1 / x, "recip")
sin = _fn("sin", np.sin)
cos = _fn("cos", np.cos)
tan = _fn("tan", np.tan)
asin = _fn("asin", np.arcsin)
acos = _fn("acos", np.arccos)
atan = _fn("atan", np.arctan)
sinh = _fn("sinh", np.sinh)
cosh = _fn("cosh", np.cosh)
tanh = _fn("tanh", np.tanh)
asinh = _fn("asinh", np.arcsinh)
acosh = _fn("acosh", np.arccosh)
atanh = _fn("atanh", np.arctanh)
erf = _real_fn("erf", references.erf)
erfc = _real_fn("erfc", references.erfc)
erfinv = _real_fn("erfinv", references.erfinv)
lgamma = _real_fn("lgamma", references.lgamma)
digamma = _real_fn("digamma", references.digamma)
sigmoid = _fn("sigmoid", _sigmoid_np)
floor = _ew("floor", np.floor, takes=NUM, body=lambda e, a, _: e.op("floor", a[0]) if e.floating else a[0])
ceil = _ew("ceil", np.ceil, takes=NUM, body=lambda e, a, _: e.op("ceil", a[0]) if e.floating else a[0])
trunc = _ew("trunc", np.trunc, takes=NUM, body=lambda e, a, _: e.op("trunc", a[0]) if e.floating else a[0])
round_ = _ew("round", np.round, takes=NUM, body=lambda e, a, _: e.op("round", a[0]) if e.floating else a[0])
relu = _ew(
    "relu", lambda x: np.maximum(x, x.dtype.type(0)), takes=NUM, body=lambda e, a, _: e.op("max", a[0], e.const(0))
)

# -- bits and logic --------------------------------------------------------------------------------
bitwise_and = _ew("bitwise_and", np.bitwise_and, takes=BITS, body=lambda e, a, _: e.op("and", *a))
bitwise_or = _ew("bitwise_or", np.bitwise_or, takes=BITS, body=lambda e, a, _: e.op("or", *a))
bitwise_xor = _ew("bitwise_xor", np.bitwise_xor, takes=BITS, body=lambda e, a, _: e.op("xor", *a))
bitwise_not = _ew("bitwise_not", np.invert, takes=BITS, body=lambda e, a, _: e.op("not", *a))
shift_left = _ew("shift_left", np.left_shift, takes=(1,), body=lambda e, a, _: e.op("shl", *a))
shift_right = _ew("shift_right", np.right_shift, takes=(1,), body=lambda e, a, _: e.op("shr", *a))


# -- comparisons -----------------------------------------------------------------------------------
def _compare(name: str, fn: Callable[..., Any], takes: tuple[int, ...] = (0, 1, 2)) -> Elementwise:
    return _ew(name, fn, result="bool", takes=takes, body=lambda e, a, _: e.cmp(name, *a))


eq = _compare("eq", np.equal, ANY)
ne = _compare("ne", np.not_equal, ANY)
lt = _compare("lt", np.less)
le = _compare("le", np.less_equal)
gt = _compare("gt", np.greater)
ge = _compare("ge", np.greater_equal)


def _test(name: str, fn: Callable[..., Any], integer: bool) -> Elementwise:
    body = lambda e, a, _: e.cmp(name, a[0]) if e.floating else e.bool_const(integer)  # noqa: E731
    return _ew(name, fn, result="bool", takes=ANY, body=body)


isnan = _test("isnan", np.isnan, False)
isinf = _test("isinf", np.isinf, False)
isfinite = _test("isfinite", np.isfinite, True)

where = _ew("where", lambda c, a, b: np.where(c, a, b), takes=ANY, operands="tail", body=lambda e, a, _: e.where(*a))
cast = _ew("cast", lambda x, d: _cast_np(x, d), result=lambda attrs: attrs[0], takes=ANY, operands="keep",
           body=lambda e, a, attrs: e.cast(a[0], attrs[0]))  # fmt: skip
detach = _ew("detach", lambda x: x, takes=ANY, operands="keep", body=lambda e, a, _: a[0])
where.moves_bits = cast.moves_bits = detach.moves_bits = True


def _drawn_at(e: Any, args: Any, attrs: tuple) -> Any:
    key, place, word = args
    body, none = e.body, e.const(0)
    bits = [body.add("philox", "u32", (key, none, place), (w,)) for w in range(4)]
    found = bits[3]
    for w in (2, 1, 0):
        found = body.add("where", "u32", (e.cmp("eq", word, e.const(w)), bits[w], found))
    return body.add("unit", "f32", (found,))


def _drawn_at_np(key: np.ndarray, place: np.ndarray, word: np.ndarray) -> np.ndarray:
    return unit(np.choose(word, philox(key, 0, place)))


uniform_at = _ew("uniform_at", _drawn_at_np, result=lambda attrs: float32, takes=(1,), body=_drawn_at)
"""float32 in [0, 1) from a word, 0 to 3, of Philox at a place under a key. Operands (key, place, word): int64."""


def _cast_np(x: np.ndarray, d: Any) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the imaginary part is dropped: whoever wants to know was told before
        if d.storage_only and x.dtype.kind == "c":  # ml_dtypes has no such conversion
            x = x.real
        if d.name == "float8_e4m3fn":  # has no infinities: PyTorch takes the largest number instead
            x = np.clip(x.astype(np.float64), -448, 448)
        return x.astype(d.numpy)


# -- gradients -------------------------------------------------------------------------------------


def _trigamma(G: Any, x: Any) -> Any:
    """Derivative of digamma: reflected below 1/2, recurrence up to 7, then the asymptotic series (A&S 6.4.5-6.4.12)."""
    c = G.const
    low = G.lt(x, c(0.5))
    z = G.where(low, G.sub(c(1.0), x), x)
    total = G.reciprocal(G.mul(z, z))
    for k in range(1, 7):
        s = G.add(z, c(float(k)))
        total = G.add(total, G.reciprocal(G.mul(s, s)))
    r = G.reciprocal(G.add(z, c(7.0)))
    q = G.mul(r, r)
    series = c(7 / 6)  # Bernoulli numbers B14, B12, ..., B2
    for b in (-691 / 2730, 5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6):
        series = G.add(G.mul(series, q), c(b))
    total = G.add(total, G.mul(r, G.add(c(1.0), G.mul(r, G.add(c(0.5), G.mul(series, r))))))
    t = G.div(c(math.pi), G.sin(G.mul(c(math.pi), x)))
    return G.where(low, G.sub(G.mul(t, t), total), total)


def _declare() -> None:
    from gradloom import functions as G
    from gradloom.ops.complex_numbers import conjugate as cj
    from gradloom.ops.complex_numbers import sgn

    def direction(x: Any) -> Any:
        return G.apply(sgn, (x,)) if x.dtype.is_complex else G.sign(x)

    two_over_sqrt_pi = 2 / math.sqrt(math.pi)
    log2_, log10_ = math.log(2.0), math.log(10.0)
    for p in (add, sub, neg, cast, sign, floor, ceil, trunc, round_, floordiv):
        p.saves = False
    # a factor that belongs to a formula is no value
    mul.saves = lambda e: all(i.rg or getattr(i.prim, "kind", None) != "create" for i in e.ins)
    div.saves = lambda e: not e.ins[0].rg or getattr(e.ins[1].prim, "kind", None) != "create"
    add.vjp = lambda ct, out, ins, attrs: (ct, ct)
    sub.vjp = lambda ct, out, ins, attrs: (ct, G.neg(ct))
    mul.vjp = lambda ct, out, ins, attrs: (G.mul(ct, cj(ins[1])), G.mul(ct, cj(ins[0])))
    div.vjp = lambda ct, out, ins, attrs: (
        G.div(ct, cj(ins[1])),
        G.neg(G.mul(ct, cj(G.div(out, ins[1])))),
    )
    neg.vjp = lambda ct, out, ins, attrs: (G.neg(ct),)
    abs_.vjp = lambda ct, out, ins, attrs: (G.mul(ct, direction(ins[0])),)
    mod.vjp = lambda ct, out, ins, attrs: (ct, G.neg(G.mul(ct, G.floor(G.div(ins[0], ins[1])))))
    fmod.vjp = lambda ct, out, ins, attrs: (ct, G.neg(G.mul(ct, G.trunc(G.div(ins[0], ins[1])))))
    for p in (sign, floor, ceil, trunc, round_, floordiv):
        p.vjp = lambda ct, out, ins, attrs: tuple(map(G.zeros_like, ins))

    def pow_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        a, b = ins
        one = G.const(1.0)
        da = G.mul(ct, cj(G.where(G.eq(b, G.const(0.0)), G.const(0.0), G.mul(b, G.pow(a, G.sub(b, one))))))
        safe = G.where(G.eq(a, G.const(0.0)), one, a)
        at_zero = G.const(0.0)
        if not b.dtype.is_complex:  # 0**b falls from infinity at once
            at_zero = G.where(G.lt(b, G.const(0.0)), G.const(float("-inf")), at_zero)
        db = G.mul(ct, cj(G.where(G.eq(a, G.const(0.0)), at_zero, G.mul(out, G.log(safe)))))
        return da, db

    pow_.vjp = pow_vjp

    def _extreme(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        a, b = ins
        half = G.mul(ct, G.const(0.5))
        tie, zero = G.eq(a, b), G.const(0.0)
        pick = G.eq(out, a)
        return (
            G.where(tie, half, G.where(pick, ct, zero)),
            G.where(tie, half, G.where(pick, zero, ct)),
        )

    maximum.vjp = minimum.vjp = _extreme

    def atan2_vjp(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        y, x = ins
        r = G.add(G.mul(x, x), G.mul(y, y))
        return G.mul(ct, G.div(x, r)), G.neg(G.mul(ct, G.div(y, r)))

    atan2.vjp = atan2_vjp
    one = lambda: G.const(1.0)  # noqa: E731
    unary: dict[Elementwise, Callable[[Any, Any], Any]] = {
        exp: lambda x, y: y,
        exp2: lambda x, y: G.mul(y, G.const(log2_)),
        expm1: lambda x, y: G.add(y, one()),
        log: lambda x, y: G.reciprocal(x),
        log2: lambda x, y: G.reciprocal(G.mul(x, G.const(log2_))),
        log10: lambda x, y: G.reciprocal(G.mul(x, G.const(log10_))),
        log1p: lambda x, y: G.reciprocal(G.add(x, one())),
        sqrt: lambda x, y: G.div(G.const(0.5), y),
        rsqrt: lambda x, y: G.mul(G.const(-0.5), G.div(y, x)),
        reciprocal: lambda x, y: G.neg(G.mul(y, y)),
        sin: lambda x, y: G.cos(x),
        cos: lambda x, y: G.neg(G.sin(x)),
        tan: lambda x, y: G.add(one(), G.mul(y, y)),
        asin: lambda x, y: G.rsqrt(G.sub(one(), G.mul(x, x))),
        acos: lambda x, y: G.neg(G.rsqrt(G.sub(one(), G.mul(x, x)))),
        atan: lambda x, y: G.reciprocal(G.add(one(), G.mul(x, x))),
        sinh: lambda x, y: G.cosh(x),
        cosh: lambda x, y: G.sinh(x),
        tanh: lambda x, y: G.sub(one(), G.mul(y, y)),
        asinh: lambda x, y: G.rsqrt(G.add(one(), G.mul(x, x))),
        acosh: lambda x, y: (
            G.mul(G.rsqrt(G.sub(x, one())), G.rsqrt(G.add(x, one())))  # on the branch that acosh takes
            if x.dtype.is_complex
            else G.rsqrt(G.sub(G.mul(x, x), one()))
        ),
        atanh: lambda x, y: G.reciprocal(G.sub(one(), G.mul(x, x))),
        erf: lambda x, y: G.mul(G.const(two_over_sqrt_pi), G.exp(G.neg(G.mul(x, x)))),
        erfc: lambda x, y: G.mul(G.const(-two_over_sqrt_pi), G.exp(G.neg(G.mul(x, x)))),
        erfinv: lambda x, y: G.mul(G.const(1 / two_over_sqrt_pi), G.exp(G.mul(y, y))),
        lgamma: lambda x, y: G.digamma(x),
        digamma: lambda x, y: _trigamma(G, x),
        sigmoid: lambda x, y: G.mul(y, G.sub(one(), y)),
    }
    for prim, d in unary.items():
        prim.vjp = lambda ct, out, ins, attrs, d=d: (G.mul(ct, cj(d(ins[0], out))),)
    # what is no number lets its gradient through, as in PyTorch
    relu.vjp = lambda ct, out, ins, attrs: (G.where(G.le(ins[0], G.const(0.0)), G.const(0.0), ct),)
    where.vjp = lambda ct, out, ins, attrs: (
        None,
        G.where(ins[0], ct, G.const(0.0)),
        G.where(ins[0], G.const(0.0), ct),
    )
    cast.vjp = lambda ct, out, ins, attrs: (G.cast(ct, ins[0].dtype),)


GRADIENTS = _declare
