"""The public functions on tensors, under PyTorch's names; NumPy's ``axis`` and ``keepdims`` are accepted too.

Everything here is composed from the primitives of :mod:`gradloom.ops`. Each module lists what it offers: ``__all__``
are names of ``gradloom`` itself, and methods of tensors too unless ``FUNCTION_ONLY`` names them; ``METHODS`` are
methods only; ``INPLACE`` have a form that writes into their first operand (``add_``); ``INTERNAL`` are for the
package's own use. The core families are names of this package too, for the library itself; others are reached
through ``PUBLIC``.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

from gradloom.errors import DTypeError
from gradloom.functions import (
    activations,
    base,
    complex_numbers,
    contraction,
    conversion,
    convolution,
    copies,
    creation,
    distances,
    einsum,
    elementwise,
    fft,
    floats,
    gathers,
    grids,
    hooks,
    images,
    interchange,
    interpolation,
    joins,
    layouts,
    legacy,
    linalg_factor,
    linalg_norms,
    linalg_products,
    linalg_solve,
    linalg_spectral,
    masks,
    movement,
    overlaps,
    pieces,
    placing,
    polynomials,
    pooling,
    rearrange,
    reductions,
    repeats,
    resizing,
    sampling,
    scans,
    scatters,
    sets,
    sorting,
    special,
    statistics,
    views,
    windows,
)  # fmt: skip
from gradloom.functions.arguments import RAW, described, explained, guarded, placed
from gradloom.functions.base import apply, axes_of, const, operand, pick, sizes_of
from gradloom.functions.contraction import bmm, dot, linear, matmul, mm
from gradloom.functions.conversion import can_cast, convert
from gradloom.functions.creation import (
    arange,
    empty,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from gradloom.functions.elementwise import (
    abs,
    absolute,
    acos,
    acosh,
    add,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    cast,
    ceil,
    clamp,
    clip,
    cos,
    cosh,
    detach,
    digamma,
    div,
    divide,
    dropout,
    eq,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    ge,
    greater,
    greater_equal,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    less,
    less_equal,
    lgamma,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    mul,
    multiply,
    ne,
    neg,
    negative,
    not_equal,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    subtract,
    tan,
    tanh,
    true_divide,
    trunc,
    where,
)
from gradloom.functions.gathers import check_labels, check_range, gather, index_select, one_hot, take
from gradloom.functions.masks import masked_fill
from gradloom.functions.movement import (
    broadcast_to,
    cat,
    expand,
    flatten,
    flip,
    narrow,
    permute,
    reshape,
    squeeze,
    stack,
    swap_last,
    swapaxes,
    transpose,
    unsqueeze,
    update_slice,
)
from gradloom.functions.precision import FAMILIES, heed
from gradloom.functions.reductions import (
    all,
    allclose,
    amax,
    amin,
    any,
    argmax,
    argmin,
    equal,
    fit,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    numel,
    prod,
    reduce,
    softmax,
    std,
    sum,
    sum_to,
    var,
)
from gradloom.functions.scatters import scatter_add
from gradloom.ops import bessel as _bessel
from gradloom.ops import complex_numbers as _complex_numbers
from gradloom.ops import convolution as _convolution
from gradloom.ops import elementwise as _elementwise
from gradloom.ops import floats as _floats
from gradloom.ops import gamma as _gamma
from gradloom.ops import gather as _gather
from gradloom.ops import norms as _norms
from gradloom.ops import sampling as _sampling
from gradloom.ops import scan as _scan
from gradloom.ops import special as _special
from gradloom.ops import structure as _structure
from gradloom.ops import windows as _windows
from gradloom.tensor import Tensor

# where two families name the same function, the later one is meant
MODULES = (
    base, elementwise, floats, special, polynomials, activations, movement, creation, reductions, contraction,
    gathers, linalg_products, einsum, interchange, complex_numbers, conversion, linalg_solve, distances, scans,
    sets, sorting, statistics, scatters, masks, linalg_spectral, linalg_factor, linalg_norms, fft, windows, joins,
    rearrange, repeats, images, layouts, views, pieces, overlaps, copies, resizing, placing, legacy, hooks,
    pooling,
    sampling, convolution,
)  # fmt: skip
for _module in (*MODULES, grids):  # before anything takes a function out of its family
    _family = _module.__name__.rpartition(".")[2]
    if _family in FAMILIES:
        heed(_family, vars(_module))
PUBLIC: dict[str, Any] = {}
for _module in MODULES:
    PUBLIC.update({name: getattr(_module, name) for name in _module.__all__})


def with_out(fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` guarded, with PyTorch's ``out=``: a tensor, or a tuple of them, that the result is written into."""
    if not inspect.isfunction(fn) or "out" in inspect.signature(fn).parameters:
        return guarded(fn)
    creates = fn.__module__ in (creation.__name__, sampling.__name__) and "dtype" in inspect.signature(fn).parameters

    @functools.wraps(fn)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if creates and isinstance(out, Tensor):
            kwargs.setdefault("dtype", out.dtype)
        try:
            result = fn(*args, **kwargs)
        except RAW as e:
            better = explained(fn, args, kwargs, e)
            if better is None:
                raise
            raise better from e
        if out is None:
            return result
        if isinstance(out, (tuple, list)):
            for o, r in zip(out, result, strict=True):
                _put(o, r)
            return type(result)(*out) if hasattr(result, "_fields") else tuple(out)
        return _put(out, result)

    return call


def _put(out: Any, result: Any) -> Any:
    """A result written into a tensor, which takes its shape."""
    if not isinstance(out, Tensor):
        raise DTypeError(
            f"out: must be a tensor, got {described(out)}", code="dtype.out", hint="give one for each result"
        )
    if not can_cast(result.dtype, out.dtype):
        raise DTypeError(
            f"out: a result of dtype {result.dtype.name} cannot be written into one of {out.dtype.name}",
            code="dtype.out", hint="give a tensor of the result's dtype",
        )  # fmt: skip
    if out.shape != result.shape:
        if out.numel():
            warnings.warn(
                f"out: a tensor of shape {tuple(out.shape)} with elements was resized to {tuple(result.shape)}; "
                "this is deprecated: give one of the result's shape, or an empty one",
                UserWarning, stacklevel=4,
            )  # fmt: skip
        out._v = zeros(result.shape, dtype=out.dtype)._v
    return out._write(result)


_bessel.GRADIENTS()
_complex_numbers.GRADIENTS()
_convolution.GRADIENTS()
_elementwise.GRADIENTS()
_floats.GRADIENTS()
_gamma.GRADIENTS()
_gather.GRADIENTS()
_sampling.GRADIENTS()
_scan.GRADIENTS()
_special.GRADIENTS()
_structure.GRADIENTS()
_windows.GRADIENTS()
_norms.GRADIENTS()
