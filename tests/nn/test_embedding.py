"""Embedding, EmbeddingBag and one_hot against PyTorch: values, gradients, options, what a layer shows and stores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.errors import IndexRangeError, NotSupportedError, ShapeError
from gradloom.nn import functional as F

TABLE = np.random.default_rng(0).standard_normal((7, 3))
INDEX = np.array([[0, 2, 2, 5], [6, 0, 1, 2]])
OFFSETS = np.array([0, 3, 3, 6])

EMBEDDING: list[dict[str, Any]] = [
    {}, {"padding_idx": 2}, {"padding_idx": -1}, {"scale_grad_by_freq": True}, {"sparse": True},
    {"padding_idx": 0, "scale_grad_by_freq": True},
]  # fmt: skip
BAGS: list[dict[str, Any]] = [{"mode": m, "padding_idx": p} for m in ("sum", "mean", "max") for p in (None, 2)]


def pair(fn: str, index: np.ndarray, arrays: dict[str, np.ndarray], options: dict[str, Any]) -> None:
    """Values and gradients of both libraries."""
    a, b = gl.tensor(TABLE, requires_grad=True), torch.tensor(TABLE, requires_grad=True)
    theirs = {k: v for k, v in options.items() if k != "sparse"}
    got = getattr(F, fn)(gl.tensor(index), a, **{k: gl.tensor(v) for k, v in arrays.items()}, **options)
    want = getattr(torch.nn.functional, fn)(
        torch.tensor(index), b, **{k: torch.tensor(v) for k, v in arrays.items()}, **theirs
    )
    assert tuple(got.shape) == tuple(want.shape)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12)
    weight = np.cos(np.arange(want.numel())).reshape(tuple(want.shape))
    (got * gl.tensor(weight)).sum().backward()
    (want * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("options", EMBEDDING, ids=str)
@pytest.mark.parametrize("shape", [(), (8,), (2, 4), (2, 0), (2, 2, 2)])
def test_embedding(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    pair("embedding", INDEX.ravel()[: int(np.prod(shape))].reshape(shape), {}, options)


@pytest.mark.parametrize("options", BAGS, ids=str)
def test_bags(options: dict[str, Any]) -> None:
    pair("embedding_bag", INDEX, {}, options)
    pair("embedding_bag", INDEX.ravel(), {"offsets": OFFSETS}, options)
    pair("embedding_bag", INDEX.ravel(), {"offsets": np.array([0, 2, 8])}, {**options, "include_last_offset": True})
    pair("embedding_bag", INDEX.ravel()[:0], {"offsets": np.array([0, 0])}, options)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_of_bags_divided_by_frequency(mode: str) -> None:
    """Where PyTorch's differ: it takes the numbers of other rows."""
    found = []
    for scaled in (False, True):
        w = gl.tensor(TABLE, requires_grad=True)
        F.embedding_bag(gl.tensor(INDEX), w, mode=mode, scale_grad_by_freq=scaled).square().sum().backward()
        found.append(w.grad.numpy())
    np.testing.assert_allclose(found[1], found[0] / np.maximum(np.bincount(INDEX.ravel(), minlength=7), 1)[:, None])


def test_weighted_bags() -> None:
    factors = np.random.default_rng(1).standard_normal(INDEX.shape)
    pair("embedding_bag", INDEX, {"per_sample_weights": factors}, {"mode": "sum"})
    arrays = {"per_sample_weights": factors.ravel(), "offsets": OFFSETS}
    pair("embedding_bag", INDEX.ravel(), arrays, {"mode": "sum", "padding_idx": 0})


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_rows_looked_up_are_shortened_in_the_table(norm_type: float) -> None:
    a, b = nn.Embedding(7, 3, max_norm=0.5, norm_type=norm_type, dtype=gl.float64), gl.tensor(TABLE)
    with gl.no_grad():
        a.weight.copy_(b)
    w = torch.tensor(TABLE)
    want = torch.nn.functional.embedding(torch.tensor(INDEX), w, max_norm=0.5, norm_type=norm_type)
    out = a(gl.tensor(INDEX))
    np.testing.assert_allclose(out.detach().numpy(), want.numpy(), rtol=1e-6)
    np.testing.assert_allclose(a.weight.detach().numpy(), w.numpy(), rtol=1e-6)
    out.sum().backward()
    np.testing.assert_array_equal(a.weight.grad.numpy()[:, 0], np.bincount(INDEX.ravel(), minlength=7))


