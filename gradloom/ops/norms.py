"""Batch statistics' gradient as one step: what a norm does to cotangents, with two sums over the data."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

__all__ = ["standardized"]


class _Noted(Primitive):
    """Stands on the tape for its gradient; the value is its first operand's."""

    alias = True

    def __init__(self, name: str) -> None:
        super().__init__(name, lambda arrays, attrs, aval: arrays[0], lambda avals, attrs: avals[0])
        self.batch = self._batched

    def _batched(self, args: Any, flags: Any, attrs: tuple, avals: Sequence[Aval], n: int) -> Any:
        from gradloom import functions as G

        full = [a if f else G.broadcast_to(a, (n, *a.shape)) for a, f in zip(args, flags, strict=True)]
        return G.apply(self, tuple(full), (tuple(k + 1 for k in attrs[0]), *attrs[1:]))


standardized = _Noted("standardized")
"""operands (value, x, centred, rstd, weight or bias if any); attrs (axes, weight?, bias?).

value = centred * rstd * weight + bias, where centred = x - mean(x) and rstd = (mean(centred ** 2) + eps) ** -0.5, means
over ``axes``. With S = sum over axes and n elements: dbias = S(ct), dweight = rstd S(ct centred),
dx = rstd weight (ct - S(ct) / n - centred rstd**2 S(ct centred) / n).
"""


def _declare() -> None:
    from gradloom import functions as G

    def rule(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
        axes, weighted, biased = attrs
        _, x, centred, rstd, *rest = ins
        part = 1.0 / prod(x.shape[k] for k in axes)
        total = G.sum(ct, axes, True)
        along = G.sum(ct * centred, axes, True)
        inner = ct - total * G.const(part) - centred * (rstd * rstd * along * G.const(part))
        grads: list[Any] = [None, inner * (rstd * rest[0] if weighted else rstd), None, None]
        if weighted:
            grads.append(along * rstd)
        if biased:
            grads.append(total)
        return tuple(grads)

    standardized.vjp = rule


GRADIENTS = _declare
