"""Derivatives that look at values on the way back, and hooks and kept gradients in every kind of pass; as PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import func


def function(lib: Any, look: Callable[[Any, Any], bool]) -> Any:
    """A square whose backward asks ``look(x, gradient)`` whether to be the right one or three times it."""

    class Looking(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 2 * x * g * (1.0 if look(x, g) else 3.0)

    return Looking


LOOKS: dict[str, Callable[[Any, Any], bool]] = {
    "item": lambda x, g: x.sum().item() > 0,
    "saved": lambda x, g: float(x.detach().numpy().sum()) > 0,
    "cotangent": lambda x, g: bool(g.detach().numpy().mean() < 1),
    "truth": lambda x, g: bool((g > 0).all()),
    "if": lambda x, g: True if (x > 0).any() else False,
    "list": lambda x, g: sum(g.tolist()) > 2,
}


def gradients(lib: Any, look: Callable[[Any, Any], bool], how: str, sign: float, inside: bool) -> list[list[float]]:
    F = function(lib, look)
    x = lib.tensor([1.0, -2.0, 0.5], requires_grad=True)
    w = lib.tensor([sign, 2.0, 2.0], requires_grad=True)
    y = F.apply(x * w if inside else x)
    z = ((y * w).sin() * y).sum() if inside else (y * w).sum()
    if how == "backward":
        z.backward()
        return [x.grad.tolist(), w.grad.tolist()]
    return [g.tolist() for g in lib.autograd.grad(z, [x, w])]


@pytest.mark.parametrize("inside", [False, True], ids=["of a leaf", "of a result"])
@pytest.mark.parametrize("how", ["backward", "grad"])
@pytest.mark.parametrize("look", LOOKS)
def test_a_backward_that_looks_at_values(look: str, how: str, inside: bool) -> None:
    for sign in (3.0, -3.0, 3.0):  # the tape predicts the later rounds, and the values decide all the same
        got = gradients(gl, LOOKS[look], how, sign, inside)
        np.testing.assert_allclose(got, gradients(torch, LOOKS[look], how, sign, inside), rtol=2e-6)


def test_a_looking_backward_among_others_and_in_two_passes() -> None:
    F, P = function(gl, LOOKS["item"]), function(torch, LOOKS["item"])
    out = []
    for lib, fn in ((gl, F), (torch, P)):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = fn.apply(x)
        z = (fn.apply(y) * fn.apply(x * 2)).sum()
        (a,) = lib.autograd.grad(z, x, retain_graph=True)
        z.backward()
        out.append([a.tolist(), x.grad.tolist()])
    np.testing.assert_allclose(*out)


def test_second_order_through_a_looking_backward() -> None:
    out = []
    for lib in (gl, torch):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = function(lib, LOOKS["truth"]).apply(x * x).sum()
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        out.append([g.tolist(), lib.autograd.grad((g * g).sum(), x)[0].tolist()])
    np.testing.assert_allclose(*out)


def test_func_grad_of_a_looking_backward() -> None:
    F = function(gl, LOOKS["item"])
    for v in (1.0, -1.0):
        x = gl.tensor([v, 2 * v])
        np.testing.assert_allclose(
            func.grad(lambda x: F.apply(x).sum())(x).numpy(), 2 * x.numpy() * (1 if v > 0 else 3)
        )
    with pytest.raises(gl.autograd.GradientError if hasattr(gl.autograd, "GradientError") else RuntimeError):
        func.vmap(func.grad(lambda x: F.apply(x).sum()))(gl.ones(3, 2)).numpy()


# -- hooks --------------------------------------------------------------------------------------------------
def hooked(lib: Any, how: str, replaces: bool, looked: bool) -> list[Any]:
    """What hooks of a leaf and of two results see, what is kept, and the gradients."""
    log: list[Any] = []

    def hook(name: str) -> Callable[[Any], Any]:
        def call(g: Any) -> Any:
            log.append((name, [round(v, 4) for v in g.tolist()]))
            return g * 2 if replaces else None

        return call

    x = lib.tensor([1.0, 2.0], requires_grad=True)
    other = lib.tensor([1.0, 1.0], requires_grad=True)
    y = x * 3
    if looked:
        y.tolist()
    y.register_hook(hook("y"))
    y.retain_grad()
    u = y * y
    u.register_hook(hook("u"))
    u.retain_grad()
    x.register_hook(hook("x"))
    z = (u * other).sum()
    if how == "backward":
        z.backward()
        got = [x.grad, other.grad]
    elif how == "autograd.backward":
        lib.autograd.backward(z)
        got = [x.grad, other.grad]
    else:
        wanted = {"x": [x], "y": [y], "xy": [x, y], "u": [u], "other": [other]}[how]
        got = list(lib.autograd.grad(z, wanted))
    kept = [None if t.grad is None else t.grad.tolist() for t in (y, u)]
    return [sorted(log), [g.tolist() for g in got], kept]


@pytest.mark.parametrize("looked", [False, True], ids=["open", "looked"])
@pytest.mark.parametrize("replaces", [False, True], ids=["sees", "replaces"])
@pytest.mark.parametrize("how", ["backward", "autograd.backward", "x", "y", "xy", "u", "other"])
def test_hooks_and_kept_gradients(how: str, replaces: bool, looked: bool) -> None:
    want = hooked(torch, how, replaces, looked)
    if how == "xy" and replaces:  # PyTorch gives y's gradient from before the hook here, alone from after it
        want[1][1] = [2 * v for v in want[1][1]]
    for _ in range(2):
        assert hooked(gl, how, replaces, looked) == want


def test_a_hook_in_a_differentiated_pass() -> None:
    out = []
    for lib in (gl, torch):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = x * 3
        y.register_hook(lambda g: g * g)
        (g,) = lib.autograd.grad((y * y).sum(), x, create_graph=True)
        out.append([g.tolist(), lib.autograd.grad(g.sum(), x)[0].tolist()])
    np.testing.assert_allclose(*out)


def test_the_kept_gradient_of_the_output_itself() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    z = (x * x).sum()
    z.retain_grad()
    z.backward()
    assert z.grad.item() == 1.0 and x.grad.tolist() == [2.0, 4.0]
