"""Losses of overlap: regions (Dice, Tversky), boxes (the IoU family), and the focal loss of their detectors."""

from __future__ import annotations

import math

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.nn.checks import same_shape
from gradloom.nn.losses.common import chosen, floating, reduced
from gradloom.nn.losses.densities import binary_cross_entropy_with_logits
from gradloom.tape import composite
from gradloom.tensor import Tensor


@composite
def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """Binary cross entropy with logits times α_t·(1 - p_t)^γ (Lin et al. 2017); a negative alpha leaves α_t out.

    Names and defaults are those of `torchvision.ops.sigmoid_focal_loss`; reduction defaults to "none".
    """
    reduction = chosen(reduction)
    same_shape(inputs, targets, "sigmoid_focal_loss")
    entropy = binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p = G.sigmoid(inputs)
    missed = p * (1.0 - targets) + (1.0 - p) * targets
    factor = missed * missed if gamma == 2 else G.pow(missed, gamma)
    loss = entropy * factor
    if alpha >= 0:
        loss = loss * (alpha * targets + (1.0 - alpha) * (1.0 - targets))
    return reduced(loss, reduction)


@composite
def tversky_loss(
    input: Tensor,
    target: Tensor,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """(1 - (TP + s)/(TP + alpha·FP + beta·FN + s))^gamma for each sample and class (Salehi et al. 2017).

    Parameters
    ----------
    input : Tensor of shape (N, C, ...)
        Probabilities, after sigmoid or softmax.
    target : Tensor of the same shape
        Zeros and ones, or shares.
    alpha, beta : float
        Weights of false positives and false negatives; both 1/2 give the Dice loss.
    smooth : float
        Added above and below, so that an absent class that is not predicted costs nothing.
    gamma : float
        The focal exponent (Abraham and Khan 2019).
    reduction : {"mean", "sum", "none"}
        "none" gives (N, C).
    """
    reduction = chosen(reduction)
    same_shape(input, target, "tversky_loss")
    if input.ndim < 2:
        raise ShapeError(
            f"tversky_loss: input has shape {tuple(input.shape)}", code="shape.loss", hint="(N, C, ...): unsqueeze it"
        )
    t = G.cast(target, input.dtype)
    axes = tuple(range(2, input.ndim))

    def total(x: Tensor) -> Tensor:
        return G.sum(x, dim=axes) if axes else x

    hit, false, missed = total(input * t), total(input * (1.0 - t)), total((1.0 - input) * t)
    loss = 1.0 - (hit + smooth) / (hit + alpha * false + beta * missed + smooth)
    return reduced(loss if gamma == 1.0 else G.pow(loss, gamma), reduction)


def dice_loss(input: Tensor, target: Tensor, smooth: float = 1.0, reduction: str = "mean") -> Tensor:
    """1 - (2·|A∩B| + s)/(|A| + |B| + s) for each sample and class (Milletari et al. 2016).

    input : probabilities (N, C, ...); target : the same shape. `smooth` is s.
    """
    # the Tversky index has half of both above and below
    return tversky_loss(input, target, 0.5, 0.5, smooth / 2.0, 1.0, reduction)


def _edges(boxes: Tensor, name: str) -> tuple[Tensor, ...]:
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ShapeError(
            f"{name}: boxes of shape {tuple(boxes.shape)}",
            code="shape.boxes",
            hint="boxes: (..., 4), x1, y1, x2, y2",
        )
    x = floating(boxes)
    return tuple(G.squeeze(G.narrow(x, -1, k, 1), -1) for k in range(4))


def _overlap(boxes1: Tensor, boxes2: Tensor, name: str) -> tuple[Tensor, Tensor, tuple[Tensor, ...], tuple]:
    """Areas of intersection and union, the edges of the smallest box around both, and both boxes' edges."""
    same_shape(boxes1, boxes2, name)
    a, b = _edges(boxes1, name), _edges(boxes2, name)
    left, top = G.maximum(a[0], b[0]), G.maximum(a[1], b[1])
    right, bottom = G.minimum(a[2], b[2]), G.minimum(a[3], b[3])
    meets = G.logical_and(bottom > top, right > left)
    common = G.where(meets, (right - left) * (bottom - top), 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    around = (G.minimum(a[0], b[0]), G.minimum(a[1], b[1]), G.maximum(a[2], b[2]), G.maximum(a[3], b[3]))
    return common, union, around, (a, b)


@composite
def box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU of pairs of boxes (..., 4) given by corners x1, y1, x2, y2."""
    common, union, _, _ = _overlap(boxes1, boxes2, "box_iou_loss")
    return reduced(1.0 - common / (union + eps), chosen(reduction))


@composite
def generalized_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + the share of the smallest box around both that neither covers (Rezatofighi et al. 2019)."""
    common, union, (left, top, right, bottom), _ = _overlap(boxes1, boxes2, "generalized_box_iou_loss")
    area = (right - left) * (bottom - top)
    return reduced(1.0 - (common / (union + eps) - (area - union) / (area + eps)), chosen(reduction))


def _distance_part(around: tuple[Tensor, ...], boxes: tuple, eps: float) -> Tensor:
    """The squared distance of the centres as a share of the squared diagonal around both boxes."""
    a, b = boxes
    width, height = around[2] - around[0], around[3] - around[1]
    dx, dy = (a[0] + a[2] - b[0] - b[2]) * 0.5, (a[1] + a[3] - b[1] - b[3]) * 0.5
    return (dx * dx + dy * dy) / (width * width + height * height + eps)


@composite
def distance_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + the squared distance of the centres over the squared diagonal around both (Zheng et al. 2020)."""
    common, union, around, boxes = _overlap(boxes1, boxes2, "distance_box_iou_loss")
    return reduced(1.0 - common / (union + eps) + _distance_part(around, boxes, eps), chosen(reduction))


@composite
def complete_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """`distance_box_iou_loss` plus α·v, v the squared difference of the aspect angles (Zheng et al. 2020).

    α = v/(1 - IoU + v) is taken as a constant in the derivative.
    """
    common, union, around, boxes = _overlap(boxes1, boxes2, "complete_box_iou_loss")
    iou = common / (union + eps)
    a, b = boxes
    angle = G.atan((b[2] - b[0]) / (b[3] - b[1])) - G.atan((a[2] - a[0]) / (a[3] - a[1]))
    v = angle * angle * (4.0 / math.pi**2)
    share = (v / (1.0 - iou + v + eps)).detach()
    return reduced(1.0 - iou + _distance_part(around, boxes, eps) + share * v, chosen(reduction))
