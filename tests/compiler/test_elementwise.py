"""Elementwise instructions other than float functions: integers, casts, bits, random words, memory; and what links."""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np
import pytest
from mapping import HOSTS, NUMPY, add_map, apply, arm, everywhere, undefined_symbols

from gradloom.compiler.llvm.elementwise import (
    combine,
    emit_const,
    emit_inst,
    emit_load,
    emit_store,
    identity,
    memory_type,
    register_type,
)
from gradloom.compiler.llvm.host import compile_object, host_named, load_object
from gradloom.compiler.llvm.text import Module
from gradloom.compiler.loops import ELEMENTWISE, Inst

INTS = [f"{s}{b}" for s in "iu" for b in (8, 16, 32, 64)]
FLOAT_OPS = [
    op
    for op in ELEMENTWISE
    if op not in ("and", "or", "xor", "not", "shl", "shr", "where", "cast", "philox", "unit", "unit64")
]
COMPARISONS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}
COMPARISONS |= {"gt": np.greater, "ge": np.greater_equal}


def integers(dtype: str, n: int = 2003, seed: int = 0) -> np.ndarray:
    """Random values of every size, and the extremes."""
    rng = np.random.default_rng(seed)
    info = np.iinfo(NUMPY[dtype])
    x = rng.integers(info.min, info.max, n, NUMPY[dtype], endpoint=True) >> rng.integers(
        0, info.bits, n, NUMPY[dtype], endpoint=False
    )
    x[rng.integers(0, n, 40)] = info.min
    x[rng.integers(0, n, 40)] = info.max
    return x


