"""Operators between tensors and what is no tensor: the other's own rules come after ours, as in PyTorch."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl

BINARY = (
    "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift eq ne lt le gt ge".split()
)  # names of Python's module operator


class Foreign:
    """Something that knows what to do with a tensor on the other side."""


for (
    _name
) in "radd rsub rmul rtruediv rfloordiv rmod rpow rmatmul rand ror rxor rlshift rrshift lt le gt ge eq ne".split():
    setattr(Foreign, f"__{_name}__", lambda self, other, name=_name: name)


@pytest.mark.parametrize("name", BINARY)
def test_another_class_is_asked(name: str) -> None:
    op = getattr(operator, name)
    mine, theirs = (op(t.ones(2, dtype=t.int64), Foreign()) for t in (gl, torch))
    assert mine == theirs


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("other", [None, "a", object()], ids=["None", "text", "object"])
def test_what_is_no_number(name: str, other: Any) -> None:
    op = getattr(operator, name)

    def outcome(t: Any) -> Any:
        try:
            return op(t.ones(2, dtype=t.int64), other)
        except TypeError:
            return TypeError

    assert outcome(gl) is outcome(torch)


def test_comparing_with_none_is_no_error() -> None:
    x = gl.ones(2)
    assert not (x == None) and x != None  # noqa: E711
    assert None not in [x] and [None, x].index(None) == 0


def test_numbers_lists_and_arrays_stay_operands() -> None:
    x = gl.tensor([1.0, 2.0])
    for other in (2, 2.0, True, np.float32(2), np.array([3.0, 4.0], np.float32), [3.0, 4.0], gl.tensor(2.0)):
        for name in "add sub mul truediv floordiv mod pow eq lt".split():
            op = getattr(operator, name)
            value = np.asarray(other)
            np.testing.assert_allclose(op(x, other).numpy(), op(np.array([1.0, 2.0]), value), rtol=1e-6)
    for name in "add sub mul truediv floordiv mod pow".split():
        np.testing.assert_allclose(
            getattr(operator, name)(7, x).numpy(), getattr(operator, name)(7, np.array([1.0, 2.0]))
        )
    assert "multiply" not in (x.__mul__.__doc__ or "") and x.__radd__.__name__ == "__radd__"
