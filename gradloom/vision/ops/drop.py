"""Regularisation by dropping: whole residual branches (stochastic depth) and blocks of pixels (DropBlock)."""

from __future__ import annotations

from gradloom import nn
from gradloom.errors import ShapeError
from gradloom.functions import cast, lt
from gradloom.functions.sampling import rand
from gradloom.nn import functional as F
from gradloom.tensor import Tensor

__all__ = [
    "DropBlock2d",
    "DropBlock3d",
    "StochasticDepth",
    "drop_block2d",
    "drop_block3d",
    "stochastic_depth",
]


def _check_probability(name: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: p is a probability between 0 and 1, got {p}")


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """Zero the input with probability p while training and divide what is left by 1 - p (Huang et al. 2016).

    Parameters
    ----------
    input : the output of a residual branch, (N, ...).
    mode : "batch" drops all of it or nothing, "row" decides for each of the N examples.
    """
    _check_probability("stochastic_depth", p)
    if mode not in ("batch", "row"):
        raise ValueError(f"stochastic_depth: mode is 'batch' or 'row', got {mode!r}")
    if not training or p == 0.0:
        return input
    lead = input.shape[0] if mode == "row" else 1
    kept = cast(lt(rand(lead, *[1] * (input.ndim - 1)), 1.0 - p), input.dtype)
    return input * (kept / (1.0 - p) if p < 1.0 else kept)


class StochasticDepth(nn.Module):
    """:func:`stochastic_depth` as a layer."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return stochastic_depth(input, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}, mode={self.mode}"


def _drop_block(
    name: str, input: Tensor, p: float, block_size: int, inplace: bool, eps: float, training: bool, axes: int
) -> Tensor:
    _check_probability(name, p)
    if input.ndim != axes + 2:
        raise ShapeError(
            f"{name}: expects (N, C, {'H, W' if axes == 2 else 'D, H, W'}), got shape {tuple(input.shape)}",
            code=f"shape.{name}",
            hint="add the axes that are missing with unsqueeze",
        )
    if not training or p == 0.0:
        return input
    n, c, *sizes = input.shape
    block = min(block_size, *sizes)
    # seeds are drawn where a whole block fits; their rate is such that a fraction p of all pixels is dropped
    rate, inner = p / block**axes, []
    for size in sizes:
        rate *= size / (size - block + 1)
        inner.append(size - block + 1)
    seeds = cast(lt(rand(n, c, *inner), rate), input.dtype)
    pool = F.max_pool2d if axes == 2 else F.max_pool3d
    kept = 1 - pool(F.pad(seeds, [block - 1] * (2 * axes)), kernel_size=block, stride=1)
    result = input * kept * (kept.numel() / (eps + kept.sum()))
    return input.copy_(result) if inplace else result


def drop_block2d(
    input: Tensor, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True
) -> Tensor:
    """Zero square blocks of (N, C, H, W) while training and rescale what is left (Ghiasi et al. 2018)."""
    return _drop_block("drop_block2d", input, p, block_size, inplace, eps, training, 2)


def drop_block3d(
    input: Tensor, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True
) -> Tensor:
    """Zero cubic blocks of (N, C, D, H, W) while training and rescale what is left (Ghiasi et al. 2018)."""
    return _drop_block("drop_block3d", input, p, block_size, inplace, eps, training, 3)


class DropBlock2d(nn.Module):
    """:func:`drop_block2d` as a layer."""

    _axes = 2

    def __init__(self, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06) -> None:
        super().__init__()
        self.p, self.block_size, self.inplace, self.eps = p, block_size, inplace, eps

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), kept; (N, C, D, H, W) for DropBlock3d."""
        drop = drop_block2d if self._axes == 2 else drop_block3d
        return drop(input, self.p, self.block_size, self.inplace, self.eps, self.training)

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}, block_size={self.block_size}, inplace={self.inplace}"


class DropBlock3d(DropBlock2d):
    """:func:`drop_block3d` as a layer."""

    _axes = 3
