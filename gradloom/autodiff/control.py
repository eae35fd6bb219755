"""Loops and branches as parts of a program: scan, cond, while_loop, fori_loop, map and associative_scan.

The body is recorded once and compiled once, whatever the number of steps, and a scan is one native loop. scan and cond
have derivatives of every order: a scan keeps its carries and goes back over them (:mod:`gradloom.autodiff.loops`). A
while_loop has those of forward mode (:mod:`gradloom.autodiff.whiles`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.autodiff.bodies import STRIDE, Body, draws, record, refuse_draws
from gradloom.autodiff.custom import Rule, attach, tracked
from gradloom.autodiff.levels import Level, pull, quiet
from gradloom.autodiff.loops import Back, Names, Parts, adding, by_rule, hoisted, part
from gradloom.autodiff.trees import flatten, unflatten
from gradloom.autodiff.vmap import Trace, settled, vmap
from gradloom.autodiff.whiles import WhileRule
from gradloom.errors import DTypeError, GradientError, ShapeError
from gradloom.graph.node import Aval
from gradloom.ops import control as C
from gradloom.ops.core import REGISTRY
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor, as_tensor

__all__ = ["associative_scan", "cond", "fori_loop", "map", "scan", "while_loop"]


def _leaves(tree: Any) -> tuple[list[Tensor], Any]:
    """The leaves as tensors whose dtype no longer yields to others."""
    leaves, shape = flatten(tree)
    out = []
    for x in leaves:
        t = x if isinstance(x, Tensor) else as_tensor(x)
        out.append(G.cast(t, t.dtype) if t._v.aval.weak else t)
    return out, shape


def _aval(t: Tensor) -> Aval:
    return Aval(tuple(t.shape), t.dtype)


def _avals(tensors: Sequence[Tensor]) -> list[Aval]:
    return [_aval(t) for t in tensors]


def _result(what: str, out: Any, want: Sequence[Aval] | None, tree: Any = None) -> list[Tensor]:
    """The leaves of a body's result, held to the avals that it must have."""
    leaves, shape = flatten(out)
    for x in leaves:
        if not isinstance(x, Tensor):
            raise GradientError(f"{what} must return tensors, got {type(x).__name__}", code="transform.output")
    if want is None:
        return leaves
    if (tree is not None and shape != tree) or len(leaves) != len(want):
        raise ShapeError(f"{what} has another structure than it began with", code="shape.carry")
    for k, (x, a) in enumerate(zip(leaves, want, strict=True)):
        if x._v.aval.weak and x.dtype.category <= a.dtype.category:
            leaves[k] = x = G.cast(x, a.dtype)
        if tuple(x.shape) != a.shape:
            raise ShapeError(f"{what} has shape {tuple(x.shape)}, it began with {a.shape}", code="shape.carry",
                             hint="every step must keep shapes and dtypes")  # fmt: skip
        if x.dtype is not a.dtype:
            raise DTypeError(f"{what} has dtype {x.dtype.name}, it began with {a.dtype.name}", code="dtype.carry",
                             hint="convert the first value or the result with .to(dtype)")  # fmt: skip
    return leaves


def _unpacked(packed: Tensor, avals: Sequence[Aval]) -> list[Tensor]:
    return [TAPE.apply(C.unpack, (packed,), (start, a)) for start, a in zip(C.places(avals)[0], avals, strict=True)]


def _floating(tensors: Sequence[Tensor]) -> list[int]:
    return [k for k, t in enumerate(tensors) if t.dtype.category >= 2]


def _gradients(body: Body, args: Sequence[Tensor], cts: Sequence[Tensor | None], at: Sequence[int]) -> list[Tensor]:
    """Cotangents of the arguments ``at`` of a body for those of its outputs (None for those without one)."""
    given = list(args)
    with Level([given[k] for k in at]) as level:
        for k, t in zip(at, level.tensors, strict=True):
            given[k] = t
        pairs = [(o, c) for o, c in zip(body.call(given), cts, strict=True) if c is not None]
        found = pull([o for o, _ in pairs], [c for _, c in pairs], level.tensors)
    return [G.zeros_like(args[k]) if g is None else g for g, k in zip(found, at, strict=True)]


