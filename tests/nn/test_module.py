"""Modules: registration, walking, state, hooks and text, against PyTorch where it has an answer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.errors import DTypeError, ShapeError, StateError


def build(nn_: object) -> object:
    """The same model from either library."""

    class Block(nn_.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn_.Linear(4, 3)
            self.rest = nn_.Sequential(nn_.ReLU(), nn_.Linear(3, 2, bias=False))
            self.scales = nn_.ParameterList([nn_.Parameter(make(nn_)((2,)))])
            self.named = nn_.ModuleDict({"a": nn_.Linear(2, 2), "b": nn_.Identity()})
            self.many = nn_.ModuleList([nn_.Dropout(0.2), nn_.Flatten()])
            self.register_buffer("count", make(nn_)((1,)))
            self.register_buffer("scratch", make(nn_)((1,)), persistent=False)

        def forward(self, x: object) -> object:
            return self.named["a"](self.rest(self.first(x)) * self.scales[0])

    return Block()


def make(nn_: object) -> object:
    return gl.ones if nn_ is nn else torch.ones


def test_names_and_order_are_pytorchs() -> None:
    ours, theirs = build(nn), build(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(ours, walk)()] == [n for n, _ in getattr(theirs, walk)()]


def test_repr_is_pytorchs() -> None:
    ours, theirs = repr(build(nn)), repr(build(torch.nn)).replace("torch.float32", "gradloom.float32")
    assert ours == theirs


def test_forward_of_loaded_weights() -> None:
    ours, theirs = build(nn), build(torch.nn)
    keys = ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    assert keys == ([], [])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        ours(gl.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_a_state_that_does_not_fit_is_told_whole_and_changes_nothing() -> None:
    model = nn.Linear(3, 2)
    before = model.weight.detach().numpy().copy()
    with pytest.raises(StateError) as caught:
        model.load_state_dict({"weight": np.zeros((2, 4), np.float32), "extra": np.zeros(1)})
    text = str(caught.value)
    assert 'Missing key(s) in state_dict: "bias".' in text
    assert 'Unexpected key(s) in state_dict: "extra".' in text
    assert "size mismatch for weight" in text and "Size([2, 4])" in text and "Size([2, 3])" in text
    np.testing.assert_array_equal(model.weight.detach().numpy(), before)
    assert model.load_state_dict({"extra": np.zeros(1)}, strict=False) == (["weight", "bias"], ["extra"])


def test_shared_parameters_appear_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert [n for n, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert "1.weight" in model.state_dict()


def test_registration_is_checked() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="Parameter or None"):
        model.weight = gl.zeros(2, 2)
    with pytest.raises(KeyError, match="dot"):
        model.register_buffer("a.b", gl.zeros(1))

    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="super"):
        Early()
    with pytest.raises(DTypeError, match="gradient"):
        nn.Parameter(gl.tensor([1, 2]))
    model.bias = None
    assert [n for n, _ in model.named_parameters()] == ["weight"]
    del model.weight
    assert not hasattr(model, "weight")


def test_modes_apply_and_requires_grad() -> None:
    model = build(nn)
    model.eval()
    assert not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())
    seen: list[str] = []
    model.apply(lambda m: seen.append(type(m).__name__))
    assert seen[-1] == "Block" and seen[0] == "Linear"
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())


def test_zero_grad() -> None:
    model = nn.Linear(2, 2)
    model(gl.ones(1, 2)).sum().backward()
    assert model.weight.grad is not None
    model.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(model.weight.grad.numpy(), 0)
    model.zero_grad()
    assert model.weight.grad is None


def test_conversion_keeps_the_handles() -> None:
    model = build(nn)
    before = list(map(id, model.parameters()))
    model.double()
    assert {p.dtype.name for p in model.parameters()} == {"float64"}
    assert model.count.dtype.name == "float64"
    assert list(map(id, model.parameters())) == before
    assert model.float().first.weight.dtype.name == "float32"
    with pytest.raises(DTypeError):
        model.to(gl.int64)


def test_hooks() -> None:
    model = nn.Linear(2, 2)
    x = gl.ones(1, 2)
    plain = model(x).detach().numpy()
    first = model.register_forward_pre_hook(lambda m, args: args[0] * 2)
    np.testing.assert_allclose(model(x).detach().numpy(), model.forward(x * 2).detach().numpy(), rtol=1e-6)
    first.remove()
    second = model.register_forward_hook(lambda m, args, out: out + 1)
    np.testing.assert_allclose(model(x).detach().numpy(), plain + 1, rtol=1e-6)
    second.remove()
    np.testing.assert_allclose(model(x).detach().numpy(), plain, rtol=1e-6)


def test_an_error_names_the_layer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 2))

        def forward(self, x: gl.Tensor) -> gl.Tensor:
            return self.body(x)

    with pytest.raises(ShapeError, match="linear") as caught:
        Net()(gl.zeros(1, 4))
    assert caught.value.layer_path == ("Net", "body", "1")
    assert any("Net.body.1: Linear(in_features=4, out_features=2" in n for n in caught.value.__notes__)


def test_a_deep_copy_is_independent() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    other = copy.deepcopy(model)
    nn.init.zeros_(other[0].weight)
    assert isinstance(other[0].weight, nn.Parameter)
    assert np.abs(model[0].weight.detach().numpy()).sum() > 0
    np.testing.assert_array_equal(other[0].bias.detach().numpy(), model[0].bias.detach().numpy())


def test_containers() -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3))
    assert len(model) == 3 and isinstance(model[-1], nn.Linear) and len(model[:2]) == 2
    del model[1]
    assert [n for n, _ in model.named_children()] == ["0", "1"]
    model.append(nn.Tanh()).insert(0, nn.Identity())
    assert [type(m).__name__ for m in model] == ["Identity", "Linear", "Linear", "Tanh"]
    many = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    many[1] = nn.Identity()
    assert len(list(many.parameters())) == 4
    with pytest.raises(IndexError):
        many[3]
    named = nn.ModuleDict({"x": nn.ReLU()})
    named.update({"y": nn.Tanh()})
    assert list(named) == ["x", "y"] and "x" in named
    assert isinstance(named.pop("x"), nn.ReLU) and len(named) == 1


def test_dropout_and_flatten() -> None:
    gl.manual_seed(0)
    layer, x = nn.Dropout(0.25), gl.ones(100, 100)
    y = layer(x).numpy()
    assert set(np.unique(y).round(5)) == {0.0, np.float32(1 / 0.75).round(5)}
    assert abs((y == 0).mean() - 0.25) < 0.02
    assert layer.eval()(x) is x
    assert nn.Flatten()(gl.zeros(2, 3, 4)).shape == (2, 12)
    assert nn.Unflatten(1, (3, -1))(gl.zeros(2, 12)).shape == (2, 3, 4)
    with pytest.raises(ShapeError, match="product"):
        nn.Unflatten(1, (5, 2))(gl.zeros(2, 12))
    with pytest.raises(ShapeError, match="flatten"):
        nn.Linear(12, 2)(gl.zeros(2, 3, 4))
