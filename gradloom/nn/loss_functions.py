"""Loss functions of `nn.functional`.

`reduction` is "mean", "sum" or "none" everywhere. A target must have the shape that the loss asks for: nothing is
broadcast, because a target of shape (N, 1) beside an input of shape (N,) would silently give N×N differences.
"""

from __future__ import annotations

from gradloom import functions as G
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions import arange
from gradloom.nn.activation_functions import logsigmoid
from gradloom.nn.checks import reduction_name, same_shape
from gradloom.tape import composite
from gradloom.tensor import Tensor


def _reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return rows
    return rows.sum() if reduction == "sum" else rows.mean()


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
    ignore_index: int = -100,
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
    reduction_name(reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing lies between 0 and 1, got {label_smoothing}")
    axis = _class_axis(input, "cross_entropy")
    classes = input.shape[axis]
    _check_weight(weight, classes, "cross_entropy")
    probabilities = target.dtype.is_floating and tuple(target.shape) == tuple(input.shape)
    if not probabilities:
        _check_labels(input, target, axis, ignore_index, "cross_entropy")
    shifted = input - G.amax(input, dim=axis, keepdim=True).detach()
    lse = G.log(G.sum(G.exp(shifted), dim=axis, keepdim=probabilities or label_smoothing > 0.0))
    if probabilities:
        log_p = shifted - lse
        goal = target * (1.0 - label_smoothing) + label_smoothing / classes if label_smoothing > 0.0 else target
        terms = goal * log_p if weight is None else goal * log_p * _along(weight, axis, input.ndim)
        rows = -G.sum(terms, dim=axis)
        return rows if reduction == "none" else _reduce(rows, reduction)
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
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Minus the entry of `input` (log-probabilities, class axis 1) at each label; see `cross_entropy`."""
    reduction_name(reduction)
    axis = _class_axis(input, "nll_loss")
    _check_weight(weight, input.shape[axis], "nll_loss")
    _check_labels(input, target, axis, ignore_index, "nll_loss")
    entry, scale = _picked(input, target, axis, weight)
    return _label_loss(-entry, None, scale, target, ignore_index, reduction, 0.0)


@composite
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)²."""
    reduction_name(reduction)
    same_shape(input, target, "mse_loss")
    difference = input - target
    return _reduce(difference * difference, reduction)


@composite
def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    reduction_name(reduction)
    same_shape(input, target, "l1_loss")
    return _reduce(G.abs(input - target), reduction)


@composite
def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d²/(2·beta) where d = |input - target| < beta, else d - beta/2."""
    reduction_name(reduction)
    same_shape(input, target, "smooth_l1_loss")
    if beta < 0:
        raise ValueError(f"beta must not be negative, got {beta}")
    d = G.abs(input - target)
    return _reduce(d if beta == 0 else G.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta), reduction)


@composite
def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d²/2 where d = |input - target| ≤ delta, else delta·(d - delta/2) (Huber 1964)."""
    reduction_name(reduction)
    same_shape(input, target, "huber_loss")
    if delta <= 0:
        raise ValueError(f"delta must be positive, got {delta}")
    d = G.abs(input - target)
    return _reduce(G.where(d <= delta, d * d * 0.5, (d - 0.5 * delta) * delta), reduction)


def _bounded_log(x: Tensor) -> Tensor:
    """max(log x, -100), as PyTorch bounds it; the gradient at x = 0 is 0, not an infinity times 0."""
    safe = G.where(x > 0, x, 1.0)
    return G.where(x > 0, G.maximum(G.log(safe), -100.0), -100.0)


@composite
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(t·log p + (1 - t)·log(1 - p)) for probabilities `input`; logarithms are held above -100."""
    reduction_name(reduction)
    same_shape(input, target, "binary_cross_entropy")
    rows = -(target * _bounded_log(input) + (1.0 - target) * _bounded_log(1.0 - input))
    return _reduce(rows if weight is None else rows * weight, reduction)


@composite
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(input), without overflow; `pos_weight` multiplies the part of the positives."""
    reduction_name(reduction)
    same_shape(input, target, "binary_cross_entropy_with_logits")
    log_p = logsigmoid(input)
    if pos_weight is None:
        rows = (1.0 - target) * input - log_p
    else:
        rows = (1.0 - target) * input - ((pos_weight - 1.0) * target + 1.0) * log_p
    return _reduce(rows if weight is None else rows * weight, reduction)


@composite
def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Kullback-Leibler divergence, t·(log t - input), for log-probabilities `input`; reduction also "batchmean"."""
    reduction_name(reduction, ("batchmean",))
    same_shape(input, target, "kl_div")
    if log_target:
        rows = G.exp(target) * (target - input)
    else:
        positive = target > 0
        rows = G.where(positive, target * G.log(G.where(positive, target, 1.0)), 0.0) - target * input
    if reduction == "batchmean":
        return rows.sum() / float(input.shape[0] if input.ndim else 1)
    return _reduce(rows, reduction)