# -- scan -------------------------------------------------------------------------------------------
@settled
def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Carry a state along a sequence: ``carry, y = f(carry, x)`` for each ``x``.

    Parameters
    ----------
    f: keeps the structure, shapes and dtypes of the carry; ``y`` is a tree of tensors or None.
    init: the first carry, a tree. xs: tensors of one length on their first axis, a tree; None: only ``length`` counts.
    reverse: from the last ``x`` to the first.

    Returns
    -------
    ``(last carry, ys)``, the ``ys`` stacked along a new first axis in the order of ``xs``.

    Raises
    ------
    ShapeError, DTypeError: where sequences or carries do not fit.
    """
    carry, carry_tree = _leaves(init)
    seqs, seq_tree = _leaves(xs)
    n = _length(seqs, length)
    avals = [*_avals(carry), *(Aval(tuple(x.shape[1:]), x.dtype) for x in seqs), Aval((), dtypes.int64)]
    nc, nx = len(carry), len(seqs)
    trace = Trace(avals, [*(t.requires_grad for t in (*carry, *seqs)), False])
    with TAPE.lock:
        TAPE.entries_of([*carry, *seqs])
        with trace:
            got = f(unflatten(carry_tree, trace.ins[:nc]), unflatten(seq_tree, trace.ins[nc : nc + nx]))
            if not isinstance(got, (tuple, list)) or len(got) != 2:
                raise GradientError("scan: the function must return a pair (carry, y)", code="transform.output")
            new = _result("scan: the carry", got[0], avals[:nc], carry_tree)
            ys, y_tree = _result("scan: y", got[1], None), flatten(got[1])[1]
        if draws(trace):
            body, captured = record(trace, [*new, *ys], nc + nx)
            seqs = [*seqs, G.mul(G.arange(n), G.const(STRIDE))]
        else:
            trace.ins = trace.ins[:-1]
            body, captured = record(trace, [*new, *ys])
        checks, count = body.checks, len(body.outputs)
        if checks:  # the flags of all steps are looked at after the loop
            body = Body.of(body.inputs, body.steps, [*body.outputs, *(c[0] for c in checks)], ())
        out = _scan(body, carry, seqs, captured, n, bool(reverse))
        for flags, (_, attrs) in zip(out[count:], checks, strict=True):
            TAPE.apply(_CHECK, (G.any(flags), flags), (*attrs[:3], f"{attrs[3]} in a loop", None, None))
        out = out[:count]
    return unflatten(carry_tree, out[:nc]), unflatten(y_tree, out[nc:])


_CHECK = REGISTRY["check"]


def _length(seqs: Sequence[Tensor], length: int | None) -> int:
    for x in seqs:
        if not x.ndim:
            raise ShapeError("scan: a sequence needs a first axis, got a 0-d tensor", code="shape.scan")
    sizes = {x.shape[0] for x in seqs} | ({int(length)} if length is not None else set())
    if len(sizes) != 1:
        what = f"the sequences have lengths {sorted(sizes)}" if sizes else "neither xs nor length is given"
        raise ShapeError(f"scan: {what}", code="shape.scan", hint="give sequences of one length, or length=")
    return sizes.pop()


def _scan(
    body: Body, carry: list[Tensor], seqs: list[Tensor], captured: list[Tensor], n: int, reverse: bool
) -> list[Tensor]:
    """The last carries, and the rest of the body's outputs stacked."""
    nc = len(carry)
    if n == 0:
        return [*carry, *(G.zeros((0, *a.shape), dtype=a.dtype) for a in body.avals[nc:])]
    body, seqs, captured = hoisted(body, nc, seqs, captured)
    inputs = [*carry, *seqs, *captured]
    if not tracked(inputs):
        return _scan_values(body, carry, seqs, captured, n, reverse)[0]
    count = len(body.outputs)
    body, more = _keeping(body, _floating(inputs))
    inputs = [*inputs, *more]
    with quiet():
        out, trails = _scan_values(body, carry, seqs, [*captured, *more], n, reverse, range(nc))
    raws = [*out, *trails]
    rule = _ScanRule(body, nc, len(seqs), n, reverse, tuple(_avals(raws)))
    return attach(rule, inputs, [*trails, *out[nc:]], raws)[:count]


