"""Dropout of attention's probabilities: what is dropped hangs on the key of a call and on the position alone, in every
form that computes it, forward and backward; memory stays linear.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import keras, nn
from gradloom.compiler import pipeline
from gradloom.compiler.llvm.host import detect_name
from gradloom.control import scan
from gradloom.errors import GradientError
from gradloom.func import grad, vmap
from gradloom.modes import set_target
from gradloom.nn import attention_functions as A
from gradloom.nn import functional as F
from gradloom.ops.philox import philox
from gradloom.testing import check_grads

RNG = np.random.default_rng(0)
attend = F.scaled_dot_product_attention

# (shape before the length, query heads of a key head, queries, keys, features of queries and values, options, mask)
CASES: dict[str, tuple[tuple[int, ...], int, int, int, int, int, dict[str, Any], tuple[int, ...] | None]] = {
    "ragged": ((2, 3), 1, 101, 77, 24, 40, {}, None),
    "causal": ((2, 2), 1, 230, 230, 16, 16, {"is_causal": True}, None),
    "causal, few keys": ((3,), 1, 150, 70, 16, 16, {"is_causal": True}, None),
    "shared heads": ((2, 2), 3, 70, 90, 32, 32, {"enable_gqa": True}, None),
    "mask": ((2, 2), 1, 50, 60, 16, 16, {}, (2, 1, 50, 60)),
    "no heads": ((), 1, 70, 50, 16, 24, {}, (70, 50)),
}


def operands(name: str, dtype: str) -> tuple[list[np.ndarray], dict[str, Any]]:
    lead, group, rows, keys, wide, out, options, masked = CASES[name]
    queries = (*lead[:-1], lead[-1] * group) if group > 1 else lead
    shapes = ((*queries, rows, wide), (*lead, keys, wide), (*lead, keys, out), (*queries, rows, out))
    mask = {} if masked is None else {"attn_mask": gl.tensor(RNG.random(masked) > 0.3)}
    return [RNG.standard_normal(s).astype(dtype) for s in shapes], {**options, **mask}


def results(arrays: list[np.ndarray], options: dict[str, Any], p: float = 0.3) -> list[np.ndarray]:
    """The result and the gradients of query, key and value, drawn from one seed."""
    *given, ct = arrays
    x = [gl.tensor(a, requires_grad=True) for a in given]
    gl.manual_seed(5)
    y = attend(*x, dropout_p=p, **options)
    y.backward(gl.tensor(ct))
    return [y.detach().numpy(), *(t.grad.numpy() for t in x)]


@pytest.mark.parametrize(("dtype", "close"), [("f8", 1e-11), ("f4", 5e-5)])
@pytest.mark.parametrize("name", CASES)
def test_all_forms_drop_the_same(name: str, dtype: str, close: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels against what is composed of public functions: at once, and in blocks of a number that nothing divides."""
    arrays, options = operands(name, dtype)
    native = results(arrays, options)
    monkeypatch.setattr(A, "LEAST", 1 << 30)
    at_once = results(arrays, options)
    monkeypatch.setattr(A, "AT_ONCE", 0)
    monkeypatch.setattr(A, "BLOCK", 23)
    blocks = results(arrays, options)
    for a, b, c in zip(native, at_once, blocks, strict=True):
        np.testing.assert_allclose(a, b, close, close * 20)
        np.testing.assert_allclose(c, b, close, close * 20)


@pytest.mark.parametrize("name", ["causal", "shared heads", "mask"])
def test_the_reference_agrees(name: str) -> None:
    arrays, options = operands(name, "f8")
    native = results(arrays, options)
    set_target("reference")
    try:
        plain = results(arrays, options)
    finally:
        set_target("cpu")
    for a, b in zip(native, plain, strict=True):
        np.testing.assert_allclose(a, b, 1e-10, 1e-11)


