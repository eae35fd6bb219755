"""`torch.nn.functional` under the same names: activations, losses, and the functions behind the layers."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.distances import pairwise_distance, pdist
from gradloom.nn.activation_functions import (
    elu,
    gelu,
    glu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from gradloom.nn.checks import linear_shapes
from gradloom.nn.embedding_functions import embedding, embedding_bag, one_hot
from gradloom.nn.loss_functions import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "embedding_bag",
    "gelu",
    "glu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pairwise_distance",
    "pdist",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
    "softplus",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]


@composite
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input·weightᵀ + bias; input (..., in), weight (out, in), bias (out,), result (..., out)."""
    linear_shapes(input, weight, bias)
    return G.linear(input, weight, bias)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each entry with probability p and divide the others by 1 - p (Srivastava et al. 2014)."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability lies between 0 and 1, got {p}")
    if not training or p == 0.0:
        return input
    result = G.dropout(input, p, training)
    return input.copy_(result) if inplace else result


@composite
def _layer_norm(input: Tensor, axes: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    centred = input - G.mean(input, dim=axes, keepdim=True)
    variance = G.mean(centred * centred, dim=axes, keepdim=True)
    result = centred * G.rsqrt(variance + eps)
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Subtract the mean and divide by the standard deviation over the last axes (Ba et al. 2016).

    `normalized_shape` says how many last axes and how long they are; weight and bias have that shape.
    """
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    shape = tuple(input.shape)
    if not wanted or shape[-len(wanted) :] != wanted:
        raise ShapeError(
            f"layer_norm: input of shape {shape} does not end in {wanted}",
            code="shape.layer_norm",
            hint="normalized_shape is the length of the last axis, or of the last axes",
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != wanted:
            raise ShapeError(
                f"layer_norm: {name} has shape {tuple(value.shape)}, normalized_shape is {wanted}",
                code="shape.layer_norm",
                hint="weight and bias have the normalized shape",
            )
    return _layer_norm(input, tuple(range(len(shape) - len(wanted), len(shape))), weight, bias, eps)


@composite
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide by the p-norm along `dim`, which is held above eps."""
    if p == 2.0:
        norm = G.sqrt(G.sum(input * input, dim=dim, keepdim=True))
    elif p == 1.0:
        norm = G.sum(G.abs(input), dim=dim, keepdim=True)
    elif p == float("inf"):
        norm = G.amax(G.abs(input), dim=dim, keepdim=True)
    else:
        norm = G.pow(G.sum(G.pow(G.abs(input), p), dim=dim, keepdim=True), 1.0 / p)
    return input / G.maximum(norm, eps)


@composite
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1·x2 / (|x1|·|x2|) along `dim`; each norm is held above eps."""
    norms = [G.maximum(G.sqrt(G.sum(x * x, dim=dim, keepdim=True)), eps) for x in (x1, x2)]
    return G.sum((x1 / norms[0]) * (x2 / norms[1]), dim=dim)
