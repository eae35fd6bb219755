"""Kullback-Leibler divergences: closed forms by pairs of classes, found by their bases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gradloom as gl
from gradloom.distributions import continuous as K
from gradloom.distributions import discrete as D
from gradloom.distributions import multivariate as M
from gradloom.distributions import transformed as X
from gradloom.distributions.distribution import Distribution
from gradloom.tensor import Tensor

__all__ = ["kl_divergence", "register_kl"]

_RULES: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}
_EULER = 0.57721566490153286


def register_kl(type_p: type, type_q: type) -> Callable[[Callable[[Any, Any], Tensor]], Callable[[Any, Any], Tensor]]:
    """Decorator: the divergence of a ``type_p`` from a ``type_q``."""
    for t in (type_p, type_q):
        if not (isinstance(t, type) and issubclass(t, Distribution)):
            raise TypeError(f"register_kl: expected subclasses of Distribution, got {t!r}")

    def keep(rule: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
        _RULES[type_p, type_q] = rule
        return rule

    return keep


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p ‖ q), of the batch's shape. Raises NotImplementedError for a pair without a rule."""
    found = [(a, b) for a, b in _RULES if isinstance(p, a) and isinstance(q, b)]
    if not found:
        raise NotImplementedError(
            f"no divergence of {type(p).__name__} from {type(q).__name__} is registered; add one with register_kl"
        )
    # the most special pair: fewest classes between the arguments' own and the rule's
    best = min(found, key=lambda ab: type(p).__mro__.index(ab[0]) + type(q).__mro__.index(ab[1]))
    return _RULES[best](p, q)


def _xlogy_ratio(a: Tensor, b: Tensor) -> Tensor:
    """A log(a / b) with 0 where a is 0."""
    return gl.xlogy(a, a) - gl.xlogy(a, b)


@register_kl(K.Normal, K.Normal)
def _normal(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - gl.log(ratio))


@register_kl(X.LogNormal, X.LogNormal)
def _log_normal(p: Any, q: Any) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(K.HalfNormal, K.HalfNormal)
def _half_normal(p: Any, q: Any) -> Tensor:
    return _normal(p._base, q._base)


@register_kl(K.Uniform, K.Uniform)
def _uniform(p: Any, q: Any) -> Tensor:
    outside = (q.low > p.low) | (q.high < p.high)
    return gl.where(outside, math.inf, gl.log((q.high - q.low) / (p.high - p.low)))


@register_kl(K.Exponential, K.Exponential)
def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - gl.log(ratio) - 1


