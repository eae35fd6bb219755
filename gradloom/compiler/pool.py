"""Numbers that kernels read at run time, so that one kernel serves programs that differ in them.

One over the length of a mean, the strides that number the elements of a mask: such constants hang on shapes, and as
parts of a kernel's code would make another kernel of each batch size and each length. They are cells of a program's
memory instead. Numbers with few digits, which are formulas' own, stay in the code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradloom import dtypes
from gradloom.compiler.groups import Storage
from gradloom.compiler.loops import Inst
from gradloom.dtypes import DType
from gradloom.graph.node import Aval, Node

__all__ = ["Pool", "liftable"]

SMALL = 16  # integers up to this stay in the code
DIGITS, LEAST, MOST = 4, 1 / 32, 64.0  # floats of so few binary digits, and of this size, as well
PLAIN = frozenset({"add", "sub", "mul", "min", "max", "lt", "le", "gt", "ge", "eq", "ne", "where"})
"""Operations that are no slower for an integer that the compiler does not know."""


class Pool:
    """The numbers of one program.

    cells: in order, eight bytes each. storages: the same memory as floats and as integers, by the dtype's code.
    """

    def __init__(self) -> None:
        self.cells: list[int | float] = []
        self.storages = {d.code: _storage(d) for d in (dtypes.float64, dtypes.int64)}

    def cell(self, code: str, value: int | float) -> tuple[Storage, int]:
        """A new cell: its storage and place."""
        self.cells.append(value)
        return self.storages[code], len(self.cells) - 1


def _storage(dtype: DType) -> Storage:
    return Storage(Node(None, (), (), Aval((0,), dtype)))


def liftable(insts: Sequence[Inst], use: Sequence[bool]) -> set[int]:
    """The constants among instructions that are read at run time."""
    out = {n for n, i in enumerate(insts) if use[n] and i.op == "const" and _odd(i)}
    for n, i in enumerate(insts):
        if use[n] and i.op not in PLAIN:
            out -= {a for a in i.args if insts[a].dtype == "i64"}
    return out


def _odd(i: Inst) -> bool:
    value = i.attrs[0]
    if i.dtype == "i64":
        return abs(value) > SMALL
    if i.dtype not in ("f32", "f64") or not isinstance(value, float) or not value or not math.isfinite(value):
        return False
    digits = math.frexp(value)[0] * (1 << DIGITS)
    return digits != int(digits) or not LEAST <= abs(value) <= MOST
