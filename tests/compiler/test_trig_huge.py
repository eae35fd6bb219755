"""Sine, cosine and tangent of arguments beyond 2**31: against mpmath lane by lane, against NumPy through tensors."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mapping import HOSTS, apply

import gradloom as gl

FUNCTIONS = {"sin": (mpmath.sin, 1.0, 1.0), "cos": (mpmath.cos, 1.0, 1.0), "tan": (mpmath.tan, 0.55, 2.1)}
# near the double that comes closest to a multiple of pi/2 (Muller, "Elementary Functions", 2016, table 11.1)
CLOSEST = 6381956970095103.0 * 2.0**797


def arguments() -> np.ndarray:
    rng = np.random.default_rng(0)
    sizes = 2.0 ** np.concatenate([rng.uniform(20, 34, 60), rng.uniform(31, 1023.9, 200)])
    special = [CLOSEST, -CLOSEST, 1e22, 1e30, 2.0**31, -(2.0**31), 2.0**31 - 0.5, 5e15, 3.0, 0.0]
    return np.concatenate([sizes * rng.choice([-1, 1], sizes.size), special, [np.finfo(float).max, 1.0]])


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("op", FUNCTIONS)
def test_units_in_the_last_place(op: str, dtype: str, host: str) -> None:
    fn, *bounds = FUNCTIONS[op]
    x = arguments()
    if dtype == "f32":
        x = x[np.abs(x) < 3e38].astype(np.float32)
    with mpmath.workprec(1300):
        want = np.array([float(fn(mpmath.mpf(float(v)))) for v in x])
    got = apply(host, op, dtype, x)
    unit = np.spacing(np.maximum(np.abs(want), 1e-30).astype(x.dtype))
    assert np.max(np.abs(got - want) / unit) <= bounds[dtype == "f64"] + 0.05


@pytest.mark.parametrize("op", FUNCTIONS)
def test_infinities_have_no_angle_and_leave_their_neighbours_alone(op: str) -> None:
    x = np.array([1.0, np.inf, 2.0, -np.inf, 1e300, np.nan, 3.0, 4.0] * 3)
    got = apply(HOSTS[-1], op, "f64", x)
    np.testing.assert_array_equal(np.isnan(got), ~np.isfinite(x))
    np.testing.assert_allclose(got[np.isfinite(x)], getattr(np, op)(x[np.isfinite(x)]), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", FUNCTIONS)
def test_as_numpy_to_1e30(op: str, dtype: type) -> None:
    x = (10.0 ** np.random.default_rng(1).uniform(-3, 30, 4001)).astype(dtype)
    exact = getattr(np, op)(x.astype(np.float64))
    got = getattr(gl, op)(gl.tensor(x)).numpy()
    assert got.dtype == dtype
    np.testing.assert_allclose(got, exact, rtol=3e-7 if dtype is np.float32 else 3e-15, atol=0)


def test_gradients_of_huge_arguments() -> None:
    x = gl.tensor([1e20, 2.0**40, 1.0], dtype=gl.float64, requires_grad=True)
    (x.sin() + x.cos()).sum().backward()
    a = x.detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), np.cos(a) - np.sin(a), rtol=1e-14)
