"""WordPiece as BERT uses it: words cut at white space, punctuation and ideographs, then into the longest pieces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from gradloom.errors import ArgumentError
from gradloom.text.tokenizers.base import AddedToken, Template, Tokenizer
from gradloom.text.tokenizers.characters import SPACES, categories

__all__ = ["WordPieceTokenizer"]

# CJK Unified Ideographs, their extensions A to E, and compatibility ideographs; no kana, no hangul. Extension E as
# Hugging Face's tokenizers have it.
_IDEOGRAPHS = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf"
    "\U0002f800-\U0002fa1f"
)
_IDEOGRAPH = re.compile(f"([{_IDEOGRAPHS}])")
_SPACE = re.compile("[\t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_CLOSE = re.compile(r" (?=[.?!,]|n't|'(?:m|s|ve|re))")  # what has no space before it


@cache
def _words() -> re.Pattern[str]:
    """Single punctuation characters, ASCII symbols among them, or runs of what is neither that nor white space."""
    punctuation = categories("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po") + re.escape("$+<=>^`|~")
    return re.compile(f"[{punctuation}]|[^{punctuation}{SPACES}]+")


def _shown(c: str) -> bool:
    return c in "\t\n\r" or (c not in "\0\ufffd" and unicodedata.category(c) not in ("Cc", "Cf", "Co"))


class WordPieceTokenizer(Tokenizer):
    """BERT's tokenizer.

    Parameters
    ----------
    vocab : tokens and ids, or the tokens in the order of their ids.
    lowercase : text becomes lower case.
    strip_accents : accents go; as ``lowercase`` where None.
    handle_chinese_chars : every ideograph is a word.
    clean_text : control characters go, all white space becomes a space.
    unk_token : stands for words without pieces, and for words longer than ``max_input_chars_per_word``.
    prefix : marks the pieces that continue a word.
    added, template, pad_token
        See :class:`Tokenizer`. Unless given: those of BERT, ``[CLS] A [SEP] B [SEP]``.

    Reference: Devlin et al. 2019; Wu et al. 2016.
    """

    type_ids = True

    def __init__(
        self, vocab: Mapping[str, int] | Sequence[str], *, lowercase: bool = True, strip_accents: bool | None = None,
        handle_chinese_chars: bool = True, clean_text: bool = True, unk_token: str = "[UNK]", prefix: str = "##",
        max_input_chars_per_word: int = 100, added: Sequence[AddedToken] | None = None,
        template: Template | None = None, pad_token: str | None = "[PAD]", cleanup: bool = True,
    ) -> None:  # fmt: skip
        ids = dict(vocab) if isinstance(vocab, Mapping) else {t: i for i, t in enumerate(vocab)}
        if added is None:
            names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
            added = [AddedToken(t, ids[t]) for t in names if t in ids]
        if template is None and {"[CLS]", "[SEP]"} <= set(ids):
            cls, sep = ((ids["[CLS]"],), 0), (ids["[SEP]"],)
            template = Template((cls, ("A", 0), (sep, 0)), (cls, ("A", 0), (sep, 0), ("B", 1), (sep, 1)))
        super().__init__(ids, added=added, template=template, pad_token=pad_token)
        if unk_token not in self.vocab:
            raise ArgumentError(f"WordPieceTokenizer: the vocabulary has no unk_token {unk_token!r}")
        self.lowercase, self.strip_accents = lowercase, strip_accents
        self.handle_chinese_chars, self.clean_text, self.cleanup = handle_chinese_chars, clean_text, cleanup
        self.unk_token, self.prefix, self.limit = unk_token, prefix, max_input_chars_per_word
        self._longest = max((len(t) for t in ids), default=0)
        self._word = lru_cache(1 << 16)(self._split_word)  # words repeat

    def normalised(self, text: str) -> str:
        """The text cleaned, ideographs apart, without accents, in lower case."""
        if self.clean_text:
            if not text.isascii() or not text.isprintable():
                text = "".join(c for c in text if _shown(c))
            text = _SPACE.sub(" ", text)
        if text.isascii():
            return text.lower() if self.lowercase else text
        if self.handle_chinese_chars:
            text = _IDEOGRAPH.sub(r" \1 ", text)
        if self.lowercase if self.strip_accents is None else self.strip_accents:
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        if self.lowercase:  # one character at a time: a sigma at the end of a word is one like the others
            text = "".join(c.lower() for c in text) if "Σ" in text else text.lower()
        return text

    def pieces(self, text: str) -> list[str]:
        """Tokens of a normalised text."""
        out: list[str] = []
        for word in _words().findall(text):
            out.extend(self._word(word))
        return out

    def _split_word(self, word: str) -> tuple[str, ...]:
        if len(word) > self.limit:
            return (self.unk_token,)
        out: list[str] = []
        start = 0
        while start < len(word):
            before = self.prefix if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = before + word[start:end]
                if piece in self.model_vocab:
                    break
            else:
                return (self.unk_token,)
            out.append(piece)
            start = end
        return tuple(out)

    def joined(self, tokens: list[str]) -> str:
        """Words with spaces between them; with ``cleanup`` none before marks and in English contractions."""
        text = ""
        for n, t in enumerate(tokens):
            part = t if not n else t.removeprefix(self.prefix) if t.startswith(self.prefix) else f" {t}"
            text += _CLOSE.sub("", part) if self.cleanup else part
        return text

    def description(self) -> dict[str, Any]:
        """For tokenizer.json."""
        normaliser = {
            "clean_text": self.clean_text, "handle_chinese_chars": self.handle_chinese_chars,
            "strip_accents": self.strip_accents, "lowercase": self.lowercase,
        }  # fmt: skip
        model = {
            "unk_token": self.unk_token, "continuing_subword_prefix": self.prefix,
            "max_input_chars_per_word": self.limit, "vocab": self.model_vocab,
        }  # fmt: skip
        return {
            "normalizer": {"type": "BertNormalizer", **normaliser},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "decoder": {"type": "WordPiece", "prefix": self.prefix, "cleanup": self.cleanup},
            "model": {"type": "WordPiece", **model},
        }
