"""``compile(fn)``: the program behind a pure function, called without going through its Python again."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.trees import Tree, flatten, unflatten
from gradloom.errors import NotSupportedError
from gradloom.nn import Module
from gradloom.ops.batching import is_random
from gradloom.tape import MODES, TAPE, Value
from gradloom.tensor import Tensor

__all__ = ["Compiled", "compile"]

BACKENDS = (None, "gradloom", "inductor")
ACCEPTED_MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class _Plan:
    """A program with where its inputs come from: an argument's place, or a captured tensor."""

    __slots__ = ("avals", "captured", "checks", "exe", "expected", "numbers", "pointers", "sources", "tree")

    def __init__(
        self, program: Any, sources: list[int | Tensor | None], avals: list[Any], tree: Tree, numbers: dict[int, Any]
    ) -> None:
        self.exe, self.checks, self.avals, self.tree = program.exe, program.checks, avals, tree
        self.expected = [n.aval for n in program.graph.inputs]
        self.sources = [(k, s) for k, s in enumerate(sources) if isinstance(s, int)]
        self.captured = [(k, s) for k, s in enumerate(sources) if isinstance(s, Tensor)]
        self.pointers = [0] * len(sources)
        # Python numbers stay what they were when the function was recorded
        self.numbers = [(ctypes.c_double if isinstance(x, float) else ctypes.c_int64)(x) for x in numbers.values()]
        for k, held in zip(numbers, self.numbers, strict=True):
            self.pointers[k] = ctypes.addressof(held)

    def leaves(self, values: Sequence[Value | None]) -> list[Value | None]:
        """The inputs of the program by place, for a call with these arguments."""
        leaves: list[Value | None] = [None] * len(self.pointers)
        for at, s in self.sources:
            leaves[at] = values[s]
        for at, t in self.captured:
            leaves[at] = t._v
        return leaves

    def run_kept(self, values: Sequence[Value | None]) -> list[Any]:
        """Run a program that keeps what depends on parameters alone."""

        def buffers() -> list[Any]:
            return [v.buf if v is not None else None for v in self.leaves(values)]

        with TAPE.lock:
            return self.exe.run_kept(self.pointers, buffers)


class _Latest:
    """The plan of the latest call of a function of tensors alone, tried first: most calls are like the one before."""

    __slots__ = ("autocast", "avals", "captured", "grad", "modes", "modules", "one", "plan")

    def __init__(self, plan: _Plan, avals: list[Any], modules: list[Module]) -> None:
        self.plan, self.avals = plan, avals
        self.captured = [(at, t, plan.expected[at]) for at, t in plan.captured]
        self.modules, self.modes = modules, [m.training for m in modules]
        self.autocast, self.grad = MODES.autocast, MODES.grad
        self.one = plan.avals[0] if plan.tree.kind is None else None

    def run(self, args: tuple[Any, ...]) -> Any:
        """The results, or None where this call is not like that one."""
        grad = self.grad
        if MODES.grad is not grad or MODES.autocast is not self.autocast or len(args) != len(self.avals):
            return None
        if TAPE.target != "cpu" or TAPE.traces or TAPE.lifted or [m.training for m in self.modules] != self.modes:
            return None
        for a, want in zip(args, self.avals):
            if not isinstance(a, Tensor):
                return None
            v = a._v
            if v.buf is None or (v.aval is not want and v.aval != want) or (grad and (a._rg or v.hist is not None)):
                return None
        plan = self.plan
        pointers = plan.pointers
        for at, s in plan.sources:
            pointers[at] = args[s]._v.buf.ptr
        for at, t, want in self.captured:
            v = t._v
            if v.buf is None or (v.aval is not want and v.aval != want) or (grad and t._rg):
                return None
            pointers[at] = v.buf.ptr
        out = plan.exe.run(pointers) if plan.exe.kept is None else plan.run_kept([a._v for a in args])
        if plan.checks:
            TAPE.verify(plan.checks, out, lambda: plan.leaves([a._v for a in args]))
        if self.one is not None:
            return TAPE.make_tensor(Value(self.one, None, out[0]))
        make = TAPE.make_tensor
        return unflatten(plan.tree, [make(Value(a, None, b)) for a, b in zip(plan.avals, out, strict=True)])


