"""Hinge losses: nothing to pay beyond a margin. At the margin itself derivatives are those that PyTorch takes."""

from __future__ import annotations

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions import arange
from gradloom.functions.scans import cumprod
from gradloom.nn.activation_functions import logsigmoid
from gradloom.nn.checks import same_shape
from gradloom.nn.losses.common import chosen, reduced
from gradloom.tape import composite
from gradloom.tensor import Tensor


@composite
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`input`, a distance, where target is 1; max(0, margin - input) where it is -1."""
    reduction = chosen(reduction, size_average, reduce)
    apart = G.where(target != 1, G.clamp(margin - input, 0), 0)
    return reduced(apart + G.where(target != -1, input, 0), reduction)


@composite
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target·(input1 - input2)): target 1 wants input1 ranked higher, -1 input2."""
    reduction = chosen(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            f"margin_ranking_loss: shapes {tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)} "
            "differ in rank",
            code="shape.loss",
            hint="inputs and target have equally many axes",
        )
    return reduced(G.clamp(margin - target * (input1 - input2), 0), reduction)


@composite
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + e^(-target·input)), targets 1 and -1, without overflow."""
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "soft_margin_loss")
    return reduced(-logsigmoid(target * input), reduction)


@composite
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum over the other classes i of max(0, margin - x[y] + x[i])^p / C (Crammer and Singer 2001).

    Parameters
    ----------
    input : Tensor of shape (N, C) or (C,)
    target : labels of shape (N,) or ()
    p : 1 or 2
    weight : Tensor of shape (C,), optional
        A factor for the label's class.
    """
    reduction = chosen(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p is 1 or 2, not {p}")
    flat = input if input.ndim == 2 else G.reshape(input, (1, max(input.numel(), 1)))
    rows, classes = flat.shape
    if input.ndim > 2 or target.numel() != rows or target.ndim > 1:
        raise ShapeError(
            f"multi_margin_loss: input {tuple(input.shape)} and target {tuple(target.shape)} do not fit",
            code="shape.loss",
            hint="scores (N, C) with labels (N,), or (C,) with one label",
        )
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ShapeError(
            f"multi_margin_loss: weight has shape {tuple(weight.shape)}, there are {classes} classes",
            code="shape.loss",
            hint="weight has one entry for each class",
        )
    G.check_labels(target, classes, None)
    chosen_class = G.reshape(arange(classes), (1, classes)) == G.reshape(target, (rows, 1))
    own = G.sum(G.where(chosen_class, flat, 0.0), dim=1, keepdim=True)
    short = G.relu(margin - own + flat)
    cost = short if p == 1 else short * short
    if weight is not None:
        cost = cost * G.sum(G.where(chosen_class, G.reshape(weight, (1, classes)), 0.0), dim=1, keepdim=True)
    loss = G.sum(G.where(chosen_class, 0.0, cost), dim=1) / float(classes)
    return reduced(loss if target.ndim else G.reshape(loss, ()), reduction)


@composite
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum over labels y and other classes i of max(0, 1 - (x[y] - x[i])) / C.

    `target` has the shape of `input`, (N, C) or (C,): the labels of a row, ended by the first -1.
    """
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "multilabel_margin_loss")
    if input.ndim > 2:
        raise ShapeError(
            f"multilabel_margin_loss: input has shape {tuple(input.shape)}", code="shape.loss", hint="(N, C) or (C,)"
        )
    classes = input.shape[-1] if input.ndim else 1
    rows = input.shape[0] if input.ndim == 2 else 1
    x, labels = G.reshape(input, (rows, classes)), G.reshape(target, (rows, classes))
    G.check_range(labels, -1, classes, "label", "index.label")
    named = cumprod(G.cast(labels >= 0, "int64"), 1) > 0
    # (rows, position in the list, class)
    hits = G.logical_and(G.unsqueeze(labels, 2) == arange(classes), G.unsqueeze(named, 2))
    own = G.sum(G.where(hits, G.unsqueeze(x, 1), 0.0), dim=2)
    other = G.logical_not(G.any(hits, dim=1))
    short = G.relu(1.0 - G.unsqueeze(own, 2) + G.unsqueeze(x, 1))
    counted = G.logical_and(G.unsqueeze(named, 2), G.unsqueeze(other, 1))
    loss = G.sum(G.where(counted, short, 0.0), dim=(1, 2)) / float(classes)
    return reduced(loss if input.ndim == 2 else G.reshape(loss, ()), reduction)


@composite
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over the classes (last axis) of the binary cross entropy with logits; `weight` has a factor for each."""
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "multilabel_soft_margin_loss")
    rows = -(target * logsigmoid(input) + (1.0 - target) * logsigmoid(-input))
    if weight is not None:
        rows = rows * weight
    return reduced(G.mean(rows, dim=-1) if rows.ndim else rows, reduction)
