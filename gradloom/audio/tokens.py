"""Whisper's tokens: a byte-level pair encoding, and special ones for languages, tasks and times."""

from __future__ import annotations

import functools
import itertools
import json
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradloom.errors import ArgumentError, FileError

__all__ = ["WhisperTokenizer"]

TIME = 0.02  # seconds between two tokens of time


@functools.lru_cache(maxsize=1)
def _letters() -> dict[int, str]:
    """The letter that stands for each byte in the vocabulary's file: itself if it can be seen, or from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in seen]
    return {b: chr(b) for b in seen} | {b: chr(256 + k) for k, b in enumerate(hidden)}


def _kind(c: str) -> str:
    if c.isspace():
        return "space"
    group = unicodedata.category(c)[0]
    return {"L": "letter", "N": "number"}.get(group, "other")


_ENDINGS = ("'re", "'ve", "'ll", "'s", "'t", "'m", "'d")


def words(text: str) -> list[str]:
    """Text cut as GPT-2 cuts it: English endings, runs of letters, of numbers, of others, each with a space before."""
    out, at = [], 0
    while at < len(text):
        ending = next((e for e in _ENDINGS if text.startswith(e, at)), None)
        if ending:
            out.append(ending)
            at += len(ending)
            continue
        first = at + (text[at] == " " and at + 1 < len(text) and _kind(text[at + 1]) != "space")
        kind, end = _kind(text[first]), first + 1
        while end < len(text) and _kind(text[end]) == kind:
            end += 1
        if kind == "space" and end < len(text) and end - at > 1:
            end -= 1  # the last one belongs to what follows
        out.append(text[at:end])
        at = end
    return out


class WhisperTokenizer:
    """Text to tokens and back.

    Parameters
    ----------
    vocabulary : dict
        Token's letters to its number.
    merges : sequence of pairs
        What is joined first stands first.
    special : dict
        Special tokens, such as ``<|en|>``, to their numbers.
    """

    def __init__(self, vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], special: dict[str, int]) -> None:
        self.vocabulary = {k: v for k, v in vocabulary.items() if k not in special}
        self.special = special
        self._ranks = {pair: n for n, pair in enumerate(merges)}
        self._names = {v: k for k, v in self.vocabulary.items()}
        self._bytes = {c: b for b, c in _letters().items()}
        need = ("<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>")
        missing = [n for n in need if n not in special]
        if missing:
            raise FileError(f"WhisperTokenizer: no tokens {', '.join(missing)}", code="io.tokenizer")
        self.eot, self.sot, self.transcribe, self.no_timestamps = (special[n] for n in need)
        self.translate = special.get("<|translate|>", -1)
        self.sot_prev, self.sot_lm = special.get("<|startofprev|>", -1), special.get("<|startoflm|>", -1)
        self.no_speech = special.get("<|nospeech|>", special.get("<|nocaptions|>", -1))
        self.timestamp_begin = self.no_timestamps + 1
        skipped = {"endoftext", "startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech",
                   "nocaptions", "notimestamps"}  # fmt: skip
        names = {k[2:-2]: v for k, v in special.items() if k.startswith("<|") and not k[2].isdigit()}
        self.languages = {k: v for k, v in names.items() if k not in skipped}

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> WhisperTokenizer:
        """From Hugging Face's ``tokenizer.json``. Raises FileError for one of another kind."""
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            model = content["model"]
            pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
            merges = [(left, right) for left, right in pairs]
            special = {t["content"]: t["id"] for t in content["added_tokens"]}
            return cls(model["vocab"], merges, special)
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"{path}: no tokenizer of byte-level pairs ({error})", code="io.tokenizer", hint="tokenizer.json"
            ) from error

    @functools.lru_cache(maxsize=65536)  # noqa: B019 - one of these lives as long as the program
    def _joined(self, word: str) -> tuple[int, ...]:
        parts = [_letters()[b] for b in word.encode("utf-8")]
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in itertools.pairwise(parts)]
            best = min(ranks)
            if best == len(self._ranks):
                break
            left, right = parts[ranks.index(best)], parts[ranks.index(best) + 1]
            out: list[str] = []
            at = 0
            while at < len(parts):
                both = parts[at] == left and parts[at + 1 : at + 2] == [right]
                out.append(left + right if both else parts[at])
                at += 2 if both else 1
            parts = out
        return tuple(self.vocabulary[p] for p in parts)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; special tokens written in it are text as any other."""
        return [token for word in words(text) for token in self._joined(word)]

    def decode(self, tokens: Iterable[int], timestamps: bool = False) -> str:
        """Text of tokens, special ones left out; ``timestamps``: times written as ``<|1.08|>``."""
        out, run = [], bytearray()
        for t in map(int, tokens):
            if t in self._names:
                run += bytes(self._bytes[c] for c in self._names[t])
            elif timestamps and t >= self.timestamp_begin:
                out.append(run.decode("utf-8", "replace") + f"<|{(t - self.timestamp_begin) * TIME:.2f}|>")
                run = bytearray()
        return "".join(out) + run.decode("utf-8", "replace")

    def start(self, language: str | None = None, task: str = "transcribe", timestamps: bool = True) -> list[int]:
        """The tokens that decoding begins with; without a language those of the English models."""
        if task not in ("transcribe", "translate"):
            raise ArgumentError(f"task is {task!r}", hint='"transcribe" or "translate"')
        out = [self.sot]
        if language is not None:
            if language not in self.languages:
                raise ArgumentError(f"no language {language!r}", hint=f"one of {', '.join(sorted(self.languages))}")
            out += [self.languages[language], self.translate if task == "translate" else self.transcribe]
        return out if timestamps else [*out, self.no_timestamps]

    @functools.cached_property
    def non_speech(self) -> tuple[int, ...]:
        """Tokens of symbols that are written but not spoken: brackets, notes, and the like."""
        symbols = (
            list('"#()*+/:;<=>@[\\]^_`{|}~「」『』')
            + "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split()
        )
        notes = set("♩♪♫♬♭♮♯")
        found = {self.encode(" -")[0], self.encode(" '")[0]}
        for symbol in symbols + list(notes):
            for tokens in (self.encode(symbol), self.encode(" " + symbol)):
                if len(tokens) == 1 or symbol in notes:
                    found.add(tokens[0])
        return tuple(sorted(found))