def _keeping(body: Body, at: Sequence[int]) -> tuple[Body, list[Tensor]]:
    """The body with what its way back needs among the outputs, and what it captures more."""
    found = body.derived.get(("keeping", MODES.grad, *at))
    if found is not None:
        return found, []
    outs = [k for k, a in enumerate(body.avals) if a.dtype.category >= 2]
    back, more = _reverse(body, outs, at)
    base, m = len(body.inputs), len(body.outputs)
    given = [*range(base), *range(base + len(outs), len(back.inputs))]
    kept: list[int] = []
    if not by_rule(back):
        fixed = set(given[base:])
        kept = Parts(back, base, base + len(outs), fixed).wanted(back.outputs[m:])
    made = part(back, given, [*back.outputs[:m], *kept])
    if not more:
        body.derived["keeping", MODES.grad, *at] = made
    return made, more


def _reverse(body: Body, outs: Sequence[int], at: Sequence[int]) -> tuple[Body, list[Tensor]]:
    """The reverse pass of a body, and what it captures.

    From the body's inputs and the cotangents of outputs ``outs`` to its outputs and the cotangents of inputs ``at``.
    """
    key = ("reverse", tuple(outs), tuple(at), MODES.grad, MODES.autocast is None)
    if key in body.derived:
        return body.derived[key], []
    base = len(body.inputs)
    avals = [*body.inputs, *(body.avals[k] for k in outs)]
    trace = Trace(avals, [a.dtype.category >= 2 for a in avals])
    with trace:
        given = list(trace.ins[:base])
        with Level([given[k] for k in at]) as level:
            for k, t in zip(at, level.tensors, strict=True):
                given[k] = t
            values = body.call(given)
            found = pull([values[k] for k in outs], trace.ins[base:], level.tensors)
        grads = [G.zeros_like(trace.ins[k]) if g is None else g for g, k in zip(found, at, strict=True)]
    back, more = record(trace, [*values, *grads])
    if not more:
        body.derived[key] = back
    return back, more


