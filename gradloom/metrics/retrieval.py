"""Retrieval: how early what is relevant stands among what was found, query by query, averaged over queries.

`update(preds, target, indexes)`: scores, relevance, and the query each belongs to. Queries whose hits come in several
batches, or processes, are joined before they are judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.metrics.inputs import same_shapes
from gradloom.tensor import Tensor

Array = np.ndarray
_AGGREGATIONS: dict[str, Callable[[Array], Any]] = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}


class RetrievalMetric(Metric):
    """Base class. A subclass gives `_query`.

    Parameters
    ----------
    empty_target_action : {"neg", "pos", "skip", "error"}
        Queries without anything relevant count as 0, as 1, not at all, or are an error.
    ignore_index : int, optional
        Hits of this relevance do not count.
    top_k : int, optional
        Only the k best count.
    aggregation : {"mean", "median", "min", "max"} or callable
        What is made of the values of queries; a callable is given them as an array.
    """

    preds: list[Tensor]
    target: list[Tensor]
    indexes: list[Tensor]

    _opposite = False  # judge what is not relevant

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        aggregation: str | Callable[[Array], Any] = "mean",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if not callable(aggregation) and aggregation not in _AGGREGATIONS:
            raise ValueError(f"aggregation is {', '.join(map(repr, _AGGREGATIONS))} or a function, not {aggregation!r}")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be positive, got {top_k}")
        if empty_target_action not in ("neg", "pos", "skip", "error"):
            raise ValueError(f"empty_target_action is 'neg', 'pos', 'skip' or 'error', not {empty_target_action!r}")
        self.top_k, self.empty_target_action = top_k, empty_target_action
        self.ignore_index, self.aggregation = ignore_index, aggregation
        for state in ("preds", "target", "indexes"):
            self.add_state(state, [])

    def update(self, preds: Any, target: Any, indexes: Any) -> None:
        """Keep a batch: three tensors of one shape."""
        p, t, i = given(preds), given(target), given(indexes)
        same_shapes(self.name, p, t)
        same_shapes(self.name, p, i)
        self.preds.append(G.reshape(p, (p.numel(),)))
        self.target.append(G.reshape(t, (t.numel(),)))
        self.indexes.append(G.reshape(i, (i.numel(),)))

    def _kept(self) -> tuple[Array, Array, Array]:
        """Scores, relevance and queries of all hits that count, float64."""
        p, t, i = (gathered(x).astype(np.float64) for x in (self.preds, self.target, self.indexes))
        counts = np.full(t.shape, True) if self.ignore_index is None else t != self.ignore_index
        return p[counts], t[counts], i[counts]

    def _joined(self, values: list[float]) -> Tensor:
        """What is made of the values of queries; 0 without any."""
        if not values:
            return result(0.0)
        join = self.aggregation if callable(self.aggregation) else _AGGREGATIONS[self.aggregation]
        return result(join(np.asarray(values)))

    def _query(self, relevance: Array, k: int) -> float:
        """The value of one query; relevance in the order of the scores, best first."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """The mean over queries; 0 without any."""
        if not self.preds:
            return result(0.0)
        p, t, i = self._kept()
        order = np.lexsort((-p, i))
        t, i = t[order], i[order]
        values: list[float] = []
        for relevance in np.split(t, np.nonzero(np.diff(i))[0] + 1) if len(t) else ():
            relevance = ((relevance > 0) != self._opposite).astype(np.float64)
            if relevance.any():
                values.append(self._query(relevance, min(self.top_k or len(relevance), len(relevance))))
            elif self.empty_target_action == "error":
                raise ValueError(f"{self.name}: a query has nothing {'ir' * self._opposite}relevant")
            elif self.empty_target_action != "skip":
                values.append(1.0 if self.empty_target_action == "pos" else 0.0)
        return self._joined(values)


class RetrievalMAP(RetrievalMetric):
    """The mean over relevant hits of the precision down to them."""

    def _query(self, relevance: Array, k: int) -> float:
        top = relevance[:k]
        places = np.nonzero(top)[0]
        return float(np.mean((np.arange(len(places)) + 1) / (places + 1))) if len(places) else 0.0


class RetrievalMRR(RetrievalMetric):
    """One over the place of the first relevant hit."""

    def _query(self, relevance: Array, k: int) -> float:
        places = np.nonzero(relevance[:k])[0]
        return 1.0 / (places[0] + 1) if len(places) else 0.0


class RetrievalPrecision(RetrievalMetric):
    """The share of the k best that is relevant; a query with fewer hits is judged as if filled up.

    adaptive_k : whether it is judged by the hits it has instead.
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        adaptive_k: bool = False,
        aggregation: str | Callable[[Array], Any] = "mean",
        name: str | None = None,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, top_k, aggregation, name)
        self.adaptive_k = bool(adaptive_k)

    def _query(self, relevance: Array, k: int) -> float:
        return float(relevance[:k].sum() / (k if self.adaptive_k else self.top_k or len(relevance)))


class RetrievalRecall(RetrievalMetric):
    """The share of what is relevant that stands among the k best."""

    def _query(self, relevance: Array, k: int) -> float:
        return float(relevance[:k].sum() / relevance.sum())


class RetrievalHitRate(RetrievalMetric):
    """1 where anything relevant stands among the k best."""

    def _query(self, relevance: Array, k: int) -> float:
        return float(relevance[:k].any())


class RetrievalNormalizedDCG(RetrievalMetric):
    """Gains discounted by the logarithm of the place, over the best order's (Järvelin and Kekäläinen 2002).

    The relevance is the gain, and may be graded. Hits of equal score share their gains.
    """

    def compute(self) -> Tensor:
        """The mean over queries; 0 without any."""
        if not self.preds:
            return result(0.0)
        p, t, i = self._kept()
        values: list[float] = []
        for query in np.unique(i):
            scores, gains = p[i == query], t[i == query]
            if not gains.any():
                if self.empty_target_action == "error":
                    raise ValueError(f"{self.name}: a query has nothing relevant")
                if self.empty_target_action != "skip":
                    values.append(1.0 if self.empty_target_action == "pos" else 0.0)
                continue
            discount = 1.0 / np.log2(np.arange(len(gains)) + 2.0)
            discount[self.top_k or len(gains) :] = 0.0
            _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
            shared = np.bincount(group, gains) / sizes
            ends = np.cumsum(sizes)
            summed = np.r_[0.0, np.cumsum(discount)]
            found = np.sum(shared * (summed[ends] - summed[ends - sizes]))
            values.append(found / np.sum(np.sort(gains)[::-1] * discount))
        return self._joined(values)


class RetrievalRPrecision(RetrievalMetric):
    """The share that is relevant among as many hits as there are relevant ones."""

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        aggregation: str | Callable[[Array], Any] = "mean",
        name: str | None = None,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, None, aggregation, name)

    def _query(self, relevance: Array, k: int) -> float:
        count = int(relevance.sum())
        return float(relevance[:count].sum() / count)


class RetrievalFallOut(RetrievalMetric):
    """The share of what is not relevant that stands among the k best.

    empty_target_action is about queries without anything that is not relevant; "pos" unless said otherwise.
    """

    _opposite = True

    def __init__(
        self,
        empty_target_action: str = "pos",
        ignore_index: int | None = None,
        top_k: int | None = None,
        aggregation: str | Callable[[Array], Any] = "mean",
        name: str | None = None,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, top_k, aggregation, name)

    def _query(self, relevance: Array, k: int) -> float:
        return float(relevance[:k].sum() / relevance.sum())
