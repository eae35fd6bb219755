"""NumPy's spellings of PyTorch's parameters: ``axis`` for ``dim``, ``keepdims`` for ``keepdim``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from gradloom.errors import DTypeError

__all__: list[str] = []

F = TypeVar("F", bound=Callable[..., Any])
NAMES = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(fn: F) -> F:
    """``fn`` with ``dim``, and ``keepdim``, under both spellings. Raises TypeError where both are given."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for theirs, ours in NAMES.items():
                if theirs in kwargs:
                    if ours in kwargs:
                        raise DTypeError(f"{fn.__name__}: {theirs} and {ours} are the same parameter; give one of them")
                    kwargs[ours] = kwargs.pop(theirs)
        return fn(*args, **kwargs)

    return cast(F, call)
