"""Special functions: values against SciPy and 40 digits, compiled against reference, derivatives, edges, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradloom as gl
from gradloom.errors import DTypeError, GradientError, ShapeError
from gradloom.ops import references
from gradloom.testing import check_grads, check_reference

RNG = np.random.default_rng(5)
S = gl.special


def uniform(low: float, high: float, n: int = 500) -> np.ndarray:
    return RNG.uniform(low, high, n)


def powers(low: float, high: float, n: int = 300) -> np.ndarray:
    return 10 ** RNG.uniform(low, high, n)


def spherical(x: np.ndarray) -> np.ndarray:
    return sp.spherical_jn(0, x)


# name -> (SciPy's function, samples); relative to 1e-12
SIGNED: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "i0": (sp.i0, np.r_[uniform(-9, 9), uniform(-700, 700)]),
    "i1": (sp.i1, np.r_[uniform(-9, 9), uniform(-700, 700), powers(-200, 0)]),
    "i0e": (sp.i0e, np.r_[uniform(-9, 9), uniform(-1e6, 1e6)]),
    "i1e": (sp.i1e, np.r_[uniform(-9, 9), uniform(-1e6, 1e6)]),
    "modified_bessel_i0": (sp.i0, uniform(-9, 9)),
    "modified_bessel_i1": (sp.i1, uniform(-9, 9)),
    "modified_bessel_k0": (sp.k0, np.r_[uniform(0, 4), powers(-300, 0), uniform(2, 690)]),
    "modified_bessel_k1": (sp.k1, np.r_[uniform(0, 4), powers(-300, 0), uniform(2, 690)]),
    "scaled_modified_bessel_k0": (sp.k0e, np.r_[uniform(0, 4), powers(0, 8)]),
    "scaled_modified_bessel_k1": (sp.k1e, np.r_[uniform(0, 4), powers(0, 8)]),
    "spherical_bessel_j0": (spherical, uniform(-3, 3)),
    "entr": (sp.entr, np.r_[uniform(0, 5), powers(-300, 3), -1.0, 0.0]),
    "erfcx": (sp.erfcx, np.r_[uniform(-26, 0), uniform(0, 30), powers(1, 300)]),
    "ndtr": (sp.ndtr, uniform(-37, 8)),
    "log_ndtr": (sp.log_ndtr, np.r_[uniform(-40, 6), -powers(0, 100)]),
    "ndtri": (sp.ndtri, np.r_[uniform(0, 1), powers(-300, 0), 1 - powers(-15, -1)]),
    "expit": (sp.expit, uniform(-40, 40)),
    "exp2": (sp.exp2, uniform(-40, 40)),
    "gammaln": (sp.gammaln, np.r_[uniform(3, 50), powers(-20, -1)]),
    "psi": (sp.psi, uniform(2, 50)),
    "sinc": (np.sinc, uniform(-0.9, 0.9)),
    "logit": (sp.logit, uniform(0.6, 0.999)),
}
# functions that change their sign: relative to the amplitude
WAVES: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "bessel_j0": (sp.j0, np.r_[uniform(-9, 9), uniform(-60, 60), powers(2, 4)]),
    "bessel_j1": (sp.j1, np.r_[uniform(-9, 9), uniform(-60, 60), powers(2, 4)]),
    "bessel_y0": (sp.y0, np.r_[uniform(0, 9), uniform(5, 60), powers(2, 4)]),
    "bessel_y1": (sp.y1, np.r_[uniform(0.1, 9), uniform(5, 60), powers(2, 4)]),
    "airy_ai": (lambda x: sp.airy(x)[0], np.r_[uniform(-6, 3), uniform(-30, 30)]),
}


@pytest.mark.parametrize("name", SIGNED)
def test_agrees_with_scipy(name: str) -> None:
    fn, x = SIGNED[name]
    np.testing.assert_allclose(getattr(S, name)(gl.tensor(x)).numpy(), fn(x), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", WAVES)
def test_waves_agree_with_scipy(name: str) -> None:
    fn, x = WAVES[name]
    np.testing.assert_allclose(getattr(S, name)(gl.tensor(x)).numpy(), fn(x), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", [*SIGNED, *WAVES])
def test_float32_is_rounded_once(name: str) -> None:
    fn, x = (SIGNED | WAVES)[name]
    x = x[(np.abs(x) < 80) & (np.abs(x) > 1e-30)].astype(np.float32)
    want = fn(x.astype(np.float64))
    x, want = x[np.abs(want) < 1e30], want[np.abs(want) < 1e30]
    got = getattr(S, name)(gl.tensor(x)).numpy()
    assert got.dtype == np.float32
    # what is not computed in float64 has bounds of its own in tests/compiler/test_vecmath.py
    loose = 2e-6 if name in ("entr", "expit", "exp2", "sinc", "logit", "ndtr") else 1.3e-7
    np.testing.assert_allclose(got, want, rtol=loose, atol=3e-8 if name in WAVES else 1e-37)


def test_zeros_of_bessel_functions_are_sharp() -> None:
    mpmath.mp.dps = 30
    for name, order, k in (("bessel_j0", 0, 1), ("bessel_j0", 0, 2), ("bessel_j1", 1, 1), ("bessel_j1", 1, 2)):
        x = float(mpmath.besseljzero(order, k))
        want = float(mpmath.besselj(order, mpmath.mpf(x)))
        np.testing.assert_allclose(getattr(S, name)(gl.tensor(np.array([x]))).numpy(), [want], rtol=1e-12)


EDGES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5])
TO_TORCH = sorted(set(SIGNED) | set(WAVES))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", TO_TORCH)
def test_edges_are_those_of_pytorch(name: str, dtype: type) -> None:
    x = EDGES.astype(dtype)
    want = getattr(torch.special, name)(torch.tensor(x)).numpy()
    # at the infinities PyTorch's quotients of infinities are NaN; the limits are
    if name in ("airy_ai", "spherical_bessel_j0", "bessel_j0", "bessel_j1", "i0e", "i1e"):
        want[2:4] = 0.0
    if name.startswith(("bessel_y", "scaled", "modified_bessel_k")):
        want[2:4] = [0.0, np.nan]
    if name in ("i0", "i1", "modified_bessel_i0", "modified_bessel_i1"):
        want[2:4] = [np.inf, -np.inf if "1" in name else np.inf]
    np.testing.assert_allclose(getattr(S, name)(gl.tensor(x)).numpy(), want, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", [*SIGNED, *WAVES])
def test_compiled_is_what_the_formula_means(name: str) -> None:
    x = (SIGNED | WAVES)[name][1][::40]
    check_reference(getattr(S, name), [x], rtol=1e-11, atol=1e-14)


GRADS = {
    "bessel_j0": [-7.0, 0.0, 0.5, 9.0], "bessel_j1": [-7.0, 0.3, 0.5, 9.0], "bessel_y0": [0.5, 3.0, 9.0],
    "bessel_y1": [0.5, 3.0, 9.0], "i0": [-2.0, 0.5, 9.0], "i1": [-2.0, 0.5, 9.0], "i0e": [-2.0, 0.5, 9.0],
    "i1e": [-2.0, 0.5, 9.0], "modified_bessel_k0": [0.5, 3.0], "modified_bessel_k1": [0.5, 3.0],
    "scaled_modified_bessel_k0": [0.5, 3.0], "scaled_modified_bessel_k1": [0.5, 3.0],
    "spherical_bessel_j0": [-3.0, 0.2, 0.9, 5.0], "airy_ai": [-7.0, -2.0, 0.5, 3.0], "entr": [0.2, 1.5],
    "erfcx": [-1.0, 0.3, 4.0], "ndtr": [-2.0, 0.3, 2.0], "log_ndtr": [-6.0, -0.5, 0.3, 2.0], "ndtri": [0.05, 0.4, 0.97],
    "sinc": [-2.4, 0.1, 0.2, 1.7], "logit": [0.2, 0.7], "gammaln": [0.4, 3.0],
}  # fmt: skip


@pytest.mark.parametrize("name", GRADS)
def test_derivatives(name: str) -> None:
    check_grads(getattr(S, name), [np.array(GRADS[name])], order=2, rtol=1e-4, atol=1e-5)


def test_derivatives_at_the_origin() -> None:
    x = gl.tensor(np.zeros(1), requires_grad=True)
    for name, want in (("i1", 0.5), ("bessel_j1", 0.5), ("sinc", 0.0), ("spherical_bessel_j0", 0.0), ("i0", 0.0)):
        (g,) = gl.autograd.grad(getattr(S, name)(x).sum(), [x])
        assert abs(g.item() - want) < 1e-15, name


# -- gamma ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [0, 1, 2, 5, 10])
def test_polygamma(n: int) -> None:
    x = np.r_[uniform(0.5, 30), powers(0, 8)]
    np.testing.assert_allclose(gl.polygamma(n, gl.tensor(x)).numpy(), sp.polygamma(n, x), rtol=1e-12, atol=1e-15)
    below = uniform(-9, 0, 12)
    mpmath.mp.dps = 30
    want = [float(mpmath.psi(n, mpmath.mpf(v))) for v in below]
    np.testing.assert_allclose(gl.tensor(below).polygamma(n).numpy(), want, rtol=1e-9)


def test_polygamma_has_derivatives_and_refuses_negative_orders() -> None:
    check_grads(lambda x: gl.polygamma(1, x), [np.array([-1.3, 0.4, 3.0])], order=2, rtol=1e-4)
    with pytest.raises(ValueError, match="negative"):
        gl.polygamma(-1, gl.ones(2))
    poles = gl.polygamma(1, gl.tensor([0.0, -1.0, -2.0])).numpy()
    np.testing.assert_array_equal(poles, np.inf)


def test_zeta() -> None:
    s, q = np.r_[uniform(1.01, 20), 1 + powers(-8, 0)], np.r_[uniform(0, 20), uniform(0, 5, 300)]
    np.testing.assert_allclose(S.zeta(gl.tensor(s), gl.tensor(q)).numpy(), sp.zeta(s, q), rtol=1e-12)
    s, q = np.array([2.0, 3, 1, 0.5, 2.5, 2, 3, np.nan]), np.array([1.0, -0.5, 2, 2, -1.5, -1, -2.3, 1])
    want = torch.special.zeta(torch.tensor(s), torch.tensor(q)).numpy()
    np.testing.assert_allclose(S.zeta(gl.tensor(s), gl.tensor(q)).numpy(), want, rtol=1e-12)
    check_grads(lambda t: S.zeta(3.5, t), [np.array([0.4, 2.0])], order=2, rtol=1e-4)
    assert S.zeta(2, gl.tensor([1, 2])).dtype is gl.float32


@pytest.mark.parametrize(
    ("a", "x"),
    [
        (uniform(0, 20), uniform(0, 40)),
        (powers(-10, 0, 500), powers(-10, 1, 500)),
        (uniform(20, 600), uniform(20, 600)),
        (np.array([1e3, 1e4, 1e6, 1e8]), np.array([1.01e3, 0.97e4, 1.002e6, 0.9999e8])),
    ],
)
def test_incomplete_gamma(a: np.ndarray, x: np.ndarray) -> None:
    for ours, theirs in ((S.gammainc, sp.gammainc), (S.gammaincc, sp.gammaincc)):
        got, want = ours(gl.tensor(a), gl.tensor(x)).numpy(), theirs(a, x)
        keep = want > 1e-100  # SciPy's own error is above 1e-12 in the far tails
        np.testing.assert_allclose(got[keep], want[keep], rtol=3e-12)
        np.testing.assert_allclose(got[~keep], want[~keep], rtol=1e-9, atol=1e-300)


def test_incomplete_gamma_at_its_edges() -> None:
    a = np.array([0.0, 0.0, 1.0, 1.0, np.inf, np.inf, -1.0, 1.0, np.nan, 2.0])
    x = np.array([0.0, 1.0, 0.0, np.inf, 1.0, np.inf, 1.0, -1.0, 1.0, 3.0])
    for name in ("igamma", "igammac"):
        want = getattr(torch, name)(torch.tensor(a), torch.tensor(x)).numpy()
        np.testing.assert_allclose(getattr(gl, name)(gl.tensor(a), gl.tensor(x)).numpy(), want, rtol=1e-12)


def test_incomplete_gamma_is_differentiated_in_its_second_argument() -> None:
    a = gl.tensor(np.array([0.5, 2.0, 9.0]))
    check_grads(lambda x: gl.igamma(a, x), [np.array([0.4, 2.5, 7.0])], order=2, rtol=1e-4)
    check_grads(lambda x: gl.igammac(a, x), [np.array([0.4, 2.5, 7.0])], order=1)
    for fn in (gl.igamma, S.zeta):
        first = gl.tensor([2.0], requires_grad=True)
        with pytest.raises(GradientError, match="first argument"):
            fn(first, gl.tensor([3.0])).sum().backward()
    with pytest.raises(DTypeError, match="igamma"):
        gl.igamma(gl.tensor([1]), gl.tensor([2]))


def test_multivariate_gamma() -> None:
    x = uniform(3, 20)
    for p in (1, 3, 5):
        got = gl.mvlgamma(gl.tensor(x), p).numpy()
        np.testing.assert_allclose(got, [sp.multigammaln(v, p) for v in x], rtol=1e-12)
        check_grads(lambda t, p=p: gl.mvlgamma(t, p), [np.array([3.5, 7.0])])
    with pytest.raises(ShapeError, match="at least 1"):
        gl.mvlgamma(gl.ones(2), 0)


# -- polynomials ----------------------------------------------------------------------------------------
POLYNOMIALS = {
    "chebyshev_polynomial_t": sp.eval_chebyt, "chebyshev_polynomial_u": sp.eval_chebyu,
    "hermite_polynomial_h": sp.eval_hermite, "hermite_polynomial_he": sp.eval_hermitenorm,
    "laguerre_polynomial_l": sp.eval_laguerre, "legendre_polynomial_p": sp.eval_legendre,
    "shifted_chebyshev_polynomial_t": sp.eval_sh_chebyt, "shifted_chebyshev_polynomial_u": sp.eval_sh_chebyu,
}  # fmt: skip
EVERY_POLYNOMIAL = [n for n in torch.special.__all__ if "polynomial" in n]


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_agree_with_scipy(name: str) -> None:
    x, n = uniform(-2, 2, 100), RNG.integers(0, 12, 100)
    want = POLYNOMIALS[name](n, x)
    np.testing.assert_allclose(getattr(S, name)(gl.tensor(x), gl.tensor(n)).numpy(), want, rtol=1e-9, atol=1e-9)
    got = getattr(S, name)(gl.tensor(x), 7).numpy()
    np.testing.assert_allclose(got, POLYNOMIALS[name](7, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EVERY_POLYNOMIAL)
def test_polynomials_are_those_of_pytorch(name: str) -> None:
    x, n = np.array([-1.0, -0.4, 0.0, 0.3, 1.0, 1.7])[:, None], np.array([-1, 0, 1, 2, 5, 9, 60])
    want = getattr(torch.special, name)(torch.tensor(x), torch.tensor(n)).numpy()
    np.testing.assert_allclose(getattr(S, name)(gl.tensor(x), gl.tensor(n)).numpy(), want, rtol=1e-8, atol=1e-8)
    for k in (-1, 0, 1, 6):
        want = getattr(torch.special, name)(torch.tensor(x), k).numpy()
        np.testing.assert_allclose(getattr(S, name)(gl.tensor(x), k).numpy(), want, rtol=1e-8, atol=1e-8)
    assert getattr(S, name)(gl.tensor([1, 2]), 3).dtype is gl.float32
    assert getattr(S, name)(2.0, gl.tensor([1, 2])).shape == (2,)


def test_polynomials_of_a_fixed_degree_have_derivatives() -> None:
    check_grads(lambda x: S.legendre_polynomial_p(x, 5), [np.array([-0.4, 0.0, 0.9])], order=2, rtol=1e-4)
    x = gl.tensor([0.3], requires_grad=True)
    with pytest.raises(GradientError, match="degrees"):
        S.legendre_polynomial_p(x, gl.tensor([3])).sum().backward()
    with pytest.raises(DTypeError, match="no integer"):
        S.legendre_polynomial_p(x, 2.5)


def test_references_agree_with_scipy() -> None:
    x = np.r_[uniform(-6, 6), powers(-300, 300), -powers(-3, 2), 0.0, np.inf, -np.inf, np.nan]
    for name, theirs in (("erf", sp.erf), ("erfc", sp.erfc), ("digamma", sp.digamma), ("lgamma", sp.gammaln)):
        got, want = getattr(references, name)(x), theirs(x)
        if name == "lgamma":
            want[np.isneginf(x)] = np.inf  # as C and PyTorch have it
        keep = np.abs(x) < 1e15 if name == "digamma" else np.full(x.shape, True)
        np.testing.assert_allclose(got[keep], want[keep], rtol=1e-11, atol=1e-12)
    u = np.r_[uniform(-1, 1), 1 - powers(-15, 0), -1.0, 1.0, 1.5, np.nan]
    np.testing.assert_allclose(references.erfinv(u), sp.erfinv(u), rtol=1e-12)
    assert references.erfinv(u.astype(np.float32)).dtype == np.float32


# -- shapes, dtypes, the namespace ----------------------------------------------------------------------
def test_the_namespace_is_that_of_pytorch() -> None:
    missing = [n for n in torch.special.__all__ if not hasattr(S, n)]
    assert not missing
    assert set(S.__all__) <= set(dir(S))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = S.nothing


def test_out_and_integers() -> None:
    out = gl.zeros(2)
    assert S.i0(gl.tensor([0.0, 1.0]), out=out) is out
    np.testing.assert_allclose(out.numpy(), sp.i0([0.0, 1.0]), rtol=1e-6)
    for name in ("i0", "ndtr", "erfcx", "bessel_j0", "entr"):
        got = getattr(S, name)(gl.tensor([0, 1, 2]))
        assert got.dtype is gl.float32
        np.testing.assert_allclose(got.numpy(), getattr(torch.special, name)(torch.tensor([0, 1, 2])), rtol=1e-5)
    assert S.i0(gl.tensor([1.5], dtype=gl.bfloat16)).dtype is gl.bfloat16


@settings(deadline=None, max_examples=25)
@given(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), st.sampled_from(["ndtr", "i1e", "zeta"]))
def test_any_shape(shape: tuple[int, ...], name: str) -> None:
    x = np.random.default_rng(0).uniform(1.5, 3, shape)
    got = getattr(S, name)(gl.tensor(x), 1.0) if name == "zeta" else getattr(S, name)(gl.tensor(x))
    want = sp.zeta(x, 1.0) if name == "zeta" else getattr(sp, name)(x)
    assert got.shape == shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
