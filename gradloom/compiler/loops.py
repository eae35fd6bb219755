"""The kernel IR: what a kernel computes, before any instruction of a machine is chosen.

Two kinds of source describe every kernel. A :class:`Nest` is an iteration space of parallel and reduced axes with
an elementwise body: maps, rows (softmax, norms, losses), column reductions, movement and gathers. A
:class:`Contract` is a batched matrix product whose epilogue is such a body. Both hold only structure: extents,
strides and offsets are integers that a launch passes at run time, so one compiled kernel serves every size.

The body is a tuple of :class:`Inst` in static single assignment form; the number of an instruction is its place.

``load``      attrs ``(access,)``: the element that ``accesses[access]`` points to
``load_at``   args ``(index,)``, attrs ``(access,)``: the same, ``index`` further along that access's index stride
``const``     attrs ``(value,)``
``iota``      attrs ``(axis,)``: the position along an axis, ``i64``
``acc``       (contractions only) the element of the product
``reduce``    args ``(x,)``, attrs ``("sum" | "prod" | "max" | "min" | "any" | "all",)``: over every reduced axis
others        elementwise; :data:`ELEMENTWISE` lists them

A value that depends on a reduced axis only through ``reduce`` is a *row value*; the rest are *full values*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradloom.compiler.llvm.host import Host
    from gradloom.compiler.llvm.text import Module

__all__ = ["ABI", "Access", "Contract", "ELEMENTWISE", "Inst", "Launch", "Nest", "SCRATCH_BYTES", "check", "stages"]

ABI = "void kernel(ptr bufs, ptr ints, ptr scratch, i64 begin, i64 end)"
"""Every kernel's signature. ``bufs``: pointers, in the order of ``Access.buf``. ``ints``: i64s of the launch.
``scratch``: SCRATCH_BYTES of this thread's own, 64-byte aligned. The chunks ``begin <= c < end`` are to be done;
what a chunk is depends only on ``ints``, never on the thread, and chunks may run in any order and at once."""

SCRATCH_BYTES = 2 << 20

DTYPES = ("f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool")

# fmt: off
ELEMENTWISE: dict[str, int] = {
    # arithmetic, in the dtype of the instruction (float or integer; integers wrap)
    "add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "abs": 1, "sign": 1, "fma": 3,
    "floordiv": 2, "mod": 2, "truncdiv": 2, "fmod": 2,  # floordiv, mod: Python's signs; truncdiv, fmod: C's
    "min": 2, "max": 2, "fmin": 2, "fmax": 2,  # min, max hand on NaN; fmin, fmax ignore it
    "pow": 2, "atan2": 2, "hypot": 2, "copysign": 2, "nextafter": 2,
    # rounding (round: half to even)
    "floor": 1, "ceil": 1, "trunc": 1, "round": 1,
    # functions, float only
    "sqrt": 1, "rsqrt": 1, "recip": 1, "exp": 1, "exp2": 1, "expm1": 1, "log": 1, "log2": 1, "log10": 1, "log1p": 1,
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1, "sinh": 1, "cosh": 1, "tanh": 1, "asinh": 1,
    "acosh": 1, "atanh": 1, "erf": 1, "erfc": 1, "erfinv": 1, "lgamma": 1, "digamma": 1, "sigmoid": 1,
    # bits (integers; and, or, xor, not also for bool). shr is arithmetic for signed types
    "and": 2, "or": 2, "xor": 2, "not": 1, "shl": 2, "shr": 2,
    # comparisons -> bool; the arguments share a dtype
    "eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2, "isnan": 1, "isinf": 1, "isfinite": 1, "signbit": 1,
    "where": 3,  # (bool, a, b)
    "cast": 1,  # to the instruction's dtype; float -> integer truncates towards zero
    # Philox4x32-10 (Salmon et al. 2011). args (seed i64, stream i64, index i64), attrs (word 0-3,) -> u32.
    # key = (lo, hi) of seed, counter = (lo, hi of index, lo, hi of stream)
    "philox": 3,
    "unit": 1,  # u32 -> float in [0, 1): f32 from the top 24 bits; attrs () ; f64 takes (hi, lo): two args as "unit64"
    "unit64": 2,  # two u32 -> f64 in [0, 1) from 53 bits: ((hi >> 5) * 2**26 + (lo >> 6)) / 2**53
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Access:
    """How one buffer is walked by the axes of the iteration space.

    ``steps[k]`` says what axis ``k`` adds to the address, in elements: ``"0"`` nothing, ``"1"`` one, ``"s"`` a run-time
    stride (which may be negative). ``buf`` numbers the buffer among the launch's. ``indexed`` accesses belong to
    ``load_at`` and have one more run-time stride for the index.

    In ``ints`` an access has: its offset in elements, a stride for each ``"s"`` in order, then the index stride.
    """

    buf: int
    dtype: str
    steps: tuple[str, ...]
    indexed: bool = False

    @property
    def ints(self) -> int:
        """Number of run-time integers."""
        return 1 + self.steps.count("s") + self.indexed


@dataclass(frozen=True, slots=True)
class Inst:
    """One instruction of a body. ``dtype`` is that of its result; f16 and bf16 appear only in load, store and cast."""

    op: str
    dtype: str
    args: tuple[int, ...] = ()
    attrs: tuple = ()


@dataclass(frozen=True)
class Nest:
    """A loop nest. Its key is its whole content.

    axes: ``"p"`` (parallel) or ``"r"`` (reduced) for each axis, outermost first.
    vector: the axis whose neighbouring elements share a vector register.
    accesses: of loads and stores alike. body: see the module. stores: (instruction, access) pairs.
    stream: contiguous stores bypass the caches; for results that are far larger than they are. Same bits either way.

    ``ints`` of a launch: the extent of every axis; the number of work items in a chunk; then those of each access.
    Work items: with a parallel vector axis and other parallel axes, the items are the other parallel axes flattened;
    where the vector axis is the only parallel one, its elements; where it is reduced, all the parallel axes flattened
    (one item if there are none). Chunk ``c`` does the items from ``c * size`` up to ``(c + 1) * size``, cut at the end.
    """

    axes: tuple[str, ...]
    vector: int
    accesses: tuple[Access, ...]
    body: tuple[Inst, ...]
    stores: tuple[tuple[int, int], ...]
    stream: bool = False

    @property
    def buffers(self) -> int:
        """Number of buffers of a launch."""
        return 1 + max((a.buf for a in self.accesses), default=-1)

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Write the native code of the nest as function ``name`` of ``module``."""
        from gradloom.compiler.llvm.nest import emit_nest

        emit_nest(self, module, name, host)


