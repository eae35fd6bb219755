"""Labels from the probabilities of a CTC model: the likeliest path, or labellings by beams of prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, IndexRangeError, ShapeError
from gradloom.tensor import Tensor

__all__ = ["Hypothesis", "StreamingGreedy", "ctc_beam_search", "ctc_greedy"]

Hypothesis = tuple[list[int], float]


def _rows(name: str, log_probs: Any, lengths: Any, blank: int) -> list[np.ndarray]:
    x = np.asarray(log_probs.detach().numpy() if isinstance(log_probs, Tensor) else log_probs)
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3:
        raise ShapeError(
            f"{name}: scores of shape {x.shape}, expected (batch, time, classes) or (time, classes)", code="shape.ctc"
        )
    if not 0 <= blank < x.shape[2]:
        raise IndexRangeError(f"{name}: blank {blank} of {x.shape[2]} classes", code="index.ctc")
    if lengths is None:
        return list(x)
    counts = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths).reshape(-1)
    if len(counts) != len(x) or (len(counts) and (counts.min() < 0 or counts.max() > x.shape[1])):
        raise ShapeError(
            f"{name}: lengths {counts.tolist()} for scores {x.shape}", code="shape.ctc",
            hint="one for each row, from 0 to the number of frames",
        )  # fmt: skip
    return [row[:n] for row, n in zip(x, counts, strict=True)]


def ctc_greedy(log_probs: Any, lengths: Any = None, blank: int = 0) -> list[list[int]]:
    """Labels of the likeliest class of each frame: runs become one, blanks go.

    log_probs : scores (batch, time, classes) or (time, classes), normalised or not. lengths : frames of each row.
    """
    out = []
    for row in _rows("ctc_greedy", log_probs, lengths, blank):
        best = row.argmax(-1) if len(row) else np.zeros(0, np.int64)
        first = np.ones(len(best), bool)
        first[1:] = best[1:] != best[:-1]
        out.append([int(k) for k in best[first & (best != blank)]])
    return out


class StreamingGreedy:
    """:func:`ctc_greedy` of one stream whose scores come in pieces: a label that goes on is given out once."""

    def __init__(self, blank: int = 0) -> None:
        self.blank, self._last = blank, blank

    def feed(self, log_probs: Any) -> list[int]:
        """The new labels of scores (time, classes)."""
        (row,) = _rows("StreamingGreedy", log_probs, None, self.blank)
        out = []
        for k in row.argmax(-1).tolist() if len(row) else []:
            if k not in (self._last, self.blank):
                out.append(int(k))
            self._last = k
        return out


def ctc_beam_search(
    log_probs: Any,
    lengths: Any = None,
    blank: int = 0,
    beam_size: int = 16,
    *,
    cutoff: float = 12.0,
    language: Callable[[Sequence[int], int], float] | None = None,
    best: int = 1,
) -> list[list[Hypothesis]]:
    """The likeliest labellings, each with its log-probability, summed over all paths that the beam has kept.

    Parameters
    ----------
    log_probs : log-probabilities (batch, time, classes) or (time, classes).
    beam_size : prefixes kept after each frame.
    cutoff : classes whose log-probability is this much below the best of their frame are not looked at.
    language : given a prefix and the next label, what is added to the score: a language model's log-probability,
        weighted, and a bonus for each label.
    best : how many labellings are given for each row.

    References: Graves 2012, section 7.5.3; Hannun et al. 2014.
    """
    if beam_size < 1 or best < 1:
        raise ArgumentError(f"ctc_beam_search: beam_size {beam_size}, best {best}", hint="at least 1")
    rows = _rows("ctc_beam_search", log_probs, lengths, blank)
    return [_searched(row.astype(np.float64), blank, beam_size, cutoff, language)[:best] for row in rows]


def _searched(
    row: np.ndarray, blank: int, size: int, cutoff: float, language: Callable[[Sequence[int], int], float] | None
) -> list[Hypothesis]:
    """Prefixes with two log-probabilities: of paths that end with a blank, and of those that end with a label."""
    none = -np.inf
    beams: dict[tuple[int, ...], tuple[float, float, float]] = {(): (0.0, none, 0.0)}  # and the language's score
    for frame in row:
        classes = [int(k) for k in np.flatnonzero(frame >= frame.max() - cutoff)]
        found: dict[tuple[int, ...], list[float]] = {}
        for prefix, (with_blank, with_label, extra) in beams.items():
            both = np.logaddexp(with_blank, with_label)
            for k in classes:
                p = float(frame[k])
                if k == blank:
                    here = found.setdefault(prefix, [none, none, extra])
                    here[0] = np.logaddexp(here[0], both + p)
                    continue
                repeated = bool(prefix) and prefix[-1] == k
                if repeated:  # the same label goes on
                    here = found.setdefault(prefix, [none, none, extra])
                    here[1] = np.logaddexp(here[1], with_label + p)
                longer = (*prefix, k)
                if longer not in found:
                    found[longer] = [none, none, extra + (language(prefix, k) if language is not None else 0.0)]
                here = found[longer]
                here[1] = np.logaddexp(here[1], (with_blank if repeated else both) + p)
        ranked = sorted(found.items(), key=lambda item: -(np.logaddexp(item[1][0], item[1][1]) + item[1][2]))
        beams = {prefix: (a, b, c) for prefix, (a, b, c) in ranked[:size]}
    scored = [(list(prefix), float(np.logaddexp(a, b) + c)) for prefix, (a, b, c) in beams.items()]
    return sorted(scored, key=lambda item: -item[1])
