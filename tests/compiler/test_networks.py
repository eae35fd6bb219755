"""Convolutional networks whole: values and updates as PyTorch's, no copy of images between layers."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.compiler.llvm.host import detect_host
from gradloom.nn import functional as F
from gradloom.tape import TAPE

torch = pytest.importorskip("torch")

N, SIZE, WIDE = 4, 16, 32
IMAGE = N * SIZE * SIZE * WIDE


class Block:
    """Layers of either library: two convolutions with norms around a shortcut, then a 1x1 with a gate."""

    def __init__(self, lib):
        self.lib = lib
        n = lib.nn
        self.layers = n.ModuleDict(
            {
                "first": n.Conv2d(3, WIDE, 3, padding=1),
                "a": n.Conv2d(WIDE, WIDE, 3, padding=1, bias=False),
                "norm": n.BatchNorm2d(WIDE),
                "b": n.Conv2d(WIDE, WIDE, 3, padding=1, groups=4),
                "one": n.Conv2d(WIDE, WIDE, 1),
                "gate": n.Linear(WIDE, WIDE),
                "last": n.Linear(WIDE, 5),
            }
        )

    def __call__(self, x):
        m, f, lib = self.layers, self.lib.nn.functional, self.lib
        x = f.relu(m["first"](x))
        y = f.relu(m["norm"](m["a"](x)))
        x = f.relu(m["b"](y) + x)
        y = m["one"](x)
        y = y * lib.sigmoid(m["gate"](y.mean((2, 3))))[:, :, None, None]
        return m["last"](f.relu(x + y).mean((2, 3)))


@pytest.fixture
def both():
    rng = np.random.default_rng(0)
    ours, theirs = Block(gl), Block(torch)
    state = {
        k: (rng.uniform(0.5, 1.5, v.shape) if v.ndim == 1 else rng.normal(size=v.shape) / math.sqrt(v[0].numel()))
        for k, v in theirs.layers.state_dict().items() if v.ndim
    }  # fmt: skip
    ours.layers.load_state_dict({k: v.astype("f4") for k, v in state.items()}, strict=False)
    theirs.layers.load_state_dict({k: torch.from_numpy(v.astype("f4")) for k, v in state.items()}, strict=False)
    return ours, theirs, rng.normal(size=(N, 3, SIZE, SIZE)).astype("f4")


def copies():
    """Copies of as much as the images between layers; those of filters and borders are smaller."""
    return [n for n in TAPE.latest.exe._parts.notes if n.name == "copy" and math.prod(n.shape) >= IMAGE]


def test_inference(both):
    ours, theirs, x = both
    ours.layers.eval(), theirs.layers.eval()
    with gl.no_grad(), torch.no_grad():
        for _ in range(2):
            got = ours(gl.tensor(x)).numpy()
        np.testing.assert_allclose(got, theirs(torch.from_numpy(x)).numpy(), rtol=1e-3, atol=1e-4)
    assert not copies()


def test_training(both):
    """Three steps: parameters and statistics go where PyTorch's go."""
    ours, theirs, x = both
    a = gl.optim.SGD(ours.layers.parameters(), lr=0.05, momentum=0.9)
    b = torch.optim.SGD(theirs.layers.parameters(), lr=0.05, momentum=0.9)
    target = np.array([0, 3, 1, 4])
    for _ in range(3):
        a.zero_grad(), b.zero_grad()
        F.cross_entropy(ours(gl.tensor(x)), gl.tensor(target)).backward()
        torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(target)).backward()
        a.step(), b.step()
    assert len(copies()) <= 1
    want = theirs.layers.state_dict()
    for k, v in ours.layers.state_dict().items():
        np.testing.assert_allclose(v.numpy(), want[k].numpy(), rtol=2e-3, atol=2e-4, err_msg=k)


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank):
    """Sequences and volumes: the same."""
    conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    theirs = getattr(torch.nn.functional, f"conv{rank}d")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 8, *(6,) * rank)).astype("f4")
    w = [rng.normal(size=(8, 8, *(3,) * rank)).astype("f4") / 10 for _ in range(2)]

    def net(lib, conv):
        leaf = [lib.tensor(v) for v in (x, *w)]
        for t in leaf:
            t.requires_grad_()
        y = conv(lib.tanh(conv(leaf[0], leaf[1], padding=1)), leaf[2], padding=1)
        (y * lib.tanh(y)).sum().backward()
        return [y.detach().numpy(), *(t.grad.numpy() for t in leaf)]

    for a, b in zip(net(gl, conv), net(torch, theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_explained_without_copies():
    """``explain`` of two layers: kernels, and no movement between them."""
    layers = nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 8, 3)).eval()
    x = gl.ones(4, 8, 8, 8)
    with gl.no_grad():
        for _ in range(2):  # the first also draws the parameters
            layers(x).numpy()
    text = gl.explain()
    assert "correlate" in text
    program = text[text.rindex("in0:") :]
    assert program.count("= permute(in") == program.count("= permute(") - 1  # inputs are read, the result is turned


def test_groups_share_the_kernel_with_what_follows():
    """Bias, norm and activation behind a convolution of groups are part of its kernel."""
    layers = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=4), nn.BatchNorm2d(64), nn.ReLU()).eval()
    again = nn.Conv2d(64, 8, 1).eval()
    x = gl.ones(4, 64, 16, 16)
    with gl.no_grad():
        for _ in range(2):
            again(layers(x)).numpy()
    names = [n.name for n in TAPE.latest.exe._parts.notes if n.name not in ("copy", "pack")]
    assert names == ["dot add max", "dot add"]


