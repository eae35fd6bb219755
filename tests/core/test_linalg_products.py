"""Products of vectors, matrices and tensors against PyTorch: values, dtypes, shapes, gradients, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import DTypeError, ShapeError
from gradloom.testing import check_grads

RNG = np.random.default_rng(5)


def made(*shapes: tuple[int, ...], dtype: Any = np.float64) -> list[np.ndarray]:
    return [
        np.asarray(RNG.integers(-4, 5, s) + (0.25 if np.dtype(dtype).kind == "f" else 0)).astype(dtype) for s in shapes
    ]


def agree(ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[np.ndarray], **kwargs: Any) -> None:
    """Ours and PyTorch's give one dtype, one shape, the same values."""
    got = ours(*map(gl.tensor, arrays), **kwargs).numpy()
    want = theirs(*map(torch.tensor, arrays), **kwargs).numpy()
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5 if got.dtype == np.float32 else 1e-12, atol=1e-12)


# name -> shapes of operands
PRODUCTS: dict[str, list[list[tuple[int, ...]]]] = {
    "matmul": [[(2, 3), (3, 4)], [(3,), (3,)], [(3,), (3, 2)], [(2, 3), (3,)], [(5, 1, 2, 3), (4, 3, 2)],
               [(3,), (2, 3, 4)], [(2, 4, 3), (3,)], [(2, 0), (0, 3)], [(0, 3), (3, 2)], [(2, 3, 0), (0, 2)],
               [(0, 2, 3), (3, 4)]],
    "mm": [[(2, 3), (3, 4)], [(2, 0), (0, 3)]],
    "bmm": [[(2, 2, 3), (2, 3, 4)], [(0, 2, 3), (0, 3, 1)]],
    "mv": [[(2, 3), (3,)], [(2, 0), (0,)]],
    "dot": [[(3,), (3,)], [(0,), (0,)]],
    "vdot": [[(3,), (3,)]],
    "inner": [[(3,), (3,)], [(2, 3), (4, 3)], [(), (2, 3)], [(2, 2, 3), (3,)], [(), ()]],
    "outer": [[(2,), (3,)], [(0,), (3,)]],
    "ger": [[(2,), (3,)]],
    "kron": [[(2, 3), (2, 2)], [(2,), (3, 2)], [(), (2, 2)], [(2, 1, 2), (2, 2)]],
    "chain_matmul": [[(2, 3)], [(2, 3), (3, 4), (4, 1)], [(5, 2), (2, 6), (6, 1), (1, 3)]],
    "linalg.vecdot": [[(2, 3), (2, 3)], [(4, 1, 3), (2, 3)]],
    "linalg.cross": [[(2, 3), (2, 3)], [(4, 1, 3), (1, 2, 3)], [(0, 3), (0, 3)]],
}  # fmt: skip


def look(where: Any, name: str) -> Any:
    for part in name.split("."):
        where = getattr(where, part)
    return where


@pytest.mark.filterwarnings("ignore:torch.chain_matmul")
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.complex128])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, dtype: Any) -> None:
    if name == "linalg.vecdot" and dtype is np.int64:
        pytest.skip("PyTorch refuses integers here")
    for shapes in PRODUCTS[name]:
        agree(look(gl, name), look(torch, name), made(*shapes, dtype=dtype))


ADDED: dict[str, list[tuple[int, ...]]] = {
    "addmm": [(2, 4), (2, 3), (3, 4)], "addmv": [(2,), (2, 3), (3,)], "addr": [(2, 3), (2,), (3,)],
    "addbmm": [(2, 4), (5, 2, 3), (5, 3, 4)], "baddbmm": [(5, 2, 4), (5, 2, 3), (5, 3, 4)],
}  # fmt: skip


@pytest.mark.parametrize("name", ADDED)
def test_added_products(name: str) -> None:
    ours, theirs = getattr(gl, name), getattr(torch, name)
    arrays = made(*ADDED[name])
    agree(ours, theirs, arrays)
    agree(ours, theirs, arrays, beta=0.5, alpha=-2.0)
    agree(ours, theirs, made(*ADDED[name], dtype=np.int64), beta=2, alpha=3)
    arrays[0] = np.full(ADDED[name][0], np.nan)
    agree(ours, theirs, arrays, beta=0)  # what is not looked at does not spread
    agree(ours, theirs, [np.array(1.5), *arrays[1:]])  # the input broadcasts
    method = getattr(gl.tensor(made(ADDED[name][0])[0]), name + "_")
    assert method(*map(gl.tensor, made(*ADDED[name][1:]))).shape == ADDED[name][0]


