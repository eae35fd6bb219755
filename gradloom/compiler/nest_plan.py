"""Launches of loop nests: how the work is cut into chunks.

A chunk is large enough that taking it costs little beside doing it, and there are at most :data:`MAX_CHUNKS`, which
any number of threads may share. The cut depends on sizes alone, so results do not depend on threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gradloom.compiler.llvm.nest_info import ELEMENT_BYTES, weight
from gradloom.compiler.loops import Launch, Nest

__all__ = ["CHUNK_WORK", "MAX_CHUNKS", "pack_ints", "plan_nest", "work_of"]

CHUNK_WORK = 1 << 15
"""Least work of a chunk, in elements times instructions: half a microsecond of vector code, about what a fork and join
costs."""

MAX_CHUNKS = 64

STREAM_BYTES = 32 << 20
"""Results of this size are written past the caches. Measured on two Zen 4 cores, a copy of 64 MiB: 24 GB/s, 40 past
them. Smaller results are left in the cache, where their reader finds them."""

GRAIN = 64
"""Where elements of the vector axis are shared out, chunks are multiples of this: whole vectors and cache lines."""


COLUMNS = 256
"""The same where every element is a reduction of its own: the pieces of rows that are read together."""


def work_of(nest: Nest, extents: Sequence[int]) -> int:
    """Estimated work of a whole launch, in elements times instructions."""
    each = sum(weight(i.op) for i in nest.body if i.op != "const") + len(nest.stores)
    return each * math.prod(extents)


def pack_ints(nest: Nest, extents: Sequence[int], size: int, access_ints: Sequence[Sequence[int]]) -> list[int]:
    """The run-time integers of a launch, in the order that ``Nest`` describes.

    Raises
    ------
    ValueError: where the numbers of extents or of an access's integers are not those of the nest.
    """
    if len(extents) != len(nest.axes):
        raise ValueError(f"a nest of {len(nest.axes)} axes was given {len(extents)} extents")
    if len(access_ints) != len(nest.accesses):
        raise ValueError(f"a nest of {len(nest.accesses)} accesses was given integers of {len(access_ints)}")
    out = [*extents, size]
    for k, (a, ints) in enumerate(zip(nest.accesses, access_ints, strict=True)):
        if len(ints) != a.ints:
            raise ValueError(f"access {k} takes {a.ints} integers, not {len(ints)}")
        out += ints
    return [int(x) for x in out]


def plan_nest(
    nest: Nest, extents: Sequence[int], access_ints: Sequence[Sequence[int]], buffers: Sequence[int]
) -> Launch:
    """The launch of a nest over given sizes. Its source is the nest, with ``stream`` set where that is faster.

    Parameters
    ----------
    extents: of every axis. access_ints: for each access its offset, its strides where a step is ``"s"``, and its
    index stride if it is indexed. buffers: the program's slot of each buffer.
    """
    if not nest.stream and _streams(nest, extents, buffers):
        nest = replace(nest, stream=True)
    parallel = [k for k, a in enumerate(nest.axes) if a == "p"]
    items = [k for k in parallel if k != nest.vector]
    count = math.prod(extents[k] for k in (items or parallel))
    work = work_of(nest, extents)
    chunks = max(1, min(MAX_CHUNKS, work // CHUNK_WORK, count))
    size = max(1, -(-count // chunks))
    if items and _tiled(nest, items):
        grain = 256 if count >= 4096 else 128 if count >= 2048 else 64
        size = -(-size // grain) * grain
    elif not items and nest.vector in parallel:
        grain = COLUMNS if "r" in nest.axes else GRAIN
        size = -(-size // grain) * grain
    return Launch(nest, list(buffers), pack_ints(nest, extents, size, access_ints), -(-count // size))


def _streams(nest: Nest, extents: Sequence[int], buffers: Sequence[int]) -> bool:
    """Whether a map writes far more than the caches hold, to buffers that it does not read."""
    if "r" in nest.axes:
        return False
    read = {nest.accesses[i.attrs[0]].buf for i in nest.body if i.op in ("load", "load_at")}
    written = {nest.accesses[a].buf for _, a in nest.stores}
    if {buffers[b] for b in read if b < len(buffers)} & {buffers[b] for b in written if b < len(buffers)}:
        return False
    size = sum(ELEMENT_BYTES[nest.accesses[a].dtype] for _, a in nest.stores) * math.prod(extents)
    return size >= STREAM_BYTES


def _tiled(nest: Nest, items: list[int]) -> bool:
    """Whether the emitter will go by squares; then chunks that hold whole ones are best."""
    return "r" not in nest.axes and any(
        a.steps[nest.vector] == "s" and any(a.steps[k] == "1" for k in items) for a in nest.accesses
    )