class Compiled:
    """A callable with the results of ``fn``, for pure functions of trees of tensors (or modules).

    A call whose structure, shapes, dtypes, other arguments and training modes have been seen runs the native program at
    once. Where gradients are asked for, within transformations, and where the function draws random numbers or writes
    into tensors, it runs through the tape as always: there prediction does the same work. ``fn`` must not depend on
    Python state that changes between calls; a number in it is a constant.
    """

    def __init__(self, fn: Callable[..., Any], module: Module | None = None) -> None:
        self.fn, self.module = fn, module
        self._modules = list(module.modules()) if module is not None else []
        self._plans: dict[tuple, _Plan | None] = {}
        self._latest: _Latest | None = None
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__wrapped__ = fn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["fn"], name)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method of the instance, where the function was decorated in a class."""
        return self if instance is None else lambda *args, **kwargs: self(instance, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results of ``fn(*args, **kwargs)``."""
        latest = self._latest
        if latest is not None and not kwargs:
            out = latest.run(args)
            if out is not None:
                return out
        if TAPE.target != "cpu" or TAPE.traces or TAPE.lifted:
            return self.fn(*args, **kwargs)
        leaves, tree = flatten((args, kwargs))
        values: list[Value | None] = []
        key: list[Any] = [tree, MODES.grad, MODES.autocast, *(m.training for m in self._modules)]
        for a in leaves:
            if isinstance(a, Tensor):
                if MODES.grad and a.requires_grad:
                    return self.fn(*args, **kwargs)
                if a._v.buf is None:
                    a._buffer()
                values.append(a._v)
                key.append(a._v.aval)
            else:
                values.append(None)
                key.append((type(a), a))
        k = tuple(key)
        try:
            plan = self._plans.get(k)
        except TypeError:  # an argument that is no value: nothing to find it by
            return self.fn(*args, **kwargs)
        if plan is None:
            if k in self._plans:
                return self.fn(*args, **kwargs)
            return self._trace(k, leaves, tree)
        pointers = plan.pointers
        for at, s in plan.sources:
            pointers[at] = values[s].buf.ptr  # type: ignore[union-attr]
        for at, t in plan.captured:
            if MODES.grad and t._rg:
                return self.fn(*args, **kwargs)
            v = t._v
            if v.aval != plan.expected[at]:
                return self.fn(*args, **kwargs)
            pointers[at] = v.buf.ptr if v.buf is not None else t._buffer().ptr
        out = plan.exe.run(pointers) if plan.exe.kept is None else plan.run_kept(values)
        if plan.checks:
            TAPE.verify(plan.checks, out, lambda: plan.leaves(values))
        if not kwargs and all(isinstance(a, Tensor) for a in args):
            self._latest = _Latest(plan, [v.aval for v in values if v is not None], self._modules)
        make = TAPE.make_tensor
        return unflatten(plan.tree, [make(Value(a, None, b)) for a, b in zip(plan.avals, out, strict=True)])

    def _trace(self, key: tuple, leaves: list[Any], tree: Tree) -> Any:
        with TAPE.lock:
            TAPE.flush()
            # handles of their own, so that an argument is told from a captured tensor
            own = [
                TAPE.make_tensor(Value(x._v.aval, None, x._buffer())) if isinstance(x, Tensor) else x for x in leaves
            ]
            rounds = TAPE.rounds
            before = [x._v if isinstance(x, Tensor) else None for x in own]
            args, kwargs = unflatten(tree, own)
            outer, TAPE.whole = TAPE.whole, True
            try:
                result = self.fn(*args, **kwargs)
            finally:
                TAPE.whole = outer
            results, out_tree = flatten(result)
            written = False
            for x, mine, v in zip(leaves, own, before, strict=True):
                if v is not None and mine._v is not v:  # written into: the caller's tensor is meant
                    written = True
                    x._set_value(mine._v)
            written = written or any(
                t is not None and t._v is not leaf for t, leaf in zip(TAPE.tensors, TAPE.leaves, strict=True)
            )
            pure = (
                not written
                and all(isinstance(r, Tensor) and r._v.entry is not None and not r.requires_grad for r in results)
                and len({id(r._v) for r in results}) == len(results)
            )
            plan: _Plan | None = None
            if pure and TAPE.rounds == rounds:  # else the program at the end is only a part of the function
                plan = _planned(results, out_tree, own)
            if len(self._plans) > 256:
                self._plans.clear()
            self._plans[key] = plan
        return result


