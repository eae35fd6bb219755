"""Continuous distributions on the line, each with its density, moments and reparametrised samples."""

from __future__ import annotations

import math
from typing import Any

import gradloom as gl
from gradloom.distributions import constraints as C
from gradloom.distributions.distribution import Distribution, ExponentialFamily, broadcast_all
from gradloom.functions.sampling import standard_gamma
from gradloom.tensor import Tensor

__all__ = [
    "Beta", "Cauchy", "Chi2", "ContinuousBernoulli", "Exponential", "FisherSnedecor", "Gamma", "HalfCauchy",
    "HalfNormal", "Laplace", "Normal", "StudentT", "Uniform", "VonMises",
]  # fmt: skip

_EULER = 0.57721566490153286


def positive_gamma(concentration: Tensor) -> Tensor:
    """Standard gamma numbers, never 0."""
    x = standard_gamma(concentration)
    return gl.clamp(x, min=gl.finfo(x.dtype).tiny)


def inner(x: Tensor) -> Tensor:
    """Numbers of [0, 1] without its ends, where densities are infinite."""
    info = gl.finfo(x.dtype)
    return gl.clamp(x, info.tiny, 1 - info.eps / 2)


def log_gamma_numbers(concentration: Tensor) -> Tensor:
    """Logarithms of standard gamma numbers, also where these themselves would round to 0.

    Below a shape of 1 a number of the next shape is multiplied by u**(1/shape) (Marsaglia and Tsang 2000).
    """
    low = concentration < 1
    x = standard_gamma(gl.where(low, concentration + 1, concentration))
    u = gl.rand(tuple(concentration.shape), dtype=concentration.dtype)
    return gl.log(x) + gl.where(low, gl.log1p(-u) / concentration, 0.0)


