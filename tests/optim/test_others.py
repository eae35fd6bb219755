"""L-BFGS, chains, SAM, Lookahead, schedule-free, SWA: against PyTorch, or against their formulas in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn, optim
from gradloom.errors import GradientError, StateError
from gradloom.optim import links
from gradloom.optim.lr_scheduler import ExponentialLR

RNG = np.random.default_rng(1)
P0, TARGET = RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2))


def rosenbrock(p: Any) -> Any:
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("history", [2, 100])
def test_lbfgs_walks_as_pytorchs(search: str | None, history: int) -> None:
    paths = []
    for lib, module in ((gl, optim), (torch, torch.optim)):
        p = lib.tensor(np.array([-1.2, 1.0]), requires_grad=True)
        opt = module.LBFGS([p], lr=1.0 if search else 1e-3, max_iter=5, history_size=history, line_search_fn=search)

        def closure(opt: Any = opt, p: Any = p) -> Any:
            opt.zero_grad()
            loss = rosenbrock(p)
            loss.backward()
            return loss

        path = []
        for _ in range(8):
            path.append(float(opt.step(closure)))
        paths.append([*path, *p.detach().numpy()])
    np.testing.assert_allclose(*paths, rtol=1e-6, atol=1e-9)
    if search:
        np.testing.assert_allclose(paths[0][-2:], [1.0, 1.0], rtol=0.05)


def descend(opt: Any, p: gl.Tensor, count: int) -> np.ndarray:
    def closure() -> gl.Tensor:
        opt.zero_grad()
        loss = ((p - gl.tensor(TARGET)) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(count):
        opt.step(closure)
    return p.detach().numpy()


def leaf() -> gl.Tensor:
    return gl.tensor(P0.copy(), requires_grad=True)


def gradient(p: np.ndarray) -> np.ndarray:
    return 2 * (p - TARGET)


def test_lion() -> None:
    p, m = P0.copy(), np.zeros_like(P0)
    for _ in range(5):
        g = gradient(p)
        p = p - 0.01 * (np.sign(0.9 * m + 0.1 * g) + 0.1 * p)
        m = 0.99 * m + 0.01 * g
    q = leaf()
    np.testing.assert_allclose(descend(optim.Lion([q], lr=0.01, weight_decay=0.1), q, 5), p)


def test_lamb() -> None:
    p, m, v = P0.copy(), np.zeros_like(P0), np.zeros_like(P0)
    for t in range(1, 6):
        g = gradient(p)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + 0.1 * p
        p = p - 0.01 * np.linalg.norm(p) / np.linalg.norm(r) * r
    q = leaf()
    np.testing.assert_allclose(descend(optim.LAMB([q], lr=0.01, weight_decay=0.1), q, 5), p, rtol=1e-9)
    zero = gl.zeros(3, requires_grad=True)
    optim_zero = optim.LAMB([zero], lr=0.1)
    (zero - 1.0).pow(2).sum().backward()
    optim_zero.step()
    assert np.isfinite(zero.detach().numpy()).all() and (zero.detach().numpy() > 0).all()


@pytest.mark.parametrize("no_prox", [False, True])
def test_adan(no_prox: bool) -> None:
    p, m, v, n, before = P0.copy(), 0.0, 0.0, 0.0, None
    for t in range(1, 6):
        g = gradient(p)
        change = 0.0 if before is None else g - before
        m, v = 0.98 * m + 0.02 * g, 0.92 * v + 0.08 * change
        n = 0.99 * n + 0.01 * (g + 0.92 * change) ** 2
        step = (m / (1 - 0.98**t) + 0.92 * v / (1 - 0.92**t)) / (np.sqrt(n / (1 - 0.99**t)) + 1e-8)
        p = p * (1 - 0.01 * 0.1) - 0.01 * step if no_prox else (p - 0.01 * step) / (1 + 0.01 * 0.1)
        before = g
    q = leaf()
    opt = optim.Adan([q], lr=0.01, weight_decay=0.1, no_prox=no_prox)
    np.testing.assert_allclose(descend(opt, q, 5), p, rtol=1e-9)


def test_schedule_free() -> None:
    """The published recursion: z steps, x is its mean, y lies between."""
    lr, beta, warm = 0.05, 0.9, 3
    x, z, v, total, most = P0.copy(), P0.copy(), np.zeros_like(P0), 0.0, 0.0
    for t in range(1, 8):
        y = (1 - beta) * z + beta * x
        g = gradient(y)
        v = 0.999 * v + 0.001 * g * g
        rate = lr * min(1, t / warm)
        most = max(most, rate)
        total += most**2
        z = z - rate * (g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + 0.1 * y)
        x = x + (z - x) * (most**2 / total)
    q = leaf()
    opt = optim.AdamWScheduleFree([q], lr=lr, betas=(beta, 0.999), weight_decay=0.1, warmup_steps=warm)
    between = descend(opt, q, 7).copy()
    np.testing.assert_allclose(between, (1 - beta) * z + beta * x, rtol=1e-5)
    opt.eval()
    np.testing.assert_allclose(q.detach().numpy(), x, rtol=1e-5)
    with pytest.raises(ValueError, match="train"):
        descend(opt, q, 1)
    opt.train()
    np.testing.assert_allclose(q.detach().numpy(), between, rtol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam(adaptive: bool) -> None:
    p, buffer = P0.copy(), 0.0
    for _ in range(4):
        g = gradient(p)
        scaled = np.abs(p) * g if adaptive else g
        there = p + 0.1 / np.linalg.norm(scaled) * (p**2 * g if adaptive else g)
        buffer = 0.9 * buffer + gradient(there)
        p = p - 0.01 * buffer
    q = leaf()
    opt = optim.SAM([q], optim.SGD, rho=0.1, adaptive=adaptive, lr=0.01, momentum=0.9)
    np.testing.assert_allclose(descend(opt, q, 4), p, rtol=1e-9)
    with pytest.raises(ValueError, match="closure"):
        opt.step()
    with pytest.raises(StateError, match="first_step"):
        opt.second_step()
    other = optim.SAM([leaf()], optim.SGD, lr=1.0, momentum=0.9)
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0]["lr"] == 0.01


def test_lookahead_and_its_state() -> None:
    p, slow = P0.copy(), P0.copy()
    for t in range(1, 8):
        p = p - 0.1 * gradient(p)
        if t % 3 == 0:
            slow = slow + 0.5 * (p - slow)
            p = slow.copy()
    q = leaf()
    opt = optim.Lookahead(optim.SGD([q], lr=0.1), k=3)
    descend(opt, q, 4)
    r = gl.tensor(q.detach().numpy().copy(), requires_grad=True)
    resumed = optim.Lookahead(optim.SGD([r], lr=9.0), k=3)
    resumed.load_state_dict(opt.state_dict())
    np.testing.assert_allclose(descend(opt, q, 3), p, rtol=1e-9)
    np.testing.assert_array_equal(descend(resumed, r, 3), q.detach().numpy())
    ExponentialLR(opt, 0.5).step()
    assert opt.optimizer.param_groups[0]["lr"] == 0.05


def test_a_chain_of_links() -> None:
    big = gl.tensor(np.full(4, 100.0), requires_grad=True)
    opt = optim.Chain([big], links.clip_value(1.0), links.clip_norm(0.5), links.trace(0.9), links.descend(0.1))
    expected, momentum = 100.0, 0.0
    for _ in range(3):
        opt.zero_grad()
        (big * big).sum().backward()
        opt.step()
        momentum = 0.9 * momentum + 0.25  # ones of norm 2, cut to 1/2
        expected -= 0.1 * momentum
    np.testing.assert_allclose(big.detach().numpy(), expected, rtol=1e-5)
    opt.param_groups[0]["lr"] = 0.0
    before = big.detach().numpy().copy()
    opt.step()
    np.testing.assert_array_equal(big.detach().numpy(), before)
    with pytest.raises(ValueError, match="momentum"):
        optim.Chain([big], links.trace(), links.trace())


def test_clipping_by_unit() -> None:
    w, g = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)) * 5
    p = gl.tensor(w, requires_grad=True)
    p.grad = gl.tensor(g)
    optim.adaptive_clip_grad_([p], 0.1)
    most, size = 0.1 * np.linalg.norm(w, axis=1, keepdims=True), np.linalg.norm(g, axis=1, keepdims=True)
    np.testing.assert_allclose(p.grad.numpy(), np.where(size > most, g * most / size, g), rtol=1e-9)
    q = gl.tensor(w, requires_grad=True)
    opt = optim.Chain([q], links.clip_adaptive(0.1), links.descend(1.0))
    (q * gl.tensor(g)).sum().backward()
    opt.step()
    np.testing.assert_allclose(q.detach().numpy(), w - p.grad.numpy(), rtol=1e-9)


def test_rates_by_layer() -> None:
    layers = [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)]
    groups = optim.layerwise_groups(layers, 0.1, 0.5)
    assert [g["lr"] for g in groups] == [0.05, 0.1]
    assert len(optim.SGD(groups).param_groups) == 2


def test_accumulation_is_exact() -> None:
    x, y = RNG.normal(size=(8, 2)), RNG.normal(size=(8, 1))
    results = []
    for pieces in (1, 4):
        w = gl.tensor(np.ones((2, 1)), requires_grad=True)
        opt = optim.Adam([w], lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            for a, b in zip(np.split(x, pieces), np.split(y, pieces)):
                (((gl.tensor(a) @ w - gl.tensor(b)) ** 2).sum() / 8).backward()
            opt.step()
        results.append(w.detach().numpy())
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_hooks() -> None:
    p = leaf()
    opt = optim.SGD([p], lr=0.1)
    seen: list[str] = []
    handles = [
        opt.register_step_pre_hook(lambda o, args, kwargs: seen.append("before")),
        opt.register_step_post_hook(lambda o, args, kwargs: seen.append("after")),
        opt.register_state_dict_pre_hook(lambda o: seen.append("saving")),
        opt.register_state_dict_post_hook(lambda o, d: {**d, "note": 1}),
        opt.register_load_state_dict_pre_hook(lambda o, d: {k: v for k, v in d.items() if k != "note"}),
        opt.register_load_state_dict_post_hook(lambda o: seen.append("loaded")),
    ]
    descend(opt, p, 1)
    state = opt.state_dict()
    assert state["note"] == 1
    opt.load_state_dict(state)
    assert seen == ["before", "after", "saving", "loaded"]
    for handle in handles:
        handle.remove()
    descend(opt, p, 1)
    assert len(seen) == 4
    with optim.optimizer.register_optimizer_step_post_hook(lambda o, a, k: seen.append(type(o).__name__)):
        descend(opt, p, 1)
    assert seen[-1] == "SGD"


class Signed(optim.Optimizer):
    """As PyTorch's users write their own."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            loss = closure()
        with gl.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    state["count"] = state.get("count", 0) + 1
                    p.add_(p.grad.sign(), alpha=-group["lr"])
        return loss


