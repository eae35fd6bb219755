"""Linear algebra under PyTorch's ``torch.linalg`` names, with the Array API's ``linalg`` extension beside them.

All take batches of matrices (..., n, m), float32, float64, complex64 or complex128; ``out=`` too. A matrix that does
not go (singular, not positive-definite) raises :class:`LinAlgError` when the program runs, which is when a value is
looked at. To try and go on, ask ``cholesky_ex``, ``inv_ex``, ``solve_ex`` or ``lu_factor_ex`` for ``info``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from gradloom.functions import (
    contraction,
    linalg_factor,
    linalg_norms,
    linalg_products,
    linalg_solve,
    linalg_spectral,
)
from gradloom.functions import placed as _placed
from gradloom.functions import with_out as _with_out
from gradloom.ops.linalg import LinAlgError


def _named(fn: Callable[..., Any]) -> Callable[..., Any]:
    """With ``out=``, and operands by every name that goes in PyTorch: A, x or input the first, B, b or other."""
    call, names = _with_out(fn), list(inspect.signature(fn).parameters)
    other = {n: names[0] for n in ("A", "x", "input") if n not in names}
    if "B" in names:
        other |= {"b": "B", "other": "B"}

    @functools.wraps(call)
    def named(*args: Any, **kwargs: Any) -> Any:
        if kwargs and not other.keys().isdisjoint(kwargs):
            kwargs = {other.get(n, n): v for n, v in kwargs.items()}
        return call(*args, **kwargs)

    return named


matmul = _named(contraction.matmul)
householder_product = _named(linalg_factor.householder_product)
ldl_factor = _named(linalg_factor.ldl_factor)
ldl_factor_ex = _named(linalg_factor.ldl_factor_ex)
ldl_solve = _named(linalg_factor.ldl_solve)
lu = _named(linalg_factor.linalg_lu)
lu_factor = _named(linalg_factor.lu_factor)
lu_factor_ex = _named(linalg_factor.lu_factor_ex)
lu_solve = _named(linalg_factor.linalg_lu_solve)
qr = _named(linalg_factor.linalg_qr)
cond = _named(linalg_norms.cond)
matrix_norm = _named(linalg_norms.matrix_norm)
norm = _named(linalg_norms.linalg_norm)
trace = _named(linalg_norms.linalg_trace)
vector_norm = _named(linalg_norms.vector_norm)
cross = _named(linalg_products.linalg_cross)
multi_dot = _named(linalg_products.multi_dot)
outer = _named(linalg_products.outer)
tensordot = _named(linalg_products.tensordot)
vander = _named(linalg_products.vander_of_each)
vecdot = _named(linalg_products.vecdot)
cholesky = _named(linalg_solve.linalg_cholesky)
cholesky_ex = _named(linalg_solve.cholesky_ex)
det = _named(linalg_solve.linalg_det)
inv = _named(linalg_solve.inv)
inv_ex = _named(linalg_solve.inv_ex)
matrix_exp = _named(linalg_solve.linalg_matrix_exp)
matrix_power = _named(linalg_solve.linalg_matrix_power)
slogdet = _named(linalg_solve.linalg_slogdet)
solve = _named(linalg_solve.solve)
solve_ex = _named(linalg_solve.solve_ex)
solve_triangular = _named(linalg_solve.solve_triangular)
tensorinv = _named(linalg_solve.tensorinv)
tensorsolve = _named(linalg_solve.tensorsolve)
eig = _named(linalg_spectral.eig)
eigh = _named(linalg_spectral.eigh)
eigvals = _named(linalg_spectral.eigvals)
eigvalsh = _named(linalg_spectral.eigvalsh)
lstsq = _named(linalg_spectral.lstsq)
matrix_rank = _named(linalg_spectral.matrix_rank)
pinv = _named(linalg_spectral.pinv)
svd = _named(linalg_spectral.linalg_svd)
svdvals = _named(linalg_spectral.svdvals)
diagonal = _named(linalg_norms.diagonal)
matrix_transpose = _named(linalg_products.matrix_transpose)

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals",
    "eigvalsh", "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu",
    "lu_factor", "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip

for _name in __all__:
    _placed(__name__, _name, globals()[_name])
