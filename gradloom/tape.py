"""The tape: calls recorded as they are made, predicted from the last time round.

Entries form a trie. The root is the start of a round; every recorded call is a step down. A loop that does the same
each time walks the same path, and each call costs a comparison with the entry that came next last time. A call that
differs takes, or starts, another branch. A *composite* (a library function, a backward pass, an optimiser's update)
is one entry that jumps over those it recorded. Looking at a value, or an update, closes the round: the path becomes a
program, compiled once for the set of values that are still alive, and found again at the last entry.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom import dtypes
from gradloom.checks import fail, look_ahead
from gradloom.deferred import LATE, ingredients, looked_up, put_off, recalled, settled
from gradloom.entries import LEAF, MODES, SCALAR, Entry, Program, Record, Value, why
from gradloom.errors import GradientError, InternalError
from gradloom.graph.node import Aval, Graph, Node
from gradloom.ops.core import Primitive
from gradloom.residuals import Made, add_asked, learn
from gradloom.residuals import keep as keep_asked
from gradloom.runtime.kept import WATCHED, touched

if TYPE_CHECKING:
    from gradloom.tensor import Tensor

__all__ = ["composite", "flush", "update"]

MAX_LENGTH = 5000  # entries of one round before it is closed on its own
MAX_TRIE = 200_000  # entries remembered before all is forgotten
_getrefcount = sys.getrefcount


_SCALAR_AVALS = {
    float: Aval((), dtypes.float64, True),
    int: Aval((), dtypes.int64, True),
    bool: Aval((), dtypes.bool_, True),
}


class Tape:
    """The recorder. One for the process, guarded by a lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.target = "cpu"
        self.history: list[str] = []  # why programs were compiled, newest last
        self.latest: Program | None = None
        self.compiled = 0
        self.rounds = 0
        self.make_tensor: Callable[[Value], Any] = lambda v: v
        self.watch: Callable[[tuple], None] | None = None  # told of every program run, and of what on
        self.runner: Callable[[Program, list[int]], list[Any]] | None = None  # runs programs of the target "watched"
        self.after: Callable[[], None] | None = None  # called when a round has been closed, while somebody debugs
        self.noted: Callable[[Entry], None] | None = None  # told of every new step, while somebody debugs
        self.looks = 0  # values given out of rounds that stayed open
        self.traces = 0  # functions being recorded on placeholders: the round must stay open
        self.whole = False  # whether what is recorded is to be run again with other inputs
        self.overwritten: tuple = ()  # what the program that runs may write over: (output, input) pairs
        self.fresh = False  # whether modules have new parameters since the last :meth:`settle`
        self.lifted: dict[int, Any] = {}  # entries that a transformation under way differentiates by: their handles
        self.forget()

    def forget(self) -> None:
        """Drop every remembered path and program."""
        self.root = Entry(None, None, [], (), None, False, True)
        self.count = 0
        self.start()

    def start(self) -> None:
        self.pos = self.root
        self.inputs = 0
        self.leaves: list[Value | None] = []
        self.tensors: list[Any] = []
        self.scalars: dict[int, Any] = {}
        self.values: list[Value] = []
        self.inside = 0
        self.freed: list[frozenset[Entry]] = []  # entries whose values backward passes did not retain
        self.reruns: list[tuple[Record, Made]] = []  # what backward passes recorded again of earlier rounds
        self.rounds += 1

    # -- walking the trie ---------------------------------------------------------------------------
    def step(self, prim: Any, ins: list[Entry], attrs: tuple, make: Callable[[], tuple[Aval | None, bool]]) -> Entry:
        """The entry for this call: the predicted one, another branch, or a new one."""
        pos, gm = self.pos, MODES.grad
        e = pos.next
        if e is not None and e.prim is prim and e.ins == ins and e.attrs == attrs and e.grad_mode is gm:
            if not e.zero or _hashable(e.attrs) == _hashable(attrs):
                self.pos = e
                return e
        key = (id(prim), tuple(map(id, ins)), _hashable(attrs), gm)
        if pos.branches is None:
            pos.branches = {}
        found = pos.branches.get(key)
        if found is None:
            aval, rg = make()
            found = pos.branches[key] = Entry(pos, prim, ins, attrs, aval, rg, gm)
            self.count += 1
            if self.noted is not None:
                self.noted(found)
        pos.next = found
        self.pos = found
        return found

    def bind(self, t: Any, v: Value) -> Entry:
        """Make a concrete value an input of this round."""
        if v.buf is None:
            if v in LATE:
                return recalled(self, v)
            raise InternalError("a tensor's value was lost by an earlier failure", code="internal.lost")
        rg = t._rg or v.hist is not None
        e = self.pos.next
        if e is not None and e.prim is LEAF and e.rg is rg and e.aval == v.aval and e.grad_mode is MODES.grad:
            self.pos = e
        else:
            e = self.step(LEAF, [], (v.aval, rg), lambda: (v.aval, rg))
        self.inputs += 1
        self.leaves.append(v)
        self.tensors.append(t)
        v.entry = e
        return e

    def scalar(self, x: Any) -> Any:
        """A Python number as an input of this round."""
        with self.lock:
            self.room()
            return self.handle(self.scalar_entry(x))

    def scalar_entry(self, x: Any) -> Entry:
        """The entry of a Python number."""
        kind = type(x)
        if kind is not float:
            kind = bool if isinstance(x, (bool, np.bool_)) else int if isinstance(x, (int, np.integer)) else float
        e = self.pos.next
        if e is not None and e.prim is SCALAR and e.attrs[0] is kind and e.grad_mode is MODES.grad:
            self.pos = e
        else:
            e = self.step(SCALAR, [], (kind,), lambda: (_SCALAR_AVALS[kind], False))
        n = self.inputs
        self.scalars[n] = x
        self.inputs = n + 1
        self.leaves.append(None)
        self.tensors.append(None)
        return e

    def float_entries(self, xs: Sequence[float]) -> list[Entry]:
        """The entries of several Python floats."""
        out = []
        for x in xs:
            e = self.pos.next
            n = self.inputs
            if e is not None and e.prim is SCALAR and e.leaf == n and e.attrs[0] is float and e.grad_mode is MODES.grad:
                self.pos = e
                self.scalars[n] = x
                self.inputs = n + 1
                self.leaves.append(None)
                self.tensors.append(None)
                out.append(e)
            else:
                out.append(self.scalar_entry(float(x)))
        return out

    def room(self) -> None:
        if self.pos.depth > MAX_LENGTH and not self.inside and not self.traces:
            self.flush()
        if self.count > MAX_TRIE and self.pos is self.root:
            self.forget()

    def entries_of(self, ts: Sequence[Any]) -> list[Entry]:
        """The entries of operands, binding those that are concrete."""
        out: list[Entry] = []
        for t in ts:
            v = t._v
            e = v.entry
            if e is None:
                e = self.bind(t, v)
            elif t._rg and e.prim is not LEAF and not self.inside and MODES.grad:
                # a parameter rewritten in this round: its new value must become an input before it is differentiated
                self.flush()
                return self.entries_of(ts)
            out.append(e)
        return out

    def apply(self, prim: Primitive, ts: Sequence[Any], attrs: tuple = ()) -> Any:
        """Record a primitive call and return the handle of its result."""
        with self.lock:
            if self.pos.depth > MAX_LENGTH and not self.inside and not self.traces:
                self.flush()
            ins = self.entries_of(ts)
            e = self.pos.next
            if (
                e is not None and e.prim is prim and e.ins == ins and e.attrs == attrs and e.grad_mode is MODES.grad
                and not e.zero
            ):  # fmt: skip
                self.pos = e
            else:
                e = self.step(prim, ins, attrs, lambda: self._infer(prim, ins, attrs))
            v = Value(e.aval, e)  # type: ignore[arg-type]
            self.values.append(v)
            return self.make_tensor(v)

    def _infer(self, prim: Primitive, ins: list[Entry], attrs: tuple) -> tuple[Aval, bool]:
        aval = prim.infer([i.aval for i in ins], attrs)  # type: ignore[misc]
        return aval, MODES.grad and prim.vjp is not None and aval.dtype.category >= 2 and any(i.rg for i in ins)

    def handle(self, e: Entry) -> Any:
        """A new handle of an entry of this round."""
        v = Value(e.aval, e)  # type: ignore[arg-type]
        self.values.append(v)
        return self.make_tensor(v)

    # -- composites -----------------------------------------------------------------------------------
    def macro(self, fn: Any, ts: Sequence[Any], static: tuple, run: Callable[[], list[Any]]) -> list[Any]:
        """Run ``run`` once for these operands; later rounds jump over what it recorded. Returns handles."""
        with self.lock:
            if self.pos.depth > MAX_LENGTH and not self.inside and not self.traces:
                self.flush()
            if MODES.autocast is not None:
                static = (*static, MODES.autocast)
            ins = self.entries_of(ts)
            e = self.pos.next
            if e is None or e.prim is not fn or e.ins != ins or e.attrs != static or e.grad_mode is not MODES.grad:
                e = self.step(fn, ins, static, lambda: (None, False))
            if e.end is not None:
                self.pos = e.end
                return [self.handle(o) if type(o) is Entry else ts[o] for o in e.outs]
            return self.record(e, ts, run)

    def record(self, e: Entry, ts: Sequence[Any], run: Callable[[], list[Any]]) -> list[Any]:
        """Run the body of a composite for the first time, and note where it ends."""
        with self.lock:
            rounds, inputs = self.rounds, self.inputs
            self.inside += 1
            try:
                results = run()
            finally:
                if self.rounds == rounds:
                    self.inside -= 1
            if self.rounds == rounds and self.inputs == inputs:
                position = {id(t._v): k for k, t in enumerate(ts)}
                e.outs = [position.get(id(r._v), r._v.entry) for r in results]
                e.end = self.pos
            return results

    # -- closing a round --------------------------------------------------------------------------------
    def flush(self, asked: Value | None = None) -> None:
        """Close the round: compile or find its program, run it, give live handles, and ``asked``, their memory."""
        with self.lock:
            if self.pos is self.root:
                return
            if self.traces:
                raise GradientError(
                    "the round cannot be closed while a function is recorded by vmap, scan, cond or while_loop",
                    code="transform.flush",
                    hint="step optimisers and change requires_grad outside of the transformed function",
                )
            try:
                if not self.pos.inputs == self.inputs == len(self.leaves) == len(self.tensors):
                    raise InternalError(
                        "recording was interrupted in the middle of a step, so what was recorded since is lost",
                        code="internal.interrupted",
                        hint="tensors that had values keep them; go on from there",
                    )
                self._run(asked)
            except BaseException:
                self._restore()
                raise
            finally:
                self.overwritten = ()
                for v in self.values:
                    v.entry = None
                for leaf in self.leaves:
                    if leaf is not None:
                        leaf.entry = None
                self.start()
            if self.after is not None:
                self.after()

    def _restore(self) -> None:
        """After a round that failed: what was written to in it has its old value, if nothing was put in its place."""
        lost = {leaf for _, leaf in self.overwritten}
        for k, t in enumerate(self.tensors):
            old = self.leaves[k]
            if t is not None and old is not None and t._v is not old and t._v.buf is None and k not in lost:
                t._v = old

    def settle(self) -> None:
        """Give new parameters their values before they are first used, so that no program draws them and trains too."""
        if not self.traces and not self.inside and not self.lifted:
            self.fresh = False
            self.flush()

    def peek(self, v: Value) -> None:
        """Give one value its memory and leave the round open. Raises GradientError where it hangs on a placeholder."""
        with self.lock:
            e = v.entry
            assert e is not None
            if e.abstract:
                raise GradientError(
                    "the value of a tensor is not known while vmap, scan, cond or while_loop records the function",
                    code="transform.value",
                    hint="Python's if, while, int() and .item() cannot depend on it: use where, cond or while_loop",
                )
            key = ("peek", id(e))
            if self.pos.programs is None:
                self.pos.programs = {}
            found = self.pos.programs.get(key)
            if found is None:
                found = self.pos.programs[key] = (self._build([e], ()), None, ())
            v.buf = self._execute(found[0])[0]
            self.looks += 1

    def _path(self) -> list[Entry]:
        """The entries of this round, in order."""
        path: list[Entry] = []
        e: Entry | None = self.pos
        while e is not None and e.parent is not None:
            path.append(e)
            e = e.parent
        path.reverse()
        return path

    def _ordered(self, order: list[Entry], donate: tuple) -> tuple[Program, list[int] | None, tuple]:
        """A program for these outputs in the order of their computation: which handle is older must compile nothing.

        With it the order in which it gives the outputs (None: as they are), and what it may overwrite.
        """
        assert self.pos.programs is not None
        turn = sorted(range(len(order)), key=lambda k: order[k].depth)
        order = [order[k] for k in turn]
        to = {k: at for at, k in enumerate(turn)}
        donate = tuple(sorted((to[k], leaf) for k, leaf in donate))
        key = ("in order", *order, donate)
        if key not in self.pos.programs:
            self.pos.programs[key] = (self._build(order, donate), None, donate)
        same = turn == list(range(len(order)))
        return self.pos.programs[key][0], None if same else turn, donate

    def _run(self, asked: Value | None) -> None:
        may_wait = self.watch is None and not self.whole
        live, wait, numbers = list[Value](), list[Value](), list[Value]()
        order: list[Entry] = []
        for v in self.values:
            # held by the list, the loop and the call itself; whatever is more is somebody's handle
            if _getrefcount(v) > 3:
                e = v.entry
                assert e is not None
                if e.prim is SCALAR:
                    numbers.append(v)
                elif not e.abstract:  # what a recorded function let escape has no value
                    few = e.ingredients != () and may_wait and bool(ingredients(e))
                    if few and (v is not asked or looked_up(e)):
                        wait.append(v)
                    if not few or v is asked:
                        live.append(v)
                        order.append(e)
        late = put_off(self, wait, live, order) if wait else ()
        spent = {id(v): self.spent(v.entry) for v in live if v.entry.rg}  # type: ignore[union-attr,arg-type]
        keep = not all(spent.values())
        if keep and may_wait and self.pos.asked:
            add_asked(self.pos, live, order)
        # a backward pass that is still to come may compute this round again: it needs the old values
        donate = () if keep else self._donations(live)
        key = (*order, donate)
        if self.pos.programs is None:
            self.pos.programs = {}
        found = self.pos.programs.get(key)
        if found is None:
            found = self.pos.programs[key] = self._ordered(order, donate)
        program, turn, donate = found
        if turn is not None:
            live = [live[k] for k in turn]
        self.latest = program
        program.runs += 1
        record = Record(self.leaves, self.tensors, self.scalars, self.pos) if keep else None
        if donate and program.checks:
            look_ahead(program.checks, self.leaves)
        self.overwritten = donate
        results = self._execute(program)
        self.overwritten = ()
        taken = dict(donate)
        for k, v in enumerate(live):
            buf = results[k]
            if buf is None:
                leaf = self.leaves[taken[k]]
                assert leaf is not None
                buf = leaf.buf
                if WATCHED:
                    touched(buf.ptr)  # type: ignore[union-attr]
            e = v.entry
            v.buf = buf
            if e.rg:  # type: ignore[union-attr]
                v.hist = (_FREED if spent.get(id(v)) or record is None else record, e)  # type: ignore[assignment]
        if record is not None and self.pos.asked:
            keep_asked(record, live)
        settled(late)
        if self.watch is not None:
            self.watch((program, self.leaves, self.tensors, self.scalars, donate))
        for v in numbers:
            from gradloom.tensor import buffer_of

            assert v.entry is not None
            kind = v.entry.attrs[0]
            v.aval = Aval((), dtypes.default_float() if kind is float else v.aval.dtype, True)
            v.buf = buffer_of(np.asarray(self.scalars[v.entry.leaf], v.aval.dtype.numpy))

    def spent(self, e: Entry) -> bool:
        """Whether a gradient of this would only pass through what backward passes have freed, now or before."""
        needed = e.saving()
        if any(not needed.isdisjoint(r) for r in self.freed):
            return True
        path = e.through()
        ends = [(self.leaves[i.leaf], self.tensors[i.leaf]) for x in path for i in x.ins if i.rg and i.prim is LEAF]
        return bool(ends) and all(
            v is not None and v.hist is not None and v.hist[0].freed(v.hist[1]) and not t._rg for v, t in ends
        )

    def _donations(self, live: list[Value]) -> tuple[tuple[int, int], ...]:
        """Outputs that are the new value of a cell whose old value nobody else holds: (output, input) pairs."""
        at = {v: k for k, v in enumerate(live)}
        pairs = []
        leaves = self.leaves
        for k, t in enumerate(self.tensors):
            if t is None or t._v is leaves[k]:
                continue
            old, new = leaves[k], t._v
            out = at.get(new)
            # held by the list of leaves, the local name and the call itself
            if (
                out is not None
                and old is not None
                and _getrefcount(old) == 3
                and new.aval.shape == old.aval.shape
                and new.aval.dtype is old.aval.dtype
                and old.hist is None
                and _owned(old.buf)
            ):
                pairs.append((out, k))
        return tuple(pairs)

    def _build(self, order: list[Entry], donate: tuple[tuple[int, int], ...]) -> Program:
        path = self._path()
        needed = set(map(id, order))
        checks = [x for x in path if not x.abstract and getattr(x.prim, "is_check", False)]
        needed.update(id(x.ins[0]) for x in checks)
        for x in reversed(path):
            if id(x) in needed:
                needed.update(map(id, x.ins[:1] if getattr(x.prim, "alias", False) else x.ins))
        if self.reruns:
            learn(self.reruns, path, order, needed)
        nodes: dict[int, Node] = {}
        inputs: list[Node] = []
        body: list[Node] = []
        program = Program()
        scalar_at: list[tuple[int, type]] = []
        for x in path:
            if x.prim is LEAF or x.prim is SCALAR:
                node = Node(None, (), (), x.aval)  # type: ignore[arg-type]
                inputs.append(node)
                nodes[id(x)] = node
                if x.prim is SCALAR:
                    scalar_at.append((x.leaf, x.attrs[0]))
            elif x.aval is not None and id(x) in needed:
                if getattr(x.prim, "alias", False):
                    nodes[id(x)] = nodes[id(x.ins[0])]
                    continue
                node = Node(x.prim, [nodes[id(i)] for i in x.ins], x.attrs, x.aval)
                nodes[id(x)] = node
                body.append(node)
        program.graph = Graph(inputs, body, [nodes[id(x)] for x in [*order, *(c.ins[0] for c in checks)]], dict(donate))
        program.checks = checks
        program.outputs = len(order)
        program.floats = [k for k, kind in scalar_at if kind is float]
        program.whole = [k for k, kind in scalar_at if kind is not float]
        program.float_mem = (ctypes.c_double * len(program.floats))()
        program.whole_mem = (ctypes.c_int64 * len(program.whole))()
        program.pointers = {
            k: ctypes.addressof(mem) + 8 * j
            for numbers, mem in ((program.floats, program.float_mem), (program.whole, program.whole_mem))
            for j, k in enumerate(numbers)
        }
        program.exe = None
        if not donate:
            program.lasting = [
                k for k, (t, v) in enumerate(zip(self.tensors, self.leaves, strict=True))
                if t is not None and t._lasting and v is t._v and not v.aval.dtype.is_complex
            ]  # fmt: skip
        self.compiled += 1
        program.why = why(path)
        self.history.append(program.why)
        del self.history[:-100]
        return program

    def _execute(self, program: Program) -> list[Any]:
        scalars = self.scalars
        if program.floats:
            program.float_mem[:] = [scalars[k] for k in program.floats]
        if program.whole:
            program.whole_mem[:] = [int(scalars[k]) for k in program.whole]
        pointers = [
            leaf.buf.ptr if leaf is not None else program.pointers[k]  # type: ignore[union-attr]
            for k, leaf in enumerate(self.leaves)
        ]
        if self.target == "reference":
            from gradloom.reference.interpreter import run_graph

            results = run_graph(program.graph, pointers)
        elif self.runner is not None and self.target == "watched":
            results = self.runner(program, pointers)
        else:
            if program.exe is None:
                from gradloom.compiler.pipeline import compile_graph

                program.exe = compile_graph(program.graph, program.lasting)
            if program.exe.kept is None:
                results = program.exe.run(pointers)
            else:
                leaves = self.leaves
                results = program.exe.run_kept(
                    pointers, lambda: [leaf.buf if leaf is not None else None for leaf in leaves]
                )
        if program.checks:
            self.verify(program.checks, results, lambda: self.leaves)
        return results

    def verify(self, checks: Sequence[Entry], results: list[Any], leaves: Callable[[], Sequence[Value | None]]) -> None:
        """Take the flags of a program's checks off the end of its results, and look at them.

        leaves: gives the inputs of the program; called where a check was violated. Raises IndexRangeError then.
        """
        flags = results[len(results) - len(checks) :]
        del results[len(results) - len(checks) :]
        for e, flag in zip(checks, flags, strict=True):
            if ctypes.string_at(flag.ptr, 1) != b"\0":
                fail(e, leaves())


