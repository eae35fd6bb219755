"""Text by edits and answers: match error rate, information lost and preserved, edit distance, SQuAD's scores."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom.metrics.base import Metric, result
from gradloom.metrics.classification import share
from gradloom.metrics.text import Texts, _paired, edit_distance
from gradloom.tensor import Tensor, tensor


class _Words(Metric):
    """Base: edits of words, and the words of the longer text, of the answer, and of what was found."""

    counts: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("counts", np.zeros(4, np.int64))

    def update(self, preds: Texts, target: Texts) -> None:
        """Add texts and what they should be."""
        total = np.zeros(4, np.int64)
        for text, references in _paired(self.name, preds, target):
            own, wanted = text.split(), references[0].split()
            total += (edit_distance(own, wanted), max(len(own), len(wanted)), len(wanted), len(own))
        self.counts = self.counts + tensor(total)

    def _preserved(self) -> np.ndarray:
        edits, longer, wanted, own = self.counts.numpy().astype(np.float64)
        hits = longer - edits
        return share(hits, wanted, np.nan) * share(hits, own, np.nan)


class MatchErrorRate(_Words):
    """Edits of words over the words of the longer text (Morris et al. 2004)."""

    def compute(self) -> Tensor:
        """Between 0 and 1; NaN without words."""
        return result(share(self.counts.numpy()[0], self.counts.numpy()[1], np.nan))


class WordInfoPreserved(_Words):
    """The share of the answer's words that are right, times that of the found ones (Morris et al. 2004)."""

    def compute(self) -> Tensor:
        """Between 0 and 1; NaN where one side has no words."""
        return result(self._preserved())


class WordInfoLost(_Words):
    """1 - `WordInfoPreserved`."""

    def compute(self) -> Tensor:
        """Between 0 and 1; NaN where one side has no words."""
        return result(1.0 - self._preserved())


class EditDistance(Metric):
    """Insertions, deletions and substitutions of characters from one text to the other (Levenshtein 1966).

    Parameters
    ----------
    substitution_cost : int
        What a substitution counts; insertions and deletions count 1.
    reduction : {"mean", "sum", "none"}
    """

    values: list[np.ndarray]

    def __init__(self, substitution_cost: int = 1, reduction: str | None = "mean", name: str | None = None) -> None:
        super().__init__(name)
        if substitution_cost < 0:
            raise ValueError(f"substitution_cost is not negative, got {substitution_cost}")
        if reduction not in ("mean", "sum", "none", None):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
        self.substitution_cost, self.reduction = substitution_cost, reduction or "none"
        self.add_state("values", [])

    def update(self, preds: Texts, target: Texts) -> None:
        """Add texts and what they should be."""
        pairs = _paired(self.name, preds, target)
        found = [weighted_distance(text, references[0], self.substitution_cost) for text, references in pairs]
        self.values.append(np.array(found, np.float64))

    def compute(self) -> Tensor:
        """0-d, or one value a text; 0 without texts."""
        each = np.concatenate([np.zeros(0), *self.values])
        if self.reduction == "none":
            return result(each)
        return result(each.sum() if self.reduction == "sum" else share(each.sum(), len(each)))


def weighted_distance(a: Sequence[Hashable], b: Sequence[Hashable], substitution: int) -> int:
    """The least cost from a to b, where a substitution has a cost of its own."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for k, y in enumerate(b, 1):
            above = row[k]
            row[k] = min(above + 1, row[k - 1] + 1, diagonal + substitution * (x != y))
            diagonal = above
    return row[-1]


def _plain(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


class SQuAD(Metric):
    """Exact matches, and F of the words, of answers to questions, in percent (Rajpurkar et al. 2016).

    Case, punctuation and articles do not count; of several answers the best does.
    """

    total: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("total", np.zeros(3))

    def update(self, preds: Any, target: Any) -> None:
        """Add {"prediction_text", "id"} and {"answers": {"text": [...]}, "id"}, or lists of them; paired by id.

        A question without a prediction counts 0. KeyError where a key is missing.
        """
        found = {p["id"]: p["prediction_text"] for p in ([preds] if isinstance(preds, Mapping) else preds)}
        total = np.zeros(3)
        for question in [target] if isinstance(target, Mapping) else target:
            answers = [_plain(text) for text in question["answers"]["text"]]
            total[2] += 1
            if question["id"] in found:
                own = _plain(found[question["id"]])
                total[0] += max((own == answer for answer in answers), default=False)
                total[1] += max((_overlap(own, answer) for answer in answers), default=0.0)
        self.total = self.total + tensor(total)

    def compute(self) -> dict[str, Tensor]:
        """By name, "exact_match" and "f1", 0 to 100; NaN without questions."""
        exact, f1, count = self.total.numpy()
        return {"exact_match": result(share(100 * exact, count, np.nan)), "f1": result(share(100 * f1, count, np.nan))}


def _overlap(own: list[str], answer: list[str]) -> float:
    """F of the words; where one side has none, whether both have none."""
    if not own or not answer:
        return float(own == answer)
    return 2.0 * sum((Counter(own) & Counter(answer)).values()) / (len(own) + len(answer))
