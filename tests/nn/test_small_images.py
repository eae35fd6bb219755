"""Images smaller than filters reach: elements that only meet padding, and filters that have one place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def agree(kind: str, images: tuple[int, ...], filters: tuple[int, ...], **options: Any) -> None:
    """Results and both gradients are PyTorch's, in float64."""
    rng = np.random.default_rng(sum(images) + 7 * sum(filters))
    x, w = rng.normal(size=images), rng.normal(size=filters)
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    y = getattr(torch.nn.functional, kind)(*theirs, **options)
    ours = [gl.tensor(a, requires_grad=True) for a in (x, w)]
    got = getattr(gl.nn.functional, kind)(*ours, **options)
    assert tuple(got.shape) == tuple(y.shape)
    d = rng.normal(size=tuple(y.shape))
    expected = torch.autograd.grad((y * torch.tensor(d)).sum(), theirs)
    found = gl.autograd.grad((got * gl.tensor(d)).sum(), ours)
    for a, b in zip([got, *found], [y, *expected], strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("images", "filters", "options"),
    [
        ((4, 6, 1, 1), (8, 6, 3, 3), {"padding": 1}),  # the middle of the filters alone
        ((4, 6, 1, 1), (8, 6, 3, 3), {"padding": 3}),
        ((2, 6, 7, 7), (8, 6, 7, 7), {}),  # filters as large as the images
        ((20, 6, 4, 4), (8, 6, 4, 4), {}),  # more images than filters
        ((2, 6, 9, 9), (8, 6, 4, 4), {"dilation": 2, "stride": 3}),
        ((2, 6, 2, 3), (8, 6, 5, 5), {"padding": 2, "stride": 2}),
        ((2, 6, 8, 8), (8, 3, 3, 3), {"padding": 9, "dilation": 9, "groups": 2}),
        ((3, 4, 1, 1), (4, 1, 3, 3), {"padding": 1, "groups": 4}),
        ((1, 4, 3, 3), (4, 4, 2, 2), {"padding": 5, "stride": 7}),
    ],
)
def test_convolution(images: tuple[int, ...], filters: tuple[int, ...], options: dict[str, Any]) -> None:
    agree("conv2d", images, filters, **options)


@pytest.mark.parametrize(
    ("images", "filters", "options"),
    [
        ((4, 6, 1, 1), (6, 8, 4, 4), {}),  # how a generator begins
        ((40, 6, 1, 1), (6, 8, 4, 4), {}),
        ((4, 6, 1, 1), (6, 8, 4, 4), {"stride": 2, "padding": 1}),
        ((4, 6, 1, 1), (6, 8, 7, 7), {"stride": 2, "output_padding": 1}),
        ((4, 6, 1, 1), (6, 8, 3, 3), {"dilation": 2}),
        ((4, 6, 1, 3), (6, 8, 3, 3), {"padding": 1}),
    ],
)
def test_transposed(images: tuple[int, ...], filters: tuple[int, ...], options: dict[str, Any]) -> None:
    agree("conv_transpose2d", images, filters, **options)


@SETTINGS
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2]),
)  # fmt: skip
def test_any_geometry(
    images: tuple[int, int, int], kernel: tuple[int, int], padding: int, stride: int, dilation: int, groups: int
) -> None:
    n, *size = images
    if any(s + 2 * padding < dilation * (k - 1) + 1 for s, k in zip(size, kernel, strict=True)):
        return
    options = {"padding": padding, "stride": stride, "dilation": dilation, "groups": groups}
    agree("conv2d", (n, 4, *size), (4, 4 // groups, *kernel), **options)


def test_one_place_is_a_product() -> None:
    """No kernel walks over padding: the first layer of a generator, and a last layer as large as its images."""
    up = gl.nn.ConvTranspose2d(16, 32, 4)
    down = gl.nn.Conv2d(32, 8, 4)
    loss = down(up(gl.randn(4, 16, 1, 1))).square().sum()
    loss.backward()
    loss.item()
    # a nest over several places would contract over two batch axes, one for each axis of the image
    assert "contract f32 batch=2" not in (gl.tape.TAPE.latest.exe.describe())


def test_second_order_at_one_place() -> None:
    w = gl.randn(3, 2, 3, 3, dtype=gl.float64, requires_grad=True)
    x = gl.randn(2, 2, 3, 3, dtype=gl.float64, requires_grad=True)
    assert gl.autograd.gradgradcheck(lambda a, b: gl.nn.functional.conv2d(a, b).sin(), (x, w))
