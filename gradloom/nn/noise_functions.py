"""Functions of `nn.functional` that draw random numbers: the dropouts, the randomised ReLU, samples of categories."""

from __future__ import annotations

from gradloom import functions as G
from gradloom.dtypes import float32, float64
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.sampling import rand
from gradloom.tape import composite
from gradloom.tensor import Tensor

_ALPHA = -1.7580993408473766  # what SELU tends to far below 0


def _probability(p: float, name: str) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: probability lies between 0 and 1, got {p}")


def _kept(input: Tensor, p: float, channels: bool) -> Tensor:
    """1 where an entry, or a whole channel, is kept, else 0; in the dtype of the input."""
    shape = tuple(input.shape)
    mask = rand(shape[:2] + (1,) * (len(shape) - 2) if channels else shape)
    return G.cast(mask >= p, input.dtype)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each entry with probability p and divide the others by 1 - p (Srivastava et al. 2014)."""
    _probability(p, "dropout")
    if not training or p == 0.0:
        return input
    result = G.dropout(input, p, training)
    return input.copy_(result) if inplace else result


def _drop_channels(name: str, ranks: tuple[int, int], input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """Whole channels zeroed. ranks: of the input without and with a batch axis."""
    _probability(p, name)
    if input.ndim not in ranks:
        raise ShapeError(
            f"{name}: input has shape {tuple(input.shape)}, expected {ranks[0]} or {ranks[1]} dimensions",
            code="shape.dropout", hint="axes are (batch, channels, …), the batch may be missing; or use dropout",
        )  # fmt: skip
    if not training or p == 0.0:
        return input
    # PyTorch reads three axes of dropout2d as (batch, channels, length)
    batched = input if input.ndim == ranks[1] or name == "dropout2d" else G.unsqueeze(input, 0)
    result = batched * 0.0 if p == 1.0 else batched * (_kept(batched, p, True) * (1.0 / (1.0 - p)))
    result = G.reshape(result, tuple(input.shape))
    return input.copy_(result) if inplace else result


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, L) or (C, L) with probability p and divide the others by 1 - p."""
    return _drop_channels("dropout1d", (2, 3), input, p, training, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, H, W), or (N, C, L), with probability p and divide the others by 1 - p."""
    return _drop_channels("dropout2d", (3, 4), input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W) with probability p and divide the others by 1 - p."""
    return _drop_channels("dropout3d", (4, 5), input, p, training, inplace)


def feature_dropout(input: Tensor, p: float = 0.5, train: bool = True) -> Tensor:
    """Zero whole channels of (N, C, …) with probability p and divide the others by 1 - p."""
    return _drop_channels("feature_dropout", (max(input.ndim, 2), max(input.ndim, 2)), input, p, train, False)


def feature_dropout_(input: Tensor, p: float = 0.5, train: bool = True) -> Tensor:
    """:func:`feature_dropout` written into the input."""
    return _drop_channels("feature_dropout", (max(input.ndim, 2), max(input.ndim, 2)), input, p, train, True)


def dropout_(input: Tensor, p: float = 0.5, train: bool = True) -> Tensor:
    """:func:`dropout` written into the input."""
    return dropout(input, p, train, inplace=True)


def _alpha(name: str, input: Tensor, p: float, training: bool, inplace: bool, channels: bool) -> Tensor:
    _probability(p, name)
    if not training or p == 0.0:
        return input
    if not input.dtype.is_floating:
        raise DTypeError(f"{name}: dtype {input.dtype.name} is not supported", code="dtype.dropout")
    if channels and input.ndim < 2:
        raise ShapeError(
            f"{name}: input has shape {tuple(input.shape)}, expected (batch, channels, …)", code="shape.dropout"
        )
    if p == 1.0:
        result = input * 0.0
    else:
        scale = ((1.0 - p) * (1.0 + p * _ALPHA**2)) ** -0.5
        keep = _kept(input, p, channels)
        result = input * (keep * scale) + (keep * (-_ALPHA * scale) + (_ALPHA * scale - _ALPHA * scale * p))
    return input.copy_(result) if inplace else result


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Entries set to SELU's lower limit with probability p; mean 0 and variance 1 are kept (Klambauer et al. 2017)."""
    return _alpha("alpha_dropout", input, p, training, inplace, False)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """:func:`alpha_dropout` of whole channels of (N, C, …)."""
    return _alpha("feature_alpha_dropout", input, p, training, inplace, True)


def alpha_dropout_(input: Tensor, p: float = 0.5, train: bool = False) -> Tensor:
    """:func:`alpha_dropout` written into the input."""
    return alpha_dropout(input, p, train, inplace=True)


def feature_alpha_dropout_(input: Tensor, p: float = 0.5, train: bool = False) -> Tensor:
    """:func:`feature_alpha_dropout` written into the input."""
    return feature_alpha_dropout(input, p, train, inplace=True)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """X where x > 0, else slope·x; in training every slope is drawn from [lower, upper), else their mean is taken.

    Reference: Xu et al. 2015. Raises ValueError where lower > upper.
    """
    if lower > upper:
        raise ValueError(f"rrelu: lower must not be above upper, got {lower} and {upper}")
    slope = G.cast(rand(tuple(input.shape)), input.dtype) * (upper - lower) + lower if training else (lower + upper) / 2
    result = G.where(input > 0, input, input * slope)
    return input.copy_(result) if inplace else result


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """:func:`rrelu` written into the input."""
    return rrelu(input, lower, upper, training, inplace=True)


@composite
def _one_at(y: Tensor, dim: int) -> Tensor:
    """1 at the first largest entry along an axis, 0 elsewhere."""
    best = G.unsqueeze(G.argmax(y, dim), dim)
    places = G.reshape(G.arange(y.shape[dim]), tuple(-1 if k == dim % y.ndim else 1 for k in range(y.ndim)))
    return G.cast(G.eq(places, best), y.dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """Samples of a softened category (Jang et al. 2017): softmax((logits + Gumbel noise) / tau) along `dim`.

    `hard` gives one-hot samples whose derivative is that of the soft ones. `eps` has no effect, in PyTorch too.
    """
    wide = float64 if logits.dtype is float64 else float32
    exponential = -G.log1p(-rand(tuple(logits.shape), dtype=wide))
    noise = G.cast(-G.log(G.clamp(exponential, 1e-30)), logits.dtype)
    soft = G.softmax((logits + noise) / tau, dim)
    return _one_at(soft, dim) - soft.detach() + soft if hard else soft
