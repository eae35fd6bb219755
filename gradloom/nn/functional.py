"""`torch.nn.functional` under the same names: activations, losses, and the functions behind the layers."""

from __future__ import annotations

from gradloom import functions as G
from gradloom.functions import with_out
from gradloom.functions.activations import hardshrink, prelu
from gradloom.functions.arguments import guarded, placed
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
from gradloom.functions.grids import (
    affine_grid,
    grid_sample,
)
from gradloom.functions.grids import affine_grid_generator as affine_grid_generator
from gradloom.functions.grids import grid_sampler as grid_sampler
from gradloom.functions.images import channel_shuffle, pixel_shuffle, pixel_unshuffle
from gradloom.functions.precision import heed
from gradloom.nn import adaptive_functions as _adaptive
from gradloom.nn import pooling_functions as _pooling
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
from gradloom.nn.adaptive_functions import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
)
from gradloom.nn.attention_functions import scaled_dot_product_attention
from gradloom.nn.attention_heads import multi_head_attention_forward
from gradloom.nn.checks import linear_shapes
from gradloom.nn.embedding_functions import embedding, embedding_bag, one_hot
from gradloom.nn.folding_functions import fold, unfold
from gradloom.nn.losses.classes import cross_entropy, linear_cross_entropy, nll_loss
from gradloom.nn.losses.ctc import ctc_loss
from gradloom.nn.losses.densities import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    kl_div,
    poisson_nll_loss,
)
from gradloom.nn.losses.differences import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from gradloom.nn.losses.embeddings import (
    arcface_loss,
    contrastive_loss,
    cosine_embedding_loss,
    nt_xent_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from gradloom.nn.losses.margins import (
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
)
from gradloom.nn.losses.overlap import (
    box_iou_loss,
    complete_box_iou_loss,
    dice_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
    tversky_loss,
)
from gradloom.nn.losses.sampled import sampled_softmax_loss
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
from gradloom.nn.norm_functions import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from gradloom.nn.padding_functions import pad
from gradloom.nn.pooling_functions import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from gradloom.nn.similarity import cosine_similarity, normalize
from gradloom.nn.upsampling_functions import (
    interpolate,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "affine_grid",
    "alpha_dropout",
    "arcface_loss",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "box_iou_loss",
    "celu",
    "celu_",
    "channel_shuffle",
    "complete_box_iou_loss",
    "contrastive_loss",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dice_loss",
    "distance_box_iou_loss",
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
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "gaussian_nll_loss",
    "gelu",
    "generalized_box_iou_loss",
    "glu",
    "grid_sample",
    "group_norm",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "linear_cross_entropy",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "mish",
    "mse_loss",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "nt_xent_loss",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "sampled_softmax_loss",
    "scaled_dot_product_attention",
    "selu",
    "selu_",
    "sigmoid",
    "sigmoid_focal_loss",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "tversky_loss",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]


@composite
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input·weightᵀ + bias; input (..., in), weight (out, in), bias (out,), result (..., out)."""
    linear_shapes(input, weight, bias)
    return G.linear(input, weight, bias)


# the functions that PyTorch lets write into ``out=``
WITH_OUT = frozenset("avg_pool2d avg_pool3d gelu hardshrink linear logsigmoid normalize softplus softshrink".split())
for _family in (_adaptive, _pooling):
    heed(_family.__name__.rpartition(".")[2], vars(_family))
heed("functional", globals())
for _name in __all__:  # errors of Python's innards become ones that name the argument
    _guard = with_out if _name in WITH_OUT else guarded
    globals()[_name] = placed(__name__, _name, _guard(globals()[_name]))
