"""Every distribution against PyTorch's: densities, moments, entropies, gradients; samples by statistical tests."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions as TD

import gradloom as gl
from gradloom import distributions as D

R = np.random.default_rng(0)
CORRELATION = np.array([[1, 0.3, 0.1], [0.3, 1, -0.2], [0.1, -0.2, 1]])
SIMPLEX = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
COV = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])


def a(*values: float) -> np.ndarray:
    return np.array(values)


# name, parameters, values to ask at
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("Normal", {"loc": a(0.5, -1), "scale": a(2, 0.3)}, a(0.1, -1.2)),
    ("LogNormal", {"loc": a(0.5, -1), "scale": a(0.7, 0.3)}, a(0.1, 1.2)),
    ("Uniform", {"low": a(0, -2.0), "high": a(1, 3.0)}, a(0.25, 2.5)),
    ("Exponential", {"rate": a(0.5, 3)}, a(0.1, 4)),
    ("Gamma", {"concentration": a(0.5, 3), "rate": a(2, 0.7)}, a(0.1, 4)),
    ("Chi2", {"df": a(1.5, 4)}, a(0.1, 4)),
    ("Beta", {"concentration1": a(0.5, 3), "concentration0": a(2, 5)}, a(0.1, 0.4)),
    ("StudentT", {"df": a(1.5, 5), "loc": a(0.0, 1), "scale": a(1.0, 2)}, a(0.1, 4)),
    ("FisherSnedecor", {"df1": a(1.5, 5), "df2": a(6.0, 9)}, a(0.1, 4)),
    ("Laplace", {"loc": a(0.5, -1), "scale": a(2, 0.3)}, a(0.1, -1.2)),
    ("Cauchy", {"loc": a(0.5, -1), "scale": a(2, 0.3)}, a(0.1, -1.2)),
    ("HalfNormal", {"scale": a(2, 0.3)}, a(0.1, 1.2)),
    ("HalfCauchy", {"scale": a(2, 0.3)}, a(0.1, 1.2)),
    ("Gumbel", {"loc": a(0.5, -1), "scale": a(2, 0.3)}, a(0.1, -1.2)),
    ("Weibull", {"scale": a(2, 0.3), "concentration": a(1.2, 3)}, a(0.1, 0.2)),
    ("Pareto", {"scale": a(1, 0.3), "alpha": a(2.5, 3)}, a(1.1, 0.4)),
    ("Kumaraswamy", {"concentration1": a(1.5, 3), "concentration0": a(2, 5)}, a(0.1, 0.4)),
    ("InverseGamma", {"concentration": a(2.5, 3), "rate": a(2, 5)}, a(0.1, 0.4)),
    ("VonMises", {"loc": a(0.5, -1), "concentration": a(2, 0.3)}, a(0.1, -1.2)),
    ("ContinuousBernoulli", {"probs": a(0.3, 0.5)}, a(0.1, 0.7)),
    ("Bernoulli", {"probs": a(0.3, 0.8)}, a(1, 0)),
    ("Bernoulli", {"logits": a(-0.3, 0.8)}, a(1, 0)),
    ("Geometric", {"probs": a(0.3, 0.8)}, a(3, 0)),
    ("Binomial", {"total_count": 7, "probs": a(0.3, 0.8)}, a(3, 7)),
    ("NegativeBinomial", {"total_count": a(4, 2.5), "probs": a(0.3, 0.8)}, a(3, 0)),
    ("Poisson", {"rate": a(0.3, 8)}, a(3, 0)),
    ("Categorical", {"probs": np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])}, np.array([2, 0])),
    ("Categorical", {"logits": R.standard_normal((2, 4))}, np.array([2, 0])),
    ("OneHotCategorical", {"probs": a(0.1, 0.2, 0.7)}, a(0, 1, 0)),
    ("OneHotCategoricalStraightThrough", {"logits": a(0.1, 0.2, 0.7)}, a(0, 1, 0)),
    ("Multinomial", {"total_count": 5, "probs": a(0.1, 0.2, 0.7)}, a(1, 1, 3)),
    ("Dirichlet", {"concentration": np.array([[0.5, 2, 3], [4, 1.5, 1.2]])}, SIMPLEX),
    ("MultivariateNormal", {"loc": a(1, 2, 3), "covariance_matrix": COV}, a(0.5, 2, 4)),
    ("MultivariateNormal", {"loc": a(1, 2, 3), "precision_matrix": COV}, R.standard_normal((4, 3))),
    ("MultivariateNormal", {"loc": R.standard_normal((2, 3)), "scale_tril": np.linalg.cholesky(COV)}, a(0.5, 2, 4)),
    (
        "LowRankMultivariateNormal",
        {"loc": a(1, 2, 3), "cov_factor": R.standard_normal((3, 2)), "cov_diag": a(0.5, 1, 2)},
        a(0.5, 2, 4),
    ),
    ("Wishart", {"df": np.array(5.0), "covariance_matrix": COV}, COV * 4),
    ("LKJCholesky", {"dim": 3, "concentration": np.array(1.5)}, np.linalg.cholesky(CORRELATION)),
    ("LogisticNormal", {"loc": a(0.1, 0.4), "scale": a(1.0, 0.5)}, a(0.2, 0.5, 0.3)),
    ("RelaxedBernoulli", {"temperature": np.array(0.7), "probs": a(0.3, 0.8)}, a(0.2, 0.9)),
    ("RelaxedOneHotCategorical", {"temperature": np.array(0.7), "logits": a(0.3, 0.8, -1)}, a(0.2, 0.3, 0.5)),
]  # fmt: skip
IDS = [f"{name}-{k}" for k, (name, _, _) in enumerate(CASES)]


def pair(name: str, parameters: dict[str, Any], grad: bool = False) -> tuple[Any, Any, list[Any], list[Any]]:
    """Ours, PyTorch's, and the parameters of both."""
    arrays = {k: v for k, v in parameters.items() if isinstance(v, np.ndarray)}
    rest = {k: v for k, v in parameters.items() if k not in arrays}
    ours = {k: gl.tensor(v, dtype=gl.float64, requires_grad=grad) for k, v in arrays.items()}
    theirs = {k: torch.tensor(v, dtype=torch.float64, requires_grad=grad) for k, v in arrays.items()}
    mine, other = getattr(D, name)(**ours, **rest), getattr(TD, name)(**theirs, **rest)
    return mine, other, list(ours.values()), list(theirs.values())


