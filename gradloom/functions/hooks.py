"""Functions that are called with gradients as they arrive, and gradients of results kept in ``grad``.

The hooks of a result stand in the graph as a step of their own, which hands values on and calls the functions on the
way back; its second operand is a tensor that carries them, so that the step is the same every time round. The hooks of
leaves are called once a pass is done: by ``backward`` those of all leaves, by ``grad`` those of its inputs.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

from gradloom.errors import GradientError
from gradloom.functions.base import apply
from gradloom.modes import no_grad
from gradloom.ops import elementwise as E
from gradloom.tape import LEAF, TAPE
from gradloom.tensor import Tensor, as_tensor

__all__: list[str] = []
METHODS = "register_hook register_post_accumulate_grad_hook retain_grad".split()

Hook = Callable[[Tensor], Any]
_number = itertools.count()
AFTER_PASS: dict[int, Callable[[], None]] = {}  # called at the end of a pass while tensors are watched


class RemovableHandle:
    """Returned where a hook is registered; ``remove()`` takes it away again, and so does the end of a with block.

    Parameters
    ----------
    hooks_dict : dict
        Where the hook is, or will be, under the handle's ``id``, a number that no other handle has.
    extra_dict : dict or list of dict, optional
        Others that lose what they have under it.
    """

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        more = extra_dict if isinstance(extra_dict, list) else [] if extra_dict is None else [extra_dict]
        self._places = [hooks_dict, *more]
        self.id = next(_number)

    def remove(self) -> None:
        """Take the hook away. A second call does nothing."""
        for place in self._places:
            place.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def hold(hooks: Any, hook: Any, prepend: bool = False) -> RemovableHandle:
    """Put a hook behind the others of a dictionary, or before them in an ordered one."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


class _Watched:
    """What is to happen with the gradient of a tensor once a pass is done."""

    def __init__(self, t: Tensor) -> None:
        key = id(t)
        self.tensor = weakref.ref(t, lambda _: Tensor._watched.pop(key, None))
        self.hooks: dict[int, Hook] = {}
        self.after: dict[int, Hook] = {}
        self.keep = False  # a result whose gradient is asked for


def _watch(t: Tensor) -> _Watched:
    found = Tensor._watched.get(id(t))
    if found is None:
        found = Tensor._watched[id(t)] = _Watched(t)
    return found


def watched(tensors: Sequence[Tensor]) -> None:
    """Have backward passes come by here as long as these tensors live."""
    for t in tensors:
        _watch(t)


_step = E._ew("hooked", lambda x, carrier: x, takes=E.ANY, operands="keep", body=lambda e, a, _: a[0])
_step.infer = lambda avals, attrs: avals[0]  # type: ignore[method-assign, assignment]


def _pull(ct: Tensor, out: Tensor, ins: Any, attrs: tuple) -> tuple[Tensor, None]:
    """Call the hooks that the second operand carries. They run every time: a new input keeps the tape from skipping."""
    carrier = ins[1]
    e = carrier._v.entry
    if e is not None and e.prim is LEAF:
        carrier = TAPE.tensors[e.leaf]
    TAPE.scalar(0.0)
    TAPE.traces += 1  # a hook may look at values: the round stays open
    try:
        return _called(carrier.hooks, ct), None
    finally:
        TAPE.traces -= 1


_step.vjp, _step.saves = _pull, False


def _called(hooks: dict[int, Hook], g: Tensor) -> Tensor:
    for hook in list(hooks.values()):
        new = hook(g)
        if new is not None:
            if not isinstance(new, Tensor) or new.shape != g.shape:
                raise GradientError(
                    f"a hook returned {new!r}, expected None or a tensor of shape {tuple(g.shape)}",
                    code="gradient.hook",
                )
            g = new
    return g


def _used(t: Tensor) -> bool:
    """Whether something in this round was computed from the tensor already."""
    e, at = t._v.entry, TAPE.pos
    while e is not None and at is not e and at.parent is not None:
        if any(i is e for i in at.ins):
            return True
        at = at.parent
    return False


def _carrier(t: Tensor) -> Any:
    """What carries the hooks that this result has already."""
    v = t._v
    record, e = (TAPE, v.entry) if v.entry is not None else v.hist or (None, None)
    return record.tensors[e.ins[1].leaf] if e is not None and e.prim is _step else None  # type: ignore[union-attr]


def _insert(t: Tensor, hook: Hook) -> RemovableHandle:
    carrier: Any = as_tensor(0.0)
    carrier.hooks, carrier.source = {}, TAPE.make_tensor(t._v)
    t._v = apply(_step, (carrier.source, carrier))._v
    return hold(carrier.hooks, hook)


def _need_grad(name: str, t: Tensor) -> None:
    if not t.requires_grad:
        raise GradientError(
            f"{name}: this tensor does not require grad", code="gradient.hook", hint="set requires_grad=True first"
        )


