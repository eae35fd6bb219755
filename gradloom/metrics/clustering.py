"""Clusterings: beside the true classes by counts of pairs and by information, and by themselves in the data's space."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.inputs import same_shapes
from gradloom.tensor import Tensor

Array = np.ndarray


def contingency(preds: Array, target: Array) -> Array:
    """How often each class (rows) fell into each cluster (columns), float64."""
    _, t = np.unique(target, return_inverse=True)
    _, p = np.unique(preds, return_inverse=True)
    table = np.zeros((t.max(initial=-1) + 1, p.max(initial=-1) + 1))
    np.add.at(table, (t, p), 1.0)
    return table


def entropy(counts: Array) -> float:
    """Of shares in proportion to counts, in nats; 1 where there are none, as scikit-learn has it."""
    if not counts.size:
        return 1.0
    shares = counts / counts.sum()
    return -float((shares * np.log(shares)).sum())


def mutual_information(table: Array) -> float:
    """What classes and clusters say about each other, in nats."""
    if 1 in table.shape or not table.size:
        return 0.0
    n, rows, columns = table.sum(), table.sum(1), table.sum(0)
    i, j = np.nonzero(table)
    x = table[i, j]
    return float((x / n * (np.log(n) + np.log(x) - np.log(rows[i]) - np.log(columns[j]))).sum())


def expected_information(table: Array) -> float:
    """Mean of the mutual information over all tables with the same margins (Vinh et al. 2010)."""
    n, total = int(table.sum()), 0.0
    columns = table.sum(0)
    log = [math.lgamma(k + 1) for k in range(n + 1)]
    for a in table.sum(1).astype(int).tolist():
        for b in columns.astype(int).tolist():
            fixed = log[a] + log[b] + log[n - a] + log[n - b] - log[n]
            for x in range(max(1, a + b - n), min(a, b) + 1):
                chance = fixed - log[x] - log[a - x] - log[b - x] - log[n - a - b + x]
                total += x / n * math.log(n * x / (a * b)) * math.exp(chance)
    return total


def pairs(table: Array) -> tuple[float, float, float, float]:
    """Pairs of samples apart in both, together in clusters alone, in classes alone, in both; each counted twice."""
    n, square = table.sum(), (table**2).sum()
    by_class, by_cluster = (table.sum(1) ** 2).sum(), (table.sum(0) ** 2).sum()
    both = square - n
    return n**2 - by_class - by_cluster + square, by_cluster - square, by_class - square, both


def mean_of(kind: str, a: float, b: float) -> float:
    """A mean of two entropies."""
    return {"min": min(a, b), "max": max(a, b), "geometric": math.sqrt(a * b), "arithmetic": (a + b) / 2}[kind]


class _BesideClasses(Metric):
    """Base: labels of clusters and classes (n,), kept until the value is asked for."""

    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        for state in ("preds", "target"):
            self.add_state(state, [])

    def update(self, preds: Any, target: Any) -> None:
        """Add samples: their clusters and their classes, (n,) whole numbers."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        if p.ndim != 1 or p.dtype.is_floating or t.dtype.is_floating:
            raise ShapeError(
                f"{self.name}: {p.dtype.name} {tuple(p.shape)} and {t.dtype.name}", code="shape.metric",
                hint="clusters and classes are whole numbers (n,)",
            )  # fmt: skip
        self.preds.append(p)
        self.target.append(t)

    def compute(self) -> Tensor:
        """0-d."""
        return result(self._of(contingency(gathered(self.preds), gathered(self.target))))

    def _of(self, table: Array) -> float:
        raise NotImplementedError


class MutualInfoScore(_BesideClasses):
    """What clusters and classes say about each other, in nats."""

    def _of(self, table: Array) -> float:
        return mutual_information(table)


class _Averaged(_BesideClasses):
    """Base. average_method : {"min", "geometric", "arithmetic", "max"}, what both entropies become."""

    def __init__(self, average_method: str = "arithmetic", name: str | None = None) -> None:
        super().__init__(name)
        if average_method not in ("min", "geometric", "arithmetic", "max"):
            raise ValueError(f"average_method is 'min', 'geometric', 'arithmetic' or 'max', not {average_method!r}")
        self.average_method = average_method

    def _measure(self, table: Array) -> float:
        return mean_of(self.average_method, entropy(table.sum(0)), entropy(table.sum(1)))


