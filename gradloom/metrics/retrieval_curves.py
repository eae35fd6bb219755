"""Retrieval by how many hits are shown: precision and recall at each number, and the area under a query's ROC curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.metrics.base import result
from gradloom.metrics.curves import auroc
from gradloom.metrics.retrieval import RetrievalMetric
from gradloom.tensor import Tensor, tensor

Array = np.ndarray


class RetrievalAUROC(RetrievalMetric):
    """The mean over queries of the area under the ROC curve of their `top_k` best hits; 0 where these are all alike.

    max_fpr : float, optional
        The area up to this false positive rate, standardised.
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        aggregation: str | Callable[[Array], Any] = "mean",
        max_fpr: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, top_k, aggregation, name)
        if max_fpr is not None and not 0 < max_fpr <= 1:
            raise ValueError(f"max_fpr lies above 0 and at most at 1, got {max_fpr}")
        self.max_fpr = max_fpr

    def compute(self) -> Tensor:
        """The mean over queries; 0 without any."""
        values: list[float] = []
        for scores, relevant in self._queries():
            best, found = scores[: self.top_k], relevant[: self.top_k]
            if relevant.any():
                values.append(0.0 if found.all() or not found.any() else auroc(best, found, self.max_fpr))
            elif (value := self._of_empty()) is not None:
                values.append(value)
        return self._joined(values)

    def _queries(self) -> list[tuple[Array, Array]]:
        """Scores and relevance of each query, best first."""
        if not self.preds:
            return []
        p, t, i = self._kept()
        order = np.lexsort((-p, i))
        p, t, i = p[order], t[order] > 0, i[order]
        cuts = np.nonzero(np.diff(i))[0] + 1
        if not len(t):
            return []
        return list(zip(np.split(p, cuts), np.split(t, cuts), strict=True))

    def _of_empty(self) -> float | None:
        """What a query without anything relevant counts; None where it does not."""
        if self.empty_target_action == "error":
            raise ValueError(f"{self.name}: a query has nothing relevant")
        return {"pos": 1.0, "neg": 0.0}.get(self.empty_target_action)


class RetrievalPrecisionRecallCurve(RetrievalAUROC):
    """Precision and recall of the k best hits, for each k up to max_k, as means over queries.

    Parameters
    ----------
    max_k : int, optional
        The length of the longest query unless given.
    adaptive_k : bool
        Precision beyond a query's length is that of the whole query, instead of falling on.
    empty_target_action : {"neg", "pos", "skip", "error"}
    """

    def __init__(
        self,
        max_k: int | None = None,
        adaptive_k: bool = False,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, max_k, name=name)
        self.max_k, self.adaptive_k = max_k, bool(adaptive_k)

    def compute(self) -> Any:
        """Precision, recall and k, each (max_k,)."""
        return tuple(tensor(x) for x in self._curve())

    def _curve(self) -> tuple[Array, Array, Array]:
        queries = self._queries()
        length = self.max_k or max((len(t) for _, t in queries), default=0)
        places, found = np.arange(1, length + 1), []
        for _, relevant in queries:
            if not relevant.any():
                if (value := self._of_empty()) is not None:
                    found.append(np.full((2, length), value))
                continue
            hits = np.cumsum(np.r_[relevant[:length], np.zeros(max(0, length - len(relevant)))])
            shown = np.minimum(places, len(relevant)) if self.adaptive_k else places
            found.append(np.stack([hits / shown, hits / relevant.sum()]))
        both = np.mean(found, 0) if found else np.zeros((2, length))
        return both[0], both[1], places


class RetrievalRecallAtFixedPrecision(RetrievalPrecisionRecallCurve):
    """The highest mean recall where the mean precision is at least `min_precision`, and its k."""

    def __init__(
        self,
        min_precision: float = 0.0,
        max_k: int | None = None,
        adaptive_k: bool = False,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(max_k, adaptive_k, empty_target_action, ignore_index, name)
        if not 0 <= min_precision <= 1:
            raise ValueError(f"min_precision lies in [0, 1], got {min_precision}")
        self.min_precision = min_precision

    def compute(self) -> Any:
        """Recall and k; where no k has the precision, or nothing is found, 0 and the greatest k."""
        precision, recall, places = self._curve()
        points = [(r, k) for p, r, k in zip(precision, recall, places, strict=True) if p >= self.min_precision]
        best, k = max(points, default=(0.0, len(places)))
        return result(best), tensor(np.int64(k if best else len(places)))
