"""What generation starts from: prompts as a batch, and a model's state behind them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.tensor import Tensor, tensor

__all__ = ["Prompts", "ends", "started"]

STEP = 32  # prompts are padded to multiples of this, so there are few different programs


@dataclass(frozen=True)
class Prompts:
    """Tokens (batch, length), int64, and which of them are no padding; the padding is at the left."""

    tokens: np.ndarray
    real: np.ndarray

    @classmethod
    def of(cls, tokens: Any, attention_mask: Any, pad_id: int) -> Prompts:
        """Prompts of one length, lists of different lengths, or a batch padded at the left with its mask."""
        if isinstance(tokens, Sequence) and len(tokens) and len({np.size(row) for row in tokens}) > 1:
            if attention_mask is not None:
                raise ArgumentError("generate: attention_mask beside lists of different lengths", hint="leave it out")
            rows = [np.asarray(row, np.int64) for row in tokens]
            longest = max(map(len, rows))
            filled = [np.concatenate([np.full(longest - len(r), pad_id), r]) for r in rows]
            real = np.arange(longest) >= longest - np.array([[len(r)] for r in rows])
            return cls(np.stack(filled), _checked(real))
        array = tokens.numpy() if isinstance(tokens, Tensor) else np.asarray(tokens)
        if array.ndim != 2 or not array.shape[1]:
            raise ShapeError(
                f"generate: the prompt has shape {array.shape}", code="shape.generate",
                hint="(batch, length) with at least one token",
            )  # fmt: skip
        if array.dtype.kind not in "iu":
            raise DTypeError(f"generate: tokens of dtype {array.dtype}", code="dtype.generate", hint="ids are integers")
        real = np.ones(array.shape, bool)
        if attention_mask is not None:
            given = attention_mask.numpy() if isinstance(attention_mask, Tensor) else np.asarray(attention_mask)
            if given.shape != array.shape:
                raise ShapeError(
                    f"generate: attention_mask of shape {given.shape} beside tokens of {array.shape}",
                    code="shape.generate",
                )
            real = given.astype(bool)
        return cls(array.astype(np.int64), _checked(real))

    def repeated(self, times: int) -> Prompts:
        """Each row so many times."""
        return Prompts(np.repeat(self.tokens, times, 0), np.repeat(self.real, times, 0))


def _checked(real: np.ndarray) -> np.ndarray:
    behind = real[:, :-1] & ~real[:, 1:]
    if behind.any():
        row, column = (int(k[0]) for k in np.nonzero(behind))
        raise ShapeError(
            f"generate: row {row} has padding behind a token, at place {column + 1}", code="shape.generate",
            hint="prompts are padded at the left: padding_side='left'",
        )  # fmt: skip
    if not real[:, -1].all():
        raise ShapeError(f"generate: row {int(np.flatnonzero(~real[:, -1])[0])} has no token", code="shape.generate")
    return real


def ends(eos_id: int | Sequence[int] | None) -> np.ndarray:
    """The tokens that end a row, (count,)."""
    return np.atleast_1d(np.asarray([] if eos_id is None else eos_id, np.int64))


def started(model: Any, prompts: Prompts, new: int, given: dict[str, Any]) -> tuple[Any, Tensor]:
    """The model's state behind the prompts, with room for ``new`` tokens, and the logits of what comes next.

    A model whose ``start`` takes ``padding``, the number of each row's first tokens that do not count, is given
    prompts padded to a multiple of 32.
    """
    taken = inspect.signature(model.start).parameters
    own = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
    unknown = [] if own else [name for name in given if name not in taken]
    if unknown:
        hint = "beams are gradloom.text.beam_search" if "num_beams" in unknown else f"it takes {', '.join(taken)}"
        raise ArgumentError(
            f"generation has no option {unknown[0]}, and {type(model).__name__}.start takes none", hint=hint
        )
    last = prompts.tokens[:, -1:]
    tokens, real = np.where(prompts.real, prompts.tokens, last), prompts.real  # pad_id need be no token
    if "padding" in taken:
        more = -tokens.shape[1] % STEP
        tokens = np.concatenate([np.repeat(last, more, 1), tokens], 1)
        given = {**given, "padding": tensor(more + (~real).sum(1))}
    elif not real.all():
        raise ArgumentError(
            f"{type(model).__name__} takes no padded prompts", hint="prompts of one length: its start has no padding="
        )
    return model.start(tensor(tokens), tokens.shape[1] + max(new - 1, 0), **given)
