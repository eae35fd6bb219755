"""What all tokenizers do alike: special tokens found in text, pairs, truncation, padding, batches."""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, IndexRangeError
from gradloom.tensor import Tensor, tensor

__all__ = ["AddedToken", "Template", "Tokenizer"]

Piece = tuple[str | tuple[int, ...], int]


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text as a whole, before it is cut into words.

    Attributes
    ----------
    special : left out by ``decode(..., skip_special_tokens=True)``.
    lstrip, rstrip : takes up the white space before, or behind it.
    single_word : not found inside of a word.
    normalized : looked for in the normalised text instead of the raw one.
    """

    content: str
    id: int
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False

    @property
    def pattern(self) -> str:
        """A regular expression that finds it, with the white space that it takes up."""
        inner = re.escape(self.content)
        if self.single_word:
            inner = rf"(?<!\w){inner}(?!\w)"
        return (r"\s*" if self.lstrip else "") + f"({inner})" + (r"\s*" if self.rstrip else "")


@dataclass(frozen=True)
class Template:
    """Where special tokens stand around one text, and around a pair.

    Each piece is ``"A"`` or ``"B"``, or the ids of special tokens, beside the type id that its tokens get.
    """

    single: tuple[Piece, ...] = (("A", 0),)
    pair: tuple[Piece, ...] = (("A", 0), ("B", 0))

    def count(self, pair: bool) -> int:
        """How many special tokens there are."""
        return sum(len(what) for what, _ in (self.pair if pair else self.single) if not isinstance(what, str))

    def put(self, a: list[int], b: list[int] | None) -> tuple[list[int], list[int]]:
        """Ids and type ids of the whole."""
        ids: list[int] = []
        types: list[int] = []
        for what, kind in self.single if b is None else self.pair:
            new = (a if what == "A" else b or []) if isinstance(what, str) else what
            ids.extend(new)
            types.extend([kind] * len(new))
        return ids, types


class _Finder:
    """Cuts a text at the places of some added tokens."""

    def __init__(self, tokens: Iterable[AddedToken]) -> None:
        # of those that begin at one place the longest is taken
        self.tokens = sorted(tokens, key=lambda t: -len(t.content))
        self.find = re.compile("|".join(t.pattern for t in self.tokens)) if self.tokens else None

    def cut(self, text: str) -> list[str | AddedToken]:
        if self.find is None:
            return [text] if text else []
        out: list[str | AddedToken] = []
        at = 0
        for m in self.find.finditer(text):
            if m.start() > at:
                out.append(text[at : m.start()])
            out.append(self.tokens[(m.lastindex or 1) - 1])
            at = m.end()
        if at < len(text):
            out.append(text[at:])
        return out


class Tokenizer(ABC):
    """A vocabulary, how text is cut into its tokens, and what is put around them.

    Parameters
    ----------
    vocab : tokens and their ids, added ones not included.
    added : tokens that are found as a whole.
    template : special tokens around texts.
    pad_token : what fills up shorter rows of a batch; its id is 0 where there is none.

    ``tokenizer(texts)`` gives tensors that go into a model as ``model(**batch)``.
    """

    type_ids = False  # whether calls give token_type_ids

    def __init__(
        self, vocab: Mapping[str, int], *, added: Sequence[AddedToken] = (), template: Template | None = None,
        pad_token: str | None = None,
    ) -> None:  # fmt: skip
        self.model_vocab = dict(vocab)
        self.added = tuple(added)
        self.template = template or Template()
        self.vocab = {**self.model_vocab, **{t.content: t.id for t in self.added}}
        self.tokens_by_id = {i: t for t, i in self.vocab.items()}
        if pad_token is not None and pad_token not in self.vocab:
            raise ArgumentError(f"the vocabulary has no pad_token {pad_token!r}")
        self.pad_token, self.pad_id = pad_token, 0 if pad_token is None else self.vocab[pad_token]
        self._special = {t.id for t in self.added if t.special}
        self._raw = _Finder(t for t in self.added if not t.normalized)
        self._late = _Finder(t for t in self.added if t.normalized)

    # -- what differs ---------------------------------------------------------------------------------------
    @abstractmethod
    def normalised(self, text: str) -> str:
        """The text as it is cut into words."""

    @abstractmethod
    def pieces(self, text: str) -> list[str]:
        """Tokens of a normalised text that has no added tokens in it."""

    @abstractmethod
    def joined(self, tokens: list[str]) -> str:
        """Tokens as text."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """``model``, ``normalizer``, ``pre_tokenizer`` and ``decoder`` of tokenizer.json."""

    # -- one text -------------------------------------------------------------------------------------------
    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text, special ones only where the text has them."""
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, got {type(text).__name__}")
        out: list[str] = []
        for part in self._raw.cut(text):
            if isinstance(part, AddedToken):
                out.append(part.content)
                continue
            for piece in self._late.cut(self.normalised(part)):
                out.extend([piece.content] if isinstance(piece, AddedToken) else self.pieces(piece))
        return out

    def encode(
        self, text: str, pair: str | None = None, *, add_special_tokens: bool = True, max_length: int | None = None
    ) -> list[int]:
        """Ids of a text or a pair; with ``max_length`` cut at the right, the longer one of a pair first."""
        return self._encoded(text, pair, add_special_tokens, max_length)[0]

    def _encoded(
        self, text: str, pair: str | None, special: bool, max_length: int | None
    ) -> tuple[list[int], list[int]]:
        a = [self.vocab[t] for t in self.tokenize(text)]
        b = None if pair is None else [self.vocab[t] for t in self.tokenize(pair)]
        template = self.template if special else Template(pair=(("A", 0), ("B", self.template.pair[-1][1])))
        if max_length is not None:
            room = max_length - template.count(b is not None)
            if room < 0:
                raise ArgumentError(
                    f"max_length is {max_length}, the special tokens alone are {template.count(b is not None)}"
                )
            a, b = _cut(a, b, room)
        return template.put(a, b)

    def decode(self, ids: Iterable[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """The text of some ids. Raises IndexRangeError for one that is no token's."""
        numbers = [int(i) for i in (ids.numpy().ravel() if isinstance(ids, Tensor) else ids)]
        tokens = [self.id_to_token(i) for i in numbers if not (skip_special_tokens and i in self._special)]
        return self.joined(tokens)

    # -- batches --------------------------------------------------------------------------------------------
    def __call__(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None, *, add_special_tokens: bool = True,
        max_length: int | None = None, pad_to_multiple_of: int = 1, padding_side: str = "right",
    ) -> dict[str, Tensor]:  # fmt: skip
        """A batch as int64 tensors (texts, longest): ``input_ids``, ``attention_mask``; for BERT ``token_type_ids``.

        Parameters
        ----------
        texts, pairs : one text is a batch of one.
        max_length : longer rows are cut, and none is padded further.
        pad_to_multiple_of : rows are as long as the next multiple of this: there are fewer different shapes.
        padding_side : "right", or "left" for generation.
        """
        firsts = [texts] if isinstance(texts, str) else list(texts)
        seconds = [None] * len(firsts) if pairs is None else [pairs] if isinstance(pairs, str) else list(pairs)
        if len(firsts) != len(seconds):
            raise ArgumentError(f"{len(firsts)} texts beside {len(seconds)} pairs")
        if padding_side not in ("right", "left"):
            raise ArgumentError(f"padding_side is {padding_side!r}, expected 'right' or 'left'")
        rows = [self._encoded(a, b, add_special_tokens, max_length) for a, b in zip(firsts, seconds, strict=True)]
        least = max((len(ids) for ids, _ in rows), default=0)
        longest = -(-least // pad_to_multiple_of) * pad_to_multiple_of
        if max_length is not None:
            longest = max(least, min(longest, max_length))
        ids = np.full((len(rows), longest), self.pad_id, np.int64)
        kinds, seen = np.zeros_like(ids), np.zeros_like(ids)
        for n, (row, types) in enumerate(rows):
            at = slice(0, len(row)) if padding_side == "right" else slice(longest - len(row), longest)
            ids[n, at], kinds[n, at], seen[n, at] = row, types, 1
        out = {"input_ids": tensor(ids), "attention_mask": tensor(seen)}
        return {**out, "token_type_ids": tensor(kinds)} if self.type_ids else out

    # -- vocabulary -----------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self.vocab)

    @property
    def vocab_size(self) -> int:
        """How many ids a model needs rows for: one more than the greatest."""
        return max(self.vocab.values(), default=-1) + 1

    def token_to_id(self, token: str) -> int:
        """The id of a token. Raises IndexRangeError where there is none."""
        if token not in self.vocab:
            raise IndexRangeError(f"{token!r} is no token of this vocabulary of {len(self)}", code="index.token")
        return self.vocab[token]

    def id_to_token(self, id: int) -> str:
        """The token of an id. Raises IndexRangeError where there is none."""
        if id not in self.tokens_by_id:
            raise IndexRangeError(f"{id} is the id of none of the {len(self)} tokens", code="index.token")
        return self.tokens_by_id[id]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, which :func:`from_file` and Hugging Face's tokenizers read."""
        at = Path(path)
        at = at / "tokenizer.json" if at.is_dir() else at
        pad = {
            "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": self.pad_id,
            "pad_type_id": 0, "pad_token": self.pad_token,
        }  # fmt: skip
        data = {
            "version": "1.0", "truncation": None, "padding": None if self.pad_token is None else pad,
            "added_tokens": [vars(t) for t in self.added], "post_processor": self._template_description(),
            **self.description(),
        }  # fmt: skip
        at.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", "utf-8")

    def _template_description(self) -> dict[str, Any] | None:
        if self.template == Template():
            return None
        special: dict[str, Any] = {}

        def written(pieces: tuple[Piece, ...]) -> list[dict[str, Any]]:
            out: list[dict[str, Any]] = []
            for what, kind in pieces:
                if isinstance(what, str):
                    out.append({"Sequence": {"id": what, "type_id": kind}})
                    continue
                for i in what:
                    name = self.id_to_token(i)
                    special[name] = {"id": name, "ids": [i], "tokens": [name]}
                    out.append({"SpecialToken": {"id": name, "type_id": kind}})
            return out

        parts = {"single": written(self.template.single), "pair": written(self.template.pair)}
        return {"type": "TemplateProcessing", **parts, "special_tokens": special}


def _cut(a: list[int], b: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
    """At most ``room`` ids: tokens go from the end of the longer list, until both are of one length."""
    if b is None:
        return a[:room], None
    short = min(len(a), len(b), room // 2)
    if len(a) + len(b) <= room:
        return a, b
    if len(a) > len(b):  # where both are cut to one length and room is odd, the longer keeps one more
        return a[: room - short], b[:short]
    return a[:short], b[: room - short]
