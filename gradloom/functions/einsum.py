"""Einstein summation: a parser, the order of contraction, and each pair as one matrix product.

The order is optimal in the number of multiplications for few operands (dynamic programming over subsets) and greedy
beyond (each time the pair whose result is smallest beside what it consumes; Smith & Gray, JOSS 2018, survey both).
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Sequence
from typing import Any

from gradloom.errors import ShapeError
from gradloom.functions.base import apply, operand
from gradloom.functions.contraction import dot
from gradloom.functions.elementwise import mul
from gradloom.functions.linalg_base import same_dtype
from gradloom.functions.movement import permute, reshape
from gradloom.functions.reductions import sum
from gradloom.ops import structure as S
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["einsum"]
FUNCTION_ONLY = ["einsum"]
INTERNAL = ["bilinear"]
OPTIMAL = 8  # operands for which every order is tried

Labels = tuple[int, ...]


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products over named axes: ``einsum("bij,bjk->bik", a, b)``.

    Labels are letters; those missing after ``->`` are summed over. Without ``->`` the result has the labels that occur
    once, in alphabetical order (capitals first). ``...`` stands for axes that broadcast. A label twice in one operand
    takes its diagonal. Axes of size 1 broadcast. The form ``einsum(a, [0, 1], b, [1, 2], [0, 2])`` gives labels as
    integers of 0 to 51.

    Raises
    ------
    ShapeError: where labels and shapes do not fit, naming the operand.
    """
    if isinstance(equation, str):
        given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
        tensors = [operand(t) for t in given]
        labels, out = _planned(equation, tuple(tuple(t.shape) for t in tensors))
    else:
        tensors, terms, result = _sublists([equation, *operands])
        labels, out = _numbered(terms, result, [tuple(t.shape) for t in tensors])
    if not tensors:
        raise ShapeError("einsum: needs at least one operand", code="shape.einsum")
    for t in tensors[1:]:
        same_dtype("einsum", tensors[0], t)
    return _contract(labels, out, *tensors)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``sum_ij input1[..., i] weight[o, i, j] input2[..., j] + bias[o]``: (..., i), (..., j), (o, i, j) -> (..., o)."""
    if weight.ndim != 3 or (input1.shape[-1:], input2.shape[-1:]) != (weight.shape[1:2], weight.shape[2:]):
        raise ShapeError(
            f"bilinear: inputs {tuple(input1.shape)} and {tuple(input2.shape)} do not fit weight "
            f"{tuple(weight.shape)}: their last axes must be its axes 1 and 2",
            code="shape.bilinear",
        )
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            f"bilinear: leading axes of {tuple(input1.shape)} and {tuple(input2.shape)} differ", code="shape.bilinear"
        )
    out = einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else out + bias


# -- what is asked ------------------------------------------------------------------------------------
_DOTS = -1


def _letter(c: str, where: str) -> int:
    if c.isascii() and c.isalpha():
        return ord(c) - 65 if c.isupper() else ord(c) - 71
    raise ShapeError(
        f"einsum: {c!r} in {where!r} is no label", code="shape.einsum", hint="labels are the letters a-z and A-Z"
    )


def _term(text: str) -> Labels:
    head, dots, tail = text.partition("...")
    if "..." in tail:
        raise ShapeError(f"einsum: '...' stands twice in {text!r}", code="shape.einsum")
    return (*(_letter(c, text) for c in head), *((_DOTS,) if dots else ()), *(_letter(c, text) for c in tail))


def _parse(equation: str, count: int) -> tuple[list[Labels], Labels | None]:
    """Labels 0 to 51 in alphabetical order, capitals first; -1 is the ellipsis."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_term(t) for t in left.split(",")]
    if len(terms) != count:
        raise ShapeError(f"einsum: {equation!r} names {len(terms)} operands, {count} were given", code="shape.einsum")
    return terms, _term(right) if arrow else None


@functools.lru_cache(maxsize=1024)
def _planned(equation: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[Labels, ...], Labels]:
    return _numbered(*_parse(equation, len(shapes)), list(shapes))


def _sublists(args: list[Any]) -> tuple[list[Tensor], list[Labels], Labels | None]:
    def term(labels: Sequence[Any]) -> Labels:
        out = tuple(_DOTS if x is Ellipsis else int(x) for x in labels)
        if builtins.any(not -1 <= x < 52 for x in out) or out.count(_DOTS) > 1:
            raise ShapeError(f"einsum: labels {list(labels)} must be integers of 0 to 51", code="shape.einsum")
        return out

    pairs = len(args) // 2
    tensors = [operand(t) for t in args[: 2 * pairs : 2]]
    return tensors, [term(x) for x in args[1 : 2 * pairs : 2]], term(args[-1]) if len(args) % 2 else None


