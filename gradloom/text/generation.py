"""Text from models: the likeliest token, or draws from the likeliest ones, all at once or as they come.

A model has ``start(tokens, capacity, **given)``, which gives a state and the logits of the next token, ``next(state,
tokens)`` and, for beams, a state that can ``reorder(rows)``. Encoder-decoder models are given their source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError
from gradloom.modes import no_grad
from gradloom.random import Generator
from gradloom.tensor import Tensor, tensor
from gradloom.text.prompts import Prompts, ends, started
from gradloom.text.sampling import Choice, Chooser

__all__ = ["generate", "stream"]


def generate(
    model: Any,
    tokens: Any,
    max_new_tokens: int,
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    frequency_penalty: float = 0.0,
    presence_penalty: float = 0.0,
    no_repeat_ngram_size: int = 0,
    min_new_tokens: int = 0,
    banned: Sequence[int] = (),
    processors: Sequence[Callable[[list[np.ndarray], Tensor], Tensor]] = (),
    eos_id: int | Sequence[int] | None = None,
    pad_id: int = 0,
    attention_mask: Any = None,
    generator: Generator | None = None,
    **given: Any,
) -> Tensor:
    """Prompts with up to ``max_new_tokens`` more, (batch, longer); all steps run one program, or one of a few.

    Parameters
    ----------
    tokens : (batch, length), or lists of different lengths
        Shorter prompts are filled at the left.
    do_sample : bool
        Whether tokens are drawn; otherwise each is the likeliest.
    temperature : float
        What logits are divided by before a draw: below 1 the likely get likelier.
    top_k, top_p, min_p
        See :func:`gradloom.text.sampling.filtered`; for draws.
    repetition_penalty : float
        See :func:`gradloom.text.sampling.penalised`; prompts count. 1 is none.
    frequency_penalty, presence_penalty : float
        Taken from a new token's logit: the first once for each time it was generated, the second once.
    no_repeat_ngram_size : int
        No run of so many tokens comes twice in a row of the batch. 0 is no limit.
    min_new_tokens : int
        So many tokens come before one that ends.
    banned : tokens
        They never come.
    processors : callables
        What else is done to logits: ``process(rows, logits)``, with the tokens of each row so far, gives new logits.
    eos_id : int or several
        A row that has one is filled with ``pad_id``; when all have, generation ends.
    attention_mask : (batch, length)
        0 at the padding of prompts, which is at the left.
    given
        Handed to the model's ``start``: ``source=ids`` for translation.
    """
    prompts = Prompts.of(tokens, attention_mask, pad_id)
    choice = Choice(
        do_sample, temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty,
        no_repeat_ngram_size, min_new_tokens, banned, processors, generator,
    )  # fmt: skip
    new = list(_steps(model, prompts, max_new_tokens, choice, ends(eos_id), pad_id, given))
    return tensor(np.concatenate([prompts.tokens, *new], 1))


def stream(
    model: Any,
    tokens: Any,
    max_new_tokens: int,
    *,
    eos_id: int | Sequence[int] | None = None,
    pad_id: int = 0,
    attention_mask: Any = None,
    source: Any = None,
    **options: Any,
) -> Iterator[np.ndarray]:
    """The new tokens as they come: an array (batch,) at each step.

    Parameters as of :func:`generate`; what a model's ``start`` is given is ``source`` alone.
    """
    prompts = Prompts.of(tokens, attention_mask, pad_id)
    given = {} if source is None else {"source": source}
    steps = _steps(model, prompts, max_new_tokens, Choice(**options), ends(eos_id), pad_id, given)
    return (new[:, 0] for new in steps)


def _steps(
    model: Any, prompts: Prompts, count: int, choice: Choice, ending: np.ndarray, pad_id: int, given: dict[str, Any]
) -> Iterator[np.ndarray]:
    """Columns (batch, 1) of new tokens. The model's mode and that of gradients are the caller's between them."""
    if count < 0:
        raise ArgumentError(f"generate: max_new_tokens is {count}, expected at least 0")
    done = np.zeros(len(prompts.tokens), bool)
    state: Any = None
    chooser: Chooser | None = None
    new = prompts.tokens[:, :0]
    for _ in range(count):
        training = model.training
        model.eval()
        try:
            with no_grad():
                if chooser is None:
                    state, logits = started(model, prompts, count, given)
                    chooser = Chooser(choice, prompts.tokens, prompts.real, ending, logits.shape[-1])
                else:
                    logits = model.next(state, tensor(new))
                new = chooser.next(logits)
        finally:
            model.train(training)
        chooser.add(new)
        column = np.where(done[:, None], pad_id, new)
        done |= np.isin(column[:, 0], ending)
        yield column
        if done.all():
            return
