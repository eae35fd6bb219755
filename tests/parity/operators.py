"""PyTorch's operator database run on gradloom: every sample input, forward values and gradients.

``python -m tests.parity.operators [--dtype float64 int64 ...] [name ...]`` prints what fails and why; without names, a
summary of all operators. A name may end in ``*``.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import gradloom as gl

DTYPES = ("float32", "float64", "int64", "bool", "complex64", "complex128")
SAMPLES = 12  # of each operator and dtype
# results that no two libraries share: random numbers, undefined memory, addresses, sign or order left open
SHAPE_ONLY = set(
    "bernoulli cauchy empty empty_like empty_permuted empty_strided exponential geometric log_normal multinomial "
    "nn.functional.alpha_dropout nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d "
    "nn.functional.feature_alpha_dropout nn.functional.rrelu nn.functional.fractional_max_pool2d "
    "nn.functional.fractional_max_pool3d new_empty new_empty_strided normal rand_like randint randint_like randn "
    "randn_like uniform svd_lowrank pca_lowrank resize_ resize_as_ "
    "linalg.svd svd linalg.eig linalg.eigh linalg.qr qr geqrf".split()
)
# the database gives the table first, the function takes the index first
TABLE_FIRST = ("nn.functional.embedding", "nn.functional.embedding_bag")
# what only PyTorch's inside has: not part of its public interface, or of its compiled back ends
NOT_PUBLIC = ("_", "jiterator", "torch.", "native_", "sparse.", "hash_tensor", "to_sparse", "aminmax_backward")


def public() -> list[Any]:
    """The operators that a user's program can name."""
    skip = ("max_pool2d_with_indices_backward", "grid_sampler_2d", "grid_sampler_3d")
    return [
        o
        for o in op_db
        if (not o.name.startswith(NOT_PUBLIC) or o.name.startswith("__r") or o.name == "__getitem__")
        and o.name not in skip
    ]


def full_name(op: Any) -> str:
    return op.name + (f".{op.variant_test_name}" if op.variant_test_name else "")


def _look(where: Any, name: str) -> Any:
    for part in name.split("."):
        where = getattr(where, part, None)
    return where


# entries whose arguments are not the function's own
WRAPPED: dict[str, Callable[..., Any]] = {
    "einsum": lambda tensors, equation: gl.einsum(equation, tensors),
    "svd_lowrank": lambda a, b, **options: gl.svd_lowrank(a @ b.mH, **options),
    "pca_lowrank": lambda a, b, **options: gl.pca_lowrank(a @ b.mH, **options),
    "linalg.pinv.singular": lambda a, b: gl.linalg.pinv(a @ b.mT),
    "nn.functional.triplet_margin_with_distance_loss": lambda a, p, n, distance_function=None, **options: (
        gl.nn.functional.triplet_margin_with_distance_loss(a, p, n, **options)  # the samples' function is the default
    ),
    "linalg.lstsq.grad_oriented": lambda a, b, **options: gl.linalg.lstsq(a, b, **options)[:2],
}


def ours(op: Any) -> Callable[..., Any] | None:
    """The function of that name where the entry is PyTorch's function of it, else the method or property."""
    if full_name(op) in WRAPPED:
        return WRAPPED[full_name(op)]
    there = _look(gl, op.name)
    if op.name in TABLE_FIRST and there is not None:
        return lambda weight, index, *args, **kwargs: there(index, weight, *args, **kwargs)
    if "." in op.name or _look(torch, op.name) is op.op:
        return there
    if op.name.endswith("_") and not op.name.startswith("__"):  # samples are leaves; PyTorch clones them too
        return lambda x, *args, **kwargs: getattr(x.clone(), op.name)(*args, **kwargs)
    if isinstance(getattr(gl.Tensor, op.name, None), property):
        return lambda x: getattr(x, op.name)
    if hasattr(gl.Tensor, op.name):
        return lambda x, *args, **kwargs: getattr(x, op.name)(*args, **kwargs)
    if hasattr(gl.Tensor, op.name + "_") and (there is None or op.variant_test_name == "in_place"):
        return lambda x, *args, **kwargs: getattr(x.detach().clone(), op.name + "_")(*args, **kwargs)
    return there


