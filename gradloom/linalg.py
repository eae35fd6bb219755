"""Linear algebra under PyTorch's ``torch.linalg`` names, with the Array API's ``linalg`` extension beside them.

All take batches of matrices (..., n, m), float32, float64, complex64 or complex128; ``out=`` too. A matrix that does
not go (singular, not positive-definite) raises :class:`LinAlgError` when the program runs, which is when a value is
looked at. To try and go on, ask ``cholesky_ex``, ``inv_ex``, ``solve_ex`` or ``lu_factor_ex`` for ``info``.
"""

from __future__ import annotations

from gradloom.functions import (
    contraction,
    linalg_factor,
    linalg_norms,
    linalg_products,
    linalg_solve,
    linalg_spectral,
    with_out,
)
from gradloom.ops.linalg import LinAlgError

matmul = with_out(contraction.matmul)
householder_product = with_out(linalg_factor.householder_product)
ldl_factor = with_out(linalg_factor.ldl_factor)
ldl_factor_ex = with_out(linalg_factor.ldl_factor_ex)
ldl_solve = with_out(linalg_factor.ldl_solve)
lu = with_out(linalg_factor.linalg_lu)
lu_factor = with_out(linalg_factor.lu_factor)
lu_factor_ex = with_out(linalg_factor.lu_factor_ex)
lu_solve = with_out(linalg_factor.linalg_lu_solve)
qr = with_out(linalg_factor.linalg_qr)
cond = with_out(linalg_norms.cond)
matrix_norm = with_out(linalg_norms.matrix_norm)
norm = with_out(linalg_norms.linalg_norm)
trace = with_out(linalg_norms.linalg_trace)
vector_norm = with_out(linalg_norms.vector_norm)
cross = with_out(linalg_products.linalg_cross)
multi_dot = with_out(linalg_products.multi_dot)
outer = with_out(linalg_products.outer)
tensordot = with_out(linalg_products.tensordot)
vander = with_out(linalg_products.vander)
vecdot = with_out(linalg_products.vecdot)
cholesky = with_out(linalg_solve.linalg_cholesky)
cholesky_ex = with_out(linalg_solve.cholesky_ex)
det = with_out(linalg_solve.linalg_det)
inv = with_out(linalg_solve.inv)
inv_ex = with_out(linalg_solve.inv_ex)
matrix_exp = with_out(linalg_solve.linalg_matrix_exp)
matrix_power = with_out(linalg_solve.linalg_matrix_power)
slogdet = with_out(linalg_solve.linalg_slogdet)
solve = with_out(linalg_solve.solve)
solve_ex = with_out(linalg_solve.solve_ex)
solve_triangular = with_out(linalg_solve.solve_triangular)
tensorinv = with_out(linalg_solve.tensorinv)
tensorsolve = with_out(linalg_solve.tensorsolve)
eig = with_out(linalg_spectral.eig)
eigh = with_out(linalg_spectral.eigh)
eigvals = with_out(linalg_spectral.eigvals)
eigvalsh = with_out(linalg_spectral.eigvalsh)
lstsq = with_out(linalg_spectral.lstsq)
matrix_rank = with_out(linalg_spectral.matrix_rank)
pinv = with_out(linalg_spectral.pinv)
svd = with_out(linalg_spectral.linalg_svd)
svdvals = with_out(linalg_spectral.svdvals)
diagonal = with_out(linalg_norms.diagonal)
matrix_transpose = with_out(linalg_products.matrix_transpose)

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals",
    "eigvalsh", "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu",
    "lu_factor", "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip
