"""Every kind of index: reads, writes and their gradients, against NumPy and PyTorch, drawn at random and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import IndexRangeError, ShapeError
from gradloom.testing import check_grads

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def cases(draw: Any, numpy: bool) -> tuple[np.ndarray, tuple]:
    """An array and an index of it. numpy: with negative steps, and no integers beside index arrays."""
    shape = tuple(draw(st.integers(0 if draw(st.booleans()) else 1, 4)) for _ in range(draw(st.integers(0, 4))))
    x = np.asarray(np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape) + 1)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    block = tuple(draw(st.integers(0, 3)) for _ in range(draw(st.integers(0, 2))))
    advanced = draw(st.booleans())
    parts: list[Any] = []
    axis, masks = 0, 0
    while axis < len(shape):
        n = shape[axis]
        kind = draw(st.sampled_from(["slice", "int", "none", "array", "mask", "bool", "stop"]))
        if kind == "stop":
            break
        if kind == "none":
            parts.append(None)
            continue
        if kind == "bool":
            if advanced and not masks and not block:
                parts.append(draw(st.booleans()))
                masks += 1
            else:
                parts.append(None)
            continue
        if kind == "int" and n and not (numpy and advanced):
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "array" and advanced and n:
            own = tuple(draw(st.sampled_from([b, 1])) for b in block)[draw(st.integers(0, len(block))) :]
            own = own or (1,)  # a 0-d array is an integer
            parts.append(rng.integers(-n, n, own))
        elif kind == "mask" and advanced and not masks and not block:
            wide = draw(st.integers(1, len(shape) - axis))
            parts.append(rng.random(shape[axis : axis + wide]) < 0.5)
            masks += 1
            axis += wide
            continue
        else:
            step = draw(st.sampled_from([1, 2, 3, -1, -2] if numpy else [1, 2, 3]))
            ends = st.one_of(st.none(), st.integers(-6, 6))
            parts.append(slice(draw(ends), draw(ends), step))
        axis += 1
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))) if axis == len(shape) else len(parts), Ellipsis)
    return x, tuple(parts)


def ours(index: tuple) -> tuple:
    return tuple(gl.tensor(i) if isinstance(i, np.ndarray) else i for i in index)


def theirs(index: tuple) -> tuple:
    return tuple(torch.tensor(i) if isinstance(i, np.ndarray) else i for i in index)


@QUICK
@given(cases(numpy=True))
def test_as_numpy(case: Any) -> None:
    n, index = case
    x = gl.tensor(n)
    want = n[index]
    got = x[ours(index)]
    assert tuple(got.shape) == want.shape
    np.testing.assert_array_equal(got.numpy(), want)
    value = -np.arange(want.size, dtype=np.float64).reshape(want.shape)
    masked = any(isinstance(i, np.ndarray) and i.dtype == bool for i in index)  # NumPy wants their values flat
    for v in (-1.0, value, value if masked or not want.ndim else value[None]):
        x, m = gl.tensor(n), n.copy()
        x[ours(index)] = gl.tensor(v) if isinstance(v, np.ndarray) else v
        m[index] = v
        np.testing.assert_array_equal(x.numpy(), m)
    x, m = gl.tensor(n), n.copy()
    x[ours(index)] += 1
    m[index] += 1
    np.testing.assert_array_equal(x.numpy(), m)


@QUICK
@given(cases(numpy=False))
def test_as_torch_with_gradients(case: Any) -> None:
    n, index = case
    a, b = gl.tensor(n, requires_grad=True), torch.tensor(n, requires_grad=True)
    got, want = a[ours(index)], b[theirs(index)]
    assert tuple(got.shape) == tuple(want.shape)
    np.testing.assert_array_equal(got.detach().numpy(), want.detach().numpy())
    weight = np.arange(1.0, want.numel() + 1).reshape(tuple(want.shape))
    (ga,) = gl.autograd.grad((got * gl.tensor(weight)).sum(), [a])
    (gb,) = torch.autograd.grad((want * torch.tensor(weight)).sum(), [b])
    np.testing.assert_allclose(ga.numpy(), gb.numpy())
    # writes: the gradient of what is overwritten is 0, that of the value is what is read at its places
    u, v = gl.tensor(weight, requires_grad=True), torch.tensor(weight, requires_grad=True)
    p, q = a * 2, b * 2
    p[ours(index)] = u
    q[theirs(index)] = v
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy())
    factor = np.cos(n)
    for x, y in zip(
        gl.autograd.grad((p * p * gl.tensor(factor)).sum(), [a, u]),
        torch.autograd.grad((q * q * torch.tensor(factor)).sum(), [b, v]),
        strict=True,
    ):
        np.testing.assert_allclose(x.numpy(), y.numpy())


A = np.arange(60, dtype=np.float64).reshape(3, 4, 5)
MASK = A % 7 < 3
SAME: list[Any] = [  # as PyTorch, written alike
    True, False, (True, 0), (slice(None), True), ([0, 2],), ((0, 2),), [True, False, True], [], (range(2), 1),
    (0, slice(None), [0, 1]), ([0, 1], slice(None), 2), ([0], None, [1, 2]), (None, [0, 1], None, [1]),
    (Ellipsis, [0, 1], 0), ([[0], [1]], [1, 2, 3]), (True, [0, 1]), (1, [True, False, True, True]),
]  # fmt: skip


@pytest.mark.parametrize("index", SAME, ids=repr)
def test_python_sequences_and_bools(index: Any) -> None:
    want = torch.tensor(A)[index].numpy()
    got = gl.tensor(A)[index].numpy()
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


def test_nested_lists_are_one_index_as_in_numpy() -> None:
    np.testing.assert_array_equal(gl.tensor(A)[[[0, 1], [2, 0]]].numpy(), A[[[0, 1], [2, 0]]])


POINTS: list[tuple] = [
    (torch.tensor(1),), (slice(None), torch.tensor(-1)), (torch.tensor(2), 0, torch.tensor(3)),
    (torch.tensor(0), [1, 2]), (torch.tensor(True),), (torch.tensor(False), 0),
]  # fmt: skip


@pytest.mark.parametrize("index", POINTS, ids=repr)
def test_tensors_without_axes(index: tuple) -> None:
    mine = tuple(gl.tensor(i.numpy()) if isinstance(i, torch.Tensor) else i for i in index)
    x, y = gl.tensor(A), torch.tensor(A)
    np.testing.assert_array_equal(x[mine].numpy(), y[index].numpy())
    x[mine] = -1.0
    y[index] = -1.0
    np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_a_0d_tensor_gives_a_view_without_a_look_at_it() -> None:
    x, k = gl.tensor(A), gl.tensor(1)
    row = x[k, :, k]
    row += 100
    x[k][2] = -1.0
    m = A.copy()
    m[1, :, 1] += 100
    m[1, 2] = -1
    np.testing.assert_array_equal(x.numpy(), m)
    np.testing.assert_array_equal(row.numpy(), m[1, :, 1])
    with pytest.raises(IndexRangeError, match="index 3"):
        x[gl.tensor(3)].numpy()


def test_uint8_is_a_mask() -> None:
    with pytest.warns(DeprecationWarning, match="uint8"):
        got = gl.tensor(A)[gl.tensor([1, 0, 1], dtype=gl.uint8)]
    np.testing.assert_array_equal(got.numpy(), A[[0, 2]])


@pytest.mark.parametrize(
    "value", [np.float64(2), np.arange(5.0), np.ones((1, 5)), np.ones((1, 1, 1)), np.arange(4.0)[:, None]]
)
def test_a_mask_is_written_without_a_look_at_it(value: np.ndarray) -> None:
    mask = np.array([True, False, True])
    x, m = gl.tensor(A), A.copy()
    looks = gl.tape.TAPE.rounds
    x[gl.tensor(mask)] = gl.tensor(value)
    m[mask] = value
    assert gl.tape.TAPE.rounds == looks
    np.testing.assert_array_equal(x.numpy(), m)


def test_values_of_every_place_of_a_mask() -> None:
    x, m = gl.tensor(A), A.copy()
    values = np.arange(MASK.sum(), dtype=np.float64)
    x[gl.tensor(MASK)] = gl.tensor(values)
    m[MASK] = values
    x[:, gl.tensor(MASK[0])] *= 2
    m[:, MASK[0]] *= 2
    x[gl.tensor(MASK[:, :, 0])][0] = 5.0  # a copy: nothing is written
    x[gl.tensor(MASK[:, 0, 0]), 1:3] = gl.tensor([1.0, 2, 3, 4, 5])
    m[MASK[:, 0, 0], 1:3] = [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(x.numpy(), m)


def test_the_last_of_several_writes_stays_and_sums_do_not_pile_up() -> None:
    x = gl.zeros(4, dtype=gl.float64)
    x[[1, 1, 2]] = gl.tensor(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(x.numpy(), [0, 2, 3, 0])
    x[[1, 1, 1]] += 1
    np.testing.assert_array_equal(x.numpy(), [0, 3, 3, 0])
    y = x.index_put((gl.tensor([1, 1, 1]),), gl.tensor(np.array([1.0])), accumulate=True)
    np.testing.assert_array_equal(y.numpy(), [0, 6, 3, 0])


def test_values_are_converted() -> None:
    x = gl.zeros(3, dtype=gl.int64)
    x[0] = 1.7
    x[[1, 2]] = gl.tensor([2.9, -2.9])
    np.testing.assert_array_equal(x.numpy(), [1, 2, -2])
    h = gl.zeros(2, dtype=gl.float16)
    h[:] = gl.tensor(np.array([1.0, 2.0]))
    assert h.dtype is gl.float16


@pytest.mark.parametrize(
    ("index", "error", "words"),
    [
        (3, IndexRangeError, ["index 3", "axis 0", "size 3", "-3 to 2"]),
        ((0, -5), IndexRangeError, ["index -5", "axis 1", "size 4"]),
        ((0, 0, 0, 0), IndexRangeError, ["4 indices", "3 dimensions"]),
        ((Ellipsis, Ellipsis), IndexRangeError, ["..."]),
        (1.0, IndexRangeError, ["1.0", "float"]),
        ("a", IndexRangeError, ["'a'", "str"]),
        ([slice(0, 1), 1], IndexRangeError, ["slice", "tuple"]),
        ([0.5, 1.5], IndexRangeError, ["float", "long()"]),
        (gl.tensor([0.0]), IndexRangeError, ["float32"]),
        (([0, 1], [0, 1, 2]), ShapeError, ["broadcast"]),
        (np.zeros((3, 3), bool), ShapeError, ["(3, 3)", "(3, 4, 5)", "axis 0"]),
        ((slice(None), np.zeros(3, bool)), ShapeError, ["(3,)", "axis 1"]),
    ],
    ids=repr,
)
def test_errors(index: Any, error: type[Exception], words: list[str]) -> None:
    for act in (lambda: gl.tensor(A)[index], lambda: gl.tensor(A).__setitem__(index, 0.0)):
        with pytest.raises(error) as e:
            act()
        assert all(w in str(e.value) for w in words), str(e.value)


@pytest.mark.parametrize("write", [False, True])
def test_errors_of_tensors_name_index_axis_and_size(write: bool) -> None:
    x, i = gl.tensor(A), gl.tensor([[0, 1], [4, 0]])
    with pytest.raises(IndexRangeError) as e:
        if write:
            x[:, i] = 0.0
            x.numpy()
        else:
            x[:, i].numpy()
    assert all(w in str(e.value) for w in ("index 4", "position (1, 0)", "axis 1", "size 4")), str(e.value)


def test_values_must_broadcast() -> None:
    x = gl.tensor(A)
    for index in (0, [0, 1], gl.tensor(MASK[:, 0, 0]), (slice(0, 0),)):
        with pytest.raises(ShapeError, match="broadcast"):
            x[index] = gl.ones(7, 7)


DIFFERENTIABLE: list[tuple] = [
    ([2, 0, 2],), (slice(None), [1, 1]), ([0, 1], slice(None), [2, 2]), ([[0], [2]], [1, 3]), (MASK,), (0, MASK[0]),
    (slice(None, None, -2), 1), (Ellipsis, None, 2),
]  # fmt: skip


@pytest.mark.parametrize("index", DIFFERENTIABLE, ids=repr)
def test_gradients_by_differences(index: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 5))
    mine = ours(index)
    check_grads(lambda a: a[mine].sin(), [x], order=2)
    if len(np.unique(np.arange(60).reshape(3, 4, 5)[index])) < A[index].size:
        return  # a place that is written twice: whose value stays is no matter of derivatives
    v = rng.standard_normal(A[index].shape)

    def write(a: Any, b: Any) -> Any:
        y = a * a
        y[mine] = b.sin()
        return y * a

    check_grads(write, [x, v], order=2)
