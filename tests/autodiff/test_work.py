"""What transformations compile to: per-sample gradients and forward mode do no more work than by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom import func
from gradloom.nn import functional as F
from gradloom.tape import TAPE, flush
from gradloom.tensor import Tensor

RNG = np.random.default_rng(2)
SIZES = (6, 7, 7, 2)
WEIGHTS = tuple(gl.tensor(RNG.normal(size=(b, a))) for a, b in itertools.pairwise(SIZES))
X, T, ONE = (gl.tensor(RNG.normal(size=s)) for s in ((5, 6), (5, 6), (6,)))


@pytest.fixture(scope="module", autouse=True)
def _plainly() -> Iterator[None]:
    gl.set_target("reference")
    yield
    gl.set_target("cpu")


def work(fn: Callable[[], Any]) -> Counter[str]:
    """How often which primitive stands in the program."""
    flush()
    kept = fn()
    flush()
    del kept
    assert TAPE.latest is not None
    return Counter(n.prim.name for n in TAPE.latest.graph.nodes if n.prim is not None)


def net(x: Tensor) -> Tensor:
    for w in WEIGHTS[:-1]:
        x = (x @ w.T).tanh()
    return x @ WEIGHTS[-1].T


def loss(x: Tensor) -> Tensor:
    return net(x).sin().sum()


# products of a network of three layers: forward 3; tangents 3; to the inputs backward 3
@pytest.mark.parametrize(
    ("fn", "products"),
    [
        (lambda: func.jvp(net, (X,), (T,)), 6),
        (lambda: func.linearize(net, X)[1](T), 5),  # of the values, the last layer's is not asked for
        (lambda: func.grad(loss)(X), 6),
        (lambda: func.jvp(func.grad(loss), (X,), (T,))[1], 11),  # 6 + 6, less the gradient itself
        (lambda: func.jacfwd(net)(ONE), 5),
        (lambda: func.jacrev(net)(ONE), 5),
        (lambda: func.hessian(loss)(ONE), 11),
    ],
)
def test_products(fn: Callable[[], Any], products: int) -> None:
    """Nothing of the first pass of forward mode is left."""
    assert work(fn)["dot"] == products


def test_forward_mode_of_a_scan_goes_over_it_twice() -> None:
    """Once for values, once for tangents; each has one product a step."""
    f = lambda xs: func.scan(lambda c, x: ((c @ WEIGHTS[1] + x).tanh(), c * 1.0), xs[0], xs)[0]  # noqa: E731
    xs = gl.tensor(RNG.normal(size=(4, 7)))
    assert work(lambda: func.jvp(f, (xs,), (xs,)))["scan"] == 2


@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": (2, 1)}])
@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("kernel", [1, 3])
def test_per_sample_gradients_of_filters(kernel: int, channels: int, geometry: dict[str, Any]) -> None:
    """Against torch.func; filters of few elements by products, others by a convolution with a group a sample."""
    w, x = RNG.normal(size=(4, channels, kernel, kernel)), RNG.normal(size=(3, 2, channels, 7, 6))

    def per_sample(transforms: Any, conv2d: Any, w: Any, x: Any) -> Any:
        one = lambda w, x: (conv2d(x, w, **geometry) ** 2).sum()  # noqa: E731
        return transforms.vmap(transforms.grad(one), (None, 0))(w, x)

    given = gl.tensor(w), gl.tensor(x)
    want = per_sample(torch.func, torch.nn.functional.conv2d, torch.tensor(w), torch.tensor(x))
    np.testing.assert_allclose(per_sample(func, F.conv2d, *given).numpy(), want.numpy(), 1e-9, 1e-9)
    done = work(lambda: per_sample(func, F.conv2d, *given))
    few = kernel == 1 or channels < 8
    assert (done["dot"], done["convolve_filter"]) == ((1, 0) if few else (0, 1))


def test_per_sample_gradients_of_a_layer_are_outer_products() -> None:
    """Written once: nothing goes over them again."""
    x, y = gl.tensor(RNG.normal(size=(5, 6))), gl.tensor(RNG.normal(size=(5, 7)))
    done = work(
        lambda: func.vmap(func.grad(lambda w, x, y: (F.linear(x, w) * y).sum()), (None, 0, 0))(WEIGHTS[0], x, y)
    )
    assert done["mul"] <= 2
    assert not done["dot"] and not done["sum"]
