"""Recurrent models of text: the same layers in PyTorch on the same weights, what dropout drops, and what they learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
from gradloom import nn
from gradloom.errors import ArgumentError, IndexRangeError, ShapeError
from gradloom.text import beam_search, generate
from gradloom.text.models import NTASGD, AWDLanguageModel, LSTMClassifier, Seq2Seq
from gradloom.text.models.awd_lstm import EmbeddingDropout, VariationalDropout, WeightDropout

RNG = np.random.default_rng(0)


def torch_lstm(names: dict[str, Any], *sizes: int, **options: Any) -> Any:
    """PyTorch's layer with the weights of ours, given by name."""
    out = torch.nn.LSTM(*sizes, batch_first=True, **options)
    out.load_state_dict({k: torch.tensor(v.detach().numpy()) for k, v in names.items()})
    return out


# -- classifier -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("pooling", "both"), [("last", False), ("last", True), ("mean", True), ("max", False)])
def test_classifier(pooling: str, both: bool) -> None:
    model = LSTMClassifier(20, 6, 5, 3, bidirectional=both, pooling=pooling)
    lstm = torch_lstm(dict(model.lstm.named_parameters()), 6, 5, bidirectional=both)
    ids, lengths = RNG.integers(1, 20, (4, 7)), np.array([3, 7, 1, 5])
    got = model(gl.tensor(ids), gl.tensor(lengths)).detach().numpy()
    table, head = (torch.tensor(p.detach().numpy()) for p in (model.embedding.weight, model.head.weight))
    for row, (tokens, n) in enumerate(zip(ids, lengths, strict=True)):
        y, (h, _) = lstm(table[torch.tensor(tokens[:n])][None])
        pooled = {"last": torch.cat(list(h[:, 0])), "mean": y[0].mean(0), "max": y[0].amax(0)}[pooling]
        want = (head @ pooled).detach().numpy() + model.head.bias.detach().numpy()
        np.testing.assert_allclose(got[row], want, 1e-4, 1e-5)
    whole = model(gl.tensor(ids)).detach().numpy()
    np.testing.assert_allclose(whole[1], got[1], 1e-4, 1e-5)


def test_classifier_learns_which_word_came() -> None:
    gl.manual_seed(0)
    model = LSTMClassifier(12, 16, 16, 2, dropout=0.1)
    optimizer = gl.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        ids = RNG.integers(2, 12, (32, 8))
        labels = RNG.integers(0, 2, 32)
        ids[labels == 1, 3] = 1
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(gl.tensor(ids)), gl.tensor(labels))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


def test_classifier_refuses() -> None:
    model = LSTMClassifier(20, 6, 5)
    ids = gl.tensor(RNG.integers(1, 20, (2, 4)))
    with pytest.raises(ShapeError, match="row 1 has 0 tokens"):
        model(ids, [3, 0])
    with pytest.raises(ShapeError, match="row 0 has 5 tokens"):
        model(ids, [5, 1])
    with pytest.raises(ShapeError, match=r"lengths of \(1,\)"):
        model(ids, [2])
    with pytest.raises(IndexRangeError, match=r"20 at position \(0, 1\)"):
        model(gl.tensor([[3, 20]])).numpy()
    with pytest.raises(ArgumentError, match="pooling is 'first'"):
        LSTMClassifier(20, pooling="first")


# -- AWD-LSTM -------------------------------------------------------------------------------------------------
SIZES: dict[str, Any] = {"emb_sz": 6, "n_hid": 8, "n_layers": 2}


def test_names_are_those_of_fastai() -> None:
    keys = list(AWDLanguageModel(15, **SIZES).state_dict())
    layer = ["weight_hh_l0_raw", "module.weight_ih_l0", "module.bias_ih_l0", "module.bias_hh_l0"]
    want = ["0.encoder.weight", "0.encoder_dp.emb.weight", *(f"0.rnns.{n}.{k}" for n in range(2) for k in layer)]
    assert set(keys) == {*want, "1.decoder.weight", "1.decoder.bias"}


def test_language_model_and_its_memory() -> None:
    model = AWDLanguageModel(15, **SIZES).eval()
    layers = []
    for n, (a, b) in enumerate(((6, 8), (8, 6))):
        part = model[0].rnns[n]
        names = {**dict(part.module.named_parameters()), "weight_hh_l0": part.weight_hh_l0_raw}
        layers.append(torch_lstm(names, a, b))
    table = torch.tensor(model[0].encoder.weight.detach().numpy())
    ids = RNG.integers(2, 15, (3, 10))
    x = table[torch.tensor(ids)]
    for layer in layers:
        x = layer(x)[0]
    want = (x @ table.T).detach().numpy()
    first = model(gl.tensor(ids[:, :4]))[0].detach().numpy()
    second = model(gl.tensor(ids[:, 4:]))[0].detach().numpy()  # goes on
    np.testing.assert_allclose(np.concatenate([first, second], 1), want, 1e-4, 1e-5)
    model.reset()
    np.testing.assert_allclose(model(gl.tensor(ids[:, :4]))[0].detach().numpy(), first, 1e-5, 1e-6)
    assert model(gl.tensor(ids[:1, :4]))[0].shape == (1, 4, 15)  # another batch begins anew
    out = generate(model, ids[:, :4], 5).numpy()
    model.reset()
    full = model(gl.tensor(out))[0].detach().numpy()
    assert (full[:, 3:-1].argmax(-1) == out[:, 4:]).all()
    assert beam_search(model, ids[:, :4], 5, num_beams=1)[0].numpy().tolist() == out.tolist()


