"""Where values may lie: the domains of parameters and the supports of distributions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradloom as gl
from gradloom.tensor import Tensor

__all__ = [
    "Constraint", "boolean", "cat", "corr_cholesky", "dependent", "dependent_property", "greater_than",
    "greater_than_eq", "half_open_interval", "independent", "integer_interval", "interval", "less_than",
    "is_dependent", "lower_cholesky", "lower_triangular", "multinomial", "nonnegative", "nonnegative_integer",
    "one_hot", "positive", "positive_definite", "positive_integer", "positive_semidefinite", "real", "real_vector",
    "simplex", "square", "stack", "symmetric", "unit_interval",
]  # fmt: skip


class Constraint:
    """A domain. event_dim: how many of the last axes make one value. is_discrete: whether values are whole numbers."""

    def __init__(
        self, name: str, check: Callable[[Tensor], Tensor], event_dim: int = 0, is_discrete: bool = False
    ) -> None:
        self.name, self._check, self.event_dim, self.is_discrete = name, check, event_dim, is_discrete

    def check(self, value: Any) -> Tensor:
        """For each value whether it lies in the domain, bool of the shape without the event's axes."""
        return self._check(gl.as_tensor(value))

    def __repr__(self) -> str:
        return self.name


def _whole(x: Tensor) -> Tensor:
    return x == gl.floor(x) if x.dtype.is_floating else gl.ones_like(x, dtype=gl.bool)


def _simplex(x: Tensor) -> Tensor:
    return (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-6 * max(1, x.shape[-1]) + 1e-6)


def _lower(x: Tensor) -> Tensor:
    return (x == gl.tril(x)).all(-1).all(-1) & (gl.diagonal(x, dim1=-2, dim2=-1) > 0).all(-1)


def _symmetric(x: Tensor) -> Tensor:
    return ((x - x.mT).abs() <= 1e-6 * (1 + x.abs())).all(-1).all(-1)


def _positive_definite(x: Tensor) -> Tensor:
    return _symmetric(x) & (gl.linalg.cholesky_ex(x).info == 0)


def _positive_semidefinite(x: Tensor) -> Tensor:
    return _symmetric(x) & (gl.linalg.eigvalsh(x) >= 0).all(-1)


class independent(Constraint):
    """Holds where ``base_constraint`` does in all of the last axes."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        n = reinterpreted_batch_ndims

        def check(x: Tensor) -> Tensor:
            ok = base_constraint.check(x)
            return ok.reshape((*ok.shape[: ok.ndim - n], -1)).all(-1)

        name = f"independent({base_constraint!r}, {n})"
        super().__init__(name, check, base_constraint.event_dim + n, base_constraint.is_discrete)
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, n


class interval(Constraint):
    """Lower <= x <= upper."""

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        name = f"{type(self).__name__}({lower_bound}, {upper_bound})"
        super().__init__(name, self._within, is_discrete=isinstance(self, integer_interval))
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def _within(self, x: Tensor) -> Tensor:
        return (x >= self.lower_bound) & (x <= self.upper_bound)


class half_open_interval(interval):
    """Lower <= x < upper."""

    def _within(self, x: Tensor) -> Tensor:
        return (x >= self.lower_bound) & (x < self.upper_bound)


class integer_interval(interval):
    """Whole numbers of lower <= x <= upper."""

    def _within(self, x: Tensor) -> Tensor:
        return _whole(x) & (x >= self.lower_bound) & (x <= self.upper_bound)


class greater_than(Constraint):
    """X > lower."""

    def __init__(self, lower_bound: Any) -> None:
        super().__init__(f"greater_than({lower_bound})", lambda x: x > lower_bound)
        self.lower_bound = lower_bound


class greater_than_eq(Constraint):
    """X >= lower."""

    def __init__(self, lower_bound: Any) -> None:
        super().__init__(f"greater_than_eq({lower_bound})", lambda x: x >= lower_bound)
        self.lower_bound = lower_bound


class less_than(Constraint):
    """X < upper."""

    def __init__(self, upper_bound: Any) -> None:
        super().__init__(f"less_than({upper_bound})", lambda x: x < upper_bound)
        self.upper_bound = upper_bound


class multinomial(Constraint):
    """Whole numbers that are not negative and whose sum is at most ``upper_bound``."""

    def __init__(self, upper_bound: Any) -> None:
        super().__init__(
            f"multinomial({upper_bound})", lambda x: (x >= 0).all(-1) & (x.sum(-1) <= upper_bound), 1, True
        )
        self.upper_bound = upper_bound


class cat(Constraint):
    """Pieces of an axis, each in a domain of its own. lengths: of the pieces, 1 each by default."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None) -> None:
        self.cseq, self.dim = list(cseq), dim
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        name = f"cat({self.cseq}, {dim}, {self.lengths})"
        super().__init__(name, self._each, max(c.event_dim for c in cseq), any(c.is_discrete for c in cseq))

    def _each(self, x: Tensor) -> Tensor:
        pieces = gl.split(x, self.lengths, self.dim)
        return gl.cat([c.check(v) for c, v in zip(self.cseq, pieces, strict=True)], self.dim)


class stack(Constraint):
    """Slices along an axis, each in a domain of its own."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        self.cseq, self.dim = list(cseq), dim
        places = max(c.event_dim for c in cseq) + (dim < 0)
        super().__init__(f"stack({self.cseq}, {dim})", self._each, places, any(c.is_discrete for c in cseq))

    def _each(self, x: Tensor) -> Tensor:
        return gl.stack([c.check(v) for c, v in zip(self.cseq, gl.unbind(x, self.dim), strict=True)], self.dim)


class dependent_property(property):
    """A property whose value is a constraint that hangs on the distribution's parameters."""

    def __init__(self, fn: Callable[..., Any] | None = None, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        super().__init__(fn)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fn: Callable[..., Any]) -> dependent_property:
        """As a decorator with arguments."""
        return type(self)(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    """Whether a constraint hangs on parameters, so that it cannot be asked by itself."""
    return constraint is dependent or isinstance(constraint, dependent_property)


real = Constraint("real", lambda x: x == x)
real_vector = independent(real, 1)
positive, nonnegative = greater_than(0.0), greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
boolean = Constraint("boolean", lambda x: (x == 0) | (x == 1), is_discrete=True)
nonnegative_integer = Constraint("nonnegative_integer", lambda x: _whole(x) & (x >= 0), is_discrete=True)
positive_integer = Constraint("positive_integer", lambda x: _whole(x) & (x >= 1), is_discrete=True)
one_hot = Constraint("one_hot", lambda x: ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1), 1, True)
simplex = Constraint("simplex", _simplex, 1)
lower_cholesky = Constraint("lower_cholesky", _lower, 2)
corr_cholesky = Constraint("corr_cholesky", lambda x: _lower(x) & (((x * x).sum(-1) - 1).abs() < 1e-4).all(-1), 2)
positive_definite = Constraint("positive_definite", _positive_definite, 2)
positive_semidefinite = Constraint("positive_semidefinite", _positive_semidefinite, 2)
symmetric = Constraint("symmetric", _symmetric, 2)
square = Constraint("square", lambda x: gl.full(x.shape[:-2], x.shape[-1] == x.shape[-2]), 2)
lower_triangular = Constraint("lower_triangular", lambda x: (x == gl.tril(x)).all(-1).all(-1), 2)
dependent = Constraint("dependent", lambda x: gl.ones_like(x, dtype=gl.bool))
