"""Convolutions of bfloat16 in pairs (see :mod:`.llvm.pairs`): which of their sums go together, and what is packed.

Where a pixel's sums are neighbours in memory and even in number, images are read in place, two channels at once, and
the filters are packed. Else, for the gradient of the filters, the second half of the batch is laid between the first:
pixels of two images then are a pair. Where images are so small that sums would jump all the time, what each
tap reads is gathered in front of a plain product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from .llvm.host import Host
from .llvm.microkernel import Tile
from .llvm.pairs import PAIR_BYTES, GatherTaps, JoinHalves, PackTaps
from .loops import Access, Contract, Launch

__all__ = ["Paired", "along_sums", "gathered", "pair_up"]

HALF_BYTES = 2
CHUNK = 1 << 14  # pairs that a chunk joins
SHORT_SUM = 16  # steps between jumps below which what taps read is gathered
GATHERED_BYTES = 24 << 20  # of what is gathered, at most: it should stay in the last cache
GATHER_COLUMNS = 96  # that make the copy worth it


@dataclass(frozen=True)
class Paired:
    """A convolution over pairs, in the terms of :func:`~.correlate_plan.plan_correlate`; what runs before it."""

    spec: Contract
    inner: int
    taps: list[tuple[int, int]]
    ints: list[Sequence[int]]
    buffers: list[int]
    before: list[Launch]


def along_sums(extent: int, stride: int, dtypes: Sequence[str], host: Host) -> bool:
    """Whether an inner sum over so many elements of images, so far apart, can go in pairs."""
    return host.bf16 and set(dtypes) == {"bf16"} and stride == 1 and extent % 2 == 0


def pair_up(
    spec: Contract,
    extents: Sequence[int],
    inner: int,
    taps: Sequence[tuple[int, int]],
    ints: Sequence[Sequence[int]],
    buffers: list[int],
    temp: Callable[[int], int],
    host: Host,
    tile: Tile,
) -> Paired | None:
    """The same convolution over pairs; None where it cannot be."""
    a, b = spec.accesses[:2]
    if not host.bf16 or {a.dtype, b.dtype} != {"bf16"}:
        return None
    walks = [_strides(x, i) for x, i in zip((a, b), ints, strict=False)]
    if along_sums(inner, walks[0][-1], (a.dtype, b.dtype), host):
        return _filters_packed(spec, extents, inner, taps, ints, buffers, temp, tile, walks)
    return _halves_joined(spec, extents, inner, taps, ints, buffers, temp, tile, walks)


def gathered(
    spec: Contract,
    extents: Sequence[int],
    inner: int,
    taps: Sequence[tuple[int, int]],
    ints: Sequence[Sequence[int]],
    buffers: list[int],
    temp: Callable[[int], int],
    host: Host,
) -> tuple[Contract, list[int], list[Sequence[int]], list[int], Launch] | None:
    """The gradient of filters over small images as a product: its spec, extents, integers, buffers and the copy before.

    None where the images are not small, or where pixels of the results are not one axis in memory.
    """
    a, b = spec.accesses[:2]
    *batch, rows, cols = extents
    if not host.bf16 or {a.dtype, b.dtype} != {"bf16"} or inner > SHORT_SUM or cols < GATHER_COLUMNS or len(taps) < 4:
        return None
    left, right = (_strides(x, i) for x, i in zip((a, b), ints, strict=False))
    k = inner * len(taps)
    size = prod(batch) * k * rows * HALF_BYTES
    step = right[-2] if inner > 1 else taps[1][1]
    regular = all(t[1] == n * inner * step for n, t in enumerate(taps))
    if left[-2] != 1 or any(right[:-2]) or right[-1] != 1 or not regular or size > GATHERED_BYTES:
        return None
    slot = temp(size)
    head = [rows, inner, len(taps), *batch, *ints[0], *(t[0] * HALF_BYTES for t in taps)]
    source = GatherTaps(replace(a, buf=0), host.lanes(32))
    before = Launch(source, [buffers[a.buf], slot], head, prod(batch) * len(taps))
    places, walk = k * rows, []
    for e in reversed(batch):
        walk.append(places)
        places *= e
    images, a_ints = _access(len(buffers), a.dtype, 0, [*walk[::-1], 1, rows])
    results, b_ints = _access(b.buf, b.dtype, ints[1][0], [*right[:-2], step, 1])
    product = replace(spec, accesses=(images, results, *spec.accesses[2:]))
    return product, [*extents, k], [a_ints, b_ints, *ints[2:]], [*buffers, slot], before


def _strides(a: Access, ints: Sequence[int]) -> list[int]:
    given = iter(ints[1:])
    return [next(given) if s == "s" else int(s) for s in a.steps]


def _access(buf: int, dtype: str, offset: int, strides: Sequence[int]) -> tuple[Access, list[int]]:
    steps = tuple(str(s) if s in (0, 1) else "s" for s in strides)
    return Access(buf, dtype, steps), [offset, *(s for s in strides if s not in (0, 1))]


def _filters_packed(
    spec: Contract, extents: Sequence[int], inner: int, taps: Sequence[tuple[int, int]], ints: Sequence[Sequence[int]],
    buffers: list[int], temp: Callable[[int], int], tile: Tile, walks: list[list[int]],
) -> Paired:  # fmt: skip
    a, b = spec.accesses[:2]
    *batch, _, cols = extents
    strips, half = ceil(cols / tile.columns), inner // 2
    own = [e if s else 1 for e, s in zip(batch, walks[1], strict=False)]
    one = strips * len(taps) * half * tile.columns
    slot = temp(one * prod(own) * PAIR_BYTES)
    source = PackTaps(replace(b, buf=0), tile.vectors, tile.lanes)
    head = [cols, inner, len(taps), *own, *ints[1], *(t[1] * HALF_BYTES for t in taps)]
    before = Launch(source, [buffers[b.buf], slot], head, prod(own) * strips * len(taps))

    step, outer = one, []
    for e in reversed(own):
        outer.append(step if e > 1 else 0)
        step *= e
    pixel, a_ints = _access(a.buf, a.dtype, ints[0][0], [*walks[0][:-1], 2])
    packed, b_ints = _access(len(buffers), "u32", 0, [*outer[::-1], tile.columns, len(taps) * half])
    return Paired(
        replace(spec, accesses=(pixel, packed, *spec.accesses[2:])), half,
        [(t[0], n * half * tile.columns) for n, t in enumerate(taps)],
        [a_ints, b_ints, *ints[2:]], [*buffers, slot], [before],
    )  # fmt: skip


def _halves_joined(
    spec: Contract, extents: Sequence[int], inner: int, taps: Sequence[tuple[int, int]], ints: Sequence[Sequence[int]],
    buffers: list[int], temp: Callable[[int], int], tile: Tile, walks: list[list[int]],
) -> Paired | None:  # fmt: skip
    if len(taps) % 2:
        return None
    *batch, rows, cols = extents
    first, second = taps[: len(taps) // 2], taps[len(taps) // 2 :]
    over = [[*batch, rows, inner], [*batch, inner, cols]]
    accesses, new_ints, before, slots = [], [], [], list(buffers)
    for n in (0, 1):
        apart = {t[n] - s[n] for s, t in zip(first, second, strict=True)}
        ends = [s * (e - 1) for s, e in zip(walks[n], over[n], strict=True)]
        low = sum(min(0, e) for e in ends) + min(t[n] for t in first)
        span = sum(max(0, e) for e in ends) + max(t[n] for t in first) - low + 1
        if len(apart) != 1 or span > max(apart):
            return None
        access, start = spec.accesses[n], ints[n][0] + low
        slots.append(temp(span * PAIR_BYTES))
        head = [span, CHUNK, start * HALF_BYTES, max(apart) * HALF_BYTES]
        before.append(Launch(JoinHalves(tile.lanes), [buffers[access.buf], slots[-1]], head, ceil(span / CHUNK)))
        joined, own = _access(len(slots) - 1, "u32", -low, walks[n])
        accesses.append(joined)
        new_ints.append(own)
    return Paired(
        replace(spec, accesses=(*accesses, *spec.accesses[2:])), inner, list(first), [*new_ints, *ints[2:]], slots,
        before,
    )  # fmt: skip