def steps_of_training(lib, w, x, stride):
    """Filters of a convolution and their gradient after three updates, and the kernels of the last one."""
    w = lib.nn.Parameter(lib.tensor(w))
    rule = lib.optim.SGD([w], lr=0.1, momentum=0.9)
    for _ in range(3):
        rule.zero_grad()
        (lib.nn.functional.conv2d(lib.tensor(x), w, stride=stride, padding=1) ** 2).mean().backward()
        rule.step()
    notes = TAPE.latest.exe._parts.notes if lib is gl else []
    return w.detach().numpy(), w.grad.numpy(), [n for n in notes if math.prod(n.shape) == w.numel()]


def test_large_filters_are_brought_in_order_once():
    """Gradients of large filters are written as they are summed; one copy serves the update and ``grad``."""
    rng = np.random.default_rng(3)
    w, x = rng.normal(size=(160, 96, 3, 3)).astype("f4") / 30, rng.normal(size=(2, 96, 8, 8)).astype("f4")
    *got, kernels = steps_of_training(gl, w, x, 2)
    for a, b in zip(got, steps_of_training(torch, w, x, 2), strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    names = sorted(n.name for n in kernels)
    assert names[-2:] == ["dot", "mul add"]
    # filters there, gradients back; hosts without masks copy filters once more, into memory that may be read beyond
    assert names[:-2] == ["copy"] * (2 if detect_host().masks else 3)


def test_pooling_reads_a_turned_gradient_in_lines():
    """What flattening hands back, channels first, is brought in order before each pixel of a window looks at it."""
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(16, 32, 12, 12)).astype("f4"), rng.normal(size=(5, 32 * 36)).astype("f4")

    k = rng.normal(size=(32, 32, 3, 3)).astype("f4") / 17

    def grads(lib):
        f, images = lib.nn.functional, lib.tensor(x).requires_grad_()
        y = f.max_pool2d(f.relu(f.conv2d(images, lib.tensor(k), padding=1)), 2)
        (f.linear(y.flatten(1), lib.tensor(w)) ** 2).sum().backward()
        return images.grad.numpy()

    np.testing.assert_allclose(grads(gl), grads(torch), rtol=1e-3, atol=1e-2)
    (pool,) = [s for s in TAPE.latest.exe.describe().split("nest ") if "extents (16, 6, 2, 6, 2, 32)" in s]
    lines = [line for line in pool.split("\n") if ": buffer" in line and " f32 " in line]
    assert len(lines) == 2 and all(line.endswith(", 1]") for line in lines)


def test_norms_write_into_the_borders_of_the_next_convolution():
    """Between a 1x1 and a 3x3 convolution that train, no kernel only copies images, forward or backward."""

    def net(lib):
        n = lib.nn
        layers = n.Sequential(
            n.Conv2d(WIDE, WIDE, 1, bias=False), n.BatchNorm2d(WIDE), n.ReLU(),
            n.Conv2d(WIDE, WIDE, 3, padding=1, bias=False), n.BatchNorm2d(WIDE), n.ReLU(),
            n.Conv2d(WIDE, WIDE, 1, bias=False), n.BatchNorm2d(WIDE),
        )  # fmt: skip
        for k, p in enumerate(layers.parameters()):
            if p.ndim > 1:
                draw = np.random.default_rng(k).normal(size=tuple(p.shape)).astype("f4") / math.sqrt(p[0].numel())
                p.data = lib.tensor(draw)
        return layers

    x = np.random.default_rng(5).normal(size=(N, WIDE, SIZE, SIZE)).astype("f4")
    found = []
    for lib in (gl, torch):
        layers, images = net(lib), lib.tensor(x).requires_grad_()
        rule = lib.optim.SGD(layers.parameters(), lr=0.1)
        for _ in range(2):
            rule.zero_grad()
            (layers(images) ** 3).mean().backward()
            rule.step()
        if lib is gl:
            assert len(copies()) <= 1  # of what the user gave, channels first
        found.append([images.grad.numpy(), *(p.detach().numpy() for p in layers.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_joined_channels_lie_within_the_borders_of_the_next_convolution():
    """A skip connection: both halves are written where the padded images want them."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(N, WIDE, SIZE, SIZE)).astype("f4")
    w = [rng.normal(size=(o, i, 3, 3)).astype("f4") / 20 for o, i in ((WIDE, WIDE), (WIDE, WIDE), (8, 2 * WIDE))]

    def net(lib):
        f, images = lib.nn.functional, lib.tensor(x)
        a, b, c = (lib.tensor(v) for v in w)
        y = f.relu(f.conv2d(images, a, padding=1))
        y = lib.cat([y, lib.tanh(f.conv2d(y, b, padding=1))], 1)
        return f.conv2d(y, c, padding=1)

    np.testing.assert_allclose(net(gl).numpy(), net(torch).numpy(), rtol=1e-3, atol=1e-4)
    assert len(copies()) <= 1  # of what the user gave, channels first


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_joined_pieces_within_borders(value):
    """Pieces and borders of large arrays, where others read what was joined as well, and where they do not."""
    x, y = (np.random.default_rng(k).normal(size=(4, 40, 30 + k)).astype("f4") for k in range(2))
    want = np.pad(np.concatenate([x * 2, np.sin(y)], 2), ((0, 0), (5, 6), (1, 70)), constant_values=value)
    joined = gl.cat([gl.tensor(x) * 2, gl.sin(gl.tensor(y))], 2)
    got = F.pad(joined, (1, 70, 5, 6), value=value)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6, atol=1e-6)
    joined = gl.cat([gl.tensor(x) * 2, gl.sin(gl.tensor(y))], 2)
    got, other = F.pad(joined, (1, 70, 5, 6), value=value) + 1, joined.sum(1)
    np.testing.assert_allclose(got.numpy(), want + 1, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(other.numpy(), want[:, 5:-6, 1:-70].sum(1), rtol=1e-4, atol=1e-4)
