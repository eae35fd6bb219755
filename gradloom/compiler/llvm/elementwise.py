"""How every elementwise instruction of the kernel IR becomes LLVM: one table from op name to emitter.

Emission works on any number of lanes, one included (then types are scalar), and never branches. What a type is in
registers: floats are ``float`` or ``double`` lanes; float16 and bfloat16 are raw ``i16`` lanes that only load, store,
``cast`` and ``where`` touch; integers are ``iN`` lanes whose signedness the dtype tells; a bool is an ``i1`` lane, and
a byte in memory.

Nothing here traps and nothing is poison: an integer divided by zero gives 0, so does its remainder; a shift by the
width or more gives 0 (or the sign); a float too large for the integer it is cast to gives the target's usual answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradloom.compiler.llvm import integers, vecmath_exp, vecmath_log, vecmath_special, vecmath_trig
from gradloom.compiler.llvm.halves import from_half, to_half
from gradloom.compiler.llvm.host import Host
from gradloom.compiler.llvm.text import Function, V, lanes, vec
from gradloom.compiler.llvm.vecmath import Lanes, literal
from gradloom.compiler.loops import Inst

__all__ = [
    "combine",
    "emit_cast",
    "emit_const",
    "emit_inst",
    "emit_load",
    "emit_store",
    "identity",
    "memory_type",
    "register_type",
]

_LLVM = {"f32": "float", "f64": "double", "f16": "i16", "bf16": "i16", "bool": "i1"}
_HALVES = ("f16", "bf16")
_FLOATS = ("f32", "f64")


# -- types, memory, constants -------------------------------------------------------------------------
def register_type(dtype: str, lanes: int) -> str:
    """LLVM type of ``lanes`` values of ``dtype`` in registers: ``<16 x float>``, ``<16 x i1>`` for bool, …"""
    return vec(_LLVM.get(dtype) or "i" + dtype[1:], lanes)


def memory_type(dtype: str, lanes: int) -> str:
    """LLVM type of ``lanes`` values of ``dtype`` in memory; a bool is a byte."""
    return vec("i8", lanes) if dtype == "bool" else register_type(dtype, lanes)


def emit_load(f: Function, host: Host, dtype: str, ptr: V, lanes: int, mask: V | None = None) -> V:
    """Load contiguous values; lanes whose ``mask`` is false are not touched and give 0. A bool is any byte but 0."""
    ty = memory_type(dtype, lanes)
    x = f.load(ty, ptr) if mask is None else f.masked_load(ty, ptr, mask)
    return f.icmp("ne", x, 0) if dtype == "bool" else x


def emit_store(f: Function, host: Host, dtype: str, value: V, ptr: V, mask: V | None = None) -> None:
    """Store contiguous values, only the lanes whose ``mask`` is true if there is one."""
    if dtype == "bool":
        value = f.cast("zext", value, memory_type("bool", lanes(value.ty)))
    if mask is None:
        f.store(value, ptr)
    else:
        f.masked_store(value, ptr, mask)


def emit_const(f: Function, dtype: str, value: float | int | bool, lanes: int) -> V:
    """A constant in every lane. float16 and bfloat16 are rounded to nearest; integers wrap."""
    ty = register_type(dtype, lanes)
    if dtype in _FLOATS:
        return f.const(ty, float(value))
    if dtype == "bool":
        return f.const(ty, bool(value))
    if dtype in _HALVES:
        import ml_dtypes
        import numpy as np

        kind = np.float16 if dtype == "f16" else ml_dtypes.bfloat16
        return f.const(ty, int(np.array(value, dtype=kind).view(np.int16)))
    return f.const(ty, integers.wrap(int(value), int(dtype[1:])))


# -- reductions ---------------------------------------------------------------------------------------
def identity(f: Function, reduce_kind: str, dtype: str, lanes: int) -> V:
    """The value that :func:`combine` leaves others alone with: 0 for sum, -inf or the least integer for max, …"""
    if reduce_kind in ("sum", "any"):
        return emit_const(f, dtype, 0, lanes)
    if reduce_kind in ("prod", "all"):
        return emit_const(f, dtype, 1, lanes)
    if reduce_kind not in ("max", "min"):
        raise ValueError(f"unknown reduction {reduce_kind!r}")
    low = reduce_kind == "max"
    if dtype in _FLOATS:
        return emit_const(f, dtype, float("-inf") if low else float("inf"), lanes)
    if dtype == "bool":
        return emit_const(f, dtype, not low, lanes)
    bits = int(dtype[1:])
    least, most = (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return emit_const(f, dtype, least if low else most, lanes)


def combine(f: Function, host: Host, reduce_kind: str, dtype: str, a: V, b: V) -> V:
    """One step of a reduction: ``a`` and ``b`` joined. max and min hand on NaN."""
    if reduce_kind in ("any", "all"):
        return f.or_(a, b) if reduce_kind == "any" else f.and_(a, b)
    op = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}[reduce_kind]
    return emit_inst(f, host, Inst(op, dtype), (dtype, dtype), (a, b))


# -- dispatch -----------------------------------------------------------------------------------------
def emit_inst(f: Function, host: Host, inst: Inst, arg_dtypes: Sequence[str], args: Sequence[V]) -> V:
    """Emit one elementwise instruction.

    Parameters
    ----------
    inst: any op of :data:`gradloom.compiler.loops.ELEMENTWISE`; its ``args`` are not looked at.
    arg_dtypes, args: dtype and value of each argument, all of the same number of lanes, in register types.

    Returns
    -------
    The result, in the register type of ``inst.dtype``.

    Raises
    ------
    ValueError: where the op does not exist or is not defined for the dtype.
    """
    op, dtype = inst.op, inst.dtype
    if op in _SPECIAL:
        return _SPECIAL[op](f, host, inst, arg_dtypes, args)
    if arg_dtypes[0] in _FLOATS:
        if op in _COMPARE:
            return f.fcmp(_COMPARE[op][0], *args)
        if op in _FLOAT:
            return _FLOAT[op](Lanes(f, host, args[0].ty), *args)
    elif op in _COMPARE:
        signed = arg_dtypes[0][0] == "i"
        return f.icmp(_COMPARE[op][1 if signed else 2], *args)
    elif dtype == "bool" and op in _BOOL:
        return f.bin(_BOOL[op], *args)
    elif dtype not in _HALVES and dtype != "bool" and op in integers.OPS:
        return integers.OPS[op](f, dtype, *args)
    raise ValueError(f"{op} is not defined for {', '.join(arg_dtypes)} -> {dtype}")


_COMPARE = {  # float, signed, unsigned (bool among them)
    "eq": ("oeq", "eq", "eq"),
    "ne": ("une", "ne", "ne"),
    "lt": ("olt", "slt", "ult"),
    "le": ("ole", "sle", "ule"),
    "gt": ("ogt", "sgt", "ugt"),
    "ge": ("oge", "sge", "uge"),
}

_BOOL = {"and": "and", "or": "or", "xor": "xor", "add": "or", "mul": "and", "max": "or", "min": "and"}


# -- floats: one or two instructions ------------------------------------------------------------------
def _number(x: V) -> bool:
    """Whether x is a literal, and not NaN."""
    value = literal(x)
    return value is not None and value == value


def _nan_extreme(pred: str) -> Callable[[Lanes, V, V], V]:
    """The extremes that hand on NaN. With a literal number on one side this is one instruction on x86."""

    def emit(m: Lanes, a: V, b: V) -> V:
        if m.host.name == "neon":
            return m.f.intrinsic("maximum" if pred == "ogt" else "minimum", a, b)
        if _number(b):
            a, b = b, a
        best = m.f.select(m.f.fcmp(pred, a, b), a, b)  # b where either is NaN
        return best if _number(a) else m.f.select(m.isnan(a), a, best)

    return emit


def _number_extreme(pred: str) -> Callable[[Lanes, V, V], V]:
    """The extremes that ignore a NaN beside a number."""

    def emit(m: Lanes, a: V, b: V) -> V:
        best = m.f.select(m.f.fcmp(pred, a, b), a, b)
        return m.f.select(m.isnan(b), a, best)

    return emit


def _sign(m: Lanes, x: V) -> V:
    """-1, 0, 1, or NaN."""
    one = m.copysign(m.c(1.0), x)
    return m.select(m.cmp("une", x, 0.0), m.select(m.isnan(x), x, one), m.c(0.0))


def _plain(intrinsic: str) -> Callable[[Lanes, V], V]:
    return lambda m, x: m.f.intrinsic(intrinsic, x)


def _signbit(m: Lanes, x: V) -> V:
    return m.f.icmp("slt", m.to_bits(x), 0)


def _nextafter(m: Lanes, x: V, y: V) -> V:
    """The float after x towards y. Exact."""
    f = m.f
    bits = m.to_bits(x)
    away = m.cmp("olt", x, y)
    negative = f.icmp("slt", bits, 0)
    up = f.select(f.xor(away, negative), f.const(m.ity, 1), f.const(m.ity, -1))
    tiny = f.or_(f.and_(m.to_bits(y), -(1 << (m.bits - 1))), 1)
    out = m.from_bits(f.select(m.cmp("oeq", x, 0.0), tiny, f.add(bits, up)))
    out = m.select(m.cmp("oeq", x, y), y, out)
    return m.select(m.cmp("uno", x, y), m.add(x, y), out)


def _fmod(m: Lanes, x: V, y: V) -> V:
    """C's fmod. Exact while ``|x / y| < 2**101``, y not subnormal; beyond, some value below ``|y|`` or 0.

    In two steps, as a quotient must fit 52 bits: first by a multiple ``|y| 2**k`` that leaves the remainder as it is.
    """
    if not m.double:
        w = m.widened()
        return m.narrow(_fmod(w, m.widen(x), m.widen(y)))
    f = m.f
    ax, ay = m.abs(x), m.abs(y)
    apart = f.sub(f.lshr(m.to_bits(ax), m.fraction), f.lshr(m.to_bits(ay), m.fraction))
    k = f.sub(apart, f.const(m.ity, 50))
    k = f.select(f.icmp("sgt", k, 0), k, f.const(m.ity, 0))
    k = f.select(f.icmp("slt", k, 1000), k, f.const(m.ity, 1000))
    multiple = m.mul(ay, m.from_bits(f.shl(f.add(k, m.bias), m.fraction)))
    r = _fmod_step(m, _fmod_step(m, ax, multiple), ay)
    bad = f.or_(m.cmp("ueq", ax, float("inf")), m.cmp("ueq", ay, 0.0))
    return m.select(f.or_(bad, m.isnan(y)), float("nan"), m.copysign(r, x))


def _fmod_step(m: Lanes, ax: V, ay: V) -> V:
    """The remainder of doubles that are not negative, exact where the quotient is below 2**52."""
    u, v, back = ax, ay, None
    if not m.exact_fma:  # the splitting inside two_prod must not overflow
        huge = m.cmp("ogt", ay, 2.0**900)
        down, back = m.select(huge, 2.0**-200, 1.0), m.select(huge, 2.0**200, 1.0)
        u, v = m.mul(u, down), m.mul(v, down)
    p, e = m.two_prod(m.floor(m.div(u, v)), v)
    r = m.sub(m.sub(u, p), e)
    # The quotient is one too many where the division was rounded up to an integer.
    r = m.select(m.cmp("olt", r, 0.0), m.add(r, v), r)
    r = m.select(m.cmp("olt", m.abs(r), v), r, 0.0)
    r = m.mul(r, back) if back is not None else r
    return m.select(m.cmp("olt", ax, ay), ax, r)


def _mod(m: Lanes, x: V, y: V) -> V:
    """Python's %, NumPy's remainder: the result has the sign of ``y``. Exactness as fmod's, then one addition."""
    r = _fmod(m, x, y)
    moved = m.select(_signs_differ(m, r, y), m.add(r, y), r)
    return m.select(m.cmp("oeq", r, 0.0), m.copysign(m.c(0.0), y), moved)


