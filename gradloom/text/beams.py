"""Beam search: of all continuations the likeliest few are kept at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ArgumentError
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.tensor import Tensor, tensor
from gradloom.text.prompts import Prompts, ends, started
from gradloom.text.sampling import Choice, Chooser

__all__ = ["beam_search"]

_topk = G.PUBLIC["topk"]


def beam_search(
    model: Any,
    tokens: Any,
    max_new_tokens: int,
    *,
    num_beams: int = 4,
    length_penalty: float = 1.0,
    eos_id: int | Sequence[int] | None = None,
    pad_id: int = 0,
    attention_mask: Any = None,
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    min_new_tokens: int = 0,
    banned: Sequence[int] = (),
    **given: Any,
) -> tuple[Tensor, Tensor]:
    """The likeliest continuations found with ``num_beams`` kept at each step.

    Options that :func:`gradloom.text.generate` has too are described there.

    Returns
    -------
    (batch, longer) tokens, filled with ``pad_id``, and (batch,) scores: the sum of the new tokens' log-probabilities
    divided by their number to the power ``length_penalty``. A beam that has an ``eos_id`` is finished; a prompt is done
    when it has ``num_beams`` finished ones that no other can overtake at its present length.
    """
    if num_beams < 1 or max_new_tokens < 1:
        raise ArgumentError(
            f"beam_search: num_beams is {num_beams}, max_new_tokens {max_new_tokens}, expected at least 1"
        )
    choice = Choice(
        repetition_penalty=repetition_penalty, no_repeat_ngram_size=no_repeat_ngram_size,
        min_new_tokens=min_new_tokens, banned=banned,
    )  # fmt: skip
    prompts = Prompts.of(tokens, attention_mask, pad_id)
    batch = len(prompts.tokens)
    beams = prompts.repeated(num_beams)
    training = model.training
    model.eval()
    try:
        with no_grad():
            found = _Beams(beams.tokens, batch, num_beams, length_penalty, ends(eos_id), pad_id)
            state, logits = started(model, beams, max_new_tokens, given)
            chooser = Chooser(choice, beams.tokens, beams.real, ends(eos_id), logits.shape[-1])
            for step in range(1, max_new_tokens + 1):
                rows, new = found.extended(F.log_softmax(chooser.processed(logits), -1), step)
                if step == max_new_tokens or found.over(step):
                    break
                chooser.reorder(rows)
                chooser.add(new)
                state.reorder(tensor(rows))
                logits = model.next(state, tensor(new))
    finally:
        model.train(training)
    return found.best(step)


class _Beams:
    """The texts of all beams (batch * beams, length), their scores, and what is finished."""

    def __init__(
        self, text: np.ndarray, batch: int, count: int, penalty: float, ending: np.ndarray, pad_id: int
    ) -> None:
        self.text, self.count, self.penalty, self.ending, self.pad_id = text, count, penalty, ending, pad_id
        self.scores = np.full((batch, count), -np.inf)
        self.scores[:, 0] = 0.0  # all beams are the same at first
        self.finished: list[list[tuple[float, np.ndarray]]] = [[] for _ in range(batch)]

    def extended(self, log_p: Tensor, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Go on with the best: the rows that they come from (batch * beams,), and their tokens (batch * beams, 1)."""
        batch, beams = self.scores.shape
        vocabulary = log_p.shape[-1]
        count = min((1 + len(self.ending)) * beams, beams * vocabulary)
        total = log_p + tensor(self.scores.reshape(-1, 1).astype(np.float32))
        best, at = _topk(G.reshape(total, (batch, beams * vocabulary)), count)
        best, at = np.asarray(best.numpy(), np.float64), np.asarray(at.numpy())
        rows, new = np.zeros((batch, beams), np.int64), np.full((batch, beams), self.pad_id)
        self.scores = np.full((batch, beams), -np.inf)
        for b in range(batch):
            kept = 0
            rows[b] = b * beams
            for rank, (s, place) in enumerate(zip(best[b], at[b], strict=True)):
                row, token = b * beams + int(place) // vocabulary, int(place) % vocabulary
                if kept == beams or s == -np.inf:
                    break
                if token in self.ending:
                    if rank < beams:
                        self.finished[b].append((s / step**self.penalty, np.append(self.text[row], token)))
                    continue
                rows[b, kept], new[b, kept], self.scores[b, kept] = row, token, s
                kept += 1
        self.text = np.concatenate([self.text[rows.ravel()], new.reshape(-1, 1)], 1)
        return rows.ravel(), new.reshape(-1, 1)

    def over(self, step: int) -> bool:
        """Whether no prompt's beams can overtake its finished texts at their present length."""
        return all(
            len(f) >= self.count
            and sorted((s for s, _ in f), reverse=True)[self.count - 1] >= scores.max() / step**self.penalty
            for f, scores in zip(self.finished, self.scores, strict=True)
        )

    def best(self, step: int) -> tuple[Tensor, Tensor]:
        """The best text of each prompt, finished or not where too few are, and its score."""
        for b, (finished, scores) in enumerate(zip(self.finished, self.scores, strict=True)):
            if len(finished) < self.count:
                rows = self.text[b * self.count : (b + 1) * self.count]
                finished.extend(zip((scores / step**self.penalty).tolist(), rows, strict=True))
        chosen = [max(f, key=lambda x: x[0]) for f in self.finished]
        out = np.full((len(chosen), max(len(t) for _, t in chosen)), self.pad_id, np.int64)
        for b, (_, t) in enumerate(chosen):
            out[b, : len(t)] = t
        return tensor(out), tensor(np.asarray([s for s, _ in chosen], np.float32))
