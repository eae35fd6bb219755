"""einsum against NumPy and PyTorch: every form of equation, orders, gradients, what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.einsum import _greedy, _optimal, order_of
from gradloom.testing import check_grads

RNG = np.random.default_rng(2)
EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk", [(2, 3), (3, 4)]), ("ij,jk->ki", [(2, 3), (3, 4)]), ("ij->ji", [(2, 3)]), ("ij->", [(2, 3)]),
    ("ii", [(3, 3)]), ("ii->i", [(3, 3)]), ("iij,jkk->ik", [(2, 2, 3), (3, 4, 4)]), ("iii->i", [(2, 2, 2)]),
    ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 6)]), ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("i,j,k->ijk", [(2,), (3,), (4,)]), ("i,i", [(3,), (3,)]), ("ij,ij->i", [(2, 3), (2, 3)]),
    ("a...b->b...a", [(2, 3, 4)]), ("...->...", [(2, 3)]), ("bn,anm,bm->ba", [(2, 5), (3, 5, 4), (2, 4)]),
    ("ij,jk,kl,lm", [(2, 3), (3, 4), (4, 5), (5, 6)]), ("abc,abc,abc->", [(2, 3, 4)] * 3),
    ("ij,kl->", [(2, 3), (4, 5)]), ("ij,jk->ik", [(0, 3), (3, 4)]), ("ij,jk->ik", [(2, 0), (0, 4)]),
    ("Ab,bC", [(2, 3), (3, 4)]),
    (",ij->ij", [(), (2, 3)]), ("i...,i...->...", [(2, 3, 4), (2, 3, 4)]), (" i j , j k -> i k ", [(2, 3), (3, 4)]),
]  # fmt: skip


def made(shapes: list[tuple[int, ...]], dtype: Any = np.float64) -> list[np.ndarray]:
    return [np.asarray(RNG.standard_normal(s) * 4).astype(dtype) for s in shapes]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.complex128])
def test_values(dtype: Any) -> None:
    for equation, shapes in EQUATIONS:
        arrays = made(shapes, dtype)
        got = gl.einsum(equation, *map(gl.tensor, arrays)).numpy()
        want = torch.einsum(equation, *map(torch.tensor, arrays)).numpy()
        assert (got.dtype, got.shape) == (want.dtype, want.shape), equation
        rtol = 1e-4 if dtype is np.float32 else 1e-10
        np.testing.assert_allclose(got, want, rtol, rtol, err_msg=equation)


def test_axes_of_size_1_broadcast() -> None:
    a, b = made([(1, 3), (5, 1)])
    want = torch.einsum("ij,ij->ij", torch.tensor(a), torch.tensor(b)).numpy()
    np.testing.assert_allclose(gl.einsum("ij,ij->ij", gl.tensor(a), gl.tensor(b)).numpy(), want)
    c, d = made([(4, 1), (3,)])
    want = torch.einsum("ij,j->i", torch.tensor(c), torch.tensor(d)).numpy()
    np.testing.assert_allclose(gl.einsum("ij,j->i", gl.tensor(c), gl.tensor(d)).numpy(), want)


def test_lists_of_operands_and_of_labels() -> None:
    a, b = map(gl.tensor, made([(2, 3), (3, 4)]))
    want = (a @ b).numpy()
    np.testing.assert_allclose(gl.einsum("ij,jk->ik", [a, b]).numpy(), want)
    np.testing.assert_allclose(gl.einsum(a, [0, 1], b, [1, 2], [0, 2]).numpy(), want)
    np.testing.assert_allclose(gl.einsum(a, [0, 51], b, [51, 2]).numpy(), want)
    np.testing.assert_allclose(gl.einsum(a, [..., 1], b, [1, 2], [2, ...]).numpy(), want.T)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_contraction(data: st.DataObject) -> None:
    sizes = {c: data.draw(st.integers(1, 3)) for c in "abcde"}
    terms = [data.draw(st.text("abcde", min_size=1, max_size=3)) for _ in range(data.draw(st.integers(1, 4)))]
    seen = sorted(set("".join(terms)))
    out = data.draw(st.lists(st.sampled_from(seen), unique=True, max_size=3))
    equation = ",".join(terms) + "->" + "".join(out)
    arrays = made([tuple(sizes[c] for c in t) for t in terms])
    got = gl.einsum(equation, *map(gl.tensor, arrays)).numpy()
    np.testing.assert_allclose(got, np.einsum(equation, *arrays), 1e-9, 1e-9, err_msg=equation)


def _cost(terms: tuple[tuple[int, ...], ...], out: set[int], size: dict[int, int], pairs: Any) -> int:
    held = [set(t) for t in terms]
    total = 0
    for i, j in pairs:
        b, a = held.pop(j), held.pop(i)
        n = 1
        for k in a | b:
            n *= size[k]
        total += n
        held.append((a | b) & out.union(*held))
    return total


def test_orders() -> None:
    terms = ((0, 1), (1, 2), (2, 3), (3, 4))
    size = {0: 10, 1: 2, 2: 30, 3: 3, 4: 20}
    sets = [frozenset(t) for t in terms]
    best = min(
        _cost(terms, {0, 4}, size, pairs)
        for pairs in itertools.product(
            itertools.combinations(range(4), 2), itertools.combinations(range(3), 2), [(0, 1)]
        )
    )
    assert _cost(terms, {0, 4}, size, _optimal(sets, frozenset({0, 4}), size)) == best
    assert len(_greedy(sets, frozenset({0, 4}), size)) == 3
    long = tuple((k, k + 1) for k in range(30))
    pairs = order_of(long, (0, 30), tuple((k, 2) for k in range(31)))
    assert _cost(long, {0, 30}, dict.fromkeys(range(31), 2), pairs) <= 30 * 8


@pytest.mark.parametrize("equation, shapes", [("ij,jk->ik", [(2, 3), (3, 2)]), ("iij,kj->k", [(2, 2, 2), (3, 2)]),
                                               ("b...i,b...->i", [(2, 2, 3), (2, 2)])])  # fmt: skip
def test_gradients(equation: str, shapes: list[tuple[int, ...]]) -> None:
    check_grads(lambda *xs: gl.einsum(equation, *xs) ** 2, made(shapes), order=2)


@pytest.mark.parametrize(
    "equation, shapes, text",
    [
        ("ij,jk", [(2, 3)], "names 2 operands, 1 were given"),
        ("ij", [(2, 3, 4)], "operand 0 of shape"),
        ("ij,jk", [(2, 3), (4, 5)], "size 4 in operand 1"),
        ("i?->i", [(2, 3)], "is no label"),
        ("ij->iij", [(2, 3)], "twice or in no operand"),
        ("ij->k", [(2, 3)], "twice or in no operand"),
        ("......", [(2, 3)], "stands twice"),
    ],
)
def test_refused(equation: str, shapes: list[tuple[int, ...]], text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        gl.einsum(equation, *map(gl.tensor, made(shapes)))


def test_dtypes_must_agree() -> None:
    with pytest.raises(DTypeError, match="differ"):
        gl.einsum("i,i", gl.ones(2), gl.ones(2).double())
