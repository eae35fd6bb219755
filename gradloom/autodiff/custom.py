"""Derivatives that the user writes: what ``autograd.Function``, ``custom_vjp`` and ``custom_jvp`` stand on, and they.

The call stands on the tape twice: as the steps that compute its values, which nothing differentiates, and as one entry
that has no value and joins the inputs with the outputs. Cotangents of the outputs meet there, and the user's rule is
asked once for those of the inputs. What it needs to know travels along as operands, so nothing is held outside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.autodiff.levels import Level, pull, quiet
from gradloom.autodiff.trees import flatten, unflatten
from gradloom.autodiff.vmap import vmap
from gradloom.errors import GradientError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor, as_tensor

__all__ = ["Rule", "Static", "attach", "custom_jvp", "custom_vjp"]


class Static:
    """A value that is no tensor, comparable and hashable so that calls alike find their entry again."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static) or type(self.value) is not type(other.value):
            return False
        try:
            return self.value is other.value or bool(self.value == other.value)
        except Exception:  # arrays and the like have no one truth
            return False

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:
            return hash(type(self.value))


class Rule:
    """What a custom call does with cotangents. ``outs``: avals of its outputs. Rules alike must compare equal."""

    outs: tuple[Aval, ...]
    saves = True  # whether a backward pass that retains nothing is the last

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        """Cotangents of the inputs; those of outputs that nobody used are None."""
        raise NotImplementedError

    def filled(self, cts: Sequence[Tensor | None]) -> list[Tensor]:
        """The cotangents, zeros for None."""
        return [G.zeros(a.shape, dtype=a.dtype) if c is None else c for c, a in zip(cts, self.outs, strict=True)]


class _Mapped(Rule):
    """A rule over a batch. flags: which of inputs and saved have the batch axis."""

    def __init__(self, rule: Rule, flags: tuple[bool, ...], n: int) -> None:
        self.rule, self.flags, self.n, self.saves = rule, flags, n, rule.saves
        self.outs = tuple(Aval((n, *a.shape), a.dtype) for a in rule.outs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Mapped) and (self.rule, self.flags, self.n) == (other.rule, other.flags, other.n)

    def __hash__(self) -> int:
        return hash((self.rule, self.flags, self.n))

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        at = [k for k, c in enumerate(cts) if c is not None]
        holes: list[bool] = []

        def one(*xs: Tensor) -> Any:
            given: list[Tensor | None] = [None] * len(cts)
            for k, c in zip(at, xs, strict=False):
                given[k] = c
            rest = list(xs[len(at) :])
            got = self.rule.pull(given, rest[: len(inputs)], rest[len(inputs) :])
            # as the reverse pass would: summed to the operand's shape before the axis of the batch goes
            holes[:] = [g is None for g in got]
            return tuple(G.fit(g, x._v.aval) for g, x in zip(got, rest, strict=False) if g is not None)

        dims = (*(0 for _ in at), *(0 if f else None for f in self.flags))
        got = iter(vmap(one, dims)(*(cts[k] for k in at), *inputs, *saved))
        return [None if h else next(got) for h in holes]


