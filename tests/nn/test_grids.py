"""grid_sample and affine_grid against PyTorch; fold and unfold; windows as views."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as T
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.errors import DTypeError, ShapeError
from gradloom.func import grad, vmap
from gradloom.functions.pooling import overlap_add, windows_of
from gradloom.ops.windows import Span
from gradloom.testing import check_grads


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def places(*shape, reach=1.6):
    return np.random.default_rng(2).uniform(-reach, reach, shape)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [True, False])
def test_grid_sample(mode, padding, align):
    cases = [((2, 3, 5, 7), (2, 4, 6, 2))]
    if mode != "bicubic":
        cases += [((1, 2, 1, 4), (1, 3, 2, 2)), ((2, 3, 4, 5, 3), (2, 2, 3, 4, 3))]
    for image, grid in cases:
        x, g = normal(*image), places(*grid)
        a, b = torch.tensor(x, requires_grad=True), torch.tensor(g, requires_grad=True)
        c, d = gl.tensor(x, requires_grad=True), gl.tensor(g, requires_grad=True)
        want = T.grid_sample(a, b, mode, padding, align)
        got = F.grid_sample(c, d, mode, padding, align)
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-9, atol=1e-9)
        want.square().sum().backward(), got.square().sum().backward()
        np.testing.assert_allclose(c.grad.numpy(), a.grad.numpy(), rtol=1e-9, atol=1e-9)
        slope = d.grad.numpy() if d.grad is not None else np.zeros(grid)
        np.testing.assert_allclose(slope, b.grad.numpy(), rtol=1e-8, atol=1e-8)


def test_grid_sample_second_order_and_vmap():
    x, g = normal(3, 1, 2, 4, 4), places(3, 1, 3, 2, 2, reach=0.9)
    check_grads(lambda a, b: F.grid_sample(a, b) ** 2, [x[0], g[0]], order=2)
    a, b = gl.tensor(x), gl.tensor(g)
    np.testing.assert_allclose(
        vmap(F.grid_sample)(a, b).numpy(), np.stack([F.grid_sample(a[k], b[k]).numpy() for k in range(3)])
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_grid_sample_half(dtype):
    d = getattr(gl, dtype)
    x, g = gl.tensor(normal(1, 2, 4, 4)).to(d), gl.tensor(places(1, 3, 3, 2)).to(d)
    got, want = F.grid_sample(x, g), F.grid_sample(x.float(), g.float())
    assert got.dtype is d
    np.testing.assert_allclose(got.float().numpy(), want.numpy(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("align", [True, False])
def test_affine_grid(align):
    for theta, size in (((2, 2, 3), (2, 3, 4, 5)), ((2, 3, 4), (2, 3, 4, 1, 6))):
        t = normal(*theta)
        want, got = T.affine_grid(torch.tensor(t), size, align), F.affine_grid(gl.tensor(t), size, align)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)
    check_grads(lambda t: F.affine_grid(t, (1, 1, 2, 3), align) ** 2, [normal(1, 2, 3)], order=2)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda x: F.grid_sample(x, gl.zeros(2, 3, 3, 2)), ShapeError, "expects|input"),
    (lambda x: F.grid_sample(x, gl.zeros(1, 3, 3, 3)), ShapeError, "grid_sample: input"),
    (lambda x: F.grid_sample(x[0], gl.zeros(1, 3, 3, 2)), ShapeError, "grid_sample: input"),
    (lambda x: F.grid_sample(x, gl.zeros(1, 3, 3, 2), "cubic"), ValueError, "mode 'cubic' is none of"),
    (lambda x: F.grid_sample(x, gl.zeros(1, 3, 3, 2), padding_mode="wrap"), ValueError, "padding_mode 'wrap'"),
    (lambda x: F.grid_sample(x.double(), gl.zeros(1, 3, 3, 2)), DTypeError, "float64 and grid of float32"),
    (lambda x: F.grid_sample(gl.zeros(1, 1, 2, 2, 2), gl.zeros(1, 2, 2, 2, 3), "bicubic"), ShapeError, "'bicubic'"),
    (lambda x: F.affine_grid(gl.zeros(1, 3, 3), (1, 1, 2, 2)), ShapeError, "affine_grid: theta"),
    (lambda x: F.affine_grid(gl.zeros(1, 2, 3).long(), (1, 1, 2, 2)), DTypeError, "expected floating"),
    (lambda x: gl.grid_sampler(x, gl.zeros(1, 3, 3, 2), 3, 0, False), ValueError, "interpolation_mode is 0, 1 or 2"),
])  # fmt: skip
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call(gl.zeros(1, 2, 6, 6))


# -- windows -----------------------------------------------------------------------------------------------
@settings(max_examples=5, deadline=None)
@given(st.data())
def test_windows_and_their_sum(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    spans = []
    for _ in range(draw(1, 2)):
        k, s, d, p = draw(1, 4), draw(1, 4), draw(1, 2), draw(0, 2)
        n = (k - 1) * d + 1 + draw(0, 6)
        spans.append(Span(n, k, s, d, p, (n + 2 * p - d * (k - 1) - 1) // s + 1))
    axes = tuple(range(1, 1 + len(spans)))
    x = gl.tensor(normal(2, *(s.length for s in spans), 3), requires_grad=True)
    w = windows_of(x, axes, tuple(spans))
    wide = np.pad(x.detach().numpy(), [(0, 0), *((s.low, s.low) for s in spans), (0, 0)])
    y, back = normal(*w.shape, seed=1), np.zeros_like(wide)
    for entry in itertools.product(*(range(s.size) for s in spans)):
        region = (slice(None), *(slice(i * s.dilation, i * s.dilation + (s.number - 1) * s.step + 1, s.step)
                                 for i, s in zip(entry, spans, strict=True)))  # fmt: skip
        np.testing.assert_array_equal(w.detach().numpy()[(..., *entry)], wide[region])
        back[region] += y[(..., *entry)]
    back = back[(slice(None), *(slice(s.low, s.low + s.length) for s in spans))]
    np.testing.assert_allclose(overlap_add(gl.tensor(y), axes, tuple(spans)).numpy(), back, atol=1e-12)
    (w * gl.tensor(y)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), back, atol=1e-12)


def test_windows_are_no_copies():
    x = gl.tensor(np.ones((2, 32, 32, 8), np.float32))
    spans = (Span(32, 5, 1, 1, 0, 28),) * 2
    total = windows_of(x, (1, 2), spans).sum((-1, -2))
    np.testing.assert_array_equal(total.numpy(), np.full((2, 28, 28, 8), 25.0, np.float32))
    assert gl.explain().split().count("nest") == 1  # it adds up the image itself


FOLDS = [(2, 1, 0, 2), (3, 1, 1, 2), ((3, 2), (1, 2), (1, 0), (2, 1)), (2, 2, 1, 1), (3, 1, 1, 1)]


@pytest.mark.parametrize("options", FOLDS)
def test_fold_and_unfold(options):
    x = normal(2, 3, 7, 8)
    a, b = torch.tensor(x, requires_grad=True), gl.tensor(x, requires_grad=True)
    want, got = T.unfold(a, *options), F.unfold(b, *options)
    np.testing.assert_array_equal(got.detach().numpy(), want.detach().numpy())
    want.square().sum().backward(), got.square().sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-12)
    y = normal(*want.shape, seed=1)
    c, d = torch.tensor(y, requires_grad=True), gl.tensor(y, requires_grad=True)
    want, got = T.fold(c, (7, 8), *options), F.fold(d, (7, 8), *options)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-12)
    want.square().sum().backward(), got.square().sum().backward()
    np.testing.assert_allclose(d.grad.numpy(), c.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_fold_and_unfold_second_order_and_vmap():
    for fn, x in ((lambda t: F.unfold(t, 3, 1, 1, 2), normal(3, 1, 2, 5, 5)),
                  (lambda t: F.fold(t, (6, 6), 2, 1, 0, 2), normal(3, 1, 8, 9))):  # fmt: skip
        check_grads(lambda t, fn=fn: fn(t) ** 3, [x[0]], order=2)
        t = gl.tensor(x)
        np.testing.assert_allclose(vmap(fn)(t).numpy(), np.stack([fn(t[k]).numpy() for k in range(3)]))
        slope = grad(lambda u, fn=fn: (fn(u) ** 3).sum())
        np.testing.assert_allclose(vmap(slope)(t).numpy(), np.stack([slope(t[k]).numpy() for k in range(3)]))
