"""The core of gradloom told from scratch, in one file that runs: ``python docs/core_from_scratch.py``.

What the package does with thirty thousand lines is here with two hundred: primitives that carry their derivative, a
tape that predicts, programs found again, reverse mode as rules on primitives, writes that are honest. Left out are
dtypes, broadcasting beyond one rule, views, threads, and the compiler: here a program is run by NumPy, there it becomes
machine code. Names are those of the package, so that each piece can be looked up there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# -- 1. Primitives (gradloom/ops) ------------------------------------------------------------------------
# A primitive is what it computes, the shape of that, and how a cotangent passes back through it. The rule is written
# with the public operations on tensors, so it can be recorded, compiled and differentiated like anything else.


class Primitive:
    """compute: arrays to array. shape: shapes to shape. vjp: (ct, out, ins) to the cotangents of ins, on tensors."""

    def __init__(self, name: str, compute: Callable[..., np.ndarray], shape: Callable[..., tuple[int, ...]]) -> None:
        self.name, self.compute, self.shape = name, compute, shape
        self.vjp: Callable[..., Sequence[Any]] | None = None


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    return np.broadcast_shapes(*shapes)


add = Primitive("add", np.add, _broadcast)
mul = Primitive("mul", np.multiply, _broadcast)
matmul = Primitive("matmul", np.matmul, lambda a, b: (a[0], b[1]))
transpose = Primitive("transpose", np.transpose, lambda a: a[::-1])
tanh = Primitive("tanh", np.tanh, lambda a: a)
total = Primitive("sum", np.sum, lambda a: ())
rows = Primitive("rows", lambda a: a.sum(0), lambda a: a[1:])


def _fit(ct: Tensor, x: Tensor) -> Tensor:
    """A cotangent summed back over what broadcasting repeated (here: rows)."""
    return rows_of(ct) if len(ct.shape) > len(x.shape) and x.shape else ct


add.vjp = lambda ct, out, ins: [_fit(ct, x) for x in ins]
mul.vjp = lambda ct, out, ins: [_fit(ct * ins[1], ins[0]), _fit(ct * ins[0], ins[1])]
matmul.vjp = lambda ct, out, ins: [ct @ ins[1].T, ins[0].T @ ct]
transpose.vjp = lambda ct, out, ins: [ct.T]
tanh.vjp = lambda ct, out, ins: [ct * (fixed(1.0) - out * out)]
total.vjp = lambda ct, out, ins: [ct * fixed(1.0, ins[0].shape)]
rows.vjp = lambda ct, out, ins: [ct * fixed(1.0, ins[0].shape)]


# -- 2. The tape that predicts (gradloom/entries.py, gradloom/tape.py) -------------------------------------
# Nothing runs when it is called. A call is one step down a tree whose root is the start of a round. A loop takes the
# same steps each time round, so recording is a comparison with the step that came next last time.


class Entry:
    """One recorded step. next: what followed it last time. programs: by which values were still wanted at its end."""

    def __init__(self, parent: Entry | None, prim: Any, ins: list[Entry], shape: tuple[int, ...]) -> None:
        self.parent, self.prim, self.ins, self.shape = parent, prim, ins, shape
        self.next: Entry | None = None
        self.others: list[Entry] = []
        self.programs: dict[tuple[Entry, ...], Program] = {}
        self.end: Entry | None = None  # of a composite: where its steps end, and which of them are its results
        self.outs: list[Entry] = []


class Tape:
    """The recorder."""

    def __init__(self) -> None:
        self.root = Entry(None, "root", [], ())
        self.built = 0
        self.start()

    def start(self) -> None:
        """Begin a round."""
        self.pos = self.root
        self.inputs: list[np.ndarray] = []
        self.handles: list[Tensor] = []

    def step(self, prim: Any, ins: list[Entry], shape: Callable[[], tuple[int, ...]]) -> Entry:
        """The predicted entry, another one known at this place, or a new one."""
        for e in ([self.pos.next] if self.pos.next else []) + self.pos.others:
            if e.prim is prim and e.ins == ins and (prim != "input" or e.shape == shape()):
                break
        else:
            e = Entry(self.pos, prim, ins, shape())
            self.pos.others.append(e)
        self.pos.next = e
        self.pos = e
        return e

    def apply(self, prim: Primitive, *ts: Tensor) -> Tensor:
        """Record a primitive. A shape that does not fit is refused here, at the line that wrote it."""
        ins = [self.entry_of(t) for t in ts]
        return self.handle(self.step(prim, ins, lambda: prim.shape(*(i.shape for i in ins))))

    def entry_of(self, t: Tensor) -> Entry:
        """A tensor of this round as it is; one that has memory becomes an input."""
        if t.entry is None:
            assert t.array is not None
            t.entry = self.step("input", [], lambda: t.array.shape)
            self.inputs.append(t.array)
            self.handles.append(t)
        return t.entry

    def handle(self, e: Entry) -> Tensor:
        """A tensor for an entry."""
        t = Tensor(None, e)
        self.handles.append(t)
        return t

    def composite(self, name: Any, ts: list[Tensor], run: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Many steps as one: what ``run`` recorded the first time is jumped over from then on."""
        e = self.step(name, [self.entry_of(t) for t in ts], lambda: ())
        if e.end is None:
            results = run()
            e.end, e.outs = self.pos, [self.entry_of(r) for r in results]
            return results
        self.pos = e.end
        return [self.handle(o) for o in e.outs]

    def flush(self) -> None:
        """Close the round: find or build the program for the values somebody still holds, and run it."""
        # a handle that only this list and the two names of this line hold belongs to nobody
        live = [t for t in self.handles if t.array is None and sys.getrefcount(t) > 3]
        key = tuple(t.entry for t in live)
        program = self.pos.programs.get(key)
        if program is None:
            program = self.pos.programs[key] = Program(self.pos, list(key))
            self.built += 1
        for t, array in zip(live, program.run(self.inputs), strict=True):
            t.array = array
        for t in self.handles:
            t.entry = None
        self.start()


