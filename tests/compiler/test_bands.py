"""A product and the depthwise convolution behind it in one kernel, by bands of rows: the same numbers as apart."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.compiler import bands, pipeline
from gradloom.modes import set_target
from gradloom.nn import functional as F
from gradloom.tape import TAPE


@pytest.fixture
def made(monkeypatch):
    """Bands wherever they are possible, of stretches as low as can be; what was made."""
    TAPE.flush()
    TAPE.forget()
    monkeypatch.setenv("GRADLOOM_PLAN_CACHE", "0")
    monkeypatch.setattr(bands, "LEAST_BYTES", 0)
    monkeypatch.setattr(bands, "FAR_BYTES", 1e-9)
    monkeypatch.setattr(bands, "STRETCH_BYTES", 32 << 10)
    found = []

    def spy(*given, **named):
        found.append(bands.band_up(*given, **named))
        return found[-1]

    monkeypatch.setattr(pipeline, "band_up", spy)
    yield found
    TAPE.flush()
    TAPE.forget()


class Pair(nn.Module):
    """A convolution of single pixels, an activation, one by channel."""

    def __init__(self, cin: int, wide: int, kernel=3, stride=1, padding=1, dilation=1, act=F.relu6) -> None:
        super().__init__()
        self.a = nn.Conv2d(cin, wide, 1)
        self.b = nn.Conv2d(wide, wide, kernel, stride, padding, dilation, groups=wide)
        self.act = act

    def forward(self, x):
        return self.act(self.b(self.act(self.a(x))))


def close(model, x, tolerance=1e-4):
    model.eval()
    TAPE.flush()
    with gl.no_grad():
        set_target("reference")
        try:
            want = model(x).numpy().copy()
        finally:
            set_target("cpu")
        for _ in range(2):
            np.testing.assert_allclose(model(x).numpy().astype("f8"), want.astype("f8"), tolerance, tolerance)


def images(*shape, dtype=gl.float32):
    return gl.tensor(np.random.default_rng(0).standard_normal(shape, "f4")).to(dtype)


CASES = {
    "plain": ({}, (1, 5, 17, 13)),
    "several images": ({}, (3, 5, 10, 9)),
    "stride": ({"stride": 2}, (1, 5, 21, 15)),
    "stride of several images": ({"stride": (2, 1)}, (2, 5, 16, 15)),
    "no padding": ({"padding": 0}, (1, 5, 16, 12)),
    "more padding than is seen": ({"padding": 4}, (1, 5, 11, 12)),
    "dilation": ({"padding": 2, "dilation": 2}, (1, 5, 19, 12)),
    "large filters": ({"kernel": 5, "padding": 2, "stride": 2}, (2, 5, 23, 14)),
    "rows that nobody sees": ({"kernel": 1, "padding": 0, "stride": 3}, (1, 5, 20, 14)),
    "filters of one row": ({"kernel": (1, 3), "padding": (0, 1)}, (1, 5, 14, 14)),
    "higher than the images": ({"kernel": (9, 3), "padding": (4, 1)}, (1, 5, 12, 14)),
}


@pytest.mark.parametrize("wide", [16, 40, 51])
@pytest.mark.parametrize("case", CASES)
def test_walks(made, case, wide):
    how, shape = CASES[case]
    gl.manual_seed(0)
    close(Pair(shape[1], wide, **how), images(*shape))
    assert any(made)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads(made, threads):
    gl.manual_seed(0)
    before = gl.get_num_threads()
    gl.set_num_threads(threads)
    try:
        close(Pair(7, 48), images(2, 7, 37, 11))
    finally:
        gl.set_num_threads(before)
    assert any(made)


@pytest.mark.parametrize("dtype", [gl.float64, gl.float16, gl.bfloat16])
def test_other_dtypes(made, dtype):
    gl.manual_seed(0)
    tolerance = {gl.float64: 1e-10, gl.float16: 1e-2, gl.bfloat16: 5e-2}[dtype]
    close(Pair(5, 32).to(dtype), images(1, 5, 15, 12, dtype=dtype), tolerance)


@pytest.mark.parametrize("act", [nn.Identity(), F.silu, F.hardswish], ids=["nothing", "silu", "hardswish"])
def test_activations(made, act):
    gl.manual_seed(0)
    close(Pair(5, 32, act=act), images(1, 5, 15, 12))
    assert any(made)


def test_many_stretches_and_bands(made, monkeypatch):
    """Rows are handed on from stretch to stretch, and computed twice where bands meet."""
    monkeypatch.setattr(bands, "STRETCH_CYCLES", 0)
    monkeypatch.setattr(bands, "get_num_threads", lambda: 3)
    gl.manual_seed(0)
    close(Pair(4, 16), images(1, 4, 64, 12))
    (launch,) = [x for x in made if x is not None][:1]
    stretches, many, tall = launch.ints[:3]
    assert launch.chunks == -(-stretches // many) > 1
    assert many > 1
    assert stretches == -(-64 // tall)


def test_whole_blocks(made):
    """With norms and skip connections, one after the other."""

    class Block(nn.Module):
        def __init__(self, cin, wide, cout, stride):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(cin, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
                nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
                nn.Conv2d(wide, cout, 1, bias=False), nn.BatchNorm2d(cout),
            )  # fmt: skip
            self.add = stride == 1 and cin == cout

        def forward(self, x):
            return x + self.layers(x) if self.add else self.layers(x)

    gl.manual_seed(0)
    net = nn.Sequential(Block(6, 36, 10, 2), Block(10, 60, 10, 1), Block(10, 60, 12, 1))
    for p in (*net.parameters(), *net.buffers()):
        if p.is_floating_point():
            p.data = p.data + 0.1 * gl.rand(p.shape)
    close(net, images(2, 6, 30, 22))
    assert sum(x is not None for x in made) >= 3


def test_branches(made):
    """Several products read the same images: what shares a fork with one that is taken away has its own."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pairs = nn.ModuleList(
                [Pair(5, wide, kernel=k, padding=k // 2) for wide, k in ((32, 3), (48, 5), (24, 3))]
            )
            self.alone = nn.Conv2d(5, 40, 1)

        def forward(self, x):
            return gl.cat([self.pairs[0](x), self.pairs[1](x), F.relu(self.alone(x)), self.pairs[2](x)], 1)

    gl.manual_seed(0)
    close(Branches(), images(2, 5, 23, 14))
    assert sum(x is not None for x in made) >= 3


class Seen(Pair):
    """What the product gives is wanted elsewhere too."""

    def forward(self, x):
        y = self.act(self.a(x))
        return gl.cat([self.b(y), y], 1)


def test_not_where_others_look(made):
    gl.manual_seed(0)
    close(Seen(5, 32), images(1, 5, 15, 12))
    assert not any(made)


def test_not_in_training(made):
    gl.manual_seed(0)
    model = Pair(5, 32)
    model(images(2, 5, 15, 12)).square().mean().backward()
    assert model.a.weight.grad is not None
    model.a.weight.grad.numpy()
    assert not any(made)


def test_what_pays(monkeypatch):
    """Nothing is made for images that are in a cache near by."""
    monkeypatch.setenv("GRADLOOM_PLAN_CACHE", "0")
    TAPE.forget()
    found = []

    def spy(*given, **named):
        found.append(bands.band_up(*given, **named))
        return found[-1]

    monkeypatch.setattr(pipeline, "band_up", spy)
    gl.manual_seed(0)
    for size, wanted in ((12, False), (48, True)):
        model = Pair(16, 96).eval()
        found.clear()
        with gl.no_grad():
            model(images(1, 16, size, size)).numpy()
        assert any(found) == wanted
