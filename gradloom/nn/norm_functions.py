"""Normalisation of `nn.functional`: over the batch, the instance, groups of channels, the last axes, near channels.

Statistics of half-precision values are taken in float32. A mean and a variance over the batch are taken in one pass, of
values from which a guess of the mean was subtracted: that of one place of every image. However large the mean is beside
the spread, no digits are lost then, and both sums can be had from one reading of the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradloom import functions as G
from gradloom.dtypes import bfloat16, complex128, float16, float32, float64
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import const
from gradloom.functions.conversion import finfo
from gradloom.functions.movement import slice_axis
from gradloom.functions.rearrange import constant_pad_nd
from gradloom.modes import no_grad
from gradloom.ops.norms import standardized
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm"]


def _floating(name: str, input: Tensor) -> None:
    if not (input.dtype.is_floating or (name == "rms_norm" and input.dtype.is_complex)):
        raise DTypeError(
            f"{name}: the input is {input.dtype.name}, expected a floating dtype", code="dtype.norm",
            hint="convert it with .float() (and divide images by 255)",
        )  # fmt: skip


def _per_channel(name: str, input: Tensor, **given: Tensor | None) -> None:
    """Refuse weights and statistics that do not have one entry for each channel (axis 1)."""
    channels = input.shape[1]
    for label, value in given.items():
        if value is not None and tuple(value.shape) != (channels,):
            count = value.shape[0] if value.ndim == 1 else None
            raise ShapeError(
                f"{name}: input of shape {tuple(input.shape)} has {channels} channels (axis 1), {label} has "
                + (f"{count} entries" if count is not None else f"shape {tuple(value.shape)}"),
                code="shape.norm",
                hint=f"expects an input with {count} channels" if count is not None else "expects one axis",
            )


def _wide(x: Tensor) -> Tensor:
    return G.cast(x, float32) if x.dtype in (float16, bfloat16) else x


def _as(like: Tensor, value: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """A weight in the dtype of the computation, shaped for broadcasting."""
    return None if value is None else G.reshape(_wide(value), shape)


def _scaled(centred: Tensor, rstd: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    result = centred * (rstd if weight is None else rstd * weight)
    return result if bias is None else result + bias


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centred values, mean and biased variance of each channel (axis 1), shape (1, C, 1, ...): one pass over the data.

    The centred values come from the shifted ones: the mean itself is rounded where it is large.
    """
    axes = (0, *range(2, x.ndim))
    n = math.prod(x.shape[k] for k in axes)
    sample = x.detach()
    for k in range(2, x.ndim):
        sample = slice_axis(sample, k, x.shape[k] // 2, x.shape[k] // 2 + 1)
    guess = G.mean(sample, 0, True)
    shifted = x - guess
    first = G.sum(shifted, axes, True) * const(1.0 / n)
    second = G.sum(shifted * shifted, axes, True) * const(1.0 / n)
    # rounding may leave less than nothing where all values are equal
    return shifted - first, guess + first, G.relu(second - first * first)


def _blended(old: Tensor | None, new: Tensor, momentum: float | Tensor) -> list[Tensor]:
    if old is None:
        return []
    value = G.reshape(new, (-1,)).detach()
    return [G.cast(_wide(old) * (1.0 - momentum) + value * momentum, old.dtype)]


@composite
def _batch_norm_train(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float | Tensor,
    eps: float,
) -> list[Tensor]:
    """[result, new running mean, new running variance]; the last two only where there are old ones."""
    wide = _wide(x)
    shape = (1, x.shape[1]) + (1,) * (x.ndim - 2)
    n = x.numel() // x.shape[1]
    centred, m, v = _moments(wide)
    rstd = G.rsqrt(v + eps)
    factors = [_as(x, weight, shape), _as(x, bias, shape)]
    out = _scaled(centred, rstd, *factors)
    axes = (0, *range(2, x.ndim))
    given = [f for f in factors if f is not None]
    noted = (axes, weight is not None, bias is not None)
    out = G.apply(standardized, (out, wide, centred, rstd, *given), noted)  # its gradient takes two sums
    unbiased = v * const(n / (n - 1) if n > 1 else math.nan)
    return [G.cast(out, x.dtype), *_blended(mean, m, momentum), *_blended(var, unbiased, momentum)]


@composite
def _batch_norm_eval(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    wide = _wide(x)
    shape = (1, x.shape[1]) + (1,) * (x.ndim - 2)
    m, v = G.reshape(_wide(mean), shape), G.reshape(_wide(var), shape)
    out = _scaled(wide - m, G.rsqrt(v + eps), _as(x, weight, shape), _as(x, bias, shape))
    return G.cast(out, x.dtype)


def _renew(new: Sequence[Tensor], *cells: Tensor | None) -> None:
    """Write running statistics into their cells."""
    with no_grad():
        for cell, value in zip([c for c in cells if c is not None], new, strict=True):
            cell._write(value.detach())


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Subtract the mean of each channel and divide by its standard deviation (Ioffe and Szegedy 2015).

    Parameters
    ----------
    input : (N, C, ...), floating.
    running_mean, running_var : (C,) or None
        In training they are moved by `momentum` towards the batch's mean and unbiased variance, in place; else they
        are what is subtracted and divided by.
    weight, bias : (C,) or None
    training : bool
        Whether the batch's own statistics are used; the variance divided by is the biased one.

    Raises
    ------
    ShapeError: other than one entry for each channel, or one value for each channel in training. DTypeError: integers.
    """
    _floating("batch_norm", input)
    if training and eps <= 0:
        raise ArgumentError(f"batch_norm: eps must be positive during training, got {eps}")
    if input.ndim < 2 and tuple(input.shape) != (0,):
        raise ShapeError(
            f"batch_norm: expects an input (N, C, ...), got shape {tuple(input.shape)}", code="shape.norm",
            hint="put the batch and channel axes first",
        )  # fmt: skip
    if input.ndim == 1:
        return input * 1.0  # nothing to normalise
    _per_channel("batch_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed where training is False")
        return _batch_norm_eval(input, running_mean, running_var, weight, bias, float(eps))
    if not input.numel():
        return input * 1.0
    if input.numel() == input.shape[1]:
        raise ShapeError(
            "Expected more than 1 value per channel when training, got input size "
            f"{input.shape}", code="shape.norm", hint="use a larger batch, or eval()",
        )  # fmt: skip
    out, *new = _batch_norm_train(input, running_mean, running_var, weight, bias, momentum, float(eps))
    _renew(new, running_mean, running_var)
    return out


@composite
def _instance_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> list[Tensor]:
    wide = _wide(x)
    axes = tuple(range(2, x.ndim))
    shape = (1, x.shape[1]) + (1,) * (x.ndim - 2)
    n = math.prod(x.shape[2:])
    m = G.mean(wide, axes, True)
    centred = wide - m
    v = G.mean(centred * centred, axes, True)
    out = _scaled(centred, G.rsqrt(v + eps), _as(x, weight, shape), _as(x, bias, shape))
    unbiased = v * const(n / (n - 1) if n > 1 else math.nan)
    return [
        G.cast(out, x.dtype),
        *_blended(mean, G.mean(m, 0, True), momentum),
        *_blended(var, G.mean(unbiased, 0, True), momentum),
    ]


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As :func:`batch_norm`, each image by statistics of its own (Ulyanov et al. 2016): input (N, C, ...).

    Running statistics are moved towards the mean over the batch; `use_input_stats=False` normalises by them.
    """
    _floating("instance_norm", input)
    if input.ndim < 3:
        raise ShapeError(
            f"instance_norm: expects an input (N, C, ...), got shape {tuple(input.shape)}", code="shape.norm",
            hint="put the batch and channel axes before the spatial ones",
        )  # fmt: skip
    _per_channel("instance_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return _batch_norm_eval(input, running_mean, running_var, weight, bias, float(eps))
    if math.prod(input.shape[2:]) == 1:
        raise ShapeError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}", code="shape.norm",
            hint="an instance of one value has no spread",
        )  # fmt: skip
    out, *new = _instance_norm(input, running_mean, running_var, weight, bias, float(momentum), float(eps))
    _renew(new, running_mean, running_var)
    return out


@composite
def _group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    n, c = x.shape[:2]
    shape = (1, c) + (1,) * (x.ndim - 2)
    wide = G.reshape(_wide(x), (n, groups, x.numel() // (n * groups) if n * groups else 0))
    centred = wide - G.mean(wide, 2, True)
    rstd = G.rsqrt(G.mean(centred * centred, 2, True) + eps)
    out = G.reshape(centred * rstd, tuple(x.shape))
    if weight is not None:
        out = out * _as(x, weight, shape)
    if bias is not None:
        out = out + _as(x, bias, shape)
    return G.cast(out, x.dtype)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each image over groups of channels and all places (Wu and He 2018): input (N, C, ...)."""
    _floating("group_norm", input)
    if input.ndim < 2:
        raise ShapeError(
            f"group_norm: expects an input (N, C, ...), got shape {tuple(input.shape)}", code="shape.norm",
            hint="put the batch and channel axes first",
        )  # fmt: skip
    if num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: {input.shape[1]} channels do not divide into {num_groups} groups", code="shape.norm",
            hint="the number of channels must be a multiple of num_groups",
        )  # fmt: skip
    _per_channel("group_norm", input, weight=weight, bias=bias)
    return _group_norm(input, int(num_groups), weight, bias, float(eps))


@composite
def _layer_norm(input: Tensor, axes: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    x = _wide(input)
    centred = x - G.mean(x, dim=axes, keepdim=True)
    result = centred * G.rsqrt(G.mean(centred * centred, dim=axes, keepdim=True) + eps)
    if weight is not None:
        result = result * _wide(weight)
    if bias is not None:
        result = result + _wide(bias)
    return G.cast(result, input.dtype)


def _last_axes(
    name: str, input: Tensor, normalized_shape: int | Sequence[int], **given: Tensor | None
) -> tuple[int, ...]:
    _floating(name, input)
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    shape = tuple(input.shape)
    if not wanted or shape[-len(wanted) :] != wanted:
        raise ShapeError(
            f"{name}: input of shape {shape} does not end in {wanted}",
            code=f"shape.{name}",
            hint="normalized_shape is the length of the last axis, or of the last axes",
        )
    for label, value in given.items():
        if value is not None and tuple(value.shape) != wanted:
            raise ShapeError(
                f"{name}: {label} has shape {tuple(value.shape)}, normalized_shape is {wanted}",
                code=f"shape.{name}",
                hint="weight and bias have the normalized shape",
            )
    return tuple(range(len(shape) - len(wanted), len(shape)))


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Subtract the mean and divide by the standard deviation over the last axes (Ba et al. 2016).

    `normalized_shape` says how many last axes and how long they are; weight and bias have that shape.
    """
    axes = _last_axes("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    return _layer_norm(input, axes, weight, bias, float(eps))


@composite
def _rms_norm(input: Tensor, axes: tuple[int, ...], weight: Tensor | None, eps: float) -> Tensor:
    x = _wide(input)
    result = x * G.rsqrt(G.mean(x * x, dim=axes, keepdim=True) + eps)
    return G.cast(result if weight is None else result * _wide(weight), input.dtype)


def rms_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root of the mean square over the last axes (Zhang and Sennrich 2019).

    `normalized_shape` says how many last axes and how long they are; weight has that shape. eps: where None, that of
    the dtype. The input may be complex: its squares are.
    """
    axes = _last_axes("rms_norm", input, normalized_shape, weight=weight)
    least = finfo(float64 if input.dtype in (float64, complex128) else float32).eps if eps is None else float(eps)
    return _rms_norm(input, axes, weight, least)


@composite
def across_channels(x: Tensor, before: int, after: int, alpha: float, beta: float, k: float) -> Tensor:
    """Each value over (k + alpha·Σ x²)^beta, the sum over so many channels (axis 1) before and after each."""
    square = x * x
    pads = [0] * (2 * (x.ndim - 2)) + [before, after]
    padded = constant_pad_nd(square, pads)
    channels = x.shape[1]
    total = slice_axis(padded, 1, 0, channels)
    for shift in range(1, before + after + 1):
        total = total + slice_axis(padded, 1, shift, shift + channels)
    return x / G.pow(total * alpha + k, beta)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by (k + alpha·m)^beta, m the mean square of `size` channels around each (Krizhevsky et al. 2012).

    input: (N, C, ...), outside of the channels counts as zero.
    """
    if input.ndim < 3:
        raise ShapeError(
            f"local_response_norm: expects an input (N, C, ...) of 3 axes or more, got {tuple(input.shape)}",
            code="shape.norm", hint="put the batch and channel axes before the spatial ones",
        )  # fmt: skip
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size}")
    if not input.numel():
        return input * 1
    x = _wide(input)
    out = across_channels(x, size // 2, (size - 1) // 2, float(alpha) / size, float(beta), float(k))
    return out if x is input else G.cast(out, input.dtype)