@pytest.mark.parametrize("dims", [0, 1, 2, ([1, 2], [0, 1]), ([2], [1]), ([-1, 0], [1, 2])])
def test_tensordot(dims: Any) -> None:
    a, b = made((2, 3, 3), (3, 3, 2)) if dims != ([-1, 0], [1, 2]) else made((2, 3, 4), (5, 4, 2))
    np.testing.assert_allclose(gl.tensordot(gl.tensor(a), gl.tensor(b), dims).numpy(), np.tensordot(a, b, dims))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_matmul_broadcasts_as_numpy(data: st.DataObject) -> None:
    size = st.integers(0, 3)
    batch = data.draw(st.lists(st.integers(0, 3), max_size=3))
    n, k, m = data.draw(size), data.draw(size), data.draw(size)

    def lead() -> tuple[int, ...]:
        cut = data.draw(st.integers(0, len(batch)))
        return tuple(s if data.draw(st.booleans()) else 1 for s in batch[cut:])

    a, b = made((*lead(), n, k), (*lead(), k, m))
    np.testing.assert_allclose(gl.matmul(gl.tensor(a), gl.tensor(b)).numpy(), np.matmul(a, b))


GRADIENTS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "addmm": (lambda x, a, b: gl.addmm(x, a, b, beta=0.5, alpha=2.0) ** 2, ADDED["addmm"]),
    "addbmm": (lambda x, a, b: gl.addbmm(x, a, b) ** 2, [(2, 2), (2, 2, 1), (2, 1, 2)]),
    "tensordot": (lambda a, b: gl.tensordot(a, b, ([1], [0])) ** 2, [(2, 3), (3, 2)]),
    "inner": (lambda a, b: gl.inner(a, b) ** 2, [(2, 3), (2, 3)]),
    "kron": (lambda a, b: gl.kron(a, b) ** 2, [(2, 2), (2, 1)]),
    "cross": (lambda a, b: gl.linalg.cross(a, b) ** 2, [(2, 3), (1, 3)]),
    "multi_dot": (lambda a, b, c: gl.linalg.multi_dot([a, b, c]) ** 2, [(3,), (3, 2), (2, 2)]),
    "vander": (lambda x: gl.linalg.vander(x, N=4), [(3,)]),
    "bilinear": (lambda a, b, w: gl.nn.functional.bilinear(a, b, w) ** 2, [(2, 2), (2, 3), (2, 2, 3)]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    fn, shapes = GRADIENTS[name]
    check_grads(fn, made(*shapes), order=2)


def test_gradients_of_complex_products() -> None:
    def product(x: gl.Tensor, y: gl.Tensor) -> gl.Tensor:
        a, b = gl.view_as_complex(x), gl.view_as_complex(y)
        return gl.view_as_real(gl.vdot(a, b) * gl.matmul(a, b))

    check_grads(product, made((3, 2), (3, 2)))


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: gl.mm(gl.ones(2, 3, 4), gl.ones(4, 2)), ShapeError, "mm: input must have 2 dimensions"),
    (lambda: gl.bmm(gl.ones(2, 3, 4), gl.ones(3, 4, 2)), ShapeError, "batches of 2 and 3"),
    (lambda: gl.dot(gl.ones(2), gl.ones(3)), ShapeError, "lengths 2 and 3"),
    (lambda: gl.dot(gl.ones(2), gl.ones(2).double()), DTypeError, "float32 and float64 differ"),
    (lambda: gl.addmm(gl.ones(3), gl.ones(2, 3), gl.ones(3, 4)), ShapeError, "addmm"),
    (lambda: gl.addr(gl.ones(2, 2).long(), gl.ones(2).long(), gl.ones(2).long(), beta=0.5), DTypeError, "integers"),
    (lambda: gl.tensordot(gl.ones(2, 3), gl.ones(2, 3), 1), ShapeError, "axis 1 of"),
    (lambda: gl.tensordot(gl.ones(2, 3), gl.ones(3, 2), 3), ShapeError, "dims=3"),
    (lambda: gl.linalg.cross(gl.ones(2, 2), gl.ones(2, 2)), ShapeError, "must have size 3"),
    (lambda: gl.cross(gl.ones(2, 2), gl.ones(2, 2)), ShapeError, "no axis of size 3"),
    (lambda: gl.linalg.multi_dot([gl.ones(2, 2)]), ShapeError, "two tensors or more"),
    (lambda: gl.chain_matmul(gl.ones(2, 2), gl.ones(2)), ShapeError, "matrix 1 must have 2 dimensions"),
    (lambda: gl.nn.functional.bilinear(gl.ones(2, 3), gl.ones(2, 3), gl.ones(1, 2, 3)), ShapeError, "bilinear"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", REFUSED)
def test_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_cross_takes_the_first_axis_of_3() -> None:
    a, b = made((3, 2, 3), (3, 2, 3))
    np.testing.assert_allclose(gl.cross(gl.tensor(a), gl.tensor(b)).numpy(), np.cross(a, b, axis=0))


def test_norm_of_half_precision_products() -> None:
    a = gl.ones(4, 4).half()
    assert (a @ a).dtype is gl.float16
    assert math.isclose(float((a @ a).sum()), 64)


@pytest.mark.parametrize("options", [{}, {"N": 2}, {"increasing": True}, {"N": 5, "increasing": True}, {"N": 1}])
def test_vander(options: dict[str, Any]) -> None:
    x = np.array([1.5, -2.0, 0.5])
    np.testing.assert_allclose(
        gl.vander(gl.tensor(x), **options).numpy(), torch.vander(torch.tensor(x), **options).numpy()
    )
    with pytest.raises(gl.errors.ShapeError, match="expects a vector"):
        gl.vander(gl.ones(2, 2))
