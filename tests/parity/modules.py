"""PyTorch's module database run on gradloom: every sample of every layer, forward values and gradients.

``python -m tests.parity.modules [--dtype float64 ...] [NAME ...]`` prints what fails and why; a name such as
``Conv2d`` may end in ``*``. Without names: a summary of all layers.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import warnings
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_modules import module_db

import gradloom as gl
from gradloom import nn
from tests.parity.operators import Mismatch, compare, convert, flat, leaves

DTYPES = ("float32", "float64")
# what draws numbers: only shapes are compared
RANDOM = {"FractionalMaxPool2d", "FractionalMaxPool3d"}


def name_of(info: Any) -> str:
    return info.name.removeprefix("nn.").replace(".", "_")


MODULES = {name_of(info): info for info in module_db}


def bridged(x: Any) -> Any:
    """Constructor arguments as ours: tensors, dtypes, functions and modules of PyTorch too."""
    if isinstance(x, torch.nn.TransformerEncoderLayer):
        heads = x.self_attn
        return nn.TransformerEncoderLayer(
            heads.embed_dim, heads.num_heads, x.linear1.out_features, x.dropout.p, bridged(x.activation), x.norm1.eps,
            heads.batch_first, x.norm_first, x.linear1.bias is not None,
        )  # fmt: skip
    if isinstance(x, torch.nn.Module):
        return getattr(nn, type(x).__name__)()
    if callable(x) and getattr(torch.nn.functional, getattr(x, "__name__", ""), None) is x:
        return getattr(nn.functional, x.__name__)
    if isinstance(x, (list, tuple)):
        return type(x)(bridged(i) for i in x)
    if isinstance(x, dict):
        return {k: bridged(v) for k, v in x.items()}
    return convert(x)


def copied(x: Any) -> Any:
    """Tensors of their own, all leaves."""
    if isinstance(x, torch.Tensor):
        return x.detach().clone().requires_grad_(x.requires_grad)
    if isinstance(x, (list, tuple)):
        return type(x)(copied(i) for i in x)
    if isinstance(x, dict):
        return {k: copied(v) for k, v in x.items()}
    return x


def arrays(state: Any) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy() for k, v in state.items()}


def taken(theirs: Any, mine: Any) -> None:
    """Our module with PyTorch's values; names, order and shapes must be the same."""
    state = theirs.state_dict()
    if list(mine.state_dict()) != list(state):
        raise Mismatch(f"state: names {list(mine.state_dict())}, expected {list(state)}")
    mine.load_state_dict(arrays(state))


def initialised(theirs: Any, args: tuple, kwargs: dict) -> None:
    """Lazy modules get their shapes."""
    if isinstance(theirs, torch.nn.modules.lazy.LazyModuleMixin) and theirs.has_uninitialized_params():
        with torch.no_grad():
            theirs(*args, **kwargs)


def made(info: Any, given: Any, dtype: str, unbatched: bool) -> tuple[Any, Any]:
    args, kwargs = given.args, dict(given.kwargs)
    if unbatched and kwargs.get("_random_samples") is not None:  # the database has them for two images
        kwargs["_random_samples"] = kwargs["_random_samples"][:1]
    theirs = info.module_cls(*args, **kwargs)
    mine = getattr(nn, info.module_cls.__name__)(*bridged(args), **bridged(kwargs))
    return theirs.to(getattr(torch, dtype)), mine.to(getattr(gl, dtype))


def check(info: Any, sample: Any, dtype: str, training: bool, grad: bool) -> None:
    """One sample. Raises Mismatch, or whatever ours raises."""
    unbatched = "no_batch_dim" in sample.desc
    theirs, mine = made(info, sample.constructor_input, dtype, unbatched)
    theirs.train(training)
    mine.train(training)
    given = sample.forward_input
    if given is None:
        return
    args, kwargs = copied(given.args), copied(given.kwargs)
    my_args, my_kwargs = convert(args, grad), convert(kwargs, grad)
    lazy = isinstance(theirs, torch.nn.modules.lazy.LazyModuleMixin)
    if lazy:
        initialised(theirs, args, kwargs)
        with gl.no_grad():
            mine(*my_args, **my_kwargs)
    taken(theirs, mine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not any(isinstance(v, torch.Tensor) for v in sample.constructor_input.kwargs.values()):
            a, b = repr(mine), repr(theirs)
            if a != b:
                raise Mismatch(f"repr: {a}, expected {b}")
    random = name_of(info) in RANDOM
    expected = theirs(*args, **kwargs)
    got = mine(*my_args, **my_kwargs)
    compare(got, expected, "forward", random)
    state, my_state = arrays(theirs.state_dict()), arrays(mine.state_dict())
    for name, value in state.items():
        if not np.allclose(value, my_state[name], 1e-4, 1e-6, equal_nan=True):
            raise Mismatch(f"state {name} after forward: {my_state[name].ravel()[:4]}, expected {value.ravel()[:4]}")
    if not grad or random:
        return
    wanted = [*leaves([args, kwargs]), *(p for p in theirs.parameters() if p.requires_grad)]
    my_wanted = [*leaves([my_args, my_kwargs]), *(p for p in mine.parameters() if p.requires_grad)]
    rng = np.random.default_rng(0)
    pairs = []
    for x, y in zip(flat(got), flat(expected), strict=True):
        if isinstance(y, torch.Tensor) and y.requires_grad:
            if not x.requires_grad:
                raise Mismatch("backward: the result does not require grad")
            pairs.append((x, y, rng.standard_normal(tuple(y.shape)).astype(y.detach().numpy().dtype)))
    if not pairs or not wanted:
        return
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


def _alarm(*_: Any) -> None:
    raise TimeoutError("took longer than the limit")


def run(name: str, dtype: str, most: int = 100, limit: int = 120) -> str | None:
    """What is wrong with a layer, or None; ``"missing"`` where there is none of that name."""
    info = MODULES[name]
    if getattr(nn, info.module_cls.__name__, None) is None:
        return "missing"
    if getattr(torch, dtype) not in info.dtypes:
        return "skip"
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(limit)
    said = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for training in (True, False):
                torch.manual_seed(0)
                np.random.seed(0)
                samples = info.module_inputs_func(
                    info, device="cpu", dtype=getattr(torch, dtype), requires_grad=info.supports_gradgrad is not None,
                    training=training,
                )  # fmt: skip
                for k, sample in enumerate(samples):
                    if k >= most:
                        break
                    said = f"sample {k} {sample.desc!r}, training={training}, {describe(sample)}"
                    check(info, sample, dtype, training, True)
    except Exception as e:
        return f"{type(e).__name__}: {' '.join(str(e).split())[:300]}  <- {said}"
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

    out = []
    for given in (sample.constructor_input, sample.forward_input):
        if given is not None:
            out.append(", ".join([*map(show, given.args), *(f"{k}={show(v)}" for k, v in given.kwargs.items())]))
    return " / ".join(out)[:200]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--dtype", nargs="*", default=list(DTYPES))
    options = parser.parse_args()
    count: dict[str, int] = {}
    for name in MODULES:
        if options.names and not any(fnmatch.fnmatch(name, n) for n in options.names):
            continue
        for dtype in options.dtype:
            found = run(name, dtype)
            kind = "right" if found is None else found if found in ("missing", "skip") else "wrong"
            count[kind] = count.get(kind, 0) + 1
            if found is not None and found != "skip":
                print(f"{name} {dtype}: {found}", flush=True)
            if kind == "missing":
                break
    print(count)


if __name__ == "__main__":
    main()
