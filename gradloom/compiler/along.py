"""Native kernels for primitives that go along an axis and are no loop nest: running results, sorting, searching.

Each is a source of its own with a plan: sizes to launches. What has no plan for a dtype is left to NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradloom.compiler.attention import plan_attention
from gradloom.compiler.loops import SCRATCH_BYTES, Launch

if TYPE_CHECKING:
    from gradloom.compiler.groups import Storage
    from gradloom.compiler.llvm.host import Host
    from gradloom.compiler.llvm.text import Module
    from gradloom.compiler.views import View
    from gradloom.graph.node import Node

__all__ = ["Radix", "Running", "Search", "Top", "plan_along"]

CHUNK_WORK = 1 << 14
"""Least elements of a chunk: ten microseconds or more."""

MAX_CHUNKS = 64
MAX_AREAS = 8
"""Chunks of a sort whose rows are too long for a thread's scratch memory: each has memory of its own."""

TOP = 32
"""Up to so many of a row are kept in order while it is read; every one that comes in moves the others."""

_NUMBERS = ("f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")


@dataclass(frozen=True)
class Running:
    """Running results of (outer, n, inner) values along n.

    op: ``"sum"``, ``"prod"``, ``"max"``, ``"min"``, ``"max_index"``, ``"min_index"`` (latest position of the running
    extreme, i64) or ``"linear"`` (``y[t] = a[t] * y[t - 1] + b[t]``). row: ``inner`` is 1, for all but that and
    reversed positions.

    ``ints``: outer, n, inner, items of a chunk (rows, or blocks of columns), the offset of each operand.
    """

    op: str
    dtype: str
    row: bool
    reverse: bool

    @property
    def operands(self) -> int:
        """Number of operands."""
        return 2 if self.op == "linear" else 1

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Write the native code as function ``name`` of ``module``."""
        from gradloom.compiler.llvm.running import emit_running

        emit_running(self, module, name, host)


@dataclass(frozen=True)
class Radix:
    """Rows in order: their values, or the positions that order them (i64).

    ``ints``: rows, n, rows of a chunk, the operand's offset, bytes of working memory of a chunk, whether that is in the
    third buffer (1) or in the scratch memory (0).
    """

    op = "sort"

    dtype: str
    bits: int
    descending: bool
    positions: bool

    def area(self, n: int) -> int:
        """Bytes of working memory for a row: keys and positions, twice."""
        return max(256, -(-2 * n * (max(4, self.bits // 8) + 4 * self.positions) // 64) * 64)

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Write the native code as function ``name`` of ``module``."""
        from gradloom.compiler.llvm.radix import emit_radix

        emit_radix(self, module, name, host)


@dataclass(frozen=True)
class Top:
    """Positions of the k largest or smallest of each row, in order, the first of equals first (i64).

    ``ints``: rows, n, k, rows of a chunk, the operand's offset.
    """

    op = "topk"

    dtype: str
    bits: int
    largest: bool

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Write the native code as function ``name`` of ``module``."""
        from gradloom.compiler.llvm.top import emit_top

        emit_top(self, module, name, host)


@dataclass(frozen=True)
class Search:
    """Where values would stand in sorted rows. result: ``"i64"`` or ``"i32"``. batched: rows of their own.

    ``ints``: values, n of a row, values for a row, values of a chunk, offsets of rows and values, steps of a search.
    """

    op = "search"

    dtype: str
    right: bool
    result: str
    batched: bool

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Write the native code as function ``name`` of ``module``."""
        from gradloom.compiler.llvm.search import emit_search

        emit_search(self, module, name, host)


