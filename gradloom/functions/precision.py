"""Which dtype a function computes in inside of ``amp.autocast``: PyTorch's rules for the CPU, as tables of names.

A function of the tables casts its operands and runs with autocast off, so what it is composed of is left alone. One
that no table names keeps the dtype of its operands; what it is composed of follows the tables. Nothing is asked of
functions that no table names, and of the others nothing but whether autocast is on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.tape import MODES
from gradloom.tensor import Tensor

__all__ = ["Casts", "heed", "lower"]

Operands = tuple[tuple, dict[str, Any]]
Policy = Callable[[DType, tuple, dict[str, Any]], Operands]
"""From the dtype of products and the operands to the operands in the dtype that they are computed in."""

_NARROW = (dtypes.float32, dtypes.float16, dtypes.bfloat16)


def _cast(x: Any, target: DType) -> Any:
    if isinstance(x, Tensor):
        return x.to(target) if x.dtype in _NARROW and x.dtype is not target else x
    if isinstance(x, (list, tuple)) and any(isinstance(v, Tensor) for v in x):
        return [_cast(v, target) for v in x]
    return x


def lower(target: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    """The operands with all tensors of a floating dtype but float64 cast to another one; lists of tensors too."""
    return tuple(_cast(x, target) for x in args), {k: _cast(v, target) for k, v in kwargs.items()}


def _wide(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    return lower(dtypes.float32, args, kwargs)


def _keep(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    return args, kwargs


def _widest(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    given = {x.dtype for x in (*args, *kwargs.values()) if isinstance(x, Tensor)}
    return (_wide if dtypes.float32 in given else _keep)(low, args, kwargs)


def _inner(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    """Of two vectors it is ``dot``, which keeps its dtype; else a product of matrices."""
    ranks = {x.ndim for x in (*args, *kwargs.values()) if isinstance(x, Tensor)}
    return (lower if ranks - {0, 1} else _keep)(low, args, kwargs)


def _einsum(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    """A product of matrices where a label of two operands is summed over; else products of elements."""
    if isinstance(args[0], str):
        given, _, result = args[0].replace(" ", "").replace(".", "").partition("->")
        terms, named = given.split(","), "->" in args[0]
    else:
        terms, named, result = list(args[1::2]), len(args) % 2 == 1, args[-1]
    every = [c for t in terms for c in t]
    kept = set(result) if named else {c for c in every if every.count(c) == 1}
    summed = any(set(a) & set(b) - kept - {...} for i, a in enumerate(terms) for b in terms[:i])
    if summed:
        return lower(low, args, kwargs)
    tensors = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args
    wide = any(isinstance(x, Tensor) and x.dtype is dtypes.float32 for x in tensors)
    return (_wide if wide else _keep)(low, args, kwargs)


def _borders(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    """``pad``: mirrored borders of one or two axes and repeated ones are float32, others as they come."""
    pads = args[1] if len(args) > 1 else kwargs.get("pad", ())
    mode = args[2] if len(args) > 2 else kwargs.get("mode", "constant")
    wide = mode == "replicate" or (mode == "reflect" and len(pads) <= 4)
    return (_wide if wide else _keep)(low, args, kwargs)


def _recurrent_layer(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    """A GRU's state keeps its dtype, and its products alone are lower; LSTM and RNN are lower throughout."""
    mode, directions, *_ = args
    return lower(low, args, kwargs) if mode != "GRU" else _products(low, args, 6 + directions)


def _recurrent_cell(low: DType, args: tuple, kwargs: dict[str, Any]) -> Operands:
    mode, *_ = args
    return _products(low, args, 5 if mode == "LSTM" else 4)


def _products(low: DType, args: tuple, weights: int) -> Operands:
    """The weights, from a place on, lower, and with them what they are multiplied with (matmul sees to that)."""
    return (*args[:weights], *(_cast(x, low) for x in args[weights:])), {}


