"""Winograd's convolution as one kernel: odd shapes, what follows it, halves, threads, hosts, the switch; packed filters
and short rows of what is summed directly."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import gradloom as gl
from gradloom.compiler import lower
from gradloom.compiler.llvm.correlate import Correlate
from gradloom.compiler.llvm.winograd import Winograd
from gradloom.compiler.passes.winograd import way
from gradloom.graph.node import Aval
from gradloom.nn import functional as F
from gradloom.ops.convolution import Geometry
from gradloom.ops.tiling import MATRICES, winograd

torch = pytest.importorskip("torch")

SHAPES = [  # images, channels, rows, columns, filters, padding
    (1, 64, 32, 32, 64, 1), (1, 128, 8, 8, 96, 1), (3, 32, 15, 17, 64, 1), (2, 64, 7, 7, 32, 2), (4, 32, 5, 9, 32, 0),
    (5, 48, 13, 30, 80, 1), (1, 32, 4, 4, 32, 1), (2, 32, 3, 2, 32, 1), (1, 512, 4, 4, 48, 1), (1, 1024, 9, 9, 32, 1),
    (1, 32, 30, 124, 32, 1),
]  # fmt: skip
DIRECT = [  # images, channels, size, filters, groups: rows of few pixels, filters far from each other
    (1, 512, 4, 512, 1), (5, 512, 4, 520, 1), (1, 512, 7, 544, 1), (1, 256, 2, 600, 1), (7, 300, 2, 513, 1),
    (2, 512, 3, 512, 1), (2, 640, 4, 1280, 2),
]  # fmt: skip
ERROR = {"float32": 5e-6, "bfloat16": 4e-3, "float16": 5e-4}
"""Root mean square, of results of deviation 1."""


@pytest.fixture
def mode():
    before = gl.get_winograd()
    yield gl.set_winograd
    gl.set_winograd(before)


@pytest.fixture
def sources(monkeypatch):
    """What convolutions are planned as."""
    out = []
    for name in ("plan_winograd", "plan_correlate"):
        plan = getattr(lower, name)

        def watched(*args, plan=plan):
            launches = plan(*args)
            out.extend(x.source for x in launches)
            return launches

        monkeypatch.setattr(lower, name, watched)
    return out


def operands(n, c, h, w, o, seed, dtype="float32", groups=1):
    rng = np.random.default_rng(seed)
    shapes = [(n, c, h, w), (o, c // groups, 3, 3), (o,)]
    arrays = [rng.standard_normal(s) * (0.05 if k == 1 else 1.0) for k, s in enumerate(shapes)]
    ours = [gl.tensor(a.astype("f4")).to(getattr(gl, dtype)) for a in arrays]
    return ours, [torch.tensor(a.to(gl.float64).numpy()) for a in ours]


def rms(got, want) -> float:
    want = want.detach().numpy()
    return float(np.sqrt(np.mean((got.detach().to(gl.float64).numpy() - want) ** 2)) / want.std())


def followed(f, x, w, b, more, padding):
    return f.relu(f.conv2d(x, w, b, padding=padding) + more) * 2 + 1


@pytest.mark.parametrize("dtype", ERROR)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_what_follows(shape, dtype, mode, sources):
    *sizes, p = shape
    (x, w, b), (tx, tw, tb) = operands(*sizes, seed=sum(shape), dtype=dtype)
    tmore = torch.randn(torch.nn.functional.conv2d(tx, tw, padding=p).shape, dtype=torch.float64)
    tmore = tmore.to(getattr(torch, dtype)).double()
    more = gl.tensor(tmore.float().numpy()).to(getattr(gl, dtype))
    mode("on")
    with gl.no_grad():
        got = followed(F, x, w, b, more, p)
    assert rms(got, followed(torch.nn.functional, tx, tw, tb, tmore, p)) < 2 * ERROR[dtype]
    assert any(isinstance(s, Winograd) for s in sources)


@pytest.mark.parametrize("shape", SHAPES[:5:2])
def test_gradients(shape, mode):
    *sizes, p = shape
    (x, w, b), (tx, tw, tb) = operands(*sizes, seed=sum(shape))
    mode("on")
    mine, theirs = [x, w, b], [tx, tw, tb]
    for t in (*mine, *theirs):
        t.requires_grad_()
    F.conv2d(x, w, b, padding=p).square().sum().backward()
    torch.nn.functional.conv2d(tx, tw, tb, padding=p).square().sum().backward()
    for a, t in zip(mine, theirs, strict=True):
        assert rms(a.grad, t.grad) < 2e-5


@pytest.mark.parametrize("side", [2, 4])
def test_reference_and_kernel_agree(side):
    rng = np.random.default_rng(side)
    n, h, w, c, o = 2, 6, 9, 4, 8
    images = rng.standard_normal((n, -(-h // side) * side + 2, -(-w // side) * side + 2, c))
    filters = rng.standard_normal((3, 3, c, o))
    g = np.array(MATRICES[f"filters {side}"])
    u = np.einsum("ik,jl,klco->ijco", g, g, filters).reshape((side + 2) ** 2, c, 2, o // 2).transpose(0, 2, 1, 3)
    avals = [Aval(v.shape, gl.float64) for v in (images, u)]
    attrs = (side, (n, h, w, o))
    got = winograd.evaluate([images, u], avals, attrs, winograd.infer(avals, attrs))
    want = torch.nn.functional.conv2d(
        torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(filters).permute(3, 2, 0, 1)
    )
    np.testing.assert_allclose(got, want.permute(0, 2, 3, 1).numpy()[:, :h, :w], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("how", ["on", "off"])
@pytest.mark.parametrize("shape", [(3, 64, 20, 20, 64), (1, 512, 4, 4, 512), (5, 256, 7, 7, 96)])
def test_same_bits_for_any_number_of_threads(shape, how, dtype, mode):
    (x, w, b), _ = operands(*shape, seed=3, dtype=dtype)
    for t in (x, w):
        t.requires_grad_()
    mode(how)
    before, results = gl.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            gl.set_num_threads(n)
            x.grad = w.grad = None
            y = F.relu(F.conv2d(x, w, b, padding=1))
            y.square().sum().backward()
            results.append(b"".join(t.detach().to(gl.float32).numpy().tobytes() for t in (y, x.grad, w.grad)))
    finally:
        gl.set_num_threads(before)
    assert len(set(results)) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("shape", DIRECT)
def test_short_rows_and_far_filters(shape, dtype, mode, sources):
    n, c, size, o, groups = shape
    (x, w, b), (tx, tw, tb) = operands(n, c, size, size, o, 1, dtype if dtype != "float64" else "float32", groups)
    x, w, b = (t.to(getattr(gl, dtype)) for t in (x, w, b))
    mode("off")
    with gl.no_grad():
        got = F.relu(F.conv2d(x, w, b, padding=1, groups=groups))
    want = torch.relu(torch.nn.functional.conv2d(tx, tw, tb, padding=1, groups=groups))
    assert rms(got, want) < {"float64": 1e-14, "float32": 2e-6, "bfloat16": 4e-3}[dtype]
    assert any(isinstance(s, Correlate) for s in sources)
    assert not any(isinstance(s, Winograd) for s in sources)


def test_images_of_four_by_four_share_register_tiles(mode, sources):
    (x, w, _), _ = operands(3, 512, 4, 4, 512, 1)
    mode("off")
    F.conv2d(x, w, padding=1).numpy()
    (source,) = [s for s in sources if isinstance(s, Correlate)]
    assert source.together > 1


def test_the_quicker_way_is_taken(mode):
    def side(n, c, size, o, dtype=gl.float32, steady=True, **more):
        g = Geometry(more.get("stride", (1, 1)), ((1, 1), (1, 1)), (1, 1), more.get("groups", 1))
        return way(Aval((n, size, size, c), dtype), Aval((n, size, size, o), dtype), (3, 3), g, steady)

    mode("auto")
    assert side(32, 64, 32, 64) == 4
    assert side(1, 256, 8, 256) == 2  # the filters of larger tiles take longer to come
    assert side(1, 512, 7, 512) == 2 and side(1, 512, 7, 512, steady=False) == 0  # and to be transformed
    assert side(1, 512, 4, 512) == 0
    assert side(32, 64, 32, 64, gl.float64) == side(32, 16, 32, 64) == side(32, 64, 32, 60) == 0
    assert side(32, 64, 32, 64, stride=(2, 2)) == side(32, 64, 32, 64, groups=2) == 0
    mode("off")
    assert side(32, 64, 32, 64) == 0
    mode("on")
    assert side(1, 512, 4, 512) in (2, 4)


def test_the_switch(mode):
    assert gl.get_winograd() == "auto"
    with pytest.raises(ValueError, match="'auto', 'on', 'off', got 'fast'"):
        gl.set_winograd("fast")
    (x, w, _), (tx, tw, _) = operands(2, 64, 16, 16, 64, 9)
    want = torch.nn.functional.conv2d(tx, tw, padding=1)
    errors = {}
    for how in ("on", "off"):
        mode(how)
        errors[how] = rms(gl.compile(lambda a, b: F.conv2d(a, b, padding=1))(x, w), want)
    assert errors["off"] < 0.8 * errors["on"] and errors["on"] < 3e-6


PROGRAM = """
import numpy as np, gradloom as gl
from gradloom.nn import functional as F
rng = np.random.default_rng(2)
for how, n, c, h, w, o in [("on", 3, 32, 15, 17, 64), ("on", 5, 48, 6, 10, 80), ("off", 5, 512, 4, 4, 520)]:
    gl.set_winograd(how)
    x, k = rng.standard_normal((n, c, h, w)).astype("f4"), rng.standard_normal((o, c, 3, 3)).astype("f4")
    wide = np.pad(x.astype("f8"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = sum(np.einsum("ncyx,oc->noyx", wide[:, :, i : i + h, j : j + w], k[:, :, i, j], optimize=True)
               for i in range(3) for j in range(3))
    error = F.conv2d(gl.tensor(x), gl.tensor(k), padding=1).numpy() - want
    assert np.sqrt(np.mean(error**2)) < 5e-6 * want.std(), (how, n, c, h, w, o)
print("right")
"""


@pytest.mark.parametrize("host", ["avx2", "sse4"])
def test_narrower_hosts(host):
    env = {**os.environ, "GRADLOOM_HOST": host}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "right", done.stderr[-2000:]


def test_filters_kept_for_inference_follow_their_parameter(mode):
    mode("auto")
    for shape in ((1, 512, 4, 4, 512), (2, 64, 16, 16, 64)):  # packed; transformed
        (x, w, b), (tx, _, _) = operands(*shape, seed=4)
        layer = gl.nn.Conv2d(shape[1], shape[4], 3, padding=1).eval()
        for scale in (1.0, 2.0):
            layer.load_state_dict({"weight": w * scale, "bias": b})
            theirs = [torch.tensor(p.detach().to(gl.float64).numpy()) for p in (layer.weight, layer.bias)]
            with gl.no_grad():
                for _ in range(3):
                    got = layer(x).numpy()
            assert rms(gl.tensor(got), torch.nn.functional.conv2d(tx, *theirs, padding=1)) < 5e-6
