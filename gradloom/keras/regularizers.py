"""Penalties on weights and outputs, added to the loss, by the names of Keras."""

from __future__ import annotations

import math
from typing import Any

from gradloom import functions as G
from gradloom.keras.names import from_identifier, identifier_of
from gradloom.keras.operations import as_tensor
from gradloom.tape import composite
from gradloom.tensor import Tensor


class Regularizer:
    """Called with a weight, gives its penalty, 0-d."""

    def __call__(self, x: Any) -> Tensor:
        """The penalty."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What it was made with."""
        raise NotImplementedError(f"{type(self).__name__} has no get_config method")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """The regulariser that gave this configuration."""
        return cls(**config)


def _factor(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{what}={value!r}: expected a finite number from 0 upward")
    return float(value)


@composite
def _penalty(x: Tensor, l1: float, l2: float) -> Tensor:
    total = G.sum(G.abs(x)) * l1 if l1 else None
    if l2:
        squares = G.sum(x * x) * l2
        total = squares if total is None else total + squares
    return G.sum(x) * 0.0 if total is None else total


class L1L2(Regularizer):
    """l1 Σ|x| + l2 Σx²."""

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1, self.l2 = _factor(l1 or 0.0, "l1"), _factor(l2 or 0.0, "l2")

    def __call__(self, x: Any) -> Tensor:
        """The penalty, 0-d."""
        return _penalty(as_tensor(x), self.l1, self.l2)

    def get_config(self) -> dict[str, Any]:
        """Both factors."""
        return {"l1": self.l1, "l2": self.l2}


class L1(Regularizer):
    """l1 Σ|x|."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _factor(0.01 if l1 is None else l1, "l1")

    def __call__(self, x: Any) -> Tensor:
        """The penalty, 0-d."""
        return _penalty(as_tensor(x), self.l1, 0.0)

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {"l1": self.l1}


class L2(Regularizer):
    """l2 Σx²."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _factor(0.01 if l2 is None else l2, "l2")

    def __call__(self, x: Any) -> Tensor:
        """The penalty, 0-d."""
        return _penalty(as_tensor(x), 0.0, self.l2)

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {"l2": self.l2}


@composite
def _overlap(x: Tensor, factor: float, rows: bool) -> Tensor:
    axis = 1 if rows else 0
    unit = x / G.clamp(G.sqrt(G.sum(x * x, axis, True)), min=1e-6)
    products = G.matmul(unit, G.transpose(unit, 0, 1)) if rows else G.matmul(G.transpose(unit, 0, 1), unit)
    n = products.shape[0]
    off = products * (1.0 - G.eye(n).to(products.dtype))
    return G.sum(G.abs(off)) * (0.5 * factor / max(n * (n - 1.0) / 2.0, 1.0))


class OrthogonalRegularizer(Regularizer):
    """The mean absolute cosine between the rows, or the columns, of a matrix."""

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if mode not in ("rows", "columns"):
            raise ValueError('Invalid value for argument `mode`. Expected one of {"rows", "columns"}. Received: '
                             f"mode={mode}")  # fmt: skip
        self.factor, self.mode = _factor(factor, "factor"), mode

    def __call__(self, x: Any) -> Tensor:
        """The penalty, 0-d. ValueError unless ``x`` is a matrix."""
        x = as_tensor(x)
        if x.ndim != 2:
            raise ValueError("Inputs to OrthogonalRegularizer must have rank 2. Received: "
                             f"inputs.shape={tuple(x.shape)}")  # fmt: skip
        return _overlap(x, self.factor, self.mode == "rows")

    def get_config(self) -> dict[str, Any]:
        """Factor and mode."""
        return {"factor": self.factor, "mode": self.mode}


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer
_TABLE = {
    "l1": L1, "l2": L2, "l1_l2": L1L2, "l1l2": L1L2, "orthogonal_regularizer": OrthogonalRegularizer,
    "orthogonalregularizer": OrthogonalRegularizer,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """The regulariser of a name or a configuration; a callable is itself; None stays None."""
    if identifier is None:
        return None
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier()
    if callable(identifier):
        return identifier
    found = from_identifier("regularizer", identifier, _TABLE)
    return found() if isinstance(found, type) else found


def serialize(regularizer: Any) -> Any:
    """A regulariser as a configuration."""
    return identifier_of(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The regulariser of a configuration."""
    return from_identifier("regularizer", config, _TABLE, custom_objects)
