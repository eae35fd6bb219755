"""Attention against PyTorch: all at once and in blocks, masks, shared heads, derivatives of both orders, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
from gradloom import nn
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.nn import attention_functions as A
from gradloom.nn import functional as F
from gradloom.testing import check_grads

RNG = np.random.default_rng(0)
ROWS = RNG.random((7, 9)) > 0.5
ROWS[2] = False  # a query that sees nothing
CASES: dict[str, tuple[tuple[tuple[int, ...], ...], Any, dict[str, Any]]] = {
    "plain": (((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5)), None, {}),
    "matrices": (((7, 4), (9, 4), (9, 5)), None, {"scale": 0.3}),
    "causal": (((2, 3, 7, 4), (2, 3, 7, 4), (2, 3, 7, 4)), None, {"is_causal": True}),
    "causal, few keys": (((3, 7, 4), (3, 5, 4), (3, 5, 5)), None, {"is_causal": True}),
    "causal, many keys": (((3, 7, 4), (3, 12, 4), (3, 12, 5)), None, {"is_causal": True}),
    "shared heads": (((2, 4, 7, 4), (2, 2, 9, 4), (2, 2, 9, 5)), None, {"enable_gqa": True}),
    "shared heads, causal": (((4, 7, 4), (2, 9, 4), (2, 9, 5)), None, {"enable_gqa": True, "is_causal": True}),
    "heads shared differently": (((4, 7, 4), (2, 9, 4), (1, 9, 5)), None, {"enable_gqa": True}),
    "broadcast": (((1, 3, 7, 4), (2, 1, 9, 4), (2, 3, 9, 5)), None, {}),
    "bool mask": (((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5)), ROWS, {}),
    "learned mask": (((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5)), RNG.standard_normal((2, 1, 7, 9)), {}),
    "learned mask of keys": (((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5)), RNG.standard_normal((2, 1, 1, 9)), {}),
    "learned mask of queries": (((2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5)), RNG.standard_normal((7, 1)), {}),
}


@pytest.fixture(params=["at once", "blocks", "native"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "blocks":
        monkeypatch.setattr(A, "AT_ONCE", 0)
        monkeypatch.setattr(A, "BLOCK", 3)
        monkeypatch.setattr(A, "PARTS", 2)
    if request.param == "native":
        monkeypatch.setattr(A, "LEAST", 1)
    yield request.param


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, way: str) -> None:
    shapes, mask, options = CASES[name]
    arrays = [RNG.standard_normal(s) for s in shapes]
    arrays += [] if mask is None else [mask]
    mine, theirs = [gl.tensor(a) for a in arrays], [torch.tensor(a) for a in arrays]
    for x, y, a in zip(mine, theirs, arrays, strict=True):
        if a.dtype != bool:
            x.requires_grad_(), y.requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        want = TF.scaled_dot_product_attention(*theirs, **options)
    got = F.scaled_dot_product_attention(*mine, **options)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), 1e-9, 1e-12)
    c = RNG.standard_normal(tuple(want.shape))
    (got * gl.tensor(c)).sum().backward()
    (want * torch.tensor(c)).sum().backward()
    for x, y in zip(mine, theirs, strict=True):
        if y.requires_grad:
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), 1e-8, 1e-11)


def test_derivatives_of_both_orders(way: str) -> None:
    q, k, v = (gl.tensor(RNG.standard_normal((1, 5, 2))) for _ in range(3))

    def dropped(q: gl.Tensor, k: gl.Tensor, v: gl.Tensor) -> gl.Tensor:
        gl.manual_seed(1)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.4)

    check_grads(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), (q, k, v), order=2)
    check_grads(dropped, (q, k, v), order=2)


def test_dropout_draws_for_every_block(way: str) -> None:
    gl.manual_seed(0)
    q, k = gl.zeros(1, 60, 4), gl.zeros(1, 50, 4)
    p = F.scaled_dot_product_attention(q, k, gl.eye(50)[None], dropout_p=0.3).numpy()[0]
    assert set(np.unique(np.round(p * 50, 4))) == {0.0, np.float32(np.round(1 / 0.7, 4))}
    assert abs((p == 0).mean() - 0.3) < 0.05
    assert len({row.tobytes() for row in p}) == 60
    assert not F.scaled_dot_product_attention(q, k, k, dropout_p=1.0).numpy().any()


def test_nothing_to_look_at() -> None:
    q = gl.ones(2, 3, 4).requires_grad_()
    out = F.scaled_dot_product_attention(q, gl.ones(2, 0, 4), gl.ones(2, 0, 5))
    assert out.shape == (2, 3, 5) and not out.detach().numpy().any()
    assert F.scaled_dot_product_attention(gl.ones(0, 3, 4), gl.ones(0, 2, 4), gl.ones(0, 2, 4)).shape == (0, 3, 4)


def test_half_precision_is_summed_in_single() -> None:
    a = [RNG.standard_normal((2, 6, 8)) for _ in range(3)]
    got = F.scaled_dot_product_attention(*(gl.tensor(x).bfloat16() for x in a))
    want = TF.scaled_dot_product_attention(*(torch.tensor(x) for x in a)).numpy()
    assert got.dtype is gl.bfloat16
    np.testing.assert_allclose(got.float().numpy(), want, atol=0.03)


@pytest.mark.parametrize(
    ("shapes", "options", "error", "said"),
    [
        (((2, 3), (4, 5), (4, 5)), {}, ShapeError, "differ in their last axis"),
        (((2, 3), (4, 3), (5, 3)), {}, ShapeError, "differ in length"),
        (((3,), (4, 3), (4, 3)), {}, ShapeError, "two axes"),
        (((4, 2, 3), (2, 4, 3), (2, 4, 3)), {}, ShapeError, "enable_gqa=True"),
        (((3, 2, 3), (2, 4, 3), (2, 4, 3)), {"enable_gqa": True}, ShapeError, "multiple"),
        (((2, 3), (4, 3), (4, 3)), {"attn_mask": gl.ones(3, 4)}, ShapeError, "does not broadcast"),
        (((2, 3), (4, 3), (4, 3)), {"attn_mask": gl.ones(2, 4).int()}, DTypeError, "int32"),
        (((2, 3), (2, 3), (2, 3)), {"attn_mask": gl.ones(2, 2), "is_causal": True}, ArgumentError, "together"),
        (((2, 3), (4, 3), (4, 3)), {"dropout_p": 1.5}, ArgumentError, "dropout_p is 1.5"),
    ],
)
def test_refusals(shapes: Any, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        F.scaled_dot_product_attention(*(gl.ones(s) for s in shapes), **options)


MEMORY = """
import resource, sys
import gradloom as gl
from gradloom.nn import functional as F
def go(n):
    q = gl.randn(1, 1, n, 16, requires_grad=True)
    F.scaled_dot_product_attention(q, q, q, is_causal=%s).square().sum().backward()
    q.grad.numpy()