@pytest.mark.parametrize(("name", "parameters", "values"), CASES, ids=IDS)
def test_density_and_its_gradient(name: str, parameters: dict[str, Any], values: np.ndarray) -> None:
    ours, theirs, p, q = pair(name, parameters, True)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape) and tuple(ours.event_shape) == tuple(theirs.event_shape)
    whole = name in ("Categorical",)
    got, want = ours.log_prob(gl.tensor(values)), theirs.log_prob(torch.tensor(values if whole else values * 1.0))
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-6, atol=1e-9)
    mine = gl.autograd.grad(got.sum(), p, allow_unused=True)
    others = torch.autograd.grad(want.sum(), q, allow_unused=True)
    for g, h in zip(mine, others, strict=True):
        if h is not None:
            assert g is not None
            np.testing.assert_allclose(g.numpy(), h.numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("name", "parameters", "values"), CASES, ids=IDS)
def test_moments_entropy_and_cumulative_functions(name: str, parameters: dict[str, Any], values: np.ndarray) -> None:
    ours, theirs, *_ = pair(name, parameters)
    for what in ("mean", "mode", "variance", "stddev"):
        try:
            want = getattr(theirs, what)
        except NotImplementedError:
            continue
        if name == "Kumaraswamy" and what == "mode":  # PyTorch 2.13 takes the logarithm of a negative number
            continue
        np.testing.assert_allclose(getattr(ours, what).numpy(), want.numpy(), rtol=1e-6, equal_nan=True, err_msg=what)
    with contextlib.suppress(NotImplementedError):
        np.testing.assert_allclose(ours.entropy().numpy(), theirs.entropy().numpy(), rtol=1e-6)
    for what, argument in (("cdf", values * 1.0), ("icdf", a(0.2, 0.9))):
        try:
            want = getattr(theirs, what)(torch.tensor(argument))
        except (NotImplementedError, ValueError, AttributeError):
            continue
        np.testing.assert_allclose(
            getattr(ours, what)(gl.tensor(argument)).numpy(), want.numpy(), rtol=1e-6, err_msg=what
        )


