"""Which handles share memory after `Parameter(x)`, `set_` and `.data = x`: one program, run by both libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import GradientError


def parameter_of_a_tensor(lib: Any) -> list[Any]:
    a = lib.ones(2, 3)
    row = a[0]
    p = lib.nn.Parameter(a)
    with lib.no_grad():
        p.mul_(5)
    seen = [a.clone(), row.clone()]
    row.fill_(7)
    a.add_(1)
    return [*seen, p.detach(), a, row]


def parameter_that_is_trained(lib: Any) -> list[Any]:
    a = lib.ones(3)
    p = lib.nn.Parameter(a)
    optimizer = lib.optim.SGD([p], lr=0.1)
    for _ in range(4):
        (p * p).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [a, p.detach()]


def buffer_of_a_tensor(lib: Any) -> list[Any]:
    a = lib.ones(3)
    b = lib.nn.Buffer(a)
    b.add_(1)
    return [a, b]


def frozen_embedding(lib: Any) -> list[Any]:
    table = lib.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    out = lib.nn.Embedding.from_pretrained(table, max_norm=2.0, norm_type=0.5)(lib.tensor([0, 1]))
    return [out, table]


def data_replaced(lib: Any) -> list[Any]:
    p = lib.nn.Parameter(lib.ones(3))
    before = p.detach()
    p.data = lib.zeros(2)
    before.add_(1)
    after = p.detach()
    after.add_(3)
    return [before, after, p.detach()]


def state_kept_over_a_conversion(lib: Any) -> list[Any]:
    layer = lib.nn.Linear(2, 2)
    lib.nn.init.constant_(layer.weight, 0.1)
    state = layer.state_dict()
    layer.half()
    return [state["weight"], layer.weight.detach()]


def view_replaced(lib: Any) -> list[Any]:
    x = lib.zeros(4)
    v = x[:2]
    v.data = lib.ones(3)
    v.add_(1)
    return [x, v]


def set_leaf(lib: Any) -> list[Any]:
    p = lib.nn.Parameter(lib.ones(2, 3))
    old, new = p.detach(), lib.zeros(4)
    with lib.no_grad():
        p.set_(new)
        p.add_(2)
    old.sub_(1)
    (p * 3).sum().backward()
    return [new, old, p.grad, p.detach()]


def set_tensor(lib: Any) -> list[Any]:
    x, source = lib.ones(4), lib.zeros(2)
    head = x[:2]
    x.set_(source)
    head.add_(1)
    x.add_(5)
    return [x, source, head]


PROGRAMS: list[Callable[[Any], list[Any]]] = [
    parameter_of_a_tensor, parameter_that_is_trained, buffer_of_a_tensor, frozen_embedding, data_replaced,
    state_kept_over_a_conversion, view_replaced, set_leaf, set_tensor,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_as_pytorch(program: Callable[[Any], list[Any]]) -> None:
    for ours, theirs in zip(program(gl), program(torch), strict=True):
        assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_set_refuses_what_needs_gradients() -> None:
    leaf = gl.ones(2, requires_grad=True)
    with pytest.raises(GradientError, match="within no_grad"):
        leaf.set_(gl.zeros(2))
    with pytest.raises(GradientError, match="neither tensor may require grad"):
        gl.zeros(2).set_(leaf)
