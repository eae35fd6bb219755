"""Register tiles: the innermost loops of a contraction.

A tile holds ``height x vectors`` accumulators in registers and runs over k. Two forms exist:

*outer*: each step of k loads ``vectors`` vectors of B and broadcasts one element of each row of A. Strides of A are
run-time values, so the same code reads A in place (either orientation) or packed; B has unit stride along its columns
and a run-time stride along k.

*dot*: A and B both have unit stride along k, which is the vector axis; one column of B. ``height`` running vectors are
summed across their lanes at the end by a tree of shuffles. This is the matrix-vector product of a row-major matrix,
which no packing could pay for.

The outer form also multiplies pairs of bfloat16 (see :mod:`.pairs`): a pair has the size of a float32, so nothing but
the instruction changes. Half operands that are not paired are widened as they are read.

A function exists per height: the largest, then each smaller power of two, so that any number of rows is a sum of
heights and no row is computed in vain. On Zen 4 with AVX-512 every height of 4 or more runs within 3 % of the peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .elementwise import emit_load
from .halves import from_half
from .host import Host
from .text import Function, Module, V, lanes, scalar_of, vec

__all__ = [
    "Tile", "TileBody", "broadcast", "emit_tiles", "load_vector", "mask_words", "masks_of", "multiply_add", "prefetch",
    "shuffle_halves", "tile_of",
]  # fmt: skip

ELEMENT = {"f32": "float", "f64": "double"}
BYTES = {"f32": 4, "f64": 8}
STORAGE = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2, "pairs": 4}
_AHEAD = {"wide": 32, "narrow": 32, "stream": 8}
_POWERS = (64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Tile:
    """The family of register tiles of one kernel.

    heights: rows, largest first, ending in 1. vectors: registers across the columns. lanes: elements in a register.
    dot: True for the form that runs along k (then ``vectors`` is 1 and the tile has one column).
    ahead: steps of k between a prefetch of the operands and their use, 0 for none; of the form that runs along k, tiles
    of rows.
    """

    heights: tuple[int, ...]
    vectors: int
    lanes: int
    dot: bool = False
    ahead: int = 0

    @property
    def columns(self) -> int:
        """Columns of C that one tile covers."""
        return 1 if self.dot else self.vectors * self.lanes


# host: {shape class: (largest height, vectors)}; chosen so that accumulators, B and one broadcast fit the registers
_TILES = {
    "avx512": {"wide": (14, 2), "narrow": (14, 1), "few": (3, 8), "stream": (1, 2)},
    "avx2": {"wide": (6, 2), "narrow": (10, 1), "few": (1, 8), "stream": (1, 2)},
    "sse4": {"wide": (4, 2), "narrow": (8, 1), "few": (1, 6), "stream": (1, 4)},
    "neon": {"wide": (8, 3), "narrow": (16, 1), "few": (2, 8), "stream": (1, 4)},
}


def tile_of(host: Host, dtype: str, shape: str) -> Tile:
    """The tiles for a class of shapes.

    shape: ``"wide"``; ``"narrow"`` where C has no more columns than a register has lanes; ``"few"`` where it has
    a handful of rows; ``"stream"`` where moreover B is large and k is cut short; ``"dot"`` (see the module).
    """
    n = host.lanes(8 * BYTES[dtype])
    if shape == "dot":
        return Tile(tuple(p for p in _POWERS if p <= min(n, host.registers // 2)), 1, n, dot=True)
    top, vectors = _TILES[host.name][shape]
    return Tile((top, *(p for p in _POWERS if p < top)), vectors, n, ahead=_AHEAD.get(shape, 0))


def load_converted(f: Function, host: Host, storage: str, dtype: str, p: V, n: int, mask: V | None = None) -> V:
    """Load ``n`` elements stored as ``storage`` and widen them to ``dtype``."""
    x = emit_load(f, host, storage, p, n, mask)
    if storage in ("f16", "bf16"):
        x = from_half(f, host, storage, x)
    return f.cast("fpext", x, vec(ELEMENT[dtype], n))


PAIRS = "pairs"
"""In the place of an operand's storage: pairs of bfloat16."""


