"""Fourier transforms under ``torch.fft``'s names, and the short-time transform.

``n`` (``s`` for several axes) trims or pads with zeros first. norm: ``"backward"`` (default) divides the inverse by
the number of points, ``"forward"`` the transform, ``"ortho"`` both by its root. float32 stays in single precision;
integers become the default float. ``axis`` and ``axes`` are the Array API's names of ``dim``.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import ArgumentError, AxisError, DTypeError, ShapeError, StateError
from gradloom.functions.base import apply, axes_of, const, operand, pick
from gradloom.functions.complex_numbers import conj, view_as_real
from gradloom.functions.creation import arange, full
from gradloom.functions.elementwise import cast, div, eq, logical_or, mul, where
from gradloom.functions.movement import cat, flip, narrow, reshape, swap_last, unsqueeze
from gradloom.functions.windows import table
from gradloom.ops import fft as F
from gradloom.ops import structure as S
from gradloom.ops import windows as W
from gradloom.ops.gather import take_put
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["istft", "stft"]

Axes = Sequence[int] | None
_SCALES = {"backward": (0, 2), "ortho": (1, 1), "forward": (2, 0)}  # of the transform, of its inverse


# -- gradients ------------------------------------------------------------------------------------------
def _weighted(x: Tensor, axis: int, n: int, middle: float) -> Tensor:
    """Frequencies that stand for their conjugate too scaled by ``middle``: all but 0 and, for even n, the highest."""
    m = n // 2 + 1
    k = arange(m)
    alone = logical_or(eq(k, const(0)), eq(k * const(2), const(n)))
    w = cast(where(alone, const(1.0), const(middle)), x.dtype.to_real())
    return mul(x, reshape(w, (m, *(1,) * (x.ndim - axis - 1))))


@F.full.gradient
def _full_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    return (apply(F.full, (ct,), (attrs[0], not attrs[1], attrs[2])),)


@F.half.gradient
def _half_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    axes, scale = attrs
    n = ins[0].shape[axes[-1]]
    return (apply(F.real, (_weighted(ct, axes[-1], n, 0.5),), (axes, n, scale)),)


@F.real.gradient
def _real_vjp(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> Any:
    axes, n, scale = attrs
    return (_weighted(apply(F.half, (ct,), (axes, scale)), axes[-1], n, 2.0),)


# -- operands -------------------------------------------------------------------------------------------
def _scale(name: str, norm: str | None, inverse: bool) -> int:
    if norm is not None and norm not in _SCALES:
        raise ArgumentError(f"{name}: norm must be 'backward', 'ortho' or 'forward', got {norm!r}")
    return _SCALES[norm or "backward"][inverse]


def _operand(name: str, x: Any, kind: str) -> Tensor:
    """In a dtype that transforms take. kind: ``"complex"``, or ``"real"`` for what must be real."""
    t = operand(x)
    if t.dtype.category < 2:
        t = cast(t, dtypes.default_float())
    if t.dtype.itemsize < 4:
        raise DTypeError(
            f"{name}: dtype {t.dtype.name} is not supported", code="dtype.fft", hint="convert to float32 first"
        )
    if kind == "real" and t.dtype.is_complex:
        raise DTypeError(
            f"{name}: expects a real tensor, got {t.dtype.name}", code="dtype.fft",
            hint="use fft for complex ones, or take .real",
        )  # fmt: skip
    return cast(t, t.dtype.to_complex()) if kind == "complex" and not t.dtype.is_complex else t


def _resize(name: str, x: Tensor, axis: int, n: int) -> Tensor:
    if n < 1:
        raise ShapeError(
            f"{name}: {n} points along axis {axis} of {tuple(x.shape)}; at least 1 is needed", code="shape.fft"
        )
    size = x.shape[axis]
    if n < size:
        return narrow(x, axis, 0, n)
    if n == size:
        return x
    none = (0,) * x.ndim
    high = tuple(n - size if k == axis else 0 for k in range(x.ndim))
    return apply(S.pad, (x,), (none, high, 0.0))


def _plan(name: str, x: Tensor, s: Any, dim: Any, last_half: bool = False) -> tuple[tuple[int, ...], list[int]]:
    """The axes in their order, and the number of points along each."""
    sizes = None if s is None else [int(n) for n in (s if isinstance(s, (tuple, list)) else [s])]
    if dim is not None:
        given = [int(k) for k in (dim if isinstance(dim, (tuple, list)) else [dim])]
        axes = tuple(axes_of(name, k, x.ndim)[0] for k in given) if x.ndim else tuple(given)
    else:
        axes = tuple(range(0 if sizes is None else builtins.max(0, x.ndim - len(sizes)), x.ndim))
    if not x.ndim and axes:
        raise AxisError(f"{name}: a 0-d tensor has no axis to transform", code="shape.fft")
    if len(set(axes)) != len(axes) or (sizes is not None and len(sizes) != len(axes)):
        raise ShapeError(
            f"{name}: s {s} and dim {dim} do not fit a tensor of {x.ndim} dimensions: they must be of one length, "
            "each axis once",
            code="shape.fft",
        )
    own = [x.shape[k] for k in axes]
    if last_half and own:
        own[-1] = 2 * (own[-1] - 1)
    points = own if sizes is None else [n if n != -1 else m for n, m in zip(sizes, own, strict=True)]
    return axes, points


# -- transforms over several axes -------------------------------------------------------------------------
def _complex(name: str, x: Any, s: Any, dim: Any, norm: str | None, inverse: bool) -> Tensor:
    t = _operand(name, x, "complex")
    axes, points = _plan(name, t, s, dim)
    scale = _scale(name, norm, inverse)
    for k, n in zip(axes, points, strict=True):
        t = _resize(name, t, k, n)
    return apply(F.full, (t,), (axes, not inverse, scale)) if axes else t


def _to_half(name: str, x: Any, s: Any, dim: Any, norm: str | None, inverse: bool) -> Tensor:
    """Real to half a spectrum; ``inverse`` is the conjugate form with the inverse's scale."""
    t = _operand(name, x, "real")
    axes, points = _plan(name, t, s, dim)
    _need_axis(name, axes)
    scale = _scale(name, norm, inverse)
    for k, n in zip(axes, points, strict=True):
        t = _resize(name, t, k, n)
    out = apply(F.half, (t,), (axes, scale))
    return conj(out) if inverse else out


