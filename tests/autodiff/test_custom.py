"""Derivatives of one's own: autograd.Function as PyTorch has it, custom_vjp and custom_jvp as JAX has them."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import autograd, func
from gradloom.autodiff.trees import leaves_of
from gradloom.autograd.function import once_differentiable
from gradloom.errors import GradientError
from gradloom.tape import TAPE

RNG = np.random.default_rng(6)
X, Y = RNG.uniform(0.2, 1.0, 3), RNG.uniform(0.2, 1.0, 3)


def near(a: Any, b: Any, tol: float = 1e-10) -> None:
    xs, ys = leaves_of(a), leaves_of(b)
    assert len(xs) == len(ys)
    for x, y in zip(xs, ys, strict=True):
        y = y.detach().numpy() if hasattr(y, "detach") else y
        np.testing.assert_allclose(x.detach().numpy(), y, tol, tol)


def cube(T: Any) -> Any:
    class Cube(T.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Any, k: float) -> Any:
            return x * x * x * k

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(inputs[0])
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x * x * ctx.k, None

    return Cube


def two(T: Any) -> Any:
    class Two(T.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Any, y: Any) -> Any:
            return x * y, x.exp()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs, output[1])

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            x, y, e = ctx.saved_tensors
            return a * y + b * e, a * x

    return Two


def loss(T: Any) -> Any:
    return lambda x, y: sum((t.sin() * x).sum() for t in two(T).apply(x, y)) + cube(T).apply(y, 2.0).sum()


@pytest.mark.parametrize(
    "nesting",
    [
        lambda F, f: F.grad(f, (0, 1)),
        lambda F, f: F.hessian(f, (0, 1)),
        lambda F, f: lambda x, y: F.vmap(F.grad(f, (0, 1)), (0, None))(x * x[:, None], y),
        lambda F, f: F.grad(lambda x, y: F.vmap(f, (0, None))(x * x[:, None], y).sum(), (0, 1)),
        lambda F, f: F.grad(lambda x, y: F.grad(lambda z: F.grad(f)(z, y).sum())(x).sum(), (0, 1)),
    ],
    ids=["grad", "hessian", "vmap of grad", "grad of vmap", "third order"],
)
def test_functions_under_transformations(nesting: Any) -> None:
    # PyTorch's own functional transforms, on the plain formula
    plain = lambda x, y: ((x * y).sin() * x).sum() + (x.exp().sin() * x).sum() + (2 * y**3).sum()  # noqa: E731
    mine = nesting(func, loss(gl))(gl.tensor(X), gl.tensor(Y))
    near(mine, nesting(torch.func, plain)(torch.tensor(X), torch.tensor(Y)))


def test_backward_and_double_backward() -> None:
    for T in (gl, torch):
        x = T.tensor(X, requires_grad=True)
        cube(T).apply(x, 2.0).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), 6 * X**2)
        (g,) = T.autograd.grad(cube(T).apply(x, 2.0).sum(), x, create_graph=True)
        (h,) = T.autograd.grad(g.sum(), x)
        np.testing.assert_allclose(h.detach().numpy(), 12 * X)


def test_the_context() -> None:
    seen: dict[str, Any] = {}

    class F(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, note: Any, flag: bool = True) -> Any:
            ctx.save_for_backward(x, None)
            ctx.inner = {"t": x * 2, "note": note}
            ctx.set_materialize_grads(False)
            out, index = x + y, x.argmax()
            ctx.mark_non_differentiable(index)
            return out, x * 3, index

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any, c: Any) -> Any:
            seen.update(cts=(a, b, c), needs=ctx.needs_input_grad, saved=ctx.saved_tensors, inner=ctx.inner)
            return a, None, None, None

    x = gl.tensor(X, requires_grad=True)
    out, other, index = F.apply(x, gl.tensor(Y), ["n"], False)
    assert out.requires_grad
    assert other.requires_grad
    assert not index.requires_grad
    out.sum().backward()
    near(x.grad, np.ones(3))
    assert seen["needs"] == (True, False, False, False)
    assert seen["cts"][1] is None
    assert seen["saved"][1] is None
    assert seen["inner"]["note"] == ["n"]
    near(seen["inner"]["t"], 2 * X)
    with gl.no_grad():
        assert not F.apply(x, gl.tensor(Y), ["n"], False)[0].requires_grad


def test_backward_is_asked_once_for_all_outputs() -> None:
    calls = []

    class F(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            calls.append(1)
            return (a * b,)  # not linear: both must be there

    x = gl.tensor(X, requires_grad=True)
    a, b = F.apply(x)
    (a.sum() * 2 + (b * b).sum()).backward()
    near(x.grad, 2 * 6 * X)
    assert len(calls) == 1


def test_across_rounds() -> None:
    x = gl.tensor(X, requires_grad=True)
    y = cube(gl).apply(x * 1, 2.0)
    y.numpy()
    (y * y).sum().backward()
    near(x.grad, 2 * 2 * X**3 * 6 * X**2)


def test_once_differentiable() -> None:
    class F(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * g * ctx.saved_tensors[0]

    x = gl.tensor(X, requires_grad=True)
    (g,) = autograd.grad(F.apply(x).sum(), x, create_graph=True)
    near(g, 2 * X)
    with pytest.raises(GradientError, match="once_differentiable"):
        g.sum().backward()


def test_a_jvp_alone_does() -> None:
    class F(autograd.Function):
        @staticmethod
        def forward(x: Any, y: Any) -> Any:
            return x.sin() * y

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx: Any, dx: Any, dy: Any) -> Any:
            x, y = ctx.saved_tensors
            return dx * x.cos() * y + dy * x.sin()

    f = lambda x, y: (F.apply(x, y) ** 2).sum()  # noqa: E731
    g = lambda x, y: ((x.sin() * y) ** 2).sum()  # noqa: E731
    a, b = gl.tensor(X), gl.tensor(Y)
    near(func.hessian(f, (0, 1))(a, b), leaves_of(func.hessian(g, (0, 1))(a, b)))


def test_a_vmap_of_its_own() -> None:
    calls = []

    class F(autograd.Function):
        @staticmethod
        def forward(x: Any, k: float) -> Any:
            return x * k

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.k, None

        @staticmethod
        def vmap(info: Any, in_dims: Any, x: Any, k: float) -> Any:
            calls.append((info.batch_size, in_dims))
            return x * k, in_dims[0]

    x = gl.tensor(RNG.normal(size=(4, 3)))
    near(func.vmap(lambda v: F.apply(v, 2.0))(x), 2 * x.numpy())
    assert calls == [(4, (0, None))]
    near(func.grad(lambda x: func.vmap(lambda v: (F.apply(v, 2.0) ** 2).sum())(x).sum())(x), 8 * x.numpy())
    near(func.vmap(func.grad(lambda v: (F.apply(v, 2.0) ** 2).sum()))(x), 8 * x.numpy())


def test_refused() -> None:
    class Bad(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, g

    class Wrong(Bad):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g[:2]

    class Dirty(Bad):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x

    class Lost(Bad):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(2) + 1

    class Nothing(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

    x = gl.tensor(X, requires_grad=True)
    with pytest.raises(GradientError, match="2 gradients, expected 1"):
        Bad.apply(x).sum().backward()
    with pytest.raises(GradientError, match=r"shape \(2,\)"):
        Wrong.apply(x).sum().backward()
    with pytest.raises(GradientError, match="cannot be changed in place"):
        Dirty.apply(x)
    with pytest.raises(GradientError, match="not among the outputs"):
        Lost.apply(x * 1)
    with pytest.raises(GradientError, match="no backward"):
        Nothing.apply(x).sum().backward()


def test_a_training_loop_compiles_once() -> None:
    x = gl.tensor(X, requires_grad=True)
    for k in range(8):
        x.grad = None
        cube(gl)  # a class of its own each time is another function
        (CUBE.apply(x, 2.0) + TWO.apply(x, x)[0]).sum().backward()
        x.grad.numpy()
        if k == 3:
            gc.collect()
            before = TAPE.compiled
    assert before == TAPE.compiled


CUBE, TWO = cube(gl), two(gl)


@func.custom_vjp
def clipped(x: Any, k: Any) -> Any:
    return x * k


clipped.defvjp(lambda x, k: (x * k, k), lambda k, g: (gl.clamp(g * k, -1.0, 1.0), None))


def test_custom_vjp() -> None:
    x = gl.tensor(X)
    near(clipped(x, gl.tensor(5.0)), 5 * X)
    near(func.grad(lambda x: clipped(x, gl.tensor(5.0)).sum())(x), np.ones(3))
    near(func.vmap(func.grad(lambda x: clipped(x, gl.tensor(0.5))))(x), np.full(3, 0.5))

    calls = func.custom_vjp(lambda n, tree: {"y": tree["x"] ** n}, nondiff_argnums=(0,))
    calls.defvjp(
        lambda n, tree: ({"y": tree["x"] ** n}, tree["x"]), lambda n, x, g: ({"x": g["y"] * n * x ** (n - 1)},)
    )
    got = func.hessian(lambda x: calls(4, {"x": x})["y"].sum())(x)
    near(got, np.diag(12 * X**2))
    with pytest.raises(GradientError, match="defvjp"):
        func.custom_vjp(lambda x: x)(x)


def test_custom_jvp() -> None:
    f = func.custom_jvp(lambda x, y: x.sin() * y)
    f.defjvp(lambda p, t: (p[0].sin() * p[1], t[0] * p[0].cos() * p[1] + t[1] * p[0].sin()))
    g = func.custom_jvp(lambda x, y: x.sin() * y)
    g.defjvps(lambda t, out, x, y: t * x.cos() * y, lambda t, out, x, y: t * x.sin())
    a, b = gl.tensor(X), gl.tensor(Y)
    plain = lambda x, y: (x.sin() * y).exp().sum()  # noqa: E731
    want = leaves_of(func.hessian(plain, (0, 1))(a, b))
    for h in (f, g):
        near(func.jvp(h, (a, b), (b, a))[1], np.cos(X) * Y * Y + X * np.sin(X))
        near(func.hessian(lambda x, y, h=h: h(x, y).exp().sum(), (0, 1))(a, b), want)


def test_gradcheck_of_functions() -> None:
    x = gl.tensor(X, requires_grad=True)
    y = gl.tensor(Y, requires_grad=True)
    assert autograd.gradcheck(lambda x, y: TWO.apply(x, y), (x, y), check_forward_ad=True, check_batched_grad=True)
    assert autograd.gradgradcheck(lambda x, y: TWO.apply(x, y), (x, y))


def test_outputs_that_are_no_tensors_get_none() -> None:
    for lib in (gl, torch):

        class Scaled(lib.autograd.Function):  # type: ignore[name-defined, misc]
            @staticmethod
            def forward(ctx: Any, x: Any, scale: float) -> Any:
                ctx.save_for_backward(x)
                ctx.scale = scale
                return scale, x * x * scale, None, "text", x + 1

            @staticmethod
            def backward(ctx: Any, *cts: Any) -> Any:
                assert len(cts) == 5 and [k for k, ct in enumerate(cts) if ct is None] == [0, 2, 3]
                (x,) = ctx.saved_tensors
                return 2 * x * ctx.scale * cts[1] + cts[4], None

        x = lib.tensor([1.0, 2.0], requires_grad=True)
        scale, y, nothing, text, z = Scaled.apply(x, 3.0)
        assert (scale, nothing, text) == (3.0, None, "text")
        (y * 2 + z).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), [13.0, 25.0])


def test_setup_context_sees_the_arguments_left_out() -> None:
    for lib in (gl, torch):

        class Powered(lib.autograd.Function):  # type: ignore[name-defined, misc]
            @staticmethod
            def forward(x: Any, n: int = 3, scale: float = 2.0) -> Any:
                return scale * x**n

            @staticmethod
            def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                x, ctx.n, ctx.scale = inputs
                ctx.save_for_backward(x)

            @staticmethod
            def backward(ctx: Any, ct: Any) -> Any:
                (x,) = ctx.saved_tensors
                return ct * ctx.scale * ctx.n * x ** (ctx.n - 1), None, None

        x = lib.tensor([1.0, 2.0], requires_grad=True)
        (Powered.apply(x) + Powered.apply(x, 2)).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), [10.0, 32.0])
