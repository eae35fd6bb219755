"""A look at a value closes its round; a backward pass that comes later finds what it needs, and is predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import GradientError
from gradloom.tape import TAPE

RNG = np.random.default_rng(7)
X = RNG.normal(size=(6, 3, 8, 8)).astype(np.float32)
Y = RNG.integers(0, 4, 6)


def network(L: Any) -> Any:
    nn = L.nn
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 16),
        nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4),
    )  # fmt: skip


def pair() -> tuple[Any, Any]:
    theirs, ours = network(torch), network(gl)
    ours.load_state_dict({k: gl.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return theirs, ours


def never(loss: Any, out: Any) -> None:
    pass


def at_the_loss(loss: Any, out: Any) -> None:
    assert np.isfinite(loss.item())


def at_the_classes(loss: Any, out: Any) -> None:
    out.argmax(1).tolist()


def at_both(loss: Any, out: Any) -> None:
    at_the_classes(loss, out)
    at_the_loss(loss, out)


def train(L: Any, model: Any, look: Callable[[Any, Any], None], steps: int = 5) -> list[float]:
    x, y = L.tensor(X), L.tensor(Y)
    optimizer = L.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        out = model(x)
        loss = L.nn.functional.cross_entropy(out, y)
        look(loss, out)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("look", [never, at_the_loss, at_the_classes, at_both])
def test_training_is_the_same(look: Callable[[Any, Any], None]) -> None:
    theirs, ours = pair()
    np.testing.assert_allclose(train(gl, ours, look), train(torch, theirs, look), rtol=2e-4)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("look", [at_the_loss, at_the_classes, at_both])
def test_nothing_is_compiled_after_the_first_steps(look: Callable[[Any, Any], None]) -> None:
    _, ours = pair()
    train(gl, ours, look, 4)
    before = TAPE.compiled
    optimizer = gl.optim.SGD(ours.parameters(), lr=0.05, momentum=0.9)
    x, y = gl.tensor(X), gl.tensor(Y)
    counts = []
    for _ in range(6):
        optimizer.zero_grad()
        out = ours(x)
        loss = gl.nn.functional.cross_entropy(out, y)
        look(loss, out)
        loss.backward()
        optimizer.step()
        loss.item()
        counts.append(TAPE.compiled - before)
    assert counts[-1] == counts[2], counts


def products() -> int:
    """How many products and convolutions the latest program has."""
    assert TAPE.latest is not None
    return sum(n.prim.kind in ("contraction", "convolution") for n in TAPE.latest.graph.nodes)


def test_products_are_not_made_again() -> None:
    model = gl.nn.Sequential(gl.nn.Linear(8, 16), gl.nn.Tanh(), gl.nn.Linear(16, 16), gl.nn.Tanh(), gl.nn.Linear(16, 1))
    x = gl.randn(5, 8)
    seen = []
    for _ in range(3):
        model.zero_grad()
        loss = model(x).square().mean()
        loss.item()
        loss.backward()
        model[0].weight.grad.numpy()
        seen.append(products())
    # gradients of three weights and of two layers' inputs; the first time all three layers again
    assert seen == [8, 5, 5]


def test_the_pass_is_one_predicted_step() -> None:
    """After the first times nothing is recorded any more, whatever was looked at."""
    w = gl.randn(4, 4, requires_grad=True)
    x = gl.randn(3, 4)
    for k in range(6):
        if k == 4:
            count = TAPE.count
        w.grad = None
        loss = (x @ w).sin().sum()
        loss.item()
        loss.backward()
        w.grad.numpy()
    assert TAPE.count == count


def test_numbers_of_the_round_are_those_of_each_time() -> None:
    w = gl.tensor([1.0, 2.0], requires_grad=True)
    for k in range(1, 6):
        w.grad = None
        loss = (w * float(k)).square().sum() / (k + 1.5)
        loss.item()
        loss.backward()
        np.testing.assert_allclose(w.grad.numpy(), 2 * w.detach().numpy() * k**2 / (k + 1.5), rtol=1e-6)


def test_dropped_elements_stay_dropped() -> None:
    w = gl.ones(1000, requires_grad=True)
    for _ in range(4):
        w.grad = None
        out = gl.nn.functional.dropout(w, 0.5)
        seen = out.detach().numpy().copy()
        out.sum().backward()
        np.testing.assert_array_equal(w.grad.numpy(), seen)


def test_through_three_rounds() -> None:
    """A generator whose images are looked at, judged, and looked at again."""

    def run(L: Any, look: bool) -> list[np.ndarray]:
        a = L.tensor(X[0, 0]).requires_grad_()
        b = L.tensor(X[1, 0]).requires_grad_()
        grads = []
        for _ in range(4):
            a.grad = b.grad = None
            h = (a @ b).tanh()
            if look:
                h.sum().item()
            g = (h @ a).sigmoid()
            if look:
                g.detach().numpy()
            loss = (g * b).sum() + h.mean()
            if look:
                loss.item()
            loss.backward()
            grads += [a.grad.numpy().copy(), b.grad.numpy().copy()]
        return grads

    for ours, plain, theirs in zip(run(gl, True), run(gl, False), run(torch, True), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_two_losses_of_one_round_and_gradients_that_add_up() -> None:
    w = gl.tensor([[0.3, -0.2], [0.1, 0.4]], requires_grad=True)
    for _ in range(4):
        w.grad = None
        h = gl.tanh(w @ w)
        first, second = h.sum(), (h * h).sum()
        first.item(), second.item()
        first.backward(retain_graph=True)
        once = w.grad.numpy().copy()
        second.backward()
        both = w.grad.numpy().copy()
        v = w.detach().clone().requires_grad_()
        h = gl.tanh(v @ v)
        h.sum().backward(retain_graph=True)
        np.testing.assert_allclose(once, v.grad.numpy(), rtol=1e-6)
        (h * h).sum().backward()
        np.testing.assert_allclose(both, v.grad.numpy(), rtol=1e-6)


def test_what_was_freed_is_refused_every_time() -> None:
    w = gl.tensor([0.5], requires_grad=True)
    for _ in range(4):
        loss = w.exp().sum()
        loss.item()
        loss.backward()
        with pytest.raises(GradientError, match="freed"):
            loss.backward()


def test_second_order_of_a_round_that_was_asked_before() -> None:
    w = gl.tensor([0.3, 0.7], dtype=gl.float64, requires_grad=True)
    m = gl.tensor(RNG.normal(size=(2, 2)))
    for _ in range(4):  # from the second time on, products are kept
        w.grad = None
        loss = ((m @ w).sin() * (m @ w)).sum()
        loss.item()
        loss.backward()
    loss = ((m @ w).sin() * (m @ w)).sum()
    loss.item()
    (g,) = gl.autograd.grad(loss, w, create_graph=True)
    (h,) = gl.autograd.grad((g * g).sum(), w)
    t = torch.tensor(w.detach().numpy(), requires_grad=True)
    tm = torch.tensor(m.numpy())
    (tg,) = torch.autograd.grad(((tm @ t).sin() * (tm @ t)).sum(), t, create_graph=True)
    (th,) = torch.autograd.grad((tg * tg).sum(), t)
    np.testing.assert_allclose(g.detach().numpy(), tg.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(h.numpy(), th.numpy(), rtol=1e-12)


def test_checkpointed_layers_and_functions_of_ones_own() -> None:
    class Twice(gl.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * g * x  # not the derivative, so that it is seen to be used

    layer = gl.nn.Linear(4, 4)
    x = gl.randn(3, 4)
    found = []
    for look in (False, True, True, True):
        layer.zero_grad()
        h = gl.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
        loss = Twice.apply(h).sum()
        if look:
            loss.item()
        loss.backward()
        found.append(layer.weight.grad.numpy().copy())
    for g in found[1:]:
        np.testing.assert_allclose(g, found[0], rtol=1e-5, atol=1e-6)


def test_memory_is_given_back() -> None:
    """What was kept goes with the pass, and a loss that is held does not hold it."""
    x = gl.randn(256, 256)
    w = gl.randn(256, 256, requires_grad=True)
    losses = []
    for _ in range(8):
        w.grad = None
        loss = ((x @ w).tanh() @ w).tanh().sum()
        loss.item()
        loss.backward()
        w.grad.numpy()
        losses.append(loss)
        record = loss._v.hist[0] if loss._v.hist else None
        assert record is None or not record.kept


@pytest.mark.parametrize("look", [False, True])
def test_gradients_are_tensors_of_their_own(look: bool) -> None:
    a, b = (gl.ones(2, requires_grad=True) for _ in range(2))
    for _ in range(3):
        a.grad = b.grad = None
        loss = a + b
        if look:
            loss.tolist()
        g = gl.ones(2)
        loss.backward(g)
        a.grad.mul_(5)
        assert (a.grad.tolist(), b.grad.tolist(), g.tolist()) == ([5.0, 5.0], [1.0, 1.0], [1.0, 1.0])


def test_a_gradient_by_a_part_that_was_not_freed() -> None:
    """What an earlier pass gave up elsewhere is no matter where the way to the wanted input does not lead there."""

    def run(L: Any) -> list[float | None]:
        a, b = (L.tensor([0.5, 0.25]).requires_grad_() for _ in range(2))
        x, y = a.exp(), b.sin()
        first = x.sum()
        both = (x.detach() * 2).sum() + (x * 0.5).sum() + y.sum()
        both.item()
        first.backward()
        (g,) = L.autograd.grad(both, [b], retain_graph=True)
        unused = L.autograd.grad(first, [b], allow_unused=True, retain_graph=True)[0]
        return [g.sum().item(), None if unused is None else 0.0]

    assert run(gl) == pytest.approx(run(torch))
