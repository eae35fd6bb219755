"""The tape: what recompiles and what does not, what stays alive, and gradients in every order of looking."""

from __future__ import annotations

import contextlib
import gc
import io
import os

import numpy as np
import pytest

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import nn, optim
from gradloom.compiler import kernels
from gradloom.errors import GradientError, InternalError
from gradloom.tape import TAPE

RNG = np.random.default_rng(5)
X = RNG.normal(size=(8, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 8)


def model(width: int = 5) -> nn.Module:
    gl.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


def settled() -> int:
    """Programs built so far; the caller has warmed up."""
    gc.collect()
    return TAPE.compiled


def memory() -> int:
    """Bytes of this process that are resident."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_schedule_of_the_learning_rate_compiles_once() -> None:
    w = gl.tensor(X[0], requires_grad=True)
    for step in range(12):
        lr = 0.1 / (1 + step)
        loss = (w * w).sum()
        loss.backward()
        with gl.no_grad():
            w -= lr * w.grad
        w.grad = None
        if step == 3:
            before = settled()
    w.numpy()
    assert TAPE.compiled <= before + 1  # looking at w is a program of its own


def test_an_optimiser_with_a_schedule_compiles_once() -> None:
    net = model()
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.ExponentialLR(opt, 0.9)
    for step in range(10):
        opt.zero_grad()
        F.cross_entropy(net(gl.tensor(X)), gl.tensor(Y)).backward()
        opt.step()
        schedule.step()
        if step == 3:
            before = settled()
    assert TAPE.compiled == before


def test_dropout_draws_anew_without_compiling() -> None:
    x = gl.ones(200)
    seen = []
    for step in range(8):
        seen.append(gl.dropout(x, 0.5).numpy().copy())
        if step == 2:
            before = settled()
    assert TAPE.compiled == before
    assert all(not np.array_equal(seen[0], s) for s in seen[1:])
    assert all(set(np.unique(s)) == {0.0, 2.0} for s in seen)


def test_a_ragged_last_batch_reuses_kernels() -> None:
    def step(n: int) -> np.ndarray:
        x = gl.tensor(X[:n])
        return (gl.exp(x) * 0.37 + gl.tanh(x)).numpy()

    step(8)
    before = kernels.stats().compiled
    for n in (7, 5, 3):
        want = np.exp(X[:n]) * 0.37 + np.tanh(X[:n])
        np.testing.assert_allclose(step(n), want, rtol=1e-5)
    assert kernels.stats().compiled == before


def test_a_branch_on_the_loss_settles() -> None:
    net = model()
    opt = optim.SGD(net.parameters(), lr=0.05)
    for step in range(12):
        opt.zero_grad()
        loss = F.cross_entropy(net(gl.tensor(X)), gl.tensor(Y))
        if loss.item() > 100 or step % 2:
            loss = loss * 2
        loss.backward()
        opt.step()
        if step == 5:
            before = settled()
    assert TAPE.compiled == before


def test_printing_settles_and_shows_the_value() -> None:
    w = gl.tensor([1.0, 2.0], requires_grad=True)
    out = io.StringIO()
    for step in range(8):
        with contextlib.redirect_stdout(out):
            print(w * 3)
        if step == 2:
            before = settled()
    assert TAPE.compiled == before
    assert "3." in out.getvalue() and "6." in out.getvalue()


def test_two_interleaved_models_settle_and_learn_as_if_alone() -> None:
    def train(nets: list[nn.Module], steps: int) -> list[np.ndarray]:
        opts = [optim.SGD(n.parameters(), lr=0.1) for n in nets]
        marks = []
        for _ in range(steps):
            for net, opt in zip(nets, opts, strict=True):
                opt.zero_grad()
                F.cross_entropy(net(gl.tensor(X)), gl.tensor(Y)).backward()
                opt.step()
            marks.append(TAPE.compiled)
        assert marks[-1] == marks[3]
        return [next(iter(n.parameters())).detach().numpy().copy() for n in nets]

    a, b = train([model(5), model(7)], 8)
    np.testing.assert_array_equal(a, train([model(5)], 8)[0])
    np.testing.assert_array_equal(b, train([model(7)], 8)[0])


def test_a_loop_that_never_looks_settles() -> None:
    x = gl.ones(3)
    marks = []
    for k in range(20000):
        x = x * 1.0001
        if k % 5000 == 4999:
            marks.append((TAPE.compiled, TAPE.count))
    np.testing.assert_allclose(x.numpy(), np.full(3, 1.0001**20000), rtol=5e-3)
    assert marks[1][0] == marks[-1][0]
    assert marks[1][1] == marks[-1][1]


def train_small(steps: int) -> tuple[list[int], list[int]]:
    net = model()
    opt = optim.Adam(net.parameters(), lr=1e-3)
    used, built = [], []
    for k in range(steps):
        opt.zero_grad()
        loss = F.cross_entropy(net(gl.tensor(X)), gl.tensor(Y))
        loss.backward()
        opt.step()
        if k % 100 == 0:
            loss.item()
        if k % (steps // 4) == steps // 4 - 1:
            gc.collect()
            used.append(memory())
            built.append(TAPE.compiled)
    return used, built


def test_memory_does_not_grow() -> None:
    used, built = train_small(2000)
    assert built[0] == built[-1]
    assert used[-1] - used[0] < 4 << 20, used


@pytest.mark.slow
def test_memory_does_not_grow_over_a_long_run() -> None:
    used, built = train_small(10000)
    assert built[0] == built[-1]
    assert used[-1] - used[0] < 4 << 20, used


def test_a_running_total_keeps_no_memory() -> None:
    """PyTorch's well-known leak: ``total += loss`` holds the graph of every step."""
    net = model()
    opt = optim.SGD(net.parameters(), lr=1e-3)
    total, held = 0.0, []
    for k in range(400):
        opt.zero_grad()
        loss = F.cross_entropy(net(gl.tensor(X)), gl.tensor(Y))
        loss.backward()
        opt.step()
        total += loss
        if k % 100 == 99:
            gc.collect()
            held.append(len(gc.get_objects()))
    assert np.isfinite(float(total))
    assert held[-1] - held[1] < 400, held


def test_backward_twice_is_refused() -> None:
    w = gl.tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w).sum()
    loss.backward()
    with pytest.raises(GradientError) as e:
        loss.backward()
    assert e.value.code == "gradient.freed"


