"""Views: values, strides and writes in both directions, compared with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import DTypeError, GradientError, IndexRangeError, NotSupportedError, ShapeError, StateError
from gradloom.testing import check_grads

View = Callable[[Any, Any], Any]

# of a (4, 6) tensor; L is the library
VIEWS: dict[str, View] = {
    "adjoint": lambda L, x: L.adjoint(x),
    "as_strided": lambda L, x: L.as_strided(x, (2, 3), (7, 2), 1),
    "atleast_3d": lambda L, x: L.atleast_3d(x),
    "broadcast_to": lambda L, x: L.broadcast_to(x, (1, 4, 6)),
    "chunk": lambda L, x: L.chunk(x, 4, 1)[2],
    "detach": lambda L, x: x.detach(),
    "diagonal": lambda L, x: L.diagonal(x),
    "diagonal above": lambda L, x: L.diagonal(x, 2),
    "diagonal below": lambda L, x: x.diagonal(-1, 0, 1),
    "diagonal of the transpose": lambda L, x: x.diagonal(1, 1, 0),
    "expand": lambda L, x: x.expand(1, -1, 6),
    "flatten": lambda L, x: L.flatten(x),
    "hsplit": lambda L, x: L.hsplit(x, 3)[1],
    "movedim": lambda L, x: L.movedim(x, 0, 1),
    "moveaxis": lambda L, x: L.moveaxis(x, (0, 1), (1, 0)),
    "mT": lambda L, x: x.mT,
    "narrow": lambda L, x: L.narrow(x, 1, 2, 3),
    "narrow from the end": lambda L, x: x.narrow(0, -2, 2),
    "permute": lambda L, x: L.permute(x, (1, 0)),
    "permute by keyword": lambda L, x: x.permute(dims=(1, 0)),
    "ravel": lambda L, x: L.ravel(x),
    "reshape": lambda L, x: L.reshape(x, (2, -1)),
    "reshape to itself": lambda L, x: x.reshape(4, 6),
    "select": lambda L, x: L.select(x, 1, -2),
    "split": lambda L, x: L.split(x, 4, 1)[1],
    "split by sizes": lambda L, x: x.split([1, 2, 1])[1],
    "squeeze": lambda L, x: L.squeeze(x.view(4, 1, 6)),
    "squeeze axes": lambda L, x: L.squeeze(x.view(1, 4, 1, 6), (0, 1)),
    "step": lambda L, x: x[::2, 1::3],
    "swapaxes": lambda L, x: L.swapaxes(x, 0, 1),
    "t": lambda L, x: L.t(x),
    "T": lambda L, x: x.T,
    "tensor_split": lambda L, x: L.tensor_split(x, 4, 1)[1],
    "tensor_split at": lambda L, x: L.tensor_split(x, (1, 3), 1)[1],
    "transpose": lambda L, x: L.transpose(x, 0, 1),
    "unbind": lambda L, x: L.unbind(x, 1)[3],
    "unflatten": lambda L, x: L.unflatten(x, 1, (2, 3)),
    "unfold": lambda L, x: x.unfold(1, 2, 2),
    "unfold with gaps": lambda L, x: x.unfold(0, 1, 3),
    "unsqueeze": lambda L, x: L.unsqueeze(x, 1),
    "view": lambda L, x: x.view(3, 8),
    "view_as": lambda L, x: x.view_as(L.zeros(24)),
    "vsplit": lambda L, x: L.vsplit(x, 2)[1],
    "view of a view": lambda L, x: x.t()[1:4].unsqueeze(0).transpose(0, 2),
    "entry of a row": lambda L, x: x[1][2],
}
BASES: dict[str, View] = {
    "whole": lambda L, x: x,
    "transposed": lambda L, x: x.view(6, 4).t(),
    "piece": lambda L, x: L.cat([x, x])[2:6],
}


def pair(base: str) -> tuple[Any, Any]:
    a = np.arange(24.0).reshape(4, 6)
    return BASES[base](gl, gl.tensor(a)), BASES[base](torch, torch.tensor(a))


def steps(t: Any) -> list[int]:
    """The strides that count: an axis of size 1 may have any."""
    return [s for s, n in zip(t.stride(), t.shape, strict=True) if n != 1]


def same(mine: Any, theirs: Any) -> None:
    assert tuple(mine.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", VIEWS)
def test_view(name: str, base: str) -> None:
    """Values, strides, offset; a write to the view reaches the base, and one to the base the view."""
    x, y = pair(base)
    try:
        w = VIEWS[name](torch, y)
    except RuntimeError:  # no view of that shape there: ours is one all the same
        assert name in ("view", "view_as", "squeeze", "squeeze axes") and base == "transposed"
        return
    v = VIEWS[name](gl, x)
    same(v, w)
    assert steps(v) == steps(w)
    assert v.storage_offset() == w.storage_offset()
    assert v.is_contiguous() == w.is_contiguous()
    v.mul_(-10)
    w.mul_(-10)
    same(x, y)
    same(v, w)
    x += 1
    y += 1
    same(v, w)


TWICE = ("as_strided", "diagonal above", "expand", "permute", "reshape", "step", "unfold")


@pytest.mark.parametrize("name", [n for n in VIEWS if n != "detach"])
def test_gradient(name: str) -> None:
    order = 2 if name in TWICE else 1
    check_grads(lambda x: VIEWS[name](gl, x) ** 3, [np.linspace(-1, 1, 24).reshape(4, 6)], order=order)


COPIES: dict[str, View] = {
    "reshape": lambda L, x: x.t().reshape(24),
    "flatten": lambda L, x: x.t().flatten(),
    "ravel": lambda L, x: x[:, 1:].ravel(),
    "contiguous": lambda L, x: x.t().contiguous(),
    "clone": lambda L, x: x.clone(),
    "to": lambda L, x: x.to(L.float64, copy=True),
    "narrow_copy": lambda L, x: L.narrow_copy(x, 0, 1, 2),
    "squeeze_copy": lambda L, x: L.squeeze_copy(x),
    "permute_copy": lambda L, x: L.permute_copy(x, (1, 0)),
    "view_copy": lambda L, x: L.view_copy(x, (24,)),
    "alias_copy": lambda L, x: L.alias_copy(x),
    "unbind_copy": lambda L, x: L.unbind_copy(x)[0],
    "index": lambda L, x: x[[0, 1]],
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_apart(name: str) -> None:
    x, y = pair("whole")
    c, d = COPIES[name](gl, x), COPIES[name](torch, y)
    c += 1
    d += 1
    same(c, d)
    same(x, y)


def test_contiguous_is_itself_where_it_can_be() -> None:
    x = gl.zeros(2, 3)
    assert x.contiguous() is x
    v = x[1:]
    assert v.contiguous() is v
    assert x.T.contiguous().stride() == (2, 1)
    image = gl.zeros(2, 3, 4, 5).permute(0, 2, 3, 1)
    assert not image.is_contiguous()
    assert gl.zeros(2, 4, 5, 3).permute(0, 3, 1, 2).is_contiguous(memory_format=gl.channels_last)
    with pytest.raises(TypeError, match="memory_format"):
        x.contiguous(memory_format="odd")


def test_addresses() -> None:
    x = gl.zeros(3, 4)
    assert x.view(-1).data_ptr() == x.data_ptr() == x.T.data_ptr()
    assert x[1].data_ptr() == x.data_ptr() + 16
    with pytest.raises(NotSupportedError, match="storage"):
        x.untyped_storage()


@pytest.mark.parametrize("view", [
    lambda x: x.expand(3, 4),
    lambda x: x.broadcast_to((2, 4)),
    lambda x: gl.broadcast_tensors(x, gl.zeros(3, 1))[0],
    lambda x: x.unfold(0, 3, 1),
    lambda x: x.as_strided((2, 3), (1, 1)),
])  # fmt: skip
def test_overlaps_are_not_written(view: Callable[[Any], Any]) -> None:
    x = gl.arange(4.0)
    v = view(x)
    for write in (lambda: v.add_(1), lambda: v.fill_(2.0), lambda: v.zero_()):
        with pytest.raises(StateError, match="clone"):
            write()
    np.testing.assert_array_equal(x.numpy(), [0, 1, 2, 3])
    x += 1
    np.testing.assert_array_equal(v.numpy().max(), 4)


STEPS: dict[str, Callable[[Any, int, int], Any]] = {
    "transpose": lambda x, a, b: x.transpose(a % x.ndim, b % x.ndim),
    "select": lambda x, a, b: x.select(a % x.ndim, b % x.shape[a % x.ndim]) if x.ndim > 1 else x,
    "narrow": lambda x, a, b: x.narrow(a % x.ndim, 0, 1 + b % x.shape[a % x.ndim]),
    "tail": lambda x, a, b: x.narrow(a % x.ndim, (s := b % x.shape[a % x.ndim]), x.shape[a % x.ndim] - s),
    "every second": lambda x, a, b: x[::2] if a % 2 else x[..., 1::2] if x.shape[-1] > 1 else x,
    "unsqueeze": lambda x, a, b: x.unsqueeze(a % (x.ndim + 1)) if x.ndim < 5 else x,
    "squeeze": lambda x, a, b: x.squeeze() if x.squeeze().ndim else x,
    "flatten": lambda x, a, b: x.flatten(a % x.ndim),
    "reshape": lambda x, a, b: x.reshape(-1),
    "diagonal": lambda x, a, b: x.diagonal() if x.ndim > 1 and min(x.shape[:2]) else x,
    "unfold": lambda x, a, b: x.unfold(0, 1 + a % x.shape[0], 1 + a % x.shape[0]) if x.ndim < 5 else x,
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=5),
)
def test_chains_of_views(shape: list[int], moves: list[tuple[str, int, int]]) -> None:
    a = np.arange(float(np.prod(shape))).reshape(shape)
    x, y = gl.tensor(a), torch.tensor(a)
    v, w = x, y
    for name, p, q in moves:
        v, w = STEPS[name](v, p, q), STEPS[name](w, p, q)
        same(v, w)
        assert steps(v) == steps(w) and v.storage_offset() == w.storage_offset(), name
    v.add_(100)
    w.add_(100)
    same(v, w)
    same(x, y)


def test_functions_of_the_library_give_views_of_leaves_too() -> None:
    w = gl.ones(2, 3, requires_grad=True)
    v = gl.transpose(w, 0, 1)
    with pytest.raises(GradientError, match="leaf"):
        v.add_(1)
    with gl.no_grad():
        gl.transpose(w, 0, 1)[0].mul_(5)
    np.testing.assert_array_equal(w.detach().numpy(), [[5, 1, 1], [5, 1, 1]])
    gl.reshape(w, (6,))[0].backward()
    np.testing.assert_array_equal(w.grad.numpy(), [[1, 0, 0], [0, 0, 0]])


def test_a_write_through_a_view_is_differentiated() -> None:
    w = gl.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    y = w * 2
    gl.reshape(y, (2, 2)).t()[0] *= w[:2]
    y.sum().backward()
    # y is (2 w0 w0, 2 w1, 2 w2 w1, 2 w3)
    np.testing.assert_array_equal(w.grad.numpy(), [4, 2 + 2 * 3, 2 * 2, 2])


def test_bits() -> None:
    a = np.array([1.5, -2.0, 0.0, 3.25], np.float32)
    x, y = gl.tensor(a), torch.tensor(a)
    same(x.view(gl.int32), y.view(torch.int32))
    same(x.view(gl.uint8), y.view(torch.uint8))
    same(x.view(gl.float64), y.view(torch.float64))
    x.view(gl.int32)[1] = 0
    y.view(torch.int32)[1] = 0
    same(x, y)
    with pytest.raises(ShapeError, match="bytes"):
        gl.zeros(3).view(gl.float64)


SHAPED: dict[str, Callable[[Any], Any]] = {
    "unsqueeze_": lambda x: x.unsqueeze_(1),
    "squeeze_": lambda x: x.squeeze_(),
    "t_": lambda x: x.t_(),
    "transpose_": lambda x: x.transpose_(0, 1),
    "swapaxes_": lambda x: x.swapaxes_(0, 1),
    "as_strided_": lambda x: x.as_strided_((2, 2), (1, 3), 1),
}


@pytest.mark.parametrize("name", SHAPED)
def test_shape_changed_in_place(name: str) -> None:
    x, y = pair("whole")
    old, old_theirs = x[1], y[1]
    assert SHAPED[name](x) is x
    SHAPED[name](y)
    same(x, y)
    x += 1
    y += 1
    old *= 2
    old_theirs *= 2
    same(x, y)
    same(old, old_theirs)


def test_shape_of_a_view_changed_in_place() -> None:
    x, y = pair("whole")
    v, w = x[1:3], y[1:3]
    v.t_()
    w.t_()
    v[0] = 7.0
    w[0] = 7.0
    same(x, y)
    x.zero_()
    y.zero_()
    same(v, w)


def test_resize() -> None:
    x = gl.arange(6)
    same(x.resize_(2, 2), torch.arange(4).view(2, 2))
    assert x.resize_(10).shape == (10,)
    np.testing.assert_array_equal(x[:4].numpy(), range(4))
    assert x.resize_as_(gl.zeros(2, 0)).shape == (2, 0)
    with pytest.raises(GradientError, match="resize"):
        gl.zeros(2, requires_grad=True).resize_(3)
    with pytest.raises(GradientError, match="leaf"):
        gl.zeros(2, 2, requires_grad=True).t_()


SCATTERS: dict[str, View] = {
    "select": lambda L, x: L.select_scatter(x, x[0, :] * 2, 0, 1),
    "slice": lambda L, x: L.slice_scatter(x, x[:, :3] * 3, 1, 1, 6, 2),
    "diagonal": lambda L, x: L.diagonal_scatter(x, x[0, :4] * 2, 1),
    "as_strided": lambda L, x: L.as_strided_scatter(x, x[:2, :2] * 2, (2, 2), (6, 2), 3),
}


@pytest.mark.parametrize("name", SCATTERS)
def test_scatter_into_a_part(name: str) -> None:
    x, y = pair("whole")
    same(SCATTERS[name](gl, x), SCATTERS[name](torch, y))
    same(x, y)
    check_grads(lambda t: SCATTERS[name](gl, t) ** 2, [np.linspace(-1, 1, 24).reshape(4, 6)], order=2)


def test_scalars_and_nothing() -> None:
    s, t = gl.tensor(3.0), torch.tensor(3.0)
    for f in ("flatten", "ravel", "t", "squeeze", "detach"):
        same(getattr(s, f)(), getattr(t, f)())
    same(s.transpose(0, -1), t.transpose(0, -1))
    same(s.unsqueeze(0), t.unsqueeze(0))
    same(s.expand(2, 3), t.expand(2, 3))
    same(s.unfold(0, 1, 1), t.unfold(0, 1, 1))
    e, g = gl.zeros(2, 0, 3), torch.zeros(2, 0, 3)
    for view in (lambda x: x.permute(2, 1, 0), lambda x: x.reshape(0, 6), lambda x: x[1], lambda x: x.split(1)[0]):
        same(view(e), view(g))
        view(e).add_(1)
    assert e.stride() == g.stride()


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda x: x.permute(0, 0), ShapeError, "no order of 2 axes"),
    (lambda x: x.view(5, 5), ShapeError, "24 elements"),
    (lambda x: x.reshape(-1, -1), ShapeError, "cannot become"),
    (lambda x: x.transpose(0, 2), IndexRangeError, "axis 2"),
    (lambda x: x.narrow(0, 2, 3), IndexRangeError, "3 entries from 2"),
    (lambda x: x.select(1, 6), IndexRangeError, "index 6"),
    (lambda x: x.split(0), ShapeError, "size 0"),
    (lambda x: x.split([1, 1]), ShapeError, "do not add up to 4"),
    (lambda x: x.chunk(0), ValueError, "at least 1"),
    (lambda x: x.hsplit(4), ShapeError, "does not divide"),
    (lambda x: x.expand(4, 7), ShapeError, "does not broadcast"),
    (lambda x: x.expand(6), ShapeError, "every axis"),
    (lambda x: x.unfold(0, 5, 1), ShapeError, "runs from 0 to 4"),
    (lambda x: x.as_strided((5, 5), (6, 1)), ShapeError, "reach beyond 24"),
    (lambda x: x[0].mT, ShapeError, "at least 2"),
    (lambda x: x.unsqueeze(0).t(), ShapeError, "at most 2"),
    (lambda x: x.movedim((0, 1), 0), ShapeError, "2 source axes"),
    (lambda x: x.t().reshape(24, copy=False), ShapeError, "only by a copy"),
])  # fmt: skip
def test_refused(call: Callable[[Any], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call(gl.zeros(4, 6))


def test_set() -> None:
    x, y = gl.zeros(2, 3), gl.ones(4)
    assert x.set_(y) is x and x.is_set_to(y)
    x[0] = 5.0
    y += 1
    np.testing.assert_array_equal(x.numpy(), [6, 2, 2, 2])
    np.testing.assert_array_equal(y.numpy(), [6, 2, 2, 2])
    assert not x.is_set_to(gl.ones(4)) and not x.is_set_to(y[1:])
    assert gl.is_same_size(x, y) and gl.zeros(2, 3).T.dim_order() == (1, 0)
    with pytest.raises(DTypeError, match="int64"):
        x.set_(gl.arange(3))
    with pytest.raises(GradientError, match="require grad"):
        x.set_(gl.ones(2, requires_grad=True))
