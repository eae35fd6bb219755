"""Byte-level BPE as GPT-2 uses it: every text has tokens, and they give back the text exactly."""

from __future__ import annotations

import codecs
import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from gradloom.errors import ArgumentError
from gradloom.text.tokenizers.base import AddedToken, Template, Tokenizer
from gradloom.text.tokenizers.characters import SPACES, categories

__all__ = ["ByteLevelBPETokenizer"]


@cache
def byte_letters() -> dict[int, str]:
    """A printable character for each byte: itself in ASCII and Latin-1, else those from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + n) for n, b in enumerate(rest)}}


@cache
def _bytes() -> dict[str, int]:
    return {c: b for b, c in byte_letters().items()}


@cache
def words() -> re.Pattern[str]:
    """GPT-2's words: a contraction, letters, digits or other signs, each with a space before it; white space."""
    digits = r"\d" + categories("Nl", "No")
    letters = rf"[^\W_{digits}]"
    return re.compile(
        rf"'(?:s|t|re|ve|m|ll|d)| ?{letters}+| ?[{digits}]+| ?(?:(?![{SPACES}{digits}]|{letters}).)+"
        rf"|[{SPACES}]+(?![^{SPACES}])|[{SPACES}]+",
        re.DOTALL,
    )


class ByteLevelBPETokenizer(Tokenizer):
    """GPT-2's tokenizer; RoBERTa's and Whisper's with other special tokens.

    Parameters
    ----------
    vocab : tokens and ids; bytes stand as printable characters, a space as "Ġ".
    merges : pairs of tokens that become one, the first first.
    add_prefix_space : the first word is as the others.
    ignore_merges : a word that is a token is taken as it is.
    added, template, pad_token
        See :class:`Tokenizer`.

    Reference: Sennrich et al. 2016; Radford et al. 2019.
    """

    def __init__(
        self, vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], *, add_prefix_space: bool = False,
        ignore_merges: bool = False, added: Sequence[AddedToken] = (), template: Template | None = None,
        pad_token: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(vocab, added=added, template=template, pad_token=pad_token)
        missing = [c for c in byte_letters().values() if c not in self.model_vocab]
        if missing:
            raise ArgumentError(
                f"ByteLevelBPETokenizer: {len(missing)} of the 256 bytes are no tokens: {missing[:5]} …"
            )
        self.merges = [(a, b) for a, b in merges]
        for a, b in self.merges:
            if not {a, b, a + b} <= self.model_vocab.keys():
                raise ArgumentError(f"ByteLevelBPETokenizer: the merge {a!r} {b!r} or one of its parts is no token")
        self.add_prefix_space, self.ignore_merges = add_prefix_space, ignore_merges
        self._ranks = {pair: n for n, pair in enumerate(self.merges)}
        self._word = lru_cache(1 << 16)(self._split_word)  # words repeat

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int = 30000, *, min_frequency: int = 2,
        special_tokens: Sequence[str] = (), **options: Any,
    ) -> ByteLevelBPETokenizer:  # fmt: skip
        """A vocabulary learned from texts: of all pairs the most frequent becomes a token, again and again.

        Parameters
        ----------
        vocab_size : how many tokens there are at most: special ones, the 256 bytes, and merges.
        min_frequency : rarer pairs are not merged.
        special_tokens : have the first ids.
        options : of the class.
        """
        from gradloom.text.tokenizers.training import learned

        prefix = options.get("add_prefix_space", False)
        counts: dict[str, int] = {}
        for text in texts:
            for word in words().findall(_spaced(text, prefix)):
                counts[word] = counts.get(word, 0) + 1
        letters = byte_letters()
        spelled = {"".join(letters[b] for b in w.encode()): n for w, n in counts.items()}
        vocab, merges = learned(spelled, sorted(letters.values()), vocab_size, min_frequency, special_tokens)
        added = [AddedToken(t, vocab[t]) for t in special_tokens]
        return cls(vocab, merges, added=added, **options)

    def normalised(self, text: str) -> str:
        """The text as it is."""
        return text

    def pieces(self, text: str) -> list[str]:
        """Tokens of a text."""
        out: list[str] = []
        for word in words().findall(_spaced(text, self.add_prefix_space)):
            out.extend(self._word(word))
        return out

    def _split_word(self, word: str) -> tuple[str, ...]:
        letters = byte_letters()
        spelled = "".join(letters[b] for b in word.encode("utf-8", "surrogatepass"))
        if self.ignore_merges and spelled in self.model_vocab:
            return (spelled,)
        return merged(spelled, self._ranks)

    def joined(self, tokens: list[str]) -> str:
        """The bytes of tokens as UTF-8; what is no UTF-8 becomes U+FFFD."""
        return b"".join(self._as_bytes(t) for t in tokens).decode("utf-8", "replace")

    def _as_bytes(self, token: str) -> bytes:
        own = _bytes()
        return bytes(own[c] for c in token) if all(c in own for c in token) else token.encode()

    def stream(self, ids: Iterable[int], skip_special_tokens: bool = True) -> Iterator[str]:
        """Text as the ids of it arrive; a character whose bytes are spread over tokens comes with the last of them."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            if skip_special_tokens and int(i) in self._special:
                continue
            if text := decoder.decode(self._as_bytes(self.id_to_token(int(i)))):
                yield text
        if rest := decoder.decode(b"", True):
            yield rest

    def description(self) -> dict[str, Any]:
        """For tokenizer.json."""
        level = {
            "type": "ByteLevel",
            "add_prefix_space": self.add_prefix_space,
            "trim_offsets": True,
            "use_regex": True,
        }
        model = {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": self.ignore_merges,
            "vocab": self.model_vocab, "merges": [list(pair) for pair in self.merges],
        }  # fmt: skip
        return {"normalizer": None, "pre_tokenizer": level, "decoder": level, "model": model}


def _spaced(text: str, prefix: bool) -> str:
    return f" {text}" if prefix and not text.startswith(" ") else text


def merged(word: str, ranks: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    """The tokens of a word: of all neighbours that can be merged the pair of lowest rank, the leftmost first.

    The pairs wait in a heap and the tokens in a linked list, so that long words cost n log n.
    """
    parts: list[str | None] = list(word)
    end = len(parts)
    before, behind = list(range(-1, end - 1)), list(range(1, end + 1))
    waiting: list[tuple[int, int, str, str]] = []

    def look(left: int, right: int) -> None:
        if left < 0 or right >= end:
            return
        pair = (parts[left] or "", parts[right] or "")
        rank = ranks.get(pair)
        if rank is not None:
            heapq.heappush(waiting, (rank, left, *pair))

    for n in range(end - 1):
        look(n, n + 1)
    while waiting:
        _, at, a, b = heapq.heappop(waiting)
        other = behind[at]
        if parts[at] != a or other >= end or parts[other] != b:
            continue  # one of the two has been merged since
        parts[at], parts[other] = a + b, None
        behind[at] = behind[other]
        if behind[at] < end:
            before[behind[at]] = at
        look(before[at], at)
        look(at, behind[at])
    return tuple(p for p in parts if p is not None)