def _call_shape(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return Aval(attrs[3], dtypes.float32)


def _nothing(arrays: Any, attrs: tuple, aval: Aval) -> Any:
    # asked for only where a round closed between the call and its outputs
    return np.zeros(aval.shape, aval.dtype.numpy)


_call = Primitive("custom_call", _nothing, _call_shape)
"""operands (inputs…, saved…); attrs (rule, for each saved tensor the output that it is or -1, inputs, batch axes)."""


class _Output(Primitive):
    """The first operand, an output of the call that is the second. attrs: (number,)."""

    alias = True


_output = _Output("custom_output", lambda a, t, v: a[0], lambda avals, attrs: avals[0])
_output.vjp = lambda ct, out, ins, attrs: (None, {attrs[0]: ct})
_call.saves, _output.saves = (lambda e: e.attrs[0].saves), False


def _call_vjp(cts: dict[int, Tensor], out: Tensor, ins: Sequence[Tensor], attrs: tuple) -> Sequence[Tensor | None]:
    rule, links, n, _ = attrs
    saved = [
        x if k < 0 else TAPE.apply(_output, (x, out), (k,)) for x, k in zip(ins[n:], links, strict=True)
    ]  # an output that was saved leads back to this call
    looks = TAPE.looks
    TAPE.traces += 1  # a rule may look at values: the round stays open
    try:
        got = rule.pull([cts.get(k) for k in range(len(rule.outs))], list(ins[:n]), saved)
    finally:
        TAPE.traces -= 1
    if TAPE.looks != looks:  # what it does hangs on values: a new input keeps the tape from skipping it next time
        TAPE.scalar(0.0)
    return (*got, *(None for _ in saved))


def _call_batch(args: Any, flags: tuple[bool, ...], attrs: tuple, avals: Any, n: int) -> Tensor:
    rule, links, count, shape = attrs
    return TAPE.apply(_call, args, (_Mapped(rule, flags, n), links, count, (n, *shape)))


def _output_batch(args: Any, flags: tuple[bool, ...], attrs: tuple, avals: Any, n: int) -> Tensor:
    raw, call = args
    if not flags[0]:
        raw = G.broadcast_to(raw, (n, *raw.shape))
    if not flags[1]:
        if call.requires_grad:
            raise GradientError(
                "a function with a derivative of its own reads a batched tensor that is not among its arguments",
                code="transform.captured", hint="pass the tensor as an argument",
            )  # fmt: skip
        return raw
    return TAPE.apply(_output, (raw, call), attrs)


_call.vjp, _call.batch, _output.batch = _call_vjp, _call_batch, _output_batch


def attach(
    rule: Rule, inputs: Sequence[Tensor], saved: Sequence[Tensor], raws: Sequence[Tensor], skip: Sequence[int] = ()
) -> list[Tensor]:
    """The outputs of a call with the rule's derivative. skip: numbers of outputs that have none."""
    at = {id(r._v): k for k, r in enumerate(raws)}
    links = tuple(at.get(id(s._v), -1) for s in saved)
    with TAPE.lock:
        TAPE.room()
        TAPE.entries_of([*inputs, *saved, *raws])
        TAPE.traces += 1  # the round stays open until the outputs know the call
        try:
            call = TAPE.apply(_call, [*inputs, *saved], (rule, links, len(inputs), ()))
            return [
                r if k in skip or r.dtype.category < 2 else TAPE.apply(_output, (r, call), (k,))
                for k, r in enumerate(raws)
            ]
        finally:
            TAPE.traces -= 1


def tracked(tensors: Sequence[Tensor]) -> bool:
    """Whether a call on these is to be differentiated."""
    return MODES.grad and any(t.requires_grad for t in tensors)


def avals_of(tensors: Sequence[Tensor]) -> tuple[Aval, ...]:
    """Shapes and dtypes."""
    return tuple(Aval(tuple(t.shape), t.dtype) for t in tensors)


class _Split:
    """A tree taken apart into tensors and the rest."""

    def __init__(self, tree: Any) -> None:
        leaves, shape = flatten(tree)
        self.tensors = [x for x in leaves if isinstance(x, Tensor)]
        self.key = (shape, tuple(None if isinstance(x, Tensor) else Static(x) for x in leaves))

    @staticmethod
    def joined(key: tuple, tensors: Sequence[Any]) -> Any:
        """The tree with other tensors."""
        it = iter(tensors)
        return unflatten(key[0], [next(it) if s is None else s.value for s in key[1]])


# -- functions with a reverse rule ------------------------------------------------------------------
class _Vjp(Rule):
    def __init__(self, bwd: Any, fixed: tuple, args: tuple, res: tuple, out: Any, outs: tuple[Aval, ...]) -> None:
        self.bwd, self.fixed, self.args, self.res, self.out, self.outs = bwd, fixed, args, res, out, outs

    def _key(self) -> tuple:
        return (self.bwd, self.fixed, self.args, self.res, self.out, self.outs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Vjp) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.bwd, self.outs))

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        res = _Split.joined(self.res, saved)
        fixed = [s.value for s in self.fixed]
        got = self.bwd(*fixed, res, unflatten(self.out, self.filled(cts)))
        if not isinstance(got, (tuple, list)):
            raise GradientError("custom_vjp: bwd must return a tuple, one gradient for each argument",
                                code="gradient.custom")  # fmt: skip
        args = _Split.joined(self.args, inputs)
        if len(got) != len(args):
            raise GradientError(
                f"custom_vjp: bwd returned {len(got)} gradients for {len(args)} arguments", code="gradient.custom"
            )
        out: list[Tensor | None] = []
        for g, a in zip(got, args, strict=True):
            mine, theirs = flatten(a)[0], [] if g is None else flatten(g)[0]
            if g is not None and len(theirs) != len(mine):
                raise GradientError("custom_vjp: a gradient has another structure than its argument",
                                    code="gradient.custom")  # fmt: skip
            out.extend(
                _shaped("custom_vjp", theirs[k], x) if g is not None else None
                for k, x in enumerate(mine)
                if isinstance(x, Tensor)
            )
        return out


def _shaped(name: str, g: Any, x: Tensor) -> Tensor | None:
    """A gradient as a tensor. Raises GradientError where it cannot be that of ``x``."""
    if g is None:
        return None
    t = g if isinstance(g, Tensor) else as_tensor(g)
    lead = t.ndim - x.ndim
    if lead < 0 or any(m not in (1, n) for n, m in zip(t.shape[lead:], x.shape, strict=True)):
        raise GradientError(
            f"{name}: a gradient of shape {tuple(t.shape)} for an argument of shape {tuple(x.shape)}",
            code="gradient.custom", hint="the gradient has the shape of the argument",
        )  # fmt: skip
    return t


