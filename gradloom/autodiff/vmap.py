"""``vmap``: a function of single elements as a function of batches.

The function is recorded once, on placeholders with the shape of one element. What it recorded is then done again
step by step on whole batches (:mod:`gradloom.ops.batching`), and only that becomes part of the program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.autodiff.levels import PLACEHOLDER, placeholder
from gradloom.autodiff.trees import flatten, spread, unflatten
from gradloom.entries import LEAF, Entry
from gradloom.errors import GradientError, IndexRangeError, ShapeError
from gradloom.graph.node import Aval
from gradloom.ops import structure as S
from gradloom.ops.batching import apply_batched, batched, draw_batched, is_random
from gradloom.random import default_generator
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor

__all__ = ["Trace", "settled", "vmap"]


class Trace:
    """A function recorded on placeholders: what went in, what came out, and the steps between.

    The round stays open meanwhile. Looking at a value is refused where it hangs on a placeholder.
    """

    def __init__(self, avals: Sequence[Aval], flags: Sequence[bool]) -> None:
        with TAPE.lock:
            TAPE.room()
            if not TAPE.traces and any(
                t is not None and t._rg and t._v.entry is not None and t._v.entry.prim is not LEAF for t in TAPE.tensors
            ):
                TAPE.flush()  # a parameter rewritten in this round must become an input first
        self.avals, self.flags = avals, flags

    def __enter__(self) -> Trace:
        TAPE.traces += 1
        self.ins = [placeholder(a, f) for a, f in zip(self.avals, self.flags, strict=True)]
        self.before = TAPE.pos
        self.after: Entry | None = None
        return self

    def __exit__(self, *exc: object) -> None:
        TAPE.traces -= 1
        if self.after is None:
            self.after = TAPE.pos

    def steps(self) -> list[Entry]:
        """What was recorded, in order."""
        path: list[Entry] = []
        e = self.after
        while e is not None and e is not self.before:
            path.append(e)
            e = e.parent
        return path[::-1]


def settled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Close the round first where the function reads a parameter that was written in it, a new layer's for example."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except GradientError as error:
            if error.code != "transform.flush" or TAPE.traces:
                raise
        TAPE.flush()
        return fn(*args, **kwargs)

    return call


class _Map:
    """Stands for the primitive of ``vmap``."""

    vjp = None
    name = "vmap"


_MAP = _Map()
RANDOMNESS = ("error", "different", "same")


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """A function that applies ``func`` to each element of its arguments' batch axes, all at once.

    Parameters
    ----------
    func: of tensors or trees of them, giving tensors or trees of them. Keyword arguments are not mapped over.
    in_dims: the batch axis of each argument, None for one that every element shares: a number for all, or a tree that
        is the beginning of the arguments' structure.
    out_dims: where the batch axis of each output stands, likewise; None: the output is the same for all elements.
    randomness: what drawing random numbers does: ``"error"`` is refused, ``"different"`` numbers for each element, or
        the ``"same"``.
    chunk_size: how many elements are done at once (all by default): less memory, more programs.

    Raises
    ------
    GradientError: where the function looks at a batched value, returns something else than tensors, or draws random
    numbers although they are refused. ShapeError: for batch axes of different sizes. IndexRangeError: for an axis that
    an argument lacks.
    """
    if randomness not in RANDOMNESS:
        raise ValueError(f"vmap: randomness must be one of {', '.join(RANDOMNESS)}, got {randomness!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size must be positive, got {chunk_size}")

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten(args)
        dims = _in_dims(in_dims, leaves, tree)
        n = _size(leaves, dims)
        if chunk_size is None or chunk_size >= n:
            return _map(func, leaves, tree, dims, n, out_dims, randomness, kwargs)
        return _chunks(func, leaves, tree, dims, n, out_dims, randomness, kwargs, chunk_size)

    return call


def _in_dims(in_dims: Any, leaves: Sequence[Any], tree: Any) -> list[int | None]:
    """The batch axis of each leaf, counted from the front."""
    if isinstance(in_dims, list):
        in_dims = tuple(in_dims)
    if not isinstance(in_dims, (int, tuple)):
        raise ShapeError(
            f"vmap: in_dims must be a number or a tuple of the arguments' structure, got {in_dims!r}",
            code="transform.tree",
        )
    out: list[int | None] = []
    for x, d in zip(leaves, spread("vmap: in_dims", in_dims, tree), strict=True):
        if d is None:
            out.append(None)
            continue
        if not isinstance(x, Tensor):
            raise ShapeError(
                f"vmap: in_dims is {d} for an argument of type {type(x).__name__}", code="transform.axis",
                hint="give None for what is no tensor, or make it a tensor",
            )  # fmt: skip
        if not -x.ndim <= d < x.ndim:
            raise IndexRangeError(
                f"vmap: in_dims is {d} for a tensor of {x.ndim} dimensions", code="transform.axis",
                hint="give None for what all elements share",
            )  # fmt: skip
        out.append(d % x.ndim)
    return out


def _size(leaves: Sequence[Any], dims: Sequence[int | None]) -> int:
    sizes = {x.shape[d] for x, d in zip(leaves, dims, strict=True) if d is not None}
    if not sizes:
        raise ShapeError("vmap: at least one argument must have a batch axis, all in_dims are None", code="shape.batch")
    if len(sizes) > 1:
        raise ShapeError(f"vmap: the batch axes have different sizes {sorted(sizes)}", code="shape.batch")
    return sizes.pop()


def _moved(x: Tensor, frm: int, to: int) -> Tensor:
    """An axis moved to another place."""
    order = [k for k in range(x.ndim) if k != frm]
    order.insert(to, frm)
    return G.permute(x, order)


@settled
def _map(
    func: Callable[..., Any], leaves: Sequence[Any], tree: Any, dims: Sequence[int | None], n: int, out_dims: Any,
    randomness: str, kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    given = [_moved(x, d, 0) for x, d in zip(leaves, dims, strict=True) if d is not None]
    trace = Trace([Aval(tuple(x.shape[1:]), x._v.aval.dtype) for x in given], [x.requires_grad for x in given])
    with TAPE.lock:
        TAPE.entries_of(given)
        with trace:
            it = iter(trace.ins)
            inner = [x if d is None else next(it) for x, d in zip(leaves, dims, strict=True)]
            outs, out_tree = flatten(func(*unflatten(tree, inner), **kwargs))
            trace.after = TAPE.pos
            for o in outs:
                if not isinstance(o, Tensor):
                    raise GradientError(
                        f"vmap: the function must return tensors, got {type(o).__name__}", code="transform.output"
                    )
            places = spread("vmap: out_dims", tuple(out_dims) if isinstance(out_dims, list) else out_dims, out_tree)
            static = (n, tuple(places), randomness)
            # still within, for a long round must not be closed now: it would lose what was recorded
            got = TAPE.macro(_MAP, [*given, *outs], static, lambda: _replay(trace, given, outs, places, n, randomness))
    return unflatten(out_tree, got)


def _replay(
    trace: Trace, given: Sequence[Tensor], outs: Sequence[Tensor], places: Sequence[int | None], n: int, randomness: str
) -> list[Tensor]:
    steps = trace.steps()
    ours = {id(p._v.entry) for p in trace.ins}
    foreign: set[int] = set()  # hangs on placeholders of functions recorded meanwhile
    needed = {id(o._v.entry) for o in outs}
    hanging = set(ours)
    for e in steps:
        if e.aval is None:
            continue
        if e.prim is PLACEHOLDER or any(id(i) in foreign for i in e.ins):
            foreign.add(id(e))
        elif is_random(e.prim):
            if randomness == "error":
                raise GradientError(
                    "vmap: the function draws random numbers", code="transform.random",
                    hint='say randomness="different" (for each element) or "same"',
                )  # fmt: skip
            if randomness == "different":
                hanging.add(id(e))
        if id(e) not in foreign and any(id(i) in hanging for i in e.ins):
            hanging.add(id(e))
            if getattr(e.prim, "is_check", False):
                needed.add(id(e))
    for e in reversed(steps):
        if id(e) in needed:
            needed.update(map(id, e.ins))
    known: dict[int, Tensor] = {id(p._v.entry): x for p, x in zip(trace.ins, given, strict=True)}
    mode = MODES.grad
    try:
        for e in steps:
            if id(e) in needed and id(e) in hanging:
                MODES.grad = e.grad_mode
                known[id(e)] = _step(e, known, n, randomness)
    finally:
        MODES.grad = mode
    return [_out(o, known, d, n) for o, d in zip(outs, places, strict=True)]


def _step(e: Entry, known: dict[int, Tensor], n: int, randomness: str) -> Tensor:
    """One step for all elements."""
    flags = tuple(id(i) in known for i in e.ins)
    args = [known[id(i)] if f else TAPE.handle(i) for i, f in zip(e.ins, flags, strict=True)]
    if getattr(e.prim, "is_check", False):
        flag = G.reduce(S.any_, args[0], None, False, args[0].dtype) if flags[0] else args[0]
        return TAPE.apply(e.prim, (flag, args[1]), e.attrs)
    if randomness == "different" and is_random(e.prim):
        return draw_batched(e.prim, args, flags, e.attrs, n)
    avals = [i.aval for i in e.ins]
    out = apply_batched(e.prim, args, flags, e.attrs, avals, e.aval, n)  # type: ignore[arg-type]
    assert e.aval is not None
    if tuple(out.shape) != (n, *e.aval.shape):
        raise ShapeError(
            f"the batching rule of {e.prim.name} gave {tuple(out.shape)} for {n} elements of shape {e.aval.shape}",
            code="internal.batching",
        )
    return out


def _out(o: Tensor, known: dict[int, Tensor], place: int | None, n: int) -> Tensor:
    x = known.get(id(o._v.entry))
    if place is None:
        if x is not None:
            raise ShapeError(
                "vmap: out_dims is None for an output that differs between the elements", code="transform.axis",
                hint="say where its batch axis shall stand, 0 for the front",
            )  # fmt: skip
        return o
    if not -o.ndim - 1 <= place <= o.ndim:
        raise IndexRangeError(f"vmap: out_dims is {place} for an output of {o.ndim + 1} dimensions with its batch axis")
    if x is None:
        x = G.broadcast_to(o, (n, *o.shape))
    return _moved(x, 0, place % (o.ndim + 1))


def _chunks(
    func: Callable[..., Any], leaves: Sequence[Any], tree: Any, dims: Sequence[int | None], n: int, out_dims: Any,
    randomness: str, kwargs: dict[str, Any], size: int,
) -> Any:  # fmt: skip
    state = default_generator.get_state()
    parts = []
    for at in range(0, n, size):
        if randomness == "same":
            default_generator.set_state(state)
        m = min(size, n - at)
        cut = [x if d is None else G.narrow(x, d, at, m) for x, d in zip(leaves, dims, strict=True)]
        parts.append(flatten(_map(func, cut, tree, dims, m, out_dims, randomness, kwargs)))
    out_tree = parts[0][1]
    places = spread("vmap: out_dims", tuple(out_dims) if isinstance(out_dims, list) else out_dims, out_tree)
    joined = [xs[0] if d is None else G.cat(xs, d) for xs, d in zip(zip(*(p[0] for p in parts), strict=True), places)]
    return unflatten(out_tree, joined)


def map_rule(rule: Callable[..., Any], ct: Any, out: Any, ins: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    """A reverse rule over a batch; cotangents of operands without a batch axis come with one, to be summed."""
    holes: list[bool] = []

    def one(ct: Any, out: Any, *xs: Any) -> Any:
        parts = rule(ct, out, xs)
        holes[:] = [p is None for p in parts]
        return tuple(p for p in parts if p is not None)

    got = iter(vmap(one, (0, 0, *(0 if f else None for f in flags)))(ct, out, *ins))
    return [None if h else next(got) for h in holes]


def _batched_vjp(ct: Any, out: Any, ins: Any, attrs: tuple) -> Any:
    prim, flags, inner = attrs[:3]
    return map_rule(lambda c, o, xs: prim.vjp(c, o, xs, inner), ct, out, ins, flags)


batched.vjp = _batched_vjp
