"""Primitives given by a formula: written once, compiled from it, and evaluated from it with NumPy.

A formula takes :class:`Num` values and uses operators and the functions of this module. ``in_double`` formulas are
worked in float64 whatever the operands are and rounded once, so their float32 results are right to half an ulp and
a little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.dtypes import DType, float32, float64
from gradloom.ops.core import Elementwise

__all__ = ["Num", "chebyshev", "formula", "function", "polynomial", "where"]


def _by_element(fn: Callable[[float], float]) -> Callable[[Any], Any]:
    run = np.frompyfunc(fn, 1, 1)

    def call(x: Any) -> Any:
        a = np.asarray(x)
        return np.asarray(run(a.astype(np.float64))).astype(a.dtype)

    return call


_ARRAYS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "fma": lambda a, b, c: a * b + c, "max": np.maximum, "min": np.minimum, "mod": np.mod, "pow": np.power,
    "copysign": np.copysign, "sqrt": np.sqrt, "floor": np.floor, "trunc": np.trunc, "round": np.round, "exp": np.exp,
    "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log1p": np.log1p, "sin": np.sin,
    "cos": np.cos, "erf": _by_element(math.erf), "erfc": _by_element(math.erfc),
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
}  # fmt: skip


class Arrays:
    """What a body writes to where it is evaluated at once; the counterpart of the compiler's ``Elem``."""

    def __init__(self, body: Any, compute: DType) -> None:
        self.body, self.dtype = body, compute
        self.compute = compute.code

    def op(self, name: str, *args: Any) -> Any:
        return _ARRAYS[name](*args)

    cmp = op

    def const(self, value: Any) -> Any:
        return self.dtype.numpy.type(value)

    def where(self, c: Any, a: Any, b: Any) -> Any:
        return np.where(c, a, b)

    def cast(self, x: Any, dtype: DType) -> Any:
        return np.asarray(x).astype(dtype.numpy)


class Num:
    """A value inside of a formula. Comparisons give values too; ``where`` chooses by them."""

    __slots__ = ("e", "v")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, e: Any, v: Any) -> None:
        self.e, self.v = e, v

    def _raw(self, other: Any) -> Any:
        return other.v if isinstance(other, Num) else self.e.const(other)

    def op(self, name: str, *others: Any) -> Num:
        """An instruction on this value."""
        return Num(self.e, self.e.op(name, self.v, *map(self._raw, others)))

    def test(self, name: str, *others: Any) -> Num:
        """A comparison or a classification."""
        return Num(self.e, self.e.cmp(name, self.v, *map(self._raw, others)))

    def __add__(self, o: Any) -> Num:
        return self.op("add", o)

    def __radd__(self, o: Any) -> Num:
        return self.op("add", o)

    def __sub__(self, o: Any) -> Num:
        return self.op("sub", o)

    def __rsub__(self, o: Any) -> Num:
        return Num(self.e, self.e.op("sub", self._raw(o), self.v))

    def __mul__(self, o: Any) -> Num:
        return self.op("mul", o)

    def __rmul__(self, o: Any) -> Num:
        return self.op("mul", o)

    def __truediv__(self, o: Any) -> Num:
        return self.op("div", o)

    def __rtruediv__(self, o: Any) -> Num:
        return Num(self.e, self.e.op("div", self._raw(o), self.v))

    def __neg__(self) -> Num:
        return self.op("neg")

    def __abs__(self) -> Num:
        return self.op("abs")

    def __lt__(self, o: Any) -> Num:
        return self.test("lt", o)

    def __le__(self, o: Any) -> Num:
        return self.test("le", o)

    def __gt__(self, o: Any) -> Num:
        return self.test("gt", o)

    def __ge__(self, o: Any) -> Num:
        return self.test("ge", o)

    def __eq__(self, o: object) -> Num:  # type: ignore[override]
        return self.test("eq", o)

    def __ne__(self, o: object) -> Num:  # type: ignore[override]
        return self.test("ne", o)


def where(c: Num, a: Any, b: Any) -> Num:
    """``a`` where ``c`` holds, else ``b``."""
    e = next((x.e for x in (a, b) if isinstance(x, Num)), c.e)
    return Num(e, e.where(c.v, *(x.v if isinstance(x, Num) else e.const(x) for x in (a, b))))


def function(name: str) -> Callable[..., Num]:
    """The kernel IR's function of that name, as one that formulas can call."""
    return lambda x, *others: x.op(name, *others)


def polynomial(x: Num, coefs: Sequence[float]) -> Num:
    """``coefs[0] + coefs[1] x + coefs[2] x² + …`` by Horner's rule."""
    acc: Any = coefs[-1]
    for c in reversed(coefs[:-1]):
        acc = x.op("fma", acc, c)
    return acc


def chebyshev(t: Num, coefs: Sequence[float]) -> Num:
    """The sum of ``coefs[k] T_k(t)``, ``|t| <= 1``, by Clenshaw's recurrence."""
    twice = t + t
    first, second = twice.op("fma", coefs[-1], coefs[-2]), coefs[-1]
    for c in reversed(coefs[1:-2]):
        first, second = twice.op("fma", first, c - second), first  # type: ignore[assignment]
    return t.op("fma", first, coefs[0] - second)


def formula(
    name: str, fn: Callable[..., Num], in_double: bool = False, out: DType | None = None, **options: Any
) -> Elementwise:
    """An elementwise primitive from its formula; integers become the default float unless ``options`` say more.

    ``attrs`` of a call are handed to the formula behind the operands. ``out``: a dtype that the result is cast to.
    """

    def body(e: Any, args: Sequence[Any], attrs: tuple) -> Any:
        if not in_double or e.compute == "f64":
            r = fn(*(Num(e, a) for a in args), *attrs).v
            return r if out is None else e.cast(r, out)
        wide = type(e)(e.body, float64)
        return wide.cast(fn(*(Num(wide, e.cast(a, float64)) for a in args), *attrs).v, out or float32)

    def reference(arrays: Any, attrs: tuple, aval: Any) -> np.ndarray:
        compute = float64 if np.result_type(*arrays) == np.float64 else float32
        return np.asarray(body(Arrays(None, compute), arrays, attrs)).astype(aval.dtype.numpy, copy=False)

    kind: Any = "float" if out is None else lambda attrs: out
    return Elementwise(name, reference, body, **({"result": kind} | options))
