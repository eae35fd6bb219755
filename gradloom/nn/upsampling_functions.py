"""`interpolate` and the older names of it: images brought to another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import const, whole
from gradloom.functions.interpolation import Resize, resized
from gradloom.nn import adaptive_functions as A
from gradloom.nn.pooling_functions import restored, wide
from gradloom.tensor import Tensor

__all__ = "interpolate upsample upsample_bilinear upsample_nearest".split()

_MODES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}  # and the number of axes they are for
_ANY_RANK = ("nearest", "nearest-exact", "area")


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images (N, C, L), (N, C, H, W) or (N, C, D, H, W) brought to a size, or scaled by a factor.

    Parameters
    ----------
    size, scale_factor: one of them, one number or one for each axis. Sizes are rounded down.
    mode: ``"nearest"`` (as OpenCV's), ``"nearest-exact"`` (as Pillow's), ``"linear"``, ``"bilinear"``, ``"bicubic"``
    (with a = -0.75), ``"trilinear"``, ``"area"`` (adaptive mean pooling).
    align_corners: for the linear and cubic modes, that centres of corner pixels stay where they are.
    recompute_scale_factor: positions follow from the sizes, not from the factor that was given.
    antialias: bilinear and bicubic filters widened when shrinking, as Pillow's.

    Raises
    ------
    ValueError: for both or none of size and factor, and for options that do not belong to the mode.
    ShapeError: for another rank than the mode takes, or an output without positions.
    DTypeError: for integers, except where pixels are only chosen (nearest) and uint8 images.
    """
    n = input.ndim - 2
    _check(input, n, mode, align_corners, antialias)
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give size or scale_factor, one of them")
    shape = tuple(input.shape[2:])
    scales: tuple[float | None, ...] = (None,) * n
    if size is not None:
        if recompute_scale_factor:
            raise ValueError("interpolate: recompute_scale_factor goes with scale_factor, not with size")
        new = tuple(whole("interpolate", "size", v) for v in _each("size", size, n))
    else:
        factors = tuple(float(v) for v in _each("scale_factor", scale_factor, n))
        new = tuple(int(m * f) for m, f in zip(shape, factors, strict=True))
        scales = scales if recompute_scale_factor else factors
    if min(new) < 1 or min(shape) < 1:
        raise ShapeError(
            f"interpolate: images {shape} cannot become {new}", code="shape.interpolate",
            hint="every size must be at least 1",
        )  # fmt: skip
    if mode == "area":
        return (A.adaptive_avg_pool1d, A.adaptive_avg_pool2d, A.adaptive_avg_pool3d)[n - 1](input, new)
    kind = mode if mode in _ANY_RANK else "cubic" if mode == "bicubic" else "linear"
    dtype = input.dtype
    x = G.permute(input, (0, *range(2, n + 2), 1))
    pick = kind.startswith("nearest")
    x = x if pick else wide(G.cast(x, dtypes.float32) if dtype is dtypes.uint8 else x)
    for k in reversed(range(n)):
        r = Resize(
            kind, shape[k], new[k], scales[k], bool(align_corners), bool(antialias), dtype is dtypes.float64
        )  # fmt: skip
        x = resized(x, k + 1, r)
    if dtype is dtypes.uint8 and not pick:
        x = G.clamp(G.round(x), const(0.0), const(255.0))
    return restored(G.cast(x, dtype), True)


def _check(input: Tensor, n: int, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in _MODES and mode not in _ANY_RANK:
        raise ValueError(f"interpolate: mode {mode!r} is none of {', '.join((*_ANY_RANK, *_MODES))}")
    if not 1 <= n <= 3 or _MODES.get(mode, n) != n:
        axes = _MODES.get(mode)
        want = f"{axes + 2} axes" if axes else "3, 4 or 5 axes"
        raise ShapeError(
            f"interpolate: mode {mode!r} takes {want}, got shape {tuple(input.shape)}", code="shape.interpolate",
            hint="linear is for (N, C, L), bilinear and bicubic for (N, C, H, W), trilinear for (N, C, D, H, W)",
        )  # fmt: skip
    if mode in _ANY_RANK and align_corners is not None:
        raise ValueError(f"interpolate: align_corners has no meaning for mode {mode!r}; leave it None")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is for modes 'bilinear' and 'bicubic', not {mode!r}")
    d = input.dtype
    if d.is_complex or not (d.is_floating or d is dtypes.uint8 or (mode.startswith("nearest"))):
        raise DTypeError(
            f"interpolate: dtype {d.name} is not supported in mode {mode!r}", code="dtype.interpolate",
            hint="convert with .float()",
        )  # fmt: skip


def _each(what: str, value: Any, n: int) -> Sequence[Any]:
    if not isinstance(value, (tuple, list)):
        return (value,) * n
    if len(value) != n:
        raise ValueError(f"interpolate: {what} {tuple(value)}, expected one number or {n}, one for each axis")
    return value


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """:func:`interpolate` under its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """:func:`interpolate` with the nearest pixel."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """:func:`interpolate` in mode bilinear with aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
