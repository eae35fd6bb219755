"""Transforms chosen by a constraint, the constraints with parameters, exponential families, PyTorch's module names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as TD

import gradloom as gl
import gradloom.distributions as D
from gradloom.errors import DTypeError, NotSupportedError

PLAIN = (
    "real positive nonnegative unit_interval simplex lower_cholesky positive_definite positive_semidefinite "
    "corr_cholesky real_vector"
).split()
MADE: dict[str, Callable[[Any], Any]] = {
    **{name: lambda c, name=name: getattr(c, name) for name in PLAIN},
    "interval": lambda c: c.interval(-1.0, 3.0),
    "half_open_interval": lambda c: c.half_open_interval(0.0, 2.0),
    "greater_than": lambda c: c.greater_than(2.0),
    "greater_than_eq": lambda c: c.greater_than_eq(-2.0),
    "less_than": lambda c: c.less_than(-2.0),
    "independent": lambda c: c.independent(c.positive, 1),
    "stack": lambda c: c.stack([c.positive, c.real, c.unit_interval], 0),
    "cat": lambda c: c.cat([c.positive, c.real], 0, [1, 2]),
}
X = np.random.default_rng(0).standard_normal((3, 3))


@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
@pytest.mark.parametrize("name", MADE)
def test_transforms_of_constraints(name: str, registry: str) -> None:
    mine, theirs = MADE[name](D.constraints), MADE[name](TD.constraints)
    try:
        want = getattr(TD, registry)(theirs)(torch.tensor(X)).numpy()
    except NotImplementedError:
        with pytest.raises(NotSupportedError, match=registry):
            getattr(D, registry)(mine)
        return
    transform = getattr(D, registry)(mine)
    got = transform(gl.tensor(X))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    assert bool(mine.check(got).all())
    if registry == "biject_to":
        np.testing.assert_allclose(transform.inv(got).numpy(), X, rtol=1e-6, atol=1e-9)


CHECKED = {
    "multinomial": (lambda c: c.multinomial(4), [[1.0, 2.0], [3.0, 2.0], [-1.0, 2.0]]),
    "square": (lambda c: c.square, np.ones((2, 2))),
    "symmetric": (lambda c: c.symmetric, [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 2.0], [3.0, 1.0]]]),
    "lower_triangular": (lambda c: c.lower_triangular, [[[1.0, 0.0], [2.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]]),
    "positive_semidefinite": (lambda c: c.positive_semidefinite, [[[1.0, 0.0], [0.0, 2.0]], [[0.0, 2.0], [2.0, 0.0]]]),
    "integer_interval": (lambda c: c.integer_interval(0, 3), [0.0, 1.5, 3.0, 4.0]),
}


@pytest.mark.parametrize("name", CHECKED)
def test_checks_agree_with_pytorch(name: str) -> None:
    make, values = CHECKED[name]
    want = make(TD.constraints).check(torch.tensor(np.asarray(values, np.float64))).numpy()
    np.testing.assert_array_equal(make(D.constraints).check(gl.tensor(np.asarray(values, np.float64))).numpy(), want)


def test_a_transform_of_ones_own() -> None:
    class Even(D.constraints.Constraint):
        pass

    even = Even("even", lambda x: x % 2 == 0)
    registry = D.ConstraintRegistry("mine")
    with pytest.raises(NotSupportedError, match="mine: there is no transform for even") as e:
        registry(even)
    assert "mine.register" in str(e.value)
    registry.register(Even, lambda c: D.AffineTransform(0, 2))
    assert registry(even)(gl.tensor(3.0)).item() == 6.0
    with pytest.raises(DTypeError, match="expected a constraint"):
        registry.register(3, lambda c: None)
    with pytest.raises(NotImplementedError):
        D.biject_to(D.constraints.integer_interval(0, 3))


def test_the_entropy_of_an_exponential_family() -> None:
    class Rate(D.ExponentialFamily):
        """The exponential distribution told by its natural parameter."""

        def __init__(self, rate: Any) -> None:
            self.rate = rate
            super().__init__(tuple(rate.shape), ())

        @property
        def _natural_params(self) -> tuple[Any, ...]:
            return (-self.rate,)

        def _log_normalizer(self, x: Any) -> Any:
            return -gl.log(-x)

    rate = gl.tensor([0.5, 2.0])
    np.testing.assert_allclose(Rate(rate).entropy().numpy(), D.Exponential(rate).entropy().numpy(), rtol=1e-6)
    for name in "Normal Bernoulli Beta Dirichlet Exponential Gamma Poisson ContinuousBernoulli Wishart".split():
        assert issubclass(getattr(D, name), D.ExponentialFamily)
        assert issubclass(getattr(TD, name), TD.ExponentialFamily)


def test_pytorchs_modules() -> None:
    for name in D._MODULES:
        mine = importlib.import_module(f"gradloom.distributions.{name}")
        theirs = importlib.import_module(f"torch.distributions.{name}")
        for n in D._MODULES[name].split():
            assert getattr(mine, n) is getattr(D, n) and hasattr(theirs, n)


def test_dependent() -> None:
    class Ranged:
        @D.constraints.dependent_property(is_discrete=False, event_dim=0)
        def support(self) -> Any:
            return D.constraints.positive

    assert Ranged().support is D.constraints.positive
    assert D.constraints.is_dependent(Ranged.__dict__["support"]) and D.constraints.is_dependent(
        D.constraints.dependent
    )
    assert not D.constraints.is_dependent(D.constraints.real)
