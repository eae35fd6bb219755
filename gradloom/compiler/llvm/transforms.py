"""The product of a small constant matrix and a vector of values, with as few operations as its pattern allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from .text import Function, V

__all__ = ["Arithmetic", "Matrix", "Vectors", "transform"]

Matrix = tuple[tuple[float, ...], ...]
T = TypeVar("T")


class Arithmetic(Protocol, Generic[T]):
    """Where the operations go: a body of instructions, or a function."""

    def add(self, a: T, b: T) -> T:
        """The sum."""

    def sub(self, a: T, b: T) -> T:
        """The difference."""

    def scale(self, x: T, v: float) -> T:
        """``x`` times a constant."""

    def fma(self, x: T, v: float, total: T) -> T:
        """``total`` and ``x`` times a constant."""


class Vectors:
    """Operations on registers of a function."""

    def __init__(self, f: Function) -> None:
        self.f = f

    def add(self, a: V, b: V) -> V:
        """The sum."""
        return self.f.fadd(a, b)

    def sub(self, a: V, b: V) -> V:
        """The difference."""
        return self.f.fsub(a, b)

    def scale(self, x: V, v: float) -> V:
        """``x`` times a constant."""
        return self.f.fmul(x, self.f.const(x.ty, v))

    def fma(self, x: V, v: float, total: V) -> V:
        """``total`` and ``x`` times a constant."""
        return self.f.fma(x, self.f.const(x.ty, v), total)


def transform(on: Arithmetic[T], matrix: Matrix, x: Sequence[T]) -> list[T]:
    """The product. Two rows that differ in the signs of odd places share their sums."""
    out: dict[int, T] = {}
    for i, row in enumerate(matrix):
        if i in out:
            continue
        twin = next((k for k in range(i + 1, len(matrix)) if k not in out and _mirrored(row, matrix[k])), None)
        if twin is None:
            out[i] = _sum(on, row, x)
            continue
        signs = [a == b for a, b in zip(row, matrix[twin], strict=True)]
        even = _sum(on, [v if s else 0.0 for v, s in zip(row, signs, strict=True)], x)
        odd = _sum(on, [0.0 if s else v for v, s in zip(row, signs, strict=True)], x)
        out[i], out[twin] = on.add(even, odd), on.sub(even, odd)
    return [out[i] for i in range(len(matrix))]


def _mirrored(a: Sequence[float], b: Sequence[float]) -> bool:
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x or y]
    return all(x in (y, -y) for x, y in pairs) and any(x == y for x, y in pairs) and any(x == -y for x, y in pairs)


def _sum(on: Arithmetic[T], row: Sequence[float], x: Sequence[T]) -> T:
    """The scalar product; terms with the factor 1 first, so that all others are one multiply-add each."""
    total: T | None = None
    for v, k in sorted(((v, k) for v, k in zip(row, x, strict=True) if v), key=lambda t: t[0] != 1):
        if total is None:
            total = k if v == 1 else on.scale(k, v)
        elif v in (1, -1):
            total = on.add(total, k) if v == 1 else on.sub(total, k)
        else:
            total = on.fma(k, v, total)
    assert total is not None
    return total
