"""Text from models: the likeliest token, draws from the likeliest ones, and beams.

A model has ``start(tokens, capacity, **given)``, which gives a state and the logits of the next token, ``next(state,
tokens)`` and, for beams, a state that can ``reorder(rows)``. Encoder-decoder models are given their source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.random import Generator
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor

__all__ = ["beam_search", "filtered", "generate", "penalised"]

_sort, _topk, _multinomial, _cumsum = (G.PUBLIC[n] for n in ("sort", "topk", "multinomial", "cumsum"))


@composite
def penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (batch, vocabulary) of seen tokens made less likely: divided where positive, else multiplied.

    seen: (batch, vocabulary) bool. Reference: Keskar et al. 2019.
    """
    return G.where(seen, G.where(logits > 0, logits / penalty, logits * penalty), logits)


def filtered(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits with minus infinity for all but the likeliest.

    Parameters
    ----------
    top_k : int
        So many stay (Fan et al. 2018); of equal ones at the border all.
    top_p : float
        As few stay as have at least this probability together (Holtzman et al. 2020).
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
    return logits


def _ended(eos_id: int | Sequence[int] | None) -> np.ndarray:
    return np.atleast_1d(np.asarray([] if eos_id is None else eos_id, np.int64))


def _prompt(tokens: Any) -> Tensor:
    t = tokens if isinstance(tokens, Tensor) else tensor(np.asarray(tokens, np.int64))
    if t.ndim != 2 or not t.shape[1]:
        raise ShapeError(
            f"generate: the prompt has shape {tuple(t.shape)}", code="shape.generate",
            hint="(batch, length) with at least one token; prompts of one length",
        )  # fmt: skip
    return t


def generate(
    model: Any,
    tokens: Any,
    max_new_tokens: int,
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    eos_id: int | Sequence[int] | None = None,
    pad_id: int = 0,
    generator: Generator | None = None,
    **given: Any,
) -> Tensor:
    """Prompts (batch, length) with up to ``max_new_tokens`` more, (batch, longer); every step runs one program.

    Parameters
    ----------
    do_sample : bool
        Whether tokens are drawn; otherwise each is the likeliest.
    temperature : float
        What logits are divided by before a draw: below 1 the likely get likelier.
    top_k, top_p
        See :func:`filtered`; for draws.
    repetition_penalty : float
        See :func:`penalised`; 1 is none.
    eos_id : int or several
        A sequence that has one is filled with ``pad_id``; all such end the generation.
    given
        Handed to the model's ``start``: ``source=ids`` for translation.
    """
    if temperature <= 0:
        raise ArgumentError(f"generate: temperature is {temperature}, expected more than 0", hint="do_sample=False")
    prompt = _prompt(tokens)
    ends = _ended(eos_id)
    columns = [np.asarray(prompt.numpy(), np.int64)]
    done = np.zeros(prompt.shape[0], bool)
    training = model.training
    model.eval()
    try:
        with no_grad():
            state, logits = model.start(prompt, prompt.shape[1] + max_new_tokens, **given)
            seen = np.zeros(tuple(logits.shape), bool)
            np.put_along_axis(seen, columns[0], True, 1)
            for step in range(max_new_tokens):
                if repetition_penalty != 1.0:
                    logits = penalised(logits, tensor(seen), repetition_penalty)
                if do_sample:
                    p = G.softmax(filtered(logits / temperature, top_k, top_p), -1)
                    new = _multinomial(p, 1, True, generator=generator).numpy()
                else:
                    new = G.argmax(logits, -1, True).numpy()
                new = np.asarray(new, np.int64)
                np.put_along_axis(seen, new, True, 1)
                columns.append(np.where(done[:, None], pad_id, new))
                done |= np.isin(columns[-1][:, 0], ends)
                if done.all() or step + 1 == max_new_tokens:
                    break
                logits = model.next(state, tensor(new))
    finally:
        model.train(training)
    return tensor(np.concatenate(columns, 1))


def beam_search(
    model: Any,
    tokens: Any,
    max_new_tokens: int,
    *,
    num_beams: int = 4,
    length_penalty: float = 1.0,
    eos_id: int | Sequence[int] | None = None,
    pad_id: int = 0,
    repetition_penalty: float = 1.0,
    **given: Any,
) -> tuple[Tensor, Tensor]:
    """The likeliest continuations found with ``num_beams`` kept at each step.

    Returns
    -------
    (batch, longer) tokens, filled with ``pad_id``, and (batch,) scores: the sum of the new tokens' log-probabilities
    divided by their number to the power ``length_penalty``. A beam that has an ``eos_id`` is finished; a prompt is done
    when it has ``num_beams`` finished ones that no other can overtake at its present length.
    """
    if num_beams < 1:
        raise ArgumentError(f"beam_search: num_beams is {num_beams}, expected at least 1")
    prompt, ends = _prompt(tokens), _ended(eos_id)
    first = np.repeat(np.asarray(prompt.numpy(), np.int64), num_beams, 0)
    batch, length = prompt.shape
    training = model.training
    model.eval()
    try:
        with no_grad():
            state, logits = model.start(tensor(first), length + max_new_tokens, **given)
            text = first
            scores = np.full((batch, num_beams), -np.inf)
            scores[:, 0] = 0.0  # all beams are the same at first
            finished: list[list[tuple[float, np.ndarray]]] = [[] for _ in range(batch)]
            for step in range(1, max_new_tokens + 1):
                if repetition_penalty != 1.0:
                    seen = np.zeros(tuple(logits.shape), bool)
                    np.put_along_axis(seen, text, True, 1)
                    logits = penalised(logits, tensor(seen), repetition_penalty)
                vocabulary = logits.shape[-1]
                count = min((1 + len(ends)) * num_beams, num_beams * vocabulary)
                total = F.log_softmax(logits, -1) + tensor(scores.reshape(-1, 1).astype(np.float32))
                best, at = _topk(G.reshape(total, (batch, num_beams * vocabulary)), count)
                best, at = np.asarray(best.numpy(), np.float64), np.asarray(at.numpy())
                rows, new = np.zeros((batch, num_beams), np.int64), np.full((batch, num_beams), pad_id)
                scores = np.full((batch, num_beams), -np.inf)
                for b in range(batch):
                    kept = 0
                    for rank, (s, place) in enumerate(zip(best[b], at[b], strict=True)):
                        row, token = b * num_beams + int(place) // vocabulary, int(place) % vocabulary
                        if kept == num_beams or s == -np.inf:
                            break
                        if token in ends:
                            if rank < num_beams:
                                finished[b].append((s / step**length_penalty, np.append(text[row], token)))
                            continue
                        rows[b, kept], new[b, kept], scores[b, kept] = row, token, s
                        kept += 1
                text = np.concatenate([text[rows.ravel()], new.reshape(-1, 1)], 1)
                if step == max_new_tokens or all(
                    _over(f, s.max(), step, num_beams, length_penalty) for f, s in zip(finished, scores, strict=True)
                ):
                    break
                state.reorder(tensor(rows.ravel()))
                logits = model.next(state, tensor(new.reshape(-1, 1)))
    finally:
        model.train(training)
    for b in range(batch):
        if len(finished[b]) < num_beams:
            for k in range(num_beams):
                finished[b].append((scores[b, k] / step**length_penalty, text[b * num_beams + k]))
    chosen = [max(f, key=lambda x: x[0]) for f in finished]
    out = np.full((batch, max(len(t) for _, t in chosen)), pad_id, np.int64)
    for b, (_, t) in enumerate(chosen):
        out[b, : len(t)] = t
    return tensor(out), tensor(np.asarray([s for s, _ in chosen], np.float32))


def _over(finished: list[tuple[float, np.ndarray]], best: float, step: int, beams: int, penalty: float) -> bool:
    if len(finished) < beams:
        return False
    return sorted((s for s, _ in finished), reverse=True)[beams - 1] >= best / step**penalty