@register_kl(K.Gamma, K.Gamma)
def _gamma(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    front = b * gl.log(p.rate / q.rate) + gl.lgamma(b) - gl.lgamma(a)
    return front + (a - b) * gl.digamma(a) + (q.rate - p.rate) * (a / p.rate)


@register_kl(K.Beta, K.Beta)
def _beta(p: Any, q: Any) -> Tensor:
    a1, b1, a2, b2 = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    norm = gl.lgamma(a2) + gl.lgamma(b2) + gl.lgamma(a1 + b1) - gl.lgamma(a2 + b2) - gl.lgamma(a1) - gl.lgamma(b1)
    moved = (a1 - a2) * gl.digamma(a1) + (b1 - b2) * gl.digamma(b1)
    return norm + moved + (a2 + b2 - a1 - b1) * gl.digamma(a1 + b1)


@register_kl(K.Laplace, K.Laplace)
def _laplace(p: Any, q: Any) -> Tensor:
    ratio, distance = p.scale / q.scale, gl.abs(p.loc - q.loc)
    return -gl.log(ratio) + distance / q.scale + ratio * gl.exp(-distance / p.scale) - 1


@register_kl(K.Cauchy, K.Cauchy)
def _cauchy(p: Any, q: Any) -> Tensor:
    """Chyzak and Nielsen 2019."""
    return gl.log(((p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2) / (4 * p.scale * q.scale))


@register_kl(X.Gumbel, X.Gumbel)
def _gumbel(p: Any, q: Any) -> Tensor:
    ratio, moved = p.scale / q.scale, q.loc / q.scale - p.loc / q.scale
    return -gl.log(ratio) - moved + ratio * _EULER + gl.exp(moved + gl.lgamma(1 + ratio)) - (1 + _EULER)


@register_kl(X.Pareto, X.Pareto)
def _pareto(p: Any, q: Any) -> Tensor:
    ratio, alpha = p.scale / q.scale, q.alpha / p.alpha
    return gl.where(p.scale < q.scale, math.inf, q.alpha * gl.log(ratio) - gl.log(alpha) + alpha - 1)


@register_kl(K.ContinuousBernoulli, K.ContinuousBernoulli)
def _continuous_bernoulli(p: Any, q: Any) -> Tensor:
    odds = p.mean * (p.logits - q.logits)
    return odds + p._log_norm() + gl.log1p(-p.probs) - q._log_norm() - gl.log1p(-q.probs)


@register_kl(D.Bernoulli, D.Bernoulli)
def _bernoulli(p: Any, q: Any) -> Tensor:
    return _xlogy_ratio(p.probs, q.probs) + _xlogy_ratio(1 - p.probs, 1 - q.probs)


@register_kl(D.Binomial, D.Binomial)
def _binomial(p: Any, q: Any) -> Tensor:
    if bool((p.total_count < q.total_count).any()):
        raise NotImplementedError("KL of Binomials where q has more trials than p has no closed form")
    return gl.where(p.total_count > q.total_count, math.inf, p.total_count * _bernoulli(p, q))


@register_kl(D.Geometric, D.Geometric)
def _geometric(p: Any, q: Any) -> Tensor:
    return -p.entropy() - gl.log1p(-q.probs) / p.probs - q.logits


@register_kl(D.Poisson, D.Poisson)
def _poisson(p: Any, q: Any) -> Tensor:
    return p.rate * (gl.log(p.rate) - gl.log(q.rate)) - (p.rate - q.rate)


@register_kl(D.Categorical, D.Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    t = p.probs * (p.logits - q.logits)
    t = gl.where(q.probs == 0, math.inf, t)
    return gl.where(p.probs == 0, 0.0, t).sum(-1)


@register_kl(D.OneHotCategorical, D.OneHotCategorical)
def _one_hot(p: Any, q: Any) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(M.Dirichlet, M.Dirichlet)
def _dirichlet(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    norm = gl.lgamma(total) - gl.lgamma(b.sum(-1)) - (gl.lgamma(a) - gl.lgamma(b)).sum(-1)
    return norm + ((a - b) * (gl.digamma(a) - gl.digamma(total).unsqueeze(-1))).sum(-1)


@register_kl(M.MultivariateNormal, M.MultivariateNormal)
def _multivariate(p: Any, q: Any) -> Tensor:
    n = p._event_shape[0]
    if q._event_shape[0] != n:
        raise ValueError(f"KL of normal vectors of {n} and {q._event_shape[0]} elements")
    half = M._log_diagonal(q.scale_tril) - M._log_diagonal(p.scale_tril)
    batch = gl.broadcast_shapes(tuple(p.scale_tril.shape[:-2]), tuple(q.scale_tril.shape[:-2]))
    lower = gl.broadcast_to(q.scale_tril, (*batch, n, n))
    spread = gl.linalg.solve_triangular(lower, gl.broadcast_to(p.scale_tril, (*batch, n, n)), upper=False)
    trace = (spread**2).sum((-2, -1))
    return half + 0.5 * (trace + M._solve_lower(q.scale_tril, q.loc - p.loc) - n)


@register_kl(M.LowRankMultivariateNormal, M.LowRankMultivariateNormal)
@register_kl(M.LowRankMultivariateNormal, M.MultivariateNormal)
@register_kl(M.MultivariateNormal, M.LowRankMultivariateNormal)
def _low_rank(p: Any, q: Any) -> Tensor:
    def whole(d: Any) -> Any:
        if isinstance(d, M.MultivariateNormal):
            return d
        return M.MultivariateNormal(d.loc, d.covariance_matrix, validate_args=False)

    return _multivariate(whole(p), whole(q))


@register_kl(M.Independent, M.Independent)
def _independent(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL of Independents that reinterpret different numbers of axes")
    return p._sum(kl_divergence(p.base_dist, q.base_dist))


@register_kl(X.TransformedDistribution, X.TransformedDistribution)
def _transformed(p: Any, q: Any) -> Tensor:
    if p._event_shape != q._event_shape or [type(t) for t in p.transforms] != [type(t) for t in q.transforms]:
        raise NotImplementedError("KL of distributions transformed in different ways")
    base = kl_divergence(p.base_dist, q.base_dist)
    extra = len(p._event_shape) - len(p.base_dist._event_shape)
    return base.sum(tuple(range(-extra, 0))) if extra > 0 else base


@register_kl(X.InverseGamma, X.InverseGamma)
def _inverse_gamma(p: Any, q: Any) -> Tensor:
    return _gamma(p.base_dist, q.base_dist)


# -- pairs of different families ---------------------------------------------------------------------------
@register_kl(K.Uniform, K.Normal)
def _uniform_normal(p: Any, q: Any) -> Tensor:
    width = p.high - p.low
    spread = width**2 / 12 + ((p.high + p.low) / 2 - q.loc) ** 2
    return gl.log(math.sqrt(2 * math.pi) * q.scale / width) + 0.5 * spread / q.scale**2


@register_kl(K.Exponential, K.Gamma)
def _exponential_gamma(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    front = -q.concentration * gl.log(ratio)
    return front + ratio + gl.lgamma(q.concentration) + q.concentration * _EULER - (1 + _EULER)


@register_kl(K.Gamma, K.Exponential)
def _gamma_exponential(p: Any, q: Any) -> Tensor:
    return -p.entropy() - gl.log(q.rate) + q.rate * p.concentration / p.rate
