"""The graph behind a tensor, versions, hooks of several tensors, Functions that write to their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import nn
from gradloom.autograd import graph
from gradloom.errors import ArgumentError, GradientError, NotSupportedError


def _walk(t: Any) -> list[str]:
    x = t.ones(3, requires_grad=True)
    node, names = ((x * 2).exp() - 1).sum().grad_fn, []
    while node is not None:
        names.append(node.name())
        if hasattr(node, "variable"):
            assert node.variable is x
        node = node.next_functions[0][0] if node.next_functions else None
    return names


def test_the_steps_behind_a_tensor_can_be_walked() -> None:
    assert _walk(gl) == _walk(torch)
    x = gl.ones(3, requires_grad=True)
    y = x * x
    assert y.grad_fn == y.grad_fn and isinstance(y.grad_fn, graph.Node) and x.grad_fn is None
    assert [n.variable is x for n, _ in y.grad_fn.next_functions] == [True, True]
    y.tolist()  # closes the round
    z = (y + 1).sum()
    assert z.grad_fn.next_functions[0][0].next_functions[0][0] == y.grad_fn
    assert z.grad_fn.next_functions[0][0].next_functions[1] == (None, 0)
    with pytest.raises(NotSupportedError, match="register_hook of the tensor"):
        y.grad_fn.register_hook(lambda *g: None)


def _versions(t: Any) -> list[int]:
    x = t.zeros(3)
    found = [x._version]
    for change in (
        lambda: x.add_(1), lambda: x[:2].zero_(), lambda: x.__setitem__(0, 5.0), lambda: x.detach().mul_(2),
        lambda: x * 2, lambda: x.view(3, 1).copy_(t.ones(3, 1)), lambda: x.add_(1).add_(1),
    ):  # fmt: skip
        change()
        found += [x._version, x[1:]._version, x.detach()._version]
    t.autograd.graph.increment_version(x)
    return [*found, x._version]


def test_versions_count_writes() -> None:
    assert _versions(gl) == _versions(torch)


def test_a_step_counts_as_a_write() -> None:
    layer = nn.Linear(2, 1)
    optimizer = gl.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(4):
        before = layer.weight._version
        assert layer.weight._version == before
        layer(gl.ones(1, 2)).sum().backward()
        optimizer.step()
        assert layer.weight._version == before + 1


@pytest.mark.parametrize("mode", ["all", "any"])
def test_hooks_of_several_tensors(mode: str) -> None:
    def run(t: Any) -> list[Any]:
        seen: list[Any] = []
        x, y, z = (t.full((2,), k, requires_grad=True) for k in (1.0, 2.0, 3.0))
        result = x * y
        note = lambda g: seen.append([None if h is None else h.tolist() for h in g] if mode == "all" else g.tolist())  # noqa: E731
        handle = t.autograd.graph.register_multi_grad_hook([result, y, z], note, mode=mode)
        loss = (result * 2).sum()
        loss.backward(retain_graph=True)
        seen.append("again")
        loss.backward(retain_graph=True)
        handle.remove()
        loss.backward()
        return seen

    assert run(gl) == run(torch)


def test_refusals() -> None:
    with pytest.raises(NotSupportedError, match="no tensors are saved"):
        graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with pytest.raises(ValueError, match="'all' or 'any'"):
        graph.register_multi_grad_hook([], print, mode="some")
    with pytest.raises(AttributeError, match="keep the tensor"):
        _ = graph.GradientEdge
    with pytest.raises(ArgumentError, match="expected some of SDPBackend"):
        nn.attention.sdpa_kernel([]).__enter__()


def test_what_is_saved_is_not_what_is_written_later() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    with graph.allow_mutation_on_saved_tensors(), graph.save_on_cpu(), graph.disable_saved_tensors_hooks("no"):
        y = x * 1
        loss = (y * y).sum()
        y.zero_()
        loss.backward()
    assert x.grad.tolist() == [2.0, 4.0]


class _Doubled(gl.autograd.Function):
    """2 x, written into x; the gradient comes from what was saved of the result."""

    @staticmethod
    def forward(ctx: Any, x: gl.Tensor, y: gl.Tensor) -> Any:
        x.mul_(2)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x, y * 3

    @staticmethod
    def backward(ctx: Any, g: gl.Tensor, h: gl.Tensor) -> Any:
        (doubled,) = ctx.saved_tensors
        return g * doubled, h * 3


@pytest.mark.parametrize("look", [False, True])
def test_a_function_may_write_to_its_argument(look: bool) -> None:
    for _ in range(3):
        x = gl.tensor([1.0, 2.0], requires_grad=True)
        y, w = x * 1, gl.ones(2, requires_grad=True)
        before = y + 0
        out, other = _Doubled.apply(y, w)
        assert out is y
        if look:
            assert (y.tolist(), before.tolist()) == ([2.0, 4.0], [1.0, 2.0])
        (out * 10 + before + other).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), [21.0, 41.0])
        assert w.grad.tolist() == [3.0, 3.0]


def test_a_function_may_write_to_a_view() -> None:
    x = gl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = x * 1
    _Doubled.apply(base[1:], gl.ones(2))
    (base * gl.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert base.tolist() == [1.0, 4.0, 6.0]
    assert x.grad.tolist() == [1.0, 40.0, 600.0]
    with pytest.raises(GradientError, match="view of one"):
        _Doubled.apply(x[1:], gl.ones(2))


def test_switches_of_other_backends() -> None:
    cudnn = gl.backends.cudnn
    with cudnn.flags(enabled=False, deterministic=True):
        assert (cudnn.enabled, cudnn.deterministic) == (False, True)
    assert (cudnn.enabled, cudnn.deterministic) == (True, False)
    q = gl.randn(1, 1, 4, 2)
    plain = nn.functional.scaled_dot_product_attention(q, q, q)
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        assert gl.equal(nn.functional.scaled_dot_product_attention(q, q, q), plain)
    assert not (gl.compiler.is_compiling() or gl.compiler.is_dynamo_compiling() or gl.compiler.is_exporting())
    assert not gl.__future__.get_swap_module_params_on_conversion()
    gl.__future__.set_overwrite_module_params_on_conversion(False)
    with pytest.raises(NotSupportedError, match="cannot swap"):
        gl.__future__.set_swap_module_params_on_conversion(True)
