"""The gradient of a gradient, against PyTorch's double backward.

Both sides take the same cotangents: of the results, ``c``, and of the gradients, ``d``. What is compared are the
gradients of the inputs and of ``c``, so the derivative along a direction is tested with the second derivative. The
reference target runs it: the rules are under test here, not the compiler, and nothing is compiled.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

import gradloom as gl
from gradloom.tape import TAPE
from tests.parity import operators as parity

SAMPLES = 2
MOST = 3000  # elements of an input: larger samples test nothing more
# inputs of these are made to fit by the wrapper that PyTorch's own checks use
WRAPPED = ("gradcheck_wrapper_hermitian_input", "gradcheck_wrapper_triangular_input")


def offered(op: Any, dtype: str) -> bool:
    """Whether there is a second derivative to compare: PyTorch has one, and results that two libraries share."""
    if parity.ours(op) is None or getattr(torch, dtype) not in op.backward_dtypes:
        return False
    return bool(op.supports_autograd and op.supports_gradgrad and op.name not in parity.SHAPE_ONLY)


def run(op: Any, dtype: str = "float64", samples: int = SAMPLES) -> str | None:
    """What is wrong, None, or ``"skip"`` where PyTorch has no second derivative, or the operator has no gradient."""
    fn: Any = parity.ours(op)
    if not offered(op, dtype):
        return "skip"
    sample: Any = None
    before = TAPE.target
    gl.set_target("reference")
    seen = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for sample in _small(op, dtype, samples):
                seen = check(op, fn, sample) or seen
    except Exception as e:
        TAPE.forget()
        return f"{type(e).__name__}: {' '.join(str(e).split())[:200]}  <- {parity.describe(sample)}"
    finally:
        gl.set_target(before)
    return None if seen else "skip"


def _small(op: Any, dtype: str, samples: int) -> list[Any]:
    """The first samples with gradients of which no input is large."""
    out = []
    for s in parity.samples_of(op, dtype, True, 12):
        leaves = parity.leaves([s.input, *s.args, s.kwargs])
        if leaves and all(0 < t.numel() <= MOST for t in leaves):
            out.append(s)
        if len(out) == samples:
            break
    return out


def check(op: Any, fn: Any, sample: Any) -> bool:
    """Compare one sample. Returns whether PyTorch had a second derivative to compare with."""
    args, kwargs = [sample.input, *sample.args], dict(sample.kwargs)
    my_args, my_kwargs = parity.convert(args, True), parity.convert(kwargs, True)
    copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
    if getattr(op.gradcheck_wrapper, "__name__", "") in WRAPPED:
        theirs = op.gradcheck_wrapper(op.op, *copies, **kwargs)
        mine = op.gradcheck_wrapper(fn, *my_args, **my_kwargs)
    else:
        theirs, mine = op.op(*copies, **kwargs), fn(*my_args, **my_kwargs)
    outs = [
        (x, y)
        for x, y in zip(parity.flat(mine), parity.flat(theirs), strict=True)
        if isinstance(y, torch.Tensor) and y.requires_grad
    ]
    wanted, my_wanted = parity.leaves([args, kwargs]), parity.leaves([my_args, my_kwargs])
    if not outs or not wanted:
        return False
    rng = np.random.default_rng(1)
    cs = [rng.standard_normal(tuple(y.shape)).astype(parity.array(y).dtype) for _, y in outs]
    their_c, my_c = [torch.tensor(c, requires_grad=True) for c in cs], [gl.tensor(c, requires_grad=True) for c in cs]
    g = torch.autograd.grad([y for _, y in outs], wanted, their_c, create_graph=True, allow_unused=True)
    h = gl.autograd.grad([x for x, _ in outs], my_wanted, my_c, create_graph=True, allow_unused=True)
    pairs = [(a, b) for a, b in zip(h, g, strict=True) if b is not None and b.requires_grad]
    if not pairs:
        return False
    ds = [rng.standard_normal(tuple(b.shape)).astype(parity.array(b).dtype) for _, b in pairs]
    gg = torch.autograd.grad(
        [b for _, b in pairs], [*wanted, *their_c], [torch.tensor(d) for d in ds], allow_unused=True
    )
    live = [(a, d) for (a, _), d in zip(pairs, ds, strict=True) if a is not None and a.requires_grad]
    hh: Any = [None] * len(gg)
    if live:
        hh = gl.autograd.grad(
            [a for a, _ in live], [*my_wanted, *my_c], [gl.tensor(d) for _, d in live], allow_unused=True
        )
    for k, (a, b) in enumerate(zip(hh, gg, strict=True)):
        what = f"second order, input {k}" if k < len(wanted) else f"second order, cotangent {k - len(wanted)}"
        if b is None or (a is None and not torch.count_nonzero(b)):
            continue
        if a is None:
            raise parity.Mismatch(f"{what}: none, expected {parity.array(b).ravel()[:3]}")
        _near(a, b, what)
    return True


def _near(a: Any, b: Any, what: str) -> None:
    b = torch.zeros(b.shape, dtype=b.dtype) if b._is_zerotensor() else b
    x, y = parity.array(a), parity.array(b)
    if x.shape != y.shape:
        raise parity.Mismatch(f"{what}: shape {x.shape}, expected {y.shape}")
    scale = max(1.0, np.abs(y[np.isfinite(y)]).max(initial=0.0))
    if not np.allclose(x, y, 1e-6, 1e-8 * scale, equal_nan=True):
        raise parity.Mismatch(f"{what}: {x.ravel()[:3]}, expected {y.ravel()[:3]}")
