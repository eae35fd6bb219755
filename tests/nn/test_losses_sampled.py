"""Sampled softmax: the formula with NumPy, the exact loss where all classes are drawn, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import ArgumentError, IndexRangeError, ShapeError
from gradloom.nn.losses.sampled import Candidates, log_uniform_candidates, sampled_softmax_loss

RNG = np.random.default_rng(0)
N, C, D = 6, 11, 4
X, W, B = RNG.standard_normal((N, D)), RNG.standard_normal((C, D)), RNG.standard_normal(C)
Y = RNG.integers(0, C, N)


def test_formula() -> None:
    drawn = np.array([0, 3, int(Y[0]), 7, 3])
    expected, expected_target = RNG.uniform(0.1, 2, 5), RNG.uniform(0.1, 2, N)
    c = Candidates(*(gl.tensor(a) for a in (drawn, expected, expected_target)))
    full = X @ W.T + B
    for hits in (True, False):
        own = full[np.arange(N), Y] - np.log(expected_target)
        others = full[:, drawn] - np.log(expected)
        if hits:
            others = np.where(drawn == Y[:, None], -np.inf, others)
        want = np.logaddexp.reduce(np.concatenate([own[:, None], others], 1), 1) - own
        got = sampled_softmax_loss(
            gl.tensor(X), gl.tensor(W), gl.tensor(B), gl.tensor(Y), 5, sampled=c, remove_accidental_hits=hits,
            reduction="none",
        )  # fmt: skip
        np.testing.assert_allclose(got.numpy(), want, 1e-9)


def test_all_classes_are_the_whole_softmax() -> None:
    torch = pytest.importorskip("torch")
    c = Candidates(gl.arange(C), gl.ones(C), gl.ones(N))
    mine = [gl.tensor(a, requires_grad=True) for a in (X, W, B)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (X, W, B)]
    loss = sampled_softmax_loss(*mine, gl.tensor(Y), C, sampled=c)
    want = torch.nn.functional.cross_entropy(theirs[0] @ theirs[1].T + theirs[2], torch.tensor(Y))
    assert loss.item() == pytest.approx(want.item(), rel=1e-9)
    loss.backward()
    want.backward()
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-7, 1e-12)


def test_only_drawn_rows_have_a_gradient() -> None:
    w = gl.tensor(W, requires_grad=True)
    c = Candidates(gl.tensor([2, 5]), gl.ones(2), gl.ones(1))
    sampled_softmax_loss(gl.tensor(X[:1]), w, None, gl.tensor([7]), 2, sampled=c).backward()
    assert np.flatnonzero(np.abs(w.grad.numpy()).sum(1)).tolist() == [2, 5, 7]


def test_how_often_classes_are_drawn() -> None:
    gl.manual_seed(0)
    c = log_uniform_candidates(gl.arange(C), 20000, C)
    p = np.log((np.arange(C) + 2) / (np.arange(C) + 1)) / np.log(C + 1)
    assert p.sum() == pytest.approx(1)
    np.testing.assert_allclose(c.expected_target.numpy(), 20000 * p, 1e-9)
    share = np.bincount(c.classes.numpy(), minlength=C) / 20000
    assert np.abs(share - p).max() < 0.01
    np.testing.assert_allclose(c.expected.numpy(), 20000 * p[c.classes.numpy()], 1e-9)


def test_layer_learns_and_is_exact_in_evaluation() -> None:
    gl.manual_seed(1)
    layer = nn.SampledSoftmaxLoss(8, 300, 20)
    x, y = RNG.standard_normal((64, 8)).astype("f4"), np.arange(64) % 30
    x += 3 * RNG.standard_normal((30, 8)).astype("f4")[y]
    optimizer = gl.optim.Adam(layer.parameters(), 0.05)
    before = layer.eval()(gl.tensor(x), gl.tensor(y)).item()
    exact = gl.nn.functional.cross_entropy(layer.logits(gl.tensor(x)), gl.tensor(y)).item()
    assert before == pytest.approx(exact)
    layer.train()
    for _ in range(60):
        optimizer.zero_grad()
        layer(gl.tensor(x), gl.tensor(y)).backward()
        optimizer.step()
    assert layer.eval()(gl.tensor(x), gl.tensor(y)).item() < 0.5 * before
    assert nn.SampledSoftmaxLoss(8, 300, 20, bias=False).bias is None


def test_refused() -> None:
    x, w = gl.tensor(X), gl.tensor(W)
    with pytest.raises(IndexRangeError, match="label 11 at position 1"):
        sampled_softmax_loss(x[:2], w, None, gl.tensor([3, 11]), 4).item()
    with pytest.raises(ShapeError, match=r"target \(2,\) beside input \(6, 4\)"):
        sampled_softmax_loss(x, w, None, gl.tensor([3, 1]), 4)
    with pytest.raises(ShapeError, match=r"weight \(4, 11\)"):
        sampled_softmax_loss(x, w.T, None, gl.tensor(Y), 4)
    with pytest.raises(ArgumentError, match="num_sampled is 0"):
        sampled_softmax_loss(x, w, None, gl.tensor(Y), 0)
