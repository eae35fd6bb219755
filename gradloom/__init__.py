"""gradloom: a deep-learning framework that weaves forward pass, backward pass and update into one native program.

``import gradloom as torch`` for programs in PyTorch's manner, ``import gradloom as tf`` for programs in Keras'.
"""

from __future__ import annotations

import importlib
import math as _math
from typing import TYPE_CHECKING, Any

from gradloom import functions as _functions
from gradloom import methods as _methods  # noqa: F401  (installs the tensor's methods)
from gradloom.absent import tensor_attribute as _tensor_attribute
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
from gradloom.random import Generator, initial_seed, manual_seed
from gradloom.tensor import Size, Tensor, as_tensor, from_numpy, tensor

__version__ = "0.1.0"

float, double, half, long, int, short = float32, float64, float16, int64, int32, int16
cfloat, cdouble = complex64, complex128
e, inf, nan, pi, newaxis = _math.e, _math.inf, _math.nan, _math.pi, None

if TYPE_CHECKING:
    from gradloom import autograd, datasets, keras, linalg, masked, nn, optim, utils

_SUBMODULES = (
    "__config__", "__future__", "accelerator", "amp", "array_api", "audio", "autograd", "backends", "compiler",
    "control", "cpu", "cuda",
    "data", "datasets", "debug", "distributions", "estimators", "fft", "func", "io", "keras", "linalg",
    "masked", "metrics", "mps", "multiprocessing", "nn", "onnx", "optim", "profiler", "random", "signal", "special",
    "testing", "text", "train", "utils", "version", "vision", "xpu",
)  # fmt: skip

# TensorFlow's and Keras' modules that go by another name here
_ALIASES = {
    "config": "tensorflow.config", "image": "tensorflow.image", "initializers": "keras.initializers",
    "losses": "keras.losses", "math": "tensorflow.math", "optimizers": "keras.optimizers",
    "strings": "tensorflow.strings",
}  # fmt: skip

# names that stand in a module of their own, loaded when first asked for
_LAZY = {
    name: module
    for module, names in {
        "array_api": "__array_namespace_info__ astype broadcast_arrays isdtype unique_all unique_counts "
        "unique_inverse unique_values",
        "autodiff.vmap": "vmap",
        "autograd.modes": "inference_mode is_inference_mode_enabled",
        "higher_order": "cond while_loop",
        "io.files": "load save",
        "keras.gradient_tape": "GradientTape",
        "options": "channels_last channels_last_3d contiguous_format layout memory_format preserve_format strided",
        "printing": "set_printoptions",
        "tensorflow.core": "TensorSpec Variable boolean_mask cast clip_by_global_norm clip_by_norm clip_by_value "
        "constant convert_to_tensor ensure_shape executing_eagerly function global_norm group identity map_fn no_op "
        "numpy_function pad py_function rank reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min "
        "reduce_prod reduce_std reduce_sum reduce_variance reverse sequence_mask shape size slice stop_gradient",
        "amp": "GradScaler autocast autocast_decrement_nesting autocast_increment_nesting clear_autocast_cache "
        "get_autocast_cpu_dtype get_autocast_dtype get_autocast_gpu_dtype is_autocast_available "
        "is_autocast_cache_enabled is_autocast_cpu_enabled is_autocast_enabled set_autocast_cache_enabled "
        "set_autocast_cpu_dtype set_autocast_cpu_enabled set_autocast_dtype set_autocast_enabled "
        "set_autocast_gpu_dtype",
        "debug": "is_anomaly_check_nan_enabled is_anomaly_enabled set_anomaly_enabled",
        "settings": "OutOfMemoryError are_deterministic_algorithms_enabled compiled_with_cxx11_abi "
        "get_deterministic_debug_mode get_float32_matmul_precision get_num_interop_threads "
        "get_rng_state get_winograd has_lapack has_mkl has_openmp has_spectral "
        "is_deterministic_algorithms_warn_only_enabled is_distributed is_signed is_storage "
        "is_warn_always_enabled seed set_default_tensor_type set_deterministic_debug_mode "
        "set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_rng_state "
        "set_warn_always set_winograd typename use_deterministic_algorithms",
        "random": "default_generator",
        "utils.dlpack": "to_dlpack",
    }.items()
    for name in names.split()
}  # fmt: skip

__array_api_version__ = "2024.12"

