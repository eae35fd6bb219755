"""Gathers and scatters: elements read from, and written to, places that integer tensors name.

Two ways of naming places. *By pattern*, NumPy's advanced indexing: some axes of ``x`` are pointed at by index tensors
that broadcast together (``"i"`` in the pattern), the others (``":"``) are walked whole. *Along* an axis, as PyTorch's
``gather``: one index tensor of the rank of ``x`` points along one axis, and its own positions are those on the others.
A scatter writes updates of exactly the shape that the gather would give, one after the other in C order of the index:
the last of several writes to one place wins, and sums are taken in that order, so results do not depend on threads.

Negative indices count from the end. What is out of range is brought into range: the public functions refuse it before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.errors import DTypeError, ShapeError
from gradloom.graph.node import Aval
from gradloom.ops.core import Elementwise, Primitive, broadcast_shapes

__all__ = [
    "ALONG",
    "COMBINE",
    "Gather",
    "Layout",
    "Scatter",
    "along_put",
    "by_rows",
    "index",
    "index_put",
    "scale_gradient",
    "take",
    "take_along",
    "take_put",
]


class Layout(NamedTuple):
    """How gathered elements, or updates, lie over ``x``.

    indexed: the axis of ``x`` that each index operand points along. block: the first of the dims of the result that
    the indices run along, and how many they are (an index of lower rank is aligned at the last of them). walk: for
    each axis of ``x`` the dim of the result that walks it directly, None for the indexed ones.
    """

    indexed: tuple[int, ...]
    block: tuple[int, int]
    walk: tuple[int | None, ...]


def _pattern(pattern: tuple[str, ...], indices: Sequence[tuple[int, ...]]) -> Layout:
    """NumPy's rule: the indexed axes' place is that of the first of them where they are neighbours, else the front."""
    at = tuple(k for k, p in enumerate(pattern) if p == "i")
    together = at == tuple(range(at[0], at[0] + len(at)))
    first, count = at[0] if together else 0, max(map(len, indices))
    walk: list[int | None] = []
    dim = 0
    for k, p in enumerate(pattern):
        if dim == first and (not together or k == first):
            dim += count
        if p == "i":
            walk.append(None)
        else:
            walk.append(dim)
            dim += 1
    return Layout(at, (first, count), tuple(walk))


ALONG = "along"


def _layout(x: tuple[int, ...], indices: Sequence[tuple[int, ...]], way: Any) -> Layout:
    if way[0] == ALONG:
        return Layout((way[1],), (0, len(x)), tuple(None if k == way[1] else k for k in range(len(x))))
    return _pattern(way, indices)


def _shape(name: str, x: tuple[int, ...], indices: Sequence[tuple[int, ...]], way: Any) -> tuple[int, ...]:
    """The shape of what is gathered. Raises ShapeError where the indices do not broadcast."""
    if way[0] == ALONG:
        return indices[0]
    lay = _pattern(way, indices)
    block = broadcast_shapes(name, indices)
    out = [n for n, d in zip(x, lay.walk, strict=True) if d is not None]
    first = lay.block[0]
    return (*out[:first], *block, *out[first:])


def _in_range(i: np.ndarray, n: int) -> np.ndarray:
    i = i.astype(np.int64)
    return np.clip(np.where(i < 0, i + n, i), 0, max(n - 1, 0))


def _places(x: np.ndarray, indices: Sequence[np.ndarray], way: Any) -> tuple[Any, ...]:
    """NumPy's index of the places."""
    if way[0] == ALONG:
        grid: list[Any] = list(np.indices(indices[0].shape, sparse=True))
        grid[way[1]] = _in_range(indices[0], x.shape[way[1]])
        return tuple(grid)
    it = iter(indices)
    return tuple(_in_range(next(it), n) if p == "i" else slice(None) for p, n in zip(way, x.shape, strict=True))


def _check_indices(name: str, avals: Sequence[Aval]) -> None:
    for i in avals:
        if i.dtype.category != 1:
            raise DTypeError(f"{name}: the index has dtype {i.dtype.name}, expected an integer dtype",
                             code=f"dtype.{name}", hint="convert it with .long()")  # fmt: skip


