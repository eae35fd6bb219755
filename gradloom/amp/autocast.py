"""``autocast``: within it products take their operands in bfloat16 (or float16) and losses theirs in float32.

Products sum in float32 and round once, at the end, as PyTorch has it. Which function is cast how, and which keep the
dtype of their operands, say the tables of :mod:`gradloom.functions.precision`.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any, Self

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, StateError
from gradloom.functions.precision import Casts, lower
from gradloom.tape import MODES

__all__ = [
    "autocast", "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "custom_bwd",
    "custom_fwd", "get_autocast_cpu_dtype", "get_autocast_dtype", "get_autocast_gpu_dtype", "is_autocast_available",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "set_autocast_cache_enabled",
    "set_autocast_cpu_dtype", "set_autocast_cpu_enabled", "set_autocast_dtype", "set_autocast_enabled",
    "set_autocast_gpu_dtype",
]  # fmt: skip

_default = [dtypes.bfloat16]


@functools.cache
def _casts(dtype: DType) -> Casts:
    return Casts(dtype)


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
        self._before.append(MODES.autocast)
        MODES.autocast = self._state
        return self

    def __exit__(self, *exc: object) -> None:
        MODES.autocast = self._before.pop()


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Whether operands are cast now."""
    return device_type == "cpu" and MODES.autocast is not None


def is_autocast_available(device_type: str) -> bool:
    """Whether :class:`autocast` does anything for a device."""
    return device_type == "cpu"


def get_autocast_dtype(device_type: str = "cpu") -> DType:
    """The dtype that products are cast to: that of the autocast around, else bfloat16."""
    dtype: DType = MODES.autocast.dtype if MODES.autocast is not None else _default[0]
    return dtype


def set_autocast_enabled(*args: Any) -> None:
    """Switch casting on or off for good: ``(enabled)`` or ``(device_type, enabled)``."""
    device_type, enabled = args if len(args) == 2 else ("cpu", *args)
    if device_type == "cpu":
        MODES.autocast = _casts(_default[0]) if enabled else None


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """The dtype that products are cast to where none is given. Raises DTypeError for another than the two."""
    if device_type == "cpu":
        _default[0] = autocast(dtype=dtype).fast_dtype
        if MODES.autocast is not None:
            MODES.autocast = _casts(_default[0])


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
    """For the ``forward`` of an autograd.Function: :func:`custom_bwd` then finds the autocast that it ran in.

    With ``cast_inputs``, a dtype, autocast is off in it where it was on, and operands are cast, float64 excepted.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def run(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        ctx.forward_autocast = on and cast_inputs is None, get_autocast_dtype(device_type)
        if cast_inputs is None or not on:
            return fwd(ctx, *args, **kwargs)
        args, kwargs = lower(as_dtype(cast_inputs), args, kwargs)
        with autocast(enabled=False):
            return fwd(ctx, *args, **kwargs)

    return run


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str = "cpu") -> Callable[..., Any]:
    """For the ``backward`` of an autograd.Function: it runs in the autocast that ``forward`` ran in.

    Raises
    ------
    StateError: where ``forward`` is not decorated with :func:`custom_fwd`.
    """
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def run(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        state = getattr(ctx, "forward_autocast", None)
        if state is None:
            raise StateError(
                "custom_bwd: the forward of this function has kept no state of autocast", code="state.autocast",
                hint="decorate forward with custom_fwd",
            )  # fmt: skip
        with autocast(enabled=state[0], dtype=state[1]):
            return bwd(ctx, *args, **kwargs)

    return run
