"""A part of PyTorch's operator database under vmap, forward mode and second order; ``opinfo.py`` runs all of it."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import func
from gradloom import functions as G
from gradloom.ops.core import REGISTRY, Primitive

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.autodiff import opinfo
from tests.parity import operators

NAMES = (
    "fft.fft gather index_put linalg.solve logcumsumexp median nn.functional.layer_norm pow roll scatter_add".split()
)


@functools.cache
def database() -> dict[str, Any]:
    return {operators.full_name(op): op for op in operators.public()}


@pytest.mark.parametrize("name", NAMES)
def test_operator(name: str) -> None:
    op = database().get(name)
    if op is None:
        pytest.skip("not in this version of the database")
    problem = opinfo.run(op, samples=2)
    if problem == "skip":
        pytest.skip("the operator does not run yet")
    assert problem is None


def test_a_primitive_without_a_rule_runs_element_by_element() -> None:
    host = Primitive("host_exp", lambda a, t, v: np.exp(a[0]) * a[1], lambda a, t: a[0])
    host.vjp = lambda ct, out, ins, attrs: (ct * out, None)
    try:
        x, s = gl.tensor(np.linspace(0, 1, 6).reshape(3, 2)), gl.tensor(2.0, dtype=gl.float64)

        def f(x: Any) -> Any:
            return G.apply(host, (x, s))

        want = 2 * np.exp(x.numpy())
        np.testing.assert_allclose(func.vmap(f)(x).numpy(), want)
        np.testing.assert_allclose(func.vmap(func.grad(lambda x: f(x).sum()))(x).numpy(), want)
        np.testing.assert_allclose(func.grad(lambda x: func.vmap(f)(x).sum())(x).numpy(), want)
        np.testing.assert_allclose(func.vmap(func.vmap(f))(x.reshape(3, 2, 1)).numpy(), want[:, :, None])
    finally:
        REGISTRY.pop("host_exp")
