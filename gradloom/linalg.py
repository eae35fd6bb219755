"""Linear algebra under PyTorch's ``torch.linalg`` names, and the Array API's ``linalg`` extension beside them."""

from __future__ import annotations

from gradloom.functions import linalg_products as _products
from gradloom.functions import linalg_solve as _solve
from gradloom.functions import with_out as _with_out
from gradloom.functions.contraction import matmul as _matmul
from gradloom.ops.linalg import LinAlgError

_NAMES = {
    "cholesky": _solve.linalg_cholesky,
    "cross": _products.linalg_cross,
    "matmul": _matmul,
} | {
    name: getattr(module, name)
    for module, names in (
        (_products, "multi_dot outer tensordot vander vecdot"),
        (
            _solve,
            "cholesky_ex det inv inv_ex matrix_exp matrix_power slogdet solve solve_ex solve_triangular tensorinv "
            "tensorsolve",
        ),
    )
    for name in names.split()
}
globals().update({name: _with_out(fn) for name, fn in _NAMES.items()})

__all__ = ["LinAlgError", *sorted(_NAMES)]  # noqa: PLE0604
