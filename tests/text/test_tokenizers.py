"""Tokenizers: small vocabularies worked out by hand; the package tokenizers on random text, where it is installed."""

from __future__ import annotations

import json
import random
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, FileError, IndexRangeError, NotSupportedError
from gradloom.text.tokenizers import (
    AddedToken,
    ByteLevelBPETokenizer,
    WordPieceTokenizer,
    from_file,
    from_folder,
)
from gradloom.text.tokenizers.byte_level import byte_letters
from gradloom.text.tokenizers.training import learned

VOCAB = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox", "##es", "un", "##aff", "##able", "cafe", ",", ".", "你",
    "σ", "##σ", "'", "s", "it",
]  # fmt: skip
CORPUS = [
    "the quick brown fox jumps over the lazy dog. ",
    "the fox, the dogs & 123 foxes: it's \n\t  naïve 你好 😀 ",
] * 5


def wordpiece(**options: Any) -> WordPieceTokenizer:
    return WordPieceTokenizer(VOCAB, **options)


def bpe(**options: Any) -> ByteLevelBPETokenizer:
    return ByteLevelBPETokenizer.train(CORPUS, 330, special_tokens=["<pad>", "<|endoftext|>"], **options)


WORDS = [
    ("the foxes", ["the", "fox", "##es"]),
    ("The UNAFFABLE foxes.", ["the", "un", "##aff", "##able", "fox", "##es", "."]),
    ("café cafe\u0301 CAFÉ", ["cafe", "cafe", "cafe"]),
    ("你the你", ["你", "the", "你"]),
    ("好", ["[UNK]"]),
    ("ΣΣ", ["σ", "##σ"]),  # no other sigma at the end of a word
    ("the\u00a0fox\u3000the\tfox", ["the", "fox", "the", "fox"]),
    ("th\u0000e\ufffd f\u200dox", ["the", "fox"]),
    ("foxy", ["[UNK]"]),
    ("it's", ["it", "'", "s"]),
    ("[CLS]the[MASK] fox[SEP]", ["[CLS]", "the", "[MASK]", "fox", "[SEP]"]),
    ("[cls]", ["[UNK]", "[UNK]", "[UNK]"]),
    ("fox" * 34, ["[UNK]"]),
    ("", []),
    (" \n ", []),
]


@pytest.mark.parametrize(("text", "tokens"), WORDS)
def test_word_pieces(text: str, tokens: list[str]) -> None:
    assert wordpiece().tokenize(text) == tokens


def test_word_piece_options() -> None:
    assert wordpiece(lowercase=False).tokenize("The café") == ["[UNK]", "[UNK]"]
    assert wordpiece(lowercase=False, strip_accents=True).tokenize("the café") == ["the", "cafe"]
    assert wordpiece(handle_chinese_chars=False).tokenize("你the") == ["[UNK]"]
    assert wordpiece(max_input_chars_per_word=2).tokenize("the it") == ["[UNK]", "it"]
    with pytest.raises(ArgumentError, match="no unk_token '<unk>'"):
        wordpiece(unk_token="<unk>")


def test_batches_pairs_and_cuts() -> None:
    t = wordpiece()
    assert t.encode("the fox") == [2, 5, 6, 3]
    assert t.encode("the fox", add_special_tokens=False) == [5, 6]
    assert t.encode("the fox", "it") == [2, 5, 6, 3, 19, 3]
    assert t.encode("the foxes", max_length=4) == [2, 5, 6, 3]
    batch = t(["the foxes", "it"], ["s", "s s"])
    assert batch["input_ids"].numpy().tolist() == [[2, 5, 6, 7, 3, 18, 3], [2, 19, 3, 18, 18, 3, 0]]
    assert batch["token_type_ids"].numpy().tolist() == [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 0]]
    assert batch["attention_mask"].numpy().tolist() == [[1] * 7, [1] * 6 + [0]]
    left = t(["the", "the fox"], padding_side="left", pad_to_multiple_of=4, add_special_tokens=False)
    assert left["input_ids"].numpy().tolist() == [[0, 0, 0, 5], [0, 0, 5, 6]]
    assert left["attention_mask"].numpy().tolist() == [[0, 0, 0, 1], [0, 0, 1, 1]]
    assert t([])["input_ids"].shape == (0, 0)
    for given, text in (
        ({"max_length": 1}, "special tokens alone are 2"),
        ({"padding_side": "top"}, "'right' or 'left'"),
    ):
        with pytest.raises(ArgumentError, match=text):
            t(["the"], **given)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="1 texts beside 2 pairs"):
        t(["the"], ["a", "b"])
    with pytest.raises(TypeError, match="a text is a str, got int"):
        t([5])  # type: ignore[list-item]


