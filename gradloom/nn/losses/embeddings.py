"""Losses that draw embeddings of equals together and push others apart."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions import arange
from gradloom.functions.distances import pairwise_distance
from gradloom.nn.losses.classes import cross_entropy
from gradloom.nn.losses.common import chosen, floating, reduced
from gradloom.nn.similarity import normalize
from gradloom.tape import composite
from gradloom.tensor import Tensor

_EPS = 1e-12  # beneath the root in cosine_embedding_loss, as PyTorch has it


@composite
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1; inputs (N, D) or (D,), target (N,) or ()."""
    reduction = chosen(reduction, size_average, reduce)
    if target.ndim > 1 or not input1.ndim == input2.ndim == target.ndim + 1:
        raise ShapeError(
            f"cosine_embedding_loss: inputs {tuple(input1.shape)} and {tuple(input2.shape)} with target "
            f"{tuple(target.shape)}",
            code="shape.loss",
            hint="vectors (N, D) with targets (N,), or (D,) with one target",
        )
    dim = target.ndim
    input1, input2 = floating(input1), floating(input2)
    product = G.sum(input1 * input2, dim=dim)
    square1, square2 = G.sum(input1 * input1, dim=dim) + _EPS, G.sum(input2 * input2, dim=dim) + _EPS
    cosine = product / G.sqrt(square1 * square2)
    same = G.where(target == 1, 1.0 - cosine, 0.0)
    return reduced(same + G.where(target == -1, G.clamp(cosine - margin, 0.0), 0.0), reduction)


def _triplets(positive: Tensor, negative: Tensor, swapped: Tensor | None, margin: float, reduction: str) -> Tensor:
    nearest = negative if swapped is None else G.minimum(negative, swapped)
    return reduced(G.clamp(margin + positive - nearest, 0.0), reduction)


@composite
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) with the p-norm along the last axis.

    `swap` takes the nearer of d(anchor, negative) and d(positive, negative) (Balntas et al. 2016).
    """
    reduction = chosen(reduction, size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"triplet_margin_loss: shapes {tuple(anchor.shape)}, {tuple(positive.shape)} and "
            f"{tuple(negative.shape)} differ in rank",
            code="shape.loss",
            hint="anchor, positive and negative have equally many axes",
        )
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    return _triplets(near, far, pairwise_distance(positive, negative, p, eps) if swap else None, margin, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance of two tensors; without one, the Euclidean of the last axis."""
    chosen(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"triplet_margin_with_distance_loss: shapes {tuple(anchor.shape)}, {tuple(positive.shape)} and "
            f"{tuple(negative.shape)} differ in rank",
            code="shape.loss",
            hint="anchor, positive and negative have equally many axes",
        )
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    return _triplets(near, far, distance(positive, negative) if swap else None, float(margin), reduction)


@composite
def contrastive_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 1.0, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """target·d² + (1 - target)·max(0, margin - d)², d the distance of the pair (Hadsell et al. 2006).

    Parameters
    ----------
    input1, input2 : Tensor of shape (..., D)
    target : Tensor of shape (...)
        1 for pairs of equals, 0 for others.
    """
    reduction = chosen(reduction)
    d = pairwise_distance(input1, input2, 2.0, eps)
    if tuple(target.shape) != tuple(d.shape):
        raise ShapeError(
            f"contrastive_loss: pairs of shape {tuple(d.shape)}, target has {tuple(target.shape)}",
            code="shape.loss",
            hint="target has one entry for each pair",
        )
    short = G.clamp(margin - d, 0.0)
    return reduced(target * d * d + (1.0 - target) * short * short, reduction)


@composite
def nt_xent_loss(input1: Tensor, input2: Tensor, temperature: float = 0.5, reduction: str = "mean") -> Tensor:
    """Cross entropy of finding each embedding's partner among all others by cosine (SimCLR, Chen et al. 2020).

    Parameters
    ----------
    input1, input2 : Tensor of shape (N, D)
        Row i of both belongs to the same sample.
    temperature : float
        Cosines are divided by it.
    reduction : str
        "none" gives 2·N values: those of `input1`, then those of `input2`.
    """
    reduction = chosen(reduction)
    if input1.ndim != 2 or tuple(input1.shape) != tuple(input2.shape):
        raise ShapeError(
            f"nt_xent_loss: shapes {tuple(input1.shape)} and {tuple(input2.shape)}",
            code="shape.loss",
            hint="two views of one batch, both (N, D)",
        )
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    n = input1.shape[0]
    both = normalize(G.cat([input1, input2], 0), dim=1)
    cosine = G.matmul(both, G.swap_last(both)) / float(temperature)
    place = arange(2 * n)
    itself = G.reshape(place, (2 * n, 1)) == place
    partner = G.cat([place[n:], place[:n]], 0)
    return cross_entropy(G.where(itself, -math.inf, cosine), partner, reduction=reduction)


@composite
def arcface_loss(
    input: Tensor,
    weight: Tensor,
    target: Tensor,
    margin: float = 0.5,
    scale: float = 64.0,
    easy_margin: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy of scale·cos(θ), with `margin` added to the angle of the label's class (Deng et al. 2019).

    Parameters
    ----------
    input : Tensor of shape (N, D)
    weight : Tensor of shape (C, D)
        A direction for each class; both are brought to length 1.
    target : labels of shape (N,)
    easy_margin : bool
        Leave angles above 90° as they are. Otherwise the cosine falls in a line where θ + margin passes 180°.
    """
    reduction = chosen(reduction)
    cosine = G.matmul(normalize(input, dim=1), G.swap_last(normalize(weight, dim=1)))
    inside = G.clamp(1.0 - cosine * cosine, 1e-12)
    wider = cosine * math.cos(margin) - G.sqrt(inside) * math.sin(margin)
    if easy_margin:
        wider = G.where(cosine > 0.0, wider, cosine)
    else:
        wider = G.where(cosine > math.cos(math.pi - margin), wider, cosine - math.sin(math.pi - margin) * margin)
    own = arange(weight.shape[0]) == G.unsqueeze(target, 1)
    return cross_entropy(G.where(own, wider, cosine) * scale, target, reduction=reduction)
