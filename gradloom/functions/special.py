"""Special functions per element: gamma, zeta, Bessel, Airy, the normal distribution. See :mod:`gradloom.special`."""

from __future__ import annotations

import math
from typing import Any

from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions.base import apply, const, operand
from gradloom.functions.elementwise import _binary, _unary, add, digamma, in_single, lgamma, sub
from gradloom.ops import bessel as B
from gradloom.ops import gamma as Y
from gradloom.ops import special as S
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = "i0 igamma igammac mvlgamma polygamma".split()
INTERNAL = (
    "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 entr erfcx i0e i1 i1e log_ndtr modified_bessel_i0 "
    "modified_bessel_i1 modified_bessel_k0 modified_bessel_k1 ndtr ndtri scaled_modified_bessel_k0 "
    "scaled_modified_bessel_k1 special_polygamma spherical_bessel_j0 zeta"
).split()
INPLACE = __all__

entr = _unary(S.entr, "-x log(x), 0 at 0, -inf below.")
erfcx = _unary(S.erfcx, "e**(x²) erfc(x).")
ndtr = _unary(S.ndtr, "The normal distribution function.")
log_ndtr = _unary(S.log_ndtr, "Logarithm of the normal distribution function.")
ndtri = _unary(S.ndtri, "Inverse of the normal distribution function.")
zeta = _binary(Y.zeta, "Hurwitz' zeta function, the sum of (other + k)**-input over k = 0, 1, … (derivative in other).")
igamma = _binary(Y.igamma, "Lower incomplete gamma function, regularised; floating dtypes (derivative in other).")
igammac = _binary(Y.igammac, "Upper incomplete gamma function, regularised; floating dtypes (derivative in other).")
i0, i1 = _unary(B.i0, "Modified Bessel function of order 0."), _unary(B.i1, "Modified Bessel function of order 1.")
modified_bessel_i0, modified_bessel_i1 = i0, i1
i0e, i1e = _unary(B.i0e, "e**-|x| times that of order 0."), _unary(B.i1e, "e**-|x| times that of order 1.")
bessel_j0 = _unary(B.bessel_j0, "Bessel function of the first kind, order 0.")
bessel_j1 = _unary(B.bessel_j1, "Bessel function of the first kind, order 1.")
bessel_y0 = _unary(B.bessel_y0, "Bessel function of the second kind, order 0; NaN below 0.")
bessel_y1 = _unary(B.bessel_y1, "Bessel function of the second kind, order 1; NaN below 0.")
modified_bessel_k0 = _unary(B.modified_bessel_k0, "Modified Bessel function of the second kind, order 0.")
modified_bessel_k1 = _unary(B.modified_bessel_k1, "Modified Bessel function of the second kind, order 1.")
scaled_modified_bessel_k0 = _unary(B.scaled_modified_bessel_k0, "e**x times that of order 0.")
scaled_modified_bessel_k1 = _unary(B.scaled_modified_bessel_k1, "e**x times that of order 1.")
spherical_bessel_j0 = _unary(B.spherical_bessel_j0, "sin(x) / x.")
airy_ai = _unary(B.airy_ai, "Airy's function Ai.")


def polygamma(n: int, input: Any) -> Tensor:
    """The n-th derivative of digamma. Raises ArgumentError for negative n."""
    if isinstance(n, Tensor):  # a method is called with the tensor first
        n, input = input, n
    n = int(n)
    if n < 0:
        raise ArgumentError(f"polygamma: n must not be negative, got {n}")
    return digamma(input) if n == 0 else apply(Y.polygamma, (operand(input),), (n,))


@composite
@in_single
def _mvlgamma(x: Tensor, p: int) -> Tensor:
    total = lgamma(x)
    for k in range(1, p):
        total = add(total, lgamma(sub(x, const(k / 2))))
    return add(total, const(p * (p - 1) / 4 * math.log(math.pi)))


def mvlgamma(input: Any, p: int) -> Tensor:
    """Logarithm of the multivariate gamma function of dimension p, for input > (p - 1) / 2."""
    if p < 1:
        raise ShapeError(f"mvlgamma: p must be at least 1, got {p}", code="shape.mvlgamma")
    return _mvlgamma(operand(input), int(p))
