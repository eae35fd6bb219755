"""Ways to fill a parameter before training. Each changes its tensor in place, outside of the gradient, and returns it.

generator: where the numbers come from, the default generator where None.
References: Glorot and Bengio 2010 (xavier), He et al. 2015 (kaiming), Saxe et al. 2013 (orthogonal), Martens 2010
(sparse).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.sampling import randn
from gradloom.modes import no_grad
from gradloom.random import Generator
from gradloom.tensor import Tensor, from_numpy

_quiet = [False]


@contextmanager
def skipped() -> Iterator[None]:
    """Within, the functions of this module leave their tensors as they are, for those that are filled later."""
    before, _quiet[0] = _quiet[0], True
    try:
        yield
    finally:
        _quiet[0] = before


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with draws from the uniform distribution on [a, b)."""
    if _quiet[0]:
        return tensor
    with no_grad():
        tensor.uniform_(a, b, generator=generator)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with draws from the normal distribution."""
    if _quiet[0]:
        return tensor
    with no_grad():
        tensor.normal_(mean, std, generator=generator)
    return tensor


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with draws from the normal distribution that fall within [a, b]; all others are drawn again."""
    if _quiet[0]:
        return tensor
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            f"trunc_normal_: the mean {mean} is more than two standard deviations from [{a}, {b}]: the distribution of "
            "values may be incorrect.",
            stacklevel=2,
        )
    # the inverse of the distribution function at uniform draws between its values at the bounds
    low, high = (math.erf((x - mean) / (std * math.sqrt(2.0))) for x in (a, b))
    with no_grad():
        draws = G.erfinv(tensor.uniform_(low, high, generator=generator))
        tensor.copy_(G.clamp(draws * (std * math.sqrt(2.0)) + mean, a, b))
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    if _quiet[0]:
        return tensor
    with no_grad():
        tensor.fill_(val)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def _fill(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        tensor.copy_(from_numpy(np.ascontiguousarray(values)))
    return tensor


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on its diagonal and zeros elsewhere."""
    if tensor.ndim != 2:
        raise ShapeError(
            f"eye_: only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}", code="shape.init",
            hint="pass a matrix, or use dirac_ for filters",
        )  # fmt: skip
    return tensor if _quiet[0] else _fill(tensor, np.eye(*tensor.shape, dtype=np.float32))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill filters (O, C, *kernel) so that a convolution hands as many channels of its input on as there are filters.

    Each of the groups of filters begins again at its first channel.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(
            f"dirac_: only tensors with 3, 4, or 5 dimensions are supported, got shape {tuple(tensor.shape)}",
            code="shape.init", hint="pass the weight of a convolution",
        )  # fmt: skip
    out, channels, *kernel = tensor.shape
    if groups < 1 or out % groups:
        raise ShapeError(
            f"dirac_: {out} filters (axis 0) must be divisible by groups={groups}", code="shape.init",
            hint="give the groups of the convolution",
        )  # fmt: skip
    if _quiet[0]:
        return tensor
    values = np.zeros(tuple(tensor.shape), np.float32)
    centre = tuple(k // 2 for k in kernel)
    per = out // groups
    for group in range(groups):
        for k in range(min(per, channels)):
            values[(group * per + k, k, *centre)] = 1.0
    return _fill(tensor, values)


_UNIT = ("linear", "sigmoid", *(f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the standard deviation that suits a nonlinearity; `param` is the slope of leaky_relu."""
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if isinstance(param, bool) or not isinstance(param, int | float | None):
            raise ValueError(f"negative_slope {param} not a valid number")
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    if nonlinearity in _UNIT:
        return 1.0
    raise ValueError(f"Unsupported nonlinearity {nonlinearity!r}: no gain is known for it")


def fans(tensor: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight of shape (out, in, *kernel)."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ShapeError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, "
            f"got a weight of shape {shape}",
            code="shape.init",
            hint="initialise biases with zeros_ or uniform_",
        )
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


_calculate_fan_in_and_fan_out = fans  # the name by which programs know it


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on ±gain·sqrt(6 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain·sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return fans(tensor)[0 if mode == "fan_in" else 1]


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return 0.0
    return calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform on ±gain·sqrt(3 / fan); `a` is the slope of leaky_relu."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan); `a` is the slope of leaky_relu."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with a (semi-)orthogonal matrix of shape (rows, the other axes flattened), times `gain`."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ShapeError(
            f"Only tensors with 2 or more dimensions are supported: orthogonal_ got shape {shape}",
            code="shape.init", hint="pass a matrix",
        )  # fmt: skip
    if _quiet[0] or not tensor.numel():
        return tensor
    rows, columns = shape[0], math.prod(shape[1:])
    draws = randn(max(rows, columns), min(rows, columns), generator=generator).numpy().astype(np.float64)
    q, r = np.linalg.qr(draws)
    # the sign of R's diagonal makes the distribution uniform over the orthogonal group (Mezzadri 2007)
    q = q * np.sign(np.diagonal(r))
    matrix = (q if rows >= columns else q.T) * gain
    return _fill(tensor, matrix.reshape(shape).astype(tensor.dtype.numpy))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill a matrix with normal draws, and with zeros for the share `sparsity` of every column, chosen at random."""
    if tensor.ndim != 2:
        raise ShapeError(
            f"sparse_: only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}",
            code="shape.init", hint="pass a matrix",
        )  # fmt: skip
    if _quiet[0]:
        return tensor
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    draws = randn(2, rows, columns, generator=generator).numpy()
    rank = draws[1].argsort(0).argsort(0)
    return _fill(tensor, np.where(rank < zeros, 0.0, draws[0] * std).astype(np.float32))


def _under_old_name(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function without the underscore, as PyTorch had it."""

    @functools.wraps(fn)
    def call(*args: object, **kwargs: object) -> Tensor:
        return fn(*args, **kwargs)

    call.__name__ = call.__qualname__ = fn.__name__[:-1]
    call.__doc__ = f":func:`{fn.__name__}` under its old name."
    return call


uniform = _under_old_name(uniform_)
normal = _under_old_name(normal_)
constant = _under_old_name(constant_)
eye = _under_old_name(eye_)
dirac = _under_old_name(dirac_)
xavier_uniform = _under_old_name(xavier_uniform_)
xavier_normal = _under_old_name(xavier_normal_)
kaiming_uniform = _under_old_name(kaiming_uniform_)
kaiming_normal = _under_old_name(kaiming_normal_)
orthogonal = _under_old_name(orthogonal_)
sparse = _under_old_name(sparse_)
