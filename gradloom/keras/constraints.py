"""Constraints that a weight is brought back to after each step of an optimiser, by the names of Keras."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.keras import config
from gradloom.keras.names import from_identifier, identifier_of
from gradloom.keras.operations import as_tensor
from gradloom.tape import composite
from gradloom.tensor import Tensor


class Constraint:
    """Called with a weight, gives its allowed value."""

    def __call__(self, w: Any) -> Tensor:
        """The nearest allowed value; any is allowed by the base class."""
        return as_tensor(w)

    def get_config(self) -> dict[str, Any]:
        """What it was made with."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """The constraint that gave this configuration."""
        return cls(**config)


@composite
def _scaled(w: Tensor, low: float, high: float, rate: float, axis: Any, tiny: float) -> Tensor:
    norms = G.sqrt(G.sum(w * w, axis, True))
    wanted = G.clamp(norms, low, high) * rate
    if rate != 1.0:
        wanted = wanted + norms * (1.0 - rate)
    return w * (wanted / (norms + tiny))


class MaxNorm(Constraint):
    """Norms along ``axis`` are at most ``max_value`` (Srivastava et al. 2014)."""

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> Tensor:
        """Of the shape of w."""
        return _scaled(as_tensor(w), 0.0, float(self.max_value), 1.0, _axes(self.axis), config.epsilon())

    def get_config(self) -> dict[str, Any]:
        """Limit and axis."""
        return {"max_value": self.max_value, "axis": self.axis}


class MinMaxNorm(Constraint):
    """Norms along ``axis`` are drawn, by the share ``rate``, between ``min_value`` and ``max_value``."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> Tensor:
        """Of the shape of w."""
        low, high, rate = float(self.min_value), float(self.max_value), float(self.rate)
        return _scaled(as_tensor(w), low, high, rate, _axes(self.axis), config.epsilon())

    def get_config(self) -> dict[str, Any]:
        """Limits, rate and axis."""
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


class NonNeg(Constraint):
    """Negative values become 0."""

    def __call__(self, w: Any) -> Tensor:
        """Of the shape of w."""
        return G.relu(as_tensor(w))


@composite
def _unit(w: Tensor, axis: Any, tiny: float) -> Tensor:
    return w / (tiny + G.sqrt(G.sum(w * w, axis, True)))


class UnitNorm(Constraint):
    """Norms along ``axis`` are 1."""

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Tensor:
        """Of the shape of w."""
        return _unit(as_tensor(w), _axes(self.axis), config.epsilon())

    def get_config(self) -> dict[str, Any]:
        """The axis."""
        return {"axis": self.axis}


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list | tuple) else axis


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm
_TABLE = {
    "max_norm": MaxNorm, "min_max_norm": MinMaxNorm, "non_neg": NonNeg, "unit_norm": UnitNorm, "maxnorm": MaxNorm,
    "minmaxnorm": MinMaxNorm, "nonneg": NonNeg, "unitnorm": UnitNorm,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """The constraint of a name or a configuration; a callable is itself; None stays None."""
    if identifier is None:
        return None
    if isinstance(identifier, type) and issubclass(identifier, Constraint):
        return identifier()
    if callable(identifier):
        return identifier
    found = from_identifier("constraint", identifier, _TABLE)
    return found() if isinstance(found, type) else found


def serialize(constraint: Any) -> Any:
    """A constraint as a configuration."""
    return identifier_of(constraint)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The constraint of a configuration."""
    return from_identifier("constraint", config, _TABLE, custom_objects)