def test_words_from_ids() -> None:
    t = wordpiece()
    assert t.decode(t.encode("The Foxes , it's.")) == "the foxes, it ' s."
    assert t.decode([2, 5, 3], skip_special_tokens=False) == "[CLS] the [SEP]"
    assert t.decode(gl.tensor([5, 6])) == "the fox"
    assert t.vocab_size == len(t) == 20 and t.token_to_id("fox") == 6 and t.id_to_token(6) == "fox"
    with pytest.raises(IndexRangeError, match="99 is the id of none of the 20 tokens"):
        t.decode([5, 99])
    with pytest.raises(IndexRangeError, match="'dog' is no token"):
        t.token_to_id("dog")


def test_bytes_give_back_the_text() -> None:
    t = bpe()
    for text in (*CORPUS, "", " ", "  a  ", "\0\x7f\u00ad\U0010ffff", "<|endoftext|>x<pad>", "Ġ", "don't WE'LL'll"):
        ids = t.encode(text)
        assert t.decode(ids, skip_special_tokens=False) == text
        assert "".join(t.stream(ids, skip_special_tokens=False)) == text
    plain = ByteLevelBPETokenizer({c: n for n, c in enumerate(byte_letters().values())}, [])  # a token for each byte
    ids = plain.encode("😀!")
    assert len(ids) == 5 and list(plain.stream(ids)) == ["😀", "!"] and list(plain.stream(ids[:2])) == ["\ufffd"]
    assert plain.decode(ids[1:]) == "\ufffd" * 3 + "!"
    assert t.decode(t.encode("a<|endoftext|>b")) == "ab"
    assert bpe(add_prefix_space=True).tokenize("the") == ["Ġthe"] and t.tokenize("the") != ["Ġthe"]


