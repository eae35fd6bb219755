"""vmap: axes, trees, nesting, chunks and randomness; every kind of primitive against a loop; what it refuses."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import func
from gradloom.errors import GradientError, IndexRangeError, ShapeError
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

RNG = np.random.default_rng(4)
A = RNG.normal(size=(3, 4, 5))
B = RNG.normal(size=(3, 5, 2))
I = RNG.integers(0, 4, (3, 6))
N = 3


def rows(f: Callable[..., Any], args: tuple, dims: tuple) -> list[Any]:
    return [f(*(a if d is None else a.select(d, k) for a, d in zip(args, dims, strict=True))) for k in range(N)]


def check(f: Callable[..., Any], args: list[np.ndarray], dims: tuple, exact: bool = False) -> None:
    """vmap against a loop of the same function, of its gradient, and the gradient of both."""
    ts = tuple(gl.tensor(a) for a in args)
    got, want = func.vmap(f, dims)(*ts), rows(f, ts, dims)
    want = np.stack([w.numpy() for w in want])
    assert got.numpy().dtype == want.dtype
    (np.testing.assert_array_equal if exact else lambda a, b: np.testing.assert_allclose(a, b, 1e-10, 1e-12))(
        got.numpy(), want
    )
    at = tuple(k for k, t in enumerate(ts) if t.dtype.is_floating)
    if not at or not got.dtype.is_floating:
        return

    def total(*xs: Any) -> Any:
        return (func.vmap(f, dims)(*xs).sin()).sum()

    def looped(*xs: Any) -> Any:
        return sum(r.sin().sum() for r in rows(f, xs, dims))

    for a, b in zip(func.grad(total, at)(*ts), func.grad(looped, at)(*ts), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-9, 1e-11)


KINDS: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "elementwise": (lambda x, y: (x.sin() + y[:, :1].exp().T) * 2, [A, B[:, :, :1].repeat(5, 2)[:, :5]]),
    "ranks": (lambda x, s: x * s + s, [A, A[:, 0, 0]]),
    "where": (lambda x, y: gl.where(x > 0, x, y[0]), [A, A]),
    "reduce": (lambda x: x.sum(0) * x.amax((0, 1)) + x.prod(-1, keepdim=True).sum(), [A]),
    "movement": (lambda x: x.reshape(2, 2, 5).permute(2, 0, 1)[::2, :, -1].flip(0), [A]),
    "expand": (lambda x: x[:, None].expand(4, 3, 5), [A]),
    "cat": (lambda x, y: gl.cat([x, y.T, x], 0), [A, B]),
    "write": (lambda x, y: _written(x, y), [A, B]),
    "matmul": (lambda x, y: x @ y, [A, B]),
    "vectors": (lambda x, y: x[0] @ y @ y.T @ x.T, [A, B]),
    "outer": (lambda x, y: x[:, :1] @ y[:1], [A, B]),
    "take": (lambda x, i: x[i] * 2, [A, I]),
    "take along": (lambda x, i: gl.gather(x, 0, i[:5].reshape(1, 5)), [A, I]),
    "two indices": (lambda x, i: x[i, i], [A, I]),
    "split indices": (lambda x, i: x[:, None][i[:2], :, i[2:4]], [A, I]),
    "scatter": (lambda x, i: gl.scatter_add(x, 0, i[:5].reshape(1, 5), x[:1]), [A, I]),
    "put": (lambda x, i: _put(x, i), [A, I]),
    "sort": (lambda x: gl.sort(x, 1).values + gl.topk(x, 5, -1).values, [A]),
    "cumsum": (lambda x: x.cumsum(0) * x.cumprod(1), [A]),
    "inverse": (lambda x: gl.linalg.inv(x @ x.T + 4 * gl.eye(4, dtype=gl.float64)), [A]),
    "solve": (lambda x, y: gl.linalg.solve(x @ x.T + 4 * gl.eye(4, dtype=gl.float64), x @ y), [A, B]),
    "norms": (lambda x: gl.softmax(x, -1) + gl.logsumexp(x, 0) + x.std(1, keepdim=True), [A]),
    "argmax": (lambda x: x.argmax(1), [A]),
    "integers": (lambda i: (i // 2 + i % 3) ** 2 - (i & 3), [I]),
    "constant": (lambda x: gl.arange(4) + x.shape[0], [A]),
}


def _written(x: Any, y: Any) -> Any:
    z = x.clone()
    z[1, ::2] = y[:3, 0]
    z[:, 4] += 1
    return z


def _put(x: Any, i: Any) -> Any:
    z = x.clone()
    z[i, :] = x[:1] * 2
    z.index_put_((i[:2], i[2:4]), x[0, :2], accumulate=True)
    return z


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_primitives(name: str) -> None:
    f, args = KINDS[name]
    check(f, args, (0,) * len(args))


@pytest.mark.parametrize("name", [k for k in KINDS if len(KINDS[k][1]) == 2])
@pytest.mark.parametrize("shared", [0, 1])
def test_one_operand_for_all(name: str, shared: int) -> None:
    f, args = KINDS[name]
    given = [a[1] if k == shared else a for k, a in enumerate(args)]
    check(f, given, tuple(None if k == shared else 0 for k in range(2)))


@pytest.mark.parametrize("dims", [(0, 0), (1, 0), (-1, 1), (2, None), (None, 2)])
@pytest.mark.parametrize("out", [0, 1, -1, -2])
def test_axes(dims: tuple, out: int) -> None:
    shapes = [(4, 5), (5, 2)]
    args = [RNG.normal(size=s if d is None else np.insert(s, d % 3, N)) for s, d in zip(shapes, dims, strict=True)]
    mine = func.vmap(lambda x, y: x @ y, dims, out)(*map(gl.tensor, args))
    theirs = torch.func.vmap(lambda x, y: x @ y, dims, out)(*map(torch.tensor, args))
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), 1e-12)


def test_trees_in_and_out() -> None:
    def f(p: Any, x: Any) -> Any:
        return {"s": p["w"] @ x, "n": (p["b"] + x, x.sum())}

    w, b, x = A[0], RNG.normal(size=(N, 5)), RNG.normal(size=(5, N))
    for T in (gl, torch):
        got = T.vmap(f, ({"w": None, "b": 0}, 1), {"s": 1, "n": (-1, 0)})(
            {"w": T.tensor(w), "b": T.tensor(b)}, T.tensor(x)
        )
        np.testing.assert_allclose(got["s"].numpy(), w @ x, 1e-12)
        np.testing.assert_allclose(got["n"][0].numpy(), b.T + x, 1e-12)
        np.testing.assert_allclose(got["n"][1].numpy(), x.sum(0), 1e-12)


def test_keywords_are_shared_and_outputs_may_be() -> None:
    got, k = func.vmap(lambda x, k: (x + k, k * 2), out_dims=(0, None))(gl.tensor(A), k=gl.tensor(2.0))
    np.testing.assert_allclose(got.numpy(), A + 2)
    assert k.item() == 4.0


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks(size: int) -> None:
    f = KINDS["norms"][0]
    x = gl.tensor(A)
    np.testing.assert_allclose(func.vmap(f, chunk_size=size)(x).numpy(), func.vmap(f)(x).numpy(), 1e-12)


def test_randomness() -> None:
    x = gl.zeros(N, 5)
    with pytest.raises(GradientError, match="random"):
        func.vmap(lambda x: x + gl.rand(5))(x)
    same = func.vmap(lambda x: x + gl.rand(5), randomness="same")(x).numpy()
    np.testing.assert_array_equal(same[0], same[1])
    other = func.vmap(lambda x: x + gl.rand(5), randomness="different")(x).numpy()
    assert len(np.unique(other)) == other.size
    nested = func.vmap(func.vmap(lambda x: x + gl.rand(()), randomness="different"), randomness="different")(x).numpy()
    assert len(np.unique(nested)) == nested.size
    drop = func.vmap(lambda x: gl.dropout(x + 1, 0.5, True), randomness="different")(gl.zeros(N, 100)).numpy()
    assert set(np.unique(drop)) == {0.0, 2.0}
    assert not np.array_equal(drop[0], drop[1])


def test_promotion_is_that_of_one_element() -> None:
    s, v = gl.tensor(np.ones(N, np.float64)), gl.tensor(np.ones((N, 2), np.float32))
    assert func.vmap(lambda s, v: s * v)(s, v).dtype is gl.float32  # a 0-d tensor yields to one with axes
    assert func.vmap(lambda s: s * 2.5)(gl.arange(N)).dtype is gl.float32
    assert func.vmap(lambda s: s * gl.tensor(2.0, dtype=gl.float64))(gl.ones(N)).dtype is gl.float64


def test_checks_see_every_element() -> None:
    x = gl.tensor(A)
    with pytest.raises(IndexRangeError):
        func.vmap(lambda x, i: x[i])(x, gl.tensor(np.array([0, 1, 9]))).numpy()
    func.vmap(lambda x, i: x[i])(x, gl.tensor(np.array([0, 1, 3]))).numpy()


def test_values_that_hang_on_no_element_can_be_looked_at() -> None:
    w = gl.tensor(A[0])

    def f(x: Any) -> Any:
        return x * 2 if (w * w).sum().item() > 0 else x

    np.testing.assert_allclose(func.vmap(f)(gl.tensor(A)).numpy(), 2 * A)
    np.testing.assert_allclose((w + 1).numpy(), A[0] + 1)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "if": (lambda: func.vmap(lambda x: x if x.sum() > 0 else -x)(gl.ones(3, 2)), GradientError, "value"),
    "item": (lambda: func.vmap(lambda x: x * x.sum().item())(gl.ones(3, 2)), GradientError, "where, cond"),
    "sizes": (lambda: func.vmap(gl.add)(gl.ones(3), gl.ones(4)), ShapeError, "different sizes"),
    "no axis": (lambda: func.vmap(gl.sin, in_dims=None)(gl.ones(3)), ShapeError, "in_dims"),
    "all None": (lambda: func.vmap(gl.sin, in_dims=(None,))(gl.ones(3)), ShapeError, "at least one"),
    "a number": (lambda: func.vmap(gl.add)(gl.ones(3), 2), ShapeError, "type int"),
    "axis": (lambda: func.vmap(gl.sin, in_dims=1)(gl.ones(3)), IndexRangeError, "dimensions"),
    "out axis": (lambda: func.vmap(gl.sin, out_dims=2)(gl.ones(3)), IndexRangeError, "out_dims"),
    "out None": (lambda: func.vmap(gl.sin, out_dims=None)(gl.ones(3)), ShapeError, "differs"),
    "tree": (lambda: func.vmap(gl.add, in_dims=(0,))(gl.ones(3), gl.ones(3)), ShapeError, "structure"),
    "output": (lambda: func.vmap(lambda x: 3)(gl.ones(3)), GradientError, "got int"),
    "randomness": (lambda: func.vmap(gl.sin, randomness="some"), ValueError, "randomness"),
    "chunk": (lambda: func.vmap(gl.sin, chunk_size=0), ValueError, "chunk_size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        call()
    np.testing.assert_array_equal(func.vmap(lambda x: x * 2)(gl.ones(3)).numpy(), np.full(3, 2.0))
    assert not TAPE.traces


def test_what_escapes_has_no_value() -> None:
    kept: list[Tensor] = []

    def f(x: Any) -> Any:
        kept.append(x * 2)
        return x

    y = gl.ones(2) + 1
    func.vmap(f)(gl.ones(3)).numpy()
    with pytest.raises(RuntimeError, match="escaped"):
        kept[0].numpy()
    np.testing.assert_array_equal(y.numpy(), [2, 2])


def test_tensors_of_the_function_itself_can_be_written() -> None:
    w = gl.ones(2)

    def f(x: Any) -> Any:
        y = gl.tensor([0.0, 0.0])
        y[0] = x.sum()
        w.add_(1)  # the same for every element
        return y + w

    assert func.vmap(f)(gl.ones(3, 2)).tolist() == [[4, 2]] * 3
    assert w.tolist() == [2, 2]


def test_a_loop_compiles_once() -> None:
    f = func.vmap(func.grad(lambda x, s: (x.sin() * s).sum()), (0, None))
    for k in range(8):
        f(gl.tensor(A + k), float(k)).numpy()
        if k == 3:
            gc.collect()
            before = TAPE.compiled
    assert before == TAPE.compiled


def test_empty_batches_and_elements() -> None:
    assert func.vmap(lambda x: x.sin().sum())(gl.zeros(0, 3)).shape == (0,)
    assert func.vmap(lambda x: x * 2)(gl.zeros(3, 0)).shape == (3, 0)
    assert func.vmap(lambda x: gl.linalg.det(x))(gl.zeros(0, 2, 2)).shape == (0,)


def test_a_long_round_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.tape.MAX_LENGTH", 50)
    x = gl.tensor(A[0, 0])

    def f(s: Any) -> Any:
        y = x * s
        for _ in range(40):
            y = y + s
        return y

    for _ in range(4):
        got = func.vmap(f)(gl.ones(2, dtype=gl.float64))
        g = func.vmap(func.grad(lambda s: f(s).sum()))(gl.ones(2, dtype=gl.float64))
    np.testing.assert_allclose(got.numpy()[0], A[0, 0] + 40, 1e-12)
    np.testing.assert_allclose(g.numpy(), np.full(2, A[0, 0].sum() + 200), 1e-12)
