"""Differentiation of one call: its arguments are lifted, cotangents are pulled back to them, results are released.

A lifted tensor is the argument under another name that requires a gradient, so nested transformations keep their
derivatives apart by the identity of what they lifted. After the call a result still seems to require a gradient
because of the lifted arguments alone; :func:`release` cuts it off where nothing else asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.reverse import _run
from gradloom.entries import LEAF, Entry, Record
from gradloom.errors import GradientError
from gradloom.graph.node import Aval
from gradloom.modes import enable_grad
from gradloom.ops import elementwise as E
from gradloom.ops.core import Primitive
from gradloom.tape import MODES, TAPE
from gradloom.tensor import Tensor

__all__ = ["PLACEHOLDER", "Level", "placeholder", "pull", "quiet", "release"]


class _Lift(Primitive):
    """The operand itself, with a gradient of its own to ask for."""

    alias = True


def _as_first(avals: Sequence[Aval], attrs: tuple) -> Aval:
    return avals[0]


_lift = _Lift("lift", lambda a, t, v: a[0], _as_first)
_lift.vjp = lambda ct, out, ins, attrs: (ct,)
_lift.batch = lambda args, flags, attrs, avals, n: args[0]


class _Placeholder(Primitive):
    """An argument of a function that is being recorded: only its shape and dtype are known."""

    placeholder = True


def _never(arrays: Any, attrs: tuple, aval: Aval) -> Any:
    raise GradientError(
        "a tensor has left a function while vmap, scan, cond or while_loop recorded it",
        code="transform.escaped",
        hint="return it from the function instead of keeping it or writing it into a tensor outside",
    )


PLACEHOLDER = _Placeholder("placeholder", _never, lambda avals, attrs: attrs[0])


def placeholder(aval: Aval, requires_grad: bool) -> Tensor:
    """A tensor of which only shape and dtype are known."""
    with TAPE.lock:
        rg = requires_grad and aval.dtype.category >= 2
        return TAPE.handle(TAPE.step(PLACEHOLDER, [], (aval, rg), lambda: (aval, rg)))


def _given(aval: Aval) -> Callable[[], tuple[Aval, bool]]:
    return lambda: (aval, True)


class Level:
    """The lifted arguments of one differentiation; grad mode is on within."""

    active: list[Level] = []

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors: list[Tensor] = []
        self.lifted: list[Entry] = []
        with TAPE.lock:
            TAPE.room()
            for t in tensors:
                if t.dtype.category < 2:
                    raise GradientError(
                        f"a tensor of dtype {t.dtype.name} cannot be differentiated by", code="gradient.dtype",
                        hint="convert it to a floating dtype, or differentiate by other arguments (argnums)",
                    )  # fmt: skip
            for e in TAPE.entries_of(tensors):
                assert e.aval is not None
                made = TAPE.step(_lift, [e], (), _given(e.aval))
                self.lifted.append(made)
                self.tensors.append(TAPE.handle(made))
        self.entries = set(map(id, self.lifted))
        self.mark = self.lifted[0] if self.lifted else None

    def __enter__(self) -> Level:
        self._mode = enable_grad()
        self._mode.__enter__()
        Level.active.append(self)
        TAPE.lifted.update(zip(map(id, self.lifted), self.tensors, strict=True))
        return self

    def __exit__(self, *exc: object) -> None:
        self._mode.__exit__(*exc)
        Level.active.remove(self)
        for k in self.entries:
            TAPE.lifted.pop(k, None)


class quiet:
    """Grad mode off."""

    def __enter__(self) -> None:
        self._before = MODES.grad
        MODES.grad = False

    def __exit__(self, *exc: object) -> None:
        MODES.grad = self._before


class _Step:
    """Stands for the primitive of a part of a transformation."""

    vjp = None

    def __init__(self, name: str) -> None:
        self.name = name


_PULL, _RELEASE = _Step("pull"), _Step("release")


def pull(outputs: Sequence[Tensor], cts: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[Tensor | None]:
    """Cotangents of ``wanted`` for those of ``outputs``; None where an output does not depend on it.

    None of ``wanted`` may be computed from another. The pass is recorded, so it can be differentiated.
    """
    pairs = [(o, c) for o, c in zip(outputs, cts, strict=True) if o.requires_grad]
    wanted = list(wanted)
    if not pairs:
        return [None] * len(wanted)
    outs, seeds = [o for o, _ in pairs], [c for _, c in pairs]

    def run() -> list[Any]:
        found = _run(outs, seeds, wanted, False)
        return [found.get(id(t), t) for t in wanted]

    # where nothing arrives the tensor itself comes back
    got = TAPE.macro(_PULL, [*outs, *seeds, *wanted], (len(outs), len(wanted)), run)
    return [None if g is t else g for g, t in zip(got, wanted, strict=True)]


def _asked(tensor: Tensor) -> bool:
    """Whether somebody but the lifted arguments of finished transformations wants a gradient through this value."""
    lifted = set().union(*(level.entries for level in Level.active)) if Level.active else set()
    seen: set[tuple[int, int]] = set()
    v = tensor._v
    todo: list[tuple[Record | None, Entry]] = [(None, v.entry)] if v.entry is not None else [v.hist] if v.hist else []
    while todo:
        record, e = todo.pop()
        if (id(record), id(e)) in seen or not e.rg:
            continue
        seen.add((id(record), id(e)))
        if e.prim is LEAF:
            leaf = (TAPE.leaves if record is None else record.leaves)[e.leaf]
            t = (TAPE.tensors if record is None else record.tensors)[e.leaf]
            if t is None or t._rg or leaf is None or leaf.hist is None or leaf.hist[0].freed(leaf.hist[1]):
                return True
            todo.append(leaf.hist)
        elif e.prim is PLACEHOLDER or id(e) in lifted:
            return True
        else:
            todo.extend((record, i) for i in e.ins)
    return False


def release(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Results of a transformation: cut off from the gradient where only finished lifts ask for one."""
    if not any(t.requires_grad for t in tensors):
        return list(tensors)

    def run() -> list[Any]:
        out = []
        for t in tensors:
            loose = t.requires_grad and not (MODES.grad and _asked(t))
            out.append(TAPE.apply(E.detach, (t,)) if loose else t)
        return out

    return TAPE.macro(_RELEASE, tensors, tuple(level.mark for level in Level.active), run)
