"""gradloom.masked against torch.masked, and what is left where nothing takes part."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import DTypeError, ShapeError
from gradloom.testing import check_grads, check_reference

RNG = np.random.default_rng(10)
X = RNG.standard_normal((4, 5)).round(2)
MASK = RNG.random((4, 5)) > 0.4
MASK[2] = False
MASK[:, 0] |= np.array([True, True, False, True])
SOME = np.array([True, False, True, True, False])

CASES: dict[str, tuple[str, tuple, dict]] = {
    **{n: (n, (), {}) for n in ("sum", "prod", "amax", "amin", "mean", "var", "std", "logsumexp")},
    **{f"{n} of rows": (n, (1,), {"keepdim": True}) for n in ("sum", "prod", "amax", "amin", "mean", "var", "std",
                                                            "logsumexp", "argmax", "argmin", "median")},
    **{f"{n} of columns": (n, (0,), {}) for n in ("sum", "amax", "mean", "argmin", "cumsum", "cumprod", "softmax",
                                                  "log_softmax", "softmin", "median", "var")},
    **{f"norm {p}": ("norm", (p, 1), {}) for p in (0.0, 1.0, 2.0, 3.0, float("inf"), float("-inf"))},
    "normalize": ("normalize", (2.0, 1), {}),
    "sum in float32": ("sum", (1,), {"dtype": "float32"}),
    "var without correction": ("var", (1,), {"unbiased": False}),
    "std, correction 2": ("std", (0,), {"correction": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mask", ["full", "broadcast"])
def test_like_pytorch(name: str, mask: str) -> None:
    function, args, kwargs = CASES[name]
    chosen = {"full": MASK, "broadcast": SOME}[mask]

    def run(module: Any) -> Any:
        told = {k: getattr(module, v) if isinstance(v, str) else v for k, v in kwargs.items()}
        m = module.tensor(chosen)
        m = m.expand(4, 5) if module is torch else m
        return getattr(module.masked, function)(module.tensor(X), *args, mask=m, **told)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, theirs = run(gl), run(torch)
    assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(mine.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), 1e-6, 1e-9)


def test_logaddexp() -> None:
    y = X[::-1].copy()
    want = torch.masked.logaddexp(
        torch.tensor(X), torch.tensor(y), input_mask=torch.tensor(MASK), other_mask=torch.tensor(~MASK)
    )
    got = gl.masked.logaddexp(gl.tensor(X), gl.tensor(y), input_mask=gl.tensor(MASK), other_mask=gl.tensor(~MASK))
    np.testing.assert_allclose(got.numpy(), want.numpy(), 1e-9)


def test_integers() -> None:
    x, m = gl.tensor([[1, -2, 3]]), gl.tensor([[True, False, True]])
    assert gl.masked.amin(x, 1, mask=m).tolist() == [1]
    assert gl.masked.amax(x, 1, mask=~m & ~m & m).tolist() == [np.iinfo(np.int64).min]
    assert gl.masked.median(x, 1, mask=m).tolist() == [1]


GRADIENTS: dict[str, Callable[..., Any]] = {
    "sum": lambda x, m: gl.masked.sum(x * x, 1, mask=m),
    "mean": lambda x, m: gl.masked.mean(x * x, 0, mask=m),
    "var": lambda x, m: gl.masked.var(x, 1, mask=m),
    "softmax": lambda x, m: gl.masked.softmax(x, 1, mask=m),
    "cumprod": lambda x, m: gl.masked.cumprod(x, 1, mask=m),
    "norm": lambda x, m: gl.masked.norm(x, 3.0, 1, mask=m),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    kept = MASK[[0, 1, 3]]
    kept[:, 1] = True
    fn = GRADIENTS[name]
    check_grads(lambda x: fn(x, gl.tensor(kept)), [X[[0, 1, 3]]], order=2, rtol=1e-4, atol=1e-4)
    check_reference(lambda x: fn(x, gl.tensor(kept)), [X[[0, 1, 3]]])


def test_what_is_left_out_gets_no_gradient() -> None:
    x = gl.tensor(X, requires_grad=True)
    (gl.masked.amax(x, 1, mask=gl.tensor(SOME)) + gl.masked.sum(x, 1, mask=gl.tensor(SOME))).sum().backward()
    assert not np.any(x.grad.numpy()[:, ~SOME])


ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "mask": (lambda: gl.masked.sum(gl.zeros(3), mask=gl.ones(2, 3)), ShapeError, "does not fit"),
    "mean": (lambda: gl.masked.mean(gl.tensor([1, 2])), DTypeError, "not floating"),
    "twice": (lambda: gl.masked.var(gl.zeros(3), 0, True, correction=1), ValueError, "give one of them"),
    "median": (lambda: gl.masked.median(gl.tensor([1]), mask=gl.tensor([False])), ValueError, "nothing is left"),
    "logaddexp": (lambda: gl.masked.logaddexp(gl.tensor([1]), gl.tensor([1])), DTypeError, "floating"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    fn, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        fn()