def _numbered(
    terms: list[Labels], result: Labels | None, shapes: list[tuple[int, ...]]
) -> tuple[tuple[Labels, ...], Labels]:
    """The ellipsis as labels from 52 on (the last axis has the lowest), checked against the shapes."""
    widest = 0
    full: list[Labels] = []
    for k, (t, shape) in enumerate(zip(terms, shapes, strict=True)):
        extra = len(shape) - (len(t) - t.count(_DOTS))
        if extra < 0 or (extra and _DOTS not in t):
            raise ShapeError(
                f"einsum: operand {k} of shape {shape} has {len(shape)} axes, the equation names {len(t)}",
                code="shape.einsum",
            )
        widest = builtins.max(widest, extra)
        full.append(_spread(t, extra))
    sizes: dict[int, int] = {}
    for k, (t, shape) in enumerate(zip(full, shapes, strict=True)):
        for x, n in zip(t, shape, strict=True):
            if sizes.setdefault(x, n) != n and n != 1:
                if sizes[x] != 1:
                    raise ShapeError(
                        f"einsum: a label has size {n} in operand {k} of shape {shape}, and {sizes[x]} elsewhere",
                        code="shape.einsum",
                        hint="axes with the same label must have the same size, or 1",
                    )
                sizes[x] = n
    if result is None:
        flat = [x for t in full for x in t]
        once = sorted(x for x in set(flat) if x < 52 and flat.count(x) == 1)
        out = (*range(51 + widest, 51, -1), *once)
    else:
        out = _spread(result, widest)
        for x in out:
            if out.count(x) > 1 or (x < 52 and x not in sizes):
                raise ShapeError(
                    "einsum: a label of the result stands there twice or in no operand", code="shape.einsum"
                )
    return tuple(full), tuple(out)


def _spread(t: Labels, extra: int) -> Labels:
    return tuple(y for x in t for y in (range(51 + extra, 51, -1) if x == _DOTS else (x,)))


