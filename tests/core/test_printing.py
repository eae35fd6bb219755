"""The text of tensors, compared with PyTorch's letter by letter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl

RNG = np.random.default_rng(0)

CASES: dict[str, Any] = {
    "0-d float": np.float32(3.5),
    "0-d whole": np.float32(3.0),
    "0-d int": np.int64(7),
    "0-d bool": np.bool_(True),
    "0-d nan": np.float32(np.nan),
    "0-d inf": np.float32(-np.inf),
    "0-d double": np.float64(0.1),
    "0-d tiny": np.float32(1e-9),
    "0-d complex": np.complex64(1 - 2j),
    "empty": np.zeros(0, np.float32),
    "empty matrix": np.zeros((0, 3), np.float32),
    "empty ints": np.zeros(0, np.int64),
    "empty bools": np.zeros((2, 0), np.bool_),
    "floats": np.array([1.5, -2.25, 100.125], np.float32),
    "whole floats": np.array([1.0, -20.0, 300.0], np.float32),
    "one zero": np.array([0.0], np.float32),
    "zeros": np.zeros((2, 3), np.float32),
    "wide range": np.array([1e-3, 1.0, 1e4], np.float32),
    "whole and wide": np.array([1.0, 2e6], np.float32),
    "large whole": np.array([1.0, 999.0, 1e9], np.float32),
    "small": np.array([1e-5, 2e-5], np.float32),
    "with nan": np.array([1.5, np.nan, -3.0], np.float32),
    "with inf": np.array([np.inf, 2.0, -np.inf], np.float32),
    "only nan and inf": np.array([np.inf, np.nan], np.float32),
    "whole with nan": np.array([1.0, np.nan], np.float32),
    "ints": np.array([1, -20, 300]),
    "int8": np.array([[1, 100], [-5, 7]], np.int8),
    "bools": np.array([True, False]),
    "matrix of bools": np.array([[True, False], [False, False]]),
    "matrix": RNG.standard_normal((3, 4)).astype(np.float32),
    "wide matrix": RNG.standard_normal((2, 30)).astype(np.float32),
    "doubles": RNG.standard_normal((2, 2)),
    "halves": RNG.standard_normal(3).astype(np.float16),
    "cube": np.arange(24.0, dtype=np.float32).reshape(2, 3, 4),
    "four axes": np.arange(16).reshape(2, 2, 2, 2),
    "long": np.arange(2000),
    "large": RNG.standard_normal((50, 60)).astype(np.float32),
    "long rows": np.arange(3000.0, dtype=np.float32).reshape(3, 1000),
    "large and deep": np.arange(8000).reshape(20, 20, 20),
    "complex": np.array([1 + 2j, -3.5 - 0.25j, 0], np.complex64),
    "complex double": np.array([[1e-6 + 1j], [2 - 1e6j]]),
    "complex nan": np.array([complex(np.nan, 1), 1j], np.complex64),
    "large complex": (RNG.standard_normal(1200) + 1j).astype(np.complex64),
}


@pytest.fixture(autouse=True)
def usual_options() -> Iterator[None]:
    """Options set in one test do not reach the next."""
    yield
    gl.set_printoptions(profile="default", sci_mode=None)
    torch.set_printoptions(profile="default", sci_mode=None)


def both(a: Any, dtype: str | None = None) -> tuple[str, str]:
    mine, theirs = gl.tensor(np.asarray(a)), torch.tensor(np.asarray(a))
    if dtype:
        mine, theirs = mine.to(getattr(gl, dtype)), theirs.to(getattr(torch, dtype))
    return repr(mine), repr(theirs).replace("torch.", "gradloom.")


@pytest.mark.parametrize("name", CASES)
def test_text(name: str) -> None:
    mine, theirs = both(CASES[name])
    assert mine == theirs


@pytest.mark.parametrize("name", ["matrix", "whole floats", "with nan", "large"])
def test_text_of_bfloat16(name: str) -> None:
    mine, theirs = both(CASES[name], "bfloat16")
    assert mine == theirs


OPTIONS: dict[str, dict[str, Any]] = {
    "precision": {"precision": 2},
    "long precision": {"precision": 8},
    "threshold": {"threshold": 5},
    "one edge item": {"threshold": 5, "edgeitems": 1},
    "narrow": {"linewidth": 40},
    "powers of ten": {"sci_mode": True},
    "no powers of ten": {"sci_mode": False},
    "short": {"profile": "short"},
    "full": {"profile": "full"},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "name", ["matrix", "ints", "cube", "small", "whole and wide", "complex", "wide matrix", "zeros"]
)
def test_options(name: str, options: str) -> None:
    gl.set_printoptions(**OPTIONS[options])
    torch.set_printoptions(**OPTIONS[options])
    mine, theirs = both(CASES[name])
    assert mine == theirs


def test_marks() -> None:
    x = gl.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], grad_fn=<MulBackward0>)"
    assert repr(x.detach()) == "tensor([1., 2.])"
    assert repr(x.double() * 2) == "tensor([2., 4.], dtype=gradloom.float64, grad_fn=<MulBackward0>)"
    assert str(x) == repr(x) == f"{x}"
    assert (x * 2).grad_fn.name() == "MulBackward0"
    assert x.grad_fn is None


def test_the_default_dtype_is_not_named() -> None:
    before = gl.get_default_dtype()
    try:
        gl.set_default_dtype(gl.float64)
        assert repr(gl.tensor([0.5])) == "tensor([0.5000])"
        assert repr(gl.tensor([0.5], dtype=gl.float32)) == "tensor([0.5000], dtype=gradloom.float32)"
    finally:
        gl.set_default_dtype(before)


def test_a_number_is_formatted_as_one() -> None:
    assert f"{gl.tensor(3.14159):.2f}" == "3.14"
    assert f"{gl.tensor(5)}" == "5"
    with pytest.raises(ValueError, match="profile"):
        gl.set_printoptions(profile="odd")
