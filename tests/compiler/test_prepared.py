"""What depends on parameters alone: computed once, and again whenever they changed, however that was done."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn, optim
from gradloom.modes import set_target
from gradloom.nn import functional as F
from gradloom.replay import Replay
from gradloom.runtime import kept
from gradloom.runtime.buffers import as_numpy
from gradloom.tape import TAPE


class Net(nn.Module):
    """Two convolutions and a product, all with parameters large enough to be worth keeping."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        gl.manual_seed(seed)
        self.a = nn.Parameter(0.1 * gl.randn(64, 32, 3, 3))
        self.b = nn.Parameter(0.1 * gl.randn(32, 64, 3, 3))
        self.bias = nn.Parameter(gl.randn(64))
        self.register_buffer("scale", 1 + gl.rand(32))

    def forward(self, x):
        y = F.relu(F.conv2d(x, self.a * gl.reshape(self.scale, (1, 32, 1, 1)), self.bias, padding=1))
        return F.conv2d(y, self.b, padding=1)


@pytest.fixture
def x():
    return gl.tensor(np.random.default_rng(0).normal(size=(2, 32, 8, 8)).astype("f4"))


def run(m, x):
    with gl.no_grad():
        return m(x).numpy().copy()


def expected(m, x):
    """By the reference, which keeps nothing."""
    TAPE.flush()
    set_target("reference")
    try:
        return run(m, x)
    finally:
        set_target("cpu")


def same(m, x, runs=3):
    want = expected(m, x)
    for _ in range(runs):
        np.testing.assert_allclose(run(m, x), want, rtol=2e-4, atol=2e-4)


def computed():
    return TAPE.latest.exe.kept.computed


def test_computed_once(x):
    m = Net()
    run(m, x)
    before = computed()
    for _ in range(5):
        run(m, x)
    assert computed() == before
    assert "computed once" in gl.explain()
    same(m, x)


def by_mul(m):
    with gl.no_grad():
        m.a.mul_(1.5)


def by_data(m):
    m.a.data.mul_(1.5)


def by_assigned_data(m):
    m.a.data = 1.5 * m.a.data


def by_view(m):
    m.a.data[3:9].zero_()


def by_view_of_view(m):
    m.a.data.view(-1)[:500].fill_(0.25)


def by_view_made_before(m):
    m.row.copy_(2.0 * m.row)


def by_state(m):
    m.load_state_dict({k: 0.5 * v for k, v in m.state_dict().items()})


def by_state_assigned(m):
    m.load_state_dict({k: 0.5 * v for k, v in m.state_dict().items()}, assign=True)


def by_array(m):
    m.a.detach()  # a view made and dropped
    a = m.a.data.numpy() if m.a.requires_grad else m.a.numpy()
    a *= 1.5


def by_array_of_parameter(m):
    a = m.b.numpy()
    a[0] = 7.0


def by_dlpack(m):
    np.from_dlpack(m.scale)[...] = 3.0


def by_buffer_in_place(m):
    m.scale.mul_(0.5)


def by_buffer_replaced(m):
    m.scale = gl.ones(32)


def by_parameter_replaced(m):
    m.a = nn.Parameter(gl.ones(64, 32, 3, 3))


def by_init(m):
    nn.init.normal_(m.a)


def by_half_and_back(m):
    m.half()
    m.float()


def by_swap(m):
    m.a.data, m.kept_value = m.a.data * 2, m.a.data


