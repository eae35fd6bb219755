"""A batch in rounds of a few images: the same numbers, whoever runs them, and only where images are treated alike."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import gradloom as gl
from gradloom import nn
from gradloom.compiler import kernels, pipeline, plans, sources
from gradloom.compiler.passes import rounds
from gradloom.compiler.passes.clean import dead
from gradloom.graph.node import Graph, Node, check
from gradloom.modes import set_target
from gradloom.nn import functional as F
from gradloom.profiler import profile
from gradloom.reference.interpreter import evaluate
from gradloom.runtime.runner import Rounds
from gradloom.tape import TAPE

BATCH = 12


class Seen:
    """The graphs that were compiled with their lasting inputs, and what came of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.graphs: list[tuple[Graph, list[int]]] = []
        self.made: list[tuple[Graph, int] | None] = []

        def spy(graph, lasting):
            self.graphs.append((graph, list(lasting)))
            self.made.append(rounds.in_rounds(graph, lasting))
            return self.made[-1]

        monkeypatch.setattr(pipeline, "in_rounds", spy)


@pytest.fixture
def seen(monkeypatch):
    """Rounds wherever they are possible."""
    TAPE.flush()
    TAPE.forget()
    monkeypatch.setenv("GRADLOOM_PLAN_CACHE", "0")
    monkeypatch.setattr(rounds, "FAR_BYTES", 0)
    monkeypatch.setattr(rounds, "WEIGHT", 0)
    monkeypatch.setattr(rounds, "SHARED", 0)
    yield Seen(monkeypatch)
    TAPE.flush()
    TAPE.forget()


class Block(nn.Module):
    """Expanded, convolved by channel or group, projected; added to what came in where it fits."""

    def __init__(self, cin: int, cout: int, stride: int = 1, groups: int | None = None) -> None:
        super().__init__()
        wide = 3 * cin
        self.layers = nn.Sequential(
            nn.Conv2d(cin, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide if groups is None else groups, bias=False),
            nn.BatchNorm2d(wide), nn.Hardswish(), nn.Conv2d(wide, cout, 1),
        )  # fmt: skip
        self.add = stride == 1 and cin == cout

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.add else y


