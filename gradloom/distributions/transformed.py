"""Distributions made of others by invertible maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gradloom as gl
from gradloom.distributions import constraints as C
from gradloom.distributions import transforms as T
from gradloom.distributions.continuous import Exponential, Gamma, Normal
from gradloom.distributions.discrete import _Binary
from gradloom.distributions.distribution import Distribution, broadcast_all, lazy, logits_to_probs, probs_to_logits
from gradloom.nn import functional as F
from gradloom.tensor import Tensor

__all__ = [
    "GeneralizedPareto", "Gumbel", "InverseGamma", "Kumaraswamy", "LogNormal", "LogisticNormal", "Pareto",
    "RelaxedBernoulli", "RelaxedOneHotCategorical", "TransformedDistribution", "Weibull",
]  # fmt: skip

_EULER = 0.57721566490153286


class TransformedDistribution(Distribution):
    """y = f(x) for x of a base distribution and f a transform, or several in order."""

    def __init__(
        self, base_distribution: Distribution, transforms: T.Transform | Sequence[T.Transform],
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self.transforms = [transforms] if isinstance(transforms, T.Transform) else list(transforms)
        whole = T.ComposeTransform(self.transforms)
        self.base_dist = base_distribution
        self.has_rsample = base_distribution.has_rsample
        need = max(whole.domain.event_dim, len(base_distribution._event_shape))
        shape = whole.forward_shape((*base_distribution._batch_shape, *base_distribution._event_shape))
        event = need + whole.codomain.event_dim - whole.domain.event_dim
        super().__init__(shape[: len(shape) - event], shape[len(shape) - event :], validate_args)

    @property
    def support(self) -> C.Constraint:  # type: ignore[override]
        """Where the last transform maps to."""
        if not self.transforms:
            return self.base_dist.support
        last = self.transforms[-1].codomain
        return C.independent(last, max(0, len(self._event_shape) - last.event_dim))

    def expand(self, batch_shape: Any) -> Distribution:
        shape = T.ComposeTransform(self.transforms).inverse_shape((*batch_shape, *self._event_shape))
        batch = shape[: len(shape) - len(self.base_dist._event_shape)]
        return TransformedDistribution(self.base_dist.expand(batch), self.transforms, False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            x = self.base_dist.sample(sample_shape)
            for t in self.transforms:
                x = t(x)
            return x

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        x = self.base_dist.rsample(sample_shape)
        for t in self.transforms:
            x = t(x)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        event = len(self._event_shape)
        total: Any = 0.0
        y = value
        for t in reversed(self.transforms):
            x = t.inverse_of(y)
            event += t.domain.event_dim - t.codomain.event_dim
            total = total - T._sum_last(t.log_abs_det_jacobian(x, y), event - t.domain.event_dim)
            y = x
        return T._sum_last(self.base_dist.log_prob(y), event - len(self.base_dist._event_shape)) + total

    def _sign(self) -> Any:
        sign: Any = 1
        for t in self.transforms:
            sign = sign * t.sign
        return sign

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        for t in reversed(self.transforms):
            value = t.inverse_of(value)
        sign = self._sign()
        p = self.base_dist.cdf(value)
        return p if isinstance(sign, int) and sign == 1 else sign * (p - 0.5) + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        sign = self._sign()
        if not (isinstance(sign, int) and sign == 1):
            value = sign * (value - 0.5) + 0.5
        x = self.base_dist.icdf(value)
        for t in self.transforms:
            x = t(x)
        return x


class LogNormal(TransformedDistribution):
    """The exponential of a normal number."""

    arg_constraints = {"loc": C.real, "scale": C.positive}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args), T.ExpTransform(), validate_args)

    loc = property(lambda self: self.base_dist.loc)
    scale = property(lambda self: self.base_dist.scale)
    mean = property(lambda self: gl.exp(self.loc + self.scale**2 / 2))
    mode = property(lambda self: gl.exp(self.loc - self.scale**2))
    variance = property(lambda self: gl.expm1(self.scale**2) * gl.exp(2 * self.loc + self.scale**2))

    def expand(self, batch_shape: Any) -> Distribution:
        base: Any = self.base_dist.expand(batch_shape)
        return LogNormal(base.loc, base.scale, False)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc


class Gumbel(Distribution):
    """Gumbel with ``loc`` and ``scale``."""

    arg_constraints = {"loc": C.real, "scale": C.positive}
    support = C.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: self.loc + self.scale * _EULER)
    mode = property(lambda self: self.loc)
    stddev = property(lambda self: math.pi / math.sqrt(6) * self.scale)
    variance = property(lambda self: self.stddev**2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = gl.rand(self._extended(sample_shape), dtype=self.loc.dtype)
        info = gl.finfo(u.dtype)
        return self.icdf(gl.clamp(u, info.tiny, 1 - info.eps))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return y - gl.exp(y) - gl.log(self.scale)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.exp(-gl.exp((self.loc - value) / self.scale))

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc - self.scale * gl.log(-gl.log(value))

    def entropy(self) -> Tensor:
        return gl.log(self.scale) + (1 + _EULER)


class Weibull(Distribution):
    """Weibull with ``scale`` and shape ``concentration``."""

    arg_constraints = {"scale": C.positive, "concentration": C.positive}
    support = C.positive
    has_rsample = True

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        super().__init__(self.scale.shape, validate_args=validate_args)

    def _moment(self, k: int) -> Tensor:
        return gl.exp(gl.lgamma(1 + k / self.concentration))

    mean = property(lambda self: self.scale * self._moment(1))
    variance = property(lambda self: self.scale**2 * (self._moment(2) - self._moment(1) ** 2))

    @property
    def mode(self) -> Tensor:
        k = self.concentration
        return self.scale * (gl.clamp(k - 1, min=0) / k) ** (1 / k)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(gl.rand(self._extended(sample_shape), dtype=self.scale.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        k, z = self.concentration, value / self.scale
        return gl.log(k) - gl.log(self.scale) + (k - 1) * gl.log(z) - z**k

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -gl.expm1(-((value / self.scale) ** self.concentration))

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (-gl.log1p(-value)) ** (1 / self.concentration)

    def entropy(self) -> Tensor:
        k = self.concentration
        return _EULER * (1 - 1 / k) + gl.log(self.scale / k) + 1


class Pareto(TransformedDistribution):
    """Pareto with the least value ``scale`` and the shape ``alpha``."""

    arg_constraints = {"alpha": C.positive, "scale": C.positive}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        base = Exponential(self.alpha, validate_args)
        super().__init__(base, [T.ExpTransform(), T.AffineTransform(0, self.scale)], validate_args)

    @property
    def support(self) -> C.Constraint:  # type: ignore[override]
        """Values of at least ``scale``."""
        return C.greater_than_eq(self.scale)

    mode = property(lambda self: self.scale)

    @property
    def mean(self) -> Tensor:
        return gl.where(self.alpha > 1, self.alpha * self.scale / (self.alpha - 1), math.inf)

    @property
    def variance(self) -> Tensor:
        a = self.alpha
        return gl.where(a > 2, self.scale**2 * a / ((a - 1) ** 2 * (a - 2)), math.inf)

    def expand(self, batch_shape: Any) -> Distribution:
        return Pareto(gl.broadcast_to(self.scale, batch_shape), gl.broadcast_to(self.alpha, batch_shape), False)

    def entropy(self) -> Tensor:
        return gl.log(self.scale / self.alpha) + (1 + 1 / self.alpha)


class GeneralizedPareto(Distribution):
    """Generalised Pareto with ``loc``, ``scale`` and the shape ``concentration``."""

    arg_constraints = {"loc": C.real, "scale": C.positive, "concentration": C.real}
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> C.Constraint:  # type: ignore[override]
        """From ``loc`` on, up to an end where the shape is negative."""
        end = gl.where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf)
        return C.interval(self.loc, end)

    def _cut(self) -> tuple[Tensor, Tensor]:
        zero = gl.abs(self.concentration) < gl.finfo(self.loc.dtype).eps
        return zero, gl.where(zero, 1.0, self.concentration)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(gl.rand(self._extended(sample_shape), dtype=self.loc.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        y = (value - self.loc) / self.scale
        zero, k = self._cut()
        return gl.where(zero, -y, -(1 + 1 / k) * gl.log1p(k * y)) - gl.log(self.scale)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Logarithm of the probability of more than ``value``."""
        y = (value - self.loc) / self.scale
        zero, k = self._cut()
        return gl.where(zero, -y, -gl.log1p(k * y) / k)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -gl.expm1(self.log_survival_function(value))

    def icdf(self, value: Tensor) -> Tensor:
        zero, k = self._cut()
        e = -gl.log1p(-value)
        return self.loc + self.scale * gl.where(zero, e, gl.expm1(k * e) / k)

    @property
    def mean(self) -> Tensor:
        k = self.concentration
        return gl.where(k < 1, self.loc + self.scale / (1 - k), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        k = self.concentration
        return gl.where(k < 0.5, self.scale**2 / ((1 - k) ** 2 * (1 - 2 * k)), math.inf)

    def entropy(self) -> Tensor:
        return gl.log(self.scale) + self.concentration + 1


class Kumaraswamy(Distribution):
    """Kumaraswamy on (0, 1) with two shapes."""

    arg_constraints = {"concentration1": C.positive, "concentration0": C.positive}
    support = C.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    def _moment(self, n: int) -> Tensor:
        a, b = self.concentration1, self.concentration0
        c = 1 + n / a
        return b * gl.exp(gl.lgamma(c) + gl.lgamma(b) - gl.lgamma(c + b))

    mean = property(lambda self: self._moment(1))
    variance = property(lambda self: self._moment(2) - self._moment(1) ** 2)

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        mode = ((a - 1) / (a * b - 1)) ** (1 / a)
        return gl.where((a < 1) | (b < 1), math.nan, mode)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        info = gl.finfo(self.concentration1.dtype)
        u = gl.rand(self._extended(sample_shape), dtype=self.concentration1.dtype)
        return self.icdf(gl.clamp(u, info.tiny, 1 - info.eps))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        return gl.log(a) + gl.log(b) + (a - 1) * gl.log(value) + (b - 1) * gl.log1p(-(value**a))

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -gl.expm1(self.concentration0 * gl.log1p(-(value**self.concentration1)))

    def icdf(self, value: Tensor) -> Tensor:
        return (-gl.expm1(gl.log1p(-value) / self.concentration0)) ** (1 / self.concentration1)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        harmonic = gl.digamma(b + 1) + _EULER
        return (1 - 1 / b) + (1 - 1 / a) * harmonic - gl.log(a) - gl.log(b)


class InverseGamma(TransformedDistribution):
    """The reciprocal of a gamma number."""

    arg_constraints = {"concentration": C.positive, "rate": C.positive}

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args)
        super().__init__(base, T.PowerTransform(gl.tensor(-1.0, dtype=base.rate.dtype)), validate_args)

    concentration = property(lambda self: self.base_dist.concentration)
    rate = property(lambda self: self.base_dist.rate)
    mode = property(lambda self: self.rate / (self.concentration + 1))
    mean = property(lambda self: gl.where(self.concentration > 1, self.rate / (self.concentration - 1), math.inf))

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        return gl.where(a > 2, self.rate**2 / ((a - 1) ** 2 * (a - 2)), math.inf)

    def expand(self, batch_shape: Any) -> Distribution:
        base: Any = self.base_dist.expand(batch_shape)
        return InverseGamma(base.concentration, base.rate, False)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + gl.log(self.rate) + gl.lgamma(a) - (1 + a) * gl.digamma(a)


