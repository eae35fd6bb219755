"""What all distributions share: shapes, sampling, validation, expansion."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gradloom as gl
from gradloom.distributions.constraints import Constraint
from gradloom.tape import TAPE
from gradloom.tensor import Size, Tensor

__all__ = ["Distribution", "ExponentialFamily", "broadcast_all"]


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Numbers and tensors as tensors of one shape; numbers take the tensors' dtype."""
    dtype = next((v.dtype for v in values if isinstance(v, Tensor)), gl.get_default_dtype())
    tensors = [v if isinstance(v, Tensor) else gl.tensor(v, dtype=dtype) for v in values]
    return tuple(gl.broadcast_tensors(*tensors))


class Distribution:
    """A distribution, or a batch of them.

    Attributes
    ----------
    batch_shape : shape of the batch of independent, differently parametrised distributions.
    event_shape : shape of one value.
    arg_constraints : domain of each parameter, by name.
    support : domain of the values.
    has_rsample : whether :meth:`rsample` gives numbers that are differentiable in the parameters.

    A new one names its parameters in ``arg_constraints``, keeps each as an attribute of that name, and gives
    ``log_prob`` and ``sample`` or ``rsample``.
    """

    arg_constraints: dict[str, Constraint] = {}
    support: Constraint
    has_rsample = False
    has_enumerate_support = False
    _validate = True

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = tuple(batch_shape), tuple(event_shape)
        if validate_args is not None:
            self._validate = validate_args
        if self._validate and not TAPE.traces:
            for name, constraint in self.arg_constraints.items():
                if name not in self.__dict__:  # the other of two parametrisations was given
                    continue
                value = self.__dict__[name]
                if not bool(constraint.check(value).all()):
                    raise ValueError(
                        f"{type(self).__name__}: parameter {name} of shape {tuple(value.shape)} must satisfy "
                        f"{constraint!r}, found {value}"
                    )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether parameters and values are checked by default (they are)."""
        Distribution._validate = bool(value)

    @property
    def batch_shape(self) -> Size:
        """Shape of the batch."""
        return Size(self._batch_shape)

    @property
    def event_shape(self) -> Size:
        """Shape of one value."""
        return Size(self._event_shape)

    def _extended(self, sample_shape: Any = ()) -> tuple[int, ...]:
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Values of shape (*sample_shape, *batch_shape, *event_shape), without gradients."""
        with gl.no_grad():
            return self.rsample(sample_shape).detach()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Values that are differentiable in the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no reparametrised samples; use sample()")

    def sample_n(self, n: int) -> Tensor:
        """``n`` values, (n, *batch_shape, *event_shape)."""
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density, or of the probability, at ``value``: of the batch's shape."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value of at most ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The value whose :meth:`cdf` is ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf")

    def entropy(self) -> Tensor:
        """Entropy in nats."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every value of a discrete distribution along a new first axis."""
        raise NotImplementedError(f"{type(self).__name__} cannot be enumerated")

    def perplexity(self) -> Tensor:
        """The exponential of the entropy."""
        return gl.exp(self.entropy())

    @property
    def mean(self) -> Tensor:
        """Expectation."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    @property
    def mode(self) -> Tensor:
        """The likeliest value."""
        raise NotImplementedError(f"{type(self).__name__} has no mode")

    @property
    def variance(self) -> Tensor:
        """Variance."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    @property
    def stddev(self) -> Tensor:
        """Standard deviation."""
        return gl.sqrt(self.variance)

    def expand(self, batch_shape: Any) -> Distribution:
        """The same distribution for a larger batch."""
        new = copy.copy(self)
        for name, constraint in self.arg_constraints.items():
            new.__dict__.pop("_" + name, None)
            if name in self.__dict__:
                value = self.__dict__[name]
                event = tuple(value.shape[value.ndim - constraint.event_dim :])
                new.__dict__[name] = gl.broadcast_to(value, (*batch_shape, *event))
        new._batch_shape = tuple(batch_shape)
        new._expanded(self)
        return new

    def _expanded(self, old: Distribution) -> None:
        """Adapt what was derived from the parameters."""

    def _validate_sample(self, value: Any) -> None:
        if not self._validate or TAPE.traces:  # within vmap and its like no value can be looked at
            return
        if not isinstance(value, Tensor):
            raise ValueError(f"the value must be a tensor, got {type(value).__name__}")
        event = tuple(value.shape[value.ndim - len(self._event_shape) :])
        if event != self._event_shape:
            raise ValueError(
                f"{type(self).__name__}: the last axes of a value must be {self._event_shape}, got shape "
                f"{tuple(value.shape)}"
            )
        try:
            gl.broadcast_shapes(tuple(value.shape[: value.ndim - len(event)]), self._batch_shape)
        except gl.errors.ShapeError as e:
            raise ValueError(
                f"{type(self).__name__}: a value of shape {tuple(value.shape)} does not go with the batch "
                f"{self._batch_shape}"
            ) from e
        if not bool(self.support.check(value).all()):
            raise ValueError(f"{type(self).__name__}: a value lies outside of the support {self.support!r}: {value}")

    def __repr__(self) -> str:
        parts = []
        for name in self.arg_constraints:
            if name in self.__dict__:
                v = self.__dict__[name]
                parts.append(f"{name}: {v.item() if v.numel() == 1 else tuple(v.shape)}")
        return f"{type(self).__name__}({', '.join(parts)})"


def lazy(fn: Callable[[Any], Tensor]) -> Any:
    """An attribute computed from the other parametrisation when it is first asked for."""
    name = fn.__name__

    class Lazy:
        __doc__ = fn.__doc__

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__.get("_" + name)
            if value is None:
                with gl.enable_grad():  # it is kept: what asks for it first may ask for no gradients
                    value = instance.__dict__["_" + name] = fn(instance)
            return value

    return Lazy()


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logarithms of probabilities, or of odds; probabilities are kept one rounding step away from 0 and 1."""
    eps = gl.finfo(probs.dtype).eps
    p = gl.clamp(probs, eps, 1 - eps)
    return gl.log(p) - gl.log1p(-p) if is_binary else gl.log(p)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities of logits."""
    return gl.sigmoid(logits) if is_binary else gl.softmax(logits, -1)


class ExponentialFamily(Distribution):
    """A distribution with the density ``h(x) exp(<t(x), eta> - F(eta))``.

    A new one gives the natural parameters ``_natural_params`` (eta), the log normalizer ``_log_normalizer(*eta)`` (F)
    and ``_mean_carrier_measure`` (the mean of log h), and has its entropy from them.
    """

    _mean_carrier_measure: Any = 0

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError(f"{type(self).__name__} does not tell its natural parameters")

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not tell its log normalizer")

    def entropy(self) -> Tensor:
        """From the Bregman divergence of F (Nielsen and Nock 2010)."""
        eta = [p.detach().requires_grad_() for p in self._natural_params]
        normalizer = self._log_normalizer(*eta)
        slopes = gl.autograd.grad(normalizer.sum(), eta, create_graph=True)
        result = normalizer - self._mean_carrier_measure
        for p, g in zip(eta, slopes, strict=True):
            result = result - (p * g).reshape((*self._batch_shape, -1)).sum(-1)
        return result
