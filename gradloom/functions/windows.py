"""Window functions under ``torch.signal.windows``' names, and the older ones of ``torch`` itself.

All are tables of M numbers made by NumPy in float64. ``sym`` gives a symmetric window (for filters); otherwise it is
one period of a window of M + 1 (for spectra).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import as_dtype
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.options import check_options
from gradloom.tensor import Tensor, tensor

__all__ = "bartlett_window blackman_window hamming_window hann_window kaiser_window".split()
FUNCTION_ONLY = __all__

Values = Callable[[np.ndarray, int], np.ndarray]  # of positions and the length of a period


def _made(
    name: str, M: int, sym: bool, values: Values, dtype: Any, layout: Any,
    device: Any, requires_grad: bool, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """``values(positions, length of a period)``; a window of one point is 1."""
    d = dtypes.default_float() if dtype is None else as_dtype(dtype)
    if not d.is_floating:
        raise ArgumentError(f"{name}: dtype {d.name} is not floating", code="argument.window")
    if M < 0:
        raise ShapeError(f"{name}: a window of {M} points", code="shape.window", hint="M must not be negative")
    n = np.arange(M, dtype=np.float64)
    numbers = n + 1 if M < 2 else values(n, M - 1 if sym else M)
    return table(numbers, d, layout, device, pin_memory, requires_grad)


def table(values: np.ndarray, dtype: Any, layout: Any, device: Any, pin_memory: bool, requires_grad: bool) -> Tensor:
    """A new tensor of numbers made by NumPy, in the default dtype unless one is given."""
    check_options(device, layout, pin_memory)
    return tensor(values, dtype=dtype or dtypes.default_float(), requires_grad=requires_grad)


def _triangle(n: np.ndarray, period: int) -> np.ndarray:
    return 1 - np.abs(2 * n / period - 1)


def _sum_of_cosines(a: list[float]) -> Values:
    k = np.arange(len(a))
    signed = np.array(a) * (-1.0) ** k
    return lambda n, period: (np.cos(2 * np.pi * n[:, None] * k / period) * signed).sum(1)


def _kaiser(beta: float) -> Values:
    if beta < 0:
        raise ArgumentError(f"kaiser: beta must not be negative, got {beta}")
    return lambda n, period: np.i0(beta * np.sqrt(np.maximum(1 - (2 * n / period - 1) ** 2, 0))) / np.i0(beta)


def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``sum((-1)**i * a[i] * cos(2 pi i n / (M - 1)))``."""
    weights = [float(x) for x in a] if isinstance(a, (list, tuple)) else []
    if not isinstance(a, (list, tuple)):
        raise DTypeError(f"general_cosine: a must be a list or tuple of weights, got {a!r}")
    if not weights:
        raise ArgumentError(f"general_cosine: a must be the weights of the cosines, one or more, got {a!r}")
    return _made("general_cosine", M, sym, _sum_of_cosines(weights), dtype, layout, device, requires_grad)


def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``alpha - (1 - alpha) * cos(2 pi n / (M - 1))``."""
    return general_cosine(
        M, a=[alpha, 1 - alpha], sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad
    )


def _cosines(name: str, doc: str, a: list[float]) -> Callable[..., Tensor]:
    def window(
        M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:  # fmt: skip
        return general_cosine(M, a=a, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = doc
    return window


hann = _cosines("hann", "Hann's window: one raised cosine.", [0.5, 0.5])
hamming = _cosines("hamming", "Hamming's window: a raised cosine on a pedestal.", [0.54, 0.46])
blackman = _cosines("blackman", "Blackman's window: three cosines.", [0.42, 0.5, 0.08])
nuttall = _cosines(
    "nuttall", "Nuttall's minimal four-term window (Nuttall 1981).", [0.3635819, 0.4891775, 0.1365995, 0.0106411]
)


def bartlett(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Bartlett's window: a triangle, 0 at both ends."""
    return _made("bartlett", M, sym, _triangle, dtype, layout, device, requires_grad)


def cosine(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Half a period of a sine, ``sin(pi (n + 1/2) / M)``."""
    return _made(
        "cosine", M, sym, lambda n, p: np.sin(np.pi * (n + 0.5) / (p + 1)), dtype, layout, device, requires_grad
    )


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``exp(-|n - center| / tau)``; ``center`` may be given for ``sym=False`` only."""
    if tau <= 0:
        raise ArgumentError(f"exponential: tau must be positive, got {tau}")
    if sym and center is not None:
        raise ArgumentError("exponential: center can be given only with sym=False")
    return _made(
        "exponential", M, sym, lambda n, p: np.exp(-np.abs(n - (p / 2 if center is None else center)) / tau), dtype,
        layout, device, requires_grad,
    )  # fmt: skip


def gaussian(
    M: int, *, std: float = 1.0, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``exp(-((n - middle) / std)**2 / 2)``."""
    if std <= 0:
        raise ArgumentError(f"gaussian: std must be positive, got {std}")
    return _made(
        "gaussian", M, sym, lambda n, p: np.exp(-(((n - p / 2) / std) ** 2) / 2), dtype, layout, device, requires_grad
    )


def kaiser(
    M: int, *, beta: float = 12.0, sym: bool = True, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Kaiser's window, ``i0(beta sqrt(1 - (2 n / (M - 1) - 1)**2)) / i0(beta)``."""
    return _made("kaiser", M, sym, _kaiser(beta), dtype, layout, device, requires_grad)


# -- the older names ------------------------------------------------------------------------------------
def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """:func:`hann`; ``periodic`` is ``not sym``."""
    return _older("hann_window", window_length, periodic, [0.5, 0.5], dtype, layout, device, pin_memory, requires_grad)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``alpha - beta * cos(2 pi n / N)``."""
    return _older(
        "hamming_window", window_length, periodic, [alpha, beta], dtype, layout, device, pin_memory, requires_grad
    )


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """:func:`blackman`; ``periodic`` is ``not sym``."""
    a = [0.42, 0.5, 0.08]
    return _older("blackman_window", window_length, periodic, a, dtype, layout, device, pin_memory, requires_grad)


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """:func:`bartlett`; ``periodic`` is ``not sym``."""
    return _made(
        "bartlett_window", window_length, not periodic, _triangle, dtype, layout, device, requires_grad, pin_memory
    )


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """:func:`kaiser`; ``periodic`` is ``not sym``."""
    return _made(
        "kaiser_window", window_length, not periodic, _kaiser(beta), dtype, layout, device, requires_grad, pin_memory
    )


def _older(
    name: str, n: int, periodic: bool, a: list[float], dtype: Any, layout: Any, device: Any, pin_memory: bool,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    return _made(name, n, not periodic, _sum_of_cosines(a), dtype, layout, device, requires_grad, pin_memory)