def _planned(results: list[Tensor], tree: Tree, own: list[Any]) -> _Plan | None:
    """The plan of the round that gives ``results``, where running its program is all that there is to do."""
    bound, numbers = list(TAPE.tensors), dict(TAPE.scalars)
    at = {id(t): k for k, t in enumerate(own) if isinstance(t, Tensor)}
    rounds, outer = TAPE.rounds, TAPE.whole
    TAPE.whole = True
    try:
        TAPE.flush()
    finally:
        TAPE.whole = outer
    program = TAPE.latest
    if TAPE.rounds != rounds + 1 or program is None or program.outputs != len(results):
        return None
    avals = [r._v.aval for r in results]
    nodes = program.graph.outputs[: len(results)]
    if any(n.aval != a for n, a in zip(nodes, avals, strict=True)) or any(
        is_random(n.prim) for n in program.graph.nodes
    ):
        return None
    sources: list[int | Tensor | None] = [at.get(id(t), t) for t in bound]
    return _Plan(program, sources, avals, tree, numbers)


def _compiled_module(model: Module) -> Module:
    """The module under its own names and class, its call compiled; it shares everything with the original."""
    cls = type(model)
    made: Any = object.__new__(type(cls.__name__, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__}))
    made.__dict__ = model.__dict__
    call = Compiled(model, model)
    type(made).__call__ = lambda self, *args, **kwargs: call(*args, **kwargs)  # type: ignore[method-assign]
    type(made)._orig_mod = property(lambda self: model)  # type: ignore[attr-defined]
    return made


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = None,
    mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    """``model``, a function or a module, as a callable with the same results that skips Python where calls recur.

    Usable as a decorator with or without brackets. A module stays a module of its class: the same parameters under the
    same names, the same ``state_dict``.

    Parameters
    ----------
    fullgraph, dynamic: what they ask for is always so: a function is one program, and kernels take sizes as they come.
    backend: None, ``"gradloom"`` or ``"inductor"`` (the one compiler that there is); ``"eager"`` for none.
    mode: PyTorch's names; programs are the same for all of them. options: must be empty. disable: give ``model`` back.

    Raises
    ------
    NotSupportedError: for other backends, and for options. ValueError: for an unknown mode.
    """
    if backend not in (*BACKENDS, "eager"):
        raise NotSupportedError(
            f"compile: backend {backend!r} is not there; gradloom has one compiler", code="compile.backend",
            hint="leave backend out",
        )  # fmt: skip
    if mode not in ACCEPTED_MODES:
        raise ValueError(f"compile: mode must be one of {', '.join(map(str, ACCEPTED_MODES))}, got {mode!r}")
    if options:
        raise NotSupportedError(f"compile: no such options: {', '.join(sorted(options))}", code="compile.options")
    if model is None:
        return lambda fn: compile(fn, backend=backend, mode=mode, disable=disable, fullgraph=fullgraph, dynamic=dynamic)
    if disable or backend == "eager":
        return model
    if isinstance(model, Module):
        return _compiled_module(model)
    if not callable(model):
        raise TypeError(f"compile: expected a function or a module, got {type(model).__name__}")
    return Compiled(model)
