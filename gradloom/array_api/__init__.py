"""The Python array API standard, 2024.12: its names and signatures over gradloom's functions.

``x.__array_namespace__()`` gives this module. gradloom itself follows PyTorch where the two differ: sums and variances,
``equal``, ``sort``, ``take`` and ``unique`` have other results there, 0-d arrays yield in promotion, and ``x.size`` is
a method. https://data-apis.org/array-api/2024.12/
"""

from __future__ import annotations

import math

from gradloom.array_api import elementwise as _elementwise
from gradloom.array_api.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from gradloom.array_api.elementwise import clip, real, round, sign, where
from gradloom.array_api.info import Info
from gradloom.array_api.manipulation import (
    broadcast_arrays,
    broadcast_shapes,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    matrix_transpose,
    moveaxis,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    take,
    take_along_axis,
    tile,
    unstack,
)
from gradloom.array_api.promotion import astype, can_cast, finfo, iinfo, isdtype, result_type
from gradloom.array_api.reductions import (
    all,
    any,
    argmax,
    argmin,
    argsort,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    diff,
    isin,
    max,
    mean,
    min,
    nonzero,
    prod,
    searchsorted,
    sort,
    std,
    sum,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    var,
)
from gradloom.dtypes import bool_ as bool
from gradloom.dtypes import (
    complex64,
    complex128,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

# after the names above, which the extensions build upon
from gradloom.array_api import fft, linalg  # isort: skip
from gradloom.array_api.linalg import matmul, tensordot, vecdot  # isort: skip

__array_api_version__ = "2024.12"

e, inf, nan, newaxis, pi = math.e, math.inf, math.nan, None, math.pi

globals().update(_elementwise.FUNCTIONS)


def __array_namespace_info__() -> Info:
    """What this namespace can do."""
    return Info()


__all__ = [
    "all", "any", "arange", "argmax", "argmin", "argsort", "asarray", "astype", "bool", "broadcast_arrays",
    "broadcast_shapes", "broadcast_to", "can_cast", "clip", "complex128", "complex64", "concat", "count_nonzero",
    "cumulative_prod", "cumulative_sum", "diff", "e", "empty", "empty_like", "expand_dims", "eye", "fft", "finfo",
    "flip", "float32", "float64", "from_dlpack", "full", "full_like", "iinfo", "inf", "int16", "int32", "int64", "int8",
    "isdtype", "isin", "linalg", "linspace", "matmul", "matrix_transpose", "max", "mean", "meshgrid", "min", "moveaxis",
    "nan", "newaxis", "nonzero", "ones", "ones_like", "permute_dims", "pi", "prod", "real", "repeat", "reshape",
    "result_type", "roll", "round", "searchsorted", "sign", "sort", "squeeze", "stack", "std", "sum", "take",
    "take_along_axis", "tensordot", "tile", "tril", "triu", "uint16", "uint32", "uint64", "uint8", "unique_all",
    "unique_counts", "unique_inverse", "unique_values", "unstack", "var", "vecdot", "where", "zeros", "zeros_like",
    *_elementwise.FUNCTIONS,
]  # fmt: skip