ON_THE_LINE = [c for c in CASES if hasattr(TD, c[0]) and np.ndim(next(iter(c[1].values()))) <= 1 and c[0] in (
    "Normal LogNormal Uniform Exponential Gamma Chi2 Beta StudentT FisherSnedecor Laplace Cauchy HalfNormal HalfCauchy "
    "Gumbel Weibull Pareto Kumaraswamy InverseGamma VonMises ContinuousBernoulli RelaxedBernoulli"
).split()]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "values"), ON_THE_LINE, ids=[c[0] for c in ON_THE_LINE])
def test_samples_follow_the_density(name: str, parameters: dict[str, Any], values: np.ndarray) -> None:
    gl.manual_seed(2)
    torch.manual_seed(2)
    ours, theirs, *_ = pair(name, parameters)
    mine, others = ours.sample((4000,)).numpy(), theirs.sample((4000,)).numpy()
    assert mine.shape == others.shape
    for k in range(mine.shape[1]):
        assert stats.ks_2samp(mine[:, k], others[:, k]).pvalue > 1e-3


MOMENTS = [
    c
    for c in CASES
    if c not in ON_THE_LINE and c[0] not in ("LogisticNormal", "LKJCholesky", "RelaxedOneHotCategorical")
]


@pytest.mark.parametrize(("name", "parameters", "values"), MOMENTS, ids=[f"{c[0]}-{k}" for k, c in enumerate(MOMENTS)])
def test_samples_have_the_moments(name: str, parameters: dict[str, Any], values: np.ndarray) -> None:
    gl.manual_seed(3)
    ours, theirs, *_ = pair(name, parameters)
    x = ours.sample((6000,)).numpy().astype(float)
    if name == "Categorical":
        p = theirs.probs.numpy()
        for k in range(2):
            np.testing.assert_allclose(np.bincount(x[:, k].astype(int), minlength=p.shape[1]) / 6000, p[k], atol=0.03)
        return
    error = 5 * np.sqrt(theirs.variance.numpy() / 6000) + 1e-6
    assert np.all(np.abs(x.mean(0) - theirs.mean.numpy()) < error)
    np.testing.assert_allclose(x.var(0), theirs.variance.numpy(), rtol=0.25, atol=0.02)


def test_lkj_samples_are_factors_of_correlations_with_the_right_marginals() -> None:
    gl.manual_seed(4)
    torch.manual_seed(4)
    x = D.LKJCholesky(4, 2.0).sample((3000,)).numpy()
    c = x @ x.swapaxes(-1, -2)
    np.testing.assert_allclose(np.diagonal(c, axis1=1, axis2=2), 1, atol=1e-5)
    t = TD.LKJCholesky(4, 2.0).sample((3000,)).numpy()
    ct = t @ t.swapaxes(-1, -2)
    for i, j in ((1, 0), (3, 2), (3, 0)):
        assert stats.ks_2samp(c[:, i, j], ct[:, i, j]).pvalue > 1e-3


REPARAMETRISED = [
    c for c in CASES if getattr(getattr(D, c[0]), "has_rsample", False) and c[0] != "OneHotCategoricalStraightThrough"
]