def _scan_values(
    body: Body, carry: list[Tensor], seqs: list[Tensor], captured: list[Tensor], n: int, reverse: bool,
    keep: Sequence[int] = (),
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """The results, and for each carry of ``keep`` what its steps began with, stacked.

    An output that is a carry too is not written twice: all carries in a row hold both.
    """
    nc = len(carry)
    twice = [body.outputs.index(o) if o in body.outputs[:nc] else -1 for o in body.outputs[nc:]]
    kept = tuple(k in keep or k in twice for k in range(nc))
    short = Body.of(body.inputs, body.steps, [*body.outputs[:nc], *_without(body.outputs[nc:], twice)], body.checks)
    rows = [n + 1 if f else 0 for f in kept] + [n] * (len(short.outputs) - nc)
    avals = tuple(Aval((r, *a.shape), a.dtype) if r else a for r, a in zip(rows, short.avals, strict=True))
    attrs = (short, nc, len(seqs), n, reverse, avals, (), kept)
    got = _unpacked(TAPE.apply(C.scan, [*carry, *seqs, *captured], attrs), avals)
    ys = iter(got[nc:])
    before, after, last = (1, 0, 0) if reverse else (0, 1, n)
    out = [x[last] if f else x for x, f in zip(got, kept, strict=False)]
    out += [G.narrow(got[k], 0, after, n) if k >= 0 else next(ys) for k in twice]
    return out, [G.narrow(got[k], 0, before, n) for k in keep]


def _without(outputs: Sequence[int], twice: Sequence[int]) -> list[int]:
    return [o for o, k in zip(outputs, twice, strict=True) if k < 0]


class _ScanRule(Rule):
    """Back over a scan. Its last outputs are the floating carries that each step began with; they are saved."""

    def __init__(self, body: Body, nc: int, nx: int, length: int, reverse: bool, outs: tuple[Aval, ...]) -> None:
        self.body, self.nc, self.nx, self.length, self.reverse, self.outs = body, nc, nx, length, reverse, outs

    def _key(self) -> tuple:
        return (self.body, self.nc, self.nx, self.length, self.reverse)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ScanRule) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        nc, nx, m, base = self.nc, self.nx, len(self.body.outputs), len(inputs)
        at = _floating(inputs)
        carried = [k for k in at if k < nc]
        rows = [k for k in range(nc, m) if self.outs[k].dtype.category >= 2 and cts[k] is not None]
        outs = [*carried, *rows]
        back, more = _reverse(self.body, outs, at)
        fixed = [*range(nc + nx, base), *range(base + len(outs), len(back.inputs))]
        constants = [*inputs[nc + nx :], *more]
        grads = dict(zip(at, back.outputs[m:], strict=True))
        of_rows, of_fixed = ([k for k in at if nc <= k < nc + nx], [k for k in at if k >= nc + nx])
        states = [base + j for j in range(len(carried))]
        stacks = dict(enumerate([*saved[:nc], *inputs[nc : nc + nx]]))
        stacks |= {base + len(carried) + j: cts[k] for j, k in enumerate(rows)}  # type: ignore[misc]
        ends, others, sums = ([grads[k] for k in ks] for ks in (carried, of_rows, of_fixed))
        filled = self.filled(cts)
        begin = [filled[k] for k in carried]
        way = None
        if by_rule(back):  # gradients of captured values are summed up step by step
            walked = list(stacks)
            loop = part(back, [*states, *walked, *fixed], [*ends, *sums, *others])
            loop = adding(loop, len(ends), range(len(ends), len(ends) + len(sums)))
            begin += [G.zeros_like(inputs[k]) for k in of_fixed]
        else:
            stacks |= self._kept(back, saved[nc:])
            parts = Parts(back, base, base + len(outs), set(fixed))
            way = Back(parts, states, stacks, fixed, ends, others, sums)
            loop, walked = way.loop, way.rows
        seqs = [stacks[v] for v in walked]
        trails = [(j, cts[m + k]) for j, k in enumerate(carried)]
        if any(t is not None for _, t in trails):  # somebody used the carries that the steps began with
            loop = adding(loop, len(begin) + len(seqs), [j for j, t in trails if t is not None])
            seqs += [t for _, t in trails if t is not None]
        got = _scan(loop, begin, seqs, constants, self.length, not self.reverse)
        if way is None:
            n = len(ends)
            found = [*got[:n], *got[n + len(sums) :], *got[n : n + len(sums)]]
        else:
            found = [*got[: len(ends)], *way.gradients(got[len(ends) :], constants, self.length)]
        out: list[Tensor | None] = [None] * base
        for k, g in zip((*carried, *of_rows, *of_fixed), found, strict=True):
            out[k] = g
        return out

    def _kept(self, back: Body, kept: Sequence[Tensor]) -> dict[int, Tensor]:
        """Values of the reverse pass that the forward pass has kept, stacked."""
        names = Names()
        inputs = [-1 - k for k in range(len(back.inputs))]
        own = names.of(self.body, inputs[: len(self.body.inputs)])
        known = {own[o]: x for o, x in zip(self.body.outputs[self.nc :], kept, strict=True)}
        every = names.of(back, inputs)
        return {v: known[every[v]] for v in range(len(inputs), len(every)) if every[v] in known}


def _batched_body(body: Body, flags: Sequence[bool], n: int) -> tuple[Body, list[Tensor]]:
    """The body over a batch: every output has the batch axis in front."""
    trace = Trace([Aval((n, *a.shape) if f else a.shape, a.dtype) for a, f in zip(body.inputs, flags, strict=True)],
                  [False] * len(flags))  # fmt: skip
    with trace:
        mapped = vmap(lambda *xs: tuple(body.call(xs)), tuple(0 if f else None for f in flags), randomness="different")
        outs = mapped(*trace.ins) if any(flags) else [G.broadcast_to(o, (n, *o.shape)) for o in body.call(trace.ins)]
    return record(trace, outs)


def _full(x: Tensor, flag: bool, n: int) -> Tensor:
    return x if flag else G.broadcast_to(x, (n, *x.shape))


def _scan_batch(args: Any, flags: tuple[bool, ...], attrs: tuple, avals: Any, n: int) -> Tensor:
    body, nc, nx, length, reverse, outs, lead, keep = attrs
    wide = tuple(k < nc or f for k, f in enumerate(flags))
    big, more = _batched_body(body, wide, n)
    given = [_full(x, f, n) if k < nc else x for k, (x, f) in enumerate(zip(args, flags, strict=True))]
    for k in range(nc, nc + nx):
        if flags[k]:
            given[k] = G.transpose(given[k], 0, 1)
    return TAPE.apply(C.scan, [*given, *more], (big, nc, nx, length, reverse, outs, (n, *lead), keep))