def _owned(buf: Any) -> bool:
    """Memory of ours that no view or array shares: held by its value and the two calls that ask."""
    return buf is not None and getattr(buf, "keep", None) is None and _getrefcount(buf) <= 3


def _hashable(attrs: tuple) -> Any:
    # 1, 1.0 and True are equal but not the same constant, nor are 0.0 and -0.0
    return tuple((type(a), repr(a) if isinstance(a, float) else a) for a in attrs)


TAPE = Tape()
_FREED = Record([], [], {}, TAPE.root)
_FREED.pulled = None


def flush() -> None:
    """Close the present round and run what was recorded."""
    TAPE.flush()


def composite(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a pure function of tensors and hashable arguments one step of the prediction.

    The result must be a tensor or a tuple of tensors that depends on nothing but the arguments.
    """
    from gradloom.tensor import Tensor

    name = fn.__qualname__

    class _Key:
        vjp = None

    key = _Key()
    key.name = name  # type: ignore[attr-defined]

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if MODES.autocast is not None:
            args, kwargs = MODES.autocast.operands(fn.__name__, args, kwargs)
        ts: list[Any] = []
        static: list[Any] = []
        for a in args:
            if isinstance(a, Tensor):
                static.append(_HOLE)
                ts.append(a)
            else:
                static.append(tuple(a) if isinstance(a, list) else _exact(a))
        for k in kwargs:
            a = kwargs[k]
            static.append(k)
            if isinstance(a, Tensor):
                static.append(_HOLE)
                ts.append(a)
            else:
                static.append(tuple(a) if isinstance(a, list) else _exact(a))
        shape: list[bool] = []

        def run() -> list[Any]:
            r = fn(*args, **kwargs)
            many = isinstance(r, (tuple, list))
            shape.append(many)
            return list(r) if many else [r]

        out = TAPE.macro(key, ts, tuple(static), run)
        many = shape[0] if shape else getattr(key, "many", False)
        if shape:
            key.many = many  # type: ignore[attr-defined]
        return tuple(out) if many else out[0]

    return call


def _exact(a: Any) -> Any:
    """A key that tells 1, 1.0 and True apart, and 0.0 from -0.0."""
    kind = type(a)
    if kind is float:
        return kind, a or str(a)
    return (kind, a) if kind is bool else a


_HOLE = type("_Hole", (), {"__repr__": lambda s: "<tensor>"})()


class _Update:
    """Stands for the primitive of an optimiser's update."""

    vjp = None
    name = "update"

    def __init__(self, key: Any) -> None:
        self.key = key


_updates: dict[Any, _Update] = {}


def update(
    key: Any, fn: Callable[..., list[Any]], reads: Sequence[Tensor], writes: Sequence[Tensor], scalars: Sequence[float]
) -> None:
    """Rewrite cells by ``fn(reads, writes, scalars)``, then close the tape: one native program for the whole step.

    Parameters
    ----------
    key: hashable, the same for the same structure. fn: returns the new values of ``writes``, in order.
    scalars: Python numbers, given to ``fn`` as 0-d tensors; other numbers next time do not compile anew.
    """
    with TAPE.lock:
        mark = _updates.get(key)
        if mark is None:
            if len(_updates) > 4096:
                _updates.clear()
            mark = _updates[key] = _Update(key)
        reads, writes = list(reads), list(writes)
        nr, nw = len(reads), len(writes)
        before = MODES.grad
        MODES.grad = False
        try:
            TAPE.room()
            numbers = TAPE.float_entries(scalars)
            ins = TAPE.entries_of(reads + writes) + numbers
            e = TAPE.step(mark, ins, (nr, nw), lambda: (None, False))
            if e.end is not None and all(type(o) is Entry for o in e.outs):
                TAPE.pos = e.end
                values = TAPE.values
                for w, o in zip(writes, e.outs, strict=True):
                    v = w._v = Value(o.aval, o)
                    values.append(v)
                    if w._views:
                        w._refresh()
                    del v
            else:
                _first_update(e, fn, reads, writes, [TAPE.handle(n) for n in numbers])
        finally:
            MODES.grad = before
        del reads, writes
        TAPE.flush()


def _first_update(
    e: Entry, fn: Callable[..., list[Any]], reads: list[Any], writes: list[Any], handles: list[Any]
) -> None:
    """Record an update and rebind its cells."""
    new = TAPE.record(e, [*reads, *writes, *handles], lambda: list(fn(reads, writes, handles)))
    if len(new) != len(writes):
        raise InternalError(f"update gave {len(new)} values for {len(writes)} cells", code="internal.update")
    for w, n in zip(writes, new, strict=True):
        w._set_value(n._v)
