"""Discrete distributions, by probabilities or by logits, and their relaxations."""

from __future__ import annotations

import math
from typing import Any

import gradloom as gl
from gradloom.distributions import constraints as C
from gradloom.distributions.distribution import (
    Distribution,
    ExponentialFamily,
    broadcast_all,
    lazy,
    logits_to_probs,
    probs_to_logits,
)
from gradloom.functions.sampling import drawn_by_weight, poisson, standard_gamma
from gradloom.nn import functional as F
from gradloom.tensor import Tensor

__all__ = [
    "Bernoulli", "Binomial", "Categorical", "Geometric", "Multinomial", "NegativeBinomial", "OneHotCategorical",
    "OneHotCategoricalStraightThrough", "Poisson",
]  # fmt: skip


def _one_of(name: str, probs: Any, logits: Any) -> None:
    if (probs is None) == (logits is None):
        raise ValueError(f"{name}: give either probs or logits, not both")


class _Binary(Distribution):
    """Parametrised by ``probs`` or ``logits`` (the logarithm of the odds), each computed from the other on demand."""

    arg_constraints = {"probs": C.unit_interval, "logits": C.real}

    def _take(self, probs: Any, logits: Any, *others: Any) -> tuple[Tensor, ...]:
        _one_of(type(self).__name__, probs, logits)
        given, *rest = broadcast_all(probs if probs is not None else logits, *others)
        setattr(self, "probs" if probs is not None else "logits", given)
        return tuple(rest)

    @property
    def _param(self) -> Tensor:
        return self.__dict__["probs"] if "probs" in self.__dict__ else self.__dict__["logits"]

    @lazy
    def probs(self) -> Tensor:
        """Probability of success."""
        return logits_to_probs(self.logits, True)

    @lazy
    def logits(self) -> Tensor:
        """Logarithm of the odds of success."""
        return probs_to_logits(self.probs, True)


