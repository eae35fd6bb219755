"""Hooks of optimisers: functions called before and after steps, and around saving and loading."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from gradloom.functions.hooks import RemovableHandle, hold

Hooks = OrderedDict[int, Callable[..., Any]]
BEFORE_ANY: Hooks = OrderedDict()
AFTER_ANY: Hooks = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimiser."""
    return hold(BEFORE_ANY, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimiser."""
    return hold(AFTER_ANY, hook)


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
