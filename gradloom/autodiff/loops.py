"""Bodies of loops taken apart: what must be done step by step, and what is done for all steps at once.

Products that hang on the sequences alone are made before the loop, as one product of all steps. Going back, the loop
carries cotangents and nothing else: gradients of sequences and of captured values are computed after it, from
the stacked values of all steps, so that a weight's gradient is one product and not a sum of small ones. What forward
steps computed at a price (products, functions, random numbers) is kept for the way back, the rest computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradloom import functions as G
from gradloom.autodiff.bodies import Body
from gradloom.autodiff.vmap import vmap
from gradloom.graph.node import Aval
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.ops.batching import is_random
from gradloom.ops.core import Elementwise
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

__all__ = ["Back", "Names", "Parts", "adding", "by_rule", "hoisted", "part"]

_CHEAP = {
    "add", "sub", "mul", "neg", "abs", "sign", "maximum", "minimum", "relu", "where", "cast", "detach", "eq", "ne",
    "lt", "le", "gt", "ge", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "isnan", "isinf", "isfinite",
}  # fmt: skip


def part(body: Body, given: Sequence[int], outputs: Sequence[int]) -> Body:
    """The body that computes values of another from given ones. Numbers: inputs first, then steps."""
    base = len(body.inputs)
    number = {v: k for k, v in enumerate(given)}
    needed: set[int] = set()
    todo = list(outputs)
    while todo:
        v = todo.pop()
        if v not in number and v not in needed:
            needed.add(v)
            todo.extend(body.steps[v - base][1])
    steps: list[tuple] = []
    for v in sorted(needed):
        prim, ins, attrs, aval, mode = body.steps[v - base]
        number[v] = len(given) + len(steps)
        steps.append((prim, tuple(number[i] for i in ins), attrs, aval, mode))
    return Body.of([body.aval(v) for v in given], steps, [number[o] for o in outputs], ())


def by_rule(body: Body) -> bool:
    """Whether a body calls functions with derivatives of their own, loops among them: it is not taken apart."""
    return any(s[0].name == "custom_call" for s in body.steps)


def _moves(body: Body, v: int) -> bool:
    base = len(body.inputs)
    return v >= base and body.steps[v - base][0].kind == "movement"


# -- before a loop ----------------------------------------------------------------------------------
def hoisted(body: Body, nc: int, seqs: list[Tensor], captured: list[Tensor]) -> tuple[Body, list[Tensor], list[Tensor]]:
    """The body without the products that hang on its sequences alone, the sequences with their results, the captured.

    What follows such a product without a carry goes with it.
    """
    base, nx = len(body.inputs), len(seqs)
    early: set[int] = set()
    hangs = [nc <= k < nc + nx for k in range(base)]  # on a sequence, and on no carry
    free = [k >= nc for k in range(base)]
    heavy = [False] * base
    for k, (prim, ins, *_) in enumerate(body.steps):
        free.append(all(free[i] for i in ins) and not is_random(prim))
        hangs.append(free[-1] and any(hangs[i] for i in ins))
        heavy.append(prim is S.dot or any(heavy[i] for i in ins))
        if hangs[-1] and heavy[-1]:
            early.add(base + k)
    if not early or by_rule(body):
        return body, seqs, captured
    for v in reversed(range(base, base + len(body.steps))):  # movement at the end is done in the loop
        if v in early and _moves(body, v) and not any(v in body.steps[w - base][1] for w in early):
            early.remove(v)
    used = {i for k, s in enumerate(body.steps) if base + k not in early for i in s[1]} | set(body.outputs)
    border = sorted(early & used)
    if not border:
        return body, seqs, captured
    given = list(range(nc, base))
    made = part(body, given, border)
    flags = (*(0 for _ in seqs), *(None for _ in captured))
    more = vmap(lambda *xs: tuple(made.call(xs)), flags)(*seqs, *captured)
    rest = part(body, [*range(nc + nx), *border, *range(nc + nx, base)], body.outputs)
    return rest, [*seqs, *more], captured


# -- names ------------------------------------------------------------------------------------------
class Names:
    """Names of values: equal computations from equal inputs have equal names, in whatever body."""

    def __init__(self) -> None:
        self.known: dict[tuple, int] = {}

    def of(self, body: Body, inputs: Sequence[int]) -> list[int]:
        """The name of each value. inputs: names of the inputs, negative numbers."""
        names = list(inputs)
        for prim, ins, attrs, _, _ in body.steps:
            if prim.name == "lift":
                names.append(names[ins[0]])
                continue
            typed = tuple((type(a), repr(a) if isinstance(a, float) else a) for a in attrs)
            names.append(self.known.setdefault((prim, tuple(names[i] for i in ins), typed), len(self.known)))
        return names


# -- back over a loop -------------------------------------------------------------------------------
class Parts:
    """A body's reverse pass in parts.

    back: computes cotangents of inputs from the inputs and the cotangents of outputs. Inputs from number ``first`` up
    to ``last`` are those cotangents; ``fixed`` are the same in every step.
    """

    def __init__(self, back: Body, first: int, last: int, fixed: set[int]) -> None:
        self.back, self.fixed = back, fixed
        base = self.base = len(back.inputs)
        self.late = [first <= k < last for k in range(base)]  # hangs on a cotangent
        self.steady = [k in fixed for k in range(base)]  # the same in every step
        for prim, ins, *_ in back.steps:
            self.late.append(any(self.late[i] for i in ins))
            self.steady.append(all(self.steady[i] for i in ins) and not is_random(prim))

    def ins(self, v: int) -> tuple[int, ...]:
        """Operands of a value; none of an input."""
        return self.back.steps[v - self.base][1] if v >= self.base else ()

    def closure(self, outputs: Sequence[int], stop: Callable[[int], bool]) -> set[int]:
        """What outputs are computed from; not beyond values at which to stop, which are in it too."""
        seen: set[int] = set()
        todo = list(outputs)
        while todo:
            v = todo.pop()
            if v not in seen:
                seen.add(v)
                if not stop(v):
                    todo.extend(self.ins(v))
        return seen

    def cheap(self, v: int) -> bool:
        """Whether a value is computed again rather than kept."""
        prim = self.back.steps[v - self.base][0]
        if isinstance(prim, Elementwise):
            return prim.name in _CHEAP
        return prim.kind in ("movement", "create") or prim.alias

    def wanted(self, outputs: Sequence[int]) -> list[int]:
        """Values of the forward pass that the way back to ``outputs`` should find rather than compute again."""
        early = [v for v in self.closure(outputs, lambda v: not self.late[v]) if not self.late[v]]
        need: dict[int, frozenset[int]] = {}  # what must be kept so that a value can be had
        for v in sorted(self.closure(early, lambda v: v < self.base)):
            if v < self.base or self.steady[v]:
                need[v] = frozenset()
                continue
            need[v] = frozenset([v])
            if self.cheap(v):
                behind = frozenset().union(*(need[i] for i in self.ins(v)))
                piece = _moves(self.back, v) and sum(self.back.aval(i).size for i in behind) > self.back.aval(v).size
                need[v] = need[v] if piece else behind
        return sorted(frozenset().union(*(need[v] for v in early)))

    def joined(self, v: int, inside: set[int], states: Sequence[int]) -> bool:
        """Whether a value is put together from those that the loop computes anyway, and is no larger than they are."""
        pieces: set[int] = set()
        todo = [v]
        while todo:
            x = todo.pop()
            if not self.late[x]:
                continue
            if x in states or (x in inside and not _moves(self.back, x)):
                pieces.add(x)
            elif x >= self.base and (_moves(self.back, x) or self.back.steps[x - self.base][0] is E.add):
                todo.extend(self.ins(x))
            else:
                return False
        return len(pieces) > 1 and self.back.aval(v).size <= sum(self.back.aval(x).size for x in pieces)

    # -- sums over all steps ------------------------------------------------------------------------
    def leaves(self, v: int) -> list[int]:
        """The values that must be stacked for :meth:`total`."""
        if v < self.base:
            return [v]
        prim, ins, _, aval, _ = self.back.steps[v - self.base]
        if self.steady[v]:
            return [v]
        if prim is S.dot:
            moving = [i for i in ins if not self.steady[i]]
            return list(ins) if len(moving) == 2 else [x for i in ins for x in self.leaves(i)]
        if self._linear(prim, ins, aval):
            return [x for i in ins for x in self.leaves(i)]
        return [v]

    def _linear(self, prim: object, ins: Sequence[int], aval: Aval) -> bool:
        if prim is E.add:
            return all(self.back.aval(i) == aval for i in ins)
        if prim is E.cast:
            return self.back.aval(ins[0]).dtype is aval.dtype
        return prim in (S.permute, S.reshape)

    def total(self, v: int, stacks: dict[int, Tensor], n: int) -> Tensor:
        """The sum of a value over all steps. stacks: of the values in :meth:`leaves`, steady ones once."""
        if v >= self.base and not self.steady[v]:
            prim, ins, attrs, aval, _ = self.back.steps[v - self.base]
            if prim is S.dot:
                moving = [not self.steady[i] for i in ins]
                if all(moving):
                    return _product(stacks[ins[0]], stacks[ins[1]])
                a, b = (self.total(i, stacks, n) if m else stacks[i] for i, m in zip(ins, moving, strict=True))
                return TAPE.apply(prim, (a, b), attrs)
            if self._linear(prim, ins, aval):
                return TAPE.apply(prim, [self.total(i, stacks, n) for i in ins], attrs)
        x = stacks[v]
        return G.mul(x, G.const(n)) if self.steady[v] else G.sum(x, 0, dtype=x.dtype)


class Back:
    """The way back over a loop: a loop over what carries need, and what is done for all steps after it.

    loop: its body, of cotangents of carries (values ``states``), stacked values and captured ones, to new cotangents
    and values that the rest needs. rows: the values whose stacks it takes.
    """

    def __init__(
        self, parts: Parts, states: list[int], known: dict[int, Tensor], fixed: list[int], ends: list[int],
        others: list[int], sums: list[int],
    ) -> None:  # fmt: skip
        self.parts, self.known, self.fixed = parts, known, fixed
        self.others, self.sums = others, sums
        back, base = parts.back, parts.base

        def stop(v: int) -> bool:
            return v in known or v < base

        inside = parts.closure(ends, stop)
        self.leaves = [*others, *(x for v in sums for x in parts.leaves(v))]
        self.front: list[int] = []
        seen: set[int] = set()
        todo = list(self.leaves)
        while todo:
            v = todo.pop()
            if v in seen or v in known or v in parts.fixed:
                continue
            seen.add(v)
            made = v in inside and parts.late[v] and not _moves(back, v)
            if v in states or made or parts.joined(v, inside, states):
                self.front.append(v)
            else:
                todo.extend(parts.ins(v))
        outputs = [*ends, *self.front]
        used = parts.closure(outputs, stop)
        self.rows = [v for v in known if v in used]
        self.loop = part(back, [*states, *self.rows, *fixed], outputs)

    def gradients(self, stacked: Sequence[Tensor], constants: Sequence[Tensor], n: int) -> list[Tensor]:
        """Those of the others, stacked, then the sums. stacked: what the loop made but for cotangents of carries."""
        parts, back = self.parts, self.parts.back
        stacks = {**self.known, **dict(zip(self.front, stacked, strict=True))}
        held = dict(zip(self.fixed, constants, strict=True))
        missing = [v for v in dict.fromkeys(self.leaves) if v not in stacks and v not in held]
        steady = [v for v in missing if parts.steady[v]]
        held |= zip(steady, part(back, self.fixed, steady).call(constants), strict=True)
        moving = [v for v in missing if not parts.steady[v]]
        if moving:
            used = parts.closure(moving, lambda v: v in stacks or v in parts.fixed)
            given = [v for v in stacks if v in used]
            made = part(back, [*given, *self.fixed], moving)
            flags = (*(0 for _ in given), *(None for _ in constants))
            stacks |= zip(
                moving,
                vmap(lambda *x: tuple(made.call(x)), flags)(*(stacks[v] for v in given), *constants),
                strict=True,
            )
        out = [G.broadcast_to(held[v], (n, *held[v].shape)) if v in held else stacks[v] for v in self.others]
        return [*out, *(parts.total(v, {**stacks, **held}, n) for v in self.sums)]


def adding(body: Body, at: int, targets: Sequence[int]) -> Body:
    """The body with new inputs from number ``at`` on, which are added to its outputs ``targets``."""
    m = len(targets)
    new = [body.aval(body.outputs[t]) for t in targets]
    inputs = [*body.inputs[:at], *new, *body.inputs[at:]]
    steps = [(p, tuple(i + m if i >= at else i for i in ins), *rest) for p, ins, *rest in body.steps]
    outputs = [o + m if o >= at else o for o in body.outputs]
    for j, (t, a) in enumerate(zip(targets, new, strict=True)):
        steps.append((E.add, (outputs[t], at + j), (), a, True))
        outputs[t] = len(inputs) + len(steps) - 1
    return Body.of(inputs, steps, outputs, ())


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The sum over t of ``a[t] @ b[t]``, as one product: (t, …, m, k), (t, …, k, n) to (…, m, n)."""
    t, k, d = a.shape[0], a.shape[-1], a.ndim
    lead = list(range(1, d - 2))
    x = G.reshape(G.permute(a, (*lead, d - 2, 0, d - 1)), (*a.shape[1:-1], t * k))
    y = G.reshape(G.permute(b, (*lead, 0, d - 2, d - 1)), (*b.shape[1:-2], t * k, b.shape[-1]))
    return TAPE.apply(S.dot, (x, y))
