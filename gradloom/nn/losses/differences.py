"""Losses of differences: squares, distances, and what lies between them."""

from __future__ import annotations

from gradloom import functions as G
from gradloom.nn.checks import same_shape
from gradloom.nn.losses.common import chosen, reduced, weighed
from gradloom.tape import composite
from gradloom.tensor import Tensor


def _weight_fits(rows: Tensor, weight: Tensor | None, name: str) -> None:
    if weight is not None:
        same_shape(rows, weight, f"{name}, weight")


@composite
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)²; `weight` has a factor for each element, and the mean divides by their sum."""
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "mse_loss")
    _weight_fits(input, weight, "mse_loss")
    difference = input - target
    return weighed(difference * difference, weight, reduction)


@composite
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|; `weight` has a factor for each element, and the mean divides by their sum."""
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "l1_loss")
    _weight_fits(input, weight, "l1_loss")
    return weighed(G.abs(input - target), weight, reduction)


@composite
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d²/(2·beta) where d = |input - target| < beta, else d - beta/2."""
    reduction = chosen(reduction, size_average, reduce)
    same_shape(input, target, "smooth_l1_loss")
    if beta < 0:
        raise ValueError(f"beta must not be negative, got {beta}")
    d = G.abs(input - target)
    return reduced(d if beta == 0 else G.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta), reduction)


@composite
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d²/2 where d = |input - target| ≤ delta, else delta·(d - delta/2) (Huber 1964).

    `weight` has a factor for each element; the mean is over the elements, as PyTorch has it.
    """
    reduction = chosen(reduction)
    same_shape(input, target, "huber_loss")
    _weight_fits(input, weight, "huber_loss")
    if delta <= 0:
        raise ValueError(f"delta must be positive, got {delta}")
    d = G.abs(input - target)
    rows = G.where(d <= delta, d * d * 0.5, (d - 0.5 * delta) * delta)
    return reduced(rows if weight is None else rows * weight, reduction)