def test_what_is_dropped() -> None:
    """By NumPy: four rows share a counter of Philox under the key, which is the first number of the seed."""
    heads, rows, keys, p = 3, 42, 37, 0.25
    gl.manual_seed(7)
    key = gl.randint(0, 1 << 53, ()).item()
    places = (np.arange(heads)[:, None, None] * 11 + np.arange(11)[:, None]) * keys + np.arange(keys)
    words = np.stack(philox(key, 0, places), 2).reshape(heads, 44, keys)[:, :rows]
    want = (words >= int(p * 2**32)) / (keys * (1 - p))
    gl.manual_seed(7)
    zeros = gl.zeros(heads, rows, 16)
    got = attend(zeros, gl.zeros(heads, keys, 16), gl.eye(keys).expand(heads, keys, keys), dropout_p=p)
    np.testing.assert_allclose(got.numpy(), want, 1e-5, 1e-7)


@pytest.mark.parametrize("p", [0.0001, 0.1, 0.5, 0.999])
def test_how_much_is_dropped(p: float) -> None:
    gl.manual_seed(0)
    n = 512
    got = attend(gl.zeros(4, n, 16), gl.zeros(4, n, 16), gl.eye(n).expand(4, n, n), dropout_p=p).numpy() * n
    dropped = got == 0
    count = dropped.size
    assert abs(dropped.sum() - p * count) < 5 * np.sqrt(count * p * (1 - p))
    np.testing.assert_allclose(got[~dropped], 1 / (1 - p), 1e-4)
    # neighbours along each axis are dropped independently of each other
    for axis in range(3):
        a, b = (np.take(dropped, range(s, dropped.shape[axis] - 1 + s), axis) for s in (0, 1))
        both, count = (a & b).sum(), a.size
        assert abs(both - p * p * count) < 6 * np.sqrt(count * p * p) + 3


def test_calls_differ_and_seeds_repeat() -> None:
    q = gl.randn(2, 40, 16)
    gl.manual_seed(3)
    first, second = attend(q, q, q, dropout_p=0.5).numpy(), attend(q, q, q, dropout_p=0.5).numpy()
    gl.manual_seed(3)
    again = attend(q, q, q, dropout_p=0.5).numpy()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_layers_of_keras_drop_by_their_seed() -> None:
    x = gl.randn(2, 20, 8)
    layers = [keras.layers.MultiHeadAttention(2, 4, dropout=0.5, seed=3) for _ in range(2)]
    for m in layers:
        m.build(x.shape, x.shape)
    layers[1].set_weights(layers[0].get_weights())
    first, second = (m(x, x, training=True).detach().numpy() for m in layers)
    again = layers[0](x, x, training=True).detach().numpy()
    assert np.array_equal(first, second) and not np.array_equal(first, again)
    plain = [m(x, x).detach().numpy() for m in layers]
    assert np.array_equal(*plain) and not np.array_equal(plain[0], first)


def test_the_same_bits_from_any_number_of_threads() -> None:
    arrays, options = operands("shared heads", "f4")
    before, found = gl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            gl.set_num_threads(threads)
            found.append([x.tobytes() for x in results(arrays, options)])
    finally:
        gl.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_derivatives_of_both_orders() -> None:
    q, k, v = (gl.tensor(RNG.standard_normal((2, 18, 2)) * 0.5) for _ in range(3))

    def seeded(*x: gl.Tensor) -> gl.Tensor:
        gl.manual_seed(1)
        return dropped(*x)

    check_grads(seeded, (q, k, v), order=2)


def dropped(q: gl.Tensor, k: gl.Tensor, v: gl.Tensor) -> gl.Tensor:
    return attend(q, k, v, dropout_p=0.4)


def slope(q: gl.Tensor, k: gl.Tensor, v: gl.Tensor) -> gl.Tensor:
    return grad(lambda q: dropped(q, k, v).square().sum())(q)


@pytest.mark.parametrize("f", [dropped, slope])
@pytest.mark.parametrize("shape", [(20, 16), (2, 20, 16), (2, 2, 20, 16)])
def test_under_vmap(f: Any, shape: tuple[int, ...]) -> None:
    given = [gl.tensor(RNG.standard_normal((3, *shape))) for _ in range(3)]
    with pytest.raises(GradientError, match="random"):
        vmap(f)(*given)
    gl.manual_seed(2)
    same = vmap(f, randomness="same")(*given).numpy()
    for n in range(3):
        gl.manual_seed(2)
        np.testing.assert_allclose(same[n], f(*(x[n] for x in given)).numpy(), 1e-10, 1e-11)
    alike = [x[:1].expand(3, *shape) for x in given]
    apart = vmap(f, randomness="different")(*alike).numpy()
    assert len({x.tobytes() for x in apart}) == 3


