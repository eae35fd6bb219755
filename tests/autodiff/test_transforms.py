"""grad, vjp, jvp, Jacobians and Hessians: every nesting against PyTorch's, and what they refuse."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import func
from gradloom.autodiff.trees import leaves_of
from gradloom.errors import GradientError, ShapeError
from gradloom.tape import TAPE

RNG = np.random.default_rng(3)
X = RNG.uniform(0.3, 1.2, 4)
W = RNG.normal(size=(4, 3))


def near(mine: Any, theirs: Any) -> None:
    a = leaves_of(mine)
    b = [t for t in torch.utils._pytree.tree_leaves(theirs) if t is not None]
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        y = y.detach().numpy()
        assert tuple(x.shape) == y.shape
        np.testing.assert_allclose(x.detach().numpy(), y, 1e-9, 1e-11)


# of a library (gradloom or torch): a function of a vector that gives a number
SCALAR: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "polynomial": lambda T: lambda x: (x**3 + 2 * x * x).sum(),
    "transcendental": lambda T: lambda x: (x.sin() * x.exp() / (1 + x * x)).sum(),
    "product": lambda T: lambda x: x.prod(),
    "matrix": lambda T: lambda x: ((x @ T.tensor(W)).tanh() ** 2).sum(),
    "index": lambda T: lambda x: (x[1:] * x[:-1]).sum() + x[T.tensor([0, 0, 3])].prod(),
    "softmax": lambda T: lambda x: (T.softmax(x, 0) * T.tensor(X)).sum(),
    "choice": lambda T: lambda x: T.where(x > 0.7, x * x, x.exp()).sum() + x.max(),
    "written": lambda T: lambda x: _written(T, x),
}


def _written(T: Any, x: Any) -> Any:
    y = x.clone()
    y[1:3] = x[:2] * 3
    y[0] = 2 * x[3]
    y += x
    return (y * y).sum()


VECTOR: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "elementwise": lambda T: lambda x: x.sin() * x.sum(),
    "matrix": lambda T: lambda x: (x @ T.tensor(W)).exp(),
    "outer": lambda T: lambda x: x[:, None] * x.log()[None, :2],
}

NESTED: dict[str, Callable[[Any, Any], Callable[[Any], Any]]] = {
    "grad": lambda F, f: F.grad(f),
    "grad of grad": lambda F, f: F.grad(lambda x: F.grad(f)(x).sin().sum()),
    "third order": lambda F, f: F.grad(lambda x: F.grad(lambda y: (F.grad(f)(y) ** 2).sum())(x).sum()),
    "hessian": lambda F, f: F.hessian(f),
    "jacrev of jacfwd": lambda F, f: F.jacrev(F.jacfwd(f)),
    "jacfwd of jacfwd": lambda F, f: F.jacfwd(F.jacfwd(f)),
    "jvp of grad": lambda F, f: lambda x: F.jvp(F.grad(f), (x,), (x.cos(),)),
    "grad of jvp": lambda F, f: F.grad(lambda x: F.jvp(f, (x,), (x * x,))[1]),
    "vmap of grad": lambda F, f: lambda x: F.vmap(F.grad(lambda s: f(x * s)))(x[:2]),
    "grad of vmap": lambda F, f: F.grad(lambda x: F.vmap(lambda s: f(x * s).sin())(x[:2]).sum()),
    "vmap of hessian": lambda F, f: lambda x: F.vmap(lambda s: F.hessian(lambda y: f(y * s))(x))(x[:2]),
    "vmap of vmap": lambda F, f: lambda x: F.vmap(F.vmap(lambda s: f(x * s)))(x.reshape(2, 2)),
    "jacrev of vmap of grad": lambda F, f: F.jacrev(lambda x: F.vmap(lambda s: F.grad(f)(x * s))(x[:2])),
    "vjp": lambda F, f: lambda x: F.vjp(f, x)[1](x[0]),
}


@pytest.mark.parametrize("nesting", NESTED)
@pytest.mark.parametrize("name", ["transcendental", "matrix"])
def test_nestings(name: str, nesting: str) -> None:
    mine = NESTED[nesting](func, SCALAR[name](gl))(gl.tensor(X))
    near(mine, NESTED[nesting](torch.func, SCALAR[name](torch))(torch.tensor(X)))
    assert not any(t.requires_grad for t in leaves_of(mine))


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("nesting", ["grad", "hessian", "grad of vmap", "vmap of grad"])
def test_functions(name: str, nesting: str) -> None:
    near(NESTED[nesting](func, SCALAR[name](gl))(gl.tensor(X)),
         NESTED[nesting](torch.func, SCALAR[name](torch))(torch.tensor(X)))  # fmt: skip


@pytest.mark.parametrize("nesting", ["third order", "hessian", "grad of jvp", "jacrev of vmap of grad"])
def test_rounds_that_close_on_the_way(nesting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.tape.MAX_LENGTH", 7)
    near(NESTED[nesting](func, SCALAR["matrix"](gl))(gl.tensor(X)),
         NESTED[nesting](torch.func, SCALAR["matrix"](torch))(torch.tensor(X)))  # fmt: skip


@pytest.mark.parametrize("name", VECTOR)
@pytest.mark.parametrize("way", ["jacrev", "jacfwd"])
def test_jacobians(name: str, way: str) -> None:
    near(getattr(func, way)(VECTOR[name](gl))(gl.tensor(X)), torch.func.jacrev(VECTOR[name](torch))(torch.tensor(X)))


def test_rows_in_chunks() -> None:
    f, x = VECTOR["outer"](gl), gl.tensor(X)
    np.testing.assert_allclose(func.jacrev(f, chunk_size=3)(x).numpy(), func.jacrev(f)(x).numpy(), 1e-12)
    np.testing.assert_allclose(func.jacfwd(f, chunk_size=3)(x).numpy(), func.jacrev(f)(x).numpy(), 1e-12)


def _tree(T: Any) -> Any:
    return lambda p, k, y: ({"a": (p["w"] * y).sum(0), "b": (y.sin() + p["b"],)}, y * k)


def test_trees_argnums_and_aux() -> None:
    p = {"w": W, "b": X[:3]}
    mine = {k: gl.tensor(v) for k, v in p.items()}, 3, gl.tensor(W)
    theirs = {k: torch.tensor(v) for k, v in p.items()}, 3, torch.tensor(W)
    a, aux = func.jacrev(_tree(gl), argnums=(0, 2), has_aux=True)(*mine)
    b, _ = torch.func.jacrev(_tree(torch), argnums=(0, 2), has_aux=True)(*theirs)
    near(aux, torch.tensor(3 * W))
    near(a, b)
    near(func.jacfwd(_tree(gl), argnums=-1, has_aux=True)(*mine)[0],
         torch.func.jacfwd(_tree(torch), argnums=2, has_aux=True)(*theirs)[0])  # fmt: skip

    def loss(T: Any) -> Any:
        return lambda *args: (sum(t.sum() for t in leaves_of(_tree(T)(*args)[0])), {"y": args[2] * 2})

    g, (v, extra) = func.grad_and_value(loss(gl), has_aux=True)(*mine)
    gt, (vt, _) = torch.func.grad_and_value(loss(torch), has_aux=True)(*theirs)
    near((g, v), (gt, vt))
    assert sorted(g) == ["b", "w"]
    np.testing.assert_array_equal(extra["y"].numpy(), 2 * W)
    (v2, _), g2 = func.value_and_grad(loss(gl), has_aux=True)(*mine)
    near((g2, v2), (gt, vt))


def test_perturbations_are_kept_apart() -> None:
    one = gl.tensor(1.0)
    assert func.grad(lambda x: x * func.grad(lambda y: x + y)(one))(one).item() == 1.0
    assert func.jvp(lambda x: x * func.jvp(lambda y: x * y, (one,), (one,))[1], (one,), (one,))[1].item() == 2.0
    assert func.grad(lambda x: func.grad(lambda y: x * y * y)(x) * x)(gl.tensor(3.0)).item() == 6 * 3.0**2


def test_looking_at_values_inside_is_fine() -> None:
    def f(x: Any) -> Any:
        y = x.sin()
        return (y * x).sum() if y.sum().item() > 0 else (y + x).sum()

    def plain(x: Any) -> Any:
        return (x.sin() * x).sum()

    for made in (func.grad, lambda g: func.grad(lambda x: func.grad(g)(x).sum()), func.hessian):
        if made is func.hessian:
            continue
        np.testing.assert_allclose(made(f)(gl.tensor(X)).numpy(), made(plain)(gl.tensor(X)).numpy(), 1e-12)
    x = gl.tensor(X)
    np.testing.assert_allclose(func.jvp(f, (x,), (x,))[1].numpy(), func.jvp(plain, (x,), (x,))[1].numpy(), 1e-12)


def test_gradients_of_what_is_captured_still_flow() -> None:
    w = gl.tensor(X, requires_grad=True)
    g = func.grad(lambda x: (x * x * w).sum())(gl.tensor(X))
    assert g.requires_grad
    g.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * X)
    x = gl.tensor(X, requires_grad=True)
    func.grad(lambda y: (y**3).sum())(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * X, 1e-12)
    with gl.no_grad():
        assert not func.grad(lambda x: (x * x * w).sum())(gl.tensor(X)).requires_grad


def test_no_grad_inside_stops_gradients() -> None:
    def f(T: Any) -> Any:
        def run(x: Any) -> Any:
            with T.no_grad():
                y = x * x
            return (x * y).sum()

        return run

    near(func.grad(f(gl))(gl.tensor(X)), torch.func.grad(f(torch))(torch.tensor(X)))
    near(func.grad(lambda x: (x * x.detach()).sum())(gl.tensor(X)), torch.tensor(X))


def test_linearize_and_vjp_again() -> None:
    x = gl.tensor(X)
    out, push = func.linearize(lambda x: x.sin(), x)
    near(out, torch.tensor(np.sin(X)))
    for scale in (1.0, 2.0):
        near(push(x * scale), torch.tensor(np.cos(X) * X * scale))
    _, pull = func.vjp(lambda x, y: (x * y, x.exp()), x, x)
    for _ in range(2):
        a, b = pull((x, x))
        near((a, b), (torch.tensor(X * X + X * np.exp(X)), torch.tensor(X * X)))


def test_a_loop_compiles_once() -> None:
    f = SCALAR["transcendental"](gl)
    for k in range(8):
        func.hessian(f)(gl.tensor(X + k)).numpy()
        func.jvp(func.grad(f), (gl.tensor(X),), (gl.tensor(X),))[1].numpy()
        if k == 3:
            gc.collect()
            before = TAPE.compiled
    assert before == TAPE.compiled


def test_complex() -> None:
    z = X + 1j * X[::-1]

    def f(x: Any) -> Any:
        return (x * x * x.conj()).abs().sum()

    near(func.grad(f)(gl.tensor(z)), torch.func.grad(f)(torch.tensor(z)))
    near(func.jvp(lambda x: x * x.exp(), (gl.tensor(z),), (gl.tensor(z),)),
         torch.func.jvp(lambda x: x * x.exp(), (torch.tensor(z),), (torch.tensor(z),)))  # fmt: skip


REFUSED: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("a vector", lambda: func.grad(lambda x: x * 2)(gl.ones(2)), GradientError, "without axes"),
    ("a number", lambda: func.grad(lambda x: 2.0)(gl.ones(2)), GradientError, "got float"),
    ("integers", lambda: func.grad(lambda x: x.sum())(gl.arange(3)), GradientError, "int64"),
    ("argnums", lambda: func.grad(lambda x: x.sum(), argnums=1)(gl.ones(2)), GradientError, "out of range"),
    ("twice", lambda: func.grad(lambda x: x.sum(), argnums=(0, -1))(gl.ones(2)), GradientError, "twice"),
    ("no aux", lambda: func.grad(lambda x: x.sum(), has_aux=True)(gl.ones(2)), GradientError, "aux"),
    ("tangent", lambda: func.jvp(gl.sin, (gl.ones(2),), (gl.ones(3),)), ShapeError, "tangent"),
    ("structure", lambda: func.jvp(gl.sin, (gl.ones(2),), ()), GradientError, "structure"),
    ("cotangent", lambda: func.vjp(gl.sin, gl.ones(2))[1](gl.ones(3)), ShapeError, "cotangent"),
    ("strict", lambda: func.jvp(lambda x: gl.ones(2), (gl.ones(2),), (gl.ones(2),), strict=True), GradientError, "dep"),
]


@pytest.mark.parametrize(("name", "call", "error", "text"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refused(name: str, call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
    near(func.grad(lambda x: (x * x).sum())(gl.tensor(X)), torch.tensor(2 * X))  # and nothing is broken


def test_independent_outputs_have_zero_derivatives() -> None:
    x = gl.tensor(X)
    near(func.grad(lambda x: gl.ones(()))(x), torch.zeros(4, dtype=torch.float64))
    near(func.jvp(lambda x: gl.ones(2), (x,), (x,))[1], torch.zeros(2))
    near(func.jacfwd(lambda x: gl.ones(2))(x), torch.zeros(2, 4))
