"""``assert_close`` agrees with PyTorch's: what passes, what fails, and the message's facts."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.testing import assert_close, make_tensor

CASES = [
    ([1.0, 2.0], [1.0, 2.0], "float32", {}),
    ([1.0, 2.0], [1.0, 2.00001], "float32", {}),
    ([1.0, 2.0], [1.0, 2.0001], "float32", {}),
    ([1.0, 2.0], [1.0, 2.0001], "float32", {"rtol": 1e-2, "atol": 0}),
    ([1.0, 2.0], [1.0, 2.000001], "float64", {}),
    ([1.0, 100.0], [1.0, 101.0], "bfloat16", {}),
    ([float("nan")], [float("nan")], "float32", {}),
    ([float("nan")], [float("nan")], "float32", {"equal_nan": True}),
    ([float("inf"), 1.0], [float("inf"), 1.0], "float32", {}),
    ([float("inf")], [-float("inf")], "float32", {}),
    ([1, 2, 3], [1, 2, 4], "int64", {}),
    ([1, 2, 3], [1, 2, 4], "int64", {"rtol": 0.5, "atol": 0}),
    ([True, False], [True, True], "bool", {}),
    ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.5], [3.0, 5.0]], "float32", {}),
    (3.0, 4.0, "float32", {}),
    ([], [], "float32", {}),
]


def outcome(fn, *args, **kwargs):
    try:
        fn(*args, **kwargs)
    except AssertionError as e:
        return str(e)
    return None


def facts(text):
    """Lines of a message with numbers rounded."""
    return re.sub(r"\d+\.\d+(e-?\d+)?|\binf\b|\bnan\b", lambda m: f"{float(m[0]):.3g}", text)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_agrees_with_torch(case):
    a, b, dtype, options = CASES[case]
    theirs = outcome(
        torch.testing.assert_close, torch.tensor(a, dtype=getattr(torch, dtype)),
        torch.tensor(b, dtype=getattr(torch, dtype)), **options,
    )  # fmt: skip
    d = gl.dtypes.as_dtype(dtype)
    ours = outcome(assert_close, gl.tensor(a, dtype=d), gl.tensor(b, dtype=d), **options)
    assert (ours is None) == (theirs is None)
    if theirs is not None:
        assert facts(ours) == facts(theirs)


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 1), (1, 2), (1.0, 1.0000001), (1.0, 1.1), ([1, 2], [1, 2]), ([1, 2], [1, 3]), ({"a": 1.0}, {"a": 1.5}),
     ((1,), (1, 2)), ({"a": 1}, {"b": 1}), (1, 1.0), (None, None), (2j, 2j)],
)  # fmt: skip
def test_numbers_and_containers(a, b):
    ours, theirs = outcome(assert_close, a, b), outcome(torch.testing.assert_close, a, b)
    assert (ours is None) == (theirs is None)
    if theirs is not None:
        assert facts(ours).split("\n")[0] == facts(theirs).split("\n")[0]


def test_attributes_and_messages():
    with pytest.raises(AssertionError, match=r"'shape' do not match: \(2,\) != \(3,\)"):
        assert_close(gl.ones(2), gl.ones(3))
    with pytest.raises(AssertionError, match="'dtype' do not match"):
        assert_close(gl.ones(2), gl.ones(2, dtype=gl.float64))
    assert_close(gl.ones(2), gl.ones(2, dtype=gl.float64), check_dtype=False)
    assert_close(gl.ones(2), np.ones(2))
    with pytest.raises(AssertionError, match=r"^mine$"):
        assert_close(gl.ones(2), gl.zeros(2), msg="mine")
    with pytest.raises(AssertionError, match=r"^mine: Tensor-likes"):
        assert_close(gl.ones(2), gl.zeros(2), msg=lambda m: "mine: " + m)
    with pytest.raises(AssertionError, match=r"item \['a'\]\[1\]"):
        assert_close({"a": [1, gl.ones(1)]}, {"a": [1, gl.zeros(1)]})
    with pytest.raises(ValueError, match="both"):
        assert_close(gl.ones(2), gl.ones(2), rtol=1.0)
    with pytest.raises(TypeError, match="comparison pair"):
        assert_close(gl.ones(2), "x")
    with pytest.raises(TypeError, match="classes"):
        assert_close(gl.nn.Parameter(gl.ones(2)), gl.ones(2), allow_subclasses=False)


@pytest.mark.parametrize("dtype", gl.dtypes.ALL, ids=lambda d: d.name)
def test_make_tensor(dtype):
    gl.manual_seed(0)
    t = make_tensor((50, 2), dtype=dtype, exclude_zero=True)
    assert t.shape == (50, 2) and t.dtype is dtype and t.numpy().astype(bool).all()
    if dtype.is_floating_point and dtype.itemsize > 1:
        u = make_tensor(3, 4, dtype=dtype, low=2, high=3, requires_grad=True)
        a = u.detach().numpy().astype(np.float64)
        assert u.requires_grad and a.min() >= 2 and a.max() <= 3