def _signs_differ(m: Lanes, x: V, y: V) -> V:
    return m.f.icmp("slt", m.f.xor(m.to_bits(x), m.to_bits(y)), 0)


def _floordiv(m: Lanes, x: V, y: V) -> V:
    """Python's //: the integer that with mod gives x back, as NumPy and PyTorch compute it; x / 0 is inf or NaN."""
    r = _fmod(m, x, y)
    q = m.div(m.sub(x, r), y)
    down = m.f.and_(m.cmp("une", r, 0.0), _signs_differ(m, r, y))
    q = m.select(down, m.sub(q, 1.0), q)
    floor = m.floor(q)
    near = m.select(m.cmp("ogt", m.sub(q, floor), 0.5), m.add(floor, 1.0), floor)
    quotient = m.div(x, y)
    out = m.select(m.cmp("oeq", q, 0.0), m.copysign(m.c(0.0), quotient), near)
    return m.select(m.cmp("oeq", y, 0.0), quotient, out)


_FLOAT: dict[str, Callable[..., V]] = {
    "add": Lanes.add,
    "sub": Lanes.sub,
    "mul": Lanes.mul,
    "div": Lanes.div,
    "neg": Lanes.neg,
    "abs": Lanes.abs,
    "sign": _sign,
    "fma": Lanes.fma,
    "floordiv": _floordiv,
    "mod": _mod,
    "truncdiv": lambda m, x, y: m.f.intrinsic("trunc", m.div(x, y)),
    "fmod": _fmod,
    "min": _nan_extreme("olt"),
    "max": _nan_extreme("ogt"),
    "fmin": _number_extreme("olt"),
    "fmax": _number_extreme("ogt"),
    "copysign": Lanes.copysign,
    "nextafter": _nextafter,
    "floor": _plain("floor"),
    "ceil": _plain("ceil"),
    "trunc": _plain("trunc"),
    "round": _plain("roundeven"),
    "sqrt": Lanes.sqrt,
    "rsqrt": lambda m, x: m.div(1.0, m.sqrt(x)),
    "recip": lambda m, x: m.div(1.0, x),
    "isnan": Lanes.isnan,
    "isinf": lambda m, x: m.cmp("oeq", m.abs(x), float("inf")),
    "isfinite": lambda m, x: m.cmp("one", m.abs(x), float("inf")),
    "signbit": _signbit,
    **vecmath_exp.FUNCTIONS,
    **vecmath_log.FUNCTIONS,
    **vecmath_trig.FUNCTIONS,
    **vecmath_special.FUNCTIONS,
}


