"""Text: BLEU, chrF and ROUGE by n-grams, error rates by edits, perplexity by probabilities.

`update(preds, target)` takes a text or a list of texts; BLEU, chrF and ROUGE take several references for each.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, given, result
from gradloom.metrics.classification import share
from gradloom.tensor import Tensor, tensor

Texts = str | Sequence[str]


def ngrams(tokens: Sequence[Hashable], n: int) -> Counter[Any]:
    """How often each run of n tokens occurs."""
    return Counter(tuple(tokens[k : k + n]) for k in range(len(tokens) - n + 1))


def _paired(name: str, preds: Texts, target: Any) -> list[tuple[str, list[str]]]:
    """Each text with its references."""
    texts = [preds] if isinstance(preds, str) else list(preds)
    wanted = [target] if isinstance(target, str) else list(target)
    if isinstance(preds, str) and wanted and isinstance(wanted[0], str):
        wanted = [wanted]
    references = [[r] if isinstance(r, str) else list(r) for r in wanted]
    if len(texts) != len(references):
        raise ShapeError(
            f"{name}: {len(texts)} texts, references for {len(references)}",
            code="shape.metric",
            hint="one reference, or list of references, for each text",
        )
    return list(zip(texts, references, strict=True))


# -- tokens ----------------------------------------------------------------------------------------------
_PUNCTUATION = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def tokens_13a(text: str) -> list[str]:
    """WMT's tokens: punctuation apart, but within numbers (mteval-v13a)."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    text = f" {text} "
    for pattern, by in _PUNCTUATION:
        text = pattern.sub(by, text)
    return text.split()


def tokens_intl(text: str) -> list[str]:
    """Tokens of any script: punctuation apart, but between digits, and symbols (mteval-v14, international)."""
    for pattern, form in ((r"[^N]P", "{} {} "), (r"P[^N]", " {} {}"), (r"S", " {} ")):
        kinds = "".join(unicodedata.category(c)[0] for c in text)
        parts, end = [], 0
        for found in re.finditer(pattern, kinds):
            parts += [text[end : found.start()], form.format(*text[found.start() : found.end()])]
            end = found.end()
        text = "".join([*parts, text[end:]])
    return text.split()


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "none": str.split,
    "13a": tokens_13a,
    "intl": tokens_intl,
    "char": lambda text: list("".join(text.split())),
}