def truncated(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C's quotient and remainder of integers, 0 for division by 0, wrapped."""
    q, r = np.zeros_like(a), np.zeros_like(a)
    for i, (u, v) in enumerate(zip(a.tolist(), b.tolist())):
        if v:
            d = abs(u) // abs(v) * (1 if (u < 0) == (v < 0) else -1)
            q[i] = np.array(d & (2 ** (8 * a.itemsize) - 1), f"u{a.itemsize}").view(a.dtype)
            r[i] = u - d * v
    return q, r


@pytest.mark.parametrize("dtype,host", everywhere(INTS))
def test_integer_division_never_traps(dtype: str, host: str) -> None:
    a, b = integers(dtype), integers(dtype, seed=1)
    b[::7] = 0
    if dtype[0] == "i":
        b[::11] = -1
        a[::22] = np.iinfo(a.dtype).min
    with np.errstate(all="ignore"):
        want = {"floordiv": np.floor_divide(a, b), "mod": np.remainder(a, b)}
    want["truncdiv"], want["fmod"] = truncated(a, b)
    want["floordiv"][b == 0] = 0
    want["mod"][b == 0] = 0
    for op, expected in want.items():
        np.testing.assert_array_equal(apply(host, op, dtype, a, b), expected, op)


@pytest.mark.parametrize("divisor", [-7, -1, 0, 1, 2, 10])
@pytest.mark.parametrize("dtype", ["i8", "i32", "i64"])
def test_integer_division_by_literals(dtype: str, divisor: int) -> None:
    a = integers(dtype)
    b = np.full_like(a, divisor)
    for op in ("floordiv", "mod", "truncdiv"):
        got = apply(HOSTS[-1], op, dtype, a, b, consts=((1, divisor),))
        np.testing.assert_array_equal(got, apply(HOSTS[-1], op, dtype, a, b), op)


@pytest.mark.parametrize("dtype,host", everywhere(INTS))
def test_integer_arithmetic_wraps(dtype: str, host: str) -> None:
    a, b = integers(dtype), integers(dtype, seed=1)
    with np.errstate(all="ignore"):
        for op, fn in (
            ("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("min", np.minimum), ("max", np.maximum),
            ("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor),
        ):  # fmt: skip
            np.testing.assert_array_equal(apply(host, op, dtype, a, b), fn(a, b), op)
        for op, fn1 in (("neg", np.negative), ("abs", np.abs), ("sign", np.sign), ("not", np.invert)):
            np.testing.assert_array_equal(apply(host, op, dtype, a), fn1(a), op)
        np.testing.assert_array_equal(apply(host, "fma", dtype, a, b, a), a * b + a)
    for op, compare in COMPARISONS.items():
        np.testing.assert_array_equal(apply(host, op, "bool", a, b), compare(a, b), op)
    np.testing.assert_array_equal(apply(host, "where", dtype, a > b, a, b), np.where(a > b, a, b))


@pytest.mark.parametrize("dtype,host", everywhere(INTS))
def test_shifts_by_any_amount(dtype: str, host: str) -> None:
    a = integers(dtype)
    bits = 8 * a.itemsize
    b = np.random.default_rng(3).integers(0, bits + 8, a.size).astype(a.dtype)
    wide = b >= bits
    b[::50] = np.iinfo(a.dtype).max
    wide[::50] = True
    safe = np.where(wide, 0, b).astype(a.dtype)
    np.testing.assert_array_equal(apply(host, "shl", dtype, a, b), np.where(wide, 0, a << safe))
    sign = np.where(a < 0, -1, 0).astype(a.dtype) if dtype[0] == "i" else np.zeros_like(a)
    np.testing.assert_array_equal(apply(host, "shr", dtype, a, b), np.where(wide, sign, a >> safe))


@pytest.mark.parametrize("dtype,host", everywhere(INTS))
def test_integer_powers(dtype: str, host: str) -> None:
    rng = np.random.default_rng(4)
    bits = 8 * np.dtype(NUMPY[dtype]).itemsize
    a = rng.integers(0 if dtype[0] == "u" else -5, 6, 300).astype(NUMPY[dtype])
    b = rng.integers(0 if dtype[0] == "u" else -3, 12, 300).astype(NUMPY[dtype])
    b[:3] = [3, 100, 101]
    a[:3] = [3, 3, 1]

    def exact(u: int, v: int) -> int:
        if v < 0:
            return 0 if abs(u) != 1 else u**-v
        return u**v

    wrapped = [exact(u, v) & (2**bits - 1) for u, v in zip(a.tolist(), b.tolist())]
    want = np.array(wrapped, f"u{bits // 8}").view(a.dtype)
    np.testing.assert_array_equal(apply(host, "pow", dtype, a, b), want)
    for k in (0, 1, 2, 3, 5):
        got = apply(host, "pow", dtype, a, b, consts=((1, k),))
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, a ** np.array(k, a.dtype))


@pytest.mark.parametrize("host", HOSTS)
def test_float_comparisons_and_classes(host: str) -> None:
    v = np.array([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan, -np.nan, 1e-45])
    for kind in (np.float32, np.float64):
        a, b = (x.ravel().astype(kind) for x in np.meshgrid(v, v))
        dtype = "f32" if kind is np.float32 else "f64"
        for op, compare in COMPARISONS.items():
            np.testing.assert_array_equal(apply(host, op, "bool", a, b), compare(a, b), op)
        for op in ("isnan", "isinf", "isfinite", "signbit"):
            np.testing.assert_array_equal(apply(host, op, "bool", a), getattr(np, op)(a), op)
        np.testing.assert_array_equal(apply(host, "where", dtype, a < b, a, b), np.where(a < b, a, b))
    ints = np.array([-1, 0, 1], np.int32)
    assert apply(host, "signbit", "bool", ints).tolist() == [True, False, False]
    assert apply(host, "isfinite", "bool", ints).all() and not apply(host, "isnan", "bool", ints).any()


@pytest.mark.parametrize("host", HOSTS)
def test_bools(host: str) -> None:
    a, b = (x.ravel() for x in np.meshgrid(np.arange(40) % 2 == 0, np.arange(2) == 0))
    for op, fn in (
        ("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor), ("add", np.logical_or),
        ("mul", np.logical_and), ("max", np.logical_or), ("min", np.logical_and), *COMPARISONS.items(),
    ):  # fmt: skip
        np.testing.assert_array_equal(apply(host, op, "bool", a, b), fn(a, b), op)
    np.testing.assert_array_equal(apply(host, "not", "bool", a), ~a)
    any_byte = np.arange(256, dtype=np.uint8).view(np.bool_)
    np.testing.assert_array_equal(apply(host, "not", "bool", any_byte).view(np.uint8), np.arange(256) == 0)


def cast_samples(src: str) -> np.ndarray:
    if src == "bool":
        return np.arange(100) % 3 == 0
    if src in INTS:
        return integers(src, 500)
    rng = np.random.default_rng(5)
    some = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -0.99, 100.7, -100.7, 3e4, 65519, 65520, 7e4, 1e-7, 6e-8, 2.9e-8, 1e-20]
    x = np.concatenate([some, 2.0 ** rng.uniform(-30, 17, 2000) * rng.choice([-1, 1], 2000), [np.inf, -np.inf, np.nan]])
    with np.errstate(over="ignore"):
        return x.astype(NUMPY[src])


@pytest.mark.parametrize("src,host", everywhere(NUMPY))
def test_casts_agree_with_numpy(src: str, host: str) -> None:
    x = cast_samples(src)
    for dst in NUMPY:
        if src in INTS and dst in INTS and host != HOSTS[-1]:
            continue
        v = x
        if dst in INTS and src not in INTS and src != "bool":  # what does not fit is the processor's affair
            info = np.iinfo(NUMPY[dst])
            wide = v.astype(np.float64)
            v = v[(wide > info.min - 1.0) & (wide < info.max + (info.bits <= 32))]
        if src in INTS and int(src[1:]) >= 32 and dst == "bf16":
            want = v.astype(np.float64).astype(NUMPY[dst])  # NumPy itself rounds twice
        else:
            with np.errstate(all="ignore"):
                want = v.astype(NUMPY[dst])
        got = apply(host, "cast", dst, v)
        if dst == "bf16" and src == "f64":  # ml_dtypes goes through float32
            want = nearest_bfloat16(v)
        np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64), f"{src} -> {dst}")


