"""Which rows of a table a step's gradient speaks of."""

from __future__ import annotations

from gradloom import dtypes
from gradloom import functions as G
from gradloom.deferred import LATE, looked_up, rows_among_zeros
from gradloom.entries import Entry
from gradloom.ops.gather import take_put
from gradloom.tape import LEAF, TAPE
from gradloom.tensor import Tensor

__all__ = ["touched"]


def touched(grad: Tensor) -> Tensor:
    """The rows (rows, 1, ...) that a gradient speaks of.

    Those that were looked up, where the gradient comes from embeddings with ``sparse=True`` alone, and perhaps was
    scaled; else those that are not all zero.
    """
    rest = (1,) * (grad.ndim - 1)
    times = _times(grad, rest)
    if times is not None:
        return times != 0
    found = grad != 0.0
    return G.any(found, dim=tuple(range(1, grad.ndim)), keepdim=True) if rest else found


def _times(grad: Tensor, rest: tuple[int, ...]) -> Tensor | None:
    """How often rows were looked up, added up as the gradient is; None where it comes from elsewhere too."""
    e, held = grad._v.entry, {}
    if (e is None or e.prim is LEAF) and grad._v in LATE:  # it was looked at since
        e, held = LATE[grad._v].entry, LATE[grad._v].held
    counts: dict[Entry, Tensor] = {}
    for x in looked_up(e) if e is not None else ():
        if rows_among_zeros(x):
            at = x.ins[2]
            index = TAPE.make_tensor(held[at]) if at in held else TAPE.handle(at)
            none = G.zeros((grad.shape[0], *rest), dtype=dtypes.int32)
            once = G.ones((*index.shape, *rest), dtype=dtypes.int32)
            counts[x] = G.apply(take_put, (none, once, index), (0, "add"))
        else:
            first, *more = (counts[i] for i in x.ins if i in counts)
            for other in more:
                first = first + other
            counts[x] = first
    return counts.get(e) if e is not None else None
