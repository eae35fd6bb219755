"""Activation functions of `nn.functional`. Each takes a floating tensor of any shape and returns one of the same shape.

At a kink the derivative is the one PyTorch takes. Branches are chosen by `where` on values that stay finite, so that
no infinity of the branch not taken reaches the gradient.
"""

from __future__ import annotations

import math
import warnings

from gradloom import functions as G
from gradloom.dtypes import DType
from gradloom.functions.elementwise import in_single
from gradloom.nn.checks import even_axis
from gradloom.tape import composite
from gradloom.tensor import Tensor

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _in_place(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return input.copy_(result) if inplace else result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return _in_place(input, G.relu(input), inplace)


@composite
@in_single
def _leaky_relu(input: Tensor, slope: float) -> Tensor:
    return G.where(input > 0, input, input * slope)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """X where x > 0, else slope·x."""
    return _in_place(input, _leaky_relu(input, negative_slope), inplace)


@composite
@in_single
def _elu(input: Tensor, alpha: float, scale: float) -> Tensor:
    positive = input > 0
    below = G.where(positive, 0.0, input)
    return G.where(positive, input * scale, G.expm1(below) * (alpha * scale))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """X where x > 0, else alpha·(e^x - 1) (Clevert et al. 2015)."""
    return _in_place(input, _elu(input, alpha, 1.0), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Scaled ELU with the constants of Klambauer et al. 2017."""
    return _in_place(input, _elu(input, _SELU_ALPHA, _SELU_SCALE), inplace)


@composite
@in_single
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x) (Hendrycks and Gimpel 2016); approximate="tanh" takes the tanh formula of the paper."""
    if approximate == "none":
        return input * 0.5 * (G.erf(input * math.sqrt(0.5)) + 1.0)
    if approximate == "tanh":
        inner = (input + input * input * input * 0.044715) * math.sqrt(2.0 / math.pi)
        return input * 0.5 * (G.tanh(inner) + 1.0)
    raise ValueError(f"approximate is 'none' or 'tanh', not {approximate!r}")


@composite
@in_single
def _silu(input: Tensor) -> Tensor:
    return input * G.sigmoid(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·sigmoid(x)."""
    return _in_place(input, _silu(input), inplace)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return G.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return G.tanh(input)


def _softplus_of(x: Tensor) -> Tensor:
    # maximum, not relu: at 0 the other part's derivative is 0, and the tie's 1/2 is the right one
    return G.maximum(x, 0.0) + G.log1p(G.exp(-G.abs(x)))


@composite
@in_single
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta·x)) / beta, and x itself where beta·x > threshold."""
    scaled = input * beta
    return G.where(scaled > threshold, input, _softplus_of(scaled) / beta)


@composite
@in_single
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return G.minimum(input, 0.0) - G.log1p(G.exp(-G.abs(input)))


@composite
def _hardtanh(input: Tensor, low: float, high: float) -> Tensor:
    if not input.dtype.is_floating:  # the bounds become integers, as PyTorch has it
        return G.clamp(input, int(low), int(high))
    # PyTorch's derivative is 0 on both bounds
    inside = G.logical_and(input > low, input < high)
    return G.where(inside, input, G.clamp(input, low, high).detach())


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """X held between two bounds. Raises ValueError where min_val > max_val."""
    if min_val > max_val:
        raise ValueError(f"hardtanh needs min_val <= max_val, got {min_val} and {max_val}")
    return _in_place(input, _hardtanh(input, min_val, max_val), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return _in_place(input, _hardtanh(input, 0.0, 6.0), inplace)


@composite
@in_single
def _hardsigmoid(input: Tensor) -> Tensor:
    return _hardtanh(input + 3.0, 0.0, 6.0) / 6.0


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return _in_place(input, _hardsigmoid(input), inplace)


@composite
@in_single
def _hardswish(input: Tensor) -> Tensor:
    middle = input * (input + 3.0) / 6.0
    return G.where(input <= -3.0, input * 0.0, G.where(input < 3.0, middle, input))


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·relu6(x + 3) / 6 (Howard et al. 2019)."""
    return _in_place(input, _hardswish(input), inplace)


@composite
@in_single
def _mish(input: Tensor) -> Tensor:
    return input * G.tanh(_softplus_of(input))


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·tanh(softplus(x)) (Misra 2019)."""
    return _in_place(input, _mish(input), inplace)


@composite
@in_single
def softsign(input: Tensor) -> Tensor:
    """X / (1 + |x|)."""
    return input / (G.abs(input) + 1.0)


@composite
@in_single
def tanhshrink(input: Tensor) -> Tensor:
    """X - tanh(x)."""
    return input - G.tanh(input)


@composite
@in_single
def _celu(input: Tensor, alpha: float) -> Tensor:
    positive = input > 0
    below = G.where(positive, 0.0, input)
    return G.where(positive, input, G.expm1(below / alpha) * alpha)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """X where x > 0, else alpha·(e^(x/alpha) - 1) (Barron 2017). Raises ValueError where alpha is 0."""
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    return _in_place(input, _celu(input, float(alpha)), inplace)


@composite
@in_single
def _softshrink(input: Tensor, lambd: float) -> Tensor:
    inside = G.logical_and(input >= -lambd, input <= lambd)
    return G.where(inside, 0.0, G.where(input > 0, input - lambd, input + lambd))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """X brought nearer to 0 by lambd, and 0 within lambd of it. Raises ValueError where lambd < 0."""
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    return _softshrink(input, float(lambd))


@composite
@in_single
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """First half times the sigmoid of the second half along `dim` (Dauphin et al. 2016)."""
    axis = even_axis(input, dim, "glu")
    half = input.shape[axis] // 2
    before = (slice(None),) * axis
    return input[(*before, slice(0, half))] * G.sigmoid(input[(*before, slice(half, None))])


@composite
def _threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    return G.where(input <= threshold, value, input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """X where x > threshold, else value."""
    return _in_place(input, _threshold(input, threshold, value), inplace)


def _axis_or_guess(input: Tensor, dim: int | None, name: str) -> int:
    if dim is not None:
        return dim
    guess = 0 if input.ndim in (0, 1, 3) else 1
    warnings.warn(f"{name} without dim takes dim={guess} here; say which axis you mean", UserWarning, stacklevel=4)
    return guess


def softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """e^x divided by its sum along `dim`; `dtype` is converted to first."""
    return G.softmax(input if dtype is None else input.to(dtype), _axis_or_guess(input, dim, "softmax"))


def softmin(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """Softmax of -x."""
    return softmax(-input, _axis_or_guess(input, dim, "softmin"), dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """The logarithm of softmax, computed without overflow."""
    return G.log_softmax(input if dtype is None else input.to(dtype), _axis_or_guess(input, dim, "log_softmax"))


def relu_(input: Tensor) -> Tensor:
    """:func:`relu` written into the input."""
    return relu(input, inplace=True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """:func:`elu` written into the input."""
    return elu(input, alpha, inplace=True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """:func:`celu` written into the input."""
    return celu(input, alpha, inplace=True)


def selu_(input: Tensor) -> Tensor:
    """:func:`selu` written into the input."""
    return selu(input, inplace=True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """:func:`leaky_relu` written into the input."""
    return leaky_relu(input, negative_slope, inplace=True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """:func:`hardtanh` written into the input."""
    return hardtanh(input, min_val, max_val, inplace=True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """:func:`threshold` written into the input."""
    return _in_place(input, _threshold(input, threshold, value), True)
