"""Orthogonal polynomials by their recurrences: Chebyshev's four kinds and their shifted forms, Hermite, Laguerre,
Legendre.

A Python integer as degree unrolls the recurrence into one native kernel, which has derivatives. A tensor of degrees
is worked in NumPy (the number of steps depends on its values) and has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import DTypeError, GradientError
from gradloom.functions.base import apply, operand
from gradloom.functions.elementwise import cast
from gradloom.ops.floats import HostMap
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__: list[str] = []
UNROLLED = 48  # the highest degree that becomes a kernel

Step = Callable[[Any, int, Any, Any], Any]


def _chebyshev(x: Any, k: int, q: Any, p: Any) -> Any:
    return (x + x) * q - p


# name -> (polynomial of degree 1, that of degree k + 1 from x, k and those of degrees k and k - 1, the angle form)
_KINDS: dict[str, tuple[Callable[[Any], Any], Step, Callable[[Any, Any], Any] | None]] = {
    "chebyshev_polynomial_t": (lambda x: x, _chebyshev, lambda n, t: np.cos(n * t)),
    "chebyshev_polynomial_u": (lambda x: x + x, _chebyshev, lambda n, t: _quotient(np.sin, n + 1, 1, t)),
    "chebyshev_polynomial_v": (lambda x: x + x - 1.0, _chebyshev, lambda n, t: _quotient(np.cos, n + 0.5, 0.5, t)),
    "chebyshev_polynomial_w": (lambda x: x + x + 1.0, _chebyshev, lambda n, t: _quotient(np.sin, n + 0.5, 0.5, t)),
    "hermite_polynomial_h": (lambda x: x + x, lambda x, k, q, p: (x + x) * q - p * (2.0 * k), None),
    "hermite_polynomial_he": (lambda x: x * 1.0, lambda x, k, q, p: x * q - p * float(k), None),
    "laguerre_polynomial_l": (
        lambda x: 1.0 - x, lambda x, k, q, p: ((2.0 * k + 1.0 - x) * q - p * float(k)) / (k + 1.0), None,
    ),
    "legendre_polynomial_p": (
        lambda x: x * 1.0, lambda x, k, q, p: (x * q * (2.0 * k + 1.0) - p * float(k)) / (k + 1.0), None,
    ),
}  # fmt: skip


def _quotient(fn: Callable[..., Any], a: Any, b: float, t: Any) -> Any:
    """fn(a t) / fn(b t), by l'Hospital's rule where the divisor vanishes."""
    under = fn(b * t)
    flat = np.abs(under) < 1e-7
    slope = np.cos if fn is np.sin else np.sin
    return np.where(flat, a * slope(a * t) / (b * slope(b * t)), fn(a * t) / np.where(flat, 1.0, under))


def _by_degree(name: str, shifted: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    first, step, angle = _KINDS[name]

    def run(x: np.ndarray, n: np.ndarray) -> np.ndarray:
        y = x.astype(np.float64)
        y = y + y - 1.0 if shifted else y
        degree = np.trunc(n.astype(np.float64))
        out = np.where(degree < 0, 0.0, np.where(degree == 0, 1.0, np.nan))
        todo = degree > 0
        if angle is not None:
            inside = todo & (degree > UNROLLED) & (np.abs(y) <= 1)
            out = np.where(inside, angle(degree, np.arccos(np.where(inside, y, 0.0))), out)
            todo &= ~inside
        p, q = np.ones_like(y), first(y)
        for k in range(1, int(degree[todo].max(initial=0.0)) + 1):
            out = np.where(todo & (degree == k), q, out)
            p, q = q, step(y, k, q, p)
        return out

    return run


@composite
def _unrolled(name: str, shifted: bool, x: Tensor, n: int) -> Tensor:
    first, step, _ = _KINDS[name]
    y = x + x - 1.0 if shifted else x
    p, q = x * 0.0 + 1.0, first(y)
    if n < 1:
        return p if n == 0 else x * 0.0
    for k in range(1, n):
        p, q = q, step(y, k, q, p)
    return q


def _polynomial(kind: str, shifted: bool, title: str) -> Callable[[Any, Any], Tensor]:
    name = "shifted_" + kind if shifted else kind
    prim = HostMap(name, _by_degree(kind, shifted))

    def refuse(ct: Any, out: Any, ins: Any, attrs: Any) -> Any:
        raise GradientError(
            f"{name} of a tensor of degrees has no derivative", code="gradient.special",
            hint="give the degree as a Python integer",
        )  # fmt: skip

    prim.vjp = refuse

    def fn(input: Any, n: Any) -> Tensor:
        x = operand(input)
        if isinstance(n, (int, float)) and not isinstance(n, bool) and n <= UNROLLED and isinstance(input, Tensor):
            if n != int(n):
                raise DTypeError(f"{name}: the degree {n} is no integer", code="dtype.degree")
            d = x.dtype if x.dtype.is_floating else dtypes.default_float()
            return _unrolled(kind, shifted, cast(x, d), int(n))
        return apply(prim, (x, operand(n)))

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = title + " of degree ``n`` (0 where that is negative); operands broadcast."
    return fn


_TITLES = {
    "chebyshev_polynomial_t": "Chebyshev polynomial of the first kind", "chebyshev_polynomial_u": "Second kind",
    "chebyshev_polynomial_v": "Third kind", "chebyshev_polynomial_w": "Fourth kind",
    "hermite_polynomial_h": "Physicist's Hermite polynomial",
    "hermite_polynomial_he": "Probabilist's Hermite polynomial",
    "laguerre_polynomial_l": "Laguerre polynomial", "legendre_polynomial_p": "Legendre polynomial",
}  # fmt: skip
POLYNOMIALS = {name: _polynomial(name, False, title) for name, title in _TITLES.items()}
POLYNOMIALS |= {
    "shifted_" + name: _polynomial(name, True, title + ", of 2x - 1,")
    for name, title in _TITLES.items()
    if name.startswith("chebyshev")
}