class Bernoulli(_Binary, ExponentialFamily):
    """1 with probability ``probs``, else 0."""

    support = C.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take(probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    mean = property(lambda self: self.probs)
    mode = property(lambda self: gl.where(self.probs == 0.5, math.nan, (self.probs >= 0.5).to(self.probs.dtype)))
    variance = property(lambda self: self.probs * (1 - self.probs))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            return gl.bernoulli(gl.broadcast_to(self.probs, self._extended(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -_bce(*gl.broadcast_tensors(self.logits, value))

    def entropy(self) -> Tensor:
        return _bce(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return _count_up(2, self._param, self.batch_shape, expand)


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of a success with these logits, per element."""
    return gl.clamp(logits, min=0) - logits * target + gl.log1p(gl.exp(-gl.abs(logits)))


def _count_up(n: int, like: Tensor, batch: Any, expand: bool) -> Tensor:
    values = gl.arange(n, dtype=like.dtype).reshape(-1, *([1] * len(batch)))
    return gl.broadcast_to(values, (n, *batch)) if expand else values


class Geometric(_Binary):
    """Failures before the first success, 0, 1, …"""

    support = C.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take(probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)
        if self._validate and probs is not None and not bool((self.probs > 0).all()):
            raise ValueError("Geometric: probs must be positive")

    mean = property(lambda self: 1 / self.probs - 1)
    mode = property(lambda self: gl.zeros_like(self.probs))
    variance = property(lambda self: (1 / self.probs - 1) / self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            u = gl.rand(self._extended(sample_shape), dtype=self.probs.dtype)
            return gl.floor(gl.log1p(-u) / gl.log1p(-self.probs))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        p, v = self.probs, value
        return gl.special.xlog1py(v, -gl.where((p == 1) & (v == 0), 0.0, p)) + gl.log(p)

    def entropy(self) -> Tensor:
        return _bce(self.logits, self.probs) / self.probs


class Binomial(_Binary):
    """Successes among ``total_count`` trials."""

    arg_constraints = {"total_count": C.nonnegative_integer, **_Binary.arg_constraints}
    has_enumerate_support = True

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        (self.total_count,) = self._take(probs, logits, total_count)
        self.total_count = self.total_count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    support = property(lambda self: C.integer_interval(0, self.total_count))  # type: ignore[assignment]
    mean = property(lambda self: self.total_count * self.probs)
    mode = property(lambda self: gl.minimum(gl.floor((self.total_count + 1) * self.probs), self.total_count))
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            shape = self._extended(sample_shape)
            return gl.binomial(gl.broadcast_to(self.total_count, shape), gl.broadcast_to(self.probs, shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n, k, z = self.total_count, value, self.logits
        choices = gl.lgamma(n + 1) - gl.lgamma(k + 1) - gl.lgamma(n - k + 1)
        return choices + k * z - n * gl.clamp(z, min=0) - n * gl.log1p(gl.exp(-gl.abs(z)))

    def entropy(self) -> Tensor:
        n = int(self.total_count.max())
        if not bool((self.total_count == n).all()):
            raise NotImplementedError("Binomial: the entropy of different total counts in one batch is not offered")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(gl.exp(log_prob) * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = int(self.total_count.max())
        if not bool((self.total_count == n).all()):
            raise NotImplementedError("Binomial: different total counts in one batch cannot be enumerated")
        return _count_up(n + 1, self._param, self.batch_shape, expand)


class NegativeBinomial(_Binary):
    """Successes before the ``total_count``-th failure."""

    arg_constraints = {"total_count": C.greater_than_eq(0), "probs": C.half_open_interval(0.0, 1.0), "logits": C.real}
    support = C.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        (self.total_count,) = self._take(probs, logits, total_count)
        self.total_count = self.total_count.to(self._param.dtype)
        super().__init__(self._param.shape, validate_args=validate_args)

    mean = property(lambda self: self.total_count * gl.exp(self.logits))
    variance = property(lambda self: self.mean / gl.sigmoid(-self.logits))

    @property
    def mode(self) -> Tensor:
        return gl.clamp((self.total_count - 1) * gl.exp(self.logits), min=0).floor()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            count = gl.broadcast_to(self.total_count, self._extended(sample_shape))
            rate = gl.where(count > 0, standard_gamma(gl.where(count > 0, count, 1.0)), 0.0)
            return poisson(rate * gl.exp(self.logits))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n, z = self.total_count, self.logits
        front = -gl.lgamma(n + value) + gl.lgamma(1.0 + value) + gl.lgamma(n)
        front = gl.where(n + value == 0.0, 0.0, front)
        return n * F.logsigmoid(-z) + value * F.logsigmoid(z) - front


class Poisson(ExponentialFamily):
    """Poisson with the rate ``rate``."""

    arg_constraints = {"rate": C.nonnegative}
    support = C.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = variance = property(lambda self: self.rate)
    mode = property(lambda self: gl.floor(self.rate))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            return poisson(gl.broadcast_to(self.rate, self._extended(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return gl.xlogy(value, self.rate) - self.rate - gl.lgamma(value + 1)


class Categorical(Distribution):
    """An index 0..k-1 along the last axis of ``probs`` (need not sum to 1) or ``logits``."""

    arg_constraints = {"probs": C.independent(C.nonnegative, 1), "logits": C.real_vector}
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        _one_of(type(self).__name__, probs, logits)
        given = gl.as_tensor(probs if probs is not None else logits)
        if given.ndim < 1:
            raise ValueError(f"{type(self).__name__}: probs and logits need at least one axis")
        if probs is not None:
            self.probs = given / given.sum(-1, keepdim=True)
        else:
            self.logits = given - gl.logsumexp(given, -1, True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @lazy
    def probs(self) -> Tensor:
        """Probabilities, summing to 1."""
        return logits_to_probs(self.logits)

    @lazy
    def logits(self) -> Tensor:
        """Logarithms of the probabilities."""
        return probs_to_logits(self.probs)

    @property
    def _param(self) -> Tensor:
        return self.__dict__["probs"] if "probs" in self.__dict__ else self.__dict__["logits"]

    @property
    def param_shape(self) -> Any:
        """Shape of the parameter."""
        return self._param.shape

    support = property(lambda self: C.integer_interval(0, self._num_events - 1))  # type: ignore[assignment]
    mean = variance = property(lambda self: gl.full(self._batch_shape, math.nan, dtype=self._param.dtype))
    mode = property(lambda self: gl.argmax(self._param, -1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            n = math.prod(sample_shape)
            rows = self.probs.reshape(-1, self._num_events)
            if not n or not rows.shape[0]:
                return gl.zeros(self._extended(sample_shape), dtype=gl.int64)
            # weights that were validated are not looked at again: a sample needs no program of its own
            drawn = drawn_by_weight(rows, n) if self._validate else gl.multinomial(rows, n, True)
            return drawn.t().reshape(self._extended(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        shape = gl.broadcast_shapes(tuple(value.shape), self._batch_shape)
        logits = gl.broadcast_to(self.logits, (*shape, self._num_events))
        return gl.gather(logits, -1, gl.broadcast_to(value, shape).long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        z = gl.clamp(self.logits, min=gl.finfo(self.logits.dtype).min)
        return -(z * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = gl.arange(self._num_events).reshape(-1, *([1] * len(self._batch_shape)))
        return gl.broadcast_to(values, (self._num_events, *self._batch_shape)) if expand else values


class OneHotCategorical(Distribution):
    """A vector with one 1, at a place drawn as by :class:`Categorical`."""

    arg_constraints = {"probs": C.simplex, "logits": C.real_vector}
    support = C.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    probs = property(lambda self: self._categorical.probs)
    logits = property(lambda self: self._categorical.logits)
    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1 - self.probs))

    def _hot(self, index: Tensor) -> Tensor:
        return F.one_hot(index, self._event_shape[0]).to(self.probs.dtype)

    mode = property(lambda self: self._hot(self._categorical.mode))

    def expand(self, batch_shape: Any) -> Distribution:
        new = type(self).__new__(type(self))
        new._categorical = self._categorical.expand(batch_shape)  # type: ignore[assignment]
        Distribution.__init__(new, batch_shape, self._event_shape, False)
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._hot(self._categorical.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return self._categorical.log_prob(gl.argmax(value, -1))

    def entropy(self) -> Tensor:
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = self._event_shape[0]
        values = gl.eye(n, dtype=self.probs.dtype).reshape(n, *([1] * len(self._batch_shape)), n)
        return gl.broadcast_to(values, (n, *self._batch_shape, n)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """Samples pass their gradient to the probabilities (Bengio, Léonard and Courville 2013)."""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Multinomial(Distribution):
    """How often each category came up in ``total_count`` draws."""

    arg_constraints = {"probs": C.simplex, "logits": C.real_vector}

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("Multinomial: total_count must be one whole number for the whole batch")
        self.total_count = total_count
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    probs = property(lambda self: self._categorical.probs)
    logits = property(lambda self: self._categorical.logits)
    support = property(  # type: ignore[assignment]
        lambda self: C.Constraint(
            f"multinomial({self.total_count})", lambda x: (x >= 0).all(-1) & (x.sum(-1) <= self.total_count), 1, True
        )
    )
    mean = property(lambda self: self.probs * self.total_count)
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs))

    def expand(self, batch_shape: Any) -> Distribution:
        new = Multinomial.__new__(Multinomial)
        new.total_count, new._categorical = self.total_count, self._categorical.expand(batch_shape)  # type: ignore[assignment]
        Distribution.__init__(new, batch_shape, self._event_shape, False)
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._categorical.sample((self.total_count, *sample_shape))
        return F.one_hot(drawn, self._event_shape[0]).sum(0).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        logits = gl.where((value == 0) & gl.isneginf(self.logits), 0.0, self.logits)
        n = gl.lgamma(value.sum(-1) + 1) - gl.lgamma(value + 1).sum(-1)
        return n + (logits * value).sum(-1)

    def entropy(self) -> Tensor:
        n = gl.tensor(float(self.total_count), dtype=self.probs.dtype)
        support = gl.arange(1, self.total_count + 1, dtype=self.probs.dtype)
        one = Binomial(self.total_count, self.probs, validate_args=False)
        weights = gl.exp(one.log_prob(support.reshape(-1, *([1] * (len(self._batch_shape) + 1)))))
        term = gl.lgamma(support + 1).reshape(-1, *([1] * (len(self._batch_shape) + 1)))
        return n * self._categorical.entropy() - gl.lgamma(n + 1) + (weights * term).sum((0, -1))