class LogisticNormal(TransformedDistribution):
    """Points of the simplex of k: sticks broken by k - 1 normal numbers."""

    arg_constraints = {"loc": C.real_vector, "scale": C.independent(C.positive, 1)}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args)
        if not base._batch_shape:
            raise ValueError("LogisticNormal: loc and scale need at least one axis")
        super().__init__(base, T.StickBreakingTransform(), validate_args)

    loc = property(lambda self: self.base_dist.loc)
    scale = property(lambda self: self.base_dist.scale)


class RelaxedBernoulli(_Binary):
    """A differentiable Bernoulli on (0, 1) (Maddison, Mnih and Teh 2017; Jang, Gu and Poole 2017)."""

    support = C.unit_interval
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._take(probs, logits)
        self.temperature = gl.as_tensor(temperature, dtype=self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        eps = gl.finfo(self.probs.dtype).eps
        u = gl.clamp(gl.rand(self._extended(sample_shape), dtype=self.probs.dtype), eps, 1 - eps)
        return gl.sigmoid((gl.log(u) - gl.log1p(-u) + self.logits) / self.temperature)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        z = gl.log(value) - gl.log1p(-value)
        d = self.logits - z * self.temperature
        return gl.log(self.temperature) + d - 2 * F.softplus(d) - gl.log(value) - gl.log1p(-value)


class RelaxedOneHotCategorical(Distribution):
    """A differentiable one-hot vector (the concrete or Gumbel-softmax distribution, as :class:`RelaxedBernoulli`)."""

    arg_constraints = {"probs": C.simplex, "logits": C.real_vector}
    support = C.simplex
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("RelaxedOneHotCategorical: give either probs or logits, not both")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - gl.logsumexp(logits, -1, True)
        given: Any = self.__dict__.get("probs", self.__dict__.get("logits"))
        self.temperature = gl.as_tensor(temperature, dtype=given.dtype)
        super().__init__(given.shape[:-1], given.shape[-1:], validate_args)

    @lazy
    def probs(self) -> Tensor:
        """Probabilities, summing to 1."""
        return logits_to_probs(self.logits)

    @lazy
    def logits(self) -> Tensor:
        """Logarithms of the probabilities."""
        return probs_to_logits(self.probs)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        info = gl.finfo(self.logits.dtype)
        u = gl.clamp(gl.rand(self._extended(sample_shape), dtype=self.logits.dtype), info.tiny, 1 - info.eps)
        return gl.softmax((self.logits - gl.log(-gl.log(u))) / self.temperature, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        k = self._event_shape[0]
        score = self.logits - gl.log(value) * self.temperature
        score = (score - gl.logsumexp(score, -1, True)).sum(-1)
        front = math.lgamma(k) + (k - 1) * gl.log(self.temperature)
        return score + front - gl.log(value).sum(-1)