def test_under_vmap_twice() -> None:
    q, k, v = (gl.tensor(RNG.standard_normal((1, 1, 20, 16))).expand(3, 2, 20, 16) for _ in range(3))
    inner = vmap(dropped, randomness="different")
    every = vmap(inner, randomness="different")(q, k, v).numpy()
    assert len({x.tobytes() for x in every.reshape(6, -1)}) == 6
    rows = vmap(inner, (None, None, 0), randomness="same")(q[0], k[0], v).numpy()
    assert np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[0, 0], rows[0, 1])
    columns = vmap(vmap(dropped, randomness="same"), randomness="different")(q, k, v).numpy()
    assert np.array_equal(columns[0, 0], columns[0, 1]) and not np.array_equal(columns[0, 0], columns[1, 0])


def test_steps_of_a_loop_differ() -> None:
    def summed(q: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
        def step(total: gl.Tensor, _: gl.Tensor) -> tuple[gl.Tensor, gl.Tensor]:
            y = dropped(q, q, q)
            return total + y.square().sum(), y

        gl.manual_seed(4)
        return scan(step, gl.zeros((), dtype=gl.float64), gl.arange(3))

    q, shift, size = RNG.standard_normal((20, 16)), RNG.standard_normal((20, 16)), 1e-6
    x = gl.tensor(q, requires_grad=True)
    total, each = summed(x)
    assert len({y.tobytes() for y in each.detach().numpy()}) == 3
    total.backward()
    ends = [summed(gl.tensor(q + s * shift))[0].item() for s in (size, -size)]
    np.testing.assert_allclose((x.grad.numpy() * shift).sum(), (ends[0] - ends[1]) / (2 * size), 1e-6)


def _largest_arena(monkeypatch: pytest.MonkeyPatch, run: Any) -> int:
    arenas: list[int] = []
    assemble = pipeline._assemble

    def noted(*args: Any) -> Any:
        exe = assemble(*args)
        arenas.append(exe.arena_bytes)
        return exe

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_assemble", noted)
        run()
    return max(arenas)


def test_temporaries_grow_with_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.TransformerEncoderLayer(32, 2, 32, dropout=0.1, batch_first=True)

    def attention(n: int) -> None:
        q = gl.randn(1, 2, n, 32, requires_grad=True)
        attend(q, q, q, dropout_p=0.1).square().sum().backward()
        q.grad.numpy()

    def encoder(n: int) -> None:
        layer(gl.randn(1, n, 32)).square().sum().backward()
        layer.linear1.weight.grad.numpy()

    heads = keras.layers.MultiHeadAttention(2, 16, dropout=0.1)

    def of_keras(n: int) -> None:
        x = gl.randn(1, n, 32, requires_grad=True)
        heads(x, x, training=True).square().sum().backward()
        x.grad.numpy()

    for run in (attention, encoder, of_keras):
        short, long = (_largest_arena(monkeypatch, lambda n=n, run=run: run(n)) for n in (512, 2048))
        assert long < 6 * short, "sixteen times would be the square"
        assert long < 12e6, "an array of all pairs would be 32 MB"


NARROW = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_attention_dropout as T
T.RNG = np.random.default_rng(1)
np.savez(sys.argv[2], *T.results(*T.operands("causal", "f4")))
"""


@pytest.mark.skipif(detect_name() not in ("avx2", "avx512"), reason="no narrower host here")
def test_hosts_drop_the_same(tmp_path: Any) -> None:
    found = []
    for host in (detect_name(), "sse4"):
        env, out = {**os.environ, "GRADLOOM_HOST": host}, str(tmp_path / f"{host}.npz")
        subprocess.run([sys.executable, "-c", NARROW, os.path.dirname(__file__), out], env=env, check=True)
        with np.load(out) as file:
            found.append([file[k] for k in file.files])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-3)
