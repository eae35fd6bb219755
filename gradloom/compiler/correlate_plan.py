"""Planning of convolutions: which axis is the rows, how high the register tiles are, how work is cut into chunks.

As for products, everything follows from extents and strides, never from the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, prod

from .contract_plan import plan_contract, round_up, short_body
from .llvm.contract import PackColumns, strip_bytes
from .llvm.correlate import Correlate
from .llvm.epilogue import SIZE
from .llvm.host import Host
from .llvm.microkernel import BYTES, Tile, tile_of
from .loops import SCRATCH_BYTES, Access, Contract, Launch
from .pairing import gathered, pair_up

__all__ = ["plan_correlate"]

A_BYTES = 256 << 10  # of images that a chunk walks: they stay in the second level cache beside a strip of filters
C_BYTES = 512 << 10  # sums that wait in scratch
STRETCH = 256  # steps of sums between two visits to sums that wait
CHUNKS = 32  # as many chunks as this are enough to level the load
MOST_CHUNKS = 256  # that are made so that parts of them are level
SIDE = 8  # elements of images that take a step as long as a vector multiplication, where they come from far
CHUNK_WORK = 1 << 18  # multiply-adds below which another chunk is not worth it
APART = 2048  # bytes between the rows of filters from which on strips of them are packed: each has a page of its own
PACKED_PIXELS = 128  # of results that are worth it, where filters change from run to run
TOGETHER = 4  # rows that share a register tile, at most
TOGETHER_BYTES = 64 << 10  # of a strip of filters from which on they do: it is not in the first level cache
PACK_BYTES = 64 << 10  # of packed filters that a chunk makes
INLINE_LENGTH = 8  # instructions and stores of a body that becomes part of the register tiles


class _Problem:
    """Extents and strides of a convolution, by axis: (batch…, rows, cols); A over (batch…, rows), B over columns."""

    def __init__(self, spec: Contract, extents: Sequence[int], ints: Sequence[Sequence[int]]) -> None:
        self.spec = spec
        self.extents = list(extents)
        self.strides = [_strides(a, i) for a, i in zip(spec.accesses, ints, strict=True)]
        self.offsets = [i[0] for i in ints]
        self.index = [i[-1] if a.indexed else None for a, i in zip(spec.accesses, ints, strict=True)]
        # A over (batch…, rows, inner) and B over (batch…, inner, cols): the sums' own strides apart
        self.inner = (self.strides[0].pop(), self.strides[1].pop(-2))
        self.strides[0].append(0)
        self.strides[1].insert(-1, 0)
        self.order = list(range(len(self.extents)))  # the axes that the body's positions speak of

    def shared(self, axis: int) -> bool:
        """Whether B is the same all along a batch axis."""
        return self.strides[1][axis] == 0

    @property
    def places(self) -> int:
        """How many batch axes B ignores: the last ones, once they are sorted."""
        return sum(1 for k in range(len(self.extents) - 2) if self.shared(k))

    def swap(self, axis: int) -> None:
        """Let a batch axis and the rows change places."""
        for row in (self.extents, self.order, *self.strides):
            row[axis], row[-2] = row[-2], row[axis]

    def sort(self) -> None:
        """Axes that B ignores come last."""
        nb = len(self.extents) - 2
        order = sorted(range(nb), key=self.shared) + [nb, nb + 1]
        self.extents = [self.extents[k] for k in order]
        self.order = [self.order[k] for k in order]
        self.strides = [[s[k] for k in order] for s in self.strides]

    def merge(self) -> None:
        """Join batch axes to the rows where all strides compose and no position is asked for."""
        placed = {i.attrs[0] for i in self.spec.body if i.op == "iota"}
        while len(self.extents) > 2:
            k, rows = len(self.extents) - 3, self.extents[-2]
            if not self.shared(k) or placed & {self.order[k], self.order[-2]}:
                return
            if any(s[k] != s[-2] * rows for s in self.strides):
                return
            self.extents[-2] *= self.extents[k]
            for row in (self.extents, self.order, *self.strides):
                del row[k]

    def finished(self) -> tuple[Contract, list[int]]:
        """The contraction in this order of axes, and the integers of its accesses."""
        accesses, ints = [], []
        for n, (a, st) in enumerate(zip(self.spec.accesses, self.strides, strict=True)):
            walk = list(st)
            if n == 0:
                walk[-1] = self.inner[0]
            elif n == 1:
                walk[-2] = self.inner[1]
            steps = tuple("0" if s == 0 else "1" if s == 1 else "s" for s in walk)
            accesses.append(replace(a, steps=steps))
            index = self.index[n]
            ints += [self.offsets[n], *(s for s in walk if s not in (0, 1)), *([] if index is None else [index])]
        place = {old: new for new, old in enumerate(self.order)}
        body = tuple(replace(i, attrs=(place[i.attrs[0]],)) if i.op == "iota" else i for i in self.spec.body)
        return replace(self.spec, batch=len(self.extents) - 2, accesses=tuple(accesses), body=body), ints


def _strides(a: Access, ints: Sequence[int]) -> list[int]:
    given = iter(ints[1:])
    return [next(given) if s == "s" else int(s) for s in a.steps]


def _heights(rows: int, top: int) -> tuple[int, ...]:
    """Heights that make up ``rows`` with as few tiles as there can be, of nearly one height."""
    high = ceil(rows / ceil(rows / top))
    return (high, rows % high) if rows % high else (high,)


def _tile(host: Host, dtype: str, cols: int) -> Tile:
    """The widest tile, unless three or one registers waste less of the last strip."""
    wide = tile_of(host, dtype, "wide")
    n = wide.lanes
    if cols <= n:
        return tile_of(host, dtype, "narrow")
    three = 3 * n
    if (
        host.name == "avx512"
        and cols % wide.columns
        and ceil(cols / three) * three < ceil(cols / wide.columns) * wide.columns
    ):
        return replace(wide, heights=(9, 8, 4, 2, 1), vectors=3)
    return wide


def _problem(spec: Contract, extents: Sequence[int], access_ints: Sequence[Sequence[int]]) -> _Problem:
    """A convolution with the best axis for its rows, and the axes that B ignores last."""
    p = _Problem(spec, extents, access_ints)
    p.merge()
    if p.extents[-2] < 7:  # short rows: walk along another axis that B ignores
        nb = len(p.extents) - 2
        best = max((k for k in range(nb) if p.shared(k)), key=lambda k: min(p.extents[k], 14), default=None)
        if best is not None and p.extents[best] > p.extents[-2]:
            p.swap(best)
    p.sort()
    return p


def _registers(p: _Problem, host: Host, k: int) -> tuple[Tile, int]:
    """The register tile, and how many short rows of one length share it.

    Of the filters each strip is read once for so many rows. Where there are few pixels in all, and many filters, one
    register across the columns is enough, and filters are read once.
    """
    *batch, rows, cols = p.extents
    tile = _tile(host, p.spec.dtype, cols)
    top = tile.heights[0]
    places = prod(batch[len(batch) - p.places :])
    if (
        rows * places > 1
        and 2 * rows <= top
        and k > 4 * STRETCH
        and strip_bytes(tile, p.spec.dtype, k) > TOGETHER_BYTES
    ):
        most = min(top // rows, TOGETHER)
        if top < rows * places <= min(2 * top, rows * TOGETHER) and tile.vectors == 2:
            tile, most = replace(tile, vectors=1), places
        together = ceil(places / ceil(places / most))
        return replace(tile, heights=(rows,)), together
    return replace(tile, heights=_heights(rows, top)), 1


def _level(
    rows: int, outer: int, places: int, strips: int, gc: int, nc: int, room: int, least: int, tile: Tile
) -> tuple[int, int, int] | None:
    """A height of tiles, and rows and places of a chunk, that level the load best.

    gc: the most places. room: for so many rows of all places there is. least: so many chunks there must be. None where
    no cut will do.
    """
    top, vectors = tile.heights[0], tile.vectors
    columns = [min(nc, strips - j) for j in range(0, strips, nc)]
    best = None
    for height in range(top, top * 4 // 5 - 1, -1):
        for each in range(1, 17):
            high = min(rows, each * height)
            blocks = [min(high, rows - i) for i in range(0, rows, high)]
            work = [
                r // height * (vectors * height + 2) + (r % height > 0) * (vectors * (r % height) + 2) for r in blocks
            ]
            for some in range(1, gc + 1):
                shares = [min(some, places - g) for g in range(0, places, some)]
                count = outer * len(shares) * len(columns) * len(blocks)
                if some * each * height > room or not least <= count <= MOST_CHUNKS:
                    continue
                # what a chunk reads anew at each step, and what it computes
                costs = [
                    c * (g * w + 2 * vectors) + g * r / SIDE
                    for g in shares for c in columns for r, w in zip(blocks, work, strict=True)
                ] * outer  # fmt: skip
                cost = _longest(costs, 2) * 2 + _longest(costs, 4)
                if best is None or cost < best[0]:
                    best = cost, (height, high, some)
    return best and best[1]


def _longest(costs: Sequence[float], parties: int) -> float:
    """The most that one of so many equal parts of the chunks costs."""
    edges = [ceil(len(costs) * k / parties) for k in range(parties + 1)]
    return max(sum(costs[a:b]) for a, b in pairwise(edges))


def _packed(
    spec: Contract, extents: Sequence[int], inner: int, taps: Sequence[tuple[int, int]], ints: Sequence[Sequence[int]],
    buffers: list[int], temp: Callable[[int], int], tile: Tile,
) -> tuple[Contract, list[tuple[int, int]], list[Sequence[int]], list[int], Launch] | None:  # fmt: skip
    """The same convolution with B as strips of a register tile's columns, one after the other, and what packs them.

    None where B's rows do not lie far from each other, or are not one axis in memory.
    """
    b = spec.accesses[1]
    *outer, step, column = _strides(b, ints[1])
    cols, k = extents[-1], inner * len(taps)
    if any(outer) or column != 1 or step * SIZE[b.dtype] < APART or cols <= tile.columns:
        return None
    if any(t[1] != n * inner * step for n, t in enumerate(taps)):
        return None
    strips, strip = ceil(cols / tile.columns), strip_bytes(tile, spec.dtype, k)
    slot = temp(strips * strip)
    stretch = max(16, PACK_BYTES // (strips * strip_bytes(tile, spec.dtype, 1)))
    source = PackColumns(replace(b, buf=0, steps=b.steps[-2:]), spec.dtype, tile)
    head = [cols, k, strips, stretch, ints[1][0], step]
    before = Launch(source, [buffers[b.buf], slot], head, ceil(k / stretch))
    near = Access(len(buffers), spec.dtype, (*("0",) * len(outer), "s", "s"))
    spec = replace(spec, accesses=(spec.accesses[0], near, *spec.accesses[2:]))
    over = [(t[0], n * inner * tile.columns) for n, t in enumerate(taps)]
    return spec, over, [ints[0], [0, tile.columns, k], *ints[2:]], [*buffers, slot], before


def plan_correlate(
    spec: Contract,
    extents: Sequence[int],
    inner: int,
    taps: Sequence[tuple[int, int]],
    access_ints: Sequence[Sequence[int]],
    buffers: list[int],
    temp: Callable[[int], int],
    host: Host,
    steady: bool = False,
) -> list[Launch]:
    """The launches that compute a convolution, in order.

    spec: A over (batch…, rows, inner), B over (batch…, inner, cols), dtypes that of the sums, or halves; columns of B
    have unit stride unless :func:`~.pairing.along_sums` holds. extents: ``(b…, m, n)``. inner: steps of a tap.
    taps: offsets in elements of A and of B for each tap.
    access_ints, buffers, temp: as :func:`~.contract_plan.plan_contract` has them. steady: B stays the same from run to
    run.
    """
    if 0 in extents:
        return []
    plain = gathered(spec, extents, inner, taps, access_ints, buffers, temp, host)
    if plain is not None:
        product, over, walks, slots, copy = plain
        return [copy, *plan_contract(product, over, walks, slots, temp, host)]
    p = _problem(spec, extents, access_ints)
    tile, together = _registers(p, host, inner * len(taps))
    pairs = pair_up(spec, extents, inner, taps, access_ints, buffers, temp, host, tile)
    before: list[Launch] = []
    if pairs is not None:
        spec, inner, taps, access_ints = pairs.spec, pairs.inner, pairs.taps, pairs.ints
        buffers, before = pairs.buffers, pairs.before
        p = _problem(spec, extents, access_ints)
    elif steady or prod(extents[:-1]) >= PACKED_PIXELS:
        near = _packed(spec, extents, inner, taps, access_ints, buffers, temp, tile)
        if near is not None:
            spec, taps, access_ints, buffers, packs = near
            before = [packs]
            p = _problem(spec, extents, access_ints)
    spec, ints = p.finished()
    *batch, rows, cols = p.extents
    size = BYTES[spec.dtype]
    top = tile.heights[0]
    strips = ceil(cols / tile.columns)
    shared = p.places
    outer, places = prod(batch[: len(batch) - shared]), prod(batch[len(batch) - shared :])
    k = inner * len(taps)

    resume = together == 1 and k > 4 * STRETCH and strip_bytes(tile, spec.dtype, k) > A_BYTES and len(taps) > 16
    tc = max(1, STRETCH // inner) if resume else len(taps)
    work = rows * cols * k
    wanted = max(1, min(CHUNKS, outer * places * work // CHUNK_WORK))
    mc, nc, gc = round_up(min(rows, 16 * top), top), strips, places
    mc = min(mc, rows)

    def chunks() -> int:
        return outer * ceil(places / gc) * ceil(rows / mc) * ceil(strips / nc)

    if resume:
        while gc * round_up(mc, top) * nc * tile.columns * size > C_BYTES:
            if gc > 1:
                gc = ceil(gc / 2)
            elif nc > 4 or mc <= top:
                nc = ceil(nc / 2)
            else:
                mc = round_up(ceil(mc / 2), top)
        while chunks() < min(wanted, 8) and mc > 2 * top:
            mc = round_up(ceil(mc / 2), top)
        while chunks() < min(wanted, 8) and gc > 1:
            gc = ceil(gc / 2)
    else:
        one = max(1, rows * inner * size)  # of the image at one place, about: neighbouring taps share it
        gc = max(1, min(places, A_BYTES // one))
        gc = min(places, round_up(max(1, min(gc, ceil(places * outer / wanted))), together))
    while chunks() < min(wanted, 8) and nc > 1:
        nc = ceil(nc / 2)
    if rows > mc or resume:
        room = C_BYTES // (nc * tile.columns * size) if resume else rows * places
        cut = _level(rows, outer, places, strips, places if resume else gc, nc, room, min(wanted, 8), tile)
        if cut is not None:
            top, mc, gc = cut
            tile = replace(tile, heights=(top, rows % top) if rows % top else (top,))
    need = (gc * nc if resume else together) * round_up(mc, top) * tile.columns * size
    if need > SCRATCH_BYTES:
        raise ValueError(f"convolution blocks need {need} bytes of scratch: {spec}")
    inline = not resume and together == 1 and host.masks and short_body(spec, INLINE_LENGTH)
    far = int(k >= 48 and prod(p.extents) * size > C_BYTES)
    head = [rows, cols, inner, len(taps), mc, nc * tile.columns, gc, tc, far, *batch]
    sizes = [SIZE[a.dtype] for a in spec.accesses[:2]]
    table = [x * s for t in taps for x, s in zip(t, sizes, strict=True)]
    source = Correlate(spec, tile, shared, resume, inline, pairs is not None, together)
    return [*before, Launch(source, list(buffers), [*head, *ints, *table], chunks())]
