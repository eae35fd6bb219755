"""The rest of huge arguments by pi/2, exact for every double (Payne and Hanek, "Radian reduction", SIGNUM 1983).

Of x * 2/pi only the last two bits before the point and the bits behind it matter. They are those of the product of x's
significand and the 192 bits of 2/pi that stand where x's exponent says; 137 bits behind the point are right then, and
no double comes closer to a multiple of pi/2 than 2**-62.
"""

from __future__ import annotations

from gradloom.compiler.llvm.text import Function, V
from gradloom.compiler.llvm.vecmath import Lanes

__all__ = ["HUGE", "reduce_huge"]

HUGE = 2.0**31  # from here on
_NAME = "gradloom_trig_huge"
_MAGIC = 1.5 * 2.0**52
_PIO2 = (1.5707963267948966, 6.123233995736766e-17)
# the first 1216 bits of 2/pi behind the point
_BITS = (
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921c"
    "fe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d08"
    "56033046fc7b6bab"
)


def reduce_huge(m: Lanes, x: V, t: V, r: V, low: V) -> tuple[V, V, V]:
    """The parts of x, of which those of lanes beyond ``HUGE`` are wrong still, made right. Doubles only."""
    f = m.f
    huge = m.cmp("uge", m.abs(x), HUGE)
    some = f.call(f"llvm.vector.reduce.or.v{m.n}i1", "i1", [huge]) if m.n > 1 else huge
    with f.if_else(some) as branch:
        parts = [x, t, r, low]
        places = [f.alloca(m.ty, align=64) for _ in parts]
        for v, p in zip(parts, places, strict=True):
            f.store(v, p)
        _define(m)
        f.call(_NAME, "void", [*places, V("i64", str(m.n))])
        mended = [f.load(m.ty, p) for p in places[1:]]
        branch.otherwise()
    a, b, c = (branch.merge(new, old) for new, old in zip(mended, (t, r, low), strict=True))
    return a, b, c


def _define(m: Lanes) -> None:
    """The function of the module that does the lanes of a vector in memory one by one."""
    module = m.f.module
    if any(g.name == _NAME for g in module.functions):
        return
    words = [0] + [int(_BITS[k : k + 16], 16) for k in range(0, len(_BITS), 16)]
    listed = ", ".join(f"i64 {w - (w >> 63 << 64)}" for w in words)
    module.define_global(f"{_NAME}_bits", f"internal constant [{len(words)} x i64] [{listed}]")
    args = [("ptr", "x"), ("ptr", "t"), ("ptr", "r"), ("ptr", "low"), ("i64", "n")]
    f = module.function(_NAME, "void", args, "internal", "nounwind noinline")
    with f.loop(0, f.arg("n")) as it:
        x = f.load("double", f.gep(f.arg("x"), "double", it.i))
        size = f.and_(f.cast("bitcast", x, "i64"), (1 << 63) - 1)
        with f.if_(f.icmp("uge", size, V("i64", str((1023 + 31) << 52)))):
            results = _lane(f, Lanes(f, m.host, "double"), x, size)
            for name, v in zip(("t", "r", "low"), results, strict=True):
                f.store(v, f.gep(f.arg(name), "double", it.i))
    f.ret()


def _lane(f: Function, m: Lanes, x: V, size: V) -> tuple[V, V, V]:
    """One double, its bits without the sign at hand."""
    exponent = f.lshr(size, 52)
    significand = f.or_(f.and_(size, (1 << 52) - 1), 1 << 52)
    at = f.sub(exponent, 1013)  # of the bit of 2/pi whose product has the weight 2
    first = f.lshr(at, 6)
    window = f.const("i256", 0)
    for k in range(4):
        word = f.load("i64", f.gep(V("ptr", f"@{_NAME}_bits"), "i64", f.add(first, k)))
        window = f.or_(f.shl(window, 64), f.cast("zext", word, "i256"))
    shift = f.cast("zext", f.and_(at, 63), "i256")
    bits = f.cast("trunc", f.lshr(f.op("i256", f"shl i256 {window.ref}, {shift.ref}"), 64), "i192")
    product = f.op("i192", f"mul i192 {bits.ref}, {f.cast('zext', significand, 'i192').ref}")  # in units of 2**-190
    quarters = f.cast("trunc", f.lshr(f.add(product, V("i192", str(1 << 189))), 190), "i64")
    rest = f.shl(product, 2)  # behind the point, signed
    sign = f.ashr(rest, 191)
    rest = f.sub(f.xor(rest, sign), sign)
    zeros = f.call("llvm.ctlz.i192", "i192", [rest, V("i1", "false")])
    rest = f.op("i192", f"shl i192 {rest.ref}, {zeros.ref}")
    top, next_ = (f.cast("trunc", f.lshr(rest, n), "i64") for n in (128, 64))
    high = f.cast("uitofp", f.and_(top, -2048), "double")
    behind = f.or_(f.shl(f.and_(top, 2047), 53), f.lshr(next_, 11))
    scale = f.shl(f.sub(V("i64", str(1023 - 64)), f.cast("trunc", zeros, "i64")), 52)
    unit = f.cast("bitcast", scale, "double")
    high = m.mul(high, unit)
    low = m.mul(f.cast("uitofp", behind, "double"), m.mul(unit, 2.0**-53))
    p, error = m.two_prod(high, m.c(_PIO2[0]))
    p, error = m.fast_two_sum(p, m.add(error, m.add(m.mul(high, _PIO2[1]), m.mul(low, _PIO2[0]))))
    negative = f.ashr(f.cast("bitcast", x, "i64"), 63)
    flip = f.shl(f.xor(negative, f.cast("trunc", sign, "i64")), 63)
    turned = f.sub(f.xor(quarters, negative), negative)
    r, l = (f.cast("bitcast", f.xor(f.cast("bitcast", v, "i64"), flip), "double") for v in (p, error))
    return m.add(f.cast("sitofp", turned, "double"), _MAGIC), m.add(r, m.sub(x, x)), l  # NaN where x is infinite
