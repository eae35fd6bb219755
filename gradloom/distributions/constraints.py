"""Where values may lie: the domains of parameters and the supports of distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
from gradloom.tensor import Tensor

__all__ = [
    "Constraint", "boolean", "corr_cholesky", "dependent", "greater_than", "greater_than_eq", "half_open_interval",
    "independent", "integer_interval", "interval", "less_than", "lower_cholesky", "nonnegative", "nonnegative_integer",
    "one_hot", "positive", "positive_definite", "positive_integer", "real", "real_vector", "simplex", "unit_interval",
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


def _positive_definite(x: Tensor) -> Tensor:
    symmetric = ((x - x.mT).abs() <= 1e-6 * (1 + x.abs())).all(-1).all(-1)
    return symmetric & (gl.linalg.cholesky_ex(x).info == 0)


def independent(base: Constraint, reinterpreted_batch_ndims: int) -> Constraint:
    """Holds where ``base`` does in all of the last axes."""

    def check(x: Tensor) -> Tensor:
        ok = base.check(x)
        return ok.reshape((*ok.shape[: ok.ndim - reinterpreted_batch_ndims], -1)).all(-1)

    name = f"independent({base!r}, {reinterpreted_batch_ndims})"
    return Constraint(name, check, base.event_dim + reinterpreted_batch_ndims, base.is_discrete)


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Lower <= x <= upper."""
    return Constraint(f"interval({lower_bound}, {upper_bound})", lambda x: (x >= lower_bound) & (x <= upper_bound))


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Lower <= x < upper."""
    return Constraint(
        f"half_open_interval({lower_bound}, {upper_bound})", lambda x: (x >= lower_bound) & (x < upper_bound)
    )


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Whole numbers of lower <= x <= upper."""
    return Constraint(
        f"integer_interval({lower_bound}, {upper_bound})",
        lambda x: _whole(x) & (x >= lower_bound) & (x <= upper_bound), is_discrete=True,
    )  # fmt: skip


def greater_than(lower_bound: Any) -> Constraint:
    """X > lower."""
    return Constraint(f"greater_than({lower_bound})", lambda x: x > lower_bound)


def greater_than_eq(lower_bound: Any) -> Constraint:
    """X >= lower."""
    return Constraint(f"greater_than_eq({lower_bound})", lambda x: x >= lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """X < upper."""
    return Constraint(f"less_than({upper_bound})", lambda x: x < upper_bound)


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
dependent = Constraint("dependent", lambda x: gl.ones_like(x, dtype=gl.bool))
