"""Pruning, beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as theirs

import gradloom as gl
from gradloom.nn.utils import prune as ours


def pair(*sizes):
    mine, other = gl.nn.Linear(*sizes), torch.nn.Linear(*sizes)
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=sizes[::-1]).astype("f"), rng.normal(size=sizes[1]).astype("f")
    mine.load_state_dict({"weight": gl.tensor(weight), "bias": gl.tensor(bias)})
    other.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    return mine, other


def same(mine, other):
    a, b = mine.state_dict(), other.state_dict()
    assert sorted(a) == sorted(b)  # the hook's order of registration is no promise
    for name in a:
        np.testing.assert_array_equal(a[name].numpy(), b[name].numpy(), err_msg=name)
    np.testing.assert_array_equal(mine.weight.detach().numpy(), other.weight.detach().numpy())


SCORES = np.random.default_rng(5).normal(size=(6, 8)).astype("f")

STEPS = {
    "identity": [("identity", ("weight",))],
    "share": [("l1_unstructured", ("weight", 0.3))],
    "count": [("l1_unstructured", ("weight", 7)), ("l1_unstructured", ("bias", 2))],
    "nothing": [("l1_unstructured", ("weight", 0))],
    "everything": [("l1_unstructured", ("weight", 1.0))],
    "again": [("l1_unstructured", ("weight", 0.5)), ("l1_unstructured", ("weight", 0.5))],
    "rows": [("ln_structured", ("weight", 0.34, 2, 0))],
    "columns": [("ln_structured", ("weight", 3, 1, -1))],
    "rows twice": [("ln_structured", ("weight", 2, 2, 0)), ("ln_structured", ("weight", 2, float("inf"), 0))],
    "both": [("ln_structured", ("weight", 2, 2, 0)), ("l1_unstructured", ("weight", 5))],
    "three": [
        ("l1_unstructured", ("weight", 9)), ("ln_structured", ("weight", 2, 2, 1)), ("l1_unstructured", ("weight", 4)),
    ],
    "scores": [("l1_unstructured", ("weight", 11, SCORES))],
}  # fmt: skip


def run(module, namespace, tensor, steps):
    for name, arguments in steps:
        getattr(namespace, name)(module, *(tensor(a) if isinstance(a, np.ndarray) else a for a in arguments))


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_masks_and_training_agree_with_pytorch(steps):
    mine, other = pair(8, 6)
    run(mine, ours, gl.tensor, steps)
    run(other, theirs, torch.tensor, steps)
    same(mine, other)
    x = np.random.default_rng(1).normal(size=(4, 8)).astype("f")
    a, b = gl.optim.SGD(mine.parameters(), 0.1), torch.optim.SGD(other.parameters(), 0.1)
    for _ in range(2):
        for module, optimizer, tensor in ((mine, a, gl.tensor), (other, b, torch.tensor)):
            optimizer.zero_grad()
            module(tensor(x)).square().mean().backward()
            optimizer.step()
    mine(gl.tensor(x)), other(torch.tensor(x))
    np.testing.assert_allclose(mine.weight.detach().numpy(), other.weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    for name in [n.removesuffix("_mask") for n in mine.state_dict() if n.endswith("_mask")]:
        ours.remove(mine, name)
        theirs.remove(other, name)
    assert not ours.is_pruned(mine)
    assert isinstance(mine.weight, gl.nn.Parameter)
    assert sorted(mine.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(mine.weight.detach().numpy(), other.weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_global_pruning_compares_all_layers():
    mine, other = zip(pair(8, 6), pair(6, 5), strict=True)
    for amount in (0.25, 10):
        ours.global_unstructured([(m, "weight") for m in mine], ours.L1Unstructured, amount=amount)
        theirs.global_unstructured([(m, "weight") for m in other], theirs.L1Unstructured, amount=amount)
        for a, b in zip(mine, other, strict=True):
            same(a, b)


@pytest.mark.parametrize("amount, zeros", [(0.25, 12), (10, 10)])
def test_random_choices_have_the_right_number(amount, zeros):
    module, _ = pair(8, 6)
    gl.manual_seed(0)
    ours.random_unstructured(module, "weight", amount)
    assert int((module.weight_mask == 0).sum()) == zeros
    rows, _ = pair(8, 6)
    ours.random_structured(rows, "weight", 0.5, 0)
    np.testing.assert_array_equal(np.sort(rows.weight_mask.numpy().sum(1)), [0, 0, 0, 8, 8, 8])
    ours.random_unstructured(rows, "weight", 5)  # among those that are left
    assert int((rows.weight_mask == 0).sum()) == 24 + 5


def test_a_mask_of_ones_own_and_pruning_without_a_module():
    module, other = pair(8, 6)
    mask = (SCORES > 0).astype("f")
    ours.custom_from_mask(module, "weight", gl.tensor(mask))
    theirs.custom_from_mask(other, "weight", torch.tensor(mask))
    same(module, other)
    t = gl.tensor([3.0, -1.0, 2.0])
    np.testing.assert_array_equal(ours.L1Unstructured(1).prune(t).numpy(), [3, 0, 2])


def test_is_pruned_looks_inside():
    model = gl.nn.Sequential(gl.nn.Linear(2, 2), gl.nn.Linear(2, 2))
    assert not ours.is_pruned(model)
    ours.identity(model[1], "bias")
    assert ours.is_pruned(model)


REFUSED = {
    "type": (TypeError, "Must be int or float", lambda m: ours.l1_unstructured(m, "weight", "much")),
    "share": (ValueError, "in the range", lambda m: ours.l1_unstructured(m, "weight", 1.5)),
    "negative": (ValueError, "non-negative", lambda m: ours.l1_unstructured(m, "weight", -1)),
    "many": (ValueError, "number of parameters to prune=48", lambda m: ours.l1_unstructured(m, "weight", 100)),
    "name": (ValueError, "no parameter 'wieght'", lambda m: ours.identity(m, "wieght")),
    "scores": (ValueError, "same shape", lambda m: ours.l1_unstructured(m, "weight", 1, gl.ones(3))),
    "mask": (ValueError, "shape", lambda m: ours.custom_from_mask(m, "weight", gl.ones(3))),
    "vector": (ValueError, "multidimensional", lambda m: ours.ln_structured(m, "bias", 1, 2, 0)),
    "axis": (IndexError, "Invalid index 2", lambda m: ours.random_structured(m, "weight", 1, 2)),
    "not pruned": (ValueError, "has to be pruned", lambda m: ours.remove(m, "weight")),
    "kind": (TypeError, "unstructured", lambda m: ours.global_unstructured([(m, "bias")], ours.LnStructured)),
    "none": (TypeError, "Iterable", lambda m: ours.global_unstructured(3, ours.L1Unstructured, amount=1)),
}  # fmt: skip


@pytest.mark.parametrize("error, text, call", REFUSED.values(), ids=REFUSED)
def test_refusals_leave_the_layer_as_it_was(error, text, call):
    module, other = pair(8, 6)
    with pytest.raises(error, match=text):
        call(module)
    same(module, other)
    assert not ours.is_pruned(module)


def test_a_containers_mask_has_the_dtype_of_what_is_pruned():
    for lib, methods in ((gl, ours), (torch, theirs)):
        for kind, t in ((methods.L1Unstructured(1), [3.0, 1.0, 2.0]), (methods.LnStructured(1, 2, 0), [[3.0], [1.0]])):
            kind._tensor_name = "weight"
            container = methods.PruningContainer(kind)
            before = lib.ones(lib.tensor(t).shape, dtype=lib.int64)
            mask = container.compute_mask(lib.tensor(t, dtype=lib.float64), before)
            assert mask.dtype is lib.float64
            assert mask.tolist() == ([1.0, 0.0, 1.0] if len(t) == 3 else [[1.0], [0.0]])
