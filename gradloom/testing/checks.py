"""Checks that other people's functions can be held to as well as ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.autodiff import grad
from gradloom.modes import set_target
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, tensor

__all__ = ["check_grads", "check_reference"]


def check_grads(
    fn: Callable[..., Tensor], inputs: Sequence[Any], *, order: int = 1, eps: float = 1e-5, rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:  # fmt: skip
    """Compare reverse-mode gradients of ``fn`` with central differences, in float64.

    Parameters
    ----------
    fn: takes the inputs as tensors, gives one tensor. inputs: arrays of any shape; they are taken as float64.
    order: 2 checks the gradient of the gradient too. eps: step of the differences.

    Raises
    ------
    AssertionError: where they differ by more than ``atol + rtol * |difference quotient|``.
    """
    arrays = [np.asarray(x, np.float64) for x in inputs]
    rng = np.random.default_rng(0)
    weights: list[np.ndarray] = []

    def value(xs: Sequence[Tensor]) -> Tensor:
        out = fn(*xs)
        if not weights:
            weights.append(rng.uniform(0.5, 1.5, tuple(out.shape)))
        return G.sum(G.mul(out, tensor(weights[0])))

    def number(at: Sequence[np.ndarray]) -> float:
        return float(value([tensor(a) for a in at]).item())

    xs = [tensor(a, requires_grad=True) for a in arrays]
    for k, g in enumerate(grad(value(xs), xs)):
        expected = np.empty_like(arrays[k])
        for at in np.ndindex(arrays[k].shape):
            up = [a.copy() for a in arrays]
            down = [a.copy() for a in arrays]
            up[k][at] += eps
            down[k][at] -= eps
            expected[at] = (number(up) - number(down)) / (2 * eps)
        np.testing.assert_allclose(g.numpy(), expected, rtol, atol, err_msg=f"gradient of input {k}")
    if order > 1:
        for k in range(len(arrays)):

            def slope(*inner: Tensor, k: int = k) -> Tensor:
                leaves = [t if t.requires_grad else t.detach().requires_grad_() for t in inner]
                return grad(G.sum(fn(*leaves)), [leaves[k]], create_graph=True)[0]

            check_grads(slope, arrays, order=order - 1, eps=eps, rtol=rtol * 10, atol=atol * 10)


def check_reference(
    fn: Callable[..., Tensor], inputs: Sequence[Any], *, rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    """Run ``fn`` compiled and by the reference target, and compare shape, dtype and values."""
    before = TAPE.target
    results = []
    try:
        for target in ("cpu", "reference"):
            set_target(target)
            out = fn(*[tensor(np.asarray(x)) for x in inputs])
            results.append((out.dtype, out.numpy().copy()))
    finally:
        set_target(before)
    (d, a), (e, b) = results
    if d is not e:
        raise AssertionError(f"dtypes differ: compiled {d}, reference {e}")
    np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol, atol)
