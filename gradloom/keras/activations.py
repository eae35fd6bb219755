"""Activation functions, by the names that Keras gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.keras.names import lookup
from gradloom.tensor import Tensor

Activation = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    """``x`` as it is."""
    return x


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return G.relu(x)


def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """``x`` where positive, else ``negative_slope`` times x."""
    return G.where(x > 0, x, x * negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, else alpha (eˣ - 1)."""
    # the minimum keeps exp from overflowing on the side that is not taken, whose gradient would be 0 * inf
    return G.where(x > 0, x, (G.exp(G.clamp(x, max=0.0)) - 1.0) * alpha)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    return G.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return G.tanh(x)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """eˣ over its sum along ``axis``."""
    return G.softmax(x, axis)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """The logarithm of the softmax."""
    return G.log_softmax(x, axis)


def softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ), computed so that it does not overflow."""
    return G.clamp(x, min=0.0) + G.log1p(G.exp(-G.abs(x)))


def silu(x: Tensor) -> Tensor:
    """``x`` · sigmoid(x), also called swish."""
    return x * G.sigmoid(x)


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """``x`` · Φ(x), Φ the normal distribution function; or its tanh approximation (Hendrycks and Gimpel 2016)."""
    if approximate:
        return x * 0.5 * (G.tanh((x + x * x * x * 0.044715) * 0.7978845608028654) + 1.0)
    return x * 0.5 * (G.erf(x * 0.7071067811865476) + 1.0)


def exponential(x: Tensor) -> Tensor:
    """eˣ."""
    return G.exp(x)


_TABLE: dict[str, Activation] = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "softplus": softplus,
    "silu": silu,
    "swish": silu,
    "gelu": gelu,
    "exponential": exponential,
}


_OURS = frozenset(_TABLE.values())


def is_ours(activation: Activation) -> bool:
    """Whether a function is one of this module, and so depends on its argument alone."""
    return activation in _OURS


def get(activation: Any) -> Activation:
    """The function of a name; None is :func:`linear`; a callable is itself."""
    if activation is None:
        return linear
    return activation if callable(activation) else lookup("activation", activation, _TABLE)


def name_of(activation: Activation) -> str:
    """What a function is called in summaries."""
    return getattr(activation, "__name__", type(activation).__name__)
