"""Tensors as text, laid out as PyTorch does: one number format for all elements, large tensors cut short."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom import dtypes

if TYPE_CHECKING:
    from gradloom.tensor import Tensor

__all__ = ["set_printoptions", "text"]


@dataclass(frozen=True)
class _Options:
    """How numbers are written, and how much of a tensor."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": _Options(),
    "short": _Options(precision=2, threshold=1000, edgeitems=2),
    "full": _Options(threshold=math.inf),
}
_options = [_Options()]


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed.

    Parameters
    ----------
    precision: digits after the point. threshold: elements above which only edges are shown. edgeitems: how many at
    each end of an axis. linewidth: characters of a line. profile: ``"default"``, ``"short"`` or ``"full"``, which sets
    the others first. sci_mode: powers of ten always, never, or (None) where the numbers ask for it.
    """
    base = _options[0]
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: profile {profile!r} is none of {', '.join(_PROFILES)}")
        base = replace(_PROFILES[profile], sci_mode=base.sci_mode)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options[0] = replace(base, **{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode)  # type: ignore[arg-type]


def _number_format(a: np.ndarray, o: _Options) -> tuple[Callable[[Any], str], int]:
    """How to write each of the real numbers in ``a``, and the width that takes."""
    if a.dtype.kind != "f":
        width = max((len(str(v)) for v in a.ravel().tolist()), default=0)
        return (lambda v: str(v).rjust(width)), width
    values = a.astype(np.float64).ravel()
    telling = values[np.isfinite(values) & (values != 0)]
    whole, power, widths = True, False, [1]
    if telling.size:
        low, high = np.abs(telling).min(), np.abs(telling).max()
        whole = bool((telling == np.ceil(telling)).all())
        power = high / low > 1000 or high > 1e8 or (not whole and low < 1e-4)
        if o.sci_mode is not None:
            power = o.sci_mode
        digits = f".{o.precision}e" if power else ".0f" if whole else f".{o.precision}f"
        widths = [len(format(v, digits)) + (whole and not power) for v in telling.tolist()]
    width = max(widths)

    def write(v: float) -> str:
        if power:
            s = format(v, f"{width}.{o.precision}e")
        elif whole:
            s = f"{v:.0f}" + ("." if math.isfinite(v) else "")
        else:
            s = f"{v:.{o.precision}f}"
        return s.rjust(width)

    return write, width


def _format(a: np.ndarray, o: _Options) -> tuple[Callable[[Any], str], int]:
    """As :func:`_number_format`, for complex numbers too."""
    if a.dtype.kind != "c":
        return _number_format(a, o)
    real, wide = _number_format(a.real, o)
    imag, deep = _number_format(a.imag, o)

    def write(v: complex) -> str:
        i = imag(v.imag).lstrip() + "j"
        return real(v.real) + (i if i[0] in "+-" else "+" + i)

    return write, wide + deep + 1


def _edges(a: np.ndarray, n: int) -> np.ndarray:
    """The entries at both ends of every axis."""
    for k, size in enumerate(a.shape):
        if size > 2 * n:
            a = np.concatenate([np.take(a, range(n), k), np.take(a, range(size - n, size), k)], k)
    return a


def _body(a: np.ndarray, indent: int, short: bool, write: Callable[[Any], str], width: int, o: _Options) -> str:
    if not a.ndim:
        return write(a.item())
    n, edge = a.shape[0], o.edgeitems
    cut = short and n > 2 * edge
    if a.ndim == 1:
        if cut:
            parts = (
                [*(map(write, a[:edge].tolist())), " ...", *(map(write, a[n - edge :].tolist()))] if edge else ["..."]
            )
        else:
            parts = [write(v) for v in a.tolist()]
        per_line = max(1, (o.linewidth - indent) // (width + 2))
        lines = [", ".join(parts[k : k + per_line]) for k in range(0, len(parts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [*range(edge), None, *range(n - edge, n)] if cut else list(range(n))
    inner = ["..." if k is None else _body(a[k], indent + 1, short, write, width, o) for k in rows]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(inner) + "]"


def _contents(t: Tensor, indent: int, o: _Options) -> str:
    a = t.numpy()
    if a.dtype.kind == "V" or a.dtype == np.float16 or t.dtype is dtypes.bfloat16:
        a = a.astype(np.float32)
    if not a.size:
        return "[]"
    short = a.size > o.threshold
    write, width = _format(_edges(a, o.edgeitems) if short else a, o)
    return _body(a, indent, short, write, width, o)


def text(t: Tensor) -> str:
    """The tensor as ``repr`` shows it: ``tensor(values, what sets it apart)``."""
    o = _options[0]
    lead = "tensor("
    body = _contents(t, len(lead), o)
    marks = []
    usual = [dtypes.default_float(), dtypes.default_complex(), dtypes.int64, dtypes.bool_]
    if not t.numel():
        if t.ndim != 1:
            marks.append(f"size={tuple(t.shape)}")
        usual = usual[:1]  # no elements tell an integer from a floating dtype
    if t.dtype not in usual:
        marks.append(f"dtype={t.dtype!r}")
    if t.grad_fn is not None:
        marks.append(f"grad_fn={t.grad_fn!r}")
    elif t.requires_grad:
        marks.append("requires_grad=True")
    out = lead + body
    used = len(out) - out.rfind("\n") + 1
    for m in marks:
        if used + len(m) + 2 > o.linewidth:
            out += ",\n" + " " * len(lead) + m
            used = len(lead) + len(m)
        else:
            out += ", " + m
            used += len(m) + 2
    return out + ")"
