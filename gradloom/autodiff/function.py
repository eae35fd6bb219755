"""``autograd.Function``: PyTorch's way to write a derivative of one's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gradloom import functions as G
from gradloom.autodiff.custom import Rule, Static, _shaped, _Split, attach, avals_of, tracked
from gradloom.autodiff.levels import Level, pull, quiet
from gradloom.entries import Value
from gradloom.errors import GradientError
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx:
    """What ``forward`` hands to ``backward``: saved tensors, and any attribute that is set on it.

    Attributes
    ----------
    saved_tensors: what ``save_for_backward`` was given. needs_input_grad: a bool for each argument of ``apply``.
    """

    saved_tensors: tuple[Tensor | None, ...] = ()
    needs_input_grad: tuple[bool, ...] = ()
    _ctx: dict[str, Any]

    def __init__(self) -> None:
        self.__dict__["_ctx"] = {"saved": (), "dead": (), "dirty": (), "fill": True}

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (arguments, outputs, or others) for ``backward``."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise GradientError(
                    f"save_for_backward takes tensors, got {type(t).__name__}", code="gradient.custom",
                    hint="set an attribute of ctx for what is no tensor",
                )  # fmt: skip
        self._ctx["saved"] = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for ``jvp``: the same as ``save_for_backward``."""
        self.save_for_backward(*tensors)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Outputs without a derivative."""
        self._ctx["dead"] = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether cotangents that nobody gave come as zeros (the default) or as None."""
        self._ctx["fill"] = bool(value)

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Arguments that ``forward`` writes to in place, and returns."""
        self._ctx["dirty"] = tensors


class _Rule(Rule):
    """The backward of a Function. args, gives: which arguments and outputs are tensors; state: ctx's, taken apart."""

    def __init__(
        self, cls: type[Function], args: tuple[bool, ...], needs: tuple[bool, ...], state: tuple,
        holes: tuple[bool, ...], fill: bool, gives: tuple[bool, ...], outs: tuple[Aval, ...],
    ) -> None:  # fmt: skip
        self.cls, self.args, self.needs, self.state, self.holes = cls, args, needs, state, holes
        self.fill, self.gives, self.outs = fill, gives, outs
        self.saves = bool(holes)

    def _key(self) -> tuple:
        return (self.cls, self.args, self.needs, self.state, self.holes, self.fill, self.gives, self.outs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rule) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.cls, self.args, self.outs))

    def _ctx(self, saved: list[Tensor]) -> FunctionCtx:
        ctx = FunctionCtx()
        n = self.holes.count(False)
        it = iter(saved[:n])
        ctx.__dict__.update(_Split.joined(self.state, saved[n:]))
        ctx.saved_tensors = tuple(None if h else next(it) for h in self.holes)
        ctx.needs_input_grad = self.needs
        return ctx

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        ctx = self._ctx(saved)
        if self.cls.backward is Function.backward and self.cls.vjp is Function.vjp:
            return self._transposed(ctx, cts, inputs)
        found = iter(self.filled(cts) if self.fill else cts)
        given = [next(found) if is_tensor else None for is_tensor in self.gives]
        rule = self.cls.vjp if self.cls.backward is Function.backward else self.cls.backward
        got = rule(ctx, *given)
        grads = list(got) if isinstance(got, (tuple, list)) else [got]
        name = self.cls.__name__
        if len(grads) < len(self.args) or any(g is not None for g in grads[len(self.args) :]):
            raise GradientError(
                f"{name}.backward returned {len(grads)} gradients, expected {len(self.args)}", code="gradient.custom",
                hint="one for each argument of forward, None for what is no tensor",
            )  # fmt: skip
        mine = [g for g, is_tensor in zip(grads, self.args, strict=False) if is_tensor]
        return [_shaped(f"{name}.backward", g, x) for g, x in zip(mine, inputs, strict=True)]

    def _transposed(self, ctx: FunctionCtx, cts: list[Tensor | None], inputs: list[Tensor]) -> Sequence[Tensor | None]:
        if self.cls.jvp is Function.jvp:
            raise GradientError(f"{self.cls.__name__} has no backward", code="gradient.none")
        at = [k for k, x in enumerate(inputs) if x.dtype.category >= 2]
        dots = [G.zeros_like(x) for x in inputs]
        with Level([dots[k] for k in at]) as level:
            for k, t in zip(at, level.tensors, strict=True):
                dots[k] = t
            it = iter(dots)
            got = self.cls.jvp(ctx, *(next(it) if is_tensor else None for is_tensor in self.args))
            every = list(got) if isinstance(got, (tuple, list)) else [got]
            tangents = [t for t, is_tensor in zip(every, self.gives, strict=True) if is_tensor]
            pairs = [(t, c) for t, c in zip(tangents, self.filled(cts), strict=True) if t is not None]
            found = pull([t for t, _ in pairs], [c for _, c in pairs], level.tensors)
        out: list[Tensor | None] = [None] * len(inputs)
        for k, g in zip(at, found, strict=True):
            out[k] = g
        return out


