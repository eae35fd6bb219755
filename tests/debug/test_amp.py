"""Mixed precision: the same dtypes and nearly the same values as PyTorch; the scaler takes the same decisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.amp import GradScaler, autocast, is_autocast_enabled
from gradloom.errors import DTypeError, StateError

rng = np.random.default_rng(0)
X, W = rng.normal(size=(8, 16)).astype("f"), rng.normal(size=(4, 16)).astype("f")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_products_are_lower_and_losses_float32(dtype):
    x, w = gl.tensor(X), gl.tensor(W, requires_grad=True)
    tx, tw = torch.tensor(X), torch.tensor(W, requires_grad=True)
    y = np.arange(8) % 4
    with autocast("cpu", dtype=getattr(gl, dtype)):
        assert is_autocast_enabled()
        h = F.linear(x, w)
        s = h + 1
        loss = F.cross_entropy(s, gl.tensor(y))
        m = x @ w.T
    with torch.autocast("cpu", dtype=getattr(torch, dtype)):
        th = torch.nn.functional.linear(tx, tw)
        tloss = torch.nn.functional.cross_entropy(th + 1, torch.tensor(y))
    assert h.dtype.name == s.dtype.name == m.dtype.name == dtype == str(th.dtype)[6:]
    assert loss.dtype is gl.float32 and not is_autocast_enabled()
    np.testing.assert_allclose(h.float().detach().numpy(), th.float().detach().numpy(), 2e-2, 2e-2)
    np.testing.assert_allclose(loss.item(), tloss.item(), 1e-2)
    loss.backward()
    tloss.backward()
    assert w.grad.dtype is gl.float32
    np.testing.assert_allclose(w.grad.numpy(), tw.grad.numpy(), 5e-2, 5e-3)


def test_sums_are_wide():
    n = 4096
    with autocast():
        assert (gl.ones(1, n) @ gl.ones(n, 1)).item() == n


def test_states_do_not_mix():
    x, w = gl.tensor(X), gl.tensor(W)
    for _ in range(3):
        assert F.linear(x, w).dtype is gl.float32
        with autocast():
            assert F.linear(x, w).dtype is gl.bfloat16
            with autocast(enabled=False):
                assert F.linear(x, w).dtype is gl.float32
            assert (x.double() @ w.double().T).dtype is gl.float64
            assert F.linear(x, w).float().numpy().shape == (8, 4)
            assert F.linear(x, w).dtype is gl.bfloat16

    @autocast(dtype=gl.float16)
    def f(a):
        return a @ a.T

    assert f(x).dtype is gl.float16


def test_compiled_functions_know_the_state():
    f = gl.compile(lambda a: a @ a.T)
    x = gl.tensor(X)
    for _ in range(3):
        assert f(x).dtype is gl.float32
        with autocast():
            assert f(x).dtype is gl.bfloat16


def test_refusals_and_devices():
    with pytest.raises(DTypeError, match="float64"):
        autocast(dtype=gl.float64)
    with pytest.warns(UserWarning, match="cuda"), autocast("cuda"):
        assert (gl.ones(2, 2) @ gl.ones(2, 2)).dtype is gl.float32


OPERATIONS = {
    "einsum": lambda T, F, x: T.einsum("ij,kj->ik", x, x),
    "prelu": lambda T, F, x: F.prelu(x, T.ones(1)),
    "linear": lambda T, F, x: F.linear(x, x),
    "layer_norm": lambda T, F, x: F.layer_norm(x, (16,), T.ones(16), T.ones(16)),
    "softmax": lambda T, F, x: F.softmax(x, 1),
    "mse_loss": lambda T, F, x: F.mse_loss(x, x),
    "relu": lambda T, F, x: F.relu(x),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
def test_dtypes_are_those_of_torch(name, low):
    got, want = gl.tensor(X), torch.tensor(X)
    if low:
        got, want = got.bfloat16(), want.bfloat16()
    with autocast("cpu"):
        y = OPERATIONS[name](gl, F, got)
    with torch.autocast("cpu"):
        z = OPERATIONS[name](torch, torch.nn.functional, want)
    assert y.dtype.name == str(z.dtype)[6:]


def test_a_convolutional_net_learns_as_in_float32():
    images = rng.normal(size=(16, 3, 8, 8)).astype("f")
    ends = {}
    for low in (False, True):
        gl.manual_seed(0)
        nn = gl.nn
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 4),
        )  # fmt: skip
        opt = gl.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        x, y = gl.tensor(images), gl.arange(16) % 4
        losses = []
        for _ in range(12):
            opt.zero_grad()
            with autocast("cpu", enabled=low):
                loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            losses.append(loss.item())
        assert all(p.dtype is gl.float32 and p.grad.dtype is gl.float32 for p in model.parameters())
        ends[low] = losses
    assert ends[True][-1] < 0.5 * ends[True][0]
    np.testing.assert_allclose(ends[True], ends[False], 0.1, 0.05)


def test_training_with_autocast_learns():
    gl.manual_seed(0)
    model = gl.nn.Sequential(gl.nn.Linear(16, 32), gl.nn.ReLU(), gl.nn.Linear(32, 4))
    opt = gl.optim.Adam(model.parameters(), lr=0.01)
    scaler = GradScaler()
    x, y = gl.tensor(X), gl.arange(8) % 4
    losses = []
    for _ in range(40):
        opt.zero_grad()
        with autocast():
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_scaler_decides_as_torch():
    gw, tw = gl.nn.Parameter(gl.tensor([1.0, 2.0])), torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    go, to = gl.optim.SGD([gw], lr=0.1), torch.optim.SGD([tw], lr=0.1)
    options = {"init_scale": 8.0, "growth_interval": 2}
    gs, ts = GradScaler("cpu", **options), torch.amp.GradScaler("cpu", **options)
    for factor in (1.0, 1.0, float("inf"), 2.0, float("nan"), 1.0, 1.0, 1.0):
        for w, o, s in ((gw, go, gs), (tw, to, ts)):
            o.zero_grad()
            s.scale((w * factor).sum()).backward()
            s.unscale_(o)
            s.step(o)
            s.update()
        assert gs.get_scale() == ts.get_scale()
        np.testing.assert_allclose(gw.detach().numpy(), tw.detach().numpy(), 1e-6)
    assert {k: float(v) for k, v in gs.state_dict().items()} == {k: float(v) for k, v in ts.state_dict().items()}
    other = GradScaler()
    other.load_state_dict(gs.state_dict())
    assert other.get_scale() == gs.get_scale()


def test_scaler_states():
    w = gl.nn.Parameter(gl.ones(2))
    opt, s = gl.optim.SGD([w], lr=0.1), GradScaler()
    with pytest.raises(StateError, match="update"):
        s.update()
    with pytest.raises(StateError, match="no gradients"):
        s.step(opt)
    s.scale(w.sum()).backward()
    s.unscale_(opt)
    with pytest.raises(StateError, match="already"):
        s.unscale_(opt)
    s.step(opt)
    with pytest.raises(StateError, match="already"):
        s.step(opt)
    with pytest.raises(StateError, match="after step"):
        s.unscale_(opt)
    with pytest.raises(ValueError, match="growth_factor"):
        GradScaler(growth_factor=1.0)
    off = GradScaler(enabled=False)
    assert off.scale(3) == 3 and off.get_scale() == 1.0 and off.state_dict() == {}