def nearest_bfloat16(x: np.ndarray) -> np.ndarray:
    """Rounded once, by choosing among the neighbours of a first guess."""
    guess = x.astype(ml_dtypes.bfloat16)
    best = guess.copy()
    for step in (-1, 1):
        other = (guess.view(np.int16) + np.int16(step)).view(ml_dtypes.bfloat16)
        with np.errstate(all="ignore"):
            a, b = np.abs(other.astype(np.float64) - x), np.abs(best.astype(np.float64) - x)
        nearer = (a < b) | ((a == b) & (other.view(np.int16) % 2 == 0))
        best = np.where(nearer & np.isfinite(x), other, best)
    return best


@pytest.mark.parametrize("host", HOSTS)
def test_every_half_goes_up_exactly(host: str) -> None:
    raw = np.arange(65536, dtype=np.uint16)
    for kind in (np.float16, ml_dtypes.bfloat16):
        np.testing.assert_array_equal(apply(host, "cast", "f32", raw.view(kind)), raw.view(kind).astype(np.float32))
        same = apply(host, "cast", "f16" if kind is np.float16 else "bf16", raw.view(kind).astype(np.float32))
        nan = np.isnan(raw.view(kind).astype(np.float32))
        np.testing.assert_array_equal(same.view(np.uint16)[~nan], raw[~nan])
        assert np.isnan(same[nan].astype(np.float32)).all()


@pytest.mark.parametrize("host", HOSTS)
def test_rounding_to_halves(host: str) -> None:
    """Ties and their neighbours, for every finite float16; the double rounding that float64 must not suffer."""
    raw = np.arange(0x7BFF, dtype=np.uint16)
    low, high = raw.view(np.float16).astype(np.float64), (raw + 1).astype(np.uint16).view(np.float16).astype(np.float64)
    middle = (low + high) / 2
    for x in (middle, np.nextafter(middle, 0), np.nextafter(middle, 1e9), -middle):
        np.testing.assert_array_equal(apply(host, "cast", "f16", x), x.astype(np.float16))
        single = x.astype(np.float32)
        np.testing.assert_array_equal(apply(host, "cast", "f16", single), single.astype(np.float16))


@pytest.mark.parametrize("host", HOSTS)
def test_philox_known_answers(host: str) -> None:
    """Random123's vectors for philox4x32-10."""
    vectors = [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    seed = np.array([k[0] | k[1] << 32 for k, _, _ in vectors] * 7, np.uint64).view(np.int64)
    index = np.array([c[0] | c[1] << 32 for _, c, _ in vectors] * 7, np.uint64).view(np.int64)
    stream = np.array([c[2] | c[3] << 32 for _, c, _ in vectors] * 7, np.uint64).view(np.int64)
    for word in range(4):
        got = apply(host, "philox", "u32", seed, stream, index, attrs=(word,))
        np.testing.assert_array_equal(got, [v[2][word] for v in vectors] * 7)


@pytest.mark.parametrize("host", HOSTS)
def test_units_lie_in_zero_to_one(host: str) -> None:
    words = np.concatenate([integers("u32"), np.array([0, 255, 256, 2**32 - 1], np.uint32)])
    got = apply(host, "unit", "f32", words)
    np.testing.assert_array_equal(got, ((words >> 8) * 2.0**-24).astype(np.float32))
    other = words[::-1].copy()
    want = ((words >> 5).astype(np.uint64) * 2**26 + (other >> 6)) / 2.0**53
    np.testing.assert_array_equal(apply(host, "unit64", "f64", words, other), want)
    assert got.max() < 1 and want.max() < 1


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "kind,dtype",
    [(k, d) for k in ("sum", "prod", "max", "min") for d in ("f32", "f64", "i8", "u16", "i32", "u64")]
    + [("any", "bool"), ("all", "bool"), ("max", "bool"), ("min", "bool")],
)
def test_reduction_steps(kind: str, dtype: str, host: str) -> None:
    """Folding rows of a matrix, starting from the identity."""
    h = host_named(host)
    lanes, rows = 4, 6
    m = Module()
    f = m.function("k", "void", [("ptr", "x"), ("ptr", "y")])
    acc = identity(f, kind, dtype, lanes)
    for r in range(rows):
        p = f.gep(f.arg("x"), memory_type(dtype, 1), r * lanes)
        acc = combine(f, h, kind, dtype, acc, emit_load(f, h, dtype, p, lanes))
    emit_store(f, h, dtype, acc, f.arg("y"))
    f.ret()
    code = load_object(compile_object(m.text(), h, verify=True), h)
    rng = np.random.default_rng(6)
    x = rng.integers(0, 2 if dtype == "bool" else 5, (rows, lanes)).astype(NUMPY[dtype])
    if dtype in ("f32", "f64") and kind in ("max", "min"):
        x = -x
        x[3, 1] = np.nan
    out = np.empty(lanes, NUMPY[dtype])
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(code.address("k"))(x.ctypes.data, out.ctypes.data)
    with_dtype = {"dtype": x.dtype} if kind in ("sum", "prod") else {}
    np.testing.assert_array_equal(out, getattr(np, kind)(x, 0, **with_dtype))