# -- the order ------------------------------------------------------------------------------------------
@functools.lru_cache(maxsize=1024)
def order_of(terms: tuple[Labels, ...], out: Labels, sizes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of positions to contract: each pair leaves the list and its result is appended."""
    size = dict(sizes)
    sets = [frozenset(t) for t in terms]
    n = len(sets)
    if n <= 2:
        return ((0, 1),) * (n - 1)
    return _optimal(sets, frozenset(out), size) if n <= OPTIMAL else _greedy(sets, frozenset(out), size)


def _volume(labels: frozenset[int], size: dict[int, int]) -> int:
    return math.prod(size[x] for x in labels)


def _optimal(sets: list[frozenset[int]], out: frozenset[int], size: dict[int, int]) -> tuple[tuple[int, int], ...]:
    n = len(sets)
    whole = (1 << n) - 1
    union = [frozenset[int]()] * (whole + 1)
    for m in range(1, whole + 1):
        low = (m & -m).bit_length() - 1
        union[m] = union[m & (m - 1)] | sets[low]
    kept = [union[m] & (out | union[whole ^ m]) if m & (m - 1) else union[m] for m in range(whole + 1)]
    cost: list[int] = [0] * (whole + 1)
    cut: list[int] = [0] * (whole + 1)
    for m in range(1, whole + 1):
        if not m & (m - 1):
            continue
        best = None
        part = (m - 1) & m
        while part:
            rest = m ^ part
            if part < rest:
                c = cost[part] + cost[rest] + _volume(kept[part] | kept[rest], size)
                if best is None or c < best:
                    best, cut[m] = c, part
            part = (part - 1) & m
        cost[m] = best or 0
    merges: list[int] = []
    todo = [whole]
    while todo:
        m = todo.pop()
        if m & (m - 1):
            merges.append(m)
            todo += [cut[m], m ^ cut[m]]
    held = [1 << k for k in range(n)]
    pairs = []
    for m in reversed(merges):
        i, j = sorted((held.index(cut[m]), held.index(m ^ cut[m])))
        pairs.append((i, j))
        held.pop(j)
        held.pop(i)
        held.append(m)
    return tuple(pairs)


def _greedy(sets: list[frozenset[int]], out: frozenset[int], size: dict[int, int]) -> tuple[tuple[int, int], ...]:
    held = list(sets)
    pairs = []
    while len(held) > 1:
        best: tuple[int, int, int] | None = None
        for i in range(len(held)):
            for j in range(i + 1, len(held)):
                left = _left(held, i, j, out)
                gain = _volume(left, size) - _volume(held[i], size) - _volume(held[j], size)
                if best is None or gain < best[0]:
                    best = (gain, i, j)
        assert best is not None
        _, i, j = best
        left = _left(held, i, j, out)
        held.pop(j)
        held.pop(i)
        held.append(left)
        pairs.append((i, j))
    return tuple(pairs)


def _left(held: list[frozenset[int]], i: int, j: int, out: frozenset[int]) -> frozenset[int]:
    others = out.union(*(h for k, h in enumerate(held) if k not in (i, j)))
    return (held[i] | held[j]) & others


# -- the work ---------------------------------------------------------------------------------------------
@composite
def _contract(terms: tuple[Labels, ...], out: Labels, *tensors: Tensor) -> Tensor:
    size: dict[int, int] = {}
    for t, x in zip(terms, tensors, strict=True):
        for label, n in zip(t, x.shape, strict=True):
            size[label] = n if size.get(label, 1) == 1 else size[label]
    held = [_single(t, x, size) for t, x in zip(terms, tensors, strict=True)]
    order = order_of(tuple(t for t, _ in held), out, tuple(sorted(size.items())))
    for i, j in order:
        b, a = held.pop(j), held.pop(i)
        others = set(out).union(*(t for t, _ in held))
        held.append(_pair(a, b, others, out, size))
    labels, x = _summed(held[0], set(out))
    for k in out:  # an ellipsis that no operand fills, or axes of size 1 dropped on the way
        if k not in labels:
            labels, x = (*labels, k), reshape(x, (*x.shape, 1))
    return permute(x, tuple(labels.index(k) for k in out))


def _single(labels: Labels, x: Tensor, size: dict[int, int]) -> tuple[Labels, Tensor]:
    """An operand whose labels are distinct: repeated ones become diagonals; size 1 beside a larger one is dropped."""
    while len(set(labels)) != len(labels):
        twice = next(k for k in labels if labels.count(k) > 1)
        i = labels.index(twice)
        j = labels.index(twice, i + 1)
        n, m = x.shape[i], x.shape[j]
        rest = [k for k in range(len(labels)) if k not in (i, j)]
        x = permute(x, (*rest, i, j))
        lead = tuple(x.shape[:-2])
        if 1 in (n, m):
            x = reshape(x, (*lead, n * m))
        elif n:
            flat = reshape(x, (*lead, n * n))
            x = apply(S.slice_, (flat,), ((0,) * (len(lead) + 1), (*lead, n * n), (1,) * len(lead) + (n + 1,)))
        else:
            x = reshape(x, (*lead, 0))
        labels = (*(labels[k] for k in rest), twice)
    keep = [k for k, label in enumerate(labels) if not (x.shape[k] == 1 and size[label] != 1)]
    if len(keep) < len(labels):
        labels, x = tuple(labels[k] for k in keep), reshape(x, tuple(x.shape[k] for k in keep))
    return labels, x


def _summed(term: tuple[Labels, Tensor], kept: set[int]) -> tuple[Labels, Tensor]:
    """Axes that nobody else names summed away."""
    labels, x = term
    axes = tuple(k for k, label in enumerate(labels) if label not in kept)
    if axes:
        labels, x = tuple(label for label in labels if label in kept), sum(x, axes, dtype=x.dtype)
    return labels, x


def _pair(
    a: tuple[Labels, Tensor], b: tuple[Labels, Tensor], others: set[int], out: Labels, size: dict[int, int]
) -> tuple[Labels, Tensor]:
    """Two operands into one: a batched matrix product, or where nothing is summed a product per element."""
    (la, x), (lb, y) = _summed(a, others | set(b[0])), _summed(b, others | set(a[0]))
    place = {label: k for k, label in enumerate(out)}
    both = [k for k in la if k in lb]
    batch = sorted((k for k in both if k in others), key=lambda k: place.get(k, len(place)))
    inside = [k for k in both if k not in others]
    free_a = sorted((k for k in la if k not in lb), key=lambda k: place.get(k, len(place)))
    free_b = sorted((k for k in lb if k not in la), key=lambda k: place.get(k, len(place)))
    if not inside or not (free_a or free_b):
        labels = tuple(sorted({*la, *lb}, key=lambda k: (k in inside, place.get(k, len(place)), k)))
        product = mul(_aligned(la, x, labels), _aligned(lb, y, labels))
        axes = tuple(k for k, label in enumerate(labels) if label in inside)
        return tuple(k for k in labels if k not in inside), sum(product, axes, dtype=x.dtype) if axes else product

    def shaped(labels: Labels, t: Tensor, first: list[int], second: list[int]) -> Tensor:
        moved = permute(t, tuple(labels.index(k) for k in (*batch, *first, *second)))
        wide = (*(size[k] for k in batch), *(math.prod(size[k] for k in group) for group in (first, second)))
        return reshape(moved, wide)

    product = dot(shaped(la, x, free_a, inside), shaped(lb, y, inside, free_b))
    labels = (*batch, *free_a, *free_b)
    return labels, reshape(product, tuple(size[k] for k in labels))


def _aligned(own: Labels, x: Tensor, labels: Labels) -> Tensor:
    """Axes in the order of ``labels``, size 1 for those it lacks."""
    moved = permute(x, tuple(own.index(k) for k in labels if k in own))
    sizes = iter(moved.shape)
    return reshape(moved, tuple(next(sizes) if k in own else 1 for k in labels))
