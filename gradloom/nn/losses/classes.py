"""Losses of class labels: cross entropy, negative log-likelihood, and cross entropy of a linear layer's scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gradloom import functions as G
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions import arange
from gradloom.functions.contraction import linear
from gradloom.nn.losses.common import chosen, reduced
from gradloom.tape import composite
from gradloom.tensor import Tensor


def _class_axis(input: Tensor, name: str) -> int:
    if input.ndim == 0:
        raise ShapeError(f"{name}: input has no axes", code="shape.loss", hint="pass scores of shape (N, classes)")
    return 0 if input.ndim == 1 else 1


def _check_labels(input: Tensor, target: Tensor, axis: int, ignore_index: int, name: str) -> None:
    shape, wanted = tuple(target.shape), tuple(input.shape[:axis]) + tuple(input.shape[axis + 1 :])
    if target.dtype.is_floating or target.dtype.name == "bool":
        raise DTypeError(
            f"{name}: target of dtype {target.dtype.name} and shape {shape} beside input of shape {tuple(input.shape)}",
            code="dtype.target",
            hint="labels are integers: target.long(); probabilities have the shape of the input",
        )
    if shape != wanted:
        if shape == (*wanted, 1):
            hint = "the target has an axis of length 1 at the end: target.squeeze(-1)"
        elif shape == tuple(input.shape):
            hint = "one-hot targets must be floating (target.float()), or be turned into labels by target.argmax(1)"
        else:
            hint = f"there are {input.shape[axis]} classes on axis {axis}; labels have one entry for each other place"
        raise ShapeError(
            f"{name}: input of shape {tuple(input.shape)} needs labels of shape {wanted}, target has {shape}",
            code="shape.loss",
            hint=hint,
        )
    G.check_labels(target, input.shape[axis], ignore_index)


def _check_weight(weight: Tensor | None, classes: int, name: str) -> None:
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ShapeError(
            f"{name}: weight has shape {tuple(weight.shape)}, there are {classes} classes",
            code="shape.loss",
            hint="weight has one entry for each class",
        )


def _along(values: Tensor, axis: int, ndim: int) -> Tensor:
    """A vector laid along one axis of `ndim`."""
    return G.reshape(values, tuple(values.shape[0] if i == axis else 1 for i in range(ndim)))


def _picked(log_like: Tensor, target: Tensor, axis: int, weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The entry at each label, and its class weight; compare and sum fuse into the row, a gather would not."""
    ndim, classes = log_like.ndim, log_like.shape[axis]
    chosen = _along(arange(classes), axis, ndim) == target.unsqueeze(axis)
    entry = G.sum(G.where(chosen, log_like, 0.0), dim=axis)
    if weight is None:
        return entry, None
    return entry, G.sum(G.where(chosen, _along(weight, axis, ndim), 0.0), dim=axis)


def _label_loss(
    rows: Tensor,
    smooth: Tensor | None,
    scale: Tensor | None,
    target: Tensor,
    ignore_index: int,
    reduction: str,
    eps: float,
) -> Tensor:
    """Weigh, mask and reduce the rows' losses. `scale`: the class weights at the labels; `smooth`: the uniform part."""
    unsigned = target.dtype.name.startswith("uint") and ignore_index < 0
    valid = None if unsigned else target != ignore_index
    if scale is not None:
        rows = rows * scale
    if valid is not None:
        rows = G.where(valid, rows, 0.0)
        if smooth is not None:
            smooth = G.where(valid, smooth, 0.0)
    total = rows if smooth is None else rows * (1.0 - eps) + smooth * eps
    if reduction == "none":
        return total
    if reduction == "sum":
        return total.sum()
    if scale is not None:
        return total.sum() / (scale if valid is None else G.where(valid, scale, 0.0)).sum()
    if valid is None:
        return total.mean()
    return total.sum() / G.cast(valid, rows.dtype).sum()


