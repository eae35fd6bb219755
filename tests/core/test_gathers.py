"""Gathers, scatters and masks as functions and in place: against PyTorch, finite differences and NumPy; errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import DTypeError, GradientError, IndexRangeError, ShapeError
from gradloom.testing import check_grads

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4))
U = RNG.standard_normal((3, 4))
ROWS = RNG.standard_normal((5, 4))
ALONG = np.array([[0, 3, 1, 1], [2, 2, 2, 0], [3, 0, 3, 2]])
SHORT = np.array([[0, 2], [1, 1]])
VECTOR = np.array([2, 0, 2, 1, 0])
MASK = X > 0.2
FLAT = np.array([[0, -1], [5, 7]])
REDUCE = ("sum", "prod", "mean", "amax", "amin")

# name, arguments after the input; arrays become tensors
CALLS: list[tuple[str, tuple, dict[str, Any]]] = [
    ("index_select", (0, VECTOR), {}),
    ("index_select", (-1, VECTOR), {}),
    ("index_select", (1, np.array(3)), {}),
    ("gather", (1, ALONG), {}),
    ("gather", (0, ALONG[:, :3] % 3), {}),
    ("gather", (0, SHORT), {}),
    ("gather", (0, np.zeros((0, 4), np.int64)), {}),
    ("take", (FLAT,), {}),
    ("take_along_dim", (ALONG, 1), {}),
    ("take_along_dim", (np.array([[2], [0], [1]]), 1), {}),
    ("take_along_dim", (FLAT % 12,), {}),
    ("scatter", (1, ALONG, U), {}),
    ("scatter", (0, SHORT, U), {}),
    ("scatter", (1, SHORT, 2.5), {}),
    ("scatter", (1, SHORT, 2.5), {"reduce": "add"}),
    ("scatter", (1, SHORT), {"value": 2.5, "reduce": "multiply"}),
    ("scatter_add", (1, ALONG, U), {}),
    ("scatter_add", (0, SHORT, U), {}),
    *[("scatter_reduce", (1, ALONG, U, r), {"include_self": s}) for r in REDUCE for s in (True, False)],
    ("index_add", (0, VECTOR, ROWS), {"alpha": -0.5}),
    ("index_add", (1, np.array([1, 1]), U[:, :2]), {}),
    ("index_copy", (0, np.array([2, 0]), U[:2]), {}),
    ("index_fill", (1, np.array([3, -3]), 7.0), {}),
    *[("index_reduce", (0, VECTOR, ROWS, r), {"include_self": s}) for r in REDUCE[1:] for s in (True, False)],
    ("put", (FLAT, U[0]), {}),
    ("put", (np.array([1, 1, -1, 0]), U[0]), {"accumulate": True}),
    ("index_put", ((np.array([0, 2]), np.array([1, 1])), np.array([5.0, 6.0])), {}),
    ("index_put", ((np.array([0, 0]),), np.array([1.0])), {"accumulate": True}),
    ("index_put", ((MASK,), np.array(3.0)), {}),
    ("masked_fill", (MASK, -1.5), {}),
    ("masked_fill", (MASK[:1], np.array(2.0)), {}),
    ("masked_scatter", (MASK, U), {}),
    ("masked_select", (MASK,), {}),
    ("masked_select", (MASK[0],), {}),
]  # fmt: skip
INPLACE = (
    "index_add index_copy index_fill index_put index_reduce masked_fill masked_scatter put scatter scatter_add".split()
)


def convert(x: Any, to: Callable[[Any], Any]) -> Any:
    if isinstance(x, tuple):
        return tuple(convert(i, to) for i in x)
    return to(x) if isinstance(x, np.ndarray) else x


def with_places(call: tuple[str, tuple, dict[str, Any]], places: list[int]) -> Callable[..., gl.Tensor]:
    """The call as a function of its input and of the arguments at ``places``, curved so that it has two derivatives."""

    def fn(x: gl.Tensor, *given: gl.Tensor) -> gl.Tensor:
        args = list(convert(call[1], gl.tensor))
        for k, v in zip(places, given, strict=True):
            args[k] = v
        return getattr(x, call[0])(*args, **call[2]).sin()

    return fn


def name_of(call: Any) -> str:
    return f"{call[0]}-{'-'.join(map(str, call[2].values()))}"


@pytest.mark.parametrize("call", CALLS, ids=name_of)
def test_as_torch(call: tuple[str, tuple, dict[str, Any]]) -> None:
    name, args, kwargs = call
    a = gl.tensor(X, requires_grad=True)
    b = torch.tensor(X, requires_grad=True)
    mine = convert(args, lambda v: gl.tensor(v, requires_grad=v.dtype.kind == "f"))
    theirs = convert(args, lambda v: torch.tensor(v, requires_grad=v.dtype.kind == "f"))
    got, want = getattr(a, name)(*mine, **kwargs), getattr(b, name)(*theirs, **kwargs)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12)
    assert tuple(got.shape) == tuple(want.shape)
    np.testing.assert_array_equal(getattr(gl, name)(a, *mine, **kwargs).detach().numpy(), got.detach().numpy())
    ins = [a, *(t for t in mine if isinstance(t, gl.Tensor) and t.requires_grad)]
    outs = [b, *(t for t in theirs if isinstance(t, torch.Tensor) and t.requires_grad)]
    cut = np.cos(np.arange(want.numel())).reshape(tuple(want.shape))
    try:
        wanted = torch.autograd.grad((want * want * torch.tensor(cut)).sum(), outs)
    except RuntimeError:  # PyTorch has no gradient where src is longer than the index, nor of reduce=
        places = [k for k, v in enumerate(args) if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
        check_grads(with_places(call, places), [X, *(args[k] for k in places)])
    else:
        for x, y in zip(gl.autograd.grad((got * got * gl.tensor(cut)).sum(), ins), wanted, strict=True):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-10, atol=1e-12)
    if name in INPLACE:
        c = gl.tensor(X)
        flat = c.reshape(-1)
        assert getattr(c, name + "_")(*convert(args, gl.tensor), **kwargs) is c
        np.testing.assert_allclose(flat.numpy(), want.detach().numpy().ravel(), rtol=1e-12)


TWICE = ("gather", "scatter_add", "index_add", "take")
SECOND = [c for c in CALLS if c[0] in TWICE or (isinstance(c[1][-1], str) and c[1][-1] in ("prod", "amax"))]


@pytest.mark.parametrize("call", SECOND, ids=name_of)
def test_gradients_of_both_orders(call: tuple[str, tuple, dict[str, Any]]) -> None:
    places = [k for k, v in enumerate(call[1]) if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    check_grads(with_places(call, places), [X, *(call[1][k] for k in places)], order=2)


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_gradients_of_products_with_zeros(zeros: int) -> None:
    u = np.array([2.0, 3.0, 4.0, 5.0])
    u[:zeros] = 0
    i = np.array([1, 1, 1, 0])
    for x in (np.array([6.0, 7.0]), np.array([6.0, 0.0])):
        a, b = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        v, w = gl.tensor(u, requires_grad=True), torch.tensor(u, requires_grad=True)
        y = a.scatter_reduce(0, gl.tensor(i), v, "prod")
        z = b.scatter_reduce(0, torch.tensor(i), w, "prod")
        for p, q in zip(
            gl.autograd.grad((y * y).sum(), [a, v]), torch.autograd.grad((z * z).sum(), [b, w]), strict=True
        ):
            np.testing.assert_allclose(p.numpy(), np.nan_to_num(q.numpy()))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 0), (2, 3, 2)])
def test_where_elements_are_not_zero(shape: tuple[int, ...]) -> None:
    a = np.round(RNG.random(shape)).astype(np.float32)
    x, y = gl.tensor(a), torch.tensor(a)
    np.testing.assert_array_equal(x.nonzero().numpy(), y.nonzero().numpy())
    np.testing.assert_array_equal(gl.argwhere(x).numpy(), torch.argwhere(y).numpy())
    for i, j in zip(x.nonzero(as_tuple=True), y.nonzero(as_tuple=True), strict=True):
        np.testing.assert_array_equal(i.numpy(), j.numpy())
    for size in (0, 2, 20):
        got = gl.nonzero_static(x, size=size, fill_value=-7)
        np.testing.assert_array_equal(got.numpy(), torch.nonzero_static(y, size=size, fill_value=-7).numpy())


def test_numpy_spellings() -> None:
    x, i = gl.tensor(X), np.array([[1, -1], [0, 2]])
    np.testing.assert_array_equal(gl.take(x, gl.tensor(i), axis=1).numpy(), np.take(X, i, axis=1))
    np.testing.assert_array_equal(gl.take(x, indices=gl.tensor(i)).numpy(), np.take(X, i))
    j = np.array([[3], [-1], [0]])
    np.testing.assert_array_equal(gl.take_along_axis(x, gl.tensor(j)).numpy(), np.take_along_axis(X, j, -1))
    n = X.copy()
    gl.put_along_axis(x, gl.tensor(j), 9.0, axis=1)
    np.put_along_axis(n, j, 9.0, axis=1)
    np.testing.assert_array_equal(x.numpy(), n)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (7, 3), (8, 3), (3, 3, 3), (0, 4)])
def test_diagonals(shape: tuple[int, ...]) -> None:
    for wrap in (False, True):
        x, y = gl.zeros(shape), torch.zeros(shape)
        assert x.fill_diagonal_(3, wrap) is x
        np.testing.assert_array_equal(x.numpy(), y.fill_diagonal_(3, wrap).numpy())


def test_extremes_hand_on_nan_and_keep_signs() -> None:
    x = np.array([1.0, np.nan, -np.inf])
    i, u = np.array([0, 1, 2, 0]), np.array([np.nan, 5.0, np.inf, 7.0])
    for how in ("amax", "amin", "sum", "prod", "mean"):
        got = gl.tensor(x).scatter_reduce(0, gl.tensor(i), gl.tensor(u), how)
        want = torch.tensor(x).scatter_reduce(0, torch.tensor(i), torch.tensor(u), how)
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_dtypes_are_kept() -> None:
    x = gl.tensor([1, 2, 3], dtype=gl.int32)
    mask = gl.tensor([True, False, True])
    assert x.masked_fill(mask, 5).dtype is gl.int32
    assert gl.tensor([1.0, 2.0], dtype=gl.float16).masked_fill(gl.tensor([True, False]), -1e4).dtype is gl.float16
    assert x.index_fill(0, gl.tensor([0]), 2).dtype is gl.int32
    assert x.scatter_reduce(0, gl.tensor([0, 0]), gl.tensor([4, 4], dtype=gl.int32), "mean").tolist() == [3, 2, 3]


def test_a_leaf_is_not_written_in_place() -> None:
    w = gl.tensor(X, requires_grad=True)
    for write in (
        lambda: w.index_fill_(0, gl.tensor([0]), 0.0),
        lambda: w.masked_fill_(gl.tensor(MASK), 0.0),
        lambda: w.scatter_(1, gl.tensor(ALONG), 0.0),
        lambda: w[0].index_fill_(0, gl.tensor([0]), 0.0),
        lambda: w.__setitem__([0], 1.0),
    ):
        with pytest.raises(GradientError, match="leaf"):
            write()


def t(*v: int) -> gl.Tensor:
    return gl.tensor(list(v))


ERRORS: list[tuple[Callable[[gl.Tensor], Any], type[Exception], list[str]]] = [
    (lambda x: x.index_select(0, t(0, 3)), IndexRangeError, ["index 3", "position 1", "axis 0", "size 3"]),
    (lambda x: x.index_select(1, t(-1)), IndexRangeError, ["index -1", "axis 1", "size 4"]),
    (lambda x: x.index_select(2, t(0)), IndexRangeError, ["axis 2", "2 dimensions"]),
    (lambda x: x.index_select(0, gl.tensor([[0]])), ShapeError, ["(1, 1)", "one dimension"]),
    (lambda x: x.index_select(0, gl.tensor([0.0])), DTypeError, ["float32", "long()"]),
    (lambda x: x.gather(0, t(0)), ShapeError, ["(1,)", "(3, 4)", "rank"]),
    (lambda x: x.gather(0, gl.zeros(1, 5, dtype=gl.int64)), ShapeError, ["(1, 5)", "(3, 4)", "axis 1"]),
    (lambda x: x.gather(1, gl.tensor([[4]])), IndexRangeError, ["index 4", "position (0, 0)", "axis 1", "size 4"]),
    (lambda x: x.take(t(12)), IndexRangeError, ["index 12", "-12 <= index < 12"]),
    (lambda x: x.scatter(1, gl.tensor([[0]]), gl.ones(1, 1)), DTypeError, ["float32", "float64"]),
    (lambda x: x.scatter(1, gl.zeros(2, 2, dtype=gl.int64), gl.ones(1, 2, dtype=gl.float64)), ShapeError, ["(1, 2)"]),
    (lambda x: x.scatter(1, gl.tensor([[0]]), 1.0, reduce="max"), ValueError, ["'max'", "'add'"]),
    (lambda x: x.scatter(1, gl.tensor([[0]])), TypeError, ["src or value"]),
    (lambda x: x.scatter_reduce(1, gl.tensor([[0]]), x, "median"), ValueError, ["'median'", "'amax'"]),
    (lambda x: x.index_reduce(0, t(0), x[:1], "sum"), ValueError, ["index_add"]),
    (lambda x: x.index_add(0, t(0, 1), x), ShapeError, ["(3, 4)", "(2, 4)"]),
    (lambda x: x.index_fill(0, t(0), x[0]), ShapeError, ["(4,)", "0-d"]),
    (lambda x: x.long().masked_fill(x > 0, 1.5), DTypeError, ["int64"]),
    (lambda x: x.masked_fill(x, 0.0), DTypeError, ["float64", "bool"]),
    (lambda x: x.masked_fill(gl.ones(3, dtype=gl.bool), 0.0), ShapeError, ["(3,)", "(3, 4)"]),
    (lambda x: x.masked_scatter(gl.ones(3, 4, dtype=gl.bool), x[0]), IndexRangeError, ["number of elements"]),
    (lambda x: x.put(t(0, 1), x), ShapeError, ["2 indices", "12 elements"]),
    (lambda x: gl.zeros(2, 3, 2).fill_diagonal_(1.0), ShapeError, ["(2, 3, 2)", "diagonal"]),
    (lambda x: gl.nonzero_static(x, size=-1), ShapeError, ["-1"]),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(ERRORS)))
def test_errors(k: int) -> None:
    call, error, words = ERRORS[k]
    with pytest.raises(error) as e:
        call(gl.tensor(X)).numpy()
    assert all(w in str(e.value) for w in words), str(e.value)