class NormalizedMutualInfoScore(_Averaged):
    """Mutual information over a mean of both entropies, between 0 and 1."""

    def _of(self, table: Array) -> float:
        found = mutual_information(table)
        return found / self._measure(table) if found > np.finfo(np.float32).eps else 0.0


class AdjustedMutualInfoScore(_Averaged):
    """As `NormalizedMutualInfoScore`, less what chance would give (Vinh et al. 2010); 0 for labels at random."""

    def _of(self, table: Array) -> float:
        found, chance = mutual_information(table), expected_information(table)
        under, tiny = self._measure(table) - chance, float(np.finfo(np.float32).eps)
        under = min(under, -tiny) if under < 0 else max(under, tiny)
        return (found - chance) / under


class HomogeneityScore(_BesideClasses):
    """How far each cluster has one class only (Rosenberg and Hirschberg 2007)."""

    def _of(self, table: Array) -> float:
        under = entropy(table.sum(1))
        return mutual_information(table) / under if under else 1.0


class CompletenessScore(_BesideClasses):
    """How far each class lies in one cluster only (Rosenberg and Hirschberg 2007)."""

    def _of(self, table: Array) -> float:
        under = entropy(table.sum(0))
        return mutual_information(table) / under if under else 1.0


class VMeasureScore(_BesideClasses):
    """The harmonic mean of homogeneity and completeness; beta weighs completeness."""

    def __init__(self, beta: float = 1.0, name: str | None = None) -> None:
        super().__init__(name)
        if beta <= 0:
            raise ValueError(f"beta must be positive, got {beta}")
        self.beta = beta

    def _of(self, table: Array) -> float:
        information, of_classes, of_clusters = mutual_information(table), entropy(table.sum(1)), entropy(table.sum(0))
        homogeneity = information / of_classes if of_classes else 1.0
        completeness = information / of_clusters if of_clusters else 1.0
        if homogeneity + completeness == 0:
            return 1.0
        return (1 + self.beta) * homogeneity * completeness / (self.beta * homogeneity + completeness)


class RandScore(_BesideClasses):
    """The share of pairs of samples that both judge alike, together or apart (Rand 1971)."""

    def _of(self, table: Array) -> float:
        apart, clusters, classes, both = pairs(table)
        total = apart + clusters + classes + both
        return (apart + both) / total if total else 1.0


class AdjustedRandScore(_BesideClasses):
    """As `RandScore`, less what chance would give (Hubert and Arabie 1985)."""

    def _of(self, table: Array) -> float:
        apart, clusters, classes, both = pairs(table)
        if clusters == 0 and classes == 0:
            return 1.0
        under = (both + classes) * (classes + apart) + (both + clusters) * (clusters + apart)
        return 2.0 * (both * apart - classes * clusters) / under


class FowlkesMallowsIndex(_BesideClasses):
    """The geometric mean of precision and recall of pairs (Fowlkes and Mallows 1983)."""

    def _of(self, table: Array) -> float:
        _, clusters, classes, both = pairs(table)
        return math.sqrt(both / (both + clusters)) * math.sqrt(both / (both + classes)) if both else 0.0


class ClusterAccuracy(Metric):
    """The share of samples that are right under the best pairing of clusters with classes.

    num_classes : int
    """

    table: Tensor

    def __init__(self, num_classes: int, name: str | None = None) -> None:
        super().__init__(name)
        if num_classes < 1:
            raise ValueError(f"num_classes must be positive, got {num_classes}")
        self.num_classes = num_classes
        self.add_state("table", np.zeros((num_classes, num_classes), np.int64))

    def update(self, preds: Any, target: Any) -> None:
        """Add samples: their clusters and their classes, (n,) whole numbers below num_classes."""
        p, t = given(preds), given(target)
        same_shapes(self.name, p, t)
        place = G.reshape(G.cast(t, "int64") * self.num_classes + G.cast(p, "int64"), (-1,))
        ones = G.ones(place.shape[0], dtype="int64")
        found = G.scatter_add(G.zeros(self.num_classes**2, dtype="int64"), 0, place, ones)
        self.table = self.table + G.reshape(found, (self.num_classes, self.num_classes))

    def compute(self) -> Tensor:
        """0-d; NaN before any batch."""
        table = self.table.numpy()
        total = table.sum()
        pairing = assignment(-table.astype(np.float64))
        return result(table[np.arange(len(table)), pairing].sum() / total if total else np.nan)


