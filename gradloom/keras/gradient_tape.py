"""GradientTape, for custom training steps in TensorFlow's manner: everything is recorded here anyway."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from gradloom.autodiff import grad
from gradloom.keras import tree
from gradloom.modes import enable_grad
from gradloom.tensor import Tensor


class GradientTape:
    """``with GradientTape() as tape:`` compute a loss, then ``tape.gradient(loss, variables)``.

    Parameters
    ----------
    persistent : whether ``gradient`` may be asked for several times.
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self.persistent = persistent
        self._mode: Any = None

    def __enter__(self) -> GradientTape:
        self._mode = enable_grad()
        self._mode.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mode.__exit__(kind, error, trace)

    @staticmethod
    def watch(tensor: Any) -> None:
        """Let gradients reach tensors that are no variables; to be called before they are used."""
        for t in tree.flatten(tensor):
            if isinstance(t, Tensor) and not t.requires_grad:
                t.requires_grad_()

    def gradient(self, target: Any, sources: Any, output_gradients: Any = None) -> Any:
        """Gradients of a target, or of a sum of several, by the sources, in their structure; None where it is 0."""
        flat = tree.flatten(sources)
        inner = [t for t in tree.flatten(target)]
        found = grad(
            inner if len(inner) > 1 else inner[0], flat,
            None if output_gradients is None else tree.flatten(output_gradients),
            retain_graph=True if self.persistent else None, allow_unused=True,
        )  # fmt: skip
        return tree.pack_sequence_as(sources, list(found))