@pytest.mark.parametrize("dtype", ["f32", "i64", "bool", "f16"])
def test_masked_memory(dtype: str) -> None:
    """Lanes outside the mask are neither read nor written."""
    h = host_named(HOSTS[-1])
    lanes = 8
    m = Module()
    f = m.function("k", "void", [("ptr", "x"), ("ptr", "y"), ("i64", "n")])
    mask = f.icmp("slt", f.iota("<8 x i64>"), f.splat(f.arg("n"), lanes))
    emit_store(f, h, dtype, emit_load(f, h, dtype, f.arg("x"), lanes, mask), f.arg("y"), mask)
    f.ret()
    code = load_object(compile_object(m.text(), h, verify=True), h)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(code.address("k"))
    x = np.arange(1, lanes + 1).astype(NUMPY[dtype])
    for n in range(lanes + 1):
        y = np.zeros(lanes, NUMPY[dtype])
        call(x.ctypes.data, y.ctypes.data, n)
        np.testing.assert_array_equal(y, np.where(np.arange(lanes) < n, x, y * 0))


def test_constants_round_and_wrap() -> None:
    f = Module().function("k", "void", [])
    assert emit_const(f, "u8", 255, 1).ref == "-1"
    assert emit_const(f, "i8", 128, 1).ref == "-128"
    assert emit_const(f, "f16", 1.0, 1).ref == str(0x3C00)
    assert emit_const(f, "bf16", -2.0, 1).ref == str(0xC000 - 65536)
    assert emit_const(f, "bool", 2, 4).ty == "<4 x i1>"
    assert register_type("u16", 8) == "<8 x i16>" and memory_type("bool", 1) == "i8"


def test_undefined_combinations_are_refused() -> None:
    h = host_named(HOSTS[-1])
    f = Module().function("k", "void", [])
    x = emit_const(f, "i32", 1, 4)
    with pytest.raises(ValueError, match="exp is not defined for i32 -> i32"):
        emit_inst(f, h, Inst("exp", "i32"), ("i32",), (x,))
    with pytest.raises(ValueError, match="use unit64"):
        emit_inst(f, h, Inst("unit", "f64"), ("u32",), (x,))
    with pytest.raises(ValueError, match="unknown reduction"):
        identity(f, "mean", "f32", 4)


CLASSES = ("isnan", "isinf", "isfinite", "signbit")


@pytest.mark.parametrize("name", [*HOSTS, "arm"])
def test_no_instruction_calls_a_library(name: str) -> None:
    """Every float op and cast compiles to code that links with nothing, on each host and for 64-bit ARM."""
    host = arm() if name == "arm" else host_named(name)
    mod = Module()

    def add(op: str, dtype: str, args: tuple[str, ...], attrs: tuple = ()) -> None:
        add_map(mod, f"{op}_{dtype}_{args[0]}", host, op, dtype, args, attrs)

    for op in FLOAT_OPS:
        for dtype in ("f32", "f64"):
            add(op, "bool" if op in COMPARISONS or op in CLASSES else dtype, (dtype,) * ELEMENTWISE[op])
    for src in NUMPY:
        for dst in NUMPY:
            if src not in INTS or dst not in INTS:
                add("cast", dst, (src,))
    for dtype in INTS:
        for op in ("floordiv", "fmod", "mul", "shl"):
            add(op, dtype, (dtype, dtype))
    add("pow", "i64", ("i64", "i64"))
    add("philox", "u32", ("i64",) * 3, (3,))
    add("unit64", "f64", ("u32",) * 2)
    assert undefined_symbols(compile_object(mod.text(), host, verify=True)) == set()


def test_the_symbol_reader_sees_library_calls() -> None:
    """The test above can fail: a vector exp left to LLVM needs libm."""
    m = Module()
    f = m.function("k", "void", [("ptr", "p")])
    x = f.load("<4 x float>", f.arg("p"))
    f.store(f.intrinsic("exp", x), f.arg("p"))
    f.ret()
    host = arm()
    assert undefined_symbols(compile_object(m.text(), host)) == {"expf"}
