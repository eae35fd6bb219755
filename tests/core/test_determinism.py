"""The same bits for any number of threads, and from the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import nn, optim


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = gl.get_num_threads()
    yield
    gl.set_num_threads(before)


def train() -> bytes:
    """Five steps of a net wide enough to be cut into several chunks; its weights and losses."""
    gl.manual_seed(3)
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(120, 200), nn.ReLU(), nn.Dropout(0.2), nn.Linear(200, 10))
    opt = optim.Adam(net.parameters(), lr=1e-2)
    out = []
    for _ in range(5):
        x = gl.tensor(rng.normal(size=(300, 120)).astype(np.float32))
        y = gl.tensor(rng.integers(0, 10, 300))
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        out.append(loss.detach().numpy().tobytes())
    return b"".join([*out, *(p.detach().numpy().tobytes() for p in net.parameters())])


def test_training_gives_the_same_bits_for_any_number_of_threads() -> None:
    results = []
    for n in (1, 2, 3):
        gl.set_num_threads(n)
        results.append(train())
    assert results[0] == results[1] == results[2]


def test_reductions_give_the_same_bits_for_any_number_of_threads() -> None:
    a = np.random.default_rng(1).normal(size=(1000, 700)).astype(np.float32)
    results = []
    for n in (1, 2, 3):
        gl.set_num_threads(n)
        x = gl.tensor(a)
        parts = [x.sum(), x.sum(0), x.mean(1), gl.softmax(x, 0), x.T @ x]
        results.append([p.numpy().tobytes() for p in parts])
    assert results[0] == results[1] == results[2]


def test_a_seed_gives_the_same_numbers() -> None:
    def draw() -> list[np.ndarray]:
        parts = [
            gl.rand(50),
            gl.randn(3, 7),
            gl.randint(0, 9, (20,)),
            gl.randperm(30),
            gl.bernoulli(gl.full((9,), 0.5)),
        ]
        return [p.numpy().copy() for p in [*parts, gl.dropout(gl.ones(40))]]

    gl.manual_seed(42)
    a = draw()
    b = draw()
    gl.manual_seed(42)
    for p, q in zip(a, draw(), strict=True):
        np.testing.assert_array_equal(p, q)
    assert any(not np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_compiled_and_reference_draw_the_same_bits() -> None:
    drawn = []
    for target in ("cpu", "reference"):
        gl.set_target(target)
        gl.manual_seed(7)
        drawn.append(gl.rand(100).numpy().copy())
    np.testing.assert_array_equal(*drawn)


def test_generators_are_apart_and_can_be_set_back() -> None:
    g, h = gl.Generator().manual_seed(1), gl.Generator().manual_seed(1)
    first = gl.rand(10, generator=g).numpy().copy()
    gl.rand(10)
    state = g.get_state()
    second = gl.rand(10, generator=g).numpy().copy()
    np.testing.assert_array_equal(first, gl.rand(10, generator=h).numpy())
    g.set_state(state)
    np.testing.assert_array_equal(second, gl.rand(10, generator=g).numpy())
    assert not np.array_equal(first, second)


def test_distributions() -> None:
    gl.manual_seed(0)
    u, z = gl.rand(20000).numpy(), gl.randn(20000).numpy()
    assert abs(u.mean() - 0.5) < 0.01 and 0 <= u.min() and u.max() < 1
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03
    i = gl.randint(2, 5, (3000,)).numpy()
    assert set(i) == {2, 3, 4}
    assert sorted(gl.randperm(100).numpy()) == list(range(100))
