"""Scatters: updates written to places of a target, one after the other, in native code.

The updates lie over three axes. Along the *outer* and the *inner* axis, places never meet; along the *scan* they may,
and are taken in order. Chunks share out the outer and the inner axis alone, so that whatever the number of threads each
place gets its updates in order: the last of several writes wins, and sums are always taken alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gradloom.compiler.loops import Launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradloom.compiler.groups import Storage
    from gradloom.compiler.llvm.host import Host
    from gradloom.compiler.llvm.text import Module

__all__ = ["ScatterKernel", "Scattering", "Walk", "plan_scatter"]

CHUNK_WORK = 1 << 14
"""Least number of updates in a chunk: ten microseconds or more."""

MAX_CHUNKS = 64
LINE = 64
"""Bytes of a cache line. Where the inner axis is shared out, chunks are multiples of four."""


class Walk(NamedTuple):
    """An offset and strides along outer, scan and inner axis, in elements."""

    offset: int
    outer: int
    scan: int
    inner: int


@dataclass(frozen=True)
class ScatterKernel:
    """The code of a scatter.

    how: ``"set"``, ``"add"``, ``"mul"``, ``"min"``, ``"max"``. dtype: of target and updates. index: of the index.
    inner: whether there is an inner axis; the lines that updates come in run along it, or else along the scan.
    along: how index, updates and target are walked along a line: ``"0"``, ``"1"`` or ``"s"`` (a run-time stride).
    stepped: whether a step of the index is more than one element.

    ``ints``: the three extents; the items of a chunk of the outer and of the inner axis, the chunks of the inner axis;
    offset, outer and scan and inner stride of index, updates and target; the size that indices are wrapped at, and how
    many elements a step of the index is.
    """

    how: str
    dtype: str
    index: str
    inner: bool
    along: tuple[str, str, str]
    stepped: bool

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Write the native code as function ``name`` of ``module``."""
        from gradloom.compiler.llvm.scatter import emit_scatter

        emit_scatter(self, module, name, host)


@dataclass(frozen=True)
class Scattering:
    """A scatter of a program. extents: outer, scan, inner. size, step: as in :class:`ScatterKernel`."""

    how: str
    target: Storage
    values: Storage
    index: Storage
    extents: tuple[int, int, int]
    size: int
    step: int
    index_walk: Walk
    value_walk: Walk
    target_walk: Walk


def plan_scatter(s: Scattering, slot: Callable[[Storage], int]) -> Launch:
    """The launch of a scatter."""
    outer, _, inner = s.extents
    dtype = s.target.dtype
    if s.how == "set":  # bits are moved, not looked at
        dtype = f"u{8 * s.target.itemsize}"
    walks = (s.index_walk, s.value_walk, s.target_walk)
    along = tuple({0: "0", 1: "1"}.get(w.inner if inner > 1 else w.scan, "s") for w in walks)
    kernel = ScatterKernel(s.how, dtype, s.index.dtype, inner > 1, along, s.step != 1)  # type: ignore[arg-type]
    chunks = max(1, min(MAX_CHUNKS, math.prod(s.extents) // CHUNK_WORK))
    wide = -(-outer // min(outer, chunks))
    outer_chunks = -(-outer // wide)
    grain = max(1, 4 * LINE // s.target.itemsize)
    across_chunks = max(1, min(inner // grain, chunks // outer_chunks))
    part = -(-inner // across_chunks)
    part = -(-part // grain) * grain if across_chunks > 1 else inner
    across_chunks = -(-inner // part)
    ints = [*s.extents, wide, part, across_chunks, *s.index_walk, *s.value_walk, *s.target_walk, s.size, s.step]
    buffers = [slot(s.target), slot(s.values), slot(s.index)]
    return Launch(kernel, buffers, ints, outer_chunks * across_chunks)
