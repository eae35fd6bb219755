"""Transformations of functions that read parameters drawn in the same round: those of a layer just constructed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import func, nn
from gradloom.autograd import grad as gradients
from gradloom.tape import flush
from gradloom.tensor import Tensor

X = gl.tensor(np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32))


def _loss(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: layer(x).tanh().sum()


CASES: dict[str, Callable[[nn.Linear], Any]] = {
    "vmap": lambda l: func.vmap(l)(X),
    "vmap of vmap": lambda l: func.vmap(func.vmap(l))(X.reshape(2, 2, 8)),
    "grad": lambda l: func.grad(_loss(l))(X),
    "vmap of grad": lambda l: func.vmap(func.grad(_loss(l)))(X),
    "grad of vmap": lambda l: func.grad(lambda x: func.vmap(_loss(l))(x).sum())(X),
    "second order": lambda l: func.grad(
        lambda y: func.grad(lambda x: func.vmap(_loss(l))(x).sum())(y).pow(2).sum()
    )(X),
    "jvp": lambda l: func.jvp(_loss(l), (X,), (X,))[1],
    "vjp": lambda l: func.vjp(func.vmap(l), X)[1](X[:, :3])[0],
    "linearize": lambda l: func.linearize(func.vmap(l), X)[1](X),
    "jacrev": lambda l: func.jacrev(lambda x: l(x).tanh().sum(0))(X),
    "jacfwd": lambda l: func.jacfwd(lambda x: l(x).tanh().sum(0))(X),
    "hessian": lambda l: func.hessian(_loss(l))(X),
    "per-sample": lambda l: func.vmap(
        func.grad(lambda p, x: func.functional_call(l, p, (x,)).tanh().sum()), (None, 0)
    )(dict(l.named_parameters()), X)["weight"],
    "backward of vmap": lambda l: gradients(func.vmap(_loss(l))(X).sum(), l.weight)[0],
    "backward of grad": lambda l: gradients(
        func.grad(lambda x: func.vmap(_loss(l))(x).sum())(X).pow(2).sum(), l.weight
    )[0],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_new_layer_is_as_good_as_one_with_values(name: str) -> None:
    """The layer's parameters are still being computed when the function reads them."""

    def layer() -> nn.Linear:
        gl.manual_seed(3)
        return nn.Linear(8, 3)

    got = CASES[name](layer()).numpy()
    settled = layer()
    flush()
    np.testing.assert_array_equal(got, CASES[name](settled).numpy())
    np.testing.assert_array_equal(got, CASES[name](layer()).numpy())  # as the tape has learned it
