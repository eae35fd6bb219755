"""Convolution and transposed convolution in one, two and three dimensions, as PyTorch's functions have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.errors import DTypeError, ShapeError
from gradloom.functions.base import apply
from gradloom.functions.complex_numbers import complex as join
from gradloom.functions.complex_numbers import imag, real
from gradloom.functions.elementwise import _add, sub
from gradloom.functions.movement import permute, squeeze, unsqueeze
from gradloom.ops import convolution as C
from gradloom.ops.convolution import Geometry
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = "conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d".split()
FUNCTION_ONLY = __all__
INTERNAL = "convolve convolve_transpose".split()

_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}


def convolve(
    x: Tensor, w: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, name: str = "convolve"
) -> Tensor:
    """Images (N, *S, C) seen through filters (*K, C / groups, O): (N, *R, O), channels last.

    stride, dilation: a number or one for each spatial axis. padding: likewise, or a pair (before, after) for each; what
    is outside counts as zero. Raises ShapeError and DTypeError as :func:`conv2d` does, in the name of ``name``.
    """
    nd = x.ndim - 2
    g = Geometry(_numbers(name, "stride", stride, nd), _pairs(name, padding, nd),
                 _numbers(name, "dilation", dilation, nd), int(groups))  # fmt: skip
    _check(name, x, w, g, x.shape[1:-1], w.shape[:-2])
    return _bilinear(lambda a, b: apply(C.convolve, (a, b), (g, ())), x, w)


def convolve_transpose(
    y: Tensor,
    w: Tensor,
    size: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The transpose of :func:`convolve`: results (N, *R, O) and filters (*K, C / groups, O) to images (N, *size, C).

    size: spatial; what stride, padding and kernel leave open of it is the caller's choice.
    """
    nd, name = y.ndim - 2, "convolve_transpose"
    step, spread = _numbers(name, "stride", stride, nd), _numbers(name, "dilation", dilation, nd)
    # the padding after, so that the convolution of the result has just as many places
    ends = [
        (lo, (n - 1) * s + d * (k - 1) + 1 - m - lo)
        for n, m, k, s, d, (lo, _) in zip(
            y.shape[1:-1], size, w.shape[:-2], step, spread, _pairs(name, padding, nd), strict=True
        )
    ]
    g = Geometry(step, tuple(ends), spread, int(groups))
    return _bilinear(lambda a, b: apply(C.convolve_input, (a, b), (g, tuple(size))), y, w)