# -- ops that look at more than one dtype -------------------------------------------------------------
def _where(f: Function, host: Host, inst: Inst, dts: Sequence[str], args: Sequence[V]) -> V:
    return f.select(*args)


def _not(f: Function, host: Host, inst: Inst, dts: Sequence[str], args: Sequence[V]) -> V:
    return f.xor(args[0], f.const(args[0].ty, True if inst.dtype == "bool" else -1))


def _cast(f: Function, host: Host, inst: Inst, dts: Sequence[str], args: Sequence[V]) -> V:
    return emit_cast(f, host, dts[0], inst.dtype, args[0])


def emit_cast(f: Function, host: Host, src: str, dst: str, x: V) -> V:
    """A value of dtype ``src`` as ``dst``.

    Float to integer truncates towards zero; what does not fit goes through ``i32`` or ``i64`` and wraps, as it does in
    NumPy on x86. To a half: to nearest even (an integer over 2**53 is rounded twice). To bool: whether it is not 0.
    """
    n = lanes(x.ty)
    if src == dst:
        return x
    if src in _HALVES:
        return emit_cast(f, host, "f32", dst, from_half(f, host, src, x))
    if dst in _HALVES:
        if src not in _FLOATS:
            wide = dst == "bf16" and src in ("i32", "u32", "i64", "u64")
            x = emit_cast(f, host, src, "f64" if wide else "f32", x)
        return to_half(f, host, dst, x)
    ty = register_type(dst, n)
    if src in _FLOATS:
        if dst in _FLOATS:
            return f.cast("fpext" if dst == "f64" else "fptrunc", x, ty)
        if dst == "bool":
            return f.fcmp("une", x, f.const(x.ty, 0.0))
        bits = int(dst[1:])
        if bits < 32:
            wide_int = f.cast("fptosi", x, vec("i32", n))
            return f.cast("trunc", f.op(wide_int.ty, f"freeze {wide_int.ty} {wide_int.ref}"), ty)
        out = f.cast("fptoui" if dst[0] == "u" else "fptosi", x, ty)
        return f.op(ty, f"freeze {ty} {out.ref}")
    signed = src[0] == "i"
    if dst in _FLOATS:
        return f.cast("sitofp" if signed else "uitofp", x, ty)
    if dst == "bool":
        return f.icmp("ne", x, 0)
    have = 1 if src == "bool" else int(src[1:])
    if have == int(dst[1:]):
        return x
    return f.cast("trunc" if have > int(dst[1:]) else ("sext" if signed else "zext"), x, ty)