def convert(x: Any, grad: bool = False) -> Any:
    """PyTorch's values as ours."""
    if isinstance(x, torch.Tensor):
        a = x.detach().resolve_conj().resolve_neg()
        t = gl.tensor(a.float().numpy(), dtype=gl.bfloat16) if a.dtype is torch.bfloat16 else gl.tensor(a.numpy())
        if grad and x.requires_grad:
            t.requires_grad_()
        return t
    if isinstance(x, torch.dtype):
        return getattr(gl, str(x).removeprefix("torch."))
    if isinstance(x, torch.device):
        return str(x)
    if isinstance(x, (torch.memory_format, torch.layout)):
        return None
    if isinstance(x, torch.Size):
        return tuple(x)
    if isinstance(x, (list, tuple)):
        return (
            type(x)(*(convert(i, grad) for i in x)) if hasattr(x, "_fields") else type(x)(convert(i, grad) for i in x)
        )
    if isinstance(x, dict):
        return {k: convert(v, grad) for k, v in x.items() if not isinstance(v, (torch.memory_format, torch.layout))}
    return x


def flat(x: Any) -> list[Any]:
    """The tensors and numbers in a result, in order."""
    if isinstance(x, (list, tuple)):
        return [y for i in x for y in flat(i)]
    return [x]


def array(x: Any) -> np.ndarray:
    if isinstance(x, torch.Tensor):
        x = x.detach().resolve_conj().resolve_neg()
        return x.float().numpy() if x.dtype is torch.bfloat16 else x.numpy()
    if isinstance(x, gl.Tensor):
        return x.detach().float().numpy() if x.dtype is gl.bfloat16 else x.detach().numpy()
    return np.asarray(x)


class Mismatch(Exception):
    """Ours differs from theirs."""


def compare(mine: Any, theirs: Any, what: str, shape_only: bool = False) -> None:
    a, b = flat(mine), flat(theirs)
    if len(a) != len(b):
        raise Mismatch(f"{what}: {len(a)} results, expected {len(b)}")
    for k, (x, y) in enumerate(zip(a, b, strict=True)):
        if not isinstance(y, (torch.Tensor, int, float, complex, bool)):
            continue
        m, t = array(x), array(y)
        where = what if len(a) == 1 else f"{what}[{k}]"
        if isinstance(y, torch.Tensor):
            if not isinstance(x, gl.Tensor):
                raise Mismatch(f"{where}: a {type(x).__name__}, expected a tensor")
            if tuple(x.shape) != tuple(y.shape):
                raise Mismatch(f"{where}: shape {tuple(x.shape)}, expected {tuple(y.shape)}")
            if str(y.dtype).removeprefix("torch.") != x.dtype.name:
                raise Mismatch(f"{where}: dtype {x.dtype.name}, expected {y.dtype}")
        if shape_only:
            continue
        single = t.dtype in (np.float32, np.complex64)
        scale = np.abs(t[np.isfinite(t)]).max(initial=1.0) if t.size and t.dtype.kind in "fc" else 1.0
        rtol, atol = (1e-3, 1e-5 * max(1.0, scale)) if single else (1e-6, 1e-8 * max(1.0, scale))
        if not np.allclose(m, t, rtol, atol, equal_nan=True):
            raise Mismatch(f"{where}: values differ: {m.ravel()[:4]} expected {t.ravel()[:4]}")


def leaves(x: Any) -> list[Any]:
    if isinstance(x, dict):
        return [t for v in x.values() for t in leaves(v)]
    if isinstance(x, (list, tuple)):
        return [t for v in x for t in leaves(v)]
    return [x] if isinstance(x, (torch.Tensor, gl.Tensor)) and x.requires_grad else []