def _bilinear(product: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """A product of complex operands by the products of their parts."""
    if not (a.dtype.is_complex or b.dtype.is_complex):
        return product(a, b)
    ar, ai, br, bi = real(a), imag(a), real(b), imag(b)
    return join(sub(product(ar, br), product(ai, bi)), _add(product(ar, bi), product(ai, br)))


# -- arguments --------------------------------------------------------------------------------------------
def _numbers(name: str, label: str, value: Any, nd: int, least: int = 1) -> tuple[int, ...]:
    given = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    out = given * nd if len(given) == 1 else given
    if len(out) != nd or any(v < least for v in out):
        raise ShapeError(
            f"{name}: {label}={value!r}: expects one number or {nd}, each at least {least}", code="shape.convolution"
        )
    return tuple(int(v) for v in out)


def _pairs(name: str, padding: Any, nd: int) -> C.Pairs:
    if not isinstance(padding, int) and any(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != nd:
            raise ShapeError(f"{name}: {len(padding)} pairs of padding for {nd} axes", code="shape.convolution")
        return tuple((int(p), int(q)) for p, q in padding)
    return tuple((p, p) for p in _numbers(name, "padding", padding, nd, 0))


def _same(stride: tuple[int, ...], kernel: tuple[int, ...], dilation: tuple[int, ...], name: str) -> C.Pairs:
    if any(s != 1 for s in stride):
        raise ShapeError(
            f"{name}: padding='same' with stride {stride}", code="shape.convolution",
            hint="the size stays the same with stride 1 only; give the padding as numbers",
        )  # fmt: skip
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in total)


def _check(name: str, x: Tensor, w: Tensor, g: Geometry, size: Any, kernel: Any) -> None:
    """x: (N, *S, C), w: (*K, C / groups, O)."""
    if x.dtype is not w.dtype:
        raise DTypeError(
            f"{name}: the images are {x.dtype.name}, the filters {w.dtype.name}", code="dtype.convolution",
            hint="integer images: use .float() (and divide by 255)" if not x.dtype.category > 1 else "use .to(dtype)",
        )  # fmt: skip
    c, part, out = x.shape[-1], w.shape[-2], w.shape[-1]
    if g.groups < 1 or out % g.groups:
        raise ShapeError(
            f"{name}: {out} filters do not fall into groups={g.groups}", code="shape.convolution",
            hint="the number of filters must be a multiple of groups",
        )  # fmt: skip
    if c != part * g.groups:
        raise ShapeError(
            f"{name}: images with {c} channels for filters over {part} channels and groups={g.groups}",
            code="shape.convolution",
            hint=f"expects {part * g.groups} channels; images are (N, C, ...), channels before the spatial axes",
        )
    for k, (n, m, s, p, d) in enumerate(zip(size, kernel, g.stride, g.padding, g.dilation, strict=True)):
        if C.out_size(n, m, s, p, d) < 1:
            span = d * (m - 1) + 1
            raise ShapeError(
                f"{name}: spatial axis {k} of the images has size {n}, {n + sum(p)} with padding, and the filters "
                f"span {span} (size {m}, dilation {d}): no place fits",
                code="shape.convolution",
                hint="use larger images, smaller filters or more padding",
            )


def _image(name: str, x: Tensor, w: Tensor, nd: int) -> tuple[Tensor, bool]:
    """With the batch axis, and whether it was there."""
    if x.ndim not in (nd + 1, nd + 2):
        raise ShapeError(
            f"{name}: expects images (N, C, {_AXES[nd]}) or (C, {_AXES[nd]}), got shape {tuple(x.shape)}",
            code="shape.convolution",
            hint="unsqueeze the missing axis" if x.ndim < nd + 1 else f"conv{x.ndim - 2}d takes such images"
            if x.ndim in (4, 5) else "reshape what is before the channels to one axis",
        )  # fmt: skip
    if w.ndim != nd + 2:
        raise ShapeError(
            f"{name}: expects filters of {nd + 2} axes (O, C / groups, kernel), got shape {tuple(w.shape)}",
            code="shape.convolution",
        )
    return (x, True) if x.ndim == nd + 2 else (unsqueeze(x, 0), False)


def _last(nd: int) -> tuple[int, ...]:
    return (0, *range(2, nd + 2), 1)


def _first(nd: int) -> tuple[int, ...]:
    return (0, nd + 1, *range(1, nd + 1))


def _filters(nd: int) -> tuple[int, ...]:
    return (*range(2, nd + 2), 1, 0)


def _biased(name: str, y: Tensor, bias: Tensor | None, channels: int) -> Tensor:
    """y: channels last."""
    if bias is None:
        return y
    if tuple(bias.shape) != (channels,):
        raise ShapeError(
            f"{name}: the bias has shape {tuple(bias.shape)} for {channels} output channels", code="shape.convolution"
        )
    if bias.dtype is not y.dtype:
        raise DTypeError(f"{name}: the bias is {bias.dtype.name}, the result {y.dtype.name}", code="dtype.convolution")
    return _add(y, bias)


def _conv(
    nd: int, x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    name = f"conv{nd}d"
    x, batched = _image(name, x, w, nd)
    step, spread = _numbers(name, "stride", stride, nd), _numbers(name, "dilation", dilation, nd)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ShapeError(f"{name}: padding={padding!r}: 'same', 'valid' or numbers", code="shape.convolution")
        padding = 0 if padding == "valid" else _same(step, tuple(w.shape[2:]), spread, name)
    y = convolve(permute(x, _last(nd)), permute(w, _filters(nd)), step, padding, spread, groups, name)
    y = permute(_biased(name, y, bias, w.shape[0]), _first(nd))
    return y if batched else squeeze(y, 0)


def _conv_transpose(
    nd: int,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    name = f"conv_transpose{nd}d"
    x, batched = _image(name, x, w, nd)
    step, spread = _numbers(name, "stride", stride, nd), _numbers(name, "dilation", dilation, nd)
    pads, more = _numbers(name, "padding", padding, nd, 0), _numbers(name, "output_padding", output_padding, nd, 0)
    if any(m >= max(s, d) for m, s, d in zip(more, step, spread, strict=True)):
        raise ShapeError(
            f"{name}: output_padding {more} with stride {step} and dilation {spread}", code="shape.convolution",
            hint="output_padding must be smaller than stride or dilation",
        )  # fmt: skip
    if x.dtype is not w.dtype:
        raise DTypeError(
            f"{name}: the images are {x.dtype.name}, the filters {w.dtype.name}", code="dtype.convolution",
            hint="use .to(dtype)",
        )  # fmt: skip
    if x.shape[1] != w.shape[0] or groups < 1 or w.shape[0] % groups:
        raise ShapeError(
            f"{name}: images with {x.shape[1]} channels for filters (C, O / groups, kernel) of shape "
            f"{tuple(w.shape)} and groups={groups}",
            code="shape.convolution",
            hint=f"expects {w.shape[0]} channels, a multiple of groups",
        )
    span = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], spread, strict=True)]
    size = tuple((n - 1) * s - 2 * p + k + m for n, s, p, k, m in zip(x.shape[2:], step, pads, span, more, strict=True))
    if any(n < 1 for n in size):
        raise ShapeError(
            f"{name}: images {tuple(x.shape[2:])} would become {size}", code="shape.convolution",
            hint="less padding or larger images",
        )  # fmt: skip
    y = convolve_transpose(permute(x, _last(nd)), permute(w, _filters(nd)), size, step,
                           tuple((p, p) for p in pads), spread, groups)  # fmt: skip
    y = permute(_biased(name, y, bias, w.shape[1] * groups), _first(nd))
    return y if batched else squeeze(y, 0)