def _classify(f: Function, host: Host, inst: Inst, dts: Sequence[str], args: Sequence[V]) -> V:
    if dts[0] in _FLOATS:
        return _FLOAT[inst.op](Lanes(f, host, args[0].ty), args[0])
    n = lanes(args[0].ty)
    if inst.op == "signbit" and dts[0][0] == "i":
        return f.icmp("slt", args[0], 0)
    return f.const(vec("i1", n), inst.op == "isfinite")


def philox_words(f: Function, seed: V, stream: V, index: V) -> list[V]:
    """The words of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

    They live in the low halves of ``i64`` lanes, where a 32 x 32 -> 64 bit multiplication is one instruction; what
    stands in the high halves is never looked at.
    """
    k0, k1 = seed, f.lshr(seed, 32)
    c = [index, f.lshr(index, 32), stream, f.lshr(stream, 32)]
    low = 0xFFFFFFFF
    for r in range(10):
        if r:
            k0, k1 = f.add(k0, 0x9E3779B9), f.add(k1, 0xBB67AE85)
        p0 = f.mul(f.and_(c[0], low), 0xD2511F53)
        p1 = f.mul(f.and_(c[2], low), 0xCD9E8D57)
        c = [f.xor(f.xor(f.lshr(p1, 32), c[1]), k0), p1, f.xor(f.xor(f.lshr(p0, 32), c[3]), k1), p0]
    return c


