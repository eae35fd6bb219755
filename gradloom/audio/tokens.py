"""Whisper's tokens: a byte-level pair encoding, and special ones for languages, tasks and times."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradloom.errors import ArgumentError, FileError
from gradloom.text.tokenizers.byte_level import byte_letters, merged, words

__all__ = ["WhisperTokenizer"]

TIME = 0.02  # seconds between two tokens of time


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
        self._bytes = {c: b for b, c in byte_letters().items()}
        self._word = functools.lru_cache(1 << 16)(self._joined)  # words repeat
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

    def _joined(self, word: str) -> tuple[str, ...]:
        letters = byte_letters()
        return merged("".join(letters[b] for b in word.encode("utf-8")), self._ranks)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; special tokens written in it are text as any other."""
        return [self.vocabulary[part] for word in words().findall(text) for part in self._word(word)]

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
