"""Divergences of a distribution from one of another family: minus its entropy, minus the mean of the other's logarithm.

What that mean needs of ``p`` is little: its mean and variance for a normal ``q``, the mean of log x for a gamma, that
of exp(-x / s) for a Gumbel. Where ``p`` has values that ``q`` has not, the divergence is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gradloom as gl
from gradloom.distributions import continuous as K
from gradloom.distributions import discrete as D
from gradloom.distributions import transformed as X
from gradloom.distributions.kl import register_kl
from gradloom.tensor import Tensor

__all__: list[str] = []

_POSITIVE = (K.Exponential, K.Gamma)
_REAL = (X.Gumbel, K.Laplace, K.Normal)
_UNIT = (K.Beta, K.ContinuousBernoulli)


def _of(*pairs: tuple[type, type]) -> Callable[[Callable[[Any, Any], Tensor]], Callable[[Any, Any], Tensor]]:
    """Decorator: one rule for several pairs."""

    def keep(rule: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
        for p, q in pairs:
            register_kl(p, q)(rule)
        return rule

    return keep


def _within(p: Any, low: Any, high: Any, value: Tensor) -> Tensor:
    """A divergence; infinite where ``p`` has values outside of [low, high]. p: uniform, or on [0, 1]."""
    first, last = (p.low, p.high) if isinstance(p, K.Uniform) else (0.0, 1.0)
    # on both sides a comparison of a tensor, whichever of the bounds are numbers
    outside = gl.zeros_like(value, dtype=gl.bool) | gl.as_tensor(first < low) | gl.as_tensor(last > high)
    return gl.where(outside, math.inf, value)


def _log_mean(p: Any) -> Tensor:
    """The mean of log x."""
    if isinstance(p, K.Beta):
        return gl.digamma(p.concentration1) - gl.digamma(p.concentration1 + p.concentration0)
    if isinstance(p, X.Pareto):
        return gl.log(p.scale) + 1 / p.alpha
    return (gl.xlogy(p.high, p.high) - gl.xlogy(p.low, p.low)) / (p.high - p.low) - 1


def _falling_mean(p: Any, s: Tensor) -> Tensor:
    """The mean of exp(-x / s)."""
    if isinstance(p, K.Normal):
        return gl.exp(-p.loc / s + (p.scale / s) ** 2 / 2)
    if isinstance(p, K.Exponential):
        return 1 / (1 + 1 / (p.rate * s))
    if isinstance(p, K.Gamma):
        return (1 + 1 / (p.rate * s)) ** -p.concentration
    return s / (p.high - p.low) * (gl.exp(-p.low / s) - gl.exp(-p.high / s))


@_of(
    *((p, q) for p in _POSITIVE for q in (*_UNIT, X.Pareto, K.Uniform)),
    *((p, q) for p in _REAL for q in (*_UNIT, *_POSITIVE, X.Pareto, K.Uniform)),
    *((X.Pareto, q) for q in (*_UNIT, K.Uniform)), *((p, X.Pareto) for p in _UNIT),
    (D.Poisson, D.Bernoulli), (D.Poisson, D.Binomial),
)  # fmt: skip
def _infinite(p: Any, q: Any) -> Tensor:
    shape = gl.broadcast_shapes(tuple(p.batch_shape), tuple(q.batch_shape))
    return gl.full(shape, math.inf, dtype=p.mean.dtype)


@_of(*((p, K.Normal) for p in (*_UNIT, *_POSITIVE, X.Gumbel, K.Laplace, X.Pareto)))
def _from_normal(p: Any, q: Any) -> Tensor:
    spread = (p.variance + (p.mean - q.loc) ** 2) / (2 * q.scale**2)
    return -p.entropy() + gl.log(q.scale) + 0.5 * math.log(2 * math.pi) + spread


@_of(*((p, K.Exponential) for p in (*_UNIT, X.Pareto, K.Uniform)))
def _from_exponential(p: Any, q: Any) -> Tensor:
    value = -p.entropy() - gl.log(q.rate) + q.rate * p.mean
    return _within(p, 0.0, math.inf, value) if isinstance(p, K.Uniform) else value


@_of(*((p, K.Gamma) for p in (K.Beta, X.Pareto, K.Uniform)))
def _from_gamma(p: Any, q: Any) -> Tensor:
    c, r = q.concentration, q.rate
    value = -p.entropy() + gl.lgamma(c) - c * gl.log(r) - (c - 1) * _log_mean(p) + r * p.mean
    return _within(p, 0.0, math.inf, value) if isinstance(p, K.Uniform) else value


@_of(*((p, X.Gumbel) for p in (K.Normal, *_POSITIVE, K.Uniform)))
def _from_gumbel(p: Any, q: Any) -> Tensor:
    moved = gl.exp(q.loc / q.scale) * _falling_mean(p, q.scale)
    return -p.entropy() + gl.log(q.scale) + (p.mean - q.loc) / q.scale + moved


@_of((K.Beta, K.Uniform), (K.ContinuousBernoulli, K.Uniform))
def _from_uniform(p: Any, q: Any) -> Tensor:
    return _within(p, q.low, q.high, -p.entropy() + gl.log(q.high - q.low))


@_of((K.Beta, K.ContinuousBernoulli), (K.Uniform, K.ContinuousBernoulli))
def _from_continuous_bernoulli(p: Any, q: Any) -> Tensor:
    front = q.log_prob(gl.zeros_like(q.probs))
    return _within(p, 0.0, 1.0, -p.entropy() - p.mean * q.logits - front)


@_of((K.Uniform, K.Beta))
def _uniform_from_beta(p: Any, q: Any) -> Tensor:
    a, b = q.concentration1, q.concentration0
    norm = gl.lgamma(a) + gl.lgamma(b) - gl.lgamma(a + b)
    others = (gl.xlogy(1 - p.low, 1 - p.low) - gl.xlogy(1 - p.high, 1 - p.high)) / (p.high - p.low) - 1
    return _within(p, 0.0, 1.0, -p.entropy() + norm - (a - 1) * _log_mean(p) - (b - 1) * others)


@_of((K.Uniform, X.Pareto))
def _uniform_from_pareto(p: Any, q: Any) -> Tensor:
    front = gl.log(q.alpha) + q.alpha * gl.log(q.scale)
    return _within(p, q.scale, math.inf, -p.entropy() - front + (q.alpha + 1) * _log_mean(p))


@_of((K.Normal, K.Laplace))
def _normal_from_laplace(p: Any, q: Any) -> Tensor:
    away = (p.loc - q.loc) / p.scale
    folded = math.sqrt(2 / math.pi) * gl.exp(-(away**2) / 2) + away * gl.erf(away * math.sqrt(0.5))
    return -p.entropy() + gl.log(2 * q.scale) + folded * p.scale / q.scale


@_of((D.Bernoulli, D.Poisson))
def _bernoulli_from_poisson(p: Any, q: Any) -> Tensor:
    return -p.entropy() - p.mean * gl.log(q.rate) + q.rate
