"""Settings of the process, and questions about objects, under PyTorch's names: seeds, determinism, threads."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import DTypeError
from gradloom.functions.conversion import is_signed
from gradloom.random import default_generator
from gradloom.runtime.limits import get_winograd
from gradloom.runtime.limits import set_winograd as _set_winograd
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, from_numpy

__all__ = [
    "OutOfMemoryError", "has_lapack", "has_mkl", "has_openmp", "has_spectral", "is_signed",
    "are_deterministic_algorithms_enabled", "compiled_with_cxx11_abi", "get_deterministic_debug_mode",
    "get_float32_matmul_precision", "get_num_interop_threads", "get_rng_state",
    "get_winograd",
    "is_deterministic_algorithms_warn_only_enabled", "is_distributed", "is_storage", "is_warn_always_enabled", "seed",
    "set_default_tensor_type",
    "set_deterministic_debug_mode", "set_float32_matmul_precision", "set_flush_denormal", "set_num_interop_threads",
    "set_rng_state", "set_warn_always", "set_winograd", "typename", "use_deterministic_algorithms",
]  # fmt: skip

OutOfMemoryError = MemoryError
has_lapack = has_spectral = True  # linalg and fft are there
has_mkl = has_openmp = False

_state: dict[str, Any] = {"precision": "highest", "deterministic": False, "warn_only": False, "warn_always": False}


# -- random numbers -----------------------------------------------------------------------------------------


def seed() -> int:
    """Seed the default generator by the clock; the seed."""
    s = time.time_ns() & 0x7FFFFFFFFFFFFFFF
    default_generator.manual_seed(s)
    return s


def get_rng_state() -> Tensor:
    """The default generator's state: seed and number of draws, as a uint8 tensor of 16 bytes."""
    return from_numpy(np.array(default_generator.get_state(), np.int64).view(np.uint8).copy())


def set_rng_state(new_state: Tensor) -> None:
    """Continue from a state of :func:`get_rng_state`. Raises DTypeError for anything else."""
    if not isinstance(new_state, Tensor) or new_state.dtype is not dtypes.uint8 or new_state.numel() != 16:
        raise DTypeError(
            "set_rng_state: expected the uint8 tensor of 16 bytes that get_rng_state gives", code="dtype.rng",
            hint="a state of another library cannot be continued; use manual_seed",
        )  # fmt: skip
    s, n = new_state.numpy().view(np.int64)
    default_generator.set_state((int(s), int(n)))


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """While entered, draws leave the default generator's state as it was. ``devices`` beside the CPU are none."""
    before = default_generator.get_state()
    try:
        yield
    finally:
        if enabled:
            default_generator.set_state(before)


# -- the same bits --------------------------------------------------------------------------------------------


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Note what is asked for. Results are always the same bits on the same machine, whatever the number of threads."""
    _state["deterministic"], _state["warn_only"] = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What was asked for by :func:`use_deterministic_algorithms`."""
    return bool(_state["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether only warnings were asked for; there is nothing to warn of."""
    return bool(_state["warn_only"])


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """0 or ``"default"``, 1 or ``"warn"``, 2 or ``"error"``: as :func:`use_deterministic_algorithms`."""
    modes = {"default": 0, "warn": 1, "error": 2}
    number = modes.get(debug_mode, -1) if isinstance(debug_mode, str) else debug_mode
    if number not in (0, 1, 2):
        raise ValueError(f"set_deterministic_debug_mode: {debug_mode!r}; expected one of {', '.join(modes)} or 0, 1, 2")
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2."""
    return 0 if not _state["deterministic"] else 1 if _state["warn_only"] else 2


def set_float32_matmul_precision(precision: str) -> None:
    """``"highest"``, or leave to compute float32 products less precisely: ``"high"``, ``"medium"``.

    The leave is not made use of: float32 products are computed in float32. Raises ValueError for another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"set_float32_matmul_precision: {precision!r}; expected 'highest', 'high' or 'medium'")
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What was set."""
    return str(_state["precision"])


def set_flush_denormal(mode: bool) -> bool:
    """Whether tiny numbers can be taken as 0: they never are, so False for ``True``."""
    return not mode


# -- threads and builds -----------------------------------------------------------------------------------------


def get_num_interop_threads() -> int:
    """1: programs run one after the other, each on all threads."""
    return 1


def set_num_interop_threads(n: int) -> None:
    """Programs run one after the other; a larger number than 1 is warned of. Raises ValueError below 1."""
    if n < 1:
        raise ValueError(f"set_num_interop_threads: {n} is not positive")
    if n > 1:
        warnings.warn("programs run one after the other; set_num_threads sets the threads of each", stacklevel=2)


def compiled_with_cxx11_abi() -> bool:
    """True, as in every PyTorch of today; gradloom has no C++."""
    return True


def set_warn_always(b: bool) -> None:
    """Show repeated warnings each time."""
    _state["warn_always"] = bool(b)
    warnings.filterwarnings("always" if b else "default", module="gradloom")


def is_warn_always_enabled() -> bool:
    """Whether repeated warnings are shown each time."""
    return bool(_state["warn_always"])


# -- kinds of objects -------------------------------------------------------------------------------------------


def is_storage(obj: Any) -> bool:
    """False: memory has no object of its own apart from its tensor."""
    return False


def is_distributed() -> bool:
    """False: there is one process."""
    return False


def typename(obj: Any) -> str:
    """The name of a tensor's type (``"gradloom.FloatTensor"``), or the full name of an object's class."""
    if isinstance(obj, Tensor):
        return f"gradloom.{_TENSOR_NAMES.get(obj.dtype.name, obj.dtype.name)}Tensor"
    kind = obj if isinstance(obj, (type, Callable)) and hasattr(obj, "__qualname__") else type(obj)  # type: ignore[arg-type]
    module = getattr(kind, "__module__", "") or ""
    name = kind.__qualname__
    return name if module in ("", "builtins") else f"{module}.{name}"


_TENSOR_NAMES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int",
    "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip


def set_default_tensor_type(t: Any) -> None:
    """The default dtype by the name of a tensor type, ``"torch.DoubleTensor"``. Raises DTypeError for another.

    PyTorch advises against it too: ``set_default_dtype`` is plainer.
    """
    name = (t if isinstance(t, str) else getattr(t, "__name__", str(t))).rsplit(".", 1)[-1]
    found = next((d for d, n in _TENSOR_NAMES.items() if f"{n}Tensor" == name), None)
    if found is None:
        raise DTypeError(f"set_default_tensor_type: {t!r} names no type", code="dtype.unknown")
    dtypes.set_default_dtype(found)


# -- how convolutions are summed ----------------------------------------------------------------------------


def set_winograd(mode: str) -> None:
    """Say whether 3x3 filters with stride 1 may go by Winograd's transforms.

    ``"auto"``, the default: where that is quicker. ``"off"``: never; every result is then a plain sum of products.
    ``"on"``: wherever it can be done. Against float64, float32 results of deviation 1 are off by some 1e-6 (root mean
    square) that way, by 4e-7 as plain sums; halves by the rounding of the result alone. Float64 is always summed
    plainly. ``GRADLOOM_WINOGRAD`` in the environment says what holds at first. What runs from now on heeds it.
    Raises ValueError for another mode.
    """
    before = get_winograd()
    TAPE.flush()
    _set_winograd(mode)
    if mode != before:
        TAPE.forget()  # programs known already were compiled for the other mode
