"""Loops taken apart by rows: which bodies are, that not a bit changes, and that what is left whole is right too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import control, nn
from gradloom.autodiff.bodies import Body
from gradloom.compiler import looping
from gradloom.compiler.rows import Piece, blocks
from gradloom.errors import IndexRangeError
from gradloom.profiler import profile
from gradloom.runtime.threads import get_num_threads, set_num_threads
from gradloom.tape import TAPE

RNG = np.random.default_rng(0)
Step = Callable[..., Any]


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GRADLOOM_PLAN_CACHE", "0")
    before = get_num_threads()
    set_num_threads(2)
    yield
    set_num_threads(before)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[looping.Job]:
    """The loops that become native."""
    found: list[looping.Job] = []

    make = looping.Job.__init__

    def noted(self: looping.Job, *args: Any) -> None:
        make(self, *args)
        found.append(self)

    monkeypatch.setattr(looping.Job, "__init__", noted)
    return found


def array(*shape: int) -> gl.Tensor:
    return gl.tensor(RNG.normal(size=shape).astype("f4") * 0.3)


def known() -> None:
    """Forget bodies, so that they are compiled for the number of threads there is."""
    Body.known.clear()
    TAPE.forget()


W = array(24, 24)
ROW = array(24)
PER_ROW = array(32, 24)

APART: dict[str, Step] = {
    "product": lambda h, x: gl.tanh(h @ W + x),
    "captured row": lambda h, x: gl.tanh(h @ W + x) * ROW,
    "captured rows": lambda h, x: gl.tanh(h @ W + x) * PER_ROW,
    "zeros": lambda h, x: gl.where(x > 0, gl.tanh(h @ W), gl.zeros(32, 24)),
    "ones spread": lambda h, x: h * 0.5 + ROW.expand(32, 24) * x,
    "pieces": lambda h, x: gl.cat([gl.relu(h[:, :9]), x[:, 9:]], 1) @ W,
    "turned": lambda h, x: (W @ (h + x).T).T,
    "heads": lambda h, x: ((h @ W).reshape(32, 4, 6).transpose(1, 2) + x.reshape(32, 6, 4)).reshape(32, 24),
    "padded": lambda h, x: nn.functional.pad(h[:, 1:], (1, 0)) + x,
    "largest of a row": lambda h, x: (h - h.amax(1, keepdim=True)) @ W + x,
}
WHOLE: dict[str, Step] = {
    "sum over rows": lambda h, x: h @ W - x.sum(0),
    "largest of all": lambda h, x: h @ W - h.amax() + x,
    "sum over columns": lambda h, x: h @ W - x.mean(1, keepdim=True),
    "turned rows": lambda h, x: h.flip((0,)) @ W + x,
    "half of the rows": lambda h, x: h + gl.cat([x[:16], x[:16]]),
    "rows times rows": lambda h, x: gl.softmax(h @ x.T, -1) @ x,
    "narrow product": lambda h, x: h + (h @ W[:, :3])[:, :1] * x,
    "rows joined": lambda h, x: (h.reshape(-1) * 0.5).reshape(32, 24) + x,
}


def unrolled(step: Step, h: gl.Tensor, xs: gl.Tensor) -> np.ndarray:
    for x in xs:
        h = step(h, x)
    return h.numpy()


@pytest.mark.parametrize("name", [*APART, *WHOLE])
def test_bodies(jobs: list[looping.Job], name: str) -> None:
    step = {**APART, **WHOLE}[name]
    known()
    h, xs = array(32, 24), array(5, 32, 24)
    last, ys = control.scan(lambda h, x: (step(h, x),) * 2, h, xs)
    np.testing.assert_allclose(last.numpy(), unrolled(step, h, xs), 2e-5, 2e-6)
    np.testing.assert_array_equal(last.numpy(), ys[-1].numpy())
    assert [len(j.strands) for j in jobs] == [4 if name in APART else 1]


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 23, 37, 64])
@pytest.mark.parametrize("reverse", [False, True])
def test_any_number_of_rows(rows: int, reverse: bool) -> None:
    h, xs = array(rows, 24), array(3, rows, 24)
    step = APART["product"]
    last, ys = control.scan(lambda h, x: (step(h, x), (h, step(h, x)[:, :5])), h, xs, reverse=reverse)
    want = h
    for t in range(3)[:: -1 if reverse else 1]:
        np.testing.assert_allclose(ys[0][t].numpy(), want.numpy(), 2e-5, 2e-6)
        want = step(want, xs[t])
        np.testing.assert_allclose(ys[1][t].numpy(), want.numpy()[:, :5], 2e-5, 2e-6)
    np.testing.assert_allclose(last.numpy(), want.numpy(), 2e-5, 2e-6)


LAYERS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: nn.LSTM(12, 20, 2, batch_first=True, bidirectional=True),
    "gru": lambda: nn.GRU(12, 33, batch_first=True),
    "rnn": lambda: nn.RNN(12, 10, batch_first=True, bidirectional=True),
    "projected": lambda: nn.LSTM(12, 20, proj_size=7, batch_first=True),
}


def gradients(layer: Any, x: np.ndarray, lengths: list[int] | None) -> list[np.ndarray]:
    given = gl.tensor(x, requires_grad=True)
    layer.zero_grad()
    if lengths is None:
        y, _ = layer(given)
    else:
        packed = nn.utils.rnn.pack_padded_sequence(given, gl.tensor(lengths), batch_first=True)
        y, _ = nn.utils.rnn.pad_packed_sequence(layer(packed)[0], batch_first=True)
    y.square().sum().backward()
    return [y.numpy(), given.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("packed", [False, True])
def test_not_a_bit_hangs_on_the_threads(jobs: list[looping.Job], name: str, packed: bool) -> None:
    x = RNG.normal(size=(27, 9, 12)).astype("f4")
    lengths = [9] * 3 + [7] * 10 + [4] * 10 + [1] * 4 if packed else None
    found, strands = [], []
    for n in (1, 2, 3, 64):
        known()
        set_num_threads(n)
        jobs.clear()
        gl.manual_seed(0)
        found.append(gradients(LAYERS[name](), x, lengths))
        strands.append(max(len(j.strands) for j in jobs))
    assert strands[0] == strands[1] >= 3
    assert strands[3] == 1
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_directions_run_beside_each_other(jobs: list[looping.Job]) -> None:
    known()
    layer = nn.GRU(8, 16, bidirectional=True)
    layer(array(6, 2, 8))[0].numpy()
    (job,) = jobs
    one, other = (set(s.numbers) for s in job.strands)
    assert 0 in one and 1 in other and not one & other
    assert one | other == set(range(len(job.results)))


def test_how_many_rows() -> None:
    def piece(rows: int, captured: int) -> Piece:
        made = Piece.__new__(Piece)
        made.rows, made.captured = rows, captured
        return made

    near, huge = 1 << 20, 1 << 30
    assert blocks([piece(32, near)], 2) == [(0, 0, 8), (0, 8, 8), (0, 16, 8), (0, 24, 8)]
    assert blocks([piece(32, near)], 5) == blocks([piece(32, huge)], 1) == blocks([piece(15, near)], 1) == []
    assert blocks([piece(16, huge), piece(0, 0)], 2) == [(0, 0, 16), (1, 0, 0)]
    for rows in range(16, 5000, 77):
        found = blocks([piece(rows, near)], 2)
        assert 2 <= len(found) <= 32
        assert [at for _, at, _ in found] == np.cumsum([0, *(n for *_, n in found)])[:-1].tolist()
        assert sum(n for *_, n in found) == rows
        assert min(n for *_, n in found) >= 8


def test_loops_in_loops_and_batches() -> None:
    w, x = array(16, 16), array(3, 4, 32, 16)

    def inner(h: gl.Tensor, x: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        h = gl.tanh(h @ w + x)
        return h, h

    def outer(h: gl.Tensor, xs: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        h = control.scan(inner, h, xs)[0]
        return h, h

    got = control.scan(outer, gl.zeros(32, 16), x)[0].numpy()
    h = np.zeros((32, 16), "f4")
    for row in x.numpy().reshape(12, 32, 16):
        h = np.tanh(h @ w.numpy() + row)
    np.testing.assert_allclose(got, h, 2e-5, 2e-6)

    h, xs = array(5, 32, 16), array(5, 4, 32, 16)
    many = gl.func.vmap(lambda h, xs: control.scan(inner, h, xs))(h, xs)
    for k in range(5):
        for a, b in zip(many, control.scan(inner, h[k], xs[k]), strict=True):
            np.testing.assert_allclose(a[k].numpy(), b.numpy(), 2e-5, 2e-6)


def test_profiles_tell_of_every_kernel_once(jobs: list[looping.Job]) -> None:
    known()
    h, xs = array(40, 24), array(6, 40, 24)
    step = APART["product"]
    run = lambda: control.scan(lambda h, x: (step(h, x),) * 2, h, xs)[0].numpy()  # noqa: E731
    want = run()
    (job,) = jobs
    with profile() as p:
        np.testing.assert_array_equal(run(), want)
    kernels = [e for e in p.events() if e.name != "program"]
    assert len(kernels) >= len(job.notes) > 0


def test_indices_are_checked_in_every_step() -> None:
    table = array(10, 24)

    def step(h: gl.Tensor, k: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        h = gl.tanh(h + nn.functional.embedding(k, table))
        return h, h

    places = RNG.integers(0, 10, (4, 32))
    h = control.scan(step, gl.zeros(32, 24), gl.tensor(places))[0].numpy()
    want = np.zeros((32, 24), "f4")
    for k in places:
        want = np.tanh(want + table.numpy()[k])
    np.testing.assert_allclose(h, want, 1e-5, 1e-6)
    places[2, 31] = 10
    with pytest.raises(IndexRangeError):
        control.scan(step, gl.zeros(32, 24), gl.tensor(places))[0].numpy()