def test_backward_twice_is_refused_after_a_look() -> None:
    w = gl.tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w).sum()
    loss.item()
    loss.backward()
    with pytest.raises(GradientError) as e:
        loss.backward()
    assert e.value.code == "gradient.freed"


@pytest.mark.parametrize("look", [False, True])
def test_retain_graph_allows_a_second_pass_that_adds(look: bool) -> None:
    w = gl.tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w).sum()
    if look:
        loss.item()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_allclose(w.grad.numpy(), [4.0, 8.0])


def test_looking_first_gives_the_same_gradients() -> None:
    def run(look: bool) -> list[np.ndarray]:
        net = model()
        hidden = net[0](gl.tensor(X))
        if look:
            hidden.sum().item()
        loss = F.cross_entropy(net[2](net[1](hidden)), gl.tensor(Y))
        if look:
            loss.item()
        loss.backward()
        return [p.grad.numpy().copy() for p in net.parameters()]

    for a, b in zip(run(False), run(True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("look", [False, True])
def test_second_and_third_order(look: bool) -> None:
    x = gl.tensor(np.array([0.3, 0.7, 1.1]), requires_grad=True)
    y = (x**4).sum() + gl.sin(x).sum()
    if look:
        y.item()
    (g,) = gl.autograd.grad(y, x, create_graph=True)
    if look:
        g.numpy()
    (h,) = gl.autograd.grad(g.sum(), x, create_graph=True)
    (t,) = gl.autograd.grad(h.sum(), x)
    v = x.detach().numpy()
    np.testing.assert_allclose(g.detach().numpy(), 4 * v**3 + np.cos(v), rtol=1e-10)
    np.testing.assert_allclose(h.detach().numpy(), 12 * v**2 - np.sin(v), rtol=1e-10)
    np.testing.assert_allclose(t.numpy(), 24 * v - np.cos(v), rtol=1e-10)


def test_backward_with_create_graph_gives_a_gradient_to_differentiate() -> None:
    x = gl.tensor(np.array([0.5, 2.0]), requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    (g,) = gl.autograd.grad((x.grad * x.grad).sum(), x)
    np.testing.assert_allclose(g.numpy(), 36 * np.array([0.5, 2.0]) ** 3, rtol=1e-10)


def test_grad_of_inner_values_and_of_several_outputs() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    h = x * 3
    y = (h * h).sum()
    gh, gx = gl.autograd.grad(y, [h, x])
    np.testing.assert_allclose(gh.numpy(), [6.0, 12.0])
    np.testing.assert_allclose(gx.numpy(), [18.0, 36.0])
    h = x * 3
    y = (h * h).sum()
    y.item()  # the same of an earlier round
    gh, gx = gl.autograd.grad(y, [h, x])
    np.testing.assert_allclose(gh.numpy(), [6.0, 12.0])
    np.testing.assert_allclose(gx.numpy(), [18.0, 36.0])
    (both,) = gl.autograd.grad([(x * 2).sum(), (x * 5).sum()], x)
    np.testing.assert_allclose(both.numpy(), [7.0, 7.0])
    (weighted,) = gl.autograd.grad(x * 2, x, grad_outputs=gl.tensor([10.0, 1.0]))
    np.testing.assert_allclose(weighted.numpy(), [20.0, 2.0])


def test_unused_inputs() -> None:
    x, z = gl.tensor([1.0], requires_grad=True), gl.tensor([1.0], requires_grad=True)
    with pytest.raises(GradientError) as e:
        gl.autograd.grad((x * 2).sum(), [x, z])
    assert e.value.code == "gradient.unused"
    assert gl.autograd.grad((x * 2).sum(), [x, z], allow_unused=True)[1] is None


def test_no_grad_and_detach_cut() -> None:
    w = gl.tensor([2.0], requires_grad=True)
    with gl.no_grad():
        y = w * 3
        with gl.enable_grad():
            assert (w * 3).requires_grad
    assert not y.requires_grad and gl.is_grad_enabled()
    ((w * 3).detach() * w).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [6.0])

    @gl.no_grad()
    def plain() -> gl.Tensor:
        return w * 2

    assert not plain().requires_grad


def test_gradients_add_up_over_micro_batches() -> None:
    whole, parts = model(), model()
    F.cross_entropy(whole(gl.tensor(X)), gl.tensor(Y)).backward()
    for half in (slice(0, 4), slice(4, 8)):
        (F.cross_entropy(parts(gl.tensor(X[half])), gl.tensor(Y[half])) / 2).backward()
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_a_value_used_many_times_gathers_every_share() -> None:
    x = gl.tensor(np.array([0.5]), requires_grad=True)
    y = x
    for _ in range(10):
        y = y + y
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1024.0])


