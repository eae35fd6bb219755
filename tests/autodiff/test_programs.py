"""checkpoint, compile, functional_call and trees."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import func, nn
from gradloom.autodiff import trees
from gradloom.errors import NotSupportedError, ShapeError, StateError
from gradloom.tape import TAPE
from gradloom.utils.checkpoint import checkpoint, checkpoint_sequential

RNG = np.random.default_rng(12)


# -- checkpoint -----------------------------------------------------------------------------------
def block(x: Any, a: Any, b: Any) -> Any:
    return ((x @ a).tanh().sin() @ b).tanh()


def arena_and_grads(kept: bool) -> tuple[int, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    ws = [gl.tensor(rng.normal(size=(32, 32)).astype(np.float32), requires_grad=True) for _ in range(8)]
    h = gl.tensor(rng.normal(size=(512, 32)).astype(np.float32))
    for k in range(0, 8, 2):
        h = block(h, *ws[k : k + 2]) if kept else checkpoint(block, h, *ws[k : k + 2], use_reentrant=False)
    h.square().mean().backward()
    grads = [w.grad.numpy().copy() for w in ws]
    assert TAPE.latest is not None
    return TAPE.latest.exe._parts.arena_bytes, grads


def test_checkpoint_takes_less_memory_and_gives_the_same_bits() -> None:
    (much, a), (little, b) = arena_and_grads(True), arena_and_grads(False)
    assert little < 0.7 * much
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_checkpoint_draws_the_same_numbers_again() -> None:
    grads = []
    for wrap in (checkpoint, lambda f, *a: f(*a)):
        gl.manual_seed(3)
        x = gl.ones(200, requires_grad=True)
        wrap(lambda x: gl.dropout(x * 2, 0.5, True).tanh() * gl.rand(200), x).sum().backward()
        grads.append(x.grad.numpy())
    np.testing.assert_array_equal(*grads)


def test_checkpoint_inside_others() -> None:
    x = gl.tensor(RNG.normal(size=4))

    def f(x: Any) -> Any:
        return checkpoint(lambda y: checkpoint(lambda z: z.sin() * z, y).exp().sum(), x)

    g = lambda x: (x.sin() * x).exp().sum()  # noqa: E731
    for made in (func.grad, func.hessian, lambda h: func.grad(lambda x: func.vmap(lambda s: h(x * s))(x).sum())):
        np.testing.assert_allclose(made(f)(x).numpy(), made(g)(x).numpy(), 1e-10)
    t = gl.tensor(x.numpy(), requires_grad=True)
    y = f(t)
    y.numpy()
    y.backward()
    np.testing.assert_allclose(t.grad.numpy(), func.grad(g)(x).numpy(), 1e-12)


def test_checkpoint_sequential() -> None:
    gl.manual_seed(0)
    net = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(5, 5), nn.Tanh())))
    x = gl.randn(3, 5)
    grads = []
    for call in (net, lambda x: checkpoint_sequential(net, 3, x, use_reentrant=False)):
        net.zero_grad()
        call(x).sum().backward()
        grads.append([p.grad.numpy().copy() for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="segments"):
        checkpoint_sequential(net, 9, x)
    with pytest.raises(NotSupportedError, match="context_fn"):
        checkpoint(net, x, context_fn=lambda: None)
    with pytest.raises(ValueError, match="determinism"):
        checkpoint(net, x, determinism_check="maybe")


# -- compile --------------------------------------------------------------------------------------
def test_compile_gives_the_same_results() -> None:
    def f(x: Any, k: int = 2, *, y: Any) -> Any:
        return {"a": x.sum(0) * k, "b": [y @ x, (x * y.sum(),)]}

    g = gl.compile(f, mode="max-autotune", dynamic=True, fullgraph=True)
    x, y = gl.tensor(RNG.normal(size=(3, 2))), gl.tensor(RNG.normal(size=(4, 3)))
    for k in (2, 3, 2):
        mine, plain = g(x, k, y=y), f(x, k, y=y)
        assert type(mine["b"]) is list
        assert type(mine["b"][1]) is tuple
        for a, b in zip(trees.leaves_of(mine), trees.leaves_of(plain), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_compile_as_a_decorator_and_under_transformations() -> None:
    @gl.compile
    def f(x: Any) -> Any:
        return (x * x).sum()

    @gl.compile(fullgraph=True)
    def g(x: Any) -> Any:
        return x.sin()

    class Holder:
        k = 2

        @gl.compile
        def call(self, x: Any) -> Any:
            return x * self.k

    x = gl.tensor(RNG.normal(size=3))
    for _ in range(2):
        f(x), g(x)
        np.testing.assert_allclose(func.grad(f)(x).numpy(), 2 * x.numpy())
        np.testing.assert_allclose(func.vmap(g)(x).numpy(), np.sin(x.numpy()))
        np.testing.assert_allclose(Holder().call(x).numpy(), 2 * x.numpy())
    t = gl.tensor(x.numpy(), requires_grad=True)
    f(t).backward()
    np.testing.assert_allclose(t.grad.numpy(), 2 * x.numpy())
    inner = gl.compile(lambda x: func.grad(f)(x))
    for _ in range(3):
        np.testing.assert_allclose(inner(x).numpy(), 2 * x.numpy())


def test_compiled_modules_stay_modules() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    made = gl.compile(net)
    assert isinstance(made, nn.Sequential)
    assert list(made.state_dict()) == list(net.state_dict())
    assert made._orig_mod is net
    x = gl.ones(2, 3)
    made.eval()
    assert not net.training
    with gl.no_grad():
        for _ in range(3):
            np.testing.assert_array_equal(made(x).numpy(), net(x).numpy())
            net[0].weight.data.mul_(2.0)
    made(x).sum().backward()
    assert net[0].weight.grad is not None
    net[0].train()
    net[1].train()
    with gl.no_grad():
        assert len({float(made(x).sum()) for _ in range(20)}) > 1  # the mode of a part counts


def test_compiled_functions_write_where_the_plain_ones_do() -> None:
    seen = gl.zeros(2)

    @gl.compile
    def f(x: Any) -> Any:
        seen.add_(x)
        x.mul_(2)
        return x + 1

    x = gl.ones(2)
    for _ in range(3):
        f(x)
    assert x.tolist() == [8, 8]
    assert seen.tolist() == [7, 7]


def test_compiled_functions_that_look_at_values() -> None:
    @gl.compile
    def f(x: Any) -> Any:
        y = x * 2
        return y + 1 if y.sum().item() > 0 else y - 1

    for k in (1.0, -1.0, 3.0, -3.0):
        assert f(gl.full((2,), k)).tolist() == [2 * k + (1 if k > 0 else -1)] * 2


def test_a_frozen_parameter_may_thaw() -> None:
    w = gl.ones(2)
    f = gl.compile(lambda x: x * w)
    assert not f(gl.ones(2)).requires_grad
    w.requires_grad_()
    assert f(gl.ones(2)).requires_grad


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"backend": "onnxrt"}, NotSupportedError), ({"mode": "slow"}, ValueError), ({"nonsense": 1}, TypeError),
        ({"options": {"trace": 1}}, NotSupportedError),
    ],
)  # fmt: skip
def test_compile_refuses(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        gl.compile(gl.sin, **options)
    with pytest.raises(TypeError):
        gl.compile(3)
    assert gl.compile(gl.sin, disable=True) is gl.sin
    assert gl.compile(gl.sin, backend="eager") is gl.sin


# -- modules as functions --------------------------------------------------------------------------
def test_functional_call_and_ensembles() -> None:
    nets = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(3)]
    x = gl.randn(5, 3)
    params, buffers = func.stack_module_state(nets)
    assert params["0.weight"].shape == (3, 4, 3)
    assert params["0.weight"].requires_grad
    assert params["0.weight"].is_leaf
    out = func.vmap(lambda p, b, x: func.functional_call(nets[0], (p, b), (x,)), (0, 0, None))(params, buffers, x)
    for k, net in enumerate(nets):
        np.testing.assert_allclose(out.detach().numpy()[k], net(x).detach().numpy(), 1e-5, 1e-6)
    before = nets[0][0].weight
    func.functional_call(nets[0], {"0.weight": gl.zeros(4, 3)}, x)
    assert nets[0][0].weight is before


def test_per_sample_gradients() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    params = {k: v.detach() for k, v in net.named_parameters()}
    x, y = gl.randn(6, 3), gl.tensor(RNG.integers(0, 2, 6))

    def loss(p: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(func.functional_call(net, p, (x[None],)), y[None])

    got = func.vmap(func.grad(loss), (None, 0, 0))(params, x, y)
    for k in range(6):
        net.zero_grad()
        F.cross_entropy(net(x[k : k + 1]), y[k : k + 1]).backward()
        for name, p in net.named_parameters():
            np.testing.assert_allclose(got[name].numpy()[k], p.grad.numpy(), 1e-5, 1e-6)


def test_functional_call_refuses_and_ties() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    net, x = Tied(), gl.ones(1, 2)
    eye = gl.eye(2) * 2
    assert func.functional_call(net, {"a.weight": eye}, x).tolist() == [[4, 4]]
    with pytest.raises(StateError, match="nothing"):
        func.functional_call(net, {"nothing": eye}, x, strict=True)
    with pytest.raises(StateError, match="missing"):
        func.functional_call(nn.Linear(2, 2), {"weight": eye}, x, strict=True)
    with pytest.raises(StateError, match="twice"):
        func.functional_call(net, ({"a.weight": eye}, {"a.weight": eye}), x)
    with pytest.raises(StateError, match="classes"):
        func.stack_module_state([nn.Linear(2, 2), nn.ReLU()])


def test_running_statistics_can_be_left_out() -> None:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.track_running_stats = True
            self.register_buffer("running_mean", gl.zeros(2))
            self.register_buffer("running_var", gl.ones(2))
            self.register_buffer("num_batches_tracked", gl.tensor(0))

    net = nn.Sequential(Norm())
    assert func.replace_all_batch_norm_modules_(net) is net
    assert not net[0].track_running_stats
    assert not list(net.buffers())


# -- trees ------------------------------------------------------------------------------------------
def test_trees() -> None:
    @trees.register_dataclass
    @dataclasses.dataclass
    class Point:
        x: Any
        y: Any

    Pair = namedtuple("Pair", "a b")
    tree = {"k": [1, (2, None)], "p": Point(3, Pair(4, 5)), "o": OrderedDict(z=6)}
    leaves, shape = trees.flatten(tree)
    assert leaves == [1, 2, 3, 4, 5, 6]
    again = trees.unflatten(shape, leaves)
    assert again == tree
    assert isinstance(again["p"].y, Pair)
    assert isinstance(again["o"], OrderedDict)
    assert trees.flatten(trees.map_leaves(lambda x: -x, tree))[1] == shape
    assert hash(shape) == hash(trees.flatten(again)[1])
    assert trees.spread("x", {"k": 0, "p": (1, 2) and None, "o": 7}, shape) == [0, 0, None, None, None, 7]
    with pytest.raises(ShapeError, match="structure"):
        trees.spread("x", [0, 1], shape)
    with pytest.raises(ShapeError, match="keys"):
        trees.spread("x", {"k": 0, "p": 1, "q": 2}, shape)
    p = Point(gl.ones(2), gl.ones(()))
    assert func.grad(lambda p: (p.x * p.y).sum())(p).y.item() == 2.0
