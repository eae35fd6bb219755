"""Joins, rearrangements, padding and folding, compared with PyTorch's and NumPy's; gradients with differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.errors import DTypeError, ShapeError
from gradloom.testing import check_grads

Case = Callable[[Any, Any], Any]


def functional(L: Any) -> Any:
    return F if L is gl else torch.nn.functional


# of x, (3, 4); L is the library
CASES: dict[str, Case] = {
    "block_diag": lambda L, x: L.block_diag(x, x[0], x[1, 2]),
    "cartesian_prod": lambda L, x: L.cartesian_prod(x[0], x[:, 1], x[1]),
    "cat": lambda L, x: L.cat([x, x[:1], x], 0),
    "cat last": lambda L, x: L.cat((x, x[:, :1]), dim=-1),
    "cat with nothing": lambda L, x: L.cat([L.zeros(0, dtype=x.dtype), x]),
    "column_stack": lambda L, x: L.column_stack([x[:, 0], x, x[:, 1]]),
    "combinations": lambda L, x: L.combinations(x[0], 3),
    "combinations again": lambda L, x: L.combinations(x[0], 2, with_replacement=True),
    "concat": lambda L, x: L.concat([x, x], 1),
    "constant_pad_nd": lambda L, x: L.constant_pad_nd(x, (1, -2, 0, 3), 2.5),
    "diag": lambda L, x: L.diag(x, 1),
    "diag of a vector": lambda L, x: L.diag(x[0], -2),
    "diag_embed": lambda L, x: L.diag_embed(x, 1),
    "diag_embed in front": lambda L, x: L.diag_embed(x, -1, 2, 0),
    "diagflat": lambda L, x: L.diagflat(x[:, :2], 1),
    "dstack": lambda L, x: L.dstack([x, x]),
    "flip": lambda L, x: L.flip(x, (0, -1)),
    "flip one": lambda L, x: x.flip(1),
    "fliplr": lambda L, x: L.fliplr(x),
    "flipud": lambda L, x: L.flipud(x),
    "hstack": lambda L, x: L.hstack([x, x[:, :1]]),
    "hstack vectors": lambda L, x: L.hstack([x[0], x[1]]),
    "kron": lambda L, x: L.kron(x[:2], x),
    "kron of ranks": lambda L, x: L.kron(x[0], x),
    "meshgrid": lambda L, x: L.meshgrid(x[0], x[:, 1], indexing="ij")[1],
    "meshgrid xy": lambda L, x: L.meshgrid([x[0], x[:, 1]], indexing="xy")[0],
    "repeat": lambda L, x: x.repeat(2, 1, 3),
    "repeat_interleave": lambda L, x: L.repeat_interleave(x, 2, 1),
    "repeat_interleave flat": lambda L, x: x.repeat_interleave(3),
    "repeat_interleave by counts": lambda L, x: L.repeat_interleave(x, L.tensor([2, 0, 1]), dim=0),
    "roll": lambda L, x: L.roll(x, 1, 0),
    "roll two": lambda L, x: L.roll(x, (5, -1), (1, 0)),
    "roll flat": lambda L, x: x.roll(-2),
    "rot90": lambda L, x: L.rot90(x),
    "rot90 twice": lambda L, x: L.rot90(x, 2, (1, 0)),
    "rot90 back": lambda L, x: x.rot90(-1, (0, 1)),
    "row_stack": lambda L, x: L.row_stack((x, x[0])),
    "stack": lambda L, x: L.stack([x, x * 2], -1),
    "sum_to_size": lambda L, x: x.sum_to_size(3, 1),
    "tile": lambda L, x: L.tile(x, (2,)),
    "tile more": lambda L, x: x.tile(2, 1, 2),
    "tril": lambda L, x: L.tril(x, -1),
    "triu": lambda L, x: x.triu(1),
    "vstack": lambda L, x: L.vstack([x[0], x]),
    "pixel_shuffle": lambda L, x: L.pixel_shuffle(x.reshape(4, 1, 3), 2),
    "pixel_unshuffle": lambda L, x: L.pixel_unshuffle(x.reshape(1, 2, 6), 2),
    "channel_shuffle": lambda L, x: functional(L).channel_shuffle(x.reshape(1, 6, 2), 3),
    "unfold": lambda L, x: functional(L).unfold(x.reshape(1, 1, 3, 4), 2, dilation=(1, 2), padding=1, stride=(1, 2)),
    "unfold without batch": lambda L, x: functional(L).unfold(x.reshape(1, 3, 4), (2, 3)),
    "fold": lambda L, x: functional(L).fold(x.reshape(1, 4, 3), (2, 4), 2),
    "fold padded": lambda L, x: functional(L).fold(x.reshape(1, 2, 6), (2, 3), (2, 1), padding=(1, 0), stride=(2, 1)),
}


def both(fn: Case, a: np.ndarray) -> tuple[Any, Any]:
    return fn(gl, gl.tensor(a)), fn(torch, torch.tensor(a))


@pytest.mark.parametrize("dtype", ["float64", "int32", "bool"])
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, dtype: str) -> None:
    if dtype == "bool" and name in ("constant_pad_nd", "fold", "fold padded", "stack", "kron", "kron of ranks"):
        pytest.skip("no such operation on bool")
    if dtype == "int32" and "fold" in name:
        pytest.skip("PyTorch folds floating images only")
    a = (np.arange(12.0) - 5).reshape(3, 4).astype(dtype)
    mine, theirs = both(CASES[name], a)
    assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(mine.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


TWICE = ("cat", "diag_embed", "flip", "fold", "kron", "repeat", "roll", "unfold")


@pytest.mark.parametrize("name", CASES)
def test_gradient(name: str) -> None:
    a = np.linspace(-1, 1, 12).reshape(3, 4)
    check_grads(lambda x: CASES[name](gl, x) ** 3, [a], order=2 if name in TWICE else 1)


PADS = [
    ("constant", (1, 2)), ("constant", (0, 0, 2, 1)), ("constant", (-1, 1, 1, -1)), ("reflect", (2, 1)),
    ("reflect", (1, 2, 2, 1)), ("reflect", (-1, 2)), ("replicate", (2, 3)), ("replicate", (1, 0, 0, 2)),
    ("replicate", (-4, 5, 1, 1)), ("circular", (1, 2)), ("circular", (4, 0, 1, 3)), ("circular", (1, -1)),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "pads"), PADS, ids=lambda v: str(v))
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    shape = (2, 3, 4) if len(pads) == 2 else (1, 2, 3, 4)
    a = np.arange(24.0).reshape(shape)
    fill = {"value": 1.5} if mode == "constant" else {}
    mine = F.pad(gl.tensor(a), pads, mode=mode, **fill)
    theirs = torch.nn.functional.pad(torch.tensor(a), pads, mode=mode, **fill)
    assert tuple(mine.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    check_grads(lambda x: F.pad(x, pads, mode=mode) ** 2, [np.linspace(-1, 1, 24).reshape(shape)])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 2), st.tuples(st.integers(3, 6), st.integers(3, 6)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.integers(1, 2), st.integers(0, 2), st.integers(1, 3),
)  # fmt: skip
def test_unfold_and_fold(n: int, c: int, size: Any, kernel: Any, dilation: int, padding: int, stride: int) -> None:
    if any(s + 2 * padding < dilation * (k - 1) + 1 for s, k in zip(size, kernel, strict=True)):
        return
    a = np.arange(float(n * c * size[0] * size[1]), dtype=np.float32).reshape(n, c, *size)
    options = {"dilation": dilation, "padding": padding, "stride": stride}
    mine = F.unfold(gl.tensor(a), kernel, **options)
    theirs = torch.nn.functional.unfold(torch.tensor(a), kernel, **options)
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    mine = F.fold(mine, size, kernel, **options)
    theirs = torch.nn.functional.fold(theirs, size, kernel, **options)
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


NUMPY: dict[str, Callable[[Any, Any], Any]] = {
    "flip of all": lambda L, x: L.flip(x),
    "flip by axis": lambda L, x: L.flip(x, axis=1),
    "roll by axis": lambda L, x: L.roll(x, 2, axis=1),
    "concatenate by axis": lambda L, x: L.concatenate([x, x], axis=1),
    "concatenate flat": lambda L, x: L.concatenate([x, x], axis=None),
    "stack by axis": lambda L, x: L.stack([x, x], axis=1),
    "expand_dims": lambda L, x: L.expand_dims(x, axis=(0, 2)),
    "squeeze by axis": lambda L, x: L.squeeze(x[:, :1], axis=1),
    "moveaxis": lambda L, x: L.moveaxis(x, 0, -1),
    "transpose of all": lambda L, x: L.transpose(x),
    "transpose by order": lambda L, x: L.transpose(x, (1, 0)),
    "reshape": lambda L, x: L.reshape(x, (2, -1)),
    "tril": lambda L, x: L.tril(x, k=1),
    "broadcast_to": lambda L, x: L.broadcast_to(x, (2, 3, 4)),
    "tile": lambda L, x: L.tile(x, (2, 2)),
    "atleast_3d": lambda L, x: L.atleast_3d(x),
}


@pytest.mark.parametrize("name", NUMPY)
def test_as_numpy_has_it(name: str) -> None:
    a = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(NUMPY[name](gl, gl.tensor(a)).numpy(), NUMPY[name](np, a))


def test_dtypes_of_joins() -> None:
    for make in ("cat", "stack", "hstack", "block_diag"):
        parts = (gl.ones(2, dtype=gl.int32), gl.ones(2, dtype=gl.float16))
        out = gl.block_diag(*parts) if make == "block_diag" else getattr(gl, make)(parts)
        assert out.dtype is gl.float16
    assert gl.cat([gl.ones(2, dtype=gl.bool), gl.ones(2, dtype=gl.uint8)]).dtype is gl.uint8


def test_nothing() -> None:
    e = np.zeros((0, 3), np.float32)
    for fn in (
        lambda L, x: L.flip(x, (0,)), lambda L, x: L.roll(x, 1, 0), lambda L, x: x.repeat(2, 2), lambda L, x: L.tril(x),
        lambda L, x: L.cat([x, x]), lambda L, x: L.rot90(x), lambda L, x: L.diag(x), lambda L, x: L.kron(x, x),
        lambda L, x: x.repeat_interleave(2, 1),
    ):  # fmt: skip
        mine, theirs = both(fn, e)
        assert tuple(mine.shape) == tuple(theirs.shape)
    assert gl.combinations(gl.zeros(0)).shape == (0, 2)
    assert gl.unravel_index(gl.zeros(0, dtype=gl.int64), (2, 0))[0].shape == (0,)


def test_unravel_index() -> None:
    at = np.array([[0, 23], [7, 11]])
    for mine, theirs in zip(gl.unravel_index(gl.tensor(at), (2, 3, 4)), np.unravel_index(at, (2, 3, 4)), strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs)
        assert mine.dtype is gl.int64


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda x: gl.cat([]), ShapeError, "at least one"),
    (lambda x: gl.cat([x[0, 0], x[0, 0]]), ShapeError, "0-d"),
    (lambda x: gl.cat([x, x[:, 1:]]), ShapeError, "differ outside of axis 0"),
    (lambda x: gl.stack([x, x[:2]]), ShapeError, "one shape"),
    (lambda x: gl.meshgrid(x), ShapeError, "vectors"),
    (lambda x: gl.meshgrid(x[0], indexing="no"), ValueError, "'ij' or 'xy'"),
    (lambda x: gl.combinations(x), ShapeError, "vector"),
    (lambda x: gl.block_diag(x.unsqueeze(0)), ShapeError, "at most 2"),
    (lambda x: gl.fliplr(x[0]), ShapeError, "at least 2"),
    (lambda x: gl.roll(x, (1, 2)), ShapeError, "no axes"),
    (lambda x: gl.roll(x, (1, 2), 0), ShapeError, "2 shifts for 1 axes"),
    (lambda x: gl.rot90(x, 1, (0, 1, 2)), ShapeError, "two axes"),
    (lambda x: x.repeat(2), ShapeError, "every axis"),
    (lambda x: x.repeat_interleave(-1), ValueError, "negative"),
    (lambda x: gl.repeat_interleave(x, gl.tensor([1, 2]), 0), ShapeError, "one for each entry"),
    (lambda x: gl.repeat_interleave(x, gl.tensor([1.0, 2.0, 3.0]), 0), DTypeError, "integer"),
    (lambda x: gl.diag(x.unsqueeze(0)), ShapeError, "a vector or a matrix"),
    (lambda x: x.sum_to_size(2, 4), ShapeError, "does not broadcast"),
    (lambda x: gl.unravel_index(x, (3, 4)), DTypeError, "integer"),
    (lambda x: F.pad(x, (1,)), ShapeError, "two for each axis"),
    (lambda x: F.pad(x, (-5, 0)), ShapeError, "cut more"),
    (lambda x: F.pad(x, (4, 0), "reflect"), ShapeError, "at most 3"),
    (lambda x: F.pad(x, (1, 0), "mirror"), ValueError, "mode"),
    (lambda x: F.pad(x, (1, 0), "circular", 3.0), ValueError, "no value"),
    (lambda x: F.unfold(x, 2), ShapeError, r"\(N, C, H, W\)"),
    (lambda x: F.unfold(x.reshape(1, 1, 3, 4), 5), ShapeError, "do not fit"),
    (lambda x: F.fold(x, (2, 4), 3), ShapeError, "do not fit"),
    (lambda x: gl.pixel_shuffle(x.unsqueeze(0), 2), ShapeError, "do not divide"),
    (lambda x: gl.pixel_unshuffle(x.unsqueeze(0), 5), ShapeError, "do not divide"),
])  # fmt: skip
def test_refused(call: Callable[[Any], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call(gl.zeros(3, 4))


def test_repeat_is_numpys_as_a_function() -> None:
    a = np.arange(6).reshape(2, 3)
    for repeats, axis in ((2, None), (3, 1), ([1, 2], 0)):
        np.testing.assert_array_equal(gl.repeat(gl.tensor(a), repeats, axis=axis).numpy(), np.repeat(a, repeats, axis))
