"""Losses that are minus the logarithm of a density: Bernoulli, Gauss, Poisson; and the Kullback-Leibler divergence."""

from __future__ import annotations

import math

from gradloom import functions as G
from gradloom.errors import DTypeError, ShapeError
from gradloom.nn.activation_functions import logsigmoid
from gradloom.nn.checks import same_shape
from gradloom.nn.losses.common import chosen, floating, reduced
from gradloom.tape import composite
from gradloom.tensor import Tensor


def _bounded_log(x: Tensor) -> Tensor:
    """max(log x, -100), as PyTorch bounds it; the gradient at x = 0 is 0, not an infinity times 0."""
    safe = G.where(x > 0, x, 1.0)
    return G.where(x > 0, G.maximum(G.log(safe), -100.0), -100.0)


@composite
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t·log p + (1 - t)·log(1 - p)) for probabilities `input`; logarithms are held above -100."""
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "binary_cross_entropy")
    rows = -(target * _bounded_log(input) + (1.0 - target) * _bounded_log(1.0 - input))
    return reduced(rows if weight is None else rows * weight, reduction)


@composite
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(input), without overflow; `pos_weight` multiplies the part of the positives."""
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "binary_cross_entropy_with_logits")
    log_p = logsigmoid(input)
    if pos_weight is None:
        rows = (1.0 - target) * input - log_p
    else:
        rows = (1.0 - target) * input - ((pos_weight - 1.0) * target + 1.0) * log_p
    return reduced(rows if weight is None else rows * weight, reduction)


@composite
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence, t·(log t - input), for log-probabilities `input`; reduction also "batchmean"."""
    reduction = chosen(reduction, size_average, reduce, ("batchmean",))
    same_shape(input, target, "kl_div")
    if log_target:
        rows = G.exp(target) * (target - input)
    else:
        positive = target > 0
        rows = G.where(positive, target * G.log(G.where(positive, target, 1.0)), 0.0) - target * input
    if reduction == "batchmean":
        return rows.sum() / float(input.shape[0] if input.ndim else 1)
    return reduced(rows, reduction)


@composite
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood of counts `target` at the rate e^input, or `input` itself (log_input=False).

    `full` adds Stirling's approximation of log(target!) where target > 1; `eps` keeps log(input + eps) finite.
    """
    reduction = chosen(reduction, size_average, reduce)
    rows = G.exp(input) - target * input if log_input else input - target * G.log(input + eps)
    if full:
        many = target > 1
        t = floating(G.where(many, target, 1))
        stirling = t * G.log(t) - t + 0.5 * G.log(t * (2.0 * math.pi))
        rows = rows + G.where(many, stirling, 0.0)
    return reduced(rows, reduction)


def _variance(input: Tensor, var: Tensor) -> Tensor:
    """The variance laid out so that it broadcasts: one for each entry, or one for each row."""
    shape, own = tuple(input.shape), tuple(var.shape)
    if own == shape:
        return var
    if own == shape[:-1]:
        return G.unsqueeze(var, -1)
    if len(own) == len(shape) and sum(n for n, m in zip(shape, own, strict=True) if n != m) >= 1:
        differing = [(n, m) for n, m in zip(shape, own, strict=True) if n != m]
        if len(differing) == 1 and differing[0][1] == 1:
            return var
    raise ShapeError(
        f"gaussian_nll_loss: var has shape {own}, input has {shape}",
        code="shape.loss",
        hint="var has the shape of the input, with at most one axis of length 1, or without its last axis",
    )


@composite
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log var + (input - target)²/var)/2, minus the log-density of a Gauss distribution (Nix and Weigend 1994).

    Parameters
    ----------
    input, target : Tensor
        Means and samples; they broadcast.
    var : Tensor or float
        Of the shape of `input`, or one for each row. It is held above `eps`, without a part in the derivative.
    full : bool
        Add log(2π)/2.

    Raises
    ------
    ValueError
        For a negative number as var. IndexRangeError, when the program runs, for a negative entry of a tensor.
    """
    reduction = chosen(reduction)
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError(f"gaussian_nll_loss: var must not be negative, got {var}")
        if input.dtype.category != 2:
            raise DTypeError(
                f"gaussian_nll_loss: input of dtype {input.dtype.name}", code="dtype.loss", hint="input.float()"
            )
        var = G.full_like(input, float(var))
    var = _variance(input, var)
    G.check_range(G.cast(var < 0, "int64"), 0, 1, "sign of var (1 where negative)", "value.var")
    held = var + (G.clamp(var, float(eps)) - var).detach()  # the bound has no part in the derivative, as PyTorch has it
    difference = input - target
    rows = (G.log(held) + difference * difference / held) * 0.5
    return reduced(rows + 0.5 * math.log(2.0 * math.pi) if full else rows, reduction)