@pytest.mark.parametrize(
    ("name", "parameters", "values"), REPARAMETRISED, ids=[f"{c[0]}-{k}" for k, c in enumerate(REPARAMETRISED)]
)
def test_samples_are_differentiable(name: str, parameters: dict[str, Any], values: np.ndarray) -> None:
    gl.manual_seed(5)
    ours, _, p, _ = pair(name, parameters, True)
    got = gl.autograd.grad(ours.rsample((3,)).sum(), p, allow_unused=True)
    assert any(g is not None and np.isfinite(g.numpy()).all() for g in got)


def test_the_gradient_of_a_mean_by_samples() -> None:
    gl.manual_seed(6)
    loc, conc = gl.tensor(0.3, requires_grad=True), gl.tensor(2.5, requires_grad=True)
    D.Normal(loc, 1.0).rsample((20000,)).square().mean().backward()
    assert loc.grad is not None and abs(loc.grad.item() - 0.6) < 0.05
    D.Gamma(conc, 2.0).rsample((20000,)).mean().backward()
    assert conc.grad is not None and abs(conc.grad.item() - 0.5) < 0.02


KL = [(p, q) for p, q in [
    ("Normal", "Normal"), ("LogNormal", "LogNormal"), ("HalfNormal", "HalfNormal"), ("Exponential", "Exponential"),
    ("Gamma", "Gamma"), ("Chi2", "Chi2"), ("Beta", "Beta"), ("Laplace", "Laplace"), ("Cauchy", "Cauchy"),
    ("Gumbel", "Gumbel"), ("Pareto", "Pareto"), ("ContinuousBernoulli", "ContinuousBernoulli"),
    ("Bernoulli", "Bernoulli"), ("Binomial", "Binomial"), ("Geometric", "Geometric"), ("Poisson", "Poisson"),
    ("Categorical", "Categorical"), ("OneHotCategorical", "OneHotCategorical"), ("Dirichlet", "Dirichlet"),
    ("MultivariateNormal", "MultivariateNormal"), ("LowRankMultivariateNormal", "MultivariateNormal"),
    ("Uniform", "Normal"), ("Exponential", "Gamma"), ("Gamma", "Exponential"), ("Exponential", "Normal"),
    ("Laplace", "Normal"), ("Gamma", "Normal"), ("Beta", "Normal"), ("Gumbel", "Normal"),
]]  # fmt: skip
BY_NAME = {name: parameters for name, parameters, _ in reversed(CASES)}


def shifted(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    """Other parameters of the same kind."""
    out = {}
    for k, v in parameters.items():
        if k in ("probs",) and np.ndim(v) and name not in ("Bernoulli", "Binomial", "Geometric", "ContinuousBernoulli"):
            w = v + 0.3
            out[k] = w / w.sum(-1, keepdims=True)
        elif k == "probs":
            out[k] = v * 0.9
        elif isinstance(v, np.ndarray):
            out[k] = v * 0.9 if name == "Pareto" and k == "scale" else v * 1.3
        else:
            out[k] = v
    return out


@pytest.mark.parametrize(("p", "q"), KL)
def test_divergences(p: str, q: str) -> None:
    ours_p, theirs_p, *_ = pair(p, BY_NAME[p])
    ours_q, theirs_q, *_ = pair(q, shifted(BY_NAME[q], q))
    want = TD.kl_divergence(theirs_p, theirs_q)
    np.testing.assert_allclose(D.kl_divergence(ours_p, ours_q).numpy(), want.numpy(), rtol=1e-6, atol=1e-9)


def test_a_pair_without_a_rule_says_so_and_can_be_given_one() -> None:
    class Mine(D.Normal):
        pass

    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(0.0, 1.0)).item() == 0

    class Other(D.Distribution):
        pass

    with pytest.raises(NotImplementedError, match="register_kl"):
        D.kl_divergence(Other(validate_args=False), D.Normal(0.0, 1.0))

    @D.register_kl(Other, D.Normal)
    def _(p: Any, q: Any) -> gl.Tensor:
        return gl.tensor(7.0)

    assert D.kl_divergence(Other(validate_args=False), D.Normal(0.0, 1.0)).item() == 7


