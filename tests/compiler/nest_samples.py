"""Loop nests to test with: random ones whose results are exact, softmax, sums; and how to run them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, replace

import numpy as np

from gradloom.compiler.interpret import NUMPY, interpret_nest
from gradloom.compiler.llvm.host import Host, compile_object, detect_name, load_object
from gradloom.compiler.llvm.text import Module
from gradloom.compiler.loops import SCRATCH_BYTES, Access, Inst, Nest, check, full
from gradloom.compiler.nest_plan import pack_ints, plan_nest

WIDTHS = {"avx512": ["avx512", "avx2", "sse4"], "avx2": ["avx2", "sse4"], "sse4": ["sse4"], "neon": ["neon"]}
HOSTS = WIDTHS[detect_name()]
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_scratch = np.zeros(SCRATCH_BYTES + 64, np.uint8)


def compiled(nest: Nest, host: Host):
    """A callable ``(buffers, ints, begin, end)`` of a nest."""
    check(nest)
    module = Module()
    nest.emit(module, "kernel", host)
    code = load_object(compile_object(module.text(), host, verify=True), host)
    fn = KERNEL(code.address("kernel"))

    def call(buffers, ints, begin, end, _keep=code):
        table = (ctypes.c_void_p * max(1, len(buffers)))(*[b.ctypes.data for b in buffers])
        numbers = (ctypes.c_int64 * len(ints))(*ints)
        scratch = -(-_scratch.ctypes.data // 64) * 64
        fn(ctypes.addressof(table), ctypes.addressof(numbers), scratch, begin, end)

    return call


@dataclass
class Case:
    """A nest with sizes and arrays."""

    nest: Nest
    extents: tuple[int, ...]
    ints: list[tuple[int, ...]]
    buffers: list[np.ndarray]

    def expected(self) -> list[np.ndarray]:
        out = [b.copy() for b in self.buffers]
        interpret_nest(self.nest, self.extents, self.ints, out)
        return out

    def run(self, host: Host, size: int = 0, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """Planned, or in chunks of ``size`` items taken in random order."""
        out = [b.copy() for b in self.buffers]
        kernel = compiled(self.nest, host)
        if not size:
            launch = plan_nest(self.nest, self.extents, self.ints, list(range(len(out))))
            kernel(out, launch.ints, 0, launch.chunks)
            return out
        items = [self.extents[k] for k, a in enumerate(self.nest.axes) if a == "p" and k != self.nest.vector]
        if not items and self.nest.axes[self.nest.vector] == "p":
            items = [self.extents[self.nest.vector]]
        chunks = -(-int(np.prod(items, dtype=np.int64)) // size)
        ints = pack_ints(self.nest, self.extents, size, self.ints)
        for c in rng.permutation(chunks):
            kernel(out, ints, int(c), int(c) + 1)
        return out


def assert_same(got: list[np.ndarray], want: list[np.ndarray], what: str = "") -> None:
    for g, w in zip(got, want, strict=True):
        kind = np.float64 if g.dtype.kind in "fV" else None
        np.testing.assert_array_equal(g.astype(kind) if kind else g, w.astype(kind) if kind else w, err_msg=what)


# -- random nests whose results are exact -------------------------------------------------------------
@dataclass
class Draw:
    """A random nest. Floats hold small integers and are kept small, so every order of summation is exact."""

    rng: np.random.Generator
    axes: tuple[str, ...] = ()
    extents: tuple[int, ...] = ()
    vector: int = 0
    dtype: str = "f32"
    accesses: list[Access] = field(default_factory=list)
    ints: list[tuple[int, ...]] = field(default_factory=list)
    buffers: list[np.ndarray] = field(default_factory=list)
    body: list[Inst] = field(default_factory=list)
    stores: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # values of the main dtype

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def case(self) -> Case:
        rng = self.rng
        rank = int(rng.integers(1, 5))
        self.axes = tuple(self.pick("ppr") for _ in range(rank))
        self.vector = int(rng.integers(rank))
        lengths = {self.vector: [0, 1, 3, 10, 16, 17, 33, 70, 131]}
        self.extents = tuple(self.pick(lengths.get(k, [1, 2, 3, 4, 5])) for k in range(rank))
        self.dtype = self.pick(["f32", "f32", "f32", "f64", "i32", "i8", "u8", "i64"])
        for _ in range(int(rng.integers(1, 4))):
            self.load()
        for _ in range(int(rng.integers(1, 4))):
            for _ in range(int(rng.integers(1, 5))):
                self.step()
            if "r" in self.axes and rng.random() < 0.7:
                kind = self.pick(["sum", "sum", "max", "min"])
                self.add(Inst("reduce", self.dtype, (self.pick(self.numbers),), (kind,)))
        self.step(use=len(self.body) - 1)
        nest = Nest(self.axes, self.vector, (), tuple(self.body), ())
        for v in {len(self.body) - 1, self.pick(range(len(self.body)))}:
            self.store(v, nest)
        nest = Nest(self.axes, self.vector, tuple(self.accesses), tuple(self.body), tuple(self.stores))
        return Case(nest, self.extents, self.ints, self.buffers)

    def add(self, inst: Inst) -> int:
        self.body.append(inst)
        if inst.dtype == self.dtype and inst.op != "const":
            self.numbers.append(len(self.body) - 1)
        return len(self.body) - 1

    def layout(self, axes: list[int], dtype: str, indexed: bool = False) -> int:
        """A new buffer and an access that walks it along ``axes``; the index, if any, has seven positions."""
        rng = self.rng
        order = [int(k) for k in rng.permutation(axes)]
        if self.vector in order and rng.random() < 0.6:
            order.remove(self.vector)
            order.append(self.vector)
        strides: dict[int, int] = {}
        steps = ["0"] * len(self.axes)
        size, offset = 1, int(rng.integers(0, 3))
        if indexed:
            size = 7
        for at, k in enumerate(reversed(order)):
            n = max(1, self.extents[k])
            if at == 0 and not indexed and rng.random() < 0.7:
                steps[k] = "1"
                size = n
            else:
                steps[k] = "s"
                gap = size + int(rng.integers(0, 2))
                sign = -1 if rng.random() < 0.2 else 1
                strides[k] = sign * gap
                offset += (n - 1) * gap if sign < 0 else 0
                size = gap * n
        ints = [offset, *(strides[k] for k in range(len(self.axes)) if steps[k] == "s"), *([1] if indexed else [])]
        if dtype == "bool":
            data = rng.integers(0, 2, size + offset + 8).astype(bool)
        elif NUMPY[dtype].kind in "iu":
            data = rng.integers(0, 7, size + offset + 8).astype(NUMPY[dtype])
        else:
            data = rng.integers(-4, 5, size + offset + 8).astype(NUMPY[dtype])
            if rng.random() < 0.2:
                data[rng.integers(0, data.size, 2)] = np.nan
        self.accesses.append(Access(len(self.buffers), dtype, tuple(steps), indexed))
        self.buffers.append(data)
        self.ints.append(tuple(ints))
        return len(self.accesses) - 1

    def load(self) -> None:
        rng = self.rng
        axes = [k for k in range(len(self.axes)) if rng.random() < 0.75]
        kind = rng.random()
        if kind < 0.12:
            at = self.add(Inst("iota", "i64", (), (int(rng.integers(len(self.axes))),)))
            self.add(Inst("cast", self.dtype, (at,)))
        elif kind < 0.3:
            index_type = self.pick(["i32", "i64", "u8"])
            at = self.add(Inst("load", index_type, (), (self.layout(axes, index_type),)))
            some = [k for k in axes if rng.random() < 0.5]
            self.add(Inst("load_at", self.dtype, (at,), (self.layout(some, self.dtype, indexed=True),)))
        elif kind < 0.45:
            other = self.pick(["f16", "bf16", "f32", "u8", "i32"] if self.dtype[0] == "f" else ["u8", "i16", "bool"])
            at = self.add(Inst("load", other, (), (self.layout(axes, other),)))
            if other != self.dtype:
                self.add(Inst("cast", self.dtype, (at,)))
        else:
            self.add(Inst("load", self.dtype, (), (self.layout(axes, self.dtype),)))

    def step(self, use: int | None = None) -> None:
        a, b = self.pick(self.numbers), self.pick(self.numbers)
        if use is not None and use in self.numbers:
            a = use
        op = self.pick(["add", "sub", "min", "max", "mul", "neg", "abs", "where", "const"])
        if op == "const":
            c = self.add(Inst("const", self.dtype, (), (self.pick([1, 2, 3]),)))
            self.add(Inst("add", self.dtype, (a, c)))
        elif op == "mul":
            top, low = (self.add(Inst("const", self.dtype, (), (c,))) for c in (8, 0 if self.dtype[0] == "u" else -8))
            a = self.add(Inst("max", self.dtype, (self.add(Inst("min", self.dtype, (a, top))), low)))
            self.add(Inst("mul", self.dtype, (a, a)))
        elif op == "where":
            c = self.add(Inst(self.pick(["lt", "ne", "ge"]), "bool", (a, b)))
            self.add(Inst("where", self.dtype, (c, a, b)))
        else:
            self.add(Inst(op, self.dtype, (a,) if op in ("neg", "abs") else (a, b)))

    def store(self, v: int, nest: Nest) -> None:
        nest = replace(nest, accesses=tuple(self.accesses))
        reduced = [k for k, a in enumerate(self.axes) if a == "r"] if full(nest)[v] else []
        axes = sorted([k for k, a in enumerate(self.axes) if a == "p"] + reduced)
        inst = self.body[v]
        loads = [
            i.attrs[0] for i in self.body
            if i.op == "load" and i.dtype == inst.dtype
            and [k for k, s in enumerate(self.accesses[i.attrs[0]].steps) if s != "0"] == axes
        ]  # fmt: skip
        loads = [a for a in loads if a not in [s for _, s in self.stores]]
        if loads and self.rng.random() < 0.5:  # in place
            self.stores.append((v, self.pick(loads)))
        else:
            self.stores.append((v, self.layout(axes, inst.dtype)))


def softmax_nest() -> Nest:
    rows = ("s", "1")
    body = (
        Inst("load", "f32", (), (0,)),
        Inst("reduce", "f32", (0,), ("max",)),
        Inst("sub", "f32", (0, 1)),
        Inst("exp", "f32", (2,)),
        Inst("reduce", "f32", (3,), ("sum",)),
        Inst("div", "f32", (3, 4)),
    )
    return Nest(("p", "r"), 1, (Access(0, "f32", rows), Access(1, "f32", rows)), body, ((5, 1),))


def sum_nest(dtype: str = "f32", axes: tuple[str, ...] = ("r",), vector: int = 0, steps=("1",), out=("0",)) -> Nest:
    body = (Inst("load", dtype, (), (0,)), Inst("reduce", dtype, (0,), ("sum",)))
    return Nest(axes, vector, (Access(0, dtype, steps), Access(1, dtype, out)), body, ((1, 1),))