# -- 3. Programs (gradloom/graph, gradloom/compiler) -------------------------------------------------------
# A closed round is a list of steps in order. Dead steps fall out here; the package goes on to simplify, fuse, plan
# memory and emit machine code, and keeps that under the same key.


class Program:
    """The steps that some outputs need."""

    def __init__(self, end: Entry, outputs: list[Entry]) -> None:
        path: list[Entry] = []
        e: Entry | None = end
        while e is not None and e.parent is not None:
            path.append(e)
            e = e.parent
        needed = set(outputs)
        for e in path:  # last first
            if e in needed:
                needed.update(e.ins)
        path.reverse()
        self.inputs = [e for e in path if e.prim == "input"]
        self.body = [e for e in path if e in needed and isinstance(e.prim, Primitive)]
        self.outputs = outputs

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Compute it."""
        known = dict(zip(self.inputs, arrays, strict=True))
        for e in self.body:
            known[e] = np.asarray(e.prim.compute(*(known[i] for i in e.ins)))
        return [known[o] for o in self.outputs]


TAPE = Tape()


# -- 4. The handle (gradloom/tensor.py) --------------------------------------------------------------------


class Tensor:
    """A cell that names a value: an entry of this round, or memory."""

    def __init__(self, array: Any = None, entry: Entry | None = None) -> None:
        self.array = None if array is None else np.asarray(array, float)
        self.entry = entry
        self.grad: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Known at once, computed or not."""
        return self.entry.shape if self.entry is not None else self.array.shape  # type: ignore[union-attr]

    def numpy(self) -> np.ndarray:
        """Looking at a value closes the round."""
        if self.array is None:
            TAPE.flush()
        assert self.array is not None
        return self.array

    @property
    def T(self) -> Tensor:
        return TAPE.apply(transpose, self)

    def __add__(self, other: Any) -> Tensor:
        return TAPE.apply(add, self, constant(other))

    def __mul__(self, other: Any) -> Tensor:
        return TAPE.apply(mul, self, constant(other))

    def __sub__(self, other: Tensor) -> Tensor:
        return self + other * fixed(-1.0)

    def __matmul__(self, other: Tensor) -> Tensor:
        return TAPE.apply(matmul, self, other)

    def tanh(self) -> Tensor:
        return TAPE.apply(tanh, self)

    def sum(self) -> Tensor:
        return TAPE.apply(total, self)