class Split(nn.Module):
    """Channels are cut, padded, turned upside down, transposed, pooled and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 6, 3, padding=2, dilation=2), nn.ConvTranspose2d(5, 4, 2, stride=2)

    def forward(self, x):
        a, b = self.a(x[:, :4]), F.pad(x[:, 3:], (1, 1, 0, 2))
        c = self.b(x[:, :5]).flatten(2).mean(-1)
        return gl.cat([a, b[:, :, :-2, 1:-1]], 1).permute(0, 2, 3, 1), F.softmax(c, 1), a.amax((2, 3)).sum(1)


NETS = {
    "inverted residuals": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), Block(8, 8), Block(8, 11, 2), Block(11, 11, 1, 3),
                              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(11, 5)),
        (3, 17, 19),
    ),
    "pieces of channels": (Split, (8, 9, 7)),
    "pools and a product over all of an image": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), nn.Flatten(),
                              nn.Linear(4 * 5 * 4, 30), nn.Sigmoid(), nn.Linear(30, 7)),
        (2, 13, 11),
    ),
    "norms of each image": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(2, 6), nn.GELU(), nn.Conv2d(6, 4, 3, padding=1),
                              nn.InstanceNorm2d(4), nn.Upsample(scale_factor=2)),
        (3, 6, 5),
    ),
}  # fmt: skip


def whole(y) -> list[np.ndarray]:
    return [v.numpy().copy() for v in (y if isinstance(y, tuple) else (y,))]


def expected(m, *given):
    TAPE.flush()
    set_target("reference")
    try:
        with gl.no_grad():
            return whole(m(*given))
    finally:
        set_target("cpu")


def net_of(name, dtype=gl.float32, batch=BATCH):
    gl.manual_seed(0)
    make, shape = NETS[name]
    m = make().eval()
    for p in (*m.parameters(), *m.buffers()):
        if p.is_floating_point():
            p.data = p.data + 0.1 * gl.rand(p.shape)
    x = np.random.default_rng(1).standard_normal((batch, *shape), "f4")
    m, x = m.to(dtype), gl.tensor(x).to(dtype)
    TAPE.flush()
    return m, x


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", NETS)
def test_networks(seen, name, threads):
    m, x = net_of(name)
    want = expected(m, x)
    before = gl.get_num_threads()
    gl.set_num_threads(threads)
    try:
        with gl.no_grad():
            for _ in range(3):
                for a, b in zip(whole(m(x)), want, strict=True):
                    np.testing.assert_allclose(a, b, 2e-4, 2e-5)
    finally:
        gl.set_num_threads(before)
    assert any(r is not None and r[1] >= rounds.LEAST_ROUNDS for r in seen.made)


@pytest.mark.parametrize("dtype", [gl.float64, gl.float16, gl.bfloat16])
def test_other_dtypes(seen, dtype):
    m, x = net_of("inverted residuals", dtype)
    (want,) = expected(m, x)
    with gl.no_grad():
        (got,) = whole(m(x))
    assert seen.made[-1] is not None
    tolerance = {gl.float64: 1e-10, gl.float16: 2e-2, gl.bfloat16: 1e-1}[dtype]
    np.testing.assert_allclose(got.astype("f8"), want.astype("f8"), tolerance, tolerance)


def values(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    known = {id(n): a for n, a in zip(graph.inputs, arrays, strict=True)}
    for n in graph.nodes:
        known[id(n)] = evaluate(n, [known[id(i)] for i in n.ins])
    return [known[id(n)] for n in graph.outputs]


@pytest.mark.parametrize("near", [0, 1 << 40], ids=["one image", "as many as may be"])
@pytest.mark.parametrize("name", NETS)
def test_programs_say_the_same(seen, monkeypatch, name, near):
    """The smaller program, by the interpreter, on one stretch of the images after the other."""
    monkeypatch.setattr(rounds, "NEAR_BYTES", near)
    m, x = net_of(name, gl.float64)
    if not near:
        monkeypatch.setattr(rounds, "_few", lambda *_: 1)
    with gl.no_grad():
        whole(m(x))
    (graph, lasting), found = seen.graphs[-1], seen.made[-1]
    assert found is not None
    small, count = found
    assert count == (BATCH if not near else rounds.LEAST_ROUNDS)
    check(small)
    graph = dead(graph)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.5, 1, n.aval.shape) for n in graph.inputs]
    want = values(graph, arrays)
    few = BATCH // count
    parts = [
        values(small, [a if k in lasting or not a.shape else a[few * r : few * (r + 1)] for k, a in enumerate(arrays)])
        for r in range(count)
    ]
    for k, w in enumerate(want):
        np.testing.assert_allclose(np.concatenate([p[k] for p in parts]), w, 1e-12, 1e-12)


CONV = {"a": (5, 3, 3, 3)}
UNLIKE = {
    "mean over images": lambda m, x: m(x).mean(0),
    "a norm of all images": lambda m, x: m(x) - m(x).mean((0, 2, 3), keepdim=True),
    "a cut": lambda m, x: m(x)[1:],
    "turned round": lambda m, x: m(x).flip(0),
    "images one below the other": lambda m, x: gl.cat([m(x), m(x)]),
    "images side by side": lambda m, x: m(x).permute(1, 0, 2, 3),
    "an image beside all others": lambda m, x: gl.matmul(m(x).flatten(1), m(x).flatten(1).permute(1, 0)),
    "a row for each image": lambda m, x: m(x) + gl.arange(BATCH).reshape(BATCH, 1, 1, 1),
    "an image for padding": lambda m, x: F.pad(m(x), (0, 0, 0, 0, 0, 0, 1, 0)),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_not_where_images_meet(seen, name):
    gl.manual_seed(0)
    m = nn.Conv2d(3, 5, 3).eval()
    x = gl.tensor(np.random.default_rng(0).standard_normal((BATCH, 3, 6, 7), "f4"))
    what = UNLIKE[name]
    want = expected(lambda v: what(m, v), x)
    with gl.no_grad():
        for a, b in zip(whole(what(m, x)), want, strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-5)
    assert seen.made and not any(seen.made)


def test_several_images_and_numbers(seen):
    """Two inputs with a row for each image; a number and weights for all of them."""
    gl.manual_seed(0)
    m = nn.Conv2d(3, 3, 3, padding=1).eval()
    rng = np.random.default_rng(0)
    x, y = (gl.tensor(rng.standard_normal((BATCH, 3, 6, 7), "f4")) for _ in range(2))
    call = gl.compile(lambda a, b: F.relu(m(a) * b + 0.5 * m(b)))
    want = expected(lambda a, b: F.relu(m(a) * b + 0.5 * m(b)), x, y)
    with gl.no_grad():
        for _ in range(3):
            np.testing.assert_allclose(whole(call(x, y))[0], want[0], 1e-4, 1e-5)
    assert seen.made[-1] is not None


def test_training_is_not_cut(seen):
    m = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 2))
    m(gl.randn(BATCH, 3, 6, 6)).sum().backward()
    assert m[0].weight.grad is not None
    m[0].weight.grad.numpy()
    assert not any(seen.made)


def test_what_pays(monkeypatch):
    """Decided from bytes and threads: many images of a network with few weights, in rounds that fill all threads."""
    threads = 2
    monkeypatch.setattr(rounds, "get_num_threads", lambda: threads)

    def few(batch, size, channels, weights):
        x = Node(None, (), (), gl.graph.node.Aval((batch, size, size, channels), gl.float32))
        w = Node(None, (), (), gl.graph.node.Aval((1, 1, channels, channels), gl.float32))
        more = Node(None, (), (), gl.graph.node.Aval((weights,), gl.float32))
        from gradloom.ops.convolution import Geometry, convolve

        attrs = (Geometry((1, 1), ((0, 0), (0, 0)), (1, 1)), ())
        y = Node(convolve, (x, w), attrs, convolve.infer([x.aval, w.aval], attrs))
        return rounds._few(Graph([x, w, more], [y], [y]), [w, more], batch)

    assert few(32, 112, 64, 0) == 1  # 6.4 MB each
    assert few(32, 56, 64, 0) == 4  # 1.6 MB each
    assert few(32, 28, 64, 0) == 0  # all of them are 13 MB
    assert few(31, 56, 64, 0) == 1
    assert few(7, 112, 64, 0) == 0  # four rounds for one thread, three for the other
    assert few(3, 448, 64, 0) == 0  # too few rounds
    assert few(32, 56, 64, 1 << 20) == 0  # 4 MB of weights against 6.4 of images in a round
    assert few(32, 320, 64, 0) == 0  # not even one stays
    threads = 1
    assert few(7, 112, 64, 0) == 1
    threads = 12
    assert few(32, 56, 64, 0) == 0  # eight of twelve would be idle at the end
    threads = 16
    assert few(32, 56, 64, 0) == 2


def test_profile_tells_of_every_kernel(seen):
    m, x = net_of("inverted residuals")
    with gl.no_grad():
        whole(m(x))
        with profile() as p:
            whole(m(x))
    assert seen.made[-1] is not None
    own = [e for e in p.events() if e.kind == "kernel"]
    assert len(own) > 8
    assert all(e.duration >= 0 for e in own)


def test_kept_on_disk(seen, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("GRADLOOM_PLAN_CACHE", "1")
    monkeypatch.setattr(sources, "_SINCE", float("inf"))
    monkeypatch.setattr(plans, "LEAST", 1)
    sources.sources_hash.cache_clear()
    m, x = net_of("inverted residuals")
    want = expected(m, x)
    found = []
    load = plans.load
    monkeypatch.setattr(plans, "load", lambda *a: found.append(load(*a)) or found[-1])
    for _ in range(2):
        kernels.clear_memory_cache()
        TAPE.forget()
        with gl.no_grad():
            np.testing.assert_allclose(whole(m(x))[0], want[0], 1e-4, 1e-5)
    sources.sources_hash.cache_clear()
    assert found[0] is None
    assert found[-1] is not None
    assert any(isinstance(c, Rounds) for c in found[-1]._parts.segments[0])


def test_parameters_may_change(seen):
    m, x = net_of("inverted residuals")
    with gl.no_grad():
        whole(m(x))
        for p in m.parameters():
            p.mul_(1.5)
        want = expected(m, x)
        np.testing.assert_allclose(whole(m(x))[0], want[0], 1e-4, 1e-4)


def test_from_several_threads(seen):
    """Programs of several callers at once: those without the workers run alone."""
    nets = [net_of(n) for n in ("inverted residuals", "norms of each image")]
    want = [expected(m, x)[0] for m, x in nets]
    calls = [gl.compile(m) for m, _ in nets]
    wrong = []

    def run(k):
        with gl.no_grad():
            for _ in range(20):
                got = whole(calls[k](nets[k][1]))[0]
                if not np.allclose(got, want[k], 1e-4, 1e-4):
                    wrong.append(k)

    for k in (0, 1):
        run(k)
    both = [threading.Thread(target=run, args=(k,)) for k in (0, 1)]
    for t in both:
        t.start()
    for t in both:
        t.join()
    assert not wrong