class Function:
    """A function with a derivative of its own, used by ``MyFunction.apply(*args)``.

    A subclass has static methods ``forward(ctx, *args)``, or ``forward(*args)`` and ``setup_context(ctx, inputs,
    output)``, and ``backward(ctx, *cotangents)``, which gives a gradient, or None, for each argument, and gets None
    for each output that is no tensor. A ``jvp(ctx,
    *tangents)`` alone does as well. Where ``backward`` is made of differentiable operations it is differentiated again
    for higher orders. Under ``vmap`` the class's own ``vmap(info, in_dims, *args)`` computes the values; without one
    ``forward`` and ``backward`` are recorded on single elements.
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The values."""
        raise NotImplementedError("a Function needs a static method forward")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save what ``backward`` needs, where ``forward`` takes no ctx."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Cotangents of the arguments for those of the outputs."""
        raise NotImplementedError("a Function needs a static method backward to be differentiated")

    @staticmethod
    def vjp(ctx: Any, *grad_outputs: Any) -> Any:
        """Another name for ``backward``."""
        raise NotImplementedError("a Function needs a static method backward to be differentiated")

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Tangents of the outputs for those of the arguments."""
        raise NotImplementedError("a Function needs a static method jvp or backward to be differentiated")

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """``(outputs, out_dims)`` for arguments with batch axes at ``in_dims``."""
        raise NotImplementedError

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """The outputs, with the derivative of ``backward``."""
        apart = cls.setup_context is not Function.setup_context
        if apart:  # it sees all arguments of forward
            count, defaults = cls.forward.__code__.co_argcount, cls.forward.__defaults__ or ()
            if len(args) < count <= len(args) + len(defaults):
                args += defaults[len(args) - count :]
        tensors = [a for a in args if isinstance(a, Tensor)]
        ctx = FunctionCtx()
        ctx.needs_input_grad = needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        given = [_chain(t) for t in tensors]
        with quiet():
            out = cls.forward(*args) if apart else cls.forward(ctx, *args)
            if cls.vmap is not Function.vmap and any(t._v.entry is not None and t._v.entry.abstract for t in tensors):
                out = _opaque_outputs(cls, args, out)
            if apart:
                cls.setup_context(ctx, args, out)
        many = isinstance(out, (tuple, list))
        outs = list(out) if many else [out]
        at = [k for k, o in enumerate(outs) if isinstance(o, Tensor)]
        raws = [outs[k] for k in at]
        dirty = ctx._ctx["dirty"]
        if dirty:
            tensors = _before(cls.__name__, dirty, raws, tensors, given)
        if tracked(tensors):
            made = cls._attached(ctx, args, tensors, needs, outs, raws)
            for k, t in zip(at, made, strict=True):
                outs[k] = outs[k]._write(t) if any(outs[k] is d for d in dirty) else t
        if many:
            return type(out)(*outs) if hasattr(out, "_fields") else type(out)(outs)
        return outs[0]

    @classmethod
    def _attached(
        cls, ctx: FunctionCtx, args: tuple, tensors: list[Tensor], needs: tuple[bool, ...], outs: list[Any],
        raws: list[Tensor],
    ) -> list[Tensor]:  # fmt: skip
        notes = ctx._ctx
        saved = [t for t in notes["saved"] if t is not None]
        attributes = {k: v for k, v in ctx.__dict__.items() if k not in ("_ctx", "needs_input_grad", "saved_tensors")}
        state = _Split(attributes)
        dead = {id(t) for t in notes["dead"]}
        rule = _Rule(
            cls, tuple(isinstance(a, Tensor) for a in args), needs, state.key,
            tuple(t is None for t in notes["saved"]), notes["fill"], tuple(isinstance(o, Tensor) for o in outs),
            avals_of(raws),
        )  # fmt: skip
        skip = [k for k, r in enumerate(raws) if id(r) in dead]
        return attach(rule, tensors, [*saved, *state.tensors], raws, skip)


def _before(
    name: str, dirty: Sequence[Tensor], outs: Sequence[Tensor], tensors: Sequence[Tensor],
    given: Sequence[list[Value]],
) -> list[Tensor]:  # fmt: skip
    """The arguments as they were before ``forward`` wrote to some of them. Raises GradientError where it must not."""
    out = []
    for t, values in zip(tensors, given, strict=True):
        if all(t is not d for d in dirty):
            out.append(t)
            continue
        if MODES.grad and (t._rg or (t._base is not None and t._base._rg)):
            raise GradientError(
                f"{name}: a leaf tensor that requires grad, or a view of one, cannot be changed in place",
                code="gradient.inplace", hint="pass x.clone()",
            )  # fmt: skip
        if all(t is not o for o in outs):
            raise GradientError(
                f"{name}: a tensor that was marked dirty is not among the outputs", code="gradient.dirty",
                hint="forward returns the arguments that it writes to",
            )  # fmt: skip
        out.append(TAPE.make_tensor(values[0]))
        base, rest = t._base, values[1:]
        while base is not None:  # what lies beside the view keeps its history
            base._v, base = rest.pop(0), base._base
    return out


def _chain(t: Tensor) -> list[Value]:
    """The values of a tensor, and of what it is a view of."""
    values = [t._v]
    while t._base is not None:
        t = t._base
        values.append(t._v)
    return values


class VmapInfo(NamedTuple):
    """What a Function's ``vmap`` is told."""

    batch_size: int
    randomness: str


