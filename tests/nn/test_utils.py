"""`nn.utils`: parametrisations, norms of weights, clipping, vectors, fusion, stateless calls; more of `nn.init`."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.errors import GradientError, ShapeError, StateError
from gradloom.nn import init
from gradloom.nn.utils import parametrizations, parametrize


def apply(name: str, **options: Any) -> Any:
    return lambda lib, m: getattr(lib.utils.parametrizations, name)(m, **options)


def old(name: str, **options: Any) -> Any:
    return lambda lib, m: getattr(lib.utils, name)(m, **options)


LINEAR = [("Linear", (5, 3), (2, 5)), ("Linear", (3, 4), (2, 3))]
CONV = [("Conv2d", (2, 3, 2), (1, 2, 4, 4)), ("ConvTranspose1d", (3, 2, 2), (1, 3, 4))]
WEIGHTS = [
    *((f, layer) for layer in LINEAR for f in (apply("weight_norm"), apply("spectral_norm"), apply("orthogonal"))),
    *((f, layer) for layer in CONV for f in (apply("weight_norm", dim=1), apply("spectral_norm"), old("spectral_norm"),
                                             old("weight_norm"))),
    (apply("weight_norm", dim=None), LINEAR[0]), (apply("orthogonal", orthogonal_map="cayley"), LINEAR[0]),
    (apply("orthogonal", orthogonal_map="matrix_exp"), ("Linear", (4, 4), (2, 4))),
    (apply("orthogonal", orthogonal_map="householder", use_trivialization=False), LINEAR[1]),
    (apply("spectral_norm", n_power_iterations=3, dim=1), LINEAR[1]),
    (lambda lib, m: lib.utils.remove_weight_norm(lib.utils.weight_norm(m)), LINEAR[0]),
    (lambda lib, m: lib.utils.parametrize.remove_parametrizations(lib.utils.parametrizations.weight_norm(m), "weight"),
     LINEAR[0]),
]  # fmt: skip


@pytest.mark.parametrize(("reweight", "layer"), WEIGHTS)
def test_reweighted_layers(reweight: Any, layer: tuple) -> None:
    """Text, state, values and gradients as PyTorch's, over two steps."""
    name, args, shape = layer
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    theirs = reweight(torch.nn, getattr(torch.nn, name)(*args))
    ours = reweight(nn, getattr(nn, name)(*args))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for _ in range(2):
        a, b = ours(gl.tensor(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)
    (a * a).sum().backward()
    (b * b).sum().backward()
    for (n, p), (m, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert n == m
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-3, atol=1e-4, err_msg=n)
    for n, v in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[n].numpy(), v.numpy(), rtol=1e-3, atol=1e-5, err_msg=n)


class Symmetric(nn.Module):
    def forward(self, x: gl.Tensor) -> gl.Tensor:
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x: gl.Tensor) -> gl.Tensor:
        return x.triu()


class Doubled(nn.Module):
    def forward(self, x: gl.Tensor) -> gl.Tensor:
        return x * 2


def test_parametrize() -> None:
    layer = nn.Linear(3, 3)
    held = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    parametrize.register_parametrization(layer, "bias", Doubled())
    assert parametrize.is_parametrized(layer) and parametrize.is_parametrized(layer, "bias")
    assert layer.parametrizations.weight.original is held and isinstance(layer, nn.Linear)
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    np.testing.assert_array_equal(layer.weight.detach().numpy(), layer.weight.mT.detach().numpy())
    layer.weight = gl.ones(3, 3)
    np.testing.assert_array_equal(held.detach().numpy(), np.triu(np.ones((3, 3))))
    with pytest.raises(RuntimeError, match="right_inverse"):
        layer.bias = gl.ones(3)
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    twin = copy.deepcopy(layer)
    parametrize.remove_parametrizations(twin, "weight")
    parametrize.remove_parametrizations(twin, "bias", leave_parametrized=False)
    assert type(twin) is nn.Linear and [n for n, _ in twin.named_parameters()] == ["weight", "bias"]
    assert parametrize.is_parametrized(layer, "weight")
    np.testing.assert_array_equal(twin.weight.detach().numpy(), np.ones((3, 3)))
    other = parametrize.transfer_parametrizations_and_params(layer, nn.Linear(3, 3))
    assert other.parametrizations.weight.original is layer.parametrizations.weight.original
    layer(gl.ones(2, 3)).sum().backward()
    assert held.grad is not None


