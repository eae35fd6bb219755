"""GPT-2 and BERT against formulas written with PyTorch on the same state dict; translation learns to copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
from gradloom import optim
from gradloom.errors import ArgumentError, ShapeError
from gradloom.text import generate
from gradloom.text.models import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    TranslationTransformer,
)

RNG = np.random.default_rng(0)
GPT = GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2)
BERT = BertConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=16,
)  # fmt: skip


def shaken(model: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The model with other values, and its state for PyTorch."""
    state = {k: (RNG.standard_normal(tuple(v.shape)) * 0.3).astype("f") for k, v in model.state_dict().items()}
    for end, other in (("lm_head.weight", "wte.weight"), ("decoder.weight", "word_embeddings.weight")):
        for k in state:
            if k.endswith(end):
                state[k] = next(v for n, v in state.items() if n.endswith(other))
    if "cls.predictions.decoder.bias" in state:
        state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"]
    model.load_hugging_face(state)
    return model.eval(), {k: torch.tensor(v) for k, v in state.items()}


def heads(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def gpt2(s: dict[str, torch.Tensor], ids: torch.Tensor, n: int) -> torch.Tensor:
    x = s["transformer.wte.weight"][ids] + s["transformer.wpe.weight"][: ids.shape[1]]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return TF.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], 1e-5)

    def product(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ s[f"{name}.weight"] + s[f"{name}.bias"]

    for k in range(2):
        at = f"transformer.h.{k}"
        q, key, v = (heads(y, n) for y in product(norm(x, f"{at}.ln_1"), f"{at}.attn.c_attn").chunk(3, -1))
        a = TF.scaled_dot_product_attention(q, key, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + product(a, f"{at}.attn.c_proj")
        inner = TF.gelu(product(norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc"), approximate="tanh")
        x = x + product(inner, f"{at}.mlp.c_proj")
    return norm(x, "transformer.ln_f") @ s["lm_head.weight"].T


def bert(s: dict[str, torch.Tensor], ids: torch.Tensor, seen: torch.Tensor, n: int) -> torch.Tensor:
    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return TF.layer_norm(x, x.shape[-1:], s[f"{name}.LayerNorm.weight"], s[f"{name}.LayerNorm.bias"], 1e-12)

    def product(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    e = "bert.embeddings"
    x = s[f"{e}.word_embeddings.weight"][ids] + s[f"{e}.position_embeddings.weight"][: ids.shape[1]]
    x = norm(x + s[f"{e}.token_type_embeddings.weight"][0], e)
    for k in range(2):
        at = f"bert.encoder.layer.{k}"
        q, key, v = (heads(product(x, f"{at}.attention.self.{m}"), n) for m in ("query", "key", "value"))
        a = TF.scaled_dot_product_attention(q, key, v, seen[:, None, None].bool()).transpose(1, 2).flatten(2)
        x = norm(x + product(a, f"{at}.attention.output.dense"), f"{at}.attention.output")
        x = norm(x + product(TF.gelu(product(x, f"{at}.intermediate.dense")), f"{at}.output.dense"), f"{at}.output")
    return x


IDS = RNG.integers(1, 20, (2, 7))


def test_gpt2() -> None:
    model, state = shaken(GPT2LMHeadModel(GPT))
    want = gpt2(state, torch.tensor(IDS), 2)
    np.testing.assert_allclose(model(gl.tensor(IDS)).detach().numpy(), want.numpy(), 1e-4, 1e-5)
    loss, _ = model(gl.tensor(IDS), labels=gl.tensor(IDS))
    expected = TF.cross_entropy(want[:, :-1].flatten(0, 1), torch.tensor(IDS[:, 1:]).flatten())
    assert abs(loss.item() - expected.item()) < 1e-5
    base = {k.removeprefix("transformer."): v for k, v in state.items() if not k.startswith("lm_head")}
    other = GPT2LMHeadModel(GPT).eval()
    other.load_hugging_face({**{k: v.numpy() for k, v in base.items()}, "h.0.attn.bias": np.ones((1, 1, 16, 16))})
    np.testing.assert_allclose(other(gl.tensor(IDS)).detach().numpy(), want.numpy(), 1e-4, 1e-5)


def test_gpt2_padding_and_names() -> None:
    model, _ = shaken(GPT2Model(GPT))
    seen = np.ones((2, 7), np.int64)
    seen[0, 5:] = 0
    full = model(gl.tensor(IDS), gl.tensor(seen)).detach().numpy()
    np.testing.assert_allclose(full[0, :5], model(gl.tensor(IDS[:1, :5])).detach().numpy()[0], 1e-4, 1e-5)
    assert "h.1.mlp.c_fc.weight" in model.state_dict()
    assert model.state_dict()["h.1.mlp.c_fc.weight"].shape == (8, 32)
    assert GPT2Config.named("gpt2-xl").n_head == 25
    with pytest.raises(ShapeError, match="n_positions is 16"):
        model(gl.zeros(1, 17).long())
    with pytest.raises(ArgumentError, match="divisible"):
        GPT2Config(n_embd=10, n_head=3)


def test_bert() -> None:
    seen = np.ones((2, 7), np.int64)
    seen[1, 4:] = 0
    model, state = shaken(BertForMaskedLM(BERT))
    hidden = bert(state, torch.tensor(IDS), torch.tensor(seen), 2)
    got = model.bert(gl.tensor(IDS), gl.tensor(seen))
    assert got[1] is None
    np.testing.assert_allclose(got[0].detach().numpy(), hidden.numpy(), 1e-4, 1e-4)
    t = "cls.predictions.transform"
    y = TF.gelu(hidden @ state[f"{t}.dense.weight"].T + state[f"{t}.dense.bias"])
    y = TF.layer_norm(y, (8,), state[f"{t}.LayerNorm.weight"], state[f"{t}.LayerNorm.bias"], 1e-12)
    want = y @ state["bert.embeddings.word_embeddings.weight"].T + state["cls.predictions.bias"]
    np.testing.assert_allclose(
        model(gl.tensor(IDS), gl.tensor(seen)).detach().numpy(), want.numpy(), 1e-3, 1e-4
    )  # fmt: skip
    base = BertModel(BERT, add_pooling_layer=False).eval()
    base.load_hugging_face({k: v.numpy() for k, v in state.items()})
    np.testing.assert_allclose(base(gl.tensor(IDS), gl.tensor(seen))[0].detach().numpy(), hidden.numpy(), 1e-4, 1e-4)


def test_bert_classifies() -> None:
    model = BertForSequenceClassification(BERT)
    assert {"bert.pooler.dense.weight", "classifier.bias", "bert.encoder.layer.1.attention.self.query.weight"} <= set(
        model.state_dict()
    )
    loss, logits = model(gl.tensor(IDS), labels=gl.tensor([0, 1]))
    assert logits.shape == (2, 2) and np.isfinite(loss.item())


def test_translation_learns_to_reverse() -> None:
    gl.manual_seed(0)
    rng = np.random.default_rng(1)
    model = TranslationTransformer(12, 12, 32, 4, 1, 1, 64, dropout=0.0, max_length=16)
    optimizer = optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        source = rng.integers(3, 12, (32, 4))
        target = np.concatenate([np.full((32, 1), 1), source[:, ::-1], np.full((32, 1), 2)], 1)
        optimizer.zero_grad()
        loss = model.loss(gl.tensor(source), gl.tensor(target), 0.0)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
    source = rng.integers(3, 12, (4, 4))
    out = generate(model, np.full((4, 1), 1), 5, source=gl.tensor(source), eos_id=2).numpy()
    assert (out[:, 1:5] == source[:, ::-1]).mean() > 0.8