class custom_vjp:
    """A function with a reverse rule of its own.

    ``f.defvjp(fwd, bwd)``: ``fwd(*args)`` gives ``(output, residuals)``, ``bwd(residuals, cotangent)`` a tuple with a
    gradient (or None) for each argument. nondiff_argnums: arguments that are no tensors; ``bwd`` gets them first and
    gives no gradient for them.
    """

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        self.fun, self.nondiff = fun, tuple(sorted(nondiff_argnums))
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None
        functools.update_wrapper(self, fun)

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Set the rule."""
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any) -> Any:
        """The value of the function."""
        if self.fwd is None:
            raise GradientError(f"custom_vjp: {self.fun.__name__} has no rule, call defvjp first",
                                code="gradient.custom")  # fmt: skip
        given = _Split(tuple(a for k, a in enumerate(args) if k not in self.nondiff))
        if not tracked(given.tensors):
            return self.fun(*args)
        with quiet():
            out, res = self.fwd(*args)
        raws, tree = flatten(out)
        kept = _Split(res)
        fixed = tuple(Static(args[k]) for k in self.nondiff)
        rule = _Vjp(self.bwd, fixed, given.key, kept.key, tree, avals_of(raws))
        return unflatten(tree, attach(rule, given.tensors, kept.tensors, raws))


# -- functions with a forward rule ------------------------------------------------------------------
class _Jvp(Rule):
    def __init__(self, jvp: Any, fixed: tuple, args: tuple, outs: tuple[Aval, ...]) -> None:
        self.jvp, self.fixed, self.args, self.outs = jvp, fixed, args, outs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Jvp) and (self.jvp, self.fixed, self.args, self.outs) == (
            other.jvp, other.fixed, other.args, other.outs,
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.jvp, self.outs))

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        at = [k for k, x in enumerate(inputs) if x.dtype.category >= 2]
        dots = [G.zeros_like(x) for x in inputs]
        with Level([dots[k] for k in at]) as level:
            for k, t in zip(at, level.tensors, strict=True):
                dots[k] = t
            primals, tangents = _Split.joined(self.args, inputs), _Split.joined(self.args, dots)
            _, tangent = self.jvp(*(s.value for s in self.fixed), primals, tangents)
            found = pull(flatten(tangent)[0], self.filled(cts), level.tensors)
        out: list[Tensor | None] = [None] * len(inputs)
        for k, g in zip(at, found, strict=True):
            out[k] = g
        return out


class custom_jvp:
    """A function with a forward rule of its own; the reverse rule is its transpose.

    ``f.defjvp(rule)``: ``rule(primals, tangents)`` gives ``(output, tangent of the output)``, linear in the tangents.
    nondiff_argnums: arguments that are no tensors; the rule gets them first.
    """

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        self.fun, self.nondiff = fun, tuple(sorted(nondiff_argnums))
        self.rule: Callable[..., Any] | None = None
        functools.update_wrapper(self, fun)

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule; usable as a decorator."""
        self.rule = rule
        return rule

    def defjvps(self, *rules: Callable[..., Any] | None) -> None:
        """Set the rule argument by argument: ``rule(tangent, output, *primals)``, None for no derivative."""

        def rule(*given: Any) -> Any:
            *fixed, primals, tangents = given
            out = self(*self._merged(fixed, primals))
            parts = [r(t, out, *primals) for r, t in zip(rules, tangents, strict=True) if r is not None]
            return out, functools.reduce(G.add, parts) if parts else G.zeros_like(out)

        self.rule = rule

    def _merged(self, fixed: Sequence[Any], primals: Sequence[Any]) -> list[Any]:
        out = list(primals)
        for k, x in zip(self.nondiff, fixed, strict=True):
            out.insert(k, x)
        return out

    def __call__(self, *args: Any) -> Any:
        """The value of the function."""
        if self.rule is None:
            raise GradientError(f"custom_jvp: {self.fun.__name__} has no rule, call defjvp first",
                                code="gradient.custom")  # fmt: skip
        given = _Split(tuple(a for k, a in enumerate(args) if k not in self.nondiff))
        if not tracked(given.tensors):
            return self.fun(*args)
        with quiet():
            out = self.fun(*args)
        raws, tree = flatten(out)
        fixed = tuple(Static(args[k]) for k in self.nondiff)
        rule = _Jvp(self.rule, fixed, given.key, avals_of(raws))
        return unflatten(tree, attach(rule, given.tensors, (), raws))