def constant(x: Any) -> Tensor:
    """A user's numbers are inputs: another learning rate is not another program."""
    return x if isinstance(x, Tensor) else Tensor(x)


FIXED: dict[Any, Primitive] = {}


def fixed(number: float, shape: tuple[int, ...] = ()) -> Tensor:
    """A number of a formula: part of the program, a primitive without operands."""
    known = FIXED.setdefault((number, shape), Primitive("full", lambda: np.full(shape, number), lambda: shape))
    return TAPE.apply(known)


def rows_of(x: Tensor) -> Tensor:
    """The sum over the first axis."""
    return TAPE.apply(rows, x)


# -- 5. Reverse mode (gradloom/autodiff/reverse.py) --------------------------------------------------------
# The engine names no operation: it walks the entries back and applies each primitive's rule.


def grad(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of a scalar; one predicted step, however many it takes the first time."""

    def run() -> list[Tensor]:
        top = TAPE.entry_of(output)
        order, todo, seen = [], [(top, False)], set()
        while todo:  # depth first without recursion: operands before what uses them
            e, done = todo.pop()
            if done:
                order.append(e)
            elif e not in seen:
                seen.add(e)
                todo += [(e, True), *((i, False) for i in e.ins)]
        cts = {top: fixed(1.0)}
        for e in reversed(order):
            if e in cts and e.ins:
                for i, ct in zip(
                    e.ins, e.prim.vjp(cts[e], TAPE.handle(e), [TAPE.handle(i) for i in e.ins]), strict=True
                ):
                    cts[i] = cts[i] + ct if i in cts else ct
        return [cts[TAPE.entry_of(x)] for x in inputs]

    return TAPE.composite("grad", [output, *inputs], run)


# -- 6. A step is one program ------------------------------------------------------------------------------


def update(cells: list[Tensor], new: list[Tensor]) -> None:
    """Writes are honest and functional: each cell points to its new value, and the round is closed."""
    for cell, value in zip(cells, new, strict=True):
        cell.entry, cell.array = value.entry, None
        TAPE.handles.append(cell)
    del new, value
    TAPE.flush()


def main() -> tuple[list[float], int]:
    """Fit y = sin(3x) with eight hidden units; losses, and how many programs were built for 400 steps."""
    rng = np.random.default_rng(0)
    xs = rng.uniform(-1, 1, (64, 1))
    x, y = Tensor(xs), Tensor(np.sin(3 * xs))
    w1, b1, w2, b2 = cells = [Tensor(rng.standard_normal(s)) for s in ((1, 8), (8,), (8, 1), (1,))]
    losses = []
    for step in range(400):
        rate = 0.1 / (1 + step / 200)  # changes in every step
        error = (x @ w1 + b1).tanh() @ w2 + b2 - y
        loss = (error * error).sum() * (1 / 64)
        gradients = grad(loss, cells)
        new = [w - g * rate for w, g in zip(cells, gradients, strict=True)]
        del error, gradients  # what nobody holds is not stored
        update(cells, new)
        losses.append(float(loss.numpy()))
    return losses, TAPE.built


if __name__ == "__main__":
    found, programs = main()
    print(f"loss {found[0]:.3f} at first, {found[-1]:.5f} after {len(found)} steps; programs built: {programs}")
