"""Numbers repeated for each axis, as programs take them from `torch.nn.modules.utils`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def _ntuple(n: int) -> Callable[[Any], tuple]:
    """A function that repeats one value n times, and leaves several as they are."""
    return lambda x: tuple(x) if isinstance(x, Iterable) else (x,) * n


_single, _pair, _triple, _quadruple = map(_ntuple, (1, 2, 3, 4))


def _reverse_repeat_tuple(t: Iterable[Any], n: int) -> tuple:
    """The values in reverse order, each n times."""
    return tuple(x for x in reversed(tuple(t)) for _ in range(n))


def _list_with_default(out_size: list[int | None], defaults: list[int]) -> list[int]:
    """Sizes, those that are None from the end of the defaults."""
    if len(defaults) <= len(out_size):
        raise ValueError(f"Input dimension should be at least {len(out_size) + 1}")
    return [d if v is None else v for v, d in zip(out_size, defaults[-len(out_size) :], strict=True)]


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Take a prefix off the names of a state, in place; names without it stay, and so does their order.

    For states saved from a wrapper: ``"module."`` of DataParallel, ``"_orig_mod."`` of compiled modules. The versions
    that a state carries as ``_metadata`` are renamed with it.
    """
    entries = list(state_dict.items())
    state_dict.clear()
    state_dict.update((name.removeprefix(prefix), value) for name, value in entries)
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is not None:
        renamed = {name.removeprefix(prefix) if name else name: value for name, value in metadata.items()}
        whole = renamed.pop(prefix.rstrip("."), None)  # the wrapped module itself
        metadata.clear()
        metadata.update(renamed)
        if whole is not None:
            metadata[""] = whole