def test_parametrize_refuses() -> None:
    class Wider(nn.Module):
        def forward(self, x: gl.Tensor) -> gl.Tensor:
            return gl.cat([x, x])

    with pytest.raises(ValueError, match="may not change the shape"):
        parametrize.register_parametrization(nn.Linear(2, 2), "weight", Wider())
    parametrize.register_parametrization(nn.Linear(2, 2), "weight", Wider(), unsafe=True)
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(nn.Linear(2, 2), "scale", Doubled())
    with pytest.raises(ValueError, match="does not have a parametrization"):
        parametrize.remove_parametrizations(nn.Linear(2, 2), "weight")
    for call, words in (
        (lambda: parametrizations.orthogonal(nn.Linear(2, 2), "bias"), "Expected a matrix"),
        (lambda: parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr"), "has to be one of"),
        (lambda: parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=0), "positive"),
        (lambda: parametrizations.spectral_norm(nn.Linear(2, 2), dim=2), "out of range"),
        (lambda: nn.utils.remove_weight_norm(nn.Linear(2, 2)), "not found"),
    ):
        with pytest.raises((ValueError, IndexError), match=words):
            call()
    with pytest.raises(RuntimeError, match="Cannot register two"):
        nn.utils.weight_norm(nn.utils.weight_norm(nn.Linear(2, 2)), "weight")


def test_a_gradient_taken_after_the_value_was_seen() -> None:
    """The power iteration's vectors of the forward pass are those of the backward pass."""
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    y = (layer(gl.ones(2, 3)) ** 2).sum()
    y.item()
    part = layer.parametrizations.weight
    w, u, v = part.original.detach().numpy(), part[0]._u.numpy(), part[0]._v.numpy()
    y.backward()
    sigma = u @ w @ v
    g = 2 * np.outer((w / sigma) @ np.ones(3) + layer.bias.detach().numpy(), np.ones(3)) * 2
    expected = g / sigma - (g * w).sum() / sigma**2 * np.outer(u, v)
    np.testing.assert_allclose(part.original.grad.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf"), 3.0])
def test_clipping(norm_type: float) -> None:
    shapes = [(3, 4), (5,), ()]
    arrays = [np.random.default_rng(k).normal(size=s).astype(np.float32) * 3 for k, s in enumerate(shapes)]
    ours = [nn.Parameter(gl.zeros(*s)) for s in shapes]
    theirs = [torch.nn.Parameter(torch.zeros(s)) for s in shapes]
    for p, q, a in zip(ours, theirs, arrays, strict=True):
        p.grad, q.grad = gl.tensor(a), torch.tensor(a)
    held = ours[0].grad
    a = nn.utils.clip_grad_norm_(ours, 1.5, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, 1.5, norm_type)
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-5)
    assert ours[0].grad is held
    nn.utils.clip_grad_value_(ours, 0.2)
    torch.nn.utils.clip_grad_value_(theirs, 0.2)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5)
    ours[1].grad = gl.tensor(np.full(5, np.nan, np.float32))
    with pytest.raises(GradientError, match="nan"):
        nn.utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([nn.Parameter(gl.zeros(2))], 1.0).item() == 0.0


def test_parameters_as_a_vector() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert tuple(vector.shape) == (13,)
    nn.utils.vector_to_parameters(gl.arange(13).float(), model.parameters())
    assert model[0].weight.tolist() == [[0, 1], [2, 3], [4, 5]] and model[1].bias.tolist() == [12]
    with pytest.raises(ShapeError, match="of 5 entries for parameters of 13"):
        nn.utils.vector_to_parameters(gl.zeros(5), model.parameters())


