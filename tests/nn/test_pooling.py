"""Pooling and unpooling against PyTorch: values, positions, gradients of both orders, batches, refusals."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as T
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.nn as nn
import gradloom.nn.functional as F
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.func import grad, vmap
from gradloom.testing import check_grads


def pair(name, x, *args, **kwargs):
    """Results of PyTorch and ours for one input, and gradients of a weighted sum."""
    ours = {k: gl.tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    floating = x.dtype.kind == "f"
    a, b = torch.tensor(x), gl.tensor(x)
    if floating:
        a.requires_grad_(), b.requires_grad_()
    want, got = getattr(T, name)(a, *args, **theirs), getattr(F, name)(b, *args, **ours)
    want, got = (list(r) if isinstance(r, tuple) else [r] for r in (want, got))
    if floating:
        w = np.random.default_rng(1).standard_normal(tuple(want[0].shape))
        (want[0] * torch.tensor(w)).sum().backward()
        (got[0] * gl.tensor(w)).sum().backward()
        want.append(a.grad), got.append(b.grad)
    return [r.detach().numpy() for r in want], [r.detach().numpy() for r in got]


def same(name, x, *args, **kwargs):
    want, got = pair(name, x, *args, **kwargs)
    assert len(want) == len(got)
    for w, g in zip(want, got, strict=True):
        assert w.shape == g.shape
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# kernel, stride, padding, dilation, ceil_mode: tiles, overlaps, gaps, long windows, windows beyond the input
WINDOWS = [
    (2, 2, 0, 1, False), (3, 2, 1, 1, False), (3, 1, 1, 1, False), (2, 3, 1, 1, True), (3, 2, 1, 2, True),
    (4, 5, 2, 1, True), (1, 1, 0, 1, False), (7, 3, 3, 1, False), (2, 2, 0, 3, False),
]  # fmt: skip


CASES = [(2, w) for w in WINDOWS] + [(n, w) for n in (1, 3) for w in WINDOWS[:2]]


@pytest.mark.parametrize(("n", "window"), CASES)
def test_max_pool(n, window):
    x = normal(2, 3, *(9, 7, 8)[:n])
    if (window[0] - 1) * window[3] < 7 + 2 * window[2]:
        same(f"max_pool{n}d", x, *window[:4], window[4], return_indices=True)
        same(f"max_pool{n}d", (x * 3).astype(np.int64), *window[:4], window[4], return_indices=True)
        same(f"max_pool{n}d", x[0], *window[:4], window[4])


@pytest.mark.parametrize("kernel", [200, 255, 256, 257])
@pytest.mark.parametrize("stride", [7, 90, 300])
def test_long_windows(kernel, stride):
    """Places around the 256 that a byte can tell apart."""
    same("max_pool1d", normal(2, 620), kernel, stride, min(kernel // 2, 60))


@pytest.mark.parametrize(("n", "window"), [c for c in CASES if c[1][3] == 1])
def test_avg_and_lp_pool(n, window):
    k, s, p, _, ceil = window
    padded = k != 3
    x = normal(2, 3, *(9, 7, 8)[:n])
    same(f"avg_pool{n}d", x, k, s, p, ceil, padded)
    if n > 1:
        same(f"avg_pool{n}d", x, k, s, p, ceil, padded, 3)
        same(f"avg_pool{n}d", (x * 9).astype(np.int64), k, s, p, ceil, padded)
    same(f"lp_pool{n}d", x, 2, k, s, ceil)


@settings(max_examples=4, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(st.data())
def test_any_window(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    n = draw(1, 2)
    k = tuple(draw(1, 20) for _ in range(n))
    s, p = tuple(draw(1, 6) for _ in k), tuple(draw(0, m // 2) for m in k)
    shape = tuple(draw(m, m + 12) for m in k)
    x = normal(1, 2, *shape)
    same(f"max_pool{n}d", x, k, s, p, 1, bool(draw(0, 1)), return_indices=True)
    same(f"avg_pool{n}d", x, k, s, p, bool(draw(0, 1)), bool(draw(0, 1)))


@pytest.mark.parametrize(("n", "size"), [
    (1, 3), (1, 1), (1, 7), (2, 1), (2, (3, 2)), (2, (None, 4)), (2, (12, 3)), (3, (2, 3, 4)), (3, (5, 1, 1)),
])  # fmt: skip
def test_adaptive(n, size):
    x = normal(2, 3, *(10, 6, 7)[:n])
    for y in (x, x[0]):
        same(f"adaptive_avg_pool{n}d", y, size)
        same(f"adaptive_max_pool{n}d", y, size, return_indices=n > 1 or None not in np.atleast_1d(size))


@pytest.mark.parametrize("n", [2, 3])
def test_fractional_of_an_empty_batch(n):
    shape, ratio = (0, 3, *[8] * n), (0.5,) * n
    got = getattr(F, f"fractional_max_pool{n}d")(gl.zeros(*shape), 3, output_ratio=ratio)
    want = getattr(torch.nn.functional, f"fractional_max_pool{n}d")(torch.zeros(*shape), 3, output_ratio=ratio)
    assert tuple(got.shape) == tuple(want.shape) == (0, 3, *[4] * n)


@pytest.mark.parametrize(("shape", "kernel", "options"), [
    ((2, 3, 9, 8), 2, {"output_size": (4, 3)}), ((2, 3, 9, 8), (3, 2), {"output_ratio": (0.6, 0.5)}),
    ((3, 9, 8), 2, {"output_size": 1}), ((2, 2, 7, 6, 8), (2, 1, 3), {"output_size": (3, 4, 2)}),
])  # fmt: skip
def test_fractional(shape, kernel, options):
    n = 3 if len(shape) == 5 else 2
    samples = np.random.default_rng(3).random((*((1,) if len(shape) == 3 else shape[:1]), shape[-n - 1], n))
    same(f"fractional_max_pool{n}d", normal(*shape), kernel, **options, return_indices=True, _random_samples=samples)
    drawn = getattr(F, f"fractional_max_pool{n}d")(gl.tensor(normal(*shape)), kernel, **options)
    assert drawn.shape[:-n] == shape[:-n]


@pytest.mark.parametrize(("n", "kernel", "stride", "padding", "size"), [
    (1, 2, 2, 0, None), (2, 2, 2, 0, None), (2, 3, 2, 1, None), (2, 2, 2, 0, (2, 3, 9, 8)), (3, 2, 2, 0, None),
    (2, 3, 2, 1, (9, 7)),
])  # fmt: skip
def test_unpool(n, kernel, stride, padding, size):
    x = normal(2, 3, *(9, 8, 6)[:n])
    values, at = (t.numpy() for t in getattr(T, f"max_pool{n}d")(torch.tensor(x), kernel, stride, padding,
                                                                 return_indices=True))  # fmt: skip
    a, b = torch.tensor(values, requires_grad=True), gl.tensor(values, requires_grad=True)
    try:
        want = getattr(T, f"max_unpool{n}d")(a, torch.tensor(at), kernel, stride, padding, size)
    except RuntimeError:  # a position beyond the usual size
        with pytest.raises(IndexRangeError, match="index"):
            getattr(F, f"max_unpool{n}d")(b, gl.tensor(at), kernel, stride, padding, size).numpy()
        return
    got = getattr(F, f"max_unpool{n}d")(b, gl.tensor(at), kernel, stride, padding, size)
    np.testing.assert_array_equal(got.detach().numpy(), want.detach().numpy())
    want.square().sum().backward(), got.square().sum().backward()
    np.testing.assert_array_equal(b.grad.numpy(), a.grad.numpy())


def test_tiles_of_one_row():
    same("max_pool2d", normal(1, 2, 4, 3), (2, 1), (2, 1), return_indices=True)
    same("max_pool2d", normal(1, 2, 5, 4), (1, 2), (3, 2), return_indices=True)


def test_nan_infinity_and_ties():
    x = normal(1, 3, 9, 9)
    x[0, 0, 3, 4] = x[0, 0, 4, 4] = np.nan
    x[0, 1], x[0, 2] = -np.inf, 1.0
    for name, args in (("max_pool2d", (3, 2, 1)), ("max_pool2d", (2,)), ("adaptive_max_pool2d", (4,))):
        a, b = getattr(T, name)(torch.tensor(x), *args, return_indices=True), getattr(F, name)(
            gl.tensor(x), *args, return_indices=True)  # fmt: skip
        for w, g in zip(a, b, strict=True):
            np.testing.assert_array_equal(g.numpy(), w.numpy())
    same("max_pool2d", np.ones((1, 1, 8, 8)), 3, 2, 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype):
    a = torch.tensor(normal(1, 2, 9, 9)).to(getattr(torch, dtype))
    b = gl.tensor(a.float().numpy()).to(getattr(gl, dtype))
    for name, args in (("max_pool2d", (3, 2, 1)), ("avg_pool2d", (3, 2, 1)), ("adaptive_avg_pool2d", (4,))):
        want, got = getattr(T, name)(a, *args), getattr(F, name)(b, *args)
        assert got.dtype is b.dtype
        np.testing.assert_allclose(got.float().numpy(), want.float().numpy(), rtol=1e-5)


FUNCTIONS = {
    "tiles": lambda x: F.max_pool2d(x, 2), "overlapping": lambda x: F.max_pool2d(x, 3, 2, 1),
    "means": lambda x: F.avg_pool2d(x, 3, 2, 1), "adaptive": lambda x: F.adaptive_max_pool2d(x, 3),
    "adaptive means": lambda x: F.adaptive_avg_pool2d(x, (3, 1)), "norms": lambda x: F.lp_pool2d(x, 2, 2),
    "long": lambda x: F.max_pool2d(x, (7, 2), 1, (3, 0)),
}  # fmt: skip


@pytest.mark.parametrize("fn", FUNCTIONS.values(), ids=FUNCTIONS)
def test_second_order_and_vmap(fn):
    x = normal(3, 1, 2, 7, 6)
    check_grads(lambda t: fn(t) ** 3, [x[0]], order=2)
    t = gl.tensor(x)
    np.testing.assert_allclose(vmap(fn)(t).numpy(), np.stack([fn(t[k]).numpy() for k in range(3)]))
    slope = grad(lambda u: (fn(u) ** 3).sum())
    np.testing.assert_allclose(vmap(slope)(t).numpy(), np.stack([slope(t[k]).numpy() for k in range(3)]))


def test_empty_batch():
    x = gl.zeros(0, 2, 6, 6)
    assert F.max_pool2d(x, 2).shape == F.avg_pool2d(x, 2).shape == F.adaptive_avg_pool2d(x, 3).shape == (0, 2, 3, 3)
    assert F.adaptive_max_pool2d(gl.zeros(1, 2, 6, 6), (0, 3)).shape == (1, 2, 0, 3)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda x: F.max_pool2d(x[0, 0], 2), ShapeError, r"max_pool2d: expects \(N, C, H, W\) or \(C, H, W\), got"),
    (lambda x: F.max_pool2d(x, 9), ShapeError, "a kernel of 9 does not fit an axis of 6 padded by 0"),
    (lambda x: F.avg_pool2d(x, 3, 1, 2), ShapeError, r"padding 2 is more than half of the kernel \(3\)"),
    (lambda x: F.max_pool2d(x, (2, 2, 2)), ShapeError, r"kernel_size \(2, 2, 2\), expected one number or 2"),
    (lambda x: F.max_pool2d(x, 2, 0), ShapeError, "stride 0"),
    (lambda x: F.max_pool2d(x[..., :0], 2), ShapeError, "has an empty axis"),
    (lambda x: F.max_pool2d(x > 0, 2), DTypeError, "bool is not supported"),
    (lambda x: F.avg_pool2d(x, 2, divisor_override=0), ValueError, "divisor_override must not be 0"),
    (lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)), ShapeError, "expected one number or 2"),
    (lambda x: F.adaptive_avg_pool2d(x, -1), ShapeError, "is negative"),
    (lambda x: F.lp_pool2d(x, 0, 2), ValueError, "norm_type must not be 0"),
    (lambda x: F.fractional_max_pool2d(x, 2), ValueError, "give output_size or output_ratio"),
    (lambda x: F.fractional_max_pool2d(x, 2, output_ratio=1.5), ValueError, "between 0 and 1"),
    (lambda x: F.fractional_max_pool2d(x, 3, 5), ShapeError, "5 windows of 3 do not fit 6 positions"),
    (lambda x: F.max_unpool2d(x, x, 2), DTypeError, "indices of dtype float32, expected int64"),
    (lambda x: F.max_unpool2d(x, x.long()[:, :1], 2), ShapeError, "have one shape"),
    (lambda x: F.max_unpool2d(x, x.long(), 2, output_size=(30, 30)), ValueError, "within the stride"),
    (lambda x: F.max_unpool2d(x, x.long() + 500, 2).numpy(), IndexRangeError, "expected 0 <= index < 144"),
])  # fmt: skip
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call(gl.zeros(1, 2, 6, 6))


LAYERS = [
    ("MaxPool", (3, 2, 1), {}), ("MaxPool", (2,), {"ceil_mode": True, "dilation": 2}), ("AvgPool", (2,), {}),
    ("AvgPool", (3, 2, 1), {"count_include_pad": False}), ("LPPool", (2, 3), {"stride": 2}),
    ("AdaptiveAvgPool", (3,), {}), ("AdaptiveMaxPool", (2,), {}),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "n"), list(itertools.product(LAYERS, (1, 2, 3))))
def test_layers(layer, n):
    name, args, kwargs = layer
    ours, theirs = (getattr(m, f"{name}{n}d")(*args, **kwargs) for m in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    x = normal(1, 2, *(9, 8, 7)[:n])
    np.testing.assert_allclose(ours(gl.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), rtol=1e-12)


def test_layers_with_positions():
    x = gl.tensor(normal(1, 2, 8, 8))
    values, at = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(values, at)
    np.testing.assert_array_equal(back.numpy(), np.where(back.numpy() != 0, x.numpy(), 0))
    assert nn.FractionalMaxPool2d(2, output_ratio=0.5)(x).shape == (1, 2, 4, 4)
    values, at = nn.FractionalMaxPool3d(2, output_size=3, return_indices=True)(gl.tensor(normal(1, 2, 6, 6, 6)))
    assert values.shape == at.shape == (1, 2, 3, 3, 3)
    with pytest.raises(ValueError, match="one of them"):
        nn.FractionalMaxPool2d(2)
