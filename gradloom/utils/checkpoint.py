"""``torch.utils.checkpoint``: less memory for more time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.segments import Segment
from gradloom.errors import NotSupportedError

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, context_fn: Any = None,
    determinism_check: str = "default", debug: bool = False, early_stop: bool = True, preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """``function(*args, **kwargs)`` without keeping what it computes inside: the backward pass computes it again.

    Its results and what goes in are kept. Random numbers are the same the second time, for their seeds are kept;
    gradients are the same bit for bit.

    Parameters
    ----------
    use_reentrant, preserve_rng_state, debug, early_stop: PyTorch's two ways do the same here, random numbers are always
        the same, and only what the gradient needs is computed again; so none of these changes anything.
    determinism_check: ``"default"`` or ``"none"``: nothing runs twice in Python, so there is nothing to check.

    Raises
    ------
    NotSupportedError: for ``context_fn``: Python runs the function once, there is no second run to give a context.
    """
    if context_fn is not None:
        raise NotSupportedError(
            "checkpoint: context_fn is not offered, the function runs once in Python", code="checkpoint.context"
        )
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', got {determinism_check!r}")
    with Segment():
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, *, preserve_rng_state: bool = True
) -> Any:
    """Modules one after the other, in ``segments`` checkpointed parts; the last part is not checkpointed, as PyTorch.

    functions: a Sequential or a sequence of functions. For the rest see :func:`checkpoint`.
    """
    layers: Sequence[Callable[..., Any]] = list(functions.children()) if hasattr(functions, "children") else functions
    if not 1 <= segments <= max(1, len(layers)):
        raise ValueError(f"checkpoint_sequential: segments must be within 1..{len(layers)}, got {segments}")
    size = len(layers) // segments

    def part(start: int, stop: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for layer in layers[start:stop]:
                x = layer(x)
            return x

        return run

    for k in range(segments - 1):
        input = checkpoint(part(k * size, (k + 1) * size), input)
    return part((segments - 1) * size, len(layers))(input)
