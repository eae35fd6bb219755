"""Aggregation: the sum, the mean, the extremes and all of the numbers given.

`nan_strategy` says what becomes of NaN: "warn" and "error" leave it out and say so, or refuse it, when the value is
asked for; "ignore" leaves it out; a number stands for it; "disable" does not look.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import StateError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.tensor import Tensor, tensor

Strategy = str | float


class _Aggregate(Metric):
    """Base: numbers without what is NaN."""

    missing: Tensor

    def __init__(self, nan_strategy: Strategy = "warn", name: str | None = None) -> None:
        super().__init__(name)
        named = isinstance(nan_strategy, str)
        if named and nan_strategy not in ("error", "warn", "ignore", "disable"):
            raise ValueError(f"nan_strategy is 'error', 'warn', 'ignore', 'disable' or a number, not {nan_strategy!r}")
        self.nan_strategy = nan_strategy if named else float(nan_strategy)
        self.add_state("missing", np.int64(0))

    def _given(self, value: Any) -> tuple[Tensor, Tensor | None]:
        """The numbers, float64, and which of them count: None where all do."""
        x = given(value)
        x = G.cast(x, "float64")
        if self.nan_strategy == "disable":
            return x, None
        wrong = G.isnan(x)
        if not isinstance(self.nan_strategy, str):
            return G.where(wrong, self.nan_strategy, x), None
        self.missing = self.missing + G.sum(G.cast(wrong, "int64"))
        return x, G.logical_not(wrong)

    def _say(self) -> None:
        """What was left out."""
        if self.nan_strategy not in ("warn", "error"):
            return
        count = int(self.missing.item())
        if count and self.nan_strategy == "error":
            raise StateError(
                f"{self.name}: {count} of the numbers are NaN", code="metric.nan",
                hint='nan_strategy="ignore", or a number, says what becomes of them',
            )  # fmt: skip
        if count:
            warnings.warn(f"{self.name}: {count} of the numbers are NaN and were left out", stacklevel=3)


class SumMetric(_Aggregate):
    """The sum of the numbers given."""

    total: Tensor

    def __init__(self, nan_strategy: Strategy = "warn", name: str | None = None) -> None:
        super().__init__(nan_strategy, name)
        self.add_state("total", np.float64(0.0))

    def update(self, value: Any) -> None:
        """Add numbers of any shape."""
        x, counts = self._given(value)
        self.total = self.total + G.sum(x if counts is None else G.where(counts, x, 0.0))

    def compute(self) -> Tensor:
        """The sum."""
        self._say()
        return result(self.total.numpy())


class MeanMetric(_Aggregate):
    """The mean of the numbers given, each with its weight."""

    total: Tensor
    weight: Tensor

    def __init__(self, nan_strategy: Strategy = "warn", name: str | None = None) -> None:
        super().__init__(nan_strategy, name)
        self.add_state("total", np.float64(0.0))
        self.add_state("weight", np.float64(0.0))

    def update(self, value: Any, weight: Any = 1.0) -> None:
        """Add numbers of any shape, and weights that can be brought to it."""
        x, counts = self._given(value)
        w = G.broadcast_to(G.cast(given(weight), "float64"), tuple(x.shape))
        if counts is not None:
            x, w = G.where(counts, x, 0.0), G.where(counts, w, 0.0)
        self.total = self.total + G.sum(x * w)
        self.weight = self.weight + G.sum(w)

    def compute(self) -> Tensor:
        """The mean; NaN where nothing was added."""
        self._say()
        weight = float(self.weight.item())
        return result(float(self.total.item()) / weight if weight else np.nan)


class MaxMetric(_Aggregate):
    """The largest number given, -inf before any."""

    value: Tensor

    def __init__(self, nan_strategy: Strategy = "warn", name: str | None = None) -> None:
        super().__init__(nan_strategy, name)
        self.add_state("value", np.float64(-np.inf), "max")

    def update(self, value: Any) -> None:
        """Look at numbers of any shape."""
        x, counts = self._given(value)
        if x.numel():
            self.value = G.maximum(self.value, G.amax(x if counts is None else G.where(counts, x, -np.inf)))

    def compute(self) -> Tensor:
        """The largest."""
        self._say()
        return result(self.value.numpy())


class MinMetric(_Aggregate):
    """The smallest number given, inf before any."""

    value: Tensor

    def __init__(self, nan_strategy: Strategy = "warn", name: str | None = None) -> None:
        super().__init__(nan_strategy, name)
        self.add_state("value", np.float64(np.inf), "min")

    def update(self, value: Any) -> None:
        """Look at numbers of any shape."""
        x, counts = self._given(value)
        if x.numel():
            self.value = G.minimum(self.value, G.amin(x if counts is None else G.where(counts, x, np.inf)))

    def compute(self) -> Tensor:
        """The smallest."""
        self._say()
        return result(self.value.numpy())


class CatMetric(_Aggregate):
    """All numbers given, one after the other along the first axis; NaN is left out of lists of numbers alone."""

    value: list[Tensor]

    def __init__(self, nan_strategy: Strategy = "warn", name: str | None = None) -> None:
        super().__init__(nan_strategy, name)
        self.add_state("value", [])

    def update(self, value: Any) -> None:
        """Keep numbers; a single one counts as one row."""
        x = given(value)
        if x.dtype.is_floating:
            clean, counts = self._given(x)
            x = G.cast(clean, x.dtype) if counts is None else x
        self.value.append(x if x.ndim else G.reshape(x, (1,)))

    def compute(self) -> Tensor:
        """All of them; empty before any."""
        self._say()
        if not self.value:
            return tensor(np.zeros(0))
        found = gathered(self.value)
        left_out = self.nan_strategy in ("warn", "ignore") and found.dtype.kind == "f" and found.ndim == 1
        return tensor(found[~np.isnan(found)] if left_out else found)