def _philox(f: Function, host: Host, inst: Inst, dts: Sequence[str], args: Sequence[V]) -> V:
    word = philox_words(f, *args)[inst.attrs[0]]
    return f.cast("trunc", word, vec("i32", lanes(word.ty)))


def _unit(f: Function, host: Host, inst: Inst, dts: Sequence[str], args: Sequence[V]) -> V:
    if inst.dtype != "f32":
        raise ValueError(f"unit gives f32, not {inst.dtype}; use unit64 for f64")
    x = f.cast("sitofp", f.lshr(args[0], 8), vec("float", lanes(args[0].ty)))
    return f.fmul(x, f.const(x.ty, 2.0**-24))


def _unit64(f: Function, host: Host, inst: Inst, dts: Sequence[str], args: Sequence[V]) -> V:
    ty = vec("double", lanes(args[0].ty))
    high = f.fmul(f.cast("sitofp", f.lshr(args[0], 5), ty), f.const(ty, 2.0**26))
    low = f.cast("sitofp", f.lshr(args[1], 6), ty)
    return f.fmul(f.fadd(high, low), f.const(ty, 2.0**-53))


_SPECIAL: dict[str, Callable[[Function, Host, Inst, Sequence[str], Sequence[V]], V]] = {
    "where": _where,
    "not": _not,
    "cast": _cast,
    "isnan": _classify,
    "isinf": _classify,
    "isfinite": _classify,
    "signbit": _classify,
    "philox": _philox,
    "unit": _unit,
    "unit64": _unit64,
}