def check_sample(op: Any, fn: Callable[..., Any], sample: Any, grad: bool) -> None:
    """Forward, and backward with the same cotangents. Raises Mismatch, or whatever ours raises."""
    shape_only = op.name in SHAPE_ONLY
    args, kwargs = [sample.input, *sample.args], dict(sample.kwargs)
    my_args, my_kwargs = convert(args, grad), convert(kwargs, grad)
    theirs = op.op(*(a.clone() if isinstance(a, torch.Tensor) else a for a in args), **kwargs)
    mine = fn(*my_args, **my_kwargs)
    compare(mine, theirs, "forward", shape_only)
    if not grad or shape_only:
        return
    outs = [t for t in flat(theirs) if isinstance(t, torch.Tensor) and t.requires_grad]
    wanted, my_wanted = leaves([args, kwargs]), leaves([my_args, my_kwargs])
    if not outs or not wanted:
        return
    rng = np.random.default_rng(0)
    pairs = []
    for x, y in zip(flat(mine), flat(theirs), strict=True):
        if isinstance(y, torch.Tensor) and y.requires_grad:
            if not x.requires_grad:
                raise Mismatch("backward: the result does not require grad")
            c = rng.standard_normal(tuple(y.shape)).astype(array(y).dtype)
            pairs.append((x, y, c))
    theirs_g = torch.autograd.grad(
        [y for _, y, _ in pairs], wanted, [torch.tensor(c) for _, _, c in pairs], allow_unused=True
    )
    mine_g = gl.autograd.grad(
        [x for x, _, _ in pairs], my_wanted, [gl.tensor(c) for _, _, c in pairs], allow_unused=True
    )
    for k, (a, b) in enumerate(zip(mine_g, theirs_g, strict=True)):
        if b is None:
            continue
        if a is None:
            if torch.count_nonzero(b):
                raise Mismatch(f"backward: no gradient of input {k}")
            continue
        compare(a, b, f"backward of input {k}")


def samples_of(op: Any, dtype: str, grad: bool, most: int = SAMPLES) -> Iterator[Any]:
    torch.manual_seed(0)
    for k, s in enumerate(op.sample_inputs("cpu", getattr(torch, dtype), requires_grad=grad)):
        if k >= most:
            return
        yield s


def _alarm(*_: Any) -> None:
    raise TimeoutError("took longer than the limit")


def run(op: Any, dtype: str, limit: int = 60, most: int = SAMPLES) -> str | None:
    """What is wrong with an operator in a dtype, or None. ``"skip"`` where PyTorch does not offer it."""
    kind = getattr(torch, dtype)
    if kind not in op.dtypes:
        return "skip"
    fn = ours(op)
    if fn is None:
        return "missing"
    grad = dtype in ("float64", "complex128") and op.supports_autograd and kind in op.backward_dtypes
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(limit)
    sample: Any = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for sample in samples_of(op, dtype, grad, most):
                check_sample(op, fn, sample, grad)
    except Exception as e:
        text = " ".join(str(e).split())[:220]
        return f"{type(e).__name__}: {text}  <- {describe(sample)}"
    finally:
        signal.alarm(0)
    return None


def describe(sample: Any) -> str:
    def show(x: Any) -> str:
        if isinstance(x, torch.Tensor):
            return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
        if isinstance(x, (list, tuple)):
            return "(" + ", ".join(map(show, x)) + ")"
        return repr(x)

    if sample is None:
        return "no sample"
    parts = [show(sample.input), *map(show, sample.args), *(f"{k}={show(v)}" for k, v in sample.kwargs.items())]
    return ", ".join(parts)[:200]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--dtype", nargs="*", default=list(DTYPES))
    parser.add_argument("--quiet", action="store_true", help="only the summary")
    options = parser.parse_args()
    count: dict[str, int] = {}
    bad: dict[str, set[str]] = {"missing": set(), "wrong": set()}
    show = functools.partial(print, flush=True)
    for op in public():
        name = full_name(op)
        if options.names and not any(fnmatch.fnmatch(name, n) or fnmatch.fnmatch(op.name, n) for n in options.names):
            continue
        for dtype in options.dtype:
            r = run(op, dtype)
            if r == "skip":
                continue
            kind = "right" if r is None else "missing" if r == "missing" else "wrong"
            count[kind] = count.get(kind, 0) + 1
            if kind == "missing":
                bad["missing"].add(name)
                if not options.quiet:
                    show(f"{name}: missing")
                break
            if kind == "wrong":
                bad["wrong"].add(name)
                if not options.quiet:
                    show(f"{name} {dtype}: {r}")
    show(count, f"operators missing {len(bad['missing'])}, wrong somewhere {len(bad['wrong'])}")


if __name__ == "__main__":
    sys.exit(main())
