"""Tokenizers from files: tokenizer.json, vocab.txt, or vocab.json beside merges.txt."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradloom.errors import FileError, NotSupportedError
from gradloom.text.tokenizers.base import AddedToken, Template, Tokenizer
from gradloom.text.tokenizers.byte_level import ByteLevelBPETokenizer
from gradloom.text.tokenizers.wordpiece import WordPieceTokenizer

__all__ = ["from_file", "from_folder"]


def from_file(path: str | os.PathLike[str], **options: Any) -> Tokenizer:
    """The tokenizer of a tokenizer.json, or of a vocab.txt with one WordPiece token a line.

    Truncation and padding of the file are left out: they are options of a call.

    Raises
    ------
    NotSupportedError
        For other kinds than BERT's WordPiece and byte-level BPE: SentencePiece's models, other rules for words.
    FileError
        For a file that is none.
    """
    at = Path(path)
    text = at.read_text("utf-8")
    if at.suffix == ".txt":
        return WordPieceTokenizer(text.splitlines(), **options)
    try:
        data = json.loads(text)
        kind = data["model"].get("type") or ("BPE" if "merges" in data["model"] else "WordPiece")
        if kind == "WordPiece":
            return _word_piece(data, options)
        if kind == "BPE":
            return _byte_level(data, options)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise FileError(f"{at} is no tokenizer.json: {type(error).__name__} {error}", code="io.tokenizer") from error
    raise _absent(f"a model of type {kind!r}")


def from_folder(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of a folder with a model: its tokenizer.json, or else vocab.json and merges.txt, or vocab.txt."""
    at = Path(path)
    if (at / "tokenizer.json").is_file():
        return from_file(at / "tokenizer.json")
    config = at / "tokenizer_config.json"
    settings = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    if (at / "vocab.json").is_file() and (at / "merges.txt").is_file():
        vocab = json.loads((at / "vocab.json").read_text("utf-8"))
        lines = (at / "merges.txt").read_text("utf-8").split("\n")
        pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
        added = [AddedToken(t, vocab[t]) for t in ("<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>") if t in vocab]
        if "<mask>" in vocab:
            added.append(AddedToken("<mask>", vocab["<mask>"], lstrip=True))
        return ByteLevelBPETokenizer(
            vocab, pairs,  # type: ignore[arg-type]
            add_prefix_space=settings.get("add_prefix_space", False), added=added,
            template=_roberta(vocab["<s>"], vocab["</s>"]) if {"<s>", "</s>"} <= vocab.keys() else None,
            pad_token="<pad>" if "<pad>" in vocab else None,
        )  # fmt: skip
    if (at / "vocab.txt").is_file():
        return from_file(
            at / "vocab.txt", lowercase=settings.get("do_lower_case", True),
            strip_accents=settings.get("strip_accents"),
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        )  # fmt: skip
    raise FileError(
        f"no tokenizer in {at}", code="io.tokenizer", hint="tokenizer.json, vocab.txt, or vocab.json with merges.txt"
    )


def _absent(what: str) -> NotSupportedError:
    return NotSupportedError(
        f"tokenizer.json with {what}", code="unsupported.tokenizer",
        hint="BERT's WordPiece and byte-level BPE are read; use the package tokenizers for others",
    )  # fmt: skip


def _pad_token(data: Mapping[str, Any], added: list[AddedToken]) -> str | None:
    named = (data.get("padding") or {}).get("pad_token")
    known = {t.content for t in added}
    return next((t for t in (named, "[PAD]", "<pad>") if t in known), None)


def _shared(data: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("content", "id", "special", "lstrip", "rstrip", "single_word", "normalized")
    added = [AddedToken(**{f: t[f] for f in fields}) for t in data.get("added_tokens") or ()]
    return {"added": added, "template": _template(data.get("post_processor")), "pad_token": _pad_token(data, added)}


def _template(post: Mapping[str, Any] | None) -> Template:
    if post is None or post["type"] == "ByteLevel":
        return Template()
    if post["type"] == "Sequence":
        found = [_template(p) for p in post["processors"]]
        return next((t for t in found if t != Template()), Template())
    if post["type"] == "BertProcessing":
        (_, sep), (_, cls) = post["sep"], post["cls"]
        return Template(
            (((cls,), 0), ("A", 0), ((sep,), 0)), (((cls,), 0), ("A", 0), ((sep,), 0), ("B", 1), ((sep,), 1))
        )
    if post["type"] == "RobertaProcessing":
        return _roberta(post["cls"][1], post["sep"][1])
    if post["type"] != "TemplateProcessing":
        raise _absent(f"a post_processor of type {post['type']!r}")

    def read(pieces: list[Mapping[str, Any]]) -> tuple[Any, ...]:
        out: list[Any] = []
        for piece in pieces:
            if "Sequence" in piece:
                out.append((piece["Sequence"]["id"], piece["Sequence"]["type_id"]))
            else:
                special = piece["SpecialToken"]
                out.append((tuple(post["special_tokens"][special["id"]]["ids"]), special["type_id"]))
        return tuple(out)

    return Template(read(post["single"]), read(post["pair"]))


def _roberta(cls: int, sep: int) -> Template:
    start, end = ((cls,), 0), ((sep,), 0)
    return Template((start, ("A", 0), end), (start, ("A", 0), end, end, ("B", 0), end))


def _word_piece(data: Mapping[str, Any], options: Mapping[str, Any]) -> WordPieceTokenizer:
    normaliser, model, decoder = data.get("normalizer"), data["model"], data.get("decoder") or {}
    if (data.get("pre_tokenizer") or {}).get("type") != "BertPreTokenizer":
        raise _absent(f"WordPiece behind the pre_tokenizer {data.get('pre_tokenizer')}")
    if normaliser is not None and normaliser["type"] != "BertNormalizer":
        raise _absent(f"WordPiece behind the normalizer {normaliser['type']!r}")
    rules = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    if normaliser is not None:
        rules = {name: normaliser[name] for name in rules}
    given: dict[str, Any] = {
        **_shared(data), **rules, "unk_token": model["unk_token"], "prefix": model["continuing_subword_prefix"],
        "max_input_chars_per_word": model["max_input_chars_per_word"], "cleanup": decoder.get("cleanup", True),
    }  # fmt: skip
    return WordPieceTokenizer(model["vocab"], **{**given, **options})


def _byte_level(data: Mapping[str, Any], options: Mapping[str, Any]) -> ByteLevelBPETokenizer:
    model, before = data["model"], data.get("pre_tokenizer") or {}
    if before.get("type") != "ByteLevel" or not before.get("use_regex", True):
        raise _absent(f"BPE behind the pre_tokenizer {before}")
    if data.get("normalizer") is not None:
        raise _absent(f"byte-level BPE behind the normalizer {data['normalizer']['type']!r}")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(name):
            raise _absent(f"{name} {model[name]!r}")
    pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    given: dict[str, Any] = {
        **_shared(data), "add_prefix_space": before.get("add_prefix_space", False),
        "ignore_merges": model.get("ignore_merges", False),
    }  # fmt: skip
    return ByteLevelBPETokenizer(model["vocab"], pairs, **{**given, **options})  # type: ignore[arg-type]