def assignment(cost: Array) -> Array:
    """For each row the column of the pairing with the least sum, a square matrix (Kuhn 1955; Jonker and Volgenant)."""
    n = len(cost)
    u, v, row_of = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1, np.int64)
    for row in range(1, n + 1):
        row_of[0], column = row, 0
        least, way, used = np.full(n + 1, np.inf), np.zeros(n + 1, np.int64), np.zeros(n + 1, bool)
        while row_of[column]:
            used[column] = True
            here = row_of[column]
            reduced = cost[here - 1] - u[here] - v[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better], way[1:][better] = reduced[better], column
            following = int(np.where(used[1:], np.inf, least[1:]).argmin()) + 1
            step = least[following]
            u[row_of[used]] += step
            v[used] -= step
            least[~used] -= step
            column = following
        while column:
            row_of[column] = row_of[way[column]]
            column = int(way[column])
    found = np.zeros(n, np.int64)
    found[row_of[1:] - 1] = np.arange(n)
    return found


class _InSpace(Metric):
    """Base: samples (n, features) and the cluster of each, kept until the value is asked for."""

    data: list[Tensor]
    labels: list[Tensor]

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        for state in ("data", "labels"):
            self.add_state(state, [])

    def update(self, data: Any, labels: Any) -> None:
        """Add samples (n, features) and their clusters (n,)."""
        x, y = given(data), given(labels)
        if x.ndim != 2 or tuple(y.shape) != tuple(x.shape[:1]):
            raise ShapeError(
                f"{self.name}: data {tuple(x.shape)}, labels {tuple(y.shape)}", code="shape.metric",
                hint="data are (n, features), labels (n,)",
            )  # fmt: skip
        self.data.append(x)
        self.labels.append(y)

    def compute(self) -> Tensor:
        """0-d. ValueError unless there are at least two clusters, and fewer than samples."""
        x, y = gathered(self.data).astype(np.float64), gathered(self.labels)
        groups = [x[y == label] for label in np.unique(y)]
        if not 1 < len(groups) < len(x):
            raise ValueError(f"{self.name}: {len(groups)} clusters of {len(x)} samples; at least 2, and fewer")
        return result(self._of(x, groups))

    def _of(self, x: Array, groups: list[Array]) -> float:
        raise NotImplementedError


class CalinskiHarabaszScore(_InSpace):
    """How far clusters lie apart over how far they spread, by squares (Caliński and Harabasz 1974)."""

    def _of(self, x: Array, groups: list[Array]) -> float:
        between = sum(len(g) * ((g.mean(0) - x.mean(0)) ** 2).sum() for g in groups)
        within = sum(((g - g.mean(0)) ** 2).sum() for g in groups)
        return float(between * (len(x) - len(groups)) / (within * (len(groups) - 1))) if within else 1.0


class DaviesBouldinScore(_InSpace):
    """Spread of each cluster and its most alike neighbour over their distance; less is better (1979)."""

    def _of(self, x: Array, groups: list[Array]) -> float:
        centres = np.stack([g.mean(0) for g in groups])
        spread = np.array([np.linalg.norm(g - c, axis=1).mean() for g, c in zip(groups, centres, strict=True)])
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
        if np.allclose(spread, 0) or np.allclose(apart, 0):
            return 0.0
        apart[apart == 0] = np.inf
        return float(((spread[:, None] + spread) / apart).max(1).mean())


class DunnIndex(_InSpace):
    """The least distance of two centres over the widest cluster's radius (Dunn 1974). p : of the norm."""

    def __init__(self, p: float = 2, name: str | None = None) -> None:
        super().__init__(name)
        self.p = p

    def _of(self, x: Array, groups: list[Array]) -> float:
        centres = [g.mean(0) for g in groups]
        apart = min(np.linalg.norm(a - b, self.p) for a, b in combinations(centres, 2))
        return float(apart / max(np.linalg.norm(g - c, self.p, 1).max() for g, c in zip(groups, centres, strict=True)))
