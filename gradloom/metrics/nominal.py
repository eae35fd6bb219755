"""How strongly two labellings without an order go together, and how far raters agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.inputs import same_shapes
from gradloom.tensor import Tensor

Array = np.ndarray


def chi_squared(table: Array, corrected: bool) -> float:
    """Pearson's statistic of a table of counts; with Yates' correction where it has one degree of freedom."""
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    if freedom == 0:
        return 0.0
    if freedom == 1 and corrected:
        gap = expected - table
        table = table + np.sign(gap) * 0.5
    return float(((table - expected) ** 2 / expected).sum())


class _Nominal(Metric):
    """Base: the table of both labellings.

    Parameters
    ----------
    num_classes : int
        How many labels there are.
    nan_strategy : {"replace", "drop"}
        What is done with pairs that have a NaN: it counts as `nan_replace_value`, or the pair is left out.
    """

    table: Tensor

    def __init__(
        self,
        num_classes: int,
        nan_strategy: str = "replace",
        nan_replace_value: float | None = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if nan_strategy not in ("replace", "drop"):
            raise ValueError(f"nan_strategy is 'replace' or 'drop', not {nan_strategy!r}")
        if nan_strategy == "replace" and not isinstance(nan_replace_value, int | float):
            raise ValueError(f"nan_replace_value is a number, not {nan_replace_value!r}")
        self.num_classes, self.nan_strategy, self.nan_replace_value = num_classes, nan_strategy, nan_replace_value
        self.add_state("table", np.zeros((num_classes, num_classes), np.int64))

    def update(self, preds: Any, target: Any) -> None:
        """Add a batch: labels (n,), or scores (n, num_classes) whose highest is the label."""
        p, t = (G.argmax(x, 1) if x.ndim == 2 else x for x in (given(preds), given(target)))
        same_shapes(self.name, p, t)
        valid = G.ones(tuple(p.shape), dtype="bool")
        for x in (p, t):
            if x.dtype.is_floating and self.nan_strategy == "drop":
                valid = G.logical_and(valid, x == x)
        value = self.nan_replace_value or 0.0
        p, t = (G.cast(G.where(x == x, x, value) if x.dtype.is_floating else x, "int64") for x in (p, t))
        if bool(((G.minimum(p, t) < 0) | (G.maximum(p, t) >= self.num_classes)).any()):
            raise ShapeError(
                f"{self.name}: a label is not among the {self.num_classes} classes", code="metric.label",
                hint="labels count from 0; give the right num_classes",
            )  # fmt: skip
        place = G.reshape(t * self.num_classes + p, (-1,))
        size = self.num_classes**2
        found = G.scatter_add(G.zeros(size, dtype="int64"), 0, place, G.cast(G.reshape(valid, (-1,)), "int64"))
        self.table = self.table + G.reshape(found, (self.num_classes, self.num_classes))

    def compute(self) -> Tensor:
        """Between 0, nothing in common, and 1."""
        table = self.table.numpy().astype(np.float64)
        table = table[table.sum(1) != 0]
        return result(self._of(table[:, table.sum(0) != 0]))

    def _of(self, table: Array) -> float:
        """Of counts without empty rows and columns."""
        raise NotImplementedError


class _Corrected(_Nominal):
    """Base: association from chi-squared, its bias taken away unless said otherwise (Bergsma 2013)."""

    def __init__(
        self,
        num_classes: int,
        bias_correction: bool = True,
        nan_strategy: str = "replace",
        nan_replace_value: float | None = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, nan_strategy, nan_replace_value, name)
        self.bias_correction = bias_correction

    def _of(self, table: Array) -> float:
        total = table.sum()
        phi = chi_squared(table, self.bias_correction) / total
        rows, columns = map(float, table.shape)
        if self.bias_correction:
            phi = max(0.0, phi - (rows - 1) * (columns - 1) / (total - 1))
            rows, columns = rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1)
        under = self._scale(rows - 1, columns - 1)
        return min(max(math.sqrt(phi / under), 0.0), 1.0) if under > 0 else math.nan

    @staticmethod
    def _scale(rows: float, columns: float) -> float:
        raise NotImplementedError


class CramersV(_Corrected):
    """The root of chi-squared over rows and over the lesser number of labels less 1 (Cramér 1946)."""

    @staticmethod
    def _scale(rows: float, columns: float) -> float:
        return min(rows, columns)


class TschuprowsT(_Corrected):
    """As `CramersV`, over the geometric mean of both numbers less 1 (Tschuprow 1939)."""

    @staticmethod
    def _scale(rows: float, columns: float) -> float:
        return math.sqrt(max(rows, 0.0) * max(columns, 0.0))


class PearsonsContingencyCoefficient(_Nominal):
    """√(φ²/(1 + φ²)), φ² chi-squared over the number of pairs."""

    def _of(self, table: Array) -> float:
        phi = chi_squared(table, False) / table.sum()
        return math.sqrt(phi / (1 + phi))


class TheilsU(_Nominal):
    """How much of the predictions' entropy is known from the answers (Theil 1970)."""

    def _of(self, table: Array) -> float:
        joint = table / table.sum()
        answers, found = joint.sum(1, keepdims=True), joint.sum(0)
        entropy = -float((found * np.log(found)).sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            left = float(np.nansum(joint * np.log(answers / joint)))
        return (entropy - left) / entropy if entropy else 0.0


class FleissKappa(Metric):
    """Agreement of several raters beyond chance (Fleiss 1971).

    mode : {"counts", "probs"}
        Ratings are how many raters chose each category, (n, categories); or scores (n, categories, raters).
    """

    counts: list[Tensor]

    def __init__(self, mode: str = "counts", name: str | None = None) -> None:
        super().__init__(name)
        if mode not in ("counts", "probs"):
            raise ValueError(f"mode is 'counts' or 'probs', not {mode!r}")
        self.mode = mode
        self.add_state("counts", [])

    def update(self, ratings: Any) -> None:
        """Add rated samples."""
        x = given(ratings)
        wanted = 3 if self.mode == "probs" else 2
        if x.ndim != wanted or x.dtype.is_floating is not (self.mode == "probs"):
            raise ShapeError(
                f"{self.name}: {x.dtype.name} ratings of shape {tuple(x.shape)}", code="shape.metric",
                hint="counts are whole numbers (n, categories), scores are floats (n, categories, raters)",
            )  # fmt: skip
        if self.mode == "probs":
            chosen = G.unsqueeze(G.argmax(x, 1), 1) == G.reshape(G.arange(x.shape[1]), (1, -1, 1))
            x = G.sum(G.cast(chosen, "int64"), dim=2)
        self.counts.append(x)

    def compute(self) -> Tensor:
        """1 where all agree, 0 where no more than by chance."""
        counts = gathered(self.counts).astype(np.float64)
        raters = counts.sum(1).max()
        agreed = ((counts**2).sum(1) - raters) / (raters * (raters - 1))
        chance = ((counts.sum(0) / (len(counts) * raters)) ** 2).sum()
        return result((agreed.mean() - chance) / (1 - chance + 1e-5))
