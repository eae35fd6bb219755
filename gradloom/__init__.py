"""gradloom: a deep-learning framework that weaves forward pass, backward pass and update into one native program.

``import gradloom as torch`` for programs in PyTorch's manner, ``import gradloom as tf`` for programs in Keras'.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gradloom import functions as _functions
from gradloom.dtypes import (
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
)
from gradloom.dtypes import bool_ as bool
from gradloom.dtypes import default_float as get_default_dtype
from gradloom.random import Generator, bernoulli, initial_seed, manual_seed, normal, rand, randint, randn, randperm
from gradloom.tape import enable_grad, explain, is_grad_enabled, no_grad, set_grad_enabled, set_target
from gradloom.tensor import Size, Tensor, as_tensor, from_numpy, tensor

__version__ = "0.1.0"

float, double, half, long, int, short = float32, float64, float16, int64, int32, int16

if TYPE_CHECKING:
    from gradloom import autograd, datasets, keras, nn, optim, utils

_SUBMODULES = ("autograd", "datasets", "io", "keras", "metrics", "nn", "optim", "random", "train", "utils")
_FROM_FUNCTIONS = frozenset(
    "abs absolute acos acosh add all allclose amax amin any arange arccos arccosh arcsin arcsinh arctan arctan2 "
    "arctanh argmax argmin asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or "
    "bitwise_right_shift bitwise_xor bmm broadcast_to cat ceil chunk clamp clip concat concatenate cos cosh digamma "
    "div divide dropout empty eq equal erf erfc erfinv exp exp2 expm1 eye flatten flip floor floor_divide fmod full "
    "full_like gather ge greater greater_equal gt index_select isfinite isinf isnan le less less_equal lgamma "
    "linspace log log10 log1p log2 log_softmax logical_and logical_not logical_or logical_xor logsumexp lt matmul "
    "maximum mean minimum mm mul multiply narrow ne neg negative not_equal numel one_hot ones ones_like permute pow "
    "prod reciprocal relu remainder reshape round rsqrt scatter_add sigmoid sign sin sinh softmax split sqrt square "
    "squeeze stack std sub subtract sum swapaxes take tan tanh transpose true_divide trunc unsqueeze var where zeros "
    "zeros_like detach".split()
)


def max(input: Tensor, dim: Any = None, keepdim: Any = False) -> Any:
    """Largest element; along an axis (values, indices); of two tensors the elementwise maximum."""
    return input.max(dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: Any = False) -> Any:
    """Smallest element; along an axis (values, indices); of two tensors the elementwise minimum."""
    return input.min(dim, keepdim)


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
    if name in _FROM_FUNCTIONS:
        value = getattr(_functions, name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"gradloom.{name}")
    else:
        raise AttributeError(f"module 'gradloom' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM_FUNCTIONS, *_SUBMODULES})


__all__ = [
    "Generator", "Size", "Tensor", "as_tensor", "autograd", "bernoulli", "bfloat16", "bool", "compile", "datasets",
    "double", "enable_grad", "explain", "float", "float16", "float32", "float64", "from_numpy", "get_default_dtype",
    "get_num_threads", "half", "initial_seed", "int", "int16", "int32", "int64", "int8", "is_grad_enabled", "is_tensor",
    "keras", "long", "manual_seed", "max", "min", "nn", "no_grad", "normal", "optim", "rand", "randint", "randn",
    "randperm", "set_default_dtype", "set_grad_enabled", "set_num_threads", "set_target", "short", "tensor", "uint8",
    "utils", *sorted(_FROM_FUNCTIONS),
]  # fmt: skip