CHANGES = [
    by_mul, by_data, by_assigned_data, by_view, by_view_of_view, by_view_made_before, by_state, by_state_assigned,
    by_array, by_array_of_parameter, by_dlpack, by_buffer_in_place, by_buffer_replaced, by_parameter_replaced, by_init,
    by_half_and_back, by_swap,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_noticed(change, x):
    m = Net()
    m.row = m.a.data[0]
    for _ in range(3):
        same(m, x)
        change(m)
    same(m, x)


def test_array_held_and_written(x):
    """While an array shares a parameter's memory nothing is known of it."""
    m = Net()
    same(m, x)
    a = m.b.numpy()
    for k in range(4):
        a *= 1.5
        same(m, x, 1 + k % 2)
    del a
    same(m, x)
    before = computed()
    for _ in range(3):
        run(m, x)
    assert computed() <= before + 1


def test_array_made_before(x):
    m = Net()
    a = m.b.numpy()
    run(m, x)
    run(m, x)
    a *= 2.0
    same(m, x)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_training_between(make, x):
    m = Net()
    o = make(m.parameters(), lr=0.01)
    for _ in range(4):
        same(m, x, 2)
        for _ in range(3):
            loss = (m(x) ** 2).mean()
            o.zero_grad()
            loss.backward()
            o.step()
        run(m, x)
    same(m, x)


def test_losses_looked_at(x):
    """Forward passes as programs of their own, with parameters that change every time."""
    m = Net()
    o = optim.SGD(m.parameters(), lr=0.01)
    seen = []
    for _ in range(12):
        loss = (m(x) ** 2).mean()
        seen.append(loss.item())
        o.zero_grad()
        loss.backward()
        o.step()
    assert all(b < a for a, b in pairwise(seen))
    same(m, x)


def test_fitted_steps(x):
    """Steps run again without their Python rewrite parameters in place, and are noticed too."""
    m = Net()
    o = optim.SGD(m.parameters(), lr=0.01)
    batch = np.random.default_rng(1).normal(size=(2, 32, 8, 8)).astype("f4")
    replay = Replay()

    def step():
        o.zero_grad()
        loss = (m(gl.from_numpy(batch)) ** 2).mean()
        loss.backward()
        o.step()

    for _ in range(8):
        for _ in range(3):
            if not replay.run([batch], [0.01]):
                replay.record([batch], [0.01], step)
        want = expected(m, x)
        for _ in range(3):
            np.testing.assert_allclose(run(m, x), want, rtol=2e-4, atol=2e-4)


def test_two_models_of_one_structure(x):
    """They share one program; each takes what it needs."""
    m, n = Net(1), Net(2)
    a, b = expected(m, x), expected(n, x)
    for _ in range(6):
        np.testing.assert_allclose(run(m, x), a, rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(run(n, x), b, rtol=2e-4, atol=2e-4)


def test_compiled(x):
    m = Net()
    f = gl.compile(m)
    for change in (by_data, by_array, by_buffer_in_place, by_state):
        want = expected(m, x)
        for _ in range(3):
            with gl.no_grad():
                np.testing.assert_allclose(f(x).numpy(), want, rtol=2e-4, atol=2e-4)
        change(m)


def test_threads(x):
    """Two threads run the model while a third writes: every result belongs to one of the two states."""
    m = Net()
    first = m.b.data.clone()
    TAPE.flush()
    states = [first, 2.0 * first]
    wants = []
    for s in states:
        m.b.data = s.clone()
        wants.append(expected(m, x))
    wrong: list[float] = []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            with TAPE.lock:
                got = run(m, x)
            if not any(np.allclose(got, w, rtol=2e-4, atol=2e-4) for w in wants):
                wrong.append(float(got.sum()))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for t in threads:
        t.start()
    for k in range(40):
        with TAPE.lock:
            m.b.data.copy_(states[k % 2])
    stop.set()
    for t in threads:
        t.join()
    assert not wrong
    same(m, x)


def test_memory_goes_with_the_parameters(x):
    gc.collect()
    before = kept.kept_bytes()
    m = Net()
    for _ in range(40):  # it is tried now and then where parameters changed in every run
        run(m, x)
    assert kept.kept_bytes() > before
    del m
    gc.collect()
    assert kept.kept_bytes() <= before


def test_memory_is_bounded(x, monkeypatch):
    m, n = Net(1), Net(2)
    y = gl.tensor(x.numpy()[:1].copy())
    run(m, x)
    run(n, y)
    size = TAPE.latest.exe.kept.nbytes
    for k in list(kept._all):
        k.drop()
    monkeypatch.setattr(kept, "LIMIT", size + 1000)
    for _ in range(3):
        np.testing.assert_allclose(run(m, x), expected(m, x), rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(run(n, y), expected(n, y), rtol=2e-4, atol=2e-4)
        assert kept.kept_bytes() <= kept.LIMIT


def test_small_programs_keep_nothing():
    layer = nn.Linear(8, 8)
    with gl.no_grad():
        layer(gl.ones(4, 8)).numpy()
        layer(gl.ones(4, 8)).numpy()
    assert TAPE.latest.exe.kept is None


def test_training_keeps_nothing(x):
    m = Net()
    o = optim.SGD(m.parameters(), lr=0.01)
    for _ in range(3):
        loss = (m(x) ** 2).mean()
        loss.backward()
        o.step()
        o.zero_grad()
    assert TAPE.latest.exe.kept is None


def test_timed_runs_compute_all(x):
    m = Net()
    want = run(m, x)
    seen: list = []
    TAPE.watch = seen.append
    try:
        run(m, x)
    finally:
        TAPE.watch = None
    program, leaves, *_ = seen[0]
    out, spans = program.exe.run_timed([leaf.buf.ptr for leaf in leaves])
    assert len(spans) == len(program.exe._parts.notes)
    np.testing.assert_array_equal(as_numpy(out[0], np.float32, want.shape), want)


def normed() -> nn.Module:
    """Convolutions of all kinds, each with a norm that has seen something, and a product with one."""
    gl.manual_seed(3)
    layers: list[nn.Module] = []
    for kernel, groups, bias in ((3, 1, False), (1, 1, True), (3, 4, True), (3, 64, False)):
        layers += [
            nn.Conv2d(64, 64, kernel, padding=kernel // 2, groups=groups, bias=bias),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        ]
    m = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 64), nn.BatchNorm1d(64), nn.ReLU())
    for name, t in m.state_dict().items():
        if name.endswith(("running_mean", "running_var", "weight")) and t.ndim == 1:
            t.copy_(gl.rand(*t.shape) + 0.5)
    return m.eval()


def arithmetic(m, x):
    """The names of the kernels of a run."""
    run(m, x)
    return " ".join(n.name for n in TAPE.latest.exe._parts.notes).split()


def test_norms_are_folded_into_filters():
    x = gl.tensor(np.random.default_rng(2).normal(size=(3, 64, 4, 4)).astype("f4"))
    m = normed()
    same(m, x)
    assert arithmetic(m, x).count("rsqrt") == 0
    assert m[1].training is False
    with gl.no_grad():
        m[1].running_var.mul_(2.0)
        m[7].weight.data[3] = 9.0
    same(m, x)
    m[3].weight.data.mul_(0.5)
    same(m, x)
    m.train()
    with gl.no_grad():
        m(x).numpy()
    m.eval()
    same(m, x)


def test_what_others_read_is_not_folded():
    class Both(nn.Module):
        """A convolution whose result is wanted without its norm too."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) * gl.tanh(y)

    m = Both().eval()
    m.norm.running_var.mul_(3.0)
    same(m, gl.tensor(np.random.default_rng(2).normal(size=(3, 64, 4, 4)).astype("f4")))