def test_merges_are_the_most_frequent_pairs() -> None:
    """Against counting all pairs anew for every merge."""
    counts = Counter(w for text in CORPUS for w in text.split())
    alphabet = sorted({c for w in counts for c in w})
    vocab, merges = learned(counts, alphabet, len(alphabet) + 25, 2, ["<s>"])
    ids = {w: [1 + alphabet.index(c) for c in w] for w in counts}
    names = ["<s>", *alphabet]
    for a, b in merges:
        pairs: Counter[tuple[int, int]] = Counter()
        for w, n in counts.items():
            for pair in pairwise(ids[w]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        assert (names[best[0]], names[best[1]]) == (a, b)
        names.append(a + b)
        for w, row in ids.items():
            out: list[int] = []
            for i in row:
                if out and (out[-1], i) == best:
                    out[-1] = len(names) - 1
                else:
                    out.append(i)
            ids[w] = out
    assert len(merges) == 24 and list(vocab) == names
    assert len(learned({"ab": 3, "cd": 1}, list("abcd"), 100, 2, [])[1]) == 1  # the rest is too rare
    with pytest.raises(ArgumentError, match="vocab_size is 10"):
        ByteLevelBPETokenizer.train(CORPUS, 10)


def test_files(tmp_path: Path) -> None:
    for t in (wordpiece(), bpe()):
        t.save(tmp_path)
        again = from_folder(tmp_path)
        assert type(again) is type(t) and again.vocab == t.vocab and again.template == t.template
        assert again.encode("the foxes, it's") == t.encode("the foxes, it's")
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(data["model"]["vocab"]))
    pairs = "\n".join(" ".join(m) for m in data["model"]["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{pairs}\n")
    assert from_folder(tmp_path).encode("the foxes<|endoftext|>") == bpe().encode("the foxes<|endoftext|>")
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n", "utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert from_folder(tmp_path).tokenize("the The") == ["the", "[UNK]"]
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(FileError, match="no tokenizer in"):
        from_folder(tmp_path)


def test_refused_files(tmp_path: Path) -> None:
    at = tmp_path / "tokenizer.json"
    bpe().save(at)
    good = json.loads(at.read_text())
    changes: list[tuple[dict[str, Any], str]] = [
        ({"model": {"type": "Unigram", "vocab": []}}, "a model of type 'Unigram'"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "behind the pre_tokenizer"),
        ({"normalizer": {"type": "NFC"}}, "behind the normalizer 'NFC'"),
        ({"model": {**good["model"], "byte_fallback": True}}, "byte_fallback True"),
        ({"post_processor": {"type": "Other"}}, "a post_processor of type 'Other'"),
    ]
    for change, text in changes:
        at.write_text(json.dumps({**good, **change}))
        with pytest.raises(NotSupportedError, match=text):
            from_file(at)
    for text in ("{", "[1]", '{"model": 3}', '{"a": 1}'):
        at.write_text(text)
        with pytest.raises(FileError, match=r"is no tokenizer.json"):
            from_file(at)
    with pytest.raises(ArgumentError, match="of the 256 bytes are no tokens"):
        ByteLevelBPETokenizer({"a": 0}, [])
    letters = {c: n for n, c in enumerate(byte_letters().values())}
    with pytest.raises(ArgumentError, match="the merge 'a' 'b'"):
        ByteLevelBPETokenizer(letters, [("a", "b")])


def test_added_tokens_take_white_space() -> None:
    letters = {c: n for n, c in enumerate(byte_letters().values())}
    added = [
        AddedToken("<m>", 300, lstrip=True),
        AddedToken("<mm>", 301),
        AddedToken("win", 302, single_word=True, special=False),
    ]
    t = ByteLevelBPETokenizer(letters, [], added=added)
    assert t.tokenize("a  <m> b<mm>") == ["a", "<m>", "Ġ", "b", "<mm>"]
    assert t.tokenize("win winner") == ["win", "Ġ", *"winner"]
    assert t.decode([300, 302]) == "win"


def _texts(count: int) -> list[str]:
    """Random texts of characters that every version of Unicode's tables knows alike."""
    rng = random.Random(0)
    known = [c for c in map(chr, range(0x20, 0x3000)) if unicodedata.ucd_3_2_0.category(c) != "Cn"]
    some = [
        *"abcdefghij KLMNO  ..,!?'\"-_\t\n" * 10,
        *rng.sample(known, 1500),
        *"你好世界日本語カナ한국어𠀀😀ΣΟΦΌΣİıßﬁ",
    ]
    return ["".join(rng.choice(some) for _ in range(rng.randint(0, 60))) for _ in range(count)]


def test_against_hugging_face(tmp_path: Path) -> None:
    reference = pytest.importorskip("tokenizers")
    for t in (wordpiece(), bpe(), bpe(add_prefix_space=True)):
        t.save(tmp_path)
        other = reference.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        other.no_padding()
        texts = _texts(300) + CORPUS + ["it's the foxes [MASK]", "a<|endoftext|> b"]
        for a, b in zip(texts, reversed(texts), strict=True):
            want = other.encode(a)
            assert t.encode(a) == want.ids, a
            assert t.decode(want.ids) == other.decode(want.ids)
            assert t.decode(want.ids, False) == other.decode(want.ids, skip_special_tokens=False)
            pair = other.encode(a, b)
            if t.type_ids:
                batch = t([a], [b])
                assert batch["input_ids"].numpy()[0].tolist() == pair.ids
                assert batch["token_type_ids"].numpy()[0].tolist() == pair.type_ids
        for n in range(3, 30):
            other.enable_truncation(n)
            assert t.encode(texts[n], texts[n + 1], max_length=n) == other.encode(texts[n], texts[n + 1]).ids
    own = reference.ByteLevelBPETokenizer()
    own.train_from_iterator(CORPUS, 330, special_tokens=["<pad>", "<|endoftext|>"], show_progress=False)
    assert own.get_vocab() == bpe().vocab