def register_hook(self: Tensor, hook: Hook) -> RemovableHandle:
    """Have ``hook(gradient)`` called when the gradient of this tensor is known; what it returns replaces it.

    Leaves: called by ``backward`` with the whole gradient before it is added to ``grad``. Results: register before
    something is computed from the tensor. Raises GradientError where it is too late, or where no gradient is asked for.
    """
    _need_grad("register_hook", self)
    if self.is_leaf:
        return hold(_watch(self).hooks, hook)
    carrier = _carrier(self)
    if carrier is not None:
        return hold(carrier.hooks, hook)
    if _used(self):
        raise GradientError(
            "register_hook: something was computed from this tensor already, and would not pass by the hook",
            code="gradient.hook", hint="register the hook right after the tensor was computed",
        )  # fmt: skip
    return _insert(self, hook)


def register_post_accumulate_grad_hook(self: Tensor, hook: Hook) -> RemovableHandle:
    """Have ``hook(tensor)`` called after ``backward`` added to the ``grad`` of this leaf."""
    _need_grad("register_post_accumulate_grad_hook", self)
    if not self.is_leaf:
        raise GradientError(
            "register_post_accumulate_grad_hook: only leaves have a grad that is added to", code="gradient.hook",
            hint="use register_hook",
        )  # fmt: skip
    return hold(_watch(self).after, hook)


def retain_grad(self: Tensor) -> None:
    """Have ``backward`` and ``grad`` keep the gradient of this result in its ``grad``; leaves keep theirs anyway.

    It is what the hooks of the result left of it.
    """
    _need_grad("retain_grad", self)
    if not self.is_leaf:
        _watch(self).keep = True


def _retains_grad(self: Tensor) -> bool:
    found = Tensor._watched.get(id(self))
    return found is not None and found.keep


Tensor.retains_grad = property(_retains_grad, doc="Whether this result keeps its gradient.")  # type: ignore[attr-defined]


def to_zero(grad: Tensor) -> None:
    """Zeros into a gradient, which forgets how it was computed."""
    if grad.requires_grad:
        grad.detach_()
    with no_grad():
        grad.zero_()


# -- passes that call them --------------------------------------------------------------------------------
def _inside(t: Tensor) -> Tensor:
    """What a result was before its hooks: a gradient of that has passed them."""
    carrier = _carrier(t)
    return t if carrier is None else carrier.source


def _kept() -> list[Tensor]:
    """Results that keep their gradient."""
    live = [t for w in list(Tensor._watched.values()) if w.keep and (t := w.tensor()) is not None]
    return [t for t in live if t.requires_grad and not t.is_leaf]


def _keep(kept: list[Tensor], found: Sequence[Tensor | None]) -> None:
    for t, g in zip(kept, found, strict=True):
        if g is not None:
            t.grad = g if t.grad is None else t.grad + g


def watched_backward(output: Tensor, gradient: Any, retain_graph: bool | None, create_graph: bool) -> None:
    """A backward pass with what is to happen at watched tensors."""
    from gradloom.autodiff import reverse

    kept = _kept()
    with TAPE.lock, reverse._mode(create_graph):
        reverse.refuse_freed([output])
        leaves, found = reverse.gather(output, gradient, [_inside(t) for t in kept])
        _keep(kept, found)
        for t, g in leaves:
            w = Tensor._watched.get(id(t))
            g = _called(w.hooks, g) if w is not None else g
            reverse.accumulate(t, g)
            for after in list(w.after.values()) if w is not None else ():
                after(t)
        for call in list(AFTER_PASS.values()):
            call()
        if not (create_graph if retain_graph is None else retain_graph):
            reverse._mark_freed([output])


def grad(
    outputs: Any, inputs: Sequence[Tensor], grad_outputs: Any, retain_graph: bool | None, create_graph: bool,
    allow_unused: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """As :func:`gradloom.autodiff.reverse.grad`, with the hooks of ``inputs`` and of what lies on the way."""
    from gradloom.autodiff import reverse

    given = [_inside(t) for t in inputs]
    kept = _kept() if Tensor._watched else []
    got = reverse.grad(
        outputs, given, grad_outputs, retain_graph, create_graph, allow_unused, [_inside(t) for t in kept]
    )
    _keep(kept, got[len(given) :])
    out = []
    for t, g in zip(inputs, got, strict=False):
        w = Tensor._watched.get(id(t)) if g is not None else None
        out.append(_called(w.hooks, g) if w is not None else g)
    for call in list(AFTER_PASS.values()):
        call()
    return tuple(out)


def backward_into(
    inputs: Any, outputs: Any, grad_outputs: Any, retain_graph: bool | None, create_graph: bool
) -> None:  # fmt: skip
    """A backward pass into the ``grad`` of these tensors alone, leaves or results."""
    wanted = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    if not wanted:
        raise GradientError(
            "backward: inputs is empty, it cannot be", code="gradient.count", hint="leave it out for all leaves"
        )
    from gradloom.autodiff import reverse

    retain = create_graph if retain_graph is None else retain_graph
    for t, g in zip(wanted, grad(outputs, wanted, grad_outputs, retain, create_graph, True), strict=True):
        if g is not None:
            with reverse._mode(create_graph):
                reverse.accumulate(t, g)
            w = Tensor._watched.get(id(t))
            for after in list(w.after.values()) if w is not None else ():
                after(t)
