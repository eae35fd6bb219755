"""PyTorch's operator database under transformations: vmap against a loop, forward mode and second order.

``python -m tests.autodiff.opinfo [name ...]`` prints what fails and why. Every oracle is independent of the rule that
is tested: vmap is compared with a loop, forward mode with reverse mode by a scalar product, second order with
differences of the gradient.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.testing._internal.opinfo.core import OpInfo

import gradloom as gl
from gradloom import func
from gradloom.autodiff.trees import flatten, unflatten
from gradloom.tape import TAPE
from tests.parity import operators as parity

N = 3
_plain = OpInfo.__dataclass_fields__["gradcheck_wrapper"].default
SAMPLES = 5
# values decide the shape of the result, or the result is no function of the values alone
ROUNDED = {"half", "bfloat16", "chalf"}  # results rounded too much to compare derivatives
NO_VMAP = set("nonzero argwhere masked_select unique unique_consecutive bincount item combinations "
              "repeat_interleave tensor_split histc histogram histogramdd equal allclose".split())  # fmt: skip


def _split(sample: Any) -> tuple[list[Any], Any, list[int]]:
    """(leaves, structure, places of the floating tensors)."""
    leaves, tree = flatten((parity.convert([sample.input, *sample.args]), parity.convert(dict(sample.kwargs))))
    at = [k for k, x in enumerate(leaves) if isinstance(x, gl.Tensor) and x.dtype.is_floating]
    return leaves, tree, at


def _closed(fn: Callable[..., Any], leaves: list[Any], tree: Any, at: list[int]) -> Callable[..., Any]:
    """``fn`` as a function of its floating tensors, giving the tensors among its results."""

    def call(*xs: Any) -> tuple[Any, ...]:
        given = list(leaves)
        for k, x in zip(at, xs, strict=True):
            given[k] = x
        args, kwargs = unflatten(tree, given)
        args = [a.clone() if isinstance(a, gl.Tensor) else a for a in args]
        return tuple(t for t in parity.flat(fn(*args, **kwargs)) if isinstance(t, gl.Tensor))

    return call


def _near(a: Any, b: Any, what: str, tol: float = 1e-8) -> None:
    x, y = np.asarray(parity.array(a)), np.asarray(parity.array(b))
    if x.shape != y.shape:
        raise parity.Mismatch(f"{what}: shape {x.shape}, expected {y.shape}")
    fin = np.abs(y[np.isfinite(y)]) if y.dtype.kind in "fc" else np.zeros(1)
    scale = max(1.0, fin.max(initial=0.0))
    if not np.allclose(x, y, tol * 100, tol * scale, equal_nan=True):
        raise parity.Mismatch(f"{what}: {x.ravel()[:3]}, expected {y.ravel()[:3]}")


def check_vmap(f: Callable[..., Any], xs: list[Any]) -> None:
    """A batch of slightly different operands, against one call each; also with the last operand shared."""
    rng = np.random.default_rng(0)
    stacks = [gl.tensor(np.stack([x.numpy() * (1 + 0.01 * rng.uniform(-1, 1, x.shape) * (b > 0)) for b in range(N)]))
              for x in xs]  # fmt: skip
    for shared in range(2 if len(xs) > 1 else 1):
        dims = [None if shared and k == len(xs) - 1 else 0 for k in range(len(xs))]
        given = [x if d is None else s for x, s, d in zip(xs, stacks, dims, strict=True)]
        got = func.vmap(f, tuple(dims))(*given)
        rows = [f(*(g if d is None else g[b] for g, d in zip(given, dims, strict=True))) for b in range(N)]
        for k, g in enumerate(got):
            _near(g, np.stack([parity.array(r[k]) for r in rows]), f"vmap{dims} output {k}")


def check_forward(f: Callable[..., Any], xs: list[Any]) -> bool:
    """<ct, J t> == <J^T ct, t>. Returns whether there is anything to differentiate."""
    rng = np.random.default_rng(1)
    dots = tuple(gl.tensor(rng.standard_normal(tuple(x.shape))) for x in xs)

    def g(*ys: Any) -> tuple[Any, ...]:
        return tuple(t for t in f(*ys) if t.dtype.is_floating)

    outs, tangents = func.jvp(g, tuple(xs), dots)
    if not outs:
        return False
    cts = tuple(gl.tensor(rng.standard_normal(tuple(o.shape))) for o in outs)
    _, pull = func.vjp(g, *xs)
    grads = pull(cts)
    if not all(np.isfinite(t.numpy()).all() for t in (*outs, *tangents, *grads)):
        return True  # infinities and NaN meet in different sums
    left = sum(float((c * t).sum().item()) for c, t in zip(cts, tangents, strict=True))
    right = sum(float((c * t).sum().item()) for c, t in zip(grads, dots, strict=True))
    _near(left, right, "jvp and vjp", 1e-9)
    return True


def check_second(f: Callable[..., Any], xs: list[Any]) -> None:
    """The derivative of the gradient along a direction, against its central difference."""
    rng = np.random.default_rng(2)
    ws: list[Any] = []

    def value(*ys: Any) -> Any:
        outs = [t for t in f(*ys) if t.dtype.is_floating]
        if not ws:
            ws.extend(gl.tensor(rng.uniform(0.5, 1.5, tuple(o.shape))) for o in outs)
        return sum(((o * w).sum() for o, w in zip(outs, ws, strict=True)), gl.zeros((), dtype=gl.float64))

    value(*xs)
    gradient = func.grad(value, tuple(range(len(xs))))
    dots = tuple(gl.tensor(rng.standard_normal(tuple(x.shape))) for x in xs)
    _, got = func.jvp(gradient, tuple(xs), dots)
    eps = 1e-6
    up = gradient(*(x + eps * d for x, d in zip(xs, dots, strict=True)))
    down = gradient(*(x - eps * d for x, d in zip(xs, dots, strict=True)))
    for k, (g, a, b) in enumerate(zip(got, up, down, strict=True)):
        a, b = a.numpy(), b.numpy()
        if np.isfinite(a).all() and np.isfinite(b).all():
            _near(g, (a - b) / (2 * eps), f"second order, input {k}", 1e-5)


def run(op: Any, limit: int = 30, samples: int = SAMPLES) -> str | None:
    """What is wrong, None, or ``"skip"``."""
    fn = parity.ours(op)
    if fn is None or torch.float64 not in op.dtypes:
        return "skip"
    signal.signal(signal.SIGALRM, parity._alarm)
    signal.alarm(limit)
    what, sample = "", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for k, sample in enumerate(parity.samples_of(op, "float64", False)):
                if k >= samples:
                    break
                leaves, tree, at = _split(sample)
                if not at or op.name in parity.SHAPE_ONLY:
                    continue
                f, xs = _closed(fn, leaves, tree, at), [leaves[j] for j in at]
                what = "forward"
                if not f(*xs):
                    continue
                if op.name not in NO_VMAP:
                    what = "vmap"
                    check_vmap(f, xs)
                if op.supports_autograd and op.name not in ROUNDED:
                    what = "jvp"
                    # with a wrapper the operator only takes special matrices, which no difference keeps
                    plain = op.gradcheck_wrapper is _plain and not op.name.startswith(("linalg.pinv", "linalg.eig"))
                    if check_forward(f, xs) and op.supports_gradgrad and plain:
                        what = "second"
                        check_second(f, xs)
    except Exception as e:
        TAPE.forget()
        if what == "forward":
            return "skip"
        return f"{what}: {type(e).__name__}: {' '.join(str(e).split())[:230]}  <- {parity.describe(sample)}"
    finally:
        signal.alarm(0)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    count = {"right": 0, "wrong": 0, "skipped": 0}
    for op in parity.public():
        name = parity.full_name(op)
        if options.names and not any(fnmatch.fnmatch(name, n) or fnmatch.fnmatch(op.name, n) for n in options.names):
            continue
        r = run(op)
        count["right" if r is None else "skipped" if r == "skip" else "wrong"] += 1
        if r not in (None, "skip"):
            print(f"{name}: {r}", flush=True)
    print(count)


if __name__ == "__main__":
    main()
