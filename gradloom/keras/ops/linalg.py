"""``keras.ops.linalg``: the functions of linear algebra."""

from __future__ import annotations

from gradloom.keras import ops as _ops

_NAMES = """
    cholesky cholesky_inverse det eig eigh inv jvp lstsq lu_factor matrix_rank norm pinv qr solve
    solve_triangular svd
""".split()
globals().update({name: _ops._ALL[name] for name in _NAMES})

__all__ = sorted(_NAMES)