class Gather(Primitive):
    """operands (x, indices…). ``way(rank of x, attrs)`` gives the pattern, or ``(ALONG, axis)``."""

    kind = "gather"

    def __init__(self, name: str, way: Callable[[int, tuple], Any]) -> None:
        super().__init__(name, self._run)
        self.way = way

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """Shape of the index in place of the indexed axes, dtype of ``x``."""
        x, *indices = avals
        _check_indices(self.name, indices)
        way = self.way(len(x.shape), attrs)
        return Aval(_shape(self.name, x.shape, [i.shape for i in indices], way), x.dtype)

    def of_rows(self, rank: int, attrs: tuple) -> bool:
        """Whether one index names entries of the first axis."""
        way = self.way(rank, attrs)
        return way[0] == "i" and "i" not in way[1:]

    def layout(self, avals: Sequence[Aval], attrs: tuple) -> Layout:
        """How the result lies over ``x``."""
        x, *indices = avals
        return _layout(x.shape, [i.shape for i in indices], self.way(len(x.shape), attrs))

    def _run(self, arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
        x, *indices = arrays
        if not x.size:
            return np.zeros(aval.shape, x.dtype)
        return np.asarray(x[_places(x, indices, self.way(x.ndim, attrs))])


def _set(x: np.ndarray, places: tuple[Any, ...], u: np.ndarray) -> None:
    x[places] = u


COMBINE: dict[str, Callable[..., None]] = {
    "set": _set, "add": np.add.at, "mul": np.multiply.at, "min": np.minimum.at, "max": np.maximum.at,
}  # fmt: skip
"""What a scatter does with an element and an update. min and max hand on NaN."""


class Scatter(Primitive):
    """operands (x, updates, indices…); attrs as the gather's, then the name of a way to combine."""

    kind = "scatter"

    def __init__(self, name: str, gather: Gather) -> None:
        super().__init__(name, self._run)
        self.gather = gather

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """As ``x``. Raises ShapeError where the updates have another shape than the gather's result."""
        x, u, *indices = avals
        _check_indices(self.name, indices)
        way = self.gather.way(len(x.shape), attrs[:-1])
        want = _shape(self.name, x.shape, [i.shape for i in indices], way)
        if u.shape != want:
            raise ShapeError(
                f"{self.name}: updates of shape {u.shape}, the index points at {want}", code=f"shape.{self.name}"
            )
        return Aval(x.shape, x.dtype)

    def layout(self, avals: Sequence[Aval], attrs: tuple) -> Layout:
        """How the updates lie over ``x``."""
        x, _, *indices = avals
        return _layout(x.shape, [i.shape for i in indices], self.gather.way(len(x.shape), attrs[:-1]))

    def _run(self, arrays: Sequence[np.ndarray], attrs: tuple, aval: Aval) -> np.ndarray:
        x, u, *indices = arrays
        out = np.array(x)
        if u.size and out.size:
            COMBINE[attrs[-1]](out, _places(out, indices, self.gather.way(out.ndim, attrs[:-1])), u)
        return out


take = Gather("take", lambda n, t: tuple("i" if k == t[0] else ":" for k in range(n)))
"""Entries of one axis. attrs: (axis,)."""
take_along = Gather("take_along", lambda n, t: (ALONG, t[0]))
"""PyTorch's ``gather``: out[i][j] = x[index[i][j]][j] for axis 0. attrs: (axis,)."""
index = Gather("index", lambda n, t: t[0])
"""NumPy's advanced indexing. attrs: (pattern,), "i" where an index stands, ":" elsewhere."""
take_put = Scatter("take_put", take)
along_put = Scatter("along_put", take_along)
index_put = Scatter("index_put", index)
scale_gradient = Elementwise(
    "scale_gradient",
    lambda arrays, t, v: np.array(np.broadcast_to(arrays[0], v.shape)),
    body=lambda e, args, attrs: args[0],
    operands="keep",
)
"""The first operand as it is; the gradient that passes through it is multiplied by the second, and 0 where that is."""


class _ByRows(Primitive):
    """Stands on the tape to say that gradients that come by consist of rows looked up; the value is the operand's."""

    alias = True

    def __init__(self) -> None:
        super().__init__("by_rows", lambda arrays, attrs, aval: arrays[0], lambda avals, attrs: avals[0])
        self.batch = lambda args, flags, attrs, avals, n: _apply(self, args)


def _apply(prim: Primitive, args: Any) -> Any:
    from gradloom import functions as G

    return G.apply(prim, tuple(args), ())


by_rows = _ByRows()
_TRANSPOSE = ((take, take_put), (take_along, along_put), (index, index_put))


def _declare() -> None:
    from gradloom import functions as G

    def gather_vjp(put: Scatter) -> Callable[..., Any]:
        def rule(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
            x, *indices = ins
            return G.apply(put, (G.zeros_like(x), ct, *indices), (*attrs, "add")), *(None for _ in indices)

        return rule

    def scatter_vjp(get: Gather, put: Scatter) -> Callable[..., Any]:
        def rule(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
            x, u, *indices = ins
            none = (None for _ in indices)
            at, how = attrs[:-1], attrs[-1]

            def fetch(y: Any) -> Any:
                return G.apply(get, (y, *indices), at)

            def placed(y: Any, v: Any, op: str) -> Any:
                return G.apply(put, (y, v, *indices), (*at, op))

            if how == "add":
                return ct, fetch(ct), *none
            if how == "set":
                return placed(ct, G.zeros_like(u), "set"), fetch(ct), *none
            if how == "mul":
                # d/dx is the product of the updates at a place, d/du that of all else at it: by division, except at a
                # zero that is alone at its place, where the product of the others is taken
                one, nil = G.const(1.0), G.const(0.0)
                factors = placed(G.ones_like(x), u, "mul")
                zero = G.eq(u, nil)
                zeros = fetch(placed(G.zeros_like(x), G.cast(zero, x.dtype), "add"))
                alone = G.logical_and(zero, G.eq(zeros, one))
                others = fetch(ct * placed(x, G.where(alone, one, u), "mul"))
                quotient = G.where(zero, nil, fetch(ct * out) / G.where(zero, one, u))
                du = G.where(alone, others, quotient)
                return ct * factors, du, *none
            # extremes: ties share the gradient
            mine, theirs = G.cast(G.eq(x, out), x.dtype), G.cast(G.eq(u, fetch(out)), u.dtype)
            share = ct / placed(mine, theirs, "add")
            return mine * share, theirs * fetch(share), *none

        return rule

    def scaled(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
        x, factor = ins
        nil = G.const(0.0)  # selected, not multiplied by: no NaN comes through
        return G.sum_to(G.where(G.eq(factor, nil), nil, ct * factor), x.shape), None

    by_rows.saves = False
    by_rows.vjp = lambda ct, out, ins, attrs: (G.apply(by_rows, (ct,), ()),)
    scale_gradient.vjp = scaled
    for get, put in _TRANSPOSE:
        get.vjp, put.vjp = gather_vjp(put), scatter_vjp(get, put)


GRADIENTS = _declare
