"""``torch.autograd.graph``: the steps behind a tensor, and hooks of several tensors together.

No step keeps tensors of its own for the backward pass: what it needs the compiler keeps, or computes again. So nothing
can be packed on the way there, and what is written to in place later does not reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from gradloom.autodiff.nodes import Node, increment_version
from gradloom.errors import NotSupportedError
from gradloom.functions import hooks
from gradloom.functions.hooks import RemovableHandle
from gradloom.tensor import Tensor

__all__ = [
    "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "increment_version",
    "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip


def saved_tensors_hooks(pack_hook: Any, unpack_hook: Any) -> NoReturn:
    """Not offered: raises NotSupportedError."""
    raise NotSupportedError(
        "saved_tensors_hooks: no tensors are saved that could be packed", code="gradient.saved",
        hint="gradloom.utils.checkpoint, or set_memory_limit(bytes), has values computed again instead of kept",
    )  # fmt: skip


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """A with block in which there are no :func:`saved_tensors_hooks`, as everywhere."""
    yield


@contextmanager
def save_on_cpu(pin_memory: bool = False, device_type: str = "cpu") -> Iterator[None]:
    """A with block whose values are kept on the CPU, where they are in any case."""
    yield


@contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[None]:
    """A with block in which tensors may be written to that a gradient still needs, as everywhere: it gets the old."""
    yield


class _Together:
    """The gradients of one pass for a hook of several tensors."""

    def __init__(self, fn: Callable[..., Any], count: int, every: bool) -> None:
        self.fn, self.every = fn, every
        self.found: list[Tensor | None] = [None] * count
        self.called = False

    def at(self, k: int) -> Callable[[Tensor], None]:
        """The hook of one of the tensors."""

        def hook(g: Tensor) -> None:
            self.found[k] = g
            if not self.every and not self.called:
                self.called = True
                self.fn(g)

        return hook

    def done(self) -> None:
        """The end of a pass."""
        found, self.found, self.called = self.found, [None] * len(self.found), False
        if self.every and any(g is not None for g in found):
            self.fn(found)


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all"
) -> RemovableHandle:
    """Have ``fn(gradients)`` called once the gradients of all these tensors are known that a pass comes by.

    The list has None for a tensor that it does not come by. mode: with "any" ``fn(gradient)`` gets the first of them.
    Raises ValueError for another mode, GradientError where :meth:`Tensor.register_hook` does.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"register_multi_grad_hook: mode must be 'all' or 'any', got {mode!r}")
    together = _Together(fn, len(tensors), mode == "all")
    handles = [t.register_hook(together.at(k)) for k, t in enumerate(tensors)]
    hooks.watched(tensors)
    end = hooks.hold(hooks.AFTER_PASS, together.done)
    return _Handles([end, *handles])


class _Handles(RemovableHandle):
    """Several handles as one."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        super().__init__({})
        self._handles = handles

    def remove(self) -> None:
        """Take all of them away."""
        for handle in self._handles:
            handle.remove()


def __getattr__(name: str) -> Any:
    from gradloom.absent import missing

    raise missing("gradloom.autograd.graph", name)
