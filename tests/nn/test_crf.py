"""Conditional random fields against the enumeration of all sequences of tags."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import ArgumentError, IndexRangeError, ShapeError
from gradloom.nn.crf import crf_decode, crf_log_likelihood, crf_log_partition
from gradloom.testing import check_grads

T, N, K = 5, 4, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((T, N, K))
START, END = RNG.standard_normal((2, K))
PAIRS = RNG.standard_normal((K, K))
TAGS = RNG.integers(0, K, (T, N))
# all; padded; with a gap and a late begin; none at all
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool).T


def score(row: int, tags: tuple[int, ...], times: list[int]) -> float:
    if not times:
        return 0.0
    total = START[tags[0]] + END[tags[-1]] + sum(X[t, row, k] for t, k in zip(times, tags, strict=True))
    return float(total + sum(PAIRS[a, b] for a, b in itertools.pairwise(tags)))


def everything(row: int, mask: np.ndarray) -> tuple[list[int], list[tuple[int, ...]], np.ndarray]:
    times = np.flatnonzero(mask[:, row]).tolist()
    tags = list(itertools.product(range(K), repeat=len(times)))
    return times, tags, np.array([score(row, t, times) for t in tags])


PARTS = tuple(gl.tensor(a) for a in (START, END, PAIRS))
MASKS = [None, MASK]


@pytest.mark.parametrize("mask", MASKS, ids=["whole", "masked"])
def test_likelihood_and_partition(mask: np.ndarray | None) -> None:
    given = None if mask is None else gl.tensor(mask)
    seen = np.ones((T, N), bool) if mask is None else mask
    tags = np.where(seen, TAGS, -100)  # what is not seen may have any value
    got = crf_log_likelihood(gl.tensor(X), gl.tensor(tags), *PARTS, given).numpy()
    whole = crf_log_partition(gl.tensor(X), *PARTS, given).numpy()
    for row in range(N):
        times, _, scores = everything(row, seen)
        total = np.logaddexp.reduce(scores)
        assert whole[row] == pytest.approx(total, abs=1e-10)
        own = score(row, tuple(TAGS[times, row]), times)
        assert got[row] == pytest.approx(own - total, abs=1e-10)


@pytest.mark.parametrize("mask", MASKS, ids=["whole", "masked"])
def test_likeliest_tags(mask: np.ndarray | None) -> None:
    given = None if mask is None else gl.tensor(mask)
    seen = np.ones((T, N), bool) if mask is None else mask
    tags, best = (x.numpy() for x in crf_decode(gl.tensor(X), *PARTS, given))
    for row in range(N):
        times, all_tags, scores = everything(row, seen)
        assert best[row] == pytest.approx(scores.max(), abs=1e-10)
        assert tuple(tags[times, row]) == all_tags[int(scores.argmax())]
    assert (tags[~seen] == -1).all()


@pytest.mark.parametrize("mask", MASKS, ids=["whole", "masked"])
def test_gradients(mask: np.ndarray | None) -> None:
    given = None if mask is None else gl.tensor(mask)

    def f(x: gl.Tensor, start: gl.Tensor, end: gl.Tensor, pairs: gl.Tensor) -> gl.Tensor:
        return crf_log_likelihood(x, gl.tensor(TAGS), start, end, pairs, given).sum()

    check_grads(f, [X, START, END, PAIRS], order=2, rtol=1e-4)


def test_the_gradient_of_the_partition_is_the_probability_of_tags() -> None:
    x = gl.tensor(X, requires_grad=True)
    crf_log_partition(x, *PARTS).sum().backward()
    for row in range(N):
        _, tags, scores = everything(row, np.ones((T, N), bool))
        p = np.exp(scores - np.logaddexp.reduce(scores))
        want = np.zeros((T, K))
        for t, share in zip(tags, p, strict=True):
            want[range(T), t] += share
        np.testing.assert_allclose(x.grad.numpy()[:, row], want, 1e-9)


def test_layer() -> None:
    layer = nn.CRF(K).double()
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {
        "start_transitions": (K,), "end_transitions": (K,), "transitions": (K, K),
    }  # fmt: skip
    assert all(np.abs(p.detach().numpy()).max() <= 0.1 for p in layer.parameters())
    x, tags, mask = gl.tensor(X), gl.tensor(TAGS), gl.tensor(MASK)
    rows = layer(x, tags, mask, reduction="none").detach().numpy()
    assert layer(x, tags, mask).item() == pytest.approx(rows.sum())
    assert layer(x, tags, mask, reduction="mean").item() == pytest.approx(rows.mean())
    assert layer(x, tags, mask, reduction="token_mean").item() == pytest.approx(rows.sum() / MASK.sum())
    assert layer(x, tags, reduction="token_mean").item() == pytest.approx(layer(x, tags).item() / TAGS.size)
    turned = nn.CRF(K, batch_first=True).double()
    turned.load_state_dict(layer.state_dict())
    swapped = (gl.tensor(np.ascontiguousarray(a.swapaxes(0, 1))) for a in (X, TAGS, MASK))
    a, b, m = swapped
    np.testing.assert_allclose(turned(a, b, m, reduction="none").detach().numpy(), rows)
    assert turned.decode(a, m) == layer.decode(x, mask)
    assert [len(row) for row in layer.decode(x, mask)] == MASK.sum(0).tolist()
    assert repr(layer) == "CRF(num_tags=3)"


def test_it_learns_what_follows_what() -> None:
    """Emissions that say nothing: the transitions alone carry a cycle of tags."""
    gl.manual_seed(0)
    tags = (np.arange(12)[:, None] + np.arange(3)) % K
    layer = nn.CRF(K)
    x = np.zeros((12, 3, K), "f4")
    x[0, np.arange(3), np.arange(3)] = 3.0
    optimizer = gl.optim.Adam(layer.parameters(), 0.1)
    for _ in range(40):
        optimizer.zero_grad()
        loss = -layer(gl.tensor(x), gl.tensor(tags), reduction="token_mean")
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert layer.decode(gl.tensor(x)) == tags.T.tolist()


def test_long_sequences_stay_finite() -> None:
    x = gl.tensor(np.full((400, 1, 2), 50.0, "f4"))
    zero = gl.zeros(2)
    total = crf_log_partition(x, zero, zero, gl.zeros(2, 2)).item()
    assert total == pytest.approx(400 * (50 + np.log(2)), rel=1e-5)


def test_refused() -> None:
    layer = nn.CRF(K).double()
    x, tags = gl.tensor(X), gl.tensor(TAGS)
    for call, text in (
        (lambda: layer(x[0], tags), r"emissions of shape \(4, 3\)"),
        (lambda: layer(x[:0], tags[:0]), r"emissions of shape \(0, 4, 3\)"),
        (lambda: layer(x, tags[:2]), r"tags of shape \(2, 4\)"),
        (lambda: layer(x, tags, gl.ones(T)), r"mask of shape \(5,\)"),
        (lambda: layer(gl.zeros(T, N, 2, dtype=gl.float64), tags), r"start has shape \(3,\)"),
    ):
        with pytest.raises(ShapeError, match=text):
            call()
    with pytest.raises(IndexRangeError, match=r"tag 3 at position \(1, 2\)"):
        bad = TAGS.copy()
        bad[1, 2] = 3
        layer(x, gl.tensor(bad)).item()
    with pytest.raises(ValueError, match="reduction"):
        layer(x, tags, reduction="median")
    with pytest.raises(ArgumentError, match="num_tags is 0"):
        nn.CRF(0)