@dataclass(frozen=True)
class Contract:
    """``acc[b…, m, n] = sum_k A[b…, m, k] * B[b…, k, n]`` followed by a body over the axes ``(b…, m, n)``.

    dtype: of products and sums (f32, f64). batch: number of batch axes. ``accesses[0]`` is A over (b…, m, k),
    ``accesses[1]`` is B over (b…, k, n); the others run over (b…, m, n). body: may hold no ``reduce``.
    ``ints``: decided by the planner of contractions.
    """

    dtype: str
    batch: int
    accesses: tuple[Access, ...]
    body: tuple[Inst, ...]
    stores: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Launch:
    """One call of a kernel inside a program.

    source: what is compiled (anything with ``emit(module, name, host)``; equal sources share code).
    buffers: for each buffer of the kernel a slot of the program's table. ints: run-time integers. chunks: how many.
    """

    source: object
    buffers: list[int]
    ints: list[int]
    chunks: int


def stages(nest: Nest) -> list[int]:
    """For each instruction, how many reductions must be finished before it: 0 for the first pass over a row, …"""
    out: list[int] = []
    for inst in nest.body:
        s = max((out[a] for a in inst.args), default=0)
        out.append(s + 1 if inst.op == "reduce" else s)
    return out


def full(nest: Nest) -> list[bool]:
    """For each instruction, whether its value varies along a reduced axis."""
    red = [k for k, a in enumerate(nest.axes) if a == "r"]
    out: list[bool] = []
    for inst in nest.body:
        if inst.op == "reduce":
            v = False
        elif inst.op == "iota":
            v = inst.attrs[0] in red
        else:
            v = any(out[a] for a in inst.args)
            if inst.op in ("load", "load_at"):
                v = v or any(nest.accesses[inst.attrs[0]].steps[k] != "0" for k in red)
        out.append(v)
    return out


def check(nest: Nest) -> None:
    """Raise ValueError where a nest is not legal; the pipeline calls it on every nest in tests."""

    def fail(why: str) -> None:
        raise ValueError(f"illegal nest: {why}\n{show(nest)}")

    if not nest.axes or any(a not in ("p", "r") for a in nest.axes):
        fail("axes must be 'p' or 'r', at least one")
    if not 0 <= nest.vector < len(nest.axes):
        fail("vector axis out of range")
    for a in nest.accesses:
        if len(a.steps) != len(nest.axes) or a.dtype not in DTYPES:
            fail(f"access {a} does not fit the axes")
    for n, inst in enumerate(nest.body):
        if any(not 0 <= a < n for a in inst.args):
            fail(f"instruction {n} uses a later value")
        if inst.op not in ELEMENTWISE and inst.op not in ("load", "load_at", "const", "iota", "reduce"):
            fail(f"unknown instruction {inst.op}")
        if inst.op in ELEMENTWISE and len(inst.args) != ELEMENTWISE[inst.op]:
            fail(f"{inst.op} takes {ELEMENTWISE[inst.op]} arguments")
    fl = full(nest)
    for inst in nest.body:
        if inst.op == "reduce" and "r" not in nest.axes:
            fail("a reduction without a reduced axis")
    for v, acc in nest.stores:
        if fl[v] != any(nest.accesses[acc].steps[k] != "0" for k, a in enumerate(nest.axes) if a == "r"):
            fail(f"store of instruction {v}: the access must vary along reduced axes just where the value does")


def show(source: Nest | Contract) -> str:
    """A nest or contraction in readable lines."""
    lines: list[str] = []
    if isinstance(source, Nest):
        axes = (f"{a}{k}{'*' if k == source.vector else ''}" for k, a in enumerate(source.axes))
        lines.append("nest " + " ".join(axes))
    else:
        lines.append(f"contract {source.dtype} batch={source.batch}")
    for k, a in enumerate(source.accesses):
        lines.append(f"  @{k}: buffer {a.buf} {a.dtype} [{', '.join(a.steps)}]{' indexed' if a.indexed else ''}")
    for n, i in enumerate(source.body):
        args: Sequence[str] = [f"%{a}" for a in i.args] + [str(a) for a in i.attrs]
        lines.append(f"  %{n}:{i.dtype} = {i.op}({', '.join(args)})")
    lines += [f"  store %{v} -> @{a}" for v, a in source.stores]
    return "\n".join(lines)
