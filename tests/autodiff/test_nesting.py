"""Transformations in transformations: every nesting of the table over every function, against torch.func in float64.

PyTorch's side runs loops in Python, chooses with ``where`` and keeps what it computes, instead of scan, cond and
checkpoint; and its forward mode in itself is wrong (2.13, by finite differences) through layer_norm, batch_norm and
solve, which it therefore does by formulas. Ours runs on the reference target: what is tested is the derivation, not
the code made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.utils.checkpoint import checkpoint

RNG = np.random.default_rng(11)
INDEX = np.array([[2, 0, 1, 2], [1, 1, 0, 2]])
CONV, MATRIX = RNG.normal(size=(3, 2, 2, 2)), RNG.normal(size=(3, 3)) + 3 * np.eye(3)


def _torch_scan(f: Callable, init: Any, xs: Any) -> tuple[Any, Any]:
    ys = []
    for x in xs:
        init, y = f(init, x)
        ys.append(y)
    return init, torch.stack(ys)


def _normed(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * ((centred**2).mean(axes, keepdim=True) + 1e-5).rsqrt()


OURS = SimpleNamespace(
    np=gl, F=gl.nn.functional, t=lambda a: gl.tensor(a), checkpoint=lambda f, x: checkpoint(f, x, use_reentrant=False),
    cond=gl.func.cond, scan=gl.func.scan, solve=gl.linalg.solve,
    layer_norm=lambda x: gl.nn.functional.layer_norm(x, x.shape[-1:]),
    batch_norm=lambda x: gl.nn.functional.batch_norm(x, None, None, training=True),
    **{k: getattr(gl.func, k) for k in "grad vmap jvp vjp jacrev jacfwd hessian linearize".split()},
)  # fmt: skip
THEIRS = SimpleNamespace(
    np=torch, F=torch.nn.functional, t=lambda a: torch.tensor(a), checkpoint=lambda f, x: f(x),
    cond=lambda p, f, g, x: torch.where(p, f(x), g(x)), scan=_torch_scan,
    solve=lambda a, b: torch.linalg.inv(a) @ b,
    layer_norm=lambda x: _normed(x, (-1,)), batch_norm=lambda x: _normed(x, (0, 2, 3)),
    **{k: getattr(torch.func, k) for k in "grad vmap jvp vjp jacrev jacfwd hessian linearize".split()},
)  # fmt: skip

# name: (function of a library and a tensor, the tensor's shape)
FUNCTIONS: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...]]] = {
    "conv2d": (lambda L, x: L.F.conv2d(x, L.t(CONV), padding=1, stride=2).tanh(), (1, 2, 3, 3)),
    "batch norm": (lambda L, x: L.batch_norm(x), (2, 2, 2, 2)),
    "layer norm": (lambda L, x: L.layer_norm(x), (2, 4)),
    "max_pool2d": (lambda L, x: L.F.max_pool2d(x, 2, stride=1) ** 2, (1, 1, 3, 3)),
    "softmax": (lambda L, x: L.F.softmax(x, -1), (2, 4)),
    "gather": (lambda L, x: L.np.gather(x, 0, L.t(INDEX)).sin(), (3, 4)),
    "scatter": (lambda L, x: L.np.scatter_add(L.np.zeros_like(x), 0, L.t(INDEX), (x[:2] * x[1:]).exp()), (3, 4)),
    "indexing": (lambda L, x: x[L.t(INDEX[0]), 1:].sin(), (3, 3)),
    "cumsum": (lambda L, x: L.np.cumsum(x, 1).sin(), (2, 4)),
    "sort": (lambda L, x: L.np.sort(x, -1)[0] * L.t(MATRIX[:, :1] * np.arange(1, 5)), (3, 4)),
    "solve": (lambda L, x: L.solve(x @ x.mT + L.t(MATRIX @ MATRIX.T), x), (3, 3)),
}  # fmt: skip


def _loss(L: Any, f: Callable) -> Callable:
    """A number that hangs on every element in another way, and is curved."""

    def loss(x: Any) -> Any:
        y = f(x)
        return (y * (y * 0.7 + 0.3).cos()).sum()

    return loss


# name: (library, function, tensors x and t of the function's shape, a batch of three) -> tensor
NESTINGS: dict[str, Callable[[Any, Callable, Any, Any, Any], Any]] = {
    "vmap of vmap": lambda L, f, x, t, xs: L.vmap(L.vmap(f))(L.np.stack([xs, xs + t])),
    "vmap of grad": lambda L, f, x, t, xs: L.vmap(L.grad(_loss(L, f)))(xs),
    "grad of vmap": lambda L, f, x, t, xs: L.grad(_loss(L, L.vmap(f)))(xs),
    "grad of grad": lambda L, f, x, t, xs: L.grad(lambda a: (L.grad(_loss(L, f))(a) * t).sum())(x),
    "third order": lambda L, f, x, t, xs: L.grad(
        lambda b: (L.grad(lambda a: (L.grad(_loss(L, f))(a) * t).sum())(b) * t).sum()
    )(x),
    "vmap of jvp": lambda L, f, x, t, xs: L.vmap(lambda a: L.jvp(f, (a,), (t,))[1])(xs),
    "vmap of tangents": lambda L, f, x, t, xs: L.vmap(lambda d: L.jvp(f, (x,), (d,))[1])(xs),
    "jvp of vmap": lambda L, f, x, t, xs: L.jvp(L.vmap(f), (xs,), (xs * t,))[1],
    "jvp of grad": lambda L, f, x, t, xs: L.jvp(L.grad(_loss(L, f)), (x,), (t,))[1],
    "grad of jvp": lambda L, f, x, t, xs: L.grad(lambda a: _loss(L, lambda b: L.jvp(f, (b,), (t,))[1])(a))(x),
    "jvp of jvp": lambda L, f, x, t, xs: L.jvp(lambda a: L.jvp(f, (a,), (t,))[1], (x,), (x * t,))[1],
    "linearize": lambda L, f, x, t, xs: L.vmap(L.linearize(f, x)[1])(xs),
    "vjp of vmap": lambda L, f, x, t, xs: L.vjp(L.vmap(f), xs)[1](L.vmap(f)(xs * t))[0],
    "vmap of vjp": lambda L, f, x, t, xs: L.vmap(lambda a: L.vjp(f, a)[1](f(t))[0])(xs),
    "jacrev of vmap": lambda L, f, x, t, xs: L.jacrev(lambda a: _loss(L, L.vmap(f))(a) * a[0])(xs[:2]),
    "jacrev of jacfwd": lambda L, f, x, t, xs: L.jacrev(L.jacfwd(_loss(L, f)))(x),
    "jacfwd of jacfwd": lambda L, f, x, t, xs: L.jacfwd(L.jacfwd(_loss(L, f)))(x),
    "jacfwd and jacrev": lambda L, f, x, t, xs: L.jacfwd(f)(x) + L.jacrev(f)(x),
    "vmap of jacfwd": lambda L, f, x, t, xs: L.vmap(L.jacfwd(f))(xs),
    "vmap of jacrev": lambda L, f, x, t, xs: L.vmap(L.jacrev(f))(xs),
    "vmap of hessian": lambda L, f, x, t, xs: L.vmap(L.hessian(_loss(L, f)))(xs[:2]),
    "hessian of vmap": lambda L, f, x, t, xs: L.hessian(_loss(L, L.vmap(f)))(xs[:2]),
    "grad of hessian": lambda L, f, x, t, xs: L.grad(lambda a: (L.hessian(_loss(L, f))(a) ** 2).sum())(x),
    "hessian of checkpoint": lambda L, f, x, t, xs: L.hessian(_loss(L, lambda a: L.checkpoint(f, a)))(x),
    "vmap of grad of checkpoint": lambda L, f, x, t, xs: L.vmap(L.grad(_loss(L, lambda a: L.checkpoint(f, a))))(xs),
    "checkpoint of vmap": lambda L, f, x, t, xs: L.grad(_loss(L, lambda a: L.checkpoint(L.vmap(f), a)))(xs),
    "checkpoint of grad": lambda L, f, x, t, xs: L.grad(
        lambda b: (L.checkpoint(lambda a: L.grad(_loss(L, f))(a), b) * t).sum()
    )(x),
    "vmap of grad of cond": lambda L, f, x, t, xs: L.vmap(
        L.grad(_loss(L, lambda a: L.cond((a * t).sum() > 0, f, lambda b: f(b * t), a)))
    )(xs),
    "hessian of cond": lambda L, f, x, t, xs: L.hessian(
        _loss(L, lambda a: L.cond(a.sum() > 0, f, lambda b: f(b * t), a))
    )(x),
    "jvp of cond of grad": lambda L, f, x, t, xs: L.jvp(
        lambda a: L.cond(a.sum() > 0, L.grad(_loss(L, f)), lambda b: b * t, a), (x,), (t,)
    )[1],
    "grad of scan": lambda L, f, x, t, xs: L.grad(
        lambda a: (L.scan(lambda c, y: (c * 0.5 + y.sin(), f(c) * 1.0), a, xs)[1] ** 2).sum()
    )(x),
    "hessian of scan": lambda L, f, x, t, xs: L.hessian(
        lambda a: (L.scan(lambda c, y: (c * 0.5 + y.sin(), f(c) * 1.0), a, xs[:2])[1] ** 2).sum()
    )(x),
    "scan of grad": lambda L, f, x, t, xs: L.jvp(
        lambda a: L.scan(lambda c, y: (c - 0.1 * L.grad(_loss(L, f))(c * y), c * 1.0), a, xs)[0], (x,), (t,)
    )[1],
    "vmap of grad of scan": lambda L, f, x, t, xs: L.vmap(
        L.grad(lambda a: (L.scan(lambda c, y: (c * 0.5 + y.sin(), f(c) * 1.0), a, xs)[1] ** 2).sum())
    )(xs),
    "scan of vmap of grad": lambda L, f, x, t, xs: L.scan(
        lambda c, y: (c - 0.1 * L.vmap(L.grad(_loss(L, f)))(c * y), c * 1.0), xs, xs
    )[0],
    "jacrev of scan of cond of checkpoint": lambda L, f, x, t, xs: L.jacrev(
        lambda a: L.scan(
            lambda c, y: (
                c * 0.5 + y,
                L.cond(c.sum() > 0, lambda b: L.checkpoint(f, b) * 1.0, lambda b: f(b * y), c),
            ), a, xs[:2]
        )[1]
    )(x),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _plainly() -> Iterator[None]:
    gl.set_target("reference")
    yield
    gl.set_target("cpu")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("nesting", NESTINGS)
def test_nesting(nesting: str, function: str) -> None:
    """As torch.func has it."""
    fn, shape = FUNCTIONS[function]
    rng = np.random.default_rng(5)
    x, t, xs = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=(3, *shape))
    got, want = (NESTINGS[nesting](L, lambda a, L=L: fn(L, a), *(L.t(a) for a in (x, t, xs))) for L in (OURS, THEIRS))
    np.testing.assert_allclose(got.numpy(), want.detach().numpy(), 1e-7, 1e-9)