def test_what_is_dropped() -> None:
    gl.manual_seed(0)
    same = VariationalDropout(0.5)(gl.ones(4, 7, 50)).numpy()
    assert (same == same[:, :1]).all() and set(np.unique(same)) == {0.0, 2.0} and (same[0] != same[1]).any()
    emb = nn.Embedding(40, 3)
    nn.init.ones_(emb.weight)
    ids = np.tile(np.arange(40), (2, 2))
    words = EmbeddingDropout(emb, 0.5)(gl.tensor(ids)).detach().numpy()
    assert (words == words[..., :1]).all() and (words[0] == words[1]).all() and (words[0, :40] == words[0, 40:]).all()
    assert set(np.unique(words)) == {0.0, 2.0}
    x = gl.tensor(RNG.standard_normal((2, 5, 3)).astype("f4"))
    lstm = nn.LSTM(3, 4, batch_first=True)
    whole, none = lstm(x)[0].detach().numpy(), nn.LSTM(3, 4, batch_first=True)
    none.load_state_dict({**lstm.state_dict(), "weight_hh_l0": gl.zeros(16, 4)})
    part = WeightDropout(lstm, 1.0)
    np.testing.assert_allclose(part(x)[0].detach().numpy(), none(x)[0].detach().numpy(), 1e-6)
    np.testing.assert_allclose(part.eval()(x)[0].detach().numpy(), whole, 1e-6)
    assert [n for n, _ in part.named_parameters()] == [
        "weight_hh_l0_raw",
        *(f"module.{n}_l0" for n in ("weight_ih", "bias_ih", "bias_hh")),
    ]
    part.train().weight_p = 0.5
    part(x)[0].sum().backward()
    assert part.weight_hh_l0_raw.grad is not None and (part.weight_hh_l0_raw.grad.numpy() == 0).any()
    with pytest.raises(ArgumentError, match="p is 1"):
        VariationalDropout(1.0)


