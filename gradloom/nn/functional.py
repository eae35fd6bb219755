"""`torch.nn.functional` under the same names: activations, losses, and the functions behind the layers."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.activations import hardshrink, prelu
from gradloom.functions.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from gradloom.functions.distances import pairwise_distance, pdist
from gradloom.functions.einsum import bilinear
from gradloom.functions.images import channel_shuffle, pixel_shuffle, pixel_unshuffle
from gradloom.nn.activation_functions import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    relu,
    relu6,
    relu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
    threshold_,
)
from gradloom.nn.checks import linear_shapes
from gradloom.nn.embedding_functions import embedding, embedding_bag, one_hot
from gradloom.nn.folding_functions import fold, unfold
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
from gradloom.nn.noise_functions import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    gumbel_softmax,
    rrelu,
    rrelu_,
)

# functions that PyTorch has at the top only: gradloom finds them here
from gradloom.nn.noise_functions import alpha_dropout_ as alpha_dropout_
from gradloom.nn.noise_functions import dropout_ as dropout_
from gradloom.nn.noise_functions import feature_alpha_dropout_ as feature_alpha_dropout_
from gradloom.nn.noise_functions import feature_dropout as feature_dropout
from gradloom.nn.noise_functions import feature_dropout_ as feature_dropout_
from gradloom.nn.padding_functions import pad
from gradloom.nn.similarity import cosine_similarity, normalize
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = [
    "alpha_dropout",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "celu_",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "elu_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "unfold",
]


@composite
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input·weightᵀ + bias; input (..., in), weight (out, in), bias (out,), result (..., out)."""
    linear_shapes(input, weight, bias)
    return G.linear(input, weight, bias)


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
