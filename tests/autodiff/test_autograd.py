"""torch.autograd's names: functional, forward_ad, gradcheck, batched gradients, backward of several, modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as torch_fwd

import gradloom as gl
from gradloom import autograd
from gradloom.autodiff.trees import leaves_of
from gradloom.autograd import forward_ad as fwd
from gradloom.autograd import functional
from gradloom.errors import GradientError, ShapeError

RNG = np.random.default_rng(11)
X, Y = RNG.uniform(0.3, 1.0, 3), RNG.uniform(0.3, 1.0, (3, 2))
VX, VY, VO = RNG.normal(size=3), RNG.normal(size=(3, 2)), RNG.normal(size=2)


def near(mine: Any, theirs: Any) -> None:
    a, b = leaves_of(mine), torch.utils._pytree.tree_leaves(theirs)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert tuple(x.shape) == tuple(y.shape)
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), 1e-9, 1e-11)


def vector(x: Any, y: Any) -> Any:
    return x.exp() @ y, (x * y[:, 0]).sin()


def scalar(x: Any, y: Any) -> Any:
    return ((x.exp() @ y) ** 2).sum() + (x**3).sum()


def single(x: Any) -> Any:
    return (x.exp() * x).sum()


CALLS: dict[str, Any] = {
    "jacobian": lambda A, t: A.jacobian(vector, (t(X), t(Y))),
    "jacobian of one": lambda A, t: A.jacobian(lambda x: x.sin(), t(X)),
    "jacobian forward": lambda A, t: A.jacobian(vector, (t(X), t(Y)), vectorize=True, strategy="forward-mode"),
    "hessian": lambda A, t: A.hessian(scalar, (t(X), t(Y))),
    "hessian of one": lambda A, t: A.hessian(single, t(X)),
    "hessian forward": lambda A, t: A.hessian(single, t(X), vectorize=True, outer_jacobian_strategy="forward-mode"),
    "vjp": lambda A, t: A.vjp(vector, (t(X), t(Y)), (t(VO), t(VX))),
    "vjp of a number": lambda A, t: A.vjp(scalar, (t(X), t(Y))),
    "jvp": lambda A, t: A.jvp(vector, (t(X), t(Y)), (t(VX), t(VY))),
    "jvp of one": lambda A, t: A.jvp(lambda x: x.cos(), t(X), t(VX)),
    "hvp": lambda A, t: A.hvp(scalar, (t(X), t(Y)), (t(VX), t(VY))),
    "vhp": lambda A, t: A.vhp(scalar, (t(X), t(Y)), (t(VX), t(VY))),
    "hvp of one": lambda A, t: A.hvp(single, t(X), t(VX)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_functional(name: str) -> None:
    mine = CALLS[name](functional, gl.tensor)
    near(mine, CALLS[name](torch.autograd.functional, torch.tensor))
    assert not any(t.requires_grad for t in leaves_of(mine))


def test_functional_with_a_graph() -> None:
    for T, A in ((gl, functional), (torch, torch.autograd.functional)):
        x = T.tensor(X, requires_grad=True)
        j = A.jacobian(lambda x: x.sin() * x, x, create_graph=True)
        j.diagonal().sum().backward() if T is torch else (j * gl.eye(3, dtype=gl.float64)).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), 2 * np.cos(X) - X * np.sin(X), 1e-10)
        v = A.hvp(single, x, T.tensor(VX), create_graph=True)[1]
        assert v.requires_grad


def test_functional_refuses() -> None:
    x = gl.tensor(X)
    for call in (functional.vjp, functional.jvp, functional.jacobian):
        args = (gl.ones(2),) if call is functional.vjp else (x,) if call is functional.jvp else ()
        with pytest.raises(GradientError, match="strict"):
            call(lambda x: gl.ones(2), x, *args, strict=True)
    with pytest.raises(GradientError, match="single element"):
        functional.vjp(lambda x: x * 2, x)
    with pytest.raises(ShapeError, match="expected"):
        functional.vjp(lambda x: x * 2, x, gl.ones(2))
    with pytest.raises(GradientError, match="one element"):
        functional.hvp(lambda x: x * 2, x, x)
    with pytest.raises(ValueError, match="strategy"):
        functional.jacobian(lambda x: x, x, strategy="sideways")


def test_dual_numbers() -> None:
    def run(T: Any, F: Any) -> Any:
        with F.dual_level():
            x = F.make_dual(T.tensor(X), T.tensor(VX))
            y = F.make_dual(T.tensor(Y), T.tensor(VY))
            outs = [F.unpack_dual(t) for t in (x.exp() @ y, (x * x).sum(), x)]
            plain = F.unpack_dual(T.tensor(X) * 2)
        assert plain.tangent is None
        assert F.unpack_dual(x).tangent is None
        return [t for o in outs for t in o]

    near(run(gl, fwd), run(torch, torch_fwd))


def test_dual_numbers_refuse() -> None:
    with pytest.raises(GradientError, match="dual_level"):
        fwd.make_dual(gl.ones(2), gl.ones(2))
    with fwd.dual_level():
        with pytest.raises(ShapeError, match="tangent"):
            fwd.make_dual(gl.ones(2), gl.ones(3))
        with pytest.raises(GradientError, match="nested"), fwd.dual_level():
            pass
    fwd.enter_dual_level()
    assert fwd.unpack_dual(fwd.make_dual(gl.ones(2), gl.ones(2)) * 3).tangent.tolist() == [3, 3]
    fwd.exit_dual_level()
    assert gl.is_grad_enabled()


def test_gradients_of_a_batch_of_cotangents() -> None:
    rows = RNG.normal(size=(4, 3))
    for T in (gl, torch):
        x = T.tensor(X, requires_grad=True)
        w = T.tensor(X, requires_grad=True)
        (g,) = T.autograd.grad(x.sin(), x, T.tensor(rows), is_grads_batched=True)
        np.testing.assert_allclose(g.numpy(), rows * np.cos(X), 1e-12)
        a, b = T.autograd.grad((x * x).sum(), (x, w), allow_unused=True, materialize_grads=True)
        np.testing.assert_allclose(b.numpy(), np.zeros(3))
        np.testing.assert_allclose(a.numpy(), 2 * X)


def test_backward_of_several() -> None:
    for T in (gl, torch):
        x, y = T.tensor(X, requires_grad=True), T.tensor(X, requires_grad=True)
        z = x * y
        T.autograd.backward([z, (z * z).sum()], [T.tensor(VX), None])
        np.testing.assert_allclose(x.grad.numpy(), VX * X + 2 * X * X * X, 1e-12)
        x.grad = y.grad = None
        T.autograd.backward((x * y).sum(), inputs=[x])
        np.testing.assert_allclose(x.grad.numpy(), X)
        assert y.grad is None
    with pytest.raises(GradientError, match="cotangents"):
        autograd.backward([x.sum()], [None, None])


def test_backward_into_some() -> None:
    for T in (gl, torch):
        x, y = T.tensor(X, requires_grad=True), T.tensor(X, requires_grad=True)
        called: list[Any] = []
        y.register_post_accumulate_grad_hook(called.append)
        z = x * y
        if T is torch:
            z.retain_grad()
        (z * 3).sum().backward(inputs=[y, z], retain_graph=True)
        np.testing.assert_allclose(y.grad.numpy(), 3 * X)
        np.testing.assert_allclose(z.grad.numpy(), 3 + 0 * X)
        assert x.grad is None and len(called) == 1
        z.backward(T.tensor(VX), inputs=y)
        np.testing.assert_allclose(y.grad.numpy(), (3 + VX) * X)
    with pytest.raises(RuntimeError, match="cannot be"):
        x.sum().backward(inputs=[])


def test_gradcheck() -> None:
    x, y = gl.tensor(X, requires_grad=True), gl.tensor(Y, requires_grad=True)
    assert autograd.gradcheck(vector, (x, y), check_forward_ad=True, check_batched_grad=True, check_grad_dtypes=True)
    assert autograd.gradgradcheck(vector, (x, y))
    assert autograd.gradcheck(vector, (x, y), check_forward_ad=True, check_batched_forward_grad=True, fast_mode=True)
    assert autograd.gradgradcheck(vector, (x, y), check_fwd_over_rev=True, check_rev_over_rev=False, fast_mode=True)
    z = gl.tensor(X + 1j * VX, requires_grad=True)
    for fast in (False, True):
        assert autograd.gradcheck(lambda z: z * z.conj() * z.exp(), z, check_forward_ad=True, fast_mode=fast)

    class Wrong(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    with pytest.raises(autograd.GradcheckError, match="the differences give 2"):
        autograd.gradcheck(Wrong.apply, x)
    with pytest.raises(autograd.GradcheckError, match="the differences give"):
        autograd.gradcheck(Wrong.apply, x, fast_mode=True)
    with pytest.raises(autograd.GradcheckError, match="the differences give"):
        autograd.gradgradcheck(lambda x: Wrong.apply(x) ** 2, x, check_rev_over_rev=True)
    assert not autograd.gradcheck(Wrong.apply, x, raise_exception=False)
    with pytest.raises(ValueError, match="require grad"):
        autograd.gradcheck(gl.sin, gl.ones(2))


def test_inference_mode() -> None:
    x = gl.tensor(X, requires_grad=True)
    with gl.inference_mode():
        assert gl.is_inference_mode_enabled()
        assert not (x * 2).requires_grad
        with gl.inference_mode(False):
            assert (x * 2).requires_grad
    assert not gl.is_inference_mode_enabled()

    @gl.inference_mode
    def f(x: Any) -> Any:
        return x * 2

    @gl.inference_mode()
    def g(x: Any) -> Any:
        return x * 2

    assert not f(x).requires_grad
    assert not g(x).requires_grad
    assert (x * 2).requires_grad


def test_values_of_earlier_rounds_are_found_once() -> None:
    x = gl.tensor(X, requires_grad=True)
    y = x * 2
    w = y * y
    y.numpy()
    gx, gy = autograd.grad((y * 3 + w).sum(), [x, y])
    np.testing.assert_allclose(gy.numpy(), 3 + 4 * X)
    np.testing.assert_allclose(gx.numpy(), 2 * (3 + 4 * X))


def test_only_inputs_is_ignored_with_a_warning():
    x = gl.tensor(2.0, requires_grad=True)
    (g,) = gl.autograd.grad(x * x, x, None, None, False, True)
    assert g.item() == 4 and x.grad is None
    with pytest.warns(FutureWarning, match="only_inputs"):
        gl.autograd.grad(x * x, x, only_inputs=False)


@pytest.mark.parametrize("mode", ["no_grad", "set_grad_enabled", "inference_mode"])
def test_generators_go_on_in_their_mode(mode: str) -> None:
    for T in (gl, torch):
        decorate = T.set_grad_enabled(False) if mode == "set_grad_enabled" else getattr(T, mode)()
        seen: list[Any] = []

        @decorate
        def numbers(seen: list[Any] = seen, T: Any = T) -> Any:
            try:
                for k in range(3):
                    try:
                        seen.append((k, (yield k), T.is_grad_enabled()))
                    except KeyError:
                        seen.append(("error", T.is_grad_enabled()))
            finally:
                seen.append(("end", T.is_grad_enabled()))
            return "all"

        assert T.is_grad_enabled()
        generator = numbers()
        assert next(generator) == 0 and T.is_grad_enabled()
        assert generator.send("sent") == 1 and T.is_grad_enabled()
        assert generator.throw(KeyError()) == 2
        with pytest.raises(StopIteration, match="all"):
            next(generator)
        stopped = numbers()
        next(stopped)
        stopped.close()
        assert seen == [(0, "sent", False), ("error", False), (2, None, False), ("end", False), ("end", False)]
        assert T.is_grad_enabled()


def test_zeros_in_the_place_of_gradients_can_be_differentiated() -> None:
    for T in (gl, torch):
        x, a = T.tensor(0.5, requires_grad=True), T.tensor(1.0, requires_grad=True)
        (first,) = T.autograd.grad(x * a, x, create_graph=True)
        (second,) = T.autograd.grad(first, x, create_graph=True, materialize_grads=True)
        (third,) = T.autograd.grad(second, x, materialize_grads=True)
        assert second.item() == third.item() == 0 and second.requires_grad and not third.requires_grad


def test_powers_of_zero_by_their_exponent() -> None:
    for base in (0, [0.0, 0.0, 0.0, 2.0]):
        for T in (gl, torch):
            b = T.tensor([-1.0, 0.0, 1.0, 3.0], requires_grad=True)
            ((base if base == 0 else T.tensor(base)) ** b).sum().backward()
            np.testing.assert_allclose(b.grad.numpy(), [-np.inf, 0, 0, 0 if base == 0 else 8 * np.log(2)], rtol=1e-6)