def _unknown(arrays: Any, attrs: tuple, aval: Aval) -> Any:
    raise AssertionError("an output of a Function under vmap has no value of its own")


_opaque = Primitive("custom_opaque", _unknown, lambda avals, attrs: attrs[3])
"""An output of a Function that says itself what it does to batches. attrs: (class, other arguments, number, aval)."""


def _opaque_outputs(cls: type[Function], args: tuple, out: Any) -> Any:
    """The outputs on placeholders as steps that ``cls.vmap`` does for whole batches."""
    many = isinstance(out, (tuple, list))
    given = _Split(args)
    made = [
        TAPE.apply(_opaque, given.tensors, (cls, Static(given.key), k, o._v.aval)) if isinstance(o, Tensor) else o
        for k, o in enumerate(out if many else [out])
    ]
    return type(out)(made) if many else made[0]


def _opaque_batch(args: Any, flags: tuple[bool, ...], attrs: tuple, avals: Any, n: int) -> Tensor:
    cls, key, number, _ = attrs
    given = _Split.joined(key.value, args)
    dims = tuple(_Split.joined(key.value, [0 if f else None for f in flags]))
    dims = tuple(d if isinstance(a, Tensor) else None for d, a in zip(dims, given, strict=True))
    outs, places = cls.vmap(VmapInfo(n, "error"), dims, *given)
    many = isinstance(outs, (tuple, list))
    x = outs[number] if many else outs
    place = places[number] if isinstance(places, (tuple, list)) else places
    return G.broadcast_to(x, (n, *x.shape)) if place is None else G.permute(
        x, (place % x.ndim, *(k for k in range(x.ndim) if k != place % x.ndim))
    )  # fmt: skip


_opaque.batch = _opaque_batch


def _once_shape(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return avals[0]


class _Once(Primitive):
    """The first operand; a derivative through it is an error."""

    alias = True


def _twice(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
    raise GradientError(
        f"{attrs[0]} is marked once_differentiable: its gradient has no gradient", code="gradient.once",
        hint="leave the mark away where backward is made of differentiable operations",
    )  # fmt: skip


_once = _Once("once", lambda a, t, v: a[0], _once_shape)
_once.vjp = _twice
_once.batch = lambda args, flags, attrs, avals, n: TAPE.apply(
    _once, [a if f else G.broadcast_to(a, (n, *a.shape)) for a, f in zip(args, flags, strict=True)], attrs
)


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``backward`` whose operations are not to be differentiated again; trying to is an error."""

    @functools.wraps(fn)
    def backward(ctx: Any, *cts: Any) -> Any:
        with quiet():
            got = fn(ctx, *cts)
        many = isinstance(got, (tuple, list))
        sources = [t for t in (*cts, *ctx.saved_tensors) if isinstance(t, Tensor) and t.requires_grad]
        out = [
            TAPE.apply(_once, (g, *sources), (fn.__qualname__,)) if isinstance(g, Tensor) and sources else g
            for g in (got if many else [got])
        ]
        return tuple(out) if many else out[0]

    return backward
