"""Parts and signs of floats, sums of exponentials, rounded quotients, clamps and choices: against PyTorch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import DTypeError
from gradloom.testing import check_grads, check_reference

REAL = np.array([-7.5, -3.0, -1.5, -1.0, -0.25, -1e-4, 0.0, -0.0, 0.3, 0.5, 1.0, 2.5, 30.0, np.inf, -np.inf, np.nan])
WHOLE = np.array([-9, -4, -1, 0, 1, 2, 6, 15])

UNARY = "deg2rad rad2deg frac signbit sinc nan_to_num isposinf isneginf positive fix square sign".split()
BINARY = "copysign fmax fmin hypot logaddexp logaddexp2 xlogy heaviside ldexp float_power rsub isclose".split()
INTEGER_UNARY = "deg2rad signbit sinc nan_to_num isposinf positive square sign".split()
INTEGER_BINARY = "copysign fmax fmin gcd lcm xlogy heaviside ldexp float_power rsub isclose".split()


def same(got: Any, want: torch.Tensor, rtol: float = 2e-6, atol: float = 0.0) -> None:
    """One dtype, one shape, the same values."""
    a, b = got.detach().numpy(), want.detach().numpy()
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=rtol if b.dtype == np.float32 else min(rtol, 1e-13), atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, dtype: type) -> None:
    x = REAL.astype(dtype)
    same(getattr(gl, name)(gl.tensor(x)), getattr(torch, name)(torch.tensor(x)), atol=2e-7)
    check_reference(getattr(gl, name), [x[:13]])
    assert getattr(gl, name)(gl.tensor(np.zeros((0, 2), dtype))).shape == (0, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, dtype: type) -> None:
    x, y = REAL[:, None].astype(dtype), REAL[[0, 3, 6, 7, 8, 11, 13, 14, 15]].astype(dtype)
    same(getattr(gl, name)(gl.tensor(x), gl.tensor(y)), getattr(torch, name)(torch.tensor(x), torch.tensor(y)),
         atol=1e-7 if dtype is np.float32 else 1e-15)  # fmt: skip
    check_reference(getattr(gl, name), [x[:13], y[:6]])


@pytest.mark.parametrize("name", INTEGER_UNARY)
def test_unary_of_integers(name: str) -> None:
    same(getattr(gl, name)(gl.tensor(WHOLE)), getattr(torch, name)(torch.tensor(WHOLE)), atol=1e-7)


@pytest.mark.parametrize("name", INTEGER_BINARY)
def test_binary_of_integers(name: str) -> None:
    a, b = WHOLE[:, None], np.array([4, -6, 0, 1, 10])
    same(getattr(gl, name)(gl.tensor(a), gl.tensor(b)), getattr(torch, name)(torch.tensor(a), torch.tensor(b)))


def test_bool() -> None:
    x = np.array([True, False])
    for name in ("sign", "square", "signbit", "nan_to_num"):
        same(getattr(gl, name)(gl.tensor(x)), getattr(torch, name)(torch.tensor(x)))
    same(gl.tensor(x) ** 2, torch.tensor(x) ** 2)
    for name in ("fmax", "fmin", "heaviside"):
        y = x[:, None]
        same(getattr(gl, name)(gl.tensor(x), gl.tensor(y)), getattr(torch, name)(torch.tensor(x), torch.tensor(y)))
    with pytest.raises(DTypeError, match="positive"):
        gl.positive(gl.tensor(x))


GRADS: dict[str, list[list[float]]] = {
    "copysign": [[1.5, -2.0], [-0.5, 3.0]], "fmax": [[1.5, -2.0], [-0.5, 3.0]], "hypot": [[1.5, -2.0], [-0.5, 3.0]],
    "logaddexp": [[1.5, -2.0, 30.0], [-0.5, 3.0, -40.0]], "logaddexp2": [[1.5, -2.0], [-0.5, 3.0]],
    "xlogy": [[1.5, -2.0], [0.5, 3.0]], "lerp": [[1.5, -2.0], [0.5, 3.0], [0.2, 0.9]], "sinc": [[0.1, 1.3, -2.6]],
    "addcmul": [[1.5, -2.0], [0.5, 3.0], [0.2, 0.9]], "addcdiv": [[1.5, -2.0], [0.5, 3.0], [0.2, 0.9]],
    "frac": [[1.5, -2.3]], "deg2rad": [[1.5, -2.3]], "float_power": [[1.5, 2.3], [0.5, -2.0]], "logit": [[0.2, 0.7]],
}  # fmt: skip
LINEAR = (
    "copysign fmax xlogy lerp addcmul addcdiv frac deg2rad".split()
)  # in some operand, which has no second derivative


@pytest.mark.parametrize("name", GRADS)
def test_derivatives(name: str) -> None:
    order = 1 if name in LINEAR else 2
    check_grads(getattr(gl, name), [np.array(a) for a in GRADS[name]], order=order, rtol=1e-4, atol=1e-5)


def gradient_pair(fn: str, *arrays: np.ndarray, **options: Any) -> None:
    a = [gl.tensor(x, requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    mine = gl.autograd.grad(getattr(gl, fn)(*a, **options).sum(), a)
    theirs = torch.autograd.grad(getattr(torch, fn)(*b, **options).sum(), b)
    for p, q in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12)


def test_derivatives_at_kinks_are_those_of_pytorch() -> None:
    x, y = np.array([0.0, -0.0, 1.0, 2.0, np.nan, 3.0]), np.array([1.0, -1.0, 1.0, 5.0, 2.0, np.nan])
    for name in ("fmax", "fmin", "nextafter"):
        gradient_pair(name, x, y)
    gradient_pair("copysign", x[:4], y[:4])
    gradient_pair("xlogy", np.array([0.0, 0.0, 2.0]), np.array([0.0, 2.0, 3.0]))
    gradient_pair("nan_to_num", np.array([np.nan, np.inf, 1.0]))
    gradient_pair("logit", np.array([0.05, 0.5, 0.99]), eps=0.1)
    gradient_pair("clamp", np.array([-2.0, 0.5, 3.0, 1.0]), np.array([0.0, 0.0, 2.0, 0.5]), np.full(4, 1.0))


def test_mantissa_and_exponent() -> None:
    x = np.r_[
        REAL,
        5e-324,
        -1e-310,
        2.0**-1000,
        1.7e308,
        np.nextafter(1.0, 0),
        np.nextafter(2.0, 3),
        2.0 ** np.arange(-60, 60),
    ]
    for a in (x, x[np.abs(x) < 1e38].astype(np.float32)):
        m, e = gl.frexp(gl.tensor(a))
        wm, we = np.frexp(a)
        np.testing.assert_array_equal(m.numpy(), wm)
        np.testing.assert_array_equal(np.where(np.isfinite(a), e.numpy(), 0), np.where(np.isfinite(a), we, 0))
        assert e.dtype is gl.int32
    back = gl.ldexp(*gl.frexp(gl.tensor(x[np.isfinite(x)])))
    np.testing.assert_array_equal(back.numpy(), x[np.isfinite(x)])
    assert gl.frexp(gl.tensor([3.0])).mantissa.item() == 0.75
    with pytest.raises(DTypeError, match="frexp"):
        gl.frexp(gl.tensor([1]))


def test_nextafter() -> None:
    for kind in (np.float32, np.float64):
        x, y = REAL[:, None].astype(kind), REAL.astype(kind)
        np.testing.assert_array_equal(gl.nextafter(gl.tensor(x), gl.tensor(y)).numpy(), np.nextafter(x, y))
    with pytest.raises(DTypeError, match="bfloat16"):
        gl.nextafter(gl.ones(2, dtype=gl.bfloat16), gl.ones(2, dtype=gl.bfloat16))


def test_large_exponents_do_not_overflow_on_the_way() -> None:
    got = gl.ldexp(gl.tensor(np.array([1e-300, 2.0**-1060, 1.0])), gl.tensor([1100, 1070, -1074]))
    np.testing.assert_array_equal(got.numpy(), np.ldexp([1e-300, 2.0**-1060, 1.0], [1100, 1070, -1074]))
    for fn, base in ((gl.logaddexp, np.logaddexp), (gl.logaddexp2, np.logaddexp2)):
        x, y = np.array([1e4, -1e4, -np.inf, np.inf]), np.array([1e4, -1e4, -np.inf, 3.0])
        np.testing.assert_allclose(fn(gl.tensor(x), gl.tensor(y)).numpy(), base(x, y))
    assert gl.hypot(gl.tensor([3e200], dtype=gl.float64), gl.tensor([4e200], dtype=gl.float64)).item() == pytest.approx(
        5e200
    )


@pytest.mark.parametrize("mode", [None, "trunc", "floor"])
def test_division_modes(mode: str | None) -> None:
    for a, b in ((REAL[:13], np.array([[2.0], [-0.7]])), (WHOLE, np.array([[2], [-4]])), (WHOLE, 3)):
        theirs = torch.div(torch.tensor(a), torch.tensor(b), rounding_mode=mode)
        same(gl.div(gl.tensor(a), gl.tensor(b), rounding_mode=mode), theirs)
    x = gl.tensor(np.array([5.0, -7.0]))
    same(x.div(2, rounding_mode=mode), torch.tensor([5.0, -7.0], dtype=torch.float64).div(2, rounding_mode=mode))


def test_division_refuses_other_modes() -> None:
    with pytest.raises(ValueError, match="rounding_mode"):
        gl.div(gl.ones(2), 2, rounding_mode="up")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_remainders_of_large_quotients_are_exact(kind: type) -> None:
    rng = np.random.default_rng(0)
    x = (10 ** rng.uniform(-5, 28, 500) * rng.choice([-1, 1], 500)).astype(kind)
    y = (10 ** rng.uniform(-1, 5, 500) * rng.choice([-1, 1], 500)).astype(kind)
    for name, want in (("fmod", np.fmod), ("remainder", np.remainder), ("floor_divide", np.floor_divide)):
        np.testing.assert_array_equal(getattr(gl, name)(gl.tensor(x), gl.tensor(y)).numpy(), want(x, y))


@pytest.mark.parametrize("decimals", [0, 1, 3, -1, -2])
def test_rounding_to_decimals(decimals: int) -> None:
    x = np.array([1.25, -1.35, 123.456, 0.0005, 151.0, -49.0])
    same(gl.round(gl.tensor(x), decimals=decimals), torch.round(torch.tensor(x), decimals=decimals))
    with pytest.raises(DTypeError, match="decimals"):
        gl.round(gl.tensor([12]), decimals=-1)


def test_scaled_second_operands() -> None:
    x, y = gl.tensor([1, 2]), gl.tensor([3, 4])
    assert gl.sub(x, y, alpha=2).tolist() == [-5, -6]
    assert gl.rsub(x, y, alpha=2).tolist() == [1, 0]
    assert gl.addcmul(x, y, y, value=2).tolist() == [19, 34]
    assert gl.addcdiv(gl.ones(2), x, y.float(), value=3).tolist() == pytest.approx([2.0, 2.5])
    with pytest.raises(DTypeError, match="addcdiv"):
        gl.addcdiv(x, x, y)


def test_clamp_with_tensors_and_nan() -> None:
    x = np.array([-2.0, 0.5, 3.0, np.nan, 1.0])
    low, high = np.array([0.0, 0.0, 4.0, 0.0, np.nan]), np.array([1.0, 1.0, 2.0, 1.0, 2.0])
    args = [torch.tensor(a) for a in (x, low, high)]
    same(gl.clamp(*[gl.tensor(a) for a in (x, low, high)]), torch.clamp(*args))
    same(gl.clamp_min(gl.tensor(x), gl.tensor(low)), torch.clamp_min(args[0], args[1]))
    same(gl.clamp_max(gl.tensor(x), 0.7), torch.clamp_max(args[0], 0.7))
    same(gl.clamp(gl.tensor(x), float("nan")), torch.clamp(args[0], float("nan")))
    same(gl.clamp(gl.tensor(WHOLE), 0.5, 2), torch.clamp(torch.tensor(WHOLE), 0.5, 2))
    with pytest.raises(ValueError, match="at least one"):
        gl.clamp(gl.ones(2))


def test_where() -> None:
    c = np.array([[True, False, True], [False, False, True]])
    for ours, theirs in zip(gl.where(gl.tensor(c)), torch.where(torch.tensor(c)), strict=True):
        same(ours, theirs)
    assert [t.tolist() for t in gl.where(gl.tensor(True))] == [t.tolist() for t in torch.where(torch.tensor(True))]
    for a, b in ((1.0, 2), (1, 2), (True, 2.5)):
        same(gl.where(gl.tensor(c), a, b), torch.where(torch.tensor(c), a, b))


@pytest.mark.parametrize("exponent", [2, 2.0, 3.0, 1.0, 0.5, 0, True])
def test_powers_of_integers(exponent: float) -> None:
    same(gl.pow(gl.tensor(np.array([0, 1, 5])), exponent), torch.pow(torch.tensor([0, 1, 5]), exponent))


def test_in_place() -> None:
    x = gl.tensor([1.5, -2.0, float("nan")])
    assert x.nan_to_num_(3.0) is x
    assert x.tolist() == [1.5, -2.0, 3.0]
    x.copysign_(-1.0).clamp_(-2.0, 0).lerp_(gl.zeros(3), 0.5).addcmul_(gl.ones(3), gl.ones(3), value=2)
    assert x.tolist() == [1.25, 1.0, 1.0]
    assert gl.tensor([4, 6]).gcd_(gl.tensor([6, 9])).tolist() == [2, 3]
    assert gl.tensor([1.0, 4.0]).div_(3, rounding_mode="trunc").tolist() == [0.0, 1.0]


def test_spellings_of_numpy_and_the_array_api() -> None:
    x = gl.tensor([1.5, -0.5])
    assert gl.power(x, 2).tolist() == [2.25, 0.25]
    assert gl.mod(x, 1).tolist() == [0.5, 0.5]
    assert gl.bitwise_invert(gl.tensor([1])).tolist() == gl.invert(gl.tensor([1])).tolist() == [-2]
    assert gl.rint(x).tolist() == [2.0, -0.0]
    assert gl.radians(gl.tensor([180.0])).item() == pytest.approx(np.pi)


def test_tolerances_are_not_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        gl.isclose(gl.ones(2), gl.ones(2), rtol=-1.0)
    x = gl.tensor([np.nan, np.inf, 1.0])
    assert gl.isclose(x, x, equal_nan=True).tolist() == [True, True, True]
    assert gl.isclose(x, x, rtol=0, atol=0).tolist() == [False, True, True]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=4), st.floats(0, 1))
def test_lerp_keeps_its_ends(values: list[float], weight: float) -> None:
    a, b = np.array(values), np.array(values[::-1]) / 3
    ours = gl.lerp(gl.tensor(a), gl.tensor(b), weight).numpy()
    np.testing.assert_allclose(
        ours, torch.lerp(torch.tensor(a), torch.tensor(b), weight).numpy(), rtol=1e-12, atol=1e-300
    )
    np.testing.assert_array_equal(gl.lerp(gl.tensor(a), gl.tensor(b), 1.0).numpy(), b)
    np.testing.assert_array_equal(gl.lerp(gl.tensor(a), gl.tensor(b), 0.0).numpy(), a)