@composite
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy between scores and labels or class probabilities.

    Parameters
    ----------
    input : Tensor of shape (C,), (N, C) or (N, C, ...)
        Scores before softmax; floating.
    target : Tensor
        Labels: integers in [0, C), the shape of `input` without its class axis. Or probabilities: floating, the shape
        of `input`.
    weight : Tensor of shape (C,), optional
        A factor for each class; the mean divides by the sum of the factors at the labels.
    ignore_index : int
        Rows with this label count neither in the loss nor in the mean.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float in [0, 1]
        The share of the target that is spread evenly over the classes (Szegedy et al. 2015).

    Raises
    ------
    IndexRangeError
        When the program runs: a label outside of [0, C) that is not `ignore_index`. Names sample, value and range.
    ShapeError, DTypeError
        Where shapes or dtypes do not fit.
    """
    reduction = chosen(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    axis = _class_axis(input, "cross_entropy")
    classes = input.shape[axis]
    _check_weight(weight, classes, "cross_entropy")
    probabilities = target.dtype.is_floating and tuple(target.shape) == tuple(input.shape)
    if probabilities and ignore_index >= 0:
        raise ArgumentError(f"ignore_index is not supported for a floating point target, got {ignore_index}")
    if not probabilities:
        _check_labels(input, target, axis, ignore_index, "cross_entropy")
    shifted = input - G.amax(input, dim=axis, keepdim=True).detach() if classes else input
    lse = G.log(G.sum(G.exp(shifted), dim=axis, keepdim=probabilities or label_smoothing > 0.0))
    if probabilities:
        log_p = shifted - lse
        goal = target * (1.0 - label_smoothing) + label_smoothing / classes if label_smoothing > 0.0 else target
        terms = goal * log_p if weight is None else goal * log_p * _along(weight, axis, input.ndim)
        rows = -G.sum(terms, dim=axis)
        return reduced(rows, reduction)
    if label_smoothing > 0.0:
        log_p = shifted - lse
        entry, scale = _picked(log_p, target, axis, weight)
        weighted = log_p if weight is None else log_p * _along(weight, axis, input.ndim)
        smooth = G.sum(weighted, dim=axis) * (-1.0 / classes)
        return _label_loss(-entry, smooth, scale, target, ignore_index, reduction, label_smoothing)
    entry, scale = _picked(shifted, target, axis, weight)
    return _label_loss(lse - entry, None, scale, target, ignore_index, reduction, 0.0)


@composite
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the entry of `input` (log-probabilities, class axis 1) at each label; see `cross_entropy`."""
    reduction = chosen(reduction, size_average, reduce)
    axis = _class_axis(input, "nll_loss")
    _check_weight(weight, input.shape[axis], "nll_loss")
    _check_labels(input, target, axis, ignore_index, "nll_loss")
    entry, scale = _picked(input, target, axis, weight)
    return _label_loss(-entry, None, scale, target, ignore_index, reduction, 0.0)


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts the batch: `batch_chunk_size` rows of scores at a time.

    The other options of PyTorch say in which precision and how often buffers may be read; here sums are always exact
    to the dtype and graphs may be kept, so they change nothing.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """`cross_entropy` of the scores input·linear_weightᵀ + linear_bias.

    Parameters
    ----------
    input : Tensor of shape (in,) or (N, in)
    linear_weight : Tensor of shape (C, in), or (C, d1, ..., in) for K-dimensional targets (N, d1, ...)
    target : Tensor
        Labels or probabilities, as `cross_entropy` takes them.
    linear_bias : Tensor of shape (C,) or (C, d1, ...), optional
    weight, reduction, ignore_index, label_smoothing : as for `cross_entropy`
        ignore_index is for labels only.
    options : LinearCrossEntropyOptions, optional
        Rows of scores that are computed at a time; the value is the same.
    """
    classes, rest, width = linear_weight.shape[0], tuple(linear_weight.shape[1:-1]), linear_weight.shape[-1]
    if rest and input.ndim == 1:
        raise ShapeError(
            f"linear_cross_entropy: linear_weight {tuple(linear_weight.shape)} needs input of shape (N, {width})",
            code="shape.loss",
            hint="input.unsqueeze(0)",
        )
    scores_shape = (*input.shape[:-1], classes, *rest)
    if ignore_index is not None and tuple(target.shape) == scores_shape:
        raise ValueError("ignore_index is for labels; target holds probabilities")
    skip = -100 if ignore_index is None else ignore_index
    bias = linear_bias
    if rest:
        linear_weight = G.reshape(linear_weight, (classes * math.prod(rest), width))
        bias = None if bias is None else G.reshape(bias, (classes * math.prod(rest),))
    rows = input.shape[0] if input.ndim > 1 else 1
    size = getattr(options, "batch_chunk_size", None) or rows
    if size >= rows or rest or tuple(target.shape) == scores_shape or label_smoothing:
        scores = G.reshape(linear(input, linear_weight, bias), scores_shape)
        return cross_entropy(
            scores, target, weight, ignore_index=skip, reduction=reduction, label_smoothing=label_smoothing
        )
    parts, factors = [], []
    for start in range(0, rows, size):
        count = min(size, rows - start)
        labels = G.narrow(target, 0, start, count)
        scores = linear(G.narrow(input, 0, start, count), linear_weight, bias)
        parts.append(cross_entropy(scores, labels, weight, ignore_index=skip, reduction="none"))
        valid = labels != skip
        if weight is None:
            factors.append(G.cast(valid, scores.dtype))
        else:
            factors.append(G.where(valid, G.take(weight, G.where(valid, labels, 0)), 0.0))
    loss = G.cat(parts, 0)
    if reduction == "mean":
        return loss.sum() / G.cat(factors, 0).sum()
    return reduced(loss, chosen(reduction))