def load_vector(f: Function, host: Host, storage: str, dtype: str, p: V, n: int, mask: V | None) -> V:
    """``n`` neighbouring elements (or pairs) of the operand that is read by vectors."""
    if storage == PAIRS:
        return emit_load(f, host, "u32", p, n, mask)
    return load_converted(f, host, storage, dtype, p, n, mask)


def broadcast(f: Function, host: Host, storage: str, dtype: str, p: V, n: int) -> V:
    """One element (or pair) of the other operand in every lane."""
    if storage == PAIRS:
        return f.splat(f.load("i32", p, 2), n)
    if storage in ("f16", "bf16"):  # the bits are spread first: one instruction, where a scalar would take three
        return f.cast("fpext", from_half(f, host, storage, f.splat(f.load("i16", p), n)), vec(ELEMENT[dtype], n))
    return f.splat(f.load(ELEMENT[dtype], p), n)


def multiply_add(f: Function, x: V, y: V, total: V) -> V:
    """``total + x * y``; of pairs, both products are added."""
    if scalar_of(x.ty) != "i32":
        return f.fma(x, y, total)
    ty = f"<{2 * lanes(x.ty)} x bfloat>"
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes(x.ty)}"
    return f.call(name, total.ty, [total, f.cast("bitcast", x, ty), f.cast("bitcast", y, ty)])


class TileBody(Protocol):
    """What a tile does with its sums."""

    def start(self, f: Function, height: int, columns: int) -> None:
        """Emitted before the sums are made, in tiles of four rows and more."""

    def finish(self, f: Function, sums: list[list[V]], masks: list[V]) -> None:
        """Emitted at the end, with the vectors of each row and the mask of each vector."""


