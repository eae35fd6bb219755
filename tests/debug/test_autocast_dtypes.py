"""Inside of autocast every function has the dtype that PyTorch gives it on the CPU, and nearly its values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.functions import precision

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("f")


A, B, V, U = normal(4, 4), normal(4, 4), normal(4), normal(4)
BA, BB = normal(2, 4, 4), normal(2, 4, 4)
P = (A @ A.T + 4 * np.eye(4)).astype("f")
L = np.linalg.cholesky(P).astype("f")
PROBABLE = (1 / (1 + np.exp(-A))).astype("f")
LINE, PLANE, SPACE = normal(2, 3, 8), normal(2, 3, 8, 8), normal(2, 3, 4, 4, 4)
CLASSES = np.array([0, 1, 2, 3])
SIGNS = np.sign(V).astype("f")

# a name: the call with (torch or gradloom, its functional, tensors), and what the tensors are made of
CALLS = {
    # products
    "matmul": (lambda T, F, a, b: T.matmul(a, b), A, B),
    "@": (lambda T, F, a, b: a @ b, BA, B),
    "@ of vectors": (lambda T, F, a, b: a @ b, V, U),
    "mm": (lambda T, F, a, b: T.mm(a, b), A, B),
    "Tensor.mm": (lambda T, F, a, b: a.mm(b), A, B),
    "bmm": (lambda T, F, a, b: T.bmm(a, b), BA, BB),
    "addmm": (lambda T, F, x, a, b: T.addmm(x, a, b), A, B, A),
    "Tensor.addmm": (lambda T, F, x, a, b: x.addmm(a, b, beta=2), A, B, A),
    "baddbmm": (lambda T, F, x, a, b: T.baddbmm(x, a, b), BA, BB, BA),
    "Tensor.baddbmm": (lambda T, F, x, a, b: x.baddbmm(a, b), BA, BB, BA),
    "addbmm": (lambda T, F, x, a, b: T.addbmm(x, a, b), A, BA, BB),
    "chain_matmul": (lambda T, F, a, b: T.chain_matmul(a, b, a), A, B),
    "multi_dot": (lambda T, F, a, b: T.linalg.multi_dot([a, b, a]), A, B),
    "matrix_power": (lambda T, F, a: T.linalg.matrix_power(a, 3), A),
    "tensordot": (lambda T, F, a, b: T.tensordot(a, b, 1), A, B),
    "inner": (lambda T, F, a, b: T.inner(a, b), A, B),
    "inner of vectors": (lambda T, F, a, b: T.inner(a, b), V, U),
    "vecdot": (lambda T, F, a, b: T.linalg.vecdot(a, b), A, B),
    "dot": (lambda T, F, a, b: T.dot(a, b), V, U),
    "vdot": (lambda T, F, a, b: T.vdot(a, b), V, U),
    "mv": (lambda T, F, a, b: T.mv(a, b), A, V),
    "addmv": (lambda T, F, x, a, b: T.addmv(x, a, b), V, A, U),
    "addr": (lambda T, F, x, a, b: T.addr(x, a, b), A, V, U),
    "outer": (lambda T, F, a, b: T.outer(a, b), V, U),
    "kron": (lambda T, F, a, b: T.kron(a, b), A, B),
    "cov": (lambda T, F, a: T.cov(a), A),
    "bilinear": (lambda T, F, a, b, w: F.bilinear(a, b, w), A, B, normal(3, 4, 4)),
    "linear": (lambda T, F, x, w, b: F.linear(x, w, b), A, B, V),
    "prelu": (lambda T, F, x, w: F.prelu(x, w), A, normal(1)),
    "conv1d": (lambda T, F, x, w, b: F.conv1d(x, w, b), LINE, normal(4, 3, 3), V),
    "conv1d same": (lambda T, F, x, w: F.conv1d(x, w, padding="same"), LINE, normal(4, 3, 3)),
    "conv2d": (lambda T, F, x, w, b: F.conv2d(x, w, b), PLANE, normal(4, 3, 3, 3), V),
    "conv2d depthwise": (lambda T, F, x, w: F.conv2d(x, w, groups=3), PLANE, normal(3, 1, 3, 3)),
    "conv3d": (lambda T, F, x, w: F.conv3d(x, w), SPACE, normal(4, 3, 2, 2, 2)),
    "conv_transpose1d": (lambda T, F, x, w: F.conv_transpose1d(x, w), LINE, normal(3, 4, 3)),
    "conv_transpose2d": (lambda T, F, x, w: F.conv_transpose2d(x, w), PLANE, normal(3, 4, 3, 3)),
    "conv_transpose3d": (lambda T, F, x, w: F.conv_transpose3d(x, w), SPACE, normal(3, 4, 2, 2, 2)),
    "conv_tbc": (lambda T, F, x, w, b: T.conv_tbc(x, w, b), normal(5, 2, 3), normal(3, 3, 4), V),
    "attention": (lambda T, F, q, k, v: F.scaled_dot_product_attention(q, k, v), LINE, LINE, normal(2, 3, 8)),
    "attention, mask": (
        lambda T, F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), LINE, LINE, LINE, normal(3, 3)
    ),
    **{
        f"einsum {e}": (lambda T, F, *x, e=e: T.einsum(e, *x), *x)
        for e, x in {
            "ij,jk->ik": (A, B), "ij,ij->ij": (A, B), "ii->i": (A,), "ij->i": (A,), "i,j->ij": (V, U),
            "ij,ij->": (A, B), "ij,ij->i": (A, B), "ij,jk,kl->il": (A, B, A), "...ij,...jk": (BA, BB),
            "ij,k->i": (A, V),
        }.items()
    },
    # float32
    "avg_pool3d": (lambda T, F, x: F.avg_pool3d(x, 2), SPACE),
    "max_pool3d": (lambda T, F, x: F.max_pool3d(x, 2), SPACE),
    "adaptive_avg_pool3d": (lambda T, F, x: F.adaptive_avg_pool3d(x, 2), SPACE),
    "adaptive_max_pool3d": (lambda T, F, x: F.adaptive_max_pool3d(x, 2), SPACE),
    "max_unpool2d": (
        lambda T, F, x: F.max_unpool2d(x, (T.arange(64) * 4).reshape(4, 4, 4)[:, :2, :2] % 16, 2), normal(4, 2, 2)
    ),
    "quantile": (lambda T, F, x: T.quantile(x, 0.3), A),
    "nanquantile": (lambda T, F, x: T.nanquantile(x, 0.3), A),
    "Tensor.prod": (lambda T, F, x: x.prod(), A),
    "prod": (lambda T, F, x: T.prod(x, 1), A),
    "trace": (lambda T, F, x: T.trace(x), A),
    "cdist": (lambda T, F, a, b: T.cdist(a, b), A, B),
    "polar": (lambda T, F, a, b: T.polar(a, b), V, U),
    "view_as_complex": (lambda T, F, a: T.view_as_complex(a), normal(4, 2)),
    "stft": (lambda T, F, x, w: T.stft(x, 4, window=w, return_complex=True), normal(2, 16), abs(V) + 1),
    "grid_sample": (lambda T, F, x, g: F.grid_sample(x, g, align_corners=False), PLANE, normal(2, 4, 4, 2)),
    **{
        f"fft.{n}": (lambda T, F, x, n=n: getattr(T.fft, n)(x), A)
        for n in "fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 rfftn irfftn hfft ihfft".split()
    },
    **{
        f"linalg.{n}": (lambda T, F, x, n=n: getattr(T.linalg, n)(x), P)
        for n in "cond matrix_rank cholesky cholesky_ex svdvals eigvals eigvalsh inv inv_ex".split()
    },
    **{n: (lambda T, F, x, n=n: getattr(T, n)(x), P) for n in "cholesky inverse pinverse".split()},
    "Tensor.inverse": (lambda T, F, x: x.inverse(), P),
    "cholesky_inverse": (lambda T, F, x: T.cholesky_inverse(x), L),
    "cholesky_solve": (lambda T, F, b, x: T.cholesky_solve(b, x), A, L),
    "linalg.solve": (lambda T, F, a, b: T.linalg.solve(a, b), P, B),
    "linalg.eigh": (lambda T, F, x: T.linalg.eigh(x)[0], P),
    "linalg.svd": (lambda T, F, x: T.linalg.svd(x)[1], P),
    "linalg.qr": (lambda T, F, x: abs(T.linalg.qr(x)[1]), P),
    "linalg.lstsq": (lambda T, F, a, b: T.linalg.lstsq(a, b)[0], P, B),
    "linalg.tensorinv": (lambda T, F, x: T.linalg.tensorinv(x.reshape(2, 2, 4)), P),
    "linalg.tensorsolve": (lambda T, F, a, b: T.linalg.tensorsolve(a.reshape(2, 2, 4), b.reshape(2, 2)), P, V),
    "linalg.householder_product": (lambda T, F, a, t: T.linalg.householder_product(a, t), A, V),
    "orgqr": (lambda T, F, a, t: T.orgqr(a, t), A, V),
    "ormqr": (lambda T, F, a, t, b: T.ormqr(a, t, b), A, V, B),
    "geqrf": (lambda T, F, x: abs(T.geqrf(x)[0]), P),
    "triangular_solve": (lambda T, F, b, a: T.triangular_solve(b, a, upper=False)[0], B, L),
    **{
        f"pad {mode} {len(x.shape) - 2}": (lambda T, F, x, m=mode: F.pad(x, (1, 1) * (x.ndim - 2), mode=m), x)
        for mode in ("constant", "reflect", "replicate", "circular") for x in (LINE, PLANE, SPACE)
    },
    # losses
    **{
        n: (lambda T, F, a, b, n=n: getattr(F, n)(a, b), A, B)
        for n in "mse_loss l1_loss smooth_l1_loss huber_loss poisson_nll_loss".split()
    },
    "kl_div": (lambda T, F, a, b: F.kl_div(a, b, reduction="batchmean"), A, PROBABLE),
    "cross_entropy": (lambda T, F, x: F.cross_entropy(x, T.arange(4)), A),
    "nll_loss": (lambda T, F, x: F.nll_loss(x, T.arange(4)), A),
    "nll_loss of images": (lambda T, F, x: F.nll_loss(x, T.zeros(2, 8, 8, dtype=T.int64)), PLANE),
    "multi_margin_loss": (lambda T, F, x: F.multi_margin_loss(x, T.arange(4)), A),
    "multilabel_margin_loss": (lambda T, F, x: F.multilabel_margin_loss(x, T.zeros(4, 4, dtype=T.int64)), A),
    "binary_cross_entropy": (lambda T, F, a, b: F.binary_cross_entropy(a, b), PROBABLE, PROBABLE),
    "binary_cross_entropy_with_logits": (lambda T, F, a, b: F.binary_cross_entropy_with_logits(a, b), A, PROBABLE),
    "hinge_embedding_loss": (lambda T, F, a, y: F.hinge_embedding_loss(a, y), V, SIGNS),
    "soft_margin_loss": (lambda T, F, a, y: F.soft_margin_loss(a, y), V, SIGNS),
    "margin_ranking_loss": (lambda T, F, a, b, y: F.margin_ranking_loss(a, b, y), V, U, SIGNS),
    "cosine_embedding_loss": (lambda T, F, a, b, y: F.cosine_embedding_loss(a, b, y), A, B, SIGNS),
    "triplet_margin_loss": (lambda T, F, a, b, c: F.triplet_margin_loss(a, b, c), A, B, A[::-1].copy()),
    "ctc_loss": (
        lambda T, F, x: F.ctc_loss(
            F.log_softmax(x, 2), T.ones(2, 2, dtype=T.int64), T.tensor([6, 6]), T.tensor([2, 2])
        ),
        normal(6, 2, 4),
    ),
    # as the operands are
    "multilabel_soft_margin_loss": (lambda T, F, a, b: F.multilabel_soft_margin_loss(a, b), A, (B > 0).astype("f")),
    "triplet_margin_with_distance_loss": (
        lambda T, F, a, b, c: F.triplet_margin_with_distance_loss(a, b, c), A, B, A[::-1].copy()
    ),
    "gaussian_nll_loss": (lambda T, F, a, b, c: F.gaussian_nll_loss(a, b, c), A, B, abs(A) + 1),
    "cosine_similarity": (lambda T, F, a, b: F.cosine_similarity(a, b), A, B),
    "pairwise_distance": (lambda T, F, a, b: F.pairwise_distance(a, b), A, B),
    **{n: (lambda T, F, x, n=n: getattr(T, n)(x), A) for n in "exp sum mean tanh sigmoid std var".split()},
    "softmax": (lambda T, F, x: F.softmax(x, 1), A),
    "gelu": (lambda T, F, x: F.gelu(x), A),
    "layer_norm": (lambda T, F, x, w: F.layer_norm(x, (4,), w, w), A, V),
    "group_norm": (lambda T, F, x, w: F.group_norm(x, 3, w, w), PLANE, normal(3)),
    "batch_norm": (lambda T, F, x, w: F.batch_norm(x, None, None, w, w, training=True), PLANE, normal(3)),
    "avg_pool2d": (lambda T, F, x: F.avg_pool2d(x, 2), PLANE),
    "max_pool2d": (lambda T, F, x: F.max_pool2d(x, 2), PLANE),
    "interpolate": (lambda T, F, x: F.interpolate(x, scale_factor=2, mode="bilinear"), PLANE),
    "add": (lambda T, F, a, b: a + b, A, B),
    "embedding": (lambda T, F, w: F.embedding(T.arange(4), w), A),
    # the widest
    "cat": (lambda T, F, a, b: T.cat([a, b]), A, B),
    "stack": (lambda T, F, a, b: T.stack([a, b]), A, B),
    "hstack": (lambda T, F, a, b: T.hstack([a, b]), A, B),
    "index_copy": (lambda T, F, a, b: T.index_copy(a, 0, T.arange(4), b), A, B),
}  # fmt: skip

# operands that PyTorch refuses in bfloat16, where gradloom computes: nothing to compare with
REFUSED_BY_TORCH = (RuntimeError, NotImplementedError, ValueError)


def dtypes_of(result):
    if isinstance(result, (tuple, list)):
        return [d for r in result for d in dtypes_of(r)]
    return [str(result.dtype).rpartition(".")[2]]


def values_of(result):
    if isinstance(result, (tuple, list)):
        return [v for r in result for v in values_of(r)]
    x = result.detach().resolve_conj()
    if "bfloat16" in str(x.dtype) or "float16" in str(x.dtype):
        x = x.float()
    return [np.asarray(x.numpy())]


def converted(T, arrays, kinds, dtype):
    """The arrays as tensors: all float32, all of a lower dtype, or the last one alone."""
    low = getattr(T, dtype)
    last = len(arrays) - 1
    return [
        T.tensor(a).to(low) if kinds == "low" or (kinds == "mixed" and i == last) else T.tensor(a)
        for i, a in enumerate(arrays)
    ]


def compare(name, kinds, dtype):
    call, *arrays = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.autocast("cpu", dtype=getattr(torch, dtype)):
                want = call(torch, TF, *converted(torch, arrays, kinds, dtype))
        except REFUSED_BY_TORCH as e:
            return f"torch refuses: {e}"
        with gl.autocast("cpu", dtype=getattr(gl, dtype)):
            got = call(gl, F, *converted(gl, arrays, kinds, dtype))
    assert dtypes_of(got) == dtypes_of(want)
    for g, w in zip(values_of(got), values_of(want), strict=True):
        np.testing.assert_allclose(g, w, 3e-2, 3e-2 * max(1.0, abs(w).max(initial=0.0)))
    return None


@pytest.mark.parametrize("name", CALLS)
def test_functions(name):
    refused = [compare(name, kinds, "bfloat16") for kinds in ("float32", "low", "mixed")]
    assert refused[0] is None


@pytest.mark.parametrize(
    "name", ["addmm", "conv2d", "linear", "attention", "prod", "mse_loss", "cat", "exp", "pad reflect 2"]
)
def test_functions_of_float16(name):
    assert compare(name, "float32", "float16") is None
    compare(name, "low", "float16")
    compare(name, "mixed", "float16")


# -- modules -------------------------------------------------------------------------------------------------
MODULES = {
    "Linear": (lambda nn: nn.Linear(8, 4), LINE),
    "Conv2d": (lambda nn: nn.Conv2d(3, 4, 3, padding=1), PLANE),
    "Conv2d depthwise": (lambda nn: nn.Conv2d(3, 3, 3, groups=3), PLANE),
    "Conv2d, mirrored": (lambda nn: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), PLANE),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(3), PLANE),
    "GroupNorm": (lambda nn: nn.GroupNorm(3, 3), PLANE),
    "LayerNorm": (lambda nn: nn.LayerNorm(8), LINE),
    "AvgPool3d": (lambda nn: nn.AvgPool3d(2), SPACE),
    "MaxPool3d": (lambda nn: nn.MaxPool3d(2), SPACE),
    "AdaptiveAvgPool3d": (lambda nn: nn.AdaptiveAvgPool3d(2), SPACE),
    "AdaptiveMaxPool3d": (lambda nn: nn.AdaptiveMaxPool3d(2), SPACE),
    "ReflectionPad2d": (lambda nn: nn.ReflectionPad2d(1), PLANE),
    "PReLU": (lambda nn: nn.PReLU(), PLANE),
    "RNN": (lambda nn: nn.RNN(8, 5), LINE),
    "LSTM": (lambda nn: nn.LSTM(8, 5), LINE),
    "LSTM, two layers, both ways": (lambda nn: nn.LSTM(8, 5, 2, bidirectional=True), LINE),
    "GRU": (lambda nn: nn.GRU(8, 5), LINE),
    "GRU, both ways": (lambda nn: nn.GRU(8, 5, bidirectional=True), LINE),
    "RNNCell": (lambda nn: nn.RNNCell(8, 5), normal(3, 8)),
    "LSTMCell": (lambda nn: nn.LSTMCell(8, 5), normal(3, 8)),
    "GRUCell": (lambda nn: nn.GRUCell(8, 5), normal(3, 8)),
    "TransformerEncoderLayer": (lambda nn: nn.TransformerEncoderLayer(8, 2, 16, 0.0), LINE),
    "TransformerEncoderLayer, norm first": (
        lambda nn: nn.TransformerEncoderLayer(8, 2, 16, 0.0, norm_first=True), LINE
    ),
    "MultiheadAttention": (lambda nn: nn.MultiheadAttention(8, 2), LINE),
}  # fmt: skip


@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODULES)
def test_modules(name, low):
    make, array = MODULES[name]
    theirs, ours = make(torch.nn), make(gl.nn)
    ours.load_state_dict({k: gl.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    tx, gx = (T.tensor(array).to(T.bfloat16) if low else T.tensor(array) for T in (torch, gl))
    repeated = 3 if name == "MultiheadAttention" else 1
    with torch.autocast("cpu"):
        want = theirs(*[tx] * repeated)
    with gl.autocast("cpu"):
        got = ours(*[gx] * repeated)
    assert dtypes_of(got) == dtypes_of(want)
    for g, w in zip(values_of(got), values_of(want), strict=True):
        np.testing.assert_allclose(g, w, 5e-2, 3e-2)
    if not list(ours.parameters()):
        return
    sum(r.float().sum() for r in (got if isinstance(got, tuple) else (got,)) if isinstance(r, gl.Tensor)).backward()
    assert all(p.grad is None or p.grad.dtype is gl.float32 for p in ours.parameters())


@pytest.mark.parametrize("mask", ["bool", "float32"])
def test_attention_with_masks(mask):
    hidden = np.triu(np.ones((2, 2), bool), 1)
    given = hidden if mask == "bool" else np.where(hidden, -1e9, 0).astype("f")
    theirs, ours = torch.nn.MultiheadAttention(8, 2), gl.nn.MultiheadAttention(8, 2)
    ours.load_state_dict({k: gl.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    for weights in (True, False):
        with torch.autocast("cpu"):
            want = theirs(*[torch.tensor(LINE)] * 3, attn_mask=torch.tensor(given), need_weights=weights)
        with gl.autocast("cpu"):
            got = ours(*[gl.tensor(LINE)] * 3, attn_mask=gl.tensor(given), need_weights=weights)
        count = 2 if weights else 1
        assert dtypes_of(got[:count]) == dtypes_of(want[:count])
        np.testing.assert_allclose(values_of(got[0])[0], values_of(want[0])[0], 3e-2, 3e-2)


# -- states --------------------------------------------------------------------------------------------------
def test_an_inner_block_switched_off_computes_in_full():
    a = gl.tensor(A)
    with gl.autocast("cpu"):
        with gl.autocast("cpu", enabled=False):
            assert gl.addmm(a, a, a).dtype is gl.float32
            np.testing.assert_allclose(
                gl.cdist(a, a.flip(0)).numpy(), torch.cdist(*map(torch.tensor, (A, A[::-1].copy()))), 1e-4
            )
        with gl.autocast("cpu", dtype=gl.float16, cache_enabled=False):
            assert gl.addmm(a, a, a).dtype is gl.float16
        assert gl.addmm(a, a, a).dtype is gl.bfloat16
    assert gl.addmm(a, a, a).dtype is gl.float32


def test_what_is_composed_of_products_does_not_round_them():
    """The function is float32 or keeps its dtype, so the products in it are not lower: PyTorch's rule."""
    a = gl.tensor(normal(16, 64))
    with gl.autocast("cpu"):
        near, inverse = gl.cdist(a, a + 1e-3, compute_mode="use_mm_for_euclid_dist"), gl.linalg.inv(gl.tensor(P))
    np.testing.assert_allclose(near.numpy(), gl.cdist(a, a + 1e-3, compute_mode="use_mm_for_euclid_dist").numpy())
    np.testing.assert_allclose(inverse.numpy() @ P, np.eye(4), atol=1e-3)