def _from_half(name: str, x: Any, s: Any, dim: Any, norm: str | None, inverse: bool) -> Tensor:
    """Half a spectrum to real values; ``inverse=False`` is the conjugate form with the transform's scale."""
    t = _operand(name, x, "complex")
    axes, points = _plan(name, t, s, dim, last_half=True)
    _need_axis(name, axes)
    if points[-1] < 1:
        raise ShapeError(
            f"{name}: {points[-1]} points along axis {axes[-1]} of {tuple(t.shape)}; at least 1 is needed",
            code="shape.fft", hint="name the number of points by n or s",
        )  # fmt: skip
    scale = _scale(name, norm, inverse)
    for k, n in zip(axes, [*points[:-1], points[-1] // 2 + 1], strict=True):
        t = _resize(name, t, k, n)
    return apply(F.real, (t if inverse else conj(t),), (axes, points[-1], scale))


def _need_axis(name: str, axes: tuple[int, ...]) -> None:
    if not axes:
        raise ShapeError(f"{name}: needs at least one axis to transform", code="shape.fft")


def fft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, axis: int | None = None
) -> Tensor:
    """Along one axis: ``sum(x[m] * e**(-2 pi i k m / n))``."""
    return _complex("fft", input, n, dim if axis is None else axis, norm, False)


def ifft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, axis: int | None = None
) -> Tensor:
    """Inverse of :func:`fft`."""
    return _complex("ifft", input, n, dim if axis is None else axis, norm, True)


def rfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, axis: int | None = None
) -> Tensor:
    """Of real input: the ``n // 2 + 1`` frequencies that are not conjugates of others."""
    return _to_half("rfft", input, n, dim if axis is None else axis, norm, False)


def irfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, axis: int | None = None
) -> Tensor:
    """Inverse of :func:`rfft`; ``n`` real values, ``2 * (m - 1)`` of m frequencies by default."""
    return _from_half("irfft", input, n, dim if axis is None else axis, norm, True)


def hfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, axis: int | None = None
) -> Tensor:
    """Of half a Hermitian signal: a real spectrum of ``n`` values."""
    return _from_half("hfft", input, n, dim if axis is None else axis, norm, False)


def ihfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, axis: int | None = None
) -> Tensor:
    """Inverse of :func:`hfft`."""
    return _to_half("ihfft", input, n, dim if axis is None else axis, norm, True)


def fftn(input: Tensor, s: Axes = None, dim: Axes = None, norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """Over several axes: all, or the last ``len(s)``, or ``dim``."""
    return _complex("fftn", input, s, dim if axes is None else axes, norm, False)


def ifftn(input: Tensor, s: Axes = None, dim: Axes = None, norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """Inverse of :func:`fftn`."""
    return _complex("ifftn", input, s, dim if axes is None else axes, norm, True)


def rfftn(input: Tensor, s: Axes = None, dim: Axes = None, norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """Of real input over several axes, half of the last of them."""
    return _to_half("rfftn", input, s, dim if axes is None else axes, norm, False)


def irfftn(input: Tensor, s: Axes = None, dim: Axes = None, norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """Inverse of :func:`rfftn`."""
    return _from_half("irfftn", input, s, dim if axes is None else axes, norm, True)


def hfftn(input: Tensor, s: Axes = None, dim: Axes = None, norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """Of a signal that is Hermitian over several axes, half of the last given: real."""
    return _from_half("hfftn", input, s, dim if axes is None else axes, norm, False)


def ihfftn(input: Tensor, s: Axes = None, dim: Axes = None, norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """Inverse of :func:`hfftn`."""
    return _to_half("ihfftn", input, s, dim if axes is None else axes, norm, True)


def fft2(input: Tensor, s: Axes = None, dim: Axes = (-2, -1), norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """:func:`fftn` over two axes."""
    return _complex("fft2", input, s, dim if axes is None else axes, norm, False)


def ifft2(input: Tensor, s: Axes = None, dim: Axes = (-2, -1), norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """:func:`ifftn` over two axes."""
    return _complex("ifft2", input, s, dim if axes is None else axes, norm, True)


def rfft2(input: Tensor, s: Axes = None, dim: Axes = (-2, -1), norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """:func:`rfftn` over two axes."""
    return _to_half("rfft2", input, s, dim if axes is None else axes, norm, False)


def irfft2(
    input: Tensor, s: Axes = None, dim: Axes = (-2, -1), norm: str | None = None, *, axes: Axes = None
) -> Tensor:
    """:func:`irfftn` over two axes."""
    return _from_half("irfft2", input, s, dim if axes is None else axes, norm, True)


def hfft2(input: Tensor, s: Axes = None, dim: Axes = (-2, -1), norm: str | None = None, *, axes: Axes = None) -> Tensor:
    """:func:`hfftn` over two axes."""
    return _from_half("hfft2", input, s, dim if axes is None else axes, norm, False)


def ihfft2(
    input: Tensor, s: Axes = None, dim: Axes = (-2, -1), norm: str | None = None, *, axes: Axes = None
) -> Tensor:
    """:func:`ihfftn` over two axes."""
    return _to_half("ihfft2", input, s, dim if axes is None else axes, norm, True)


# -- frequencies ------------------------------------------------------------------------------------------
def _samples(name: str, n: int) -> int:
    if n < 1:
        raise ArgumentError(f"{name}: the number of samples must be at least 1, got {n}")
    return n


def fftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The frequencies of :func:`fft`'s result for samples ``d`` apart: positive ones first."""
    return table(np.fft.fftfreq(_samples("fftfreq", n), d), dtype, layout, device, False, requires_grad)


def rfftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The frequencies of :func:`rfft`'s result for samples ``d`` apart."""
    return table(np.fft.rfftfreq(_samples("rfftfreq", n), d), dtype, layout, device, False, requires_grad)


def _rolled(name: str, x: Tensor, dim: Any, up: bool) -> Tensor:
    for k in axes_of(name, tuple(dim) if isinstance(dim, list) else dim, x.ndim):
        n = x.shape[k]
        if n > 1:
            first = n - n // 2 if up else n // 2
            x = cat([narrow(x, k, first, n - first), narrow(x, k, 0, first)], k)
    return x


def fftshift(input: Tensor, dim: Any = None, *, axes: Any = None) -> Tensor:
    """Frequency 0 brought to the middle of the axes (all by default)."""
    return _rolled("fftshift", input, pick(dim, axes), True)


def ifftshift(input: Tensor, dim: Any = None, *, axes: Any = None) -> Tensor:
    """Inverse of :func:`fftshift`."""
    return _rolled("ifftshift", input, pick(dim, axes), False)


# -- short-time transform (Allen & Rabiner 1977; the inverse by Griffin & Lim 1984) ---------------------------
_EDGES = ("reflect", "constant", "replicate", "circular")


def _padded(x: Tensor, amount: int, mode: str) -> Tensor:
    n = x.shape[-1]
    if not amount:
        return x
    if mode == "constant":
        return apply(S.pad, (x,), ((0, amount), (0, amount), 0.0))
    if (mode == "reflect" and amount >= n) or (amount > n and mode == "circular") or not n:
        raise ShapeError(
            f"stft: {mode} padding by {amount} needs a longer signal than {n}", code="shape.stft",
            hint="use center=False or pad_mode='constant'",
        )  # fmt: skip
    if mode == "reflect":
        return cat([flip(narrow(x, 1, 1, amount), 1), x, flip(narrow(x, 1, n - 1 - amount, amount), 1)], 1)
    if mode == "circular":
        return cat([narrow(x, 1, n - amount, amount), x, narrow(x, 1, 0, amount)], 1)
    edge = mul(x, const(1.0))
    ends = [narrow(edge, 1, k, 1).expand(x.shape[0], amount) for k in (0, n - 1)]
    return cat([ends[0], x, ends[1]], 1)


def _window(name: str, window: Tensor | None, win_length: int, n_fft: int, like: Tensor) -> Tensor | None:
    """The window centred in ``n_fft`` points; None for one that changes nothing."""
    if not 0 < win_length <= n_fft:
        raise ShapeError(f"{name}: win_length {win_length} must lie in 1..n_fft ({n_fft})", code="shape.stft")
    if window is None:
        if win_length == n_fft:
            return None
        window = full((win_length,), 1.0, dtype=like.dtype.to_real())
    if window.ndim != 1 or window.shape[0] != win_length:
        raise ShapeError(
            f"{name}: the window has shape {tuple(window.shape)}, expected ({win_length},)", code="shape.stft"
        )
    left = (n_fft - win_length) // 2
    return apply(S.pad, (window,), ((left,), (n_fft - win_length - left,), 0.0)) if win_length < n_fft else window


def _positions(frames: int, hop: int, n_fft: int) -> Tensor:
    return unsqueeze(mul(arange(frames), const(hop)), 1) + arange(n_fft)


@composite
def _framed(x: Tensor, hop: int, n_fft: int) -> Tensor:
    """Frames (batch, frames, n) of signals (batch, points): a view, whose code hangs on no length."""
    return apply(W.windows, (x,), ((1,), (n_fft,), (hop,), (1,)))


@composite
def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """Frames (batch, frames, n) added up where they overlap: (batch, n + hop * (frames - 1))."""
    b, count, n = frames.shape
    base = full((b, n + hop * (count - 1)), 0.0, dtype=frames.dtype)
    return apply(take_put, (base, frames, _positions(count, hop, n)), (1, "add"))


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """Spectra of frames of a signal (n) or (batch, n): (..., frequencies, frames), complex.

    hop_length: between frames, ``n_fft // 4`` by default. center: frame t is centred at ``t * hop_length``, the signal
    padded by ``pad_mode``. normalized: divided by the root of ``n_fft``. onesided: half of the frequencies (the default
    for real signals). return_complex=False gives pairs (real, imaginary) along a last axis of 2.
    """
    if return_complex is None:
        if not (input.dtype.is_complex or (window is not None and window.dtype.is_complex)):
            raise StateError(
                "stft: return_complex must be given for real input", code="state.stft",
                hint="pass return_complex=True; gradloom.view_as_real gives pairs",
            )  # fmt: skip
        return_complex = True
    if align_to_window and center:
        raise StateError("stft: align_to_window only goes with center=False", code="state.stft")
    if pad_mode not in _EDGES:
        raise ArgumentError(f"stft: pad_mode must be one of {', '.join(_EDGES)}, got {pad_mode!r}")
    if input.ndim not in (1, 2):
        raise ShapeError(f"stft: expects (n) or (batch, n), got shape {tuple(input.shape)}", code="shape.stft")
    hop = n_fft // 4 if hop_length is None else hop_length
    if n_fft < 1 or hop < 1:
        raise ShapeError(f"stft: n_fft {n_fft} and hop_length {hop} must be positive", code="shape.stft")
    width = n_fft if win_length is None else win_length
    x = unsqueeze(input, 0) if input.ndim == 1 else input
    w = _window("stft", window, width, n_fft, input)
    if center:
        x = _padded(x, n_fft // 2, pad_mode)
    elif align_to_window:
        left = (n_fft - width) // 2
        x = apply(S.pad, (x,), ((0, left), (0, n_fft - width - left), 0.0))
    if x.shape[-1] < n_fft:
        raise ShapeError(
            f"stft: a signal of {x.shape[-1]} points is shorter than n_fft {n_fft}", code="shape.stft",
            hint="use center=True, or a smaller n_fft",
        )  # fmt: skip
    frames = _framed(x, hop, n_fft)
    if w is not None:
        frames = mul(frames, w)
    half = not frames.dtype.is_complex if onesided is None else onesided
    if half and frames.dtype.is_complex:
        raise DTypeError("stft: the spectrum of a complex signal has no half", code="dtype.stft", hint="onesided=False")
    norm = "ortho" if normalized else None
    out = swap_last((rfft if half else fft)(frames, norm=norm))
    out = reshape(out, out.shape[1:]) if input.ndim == 1 else out
    return out if return_complex else view_as_real(out)


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal of least squared difference to spectra (..., frequencies, frames); inverse of :func:`stft`.

    The overlapping frames are divided by the sum of the squared windows; StateError where that is 0. The window's
    values are looked at, so it should be at hand already.
    """
    if not input.dtype.is_complex or input.ndim not in (2, 3):
        raise ShapeError(
            f"istft: expects a complex (frequencies, frames) or (batch, frequencies, frames), got "
            f"{input.dtype.name}{list(input.shape)}",
            code="shape.stft",
            hint="gradloom.view_as_complex takes pairs",
        )
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if not 0 < hop <= width:
        raise ShapeError(f"istft: hop_length {hop} must lie in 1..win_length ({width})", code="shape.stft")
    half = (input.shape[-2] != n_fft) if onesided is None else onesided
    if input.shape[-2] != (n_fft // 2 + 1 if half else n_fft) or not input.shape[-1]:
        raise ShapeError(
            f"istft: {tuple(input.shape)} does not have the {n_fft // 2 + 1 if half else n_fft} frequencies of n_fft "
            f"{n_fft}, or no frame",
            code="shape.stft",
        )
    x = swap_last(unsqueeze(input, 0) if input.ndim == 2 else input)
    norm = "ortho" if normalized else None
    if return_complex:
        frames = ifft(x, norm=norm)
    else:
        frames = irfft(x if half else narrow(x, -1, 0, n_fft // 2 + 1), n_fft, norm=norm)
    w = _window("istft", window, width, n_fft, input)
    count = x.shape[1]
    shape = full((n_fft,), 1.0, dtype=input.dtype.to_real()) if w is None else w
    y = _overlapped(frames if w is None else mul(frames, w), hop)
    weight = _overlapped(mul(full((1, count, 1), 1.0, dtype=shape.dtype), mul(shape, shape)), hop)
    total = y.shape[-1]
    start = n_fft // 2 if center else 0
    stop = builtins.min(total, start + length) if length is not None else total - (n_fft // 2 if center else 0)
    if float(np.abs(weight.detach().numpy()[0, start:stop]).min(initial=1.0)) < 1e-11:
        raise StateError(
            "istft: the overlapping windows are 0 somewhere, so the signal there cannot be told", code="state.istft",
            hint="use a window that overlaps itself, or center=True",
        )  # fmt: skip
    out = div(narrow(y, 1, start, stop - start), narrow(weight, 1, start, stop - start))
    if length is not None and length > stop - start:
        out = apply(S.pad, (out,), ((0, 0), (0, length - (stop - start)), 0.0))
    return reshape(out, out.shape[1:]) if input.ndim == 2 else out
