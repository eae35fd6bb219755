"""Products of bfloat16 in pairs of steps: all layouts, odd lengths, blocks, batches, threads; infinities and NaN."""

from __future__ import annotations

import random

import ml_dtypes
import numpy as np
import pytest
import torch
from test_contract import Case, choices, close

import gradloom as gl
from gradloom.compiler.llvm.contract import Multiply
from gradloom.compiler.llvm.host import detect_host
from gradloom.compiler.loops import Inst

BF16 = ml_dtypes.bfloat16
HOST = detect_host()
pairs_only = pytest.mark.skipif(not HOST.bf16, reason="the processor has no products of pairs")
LAYOUTS = [(a, b) for a in ((0, 1), (1, 0)) for b in ((0, 1), (1, 0))]


def paired(launches) -> bool:
    return any(isinstance(x.source, Multiply) and x.source.pairs for x in launches)


def half_case(m: int, n: int, k: int, a=(0, 1), b=(0, 1), gap=3, seed=0, out="f4") -> Case:
    c = Case(seed)
    c.add((m, k), a, gap, BF16)
    c.add((k, n), b, gap, BF16)
    c.add((m, n), dtype=out, values=False)
    return c


def wide(c: Case) -> np.ndarray:
    return np.matmul(c.views[0].astype("f8"), c.views[1].astype("f8"))


@pairs_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(64, 64, 64), (61, 70, 33), (5, 17, 1), (33, 8, 130), (100, 40, 95), (15, 33, 2)])
def test_layouts_and_odd_lengths(shape, layout):
    m, n, k = shape
    c = half_case(m, n, k, *layout)
    c.run(c.spec(), HOST)
    close(c.views[2], wide(c), k)
    c.guards()


@pairs_only
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_choice_agrees(layout):
    m, n, k = 45, 70, 77
    c = half_case(m, n, k, *layout, gap=0)
    want = wide(c)
    problem = c.problem(c.spec()).paired()
    count = 0
    for choice in choices(problem, HOST):
        if choice.shape not in ("wide", "narrow") or not choice.b_mode or not choice.pack_a:
            continue
        c.views[2][...] = 7
        launches = c.run(c.spec(), HOST, choice)
        assert paired(launches)
        close(c.views[2], want, k)
        count += 1
    assert count > 4
    c.guards()


@pairs_only
def test_large_products_are_paired_and_the_same_for_any_threads():
    c = half_case(150, 260, 700)
    launches = c.run(c.spec(), HOST)
    assert paired(launches)
    want = c.views[2].copy()
    close(want, wide(c), 700)
    for threads in (2, 3):
        c.views[2][...] = 0
        c.run(c.spec(), HOST, order=random.Random(threads), threads=threads)
        assert c.views[2].tobytes() == want.tobytes()


@pairs_only
def test_batches_and_rounded_results():
    c = Case()
    c.add((3, 40, 50), dtype=BF16)
    c.add((3, 50, 48), (0, 2, 1), dtype=BF16)
    c.add((3, 40, 48), dtype=BF16, values=False)
    body = (Inst("acc", "f32"), Inst("cast", "bf16", (0,)))
    assert paired(c.run(c.spec(body, ((1, 2),)), HOST))
    want = np.matmul(c.views[0].astype("f8"), c.views[1].astype("f8"))
    np.testing.assert_allclose(c.views[2].astype("f8"), want, 2**-8, 2e-2)
    c.guards()


@pairs_only
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_not_finite_stays_in_its_row_and_column(layout):
    c = half_case(40, 48, 33, *layout, gap=1)
    c.bases[0][:3] = np.nan  # before, behind and between the rows
    c.bases[0][-5:] = np.nan
    c.views[0][3, 32] = np.nan
    c.views[0][5, 0] = np.inf
    c.run(c.spec(), HOST)
    got = np.isfinite(c.views[2])
    assert not got[3].any() and not got[5].any()
    assert np.delete(got, [3, 5], 0).all()


# images, channels, size, filters, kernel, stride, padding, groups, dilation
IMAGES = [
    (4, 8, 9, 16, 3, 1, 1, 1, 1), (3, 3, 8, 40, 3, 1, 1, 1, 1), (4, 16, 9, 24, 5, 2, 2, 2, 1),
    (4, 5, 9, 7, 3, 1, 1, 1, 2),
    (5, 32, 8, 96, 3, 2, 1, 1, 1), (4, 32, 4, 256, 3, 1, 1, 2, 1), (1, 16, 4, 128, 3, 1, 1, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", IMAGES, ids=str)
def test_convolutions_and_their_gradients(case, kind):
    n, c, h, o, k, stride, padding, groups, dilation = case
    how = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
    rng = np.random.default_rng(0)
    low, exact = getattr(torch, kind), []
    for shape in ((n, c, h, h), (o, c // groups, k, k)):
        exact.append(torch.tensor(rng.standard_normal(shape)).to(low).double().requires_grad_())
    want = torch.nn.functional.conv2d(*exact, **how)
    ct = torch.tensor(rng.standard_normal(want.shape)).to(low).double()
    want.backward(ct)
    ours = [gl.tensor(t.detach().numpy()).to(getattr(gl, kind)).requires_grad_() for t in exact]
    got = gl.nn.functional.conv2d(*ours, **how)
    got.backward(gl.tensor(ct.numpy()).to(getattr(gl, kind)))
    for x, y in ((got, want), (ours[0].grad, exact[0].grad), (ours[1].grad, exact[1].grad)):
        assert x.dtype is getattr(gl, kind)
        y = y.detach().numpy()
        assert abs(x.detach().double().numpy() - y).max() <= 5e-3 * abs(y).max()