# functions of nn.functional that PyTorch has at the top too
_FUNCTIONAL = frozenset(
    "adaptive_avg_pool1d adaptive_max_pool1d affine_grid_generator alpha_dropout alpha_dropout_ avg_pool1d "
    "batch_norm bilinear binary_cross_entropy_with_logits celu celu_ channel_shuffle conv1d conv2d conv3d "
    "conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d cosine_embedding_loss cosine_similarity ctc_loss "
    "dropout_ embedding embedding_bag feature_alpha_dropout feature_alpha_dropout_ feature_dropout feature_dropout_ "
    "grid_sampler "
    "group_norm hardshrink hinge_embedding_loss instance_norm kl_div layer_norm margin_ranking_loss max_pool1d "
    "max_pool2d max_pool3d pairwise_distance pdist pixel_shuffle pixel_unshuffle poisson_nll_loss prelu relu_ "
    "rms_norm rrelu rrelu_ selu selu_ threshold threshold_ triplet_margin_loss".split()
)


def _array_namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """The array API standard's namespace: :mod:`gradloom.array_api`. Raises ValueError for a version it is not of."""
    from gradloom import array_api

    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise ValueError(f"array API version {api_version!r} is not offered; this is {array_api.__array_api_version__}")
    return array_api


Tensor.__array_namespace__ = _array_namespace  # type: ignore[attr-defined]
Tensor.__getattr__ = _tensor_attribute  # type: ignore[method-assign, assignment]


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


def get_memory_limit() -> Any:
    """Bytes of temporaries that a program should get along with, or None."""
    from gradloom.runtime.limits import get_memory_limit as get

    return get()


def set_memory_limit(limit: Any) -> None:
    """Trade time for memory where a program's temporaries would take more than ``limit`` bytes (None: no limit).

    What is cheap to make again is then not kept for the backward pass; programs compiled from now on heed it.
    """
    from gradloom.runtime.limits import set_memory_limit as put

    put(limit)


def compile(model: Any = None, **options: Any) -> Any:
    """A callable with the results of a function or module that skips Python where calls recur; also a decorator.

    The keywords are those of :func:`gradloom.compiled.compile`.
    """
    from gradloom.compiled import compile

    return compile(model, **options)


def __getattr__(name: str) -> Any:
    if name in ("fill", "gather", "one_hot", "split"):  # of PyTorch and of TensorFlow
        both = importlib.import_module("gradloom.tensorflow.both")
        value: Any = _functions.placed("gradloom", name, getattr(both, name))
    elif name in _functions.PUBLIC:
        value = _functions.placed("gradloom", name, _functions.with_out(_functions.PUBLIC[name]))
    elif name in _SUBMODULES:
        value = importlib.import_module(f"gradloom.{name}")
    elif name in _ALIASES:
        value = importlib.import_module(f"gradloom.{_ALIASES[name]}")
    elif name in _LAZY:
        value = getattr(importlib.import_module(f"gradloom.{_LAZY[name]}"), name)
    elif name in _FUNCTIONAL and hasattr(functional := importlib.import_module("gradloom.nn.functional"), name):
        value = getattr(functional, name)
    elif name.endswith("_") and not name.startswith("_") and callable(method := getattr(Tensor, name, None)):
        value = _functions.placed("gradloom", name, method)
    else:
        from gradloom.absent import missing

        raise missing("gradloom", name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_functions.PUBLIC, *_SUBMODULES, *_LAZY})


__all__ = [
    "Generator", "Size", "Tensor", "as_tensor", "autograd", "bernoulli", "bfloat16", "bool", "cdouble",
    "cfloat", "compile", "complex128", "complex64", "datasets", "device", "double", "dtype", "enable_grad", "explain",
    "float", "float16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "from_numpy", "get_default_device",
    "get_memory_limit",
    "get_num_threads", "half", "initial_seed", "int", "int16", "int32", "int64", "int8", "is_grad_enabled", "is_tensor",
    "keras", "linalg", "long", "manual_seed", "masked", "nn", "no_grad", "normal", "optim", "rand", "randint", "randn",
    "randperm", "set_default_device", "set_grad_enabled", "set_memory_limit",
    "set_num_threads", "set_target", "short", "tensor", "uint16",
    "uint32", "uint64", "uint8", "utils", *_LAZY, *sorted(_functions.PUBLIC),
]  # fmt: skip