def test_a_step_is_not_taken_for_one_with_the_other_zero_or_another_type() -> None:
    x = gl.tensor([3.0, 4.0])
    for value in (0.0, -0.0, 0.0, -0.0):
        assert np.signbit(gl.full((2,), value).numpy()).all() == (str(value) == "-0.0")
        padded = gl.nn.functional.pad(x, (1, 0), value=value).numpy()
        assert np.signbit(padded[0]) == (str(value) == "-0.0")


def test_explain_tells_of_the_program() -> None:
    text = gl.explain(lambda a: a * 2 + 1, gl.ones(4))
    assert "mul" in text and "programs built" in text


def test_an_interrupt_between_two_lines_of_the_recorder_costs_the_round_and_no_more() -> None:
    x, y = gl.tensor([1.0, 2.0]), gl.tensor([3.0, 4.0])
    kept = x.clone()
    kept.numpy()

    class Interrupting(list):
        def append(self, item: object) -> None:
            raise KeyboardInterrupt

    z = x * 2
    TAPE.tensors = Interrupting(TAPE.tensors)
    with pytest.raises(KeyboardInterrupt):
        _ = z + y
    with pytest.raises(InternalError, match="interrupted"):
        z.numpy()
    assert (x * 2 + y).tolist() == [5.0, 8.0]
    assert kept.tolist() == [1.0, 2.0]
