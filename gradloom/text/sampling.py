"""Which token comes next: penalties for what was said, limits on what is drawn from, and the draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradloom import functions as G
from gradloom.errors import ArgumentError
from gradloom.random import Generator
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor

__all__ = ["Choice", "filtered", "penalised", "repeated"]

_sort, _topk, _multinomial, _cumsum = (G.PUBLIC[n] for n in ("sort", "topk", "multinomial", "cumsum"))


@composite
def penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (batch, vocabulary) of seen tokens made less likely: divided where positive, else multiplied.

    seen: (batch, vocabulary) bool. Reference: Keskar et al. 2019.
    """
    return G.where(seen, G.where(logits > 0, logits / penalty, logits * penalty), logits)


def filtered(
    logits: Tensor, top_k: int | None = None, top_p: float | None = None, min_p: float | None = None
) -> Tensor:
    """Logits (batch, vocabulary) with minus infinity for all but the likeliest; what is left is looked at anew.

    Parameters
    ----------
    top_k : int
        So many stay (Fan et al. 2018); of equal ones at the border all.
    top_p : float
        As few stay as have at least this probability together (Holtzman et al. 2020).
    min_p : float
        Those stay that have at least this share of the likeliest one's probability (Nguyen et al. 2024).
    """
    if top_k is not None:
        if top_k < 1:
            raise ArgumentError(f"top_k is {top_k}, expected at least 1")
        least = _topk(logits, min(top_k, logits.shape[-1]))[0][:, -1:]
        logits = G.where(logits < least, -math.inf, logits)
    if top_p is not None:
        if not 0.0 < top_p <= 1.0:
            raise ArgumentError(f"top_p is {top_p}, expected more than 0, at most 1")
        ordered, _ = _sort(logits, -1, True)
        p = G.softmax(ordered, -1)
        before = _cumsum(p, -1) - p
        least = G.amin(G.where(before < top_p, ordered, math.inf), -1, True)
        logits = G.where(logits < least, -math.inf, logits)
    if min_p is not None:
        if not 0.0 <= min_p <= 1.0:
            raise ArgumentError(f"min_p is {min_p}, expected 0 to 1")
        least = G.amax(logits, -1, True) + (math.log(min_p) if min_p else -math.inf)
        logits = G.where(logits < least, -math.inf, logits)
    return logits


def repeated(row: np.ndarray, size: int) -> np.ndarray:
    """The tokens that would end a run of ``size`` tokens that a row has already."""
    if len(row) < size:
        return row[:0]
    runs = np.lib.stride_tricks.sliding_window_view(row, size)
    return runs[(runs[:, :-1] == row[len(row) - size + 1 :]).all(1), -1]


@dataclass
class Choice:
    """How the next token is chosen; the options of :func:`gradloom.text.generate`, where they are described."""

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    banned: Sequence[int] = ()
    processors: Sequence[Callable[[list[np.ndarray], Tensor], Tensor]] = ()
    generator: Generator | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ArgumentError(
                f"generate: temperature is {self.temperature}, expected more than 0", hint="do_sample=False"
            )
        if self.repetition_penalty <= 0:
            raise ArgumentError(f"generate: repetition_penalty is {self.repetition_penalty}, expected more than 0")
        if self.no_repeat_ngram_size < 0 or self.min_new_tokens < 0:
            raise ArgumentError(
                f"generate: no_repeat_ngram_size {self.no_repeat_ngram_size} and min_new_tokens {self.min_new_tokens} "
                "are at least 0"
            )
        drawn = {"top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        unused = [name for name, value in drawn.items() if value is not None]
        if self.temperature != 1.0:
            unused.append("temperature")
        if unused and not self.do_sample:
            raise ArgumentError(f"generate: {', '.join(unused)} without draws", hint="do_sample=True")


class Chooser:
    """A :class:`Choice` at work: it remembers what each row has said.

    Parameters
    ----------
    text : (batch, length) the prompts. real : which of that is no padding.
    ends : tokens that end a row.
    """

    def __init__(self, choice: Choice, text: np.ndarray, real: np.ndarray, ends: np.ndarray, vocabulary: int) -> None:
        self.choice, self.ends = choice, ends
        self.rows = [row[mask] for row, mask in zip(text, real, strict=True)]
        self.new = 0
        self.seen = np.zeros((len(text), vocabulary), bool)
        self.counts = np.zeros((len(text), vocabulary), np.float32)
        for row, seen in zip(self.rows, self.seen, strict=True):
            seen[row[(row >= 0) & (row < vocabulary)]] = True
        outside = [t for t in choice.banned if not 0 <= t < vocabulary]
        if outside:
            raise ArgumentError(f"generate: banned tokens {outside} are outside of the vocabulary of {vocabulary}")

    def processed(self, logits: Tensor) -> Tensor:
        """Logits (batch, vocabulary) with penalties, and minus infinity where a token is ruled out."""
        c = self.choice
        if c.repetition_penalty != 1.0:
            logits = penalised(logits, tensor(self.seen), c.repetition_penalty)
        if c.frequency_penalty or c.presence_penalty:
            counts = tensor(self.counts)
            logits = logits - counts * c.frequency_penalty - G.cast(counts > 0, logits.dtype) * c.presence_penalty
        if c.no_repeat_ngram_size or c.min_new_tokens or len(c.banned):
            logits = G.where(tensor(self._ruled_out(tuple(logits.shape))), -math.inf, logits)
        for process in c.processors:
            logits = process(self.rows, logits)
        return logits

    def _ruled_out(self, shape: tuple[int, ...]) -> np.ndarray:
        c = self.choice
        out = np.zeros(shape, bool)
        out[:, list(c.banned)] = True
        if self.new < c.min_new_tokens:
            out[:, self.ends[self.ends < shape[1]]] = True
        if c.no_repeat_ngram_size:
            for n, row in enumerate(self.rows):
                out[n, repeated(row, c.no_repeat_ngram_size)] = True
        return out

    def next(self, logits: Tensor) -> np.ndarray:
        """The next token of each row (batch, 1), drawn or the likeliest."""
        logits = self.processed(logits)
        c = self.choice
        if not c.do_sample:
            return np.asarray(G.argmax(logits, -1, True).numpy(), np.int64)
        p = G.softmax(filtered(logits / c.temperature, c.top_k, c.top_p, c.min_p), -1)
        return np.asarray(_multinomial(p, 1, True, generator=c.generator).numpy(), np.int64)

    def add(self, new: np.ndarray) -> None:
        """Remember the tokens (batch, 1) that were chosen."""
        self.new += 1
        np.put_along_axis(self.seen, new, True, 1)
        self.counts[np.arange(len(new)), new[:, 0]] += 1
        self.rows = [np.append(row, t) for row, t in zip(self.rows, new, strict=True)]

    def reorder(self, rows: np.ndarray) -> None:
        """Take rows, for beams."""
        self.seen, self.counts = self.seen[rows], self.counts[rows]
        self.rows = [self.rows[r] for r in rows]