TRANSFORMS: list[tuple[Any, Any, tuple[int, ...]]] = [
    (D.ExpTransform(), TD.ExpTransform(), (3,)),
    (D.SigmoidTransform(), TD.SigmoidTransform(), (3,)),
    (D.TanhTransform(), TD.TanhTransform(), (3,)),
    (D.SoftplusTransform(), TD.SoftplusTransform(), (3,)),
    (D.AffineTransform(1.0, -2.0), TD.AffineTransform(1.0, -2.0), (3,)),
    (D.StickBreakingTransform(), TD.StickBreakingTransform(), (2, 3)),
    (D.CorrCholeskyTransform(), TD.CorrCholeskyTransform(), (2, 6)),
    (D.ReshapeTransform((6,), (2, 3)), TD.ReshapeTransform((6,), (2, 3)), (4, 6)),
    (D.IndependentTransform(D.ExpTransform(), 1), TD.IndependentTransform(TD.ExpTransform(), 1), (2, 3)),
    (
        D.ComposeTransform([D.AffineTransform(0.1, 0.5), D.TanhTransform()]),
        TD.ComposeTransform([TD.AffineTransform(0.1, 0.5), TD.TanhTransform()]),
        (3,),
    ),
    (
        D.CatTransform([D.ExpTransform(), D.TanhTransform()], 0, [1, 2]),
        TD.CatTransform([TD.ExpTransform(), TD.TanhTransform()], 0, [1, 2]),
        (3,),
    ),
    (
        D.CumulativeDistributionTransform(D.Normal(0.0, 1.0)),
        TD.CumulativeDistributionTransform(TD.Normal(0.0, 1.0)),
        (3,),
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "shape"), TRANSFORMS, ids=[repr(t[0])[:40] for t in TRANSFORMS])
def test_transforms(ours: Any, theirs: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape)
    y, ty = ours(gl.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(y.numpy(), ty.numpy(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.inv(y).numpy(), x, rtol=1e-4, atol=1e-6)
    jacobian = ours.log_abs_det_jacobian(gl.tensor(x), y)
    np.testing.assert_allclose(
        jacobian.numpy(), theirs.log_abs_det_jacobian(torch.tensor(x), ty).numpy(), rtol=1e-5, atol=1e-7
    )


def test_transformed_independent_and_mixed() -> None:
    x = R.standard_normal((5, 3))
    ours = D.TransformedDistribution(
        D.Normal(gl.zeros(3, dtype=gl.float64), 1.0), [D.AffineTransform(1.0, 2.0), D.ExpTransform()]
    )
    theirs = TD.TransformedDistribution(
        TD.Normal(torch.zeros(3).double(), 1.0), [TD.AffineTransform(1.0, 2.0), TD.ExpTransform()]
    )
    np.testing.assert_allclose(
        ours.log_prob(gl.tensor(np.exp(x))).numpy(), theirs.log_prob(torch.tensor(np.exp(x))).numpy()
    )
    np.testing.assert_allclose(ours.cdf(gl.tensor(np.exp(x))).numpy(), theirs.cdf(torch.tensor(np.exp(x))).numpy())
    i, j = (
        D.Independent(D.Normal(gl.zeros(3), gl.ones(3)), 1),
        TD.Independent(TD.Normal(torch.zeros(3), torch.ones(3)), 1),
    )
    assert i.event_shape == (3,) and i.batch_shape == ()
    np.testing.assert_allclose(i.log_prob(gl.tensor(x)).numpy(), j.log_prob(torch.tensor(x)).numpy(), rtol=1e-6)
    mean = np.array([[0.0, 1], [2, 3]])
    mine = D.MixtureSameFamily(D.Categorical(gl.tensor([[0.3, 0.7], [0.5, 0.5]])), D.Normal(gl.tensor(mean), 1.0))
    other = TD.MixtureSameFamily(
        TD.Categorical(torch.tensor([[0.3, 0.7], [0.5, 0.5]])), TD.Normal(torch.tensor(mean), 1.0)
    )
    v = R.standard_normal((4, 2))
    np.testing.assert_allclose(mine.log_prob(gl.tensor(v)).numpy(), other.log_prob(torch.tensor(v)).numpy(), rtol=1e-5)
    np.testing.assert_allclose(mine.variance.numpy(), other.variance.numpy(), rtol=1e-5)
    gl.manual_seed(0)
    assert abs(mine.sample((4000,)).numpy().mean(0) - other.mean.numpy()).max() < 0.1


@pytest.mark.parametrize(
    "name", ["Normal", "Gamma", "Categorical", "Dirichlet", "MultivariateNormal", "LogNormal", "Binomial"]
)
def test_expand(name: str) -> None:
    parameters = BY_NAME[name]
    ours, theirs, *_ = pair(name, parameters)
    shape = (4, *theirs.batch_shape)
    big, other = ours.expand(shape), theirs.expand(shape)
    assert tuple(big.batch_shape) == shape and tuple(big.sample((2,)).shape) == tuple(other.sample((2,)).shape)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: D.Normal(0.0, -1.0), "scale .* greater_than"),
        (lambda: D.Bernoulli(1.5), "probs"),
        (lambda: D.Bernoulli(), "either probs or logits"),
        (lambda: D.Uniform(1.0, 0.0), "below high"),
        (lambda: D.Categorical(gl.tensor(0.5)), "at least one axis"),
        (lambda: D.MultivariateNormal(gl.zeros(2)), "exactly one"),
        (lambda: D.MultivariateNormal(gl.zeros(2), gl.tensor([[1.0, 2.0], [2.0, 1.0]])), "positive_definite"),
        (lambda: D.Exponential(1.0).log_prob(gl.tensor(-1.0)), "outside of the support"),
        (lambda: D.Normal(gl.zeros(3), 1.0).log_prob(gl.zeros(2)), "does not go with the batch"),
        (lambda: D.Dirichlet(gl.ones(3)).log_prob(gl.tensor([0.5, 0.5])), "last axes"),
    ],
)
def test_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_enumerated_supports() -> None:
    b = D.Bernoulli(gl.tensor([0.2, 0.5]))
    assert b.enumerate_support().tolist() == [[0, 0], [1, 1]]
    total = gl.exp(D.Binomial(4, gl.tensor(0.3)).log_prob(D.Binomial(4, gl.tensor(0.3)).enumerate_support())).sum()
    assert math.isclose(total.item(), 1, rel_tol=1e-5)
    assert D.OneHotCategorical(gl.ones(3)).enumerate_support().tolist() == np.eye(3).tolist()


