"""Operators of detection beside torchvision's, as recorded; gradients by finite differences; refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.errors import DTypeError, GradloomError, ShapeError
from gradloom.testing import check_grads
from gradloom.vision import ops

sys.path.insert(0, str(Path(__file__).parent))
from facts import recorded
from operator_cases import CASES, wave


@pytest.mark.parametrize("name", CASES)
def test_as_torchvision(name: str) -> None:
    call, arrays, _ = CASES[name]
    got, want = call(ops, *map(gl.tensor, arrays)), np.array(recorded()["operators"][name])
    assert tuple(got.shape) == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n, (_, _, k) in CASES.items() if k])
def test_gradients(name: str) -> None:
    """Of products with waves, and again their products with waves, so that little is recorded."""
    call, arrays, k = CASES[name]
    given = [gl.tensor(a, requires_grad=n < k) for n, a in enumerate(arrays)]
    out = call(ops, *given)
    (out * gl.tensor(wave(tuple(out.shape)))).sum().backward()
    if name.startswith(("roi", "ps_roi")):  # linear in the map (or choosing from it): a gradient is the transpose
        assert (given[0].grad * given[0]).sum().item() == pytest.approx((out * wave(tuple(out.shape))).sum().item())
    if name != "ps_roi_pool":  # torchvision's gradient is not the transpose of its forward there
        found = [(x.grad.numpy() * wave(tuple(x.shape))).sum() for x in given[:k]]
        np.testing.assert_allclose(found, recorded()["gradients of operators"][name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("g", "groups"), [(1, 1), (2, 2)])
def test_second_derivatives_of_deformable_convolution(g: int, groups: int) -> None:
    rng = np.random.default_rng(g)
    x, w = rng.standard_normal((1, 2, 3, 3)), rng.standard_normal((2, 2 // groups, 1, 2))
    offset = rng.uniform(0.1, 0.9, (1, 4 * g, 3, 2))
    check_grads(lambda a, o, f: ops.deform_conv2d(a, o, f).sin(), [x, offset, w], order=2)


def test_lists_of_boxes_and_layers() -> None:
    x = gl.tensor(np.random.default_rng(0).standard_normal((2, 4, 6, 6)))
    lists = [gl.tensor([[0.0, 1, 4, 5]]), gl.tensor([[1.0, 1, 3, 3], [0, 0, 5, 5]])]
    rows = gl.tensor([[0.0, 0, 1, 4, 5], [1, 1, 1, 3, 3], [1, 0, 0, 5, 5]])
    for layer, function, more in (
        (ops.RoIAlign(2, 1.0, 2, aligned=True), ops.roi_align, {"sampling_ratio": 2, "aligned": True}),
        (ops.RoIPool(2, 1.0), ops.roi_pool, {}),
        (ops.PSRoIAlign(2, 1.0, 2), ops.ps_roi_align, {"sampling_ratio": 2}),
        (ops.PSRoIPool(2, 1.0), ops.ps_roi_pool, {}),
    ):
        np.testing.assert_array_equal(layer(x, lists).numpy(), function(x, rows, 2, 1.0, **more).numpy())
        assert "spatial_scale=1.0" in repr(layer)


def test_no_boxes() -> None:
    x, none = gl.zeros(1, 4, 5, 5), gl.zeros(0, 5)
    for function in (ops.roi_align, ops.roi_pool):
        assert function(x, none, 2).shape == (0, 4, 2, 2)
    for function in (ops.ps_roi_align, ops.ps_roi_pool):
        assert function(x, none, 2).shape == (0, 1, 2, 2)
    assert ops.nms(gl.zeros(0, 4), gl.zeros(0), 0.5).shape == (0,)
    assert ops.batched_nms(gl.zeros(0, 4), gl.zeros(0), gl.zeros(0), 0.5).shape == (0,)
    assert ops.box_iou(gl.zeros(0, 4), gl.zeros(3, 4)).shape == (0, 3)
    assert ops.masks_to_boxes(gl.zeros(0, 4, 4)).shape == (0, 4)


def test_no_offset_is_a_convolution() -> None:
    rng = np.random.default_rng(3)
    x, w = gl.tensor(rng.standard_normal((2, 4, 6, 7))), gl.tensor(rng.standard_normal((6, 2, 3, 3)))
    got = ops.deform_conv2d(x, gl.zeros(2, 18, 6, 7, dtype=gl.float64), w, padding=1)
    np.testing.assert_allclose(got.numpy(), nn.functional.conv2d(x, w, padding=1, groups=2).numpy(), atol=1e-12)
    layer = ops.DeformConv2d(4, 6, 3, padding=1, groups=2)
    assert layer(gl.zeros(1, 4, 5, 5), gl.zeros(1, 18, 5, 5)).shape == (1, 6, 5, 5)


# -- what is drawn ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["batch", "row"])
def test_stochastic_depth(mode: str) -> None:
    gl.manual_seed(0)
    x = gl.ones(400, 3, 2)
    assert ops.stochastic_depth(x, 0.3, mode, training=False) is x
    got = ops.stochastic_depth(x, 0.25, mode).numpy().reshape(400, 6)
    assert set(np.unique(got)) <= {0.0, np.float32(1 / 0.75)} and (got == got[:, :1]).all()
    if mode == "row":
        assert 0.68 < (got[:, 0] > 0).mean() < 0.82
    assert not ops.stochastic_depth(x, 1.0, mode).numpy().any()
    layer = ops.StochasticDepth(0.25, mode)
    assert "p=0.25" in repr(layer) and layer.eval()(x) is x


@pytest.mark.parametrize(("size", "layer"), [((9, 11), ops.DropBlock2d), ((5, 6, 7), ops.DropBlock3d)])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_drop_block(size: tuple[int, ...], layer: type[nn.Module], block: int) -> None:
    gl.manual_seed(1)
    drop = layer(0.2, block)
    x = gl.ones(60, 4, *size)
    got = drop(x).numpy()
    assert got.mean() == pytest.approx(1.0, abs=1e-4)  # what is left is rescaled
    assert (got == 0).mean() == pytest.approx(0.2, abs=0.05)
    zeros = got == 0
    axes = range(2, got.ndim)
    runs = zeros
    for axis in axes:  # every zero belongs to a whole block: opening by the block changes nothing
        runs = np.lib.stride_tricks.sliding_window_view(runs, block, axis).all(-1)
    back = np.zeros_like(zeros)
    for at in np.argwhere(runs):
        back[(at[0], at[1], *(slice(k, k + block) for k in at[2:]))] = True
    np.testing.assert_array_equal(zeros, back)
    assert drop.eval()(x) is x


# -- layers ----------------------------------------------------------------------------------------------------
def test_conv_norm_activation() -> None:
    block = ops.Conv2dNormActivation(3, 4, kernel_size=(3, 5), dilation=2, stride=2)
    assert [type(m).__name__ for m in block] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert block[0].padding == (2, 4) and block[0].bias is None and block.out_channels == 4
    plain = ops.Conv3dNormActivation(3, 4, norm_layer=None, activation_layer=None)
    assert len(plain) == 1 and plain[0].bias is not None
    assert plain(gl.zeros(1, 3, 4, 4, 4)).shape == (1, 4, 4, 4, 4)


def test_perceptron_permutation_and_squeeze() -> None:
    mlp = ops.MLP(3, [5, 2], norm_layer=nn.LayerNorm, dropout=0.5)
    assert [type(m).__name__ for m in mlp] == ["Linear", "LayerNorm", "ReLU", "Dropout", "Linear", "Dropout"]
    assert ops.Permute([0, 2, 1])(gl.zeros(2, 3, 4)).shape == (2, 4, 3)
    squeeze = ops.SqueezeExcitation(4, 2)
    x = gl.randn(2, 4, 3, 3)
    want = x.numpy() * squeeze.scale_activation(squeeze.fc2(squeeze.fc1(x.mean((2, 3), keepdim=True)).relu())).numpy()
    np.testing.assert_allclose(squeeze(x).numpy(), want, rtol=1e-5)


def test_frozen_batch_norm() -> None:
    rng = np.random.default_rng(0)
    frozen, norm = ops.FrozenBatchNorm2d(3), nn.BatchNorm2d(3).eval()
    state = {k: gl.tensor(rng.uniform(0.5, 2, 3).astype("float32")) for k in frozen.state_dict()}
    frozen.load_state_dict(state)
    norm.load_state_dict({**state, "num_batches_tracked": gl.tensor(0)})
    x = gl.randn(2, 3, 4, 4)
    np.testing.assert_allclose(frozen(x).numpy(), norm(x).numpy(), rtol=1e-5, atol=1e-5)
    assert not list(frozen.parameters()) and repr(frozen) == "FrozenBatchNorm2d(3, eps=1e-05)"


def test_feature_pyramid_and_regions_of_many_sizes() -> None:
    gl.manual_seed(0)
    pyramid = ops.FeaturePyramidNetwork([4, 8], 6)
    maps = {"a": gl.randn(1, 4, 16, 16), "b": gl.randn(1, 8, 8, 8)}
    levels = pyramid(maps)
    assert [tuple(v.shape) for v in levels.values()] == [(1, 6, 16, 16), (1, 6, 8, 8)]
    coarse = pyramid.inner_blocks[1](maps["b"])
    fine = pyramid.inner_blocks[0](maps["a"]) + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    np.testing.assert_allclose(levels["a"].numpy(), pyramid.layer_blocks[0](fine).numpy(), rtol=1e-5, atol=1e-5)
    regions = ops.MultiScaleRoIAlign(["a", "b"], 2, 2, canonical_scale=16, canonical_level=3)
    rows = [[0.0, 0, 40, 44], [2, 2, 9, 9], [1, 3, 60, 50]]
    got = regions(levels, [gl.tensor(rows)], [(64, 64)])
    for row, out, name, scale in zip(rows, got, "bab", (1 / 8, 1 / 4, 1 / 8), strict=True):
        want = ops.roi_align(levels[name], [gl.tensor([row])], 2, scale, 2)[0]
        np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-6, atol=1e-6)


def test_losses_are_there() -> None:
    a = gl.tensor([[0.0, 0, 2, 2]])
    assert ops.generalized_box_iou_loss(a, a).item() == pytest.approx(0, abs=1e-6)
    assert ops.sigmoid_focal_loss(gl.zeros(2), gl.ones(2)).shape == (2,)


def _deform(x: tuple[int, ...], offset: tuple[int, ...]) -> gl.Tensor:
    return ops.deform_conv2d(gl.zeros(*x), gl.zeros(*offset), gl.zeros(2, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ops.box_area(gl.zeros(3, 5)), ShapeError, "4"),
        (lambda: ops.box_area(gl.zeros(3, 4).bool()), DTypeError, "bool"),
        (lambda: ops.box_convert(gl.zeros(3, 4), "xyxy", "xywhr"), ValueError, "cxcywh"),
        (lambda: ops.nms(gl.zeros(3, 4), gl.zeros(2), 0.5), ShapeError, "one entry for each box"),
        (lambda: ops.nms(gl.zeros(4), gl.zeros(1), 0.5), ShapeError, "(N, 4)"),
        (lambda: ops.masks_to_boxes(gl.zeros(3, 4)), ShapeError, "unsqueeze"),
        (lambda: ops.roi_align(gl.zeros(3, 4, 4), gl.zeros(1, 5), 2), ShapeError, "(N, C, H, W)"),
        (lambda: ops.roi_align(gl.zeros(1, 3, 4, 4), gl.zeros(1, 4), 2), ShapeError, "(K, 5)"),
        (lambda: ops.roi_align(gl.zeros(1, 3, 4, 4), [gl.zeros(1, 5)], 2), ShapeError, "(L, 4)"),
        (lambda: ops.roi_align(gl.zeros(2, 3, 4, 4), [gl.zeros(1, 4)], 2), ShapeError, "2 images"),
        (lambda: ops.roi_pool(gl.zeros(1, 3, 4, 4), gl.ones(1, 5), 2), ShapeError, "number of the image"),
        (lambda: ops.roi_pool(gl.zeros(1, 3, 4, 4).long(), gl.zeros(1, 5), 2), DTypeError, "int64"),
        (lambda: ops.ps_roi_pool(gl.zeros(1, 6, 4, 4), gl.zeros(1, 5), 2), ShapeError, "multiple"),
        (lambda: _deform((1, 2, 4, 4), (1, 17, 2, 2)), ShapeError, "2 * groups * 9"),
        (lambda: _deform((1, 2, 2, 2), (1, 18, 1, 1)), ShapeError, "size"),
        (lambda: ops.deform_conv2d(gl.zeros(2, 4, 4), gl.zeros(1), gl.zeros(2, 2, 3, 3)), ShapeError, "four axes"),
        (lambda: ops.DeformConv2d(3, 4, 3, groups=2), ValueError, "groups"),
        (lambda: ops.stochastic_depth(gl.zeros(2), 1.5, "row"), ValueError, "probability"),
        (lambda: ops.stochastic_depth(gl.zeros(2), 0.5, "column"), ValueError, "'row'"),
        (lambda: ops.drop_block2d(gl.zeros(2, 3, 4), 0.5, 2), ShapeError, "(N, C, H, W)"),
        (lambda: ops.FeaturePyramidNetwork([0], 4), ValueError, "channel"),
        (lambda: ops.FeaturePyramidNetwork([2], 4, extra_blocks=nn.ReLU()), TypeError, "ExtraFPNBlock"),
    ],
)  # fmt: skip
def test_refusals(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert match in str(caught.value)
    assert not isinstance(caught.value, GradloomError) or caught.value.hint or caught.value.code
