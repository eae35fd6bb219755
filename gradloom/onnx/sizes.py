"""Numbers that depend on the sizes of the inputs: what several recordings at different sizes have in common.

A model is recorded at several sizes of its open axes. What is the same in all recordings is a constant of the exported
graph; a number that is not is *varying*, and known by its values in each. What it is computed from, at run time, is
found by these values: the size of a value that is there already, a product of such sizes, or a linear form of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Differs", "Form", "Varying", "fixed", "form_of", "merged", "trial_sizes"]


class Varying(NamedTuple):
    """A number by recording."""

    values: tuple[Any, ...]


class Differs(Exception):
    """Recordings that cannot be told as one."""


def merged(values: Sequence[Any]) -> Any:
    """What recordings say in one place: the value, or a tuple of values, some of them varying. Raises Differs."""
    first = values[0]
    if all(v is first for v in values):
        return first
    kind = type(first)
    if any(type(v) is not kind for v in values):
        raise Differs
    if kind is tuple or (isinstance(first, tuple) and hasattr(first, "_fields")):
        if any(len(v) != len(first) for v in values):
            raise Differs
        parts = [merged(p) for p in zip(*values)]
        return tuple(parts) if kind is tuple else kind(*parts)
    if kind is int or kind is float:
        return first if all(v == first or v != v for v in values) else Varying(tuple(values))
    if any(v != first for v in values):
        raise Differs
    return first


def fixed(x: Any) -> bool:
    """Whether nothing in it is varying."""
    if isinstance(x, Varying):
        return False
    return all(map(fixed, x)) if isinstance(x, tuple) else True


class Form(NamedTuple):
    """``(scale * product of sources + offset) // by``; sources are vectors of sizes."""

    sources: tuple[tuple[int, ...], ...]
    scale: int = 1
    offset: int = 0
    by: int = 1


PRODUCTS = 3
DIVISORS = (2, 3, 4, 5, 6, 7, 8, 16, 32)


def form_of(v: tuple[int, ...], known: Iterable[tuple[int, ...]]) -> Form | None:
    """How a vector of numbers follows from known vectors of sizes, the simplest way; None where it does not."""
    known = list(dict.fromkeys(known))
    if v in known:
        return Form((v,))
    for s in known:
        found = _linear(v, s)
        if found is not None:
            return found
    for count in range(2, PRODUCTS + 1):
        for chosen in combinations_with_replacement(known, count):
            product = tuple(int(np.prod(x, dtype=np.int64)) for x in zip(*chosen))
            ratio = Fraction(v[0], product[0]) if product[0] else Fraction(0)
            if ratio.denominator == 1 and ratio > 0 and all(a == ratio * b for a, b in zip(v, product)):
                return Form(tuple(chosen), int(ratio))
    for s in known:
        found = _divided(v, s)
        if found is not None:
            return found
    return None


def _linear(v: tuple[int, ...], s: tuple[int, ...]) -> Form | None:
    at = next((k for k in range(1, len(s)) if s[k] != s[0]), None)
    if at is None or (v[at] - v[0]) % (s[at] - s[0]):
        return None
    scale = (v[at] - v[0]) // (s[at] - s[0])
    offset = v[0] - scale * s[0]
    return Form((s,), scale, offset) if all(a == scale * b + offset for a, b in zip(v, s)) else None


def _divided(v: tuple[int, ...], s: tuple[int, ...]) -> Form | None:
    for by in DIVISORS:
        low = max(by * a - b for a, b in zip(v, s))
        high = min(by * a + by - 1 - b for a, b in zip(v, s))
        if low <= high:
            offset = 0 if low <= 0 <= high else by - 1 if low <= by - 1 <= high else low
            return Form((s,), 1, offset, by)
    return None


# -- which sizes a model is recorded at ---------------------------------------------------------------
_TIMES = ((1, 2, 3, 5), (1, 3, 2, 4), (2, 1, 5, 3), (3, 4, 1, 2), (2, 5, 3, 1), (5, 1, 4, 3))
"""Factors of an axis' size by recording; each open axis has a row of its own, so that they vary apart."""


def trial_sizes(sizes: Sequence[int], least: Sequence[int], most: Sequence[int | None]) -> list[list[tuple[int, ...]]]:
    """Sizes of the open axes, recording by recording; several sets of them, the ones to try first in front.

    Multiples of the sizes given keep what must divide; the others stay near them, where a model has a limit.
    """

    def table(of: Callable[[int, int], int]) -> list[tuple[int, ...]] | None:
        columns = []
        for k, (n, low, high) in enumerate(zip(sizes, least, most)):
            row = tuple(of(n, t) for t in _TIMES[k % len(_TIMES)])
            if len(set(row)) < len(row) or min(row) < low or (high is not None and max(row) > high):
                return None
            columns.append(row)
        return [tuple(c) for c in zip(*columns)]

    ways: list[Callable[[int, int], int]] = [
        lambda n, t: max(n, 2) * t,
        lambda n, t: n + t + 1,
        lambda n, t: n - t + 1,
        lambda n, t: n * t // 8,
    ]
    return [found for of in ways if (found := table(of)) is not None]