_POOLS = "avg_pool3d max_pool3d max_pool3d_with_indices max_unpool2d max_unpool3d"
_ADAPTIVE = (
    "adaptive_avg_pool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices fractional_max_pool2d "
    "fractional_max_pool2d_with_indices fractional_max_pool3d fractional_max_pool3d_with_indices"
)

# families of gradloom.functions and gradloom.nn: policies, and which functions follow them
FAMILIES: dict[str, dict[Policy, str]] = {
    "linalg_products": {
        lower: "addmm baddbmm addbmm chain_matmul multi_dot tensordot vecdot",
        _keep: "mv dot vdot addmv addr outer ger kron cross",
        _inner: "inner",
    },
    "einsum": {_einsum: "einsum", _keep: "bilinear"},
    "activations": {lower: "prelu"},
    "complex_numbers": {_wide: "polar view_as_complex"},
    "reductions": {_wide: "prod"},
    "statistics": {_wide: "quantile nanquantile"},
    "distances": {_wide: "cdist", _keep: "pdist pairwise_distance"},
    "scatters": {_widest: "index_copy"},
    "grids": {_wide: "grid_sample grid_sampler"},
    "fft": {_wide: "stft fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 rfftn irfftn hfft ihfft"},
    "linalg_norms": {_wide: "trace cond"},
    "linalg_factor": {
        _wide: "geqrf householder_product linalg_qr lu lu_solve orgqr ormqr qr",
        _keep: "linalg_lu lu_factor lu_factor_ex linalg_lu_solve ldl_factor ldl_factor_ex ldl_solve",
    },
    "linalg_solve": {
        _wide: "cholesky cholesky_ex cholesky_inverse cholesky_solve inv inv_ex inverse linalg_cholesky solve "
        "tensorinv tensorsolve triangular_solve",
        _keep: "linalg_matrix_exp matrix_exp linalg_det slogdet logdet solve_ex solve_triangular",
    },
    "linalg_spectral": {
        _wide: "eig eigh eigvals eigvalsh linalg_svd lstsq matrix_rank pinverse svd svdvals",
    },
    "pooling_functions": {_wide: _POOLS},
    "adaptive_functions": {_wide: _ADAPTIVE},
    "functional": {
        _wide: f"{_POOLS} {_ADAPTIVE} ctc_loss",
        lower: "scaled_dot_product_attention",
        _borders: "pad",
    },
}  # fmt: skip

# composites ask for themselves (gradloom.tape), under the name of their function
_COMPOSITES: dict[str, Policy] = {
    **dict.fromkeys(
        "matmul linear conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d".split(),
        lower,
    ),
    **dict.fromkeys(
        "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy "
        "hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss "
        "multilabel_margin_loss nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss".split(),
        _wide,
    ),
    "layer": _recurrent_layer,
    "cell": _recurrent_cell,
}


class Casts:
    """What is done inside of autocast to one dtype. One object for each, so that the tape can tell states apart."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype

    def operands(self, name: str, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The operands of a composite of that name, in the dtype that it is to compute in."""
        return _COMPOSITES.get(name, _keep)(self.dtype, args, kwargs)


def heed(family: str, names: dict[str, Any]) -> None:
    """Make the functions of a family that its table names heed autocast.

    names: the names of its module, where they are replaced.
    """
    for policy, listed in FAMILIES[family].items():
        for name in listed.split():
            names[name] = _aware(names[name], policy)


@functools.cache
def _aware(fn: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    """``fn`` with its operands cast by a policy, where autocast is on; it itself runs with autocast off."""
    if hasattr(fn, "heeds"):
        return fn

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        casts = MODES.autocast
        if casts is None:
            return fn(*args, **kwargs)
        args, kwargs = policy(casts.dtype, args, kwargs)
        MODES.autocast = None
        try:
            return fn(*args, **kwargs)
        finally:
            MODES.autocast = casts

    call.heeds = policy  # type: ignore[attr-defined]
    return call