def test_densities_under_vmap_and_grad() -> None:
    loc = gl.tensor([0.0, 1.0, 2.0])
    got = gl.func.vmap(gl.func.grad(lambda m: D.Normal(m, 2.0).log_prob(gl.tensor(0.5))))(loc)
    np.testing.assert_allclose(got.numpy(), (0.5 - loc.numpy()) / 4, rtol=1e-5)


@pytest.mark.parametrize("shape", [0.3, -0.2, 0.0])
def test_generalized_pareto(shape: float) -> None:
    d, s = D.GeneralizedPareto(gl.tensor(1.0, dtype=gl.float64), 2.0, shape), stats.genpareto(shape, 1, 2)
    x = s.ppf([0.1, 0.5, 0.95])
    np.testing.assert_allclose(d.log_prob(gl.tensor(x)).numpy(), s.logpdf(x), rtol=1e-9)
    np.testing.assert_allclose(d.cdf(gl.tensor(x)).numpy(), [0.1, 0.5, 0.95], rtol=1e-9)
    np.testing.assert_allclose(d.icdf(gl.tensor([0.1, 0.5, 0.95], dtype=gl.float64)).numpy(), x, rtol=1e-9)
    np.testing.assert_allclose(
        [d.mean.item(), d.variance.item(), d.entropy().item()], [s.mean(), s.var(), s.entropy()], rtol=1e-6
    )
    gl.manual_seed(1)
    assert stats.kstest(d.sample((4000,)).numpy(), s.cdf).pvalue > 1e-3