def test_regularisation_and_learning() -> None:
    gl.manual_seed(0)
    zero = {"hidden_p": 0.0, "input_p": 0.0, "embed_p": 0.0, "weight_p": 0.0, "output_p": 0.0}
    model = AWDLanguageModel(9, **SIZES, **zero)
    ids, after = RNG.integers(2, 9, (3, 5)), RNG.integers(2, 9, (3, 5))
    logits, states, _ = (x.detach().numpy() for x in model(gl.tensor(ids)))
    model.reset()
    plain = TF.cross_entropy(torch.tensor(logits).flatten(0, 1), torch.tensor(after).flatten()).item()
    extra = 2 * (states**2).mean() + (np.diff(states, axis=1) ** 2).mean()
    assert model.loss(gl.tensor(ids), gl.tensor(after)).item() == pytest.approx(plain + extra, rel=1e-4)
    model.reset()
    assert model.eval().loss(gl.tensor(ids), gl.tensor(after)).item() == pytest.approx(plain, rel=1e-4)
    model = AWDLanguageModel(9, emb_sz=16, n_hid=24, n_layers=2)  # with all its dropouts
    optimizer = gl.optim.Adam(model.parameters(), 0.02)
    text = np.tile(np.arange(2, 9), 40)
    losses = []
    for step in range(90):
        x = np.stack([text[s : s + 8] for s in range(step, step + 16)])
        y = np.stack([text[s + 1 : s + 9] for s in range(step, step + 16)])
        optimizer.zero_grad()
        model.reset()
        loss = model.loss(gl.tensor(x), gl.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.reset()
    assert model.eval().loss(gl.tensor(x), gl.tensor(y)).item() < 0.7 < losses[0]


def test_averaging_begins_when_the_loss_no_longer_falls() -> None:
    p = nn.Parameter(gl.tensor([4.0]))
    optimizer = NTASGD([p], lr=0.1, weight_decay=0.0, patience=2)
    began = [optimizer.check(v) for v in (3.0, 2.0, 2.5, 2.6)]
    assert began == [False, False, False, False]  # 2.6 is less than the least before the last two, 3.0
    assert not optimizer.averaging and optimizer.check(2.1) and optimizer.averaging and not optimizer.check(9.0)
    seen = []
    for _ in range(4):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
        seen.append(p.item())
    with optimizer.averaged():
        mean = p.item()
    other = torch.nn.Parameter(torch.tensor([4.0]))
    theirs = torch.optim.ASGD([other], lr=0.1, lambd=0.0, t0=0.0)
    for _ in range(4):
        theirs.zero_grad()
        (other * other).sum().backward()
        theirs.step()
    assert seen[-1] == pytest.approx(other.item(), rel=1e-5) and p.item() == seen[-1]
    assert mean == pytest.approx(theirs.state[other]["ax"].item(), rel=1e-5) and mean != seen[-1]


# -- encoder, attention, decoder ------------------------------------------------------------------------------
def by_hand(model: Seq2Seq, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One row without padding, with PyTorch."""
    s = {k: torch.tensor(v.numpy()) for k, v in model.state_dict().items()}

    def gru(name: str, x: torch.Tensor) -> torch.Tensor:
        layer = torch.nn.GRU(x.shape[1], s[f"{name}.weight_hh_l0"].shape[1])
        layer.load_state_dict({k.partition(".")[2]: v for k, v in s.items() if k.startswith(f"{name}.")})
        return layer(x)[0]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return TF.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))

    x = s["source.weight"][torch.tensor(source)]
    ahead, behind = gru("forwards", x), gru("backwards", x.flip(0)).flip(0)
    memory = torch.cat([ahead, behind], 1)
    keys = linear("keys", memory)
    h = torch.tanh(linear("bridge", torch.cat([ahead[-1], behind[0]])))
    cell = torch.nn.GRUCell(s["cell.weight_ih"].shape[1], len(h))
    cell.load_state_dict({k.partition(".")[2]: v for k, v in s.items() if k.startswith("cell.")})
    out = []
    for token in target:
        x = s["target.weight"][token]
        if model.attention == "bahdanau":
            found = linear("score", torch.tanh(keys + linear("query", h)))[:, 0].softmax(0) @ memory
            h = cell(torch.cat([x, found])[None], h[None])[0]
        else:
            h = cell(x[None], h[None])[0]
            found = (keys @ h).softmax(0) @ memory
        out.append(linear("output", torch.tanh(linear("joined", torch.cat([h, found])))))
    return torch.stack(out).detach().numpy()


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_attention(attention: str) -> None:
    gl.manual_seed(0)
    model = Seq2Seq(11, 13, 5, 6, attention).eval()
    source = np.array([[3, 4, 5, 6], [7, 8, 0, 0]])
    target = RNG.integers(1, 13, (2, 5))
    got = model(gl.tensor(source), gl.tensor(target)).detach().numpy()
    np.testing.assert_allclose(got[0], by_hand(model, source[0], target[0]), 1e-4, 1e-5)
    np.testing.assert_allclose(got[1], by_hand(model, source[1, :2], target[1]), 1e-4, 1e-5)  # padding is not seen
    out = generate(model, [[1], [1]], 4, source=gl.tensor(source)).numpy()
    logits = model(gl.tensor(source), gl.tensor(out)).detach().numpy()
    assert (logits[:, :-1].argmax(-1) == out[:, 1:]).all()
    text, score = beam_search(model, [[1], [1]], 4, num_beams=3, source=gl.tensor(source), length_penalty=0.0)
    p = gl.log_softmax(model(gl.tensor(source), text), -1).detach().numpy()
    total = np.take_along_axis(p[:, :-1], text.numpy()[:, 1:, None], 2).sum((1, 2))
    np.testing.assert_allclose(score.numpy(), total, 1e-4)
    for call, error, words in (
        (lambda: generate(model, [[1]], 2), ArgumentError, "needs a source"),
        (lambda: model(gl.tensor(source), gl.tensor(target[:1])), ShapeError, r"source \(2, 4\) and target \(1, 5\)"),
        (lambda: Seq2Seq(3, 3, attention="dot"), ArgumentError, "attention is 'dot'"),
    ):
        with pytest.raises(error, match=words):
            call()


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_it_learns_to_reverse(attention: str) -> None:
    gl.manual_seed(0)
    rng = np.random.default_rng(1)
    model = Seq2Seq(10, 10, 24, 32, attention, dropout=0.0)
    optimizer = gl.optim.Adam(model.parameters(), 0.01)
    for _ in range(120):
        source = rng.integers(3, 10, (32, 4))
        target = np.concatenate([np.full((32, 1), 1), source[:, ::-1], np.full((32, 1), 2)], 1)
        optimizer.zero_grad()
        loss = model.loss(gl.tensor(source), gl.tensor(target))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
    source = rng.integers(3, 10, (6, 4))
    out = generate(model, np.full((6, 1), 1), 5, source=gl.tensor(source), eos_id=2).numpy()
    assert (out[:, 1:5] == source[:, ::-1]).mean() > 0.85
