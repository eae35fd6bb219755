"""Activations of `nn.functional` with their options, kinks and derivatives, and the functions that draw, by PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.errors import DTypeError, ShapeError
from gradloom.testing import check_grads

X = np.concatenate([np.linspace(-8, 8, 41), [-3, 3, -1, 1, 0, 6, 0.5, -0.5, 1e-4, -1e-4, 25, -25]])
EDGES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])

CASES: list[tuple[str, dict[str, Any]]] = [
    ("celu", {}), ("celu", {"alpha": 0.6}), ("celu", {"alpha": -1.5}), ("elu", {"alpha": 1.7}), ("selu", {}),
    ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("hardshrink", {}), ("hardshrink", {"lambd": 1.0}),
    ("softshrink", {}), ("softshrink", {"lambd": 0.0}), ("tanhshrink", {}),
    ("threshold", {"threshold": 0.5, "value": 2}),
    ("hardtanh", {}), ("hardtanh", {"min_val": 0.0, "max_val": 0.0}), ("hardsigmoid", {}), ("hardswish", {}),
    ("relu", {}), ("relu6", {}), ("rrelu", {"lower": 0.1, "upper": 0.4}), ("softsign", {}), ("softplus", {"beta": 2}),
    ("logsigmoid", {}), ("mish", {}), ("silu", {}), ("leaky_relu", {"negative_slope": -0.3}), ("sigmoid", {}),
    ("tanh", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), CASES)
def test_values_and_derivatives(name: str, options: dict[str, Any]) -> None:
    a, b = gl.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    ours, theirs = getattr(F, name)(a, **options), getattr(TF, name)(b, **options)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
    w = np.cos(np.arange(X.size)) + 2
    (ga,) = gl.autograd.grad((ours * gl.tensor(w)).sum(), [a])
    (gb,) = torch.autograd.grad((theirs * torch.tensor(w)).sum(), [b])
    # PyTorch rounds the constants of these two to float32
    rtol = 1e-6 if name in ("celu", "hardsigmoid") else 1e-11
    np.testing.assert_allclose(ga.numpy(), gb.numpy(), rtol=rtol, atol=1e-13)
    for kind in (np.float32, np.float64):
        e = EDGES.astype(kind)
        got = getattr(F, name)(gl.tensor(e), **options).numpy()
        assert got.dtype == kind
        want = getattr(TF, name)(torch.tensor(e), **options).numpy()
        if name == "gelu":  # inf, whichever of PyTorch's kernels computes it
            want[1] = np.inf
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["celu", "gelu", "mish", "silu", "softplus", "logsigmoid", "tanhshrink", "selu"])
def test_second_derivatives(name: str) -> None:
    check_grads(getattr(F, name), [np.array([-2.1, -0.4, 0.3, 1.7])], order=2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["relu", "elu", "celu", "selu", "leaky_relu", "hardtanh", "threshold", "rrelu"])
def test_in_place_forms(name: str) -> None:
    options = {"threshold": 0.5, "value": 2.0} if name == "threshold" else {}
    x = gl.tensor(X.astype(np.float32))
    assert getattr(F, name + "_")(x, **options) is x
    want = getattr(TF, name)(torch.tensor(X.astype(np.float32)), **options).numpy()
    np.testing.assert_allclose(x.numpy(), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"min_val": -0.5, "max_val": 2.7}])
def test_hardtanh_of_integers(options: dict[str, float]) -> None:
    got = F.hardtanh(gl.tensor([5, -5, 0, 1]), **options)
    assert got.dtype is gl.int64
    assert got.tolist() == TF.hardtanh(torch.tensor([5, -5, 0, 1]), **options).tolist()


@pytest.mark.parametrize(("shape", "count"), [((), 1), ((4,), 1), ((2, 3), 3), ((2, 3, 4), 3), ((2, 3), 1)])
def test_prelu(shape: tuple[int, ...], count: int) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape), rng.uniform(0.1, 1, count)
    a, b = gl.tensor(x, requires_grad=True), gl.tensor(w, requires_grad=True)
    c, d = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    ours, theirs = F.prelu(a, b), TF.prelu(c, d)
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy())
    for p, q in zip(gl.autograd.grad(ours.sum(), [a, b]), torch.autograd.grad(theirs.sum(), [c, d]), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy())
    with pytest.raises(ShapeError, match="channels"):
        F.prelu(gl.ones(2, 3), gl.ones(2))


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.5, np.inf, -np.inf])
def test_normalize(p: float) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 2))
    x[1] = 0.0
    a, b = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours, theirs = F.normalize(a, p), TF.normalize(b, p)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)
    if p in (0.0, 1.0, 2.0, 3.5):
        (ga,), (gb,) = gl.autograd.grad(ours.sum(), [a]), torch.autograd.grad(theirs.sum(), [b])
        np.testing.assert_allclose(ga.numpy(), gb.numpy(), rtol=1e-9, atol=1e-12)


def test_cosine_similarity() -> None:
    rng = np.random.default_rng(2)
    for sx, sy, dim in (((2, 3), (2, 3), 1), ((1, 2, 3), (2, 1, 3), -2), ((3,), (3,), 0), ((2, 3), (3,), -1)):
        x, y = rng.normal(size=sx), rng.normal(size=sy)
        if len(sx) == 2:
            x[0] = 1e-10
        a, b = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        ours = F.cosine_similarity(a, gl.tensor(y), dim)
        theirs = TF.cosine_similarity(b, torch.tensor(y), dim)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-14)
        (ga,), (gb,) = gl.autograd.grad(ours.sum(), [a]), torch.autograd.grad(theirs.sum(), [b])
        np.testing.assert_allclose(ga.numpy(), gb.numpy(), rtol=1e-9, atol=1e-12)
    zero = gl.zeros(2, 3, dtype=gl.float64).requires_grad_()
    (g,) = gl.autograd.grad(F.cosine_similarity(zero, gl.ones(2, 3)).sum(), [zero])
    assert np.isfinite(g.numpy()).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_half_precision_is_rounded_once(name: str, options: dict[str, Any], dtype: str) -> None:
    half = getattr(gl, dtype)
    x = gl.tensor(X.astype(np.float32), dtype=half)
    got = getattr(F, name)(x, **options)
    assert got.dtype is half
    want = getattr(F, name)(x.float(), **options).to(half).float().numpy()
    bound = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    np.testing.assert_allclose(got.float().numpy(), want, rtol=bound, atol=6e-8)


# -- what draws -----------------------------------------------------------------------------------------
def test_channels_are_dropped_whole() -> None:
    gl.manual_seed(3)
    for fn, shape, axes in (
        (F.dropout1d, (40, 50, 3), 2), (F.dropout2d, (40, 50, 2, 2), (2, 3)),
        (F.dropout3d, (40, 50, 2, 2, 2), (2, 3, 4)),
    ):  # fmt: skip
        y = fn(gl.ones(shape), 0.25).numpy()
        assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
        assert (y.max(axes) == y.min(axes)).all()
        assert abs((y == 0).mean() - 0.25) < 0.03
        assert (fn(gl.ones(shape), 0.25, training=False).numpy() == 1).all()
        assert (fn(gl.ones(shape), 1.0).numpy() == 0).all()
        assert fn(gl.ones(shape[1:]), 0.5).shape == shape[1:]
    with pytest.raises(ShapeError, match="dropout1d"):
        F.dropout1d(gl.ones(4))
    with pytest.raises(ValueError, match="probability"):
        F.dropout2d(gl.ones(2, 3, 4, 4), 1.5)


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name: str) -> None:
    gl.manual_seed(0)
    fn = getattr(F, name)
    y = fn(gl.randn(400, 500), 0.3, training=True).numpy()
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02
    x = gl.randn(3, 4)
    assert fn(x, 0.3) is x
    if name == "feature_alpha_dropout":
        z = fn(gl.ones(20, 30, 5), 0.5, training=True).numpy()
        assert (z.max(2) == z.min(2)).all()
        with pytest.raises(ShapeError, match="batch"):
            fn(gl.ones(4), 0.5, training=True)
    with pytest.raises(DTypeError, match="int64"):
        fn(gl.ones(4, 4, dtype=gl.int64), 0.5, training=True)


def test_rrelu_draws_slopes_within_its_bounds() -> None:
    gl.manual_seed(1)
    x = gl.full((1000,), -1.0).requires_grad_()
    y = F.rrelu(x, 0.2, 0.6, training=True)
    assert -0.6 <= y.detach().numpy().min() < -0.55
    assert -0.25 < y.detach().numpy().max() <= -0.2
    (g,) = gl.autograd.grad(y.sum(), [x])
    np.testing.assert_allclose(g.numpy(), -y.detach().numpy())
    with pytest.raises(ValueError, match="lower"):
        F.rrelu(x, 0.5, 0.2)


def test_gumbel_softmax() -> None:
    gl.manual_seed(2)
    logits = gl.tensor(np.log([[0.1, 0.6, 0.3]]).repeat(4000, 0), requires_grad=True)
    hard = F.gumbel_softmax(logits, tau=0.7, hard=True)
    np.testing.assert_allclose(hard.detach().numpy().mean(0), [0.1, 0.6, 0.3], atol=0.03)
    assert np.allclose(np.sort(hard.detach().numpy(), 1), [0, 0, 1])
    (g,) = gl.autograd.grad((hard * gl.tensor([1.0, 2.0, 3.0])).sum(), [logits])
    assert np.abs(g.numpy()).max() > 0
    soft = F.gumbel_softmax(gl.randn(5, 6), dim=0).numpy()
    np.testing.assert_allclose(soft.sum(0), 1.0, rtol=1e-5)


def test_refusals() -> None:
    for call, match in (
        (lambda: F.celu(gl.ones(2), 0.0), "alpha"), (lambda: F.softshrink(gl.ones(2), -1.0), "lambd"),
        (lambda: F.hardtanh(gl.ones(2), 1.0, -1.0), "min_val"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            call()


def test_names_at_the_top_are_those_of_pytorch() -> None:
    for name in "celu selu rrelu threshold cosine_similarity alpha_dropout relu_ celu_".split():
        assert getattr(gl, name) is getattr(F, name)
