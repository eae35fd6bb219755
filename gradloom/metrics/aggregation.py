"""Aggregation: the sum, the extremes and all of the numbers given."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.tensor import Tensor, tensor


class Sum(Metric):
    """The sum of the numbers given."""

    total: Tensor

    def __init__(self, name: str = "sum") -> None:
        super().__init__(name)
        self.add_state("total", np.float64(0.0))

    def update(self, values: Any) -> None:
        """Add numbers of any shape."""
        self.total = self.total + G.sum(G.cast(given(values), "float64"))

    def compute(self) -> Tensor:
        """The sum."""
        return result(self.total.numpy())


class Max(Metric):
    """The largest number given, -inf before any."""

    value: Tensor

    def __init__(self, name: str = "max") -> None:
        super().__init__(name)
        self.add_state("value", np.float64(-np.inf), "max")

    def update(self, values: Any) -> None:
        """Look at numbers of any shape."""
        x = G.cast(given(values), "float64")
        if x.numel():
            self.value = G.maximum(self.value, G.amax(x))

    def compute(self) -> Tensor:
        """The largest."""
        return result(self.value.numpy())


class Min(Metric):
    """The smallest number given, inf before any."""

    value: Tensor

    def __init__(self, name: str = "min") -> None:
        super().__init__(name)
        self.add_state("value", np.float64(np.inf), "min")

    def update(self, values: Any) -> None:
        """Look at numbers of any shape."""
        x = G.cast(given(values), "float64")
        if x.numel():
            self.value = G.minimum(self.value, G.amin(x))

    def compute(self) -> Tensor:
        """The smallest."""
        return result(self.value.numpy())


class Cat(Metric):
    """All numbers given, one after the other along the first axis."""

    value: list[Tensor]

    def __init__(self, name: str = "cat") -> None:
        super().__init__(name)
        self.add_state("value", [])

    def update(self, values: Any) -> None:
        """Keep numbers; a single one counts as one row."""
        x = given(values)
        self.value.append(x if x.ndim else G.reshape(x, (1,)))

    def compute(self) -> Tensor:
        """All of them; empty before any."""
        return tensor(gathered(self.value)) if self.value else tensor(np.zeros(0))
