"""Planning of contractions: which operand is broadcast, what is packed, how C is cut into chunks.

Everything is decided from extents and strides alone, never from the number of threads. Costs are counted in cycles of one
vector multiply-add each; the constants were measured on Zen 4 with AVX-512 and only have to rank the choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from .llvm.contract import DIRECT, PACK_STRIP, PREPACKED, Multiply, PackColumns, strip_bytes
from .llvm.host import Host
from .llvm.microkernel import BYTES, Tile, tile_of
from .loops import SCRATCH_BYTES, Access, Contract, Launch

__all__ = ["Choice", "Problem", "choose", "plan_contract"]

A_BYTES = 384 << 10  # packed rows of A that stay in the second level cache beside a strip of B and C
MAX_KC = 2048  # longest stretch of k whose strips still stream well from the second level cache
CHUNK_CYCLES = 30_000  # smallest chunk worth handing to another thread
PACK_BYTES = 64 << 10  # of B in a chunk of packing
CHUNKS = 32  # as many chunks as this are enough to level the load
PACK_CYCLES = {"width": 0.15, "k": 0.4, "none": 2.5}  # for each element packed


@dataclass(frozen=True)
class Problem:
    """A contraction in one orientation with its run-time numbers.

    extents: (b…, rows, cols, k). ints: for each access, as :class:`~.loops.Access` says.
    """

    spec: Contract
    extents: tuple[int, ...]
    ints: tuple[tuple[int, ...], ...]

    @property
    def batch(self) -> tuple[int, ...]:
        return self.extents[:-3]

    @property
    def rows(self) -> int:
        return self.extents[-3]

    @property
    def cols(self) -> int:
        return self.extents[-2]

    @property
    def k(self) -> int:
        return self.extents[-1]

    def stride(self, access: int, axis: int) -> int:
        """Run-time stride in elements of an access along an axis."""
        steps = self.spec.accesses[access].steps
        axis %= len(steps)
        if steps[axis] != "s":
            return int(steps[axis])
        return self.ints[access][1 + steps[:axis].count("s")]

    def swapped(self) -> Problem:
        """The same problem for the transpose of C: rows and columns, A and B change places."""
        s = self.spec
        nb = s.batch

        def flip(a: Access, ints: Sequence[int]) -> tuple[Access, tuple[int, ...]]:
            *head, m, n = a.steps
            at = 1 + head.count("s")
            own = [ints[at]] if m == "s" else []
            other = [ints[at + (m == "s")]] if n == "s" else []
            tail = list(ints[1 + a.steps.count("s") :])
            return replace(a, steps=(*head, n, m)), (*ints[:at], *other, *own, *tail)

        pairs = [flip(a, i) for a, i in zip(s.accesses, self.ints, strict=True)]
        pairs[0], pairs[1] = pairs[1], pairs[0]
        other = {nb: nb + 1, nb + 1: nb}
        body = tuple(
            replace(i, attrs=(other.get(i.attrs[0], i.attrs[0]),)) if i.op == "iota" else i for i in s.body
        )
        spec = replace(s, accesses=tuple(p[0] for p in pairs), body=body)
        return Problem(spec, (*self.batch, self.cols, self.rows, self.k), tuple(p[1] for p in pairs))


@dataclass(frozen=True)
class Choice:
    """How a problem is computed.

    problem: in the chosen orientation. shape: a class of :func:`~.llvm.microkernel.tile_of`. axis: of the epilogue's
    vectors. pack_a: A's rows are packed. b_mode: ``DIRECT``, ``PACK_STRIP`` or ``PREPACKED``. mc, nc, kc: block sizes.
    """

    problem: Problem
    shape: str
    axis: int
    pack_a: bool
    b_mode: int
    mc: int
    nc: int
    kc: int


def plan_contract(
    spec: Contract,
    extents: Sequence[int],
    access_ints: Sequence[Sequence[int]],
    buffers: list[int],
    temp: Callable[[int], int],
    host: Host,
) -> list[Launch]:
    """The launches that compute a contraction, in order.

    Parameters
    ----------
    spec: what is computed.
    extents: ``(b…, m, n, k)``.
    access_ints: for each access its offset and run-time strides, in elements, as :class:`~.loops.Access` says.
    buffers: table slots of the kernel's buffers.
    temp: reserves so many bytes of temporary memory and returns its table slot.
    host: what to compile for.

    Raises
    ------
    ValueError: where the numbers do not fit the contraction.
    """
    if len(extents) != spec.batch + 3 or len(access_ints) != len(spec.accesses):
        raise ValueError(
            f"a contraction with {spec.batch} batch axes and {len(spec.accesses)} accesses takes {spec.batch + 3} extents and "
            f"as many lists of integers as accesses; got {len(extents)} and {len(access_ints)}"
        )
    for n, (a, ints) in enumerate(zip(spec.accesses, access_ints, strict=True)):
        if len(a.steps) != spec.batch + 2 or len(ints) != a.ints:
            raise ValueError(f"access {n} ({a}) needs {spec.batch + 2} steps and {a.ints} integers, got {list(ints)}")
    if 0 in extents[:-1]:
        return []
    problem = _unit_strides(Problem(spec, tuple(extents), tuple(tuple(i) for i in access_ints)))
    return build(choose(problem, host), buffers, temp, host)


def _unit_strides(p: Problem) -> Problem:
    """Name run-time strides of the operands that happen to be one."""
    accesses, ints = list(p.spec.accesses), list(p.ints)
    for n in (0, 1):
        for axis in (p.spec.batch, p.spec.batch + 1):
            steps = list(accesses[n].steps)
            at = 1 + steps[:axis].count("s")
            if steps[axis] == "s" and ints[n][at] == 1:
                steps[axis] = "1"
                accesses[n] = replace(accesses[n], steps=tuple(steps))
                ints[n] = (*ints[n][:at], *ints[n][at + 1 :])
    return Problem(replace(p.spec, accesses=tuple(accesses)), p.extents, tuple(ints))


def choose(problem: Problem, host: Host) -> Choice:
    """The cheapest way of computing a problem."""
    best = None
    for p in (problem, problem.swapped()):
        for shape in _shapes(p, host):
            cost, choice = _estimate(p, shape, host)
            if best is None or cost < best[0]:
                best = (cost, choice)
    assert best is not None
    return best[1]


def _shapes(p: Problem, host: Host) -> list[str]:
    n = host.lanes(8 * BYTES[p.spec.dtype])
    a = p.spec.accesses[0]
    out = ["few" if p.rows <= 3 else "narrow" if p.cols <= n else "wide"]
    if p.cols <= 4 and a.steps[-1] == "1" and a.dtype == p.spec.dtype:
        out.append("dot")
    return out


def _epilogue_axis(p: Problem, shape: str) -> tuple[int, float]:
    """The vector axis of the body, and what it costs per element of C beyond loads and stores of vectors."""
    if shape == "dot":
        return 0, 0.1
    used = {i.attrs[0] for i in p.spec.body if i.op in ("load", "load_at")} | {a for _, a in p.spec.stores}
    steps = [p.spec.accesses[a].steps for a in sorted(used)]
    lane_wise = [sum(1.5 for s in steps if s[axis] == "s") for axis in (-2, -1)]
    costs = (lane_wise[0] + 0.4, lane_wise[1])
    return (0, costs[0]) if costs[0] < costs[1] else (1, costs[1])


def _estimate(p: Problem, shape: str, host: Host) -> tuple[float, Choice]:
    tile = tile_of(host, p.spec.dtype, shape)
    rows, cols, k = p.rows, p.cols, max(1, p.k)
    a, b = p.spec.accesses[:2]
    dtype = p.spec.dtype
    axis, per_element = _epilogue_axis(p, shape)
    size = BYTES[dtype]
    strips = ceil(cols / tile.columns)

    if shape == "dot":
        compute = cols * rows * (ceil(k / tile.lanes) * 2 + 6)
        must_b = b.steps[-2] != "1" or b.dtype != dtype
        b_mode = PACK_STRIP if must_b else DIRECT
        pack_a = False
    else:
        # a tile of few rows waits for its own sums: 4 cycles of latency
        heights = _decompose(rows, tile)
        compute = strips * sum(n * (k * max(h * tile.vectors, 4) + 3 * h * tile.vectors + 30) for h, n in heights)
        can_b = b.steps[-1] == "1" and b.dtype == dtype
        heavy = rows > 4 * tile.heights[0] and k * cols * size > 24 << 10
        b_mode = DIRECT if can_b and not heavy else PREPACKED
        reuse = strips
        must_a = a.dtype != dtype
        pack_a = must_a or (reuse > 4 and rows * k * size > 16 << 10 and a.steps[-2] != "1") or (reuse > 4 and rows * k > 1 << 17)
    mc, nc, kc = _blocks(p, tile, compute, pack_a, b_mode)
    row_blocks = ceil(rows / mc)
    if b_mode == PREPACKED and row_blocks == 1 and strip_bytes(tile, dtype, kc) <= 256 << 10:
        b_mode = PACK_STRIP
    cost = compute + rows * cols * per_element
    if b_mode != DIRECT:
        cost += cols * k * PACK_CYCLES[_way(b, -1)]
    if pack_a:
        cost += rows * k * PACK_CYCLES[_way(a, -2)] * ceil(cols / nc)
    return cost, Choice(p, shape, axis, pack_a, b_mode, mc, nc, kc)


def _way(access: Access, width_axis: int) -> str:
    width, k = access.steps[width_axis], access.steps[-3 - width_axis]
    return "width" if width == "1" else "k" if k == "1" else "none"


def _decompose(rows: int, tile: Tile) -> list[tuple[int, int]]:
    """(height, how many) for a number of rows."""
    out = []
    for h in tile.heights:
        out.append((h, rows // h))
        rows %= h
    return out


def _blocks(p: Problem, tile: Tile, compute: float, pack_a: bool, b_mode: int) -> tuple[int, int, int]:
    """Block sizes (mc, nc, kc)."""
    size, rows, cols, k = BYTES[p.spec.dtype], p.rows, p.cols, max(1, p.k)
    kc = k
    if (pack_a or b_mode != DIRECT) and k > MAX_KC:
        kc = ceil(k / ceil(k / MAX_KC))
        kc = min(k, -(-kc // 16) * 16)
    top = tile.heights[0]
    mc = rows
    most = max(top, (A_BYTES // (kc * size)) // top * top)
    if pack_a or kc < k:
        mc = min(mc, most)
    mc = min(mc, 32 * top)
    wanted = max(1, min(CHUNKS, int(compute * prod(p.batch) / CHUNK_CYCLES)))
    per_matrix = ceil(wanted / prod(p.batch))
    strips = ceil(cols / tile.columns)
    # columns are cut first where A is short, since rows share the packed strip
    row_blocks = ceil(rows / mc)
    col_blocks = max(1, min(strips, ceil(per_matrix / row_blocks)))
    if pack_a:
        col_blocks = min(col_blocks, max(1, strips // 8))
    row_blocks = max(row_blocks, min(ceil(rows / top), ceil(per_matrix / col_blocks)))
    mc = min(rows, ceil(ceil(rows / row_blocks) / top) * top)
    nc = ceil(strips / col_blocks) * tile.columns
    if kc < k:  # the waiting sums must fit beside the operands
        room = 512 << 10
        nc = min(nc, max(1, room // (mc * tile.columns * size)) * tile.columns)
    return mc, nc, kc


def build(c: Choice, buffers: list[int], temp: Callable[[int], int], host: Host) -> list[Launch]:
    """The launches of a choice."""
    p = c.problem
    spec, nb = p.spec, p.spec.batch
    tile = tile_of(host, spec.dtype, c.shape)
    size = BYTES[spec.dtype]
    strips = ceil(p.cols / tile.columns)
    launches, slots = [], list(buffers)
    ahead = [0] * nb
    strip = strip_bytes(tile, spec.dtype, p.k)
    if c.b_mode == PREPACKED:
        extents = [e if p.stride(1, axis) else 1 for axis, e in enumerate(p.batch)]
        one = strips * strip
        step = one
        for axis in reversed(range(nb)):
            ahead[axis] = step if extents[axis] > 1 else 0
            step *= extents[axis]
        slots.append(temp(max(64, one * prod(extents))))
        # rows of B from end to end, or columns a strip at a time, whichever is contiguous
        along_k = spec.accesses[1].steps[-2] == "1" and spec.accesses[1].steps[-1] != "1"
        group, stretch = (1, p.k) if along_k else (strips, max(16, PACK_BYTES // (strips * strip_bytes(tile, spec.dtype, 1))))
        launches.append(
            Launch(
                PackColumns(replace(spec.accesses[1], buf=0), spec.dtype, tile),
                [buffers[spec.accesses[1].buf], slots[-1]],
                [p.cols, p.k, group, stretch, *extents, *p.ints[1]],
                ceil(strips / group) * ceil(p.k / stretch) * prod(extents),
            )
        )
    else:
        slots.append(buffers[0])
    resume = c.kc < p.k
    lanes = tile.lanes
    acc = ceil(c.mc / lanes) * lanes * tile.columns * size * (ceil(c.nc / tile.columns) if resume else 1)
    pad = 64 * tile.lanes
    a_at = _align(acc + pad)
    b_at = _align(a_at + (c.mc * min(c.kc, max(p.k, 1)) * size if c.pack_a else 0) + pad)
    end = b_at + strip_bytes(tile, spec.dtype, c.kc if c.b_mode == PACK_STRIP else 0)
    if not host.masks and c.b_mode == DIRECT:
        end = b_at + strip_bytes(tile, spec.dtype, c.kc)
    if end > SCRATCH_BYTES:
        raise ValueError(f"contraction blocks need {end} bytes of scratch: {c}")
    source = Multiply(
        spec, tile, c.axis, resume, c.pack_a, c.b_mode == PACK_STRIP or (not host.masks and c.b_mode == DIRECT and not tile.dot)
    )
    ints = [p.rows, p.cols, p.k, c.mc, c.nc, c.kc, int(c.pack_a), c.b_mode, a_at, b_at, *p.batch, *ahead]
    ints += [i for a in p.ints for i in a]
    chunks = prod(p.batch) * ceil(p.rows / c.mc) * ceil(p.cols / c.nc)
    launches.append(Launch(source, slots, ints, chunks))
    return launches


def _align(n: int) -> int:
    return (n + 4095) & -4096
