"""What all losses share: reductions, and the old spelling of them."""

from __future__ import annotations

import warnings

from gradloom import functions as G
from gradloom.dtypes import default_float
from gradloom.nn.checks import reduction_name
from gradloom.tensor import Tensor


def chosen(
    reduction: str, size_average: bool | None = None, reduce: bool | None = None, extra: tuple[str, ...] = ()
) -> str:
    """The reduction's name. PyTorch's old pair `size_average`, `reduce` decides where one of the two is given.

    Raises
    ------
    ValueError
        For a name that there is not.
    """
    if size_average is None and reduce is None:
        return reduction_name(reduction, extra)
    name = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(f"size_average and reduce are old spellings: use reduction={name!r}", UserWarning, 4)
    return name


def reduced(rows: Tensor, reduction: str) -> Tensor:
    """The rows, their sum or their mean."""
    if reduction == "none":
        return rows
    return rows.sum() if reduction == "sum" else rows.mean()


def weighed(rows: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """The rows with a factor for each; the mean divides by the sum of the factors."""
    if weight is None:
        return reduced(rows, reduction)
    total = rows * weight
    if reduction == "mean":
        return total.sum() / G.broadcast_to(weight, total.shape).sum()
    return reduced(total, reduction)


def floating(x: Tensor) -> Tensor:
    """Integers and bools as floats of the default dtype, the rest as it is."""
    return x if x.dtype.category >= 2 else G.cast(x, default_float())