class BLEUScore(Metric):
    """The geometric mean of n-gram precisions over the whole corpus, times the brevity penalty (Papineni et al. 2002).

    Parameters
    ----------
    n_gram : int
    smooth : bool
        Add one to counts of more than one word (Lin and Och 2004).
    weights : one for each n, optional
    """

    matches: Tensor
    total: Tensor
    lengths: Tensor

    tokenize: Callable[[str], list[str]] = staticmethod(str.split)

    def __init__(
        self,
        n_gram: int = 4,
        smooth: bool = False,
        weights: Sequence[float] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if weights is not None and len(weights) != n_gram:
            raise ValueError(f"there are {len(weights)} weights for n up to {n_gram}")
        self.n_gram, self.smooth, self.weights = n_gram, smooth, weights
        self.add_state("matches", np.zeros(n_gram))
        self.add_state("total", np.zeros(n_gram))
        self.add_state("lengths", np.zeros(2))

    def update(self, preds: Texts, target: Any) -> None:
        """Add texts, each with one or more references."""
        matches, total, lengths = np.zeros(self.n_gram), np.zeros(self.n_gram), np.zeros(2)
        for text, references in _paired(self.name, preds, target):
            own, theirs = self.tokenize(text), [self.tokenize(r) for r in references]
            nearest = min((abs(len(r) - len(own)), len(r)) for r in theirs)[1]
            lengths += (len(own), nearest)
            for n in range(1, self.n_gram + 1):
                most: Counter[Any] = Counter()
                for r in theirs:
                    most |= ngrams(r, n)
                found = ngrams(own, n)
                matches[n - 1] += sum((found & most).values())
                total[n - 1] += max(len(own) - n + 1, 0)
        self.matches, self.total = self.matches + tensor(matches), self.total + tensor(total)
        self.lengths = self.lengths + tensor(lengths)

    def compute(self) -> Tensor:
        """Between 0 and 1."""
        matches, total = self.matches.numpy(), self.total.numpy()
        own, wanted = self.lengths.numpy()
        if not matches.min(initial=np.inf) > 0 and not (self.smooth and matches[0] > 0):
            return result(0.0)
        add = np.where(np.arange(self.n_gram) > 0, 1.0, 0.0) if self.smooth else 0.0
        weights = np.full(self.n_gram, 1.0 / self.n_gram) if self.weights is None else np.asarray(self.weights)
        penalty = 1.0 if own > wanted else np.exp(1.0 - wanted / own)
        return result(penalty * np.exp(np.sum(weights * np.log((matches + add) / (total + add)))))


class SacreBLEUScore(BLEUScore):
    """BLEU with tokens of its own, so that numbers of different papers can be compared (Post 2018).

    Parameters
    ----------
    n_gram, smooth, weights : as for `BLEUScore`
    tokenize : {"13a", "intl", "char", "none"}
    lowercase : bool
    """

    def __init__(
        self,
        n_gram: int = 4,
        smooth: bool = False,
        tokenize: str = "13a",
        lowercase: bool = False,
        weights: Sequence[float] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(n_gram, smooth, weights, name)
        if tokenize not in TOKENIZERS:
            raise ValueError(f"tokenize is one of {', '.join(TOKENIZERS)}, not {tokenize!r}")
        cut = TOKENIZERS[tokenize]
        self.tokenize = (lambda text: cut(text.lower())) if lowercase else cut


class CHRFScore(Metric):
    """F-score of character (and word) n-grams over the corpus, averaged over n (Popović 2015, 2017).

    Parameters
    ----------
    n_char_order, n_word_order : int
        chrF++ has 6 and 2; without words it is chrF.
    beta : float
        How many times recall counts more than precision.
    lowercase, whitespace : bool
        Whether case is dropped, whether spaces are characters.
    """

    counts: Tensor

    def __init__(
        self,
        n_char_order: int = 6,
        n_word_order: int = 2,
        beta: float = 2.0,
        lowercase: bool = False,
        whitespace: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if n_char_order < 1 or n_word_order < 0 or beta < 0:
            raise ValueError("n_char_order is at least 1, n_word_order and beta at least 0")
        self.n_char_order, self.n_word_order, self.beta = n_char_order, n_word_order, beta
        self.lowercase, self.whitespace = lowercase, whitespace
        self.add_state("counts", np.zeros((3, n_char_order + n_word_order)))

    def _grams(self, text: str) -> list[Counter[Any]]:
        text = text.lower() if self.lowercase else text
        letters = list(text.strip() if self.whitespace else "".join(text.split()))
        words: list[str] = []
        for word in text.split():
            if len(word) > 1 and word[-1] in _SIGNS:
                words += [word[:-1], word[-1]]
            elif len(word) > 1 and word[0] in _SIGNS:
                words += [word[0], word[1:]]
            else:
                words.append(word)
        grams = [ngrams(letters, n) for n in range(1, self.n_char_order + 1)]
        return grams + [ngrams(words, n) for n in range(1, self.n_word_order + 1)]

    def _score(self, counts: np.ndarray) -> float:
        matches, found, wanted = counts
        precision, recall = share(matches, found), share(matches, wanted)
        b = self.beta**2
        return float(share((1 + b) * precision * recall, np.maximum(b * precision + recall, 1e-16)).mean())

    def update(self, preds: Texts, target: Any) -> None:
        """Add texts; of several references the one that fits best counts."""
        total = np.zeros_like(self.counts.numpy())
        for text, references in _paired(self.name, preds, target):
            own = self._grams(text)
            options = []
            for reference in references:
                theirs = self._grams(reference)
                matches = [sum((a & b).values()) for a, b in zip(own, theirs, strict=True)]
                sizes = [[sum(c.values()) for c in grams] for grams in (own, theirs)]
                options.append(np.array([matches, *sizes], np.float64))
            total += max(options, key=self._score)
        self.counts = self.counts + tensor(total)

    def compute(self) -> Tensor:
        """Between 0 and 1."""
        return result(self._score(self.counts.numpy()))


_SIGNS = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def longest_common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for k, y in enumerate(b, 1):
            above = row[k]
            row[k] = diagonal + 1 if x == y else max(above, row[k - 1])
            diagonal = above
    return row[-1]


def sentences(text: str) -> list[str]:
    """The lines of a text; of a single line its parts behind full stops, question and exclamation marks."""
    lines = [line for line in text.split("\n") if line.strip()]
    return lines if len(lines) != 1 else [s for s in re.split(r"(?<=[.!?])\s+", lines[0]) if s]


def _in_longest(a: Sequence[str], b: Sequence[str]) -> set[int]:
    """Places of a that a longest common subsequence with b takes, the last ones where there are several."""
    table = np.zeros((len(a) + 1, len(b) + 1), np.int64)
    for i, x in enumerate(a, 1):
        for k, y in enumerate(b, 1):
            table[i, k] = table[i - 1, k - 1] + 1 if x == y else max(table[i - 1, k], table[i, k - 1])
    i, k, places = len(a), len(b), set()
    while i and k:
        if a[i - 1] == b[k - 1]:
            i, k = i - 1, k - 1
            places.add(i)
        elif table[i, k - 1] > table[i - 1, k]:
            k -= 1
        else:
            i -= 1
    return places


def _common_by_sentence(own: list[list[str]], theirs: list[list[str]]) -> int:
    """Words of the reference's sentences that are in their common subsequences with the text's, each counted once."""
    left = [Counter(w for words in side for w in words) for side in (own, theirs)]
    hits = 0
    for words in theirs:
        taken = set().union(*(_in_longest(words, one) for one in own))
        for word in (words[k] for k in sorted(taken)):
            if left[0][word] > 0 and left[1][word] > 0:
                hits += 1
                left[0][word] -= 1
                left[1][word] -= 1
    return hits


class ROUGEScore(Metric):
    """Overlap of n-grams ("rouge1", "rouge2", ...), longest common subsequence of the texts ("rougeL"), and of each
    sentence of a reference with all sentences of the text ("rougeLsum") (Lin 2004).

    Words are runs of letters and digits, without case and without stemming. Sentences stand on lines of their own;
    a text of one line is cut behind full stops, question and exclamation marks. Values are means over texts.

    Parameters
    ----------
    accumulate : {"best", "avg"}
        Of several references: the one with the best F of the first key, or the mean.
    rouge_keys : tuple of str
    normalizer : callable, optional
        From a text to what is cut into words.
    tokenizer : callable, optional
        From that to words.
    """

    total: Tensor
    size: Tensor

    def __init__(
        self,
        accumulate: str = "best",
        rouge_keys: str | Sequence[str] = ("rouge1", "rouge2", "rougeL", "rougeLsum"),
        normalizer: Callable[[str], str] | None = None,
        tokenizer: Callable[[str], Sequence[str]] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.keys = (rouge_keys,) if isinstance(rouge_keys, str) else tuple(rouge_keys)
        for key in self.keys:
            if not re.fullmatch(r"rouge([1-9]|L|Lsum)", key):
                raise ValueError(f"rouge_keys are 'rouge1' to 'rouge9', 'rougeL' and 'rougeLsum', not {key!r}")
        self.normalizer, self.tokenizer = normalizer, tokenizer
        if accumulate not in ("best", "avg"):
            raise ValueError(f"accumulate is 'best' or 'avg', not {accumulate!r}")
        self.accumulate = accumulate
        self.add_state("total", np.zeros((len(self.keys), 3)))
        self.add_state("size", np.int64(0))

    def _words(self, text: str) -> list[str]:
        text = re.sub(r"[^a-z0-9]+", " ", text.lower()) if self.normalizer is None else self.normalizer(text)
        words = text.split() if self.tokenizer is None else self.tokenizer(text)
        return [w for w in words if w]

    def _one(self, key: str, text: str, reference: str) -> tuple[float, float, float]:
        """Precision, recall, F."""
        own, theirs = self._words(text), self._words(reference)
        if key == "rougeL":
            common, a, b = longest_common(own, theirs), len(own), len(theirs)
        elif key == "rougeLsum":
            parts = [[self._words(s) for s in sentences(x)] for x in (text, reference)]
            common, (a, b) = _common_by_sentence(*parts), (sum(map(len, part)) for part in parts)
        else:
            found, wanted = ngrams(own, int(key[-1])), ngrams(theirs, int(key[-1]))
            common, a, b = sum((found & wanted).values()), sum(found.values()), sum(wanted.values())
        p, r = common / a if a else 0.0, common / b if b else 0.0
        return p, r, 2 * p * r / (p + r) if p + r else 0.0

    def update(self, preds: Texts, target: Any) -> None:
        """Add texts, each with one or more references."""
        pairs = _paired(self.name, preds, target)
        total = np.zeros((len(self.keys), 3))
        for text, references in pairs:
            options = [np.array([self._one(key, text, r) for key in self.keys]) for r in references]
            total += max(options, key=lambda o: o[0, 2]) if self.accumulate == "best" else np.mean(options, 0)
        self.total = self.total + tensor(total)
        self.size = self.size + len(pairs)

    def compute(self) -> dict[str, Tensor]:
        """Means by name: rouge1_fmeasure, rouge1_precision, rouge1_recall, and so on."""
        means = share(self.total.numpy(), self.size.numpy())
        names = ("precision", "recall", "fmeasure")
        return {f"{key}_{part}": result(means[k, j]) for k, key in enumerate(self.keys) for j, part in enumerate(names)}


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and substitutions from a to b (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for k, y in enumerate(b, 1):
            above = row[k]
            row[k] = min(above + 1, row[k - 1] + 1, diagonal + (x != y))
            diagonal = above
    return row[-1]


class _ErrorRate(Metric):
    errors: Tensor
    total: Tensor

    @staticmethod
    def _pieces(text: str) -> Sequence[Hashable]:
        raise NotImplementedError

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("errors", np.int64(0))
        self.add_state("total", np.int64(0))

    def update(self, preds: Texts, target: Texts) -> None:
        """Add texts and what they should be."""
        pairs = [
            (self._pieces(text), self._pieces(references[0])) for text, references in _paired(self.name, preds, target)
        ]
        self.errors = self.errors + sum(edit_distance(a, b) for a, b in pairs)
        self.total = self.total + sum(len(b) for _, b in pairs)

    def compute(self) -> Tensor:
        """Edits over the length of what it should be; 0 is perfect, above 1 is possible."""
        return result(share(self.errors.numpy(), self.total.numpy(), np.nan))


class WordErrorRate(_ErrorRate):
    """Edits of words over words."""

    @staticmethod
    def _pieces(text: str) -> Sequence[Hashable]:
        return text.split()


class CharErrorRate(_ErrorRate):
    """Edits of characters over characters."""

    @staticmethod
    def _pieces(text: str) -> Sequence[Hashable]:
        return text


class Perplexity(Metric):
    """e to the mean of minus the log-probability of each token.

    ignore_index : tokens that do not count.
    """

    total: Tensor
    size: Tensor

    def __init__(self, ignore_index: int | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.ignore_index = ignore_index
        self.add_state("total", np.float64(0.0))
        self.add_state("size", np.int64(0))

    def update(self, preds: Any, target: Any) -> None:
        """Add scores (N, T, vocabulary), before softmax, and tokens (N, T)."""
        p, t = given(preds), given(target)
        if p.ndim != 3 or tuple(p.shape[:2]) != tuple(t.shape):
            raise ShapeError(
                f"{self.name}: preds of shape {tuple(p.shape)}, target of shape {tuple(t.shape)}",
                code="shape.metric",
                hint="scores (N, T, vocabulary) and tokens (N, T)",
            )
        G.check_labels(t, p.shape[2], self.ignore_index)
        valid = G.full_like(t, True, dtype="bool") if self.ignore_index is None else t != self.ignore_index
        own = G.gather(G.log_softmax(p, dim=2), 2, G.unsqueeze(G.where(valid, t, 0), 2))
        self.total = self.total - G.sum(G.where(valid, G.cast(G.squeeze(own, 2), "float64"), 0.0))
        self.size = self.size + G.sum(G.cast(valid, "int64"))

    def compute(self) -> Tensor:
        """At least 1."""
        return result(np.exp(share(self.total.numpy(), self.size.numpy(), np.nan)))
