"""interpolate in all modes against PyTorch: values, gradients of both orders, batches, refusals; layers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as T

import gradloom as gl
import gradloom.nn as nn
import gradloom.nn.functional as F
from gradloom.errors import DTypeError, ShapeError
from gradloom.func import grad, vmap
from gradloom.testing import check_grads

SHAPES = {1: (2, 3, 7), 2: (2, 3, 5, 8), 3: (1, 2, 4, 3, 5)}
SIZES = {1: (11,), 2: (9, 3), 3: (6, 4, 2)}
MODES = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}
CHOSEN = ["nearest", "nearest-exact", "area"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def same(x, tolerance=1e-10, **options):
    a, b = torch.tensor(x, requires_grad=True), gl.tensor(x, requires_grad=True)
    want, got = T.interpolate(a, **options), F.interpolate(b, **options)
    assert got.shape == tuple(want.shape)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=tolerance, atol=tolerance)
    w = normal(*want.shape, seed=1).astype(x.dtype)
    (want * torch.tensor(w)).sum().backward(), (got * gl.tensor(w)).sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=tolerance, atol=tolerance)


TARGETS = [
    lambda n: {"size": SIZES[n]}, lambda n: {"scale_factor": 2},
    lambda n: {"scale_factor": (1.7, 0.6, 1.3)[:n]},
    lambda n: {"scale_factor": (1.7, 0.6, 1.3)[:n], "recompute_scale_factor": True},
]  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("target", TARGETS)
def test_modes(n, target):
    x = normal(*SHAPES[n])
    for mode in CHOSEN:
        same(x, mode=mode, **target(n))
    for mode in MODES[n]:
        for align in (False, True):
            same(x, mode=mode, align_corners=align, **target(n))
            if n == 2:
                same(x, mode=mode, align_corners=align, antialias=True, **target(n))


def test_single_precision_rounds_as_pytorch():
    for old, new in ((100, 37), (49, 150), (333, 1000)):
        x = normal(1, 1, old).astype(np.float32)
        same(x, 1e-4, mode="nearest", size=new)
        same(x, 1e-4, mode="linear", size=new)


def test_uneven_sizes_of_one():
    same(normal(1, 2, 1, 6), mode="bilinear", size=(4, 1), align_corners=True)
    same(normal(1, 2, 6, 6), mode="bicubic", size=(1, 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    a = torch.tensor(normal(1, 2, 6, 6)).to(getattr(torch, dtype))
    b = gl.tensor(a.float().numpy()).to(getattr(gl, dtype))
    for options in ({"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bicubic"}):
        want, got = T.interpolate(a, scale_factor=2, **options), F.interpolate(b, scale_factor=2, **options)
        assert got.dtype is b.dtype
        np.testing.assert_allclose(got.float().numpy(), want.float().numpy(), rtol=1e-2, atol=1e-2)


def test_integers():
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 6))
    got = F.interpolate(gl.tensor(x), scale_factor=2)
    np.testing.assert_array_equal(got.numpy(), x.repeat(2, 2).repeat(2, 3))
    a = x.astype(np.uint8)
    got, want = (f(t, scale_factor=2, mode="bilinear") for f, t in ((F.interpolate, gl.tensor(a)),
                                                                    (T.interpolate, torch.tensor(a))))  # fmt: skip
    assert got.dtype is gl.uint8
    assert np.abs(got.numpy().astype(int) - want.numpy().astype(int)).max() <= 1


CALLS = {
    "repeated": {"scale_factor": 2}, "nearest": {"size": (3, 7)}, "bilinear": {"size": (7, 9), "mode": "bilinear"},
    "smooth": {"size": (7, 2), "mode": "bicubic", "antialias": True}, "area": {"size": (3, 2), "mode": "area"},
}  # fmt: skip


@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_second_order_and_vmap(options):
    def fn(x):
        return F.interpolate(x, **options)

    x = normal(3, 1, 2, 5, 4)
    check_grads(lambda t: fn(t) ** 3, [x[0]], order=2)
    t = gl.tensor(x)
    np.testing.assert_allclose(vmap(fn)(t).numpy(), np.stack([fn(t[k]).numpy() for k in range(3)]))
    slope = grad(lambda u: (fn(u) ** 3).sum())
    np.testing.assert_allclose(vmap(slope)(t).numpy(), np.stack([slope(t[k]).numpy() for k in range(3)]))


def test_infinity_stays_where_it_is():
    x = np.zeros((1, 1, 6))
    x[..., 0] = np.inf
    assert np.isfinite(F.interpolate(gl.tensor(x), size=12).numpy()[..., 2:]).all()
    same(np.ones((1, 1, 4, 4)), mode="bilinear", size=(2, 3), antialias=True)


@pytest.mark.parametrize(("options", "error", "text"), [
    ({}, ValueError, "give size or scale_factor"),
    ({"size": 4, "scale_factor": 2}, ValueError, "give size or scale_factor"),
    ({"size": (4, 4, 4)}, ValueError, r"size \(4, 4, 4\), expected one number or 2"),
    ({"size": 0}, ShapeError, r"images \(6, 6\) cannot become \(0, 0\)"),
    ({"size": 4, "mode": "linear"}, ShapeError, "mode 'linear' takes 3 axes"),
    ({"size": 4, "mode": "cubic"}, ValueError, "mode 'cubic' is none of"),
    ({"size": 4, "align_corners": True}, ValueError, "align_corners has no meaning for mode 'nearest'"),
    ({"size": 4, "antialias": True}, ValueError, "antialias is for modes"),
    ({"size": 4, "recompute_scale_factor": True}, ValueError, "goes with scale_factor"),
])  # fmt: skip
def test_refusals(options, error, text):
    with pytest.raises(error, match=text):
        F.interpolate(gl.zeros(1, 2, 6, 6), **options)


def test_refuses_sizes_that_are_no_integers():
    for lib, functional in ((gl, F), (torch, T)):
        with pytest.raises(TypeError):
            functional.interpolate(lib.ones(1, 1, 4), size=(4.5,))
        assert functional.interpolate(lib.ones(1, 1, 4), size=(np.int64(6),)).shape[-1] == 6


def test_refuses_integers_and_other_ranks():
    with pytest.raises(DTypeError, match="int64 is not supported in mode 'bilinear'"):
        F.interpolate(gl.zeros(1, 2, 6, 6).long(), size=4, mode="bilinear")
    with pytest.raises(ShapeError, match="takes 3, 4 or 5 axes"):
        F.interpolate(gl.zeros(6, 6), size=4)


def test_older_names_and_layers():
    x = normal(1, 2, 4, 5)
    a, b = torch.tensor(x), gl.tensor(x)
    for name, kwargs in (("upsample_nearest", {}), ("upsample_bilinear", {}), ("upsample", {"mode": "bicubic"})):
        want, got = getattr(T, name)(a, scale_factor=3, **kwargs), getattr(F, name)(b, scale_factor=3, **kwargs)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)
    for name, kwargs in (
        ("Upsample", {"scale_factor": 2}), ("Upsample", {"size": (7, 6), "mode": "bilinear", "align_corners": True}),
        ("UpsamplingNearest2d", {"scale_factor": 2}), ("UpsamplingBilinear2d", {"size": 9}),
    ):  # fmt: skip
        ours, theirs = getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs)
        assert repr(ours) == repr(theirs)
        np.testing.assert_allclose(ours(b).numpy(), theirs(a).numpy(), rtol=1e-12, atol=1e-12)
