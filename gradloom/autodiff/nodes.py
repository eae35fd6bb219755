"""The steps that computed a tensor, as a graph to be walked: ``grad_fn`` and what comes before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gradloom.entries import LEAF, Entry, Value
from gradloom.errors import NotSupportedError
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

__all__ = ["AccumulateGrad", "Node", "increment_version"]


class Node:
    """The step that computed a tensor: its ``name()`` in PyTorch's manner, and those before it.

    Gradients are had by ``backward`` and ``grad``; what happens to one on its way is for the hooks of tensors.
    """

    def __init__(self, root: Value, entry: Entry) -> None:
        self._root, self._entry = root, entry  # a tensor's value, and its step or one before
        self.metadata: dict[Any, Any] = {}

    def name(self) -> str:
        """The step's name."""
        step = getattr(self._entry.prim, "name", "function")
        return "".join(part.capitalize() for part in step.split("_")) + "Backward0"

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """For each operand the step that its gradient goes to, None where it has none; and 0."""
        record = self._record()
        return tuple((self._before(i, record), 0) for i in self._entry.ins)

    def _record(self) -> Any:
        """What knows the inputs of the round that this belongs to: the tape, or what remains of a closed round."""
        e, hist = self._root.entry, self._root.hist
        return TAPE if e is not None and e.prim is not LEAF else hist[0] if hist is not None else None

    def _before(self, e: Entry, record: Any) -> Node | None:
        if not e.rg:
            return None
        if e.prim is not LEAF:
            return Node(self._root, e)
        if record is None or not record.leaves:
            return None
        return _of_input(record.tensors[e.leaf], record.leaves[e.leaf])

    def register_hook(self, fn: Callable[..., Any]) -> NoReturn:
        """Not offered: raises NotSupportedError."""
        raise NotSupportedError(
            "hooks of steps are not offered", code="gradient.node", hint="use register_hook of the tensor it computed"
        )

    register_prehook = register_hook

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self._entry is other._entry and self._record() is other._record()

    def __hash__(self) -> int:
        return id(self._entry)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class AccumulateGrad(Node):
    """Where a gradient arrives at a leaf: ``variable``."""

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable
        self.metadata: dict[Any, Any] = {}

    def name(self) -> str:
        """As PyTorch calls it."""
        return "torch::autograd::AccumulateGrad"

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """Nothing comes before a leaf."""
        return ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and self.variable is other.variable

    def __hash__(self) -> int:
        return id(self.variable)

    def __repr__(self) -> str:
        return "<AccumulateGrad>"


def _of_input(t: Any, v: Value | None) -> Node | None:
    """Where a gradient goes that arrives at an input of a round."""
    if t is not None and t._rg:
        return AccumulateGrad(t)
    return Node(v, v.hist[1]) if v is not None and v.hist is not None else None


def step_of(t: Tensor) -> Node:
    """The step that computed a tensor that is no leaf."""
    v = t._v
    e = v.entry
    if e is None or e.prim is LEAF:
        assert v.hist is not None
        e = v.hist[1]
    return Node(v, e)


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Count a write to a tensor, or to each of several, that was done behind its back."""
    for t in [tensor] if isinstance(tensor, Tensor) else tensor:
        while t._base is not None:
            t = t._base
        t._writes += 1
