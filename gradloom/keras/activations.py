"""Activation functions, by the names and formulas of Keras 3. Symbolic tensors are taken too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.functions.elementwise import in_single
from gradloom.functions.scans import cumsum
from gradloom.functions.sorting import sort
from gradloom.keras.names import from_identifier, identifier_of
from gradloom.keras.operations import operation
from gradloom.nn import functional as F
from gradloom.tape import composite
from gradloom.tensor import Tensor

Activation = Callable[..., Any]


@operation
def linear(x: Tensor) -> Tensor:
    """``x`` as it is."""
    return x


@composite
@in_single
def _relu(x: Tensor, slope: float, top: float | None, threshold: float) -> Tensor:
    if threshold:
        below = (x - threshold) * slope if slope else G.mul(x, 0.0)
        y = G.where(x > threshold, x, below)
    else:
        y = G.where(x > 0, x, x * slope)
    return y if top is None else G.clamp(y, max=top)


@operation
def relu(x: Tensor, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """max(x, 0); with options: a slope below ``threshold``, cut off at ``max_value``."""
    if not negative_slope and not threshold:
        y = G.relu(x)
        return y if max_value is None else _relu(x, 0.0, float(max_value), 0.0)
    return _relu(x, float(negative_slope), None if max_value is None else float(max_value), float(threshold))


@operation
def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """``x`` where positive, else ``negative_slope`` times x."""
    return F.leaky_relu(x, negative_slope)


@operation
def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return F.relu6(x)


@operation
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, else alpha (eˣ - 1) (Clevert et al. 2015)."""
    return F.elu(x, float(alpha))


@operation
def selu(x: Tensor) -> Tensor:
    """Scaled ELU (Klambauer et al. 2017)."""
    return F.selu(x)


@operation
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1)) (Barron 2017)."""
    return F.celu(x, float(alpha))


@operation
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    return G.sigmoid(x)


@composite
@in_single
def _hard_sigmoid(x: Tensor) -> Tensor:
    return G.clamp(x / 6.0 + 0.5, 0.0, 1.0)


@operation
def hard_sigmoid(x: Tensor) -> Tensor:
    """X / 6 + 1/2, held between 0 and 1."""
    return _hard_sigmoid(x)


@operation
def hard_silu(x: Tensor) -> Tensor:
    """``x`` times its hard sigmoid, also called hard swish (Howard et al. 2019)."""
    return x * _hard_sigmoid(x)


hard_swish = hard_silu


@operation
def hard_tanh(x: Tensor) -> Tensor:
    """``x`` held between -1 and 1."""
    return F.hardtanh(x)


@operation
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return G.tanh(x)


@operation
def softmax(x: Tensor, axis: Any = -1) -> Tensor:
    """eˣ over its sum along an axis, or along several together; over all where it is None."""
    if isinstance(axis, int):
        if not -x.ndim <= axis < max(x.ndim, 1):
            raise ValueError(f"softmax: axis {axis} is out of bounds for a tensor of {x.ndim} dimensions")
        if x.ndim and x.shape[axis] == 1:
            warnings.warn(
                f"You are using a softmax over axis {axis} of a tensor of shape {tuple(x.shape)}. This axis has "
                "size 1. The softmax operation will always return the value 1, which is likely not what you "
                "intended. Did you mean to use a sigmoid instead?", stacklevel=3,
            )  # fmt: skip
        return G.softmax(x, axis)
    return G.exp(log_softmax.__wrapped__(x, axis))  # type: ignore[attr-defined]


@operation
def log_softmax(x: Tensor, axis: Any = -1) -> Tensor:
    """The logarithm of the softmax."""
    if isinstance(axis, int):
        return G.log_softmax(x, axis)
    return x - G.logsumexp(x, tuple(range(x.ndim) if axis is None else axis), True)


@operation
def softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ)."""
    return _softplus(x)


@composite
@in_single
def _softplus(x: Tensor) -> Tensor:
    return G.clamp(x, min=0.0) + G.log1p(G.exp(-G.abs(x)))


@operation
def softsign(x: Tensor) -> Tensor:
    """X / (1 + |x|)."""
    return F.softsign(x)


@operation
def silu(x: Tensor) -> Tensor:
    """``x`` · sigmoid(x), also called swish."""
    return F.silu(x)


swish = silu


@operation
def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """``x`` · Φ(x), Φ the normal distribution function; or its tanh approximation (Hendrycks and Gimpel 2016)."""
    return F.gelu(x, "tanh" if approximate else "none")


@operation
def exponential(x: Tensor) -> Tensor:
    """eˣ."""
    return G.exp(x)