def test_an_optimiser_of_a_user() -> None:
    p, seen = leaf(), []
    opt = Signed([p], 0.1)
    opt.register_step_post_hook(lambda *a: seen.append(1))
    np.testing.assert_allclose(descend(opt, p, 1), P0 - 0.1 * np.sign(gradient(P0)))
    assert opt.state_dict()["state"] == {0: {"count": 1}} and seen == [1]


def test_named_parameters_and_switches() -> None:
    layer = nn.Linear(2, 3)
    opt = optim.AdamW(layer.named_parameters(), foreach=True, capturable=True)
    assert opt.param_groups[0]["param_names"] == ["weight", "bias"]
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(RuntimeError, match="fused"):
        optim.Adam(layer.parameters(), foreach=True, fused=True)
    with pytest.raises(GradientError, match="differentiable"):
        optim.SGD(layer.parameters(), differentiable=True)
    with pytest.raises(TypeError, match="set"):
        optim.SGD([{"params": set(layer.parameters())}])
    with pytest.raises(ValueError, match="matrices"):
        optim.Muon(layer.parameters())
    with pytest.raises(ValueError, match="one parameter group"):
        optim.LBFGS([{"params": [layer.weight]}, {"params": [layer.bias]}])


def test_muon_brings_singular_values_near_one() -> None:
    w = gl.zeros(6, 4, requires_grad=True)
    opt = optim.Muon([w], lr=1.0, weight_decay=0.0)
    (w * gl.tensor(RNG.normal(size=(6, 4)).astype(np.float32))).sum().backward()
    opt.step()
    values = np.linalg.svd(w.detach().numpy(), compute_uv=False) / np.sqrt(6 / 4)
    assert values.min() > 0.5 and values.max() < 1.5