C.scan.batch = _scan_batch


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """``f`` of each element along the first axis, one after the other, the results stacked."""
    return scan(lambda _, x: (None, f(x)), None, xs)[1]


# -- cond -------------------------------------------------------------------------------------------
@settled
def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any) -> Any:
    """``true_fn(*operands)`` where the condition holds, else ``false_fn(*operands)``; only one of them is computed.

    pred: a bool, or a tensor of one element. Both functions give the same structure, shapes and dtypes. Under ``vmap``
    with a batched condition both are computed and chosen from.
    """
    if not isinstance(pred, Tensor):
        return (true_fn if pred else false_fn)(*operands)
    if pred.numel() != 1:
        raise ShapeError(f"cond: the condition has shape {tuple(pred.shape)}, expected one element", code="shape.cond",
                         hint="use where() to choose per element, or vmap")  # fmt: skip
    which = G.reshape(G.cast(pred, dtypes.bool_), ())
    given, tree = _leaves(operands)
    with TAPE.lock:
        TAPE.entries_of([which, *given])
        sides: list[Any] = []
        trees: list[Any] = []
        wants = None
        for fn in (true_fn, false_fn):
            trace = Trace(_avals(given), [x.requires_grad for x in given])
            with trace:
                got = fn(*unflatten(tree, trace.ins))
                outs = _result("cond: the result of the second function", got, wants, trees[0] if trees else None)
                outs = [G.cast(o, o.dtype) if o._v.aval.weak else o for o in outs]
            wants = wants or _avals(outs)
            trees.append(flatten(got)[1])
            sides.append(record(trace, outs))
        bodies = (sides[0][0], sides[1][0])
        inputs = [which, *given, *sides[0][1], *sides[1][1]]
        counts = (len(sides[0][1]), len(sides[1][1]))
        if not tracked(inputs):
            out = _cond_values(bodies, inputs, len(given), counts)
        else:
            with quiet():
                raws = _cond_values(bodies, inputs, len(given), counts)
            out = attach(_CondRule(bodies, len(given), counts, tuple(_avals(raws))), inputs, (), raws)
    return unflatten(trees[0], out)


def _cond_values(
    bodies: tuple[Body, Body], inputs: Sequence[Tensor], operands: int, counts: tuple[int, int]
) -> list[Tensor]:
    avals = tuple(bodies[0].avals)
    return _unpacked(TAPE.apply(C.cond, inputs, (bodies, operands, counts, avals, ())), avals)


class _CondRule(Rule):
    def __init__(
        self, bodies: tuple[Body, Body], operands: int, counts: tuple[int, int], outs: tuple[Aval, ...]
    ) -> None:
        self.bodies, self.operands, self.counts, self.outs = bodies, operands, counts, outs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _CondRule) and (self.bodies, self.operands) == (other.bodies, other.operands)

    def __hash__(self) -> int:
        return hash((self.bodies, self.operands))

    def pull(self, cts: list[Tensor | None], inputs: list[Tensor], saved: list[Tensor]) -> Sequence[Tensor | None]:
        filled = self.filled(cts)
        n = self.operands
        at = [k for k in _floating(inputs) if k > 0]
        own = [
            [*range(1, n + 1), *range(n + 1, n + 1 + self.counts[0])],
            [*range(1, n + 1), *range(n + 1 + self.counts[0], len(inputs))],
        ]

        def side(s: int) -> Callable[..., Any]:
            def run(cts: Any, rest: Any) -> Any:
                mine = [k for k in own[s] if k in at]
                given = [c if o.dtype.category >= 2 else None for c, o in zip(cts, self.outs, strict=True)]
                args = [rest[k - 1] for k in own[s]]
                got = _gradients(self.bodies[s], args, given, [own[s].index(k) for k in mine])
                known = dict(zip(mine, got, strict=True))
                return [known[k] if k in known else G.zeros_like(rest[k - 1]) for k in at]

            return run

        got = cond(inputs[0], side(0), side(1), filled, inputs[1:])
        out: list[Tensor | None] = [None] * len(inputs)
        for k, g in zip(at, got, strict=True):
            out[k] = g
        return out