@operation
def log_sigmoid(x: Tensor) -> Tensor:
    """Log sigmoid(x)."""
    return F.logsigmoid(x)


@operation
def mish(x: Tensor) -> Tensor:
    """``x`` · tanh(softplus(x)) (Misra 2019)."""
    return F.mish(x)


@operation
def glu(x: Tensor, axis: int = -1) -> Tensor:
    """The first half along an axis times the sigmoid of the second (Dauphin et al. 2017)."""
    return F.glu(x, axis)


@operation
def tanh_shrink(x: Tensor) -> Tensor:
    """``x`` - tanh(x)."""
    return x - G.tanh(x)


@operation
def soft_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """``x`` drawn ``threshold`` nearer to 0, 0 where it is nearer than that."""
    return F.softshrink(x, float(threshold))


@operation
def hard_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """``x``, or 0 where |x| ≤ ``threshold``."""
    return F.hardshrink(x, float(threshold))


@operation
def threshold(x: Tensor, threshold: float, default_value: float) -> Tensor:
    """``x`` where above ``threshold``, else ``default_value``."""
    return F.threshold(x, float(threshold), float(default_value))


@composite
@in_single
def _squareplus(x: Tensor, b: float) -> Tensor:
    return (x + G.sqrt(x * x + b)) * 0.5


@operation
def squareplus(x: Tensor, b: float = 4) -> Tensor:
    """(x + √(x² + b)) / 2 (Barron 2021)."""
    return _squareplus(x, float(b))


@composite
@in_single
def _sparse_plus(x: Tensor) -> Tensor:
    bend = (x + 1.0) * (x + 1.0) * 0.25
    return G.where(x <= -1.0, x * 0.0, G.where(x < 1.0, bend, x))


@operation
def sparse_plus(x: Tensor) -> Tensor:
    """0 up to -1, (x + 1)² / 4 up to 1, x above."""
    return _sparse_plus(x)


@composite
@in_single
def _sparse_sigmoid(x: Tensor) -> Tensor:
    return G.clamp((x + 1.0) * 0.5, 0.0, 1.0)


@operation
def sparse_sigmoid(x: Tensor) -> Tensor:
    """(x + 1) / 2, held between 0 and 1."""
    return _sparse_sigmoid(x)


@operation
def sparsemax(x: Tensor, axis: int = -1) -> Tensor:
    """The nearest point of the simplex along an axis (Martins and Astudillo 2016)."""
    z = G.swapaxes(x, axis, -1)
    n = z.shape[-1]
    ordered = sort(z, -1, True).values
    places = G.arange(1, n + 1).to(z.dtype)
    total = cumsum(ordered, -1)
    inside = (ordered * places + 1.0 > total).to(z.dtype)
    count = inside.sum(-1, keepdim=True)
    border = ((ordered * inside).sum(-1, keepdim=True) - 1.0) / count
    return G.swapaxes(G.clamp(z - border, min=0.0), axis, -1)


_ALL: list[Activation] = [
    celu, elu, exponential, gelu, glu, hard_shrink, hard_sigmoid, hard_silu, hard_tanh, leaky_relu, linear, log_sigmoid,
    log_softmax, mish, relu, relu6, selu, sigmoid, silu, soft_shrink, softmax, softplus, softsign, sparse_plus,
    sparse_sigmoid, sparsemax, squareplus, tanh, tanh_shrink, threshold,
]  # fmt: skip
_TABLE: dict[str, Activation] = {fn.__name__: fn for fn in _ALL} | {"swish": silu, "hard_swish": hard_silu}
_OURS = frozenset(_TABLE.values())


def is_ours(activation: Activation) -> bool:
    """Whether a function is one of this module, and so depends on its argument alone."""
    return activation in _OURS


def get(identifier: Any) -> Activation:
    """The function of a name or a configuration; None is :func:`linear`; a callable is itself."""
    if identifier is None:
        return linear
    if callable(identifier):
        return identifier
    found = from_identifier("activation", identifier, _TABLE)
    if not callable(found):
        raise TypeError(f"activation={identifier!r} is no function")
    return found() if isinstance(found, type) else found


def serialize(activation: Activation) -> Any:
    """The name of one of ours, the configuration of any other."""
    if activation in _OURS:
        return activation.__name__
    return identifier_of(activation)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Activation:
    """The function that :func:`serialize` wrote."""
    if config is None or callable(config):
        return get(config)
    return from_identifier("activation", config, _TABLE, custom_objects)


def name_of(activation: Activation) -> str:
    """What a function is called in summaries."""
    return getattr(activation, "__name__", type(activation).__name__)