@pytest.mark.parametrize("transpose", [False, True])
def test_fusion(transpose: bool) -> None:
    gl.manual_seed(0)
    conv = (nn.ConvTranspose2d if transpose else nn.Conv2d)(3, 4, 3, bias=transpose)
    bn = nn.BatchNorm2d(4)
    bn.running_mean, bn.running_var = gl.randn(4), gl.rand(4) + 0.5
    init.normal_(bn.weight)
    init.normal_(bn.bias)
    x = gl.randn(2, 3, 6, 6)
    with pytest.raises(ValueError, match="eval"):
        nn.utils.fuse_conv_bn_eval(conv, bn, transpose)
    fused = nn.utils.fuse_conv_bn_eval(conv.eval(), bn.eval(), transpose)
    np.testing.assert_allclose(fused(x).detach().numpy(), bn(conv(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    linear, one = nn.Linear(3, 4).eval(), nn.BatchNorm1d(4).eval()
    fused = nn.utils.fuse_linear_bn_eval(linear, one)
    y = gl.randn(2, 3)
    np.testing.assert_allclose(fused(y).detach().numpy(), one(linear(y)).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_stateless_calls_and_skipped_initialisation() -> None:
    layer = nn.Linear(2, 1)
    got = nn.utils.stateless.functional_call(layer, {"weight": gl.ones(1, 2), "bias": gl.zeros(1)}, gl.ones(3, 2))
    assert got.tolist() == [[2.0]] * 3
    with pytest.raises(StateError, match="has not"):
        nn.utils.stateless.functional_call(layer, {"scale": gl.ones(1)}, gl.ones(3, 2), strict=True)
    state = gl.default_generator.get_offset()
    made = nn.utils.skip_init(nn.Linear, 3, 4)
    assert gl.default_generator.get_offset() == state and tuple(made.weight.shape) == (4, 3)
    with pytest.raises(RuntimeError, match="Expected a Module"):
        nn.utils.skip_init(int)


def test_more_initialisers() -> None:
    for shape, groups in (((6, 3, 3), 1), ((4, 2, 3, 2), 2), ((2, 5, 1, 3, 4), 1)):
        theirs = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
        np.testing.assert_array_equal(init.dirac_(gl.empty(*shape), groups).numpy(), theirs)
    np.testing.assert_array_equal(init.eye_(gl.empty(3, 4)).numpy(), np.eye(3, 4))
    sparse = init.sparse_(gl.empty(10, 7), 0.25, 2.0).numpy()
    assert ((sparse == 0).sum(0) == 3).all() and 1 < sparse[sparse != 0].std() < 3
    draws = init.trunc_normal_(gl.empty(200, 200), 1.0, 2.0, -1.0, 2.0).numpy()
    assert draws.min() >= -1 and draws.max() <= 2 and abs(draws.mean() - 0.5867) < 0.03
    g = gl.Generator().manual_seed(3)
    a, h = init.normal_(gl.empty(5), generator=g).numpy().copy(), gl.Generator().manual_seed(3)
    np.testing.assert_array_equal(a, init.normal_(gl.empty(5), generator=h).numpy())
    missing = {n for n in dir(torch.nn.init) if n[0].islower() and callable(getattr(torch.nn.init, n))} - set(dir(init))
    assert not missing
    for bad, words in (
        (lambda: init.eye_(gl.empty(3)), "2 dimensions"), (lambda: init.sparse_(gl.empty(3), 0.1), "2 dimensions"),
        (lambda: init.dirac_(gl.empty(3, 2)), "3, 4, or 5"), (lambda: init.dirac_(gl.empty(3, 2, 1), 2), "divisible"),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=words):
            bad()


def test_every_public_name_of_utils_is_there() -> None:
    names = {n for n in dir(torch.nn.utils) if n[0].islower()} - {
        "clip_grad", "convert_parameters", "init", "memory_format",  # modules of theirs
    }  # fmt: skip
    assert names <= set(dir(nn.utils)), names - set(dir(nn.utils))


@pytest.mark.parametrize(("axes", "groups"), [(1, 1), (2, 2), (3, 1)])
def test_gradients_of_convolutions_by_themselves(axes: int, groups: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, *[5] * axes)).astype(np.float32)
    w = rng.normal(size=(2, 4 // groups, *[3] * axes)).astype(np.float32)
    c = rng.normal(size=(2, 2, *[2] * axes)).astype(np.float32)
    for name, args in ((f"conv{axes}d_input", (x.shape, w, c)), (f"conv{axes}d_weight", (x, w.shape, c))):
        ours, theirs = (
            getattr(lib.grad, name)(*(a if isinstance(a, tuple) else make(a) for a in args), stride=2, groups=groups)
            for lib, make in ((nn, gl.tensor), (torch.nn, torch.tensor))
        )
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_names_by_file_and_data_parallel() -> None:
    assert isinstance(nn.BatchNorm2d(2), nn.modules.batchnorm._BatchNorm) and nn.modules.Conv2d is nn.Conv2d
    assert isinstance(nn.ConvTranspose1d(1, 1, 1), nn.modules.conv._ConvNd)
    assert nn.modules.utils._pair(3) == (3, 3) and nn.parameter.Parameter is nn.Parameter
    with pytest.raises(AttributeError, match="no attribute 'Conv9d'"):
        nn.modules.Conv9d  # noqa: B018
    model = nn.DataParallel(nn.Linear(2, 1))
    assert list(model.state_dict()) == ["module.weight", "module.bias"]
    assert tuple(model(gl.ones(3, 2)).shape) == (3, 1)
    with pytest.raises(RuntimeError, match="there is none"):
        nn.DataParallel(nn.Linear(2, 1), [0, 1])


def test_a_second_parametrisation_leaves_what_the_first_computes_from() -> None:
    class Scaled:
        def forward(self, x: Any) -> Any:
            return x * 3

        def right_inverse(self, x: Any) -> Any:
            return x / 3

    class Several(Scaled):
        def right_inverse(self, x: Any) -> Any:
            return x, x

    for lib, T in ((nn, gl), (torch.nn, torch)):
        scaled, several = (type(c.__name__, (c, lib.Module), {}) for c in (Scaled, Several))
        layer = lib.Linear(2, 2)
        lib.init.constant_(layer.weight, 6.0)
        for factor in (1, 3):
            lib.utils.parametrize.register_parametrization(layer, "weight", scaled())
            assert layer.parametrizations.weight.original.tolist() == [[2.0, 2.0]] * 2
            assert layer.weight.tolist() == [[6.0 * factor] * 2] * 2
        layer.weight = T.full((2, 2), 9.0)
        assert layer.parametrizations.weight.original.tolist() == [[1.0, 1.0]] * 2
        with pytest.raises(ValueError, match="right_inverse must return a tensor"):
            lib.utils.parametrize.register_parametrization(layer, "weight", several())
        assert len(layer.parametrizations.weight) == 2