def _choose(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return G.where(G.reshape(which, (which.shape[0], *(1,) * (a.ndim - 1))), a, b)


def _cond_batch(args: Any, flags: tuple[bool, ...], attrs: tuple, avals: Any, n: int) -> Tensor:
    bodies, operands, counts, outs, lead = attrs
    cut = 1 + operands + counts[0]
    own = [[*range(1, cut)], [*range(1, 1 + operands), *range(cut, len(args))]]
    made = [_batched_body(b, [flags[k] for k in at], n) for b, at in zip(bodies, own, strict=True)]
    if not flags[0]:
        inputs = [*args[:cut], *made[0][1], *args[cut:], *made[1][1]]
        big = (made[0][0], made[1][0])
        more = (counts[0] + len(made[0][1]), counts[1] + len(made[1][1]))
        return TAPE.apply(C.cond, inputs, (big, operands, more, outs, (n, *lead)))
    both = [b.call([*(args[k] for k in at), *rest]) for (b, rest), at in zip(made, own, strict=True)]
    chosen = [_choose(args[0], a, b) for a, b in zip(*both, strict=True)]
    return TAPE.apply(C.pack, chosen, (outs, (n, *lead)))


def _pack_batch(args: Any, flags: tuple[bool, ...], attrs: tuple, avals: Any, n: int) -> Tensor:
    given = [_full(x, f, n) for x, f in zip(args, flags, strict=True)]
    return TAPE.apply(C.pack, given, (attrs[0], (n, *attrs[1])))


C.cond.batch, C.pack.batch = _cond_batch, _pack_batch


# -- while ------------------------------------------------------------------------------------------
@settled
def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any) -> Any:
    """``value = body_fun(value)`` as long as ``cond_fun(value)`` holds, from ``init``, a tree of tensors.

    ``cond_fun`` gives a tensor of one element. The body keeps structure, shapes and dtypes. It has derivatives of any
    order in forward mode (jvp, jacfwd); asking for one in reverse mode raises GradientError.
    """
    carry, tree = _leaves(init)
    avals = _avals(carry)
    with TAPE.lock:
        TAPE.entries_of(carry)
        test = Trace(avals, [False] * len(carry))
        with test:
            flag = cond_fun(unflatten(tree, test.ins))
            if not isinstance(flag, Tensor) or flag.numel() != 1:
                raise ShapeError("while_loop: the condition must give a tensor of one element", code="shape.while")
            flag = G.reshape(G.cast(flag, dtypes.bool_), ())
        refuse_draws(test, "while_loop")
        test_body, own = record(test, [flag])
        step = Trace(avals, [False] * len(carry))
        with step:
            new = _result("while_loop: the value", body_fun(unflatten(tree, step.ins)), avals, tree)
        refuse_draws(step, "while_loop")
        body, rest = record(step, new)
        inputs = [*carry, *own, *rest]
        with quiet():
            attrs = (test_body, body, len(carry), len(own), tuple(avals), ())
            out = _unpacked(TAPE.apply(C.while_, inputs, attrs), avals)
        if tracked(inputs):
            out = attach(WhileRule(test_body, body, len(own), tuple(avals)), inputs, (), out)
    return unflatten(tree, out)