def model(lib: Any) -> Any:
    m = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.Linear(4, 1))
    weights = np.random.default_rng(0)
    m.load_state_dict(
        {k: lib.tensor(weights.normal(size=tuple(v.shape)).astype(np.float32)) for k, v in m.state_dict().items()}
    )
    return m


@pytest.mark.parametrize("kind", ["swa", "ema", "multi"])
def test_averaged_models(kind: str) -> None:
    x = RNG.normal(size=(8, 3)).astype(np.float32)
    results = []
    for lib, module in ((gl, optim), (torch, torch.optim)):
        m = model(lib)
        utils = module.swa_utils
        options = {
            "ema": {"avg_fn": utils.get_ema_avg_fn(0.8)},
            "multi": {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.8)},
        }
        mean = utils.AveragedModel(m, **options.get(kind, {}))
        opt = module.SGD(m.parameters(), lr=0.1)
        schedule = utils.SWALR(opt, swa_lr=0.02, anneal_epochs=3)
        rates = []
        for _ in range(5):
            opt.zero_grad()
            (m(lib.tensor(x)) ** 2).mean().backward()
            opt.step()
            mean.update_parameters(m)
            schedule.step()
            rates += schedule.get_last_lr()
        state = {k: v.detach().numpy() for k, v in mean.state_dict().items()}
        results.append((rates, state, mean(lib.tensor(x)).detach().numpy()))
    (a, s, y), (b, t, z) = results
    np.testing.assert_allclose(a, b, rtol=1e-9)
    assert list(s) == list(t) and int(s["n_averaged"]) == 5
    for k in s:
        np.testing.assert_allclose(s[k], t[k], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adafactor", "Muon", "LAMB", "NAdam"])
@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_stays(name: str, kind: str) -> None:
    p = gl.tensor(P0.astype(np.float32)).to(getattr(gl, kind)).requires_grad_()
    opt = getattr(optim, name)([p], lr=0.1)
    before = p.detach().float().numpy().copy()
    for _ in range(2):
        opt.zero_grad()
        (p * p).sum().backward()
        opt.step()
    after = p.detach().float().numpy()
    assert p.dtype.name == kind and np.isfinite(after).all() and (after != before).any()


ELEMENTWISE = (
    "SGD ASGD Adam AdamW Adamax NAdam RAdam Adagrad Adadelta RMSprop Rprop Lion Adan AdamWScheduleFree".split()
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_update_of_a_parameter_is_one_kernel(name: str) -> None:
    from gradloom.tape import TAPE

    p = gl.tensor(np.ones((50, 40), np.float32), requires_grad=True)
    opt = getattr(optim, name)([p], lr=0.1)
    for _ in range(3):
        p.grad = gl.tensor(np.ones((50, 40), np.float32))
        opt.step()
    assert TAPE.latest is not None and TAPE.latest.exe is not None
    nests = [line for line in TAPE.latest.exe.describe().splitlines() if line.startswith("nest")]
    assert len(nests) == 1


def test_parameters_swapped_in_for_a_step() -> None:
    p = leaf()
    opt = optim.Adam([p], lr=0.1)
    descend(opt, p, 2)
    other, state, here = leaf(), opt.state_dict(), p.detach().numpy().copy()
    state["state"][0] = {k: v.clone() for k, v in state["state"][0].items()}
    with optim.swap_in_optimizer_params_and_state(opt, {"w": other}, state):
        descend(opt, other, 1)
    assert (other.detach().numpy() != P0).all()
    np.testing.assert_array_equal(p.detach().numpy(), here)
    assert opt.param_groups[0]["params"][0] is p and opt.state[p]["step"] == 2
    whole = leaf()
    descend(optim.Adam([whole], lr=0.1), whole, 4)
    np.testing.assert_array_equal(descend(opt, p, 2), whole.detach().numpy())
    with pytest.raises(ValueError, match="shapes"), optim.swap_in_optimizer_params_and_state(opt, {}, state):
        pass
