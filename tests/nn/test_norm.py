"""Normalisation where a table of layers does not reach: large means, running statistics, empty and odd inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import nn
from gradloom.errors import ShapeError


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 8, 8)])
def test_batch_norm_keeps_its_digits_far_from_zero(offset: float, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) + offset * np.arange(1, 4).reshape(1, 3, *[1] * (len(shape) - 2))).astype(np.float32)
    axes = (0, *range(2, len(shape)))
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    mean, var = gl.zeros(3), gl.ones(3)
    got = F.batch_norm(gl.tensor(x), mean, var, training=True, momentum=1.0).numpy()
    np.testing.assert_allclose(got, expected, atol=2e-6)
    np.testing.assert_allclose(mean.numpy(), wide.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(var.numpy(), wide.var(axes, ddof=1), rtol=1e-5)


def test_an_outlier_in_the_first_image_does_not_spoil_the_variance() -> None:
    x = np.random.default_rng(0).normal(size=(8, 2, 16, 16)).astype(np.float32)
    x[0, :, 8, 8] = 300.0
    wide = x.astype(np.float64)
    var = gl.ones(2)
    F.batch_norm(gl.tensor(x), gl.zeros(2), var, training=True, momentum=1.0)
    np.testing.assert_allclose(var.numpy(), wide.var((0, 2, 3), ddof=1), rtol=1e-5)


def test_equal_values_and_nan_stay_in_their_channel() -> None:
    x = np.ones((4, 3, 2), np.float32) * np.array([7.3, 1.0, 2.0], np.float32).reshape(1, 3, 1)
    x[1, 1, 0] = np.nan
    x[:, 2] += np.arange(8, dtype=np.float32).reshape(4, 2)
    t = gl.tensor(x, requires_grad=True)
    y = F.batch_norm(t, None, None, training=True)
    got = y.detach().numpy()
    assert (got[:, 0] == 0).all() and np.isnan(got[:, 1]).all() and np.isfinite(got[:, 2]).all()
    (y * gl.tensor(np.cos(np.arange(24, dtype=np.float32)).reshape(4, 3, 2))).sum().backward()
    assert np.isfinite(t.grad.numpy()[:, [0, 2]]).all()


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_running_statistics_over_several_batches(momentum: float | None) -> None:
    ours, theirs = nn.BatchNorm2d(3, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum)
    rng = np.random.default_rng(0)
    for _ in range(4):
        x = rng.normal(2, 3, (4, 3, 5, 5)).astype(np.float32)
        ours(gl.tensor(x))
        theirs(torch.tensor(x))
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), rtol=1e-5, err_msg=name)
    held = ours.running_mean
    x = rng.normal(2, 3, (4, 3, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(
        ours.eval()(gl.tensor(x)).detach().numpy(),
        theirs.eval()(torch.tensor(x)).detach().numpy(),
        rtol=1e-4,
        atol=1e-5,
    )
    ours.reset_running_stats()
    assert held is ours.running_mean and (held.numpy() == 0).all() and int(ours.num_batches_tracked) == 0


def test_half_images_with_single_weights() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32)
    for kind, theirs in ((gl.bfloat16, torch.bfloat16), (gl.float16, torch.float16)):
        a, b = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
        y, z = a(gl.tensor(x).to(kind)), b(torch.tensor(x).to(theirs))
        assert y.dtype is kind and a.running_mean.dtype is gl.float32
        np.testing.assert_allclose(y.detach().float().numpy(), z.detach().float().numpy(), rtol=0.02, atol=0.02)
        np.testing.assert_allclose(a.running_var.numpy(), b.running_var.numpy(), rtol=1e-3)


def test_files_before_version_two_lack_the_count() -> None:
    layer = nn.BatchNorm2d(3)
    state = {k: v for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    assert layer.load_state_dict(state) == ([], [])


def test_empty_batches() -> None:
    assert nn.BatchNorm2d(3)(gl.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert nn.GroupNorm(1, 3)(gl.zeros(0, 3, 4)).shape == (0, 3, 4)
    assert nn.LayerNorm(4)(gl.zeros(0, 4)).shape == (0, 4)
    assert nn.LocalResponseNorm(2)(gl.zeros(2, 0, 4)).shape == (2, 0, 4)
    layer = nn.GroupNorm(2, 4)
    layer(gl.zeros(0, 4, 3)).sum().backward()
    assert layer.weight.grad.tolist() == [0.0] * 4 == layer.bias.grad.tolist()
    with pytest.raises(ShapeError, match="3 channels"):
        nn.BatchNorm2d(4)(gl.zeros(0, 3, 4, 4))


def test_sync_batch_norm_and_its_conversion() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(2, affine=False)))
    before = model.state_dict()
    out = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert [type(m).__name__ for m in out.modules() if "Norm" in type(m).__name__] == ["SyncBatchNorm"] * 2
    assert list(out.state_dict()) == list(before) and out[1].weight is model[1].weight
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        nn.SyncBatchNorm(4)(gl.tensor(x)).detach().numpy(), nn.BatchNorm1d(4)(gl.tensor(x)).detach().numpy()
    )


@pytest.mark.parametrize("size", [1, 3, 5])
def test_cross_map_normalisation_is_the_symmetric_local_one(size: int) -> None:
    x = gl.randn(2, 6, 3, 3)
    got = nn.CrossMapLRN2d(size, 0.2, 0.6, 1.5)(x).numpy()
    np.testing.assert_allclose(got, nn.LocalResponseNorm(size, 0.2, 0.6, 1.5)(x).numpy(), rtol=1e-5)
    with pytest.raises(ShapeError, match="4D"):
        nn.CrossMapLRN2d(size)(gl.zeros(2, 3))


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.lists(st.integers(1, 4), min_size=0, max_size=3), st.booleans())
def test_group_and_instance_norm_of_any_shape(n: int, groups: int, space: list[int], affine: bool) -> None:
    x = np.random.default_rng(n).normal(size=(n, 2 * groups, *space)).astype(np.float32)
    w = b = None
    if affine:
        w, b = (np.random.default_rng(k).normal(size=2 * groups).astype(np.float32) for k in (1, 2))
    t, g = (lambda v: None if v is None else torch.tensor(v)), (lambda v: None if v is None else gl.tensor(v))
    np.testing.assert_allclose(
        F.group_norm(g(x), groups, g(w), g(b)).numpy(),
        torch.nn.functional.group_norm(t(x), groups, t(w), t(b)).numpy(), rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_vmap_over_stacked_layers() -> None:
    w = gl.randn(3, 4)
    x = gl.randn(3, 2, 5, 4)
    got = gl.vmap(lambda v, s: F.layer_norm(v, (4,), s))(x, w).numpy()
    for k in range(3):
        np.testing.assert_allclose(got[k], F.layer_norm(x[k], (4,), w[k]).numpy(), rtol=1e-5, atol=1e-6)
    images = gl.randn(3, 4, 2, 5)
    got = gl.vmap(lambda v: F.batch_norm(v, None, None, training=True))(images).numpy()
    for k in range(3):
        one = F.batch_norm(images[k], None, None, training=True).numpy()
        np.testing.assert_allclose(got[k], one, rtol=1e-4, atol=1e-5)