# -- PyTorch's names --------------------------------------------------------------------------------------
@composite
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of signals (N, C, L) or (C, L) with filters (O, C / groups, K), as :func:`conv2d`."""
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


@composite
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of images with filters.

    Parameters
    ----------
    input: (N, C, H, W) or (C, H, W). weight: (O, C / groups, KH, KW), of the same dtype. bias: (O) or None.
    stride, dilation: a number, or one for each axis. padding: likewise (zeros on both sides), ``"valid"`` (none) or
    ``"same"`` (the size stays; stride 1). groups: channels and filters fall into so many groups that do not mix.

    Returns
    -------
    (N, O, H', W') with ``H' = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1``.

    Raises
    ------
    ShapeError: wrong number of axes, channels that do not fit, no place for the filters. DTypeError: dtypes differ.
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


@composite
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of volumes (N, C, D, H, W) with filters (O, C / groups, KD, KH, KW), as :func:`conv2d`."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


@composite
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of signals (N, C, L) with filters (C, O / groups, K), as :func:`conv_transpose2d`."""
    return _conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of :func:`conv2d` as a linear map (also called deconvolution).

    Parameters
    ----------
    input: (N, C, H, W) or (C, H, W). weight: (C, O / groups, KH, KW). bias: (O) or None.
    stride, padding, dilation: those of the convolution that it transposes. output_padding: rows and columns more.

    Returns
    -------
    (N, O, H', W') with ``H' = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1``.

    Raises
    ------
    ShapeError, DTypeError: as :func:`conv2d`.
    """
    return _conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of volumes (N, C, D, H, W) with filters (C, O / groups, KD, KH, KW)."""
    return _conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution over time: input (T, N, C), weight (K, C, O), bias (O): (T', N, O)."""
    if input.ndim != 3 or weight.ndim != 3:
        raise ShapeError(
            f"conv_tbc: expects input (T, N, C) and weight (K, C, O), got {tuple(input.shape)} and "
            f"{tuple(weight.shape)}",
            code="shape.convolution",
        )
    y = convolve(permute(input, (1, 0, 2)), weight, 1, pad, 1, 1, "conv_tbc")
    return permute(_biased("conv_tbc", y, bias, weight.shape[2]), (1, 0, 2))
