"""The vector functions against wider oracles: 80-bit floats and mpmath for float64, SciPy and NumPy for float32."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import scipy.special as special
import torch
from mapping import HOSTS, apply

EXTENDED = np.finfo(np.longdouble).nmant >= 63
Sampler = Callable[[np.random.Generator, int], np.ndarray]


def uniform(low: float, high: float) -> Sampler:
    return lambda rng, n: rng.uniform(low, high, n)


def spread(low: float, high: float, signed: bool = True) -> Sampler:
    """Magnitudes 2**low to 2**high, evenly in the exponent."""
    return lambda rng, n: 2.0 ** rng.uniform(low, high, n) * (rng.choice([-1.0, 1.0], n) if signed else 1.0)


def around(centre: float, bits: float) -> Sampler:
    return lambda rng, n: centre + 0.5 * spread(-bits, 0)(rng, n)


def quarter_turns(rng: np.random.Generator, n: int) -> np.ndarray:
    """Where sine or cosine vanish: all bits of the reduction count."""
    return np.round(rng.uniform(-1e6, 1e6, n)) * (np.pi / 2)


def by_mpmath(fn: Callable) -> Callable:
    def oracle(x: np.ndarray) -> np.ndarray:
        out = np.empty(x.shape, np.longdouble)
        with mpmath.workprec(110):
            for i, v in enumerate(x):
                r = fn(mpmath.mpf(float(v)))
                out[i] = np.longdouble(float(r)) + np.longdouble(float(r - mpmath.mpf(float(r))))
        return out

    return oracle


LOGS = ([spread(-149, 128, False), uniform(0.4, 3), around(1, 22)], [spread(-1074, 1024, False), around(1, 50)])
TRIG = (
    [spread(-149, 31), uniform(-10, 10), uniform(-1e5, 1e5), quarter_turns],
    [spread(-1074, 31), uniform(-10, 10), uniform(-1e5, 1e5), quarter_turns],
)
ARCS = ([spread(-149, 0), uniform(-1, 1)], [spread(-1074, 0), uniform(-1, 1)])
GAMMA = ([spread(-126, 120, False), uniform(0, 9), uniform(0, 60)], [spread(-1000, 1000, False), uniform(0, 9)])

# op: (oracle in extended precision, (ulp f32, ulp f64), (samples f32, samples f64))
UNARY: dict[str, tuple] = {
    "exp": (np.exp, (1.3, 1.3), ([uniform(-104, 89), spread(-30, 6)], [uniform(-746, 710), spread(-60, 9)])),
    "exp2": (np.exp2, (1.3, 1.3), ([uniform(-151, 129), spread(-30, 6)], [uniform(-1076, 1025), spread(-60, 9)])),
    "expm1": (np.expm1, (1.6, 2.0), ([uniform(-20, 89), spread(-149, 1)], [uniform(-40, 710), spread(-1074, 1)])),
    "sinh": (np.sinh, (2.0, 2.5), ([uniform(-90, 90), spread(-149, 1)], [uniform(-711, 711), spread(-1074, 1)])),
    "cosh": (np.cosh, (1.5, 1.6), ([uniform(-90, 90), spread(-149, 1)], [uniform(-711, 711), spread(-1074, 1)])),
    "tanh": (np.tanh, (2.0, 2.8), ([uniform(-10, 10), spread(-149, 1)], [uniform(-21, 21), spread(-1074, 1)])),
    "sigmoid": (
        lambda x: 1 / (1 + np.exp(-x)),
        (2.2, 2.3),
        ([uniform(-104, 20), spread(-149, 3)], [uniform(-746, 40), spread(-1074, 3)]),
    ),
    "log": (np.log, (0.9, 0.9), LOGS),
    "log2": (np.log2, (1.7, 1.4), LOGS),
    "log10": (np.log10, (1.8, 1.4), LOGS),
    "log1p": (
        np.log1p,
        (1.5, 1.4),
        ([spread(-149, 128, False), uniform(-1, 3)], [spread(-1074, 1024, False), uniform(-1, 3)]),
    ),
    "asinh": (np.arcsinh, (0.51, 1.7), ([spread(-149, 128), uniform(-4, 4)], [spread(-1074, 1024), uniform(-4, 4)])),
    "acosh": (
        np.arccosh,
        (0.51, 2.2),
        ([spread(0, 128, False), uniform(1, 4)], [spread(0, 1024, False), uniform(1, 4)]),
    ),
    "atanh": (np.arctanh, (0.51, 1.9), ARCS),
    "sin": (np.sin, (1.6, 0.9), TRIG),
    "cos": (np.cos, (1.6, 0.9), TRIG),
    "tan": (np.tan, (0.51, 2.3), TRIG),
    "asin": (np.arcsin, (0.51, 2.3), ARCS),
    "acos": (np.arccos, (0.51, 1.3), ARCS),
    "atan": (np.arctan, (0.51, 1.4), ([spread(-149, 128), uniform(-4, 4)], [spread(-1074, 1024), uniform(-4, 4)])),
    "erf": (by_mpmath(mpmath.erf), (2.3, 1.6), ([spread(-149, 3), uniform(-4, 4)], [spread(-1022, 3), uniform(-7, 7)])),
    "erfc": (by_mpmath(mpmath.erfc), (0.51, 4.5), ([spread(-149, 3), uniform(-4, 11)], [uniform(-7, 26)])),
    "erfinv": (by_mpmath(mpmath.erfinv), (0.51, 7.0), ([spread(-149, 0), uniform(-1, 1)], [uniform(-1, 1)])),
    "lgamma": (by_mpmath(lambda x: mpmath.loggamma(x).real), (0.51, 7.0), GAMMA),
    "digamma": (by_mpmath(mpmath.digamma), (0.51, 5.5), GAMMA),
}
SCIPY = {"erf": special.erf, "erfc": special.erfc, "erfinv": special.erfinv, "lgamma": special.gammaln}
SCIPY["digamma"] = special.digamma


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of ``want`` in the type of ``got``; a right overflow counts as 0."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        unit = np.frexp(want)[1] - info.nmant - 1
        least = np.frexp(info.smallest_subnormal)[1] - 1
        err = np.abs(got.astype(np.longdouble) - want) / np.ldexp(np.longdouble(1), np.maximum(unit, least))
        same = (np.isnan(got) & np.isnan(want)) | (np.isinf(got) & (np.abs(want) >= info.max) & (got * want > 0))
    return np.where(same, 0, np.where(np.isnan(err), np.inf, err))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("op", UNARY)
def test_unary_error_is_within_its_bound(op: str, dtype: str, host: str) -> None:
    if not EXTENDED:
        pytest.skip("needs 80-bit long doubles")
    oracle, bounds, samplers = UNARY[op]
    kind = np.float32 if dtype == "f32" else np.float64
    slow = op in SCIPY and dtype == "f64"
    rng = np.random.default_rng(len(op))
    for sampler in samplers[dtype == "f64"]:
        x = sampler(rng, 203 if slow else 5003).astype(kind)
        x = x[np.isfinite(x)]
        if op in SCIPY and dtype == "f32":
            want = SCIPY[op](x.astype(np.float64)).astype(np.longdouble)
        else:
            want = oracle(x.astype(np.longdouble))
        err = ulps(apply(host, op, dtype, x), want)
        assert err.max() <= bounds[dtype == "f64"], f"{err.max()} ulp at {x[err.argmax()]!r}"


BINARY: dict[str, tuple] = {
    "pow": (np.power, (0.55, 1.4)),
    "atan2": (np.arctan2, (0.51, 1.8)),
    "hypot": (np.hypot, (0.51, 1.3)),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("op", BINARY)
def test_binary_error_is_within_its_bound(op: str, dtype: str, host: str) -> None:
    if not EXTENDED:
        pytest.skip("needs 80-bit long doubles")
    oracle, bounds = BINARY[op]
    double = dtype == "f64"
    kind = np.float64 if double else np.float32
    rng = np.random.default_rng(5)
    low, high = (-1074, 1024) if double else (-149, 128)
    n = 5003
    if op == "pow":
        cases = [
            (spread(low, high, False)(rng, n), rng.uniform(-1.2, 1.2, n)),
            (rng.uniform(0, 3, n), rng.uniform(-80, 80, n)),
            (1 + spread(-40 if double else -20, -1, False)(rng, n), spread(0, 40 if double else 20)(rng, n)),
        ]
    else:
        cases = [(rng.normal(size=n), rng.normal(size=n)), (spread(low, high)(rng, n), spread(low, high)(rng, n))]
    for x, y in cases:
        x, y = x.astype(kind), y.astype(kind)
        with np.errstate(all="ignore"):
            want = oracle(x.astype(np.longdouble), y.astype(np.longdouble))
        err = ulps(apply(host, op, dtype, x, y), want)
        assert err.max() <= bounds[double], f"{err.max()} ulp at {x[err.argmax()]!r}, {y[err.argmax()]!r}"


def edge_values(kind: type) -> np.ndarray:
    info = np.finfo(kind)
    some = [0.0, np.inf, 1, 2, 0.5, 3, 1.5, 2.5, 7, 10, 100, 88.8, 104, 709.9, 746, 1e-10, 0.1]
    some += [info.tiny, info.smallest_subnormal, info.max]
    return np.array([*some, *(-v for v in some), np.nan], kind)


NUMPY_UNARY = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "erf": special.erf, "erfc": special.erfc, "erfinv": special.erfinv, "floor": np.floor,
    "ceil": np.ceil, "trunc": np.trunc, "round": np.round, "sign": np.sign, "abs": np.abs, "neg": np.negative,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "recip": lambda x: 1 / x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip


def check_edges(got: np.ndarray, want: np.ndarray, args: tuple[np.ndarray, ...], tolerance: float) -> None:
    """NaN, infinities and zeros the same, with their signs; the rest nearly so."""
    inf = ~np.isfinite(want) | (want == 0)
    right = np.where(inf, (got == want) & (np.signbit(got) == np.signbit(want)), np.isclose(got, want, tolerance, 0))
    right |= np.isnan(got) & np.isnan(want)
    bad = np.flatnonzero(~right)
    assert not bad.size, [(*(a[i] for a in args), got[i], want[i]) for i in bad[:5]]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("op", NUMPY_UNARY)
def test_unary_edge_values(op: str, dtype: str, host: str) -> None:
    kind = np.float32 if dtype == "f32" else np.float64
    x = edge_values(kind)
    if op in ("sin", "cos", "tan"):
        x = x[~(np.abs(x) == np.finfo(kind).max)]  # beyond 2**31 only the range is promised
    with np.errstate(all="ignore"):
        want = NUMPY_UNARY[op](x.astype(np.longdouble) if op == "sigmoid" else x).astype(kind)
    if op == "erfinv":
        want = np.where(x == 0, x, want)  # SciPy drops the sign
    check_edges(apply(host, op, dtype, x), want, (x,), 1e-6 if dtype == "f32" else 2e-15)


NUMPY_BINARY = {
    "pow": np.power, "atan2": np.arctan2, "hypot": np.hypot, "copysign": np.copysign, "nextafter": np.nextafter,
    "min": np.minimum, "max": np.maximum, "fmin": np.fmin, "fmax": np.fmax,
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "truncdiv": lambda a, b: np.trunc(a / b), "mod": np.remainder, "fmod": np.fmod, "floordiv": np.floor_divide,
}  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("op", NUMPY_BINARY)
def test_binary_edge_values(op: str, dtype: str, host: str) -> None:
    kind = np.float32 if dtype == "f32" else np.float64
    x, y = (a.ravel() for a in np.meshgrid(edge_values(kind), edge_values(kind)))
    with np.errstate(all="ignore"):
        if op in ("mod", "fmod", "floordiv"):
            keep = ~(np.abs(x / y) > (2.0**29 if dtype == "f32" else 2.0**52)) | ~np.isfinite(x) | (y == 0)
            x, y = x[keep], y[keep]
        want = NUMPY_BINARY[op](x, y)
    got = apply(host, op, dtype, x, y)
    if op in ("min", "max", "fmin", "fmax"):  # which zero is the lesser is open
        got, want = got + 0.0, want + 0.0
    check_edges(got, want, (x, y), 1e-6 if dtype == "f32" else 2e-15)


@pytest.mark.parametrize("host", HOSTS)
def test_gamma_functions_at_poles_and_below_zero(host: str) -> None:
    x = np.array([0.0, -0.0, -1, -2, -30, np.inf, -np.inf, np.nan, -0.5, -1.5, -7.3, -40.2, -1e-300, 1e-300])
    got = apply(host, "lgamma", "f64", x)
    want = torch.lgamma(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-13)
    got = apply(host, "digamma", "f64", x[[0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]])
    want = torch.digamma(torch.from_numpy(x[[0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]])).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("op", ["sin", "cos"])
def test_huge_arguments_stay_in_range(op: str, host: str) -> None:
    for kind, dtype in ((np.float32, "f32"), (np.float64, "f64")):
        x = 2.0 ** np.linspace(31, np.log2(np.finfo(kind).max) - 1, 4001)
        assert np.abs(apply(host, op, dtype, x.astype(kind))).max() <= 1.0


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_exact_values(dtype: str, host: str) -> None:
    kind = np.float32 if dtype == "f32" else np.float64
    k = np.arange(-100, 101, dtype=kind)
    np.testing.assert_array_equal(apply(host, "exp2", dtype, k), np.exp2(k))
    np.testing.assert_array_equal(apply(host, "log2", dtype, np.exp2(k)), k)
    tens = 10.0 ** np.arange(0, 11).astype(kind)
    np.testing.assert_array_equal(apply(host, "log10", dtype, tens), np.arange(11))
    zero = np.zeros(5, kind)
    for op, want in (("exp", 1), ("cos", 1), ("sigmoid", 0.5), ("erfc", 1), ("cosh", 1), ("acos", kind(np.pi / 2))):
        np.testing.assert_array_equal(apply(host, op, dtype, zero), np.full(5, want, kind))
    one = np.ones(5, kind)
    for op in ("tanh", "erf"):
        assert (apply(host, op, dtype, one * 30) == 1).all()
    np.testing.assert_array_equal(apply(host, "lgamma", dtype, np.array([1, 2], kind)), [0, 0])


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("op,reference", [("fmod", np.fmod), ("mod", np.remainder), ("floordiv", np.floor_divide)])
def test_remainders_are_exact(op: str, reference: Callable, host: str) -> None:
    rng = np.random.default_rng(1)
    for kind, dtype, bits in ((np.float32, "f32", 29), (np.float64, "f64", 52)):
        y = spread(-20, 20)(rng, 20001).astype(kind)
        x = (y * 2.0 ** rng.uniform(-3, bits, y.size)).astype(kind)
        x[:10000] = np.round(rng.uniform(0, 2**20, 10000)) * y[:10000]
        np.testing.assert_array_equal(apply(host, op, dtype, x, y), reference(x, y))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 2.5])
def test_literal_exponents_agree_with_general_ones(exponent: float, dtype: str, host: str) -> None:
    kind = np.float32 if dtype == "f32" else np.float64
    x = np.concatenate([edge_values(kind), np.random.default_rng(2).normal(size=100).astype(kind)])
    y = np.full_like(x, exponent)
    literal = apply(host, "pow", dtype, x, y, consts=((1, exponent),))
    check_edges(literal, apply(host, "pow", dtype, x, y), (x, y), 4e-7 if dtype == "f32" else 1e-15)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("op,reference", [("max", np.maximum), ("min", np.minimum)])
def test_extremes_against_literals_hand_on_nan(op: str, reference: Callable, host: str) -> None:
    x = edge_values(np.float32)
    for bound in (0.0, -1.5, float("nan"), float("inf")):
        y = np.full_like(x, bound)
        for side in (0, 1):
            args = (x, y) if side else (y, x)
            got = apply(host, op, "f32", *args, consts=((side, bound),))
            np.testing.assert_array_equal(got, reference(x, y))
