"""Translations by edits that also move words: translation edit rate, extended edit distance."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

from gradloom.metrics.base import Metric, result
from gradloom.metrics.classification import share
from gradloom.metrics.text import Texts, _paired
from gradloom.tensor import Tensor, tensor

LONGEST = 10  # words of a shift, less one
FARTHEST = 50
CANDIDATES = 1000  # shifts that are tried for a pair
_WESTERN = [
    (r"\n-", ""), (r"\n", " "), (r"&quot;", '"'), (r"&amp;", "&"), (r"&lt;", "<"), (r"&gt;", ">"),
    (r"([{-~[-` -&(-+:-@/])", r" \1 "), (r"'s ", r" 's "), (r"'s$", r" 's"), (r"([^0-9])([\.,])", r"\1 \2 "),
    (r"([\.,])([^0-9])", r" \1 \2"), (r"([0-9])(-)", r"\1 \2 "),
]  # fmt: skip


class TranslationEditRate(Metric):
    """Edits over the references' words, where moving words together is one edit (Snover et al. 2006), as Tercom has it.

    Parameters
    ----------
    normalize : bool
        Split punctuation from words.
    no_punctuation : bool
        Leave punctuation out.
    lowercase : bool
    return_sentence_level_score : bool
        Give the rate of each text too.
    """

    totals: Tensor
    each: list[np.ndarray]

    def __init__(
        self,
        normalize: bool = False,
        no_punctuation: bool = False,
        lowercase: bool = True,
        return_sentence_level_score: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.normalize, self.no_punctuation, self.lowercase = normalize, no_punctuation, lowercase
        self.return_sentence_level_score = return_sentence_level_score
        self.add_state("totals", np.zeros(2))
        self.add_state("each", [])

    def _words(self, text: str) -> list[str]:
        text = text.rstrip()
        text = text.lower() if self.lowercase else text
        if self.normalize:
            text = f" {text} "
            for pattern, new in _WESTERN:
                text = re.sub(pattern, new, text)
        if self.no_punctuation:
            text = re.sub(r'[\.,\?:;!"\(\)]', "", text)
        return text.split()

    def update(self, preds: Texts, target: Any) -> None:
        """Add texts and what they should be, each one text or several of which the nearest counts."""
        found = []
        for text, references in _paired(self.name, preds, target):
            wanted = [self._words(r) for r in references]
            edits = min(shifted_edits(r, self._words(text)) for r in wanted)
            found.append((edits, sum(map(len, wanted)) / len(wanted)))
        self.totals = self.totals + tensor(np.array(found, np.float64).reshape(-1, 2).sum(0))
        self.each.append(np.array([_rate(*f) for f in found]))

    def compute(self) -> Any:
        """0-d; with return_sentence_level_score also (texts,)."""
        rate = result(_rate(*self.totals.numpy()))
        return (rate, result(np.concatenate(self.each))) if self.return_sentence_level_score else rate


def _rate(edits: float, words: float) -> float:
    return float(edits / words if words > 0 else edits > 0)


def shifted_edits(words: list[str], wanted: list[str]) -> int:
    """The least number found of shifts, insertions, deletions and substitutions from one list of words to another."""
    if not wanted:
        return 0
    shifts = tried = 0
    while True:
        edits, steps = aligned(words, wanted)
        best: tuple[int, int, int, int, list[str]] | None = None
        for candidate in _shifts(words, wanted, steps):
            gain = edits - aligned(candidate[3], wanted)[0]
            tried += 1
            ranked = (gain, candidate[0], -candidate[1], -candidate[2], candidate[3])
            best = ranked if best is None or ranked > best else best
            if tried >= CANDIDATES and candidate[4]:
                break
        if best is None or best[0] <= 0 or tried >= CANDIDATES:
            return shifts + edits
        shifts, words = shifts + 1, best[4]


def aligned(words: list[str], wanted: list[str]) -> tuple[int, str]:
    """The least number of edits, and the way: " " the same, "s" another, "i" a word too many, "d" one too few.

    Of ways of one length the one that goes as far as it can along the diagonal, seen from the end.
    """
    table = np.zeros((len(words) + 1, len(wanted) + 1), np.int64)
    table[:, 0], table[0] = np.arange(len(words) + 1), np.arange(len(wanted) + 1)
    for i, word in enumerate(words, 1):
        for k, other in enumerate(wanted, 1):
            table[i, k] = min(table[i - 1, k - 1] + (word != other), table[i - 1, k] + 1, table[i, k - 1] + 1)
    i, k, way = len(words), len(wanted), []
    while i or k:
        here = table[i, k]
        if i and k and here == table[i - 1, k - 1] + (words[i - 1] != wanted[k - 1]):
            way.append(" " if words[i - 1] == wanted[k - 1] else "s")
            i, k = i - 1, k - 1
        elif i and here == table[i - 1, k] + 1:
            way.append("i")
            i -= 1
        else:
            way.append("d")
            k -= 1
    return int(table[-1, -1]), "".join(reversed(way))


def _shifts(words: list[str], wanted: list[str], way: str) -> Iterator[tuple[int, int, int, list[str], bool]]:
    """What may be moved where: length, start, new place, the words then, and whether a new run of words begins."""
    place: dict[int, int] = {}  # of each wanted word the word it stands beside
    wrong: list[bool] = []
    missing: list[bool] = []
    own = -1
    for step in way:
        if step != "d":
            own += 1
            wrong.append(step != " ")
        if step != "i":
            place[len(missing)] = own
            missing.append(step != " ")
    for start in range(len(words)):
        for to in range(len(wanted)):
            if abs(to - start) > FARTHEST:
                continue
            for length in range(1, LONGEST):
                if start + length > len(words) or to + length > len(wanted):
                    break
                if words[start + length - 1] != wanted[to + length - 1]:
                    break
                if not any(wrong[start : start + length]) or not any(missing[to : to + length]):
                    continue
                if start <= place[to] < start + length:
                    continue
                before = -1
                for offset in range(-1, length):
                    if to + offset != -1 and to + offset not in place:
                        break
                    at = 0 if to + offset == -1 else place[to + offset] + 1
                    if at != before:
                        before = at
                        yield length, start, at, _moved(words, start, length, at), offset == length - 1


def _moved(words: list[str], start: int, length: int, at: int) -> list[str]:
    part, end = words[start : start + length], start + length
    if at < start:
        return words[:at] + part + words[at:start] + words[end:]
    if at > end:
        return words[:start] + words[end:at] + part + words[at:]
    return words[:start] + words[end : length + at] + part + words[length + at :]


class ExtendedEditDistance(Metric):
    """Edits of characters where jumps at spaces have a fixed cost, and coming back costs too (Stanchev et al. 2019).

    Parameters
    ----------
    language : {"en", "ja"}
        How texts are prepared.
    return_sentence_level_score : bool
        Give the score of each text too.
    alpha, rho, deletion, insertion : float
        Costs of a jump, of places seen more than once, of a deletion, and of an insertion.
    """

    each: list[np.ndarray]

    def __init__(
        self,
        language: str = "en",
        return_sentence_level_score: bool = False,
        alpha: float = 2.0,
        rho: float = 0.3,
        deletion: float = 0.2,
        insertion: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if language not in ("en", "ja"):
            raise ValueError(f"language is 'en' or 'ja', not {language!r}")
        if min(alpha, rho, deletion, insertion) < 0:
            raise ValueError("alpha, rho, deletion and insertion are not negative")
        self.language, self.return_sentence_level_score = language, return_sentence_level_score
        self.costs = (alpha, rho, deletion, insertion)
        self.add_state("each", [])

    def update(self, preds: Texts, target: Any) -> None:
        """Add texts and what they should be, each one text or several of which the nearest counts."""
        prepare = english if self.language == "en" else lambda text: unicodedata.normalize("NFKC", text.rstrip())
        self.each.append(np.array([
            min(jumping_distance(prepare(text), prepare(r), *self.costs) for r in references)
            for text, references in _paired(self.name, preds, target)
        ], np.float64))  # fmt: skip

    def compute(self) -> Any:
        """0-d, the mean; with return_sentence_level_score also (texts,)."""
        each = np.concatenate([np.zeros(0), *self.each])
        mean = result(share(each.sum(), len(each)))
        return (mean, result(each)) if self.return_sentence_level_score else mean


def english(text: str) -> str:
    """Punctuation apart from words, but for numbers and common abbreviations; a space at both ends."""
    text = re.sub(r"([.!?,])", r" \1", text.rstrip())
    text = re.sub(r"(\d) ([.,]) (\d)", r"\1\2\3", re.sub(r"\s+", " ", text))
    text = re.sub(r"(Dr|Jr|Prof|Rev|Gen|Mr|Mt|Mrs|Ms) .", r"\1.", text)
    for apart, together in (("e . g .", "e.g."), ("i . e .", "i.e."), ("U . S .", "U.S.")):
        text = text.replace(apart, together)
    return f" {text} "


def jumping_distance(text: str, wanted: str, alpha: float, rho: float, deletion: float, insertion: float) -> float:
    """Between 0 and 1."""
    size = len(text) + 1
    visits = [-1] * size
    row = [1.0] * size
    row[0] = 0.0
    for letter in wanted:
        following = [row[0] + 1.0]
        for i in range(1, size):
            following.append(min(following[i - 1] + deletion, row[i - 1] + (text[i - 1] != letter), row[i] + insertion))
        least = min(following)
        visits[following.index(least)] += 1
        row = [min(x, alpha + least) for x in following] if letter == " " else following
    again = rho * sum(x if x >= 0 else 1 for x in visits)
    under = len(wanted) + again
    return min(1.0, (row[-1] + again) / under) if under else 0.0
