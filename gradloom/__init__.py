"""gradloom: a deep-learning framework that weaves forward pass, backward pass and update into one native program.

``import gradloom as torch`` for programs in PyTorch's manner, ``import gradloom as tf`` for programs in Keras'.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gradloom import functions as _functions
from gradloom import methods as _methods  # noqa: F401  (installs the tensor's methods)
from gradloom.devices import device, get_default_device, set_default_device
from gradloom.dtypes import DType as dtype
from gradloom.dtypes import (
    bfloat16,
    complex64,
    complex128,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from gradloom.dtypes import bool_ as bool
from gradloom.modes import enable_grad, explain, is_grad_enabled, no_grad, set_grad_enabled, set_target
from gradloom.random import Generator, bernoulli, initial_seed, manual_seed, normal, rand, randint, randn, randperm
from gradloom.tensor import Size, Tensor, as_tensor, from_numpy, tensor

__version__ = "0.1.0"

float, double, half, long, int, short = float32, float64, float16, int64, int32, int16
cfloat, cdouble = complex64, complex128

if TYPE_CHECKING:
    from gradloom import autograd, datasets, keras, linalg, masked, nn, optim, utils

_SUBMODULES = (
    "accelerator", "autograd", "backends", "cpu", "cuda", "datasets", "fft", "func", "io", "keras", "linalg", "masked",
    "metrics", "mps", "nn", "optim", "random", "signal", "special", "train", "utils", "xpu",
)  # fmt: skip

# names that stand in a module of their own, loaded when first asked for
_LAZY = {
    "channels_last": "gradloom.options", "channels_last_3d": "gradloom.options",
    "contiguous_format": "gradloom.options", "layout": "gradloom.options", "memory_format": "gradloom.options",
    "preserve_format": "gradloom.options", "strided": "gradloom.options", "set_printoptions": "gradloom.printing",
    **dict.fromkeys(
        "alpha_dropout celu celu_ cosine_similarity feature_alpha_dropout hardshrink prelu relu_ rrelu rrelu_ selu selu_ "
        "threshold threshold_".split(),
        "gradloom.nn.functional",
    ),
    "load": "gradloom.io.files", "save": "gradloom.io.files", "vmap": "gradloom.autodiff.vmap",
}  # fmt: skip


def is_tensor(x: Any) -> Any:
    """Whether ``x`` is a tensor."""
    return isinstance(x, Tensor)


def get_num_threads() -> Any:
    """Threads that programs run on."""
    from gradloom.runtime.threads import get_num_threads as get

    return get()


def set_num_threads(n: Any) -> None:
    """Set the number of threads; results do not depend on it."""
    from gradloom.runtime.threads import set_num_threads as put

    put(n)


def compile(fn: Any, **options: Any) -> Any:
    """A callable for ``fn`` (a function or module of tensors) that skips Python where shapes and dtypes recur."""
    from gradloom.compiled import Compiled

    return Compiled(fn)


def __getattr__(name: str) -> Any:
    if name in _functions.PUBLIC:
        value: Any = _functions.with_out(_functions.PUBLIC[name])
    elif name in _SUBMODULES:
        value = importlib.import_module(f"gradloom.{name}")
    elif name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    else:
        raise AttributeError(f"module 'gradloom' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_functions.PUBLIC, *_SUBMODULES, *_LAZY})


__all__ = [
    "Generator", "Size", "Tensor", "as_tensor", "autograd", "bernoulli", "bfloat16", "bool", "cdouble",
    "cfloat", "compile", "complex128", "complex64", "datasets", "device", "double", "dtype", "enable_grad", "explain",
    "float", "float16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "from_numpy", "get_default_device",
    "get_num_threads", "half", "initial_seed", "int", "int16", "int32", "int64", "int8", "is_grad_enabled", "is_tensor",
    "keras", "long", "manual_seed", "nn", "no_grad", "normal", "optim", "rand", "randint", "randn",
    "randperm", "set_default_device", "set_grad_enabled", "set_num_threads", "set_target", "short", "tensor", "uint16",
    "uint32", "uint64", "uint8", "utils", *_LAZY, *sorted(_functions.PUBLIC),
]  # fmt: skip
