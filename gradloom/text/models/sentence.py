"""Sentences as vectors: an encoder, its states taken together over the tokens, and their length made one.

Reads the folders of Sentence Transformers (Reimers and Gurevych 2019).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ArgumentError, FileError, NotSupportedError
from gradloom.modes import no_grad
from gradloom.nn.module import Module
from gradloom.nn.similarity import normalize
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor
from gradloom.text.models.bert import BertModel
from gradloom.text.models.folders import read_json
from gradloom.text.tokenizers import Tokenizer, from_folder

__all__ = ["SentenceEncoder", "pooled"]

POOLING = ("cls", "max", "mean", "mean_sqrt_len")
STEP = 16  # rows are padded to multiples of this


@composite
def pooled(states: Tensor, mask: Tensor, mode: str = "mean") -> Tensor:
    """States (batch, length, width) of the tokens that a mask (batch, length) names, as one vector (batch, width).

    Parameters
    ----------
    mode : "mean", "max", "cls" (the first token's state), or "mean_sqrt_len" (the sum by the root of the number).

    A row without tokens gives 0; with "max" minus infinity.
    """
    if mode == "cls":
        return G.squeeze(G.narrow(states, 1, 0, 1), 1)
    seen = G.unsqueeze(mask, -1)
    if mode == "max":
        return G.amax(G.where(G.cast(seen, dtypes.bool_), states, G.const(-float("inf"))), 1)
    if mode not in POOLING:
        raise ArgumentError(f"pooled: no mode {mode!r}", hint=f"one of {', '.join(POOLING)}")
    weight = G.cast(seen, states.dtype)
    count = G.clamp(G.sum(weight, 1), G.const(1.0))
    return G.sum(states * weight, 1) / (count if mode == "mean" else G.sqrt(count))


class SentenceEncoder(Module):
    """Texts to vectors (texts, width); near ones mean alike.

    Parameters
    ----------
    model : gives states (batch, length, width) first; a :class:`BertModel`.
    tokenizer : makes ``input_ids`` and ``attention_mask``.
    pooling : see :func:`pooled`; several stand one behind the other.
    normalize : whether vectors have length one, so that their products are cosines.
    max_length : longer texts are cut to so many tokens.
    """

    def __init__(
        self, model: BertModel, tokenizer: Tokenizer, pooling: str | Sequence[str] = "mean", normalize: bool = True,
        max_length: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.pooling = (pooling,) if isinstance(pooling, str) else tuple(pooling)
        if not self.pooling or set(self.pooling) - set(POOLING):
            raise ArgumentError(f"SentenceEncoder: pooling {pooling!r}", hint=f"of {', '.join(POOLING)}")
        limit = model.config.max_position_embeddings
        self.normalize, self.max_length = normalize, min(max_length or limit, limit)

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str]) -> SentenceEncoder:
        """The encoder of a folder: modules.json names its parts; without it the mean of a BERT's states.

        Raises NotSupportedError for other parts than a BERT, pooling and a norm, FileError where a file is missing.
        """
        at = Path(path)
        pooling: list[str] = []
        normalised = False
        inner = at
        if (at / "modules.json").is_file():
            for part in json.loads((at / "modules.json").read_text("utf-8")):
                kind = part["type"].rpartition(".")[2]
                if kind == "Transformer":
                    inner = at / part["path"]
                elif kind == "Pooling":
                    pooling = _modes(read_json(at / part["path"] / "config.json"))
                elif kind == "Normalize":
                    normalised = True
                else:
                    raise NotSupportedError(
                        f"SentenceEncoder: {at / 'modules.json'} has a part {part['type']}", code="unsupported.model",
                        hint="Transformer, Pooling and Normalize are there",
                    )  # fmt: skip
        settings = inner / "sentence_bert_config.json"
        longest = read_json(settings).get("max_seq_length") if settings.is_file() else None
        model = BertModel.from_folder(inner, add_pooling_layer=False)
        return cls(model, from_folder(inner), pooling or "mean", normalised, longest).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Token ids and mask (batch, length) to vectors (batch, width)."""
        states, _ = self.model(input_ids, attention_mask, token_type_ids)
        out = G.cat([pooled(states, attention_mask, mode) for mode in self.pooling], -1)
        return normalize(out, 2.0, -1) if self.normalize else out

    def encode(self, sentences: str | Sequence[str], batch_size: int = 32) -> Tensor:
        """Vectors (sentences, width), or (width,) of one sentence; without gradients, in evaluation mode.

        Sentences are taken in the order of their lengths, in batches that are padded to multiples of 16, so there are
        few different programs.
        """
        if isinstance(sentences, str):
            return self.encode([sentences])[0]
        if batch_size < 1:
            raise ArgumentError(f"SentenceEncoder.encode: batch_size is {batch_size}, expected at least 1")
        order = sorted(range(len(sentences)), key=lambda n: len(sentences[n]))
        parts: list[np.ndarray] = []
        training = self.training
        self.eval()
        try:
            with no_grad():
                for start in range(0, len(order), batch_size):
                    chosen = [sentences[n] for n in order[start : start + batch_size]]
                    batch = self.tokenizer(chosen, max_length=self.max_length, pad_to_multiple_of=STEP)
                    parts.append(self(**batch).numpy())
        finally:
            self.train(training)
        width = len(self.pooling) * self.model.config.hidden_size
        out = np.empty((len(order), width), parts[0].dtype if parts else np.float32)
        if parts:
            out[order] = np.concatenate(parts)
        return tensor(out)

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosines (len(a), len(b)) of vectors (…, width)."""
        a, b = (x if x.ndim > 1 else G.unsqueeze(x, 0) for x in (a, b))
        return G.matmul(normalize(a, 2.0, -1), G.swap_last(normalize(b, 2.0, -1)))


def _modes(config: dict[str, object]) -> list[str]:
    names = {
        "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens", "mean": "pooling_mode_mean_tokens",
        "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    }  # fmt: skip
    other = [k for k, v in config.items() if k.startswith("pooling_mode_") and v and k not in names.values()]
    if other:
        raise NotSupportedError(f"SentenceEncoder: {', '.join(other)}", code="unsupported.model")
    found = [mode for mode, key in names.items() if config.get(key)]
    if not found:
        raise FileError("SentenceEncoder: the pooling's config.json chooses none", code="io.model")
    return found
