"""``autocast``: within it products take their operands in bfloat16 (or float16) and losses theirs in float32.

Products sum in float32 and round once, at the end, as PyTorch has it. All else keeps the dtype of its operands.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any, Self

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

__all__ = [
    "autocast", "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "custom_bwd",
    "custom_fwd", "get_autocast_cpu_dtype", "get_autocast_dtype", "get_autocast_gpu_dtype", "is_autocast_available",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "set_autocast_cache_enabled",
    "set_autocast_cpu_dtype", "set_autocast_cpu_enabled", "set_autocast_dtype", "set_autocast_enabled",
    "set_autocast_gpu_dtype",
]  # fmt: skip

LOWER = frozenset(
    "matmul linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d bilinear "
    "scaled_dot_product_attention multi_head_attention_forward prelu contract".split()  # contract: einsum
)
FLOAT32 = frozenset(
    "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss kl_div binary_cross_entropy "
    "binary_cross_entropy_with_logits cosine_embedding_loss hinge_embedding_loss margin_ranking_loss "
    "multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss soft_margin_loss triplet_margin_loss "
    "triplet_margin_with_distance_loss poisson_nll_loss gaussian_nll_loss ctc_loss cosine_similarity cosine "
    "pairwise_distance cdist pdist".split()
)
_default = [dtypes.bfloat16]
_NARROW = (dtypes.float32, dtypes.float16, dtypes.bfloat16)


class _Casts:
    """What is cast inside of autocast to one dtype. One object for each, so that the tape can tell states apart."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype

    def operands(self, name: str, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The operands of a function of that name, in the dtype that it is to compute in."""
        name = name.lstrip("_")
        if name in LOWER:
            target = self.dtype
        elif name in FLOAT32:
            target = dtypes.float32
        else:
            return args, kwargs

        def cast(x: Any) -> Any:
            if isinstance(x, Tensor) and x.dtype in _NARROW and x.dtype is not target:
                return x.to(target)
            return x

        return tuple(map(cast, args)), {k: cast(v) for k, v in kwargs.items()}


@functools.cache
def _casts(dtype: DType) -> _Casts:
    return _Casts(dtype)


class autocast(contextlib.ContextDecorator):
    """Mixed precision for what is computed within, as a context manager or decorator.

    Parameters
    ----------
    device_type: ``"cpu"``; for any other, which is not there, a warning is given and nothing is cast, as in PyTorch.
    dtype: bfloat16 by default, or float16. enabled: False computes in full precision within another autocast.
    cache_enabled: accepted; a cast that occurs twice in a round is computed once in any case.

    Raises
    ------
    DTypeError: for another dtype.
    """

    def __init__(
        self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        d = as_dtype(dtype) if dtype is not None else _default[0]
        if d not in (dtypes.bfloat16, dtypes.float16):
            raise DTypeError(f"autocast: dtype {d.name}", code="dtype.autocast", hint="use bfloat16 or float16")
        if str(device_type).split(":")[0] != "cpu":
            if enabled:
                warnings.warn(f"autocast: device {device_type!r} is not there; nothing is cast", stacklevel=2)
            enabled = False
        self.fast_dtype = d
        self.device = "cpu"
        self._state = _casts(d) if enabled else None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._before.append(TAPE.autocast)
        TAPE.autocast = self._state
        return self

    def __exit__(self, *exc: object) -> None:
        TAPE.autocast = self._before.pop()


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Whether operands are cast now."""
    return device_type == "cpu" and TAPE.autocast is not None


def is_autocast_available(device_type: str) -> bool:
    """Whether :class:`autocast` does anything for a device."""
    return device_type == "cpu"


def get_autocast_dtype(device_type: str = "cpu") -> DType:
    """The dtype that products are cast to: that of the autocast around, else bfloat16."""
    dtype: DType = TAPE.autocast.dtype if TAPE.autocast is not None else _default[0]
    return dtype


def set_autocast_enabled(*args: Any) -> None:
    """Switch casting on or off for good: ``(enabled)`` or ``(device_type, enabled)``."""
    device_type, enabled = args if len(args) == 2 else ("cpu", *args)
    if device_type == "cpu":
        TAPE.autocast = _casts(_default[0]) if enabled else None


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """The dtype that products are cast to where none is given. Raises DTypeError for another than the two."""
    if device_type == "cpu":
        _default[0] = autocast(dtype=dtype).fast_dtype
        if TAPE.autocast is not None:
            TAPE.autocast = _casts(_default[0])


def clear_autocast_cache() -> None:
    """Nothing is kept between casts."""


def is_autocast_cache_enabled() -> bool:
    """Whether casts are kept: a cast that occurs twice in a round is computed once in any case."""
    return True


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Accepted: see :func:`is_autocast_cache_enabled`."""


_nesting = [0]


def autocast_increment_nesting() -> int:
    """Count one autocast more around what follows. Returns how many there are."""
    _nesting[0] += 1
    return _nesting[0]


def autocast_decrement_nesting() -> int:
    """Count one autocast less. Returns how many are left."""
    _nesting[0] -= 1
    return _nesting[0]


def get_autocast_cpu_dtype() -> DType:
    """As :func:`get_autocast_dtype`, the older name."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> DType:
    """What products would be cast to on a GPU: float16, as PyTorch has it."""
    return dtypes.float16


def set_autocast_cpu_dtype(dtype: Any) -> None:
    """As :func:`set_autocast_dtype` for the CPU, the older name."""
    set_autocast_dtype("cpu", dtype)


def set_autocast_gpu_dtype(dtype: Any) -> None:
    """Checked and without effect: there is no GPU."""
    set_autocast_dtype("cuda", dtype)


def is_autocast_cpu_enabled() -> bool:
    """As :func:`is_autocast_enabled` for the CPU, the older name."""
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """As :func:`set_autocast_enabled` for the CPU, the older name."""
    set_autocast_enabled("cpu", enabled)


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str = "cpu", cast_inputs: Any = None
) -> Callable[..., Any]:
    """For the ``forward`` of an autograd.Function: with ``cast_inputs`` operands are cast, and autocast is off."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def run(*args: Any, **kwargs: Any) -> Any:
        if cast_inputs is None or TAPE.autocast is None:
            return fwd(*args, **kwargs)
        d = as_dtype(cast_inputs)

        def cast(x: Any) -> Any:
            return x.to(d) if isinstance(x, Tensor) and x.dtype in _NARROW else x

        with autocast(enabled=False):
            return fwd(*map(cast, args), **{k: cast(v) for k, v in kwargs.items()})

    return run


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str = "cpu") -> Callable[..., Any]:
    """For the ``backward`` of an autograd.Function: it runs as it is, with autocast off."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def run(*args: Any, **kwargs: Any) -> Any:
        with autocast(enabled=False):
            return bwd(*args, **kwargs)

    return run
