"""``compile(fn)``: the program behind a pure function, called without going through its Python again."""

from __future__ import annotations

import ctypes
from typing import Any

from gradloom.tape import TAPE, Value
from gradloom.tensor import Tensor, as_tensor

__all__ = ["Compiled"]


class _Plan:
    """A program with where its inputs come from: an argument's place, or a captured tensor."""

    __slots__ = ("avals", "captured", "exe", "many", "numbers", "pointers", "sources")

    def __init__(
        self, exe: Any, sources: list[int | Tensor | None], avals: list[Any], many: bool, numbers: dict[int, Any]
    ) -> None:
        self.exe, self.avals, self.many = exe, avals, many
        self.sources = [(k, s) for k, s in enumerate(sources) if isinstance(s, int)]
        self.captured = [(k, s) for k, s in enumerate(sources) if isinstance(s, Tensor)]
        self.pointers = [0] * len(sources)
        # Python numbers stay what they were when the function was recorded
        self.numbers = [(ctypes.c_double if isinstance(x, float) else ctypes.c_int64)(x) for x in numbers.values()]
        for k, held in zip(numbers, self.numbers, strict=True):
            self.pointers[k] = ctypes.addressof(held)


class Compiled:
    """A callable with the results of ``fn``, for pure functions of tensors (or modules).

    A call whose shapes, dtypes and training mode have been seen runs the native program at once. Where gradients are
    asked for, or the function draws random numbers, it runs through the tape as always: there prediction does the same
    work. ``fn`` must not depend on Python state that changes between calls; a number in it is a constant.
    """

    def __init__(self, fn: Any) -> None:
        self.fn = fn
        self._plans: dict[tuple, _Plan | None] = {}
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fn, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results of ``fn(*args)``."""
        if kwargs or TAPE.target != "cpu":
            return self.fn(*args, **kwargs)
        values = []
        key: list[Any] = [getattr(self.fn, "training", None), TAPE.grad]
        for a in args:
            if not isinstance(a, Tensor):
                a = as_tensor(a)
            v = a._v
            if v.buf is None:
                a._buffer()
                v = a._v
            values.append(v)
            key.append(v.aval)
        k = tuple(key)
        plan = self._plans.get(k)
        if plan is None:
            if k in self._plans:
                return self.fn(*args)
            return self._trace(k, args)
        pointers = plan.pointers
        for at, s in plan.sources:
            pointers[at] = values[s].buf.ptr  # type: ignore[union-attr]
        for at, t in plan.captured:
            v = t._v
            pointers[at] = v.buf.ptr if v.buf is not None else t._buffer().ptr  # type: ignore[union-attr]
        out = plan.exe.run(pointers)
        make = TAPE.make_tensor
        if plan.many:
            return tuple(make(Value(a, None, b)) for a, b in zip(plan.avals, out, strict=True))
        return make(Value(plan.avals[0], None, out[0]))

    def _trace(self, key: tuple, args: tuple) -> Any:
        with TAPE.lock:
            TAPE.flush()
            tensors = [as_tensor(a) for a in args]
            # handles of their own, so that an argument is told from a captured tensor
            own = [TAPE.make_tensor(Value(t._v.aval, None, t._buffer())) if not t.requires_grad else t for t in tensors]
            result = self.fn(*own)
            many = isinstance(result, (tuple, list))
            results = list(result) if many else [result]
            pure = all(
                isinstance(r, Tensor) and r._v.entry is not None and not r.requires_grad for r in results
            ) and len({id(r._v) for r in results}) == len(results)
            bound, numbers = list(TAPE.tensors), dict(TAPE.scalars)
            at = {id(t): k for k, t in enumerate(own)}
            entries = [r._v.entry for r in results]
            rounds = TAPE.rounds
            TAPE.flush()
            program = TAPE.latest
            plan: _Plan | None = None
            if pure and TAPE.rounds == rounds + 1 and program is not None and program.outputs == len(results):
                order = [r._v for r in results]
                nodes = program.graph.outputs[: len(results)]
                draws = any(
                    n.prim is not None and (n.prim.kind == "random" or getattr(n.prim, "draws", False))
                    for n in program.graph.nodes
                )
                same = all(n.aval == v.aval for n, v in zip(nodes, order, strict=True))
                if same and entries and not draws and not program.checks:
                    sources = [at.get(id(t), t) for t in bound]
                    plan = _Plan(program.exe, sources, [v.aval for v in order], many, numbers)
            if len(self._plans) > 256:
                self._plans.clear()
            self._plans[key] = plan
        return result