def mask_words(tile: Tile) -> int:
    """How many i64 hold one bit for each column of a tile."""
    return -(-tile.columns // 64)


def masks_of(f: Function, count: V, tile: Tile) -> list[V]:
    """The i64 words whose bit ``j`` says that column ``j`` is below ``count`` (an i64)."""
    words = []
    for w in range(mask_words(tile)):
        n = f.min_i(f.max_i(f.sub(count, 64 * w), 0), 64)
        ones = f.lshr(f.const("i64", -1), f.sub(f.const("i64", 64), f.max_i(n, 1)))
        words.append(f.select(f.icmp("sgt", n, 0), ones, f.const("i64", 0)))
    return words


def emit_tiles(
    module: Module,
    name: str,
    host: Host,
    dtype: str,
    tile: Tile,
    resume: bool,
    storage: str,
    body: TileBody | None = None,
) -> dict[int, str]:
    """Emit a function for each height and return their names.

    ``void (ptr a, i64 row, i64 step, ptr b, i64 bstep, i64 k, ptr acc [, i64 mask]…)``; strides in bytes: ``row`` and
    ``step`` walk A along rows and k, ``bstep`` walks B along k. ``acc`` receives ``height`` rows of ``tile.columns``
    elements, contiguous. ``resume``: the sums start from what ``acc`` holds instead of zero. The mask words exist on
    hosts with masks; columns whose bit is clear are not read from B. ``storage``: the dtype of the operand that is read
    by vectors, B (of the dot form: A); the other has ``dtype``. Of the outer form it may be :data:`PAIRS`, of both.

    body: of the outer form on hosts with masks: what is done with the sums instead of storing them, in a function with
    the further arguments ``ptr ints, ptr frame, i64 i, i64 j``.
    """
    names = {}
    for h in tile.heights:
        names[h] = f"{name}.{h}"
        if tile.dot:
            _emit_dot(module, names[h], host, dtype, tile, h, resume, storage)
        else:
            _emit_outer(module, names[h], host, dtype, tile, h, resume, storage, body)
    return names


def _signature(host: Host, tile: Tile) -> list[tuple[str, str]]:
    args = [("ptr", "a"), ("i64", "row"), ("i64", "step"), ("ptr", "b"), ("i64", "bstep"), ("i64", "k"), ("ptr", "acc")]
    if host.masks and not tile.dot:
        args += [("i64", f"mask{w}") for w in range(mask_words(tile))]
    return args


def _emit_outer(
    m: Module,
    name: str,
    host: Host,
    dtype: str,
    tile: Tile,
    height: int,
    resume: bool,
    storage: str,
    body: TileBody | None,
) -> None:
    n, nv, size = tile.lanes, tile.vectors, BYTES[dtype]
    ty = vec(ELEMENT[dtype], n)
    more = [("ptr", "ints"), ("ptr", "frame"), ("i64", "i"), ("i64", "j")] if body else []
    f = m.function(name, "void", _signature(host, tile) + more, "internal", "nounwind noinline")
    masks = []
    if host.masks:
        for v in range(nv):
            bits = f.lshr(f.arg(f"mask{v * n // 64}"), v * n % 64)
            masks.append(f.cast("bitcast", f.cast("trunc", bits, f"i{n}"), f"<{n} x i1>"))
    if body and height >= 4:  # lower ones do not take long enough
        body.start(f, height, nv * n)
    at = [f.gep(f.arg("acc"), "i8", i * n * size) for i in range(height * nv)]
    first = [f.load(ty, p) if resume else f.zero(ty) for p in at]
    with f.loop(0, f.arg("k"), 1, carry=[f.arg("a"), f.arg("b"), *first], name="k") as it:
        a, b, *acc = it.vals
        if tile.ahead and height == tile.heights[0]:
            prefetch(f, f.gep(b, "i8", f.mul(f.arg("bstep"), tile.ahead)), nv * n * STORAGE[storage])
            far = f.gep(a, "i8", f.mul(f.arg("step"), tile.ahead))
            prefetch(f, far, 1)
            # where the rows are neighbours in memory, as in a weight's gradient, they often cross into another line
            prefetch(f, f.gep(far, "i8", f.mul(f.arg("row"), height - 1)), 1)
        cols = [f.gep(b, "i8", v * n * STORAGE[storage]) for v in range(nv)]
        bv = [load_vector(f, host, storage, dtype, p, n, masks[v] if masks else None) for v, p in enumerate(cols)]
        p = a
        for r in range(height):
            # each row's address from the last one's: two registers hold all of them, whatever the stride
            p = f.gep(p, "i8", f.arg("row")) if r else p
            x = broadcast(f, host, PAIRS if storage == PAIRS else dtype, dtype, p, n)
            for v in range(nv):
                acc[r * nv + v] = multiply_add(f, x, bv[v], acc[r * nv + v])
        it.next([f.gep(a, "i8", f.arg("step")), f.gep(b, "i8", f.arg("bstep")), *acc])
    sums = it.results[2:]
    if body:
        body.finish(f, [sums[r * nv : (r + 1) * nv] for r in range(height)], masks)
    else:
        for p, x in zip(at, sums, strict=True):
            f.store(x, p)
    f.ret()


def prefetch(f: Function, p: V, count: int, level: int = 2, write: bool = False) -> None:
    """Ask for the cache lines of ``count`` bytes at ``p``, which need be neither aligned nor there.

    level: 3 for the first level cache, 2 for the second.
    """
    f.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
    for at in sorted({*range(0, count, 64), count - 1}):
        f.line(f"call void @llvm.prefetch.p0(ptr {f.gep(p, 'i8', at).ref}, i32 {int(write)}, i32 {level}, i32 1)")


def _emit_dot(
    m: Module, name: str, host: Host, dtype: str, tile: Tile, height: int, resume: bool, storage: str
) -> None:
    n, size, wide = tile.lanes, BYTES[dtype], STORAGE[storage]
    elem = ELEMENT[dtype]
    ty = vec(elem, n)
    f = m.function(name, "void", _signature(host, tile), "internal", "nounwind noinline")
    k = f.arg("k")
    whole = f.and_(k, -n)

    def step(a: V, b: V, acc: list[V], mask: V | None) -> list[V]:
        x = f.load(ty, b) if mask is None else f.masked_load(ty, b, mask)
        p, out = a, []
        for r in range(height):
            p = f.gep(p, "i8", f.arg("row")) if r else p
            if tile.ahead and mask is None and height == tile.heights[0]:
                prefetch(f, f.gep(p, "i8", f.mul(f.arg("row"), height * tile.ahead)), n * wide)
            y = load_converted(f, host, storage, dtype, p, n, mask)
            out.append(f.fma(x, y, acc[r]))
        return out

    with f.loop(0, whole, n, carry=[f.arg("a"), f.arg("b"), *[f.zero(ty)] * height], name="k") as it:
        a, b, *acc = it.vals
        it.next([f.gep(a, "i8", n * wide), f.gep(b, "i8", n * size), *step(a, b, acc, None)])
    a, b, *acc = it.results
    if host.masks:
        lane = f.iota(f"<{n} x i32>")
        rest = f.splat(f.cast("trunc", f.sub(k, whole), "i32"), n)
        with f.if_else(f.icmp("sgt", f.sub(k, whole), 0)) as br:
            more = step(a, b, acc, f.icmp("slt", lane, rest))
        acc = [br.merge(x, y) for x, y in zip(more, acc, strict=True)]
        total = _sum_lanes(f, acc)
    else:
        total = _sum_lanes(f, acc)
        with f.loop(whole, k, 1, carry=[a, b, total], name="tail") as tail:
            a, b, s = tail.vals
            x = f.load(elem, b)
            p = a
            for r in range(height):
                p = f.gep(p, "i8", f.arg("row")) if r else p
                y = load_converted(f, host, storage, dtype, p, 1)
                t = f.fma(x, y, s if height == 1 else f.extract(s, r))
                s = t if height == 1 else f.insert(s, t, r)
            tail.next([f.gep(a, "i8", wide), f.gep(b, "i8", size), s])
        total = tail.results[2]
    out = f.arg("acc")
    f.store(f.fadd(f.load(total.ty, out), total) if resume else total, out)
    f.ret()


def shuffle_halves(f: Function, a: V, b: V, d: int) -> tuple[V, V]:
    """Exchange blocks of ``d`` lanes: (even blocks of a and b alternating, odd blocks of a and b alternating)."""
    n = lanes(a.ty)
    low = [j if not j & d else n + (j ^ d) for j in range(n)]
    high = [j ^ d if not j & d else n + j for j in range(n)]
    return f.shuffle(a, b, low), f.shuffle(a, b, high)


def _sum_lanes(f: Function, xs: Sequence[V]) -> V:
    """The sum over the lanes of each vector, gathered in one vector of ``len(xs)`` lanes (a power of two)."""
    xs = list(xs)
    n = lanes(xs[0].ty)
    while n > max(len(xs), 2):  # fold until there are as many lanes as vectors
        n //= 2
        xs = [f.fadd(f.shuffle(x, None, range(n)), f.shuffle(x, None, range(n, 2 * n))) for x in xs]
    if len(xs) == 1:
        return f.fadd(f.extract(xs[0], 0), f.extract(xs[0], 1))
    d = 1
    while len(xs) > 1:  # neighbours in the list end in neighbouring lanes
        xs = [f.fadd(*shuffle_halves(f, xs[i], xs[i + 1], d)) for i in range(0, len(xs), 2)]
        d *= 2
    return xs[0]
