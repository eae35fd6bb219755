"""Convolution against PyTorch and finite differences: every direction, every kernel that one may be lowered to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions import convolution as conv
from gradloom.testing import check_grads

# images, filters, arguments: what each is there for
CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 16, 8, 8), (32, 16, 3, 3), {"padding": 1}),  # correlation
    ((2, 3, 32, 32), (32, 3, 3, 3), {"padding": 1}),  # few channels
    ((2, 16, 9, 9), (48, 16, 3, 3), {"padding": 1, "stride": 2}),  # phases, three registers across
    ((2, 16, 8, 8), (40, 16, 1, 1), {}),  # a product
    ((2, 16, 9, 9), (40, 16, 1, 1), {"stride": 2}),
    ((2, 3, 33, 35), (20, 3, 7, 7), {"padding": 3, "stride": 2}),
    ((2, 16, 12, 12), (16, 1, 3, 3), {"padding": 1, "groups": 16}),  # depthwise
    ((2, 16, 12, 12), (32, 1, 3, 3), {"padding": 1, "groups": 16, "stride": 2}),
    ((2, 16, 12, 12), (32, 4, 3, 3), {"padding": 2, "groups": 4, "dilation": 2}),
    ((2, 16, 40), (32, 16, 5), {"padding": 2, "stride": 3}),
    ((2, 4, 6, 7, 8), (8, 4, 2, 3, 3), {"padding": 1, "stride": 2, "dilation": (1, 2, 1)}),
    ((40, 16, 4, 4), (32, 16, 3, 3), {"padding": 1}),  # short rows: pixels of many images side by side
    ((2, 32, 14, 14), (48, 32, 3, 3), {"padding": 1}),  # Winograd, with a rest
    ((20, 32, 4, 4), (48, 32, 3, 3), {"padding": 1}),
    ((4, 32, 15, 17), (48, 32, 3, 3), {"padding": 2}),
    ((4, 32, 15, 17), (48, 32, 3, 3), {}),
    ((2, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
    ((2, 8, 16, 16), (8, 8, 2, 2), {"stride": 3}),  # pixels that no filter sees
    ((3, 5, 7), (4, 5, 7), {}),  # one place
    ((2, 4, 300), (3, 4, 9), {"padding": 4}),  # long rows
]


@pytest.mark.parametrize("images, filters, kwargs", CASES)
def test_value_and_gradients_as_pytorch(images: tuple, filters: tuple, kwargs: dict) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(images).astype("f4"), rng.standard_normal(filters).astype("f4") * 0.1
    b = rng.standard_normal(filters[0]).astype("f4")
    name = f"conv{len(images) - 2}d"
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    ours = [gl.tensor(a, requires_grad=True) for a in (x, w, b)]
    want = getattr(torch.nn.functional, name)(*theirs, **kwargs)
    got = getattr(F, name)(*ours, **kwargs)
    ct = rng.standard_normal(tuple(want.shape)).astype("f4")
    want.backward(torch.tensor(ct))
    got.backward(gl.tensor(ct))
    for a, r in [(got, want), *((o.grad, t.grad) for o, t in zip(ours, theirs, strict=True))]:
        r = r.detach().numpy()
        np.testing.assert_allclose(a.detach().numpy(), r, rtol=1e-4, atol=3e-5 * max(1.0, float(np.abs(r).max())))


TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 8, 5, 6), (8, 4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 8, 5, 6), (8, 4, 3, 3), {}),
    ((2, 8, 5), (8, 2, 4), {"stride": 3, "groups": 4, "dilation": 2}),
    ((2, 32, 9, 9), (32, 32, 3, 3), {"padding": 1}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), {"stride": 2}),
]


@pytest.mark.parametrize("images, filters, kwargs", TRANSPOSED)
def test_transposed_as_pytorch(images: tuple, filters: tuple, kwargs: dict) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(images).astype("f4"), rng.standard_normal(filters).astype("f4") * 0.1
    name = f"conv_transpose{len(images) - 2}d"
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    ours = [gl.tensor(a, requires_grad=True) for a in (x, w)]
    want = getattr(torch.nn.functional, name)(*theirs, **kwargs)
    got = getattr(F, name)(*ours, **kwargs)
    want.square().sum().backward()
    got.square().sum().backward()
    for a, r in [(got, want), *((o.grad, t.grad) for o, t in zip(ours, theirs, strict=True))]:
        r = r.detach().numpy()
        np.testing.assert_allclose(a.detach().numpy(), r, rtol=1e-4, atol=3e-5 * max(1.0, float(np.abs(r).max())))


GRADIENTS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 2, 4, 4), (3, 2, 3, 3), {"padding": 1}),
    ((1, 4, 5, 4), (4, 2, 2, 3), {"stride": 2, "groups": 2}),
    ((1, 3, 5, 5), (6, 1, 3, 3), {"stride": 2, "padding": 1, "groups": 3}),
    ((2, 2, 7), (3, 2, 3), {"dilation": 2, "padding": 1}),
]


@pytest.mark.parametrize("images, filters, kwargs", GRADIENTS)
def test_first_and_second_order(images: tuple, filters: tuple, kwargs: dict) -> None:
    rng = np.random.default_rng(2)
    fn = getattr(F, f"conv{len(images) - 2}d")
    x, w = gl.tensor(rng.standard_normal(images)), gl.tensor(rng.standard_normal(filters))
    check_grads(lambda a, b: fn(a, b, **kwargs).sin(), (x.numpy(), w.numpy()), order=2)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_geometry_as_pytorch(data: st.DataObject) -> None:
    draw = data.draw
    nd = draw(st.integers(1, 3))
    groups, part, each = (draw(st.integers(1, 3)) for _ in range(3))
    sizes = st.lists(st.integers(1, 7), min_size=nd, max_size=nd)
    size, kernel = draw(sizes), [min(k, 4) for k in draw(sizes)]
    steps = st.lists(st.integers(1, 3), min_size=nd, max_size=nd)
    stride, dilation = draw(steps), draw(steps)
    padding = draw(st.lists(st.integers(0, 3), min_size=nd, max_size=nd))
    if any(n + 2 * p < d * (k - 1) + 1 for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)):
        return
    rng = np.random.default_rng(3)
    x = rng.standard_normal((draw(st.integers(1, 3)), groups * part, *size)).astype("f4")
    w = rng.standard_normal((groups * each, part, *kernel)).astype("f4")
    kwargs = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation), "groups": groups}
    name = f"conv{nd}d"
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    ours = [gl.tensor(a, requires_grad=True) for a in (x, w)]
    want, got = getattr(torch.nn.functional, name)(*theirs, **kwargs), getattr(F, name)(*ours, **kwargs)
    want.square().sum().backward()
    got.square().sum().backward()
    for a, r in [(got, want), *((o.grad, t.grad) for o, t in zip(ours, theirs, strict=True))]:
        np.testing.assert_allclose(a.detach().numpy(), r.detach().numpy(), rtol=1e-3, atol=1e-3)


def test_vmap_over_images_filters_and_both() -> None:
    rng = np.random.default_rng(4)
    xs, ws = rng.standard_normal((3, 2, 4, 6, 6)).astype("f4"), rng.standard_normal((3, 6, 2, 3, 3)).astype("f4")
    one = lambda x, w: F.conv2d(x, w, padding=1, groups=2)  # noqa: E731
    x, w = gl.tensor(xs), gl.tensor(ws)
    for dims in ((0, 0), (0, None), (None, 0)):
        got = gl.func.vmap(one, dims)(x if dims[0] == 0 else x[0], w if dims[1] == 0 else w[0])
        for k in range(3):
            want = one(x[k if dims[0] == 0 else 0], w[k if dims[1] == 0 else 0])
            np.testing.assert_allclose(got[k].numpy(), want.numpy(), rtol=1e-4, atol=1e-4)


def test_per_sample_gradients() -> None:
    rng = np.random.default_rng(5)
    x, w = gl.tensor(rng.standard_normal((5, 3, 6, 6))), gl.tensor(rng.standard_normal((4, 3, 3, 3)))
    loss = lambda w, x: F.conv2d(x[None], w, padding=1).square().sum()  # noqa: E731
    each = gl.func.vmap(gl.func.grad(loss), (None, 0))(w, x)
    for k in range(5):
        np.testing.assert_allclose(each[k].numpy(), gl.func.grad(loss)(w, x[k]).numpy(), rtol=1e-9)


def test_same_bits_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(6)
    x, w = (gl.tensor(rng.standard_normal(s).astype("f4")) for s in ((4, 32, 20, 20), (64, 32, 3, 3)))
    before = gl.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            gl.set_num_threads(n)
            results.append(F.conv2d(x, w, padding=1).numpy().tobytes())
    finally:
        gl.set_num_threads(before)
    assert len(set(results)) == 1


def test_channels_last_with_uneven_padding() -> None:
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal((2, 5, 6, 3)).astype("f4"), rng.standard_normal((2, 3, 3, 4)).astype("f4")
    got = conv.convolve(gl.tensor(x), gl.tensor(w), 1, ((1, 0), (2, -1)))
    wide = np.pad(x, ((0, 0), (1, 0), (2, 0), (0, 0)))[:, :, :-1]
    want = torch.nn.functional.conv2d(torch.tensor(wide).permute(0, 3, 1, 2), torch.tensor(w).permute(3, 2, 0, 1))
    np.testing.assert_allclose(got.numpy(), want.permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-5)


def test_half_precision_sums_in_float32() -> None:
    rng = np.random.default_rng(8)
    x, w = rng.standard_normal((2, 64, 6, 6)).astype("f4"), rng.standard_normal((8, 64, 3, 3)).astype("f4")
    for dtype in (gl.bfloat16, gl.float16):
        a, b = gl.tensor(x).to(dtype), gl.tensor(w).to(dtype)
        got = F.conv2d(a, b, padding=1)
        want = F.conv2d(a.float(), b.float(), padding=1).to(dtype)
        assert got.dtype is dtype
        np.testing.assert_allclose(got.float().numpy(), want.float().numpy(), rtol=1e-2, atol=1e-2)


X, W = (2, 6, 8, 8), (4, 6, 3, 3)
REFUSED: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    (X, (4, 5, 3, 3), {}, ShapeError, r"conv2d: images with 6 channels for filters over 5 channels and groups=1"),
    (X, W, {"groups": 4}, ShapeError, r"conv2d: images with 6 channels for filters over 6 channels and groups=4"),
    (X, W, {"groups": 3}, ShapeError, r"conv2d: 4 filters do not fall into groups=3"),
    ((8, 8), W, {}, ShapeError, r"conv2d: expects images \(N, C, H, W\) or \(C, H, W\), got shape \(8, 8\)"),
    ((2, 6, 2, 8), W, {}, ShapeError, r"spatial axis 0 of the images has size 2, 2 with padding, .* span 3"),
    (X, W, {"dilation": 5}, ShapeError, r"span 11 \(size 3, dilation 5\): no place fits"),
    (X, W, {"stride": 0}, ShapeError, r"conv2d: stride=0: expects one number or 2, each at least 1"),
    (X, W, {"padding": "same", "stride": 2}, ShapeError, r"padding='same' with stride \(2, 2\)"),
    (X, W, {"padding": "wide"}, ShapeError, r"padding='wide': 'same', 'valid' or numbers"),
    (X, (4, 6, 3), {}, ShapeError, r"expects filters of 4 axes"),
]


@pytest.mark.parametrize("x, w, kwargs, error, text", REFUSED)
def test_refused(x: tuple, w: tuple, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        F.conv2d(gl.zeros(x), gl.zeros(w), **kwargs)


def test_integer_images_are_refused() -> None:
    with pytest.raises(DTypeError, match=r"the images are uint8, the filters float32(?s:.)*float\(\)"):
        F.conv2d(gl.zeros(X, dtype=gl.uint8), gl.zeros(W))
    with pytest.raises(ShapeError, match=r"the bias has shape \(3,\) for 4 output channels"):
        F.conv2d(gl.zeros(X), gl.zeros(W), gl.zeros(3))
    with pytest.raises(ShapeError, match=r"output_padding \(2, 2\) with stride \(2, 2\)"):
        F.conv_transpose2d(gl.zeros(X), gl.zeros(6, 4, 3, 3), stride=2, output_padding=2)