LAYERS: list[tuple[str, tuple, dict[str, Any]]] = [
    ("Embedding", (7, 3), {}),
    ("Embedding", (7, 3), {"padding_idx": -2, "max_norm": 1.5, "norm_type": 1.0, "scale_grad_by_freq": True}),
    ("Embedding", (7, 3), {"padding_idx": 0}),
    ("EmbeddingBag", (7, 3), {}),
    ("EmbeddingBag", (7, 3), {"mode": "sum", "padding_idx": 2, "max_norm": 2.0}),
]


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: c[0])
def test_layers(case: tuple[str, tuple, dict[str, Any]]) -> None:
    name, sizes, options = case
    mine, theirs = getattr(nn, name)(*sizes, **options), getattr(torch.nn, name)(*sizes, **options)
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    if mine.padding_idx is not None:
        assert mine.padding_idx == theirs.padding_idx
        assert not mine.weight.detach().numpy()[mine.padding_idx].any()
    mine.load_state_dict({"weight": gl.tensor(theirs.weight.detach().numpy())})
    i = INDEX[:1]
    np.testing.assert_allclose(
        mine(gl.tensor(i)).detach().numpy(), theirs(torch.tensor(i)).detach().numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
def test_from_pretrained(name: str) -> None:
    frozen = getattr(nn, name).from_pretrained(gl.tensor(TABLE))
    assert not frozen.weight.requires_grad and frozen.num_embeddings == 7 and frozen.embedding_dim == 3
    assert getattr(nn, name).from_pretrained(gl.tensor(TABLE), freeze=False).weight.requires_grad
    with pytest.raises(ShapeError, match="two dimensions"):
        getattr(nn, name).from_pretrained(gl.zeros(3))


def test_training_moves_only_the_rows_looked_up() -> None:
    layer = nn.Embedding(7, 3, padding_idx=0)
    before = layer.weight.detach().numpy().copy()
    sgd = gl.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        sgd.zero_grad()
        layer(gl.tensor(INDEX)).square().sum().backward()
        sgd.step()
    moved = (layer.weight.detach().numpy() != before).any(1)
    assert moved.tolist() == [False, True, True, False, False, True, True]


@pytest.mark.parametrize("layer", ["embedding", "embedding_bag"])
def test_a_computed_table_that_is_shortened_hands_gradients_on(layer: str) -> None:
    for lib, functional in ((gl, F), (torch, torch.nn.functional)):
        source = lib.tensor([[3.0, 4.0], [0.3, 0.4]], requires_grad=True)
        table = source * 1.0
        at = lib.tensor([[0, 0]])
        out = getattr(functional, layer)(at, table, max_norm=1.0)
        np.testing.assert_allclose(table.detach().numpy(), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
        out.sum().backward()
        np.testing.assert_allclose(source.grad.numpy()[1], 0)
        np.testing.assert_allclose(source.grad.numpy()[0], 2.0 if layer == "embedding" else 1.0)
        with lib.autograd.forward_ad.dual_level():
            dual = lib.autograd.forward_ad.make_dual(source.detach(), lib.ones(2, 2))
            tangent = lib.autograd.forward_ad.unpack_dual(functional.embedding(at, dual, max_norm=1.0)).tangent
        np.testing.assert_allclose(tangent.numpy(), np.ones((1, 2, 2)))


def test_one_hot() -> None:
    x, y = gl.tensor(INDEX), torch.tensor(INDEX)
    np.testing.assert_array_equal(F.one_hot(x).numpy(), torch.nn.functional.one_hot(y).numpy())
    np.testing.assert_array_equal(F.one_hot(x, 9).numpy(), torch.nn.functional.one_hot(y, 9).numpy())
    with pytest.raises(ShapeError, match="num_classes"):
        F.one_hot(gl.zeros(0, dtype=gl.int64))
    with pytest.raises(IndexRangeError, match="label 6"):
        F.one_hot(x, 6).numpy()


def test_errors() -> None:
    w, i = gl.tensor(TABLE), gl.tensor(INDEX)
    with pytest.raises(IndexRangeError) as e:
        F.embedding(gl.tensor([0, 7]), w).numpy()
    assert all(s in str(e.value) for s in ("index 7", "position 1", "axis 0", "size 7"))
    with pytest.raises(AssertionError, match="padding_idx 7"):
        F.embedding(i, w, padding_idx=7)
    with pytest.raises(ShapeError, match="rows, features"):
        F.embedding(i, w[0])
    with pytest.raises(ShapeError, match="offsets"):
        F.embedding_bag(i.reshape(-1), w)
    with pytest.raises(ValueError, match="'sum'"):
        F.embedding_bag(i, w, mode="min")
    with pytest.raises(NotSupportedError, match="per_sample_weights"):
        F.embedding_bag(i, w, per_sample_weights=gl.ones(2, 4, dtype=gl.float64))
    with pytest.raises(ShapeError, match="weight of shape"):
        nn.Embedding(3, 3, _weight=w)
