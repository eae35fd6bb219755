"""Planning of contractions: which operand is broadcast, what is packed, how C is cut into chunks.

Everything is decided from extents and strides alone, never from the number of threads. Costs are counted in cycles of
one vector multiply-add each; the constants were measured on Zen 4 with AVX-512 and only have to rank the choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from .contract_blocks import L2_BYTES, block_sizes, compute_cycles, round_up
from .llvm.contract import DIRECT, PACK_STRIP, PREPACKED, Multiply, PackColumns, strip_bytes
from .llvm.host import Host
from .llvm.microkernel import BYTES, STORAGE, Tile, tile_of
from .loops import SCRATCH_BYTES, Access, Contract, Launch

__all__ = ["Choice", "Problem", "Structure", "choose", "plan_contract", "round_up", "short_body"]

B_BYTES = 8 << 20  # a B above which a tall product is better off with it packed, though it could be read in place
MAX_KC = 2048  # longest stretch of k whose strips still stream well from the second level cache
DIRECT_KC = 512  # the same where B is read in place
PACK_BYTES = 64 << 10  # of B in a chunk of packing
SMALL_CYCLES = 50_000  # less than this is not worth a launch of its own for packing
INLINE_LENGTH = 6  # instructions and stores of a body that becomes part of the register tiles
PACK_CYCLES = {"width": 0.8, "k": 0.8, "none": 3.0}  # for each element packed in a chunk; twice that ahead of time
A_DIRECT_BYTES = 1 << 20  # an A above which it is better packed, though its rows do not conflict
STREAM_BYTES = 1 << 20  # a matrix above which a product of few rows reads it by whole rows, or asks for rows early
STREAM_STEPS = 8  # of k that it reads at a time: so many rows of B, from end to end; twice as many of half the size


@dataclass(frozen=True)
class Problem:
    """A contraction in one orientation with its run-time numbers.

    extents: (b…, rows, cols, k). ints: for each access, as :class:`~.loops.Access` says. pairs: k is walked in pairs.
    odd: the last pair is half empty. steady: whether A and B are the same whenever it runs: packing ahead is free.
    fresh: whether the body reads what moves on each time that it runs, so that no cache near by has it.
    """

    spec: Contract
    extents: tuple[int, ...]
    ints: tuple[tuple[int, ...], ...]
    pairs: bool = False
    odd: bool = False
    steady: tuple[bool, bool] = (False, False)
    fresh: bool = False

    @property
    def batch(self) -> tuple[int, ...]:
        """Extents of the batch axes."""
        return self.extents[:-3]

    @property
    def rows(self) -> int:
        """Rows of C."""
        return self.extents[-3]

    @property
    def cols(self) -> int:
        """Columns of C, the axis of the tiles' vectors."""
        return self.extents[-2]

    @property
    def k(self) -> int:
        """Steps of the sums."""
        return -(-self.extents[-1] // 2) if self.pairs else self.extents[-1]

    def paired(self) -> Problem:
        """The same problem, two elements of k in a step."""
        return replace(self, pairs=True, odd=self.extents[-1] % 2 == 1)

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
        body = tuple(replace(i, attrs=(other.get(i.attrs[0], i.attrs[0]),)) if i.op == "iota" else i for i in s.body)
        spec = replace(s, accesses=tuple(p[0] for p in pairs), body=body)
        extents = (*self.batch, self.cols, self.rows, self.extents[-1])
        ints = tuple(p[1] for p in pairs)
        return replace(self, spec=spec, extents=extents, ints=ints, steady=self.steady[::-1])


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
    steady: tuple[bool, bool] = (False, False),
    fresh: bool = False,
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
    steady: whether A and B are the same whenever it runs, so that what packs them runs once.
    fresh: whether the body reads what moves on each time that it runs.

    Raises
    ------
    ValueError: where the numbers do not fit the contraction.
    """
    if len(extents) != spec.batch + 3 or len(access_ints) != len(spec.accesses):
        raise ValueError(
            f"a contraction with {spec.batch} batch axes and {len(spec.accesses)} accesses takes "
            f"{spec.batch + 3} extents and as many lists of integers as accesses; "
            f"got {len(extents)} and {len(access_ints)}"
        )
    for n, (a, ints) in enumerate(zip(spec.accesses, access_ints, strict=True)):
        if len(a.steps) != spec.batch + 2 or len(ints) != a.ints:
            raise ValueError(f"access {n} ({a}) needs {spec.batch + 2} steps and {a.ints} integers, got {list(ints)}")
    if 0 in extents[:-1]:
        return []
    numbers = tuple(tuple(i) for i in access_ints)
    problem = _unit_strides(_fold(Problem(spec, tuple(extents), numbers, steady=steady, fresh=fresh)))
    return build(choose(problem, host), buffers, temp, host)


def _fold(p: Problem) -> Problem:
    """Join the last batch axis to the rows or columns as long as one operand ignores it and all strides compose."""
    while p.spec.batch:
        nb = p.spec.batch
        for axis, shared in ((nb, 1), (nb + 1, 0)):
            others = [n for n in range(len(p.ints)) if n != shared]
            placed = any(i.op == "iota" and i.attrs[0] in (nb - 1, axis) for i in p.spec.body)
            # A's columns and B's rows are k: the axis that an operand shares with C is its own
            if not placed and not p.stride(shared, nb - 1) and all(_composes(p, n, nb - 1, axis) for n in others):
                p = _join(p, axis)
                break
        else:
            return p
    return p


def _composes(p: Problem, access: int, outer: int, inner: int) -> bool:
    steps = p.spec.accesses[access].steps
    return p.stride(access, outer) == p.stride(access, inner) * p.extents[inner] and (steps[outer] == "0") == (
        steps[inner] == "0"
    )


def _join(p: Problem, axis: int) -> Problem:
    last = p.spec.batch - 1
    accesses, ints = [], []
    for a, i in zip(p.spec.accesses, p.ints, strict=True):
        at = 1 + a.steps[:last].count("s")
        accesses.append(replace(a, steps=a.steps[:last] + a.steps[last + 1 :]))
        ints.append(i[:at] + i[at + (a.steps[last] == "s") :])
    body = tuple(
        replace(i, attrs=(i.attrs[0] - 1,)) if i.op == "iota" and i.attrs[0] > last else i for i in p.spec.body
    )
    extents = list(p.extents)
    extents[axis] *= extents[last]
    del extents[last]
    spec = replace(p.spec, batch=last, accesses=tuple(accesses), body=body)
    return replace(p, spec=spec, extents=tuple(extents), ints=tuple(ints))


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
    return replace(p, spec=replace(p.spec, accesses=tuple(accesses)), ints=tuple(ints))


def choose(problem: Problem, host: Host) -> Choice:
    """The cheapest way of computing a problem.

    What would need other code (orientation, tile, packing) is decided for extents rounded up to a power of four, so
    that the ragged last batch of an epoch finds the code of the full one; block sizes are decided for the extents.
    """
    ways = [problem]
    if host.bf16 and all(a.dtype == "bf16" for a in problem.spec.accesses[:2]):
        ways.append(problem.paired())
    both = [(p, replace(p, extents=tuple(_round(e) for e in p.extents))) for p in ways]
    both += [(p.swapped(), r.swapped()) for p, r in both]
    options = [(_structure(r, shape, host), p) for p, r in both for shape in _shapes(r, host)]
    structure, p = min(options, key=lambda o: o[0].cost)
    mc, nc, kc = block_sizes(p, structure, tile_of(host, p.spec.dtype, structure.shape))
    return Choice(p, structure.shape, structure.axis, structure.pack_a, structure.b_mode, mc, nc, kc)


def _round(extent: int) -> int:
    """Small extents as they are, larger ones up to 64, 256, 1024, …"""
    top = 16
    while top < extent:
        top *= 4
    return extent if extent <= 16 else top


@dataclass(frozen=True)
class Structure:
    """How a problem would be computed (see :class:`Choice`), and at what cost. max_kc: where k is longer it is cut."""

    shape: str
    axis: int
    pack_a: bool
    b_mode: int
    max_kc: int
    cost: float


def _shapes(p: Problem, host: Host) -> list[str]:
    n = host.lanes(8 * BYTES[p.spec.dtype])
    a, b = p.spec.accesses[:2]
    if p.pairs:
        return ["narrow" if p.cols <= n else "wide"]
    if p.rows <= 3 and b.steps[-1] == "1" and p.k * p.cols * STORAGE[b.dtype] > STREAM_BYTES:
        out = ["stream"]
    else:
        out = ["few" if p.rows <= 3 else "narrow" if p.cols <= n else "wide"]
    fits = p.k <= 1 << 16 or (b.steps[-2] == "1" and b.dtype == p.spec.dtype)
    if p.cols <= 4 and a.steps[-1] == "1" and fits:
        out.append("dot")
    return out


def _epilogue_axis(p: Problem, shape: str) -> tuple[int, float]:
    """The vector axis of the body, and what it costs per element of C beyond loads and stores of vectors."""
    if shape == "dot":
        return 0, 0.1
    used = {i.attrs[0] for i in p.spec.body if i.op in ("load", "load_at")} | {a for _, a in p.spec.stores}
    steps = [p.spec.accesses[a].steps for a in sorted(used)]
    lane_wise = [sum(1.5 for s in steps if s[axis] == "s") for axis in (-2, -1)]
    # squares are transposed, and parts of lines of many columns wait in the caches for each array more
    costs = (lane_wise[0] + len(used) - 0.6, lane_wise[1])
    return (0, costs[0]) if costs[0] < costs[1] else (1, costs[1])


def _structure(p: Problem, shape: str, host: Host) -> Structure:
    """How a problem would be computed with tiles of a shape, and at what cost."""
    tile = tile_of(host, p.spec.dtype, shape)
    rows, cols, k = p.rows, p.cols, max(1, p.k)
    a, b = p.spec.accesses[:2]
    dtype, size = p.spec.dtype, BYTES[p.spec.dtype]
    axis, per_element = _epilogue_axis(p, shape)
    strips = ceil(cols / tile.columns)
    cost = compute_cycles(p, tile) + rows * cols * per_element
    if tile.dot:
        pack_a = False
        b_direct = b.steps[-2] == "1" and b.dtype == dtype
    else:
        must = (p.odd or a.steps[-1] != "1") if p.pairs else a.dtype != dtype
        worth = strips >= 8 and rows >= tile.heights[0] and _conflicts(p, tile)
        worth |= strips >= 16 and rows * k * size > A_DIRECT_BYTES
        pack_a = must or worth
        # rows prefetched in time read as fast as packed ones, until B no longer fits the last cache
        b_direct = b.steps[-1] == "1" and not (rows > 1024 and k * cols * size > B_BYTES)
        if p.pairs:
            b_direct = False
        elif b.dtype != dtype:  # widened again for every tile of rows
            b_direct &= rows <= 5 * tile.heights[0] and host.masks
    if pack_a:
        cost += rows * k * PACK_CYCLES[_way(a, -2)]
    b_mode = DIRECT
    if p.steady[1] and not tile.dot and shape != "stream":
        b_mode = PREPACKED
    elif not b_direct:
        matrices = prod(p.batch)
        alone = rows <= 8 * tile.heights[0] and (strips >= 4 or matrices > 1 or cost < SMALL_CYCLES)
        b_mode = PACK_STRIP if tile.dot or alone or (matrices >= 4 and rows <= 512) else PREPACKED
        cost += max(cols, tile.lanes) * k * PACK_CYCLES[_way(b, -1)] * (1 if b_mode == PACK_STRIP else 2)
    if tile.dot:
        max_kc = k
    elif shape == "stream":
        max_kc = STREAM_STEPS * BYTES[dtype] // STORAGE[b.dtype]
    else:  # without masks the last strip is packed to be read whole
        max_kc = MAX_KC if pack_a or b_mode != DIRECT or not host.masks else k
        if pack_a and b_mode == DIRECT and rows > 64 and k > 2 * DIRECT_KC:
            max_kc = DIRECT_KC
    return Structure(shape, axis, pack_a, b_mode, max_kc, cost)


def _conflicts(p: Problem, tile: Tile) -> bool:
    """Whether a tile's rows of A, read in place, would push each other out of the caches or touch too many pages."""
    size = BYTES[p.spec.dtype]
    if p.spec.accesses[0].steps[-2] == "1":
        return p.k >= 128 and p.cols >= 16 * tile.columns
    sets = [abs(p.stride(0, -2)) * size * r // 64 % 64 for r in range(tile.heights[0])]
    return max(sets.count(s) for s in sets) > 4


def _way(access: Access, width_axis: int) -> str:
    width, k = access.steps[width_axis], access.steps[-3 - width_axis]
    return "width" if width == "1" else "k" if k == "1" else "none"


def _far(p: Problem) -> bool:
    """Whether what the body touches comes from far away, and a tile takes long enough to ask for it early."""
    large = prod(p.batch) * p.rows * p.cols * BYTES[p.spec.dtype] > L2_BYTES
    return p.k >= 48 and (p.fresh or large)


def _inline(c: Choice, resume: bool, host: Host) -> bool:
    """Whether the body is short enough to be part of the register tiles."""
    p = c.problem
    if resume or c.axis != 1 or c.shape == "dot" or not host.masks:
        return False
    return short_body(p.spec, INLINE_LENGTH)


def short_body(spec: Contract, most: int) -> bool:
    """Whether a body has at most so many instructions and stores, and walks the columns so that tiles can do it."""
    still: set[int] = set()  # constants in whatever dtype: registers hold them
    for n, i in enumerate(spec.body):
        if i.op == "const" or (i.op == "cast" and still.issuperset(i.args)):
            still.add(n)
    used = [i for n, i in enumerate(spec.body) if n not in still]
    accesses = [spec.accesses[i.attrs[0]] for i in used if i.op == "load"]
    accesses += [spec.accesses[a] for _, a in spec.stores]
    plain = all(a.steps[-1] != "s" for a in accesses) and all(i.op != "load_at" for i in used)
    return plain and len(used) + len(spec.stores) <= most


def build(c: Choice, buffers: list[int], temp: Callable[[int], int], host: Host) -> list[Launch]:
    """The launches of a choice."""
    p = c.problem
    spec, nb = p.spec, p.spec.batch
    tile = tile_of(host, spec.dtype, c.shape)
    if tile.dot and p.rows * p.k * STORAGE[spec.accesses[0].dtype] > STREAM_BYTES:
        tile = replace(tile, ahead=1)
    elif c.shape == "stream":
        tile = replace(tile, ahead=c.kc)
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
        group = 1 if along_k else strips
        stretch = round_up(
            max(16, PACK_BYTES // (group * strip_bytes(tile, spec.dtype, 1) * (4 if along_k else 1))), 16
        )
        pieces = ceil(strips / group) * ceil(p.k / stretch) * prod(extents)
        if pieces:  # a sum of nothing has nothing to pack
            packing = PackColumns(replace(spec.accesses[1], buf=0), spec.dtype, tile, p.pairs)
            ints = [p.cols, p.extents[-1], group, stretch, *extents, *p.ints[1]]
            launches.append(Launch(packing, [buffers[spec.accesses[1].buf], slots[-1]], ints, pieces))
    else:
        slots.append(buffers[0])
    resume = c.kc < p.k
    lanes = tile.lanes
    acc = ceil(c.mc / lanes) * lanes * tile.columns * size * (ceil(c.nc / tile.columns) if resume else 1)
    pad = 64 * tile.lanes
    a_at = round_up(acc + pad, 4096)
    b_at = round_up(a_at + (c.mc * min(c.kc, max(p.k, 1)) * size if c.pack_a else 0) + pad, 4096)
    end = b_at + strip_bytes(tile, spec.dtype, c.kc if c.b_mode == PACK_STRIP else 0)
    if not host.masks and c.b_mode == DIRECT:
        end = b_at + strip_bytes(tile, spec.dtype, c.kc)
    if end > SCRATCH_BYTES:
        raise ValueError(f"contraction blocks need {end} bytes of scratch: {c}")
    pack_b = c.b_mode == PACK_STRIP or (not host.masks and c.b_mode == DIRECT and not tile.dot)
    raw = tile.dot or (c.b_mode == DIRECT and host.masks)
    raw &= spec.accesses[0 if tile.dot else 1].dtype != spec.dtype
    source = Multiply(spec, tile, c.axis, resume, c.pack_a, pack_b, raw, _inline(c, resume, host), p.pairs)
    ints = [p.rows, p.cols, p.k, c.mc, c.nc, c.kc, int(c.pack_a), c.b_mode, a_at, b_at, int(_far(p)), p.extents[-1]]
    ints += [*p.batch, *ahead]
    ints += [i for a in p.ints for i in a]
    chunks = prod(p.batch) * ceil(p.rows / c.mc) * ceil(p.cols / c.nc)
    launches.append(Launch(source, slots, ints, chunks))
    return launches
