"""Random programs of views, writes through them and looks in between: every tensor ends as PyTorch's does."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl

WRITES: tuple[tuple[str, tuple], ...] = (
    ("add_", (3,)), ("mul_", (2,)), ("zero_", ()), ("fill_", (4,)), ("set", ()), ("t_", ()), ("unsqueeze_", (0,)),
    ("squeeze_", ()),
)  # fmt: skip


def a_view(rng: random.Random, shape: tuple[int, ...], grad: bool) -> tuple[str, tuple]:
    """A view method that a tensor of this shape has, with arguments."""
    n = len(shape)
    if not n:
        return "unsqueeze", (0,)
    k = rng.randrange(n)
    s = shape[k]
    ways: list[tuple[str, tuple]] = [
        ("transpose", (k, rng.randrange(n))), ("unsqueeze", (rng.randrange(n + 1),)), ("reshape", (-1,)),
        ("flatten", ()), ("permute", tuple(range(n))[::-1]), ("contiguous", ()), ("squeeze", ()),
    ]  # fmt: skip
    if s:
        start, size = rng.randrange(s), rng.randrange(1, s + 1)
        ways += [
            ("narrow", (k, start, rng.randrange(s - start) + 1)), ("select", (k, start)), ("unfold", (k, size, size)),
            ("slice", (k, start, rng.randrange(1, 3))),
        ]  # fmt: skip
        if not grad:  # PyTorch has no gradients of writes to one of several views, nor history in detached ones
            ways += [("split", (size, k)), ("unbind", (k,)), ("detach", ())]
    if n > 1 and min(shape):
        ways.append(("diagonal", (rng.randrange(-1, 2),)))
    return rng.choice(ways)


def view(x: Any, name: str, args: tuple) -> Any:
    if name == "slice":
        k, start, step = args
        return x[(slice(None),) * k + (slice(start, None, step),)]
    out = getattr(x, name)(*args)
    return out[-1] if isinstance(out, tuple | list) else out


def write(x: Any, name: str, args: tuple) -> None:
    if name == "set":
        if x.ndim and x.shape[0]:
            x[0] = 7.0
    elif not (name == "t_" and x.ndim != 2) and not (name == "unsqueeze_" and x.ndim > 3):
        getattr(x, name)(*args)


def run(seed: int, grad: bool) -> tuple[list[Any], list[Any], Any, Any]:
    rng = random.Random(seed)
    a = np.arange(float(np.prod(shape := [rng.randrange(1, 4) for _ in range(rng.randrange(1, 4))]))).reshape(shape)
    w, v = gl.tensor(a, requires_grad=grad), torch.tensor(a, requires_grad=grad)
    mine, theirs = [w * 1.5], [v * 1.5]
    for _ in range(rng.randrange(3, 12)):
        i, what = rng.randrange(len(mine)), rng.random()
        if what < 0.5 and len(mine) < 6 and theirs[i].ndim < 5:
            way = a_view(rng, tuple(theirs[i].shape), grad)
            mine.append(view(mine[i], *way))
            theirs.append(view(theirs[i], *way))
        elif what < 0.9:
            way = rng.choice(WRITES)
            write(mine[i], *way)
            write(theirs[i], *way)
        else:
            mine[i].detach().numpy()
    return mine, theirs, w, v


@pytest.mark.parametrize("block", range(5))
def test_values(block: int) -> None:
    for seed in range(30 * block, 30 * block + 30):
        mine, theirs, _, _ = run(seed, False)
        for m, t in zip(mine, theirs, strict=True):
            assert tuple(m.shape) == tuple(t.shape), seed
            np.testing.assert_array_equal(m.numpy(), t.numpy(), err_msg=str(seed))


@pytest.mark.parametrize("block", range(3))
def test_gradients(block: int) -> None:
    for seed in range(1000 + 8 * block, 1008 + 8 * block):
        mine, theirs, w, v = run(seed, True)
        weights = [np.random.default_rng(seed).standard_normal(tuple(t.shape)) for t in theirs]
        sum((m * gl.tensor(c)).sum() for m, c in zip(mine, weights, strict=True)).backward()
        sum((t * torch.tensor(c)).sum() for t, c in zip(theirs, weights, strict=True)).backward()
        np.testing.assert_allclose(w.grad.numpy(), v.grad.numpy(), rtol=1e-9, atol=1e-9, err_msg=str(seed))
