"""Plans of attention's native kernels (:mod:`gradloom.ops.attention`): what a chunk is, and the numbers it is told."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradloom.compiler.loops import Launch
from gradloom.dtypes import DType
from gradloom.ops.attention import Blocks, mask_strides, optional

if TYPE_CHECKING:
    from gradloom.compiler.llvm.host import Host
    from gradloom.compiler.llvm.text import Module
    from gradloom.compiler.views import View
    from gradloom.graph.node import Node

__all__ = ["Attend", "parts_of", "plan_attention", "strip_width"]

CHUNKS = 8
"""Shares of a backward pass that level the load of a few threads."""


def parts_of(heads: int, keys: int, dtype: DType) -> int:
    """In how many parts a key head's backward pass is shared out: one, unless there are few heads."""
    from gradloom.compiler.llvm.attention import KEYS

    return max(1, min(-(-CHUNKS // max(heads, 1)), -(-keys // (KEYS * strip_width(dtype)))))


def strip_width(dtype: DType) -> int:
    """Features or keys in a strip of the operands' layout."""
    from gradloom.compiler.llvm.host import detect_host
    from gradloom.compiler.llvm.microkernel import tile_of

    return tile_of(detect_host(), dtype.code, "wide").columns


@dataclass(frozen=True)
class Attend:
    """A kernel of attention.

    op: ``"attend"`` or ``"attend_back"``. dtype: f32 or f64. mask: ``""``, ``"bool"`` or ``"add"``.
    A chunk of the forward pass is a block of queries of one head; one of the backward pass a part of a key head.

    ``ints``: heads of keys, query heads of each, queries, keys, padded keys, features of queries and of values,
    padded features of both, blocks of queries or parts; elements of a record; the mask's strides (axes before the
    heads, heads, queries); the heads of one entry of the axes before them; the offset of each operand.
    """

    op: str
    dtype: str
    causal: bool
    mask: str
    drop: bool

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Write the native code as function ``name`` of ``module``."""
        from gradloom.compiler.llvm.attention import emit_attention

        emit_attention(self, module, name, host)


def plan_attention(
    node: Node, views: list[View], slots: list[int], temp: Callable[[int], int], host: Host
) -> Launch | None:
    """The launch of a node, or None where NumPy has to: other strips, or a mask of several batch axes."""
    from gradloom.compiler.llvm.attention import QUERIES
    from gradloom.compiler.llvm.microkernel import tile_of

    prim = node.prim
    assert prim is not None
    how = Blocks(*node.attrs)
    q = node.ins[0].aval
    dtype = q.dtype.code
    tensors = 3 if prim.name == "attend" else 6
    if dtype not in ("f32", "f64") or tile_of(host, dtype, "wide").columns != how.width:
        return None
    lead = q.shape[:-2]
    strides: tuple[int, int, int] = (0, 0, 0)
    mask = ""
    *_, given, key = optional(node.ins, tensors, how)
    if given is not None:
        m = given.aval
        walk = mask_strides(lead, m.shape)
        mask = "bool" if m.dtype.code == "bool" else "add"
        if walk is None or (mask == "add" and m.dtype.code != dtype):
            return None
        strides = walk
    heads, rows, padded = math.prod(lead), q.shape[-2] // how.group, node.ins[1].aval.shape[-1]
    block = QUERIES * tile_of(host, dtype, "wide").heights[0]
    blocks = -(-rows // block)
    a, b = how.strips
    forward = prim.name == "attend"
    shares = blocks if forward else how.parts
    ints = [heads, how.group, rows, how.keys, padded, *how.features, a * how.width, b * how.width, shares]
    ints += [node.aval.shape[-1], *strides, lead[-1] if lead else 1]
    ints += [how.heads(lead), int(key is not None and key.aval.shape != ()), *_dropping(how.drop)]
    ints += [v.offset for v in views]
    chunks = heads * shares * (how.group if forward else 1)
    return Launch(Attend(prim.name, dtype, how.causal, mask, how.drop > 0), slots, ints, chunks)


def _dropping(p: float) -> tuple[int, int]:
    """The least word of 32 bits whose top 24 make a number of [0, 1) not below ``p``; 1 / (1 - p) as bits."""
    least = math.ceil(float(np.float32(p)) * 2**24) << 8
    return least, struct.unpack("<q", struct.pack("<d", 1.0 / (1.0 - p)))[0]
