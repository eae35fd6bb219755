"""Hooks of optimisers: functions called before and after steps, and around saving and loading."""

from __future__ import annotations

import functools
import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

_numbers = itertools.count()
Hooks = OrderedDict[int, Callable[..., Any]]
BEFORE_ANY: Hooks = OrderedDict()
AFTER_ANY: Hooks = OrderedDict()


class RemovableHandle:
    """Takes a hook away again: `remove()`, or the end of a with block."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks, self.id = hooks, next(_numbers)

    def remove(self) -> None:
        """Take the hook away."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def add(hooks: Hooks, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
    """Put a hook behind the others, or before them."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimiser."""
    return add(BEFORE_ANY, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimiser."""
    return add(AFTER_ANY, hook)


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A class's `step` with the hooks around it; a step that calls its parent's has them once."""

    @functools.wraps(step)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._stepped = True
        if self._stepping or not (self._before_step or self._after_step or BEFORE_ANY or AFTER_ANY):
            return step(self, *args, **kwargs)
        self._stepping = True
        try:
            for hook in [*BEFORE_ANY.values(), *self._before_step.values()]:
                new = hook(self, args, kwargs)
                if new is not None:
                    if not (isinstance(new, tuple) and len(new) == 2):
                        raise TypeError(f"a step hook gives None or (args, kwargs), got {new!r}")
                    args, kwargs = new
            result = step(self, *args, **kwargs)
            for hook in [*self._after_step.values(), *AFTER_ANY.values()]:
                hook(self, args, kwargs)
            return result
        finally:
            self._stepping = False

    return run
