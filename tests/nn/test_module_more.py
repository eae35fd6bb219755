"""Modules: hooks on the way back, hooks of the state, conversion, lookup by path, lazy and uninitialised parameters."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.errors import DeviceError, DTypeError, NotSupportedError, StateError
from gradloom.nn import hooks


def both(build: Any) -> tuple[Any, Any]:
    """The same model from either library with the same values."""
    torch.manual_seed(0)
    theirs, ours = build(torch.nn), build(nn)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def net(lib: Any) -> Any:
    return lib.Sequential(lib.Linear(3, 4), lib.Tanh(), lib.Linear(4, 2))


X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("with_input", [True, False])
def test_backward_hooks(with_input: bool) -> None:
    """What the hooks are given and what they change, twice round, as in PyTorch."""
    seen: list[list[Any]] = [[], []]
    grads = []
    for log, model, tensor in zip(seen, both(net), (gl.tensor, torch.tensor), strict=True):

        def hook(module: Any, grad_input: tuple, grad_output: tuple, log: list = log) -> Any:
            log.append((grad_input, grad_output))
            return tuple(None if g is None else g * 2 for g in grad_input)

        first = model[0].register_full_backward_hook(hook)
        model[2].register_full_backward_hook(hook)
        model[2].register_full_backward_pre_hook(lambda m, g: (g[0] * 3,))
        x = tensor(X, requires_grad=with_input)
        for _ in range(2):
            model(x).sum().backward()
        first.remove()
        model(x).sum().backward()
        grads.append([p.grad.numpy() for p in model.parameters()] + ([x.grad.numpy()] if with_input else []))
    assert len(seen[0]) == len(seen[1]) == 5
    for mine, theirs in zip(*seen, strict=True):
        for a, b in zip([*mine[0], *mine[1]], [*theirs[0], *theirs[1]], strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_forward_hooks_prepend_keywords_and_always() -> None:
    class Layer(nn.Module):
        def forward(self, x: gl.Tensor, scale: float = 1.0) -> gl.Tensor:
            if scale < 0:
                raise ValueError("negative")
            return x * scale

    layer, order = Layer(), []
    layer.register_forward_hook(lambda m, a, out: order.append("second"))
    layer.register_forward_hook(lambda m, a, out: order.append("first"), prepend=True)
    layer.register_forward_pre_hook(lambda m, a, k: (a, {"scale": k["scale"] * 2}), with_kwargs=True)
    layer.register_forward_hook(lambda m, a, k, out: out + k["scale"], with_kwargs=True)
    assert layer(gl.tensor(3.0), scale=2.0).item() == 16.0
    assert order == ["first", "second"]
    layer.register_forward_hook(lambda m, a, out: order.append(out), always_call=True)
    with pytest.raises(ValueError, match="negative"):
        layer(gl.tensor(1.0), scale=-1.0)
    assert order[2:] == [None]


def test_hooks_of_all_modules() -> None:
    names: list[str] = []
    with hooks.register_module_forward_hook(lambda m, a, out: names.append(type(m).__name__)):
        net(nn)(gl.zeros(1, 3))
    assert names == ["Linear", "Tanh", "Linear", "Sequential"]
    with hooks.register_module_forward_pre_hook(lambda m, a: names.clear()):
        net(nn)(gl.zeros(1, 3))
    assert not names
    seen: list[tuple] = []
    before = hooks.register_module_full_backward_pre_hook(lambda m, g: (g[0] * 2,))
    after = hooks.register_module_full_backward_hook(lambda m, i, o: seen.append((type(m).__name__, o[0].item())))
    layer = nn.Linear(1, 1)
    layer(gl.ones(1, 1)).sum().backward()
    before.remove()
    after.remove()
    layer(gl.ones(1, 1)).sum().backward()
    assert seen == [("Linear", 2.0)] and layer.bias.grad.item() == 3.0
    with hooks.register_module_parameter_registration_hook(lambda m, name, p: nn.Parameter(p.double())):
        assert nn.Linear(2, 2).weight.dtype is gl.float64


def test_hooks_of_the_state() -> None:
    model, log = net(nn), []
    model.register_state_dict_pre_hook(lambda m, prefix, keep: log.append("before"))
    model.register_state_dict_post_hook(lambda m, state, prefix, about: state.__delitem__("0.bias"))
    state = model.state_dict()
    assert log == ["before"] and list(state) == ["0.weight", "2.weight", "2.bias"]
    other = net(nn)

    def rename(module: Any, state: dict, prefix: str, *rest: Any) -> None:
        state[prefix + "bias"] = state[prefix + "weight"].sum(1)

    other[0].register_load_state_dict_pre_hook(rename)
    assert repr(other.load_state_dict(state)) == "<All keys matched successfully>"
    np.testing.assert_allclose(other[0].bias.detach().numpy(), state["0.weight"].numpy().sum(1), rtol=1e-6)
    third = net(nn)
    third.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    third.load_state_dict(state)
    np.testing.assert_array_equal(third[2].bias.detach().numpy(), state["2.bias"].numpy())


def test_own_loading_extra_state_and_metadata() -> None:
    class Counted(nn.Module):
        _version = 3

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.count, self.seen = nn.Linear(2, 2), 0, None

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

        def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
            self.seen = local_metadata.get("version")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    a, b = Counted(), Counted()
    a.count = 7
    state = a.state_dict()
    assert list(state) == ["_extra_state", "layer.weight", "layer.bias"]
    b.load_state_dict(state)
    assert b.count == 7 and b.seen == 3
    del state["_extra_state"]
    with pytest.raises(StateError, match=r'Missing key.*"_extra_state"'):
        b.load_state_dict(state)
    with pytest.raises(RuntimeError, match="no extra state"):
        nn.Linear(1, 1).get_extra_state()


def test_destination_prefix_keep_vars_and_assign() -> None:
    model = nn.Linear(2, 3)
    state: Any = OrderedDict()
    assert model.state_dict(destination=state, prefix="a.") is state and list(state) == ["a.weight", "a.bias"]
    assert model.state_dict(keep_vars=True)["weight"] is model.weight
    assert not model.state_dict()["weight"].requires_grad
    wide = {k: v.double() for k, v in model.state_dict().items()}
    model.load_state_dict(wide, assign=True)
    assert model.weight.dtype is gl.float64 and isinstance(model.weight, nn.Parameter) and model.weight.requires_grad
    with pytest.raises(TypeError, match="dict-like"):
        model.load_state_dict([1, 2])  # type: ignore[arg-type]


def test_conversion() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model(gl.ones(3, 2)).sum().backward()
    held = list(model.parameters())
    assert model.half().to("cpu").to(gl.zeros(1, dtype=gl.bfloat16))[0].weight.dtype is gl.bfloat16
    assert held[0].grad is not None and held[0].grad.dtype is gl.bfloat16
    assert all(a is b for a, b in zip(held, model.parameters(), strict=True))
    assert model[1].num_batches_tracked.dtype is gl.int64
    assert model.to("cpu", gl.float64).float().type(gl.float64)[1].running_mean.dtype is gl.float64
    assert model.to(device="cpu", dtype=gl.float32, non_blocking=True) is model
    for bad in (lambda: model.cuda(), lambda: model.to("cuda:0"), lambda: model.xpu(), lambda: model.mtia()):
        with pytest.raises(DeviceError):
            bad()
    with pytest.raises(DTypeError, match="floating or complex"):
        model.to(gl.int32)
    with pytest.raises(TypeError, match="unexpected argument"):
        model.to(dtyp=gl.float32)
    shape = model.to_empty(device="cpu")[0].weight.shape
    assert tuple(shape) == (2, 2) and model.cpu() is model
    assert model.compile() is None
    with pytest.raises(NotSupportedError, match="not shared between processes"):
        model.share_memory()


def test_lookup_by_path() -> None:
    model = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))})
    assert model.get_submodule("body.1") is model["body"][1]
    assert model.get_parameter("body.0.weight") is model["body"][0].weight
    assert model.get_buffer("body.1.running_mean") is model["body"][1].running_mean
    model.set_submodule("body.0", nn.Identity())
    assert isinstance(model["body"][0], nn.Identity)
    for call in (
        lambda: model.get_submodule("body.7"),
        lambda: model.get_parameter("body.1.scale"),
        lambda: model.get_buffer("body.1.weight"),
        lambda: model.set_submodule("head", nn.Identity(), strict=True),
    ):
        with pytest.raises(AttributeError):
            call()
    shared = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    shared.again = shared[0]
    assert len(list(shared.named_modules())) == 3
    assert len(list(shared.named_modules(remove_duplicate=False))) == 4
    assert len(list(shared.named_parameters(remove_duplicate=False))) == 6


def test_dictionaries_of_names_can_be_written() -> None:
    layer = nn.Linear(2, 2)
    layer._parameters["extra"] = nn.Parameter(gl.ones(2))
    layer._buffers["seen"] = gl.zeros(1)
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias", "extra"]
    assert list(layer.state_dict()) == ["weight", "bias", "extra", "seen"]
    del layer._parameters["extra"]
    assert not hasattr(layer, "extra") and "seen" in layer._buffers and len(layer._parameters) == 2
    with pytest.raises(KeyError, match="already exists"):
        layer.register_buffer("weight", gl.zeros(1))
    with pytest.raises(KeyError):
        layer._buffers["weight"]


def test_buffers_as_attributes() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Buffer(gl.ones(2))
            self.scratch = nn.Buffer(gl.ones(2), persistent=False)

    layer = Layer()
    assert [n for n, _ in layer.named_buffers()] == ["mean", "scratch"]
    assert list(layer.state_dict()) == ["mean"] and layer._non_persistent_buffers_set == {"scratch"}


def test_uninitialised_parameters() -> None:
    layer = nn.LazyLinear(3)
    with pytest.raises(StateError, match="not known yet"):
        layer.weight.shape  # noqa: B018
    other = copy.deepcopy(layer)
    assert repr(layer.weight) == "<UninitializedParameter>"
    assert tuple(layer.double()(gl.ones(2, 4, dtype=gl.float64)).shape) == (2, 3)
    assert type(layer) is nn.Linear and type(layer.weight) is nn.Parameter and layer.in_features == 4
    other.load_state_dict(layer.state_dict())
    assert tuple(other.weight.shape) == (3, 4)
    np.testing.assert_allclose(other(gl.ones(1, 4)).detach().numpy(), layer(gl.ones(1, 4).double()).detach().numpy(),
                               rtol=1e-5, atol=1e-6)  # fmt: skip
    assert type(other) is nn.Linear and other.in_features == 4
    assert list(layer._forward_pre_hooks) == list(other._forward_pre_hooks) == []


def test_every_public_name_of_module_is_settled() -> None:
    inner = {
        "__getattr__", "__setstate__", "_call_impl", "_compiled_call_impl", "_get_backward_hooks",
        "_get_backward_pre_hooks", "_maybe_warn_non_full_backward_hook", "_named_members",
        "_replicate_for_data_parallel", "_slow_forward", "_wrapped_call_impl", "T_destination", "dump_patches",
    }  # fmt: skip
    assert {n for n in dir(torch.nn.Module) if not hasattr(nn.Module, n)} <= inner


def test_containers_of_parameters() -> None:
    values = nn.ParameterList([gl.ones(2), 5, nn.Parameter(gl.zeros(1))])
    assert [type(v).__name__ for v in values] == ["Parameter", "int", "Parameter"]
    values.append(gl.ones(3)).insert(0, "name")
    assert values[0] == "name" and len(values) == 5 and len(list(values.parameters())) == 3
    assert values.pop(0) == "name" and list(values.state_dict()) == ["0", "2", "3"]
    del values[1]
    assert [tuple(p.shape) for p in values] == [(2,), (1,), (3,)] and len(values[:2]) == 2
    theirs = torch.nn.ParameterList([torch.ones(2), 5, torch.nn.Parameter(torch.zeros(1))])
    assert repr(nn.ParameterList([gl.ones(2), 5, gl.zeros(1)])) == repr(theirs).replace("torch.", "gradloom.")
    with pytest.raises(IndexError):
        values[7]
    named = nn.ParameterDict({"a": gl.ones(2), "n": 3})
    named["b"] = gl.zeros(1)
    assert list(named.state_dict()) == ["a", "b"] and "n" in named and named.get("x", 4) == 4
    joined = named | nn.ParameterDict({"c": gl.ones(1)})
    assert list(joined) == ["a", "n", "b", "c"] and joined["a"] is named["a"]
    assert named.popitem()[0] == "b" and named.pop("n") == 3 and named.setdefault("z", 1) == 1
    assert list(reversed(named)) == ["z", "a"] and list(named.fromkeys(["q"], 2).items()) == [("q", 2)]
    with pytest.raises(KeyError):
        named["none"]
    with pytest.raises(RuntimeError, match="should not be called"):
        values()


def test_sequential_arithmetic_and_lists_of_equal_layers() -> None:
    for lib in (nn, torch.nn):
        model = lib.Sequential(lib.ReLU(), lib.Tanh())
        assert len(model + lib.Sequential(lib.ReLU())) == 3 and len(model * 3) == 6 and len(2 * model) == 4
        model *= 2
        assert len(model) == 4 and len(model[1:3]) == 2
        with pytest.raises(ValueError, match="Non-positive"):
            model * 0
    lists = [lib.ModuleList([lib.ReLU(), lib.ReLU(), lib.Linear(2, 2), lib.ReLU()]) for lib in (nn, torch.nn)]
    assert repr(lists[0]) == repr(lists[1])
    both_ = [lib.Sequential(lists[k], lib.ModuleDict({"a": lib.Tanh()})) for k, lib in enumerate((nn, torch.nn))]
    assert repr(both_[0]) == repr(both_[1])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_prefix_taken_off_a_state(prefix: str) -> None:
    for lib, take_off in (
        (nn, nn.modules.utils.consume_prefix_in_state_dict_if_present),
        (torch.nn, torch.nn.modules.utils.consume_prefix_in_state_dict_if_present),
    ):
        state = lib.Sequential(OrderedDict([(prefix[:-1], net(lib))])).state_dict()
        take_off(state, prefix)
        plain = net(lib).state_dict()
        assert list(state) == list(plain)
        assert state._metadata == plain._metadata
        net(lib).load_state_dict(state)
        take_off(state, prefix)
        assert list(state) == list(plain)


def test_names_of_parameters_stand_in_pytorchs_order() -> None:
    for lib, made in ((nn, gl.ones(1)), (torch.nn, torch.ones(1))):
        plain, pairs = {"b": made, "a": made}, [("b", made), ("a", made)]
        named = lib.ParameterDict(plain)
        assert list(named) == ["a", "b"]
        assert list(lib.ParameterDict(pairs)) == list(lib.ParameterDict(OrderedDict(pairs))) == ["b", "a"]
        named["0"] = made
        named.update({"y": made, "x": made})
        assert list(named) == list(named.copy()) == ["a", "b", "0", "x", "y"]
        assert list(named.fromkeys(["q", "p"], made)) == ["q", "p"]


def test_containers_take_containers() -> None:
    for lib in (nn, torch.nn):
        modules = lib.ModuleDict({"x": lib.ReLU()})
        modules.update(lib.ModuleDict({"y": lib.Tanh(), "x": lib.Identity()}))
        assert [(name, type(m).__name__) for name, m in modules.items()] == [("x", "Identity"), ("y", "Tanh")]
        row = lib.Sequential(lib.ReLU(), lib.Tanh())
        with pytest.raises(IndexError):
            row.insert(-5, lib.ReLU())
        row.insert(2, lib.Identity())
        assert [type(m).__name__ for m in row] == ["ReLU", "Tanh", "Identity"]


def test_hooks_are_found_by_their_class_and_dropped() -> None:
    class Doubled:
        def __call__(self, module: Any, args: Any) -> Any:
            return (args[0] * 2,)

    for lib, T in ((nn, gl), (torch.nn, torch)):
        layer, x = lib.Identity(), T.ones(2)
        handle = layer.register_forward_pre_hook(Doubled())
        layer.register_forward_pre_hook(
            lambda m, args, kwargs: ((args[0] + 1,), kwargs), with_kwargs=True, prepend=True
        )
        layer.register_forward_hook(lambda m, args, out: out * 10)
        assert [isinstance(h, Doubled) for h in layer._forward_pre_hooks.values()] == [False, True]
        assert layer(x).tolist() == [40.0, 40.0]
        del layer._forward_pre_hooks[handle.id]
        assert layer(x).tolist() == [20.0, 20.0]
        layer._forward_hooks = OrderedDict()
        layer._forward_pre_hooks.clear()
        assert layer(x).tolist() == [1.0, 1.0]
        layer._forward_hooks[7] = lambda m, args, out: out - 1
        assert layer(x).tolist() == [0.0, 0.0]


def test_the_handle_of_a_hook_is_one_class() -> None:
    handles = [
        nn.ReLU().register_forward_hook(lambda *a: None),
        nn.ReLU().register_state_dict_pre_hook(lambda *a: None),
        gl.ones(1, requires_grad=True).register_hook(lambda g: None),
        gl.optim.SGD([gl.ones(1)], 0.1).register_step_pre_hook(lambda *a: None),
    ]
    assert {type(h) for h in handles} == {gl.utils.hooks.RemovableHandle}
    first: dict[int, str] = {}
    second: dict[int, str] = {}
    handle = gl.utils.hooks.RemovableHandle(first, extra_dict=[second])
    first[handle.id] = second[handle.id] = "hook"
    with handle:
        assert first
    assert not first and not second
    handle.remove()


def test_backward_hooks_of_a_dictionary_of_outputs() -> None:
    class Two(nn.Module):
        def forward(self, x: Any) -> Any:
            return {"a": x * 2, "b": x * 3}

    layer, seen = Two(), []
    layer.register_full_backward_hook(lambda m, inputs, outputs: seen.append([g.tolist() for g in (*inputs, *outputs)]))
    x = gl.ones(2, requires_grad=True)
    out = layer(x)
    assert list(out) == ["a", "b"]
    (out["a"] + out["b"] * 10).sum().backward()
    assert seen == [[[32.0, 32.0], [1.0, 1.0], [10.0, 10.0]]] and x.grad.tolist() == [32.0, 32.0]


def test_a_parametrised_module_is_copied_and_not_pickled() -> None:
    class Negative(nn.Module):
        def forward(self, x: Any) -> Any:
            return -x

    layer = nn.Linear(2, 2)
    nn.utils.parametrize.register_parametrization(layer, "weight", Negative())
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(layer)
    other = copy.deepcopy(layer)
    before = other.weight.tolist()
    with gl.no_grad():
        layer.parametrizations.weight.original.add_(1)
    assert other.weight.tolist() == before != layer.weight.tolist()
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert pickle.loads(pickle.dumps(layer)).weight.tolist() == layer.weight.tolist()