def _while_batch(args: Any, flags: tuple[bool, ...], attrs: tuple, avals: Any, n: int) -> Tensor:
    """All elements step as long as one of them does; those that are done keep their values."""
    test, body, nc, captured, outs, lead = attrs
    wide = [*(True for _ in range(nc)), *flags[nc:]]
    own, rest = wide[nc : nc + captured], wide[nc + captured :]
    big_test, more = _batched_body(test, [*wide[:nc], *own], n)
    big_body, more_body = _batched_body(body, [*wide[:nc], *rest], n)
    tests = [*args[nc : nc + captured], *more]
    steps = [*args[nc + captured :], *more_body]
    shapes = [Aval(tuple(x.shape) if f else (n, *x.shape), x.dtype) for x, f in zip(args[:nc], flags, strict=False)]
    nt = len(tests)

    first = Trace([*shapes, *_avals(tests)], [False] * (nc + nt))
    with first:
        going = G.any(big_test.call(first.ins)[0])
    any_test, extra = record(first, [going])
    second = Trace([*shapes, *_avals([*tests, *steps])], [False] * (nc + nt + len(steps)))
    with second:
        carry = second.ins[:nc]
        going = big_test.call(second.ins[: nc + nt])[0]
        new = big_body.call([*carry, *second.ins[nc + nt :]])
        kept = [_choose(going, a, b) for a, b in zip(new, carry, strict=True)]
    any_body, extra_body = record(second, kept)
    inputs = [*(_full(x, f, n) for x, f in zip(args[:nc], flags, strict=False)), *tests, *extra]
    inputs += [*tests, *steps, *extra_body]
    return TAPE.apply(C.while_, inputs, (any_test, any_body, nc, nt + len(extra), outs, (n, *lead)))


C.while_.batch = _while_batch


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init: Any) -> Any:
    """``value = body_fun(i, value)`` for i from ``lower`` to ``upper - 1``; ``i`` is a 0-d int64 tensor.

    With Python integers as bounds it is a scan, with derivatives; with tensors a while_loop, with forward mode alone.
    """
    if not isinstance(lower, Tensor) and not isinstance(upper, Tensor):
        steps = G.arange(int(lower), max(int(upper), int(lower)))
        return scan(lambda value, i: (body_fun(i, value), None), init, steps)[0]
    first, last = (x if isinstance(x, Tensor) else as_tensor(x) for x in (lower, upper))
    start = (G.cast(first, dtypes.int64), init)
    return while_loop(lambda s: G.lt(s[0], last), lambda s: (s[0] + 1, body_fun(s[0], s[1])), start)[1]


# -- associative scan -------------------------------------------------------------------------------
def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """Running results of an associative ``fn(a, b)`` along an axis, in about ``2 log2(n)`` calls of ``fn``.

    ``fn`` takes and gives trees of the structure of ``elems`` and works on slices of any length along the axis at once.
    From the last to the first where ``reverse``. (Blelloch, "Prefix sums and their applications", 1990.)
    """
    leaves, tree = _leaves(elems)
    dims = [axis % max(x.ndim, 1) for x in leaves]
    sizes = {x.shape[d] if x.ndim else -1 for x, d in zip(leaves, dims, strict=True)}
    if len(sizes) != 1 or -1 in sizes:
        raise ShapeError("associative_scan: the elements need one length along the axis", code="shape.scan")

    def cut(xs: Sequence[Tensor], start: int, stop: int, step: int) -> list[Tensor]:
        return [x[(slice(None),) * d + (slice(start, stop, step),)] for x, d in zip(xs, dims, strict=True)]

    def joined(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
        return _leaves(fn(unflatten(tree, a), unflatten(tree, b)))[0]

    def woven(even: Sequence[Tensor], odd: Sequence[Tensor]) -> list[Tensor]:
        out = []
        for e, o, d in zip(even, odd, dims, strict=True):
            m = o.shape[d]
            pairs = G.stack([G.narrow(e, d, 0, m), o], d + 1)
            flat = G.reshape(pairs, (*o.shape[:d], 2 * m, *o.shape[d + 1 :]))
            out.append(flat if e.shape[d] == m else G.cat([flat, G.narrow(e, d, m, 1)], d))
        return out

    def run(xs: list[Tensor]) -> list[Tensor]:
        n = xs[0].shape[dims[0]]
        if n < 2:
            return xs
        odd = run(joined(cut(xs, 0, n - 1, 2), cut(xs, 1, n, 2)))
        m = (n - 1) // 2
        later = joined([G.narrow(o, d, 0, m) for o, d in zip(odd, dims, strict=True)], cut(xs, 2, n, 2)) if m else []
        head = cut(xs, 0, 1, 1)
        even = [G.cat([h, t], d) for h, t, d in zip(head, later, dims, strict=True)] if m else head
        return woven(even, odd)

    flipped = [G.flip(x, d) for x, d in zip(leaves, dims, strict=True)] if reverse else leaves
    out = run(flipped)
    return unflatten(tree, [G.flip(x, d) for x, d in zip(out, dims, strict=True)] if reverse else out)
