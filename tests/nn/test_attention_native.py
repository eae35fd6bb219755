"""Attention's two primitives: against PyTorch at the edges of blocks, on narrow hosts, under transforms, the same bits
from any number of threads, and memory that grows with the length.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
from gradloom.compiler import pipeline
from gradloom.compiler.llvm.host import detect_name
from gradloom.func import jvp, vmap
from gradloom.modes import set_target
from gradloom.nn import functional as F
from gradloom.testing import check_grads

RNG = np.random.default_rng(0)
Shape = tuple[int, ...]

# (shape before the length, queries, keys, features of queries and of values, options, (kind, shape of the mask))
CASES: dict[str, tuple[Shape, int, int, int, int, dict[str, Any], tuple[str, Shape] | None]] = {
    "one block": ((2, 3), 64, 64, 32, 32, {}, None),
    "ragged": ((2, 3), 100, 77, 24, 40, {}, None),
    "several blocks, causal": ((2, 2), 130, 130, 64, 64, {"is_causal": True}, None),
    "causal, many keys": ((2, 2), 50, 200, 16, 8, {"is_causal": True}, None),
    "causal, few keys": ((2, 2), 300, 200, 16, 8, {"is_causal": True}, None),
    "shared heads": ((2, 6), 70, 90, 32, 32, {"enable_gqa": True}, None),
    "shared heads, causal": ((2, 6), 70, 90, 32, 32, {"enable_gqa": True, "is_causal": True}, None),
    "shared heads, bias": ((2, 6), 70, 90, 32, 32, {"enable_gqa": True}, ("bias", (2, 6, 70, 90))),
    "shared heads, mask": ((2, 6), 70, 90, 32, 32, {"enable_gqa": True}, ("bool", (6, 70, 90))),
    "bias of keys": ((2, 6), 70, 90, 32, 32, {}, ("bias", (2, 1, 1, 90))),
    "bias of queries": ((2, 6), 70, 90, 32, 32, {}, ("bias", (70, 1))),
    "mask of some axes": ((2, 2, 3), 40, 50, 16, 16, {}, ("bool", (2, 1, 1, 40, 50))),
    "mask, no heads": ((), 70, 90, 32, 32, {}, ("bool", (70, 90))),
    "mask, one axis": ((4,), 70, 90, 32, 32, {}, ("bool", (4, 70, 90))),
    "one head, causal": ((1,), 300, 290, 20, 24, {"is_causal": True}, None),
    "steep": ((3,), 40, 40, 16, 16, {"scale": 4.0}, None),
}


def operands(name: str, dtype: str = "f8") -> tuple[list[np.ndarray], np.ndarray | None, dict[str, Any]]:
    lead, queries, keys, wide, out, options, masked = CASES[name]
    own = (*lead[:-1], lead[-1] // 3) if "enable_gqa" in options else lead
    shapes = ((*lead, queries, wide), (*own, keys, wide), (*own, keys, out), (*lead, queries, out))
    arrays = [RNG.standard_normal(s).astype(dtype) for s in shapes]
    if masked is None:
        return arrays, None, options
    kind, shape = masked
    mask = RNG.standard_normal(shape).astype(dtype) if kind == "bias" else RNG.random(shape) > 0.4
    if kind == "bool":
        mask[..., 3, :] = False  # a query that sees nothing
        mask[..., 5, 1:] = False
    return arrays, mask, options


@pytest.mark.parametrize(("dtype", "close"), [("f8", 1e-12), ("f4", 2e-5)])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, dtype: str, close: float) -> None:
    (*given, ct), mask, options = operands(name, dtype)
    mine, theirs = ([make(a, requires_grad=True) for a in given] for make in (gl.tensor, torch.tensor))
    masks = (None, None) if mask is None else (gl.tensor(mask), torch.tensor(mask))
    got = F.scaled_dot_product_attention(*mine, attn_mask=masks[0], **options)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        want = TF.scaled_dot_product_attention(*theirs, attn_mask=masks[1], **options)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), close, close)
    got.backward(gl.tensor(ct))
    want.backward(torch.tensor(ct))
    for x, y in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), close, close * 20)


@pytest.mark.parametrize("name", ["several blocks, causal", "shared heads, bias", "mask of some axes"])
def test_the_reference_agrees(name: str) -> None:
    arrays, mask, options = operands(name)

    def results() -> list[np.ndarray]:
        *given, ct = (gl.tensor(a) for a in arrays)
        given = [x.requires_grad_() for x in given]
        out = F.scaled_dot_product_attention(*given, attn_mask=None if mask is None else gl.tensor(mask), **options)
        out.backward(ct)
        return [out.detach().numpy(), *(x.grad.numpy() for x in given)]

    native = results()
    set_target("reference")
    try:
        plain = results()
    finally:
        set_target("cpu")
    for a, b in zip(native, plain, strict=True):
        np.testing.assert_allclose(a, b, 1e-10, 1e-12)


def test_derivatives_of_both_orders() -> None:
    q, k, v = (gl.tensor(RNG.standard_normal((2, 17, 2)) * 0.5) for _ in range(3))
    check_grads(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), (q, k, v), order=2)


def test_under_transforms() -> None:
    q, k, v = (gl.tensor(RNG.standard_normal((3, 2, 20, 4))) for _ in range(3))
    mask = gl.tensor(RNG.random((2, 20, 20)) > 0.3)
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).numpy()
    got = vmap(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))(q, k, v)
    np.testing.assert_allclose(got.numpy(), want, 1e-12, 1e-12)
    twice = vmap(vmap(lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m)), (0, 0, 0, None))
    np.testing.assert_allclose(twice(q, k, v, mask).numpy(), want, 1e-12, 1e-12)
    step = 1e-6
    _, slope = jvp(lambda q: F.scaled_dot_product_attention(q, k, v), (q,), (gl.ones_like(q),))
    ends = [F.scaled_dot_product_attention(q + s, k, v).numpy() for s in (step, -step)]
    np.testing.assert_allclose(slope.numpy(), (ends[0] - ends[1]) / (2 * step), 1e-6, 1e-8)


def test_a_number_that_is_none_stays_in_its_row() -> None:
    q, k, v = (gl.tensor(RNG.standard_normal((1, 40, 8)).astype("f4")) for _ in range(3))
    q[0, 7, 2] = float("nan")
    out = F.scaled_dot_product_attention(q, k, v).numpy()
    assert np.isnan(out[0, 7]).all() and not np.isnan(np.delete(out, 7, 1)).any()


def test_the_same_bits_from_any_number_of_threads() -> None:
    (*given, ct), _, options = operands("shared heads, causal", "f4")
    before, found = gl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            gl.set_num_threads(threads)
            x = [gl.tensor(a, requires_grad=True) for a in given]
            y = F.scaled_dot_product_attention(*x, **options)
            y.backward(gl.tensor(ct))
            found.append([y.detach().numpy().tobytes(), *(t.grad.numpy().tobytes() for t in x)])
    finally:
        gl.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_temporaries_grow_with_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    arenas: list[int] = []
    assemble = pipeline._assemble

    def noted(*args: Any) -> Any:
        exe = assemble(*args)
        arenas.append(exe.arena_bytes)
        return exe

    monkeypatch.setattr(pipeline, "_assemble", noted)
    largest = []
    for n in (512, 2048):
        arenas.clear()
        q = gl.randn(1, 2, n, 32, requires_grad=True)
        (F.scaled_dot_product_attention(q, q, q, is_causal=True) ** 2).sum().backward()
        q.grad.numpy()
        largest.append(max(arenas))
    assert largest[1] < 6 * largest[0], "sixteen times would be the square"
    assert largest[1] < 24 * 2 * 2048 * 32 * 4, "an array of all pairs would be 32 MB"


NARROW = """
import sys
sys.path.insert(0, sys.argv[1])
import test_attention_native as T
for name in ("ragged", "several blocks, causal", "shared heads, bias", "mask, no heads"):
    T.test_values_and_gradients(name, "f4", 2e-5)
"""


@pytest.mark.skipif(detect_name() not in ("avx2", "avx512"), reason="no narrower host here")
@pytest.mark.parametrize("host", ["avx2", "sse4"])
def test_narrow_hosts(host: str) -> None:
    env = {**os.environ, "GRADLOOM_HOST": host}
    subprocess.run([sys.executable, "-c", NARROW, os.path.dirname(__file__)], env=env, check=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str) -> None:
    """Sums and probabilities are of single precision, results and gradients of the operands' dtype."""
    (*given, ct), mask, options = operands("shared heads, bias", "f4")
    low = [gl.tensor(a).to(getattr(gl, dtype)) for a in (*given, ct, mask)]
    found = []
    for wide in (False, True):
        *x, c, m = (t.float() if wide else t for t in low)
        x = [t.detach().requires_grad_() for t in x]
        y = F.scaled_dot_product_attention(*x, attn_mask=m, **options)
        y.backward(c)
        assert y.dtype is x[0].grad.dtype is low[0].dtype or wide
        found.append([y.detach().float().numpy(), *(t.grad.float().numpy() for t in x)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, 0.02, 0.02 if dtype == "bfloat16" else 0.003)
