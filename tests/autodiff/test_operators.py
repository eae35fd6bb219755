"""All of PyTorch's operator database under vmap, forward mode and second order; a part of it compiled."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import func
from gradloom import functions as G
from gradloom.ops.core import REGISTRY, Primitive

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.autodiff import opinfo, second_order
from tests.parity import operators

NAMES = (
    "fft.fft gather index_put linalg.solve logcumsumexp median nn.functional.layer_norm pow roll scatter_add".split()
)


# operators that do not come out right under a transformation: why. Strict: an entry that has become right fails.
GAPS: dict[str, str] = {
    "linspace.tensor_overload": "the bounds decide the values of a creation: they must be known",
    "nn.functional.multi_head_attention_forward": "drops weights at random, which vmap must be told of",
    "nn.functional.cosine_embedding_loss": "a difference across the kink of the loss",
    "linalg.norm.subgradients_at_zero": "a difference across the kink of the norm",
}
_PYTORCH = "PyTorch has no second derivative of it"
SECOND_GAPS: dict[str, str] = {
    "nn.functional.multi_head_attention_forward": "drops weights at random: other numbers are drawn",
    "nn.functional.linear_cross_entropy.chunked_none": _PYTORCH,
    "nn.functional.ctc_loss": _PYTORCH,
    "as_strided_scatter": "PyTorch gives a gradient to an element that was overwritten",
    "chalf": "complex numbers of half precision are refused",
    "linalg.norm.subgradients_at_zero": "NaN in PyTorch, 0 here: the gradient at 0 is 0",
    "masked.logaddexp float64": "NaN in PyTorch where both elements are masked, 0 here",
    "logcumsumexp complex128": "not offered for complex numbers",
}


@functools.cache
def database() -> dict[str, Any]:
    return {operators.full_name(op): op for op in operators.public()}


@pytest.fixture
def on_the_reference() -> Iterator[None]:
    """Rules are under test, not the compiler: NumPy runs what is recorded, and nothing is compiled."""
    gl.set_target("reference")
    yield
    gl.set_target("cpu")


def settle(problem: str | None, reason: str | None) -> None:
    if problem == "skip":
        pytest.skip("no derivative, or not offered")
    if reason and problem is None:
        pytest.fail(f"right now: take it out of the gaps ({reason})")
    if reason:
        pytest.xfail(reason)
    assert problem is None, problem


@pytest.mark.parametrize("name", sorted(n for n, op in database().items() if op.supports_autograd))
def test_transformations(name: str, on_the_reference: None) -> None:
    """vmap against a loop, forward mode against reverse mode, second order against differences."""
    settle(opinfo.run(database()[name], samples=2), GAPS.get(name))


@pytest.mark.parametrize(
    "name, dtype",
    [(n, d) for n, op in sorted(database().items()) for d in ("float64", "complex128") if second_order.offered(op, d)],
)
def test_second_order(name: str, dtype: str) -> None:
    """Reverse over reverse against PyTorch's."""
    reason = SECOND_GAPS.get(name) or SECOND_GAPS.get(f"{name} {dtype}")
    settle(second_order.run(database()[name], dtype, 2 if dtype == "float64" else 1), reason)


@pytest.mark.parametrize("name", NAMES)
def test_transformations_compiled(name: str) -> None:
    settle(opinfo.run(database()[name], samples=2), None)


def test_no_gap_is_named_that_is_none() -> None:
    assert not {n.split(" ")[0] for n in {**GAPS, **SECOND_GAPS}} - set(database())


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
