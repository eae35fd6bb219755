"""What a distribution keeps after sampling still has its gradient; divergences between families; edges of sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import distributions as GD

TD = torch.distributions

MADE: dict[str, Callable[[Any, Any], Any]] = {
    "bernoulli": lambda d, p: d.Bernoulli(logits=p),
    "categorical": lambda d, p: d.Categorical(p.exp()),
    "geometric": lambda d, p: d.Geometric(logits=p),
    "negative binomial": lambda d, p: d.NegativeBinomial(3, p.sigmoid()),
    "one hot": lambda d, p: d.OneHotCategoricalStraightThrough(logits=p),
    "continuous": lambda d, p: d.ContinuousBernoulli(p.sigmoid()),
}


@pytest.mark.parametrize("name", MADE)
def test_a_gradient_after_sampling(name: str) -> None:
    """The score function's estimator: samples first, then the gradient of their probability."""
    values, grads = [0.1, 0.5, -0.3], []
    x = None
    for t, d in ((gl, GD), (torch, TD)):
        p = t.tensor(values, requires_grad=True)
        made = MADE[name](d, p)
        mine = made.sample((4,))
        x = mine.tolist() if x is None else x
        made.log_prob(t.tensor(x)).sum().backward()
        grads.append(p.grad.tolist())
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-4, atol=1e-6)


def test_straight_through_samples_have_a_gradient() -> None:
    logits = gl.tensor([0.2, 0.8], requires_grad=True)
    x = GD.OneHotCategoricalStraightThrough(logits=logits).rsample()
    (x * gl.tensor([1.0, 3.0])).sum().backward()
    p = np.exp([0.2, 0.8]) / np.exp([0.2, 0.8]).sum()
    np.testing.assert_allclose(logits.grad.numpy(), p * ([1.0, 3.0] - p @ [1.0, 3.0]), rtol=1e-5)


FAMILIES: dict[str, tuple[float, ...]] = {
    "Beta": (1.5, 2.5), "ContinuousBernoulli": (0.3,), "Exponential": (1.3,), "Gamma": (2.5, 1.5), "Gumbel": (0.4, 1.2),
    "Laplace": (0.3, 1.1), "Normal": (-0.2, 0.9), "Pareto": (0.2, 3.5), "Uniform": (0.25, 0.75), "Poisson": (1.4,),
    "Bernoulli": (0.3,),
}  # fmt: skip


@pytest.mark.parametrize("p", FAMILIES)
def test_divergences_between_families(p: str) -> None:
    for q in (*FAMILIES, "wide", "narrow"):
        cls, args = (
            ("Uniform", {"wide": (-0.5, 9.0), "narrow": (0.3, 0.6)}[q]) if q not in FAMILIES else (q, FAMILIES[q])
        )
        theirs: Any
        try:
            theirs = TD.kl_divergence(getattr(TD, p)(*FAMILIES[p]), getattr(TD, cls)(*args)).item()
        except NotImplementedError:
            continue
        if (p, cls) == ("ContinuousBernoulli", "Uniform"):  # PyTorch: infinite also on [0, 1] itself
            theirs = theirs if q != "wide" else pytest.approx(GD.kl_divergence(GD.ContinuousBernoulli(0.3), GD.Uniform(0.0, 1.0)).item() + np.log(9.5), rel=1e-4)  # fmt: skip # noqa: E501
        mine = GD.kl_divergence(getattr(GD, p)(*FAMILIES[p]), getattr(GD, cls)(*args))
        assert tuple(mine.shape) == ()
        assert mine.item() == (pytest.approx(theirs, rel=2e-5, abs=1e-6) if isinstance(theirs, float) else theirs), (
            p,
            q,
        )


def test_divergences_of_batches_have_gradients() -> None:
    a = gl.tensor([1.5, 2.5], requires_grad=True)
    value = GD.kl_divergence(GD.Gamma(a, gl.ones(3, 1)), GD.Gumbel(gl.zeros(2), 1.0))
    assert tuple(value.shape) == (3, 2)
    value.sum().backward()
    b = torch.tensor([1.5, 2.5], requires_grad=True)
    TD.kl_divergence(TD.Gamma(b, torch.ones(3, 1)), TD.Gumbel(torch.zeros(2), 1.0)).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5)
    assert tuple(GD.kl_divergence(GD.Normal(gl.zeros(3, 1), 1.0), GD.Beta(gl.ones(2), 1.0)).shape) == (3, 2)


@pytest.mark.parametrize("a", [0.01, 0.1, 3.0])
def test_samples_of_small_shapes(a: float) -> None:
    """Mean, variance and the mean of the gradient, also where gamma numbers themselves would be 0."""
    gl.manual_seed(3)
    n = 40_000
    first = gl.full((n,), a, dtype=gl.float64, requires_grad=True)
    x = GD.Beta(first, a).rsample()
    x.sum().backward()
    every = gl.full((n, 3), a, requires_grad=True)
    y = GD.Dirichlet(every).rsample()
    y[:, 0].sum().backward()
    variance = 0.25 / (2 * a + 1)
    assert abs(x.detach().numpy().mean() - 0.5) < 0.01 and abs(x.detach().numpy().var() - variance) < 0.01
    assert (
        0 < x.min().item() and x.max().item() < 1 and GD.Beta(first.detach(), a).log_prob(x.detach()).isfinite().all()
    )
    np.testing.assert_allclose(first.grad.numpy().mean(), 0.25 / a, rtol=0.15)
    np.testing.assert_allclose(y.detach().numpy().mean(0), [1 / 3] * 3, atol=0.012)
    np.testing.assert_allclose(every.grad.numpy().mean(0)[0], 2 / 9 / a, rtol=0.15)


def test_no_count_is_no_nan() -> None:
    d = GD.NegativeBinomial(gl.tensor([0.0, 5.0]), gl.tensor([0.5, 0.5]))
    x = d.sample((50,))
    assert x[:, 0].tolist() == [0.0] * 50 and x[:, 1].mean().item() > 1


def test_a_gamma_takes_numbers() -> None:
    assert GD.Gamma(1, 1).log_prob(0).item() == 0.0
    assert GD.Chi2(gl.tensor([1.0])).log_prob(0).tolist() == [np.inf]


def test_a_draw_and_its_logarithm_close_two_rounds() -> None:
    """Weights that were validated are not looked at again: a policy's step in a game is two programs, not four."""
    from gradloom.tape import TAPE

    net = gl.nn.Linear(4, 3)
    for _ in range(2):
        before = TAPE.rounds
        d = gl.distributions.Categorical(logits=net(gl.ones(2, 4)))
        a = d.sample()
        d.log_prob(a).tolist(), a.tolist()
    assert TAPE.rounds - before <= 3
    with pytest.raises(ValueError, match="multinomial"):
        gl.distributions.Categorical(probs=gl.tensor([0.5, -0.5]), validate_args=False).sample()