def _cut(items: int, work: int, most: int = MAX_CHUNKS) -> tuple[int, int]:
    """(items of a chunk, chunks) for so much work in all."""
    size = -(-items // max(1, min(most, items, work // CHUNK_WORK)))
    return size, -(-items // size)


Plan = Callable[["Node", "list[View]", "list[int]", "Callable[[int], int]", "Host"], "Launch | None"]


def _running(op: str) -> Plan:
    def plan(node: Node, views: list[View], slots: list[int], temp: Callable[[int], int], host: Host) -> Launch | None:
        dtype = node.ins[0].aval.dtype.code
        if dtype not in _NUMBERS:
            return None
        axis, reverse = node.attrs
        shape = node.aval.shape
        outer, n, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
        row = inner == 1 and op != "linear" and not (reverse and op.endswith("_index"))
        kernel = Running(op, dtype, row, reverse)
        items = outer
        if not row:
            from gradloom.compiler.llvm.running import block_of

            items *= -(-inner // block_of(kernel, host))
        size, chunks = _cut(items, node.aval.size)
        return Launch(kernel, slots, [outer, n, inner, size, *(v.offset for v in views)], chunks)

    return plan


def _radix(positions: bool) -> Plan:
    def plan(node: Node, views: list[View], slots: list[int], temp: Callable[[int], int], host: Host) -> Launch | None:
        dtype = node.ins[0].aval.dtype
        axis, descending = node.attrs
        shape = node.aval.shape
        if axis != len(shape) - 1 or not dtype.native or shape[axis] >= 1 << 31:
            return None
        rows, n = math.prod(shape[:-1]), shape[-1]
        kernel = Radix(dtype.code, 8 * dtype.itemsize, descending, positions)
        area = kernel.area(n)
        apart = area > SCRATCH_BYTES - 8 * 256 * 8
        size, chunks = _cut(rows, node.aval.size * 4, MAX_AREAS if apart else MAX_CHUNKS)
        memory = temp(area * chunks) if apart else slots[-1]
        return Launch(kernel, [*slots, memory], [rows, n, size, views[0].offset, area, int(apart)], chunks)

    return plan


def _search(node: Node, views: list[View], slots: list[int], temp: Callable[[int], int], host: Host) -> Launch | None:
    rows, values = (x.aval for x in node.ins)
    dtype = rows.dtype.code
    if dtype not in _NUMBERS or not rows.size:
        return None
    n, batched = rows.shape[-1], len(rows.shape) > 1
    kernel = Search(dtype, node.attrs[0], node.aval.dtype.code, batched)
    size, chunks = _cut(values.size, values.size * 8)
    each = values.shape[-1] if batched else values.size
    ints = [values.size, n, each, size, views[0].offset, views[1].offset, n.bit_length()]
    return Launch(kernel, slots, ints, chunks)


def _top(node: Node, views: list[View], slots: list[int], temp: Callable[[int], int], host: Host) -> Launch | None:
    x = node.ins[0].aval
    axis, k, largest, _ = node.attrs
    if axis != len(x.shape) - 1 or not x.dtype.native or k > TOP:
        return None
    rows, n = math.prod(x.shape[:-1]), x.shape[-1]
    size, chunks = _cut(rows, x.size)
    kernel = Top(x.dtype.code, 8 * x.dtype.itemsize, largest)
    return Launch(kernel, slots, [rows, n, k, size, views[0].offset], chunks)


_PLANS: dict[str, Plan] = {
    "cumsum": _running("sum"), "cumprod": _running("prod"), "cummax": _running("max"), "cummin": _running("min"),
    "cummax_index": _running("max_index"), "cummin_index": _running("min_index"), "recurrence": _running("linear"),
    "sort": _radix(False), "argsort": _radix(True), "searchsorted": _search,
    "topk_index": _top, "attend": plan_attention, "attend_back": plan_attention,
}  # fmt: skip


def plan_along(
    node: Node,
    views: list[View],
    out: View,
    slot: Callable[[Storage], int],
    temp: Callable[[int], int],
    host: Host,
) -> Launch | None:
    """The launch that computes a node from operands in C order, or None where NumPy has to.

    slot: the table's slot of a storage. temp: reserves bytes of temporary memory and returns its slot.
    """
    assert node.prim is not None
    plan = _PLANS.get(node.prim.name)
    if plan is None or not node.aval.size or out.offset or not out.contiguous:
        return None
    slots = [*(slot(v.storage) for v in views), slot(out.storage)]
    return plan(node, views, slots, temp, host)
