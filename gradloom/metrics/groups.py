"""Decisions by group of people: rates of each, and how far the least favoured is behind the most favoured."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics import inputs
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.tensor import Tensor

Array = np.ndarray


class BinaryGroupStatRates(Metric):
    """Of each group the shares of true positives, false positives, true negatives and false negatives.

    Parameters
    ----------
    num_groups : int
        Groups are numbered from 0.
    threshold : float
        Scores above it are yes.
    ignore_index : int, optional
    """

    counts: Tensor

    def __init__(
        self, num_groups: int, threshold: float = 0.5, ignore_index: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        if num_groups < 2:
            raise ValueError(f"num_groups must be at least 2, got {num_groups}")
        self.num_groups, self.threshold, self.ignore_index = num_groups, threshold, ignore_index
        self.add_state("counts", np.zeros((num_groups, 4), np.int64))

    def update(self, preds: Any, target: Any, groups: Any) -> None:
        """Add a batch: scores or decisions, answers, and the group of each, of one shape."""
        p, t, g = given(preds), given(target), given(groups)
        inputs.same_shapes(self.name, p, t)
        inputs.same_shapes(self.name, p, g)
        if g.dtype.is_floating or bool(((g < 0) | (g >= self.num_groups)).any()):
            raise ShapeError(
                f"{self.name}: a group is not among the {self.num_groups}", code="metric.group",
                hint="groups are whole numbers from 0 to num_groups - 1",
            )  # fmt: skip
        t, valid = inputs.valid_labels(t, 2, self.ignore_index)
        yes = inputs.probabilities(p) > self.threshold if p.dtype.is_floating else p == 1
        right = yes == (t == 1)
        kind = G.where(yes, G.where(right, 0, 1), G.where(right, 2, 3))
        place = G.reshape(G.cast(g, "int64") * 4 + kind, (-1,))
        found = G.scatter_add(
            G.zeros(4 * self.num_groups, dtype="int64"), 0, place, G.reshape(G.cast(valid, "int64"), (-1,))
        )
        self.counts = self.counts + G.reshape(found, (self.num_groups, 4))

    def compute(self) -> Any:
        """{"group_0": (4,), ...}."""
        counts = self.counts.numpy().astype(np.float64)
        return {f"group_{k}": result(share(row, row.sum(), np.nan)) for k, row in enumerate(counts)}


class BinaryFairness(BinaryGroupStatRates):
    """The lowest group's rate over the highest group's.

    task : {"demographic_parity", "equal_opportunity", "all"}
        Of all decisions those that are yes, of those that should be yes, or both.
    """

    def __init__(
        self,
        num_groups: int,
        task: str = "all",
        threshold: float = 0.5,
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(num_groups, threshold, ignore_index, name)
        if task not in ("demographic_parity", "equal_opportunity", "all"):
            raise ValueError(f"task is 'demographic_parity', 'equal_opportunity' or 'all', not {task!r}")
        self.task = task

    def update(self, preds: Any, target: Any = None, groups: Any = None) -> None:
        """As `BinaryGroupStatRates`; demographic parity needs no answers (None)."""
        if groups is None:
            raise TypeError(f"{self.name}: update() needs the groups")
        if target is None and self.task != "demographic_parity":
            raise TypeError(f"{self.name}: task {self.task!r} needs the answers")
        super().update(preds, G.zeros(tuple(given(groups).shape), dtype="int64") if target is None else target, groups)

    def compute(self) -> dict[str, Tensor]:
        """By name "DP_a_b" and "EO_a_b": a is the group with the lowest rate, b that with the highest."""
        tp, fp, tn, fn = self.counts.numpy().astype(np.float64).T
        found: dict[str, Tensor] = {}
        if self.task != "equal_opportunity":
            found |= _least_over_most("DP", share(tp + fp, tp + fp + tn + fn))
        if self.task != "demographic_parity":
            found |= _least_over_most("EO", share(tp, tp + fn))
        return found


def _least_over_most(kind: str, rates: Array) -> dict[str, Tensor]:
    low, high = int(rates.argmin()), int(rates.argmax())
    return {f"{kind}_{low}_{high}": result(share(rates[low], rates[high]))}