def test_an_error_within_leaves_autocast_on():
    with gl.autocast("cpu"):
        with pytest.raises(gl.errors.ShapeError):
            gl.addmm(gl.ones(2, 2), gl.ones(2, 3), gl.ones(2, 3))
        assert gl.is_autocast_enabled()
        assert gl.mm(gl.ones(2, 2), gl.ones(2, 2)).dtype is gl.bfloat16


def test_float64_and_integers_are_left_alone():
    wide, whole = gl.tensor(A).double(), gl.arange(4)
    with gl.autocast("cpu"):
        assert gl.addmm(wide, wide, wide).dtype is gl.float64
        assert gl.prod(wide).dtype is gl.float64
        assert gl.prod(whole).dtype is gl.int64
        assert gl.einsum("i,i->", whole, whole).dtype is gl.int64


def test_every_name_of_the_tables_is_a_function_of_its_family():
    import importlib

    for family in precision.FAMILIES:
        home = (
            "gradloom.nn"
            if family in ("functional", "pooling_functions", "adaptive_functions")
            else "gradloom.functions"
        )
        module = importlib.import_module(f"{home}.{family}")
        for names in precision.FAMILIES[family].values():
            assert all(hasattr(getattr(module, name), "heeds") or family == "functional" for name in names.split())


def product_of(T, amp, cast, log):
    """A custom function that notes the dtypes of what it is given and of what it makes of it."""

    def note(*tensors):
        log.append([d for t in tensors for d in dtypes_of(t)])

    class Product(T.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu", cast_inputs=cast)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            out = a @ b
            note(a, b, out)
            return out

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            ga, gb = g @ b.T, a.T @ g
            note(g, ga, gb)
            return ga, gb

    return Product


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("cast", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_custom_functions_follow_their_decorators(kind, cast, on):
    logs = []
    for T, amp in ((gl, gl.amp), (torch, torch.amp)):
        logs.append([])
        a, b = (T.tensor(x).to(getattr(T, kind)).requires_grad_() for x in (A, B))
        product = product_of(T, amp, cast and getattr(T, cast), logs[-1])
        with T.autocast("cpu", enabled=on):
            y = product.apply(a, b)
        y.float().sum().backward()
    assert logs[0] == logs[1]


def test_custom_bwd_without_custom_fwd_is_refused():
    with pytest.raises(gl.errors.StateError, match="custom_fwd"):
        gl.amp.custom_bwd(lambda ctx, g: g)(object(), gl.ones(1))