class Normal(ExponentialFamily):
    """Normal with mean ``loc`` and standard deviation ``scale``."""

    arg_constraints = {"loc": C.real, "scale": C.positive}
    support = C.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)
    stddev = property(lambda self: self.scale)
    variance = property(lambda self: self.scale**2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * gl.randn(self._extended(sample_shape), dtype=self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -(((value - self.loc) / self.scale) ** 2) / 2 - gl.log(self.scale) - math.log(2 * math.pi) / 2

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return 0.5 * (1 + gl.erf((value - self.loc) / (self.scale * math.sqrt(2))))

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * gl.erfinv(2 * value - 1) * math.sqrt(2)

    def entropy(self) -> Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + gl.log(self.scale)


class Uniform(Distribution):
    """Uniform on [low, high)."""

    has_rsample = True
    arg_constraints = {"low": C.dependent, "high": C.dependent}

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate and not bool((self.low < self.high).all()):
            raise ValueError("Uniform: low must be below high")

    support = property(lambda self: C.interval(self.low, self.high))  # type: ignore[assignment]
    mean = property(lambda self: (self.high + self.low) / 2)
    mode = property(lambda self: gl.full_like(self.low, math.nan))
    variance = property(lambda self: (self.high - self.low) ** 2 / 12)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.low + (self.high - self.low) * gl.rand(self._extended(sample_shape), dtype=self.low.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        inside = (value >= self.low) & (value < self.high)
        return gl.where(inside, 0.0, -math.inf) - gl.log(self.high - self.low)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.clamp((value - self.low) / (self.high - self.low), 0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        return gl.log(self.high - self.low)


class Exponential(ExponentialFamily):
    """Exponential with the rate ``rate``."""

    arg_constraints = {"rate": C.positive}
    support = C.nonnegative
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = stddev = property(lambda self: 1 / self.rate)
    mode = property(lambda self: gl.zeros_like(self.rate))
    variance = property(lambda self: self.rate**-2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return -gl.log1p(-gl.rand(self._extended(sample_shape), dtype=self.rate.dtype)) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.log(self.rate) - self.rate * value

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -gl.expm1(-self.rate * value)

    def icdf(self, value: Tensor) -> Tensor:
        return -gl.log1p(-value) / self.rate

    def entropy(self) -> Tensor:
        return 1 - gl.log(self.rate)


class Gamma(ExponentialFamily):
    """Gamma with shape ``concentration`` and rate ``rate``."""

    arg_constraints = {"concentration": C.positive, "rate": C.positive}
    support = C.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration / self.rate)
    mode = property(lambda self: gl.clamp((self.concentration - 1) / self.rate, min=0))
    variance = property(lambda self: self.concentration / self.rate**2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return positive_gamma(gl.broadcast_to(self.concentration, self._extended(sample_shape))) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        value = gl.as_tensor(value, dtype=self.rate.dtype)
        self._validate_sample(value)
        a, b = self.concentration, self.rate
        return gl.xlogy(a, b) + gl.xlogy(a - 1, value) - b * value - gl.lgamma(a)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.special.gammainc(*gl.broadcast_tensors(self.concentration, self.rate * value))

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - gl.log(self.rate) + gl.lgamma(a) + (1.0 - a) * gl.digamma(a)


class Chi2(Gamma):
    """Chi-squared with ``df`` degrees of freedom."""

    arg_constraints = {"df": C.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        (self.df,) = broadcast_all(df)
        super().__init__(0.5 * self.df, 0.5, validate_args)

    def _expanded(self, old: Distribution) -> None:
        self.concentration, self.rate = broadcast_all(0.5 * self.df, 0.5)


class Beta(ExponentialFamily):
    """Beta: p**(concentration1 - 1) * (1 - p)**(concentration0 - 1), normalised."""

    arg_constraints = {"concentration1": C.positive, "concentration0": C.positive}
    support = C.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration1 / (self.concentration1 + self.concentration0))

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        middle = (a - 1) / (a + b - 2)
        edge = gl.where(a < b, 0.0, gl.where(a > b, 1.0, math.nan))
        return gl.where((a > 1) & (b > 1), middle, gl.where((a <= 1) & (b > 1), 0.0, gl.where((a > 1), 1.0, edge)))

    @property
    def variance(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return a * b / ((a + b) ** 2 * (a + b + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended(sample_shape)
        a = log_gamma_numbers(gl.broadcast_to(self.concentration1, shape))
        b = log_gamma_numbers(gl.broadcast_to(self.concentration0, shape))
        return inner(gl.sigmoid(a - b))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        return (
            gl.xlogy(a - 1, value) + gl.special.xlog1py(b - 1, -value) + gl.lgamma(a + b) - gl.lgamma(a) - gl.lgamma(b)
        )

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        log_beta = gl.lgamma(a) + gl.lgamma(b) - gl.lgamma(a + b)
        return log_beta - (a - 1) * gl.digamma(a) - (b - 1) * gl.digamma(b) + (a + b - 2) * gl.digamma(a + b)


class StudentT(Distribution):
    """Student's t with ``df`` degrees of freedom, moved and scaled."""

    arg_constraints = {"df": C.positive, "loc": C.real, "scale": C.positive}
    support = C.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    mean = property(lambda self: gl.where(self.df > 1, self.loc, math.nan))
    mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Tensor:
        d = self.df
        return gl.where(d > 2, self.scale**2 * d / (d - 2), gl.where(d > 1, math.inf, math.nan))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended(sample_shape)
        chi2 = 2 * positive_gamma(gl.broadcast_to(0.5 * self.df, shape))
        return self.loc + self.scale * gl.randn(shape, dtype=self.df.dtype) * gl.rsqrt(chi2 / self.df)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        d, y = self.df, (value - self.loc) / self.scale
        z = (
            gl.log(self.scale)
            + 0.5 * gl.log(d)
            + 0.5 * math.log(math.pi)
            + gl.lgamma(0.5 * d)
            - gl.lgamma(0.5 * (d + 1))
        )
        return -0.5 * (d + 1) * gl.log1p(y**2 / d) - z

    def entropy(self) -> Tensor:
        d = self.df
        log_beta = gl.lgamma(0.5 * d) + math.lgamma(0.5) - gl.lgamma(0.5 * (d + 1))
        by_df = 0.5 * (d + 1) * (gl.digamma(0.5 * (d + 1)) - gl.digamma(0.5 * d))
        return gl.log(self.scale) + by_df + 0.5 * gl.log(d) + log_beta


class FisherSnedecor(Distribution):
    """F with ``df1`` and ``df2`` degrees of freedom."""

    arg_constraints = {"df1": C.positive, "df2": C.positive}
    support = C.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    mean = property(lambda self: gl.where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan))

    @property
    def mode(self) -> Tensor:
        return gl.where(self.df1 > 2, (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2), math.nan)

    @property
    def variance(self) -> Tensor:
        a, b = self.df1, self.df2
        return gl.where(b > 4, 2 * b**2 * (a + b - 2) / (a * (b - 2) ** 2 * (b - 4)), math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended(sample_shape)
        a = positive_gamma(gl.broadcast_to(self.df1 * 0.5, shape)) / self.df1
        return a / (positive_gamma(gl.broadcast_to(self.df2 * 0.5, shape)) / self.df2)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a, b, r = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2
        front = gl.lgamma(a + b) - gl.lgamma(a) - gl.lgamma(b)
        return front + a * gl.log(r) + (a - 1) * gl.log(value) - (a + b) * gl.log1p(r * value)


class Laplace(Distribution):
    """Laplace with the median ``loc`` and the mean deviation ``scale``."""

    arg_constraints = {"loc": C.real, "scale": C.positive}
    support = C.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)
    variance = property(lambda self: 2 * self.scale**2)
    stddev = property(lambda self: math.sqrt(2) * self.scale)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = gl.rand(self._extended(sample_shape), dtype=self.loc.dtype) - 0.5
        return self.loc - self.scale * gl.sign(u) * gl.log1p(
            -gl.clamp(2 * gl.abs(u), max=1 - gl.finfo(u.dtype).eps / 2)
        )

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -gl.log(2 * self.scale) - gl.abs(value - self.loc) / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        d = value - self.loc
        return 0.5 - 0.5 * gl.sign(d) * gl.expm1(-gl.abs(d) / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        t = value - 0.5
        return self.loc - self.scale * gl.sign(t) * gl.log1p(-2 * gl.abs(t))

    def entropy(self) -> Tensor:
        return 1 + gl.log(2 * self.scale)


class Cauchy(Distribution):
    """Cauchy with the median ``loc`` and half its width at half maximum ``scale``."""

    arg_constraints = {"loc": C.real, "scale": C.positive}
    support = C.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = property(lambda self: gl.full_like(self.loc, math.nan))
    mode = property(lambda self: self.loc)
    variance = property(lambda self: gl.full_like(self.loc, math.inf))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(gl.rand(self._extended(sample_shape), dtype=self.loc.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -math.log(math.pi) - gl.log(self.scale) - gl.log1p(((value - self.loc) / self.scale) ** 2)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.atan((value - self.loc) / self.scale) / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        return gl.tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + gl.log(self.scale)


class _Half(Distribution):
    """The magnitude of a distribution that is symmetric about 0."""

    arg_constraints = {"scale": C.positive}
    support = C.nonnegative
    has_rsample = True
    _whole: type[Distribution]

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        (self.scale,) = broadcast_all(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def _base(self) -> Any:
        return self._whole(gl.zeros_like(self.scale), self.scale, False)  # type: ignore[arg-type]

    mode = property(lambda self: gl.zeros_like(self.scale))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return gl.abs(self._base.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.where(value >= 0, self._base.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return 2 * self._base.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self._base.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self._base.entropy() - math.log(2)


class HalfNormal(_Half):
    """The magnitude of a normal number with mean 0."""

    _whole = Normal
    mean = property(lambda self: self.scale * math.sqrt(2 / math.pi))
    variance = property(lambda self: self.scale**2 * (1 - 2 / math.pi))


class HalfCauchy(_Half):
    """The magnitude of a Cauchy number with median 0."""

    _whole = Cauchy
    mean = property(lambda self: gl.full_like(self.scale, math.inf))
    variance = property(lambda self: gl.full_like(self.scale, math.inf))


class VonMises(Distribution):
    """Von Mises on the circle: ``loc`` an angle in radians, ``concentration`` as of 1 / variance."""

    arg_constraints = {"loc": C.real, "concentration": C.positive}
    support = C.real

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Tensor:
        """The circular variance."""
        k = self.concentration
        return 1 - gl.special.i1e(k) / gl.special.i0e(k)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By rejection: Best and Fisher 1979."""
        with gl.no_grad():
            shape = self._extended(sample_shape)
            k = gl.broadcast_to(self.concentration, shape).double()
            tau = 1 + gl.sqrt(1 + 4 * k**2)
            rho = (tau - gl.sqrt(2 * tau)) / (2 * k)
            r = gl.where(k < 1e-5, 1 / k + k, (1 + rho**2) / (2 * rho))
            x, done = gl.zeros(shape, dtype=gl.float64), gl.zeros(shape, dtype=gl.bool)
            while not bool(done.all()):
                u1, u2, u3 = gl.rand((3, *shape), dtype=gl.float64)
                z = gl.cos(math.pi * u1)
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                accept = ((c * (2 - c) - u2) > 0) | ((gl.log(c / u2) + 1 - c) >= 0)
                x = gl.where(accept & ~done, gl.sign(u3 - 0.5) * gl.acos(gl.clamp(f, -1, 1)), x)
                done = done | accept
            return (gl.remainder(x + math.pi + self.loc.double(), 2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        k = self.concentration
        return k * (gl.cos(value - self.loc) - 1) - math.log(2 * math.pi) - gl.log(gl.special.i0e(k))


class ContinuousBernoulli(ExponentialFamily):
    """probs**x * (1 - probs)**(1 - x) on [0, 1], normalised (Loaiza-Ganem and Cunningham 2019)."""

    arg_constraints = {"probs": C.unit_interval}
    support = C.unit_interval
    has_rsample = True

    def __init__(
        self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if (probs is None) == (logits is None):
            raise ValueError("ContinuousBernoulli: give either probs or logits")
        (self.probs,) = broadcast_all(probs if probs is not None else gl.sigmoid(logits))
        self._lims = lims
        super().__init__(self.probs.shape, validate_args=validate_args)
        eps = gl.finfo(self.probs.dtype).eps
        self.probs = gl.clamp(self.probs, eps, 1 - eps)

    @property
    def logits(self) -> Tensor:
        """Logarithm of the odds."""
        return gl.log(self.probs) - gl.log1p(-self.probs)

    def _cut(self) -> tuple[Tensor, Tensor]:
        """Where the formulas are unstable, about 1/2, and probs with a stable stand-in there."""
        near = (self.probs >= self._lims[0]) & (self.probs <= self._lims[1])
        return near, gl.where(near, self._lims[0], self.probs)

    def _log_norm(self) -> Tensor:
        near, p = self._cut()
        exact = gl.log(gl.abs(gl.log1p(-p) - gl.log(p))) - gl.log(gl.abs(1 - 2 * p))
        x = (self.probs - 0.5) ** 2
        return gl.where(near, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x, exact)

    @property
    def mean(self) -> Tensor:
        near, p = self._cut()
        x = self.probs - 0.5
        return gl.where(
            near, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x, p / (2 * p - 1) + 1 / (gl.log1p(-p) - gl.log(p))
        )

    @property
    def variance(self) -> Tensor:
        near, p = self._cut()
        x = (self.probs - 0.5) ** 2
        exact = p * (p - 1) / (1 - 2 * p) ** 2 + 1 / (gl.log1p(-p) - gl.log(p)) ** 2
        return gl.where(near, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x, exact)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(gl.rand(self._extended(sample_shape), dtype=self.probs.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.xlogy(value, self.probs) + gl.special.xlog1py(1 - value, -self.probs) + self._log_norm()

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        near, p = self._cut()
        exact = (p**value * (1 - p) ** (1 - value) + p - 1) / (2 * p - 1)
        return gl.clamp(gl.where(near, value, exact), 0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        near, p = self._cut()
        exact = (gl.log1p(-p + value * (2 * p - 1)) - gl.log1p(-p)) / (gl.log(p) - gl.log1p(-p))
        return gl.where(near, value, exact)

    def entropy(self) -> Tensor:
        p = self.probs
        return self.mean * (gl.log1p(-p) - gl.log(p)) - self._log_norm() - gl.log1p(-p)