go(1024)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
go(8192)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("causal", [False, True])
def test_memory_does_not_grow_with_the_square(causal: bool) -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY % causal], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100, "an array of all pairs would be 256 MB"


@pytest.mark.parametrize("options", [{}, {"kdim": 5, "vdim": 6}, {"add_bias_kv": True, "add_zero_attn": True}])
@pytest.mark.parametrize("batch_first", [False, True])
def test_multihead_attention(options: dict[str, Any], batch_first: bool) -> None:
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first, **options)
    mine = nn.MultiheadAttention(8, 2, batch_first=batch_first, **options)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    a = [RNG.standard_normal((3, 3, n)).astype("f") for n in (8, options.get("kdim", 8), options.get("vdim", 8))]
    hidden = np.array([[False, False, True]] * 3)
    for given in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        got = mine(*map(gl.tensor, a), key_padding_mask=gl.tensor(hidden), **given)
        want = theirs(*map(torch.tensor, a), key_padding_mask=torch.tensor(hidden), **given)
        for x, y in zip(got, want, strict=True):
            assert (x is None) == (y is None)
            if y is not None:
                np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), 1e-4, 1e-5)


def test_refusals_of_heads() -> None:
    with pytest.raises(ArgumentError, match="divisible"):
        nn.MultiheadAttention(8, 3)
    m = nn.MultiheadAttention(8, 2)
    x = gl.ones(3, 2, 8)
    with pytest.raises(ShapeError, match="attn_mask has shape"):
        m(x, x, x, attn_mask=gl.ones(2, 2))
    with pytest.raises(ShapeError, match="has 4 features, expected embed_dim 8"):
        m(gl.ones(3, 2, 4), x, x)
    with pytest.raises(ArgumentError, match="attn_mask, which is missing"):
        m(x, x, x, is_causal=True)


def test_transformer_hints_and_refusals() -> None:
    m = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    src, tgt = gl.randn(2, 4, 8), gl.randn(2, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    a = m(src, tgt, tgt_mask=mask).detach().numpy()
    np.testing.assert_allclose(m(src, tgt, tgt_mask=mask, tgt_is_causal=True).detach().numpy(), a, 1e-4, 1e-5)
    with pytest.raises(ShapeError, match="differ in their batch"):
        m(src, tgt[:1])
    with pytest.raises(ShapeError, match="d_model = 8"):
        m(src[..., :4], tgt)
    with pytest.raises(ArgumentError, match="activation is 'tanh'"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")
