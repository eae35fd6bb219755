"""Channels of images traded for pixels, and mixed."""

from __future__ import annotations

from gradloom.errors import ShapeError
from gradloom.functions.movement import permute, reshape
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = "channel_shuffle pixel_shuffle pixel_unshuffle".split()
FUNCTION_ONLY = __all__


def _check(name: str, input: Tensor, factor: int) -> None:
    if input.ndim < 3:
        raise ShapeError(f"{name}: expects images (..., C, H, W), got shape {tuple(input.shape)}", code=f"shape.{name}")
    if factor < 1:
        raise ValueError(f"{name}: the factor must be at least 1, got {factor}")


@composite
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r**2, H, W) to (..., C, H * r, W * r) (Shi et al. 2016). Raises ShapeError where C does not divide."""
    r = int(upscale_factor)
    _check("pixel_shuffle", input, r)
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise ShapeError(
            f"pixel_shuffle: {c} channels do not divide by {r}**2", code="shape.pixel_shuffle",
            hint="channels must be a multiple of the factor's square",
        )  # fmt: skip
    n = len(lead)
    x = reshape(input, (*lead, c // (r * r), r, r, h, w))
    x = permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(x, (*lead, c // (r * r), h * r, w * r))


@composite
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) to (..., C * r**2, H, W): undoes :func:`pixel_shuffle`."""
    r = int(downscale_factor)
    _check("pixel_unshuffle", input, r)
    *lead, c, h, w = input.shape
    if h % r or w % r:
        raise ShapeError(
            f"pixel_unshuffle: images ({h}, {w}) do not divide by {r}", code="shape.pixel_unshuffle",
            hint="height and width must be multiples of the factor",
        )  # fmt: skip
    n = len(lead)
    x = reshape(input, (*lead, c, h // r, r, w // r, r))
    x = permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(x, (*lead, c * r * r, h // r, w // r))


@composite
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, C, ...) with the channels of the groups dealt out in turn (Zhang et al. 2018)."""
    _check("channel_shuffle", input, groups)
    n, c, *rest = input.shape
    if c % groups:
        raise ShapeError(
            f"channel_shuffle: {c} channels do not divide into {groups} groups", code="shape.channel_shuffle"
        )
    x = reshape(input, (n, groups, c // groups, *rest))
    return reshape(permute(x, (0, 2, 1, *range(3, x.ndim))), tuple(input.shape))
