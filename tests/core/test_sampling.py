"""Random tensors: distributions against SciPy's (Kolmogorov-Smirnov, chi-squared), shapes, dtypes, refusals, seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

import gradloom as gl
from gradloom.functions.sampling import standard_gamma

N = 20_000
E = gl.zeros(N)

CONTINUOUS: dict[str, tuple[Callable[[], gl.Tensor], Callable[..., np.ndarray]]] = {
    "rand": (lambda: gl.rand(N), stats.uniform().cdf),
    "rand f64": (lambda: gl.rand(N, dtype=gl.float64), stats.uniform().cdf),
    "randn": (lambda: gl.randn(N), stats.norm().cdf),
    "normal": (lambda: gl.normal(2.0, 3.0, (N,)), stats.norm(2, 3).cdf),
    "uniform_": (lambda: E.clone().uniform_(-1, 4), stats.uniform(-1, 5).cdf),
    "normal_": (lambda: E.clone().normal_(1, 2), stats.norm(1, 2).cdf),
    "log_normal_": (lambda: E.clone().log_normal_(0.5, 0.7), stats.lognorm(0.7, scale=np.exp(0.5)).cdf),
    "exponential_": (lambda: E.clone().exponential_(2.5), stats.expon(scale=1 / 2.5).cdf),
    "cauchy_": (lambda: E.clone().cauchy_(1.0, 2.0), stats.cauchy(1, 2).cdf),
    "gamma 0.3": (lambda: standard_gamma(gl.full((N,), 0.3)), stats.gamma(0.3).cdf),
    "gamma 7": (lambda: standard_gamma(gl.full((N,), 7.0)), stats.gamma(7).cdf),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name: str) -> None:
    gl.manual_seed(4)
    draw, cdf = CONTINUOUS[name]
    assert stats.kstest(draw().numpy().astype(np.float64), cdf).pvalue > 1e-3


DISCRETE: dict[str, tuple[Callable[[], gl.Tensor], Callable[[np.ndarray], np.ndarray]]] = {
    "randint": (lambda: gl.randint(-2, 5, (N,)), stats.randint(-2, 5).pmf),
    "random_": (lambda: gl.zeros(N, dtype=gl.int32).random_(3, 9), stats.randint(3, 9).pmf),
    "bernoulli": (lambda: gl.bernoulli(gl.full((N,), 0.3)), stats.bernoulli(0.3).pmf),
    "bernoulli_": (lambda: E.clone().bernoulli_(0.8), stats.bernoulli(0.8).pmf),
    "geometric_": (lambda: E.clone().geometric_(0.35), stats.geom(0.35).pmf),
    "poisson": (lambda: gl.poisson(gl.full((N,), 3.5)), stats.poisson(3.5).pmf),
    "binomial": (lambda: gl.binomial(gl.full((N,), 9.0), gl.tensor(0.4)), stats.binom(9, 0.4).pmf),
    "multinomial": (
        lambda: gl.multinomial(gl.tensor([1.0, 0.0, 2.0, 5.0]), N, replacement=True),
        lambda k: np.array([1.0, 0.0, 2.0, 5.0])[k.astype(int)] / 8,
    ),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name: str) -> None:
    gl.manual_seed(12)
    draw, pmf = DISCRETE[name]
    values, counts = np.unique(draw().numpy(), return_counts=True)
    expected = pmf(values) * N
    kept = expected > 5
    assert kept.any() and expected[~kept].sum() < 60
    assert np.all(expected > 0)
    share = expected[kept] / expected[kept].sum() * counts[kept].sum()
    assert stats.chisquare(counts[kept], share).pvalue > 1e-3


def test_multinomial_without_replacement() -> None:
    gl.manual_seed(3)
    w = np.array([0.5, 0.2, 0.2, 0.1, 0.0])
    drawn = gl.multinomial(gl.tensor(np.tile(w, (4000, 1))), 3).numpy()
    assert drawn.shape == (4000, 3) and drawn.dtype == np.int64
    assert all(len(set(row)) == 3 for row in drawn) and not (drawn == 4).any()
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=4) / 4000, w[:4], atol=0.03)
    pair = np.mean((drawn[:, 0] == 0) & (drawn[:, 1] == 1))
    assert abs(pair - 0.5 * 0.2 / 0.5) < 0.03


def test_the_gradient_of_a_gamma_number_by_its_shape() -> None:
    gl.manual_seed(0)
    a = gl.tensor([0.1, 0.6, 1.0, 3.0, 20.0, 600.0], dtype=gl.float64, requires_grad=True)
    x = standard_gamma(a)
    x.sum().backward()
    u = stats.gamma.cdf(x.detach().numpy(), a.detach().numpy())
    h = 1e-5 * a.detach().numpy()
    slope = (stats.gamma.ppf(u, a.detach().numpy() + h) - stats.gamma.ppf(u, a.detach().numpy() - h)) / (2 * h)
    assert a.grad is not None
    np.testing.assert_allclose(a.grad.numpy(), slope, rtol=2e-4)


def test_likes_keep_shape_and_dtype() -> None:
    x = gl.zeros(2, 3, dtype=gl.float64)
    for made in (gl.rand_like(x), gl.randn_like(x), gl.randint_like(x, 5)):
        assert made.shape == (2, 3) and made.dtype is gl.float64
    assert gl.rand_like(x, dtype=gl.float16).dtype is gl.float16
    assert gl.randint(9, (0, 2)).shape == (0, 2)
    assert gl.randn(4, dtype=gl.complex64).dtype is gl.complex64


def test_seeds() -> None:
    def all_of_them() -> list[np.ndarray]:
        gl.manual_seed(5)
        return [f().numpy() for f, _ in [*CONTINUOUS.values(), *DISCRETE.values()]]

    assert all(np.array_equal(a, b) for a, b in zip(all_of_them(), all_of_them(), strict=True))
    mine = gl.Generator().manual_seed(1)
    first = gl.rand(3, generator=mine).tolist()
    assert first != gl.rand(3, generator=mine).tolist()
    assert first == gl.rand(3, generator=gl.Generator().manual_seed(1)).tolist()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: gl.rand(2, -1), gl.errors.ShapeError, "negative"),
        (lambda: gl.rand(2, dtype=gl.int64), gl.errors.DTypeError, "int64"),
        (lambda: gl.randint(3, 3, (2,)), ValueError, "no integer"),
        (lambda: gl.normal(0.0, -1.0, (2,)), ValueError, "negative"),
        (lambda: E.clone().exponential_(0.0), ValueError, "positive"),
        (lambda: E.clone().geometric_(1.5), ValueError, "within"),
        (lambda: gl.multinomial(gl.tensor([1.0, -1.0]), 1), ValueError, "not negative"),
        (lambda: gl.multinomial(gl.tensor([1.0, 0.0]), 2), ValueError, "without replacement"),
        (lambda: gl.bernoulli(gl.tensor([1, 0])), gl.errors.DTypeError, "not floating"),
        (lambda: gl.rand(2, generator=3), TypeError, "Generator"),
        (lambda: gl.rand(2, device="cuda"), gl.errors.DeviceError, "cuda"),
    ],
)
def test_refused(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
